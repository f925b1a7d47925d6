//! The independent checker finds what it is for.

use crate::fixture::Fixture;
use crate::runs::plan;

fn landed() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "run: echo b > b.txt"),
    ]));
    f.orch(["run"]).exits(0);
    f
}

#[test]
fn an_untouched_run_has_nothing_to_contradict_it() {
    let f = landed();
    f.orch(["audit"])
        .exits(0)
        .says("2 landed commits (2 unverified)");
    f.orch(["audit", "main~2..main"]).exits(0);
}

#[test]
fn a_landed_commit_that_was_replaced_is_found() {
    let f = landed();
    f.git(["switch", "-q", "orch/plan"]);
    f.git([
        "commit",
        "-q",
        "--amend",
        "-m",
        "2: something else\n\nOrch-Run: forged",
    ]);
    f.orch(["audit"]).exits(1).says("history");
}

#[test]
fn a_commit_that_only_claims_to_be_landed_is_found() {
    let f = landed();
    let run = f.records()[0]["run"].as_str().expect("a run").to_owned();
    f.git(["switch", "-q", "orch/plan"]);
    f.git([
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        &format!("3: forged\n\nOrch-Run: {run}"),
    ]);
    f.orch(["audit"]).exits(1).says("no receipt");
    f.orch(["audit", "orch/plan~1..orch/plan"])
        .exits(1)
        .says("no receipt");
}

#[test]
fn a_candidate_that_lost_its_ref_is_found() {
    let f = landed();
    let refs = f.git(["for-each-ref", "--format=%(refname)", "refs/orch/candidate"]);
    f.git([
        "update-ref",
        "-d",
        refs.lines().next().expect("a candidate"),
    ]);
    f.orch(["audit"]).exits(1).says("candidate");
}

#[test]
fn something_that_is_neither_run_nor_range_is_a_usage_error() {
    landed()
        .orch(["audit", "no-such-thing"])
        .exits(2)
        .says("neither a run nor a range");
}

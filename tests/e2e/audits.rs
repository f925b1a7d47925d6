//! The independent checker finds what it is for.

use crate::fixture::Fixture;
use crate::runs::plan;
use crate::signatures::plant;

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

/// Puts another commit in the place of the one that landed, in git and in every record, as nobody may.
fn forge(f: &Fixture, path: &str, text: &str) {
    let landed = f.git(["rev-parse", "main"]).trim().to_owned();
    f.write(path, text);
    f.git(["add", path]);
    f.git(["commit", "-q", "--amend", "--no-edit"]);
    let forged = f.git(["rev-parse", "main"]).trim().to_owned();
    f.git(["branch", "-f", "orch/plan", "main"]);
    let ledger =
        rusqlite::Connection::open(f.repo().join(".git/orch/ledger.db")).expect("a ledger");
    ledger
        .execute_batch("DROP TRIGGER IF EXISTS records_never_change")
        .expect("no trigger");
    let changed = ledger.execute(
        "UPDATE records SET body = replace(body, ?1, ?2)",
        [&landed, &forged],
    );
    assert!(changed.expect("records") > 0);
}

#[test]
fn a_landed_commit_with_more_than_its_task_may_change_is_found() {
    const NOT_ITS: &str = "and its attempt did not change it";
    for (keys, path, told) in [
        (
            "files: [a.txt]",
            "b.txt",
            ["`b.txt` is outside of `files`", NOT_ITS],
        ),
        ("protect: [db]", "db/one.sql", ["`db/one.sql`", NOT_ITS]),
        (
            "files: [a.txt]",
            "a.txt",
            ["it is not the merge of its candidate", "`a.txt`"],
        ),
    ] {
        let f = Fixture::with_plan(&plan(&[("1", &format!("{keys}\nrun: echo a > a.txt"))]));
        f.orch(["run"]).exits(0);
        f.orch(["audit"]).exits(0);
        forge(&f, path, "forged\n");
        let audit = f.orch(["audit"]).exits(1);
        told.into_iter()
            .fold(audit, |audit, words| audit.says(words));
    }
}

#[test]
fn a_candidate_whose_record_has_other_files_than_the_plan_is_found() {
    let f = Fixture::with_plan(&plan(&[("1", "files: [a.txt]\nrun: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    plant(&f, "collected", "$.scope.rules.files", "[\"b.txt\"]");
    f.orch(["audit"])
        .exits(1)
        .says("its record has other `files` than any plan")
        .says("`a.txt` is outside of `files`");
}

#[test]
fn an_approval_by_an_agent_or_of_something_else_is_found() {
    let f = Fixture::with_plan(&plan(&[("1", "gate: approval\nrun: echo a > a.txt")]));
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    let base = f.git(["rev-parse", "main~1"]).trim().to_owned();
    plant(
        &f,
        "approval_asked",
        "$.shown.candidate",
        &format!("\"{base}\""),
    );
    f.orch(["audit"])
        .exits(1)
        .says("which is not what its attempt made");
    plant(&f, "controlled", "$.control.by", "{\"agent\": \"1\"}");
    f.orch(["audit"])
        .exits(1)
        .says("its agent decided about the run")
        .says("no record of one precedes it");
}

#[test]
fn a_start_without_its_evidence_is_found() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "external: {run: 'true'}\nrun: echo a > a.txt",
    )]));
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    plant(&f, "evidence_looked", "$.found", "false");
    f.orch(["audit"])
        .exits(1)
        .says("it needs evidence from outside, and no record of that precedes its start");
}

#[test]
fn an_attempt_before_the_gates_passed_the_untouched_target_is_found() {
    let f = Fixture::with_plan(&plan(&[("1", "verify: 'true'\nrun: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    plant(
        &f,
        "baselined",
        "$.result.verdict",
        "{\"verdict\": \"failed\", \"detail\": \"red\"}",
    );
    f.orch(["audit"])
        .exits(1)
        .says("it began before the gates had passed the untouched target");
}

#[test]
fn a_completed_run_whose_smoke_did_not_pass_on_what_landed_last_is_found() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "run: echo b > b.txt"),
    ]));
    f.write("orch.yaml", "smoke: 'true'\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Smoke"]);
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    f.orch(["status"]).exits(0).says("smoke passed on");
    f.orch(["why", "2"])
        .exits(0)
        .says("the smoke commands passed on");
    let first = f.git(["rev-parse", "main~1"]).trim().to_owned();
    plant(&f, "smoked", "$.tip", &format!("\"{first}\""));
    f.orch(["audit"])
        .exits(1)
        .says("something else had landed last")
        .says("no record says that smoke passed on it");
    let tip = f.git(["rev-parse", "main"]).trim().to_owned();
    plant(&f, "smoked", "$.tip", &format!("\"{tip}\""));
    f.orch(["audit"]).exits(0);
    plant(
        &f,
        "smoked",
        "$.result.verdict",
        "{\"verdict\": \"failed\", \"detail\": \"a path\"}",
    );
    f.orch(["audit"])
        .exits(1)
        .says("smoke is red on it: a path");
}

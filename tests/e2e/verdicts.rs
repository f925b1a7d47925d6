//! What a gate's end means: new failures and old ones, flaky tests, tests that are gone, environments that are broken,
//! reports that are missing.

use serde_json::Value;

use crate::fixture::Fixture;
use crate::runs::plan;

/// A repository whose suite prints `suite.tap` and fails if that names failures, judged by `keys`.
fn suite(keys: &str, tap: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write("suite.sh", "cat suite.tap\n! grep -q '^not ok' suite.tap\n");
    f.write("suite.tap", tap);
    f.write(
        "orch.yaml",
        &format!("verify: [{{name: suite, run: sh suite.sh{keys}}}]\n"),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a suite"]);
    f
}

const RED: &str = "1..3\nok 1 - adds\nnot ok 2 - subtracts\nok 3 - divides\n";

/// What the gates said, of landing commits and of the base.
fn said(f: &Fixture, kind: &str) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    let of_kind = records.filter(|r| r["kind"] == kind);
    of_kind.map(|r| r["result"]["gates"][0].clone()).collect()
}

#[test]
fn what_fails_on_the_base_too_does_not_hold_up_a_landing_and_what_is_new_is_named() {
    let f = suite(
        ", fail_on: new",
        RED,
        &[
            ("1", "run: echo a > a.txt"),
            (
                "2",
                "run: sed -i 's/^ok 3/not ok 3/' suite.tap\nmax_attempts: 1\ndepends_on: []",
            ),
        ],
    );
    f.orch(["run"]).exits(1).says("new failures: divides");
    assert_eq!(f.read("a.txt"), "a\n");
    assert_eq!(f.read("suite.tap"), RED);
    assert_eq!(said(&f, "baselined")[0]["result"], "failed");
    let first = &said(&f, "verified")[0];
    assert_eq!(first["result"], "pre_existing");
    assert_eq!(first["failures"], serde_json::json!(["subtracts"]));
    assert_eq!(first["counts"]["passed"], 2);
    assert_eq!(f.status("1")["verified"], true);
    f.assert_tidy();
}

/// A suite in which `divides` fails only when it is first run on a tree of which `when` is true, the untouched one
/// excepted.
fn shaky(tasks: &[(&str, &str)]) -> Fixture {
    let f = suite(", fail_on: new", RED, tasks);
    f.write(
        "suite.sh",
        "if [ -e a.txt ] && [ ! -e \"$GATE/shaken\" ]; then touch \"$GATE/shaken\"; sed 's/^ok 3/not ok 3/' suite.tap; else cat suite.tap; fi\nexit 1\n",
    );
    f.git(["commit", "-qam", "Make it shaky"]);
    f
}

#[test]
fn a_failure_that_is_not_there_again_on_the_same_tree_is_flaky_and_lands() {
    let f = shaky(&[("1", "run: echo a > a.txt")]);
    f.orch(["run"]).exits(0).says("flaky");
    let verified = said(&f, "verified");
    assert_eq!(verified.len(), 1);
    assert_eq!(verified[0]["result"], "flaky");
    assert_eq!(f.attempts(), 1);
    f.assert_tidy();
}

#[test]
fn a_flaky_test_that_the_candidate_touches_has_failed() {
    let f = shaky(&[("1", "run: echo 'what divides' > a.txt\nmax_attempts: 1")]);
    f.orch(["run"]).exits(1).says("the change touches divides");
    assert_eq!(said(&f, "verified")[0]["result"], "failed");
    assert!(!f.repo().join("a.txt").exists());
    f.assert_tidy();
}

#[test]
fn a_green_suite_with_fewer_tests_than_on_the_base_does_not_land() {
    let f = suite(
        "",
        "1..3\nok 1 - a\nok 2 - b\nok 3 - c\n",
        &[(
            "1",
            "run: printf '1..2\\nok 1 - a\\nok 2 - b\\n' > suite.tap\nmax_attempts: 1",
        )],
    );
    f.orch(["run"])
        .exits(1)
        .says("2 tests were executed, and 3 on the base");
    assert_eq!(said(&f, "verified")[0]["result"], "fewer");
    f.assert_tidy();
}

#[test]
fn a_program_that_is_not_there_is_no_verdict_and_nobody_is_paid() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    f.write("orch.yaml", "verify: no-such-checker --all\n");
    f.orch(["run"])
        .exits(8)
        .says("the shell could not start it (exit code 127)");
    assert_eq!(f.attempts(), 0);
}

#[test]
fn a_candidate_that_takes_the_checker_away_has_failed() {
    let f = suite(
        "",
        "1..1\nok 1 - a\n",
        &[(
            "1",
            "run: rm suite.sh\nallow_protected: true\nmax_attempts: 1",
        )],
    );
    f.orch(["run"]).exits(1).says("verify failed");
    assert!(f.repo().join("suite.sh").exists());
}

/// A suite whose report `out/junit.xml` is made of `report.xml`, unless there is `skip`.
fn reporting(keys: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write(
        "report.xml",
        "<testsuite name=\"s\"><testcase name=\"adds\"/><testcase name=\"subtracts\"/></testsuite>",
    );
    f.write(".gitignore", "out/\n");
    f.write(
        "orch.yaml",
        &format!("verify: [{{name: suite, run: 'test -e skip || {{ mkdir -p out; cp report.xml out/junit.xml; }}', reports: ['out/*.xml']{keys}}}]\n"),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a suite"]);
    f
}

#[test]
fn a_report_in_a_file_speaks_for_the_tree_it_was_made_of() {
    let f = reporting("", &[("1", "run: touch a")]);
    f.orch(["run"]).exits(0);
    assert_eq!(said(&f, "verified")[0]["counts"]["passed"], 2);
    f.assert_tidy();
}

#[test]
fn a_report_of_an_earlier_tree_does_not_vouch_and_a_missing_one_is_a_failure() {
    let f = reporting("", &[("1", "run: touch skip\nmax_attempts: 1")]);
    f.orch(["run"])
        .exits(1)
        .says("there is no report `out/*.xml`; on the base its report could be read");
    assert_eq!(said(&f, "verified")[0]["result"], "failed");
    f.assert_tidy();
}

#[test]
fn a_report_that_names_failures_beats_an_exit_code_of_0() {
    let red = "<testsuite><testcase name=\"adds\"/><testcase name=\"subtracts\"><failure/></testcase></testsuite>";
    let f = reporting(
        "",
        &[(
            "1",
            &format!("run: echo '{red}' > report.xml\nmax_attempts: 1"),
        )],
    );
    f.orch(["run"])
        .exits(1)
        .says("it ended with 0 and names failures: subtracts");
    f.assert_tidy();
}

#[test]
fn a_report_that_nobody_can_read_on_the_base_ends_the_run_before_an_attempt() {
    let f = reporting("", &[("1", "run: touch a")]);
    f.write("report.xml", "<testsuite><testcase");
    f.git(["commit", "-qam", "Break the report"]);
    f.orch(["run"])
        .exits(8)
        .says("`out/junit.xml` cannot be read: it is not XML");
    assert_eq!(f.attempts(), 0);
}

//! What commands leave in a gate slot: what stays there from gate to gate, and that nobody is blamed, and no run is
//! stopped, by what others have left.

use serde_json::Value;

use crate::fixture::Fixture;
use crate::runs::plan;

/// A repository whose gate runs every script of `checks`, and is red where `left.cache` lies, which git
/// ignores; with `keys` in its `orch.yaml`.
fn cached(keys: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write(
        "gate.sh",
        "test ! -e left.cache || { echo 'left.cache is there'; exit 3; }\nfor c in checks/*; do sh \"$c\" || exit 1; done\n",
    );
    f.write("checks/plain", "test -e gate.sh\n");
    f.write(".gitignore", "*.cache\n");
    f.write(
        "orch.yaml",
        &format!("verify:\n  commands: [{{name: check, run: sh gate.sh}}]\n{keys}"),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a gate"]);
    f
}

/// A task whose own check is green and leaves what makes every later gate red.
const LEAVES: (&str, &str) = ("1", "run: echo 'touch left.cache' > checks/leaves");

/// What was said of landing commits.
fn verified(f: &Fixture) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    let of_kind = records.filter(|r| r["kind"] == "verified");
    of_kind.map(|r| r["result"].clone()).collect()
}

#[test]
fn what_a_green_gate_left_is_not_blamed_on_the_next_candidate() {
    let f = cached(
        "",
        &[
            LEAVES,
            ("2", "run: echo 'echo two' > checks/two"),
            (
                "3",
                "max_attempts: 1\nrun: echo 'echo three is wrong; exit 5' > checks/three",
            ),
        ],
    );
    f.orch(["run"]).exits(1).says("three is wrong");
    assert_eq!(f.count("attempt_started", "2"), 1);
    let said = verified(&f);
    assert_eq!(said.len(), 3);
    let second = &said[1]["gates"][0];
    assert_eq!(second["result"], "passed");
    let detail = second["detail"].as_str().expect("a detail");
    assert!(detail.contains("passed in an empty gate slot"), "{detail}");
    let third = said[2]["verdict"]["detail"].as_str().expect("a reason");
    assert!(third.contains("exit code 1"), "{third}");
    f.assert_tidy();
}

#[test]
fn what_an_earlier_run_left_does_not_make_the_untouched_target_red() {
    let f = cached("", &[LEAVES]);
    f.orch(["run"]).exits(0);
    let more = plan(&[LEAVES, ("2", "run: echo 'echo two' > checks/two")]);
    f.write(".claude/plans/plan.yaml", &more);
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("landed", "2"), 1);
    assert_eq!(f.count("attempt_started", "2"), 1);
    f.orch(["audit"]).exits(0);
}

#[test]
fn what_gates_left_does_not_make_smoke_red() {
    let f = cached("smoke: sh ./gate.sh\n", &[LEAVES]);
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn what_is_green_only_by_what_others_left_is_red_to_a_smoke_command_that_is_a_gate_too() {
    let f = cached(
        "smoke: [{name: check, run: sh gate.sh}]\n",
        &[
            ("1", "run: echo 'sh make > made.cache' > checks/made"),
            (
                "2",
                "run: \"echo false > make; echo 'test -s made.cache || sh make > made.cache' > checks/made\"",
            ),
        ],
    );
    f.write("make", "echo something\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Say how it is made"]);
    f.orch(["run"])
        .exits(1)
        .says("smoke commands are red on what has landed");
    let alone: Vec<bool> = verified(&f)
        .iter()
        .map(|said| said["gates"][0]["alone"] == true)
        .collect();
    assert_eq!(
        alone,
        [false, false],
        "beside what the untouched target left"
    );
    f.assert_tidy();
}

#[test]
fn a_test_of_the_candidate_that_fails_now_and_then_is_not_excused_by_an_empty_slot() {
    // Red, green and red again, each time on the same tree.
    let shaky = "n=$(cat \"$GATE/n\" 2>/dev/null || echo 0); n=$((n+1)); echo $n > \"$GATE/n\"; [ $((n % 2)) = 0 ] || { echo 1..1; echo 'not ok 1 - shaky'; exit 1; }; echo 1..1; echo 'ok 1 - shaky'";
    let f = cached("", &[]);
    f.write(
        ".claude/plans/plan.yaml",
        &plan(&[(
            "1",
            &format!("max_attempts: 1\nrun: |\n  cat > checks/shaky <<'END'\n  {shaky}\n  END"),
        )]),
    );
    f.git(["commit", "-qam", "Plan a shaky test"]);
    f.orch(["run"]).exits(1).says("the change touches shaky");
    assert_eq!(f.count("landed", "1"), 0);
    f.assert_tidy();
}

/// What the gate of `a_gate_that_counts` found of files that it had left before: of ignored ones, and of others.
fn found(clean: bool) -> (Vec<String>, Vec<String>) {
    let count = "for f in kept.cache stray; do echo x >> $f; wc -l < $f >> \"$GATE/$f\"; done";
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a"), ("2", "run: touch b")]));
    f.write(".gitignore", "*.cache\n");
    f.write(
        "orch.yaml",
        &format!("verify:\n  commands: [{{name: count, run: '{count}'}}]\n  clean: {clean}\n"),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a gate"]);
    f.orch(["run"]).exits(0);
    let read = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(f.gate().join(name)).expect("what was counted");
        text.lines().map(|line| line.trim().to_owned()).collect()
    };
    let found = (read("kept.cache"), read("stray"));
    f.assert_tidy();
    found
}

#[test]
fn ignored_files_stay_from_gate_to_gate_and_others_go_and_a_clean_slot_keeps_neither() {
    let (ignored, others) = found(false);
    assert_eq!(ignored, ["1", "2", "3"], "the base and two tasks");
    assert_eq!(others, ["1", "1", "1"]);
    let (ignored, others) = found(true);
    assert_eq!(ignored, ["1", "1", "1"]);
    assert_eq!(others, ["1", "1", "1"]);
}

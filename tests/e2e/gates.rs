//! Nothing lands that its gates have not passed, as exactly that tree, in a place where no agent works.

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Fixture, Live, gated};
use crate::runs::plan;

/// A repository whose check passes unless `bad` is in `code.txt`, with `keys` in its `orch.yaml`.
fn checked(keys: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write(
        "check.sh",
        "! grep -q bad code.txt || { echo 'code.txt is bad'; exit 1; }\n",
    );
    f.write("code.txt", "good\n");
    f.write("orch.yaml", keys);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a check"]);
    f
}

const CHECK: &str = "verify: [{name: check, run: sh check.sh}]\n";

fn verified(f: &Fixture) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records.filter(|r| r["kind"] == "verified").collect()
}

#[test]
fn a_commit_lands_verified_with_a_record_of_exactly_its_tree() {
    let f = checked(CHECK, &[("1", "run: echo better > code.txt")]);
    f.orch(["run"]).exits(0).says("verified: check passed");
    let records = verified(&f);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["result"]["verdict"]["verdict"], "passed");
    assert_eq!(
        records[0]["result"]["tree"].as_str().expect("a tree"),
        f.git(["rev-parse", "main^{tree}"]).trim()
    );
    assert_eq!(f.status("1")["verified"], true);
    assert!(
        f.git(["log", "-1", "--format=%B"])
            .contains("Orch-Verified: check\n")
    );
    f.orch(["audit"])
        .exits(0)
        .says("1 landed commits (0 unverified)");
    f.assert_tidy();
}

#[test]
fn a_red_candidate_does_not_land_and_the_next_attempt_is_told_why() {
    let run = "run: if [ \"$ORCH_ATTEMPT\" = 1 ]; then echo bad > code.txt; else echo fine > code.txt; fi";
    let f = checked(CHECK, &[("1", run)]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("code.txt"), "fine\n");
    assert_eq!(f.count("attempt_started", "1"), 2);
    let prompt = glob(&f, "1/2/prompt.md");
    assert!(prompt.contains("code.txt is bad"), "{prompt}");
    assert_eq!(
        f.subjects("main").len(),
        4,
        "one commit, beside those of the fixture"
    );
    f.assert_tidy();
}

#[test]
fn what_stays_red_fails_the_task_and_lands_nothing() {
    let f = checked(CHECK, &[("1", "run: echo bad > code.txt\nmax_attempts: 2")]);
    f.orch(["run"]).exits(1).says("verify failed");
    assert_eq!(f.read("code.txt"), "good\n");
    assert_eq!(
        f.git(["rev-parse", "orch/plan"]),
        f.git(["rev-parse", "main"])
    );
    f.assert_tidy();
}

#[test]
fn gates_that_are_red_before_anything_was_changed_end_the_run_before_an_attempt() {
    let f = checked(CHECK, &[("1", "run: echo fine > code.txt")]);
    f.write("code.txt", "bad\n");
    f.git(["commit", "-qam", "Break it"]);
    f.orch(["run"])
        .exits(8)
        .says("red before anything was changed");
    assert_eq!(f.attempts(), 0);
    // A person mends it, and the same command goes on.
    f.write("code.txt", "good\n");
    f.git(["commit", "-qam", "Mend it"]);
    f.git(["branch", "-D", "orch/plan"]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("code.txt"), "fine\n");
}

#[test]
fn what_a_task_itself_asks_for_may_be_red_before_it() {
    let f = checked(
        CHECK,
        &[
            (
                "1",
                "run: echo hi > greeting.txt\nverify: test -s greeting.txt",
            ),
            (
                "2",
                "run: echo hi > b.txt\nverify: [{run: cmp greeting.txt b.txt, fail_on: new}]",
            ),
        ],
    );
    f.orch(["run"])
        .exits(0)
        .says("test -s greeting.txt failed, which its task is to change (");
    f.orch(["report"])
        .exits(0)
        .says("`test -s greeting.txt` failed, which its task is to change");
    assert_eq!(f.attempts(), 2);
    assert_eq!(f.status("1")["verified"], true);
    f.orch(["audit"]).exits(0).says("(0 unverified)");
    f.assert_tidy();
}

#[test]
fn what_a_task_itself_asks_for_is_blamed_on_it_although_it_was_red_before() {
    let f = checked(
        CHECK,
        &[(
            "1",
            "run: echo hi > greeting.txt\nverify: test -s never.txt\nmax_attempts: 2",
        )],
    );
    f.orch(["run"]).exits(1).says("`test -s never.txt` failed");
    assert_eq!(f.count("attempt_started", "1"), 2);
    f.assert_tidy();
}

#[test]
fn a_task_may_bring_the_program_that_judges_it_and_is_told_if_it_cannot_be_started() {
    let run = "run: date > log.txt; test $ORCH_ATTEMPT = 1 || install -m 755 /dev/null made.sh";
    let f = checked(
        CHECK,
        &[(
            "1",
            &format!("{run}\nverify: ./made.sh\nallow_protected: [made.sh]"),
        )],
    );
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("attempt_started", "1"), 2);
    let prompt = glob(&f, "1/2/prompt.md");
    assert!(prompt.contains("could not start it"), "{prompt}");
}

#[test]
fn a_gate_sees_the_commit_and_nothing_that_only_lies_in_the_agents_slot() {
    let f = checked(
        "verify: [{name: check, run: test ! -e green && sh check.sh}]\n",
        &[("1", "run: touch green; echo fine > code.txt")],
    );
    f.write(".gitignore", "green\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Ignore"]);
    f.orch(["run"]).exits(0);
}

#[test]
fn a_command_that_changes_tracked_files_vouches_for_nothing() {
    let f = checked(
        "verify: [{name: check, run: 'test ! -e new.txt || echo fixed > code.txt'}]\n",
        &[("1", "run: touch new.txt\nmax_attempts: 1")],
    );
    f.orch(["run"]).exits(1).says("changed tracked files");
}

#[test]
fn a_command_that_is_not_required_is_told_and_does_not_decide() {
    let f = checked(
        "verify: [{name: check, run: sh check.sh, required: false}]\n",
        &[("1", "run: echo bad > code.txt")],
    );
    f.orch(["run"]).exits(0).says("check failed");
    assert_eq!(f.status("1")["verified"], false);
    assert!(
        f.git(["log", "-1", "--format=%B"])
            .contains("Orch-Verified: no")
    );
    f.assert_tidy();
}

#[test]
fn commands_of_plan_section_and_task_come_together() {
    let text = "orch: 1\nmeta: {name: Scratch, runner: command, verify: [{name: a, run: 'echo a >> \"$GATE/log\"'}]}\nsections:\n  - id: s\n    name: Work\n    verify: [{name: b, run: 'echo b >> \"$GATE/log\"'}]\n    tasks:\n      - id: '1'\n        name: Task 1\n        run: touch one\n        verify: [{name: a, run: 'echo c >> \"$GATE/log\"'}]\n";
    let f = Fixture::with_plan(text);
    f.orch(["run"]).exits(0);
    let log = std::fs::read_to_string(f.gate().join("log")).expect("a log");
    // Once on the base, once on the landing commit; the task's `a` stands for the plan's.
    assert_eq!(log, "b\nc\nb\nc\n");
}

#[test]
fn the_target_that_moved_meanwhile_is_verified_again_as_it_will_be() {
    let f = checked(
        &format!(
            "verify: [{{name: check, run: '{}'}}]\n",
            gated("up", "go", "sh check.sh").replace('\'', "''")
        ),
        &[("1", "run: echo fine > code.txt")],
    );
    f.open("go");
    let run = f.live(["run"]);
    run.ended().exits(0);
    assert_eq!(verified(&f).len(), 1);
}

/// Ends a run while its gates run, as `end` does; the next one asks them again, lands the task, and pays no agent.
fn gates_are_asked_again_after(end: impl FnOnce(Live)) {
    let check = gated("up", "go", "sh check.sh").replace('\'', "''");
    let f = checked(
        &format!("verify: [{{name: check, run: 'test ! -e new.txt || {{ {check}; }}'}}]\n"),
        &[("1", "run: touch new.txt")],
    );
    let run = f.live(["run"]);
    f.await_gate("up");
    end(run);
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_eq!(f.count("landed", "1"), 1);
    f.assert_tidy();
}

#[test]
fn an_orch_killed_while_gates_run_asks_them_again_and_lands_once() {
    gates_are_asked_again_after(Live::killed);
}

#[test]
fn a_gate_that_outlived_its_orch_is_ended_before_it_is_asked_again() {
    let busy = r#"exec 9> "$GATE/lock"; flock -n 9 || echo beside >> "$GATE/log"; echo ran >> "$GATE/log"; test -e "$GATE/go" || { touch "$GATE/up"; setsid sleep 600 & wait; }"#;
    let keys = format!("verify: [{{name: check, run: 'test ! -e new.txt || {{ {busy}; }}'}}]\n");
    let f = checked(&keys, &[("1", "run: touch new.txt")]);
    let run = f.live(["run"]);
    f.await_gate("up");
    run.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    let log = std::fs::read_to_string(f.gate().join("log")).expect("a log");
    assert_eq!(log, "ran\nran\n");
    f.assert_tidy();
}

#[test]
fn a_hard_stop_ends_the_gates_and_the_next_run_verifies() {
    gates_are_asked_again_after(|run| {
        run.signal(Signal::INT);
        run.await_says("stopping");
        run.signal(Signal::INT);
        run.ended().exits(3);
    });
}

#[test]
fn a_run_that_requires_gates_refuses_tasks_without_them() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    f.orch(["run", "--require-verify"])
        .exits(2)
        .says("no required verify command judges `1`");
    assert_eq!(f.attempts(), 0);
    f.write("orch.yaml", "verify: test -e README.md || true\n");
    f.orch(["run", "--require-verify"])
        .exits(2)
        .says("the required verify commands of `1` cannot fail");
    assert_eq!(f.attempts(), 0);
    f.write("orch.yaml", "verify: test -e README.md\n");
    f.orch(["run", "--require-verify"]).exits(0);
    // A task that is done, and that this run would do again.
    f.write("orch.yaml", "jobs: 1\n");
    f.orch(["run", "--require-verify", "--resume-from", "1"])
        .exits(2)
        .says("no required verify command judges `1`");
}

#[test]
fn where_a_run_requires_gates_an_agent_cannot_add_a_task_without_one() {
    let more = "      - id: more\\n        name: More\\n";
    let run = format!("runner: command\nrun: |\n  touch a\n  printf '{more}' >> .orch/plan.yaml");
    let with = |keys: &str| {
        let text = plan(&[("1", &format!("{run}\nmax_attempts: 1\n{keys}"))]);
        Fixture::with_plan(&text.replacen("runner: command", "runner: rehearsal", 1))
    };
    with("verify: test -e a")
        .orch(["run", "--require-verify"])
        .exits(1)
        .says("no required verify command judges task more");
    // A gate of all tasks is its gate, too.
    let f = with("");
    f.write("orch.yaml", "verify: test -e README.md\n");
    f.orch(["run", "--require-verify"]).exits(0);
    assert_eq!(f.count("attempt_started", "more"), 1);
}

const PLAN: &str = ".claude/plans/plan.yaml";

/// Drops the gate of a task while the one before it runs, and then has it judged by a command that cannot fail.
fn gates_are_dropped_during_a_run(f: &Fixture) {
    let good = |verify: &str| {
        let first = format!("run: {}\nverify: test -e a", gated("up", "go", "touch a"));
        let second = format!("run: touch b\n{verify}");
        plan(&[("1", first.as_str()), ("2", second.as_str())])
    };
    f.write(PLAN, &good("verify: test -e b"));
    if f.git(["ls-files", PLAN]).trim() == PLAN {
        f.git(["commit", "-qam", "Plan"]);
    }
    let run = f.live(["run", "--require-verify"]);
    f.await_gate("up");
    f.write(PLAN, &good(""));
    run.await_says("no required verify command judges task 2");
    f.write(PLAN, &good("verify: test -e b || true"));
    run.await_says("the required verify commands of task 2 cannot fail");
    run.await_says("the last good plan goes on");
    f.open("go");
    run.ended().exits(0);
    let judged = f.records().iter().any(|stamped| {
        let record = &stamped["record"];
        record["kind"] == "verified"
            && record["ticket"]["task"] == "2"
            && record["result"]["gates"][0]["name"] == "test -e b"
    });
    assert!(judged, "by the plan that was good");
}

#[test]
fn where_a_run_requires_gates_no_edit_during_it_drops_one() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    gates_are_dropped_during_a_run(&f);
}

#[test]
fn where_a_run_requires_gates_no_edit_of_a_plan_outside_of_git_drops_one() {
    let f = Fixture::new();
    f.write(".git/info/exclude", ".claude/\n");
    gates_are_dropped_during_a_run(&f);
}

#[test]
fn the_test_command_of_the_seeds_settings_is_a_gate() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    f.write(
        ".claude/orchestrator-config.yaml",
        "test_command: test ! -e a\n",
    );
    f.orch(["run"]).exits(1);
    assert!(!f.repo().join("a").exists());
}

#[test]
fn a_second_run_on_unchanged_trees_verifies_nothing_where_gates_are_hermetic() {
    let keys = "verify: {commands: [{name: check, run: 'echo ran >> \"$GATE/log\"'}], cache: hermetic, env_probe: [echo one]}\n";
    let f = checked(keys, &[("1", "run: touch a")]);
    f.orch(["run"]).exits(0);
    let ran = || {
        let log = std::fs::read_to_string(f.gate().join("log")).expect("a log");
        log.lines().count()
    };
    assert_eq!(ran(), 2);
    f.git(["branch", "-f", "orch/plan", "main~1"]);
    f.git(["reset", "-q", "--hard", "main~1"]);
    f.git(["update-ref", "-d", "refs/heads/orch/plan"]);
    f.orch(["run"]).exits(0);
    assert_eq!(ran(), 2, "the base and the landing commit are known trees");
    f.orch(["audit"]).exits(0);
}

/// The content of a file of the only run.
pub(crate) fn glob(f: &Fixture, path: &str) -> String {
    let runs = f.repo().join(".git/orch/runs");
    let run = std::fs::read_dir(runs)
        .expect("runs")
        .filter_map(Result::ok)
        .next()
        .expect("a run");
    std::fs::read_to_string(run.path().join(path)).expect(path)
}

#[test]
fn an_output_must_fit_its_schema_as_a_person_wrote_it_and_is_told_where_it_does_not() {
    let write = "run: |\n  [ \"$ORCH_ATTEMPT\" = 1 ] && price=-1 || price=1\n  echo '{\"items\": [{\"price\": '$price'}]}' > out.json";
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            &format!("outputs: [{{path: out.json, json_schema: schemas/out.json}}]\n{write}"),
        ),
        (
            "2",
            "max_attempts: 1\noutputs: [{path: b.json, json_schema: schemas/out.json}]\nrun: echo true > schemas/out.json; echo 1 > b.json",
        ),
    ]));
    f.write(
        "schemas/out.json",
        r#"{"type": "object", "properties": {"items": {"items": {"properties": {"price": {"minimum": 0}}}}}}"#,
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a schema"]);
    f.orch(["run"])
        .exits(1)
        .says("`out.json` does not fit its schema at /items/0/price")
        .says("it changed protected paths");
    assert_eq!(f.count("landed", "1"), 1);
    assert_eq!(f.count("landed", "2"), 0);
    f.assert_tidy();
}

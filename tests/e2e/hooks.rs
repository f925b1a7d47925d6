//! What a person has run before a run, after its tasks and after it.

use crate::fixture::Fixture;
use crate::runs::plan;

fn fixture(hooks: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write("orch.yaml", hooks);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Hooks"]);
    f
}

fn told(f: &Fixture) -> Vec<String> {
    let text = std::fs::read_to_string(f.gate().join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const ALL: &str = r#"hooks:
  before_run: echo "$ORCH_EVENT" >> "$GATE/told"; test -n "$ORCH_EVENT_ID"
  after_task: echo "$ORCH_EVENT $ORCH_TASK" >> "$GATE/told"; echo "$ORCH_EVENT_ID" >> "$GATE/ids"
  after_run: echo "$ORCH_EVENT $ORCH_OUTCOME" >> "$GATE/told"; echo "$ORCH_EVENT_ID" >> "$GATE/ids"
"#;

#[test]
fn hooks_run_before_a_run_after_each_task_and_after_the_run_with_ids_of_their_own() {
    let f = fixture(
        ALL,
        &[
            ("1", "run: echo a > a.txt"),
            ("2", "max_attempts: 1\nrun: exit 1"),
        ],
    );
    f.orch(["run"]).exits(1);
    assert_eq!(
        told(&f),
        [
            "before_run",
            "task_done 1",
            "task_failed 2",
            "run_ended failed"
        ]
    );
    let ids = std::fs::read_to_string(f.gate().join("ids")).expect("ids");
    let unlike: std::collections::BTreeSet<&str> = ids.lines().collect();
    assert_eq!(unlike.len(), 3);
    f.assert_tidy();
}

#[test]
fn a_hook_before_the_run_that_fails_keeps_it_from_starting() {
    let f = fixture(
        "hooks: {before_run: 'exit 3'}\n",
        &[("1", "run: echo a > a.txt")],
    );
    f.orch(["run"])
        .exits(8)
        .says("nothing starts: the hook before_run");
    f.orch(["status"]).exits(1);
    assert!(!f.repo().join("a.txt").exists());
}

#[test]
fn a_hook_that_fails_afterwards_is_logged_and_changes_nothing() {
    let f = fixture(
        "hooks: {after_task: 'echo once >> \"$GATE/told\"; exit 3'}\n",
        &[("1", "run: echo a > a.txt")],
    );
    f.orch(["run"]).exits(0);
    assert_eq!(told(&f), ["once"]);
    let runs = f.repo().join(".git/orch/runs");
    let run = std::fs::read_dir(runs).expect("runs").next();
    let log = run
        .expect("a run")
        .expect("a run")
        .path()
        .join("log/orch.jsonl");
    let log = std::fs::read_to_string(log).expect("the log");
    assert!(log.contains("the hook failed"), "{log}");
    f.assert_tidy();
}

#[test]
fn a_hook_after_a_task_whose_orch_was_killed_runs_with_the_next_start() {
    let f = fixture(
        "hooks: {after_task: 'test -e \"$GATE/go\" || { touch \"$GATE/began\"; while [ -d \"$GATE\" ] && [ ! -e \"$GATE/go\" ]; do sleep 0.05; done; exit 1; }; echo \"$ORCH_EVENT_ID\" >> \"$GATE/told\"'}\n",
        &[("1", "run: echo a > a.txt")],
    );
    let orch = f.live(["run"]);
    f.await_gate("began");
    orch.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(told(&f).len(), 1);
}

/// A command that says when another one works beside it, and goes on until it is ended as long as `go` is not open.
const BUSY: &str = "exec 9> \"$GATE/lock\"; flock -n 9 || echo beside >> \"$GATE/told\"; echo ran >> \"$GATE/told\"; test -e \"$GATE/go\" || { touch \"$GATE/began\"; setsid sleep 600 & wait; }";

/// Kills orch while its command runs, which then goes on alone, until the next orch runs it again; `more`: what that one
/// has to run for itself.
fn is_ended_and_run_again(f: &Fixture, more: usize) {
    let orch = f.live(["run"]);
    f.await_gate("began");
    orch.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(told(f), vec!["ran"; 2 + more]);
    f.assert_tidy();
}

#[test]
fn a_hook_that_outlived_its_orch_is_ended_before_it_runs_again() {
    // A run begins that has nothing to do, and ends, too.
    for (when, more) in [("before_run", 0), ("after_task", 0), ("after_run", 1)] {
        let settings = format!("hooks: {{{when}: '{BUSY}'}}\n");
        is_ended_and_run_again(&fixture(&settings, &[("1", "run: echo a > a.txt")]), more);
    }
}

#[test]
fn a_command_that_tells_somebody_or_looks_for_evidence_and_outlived_its_orch_is_ended_first() {
    let settings = format!("notify: [{{on: task_done, run: '{BUSY}'}}]\n");
    is_ended_and_run_again(&fixture(&settings, &[("1", "run: echo a > a.txt")]), 0);
    let looks = format!("external: {{run: '{BUSY}'}}\nrun: echo a > a.txt");
    is_ended_and_run_again(&fixture("", &[("1", &looks)]), 0);
}

#[test]
fn a_hook_that_an_orch_waits_for_whose_run_is_over_is_left_to_it() {
    let wait = crate::fixture::waits("go");
    let id = "echo \"$ORCH_EVENT_ID\" >> \"$GATE/";
    let settings = format!("hooks: {{after_run: '{id}begun\"; {wait}; {id}told\"'}}\n");
    let f = fixture(&settings, &[("1", "max_attempts: 1\nrun: exit 1")]);
    let first = f.live(["run"]);
    // It has no lock any more while its hook runs.
    let have_begun = |count| {
        let text = std::fs::read_to_string(f.gate().join("begun")).unwrap_or_default();
        (text.lines().count() == count).then_some(())
    };
    f.await_that("its hook", || have_begun(1));
    let second = f.live(["run"]);
    f.await_that("the hook of the second", || have_begun(2));
    f.open("go");
    first.ended().exits(1);
    second.ended().exits(1);
    let ids: std::collections::BTreeSet<String> = told(&f).into_iter().collect();
    assert_eq!((told(&f).len(), ids.len()), (2, 2), "each end once");
}

#[test]
fn a_plan_may_bring_hooks_of_its_own_and_an_agent_may_not() {
    let text = plan(&[(
        "1",
        "max_attempts: 1\nrun: sed -i 's/echo HOOK[E]D/echo AGAIN/' .orch/plan.yaml; echo a > a.txt",
    )]);
    let hooked = text.replacen(
        "runner: command}",
        "runner: command, hooks: {after_run: 'echo HOOKED >> \"$GATE/told\"'}}",
        1,
    );
    let f = Fixture::with_plan(&hooked);
    f.orch(["run"]).exits(1).says("plan edit invalid");
    assert_eq!(told(&f), ["HOOKED"]);
}

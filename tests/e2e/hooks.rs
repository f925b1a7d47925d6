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

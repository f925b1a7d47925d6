//! orch is killed, with or without its shims, while an agent, a set-up or an update of the checkout is under way; the
//! next run loses and doubles nothing, and charges no attempt for it. The exact places are tried in `matrix`.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixture::{Fixture, Live, Ran, gated, lives};
use crate::runs::plan;

/// One task with one attempt that tells its process id and waits at the gate `go`.
fn gated_task() -> Fixture {
    let run = gated("up", "go", "echo $$ > pid.txt");
    Fixture::with_plan(&plan(&[(
        "1",
        &format!("max_attempts: 1\nrun: 'echo $$ > \"$GATE/pid\"; {run}'"),
    )]))
}

/// Waits until the shim has reported the end of the agent.
fn await_exit(f: &Fixture) {
    f.await_that("the report of the shim", || {
        of_attempts(f, "exit.json").pop()
    });
}

fn agent(f: &Fixture) -> i32 {
    let text = std::fs::read_to_string(f.gate().join("pid")).expect("a pid");
    text.trim().parse().expect("a number")
}

/// The files called `name` in the directories of attempts.
fn of_attempts(f: &Fixture, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![f.repo().join(".git/orch/runs")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|n| n == name) {
                found.push(path);
            }
        }
    }
    found
}

fn assert_landed_once(f: &Fixture) {
    assert_eq!(f.subjects("main")[..2], ["1: Task 1", "Add the plan"]);
    assert_eq!(f.count("landed", "1"), 1);
    assert_eq!(f.attempts_written(), ["1"], "only the one that succeeded");
    f.assert_tidy();
}

#[test]
fn an_agent_that_outlived_orch_is_followed_and_not_started_again() {
    let f = gated_task();
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    assert!(lives(agent(&f)), "the agent runs on");
    let next = f.live(["run"]);
    next.await_says("goes on");
    f.open("go");
    next.ended().exits(0);
    assert_eq!(f.read("pid.txt").trim(), agent(&f).to_string());
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_landed_once(&f);
}

#[test]
fn an_agent_that_ended_while_there_was_no_orch_is_collected() {
    let f = gated_task();
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    f.open("go");
    await_exit(&f);
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_landed_once(&f);
}

/// How the attempts of task 1 ended, and why.
fn ends(f: &Fixture) -> Vec<(String, String)> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    let ends = records
        .filter(|record| record["kind"] == "collected")
        .map(|record| record["end"].clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ends.map(|end| (text(&end["ending"]), text(&end["detail"])))
        .collect()
}

#[test]
fn an_agent_that_ended_before_the_machine_was_started_again_is_not_believed_and_costs_nothing() {
    let f = gated_task();
    let run = |boot: &str| {
        let mut command = f.command(["run"]);
        command.env("ORCH_CRASH_BOOT", boot);
        command
    };
    let orch = Live::of(run("first"), f.root());
    f.await_gate("up");
    orch.killed();
    f.open("go");
    await_exit(&f);
    Ran::of(run("second").output().expect("orch")).exits(0);
    let ends = ends(&f);
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert_eq!(ends[0].0, "crashed", "{ends:?}");
    assert_landed_once(&f);
}

#[test]
fn what_another_attempt_left_in_a_slot_meanwhile_is_saved_and_not_taken_for_the_first_ones() {
    let f = gated_task();
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    f.open("go");
    await_exit(&f);
    // As an orch leaves it that knew nothing of the first attempt: its ledger was lost.
    let state = f.root().join("state");
    let notes = crate::shapes::files_below(&state, |path| path.ends_with("orch/tenant.json"));
    let [note] = &notes[..] else {
        panic!("one slot: {notes:?}");
    };
    let text = std::fs::read(note).expect("a note");
    let mut tenant: Value = serde_json::from_slice(&text).expect("JSON");
    tenant["run"] = "20260101-000000-aaaa".into();
    tenant["ticket"]["task"] = "9".into();
    std::fs::write(note, tenant.to_string()).expect("written");
    let slot = note.ancestors().nth(2).expect("the slot");
    std::fs::write(slot.join("tree/theirs.txt"), "theirs\n").expect("written");
    f.orch(["run"]).exits(0);
    let ends = ends(&f);
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert_eq!(ends[0].0, "crashed", "{ends:?}");
    assert!(
        ends[0].1.contains("used for task 9 of run 20260101"),
        "{ends:?}"
    );
    assert!(!f.repo().join("theirs.txt").exists());
    f.orch(["salvage", "list"])
        .exits(0)
        .says("20260101-000000-aaaa");
    assert_landed_once(&f);
}

#[test]
fn an_agent_that_died_with_orch_and_its_shim_is_swept_and_started_again_for_nothing() {
    let run = format!(
        "setsid sh -c \"echo \\$\\$ > $GATE/left; cd /; exec sleep 1000\" & {}",
        gated("up", "go", "echo a > a.txt")
    );
    let f = Fixture::with_plan(&plan(&[("1", &format!("max_attempts: 1\nrun: '{run}'"))]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    let left: i32 = f.await_that("a left-over", || {
        std::fs::read_to_string(f.gate().join("left"))
            .ok()?
            .trim()
            .parse()
            .ok()
    });
    orch.killed();
    let shim = of_attempts(&f, "shim.pid").pop().expect("a shim");
    let shim: Value = serde_json::from_slice(&std::fs::read(shim).expect("a file")).expect("JSON");
    let shim = shim["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let shim = shim.and_then(Pid::from_raw).expect("a pid");
    kill_process(shim, Signal::KILL).expect("a signal");
    assert!(
        lives(left),
        "what the agent started is not the shim's child"
    );
    f.open("go");
    f.orch(["run"]).exits(0);
    assert!(!lives(left), "nothing of the lost attempt lives");
    assert_eq!(f.count("attempt_started", "1"), 2);
    assert_landed_once(&f);
}

#[test]
fn a_set_up_that_outlived_orch_is_ended_and_run_again() {
    let f = Fixture::with_plan(&plan(&[("1", "max_attempts: 1\nrun: echo a > a.txt")]));
    let setup = format!(
        "echo $$ > \"$GATE/pid\"; {}",
        gated("setting-up", "set-up", "true")
    );
    f.write("orch.yaml", &format!("setup:\n  run:\n    - '{setup}'\n"));
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add the plan"]);
    let orch = f.live(["run"]);
    f.await_gate("setting-up");
    orch.killed();
    let first = agent(&f);
    let next = f.live(["run"]);
    f.await_that("another set-up", || {
        (agent_of(&f) != Some(first)).then_some(())
    });
    assert!(!lives(first), "the first one is ended");
    f.open("set-up");
    next.ended().exits(0);
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_landed_once(&f);
}

fn agent_of(f: &Fixture) -> Option<i32> {
    std::fs::read_to_string(f.gate().join("pid"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[test]
fn a_checkout_that_was_being_published_to_is_brought_to_its_end() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "max_attempts: 1\nrun: 'echo \"*.slow filter=slow\" > .gitattributes; for i in a b c d; do echo $i > $i.slow; done'",
    )]));
    let gate = f.gate();
    // Files come into the checkout one by one; from the second on each waits.
    let smudge = format!(
        "n=$(ls '{0}' | wc -l); touch '{0}'/$n; [ $n -lt 1 ] || while [ ! -e '{0}'/go ]; do [ -d '{0}' ] || exit 9; sleep 0.02; done; cat",
        gate.display()
    );
    f.git(["config", "filter.slow.smudge", &smudge]);
    f.git(["config", "filter.slow.clean", "cat"]);
    f.git(["config", "filter.slow.required", "true"]);
    let orch = f.live(["run"]);
    f.await_gate("1");
    orch.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(f.read(&format!("{name}.slow")), format!("{name}\n"));
    }
    assert_landed_once(&f);
}

//! A run is halted: by signals, by a stop file, by another terminal; and the next one goes on.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{Fixture, gated, lives, waits};
use crate::runs::plan;

/// How long the end of agents, the saving of their work and the receipts may take together.
const RECEIPTS_MAX: Duration = Duration::from_secs(8);

/// Tasks `1` and `2` beside each other, which wait at the gate `go`; `3` after `1`.
fn gated_pair() -> Fixture {
    let one = format!(
        "depends_on: []\nrun: '{}'",
        gated("up-1", "go", "echo a > a.txt")
    );
    let two = format!(
        "depends_on: []\nrun: '{}'",
        gated("up-2", "go", "echo b > b.txt")
    );
    Fixture::with_plan(&plan(&[
        ("1", &one),
        ("2", &two),
        ("3", "depends_on: ['1']\nrun: echo c > c.txt"),
    ]))
}

/// One task with one attempt, which leaves half of its work and waits at the gate `go`; `before` runs first.
fn half_done(before: &str) -> Fixture {
    let run = format!(
        "max_attempts: 1\nrun: '{before}echo half > half.txt; {}'",
        gated("up", "go", "echo whole > whole.txt")
    );
    Fixture::with_plan(&plan(&[("1", &run)]))
}

fn assert_half_is_saved(f: &Fixture) {
    let refs = f.git(["for-each-ref", "--format=%(refname)", "refs/orch/candidate"]);
    let candidate = refs.lines().next().expect("a candidate").to_owned();
    let half = format!("{candidate}:half.txt");
    assert_eq!(f.git(["show", &half]), "half\n");
}

#[test]
fn a_first_interrupt_says_what_finishes_lets_it_land_and_starts_nothing_more() {
    let f = gated_pair();
    let orch = f.live(["run", "-j", "2"]);
    f.await_gate("up-1");
    f.await_gate("up-2");
    orch.signal(Signal::INT);
    orch.await_says("finishing 2 tasks, longest limit 59 min");
    orch.await_says("again to end them and keep their work");
    f.open("go");
    orch.ended().exits(3);
    assert_eq!(f.subjects("orch/plan").len(), 4);
    assert_eq!(f.count("attempt_started", "3"), 0);
    f.orch(["run"]).exits(0);
    for task in ["1", "2", "3"] {
        assert_eq!(f.count("attempt_started", task), 1, "task {task}");
        assert_eq!(f.count("landed", task), 1, "task {task}");
    }
    f.assert_tidy();
}

#[test]
fn a_second_interrupt_ends_the_agents_and_saves_their_work() {
    let f = half_done("");
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.signal(Signal::INT);
    orch.await_says("finishing 1 task, ");
    let second = Instant::now();
    orch.signal(Signal::INT);
    orch.ended().exits(3);
    assert!(second.elapsed() < RECEIPTS_MAX);
    assert_half_is_saved(&f);
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("whole.txt"), "whole\n");
    assert_eq!(f.attempts_written(), ["1"], "only the one that succeeded");
    f.assert_tidy();
}

#[test]
fn a_termination_ends_even_an_agent_that_ignores_it_with_its_receipt_in_time() {
    let f = half_done("trap \"\" TERM; ");
    let orch = f.live(["run"]);
    f.await_gate("up");
    let asked = Instant::now();
    orch.signal(Signal::TERM);
    orch.ended().exits(3);
    assert!(asked.elapsed() < RECEIPTS_MAX, "{:?}", asked.elapsed());
    assert_eq!(f.count("collected", "1"), 1);
    assert_half_is_saved(&f);
    f.open("go");
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_termination_does_not_wait_for_the_set_up_of_a_slot() {
    let f = half_done("");
    f.write(
        "orch.yaml",
        &format!(
            "setup:\n  run:\n    - '{}'\n",
            gated("setting-up", "set-up", "true")
        ),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Set slots up"]);
    let orch = f.live(["run"]);
    f.await_gate("setting-up");
    let asked = Instant::now();
    orch.signal(Signal::TERM);
    orch.ended().exits(3);
    assert!(asked.elapsed() < RECEIPTS_MAX);
    assert!(!f.gate().join("up").exists(), "the agent never started");
    f.open("set-up");
    f.open("go");
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_third_interrupt_ends_orch_at_once_and_the_next_run_goes_on() {
    let f = half_done("trap \"\" TERM; ");
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.signal(Signal::INT);
    orch.await_says("finishing 1 task");
    orch.signal(Signal::INT);
    orch.await_says("agents are ended");
    let third = Instant::now();
    orch.signal(Signal::INT);
    orch.ended().exits(130);
    assert!(
        third.elapsed() < Duration::from_secs(2),
        "{:?}",
        third.elapsed()
    );
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("landed", "1"), 1);
    assert_eq!(f.attempts_written(), ["1"], "only the one that succeeded");
    f.assert_tidy();
}

#[test]
fn a_hang_up_leaves_the_agent_running_and_the_next_run_follows_the_same_process() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &format!(
            "run: 'echo $$ > \"$GATE/pid\"; {}'",
            gated("up", "go", "echo $$ > pid.txt")
        ),
    )]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.signal(Signal::HUP);
    orch.ended().exits(3);
    let pid = std::fs::read_to_string(f.gate().join("pid")).expect("a pid");
    assert!(
        lives(pid.trim().parse().expect("a number")),
        "the agent runs on"
    );
    let next = f.live(["run"]);
    next.await_says("goes on");
    f.open("go");
    next.ended().exits(0);
    assert_eq!(f.read("pid.txt"), pid);
    assert_eq!(f.count("attempt_started", "1"), 1);
    f.assert_tidy();
}

#[test]
fn a_stop_file_beside_the_plan_or_in_the_usual_place_halts_a_live_run() {
    for place in ["plans/.stop", ".claude/plans/.stop"] {
        let f = Fixture::new();
        f.write(".claude/plans/keep", "");
        let one = format!("run: '{}'", gated("up", "go", "echo a > a.txt"));
        f.write(
            "plans/work.yaml",
            &plan(&[("1", &one), ("2", "run: echo b > b.txt")]),
        );
        f.git(["add", "-A"]);
        f.git(["commit", "-qm", "Add a plan"]);
        let orch = f.live(["run", "--plan", "plans/work.yaml"]);
        f.await_gate("up");
        f.write(place, "");
        orch.await_says("asked by the stop file");
        f.open("go");
        orch.ended().exits(3);
        assert!(
            f.repo().join(place).exists(),
            "it is the person's to remove"
        );
        assert_eq!(f.subjects("orch/work")[0], "1: Task 1");
        std::fs::remove_file(f.repo().join(place)).expect("a stop file");
        f.orch(["run", "--plan", "plans/work.yaml"]).exits(0);
        f.assert_tidy();
    }
}

#[test]
fn a_stop_from_another_terminal_leaves_no_file_and_does_not_stop_the_next_run() {
    let f = gated_pair();
    let orch = f.live(["run", "-j", "2"]);
    f.await_gate("up-1");
    f.await_gate("up-2");
    f.orch(["stop", "--note", "lunch"]).exits(0);
    assert_eq!(f.git(["status", "--porcelain"]), "");
    f.open("go");
    orch.ended().exits(3);
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn waiting_for_a_stop_ends_when_the_repository_is_free_again() {
    let f = gated_pair();
    let orch = f.live(["run", "-j", "2"]);
    f.await_gate("up-1");
    f.await_gate("up-2");
    let mut stop = f.live(["stop", "--wait"]);
    orch.await_says("stopping");
    assert!(stop.has_not_ended(), "tasks still run");
    f.open("go");
    stop.ended().exits(0);
    // Not 7: nothing holds the lock any more.
    f.orch(["run"]).exits(0);
    orch.ended().exits(3);
    f.assert_tidy();
}

#[test]
fn a_stop_without_a_live_run_says_so() {
    let f = half_done("");
    f.orch(["stop"]).exits(1).says("no run is live");
}

#[test]
fn a_termination_at_the_moment_an_agent_starts_is_not_lost() {
    let f = Fixture::with_plan(&plan(&[("1", &format!("run: '{}'", waits("never")))]));
    let orch = f.live(["run"]);
    f.await_that("a start", || {
        (f.count("agent_starting", "1") > 0).then_some(())
    });
    orch.signal(Signal::TERM);
    orch.ended().exits(3);
    f.assert_tidy();
}

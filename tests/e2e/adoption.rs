//! Agents that outlive orch: followed on from where their output stands, once each, and given up when their shim dies.

use serde_json::Value;

use crate::fixture::{Fixture, waits};
use crate::runs::plan;
use crate::shapes::files_below;

fn collected(f: &Fixture) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records.filter(|r| r["kind"] == "collected").collect()
}

fn stream(f: &Fixture) -> String {
    let runs = f.repo().join(".git/orch/runs");
    let files = files_below(&runs, |path| path.ends_with("stream.jsonl"));
    assert_eq!(files.len(), 1, "one session");
    std::fs::read_to_string(&files[0]).expect("text")
}

#[test]
fn output_written_with_and_without_an_orch_is_there_once() {
    let says = |n: u32| {
        format!(
            "echo line {n}; touch \"$GATE/{n}\"; {}",
            waits(&format!("go{n}"))
        )
    };
    let run = format!("{}; {}; {}; echo a > a.txt", says(1), says(2), says(3));
    let f = Fixture::with_plan(&plan(&[("1", &format!("max_attempts: 1\nrun: '{run}'"))]));
    let first = f.live(["run"]);
    f.await_gate("1");
    first.killed();
    f.open("go1");
    f.await_gate("2");
    let second = f.live(["run"]);
    second.await_says("goes on");
    f.open("go2");
    f.await_gate("3");
    second.killed();
    let third = f.live(["run"]);
    third.await_says("goes on");
    f.open("go3");
    third.ended().exits(0);
    assert_eq!(stream(&f), "line 1\nline 2\nline 3\n");
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_eq!(collected(&f).len(), 1);
    f.assert_tidy();
}

#[test]
fn what_an_agent_used_is_counted_once_however_often_orch_died() {
    let f = Fixture::with_plan(
        "orch: 1
meta: {name: Scratch, runner: rehearsal}
sections:
  - id: s
    name: Work
    tasks:
      - id: '1'
        name: Task 1
        max_attempts: 1
        rehearse: {takes: 2s, write: {a.txt: a, b.txt: b, c.txt: c}, costs: 0.25}
",
    );
    let runs = f.repo().join(".git/orch/runs");
    let lines = || {
        let streams = files_below(&runs, |path| path.ends_with("stream.jsonl"));
        let text = streams
            .first()
            .map(|path| std::fs::read_to_string(path).expect("text"));
        text.map_or(0, |text| text.lines().count())
    };
    for more in [2, 4] {
        let orch = f.live(["run"]);
        f.await_that("more of the stream", || (lines() >= more).then_some(()));
        orch.killed();
    }
    f.orch(["run"]).exits(0);
    let ends = collected(&f);
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!(ends[0]["usage"]["sessions"], 1);
    assert_eq!(ends[0]["usage"]["cost"], 250_000);
    let text = stream(&f);
    let of_kind = |kind: &str| text.lines().filter(|line| line.contains(kind)).count();
    assert_eq!(of_kind("\"subtype\":\"init\""), 1);
    assert_eq!(of_kind("\"type\":\"result\""), 1);
    f.assert_tidy();
}

#[test]
fn a_shim_that_dies_costs_nothing_three_times_in_a_row() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "max_attempts: 1\nrun: kill -9 $PPID; sleep 100",
    )]));
    f.orch(["run"]).exits(1);
    assert_eq!(f.count("attempt_started", "1"), 4);
    let charges: Vec<Value> = collected(&f)
        .into_iter()
        .map(|end| end["next"]["charge"].clone())
        .collect();
    assert_eq!(charges, ["streak", "streak", "streak", "attempt"]);
    f.assert_tidy_but("");
}

/// A run that was killed between the announcement of a landing and the landing, with the lock of its branch as git would
/// have left it: its path, and the announced commit.
fn killed_with_a_lock() -> (Fixture, std::path::PathBuf, String) {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    let died = f
        .command(["run"])
        .env("ORCH_CRASH_AT", "after-landing_intended:1")
        .output()
        .expect("orch");
    assert_eq!(died.status.code(), None, "{died:?}");
    let announced = f.records().into_iter().map(|r| r["record"].clone());
    let commit = announced
        .filter(|r| r["kind"] == "landing_intended")
        .map(|r| r["commit"].as_str().expect("an id").to_owned())
        .next()
        .expect("an intent");
    let lock = f.repo().join(".git/refs/heads/orch/plan.lock");
    (f, lock, commit)
}

#[test]
fn the_lock_of_the_target_that_a_killed_orch_left_is_removed() {
    for is_written in [true, false] {
        let (f, lock, commit) = killed_with_a_lock();
        let text = if is_written {
            format!("{commit}\n")
        } else {
            String::new()
        };
        std::fs::write(&lock, text).expect("a lock");
        f.orch(["run"]).exits(0);
        assert!(!lock.exists());
        assert_eq!(f.read("a.txt"), "a\n");
        f.assert_tidy();
    }
}

#[test]
fn the_lock_of_the_target_that_somebody_else_holds_is_left_alone() {
    let (f, lock, _) = killed_with_a_lock();
    let other = f.git(["rev-parse", "HEAD"]);
    std::fs::write(&lock, &other).expect("a lock");
    f.orch(["run"]).exits(4).says("plan.lock");
    assert_eq!(std::fs::read_to_string(&lock).expect("a lock"), other);
    std::fs::remove_file(&lock).expect("removed");
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn the_lock_of_a_ref_of_orchs_own_that_a_killed_orch_left_is_removed() {
    let (f, _, _) = killed_with_a_lock();
    let refs = f.repo().join(".git/refs/orch/candidate");
    let locks: Vec<_> = files_below(&refs, |path| path.is_file())
        .iter()
        .map(|path| path.with_extension("lock"))
        .collect();
    assert!(!locks.is_empty());
    for lock in &locks {
        std::fs::write(lock, "").expect("a lock");
    }
    f.orch(["run"]).exits(0);
    assert!(locks.iter().all(|lock| !lock.exists()));
    f.assert_tidy();
}

//! What `orch gc` removes and what it leaves, and what `orch du` counts.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{Fixture, Ran, gated};
use crate::runs::plan;

fn landed() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: '[ -e \"$GATE/go\" ] || { touch \"$GATE/go\"; echo bad > bad.txt; exit 3; }; echo a > a.txt'",
        ),
        ("2", "run: echo b > b.txt"),
    ]));
    f.orch(["run"]).exits(0);
    f
}

fn own_refs(f: &Fixture) -> Vec<String> {
    let refs = f.git(["for-each-ref", "--format=%(refname)", "refs/orch/"]);
    refs.lines().map(str::to_owned).collect()
}

/// orch with nothing kept for its age or number.
fn without_retention(f: &Fixture, args: &[&str]) -> Ran {
    let mut command = f.command(["gc"]);
    command
        .args(args)
        .env("ORCH_GC_KEEP_RUNS", "0")
        .env("ORCH_GC_KEEP_DAYS", "0");
    Ran::of(command.output().expect("orch"))
}

fn slots(f: &Fixture) -> PathBuf {
    let slots = f.root().join("state/orch/slots");
    let mut keys = std::fs::read_dir(slots).expect("slots");
    keys.next().expect("a repository").expect("an entry").path()
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let f = landed();
    let before = (own_refs(&f), f.records().len());
    let ran = f.orch(["gc", "--dry-run", "--why", "--slots", "--format", "json"]);
    let told: Value = serde_json::from_str(&ran.exits(0).stdout).expect("JSON");
    let items = told["items"].as_array().expect("items");
    let going = |kind: &str| {
        let of_kind = items.iter().filter(|item| item["kind"] == kind);
        of_kind.filter(|item| item["goes"] == true).count()
    };
    assert_eq!(
        (going("candidate"), going("slot"), going("run_directory")),
        (2, 1, 0)
    );
    f.orch(["gc", "--dry-run", "--why"])
        .exits(0)
        .says("which orch/plan holds")
        .says("it is in no landed commit");
    assert_eq!((own_refs(&f), f.records().len()), before);
    assert!(slots(&f).join("agent-1/tree").is_dir());
    f.assert_tidy();
}

#[test]
fn candidates_that_landed_go_and_the_audit_still_holds() {
    let f = landed();
    assert_eq!(own_refs(&f).len(), 3);
    f.orch(["gc"]).exits(0).says("2 gone");
    assert_eq!(own_refs(&f).len(), 1, "what failed is evidence");
    f.orch(["gc"]).exits(0).says("0 gone");
    f.orch(["show", "1"]).exits(0);
    f.orch(["status"]).exits(0);
    f.git(["update-ref", "-d", &own_refs(&f)[0]]);
    f.orch(["audit"]).exits(1).says("candidate");
}

#[test]
fn a_completed_run_goes_whole_when_it_is_old_enough() {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: 'echo i > idea.txt; git add -A; git stash -q; echo a > a.txt'",
        ),
        (
            "2",
            "kind: report\nrun: 'mkdir -p .orch; echo found > .orch/report.md'",
        ),
    ]));
    f.orch(["run"]).exits(0);
    assert!(own_refs(&f).iter().any(|name| name.contains("salvage")));
    without_retention(&f, &["--dry-run"]).exits(0);
    assert!(!own_refs(&f).is_empty());
    without_retention(&f, &[]).exits(0);
    assert_eq!(own_refs(&f), Vec::<String>::new());
    let runs = f.repo().join(".git/orch/runs");
    assert_eq!(std::fs::read_dir(runs).expect("runs").count(), 0);
    f.orch(["show", "2"]).exits(0).says("its text is gone");
    f.orch(["salvage", "list"])
        .exits(0)
        .says("nothing was saved");
    f.assert_tidy();
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_run_that_has_not_completed_keeps_everything() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "max_attempts: 1\nrun: echo b > b.txt; exit 3"),
    ]));
    f.orch(["run"]).exits(1);
    let before = own_refs(&f);
    without_retention(&f, &["--why"])
        .exits(0)
        .says("has not completed");
    assert_eq!(own_refs(&f), before);
    f.orch(["logs", "2"]).exits(0);
    f.assert_tidy();
}

#[test]
fn nothing_goes_while_a_run_lives() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &format!("run: '{}'", gated("up", "go", "echo a > a.txt")),
    )]));
    let run = f.live(["run"]);
    f.await_gate("up");
    f.orch(["gc", "--slots"]).exits(7).says("--dry-run");
    f.orch(["gc", "--slots", "--dry-run", "--why"])
        .exits(0)
        .says("has not ended");
    f.open("go");
    run.ended().exits(0);
    f.assert_tidy();
}

#[test]
fn slots_go_after_what_they_hold_was_saved_and_foreign_directories_stay() {
    let f = landed();
    let slots = slots(&f);
    std::fs::write(slots.join("agent-1/tree/README.md"), "looked around\n").expect("a file");
    std::fs::create_dir(slots.join("agent-7")).expect("a directory");
    std::fs::write(slots.join("agent-7/precious"), "mine").expect("a file");
    let elsewhere = f.root().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    std::os::unix::fs::symlink(&elsewhere, slots.join("agent-8")).expect("a link");
    f.orch(["gc", "--slots", "--why"])
        .exits(0)
        .says("mark of a slot");
    assert!(!slots.join("agent-1").exists());
    assert!(slots.join("agent-7/precious").exists() && slots.join("agent-8").exists());
    f.orch(["salvage", "list"]).exits(0).says("not collected");
    f.orch(["audit"]).exits(0).says("1 saved");
    f.assert_tidy();
}

#[test]
fn a_slot_in_which_a_process_works_stays() {
    let f = landed();
    let tree = slots(&f).join("agent-1/tree");
    let mut person = Command::new("cat")
        .current_dir(&tree)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a process");
    f.orch(["gc", "--slots", "--why"])
        .exits(0)
        .says("(cat) works in it");
    assert!(tree.is_dir());
    drop(person.stdin.take());
    person.wait().expect("ended");
    f.orch(["gc", "--slots"]).exits(0);
    assert!(!tree.exists());
    f.assert_tidy();
}

#[test]
fn work_that_a_killed_orch_left_is_neither_removed_nor_taken_by_another_plan() {
    let task = format!(
        "max_attempts: 1\nrun: '{}'",
        gated("up", "go", "echo a > a.txt")
    );
    let f = Fixture::with_plan(&plan(&[("1", &task)]));
    f.write("other.yaml", &plan(&[("1", "run: pwd > where.txt")]));
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Another plan"]);
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    without_retention(&f, &["--slots", "--why"])
        .exits(0)
        .says("its next start does");
    f.orch(["run", "--plan", "other.yaml"]).exits(0);
    assert!(f.read("where.txt").trim_end().ends_with("agent-2/tree"));
    f.open("go");
    f.orch(["run", "--plan", ".claude/plans/plan.yaml"])
        .exits(0);
    let target = f.git(["show", "orch/plan:a.txt"]);
    assert_eq!(target, "a\n");
    assert_eq!(f.count("attempt_started", "1"), 2, "one of each plan");
    f.orch(["salvage", "list"])
        .exits(0)
        .says("nothing was saved");
}

#[test]
fn files_that_a_dead_process_had_not_finished_go() {
    let f = landed();
    let state = f.repo().join(".git/orch");
    let mut done = Command::new("true").spawn().expect("a process");
    let dead = done.id();
    done.wait().expect("ended");
    let left = state.join(format!(".exit.json.{dead}-0.tmp"));
    let mine = state.join(format!(".exit.json.{}-0.tmp", std::process::id()));
    for file in [&left, &mine] {
        std::fs::write(file, "half").expect("a file");
    }
    f.orch(["gc", "--why"]).exits(0).says("has ended");
    assert!(!left.exists() && mine.exists());
    f.assert_tidy();
}

#[test]
fn what_orch_takes_on_the_disk_is_told_part_by_part() {
    let f = landed();
    let ran = f.orch(["du", "--format", "json"]).exits(0);
    let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let parts = told["parts"].as_array().expect("parts");
    let kinds: Vec<&str> = parts
        .iter()
        .filter_map(|part| part["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["ledger", "runs", "slot", "objects"]);
    let bytes = |part: &Value| part["bytes"].as_u64().expect("a number");
    assert_eq!(parts.iter().map(bytes).sum::<u64>(), bytes(&told));
    assert!(parts.iter().all(|part| bytes(part) > 0), "{told}");
    f.orch(["gc", "--slots"]).exits(0);
    f.orch(["du"]).exits(0).says("ledger.db");
    f.assert_tidy();
}

/// A completed run with saved work, none of which is kept for its age.
fn completed_with_saved_work() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: 'echo i > idea.txt; git add -A; git stash -q; echo a > a.txt'",
        ),
        ("2", "run: echo b > b.txt"),
    ]));
    f.orch(["run"]).exits(0);
    std::fs::create_dir(f.root().join("passings")).expect("a directory");
    f
}

fn gc_killed_at(f: &Fixture, place: &str) -> Ran {
    let mut command = f.command(["gc", "--slots"]);
    command
        .env("ORCH_GC_KEEP_RUNS", "0")
        .env("ORCH_GC_KEEP_DAYS", "0")
        .env("ORCH_CRASH_DIR", f.root().join("passings"))
        .env("ORCH_CRASH_AT", place);
    Ran::of(command.output().expect("orch"))
}

#[test]
fn a_clean_up_that_is_killed_at_any_place_is_finished_by_the_next_one() {
    let f = completed_with_saved_work();
    gc_killed_at(&f, "nowhere:1").exits(0);
    let places = crate::shapes::passings(&f);
    for place in ["before-discarded", "after-discarded", "item-removed"] {
        assert!(places.contains_key(place), "{place} is not in {places:?}");
        for n in 1..=places[place] {
            let f = completed_with_saved_work();
            gc_killed_at(&f, &format!("{place}:{n}")).exits(-1);
            f.assert_tidy();
            without_retention(&f, &["--slots"]).exits(0);
            assert_eq!(own_refs(&f), Vec::<String>::new(), "{place}:{n}");
            let runs = f.repo().join(".git/orch/runs");
            assert_eq!(std::fs::read_dir(runs).expect("runs").count(), 0);
            f.assert_tidy();
        }
    }
}

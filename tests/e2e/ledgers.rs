//! A ledger that was damaged, emptied or removed is refused, made anew from what is left, and gone on with; nothing lands
//! twice.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use crate::fixture::{Fixture, gated};
use crate::runs::plan;

/// A plan that stops half-way: two tasks land, one fails, one is never reached.
pub(crate) fn half_run() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "run: echo b > b.txt"),
        (
            "3",
            "max_attempts: 1\nrun: '[ -e \"$GATE/mended\" ] && echo c > c.txt'",
        ),
        ("4", "run: echo d > d.txt"),
    ]));
    f.orch(["run"]).exits(1);
    f.open("mended");
    f
}

fn ledger(f: &Fixture) -> PathBuf {
    f.repo().join(".git/orch/ledger.db")
}

/// Overwrites a part of the file.
fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("a file");
    file.seek(SeekFrom::Start(at)).expect("a place");
    file.write_all(bytes).expect("written");
}

/// The first page of a table.
fn root_page(path: &Path, table: &str) -> u64 {
    let conn = Connection::open(path).expect("a ledger");
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: i64 = conn
        .query_row(sql, [table], |row| row.get(0))
        .expect("a table");
    page.cast_unsigned()
}

/// What the target holds besides the plan, and how often each task landed.
fn result(f: &Fixture) -> (String, Vec<String>) {
    let tree = f.git([
        "ls-tree", "-r", "main", "--", "a.txt", "b.txt", "c.txt", "d.txt",
    ]);
    let mut landed: Vec<String> = f
        .git([
            "log",
            "--format=%(trailers:key=Orch-Task,valueonly)",
            "main",
        ])
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    landed.sort();
    (tree, landed)
}

/// What `orch doctor` finds, by its words.
fn findings(f: &Fixture) -> Vec<String> {
    let ran = f.orch(["doctor", "--format", "json"]);
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let findings = report["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|finding| finding["id"].as_str().expect("a word").to_owned())
        .collect()
}

/// Damages the ledger of a half run, makes it anew, and goes on to the end of the plan.
#[track_caller]
fn comes_through(word: &str, damage: impl Fn(&Fixture)) {
    let f = half_run();
    let untouched = half_run();
    untouched.orch(["retry", "--failed"]).exits(0);
    untouched.orch(["run"]).exits(0);

    damage(&f);
    f.orch(["run"])
        .exits(8)
        .says("orch doctor --rebuild-ledger");
    let before = fs::read(ledger(&f)).ok();
    f.orch(["doctor"])
        .exits(1)
        .says(&format!("problem {word}"))
        .says("--rebuild-ledger");
    assert_eq!(fs::read(ledger(&f)).ok(), before, "looking changes nothing");

    f.orch(["doctor", "--rebuild-ledger"])
        .exits(0)
        .says("the damaged ledger lies in");
    let aside: Vec<PathBuf> = fs::read_dir(f.repo().join(".git/orch/damaged"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(
        fs::read(aside[0].join("ledger.db")).ok(),
        before,
        "the damaged file is kept as it was"
    );
    f.orch(["doctor", "--rebuild-ledger"])
        .exits(0)
        .says("nothing is wrong");
    f.orch(["audit"]).exits(0);
    f.orch(["status"]).exits(0);

    // The plan says that task 3 failed; whichever run knows of it gives it another attempt.
    let first = f.orch(["run"]);
    assert!([0, 1].contains(&first.code), "{first:?}");
    f.orch(["retry", "--failed"]);
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    assert_eq!(result(&f), result(&untouched));
    assert_eq!(result(&f).1, ["1", "2", "3", "4"], "each landed once");
}

#[test]
fn a_truncated_ledger_is_made_anew_and_gone_on_with() {
    comes_through("ledger-damaged", |f| {
        let file = OpenOptions::new().write(true).open(ledger(f));
        let length = fs::metadata(ledger(f)).expect("a ledger").len();
        file.expect("a ledger").set_len(length / 2).expect("cut");
    });
}

#[test]
fn a_ledger_with_an_overwritten_first_page_is_made_anew_and_gone_on_with() {
    comes_through("ledger-damaged", |f| {
        overwrite(&ledger(f), 0, &[0xa5; 4096]);
    });
}

#[test]
fn a_ledger_with_an_overwritten_page_of_records_is_made_anew_and_gone_on_with() {
    comes_through("ledger-damaged", |f| {
        let page = root_page(&ledger(f), "records");
        overwrite(&ledger(f), (page - 1) * 4096, &[0xa5; 4096]);
        // And the last one of the file, which holds some as well.
        let length = fs::metadata(ledger(f)).expect("a ledger").len();
        overwrite(&ledger(f), length - 4096, &[0; 4096]);
    });
}

#[test]
fn a_ledger_of_zero_bytes_is_made_anew_and_gone_on_with() {
    comes_through("ledger-lost", |f| {
        fs::write(ledger(f), b"").expect("emptied");
    });
}

#[test]
fn a_deleted_ledger_is_made_anew_and_gone_on_with() {
    comes_through("ledger-lost", |f| {
        fs::remove_file(ledger(f)).expect("removed");
    });
}

#[test]
fn a_deleted_state_directory_does_not_pass_for_a_new_one() {
    comes_through("ledger-lost", |f| {
        fs::remove_dir_all(f.repo().join(".git/orch")).expect("removed");
    });
}

#[test]
fn a_damaged_index_costs_no_record_and_the_same_run_goes_on() {
    let f = half_run();
    let runs = |f: &Fixture| {
        let mut runs: Vec<String> = f
            .records()
            .iter()
            .map(|r| r["run"].as_str().expect("a run").to_owned())
            .collect();
        runs.dedup();
        runs
    };
    let (before, records) = (runs(&f), f.records());
    let page = root_page(&ledger(&f), "records_of_run");
    overwrite(&ledger(&f), (page - 1) * 4096, &[0xa5; 4096]);
    f.orch(["run"]).exits(8);
    f.orch(["doctor", "--rebuild-ledger"])
        .exits(0)
        .says("whole");
    assert_eq!(f.records(), records, "record by record");
    f.orch(["retry", "--failed"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(runs(&f), before);
    f.assert_tidy();
}

#[test]
fn what_only_the_log_holds_is_saved_when_the_main_file_is_emptied() {
    let run = gated("up", "go", "echo b > b.txt");
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", &format!("run: '{run}'")),
    ]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    let records = f.records();
    fs::write(ledger(&f), b"").expect("emptied");
    f.orch(["run"]).exits(8).says("gone or empty");
    f.orch(["doctor", "--rebuild-ledger"])
        .exits(0)
        .says("whole");
    assert_eq!(f.records(), records, "record by record");
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("attempt_started", "2"), 1, "the agent was followed");
    f.assert_tidy();
}

#[test]
fn an_agent_whose_run_is_closed_by_a_rebuild_is_ended_and_its_task_begins_anew() {
    let run = gated("up", "go", "echo b > b.txt");
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", &format!("max_attempts: 1\nrun: '{run}'")),
    ]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        fs::remove_file(f.repo().join(".git/orch").join(name)).expect("removed");
    }
    assert_eq!(findings(&f)[0], "ledger-lost");
    f.orch(["doctor", "--rebuild-ledger"])
        .exits(0)
        .says("closed")
        .says("found in the history: 1 landed as")
        .says("what became of 1#1, 2#1")
        .says("ended processes");
    f.open("go");
    f.orch(["run"]).exits(0);
    let audited = f.orch(["audit"]).exits(0);
    assert!(audited.stdout.contains("1 landed commits"), "{audited:?}");
    let runs = f.records();
    let old = runs[0]["run"].as_str().expect("a run");
    let command = f.command(["audit"]).arg(old).output().expect("orch");
    let text = String::from_utf8_lossy(&command.stdout).into_owned();
    assert!(text.contains("known from the history alone"), "{text}");
    assert_eq!(command.status.code(), Some(0));
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
    assert!(findings(&f).contains(&"records-lost".to_owned()));
    f.assert_tidy();
}

//! Ledgers of every release are read, replayed and gone on with, for ever; one of a newer orch is only read.
//!
//! `tests/fixtures/ledgers/<version>/` holds what a release left of one run in which two tasks landed, one failed and
//! one was not reached: `repository.bundle` with all refs, and `orch/`, the state directory. A release adds its own:
//! `cargo test --test e2e make_a_ledger_fixture -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use crate::fixture::Fixture;
use crate::ledgers::half_run;
use crate::runs::plan;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledgers")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    let copied = Command::new("cp")
        .arg("-rT")
        .args([from, to])
        .status()
        .expect("cp");
    assert!(copied.success(), "{}", from.display());
}

/// The repository of a release, with its ledger.
fn scene(release: &Path) -> Fixture {
    let f = Fixture::new();
    let bundle = release.join("repository.bundle");
    f.git(["checkout", "-q", "--detach"]);
    f.git_all(&[
        "fetch",
        "-q",
        "--update-head-ok",
        bundle.to_str().expect("a path"),
        "+refs/*:refs/*",
    ]);
    f.git(["checkout", "-q", "main"]);
    copy(&release.join("orch"), &f.repo().join(".git/orch"));
    f
}

#[test]
fn a_ledger_of_every_release_is_read_audited_and_gone_on_with() {
    let mut releases: Vec<PathBuf> = fs::read_dir(fixtures())
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    releases.sort();
    assert!(!releases.is_empty());
    for release in releases {
        let f = scene(&release);
        let records = f.records().len();
        assert!(records >= 20, "{}: {records}", release.display());
        f.orch(["status"]).exits(0).says("failed");
        f.orch(["audit"]).exits(0).says("2 landed commits");
        assert!(f.orch(["doctor"]).stdout.contains("ledger-copied"));
        f.orch(["run"]).exits(8).says("--adopt-ledger");
        f.open("mended");
        f.orch(["run", "--adopt-ledger"]).exits(1);
        f.orch(["retry", "--failed"]).exits(0);
        f.orch(["run"]).exits(0);
        let runs: std::collections::BTreeSet<String> = f
            .records()
            .iter()
            .map(|record| record["run"].to_string())
            .collect();
        assert_eq!(runs.len(), 1, "the same run went on");
        assert_eq!(
            f.subjects("main")[..4],
            ["4: Task 4", "3: Task 3", "2: Task 2", "1: Task 1"]
        );
        f.assert_tidy();
    }
}

#[test]
fn a_ledger_of_a_newer_orch_is_read_and_never_written() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "max_attempts: 1\nrun: 'false'"),
    ]));
    f.orch(["run"]).exits(1);
    let ledger = f.repo().join(".git/orch/ledger.db");
    let conn = Connection::open(&ledger).expect("a ledger");
    conn.execute_batch(
        "INSERT INTO records (run_id, at_ms, body)
            SELECT run_id, at_ms, '{\"kind\":\"teleported\"}' FROM records LIMIT 1;
         PRAGMA user_version = 1000;",
    )
    .expect("changed");
    drop(conn);
    let before = fs::read(&ledger).expect("a ledger");
    for write in [
        &["run"][..],
        &["retry", "2"],
        &["doctor", "--rebuild-ledger"],
    ] {
        let output = f.command([]).args(write).output().expect("orch");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(8), "{write:?}: {said}");
        assert!(
            said.contains("newer orch (format 1000"),
            "{write:?}: {said}"
        );
    }
    f.orch(["status"]).exits(0).says("failed");
    f.orch(["doctor"]).exits(1).says("problem ledger-newer");
    assert!(
        fs::read(&ledger).expect("a ledger") == before,
        "it was written to"
    );
}

/// Writes `tests/fixtures/ledgers/<version of this orch>/`.
#[test]
#[ignore = "writes into the source tree; for a release"]
fn make_a_ledger_fixture() {
    let f = half_run();
    let to = fixtures().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(&to).expect("a directory");
    let bundle = to.join("repository.bundle");
    f.git_all(&[
        "bundle",
        "create",
        "-q",
        bundle.to_str().expect("a path"),
        "--all",
    ]);
    copy(&f.repo().join(".git/orch"), &to.join("orch"));
    for leftover in ["orch.lock", "control.sock"] {
        fs::remove_file(to.join("orch").join(leftover)).expect("removed");
    }
}

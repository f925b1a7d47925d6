//! Each unhealthy fact that `orch doctor` names, made in a real repository: the word that scripts go by is there, and it
//! was not there before. Those that other tests make are with those tests: dead runs and agents (`doctor`), damaged
//! ledgers (`ledgers`, `upgrades`), full and read-only disks (`disks`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use serde_json::Value;

use crate::fixture::{Fixture, Ran};
use crate::runs::plan;
use crate::silence::agent;

/// The words of what is found, with some variables.
fn words_with(f: &Fixture, variables: &[(&str, &str)]) -> BTreeSet<String> {
    let mut command = f.command(["doctor", "--format", "json"]);
    command.envs(variables.iter().copied());
    let ran = Ran::of(command.output().expect("orch"));
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let findings = report["findings"].as_array().expect("findings").iter();
    let words = findings.map(|finding| finding["id"].as_str().expect("a word").to_owned());
    words.collect()
}

fn completed() -> Fixture {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    f
}

/// Makes a fact in a repository with a completed run; exactly that is found besides.
#[track_caller]
fn names(word: &str, make: impl FnOnce(&Fixture)) -> Fixture {
    let f = completed();
    let before = words_with(&f, &[]);
    make(&f);
    let after = words_with(&f, &[]);
    let new: Vec<&String> = after.difference(&before).collect();
    assert_eq!(new, [word]);
    f
}

fn in_ledger(f: &Fixture, sql: &str) {
    let ledger = Connection::open(f.repo().join(".git/orch/ledger.db")).expect("a ledger");
    ledger.execute_batch(sql).expect("changed");
}

fn run_of(f: &Fixture) -> String {
    f.records()[0]["run"].as_str().expect("a run").to_owned()
}

#[test]
fn a_plan_that_cannot_be_read_is_not_passed_over() {
    names("not-examined", |f| {
        let plan = fs::File::create(f.repo().join(".claude/plans/huge.yaml")).expect("a file");
        plan.set_len(1 << 30).expect("huge");
    });
}

#[test]
fn a_clock_that_was_set_back_is_named() {
    names("clock-set-back", |f| {
        in_ledger(
            f,
            "INSERT INTO records (run_id, at_ms, body)
                SELECT run_id, at_ms + 86400000, '{\"kind\":\"discarded\",\"refs\":[],\"directory\":false}'
                FROM records LIMIT 1",
        );
    });
}

#[test]
fn records_that_contradict_each_other_are_named() {
    names("records-contradict", |f| {
        in_ledger(
            f,
            "INSERT INTO records (run_id, at_ms, body)
                SELECT run_id, at_ms, body FROM records
                WHERE body LIKE '%\"kind\":\"agent_starting\"%'",
        );
    });
}

#[test]
fn what_the_audit_finds_is_named() {
    names("audit-contradicts", |f| {
        let refs = f.git(["for-each-ref", "--format=%(refname)", "refs/orch/candidate"]);
        f.git(["update-ref", "-d", refs.trim()]);
    });
}

#[test]
fn a_ledger_that_cannot_be_opened_is_named() {
    names("ledger-unreadable", |f| {
        let ledger = f.repo().join(".git/orch/ledger.db");
        fs::rename(&ledger, ledger.with_extension("aside")).expect("moved");
        fs::create_dir(&ledger).expect("a directory");
    });
}

#[test]
fn a_slot_of_a_repository_that_is_gone_is_named() {
    names("slot-orphan", |f| {
        let marker = f
            .root()
            .join("state/orch/slots/gone-0123456789ab/agent-1/orch/slot");
        fs::create_dir_all(marker.parent().expect("a parent")).expect("directories");
        fs::write(marker, "orch slot 1\n/nowhere/.git").expect("a marker");
    });
}

#[test]
fn a_ref_of_a_run_that_nobody_knows_is_named() {
    names("ref-orphan", |f| {
        f.git([
            "update-ref",
            "refs/orch/candidate/20200101-000000-aaaa/1/1",
            "HEAD",
        ]);
    });
}

#[test]
fn pins_of_a_completed_run_are_named_and_dropped_by_a_safe_repair() {
    let f = names("pins-left", |f| {
        let pin = format!("refs/orch/pin/{}/base-1", run_of(f));
        f.git(["update-ref", &pin, "HEAD"]);
    });
    f.orch(["doctor", "--fix-safe"])
        .exits(0)
        .says("dropped 1 pins");
    assert_eq!(f.git(["for-each-ref", "refs/orch/pin"]), "");
}

#[test]
fn hooks_that_landed_commits_do_not_run_are_named() {
    names("hooks-not-run", |f| {
        let hook = f.repo().join(".git/hooks/pre-commit");
        fs::create_dir_all(hook.parent().expect("a parent")).expect("a directory");
        fs::write(&hook, "#!/bin/sh\n").expect("a hook");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("set");
    });
}

#[test]
fn an_agent_program_that_is_missing_or_was_not_tried_is_as_bad_as_the_plans_make_it() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    let missing = [("ORCH_CLAUDE_BINARY", "/nowhere/claude")];
    let found = words_with(&f, &missing);
    assert!(found.contains("claude-not-needed"), "{found:?}");
    f.write(
        ".claude/plans/mine.yaml",
        &plan(&[("1", "description: Do it.")]).replace("runner: command", "runner: claude"),
    );
    let found = words_with(&f, &missing);
    assert!(found.contains("claude-missing"), "{found:?}");
    let newer = agent(&f, "exit 0");
    let text = fs::read_to_string(&newer).expect("a program");
    assert!(text.contains("2.1.329"), "{text}");
    fs::write(&newer, text.replace("2.1.329", "99.0.0")).expect("written");
    let newer = newer.to_str().expect("a path");
    let found = words_with(&f, &[("ORCH_CLAUDE_BINARY", newer)]);
    assert!(found.contains("claude-untested"), "{found:?}");
}

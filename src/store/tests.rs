//! The promises of the ledger, against real files.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::{Author, Control, PlanRevision, Verb};
use crate::engine::outcome::Outcome;
use crate::engine::record::{FORMAT, Next, Record, RunStart, Selection, Settlement, Stamped};
use crate::engine::usage::{MicroUsd, Usage};
use crate::ids::{ObjectId, PlanId, RefName, RunId, SlotId, TaskId, Ticket};
use crate::plan::graph::{Declared, Graph, Node, TaskKind};
use crate::time::Wall;

const AT: Wall = Wall(1_790_000_000_000);

fn lock(dir: &Path) -> OrchLock {
    let holder = Holder {
        pid: std::process::id(),
        plan: "plan.yaml".to_owned(),
        started: AT,
        run: None,
    };
    StateDir::of_repository(dir).lock(&holder).unwrap()
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(lock(dir)).unwrap()
}

fn reader(dir: &Path) -> Reader {
    Reader::open(&StateDir::of_repository(dir))
        .unwrap()
        .unwrap()
}

fn run(name: &str) -> RunId {
    RunId::parse(name).unwrap()
}

fn task(name: &str) -> TaskId {
    TaskId::parse(name).unwrap()
}

fn new_run(name: &str) -> NewRun {
    NewRun {
        run: run(name),
        plan_id: PlanId::parse("shop").unwrap(),
        plan_path: "plans/shop.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/shop"),
        repository: "/src/shop/.git".to_owned(),
    }
}

fn ticket(name: &str, attempt: u32) -> Ticket {
    Ticket {
        task: task(name),
        attempt,
        epoch: 1,
    }
}

fn revision(tasks: &[(&str, &str)]) -> PlanRevision {
    let node = |&(id, spec_hash): &(&str, &str)| Node {
        id: task(id),
        name: format!("Task {id}"),
        needs: Vec::new(),
        priority: 0,
        resources: Vec::new(),
        files: Vec::new(),
        max_attempts: 3,
        retry_from: None,
        kind: TaskKind::Change,
        declared: Declared::Pending,
        spec_hash: spec_hash.to_owned(),
    };
    PlanRevision {
        text_sha256: "00".repeat(32),
        by: Author::Orch,
        graph: Graph {
            nodes: tasks.iter().map(node).collect(),
        },
    }
}

fn run_start(tasks: &[(&str, &str)]) -> RunStart {
    RunStart {
        format: FORMAT,
        orch: "0.1.0".to_owned(),
        plan: "plans/shop.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/shop"),
        jobs: 2,
        selection: Selection::All,
        settings: BTreeMap::new(),
        revision: revision(tasks),
        landed_before: Vec::new(),
    }
}

fn started(name: &str, attempt: u32) -> Record {
    Record::AttemptStarted {
        ticket: ticket(name, attempt),
        slot: SlotId(1),
    }
}

fn agent_starting(name: &str, attempt: u32, asks_status: bool) -> Record {
    Record::AgentStarting {
        ticket: ticket(name, attempt),
        base: ObjectId::new("b".repeat(40)),
        asks_status,
    }
}

fn collected(name: &str, attempt: u32, cost: u64, next: Next) -> Record {
    Record::Collected {
        ticket: ticket(name, attempt),
        end: AttemptEnd::new(Ending::Success, "done"),
        usage: Usage {
            output_tokens: 7,
            cost: MicroUsd(cost),
            sessions: 1,
            ..Usage::default()
        },
        candidate: Some(ObjectId::new("c".repeat(40))),
        message: Some("ok".to_owned()),
        report: None,
        notes: Vec::new(),
        next,
    }
}

fn landed(name: &str, attempt: u32) -> Record {
    Record::Landed {
        ticket: ticket(name, attempt),
        commit: ObjectId::new("d".repeat(40)),
        verified: false,
    }
}

/// A run in which one task lands, is reopened and lands again, with a session asked for its status.
fn lived_run() -> Vec<Record> {
    vec![
        Record::RunStarted(run_start(&[("a", "spec-1")])),
        started("a", 1),
        agent_starting("a", 1, false),
        collected("a", 1, 100, Next::AskStatus),
        agent_starting("a", 1, true),
        collected("a", 1, 5, Next::Land),
        Record::PlanAccepted {
            revision: revision(&[("a", "spec-2"), ("b", "spec-b")]),
        },
        landed("a", 1),
        Record::Reopened {
            task: task("a"),
            from: None,
        },
        started("a", 2),
        landed("a", 2),
        Record::RunEnded {
            outcome: Outcome::Completed,
        },
    ]
}

/// A run of `attempts` small attempts, five records each.
fn long_run(attempts: u32) -> Vec<Record> {
    let mut records = vec![Record::RunStarted(run_start(&[("a", "spec")]))];
    for attempt in 1..=attempts {
        records.extend([
            started("a", attempt),
            agent_starting("a", attempt, false),
            Record::AgentEnded {
                ticket: ticket("a", attempt),
                ended_by_orch: None,
            },
            collected("a", attempt, 1, Next::Land),
            Record::Building {
                ticket: ticket("a", attempt),
            },
        ]);
    }
    records
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_appended_is_read_back_in_order_by_a_later_orch() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let stamped = ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    drop(ledger);
    let again = open(tmp.path()).reader().records(&run("r1")).unwrap();
    assert_eq!(again, stamped);
    assert!(again.is_sorted_by(|a, b| a.seq < b.seq));
    let kept: Vec<Record> = again.into_iter().map(|s| s.record).collect();
    assert_eq!(kept, lived_run());
}

#[test]
fn a_run_is_summed_up_until_its_end_and_opened_again_by_a_resume() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    ledger
        .begin_run(
            &NewRun {
                plan_id: PlanId::parse("other").unwrap(),
                ..new_run("r2")
            },
            AT.plus_ms(1),
            vec![Record::RunStarted(run_start(&[]))],
        )
        .unwrap();
    let reader = ledger.reader();
    let ids: Vec<_> = reader.runs(9).unwrap().into_iter().map(|r| r.run).collect();
    assert_eq!(ids, [run("r2"), run("r1")]);
    let latest = |plan| reader.latest_run(plan).unwrap().unwrap().run;
    assert_eq!(latest(None), run("r2"));
    assert_eq!(latest(Some(&new_run("r1").plan_id)), run("r1"));
    let end = |id| reader.run(&run(id)).unwrap().unwrap().end;
    let ended = RunEnd {
        at: AT,
        outcome: Outcome::Completed,
    };
    assert_eq!(end("r1"), Some(ended));
    assert_eq!(end("r2"), None);

    let resumed = Record::RunResumed {
        start: run_start(&[("a", "spec-3")]),
    };
    ledger.append(&run("r1"), AT, vec![resumed]).unwrap();
    assert_eq!(end("r1"), None);
}

#[test]
fn a_landing_keeps_what_was_asked_for_when_its_attempt_began() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let of = new_run("r1");
    let found: Vec<_> = ledger
        .reader()
        .landings(&of.plan_id, &of.target)
        .unwrap()
        .into_iter()
        .map(|l| (l.task, l.generation, l.spec_hash))
        .collect();
    assert_eq!(
        found,
        [
            (task("a"), 1, "spec-1".to_owned()),
            (task("a"), 2, "spec-2".to_owned())
        ]
    );
}

#[test]
fn a_task_cannot_land_twice_without_being_reopened() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let before = ledger.reader().records(&run("r1")).unwrap();
    let refused = ledger.append(&run("r1"), AT, vec![started("a", 3), landed("a", 3)]);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("task a landed twice in run r1"),
        "{message}"
    );
    assert_eq!(ledger.reader().records(&run("r1")).unwrap(), before);
}

#[test]
fn every_session_is_counted_once_and_asking_for_a_status_is_a_session() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let costs: Vec<_> = ledger
        .reader()
        .usage(&run("r1"))
        .unwrap()
        .into_iter()
        .map(|u| (u.attempt, u.part, u.usage.cost.0))
        .collect();
    assert_eq!(
        costs,
        [(1, SessionPart::Work, 100), (1, SessionPart::AskStatus, 5)]
    );
    let again = ledger.append(&run("r1"), AT, vec![collected("a", 1, 5, Next::Land)]);
    assert!(matches!(again, Err(LedgerError::Contradiction { .. })));
}

#[test]
fn an_agent_that_claims_more_tokens_than_can_be_counted_does_not_stop_the_run() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let mut records = vec![
        Record::RunStarted(run_start(&[("a", "s")])),
        started("a", 1),
        collected("a", 1, u64::MAX, Next::Land),
    ];
    ledger
        .begin_run(&new_run("r1"), AT, records.split_off(0))
        .unwrap();
    let counted = ledger.reader().usage(&run("r1")).unwrap();
    assert_eq!(counted[0].usage.cost.0, i64::MAX as u64);
}

#[test]
fn records_of_unknown_runs_and_runs_made_twice_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let start = || vec![Record::RunStarted(run_start(&[]))];
    let orphan = ledger.append(&run("r1"), AT, start()).unwrap_err();
    assert!(orphan.to_string().contains("no run r1"), "{orphan}");
    ledger.begin_run(&new_run("r1"), AT, start()).unwrap();
    let twice = ledger.begin_run(&new_run("r1"), AT, start()).unwrap_err();
    assert!(twice.to_string().contains("run r1 exists"), "{twice}");
}

#[test]
fn projections_made_again_from_the_records_are_the_same() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    ledger.begin_run(&new_run("r2"), AT, long_run(3)).unwrap();
    let before = ledger.dump();
    assert!(before.iter().any(|line| line.contains("spec-2")));
    ledger.tamper("DELETE FROM landings; DELETE FROM usage; UPDATE attempts SET spec_hash = 'x'");
    ledger.tamper("UPDATE runs SET ended_ms = NULL, outcome = NULL");
    assert_ne!(ledger.dump(), before);
    ledger.rebuild_projections().unwrap();
    assert_eq!(ledger.dump(), before);
}

#[test]
fn records_can_neither_be_changed_nor_removed() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    for sql in ["UPDATE records SET body = '{}'", "DELETE FROM records"] {
        let error = ledger.try_sql(sql).unwrap_err().to_string();
        assert!(error.contains("records never"), "{error}");
    }
}

#[test]
fn records_are_found_by_place_task_and_kind() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let reader = ledger.reader();
    let seqs = |found: Vec<Stamped>| found.iter().map(|s| s.seq).collect::<Vec<_>>();
    assert_eq!(seqs(reader.records_since(0, 3).unwrap()), [1, 2, 3]);
    assert_eq!(seqs(reader.records_since(10, 99).unwrap()), [11, 12]);
    assert!(reader.records_since(u64::MAX, 9).unwrap().is_empty());
    let columns = ledger.query_lines(
        "SELECT kind, task, attempt FROM records WHERE kind IN ('run_started', 'landed', 'reopened')",
    );
    assert_eq!(
        columns,
        ["run_started||", "landed|a|1", "reopened|a|", "landed|a|2"]
    );
}

#[test]
fn the_task_of_a_record_is_the_same_in_the_file_and_in_the_program() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let mut records = lived_run();
    records.extend([
        Record::Superseded {
            ticket: ticket("a", 2),
        },
        Record::WaitEnded { task: task("a") },
        Record::Settled {
            task: task("b"),
            as_: Settlement::MarkedDone,
        },
    ]);
    for verb in [Verb::Skip { task: task("b") }, Verb::RetryFailed] {
        let control = Control {
            verb,
            by: Author::Signal,
            note: None,
        };
        let refused = None;
        records.push(Record::Controlled { control, refused });
    }
    let of_program: Vec<String> = records
        .iter()
        .map(|record| record.task().map_or(String::new(), TaskId::to_string))
        .collect();
    ledger.begin_run(&new_run("r1"), AT, records).unwrap();
    let of_file = ledger.query_lines("SELECT task FROM records ORDER BY seq");
    assert_eq!(of_file, of_program);
}

#[test]
fn only_barriers_and_what_a_person_was_told_are_synced() {
    let synced: Vec<bool> = lived_run()
        .iter()
        .map(|r| Durability::of(r) == Durability::Synced)
        .collect();
    let expected = [
        true, true, false, true, false, true, false, true, false, true, true, false,
    ];
    assert_eq!(synced, expected);
}

#[test]
fn a_copied_ledger_is_refused_until_a_person_says_it_was_moved() {
    let tmp = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    drop(ledger);
    let copy = StateDir::of_repository(other.path());
    drop(lock(other.path()));
    let original = StateDir::of_repository(tmp.path()).ledger();
    std::fs::copy(original, copy.ledger()).unwrap();

    let refused = Ledger::open(lock(other.path()));
    assert!(
        matches!(refused, Err(LedgerError::Copied { .. })),
        "{refused:?}"
    );
    assert_eq!(reader(other.path()).runs(9).unwrap().len(), 1);
    drop(Ledger::open_moved(lock(other.path())).unwrap());
    drop(open(other.path()));
}

#[test]
fn a_ledger_that_was_renamed_with_its_repository_stays_usable() {
    let tmp = tempfile::tempdir().unwrap();
    let (old, new) = (tmp.path().join("old"), tmp.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    drop(open(&old));
    std::fs::rename(&old, &new).unwrap();
    drop(open(&new));
}

#[test]
fn a_newer_ledger_is_refused_for_writing_and_read_as_far_as_it_is_known() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    ledger.tamper(
        "INSERT INTO records (run_id, at_ms, body) VALUES ('r1', 1, '{\"kind\":\"teleported\"}')",
    );
    drop(ledger);
    let unknown = reader(tmp.path()).records(&run("r1"));
    assert!(
        matches!(unknown, Err(LedgerError::Damaged { .. })),
        "{unknown:?}"
    );

    open(tmp.path()).tamper("PRAGMA user_version = 2");
    let refused = Ledger::open(lock(tmp.path()));
    assert!(
        matches!(refused, Err(LedgerError::NewerFormat { found: 2, .. })),
        "{refused:?}"
    );
    let reader = reader(tmp.path());
    assert_eq!(reader.newer_format(), Some(2));
    assert_eq!(reader.records(&run("r1")).unwrap().len(), lived_run().len());
}

#[test]
fn what_is_not_a_ledger_or_damaged_is_named_and_left_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let state = StateDir::of_repository(tmp.path());
    drop(lock(tmp.path()));
    let text =
        b"a shopping list, longer than the header of any database file: bread, butter, cheese, ...";
    std::fs::write(state.ledger(), text.repeat(9)).unwrap();
    let refused = Ledger::open(lock(tmp.path()));
    assert!(
        matches!(refused, Err(LedgerError::NotALedger { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(state.ledger()).unwrap(), text.repeat(9));
    std::fs::remove_file(state.ledger()).unwrap();

    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, long_run(100)).unwrap();
    drop(ledger);
    let mut bytes = std::fs::read(state.ledger()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    // Written in place: the identity stays.
    std::fs::write(state.ledger(), bytes).unwrap();
    let refused = Ledger::open(lock(tmp.path()));
    assert!(
        matches!(refused, Err(LedgerError::Damaged { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_ledger_whose_making_was_interrupted_is_made_by_the_next() {
    let tmp = tempfile::tempdir().unwrap();
    let state = StateDir::of_repository(tmp.path());
    drop(lock(tmp.path()));
    std::fs::write(state.ledger(), b"").unwrap();
    assert!(Reader::open(&state).unwrap().is_none());
    drop(open(tmp.path()));
    assert!(Reader::open(&state).unwrap().is_some());
}

#[test]
fn a_full_disk_appends_nothing_and_the_ledger_goes_on_when_there_is_room() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let start = vec![Record::RunStarted(run_start(&[("a", "s")]))];
    ledger.begin_run(&new_run("r1"), AT, start).unwrap();
    let records = long_run(200).split_off(1);
    ledger.tamper("PRAGMA max_page_count = 20");
    let full = ledger.append(&run("r1"), AT, records.clone());
    assert!(matches!(full, Err(LedgerError::Full { .. })), "{full:?}");
    assert_eq!(ledger.reader().records(&run("r1")).unwrap().len(), 1);
    ledger.tamper("PRAGMA max_page_count = 100000");
    ledger.append(&run("r1"), AT, records).unwrap();
}

#[test]
fn asking_creates_and_changes_no_file_before_during_and_after_an_orch() {
    let tmp = tempfile::tempdir().unwrap();
    let state = StateDir::of_repository(tmp.path());
    assert!(Reader::open(&state).unwrap().is_none());
    assert!(!state.path().exists());

    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let live = files(state.path());
    assert!(live.contains(&"ledger.db-wal".to_owned()));
    assert_eq!(reader(tmp.path()).runs(9).unwrap().len(), 1);
    assert_eq!(files(state.path()), live);

    drop(ledger);
    let settled = files(state.path());
    assert_eq!(settled, ["ledger.db", "orch.lock"]);
    let bytes = std::fs::read(state.ledger()).unwrap();
    assert_eq!(
        reader(tmp.path()).records(&run("r1")).unwrap().len(),
        lived_run().len()
    );
    assert_eq!(files(state.path()), settled);
    assert_eq!(std::fs::read(state.ledger()).unwrap(), bytes);
}

#[test]
fn a_ledger_as_a_killed_orch_leaves_it_is_read_and_opened_with_all_that_was_appended() {
    let tmp = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    // What lies on disk while the writer lives is what it leaves when it is killed.
    let (from, to) = (
        StateDir::of_repository(tmp.path()),
        StateDir::of_repository(killed.path()),
    );
    std::fs::create_dir(to.path()).unwrap();
    for name in files(from.path()) {
        std::fs::copy(from.path().join(&name), to.path().join(&name)).unwrap();
    }
    let left = files(to.path());
    let seen = reader(killed.path()).records(&run("r1")).unwrap();
    assert_eq!(seen.len(), lived_run().len());
    assert_eq!(files(to.path()), left);

    // A backup may leave out the index of the log.
    std::fs::remove_file(to.path().join("ledger.db-shm")).unwrap();
    let left = files(to.path());
    let seen = reader(killed.path()).records(&run("r1")).unwrap();
    assert_eq!(seen.len(), lived_run().len());
    assert_eq!(files(to.path()), left);

    let ledger = Ledger::open_moved(lock(killed.path())).unwrap();
    let seen = ledger.reader().records(&run("r1")).unwrap();
    assert_eq!(seen.len(), lived_run().len());
}

#[test]
fn readers_see_what_was_appended_while_an_orch_comes_and_goes() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let start = vec![Record::RunStarted(run_start(&[("a", "s")]))];
    ledger.begin_run(&new_run("r1"), AT, start).unwrap();
    let follower = reader(tmp.path());
    for attempt in 1..20 {
        ledger
            .append(&run("r1"), AT, vec![started("a", attempt)])
            .unwrap();
        let seen = follower.records_since(u64::from(attempt), 9).unwrap();
        assert_eq!(seen.len(), 1, "attempt {attempt}");
        if attempt % 3 == 0 {
            drop(ledger);
            assert_eq!(follower.records_since(u64::from(attempt), 9).unwrap(), seen);
            ledger = open(tmp.path());
        }
    }
}

#[test]
fn a_path_with_odd_characters_is_no_obstacle() {
    let tmp = tempfile::tempdir().unwrap();
    let odd = tmp.path().join("what? 100% #1 größe\n");
    std::fs::create_dir(&odd).unwrap();
    let mut ledger = open(&odd);
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    assert_eq!(reader(&odd).runs(9).unwrap().len(), 1);
    drop(ledger);
    assert_eq!(reader(&odd).runs(9).unwrap().len(), 1);
}

#[test]
fn every_kind_of_record_and_every_table_stands_in_the_documentation() {
    let docs = include_str!("../../docs/ledger.md");
    // The error of an unknown kind lists the known ones.
    let error = serde_json::from_str::<Record>(r#"{"kind":"?"}"#).unwrap_err();
    let error = error.to_string();
    let kinds: Vec<&str> = error.split('`').skip(1).step_by(2).skip(1).collect();
    assert!(kinds.contains(&"run_started") && kinds.contains(&"run_ended"));
    let tmp = tempfile::tempdir().unwrap();
    let tables = open(tmp.path()).query_lines(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    );
    assert_eq!(tables.len(), 7);
    for word in kinds.into_iter().chain(tables.iter().map(String::as_str)) {
        assert!(docs.contains(&format!("`{word}`")), "{word}");
    }
}

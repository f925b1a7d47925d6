//! What is read of a damaged ledger, and made anew.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::store::{Fragments, Saved};

/// A ledger of two runs, one with records that need overflow pages, closed properly.
fn written(dir: &Path) -> Vec<Stamped> {
    let mut ledger = open(dir);
    let first = ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let mut all: Vec<Stamped> = first.into_stamped().collect();
    let mut long = long_run(100);
    let tasks: Vec<(String, String)> = (0..200)
        .map(|n| (format!("task-{n}"), format!("spec-{n}")))
        .collect();
    let tasks: Vec<(&str, &str)> = tasks
        .iter()
        .map(|(id, spec)| (id.as_str(), spec.as_str()))
        .collect();
    long.push(Record::PlanAccepted {
        revision: revision(&tasks),
    });
    let second = ledger.begin_run(&new_run("r2"), AT, long).unwrap();
    all.extend(second.into_stamped());
    all
}

fn saved(fragments: &Fragments) -> Vec<Saved> {
    let records = fragments.records.iter();
    records
        .map(|(&seq, fragment)| Saved {
            stamped: Stamped {
                seq,
                run: fragment.run.clone(),
                at: fragment.at,
                record: fragment.record.clone(),
            },
            body: fragment.body.clone(),
        })
        .collect()
}

fn stamped(fragments: &Fragments) -> Vec<Stamped> {
    saved(fragments).into_iter().map(|s| s.stamped).collect()
}

#[test]
fn of_a_sound_file_every_record_and_run_is_read() {
    let tmp = tempfile::tempdir().unwrap();
    let all = written(tmp.path());
    let found = Fragments::read(&StateDir::of_repository(tmp.path()).ledger()).unwrap();
    assert_eq!(stamped(&found), all);
    assert_eq!(found.runs.len(), 2);
    assert_eq!(found.runs[&run("r1")], (new_run("r1"), AT));
    assert_eq!(found.end(), all.last().map(|last| last.seq));
    assert!(found.missing().is_empty());
}

#[test]
fn what_stands_only_in_the_log_is_read_and_what_was_not_committed_is_not() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let all = ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    let all: Vec<Stamped> = all.into_stamped().collect();
    // As after a kill: the connection lives, nothing is in the main file.
    let path = ledger.path.clone();
    assert_eq!(stamped(&Fragments::read(&path).unwrap()), all);
    let copy = tmp.path().join("copy.db");
    let log = std::fs::read(path.with_extension("db-wal")).unwrap();
    std::fs::write(copy.with_extension("db-wal"), &log).unwrap();
    assert_eq!(stamped(&Fragments::read(&copy).unwrap()), all);
    // A torn last frame: the transaction that it commits is not there.
    std::fs::write(copy.with_extension("db-wal"), &log[..log.len() - 100]).unwrap();
    assert!(Fragments::read(&copy).unwrap().records.is_empty());
}

#[test]
fn each_page_that_is_gone_costs_the_records_on_it_and_no_other() {
    let tmp = tempfile::tempdir().unwrap();
    let all = written(tmp.path());
    let path = StateDir::of_repository(tmp.path()).ledger();
    let whole = std::fs::read(&path).unwrap();
    let mut lost = 0;
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let found = Fragments::read(&path).unwrap();
        let read = stamped(&found);
        assert!(
            read.iter().all(|record| all.contains(record)),
            "page {page}"
        );
        assert!(all.len() - read.len() < 60, "page {page}");
        if found.end().is_some() {
            assert_eq!(found.missing().len(), all.len() - read.len());
        }
        lost += all.len() - read.len();
    }
    assert!(lost >= all.len(), "each record stands on a page");
}

#[test]
fn a_file_of_something_else_tells_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("list");
    assert!(Fragments::read(&path).unwrap().records.is_empty());
    for bytes in [vec![0; 10_000], vec![0x0d; 10_000], vec![0xff; 10_000]] {
        std::fs::write(&path, bytes).unwrap();
        let found = Fragments::read(&path).unwrap();
        assert!(found.records.is_empty() && found.runs.is_empty());
    }
}

#[test]
fn a_restored_ledger_has_the_same_records_in_the_same_places_and_all_that_follows_from_them() {
    let tmp = tempfile::tempdir().unwrap();
    let all = written(tmp.path());
    let before = dump(&open(tmp.path()));
    let state = StateDir::of_repository(tmp.path());
    let found = Fragments::read(&state.ledger()).unwrap();
    std::fs::remove_file(state.ledger()).unwrap();
    let mut ledger = Ledger::replace(lock(tmp.path())).unwrap();
    let runs: Vec<_> = found.runs.values().cloned().collect();
    ledger.restore(&runs, &saved(&found), Some(10_000)).unwrap();
    assert_eq!(ledger.reader().records_since(0, 10_000).unwrap(), all);
    assert_eq!(dump(&ledger), before);
    let next = Record::WaitEnded { task: task("a") };
    let next = ledger.append(&run("r2"), AT, vec![next]);
    let next = next.unwrap().into_stamped().next().unwrap();
    assert_eq!(next.seq, 10_001, "no place is given away twice");
}

#[test]
fn a_landing_that_was_only_found_counts_and_a_closed_run_takes_records_that_do_not_fit() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let record = |seq, record: Record| Saved {
        body: serde_json::to_string(&record).unwrap(),
        stamped: Stamped {
            seq,
            run: run("r1"),
            at: AT,
            record,
        },
    };
    let found = Record::LandingFound {
        task: task("b"),
        attempt: 1,
        commit: ObjectId::new("e".repeat(40)),
    };
    let records = [
        record(
            1,
            Record::RunStarted(run_start(&[("a", "spec"), ("b", "spec-b")]).into()),
        ),
        // Its attempt is among what is lost.
        record(7, landed("a", 1)),
        record(8, found),
        record(9, Record::LedgerRebuilt { lost: Vec::new() }),
    ];
    let runs = [(new_run("r1"), AT)];
    ledger.restore(&runs, &records, None).unwrap();
    let reader = ledger.reader();
    let landings = reader
        .landings(&new_run("r1").plan_id, &new_run("r1").target)
        .unwrap();
    let landings: Vec<_> = landings
        .iter()
        .map(|l| (&l.task, l.spec_hash.as_str()))
        .collect();
    assert_eq!(landings, [(&task("b"), "spec-b")]);
    assert!(reader.lost_records(&run("r1")).unwrap());
    let end = reader.run(&run("r1")).unwrap().unwrap().end.unwrap();
    assert_eq!(end.outcome, Outcome::Environment);
}

#[test]
fn a_vanished_or_emptied_ledger_is_refused_where_attempts_are_kept() {
    let tmp = tempfile::tempdir().unwrap();
    let state = StateDir::of_repository(tmp.path());
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    drop(ledger);
    state
        .run(&run("r1"))
        .attempt(&task("a"), 1)
        .create()
        .unwrap();
    drop(open(tmp.path()));
    for emptied in [true, false] {
        match emptied {
            true => std::fs::write(state.ledger(), b"").unwrap(),
            false => std::fs::remove_file(state.ledger()).unwrap(),
        }
        let refused = Ledger::open(lock(tmp.path()));
        assert!(
            matches!(refused, Err(LedgerError::Lost { .. })),
            "{refused:?}"
        );
    }
    // One that holds no run is no better.
    drop(Ledger::replace(lock(tmp.path())).unwrap());
    let refused = Ledger::open(lock(tmp.path()));
    assert!(
        matches!(refused, Err(LedgerError::Lost { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_refused_ledger_keeps_its_log() {
    let tmp = tempfile::tempdir().unwrap();
    let state = StateDir::of_repository(tmp.path());
    written(tmp.path());
    // As a kill leaves it: the newest record stands in the log alone.
    let mut main = std::fs::read(state.ledger()).unwrap();
    let mut ledger = open(tmp.path());
    let next = Record::WaitEnded { task: task("a") };
    ledger.append(&run("r2"), AT, vec![next]).unwrap();
    let log = state.ledger().with_extension("db-wal");
    let logged = std::fs::read(&log).unwrap();
    drop(ledger);
    let middle = main.len() / 2;
    main[middle..middle + 8192].fill(0xa5);
    std::fs::write(state.ledger(), &main).unwrap();
    std::fs::write(&log, &logged).unwrap();
    let refused = Ledger::open(lock(tmp.path()));
    assert!(
        matches!(refused, Err(LedgerError::Damaged { .. })),
        "{refused:?}"
    );
    assert!(std::fs::read(state.ledger()).unwrap() == main);
    assert!(
        std::fs::read(&log).unwrap() == logged,
        "nothing was taken from the log"
    );
}

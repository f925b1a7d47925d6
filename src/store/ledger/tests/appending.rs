//! What is appended, what is refused, and what follows from it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

#[test]
fn what_was_appended_is_read_back_in_order_by_a_later_orch() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let appended = ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    drop(ledger);
    let again = open(tmp.path()).reader().records(&run("r1")).unwrap();
    let stamped: Vec<Stamped> = appended.into_stamped().collect();
    assert_eq!(again, stamped);
    assert!(again.is_sorted_by(|a, b| a.seq < b.seq));
    let kept: Vec<Record> = again.into_iter().map(|s| s.record).collect();
    assert_eq!(kept, lived_run());
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
        Record::RunStarted(run_start(&[("a", "s")]).into()),
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
    let start = || vec![Record::RunStarted(run_start(&[]).into())];
    let orphan = ledger.append(&run("r1"), AT, start()).unwrap_err();
    assert!(orphan.to_string().contains("no run r1"), "{orphan}");
    ledger.begin_run(&new_run("r1"), AT, start()).unwrap();
    let twice = ledger.begin_run(&new_run("r1"), AT, start()).unwrap_err();
    assert!(twice.to_string().contains("run r1 exists"), "{twice}");
}

#[test]
fn records_can_neither_be_changed_nor_removed() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    for sql in ["UPDATE records SET body = '{}'", "DELETE FROM records"] {
        let error = ledger.conn.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("records never"), "{error}");
    }
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
            as_: Settlement::MarkedDone { commit: None },
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
    let of_file = query_lines(&ledger, "SELECT task FROM records ORDER BY seq");
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
fn a_full_disk_appends_nothing_and_the_ledger_goes_on_when_there_is_room() {
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    let start = vec![Record::RunStarted(run_start(&[("a", "s")]).into())];
    ledger.begin_run(&new_run("r1"), AT, start).unwrap();
    let records = long_run(200).split_off(1);
    tamper(&ledger, "PRAGMA max_page_count = 20");
    let full = ledger.append(&run("r1"), AT, records.clone());
    assert!(matches!(full, Err(LedgerError::Full { .. })), "{full:?}");
    assert_eq!(ledger.reader().records(&run("r1")).unwrap().len(), 1);
    tamper(&ledger, "PRAGMA max_page_count = 100000");
    ledger.append(&run("r1"), AT, records).unwrap();
}

#[test]
fn every_kind_of_record_and_every_table_stands_in_the_documentation() {
    let docs = include_str!("../../../../docs/ledger.md");
    // The error of an unknown kind lists the known ones.
    let error = serde_json::from_str::<Record>(r#"{"kind":"?"}"#).unwrap_err();
    let error = error.to_string();
    let kinds: Vec<&str> = error.split('`').skip(1).step_by(2).skip(1).collect();
    assert!(kinds.contains(&"run_started") && kinds.contains(&"run_ended"));
    let tmp = tempfile::tempdir().unwrap();
    let tables = query_lines(
        &open(tmp.path()),
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    );
    assert_eq!(tables.len(), 7);
    for word in kinds.into_iter().chain(tables.iter().map(String::as_str)) {
        assert!(docs.contains(&format!("`{word}`")), "{word}");
    }
}

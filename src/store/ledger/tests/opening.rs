//! Which files are opened for writing, and which are left alone.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

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
fn a_ledger_that_knew_no_continued_sessions_learns_of_them() {
    const WIDE: &str = " OR part GLOB ''continue-[1-9]*''";
    let tmp = tempfile::tempdir().unwrap();
    let mut ledger = open(tmp.path());
    ledger.begin_run(&new_run("r1"), AT, lived_run()).unwrap();
    tamper(
        &ledger,
        &format!(
            "PRAGMA writable_schema = 1;
             UPDATE sqlite_schema SET sql = replace(sql, '{WIDE}', '') WHERE name IN ('attempts', 'usage');
             PRAGMA writable_schema = RESET"
        ),
    );
    let before = dump(&ledger);
    drop(ledger);

    let mut ledger = open(tmp.path());
    assert_eq!(dump(&ledger), before);
    let records = vec![
        started("a", 3),
        agent_starting("a", 3, false),
        collected(
            "a",
            3,
            1,
            Next::Continue {
                charge: Charge::Nothing,
            },
        ),
        continuing("a", 3),
        collected("a", 3, 2, Next::Land),
    ];
    ledger.append(&run("r1"), AT, records).unwrap();
    let parts: Vec<SessionPart> = ledger
        .reader()
        .usage(&run("r1"))
        .unwrap()
        .into_iter()
        .filter(|session| session.attempt == 3)
        .map(|session| session.part)
        .collect();
    assert_eq!(parts, [SessionPart::Work, SessionPart::Continue(1)]);
    assert_eq!(query_lines(&ledger, "PRAGMA foreign_keys"), ["1"]);
    assert_eq!(query_lines(&ledger, "PRAGMA foreign_key_check"), [""; 0]);
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
    tamper(
        &ledger,
        "INSERT INTO records (run_id, at_ms, body) VALUES ('r1', 1, '{\"kind\":\"teleported\"}')",
    );
    drop(ledger);
    let unknown = reader(tmp.path()).records(&run("r1"));
    assert!(
        matches!(unknown, Err(LedgerError::Damaged { .. })),
        "{unknown:?}"
    );

    tamper(&open(tmp.path()), "PRAGMA user_version = 2");
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

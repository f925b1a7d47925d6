//! What readers see, and that nobody sees them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

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
            vec![Record::RunStarted(run_start(&[]).into())],
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
        start: run_start(&[("a", "spec-3")]).into(),
    };
    ledger.append(&run("r1"), AT, vec![resumed]).unwrap();
    assert_eq!(end("r1"), None);
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
    let columns = query_lines(
        &ledger,
        "SELECT kind, task, attempt FROM records WHERE kind IN ('run_started', 'landed', 'reopened')",
    );
    assert_eq!(
        columns,
        ["run_started||", "landed|a|1", "reopened|a|", "landed|a|2"]
    );
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
fn the_log_of_an_orch_that_is_just_starting_is_left_to_it() {
    let tmp = tempfile::tempdir().unwrap();
    drop(open(tmp.path()));
    let state = StateDir::of_repository(tmp.path());
    // Where a starting orch is between making the log and making its index.
    std::fs::write(state.path().join("ledger.db-wal"), "").unwrap();
    let left = files(state.path());
    assert!(reader(tmp.path()).runs(9).unwrap().is_empty());
    assert_eq!(files(state.path()), left);
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
    let start = vec![Record::RunStarted(run_start(&[("a", "s")]).into())];
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

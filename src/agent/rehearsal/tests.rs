//! Promises about rehearsed sessions, judged by what orch reads of real ones.

use super::super::Start;
use super::super::status::{self, Expected, Finding, Said};
use super::super::stream::{SessionReader, SessionReport};
use uuid::Uuid;

use super::*;
use crate::engine::usage::MicroUsd;
use crate::ids::TaskId;

fn order(rehearse: Option<Rehearse>) -> Order {
    Order {
        task: "api".to_owned(),
        attempt: 1,
        session: Uuid::from_u128(5).to_string(),
        nonce: "n".to_owned(),
        rehearse,
    }
}

fn played(order: &Order, cwd: &Path) -> SessionReport {
    let mut out = Vec::new();
    play(order, cwd, &mut out).expect("a Vec takes everything");
    let mut reader = SessionReader::new(Start::Fresh);
    out.split(|b| *b == b'\n')
        .for_each(|line| reader.line(line));
    reader.finish()
}

fn said(report: &SessionReport) -> Option<(Said, String)> {
    let task = TaskId::parse("api").expect("an id");
    let structured = report.structured_output(Uuid::from_u128(5));
    match status::judge(
        structured,
        Ok(None),
        Expected {
            task: &task,
            nonce: "n",
        },
    )
    .finding
    {
        Finding::Status(status) => Some((status.said, status.message)),
        Finding::None => None,
        Finding::Bad(why) => panic!("{why}"),
    }
}

#[test]
fn a_task_without_a_block_leaves_a_line_and_completes() {
    let slot = tempfile::tempdir().expect("tempdir");
    let report = played(&order(None), slot.path());
    assert_eq!(said(&report).map(|(said, _)| said), Some(Said::Completed));
    let line = fs::read_to_string(slot.path().join("rehearsal/api.md")).expect("written");
    assert_eq!(line, "Attempt 1 of task api was rehearsed.\n");
    assert_eq!(
        (
            report.damaged_lines,
            report.unknown_lines,
            report.tool_calls
        ),
        (0, 0, 1)
    );
}

#[test]
fn a_block_is_played_as_written() {
    let slot = tempfile::tempdir().expect("tempdir");
    fs::write(slot.path().join("old"), "x").expect("write");
    fs::write(slot.path().join("log"), "one\n").expect("write");
    let rehearse = Rehearse {
        write: BTreeMap::from([("src/new".to_owned(), "text".to_owned())]),
        append: BTreeMap::from([("log".to_owned(), "two\n".to_owned())]),
        delete: vec!["old".to_owned()],
        answer: Some("all good".to_owned()),
        costs_micro_usd: 120_000,
        ..Rehearse::default()
    };
    let report = played(&order(Some(rehearse)), slot.path());
    assert_eq!(
        said(&report),
        Some((Said::Completed, "all good".to_owned()))
    );
    assert_eq!(report.usage.cost, MicroUsd(120_000));
    assert_eq!(
        (
            report.usage.sessions,
            report.usage.unpriced_sessions,
            report.usage.turns
        ),
        (1, 0, 4)
    );
    assert!(!slot.path().join("old").exists());
    assert_eq!(
        fs::read_to_string(slot.path().join("log")).expect("read"),
        "one\ntwo\n"
    );
    assert_eq!(
        fs::read_to_string(slot.path().join("src/new")).expect("read"),
        "text"
    );
}

#[test]
fn the_first_attempts_fail_without_a_change_when_told_so() {
    let slot = tempfile::tempdir().expect("tempdir");
    let rehearse = Rehearse {
        write: BTreeMap::from([("a".to_owned(), String::new())]),
        fail_times: 1,
        ..Rehearse::default()
    };
    let mut order = order(Some(rehearse));
    assert_eq!(
        said(&played(&order, slot.path())).map(|(said, _)| said),
        Some(Said::Failed)
    );
    assert!(!slot.path().join("a").exists());
    order.attempt = 2;
    assert_eq!(
        said(&played(&order, slot.path())).map(|(said, _)| said),
        Some(Said::Completed)
    );
    assert!(slot.path().join("a").exists());
}

#[test]
fn a_session_can_fail_or_end_without_a_status_when_told_so() {
    let slot = tempfile::tempdir().expect("tempdir");
    let with = |status| {
        said(&played(
            &order(Some(Rehearse {
                status,
                ..Rehearse::default()
            })),
            slot.path(),
        ))
    };
    assert_eq!(
        with(RehearsedStatus::Failed).map(|(said, _)| said),
        Some(Said::Failed)
    );
    assert_eq!(with(RehearsedStatus::None), None);
}

#[test]
fn a_step_that_cannot_be_done_fails_the_attempt_with_its_reason() {
    let slot = tempfile::tempdir().expect("tempdir");
    for path in ["../outside", "/etc/x", "missing"] {
        let rehearse = Rehearse {
            delete: vec![path.to_owned()],
            ..Rehearse::default()
        };
        let (said, message) = said(&played(&order(Some(rehearse)), slot.path())).expect("a status");
        assert_eq!(said, Said::Failed);
        assert!(message.contains(path), "{message}");
    }
}

#[test]
fn added_tasks_stand_at_the_end_of_the_own_section() {
    let plan = "sections:\n  - id: one\n    tasks:\n      - id: api\n        name: Api # here\n      - id: ui\n        \
                description: |\n          text\n  - id: two\n    tasks: []\n";
    let slot = tempfile::tempdir().expect("tempdir");
    fs::create_dir(slot.path().join(".orch")).expect("create");
    fs::write(slot.path().join(plan_edit::PLAN_COPY), plan).expect("write");
    let add_tasks = "- id: docs\n  name: Docs\n\n- id: more\n  name: More\n".to_owned();
    let rehearse = Rehearse {
        add_tasks,
        ..Rehearse::default()
    };
    assert_eq!(
        said(&played(&order(Some(rehearse)), slot.path())).map(|(said, _)| said),
        Some(Said::Completed)
    );
    let text = fs::read_to_string(slot.path().join(plan_edit::PLAN_COPY)).expect("read");
    let added = "          text\n      - id: docs\n        name: Docs\n\n      - id: more\n        name: More\n  - id: two\n";
    assert!(text.contains(added), "{text}");
}

//! What follows the ends of attempts.

use super::*;
use crate::engine::action::{ExecuteMode, StartFrom};
use crate::engine::next::{Charge, Next};
use crate::engine::policy::STREAK_MAX;
use crate::plan::graph::RetryFrom;

/// How the first attempt of a lone task is followed, after it ended with a candidate.
fn followed(ending: Ending, change: impl FnOnce(&mut Node)) -> Next {
    let mut bench = Bench::of(vec![with(task("a", &[]), change)]);
    bench.ends("a", ending);
    let next = bench
        .records
        .iter()
        .find_map(|stamped| match &stamped.record {
            Record::Collected { next, .. } => Some(*next),
            _ => None,
        });
    next.expect("it was collected")
}

#[test]
fn only_what_the_agent_did_is_counted_and_only_done_work_is_never_tried_again() {
    for ending in Ending::ALL {
        let row = ending.row();
        let is_done = matches!(ending, Ending::Success | Ending::NoChange);
        assert_eq!(row.is_done(), is_done, "{ending:?}");
        let worked_badly = !is_done && row.answered && ending != Ending::Conflict;
        let hung = matches!(ending, Ending::Stalled | Ending::NoFirstEvent);
        let is_counted = row.counts == Charge::Attempt;
        assert_eq!(is_counted, worked_badly || hung, "{ending:?}");
        let mends = row.ladder && (row.continues || row.stops || !is_counted);
        assert!(!mends, "{ending:?}: no model mends the world");
    }
}

#[test]
fn a_failed_attempt_is_spent_and_its_evidence_goes_to_the_next_one() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::NoStatus);
    let (_, (start, evidence)) = bench.take("a", |order| match order {
        Action::Prepare {
            start, evidence, ..
        } => Some((start.clone(), evidence.clone())),
        _ => None,
    });
    assert_eq!(start, StartFrom::Candidate(oid("a-1")));
    assert_eq!(
        evidence,
        [AttemptEnd::new(Ending::NoStatus, "as the test says")]
    );
    assert_eq!(
        bench.engine.view(&id("a")).map(|v| (v.attempt, v.spent)),
        Some((2, 1))
    );
}

#[test]
fn the_plan_says_where_a_retry_starts_except_after_a_conflict() {
    let from_base = |n: &mut Node| n.retry_from = Some(RetryFrom::Base);
    let from_candidate = |n: &mut Node| n.retry_from = Some(RetryFrom::Candidate);
    let from = |next| match next {
        Next::Retry { from, .. } => from,
        other => panic!("{other:?} is no retry"),
    };
    assert_eq!(from(followed(Ending::NoStatus, from_base)), RetryFrom::Base);
    assert_eq!(
        from(followed(Ending::Crashed, from_candidate)),
        RetryFrom::Candidate
    );
    assert_eq!(
        from(followed(Ending::Conflict, from_candidate)),
        RetryFrom::Base
    );
}

#[test]
fn crashes_wait_at_most_longer_and_longer_and_count_from_the_fourth_on() {
    let nodes = || vec![with(task("a", &[]), |n| n.max_attempts = 1)];
    let mut bench = Bench::start(&RunStart {
        policy: Policy {
            backoff_base_ms: 5_000,
            backoff_max_ms: 15_000,
            ..Policy::default()
        },
        ..asks_for(nodes())
    });
    let mut waited = Vec::new();
    for most in [5_000, 10_000, 15_000] {
        bench.ends("a", Ending::Crashed);
        let until = bench.engine.next_wake().expect("it waits");
        let pause = until.ms_since(bench.now.wall);
        assert!(pause > 0 && pause <= most, "{pause} of {most}");
        assert_eq!(bench.engine.view(&id("a")).map(|v| v.spent), Some(0));
        bench.pass(pause - 1);
        assert!(bench.running().is_empty());
        bench.pass(1);
        assert_eq!(bench.running(), ["a"]);
        waited.push(pause);
    }
    assert_eq!(u32::try_from(waited.len()), Ok(STREAK_MAX));
    bench.ends("a", Ending::Crashed);
    assert_eq!(bench.state("a"), TaskState::Failed);
    assert_eq!(bench.finish(), Outcome::Failed);
}

#[test]
fn each_back_off_in_a_row_is_at_most_twice_the_last_one_up_to_an_end() {
    let policy = Policy {
        backoff_base_ms: 5_000,
        backoff_max_ms: 120_000,
        ..Policy::default()
    };
    let longest: Vec<u64> = (1..=6).map(|n| policy.backoff_ms(n) / 1_000).collect();
    assert_eq!(longest, [5, 10, 20, 40, 80, 120]);
    assert_eq!(policy.backoff_ms(u32::MAX), 120_000);
}

#[test]
fn a_clock_set_back_does_not_make_a_wait_longer() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::Crashed);
    bench.now.wall = Wall(0);
    bench.hear(Event::Tick);
    assert_eq!(bench.running(), ["a"]);
}

#[test]
fn a_machine_that_slept_for_hours_ends_a_wait_and_no_attempt() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[])]);
    bench.prepared("a");
    bench.ends("b", Ending::Crashed);
    // The wall clock goes on in suspend, the other one does not.
    bench.now.wall = bench.now.wall.plus_ms(8 * 3_600_000);
    bench.hear(Event::Tick);
    assert_eq!(bench.running(), ["a", "b"]);
    bench.executed("a");
    bench.collected("a", Ending::Success, |_| {});
    bench.lands("a");
    assert_eq!(bench.engine.view(&id("a")).map(|v| v.attempt), Some(1));
}

#[test]
fn a_session_without_a_status_is_asked_for_it_once_in_its_slot() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.prepared("a");
    bench.executed("a");
    bench.collected("a", Ending::NoStatus, |left| left.can_ask = true);
    let (ticket, mode) = bench.take("a", |order| match order {
        Action::Execute { mode, .. } => Some(*mode),
        _ => None,
    });
    assert_eq!((ticket.attempt, mode), (1, ExecuteMode::AskStatus));
    bench.hear(Event::Executed { ticket });
    bench.collected("a", Ending::NoStatus, |left| left.can_ask = true);
    let view = bench.engine.view(&id("a")).expect("a known task");
    assert_eq!((view.attempt, view.spent, view.usage.sessions), (2, 1, 2));
}

#[test]
fn a_report_task_without_a_text_has_not_done_its_work() {
    let report = || vec![with(task("a", &[]), |n| n.kind = TaskKind::Report)];
    let mut bench = Bench::of(report());
    bench.prepared("a");
    bench.executed("a");
    bench.collected("a", Ending::NoChange, |left| left.candidate = None);
    let view = bench.engine.view(&id("a")).expect("a known task");
    assert_eq!(view.last_end.map(|end| end.ending), Some(Ending::BadStatus));

    let mut bench = Bench::of(report());
    bench.prepared("a");
    bench.executed("a");
    bench.collected("a", Ending::Success, |left| {
        left.candidate = None;
        left.report = Some("sha".to_owned());
    });
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn what_the_next_attempt_would_meet_again_stops_the_run_and_costs_nothing() {
    for ending in [Ending::Auth, Ending::Billing, Ending::Environment] {
        let mut bench = Bench::of(vec![task("a", &[]), task("b", &[])]);
        bench.ends("a", ending);
        assert_eq!(bench.engine.view(&id("a")).map(|v| v.spent), Some(0));
        bench.prepared("b");
        assert!(
            bench.running().is_empty(),
            "an agent that has not started stays unstarted"
        );
        assert_eq!(bench.finish(), Outcome::Environment);
    }
}

#[test]
fn running_attempts_finish_and_land_when_the_run_cannot_go_on() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[])]);
    bench.prepared("b");
    bench.ends("a", Ending::Auth);
    bench.executed("b");
    bench.collected("b", Ending::Success, |_| {});
    bench.lands("b");
    assert_eq!(bench.finish(), Outcome::Environment);
    assert!(matches!(bench.state("b"), TaskState::Completed { .. }));
}

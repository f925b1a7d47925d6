//! Going on after orch died, and refusing records that cannot be.

use super::*;
use crate::engine::InFlight;
use crate::engine::action::ExecuteMode;
use crate::engine::event::Found;

fn nodes() -> Vec<Node> {
    vec![task("a", &[]), task("b", &[])]
}

fn found(bench: &mut Bench, name: &str, found: Found) {
    let task = id(name);
    bench.hear(Event::Recovered { task, found });
}

fn modes(bench: &Bench) -> Vec<ExecuteMode> {
    let executes = bench.orders.iter().filter_map(|order| match order {
        Action::Execute { mode, .. } => Some(*mode),
        _ => None,
    });
    executes.collect()
}

#[test]
fn agents_that_live_are_adopted_and_nothing_starts_before_all_is_known() {
    let mut start = asks_for(vec![task("a", &[]), task("b", &[]), task("c", &[])]);
    start.jobs = 2;
    let mut bench = Bench::start(&start);
    bench.prepared("a");
    start.jobs = 3;
    bench.resume(&start);
    let unsettled = bench.engine.unsettled();
    assert!(matches!(
        unsettled[0].1,
        InFlight::Executing { asked: false, .. }
    ));
    assert!(matches!(unsettled[1].1, InFlight::Preparing { .. }));
    found(&mut bench, "a", Found::AgentAlive);
    assert_eq!(modes(&bench), [ExecuteMode::Adopt]);
    assert_eq!(bench.running(), ["a", "b"]);
    found(&mut bench, "b", Found::AgentGone);
    assert_eq!(bench.running(), ["a", "b", "c"]);
    bench.executed("a");
    bench.collected("a", Ending::Success, |_| {});
    bench.lands("a");
}

#[test]
fn an_agent_that_vanished_costs_no_attempt_and_its_slot_is_read_first() {
    let mut bench = Bench::of(nodes());
    bench.prepared("a");
    bench.resume(&asks_for(nodes()));
    found(&mut bench, "a", Found::AgentGone);
    let (ticket, given) = bench.take("a", |order| match order {
        Action::Collect { ended_by_orch, .. } => ended_by_orch.clone(),
        _ => None,
    });
    assert_eq!((ticket.attempt, given.ending), (1, Ending::Crashed));
}

#[test]
fn agents_that_a_restart_of_the_machine_took_open_no_breaker() {
    let nodes = || vec![task("a", &[]), task("b", &[]), task("c", &[])];
    let mut start = asks_for(nodes());
    start.jobs = 3;
    let mut bench = Bench::start(&start);
    for name in ["a", "b", "c"] {
        bench.prepared(name);
    }
    bench.resume(&start);
    for name in ["a", "b", "c"] {
        found(&mut bench, name, Found::AgentGone);
    }
    for name in ["a", "b", "c"] {
        bench.collected(name, Ending::Crashed, |_| {});
    }
    assert!(bench.engine.run().breaker.is_none());
}

#[test]
fn a_landing_that_happened_gets_its_receipt_and_one_that_did_not_is_built_again() {
    for landed in [true, false] {
        let mut bench = Bench::of(vec![task("a", &[])]);
        bench.ends("a", Ending::Success);
        let commit = bench.built("a");
        bench.resume(&asks_for(vec![task("a", &[])]));
        if landed {
            found(&mut bench, "a", Found::Landed(None));
            assert_eq!(bench.engine.tip(), Some(&commit));
        } else {
            found(&mut bench, "a", Found::NotLanded);
            bench.lands("a");
        }
        assert_eq!(bench.finish(), Outcome::Completed);
    }
}

#[test]
fn a_session_that_was_never_asked_for_its_status_is_asked_now() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.prepared("a");
    bench.executed("a");
    bench.collected("a", Ending::NoStatus, |left| left.can_ask = true);
    bench.resume(&asks_for(vec![task("a", &[])]));
    found(&mut bench, "a", Found::NeverStarted);
    assert_eq!(modes(&bench), [ExecuteMode::AskStatus]);
}

#[test]
fn results_from_before_the_crash_are_not_heard() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.prepared("a");
    let (stale, ()) = bench.take("a", |a| matches!(a, Action::Execute { .. }).then_some(()));
    bench.resume(&asks_for(vec![task("a", &[])]));
    found(&mut bench, "a", Found::AgentAlive);
    bench.hear(Event::Executed { ticket: stale });
    assert_eq!(bench.engine.dropped(), 1);
    bench.executed("a");
}

#[test]
fn a_finding_that_cannot_be_ends_the_run_as_a_bug() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.resume(&asks_for(vec![task("a", &[])]));
    found(&mut bench, "a", Found::Landed(None));
    assert_eq!(bench.engine.outcome(), Some(Outcome::Bug));
    assert!(bench.orders.contains(&Action::Finish {
        outcome: Outcome::Bug
    }));
}

#[test]
fn a_shell_that_cannot_go_on_leaves_what_runs_to_the_next_one() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.prepared("a");
    bench.hear(Event::Failed {
        outcome: Outcome::Environment,
        detail: "the disk is gone".to_owned(),
    });
    assert_eq!(bench.engine.outcome(), Some(Outcome::Environment));
    bench.resume(&asks_for(vec![task("a", &[])]));
    found(&mut bench, "a", Found::AgentAlive);
    assert_eq!(modes(&bench), [ExecuteMode::Adopt]);
}

#[test]
fn replay_names_the_record_that_is_not_possible() {
    let bench = Bench::of(vec![task("a", &[])]);
    let twice = bench.records.iter().chain(&bench.records[1..]);
    let error = Engine::replay(run_id(), twice).expect_err("an attempt cannot start twice");
    let text = error.to_string();
    assert!(
        text.contains("while a#1 is preparing: AttemptStarted"),
        "{text}"
    );
    let headless = Engine::replay(run_id(), &bench.records[1..]).expect_err("no beginning");
    assert!(
        headless.to_string().contains("before the run has started"),
        "{headless}"
    );
    assert!(Engine::replay(run_id(), Vec::<Stamped>::new()).is_err());
}

#[test]
fn records_come_back_from_their_text() {
    let mut bench = Bench::of(nodes());
    bench.ends("a", Ending::Crashed);
    bench.succeeds("b");
    for stamped in &bench.records {
        let text = serde_json::to_string(stamped).expect("it can be written");
        let read: Stamped = serde_json::from_str(&text).expect("and read");
        assert_eq!(read, *stamped);
    }
}

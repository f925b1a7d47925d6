//! The judgement of what has landed when the plan is through.

use super::*;
use crate::engine::verification::{Environment, Smoke, Verdict, Verification};

fn smoking(nodes: Vec<Node>) -> RunStart {
    RunStart {
        smoke: true,
        ..asks_for(nodes)
    }
}

/// Answers the errands up to the order to smoke; the tip that it is about.
fn asked(bench: &mut Bench) -> ObjectId {
    loop {
        assert!(!bench.orders.is_empty(), "no smoke is ordered");
        match bench.orders.remove(0) {
            Action::WritePlan => bench.hear(Event::PlanWritten),
            Action::Smoke { tip } => return tip,
            other => panic!("{other:?} before smoke"),
        }
    }
}

fn says(bench: &mut Bench, tip: &ObjectId, verdict: Verdict) {
    bench.hear(Event::Smoked(Some(Box::new(Smoke {
        tip: tip.clone(),
        commit: tip.clone(),
        result: Verification {
            tree: oid("tree"),
            gates: Vec::new(),
            environment: Environment::default(),
            verdict,
        },
    }))));
}

#[test]
fn smoke_is_asked_once_about_the_last_landing_when_all_tasks_are_settled() {
    let mut bench = Bench::start(&smoking(vec![task("a", &[]), task("b", &["a"])]));
    bench.succeeds("a");
    assert!(
        !bench
            .orders
            .iter()
            .any(|o| matches!(o, Action::Smoke { .. }))
    );
    bench.orders.retain(|o| !matches!(o, Action::WritePlan));
    bench.hear(Event::PlanWritten);
    bench.succeeds("b");
    let tip = asked(&mut bench);
    assert_eq!(tip, bench.tip);
    says(&mut bench, &tip, Verdict::Passed);
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn red_smoke_fails_the_run_and_the_next_start_asks_again() {
    let start = smoking(vec![task("a", &[])]);
    let mut bench = Bench::start(&start);
    bench.succeeds("a");
    let tip = asked(&mut bench);
    says(&mut bench, &tip, Verdict::Failed("no door".to_owned()));
    assert_eq!(bench.finish(), Outcome::Failed);
    assert!(
        bench
            .engine
            .run()
            .failure
            .is_some_and(|why| why.contains("no door"))
    );
    bench.resume(&start);
    let again = asked(&mut bench);
    says(&mut bench, &again, Verdict::Passed);
    assert_eq!(bench.finish(), Outcome::Completed);
    assert_eq!(bench.engine.run().failure, None);
}

#[test]
fn a_person_may_go_on_without_smoke_that_is_red() {
    let start = smoking(vec![task("a", &[])]);
    let mut bench = Bench::start(&start);
    bench.succeeds("a");
    let tip = asked(&mut bench);
    says(&mut bench, &tip, Verdict::Failed("no door".to_owned()));
    assert_eq!(bench.finish(), Outcome::Failed);
    bench.resume(&RunStart {
        smoke: false,
        ..start
    });
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn smoke_that_passed_is_not_asked_again_and_smoke_without_an_answer_is() {
    let start = smoking(vec![task("a", &[])]);
    let mut bench = Bench::start(&start);
    bench.succeeds("a");
    asked(&mut bench);
    // orch dies.
    bench.resume(&start);
    let tip = asked(&mut bench);
    says(&mut bench, &tip, Verdict::Passed);
    bench.resume(&start);
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn a_stop_ends_smoke_and_the_next_start_asks_again() {
    let start = smoking(vec![task("a", &[])]);
    let mut bench = Bench::start(&start);
    bench.succeeds("a");
    let tip = asked(&mut bench);
    bench.stop(StopLevel::Drain);
    assert_eq!(bench.orders.remove(0), Action::EndSmoke);
    says(&mut bench, &tip, Verdict::Interrupted);
    assert_eq!(bench.finish(), Outcome::Stopped);
    bench.resume(&start);
    asked(&mut bench);
}

#[test]
fn a_run_that_stops_before_smoke_has_stopped_only_if_there_is_any() {
    for (said, outcome) in [
        (Some(Verdict::Interrupted), Outcome::Stopped),
        (None, Outcome::Completed),
    ] {
        let mut bench = Bench::start(&smoking(vec![task("a", &[])]));
        bench.ends("a", Ending::Success);
        bench.stop(StopLevel::Drain);
        bench.lands("a");
        let tip = asked(&mut bench);
        assert_eq!(bench.orders.remove(0), Action::EndSmoke);
        match said {
            Some(verdict) => says(&mut bench, &tip, verdict),
            None => bench.hear(Event::Smoked(None)),
        }
        assert_eq!(bench.finish(), outcome);
    }
}

#[test]
fn smoke_that_cannot_be_run_says_nothing_of_the_work() {
    let mut bench = Bench::start(&smoking(vec![task("a", &[])]));
    bench.succeeds("a");
    let tip = asked(&mut bench);
    says(&mut bench, &tip, Verdict::Broken("no npx".to_owned()));
    assert_eq!(bench.finish(), Outcome::Environment);
}

#[test]
fn nothing_to_ask_ends_the_run_as_it_would_have() {
    let mut bench = Bench::start(&smoking(vec![task("a", &[])]));
    bench.succeeds("a");
    asked(&mut bench);
    bench.hear(Event::Smoked(None));
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn a_run_that_landed_nothing_asks_nothing() {
    let mut bench = Bench::start(&smoking(vec![with(task("a", &[]), |n| n.max_attempts = 1)]));
    bench.ends("a", Ending::AgentFailed);
    assert_eq!(bench.finish(), Outcome::Failed);
}

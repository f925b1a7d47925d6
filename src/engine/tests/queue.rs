//! Landing commits that are verified on top of one another.

use super::*;
use crate::engine::record::Miss;
use crate::engine::verification::{Environment, Verdict, Verification};

/// `a` and `b`, whose landing commits are made: that of `b` on top of that of `a`.
fn stacked(gates: Gates) -> Bench {
    let gated = |name| with(task(name, &[]), |n| n.gates = gates);
    let mut start = asks_for(vec![gated("a"), gated("b")]);
    start.policy.gate_slots = 2;
    let mut bench = Bench::start(&start);
    bench.ends("a", Ending::Success);
    bench.ends("b", Ending::Success);
    let first = bench.built("a");
    let tip = std::mem::replace(&mut bench.tip, first);
    bench.built("b");
    bench.tip = tip;
    bench
}

/// The gates of a task have spoken; none of them is required.
fn say(bench: &mut Bench, name: &str, verdict: Verdict) {
    let (ticket, ()) = bench.take(name, |a| matches!(a, Action::Verify { .. }).then_some(()));
    let result = Box::new(Verification {
        tree: oid("tree"),
        gates: Vec::new(),
        environment: Environment::default(),
        verdict,
    });
    bench.hear(Event::Verified { ticket, result });
}

fn is_ordered(bench: &Bench, name: &str, order: impl Fn(&Action) -> bool) -> bool {
    let of = |action: &&Action| action.task() == Some(&id(name));
    bench.orders.iter().filter(of).any(order)
}

#[test]
fn what_waits_to_land_is_judged_again_when_a_person_requires_more_of_it() {
    let mut bench = stacked(Gates::Optional);
    say(&mut bench, "b", Verdict::Passed);
    let nodes = vec![
        with(task("a", &[]), |n| n.gates = Gates::Optional),
        with(task("b", &[]), |n| n.gates = Gates::Required),
    ];
    bench.hear(Event::PlanRevised(revision("plan 1", nodes)));
    say(&mut bench, "a", Verdict::Passed);
    bench.tip = oid("landing of a");
    bench.landed("a", LandResult::Landed(None));
    assert!(!is_ordered(&bench, "b", |a| matches!(
        a,
        Action::Land { .. }
    )));
    assert!(is_ordered(&bench, "b", |a| matches!(
        a,
        Action::Build { .. }
    )));
}

#[test]
fn what_gates_said_of_one_behind_a_red_one_is_void() {
    let mut bench = stacked(Gates::Required);
    say(&mut bench, "a", Verdict::Failed("red".to_owned()));
    assert!(is_ordered(&bench, "b", |a| matches!(
        a,
        Action::EndGates { .. }
    )));
    say(
        &mut bench,
        "b",
        Verdict::Failed("red for the same reason".to_owned()),
    );
    let misses: Vec<&Miss> = bench
        .records
        .iter()
        .filter_map(|stamped| match &stamped.record {
            Record::LandingMissed { why, .. } => Some(why),
            _ => None,
        })
        .collect();
    assert_eq!(misses, [&Miss::Unstacked]);
}

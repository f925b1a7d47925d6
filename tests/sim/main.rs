//! Whole runs of random plans in virtual time, with everything going wrong that can: failures of every kind, hangs,
//! stops, decisions, plan edits, a target that others move or rewrite, results that come twice, and crashes of orch or
//! of the machine between any two steps. The laws of the engine are checked after every step.

mod bounds;
mod consents;
mod laws;
mod night;
mod plans;
mod rng;
mod smokes;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};

use orch::engine::ending::Ending;
use orch::engine::outcome::Outcome;
use world::{Limits, Seen};

/// How many runs the ordinary test makes; `ORCH_SIM_SEEDS` asks for another number.
const SEEDS: u64 = 20_000;

/// Seeds that are tried after the first failure, to show the shortest one.
const SEARCH: u64 = 300;

#[test]
fn no_crash_and_no_order_of_events_breaks_a_law() {
    let seeds = match std::env::var("ORCH_SIM_SEEDS") {
        Ok(count) => count.parse().expect("ORCH_SIM_SEEDS is a number"),
        Err(_) => SEEDS,
    };
    let failed = AtomicBool::new(false);
    let halves = std::thread::scope(|scope| {
        let half = |parity| {
            let failed = &failed;
            move || runs((0..seeds).filter(|seed| seed % 2 == parity), failed)
        };
        let (even, odd) = (scope.spawn(half(0)), scope.spawn(half(1)));
        [even, odd].map(|half| half.join().expect("a run does not panic"))
    });
    let mut seen = Seen::default();
    for half in halves {
        match half {
            Ok(half) => seen.add(half),
            Err(seed) => fail(seed),
        }
    }
    // A simulation that does not get somewhere proves nothing about it.
    let outcomes = [
        Outcome::Completed,
        Outcome::Failed,
        Outcome::Stopped,
        Outcome::WaitingForPerson,
        Outcome::Stuck,
        Outcome::Environment,
        Outcome::LimitReached,
    ];
    let rest = [
        "RunStarted",
        "RunResumed",
        "PlanAccepted",
        "AttemptStarted",
        "AgentStarting",
        "AgentEnded",
        "Collected",
        "Building",
        "ConflictsAnswered",
        "Resolving",
        "a resolved conflict lands",
        "a resolved conflict is red",
        "a session resolves nothing",
        "a file made anew is given up",
        "Verifying",
        "Verified",
        "Baselined",
        "Smoked",
        "red smoke",
        "smoke is ended",
        "nothing to smoke",
        "a crash during smoke",
        "gates passed",
        "gates red",
        "gates broken",
        "gates ended",
        "StartAsked",
        "a signed start that does not hold",
        "ApprovalAsked",
        "ApprovalLapsed",
        "EvidenceLooked",
        "a run stays for a person",
        "NotLandable",
        "LandingIntended",
        "LandingMissed",
        "Landed",
        "Settled",
        "Reopened",
        "Superseded",
        "SessionDropped",
        "Observed",
        "Limited",
        "LimitLifted",
        "BreakerOpened",
        "BreakerClosed",
        "a session goes on",
        "WaitEnded",
        "Salvaged",
        "Controlled",
        "Stopping",
        "TargetRewritten",
        "RunFailed",
        "RunEnded",
        "an agent alive",
        "an agent ended",
        "an agent gone",
        "an agent never started",
        "a landing done",
        "a landing not done",
        "in the way",
        "built behind another",
        "what it was built on does not land",
        "suspected behind another",
        "landed as built behind another",
    ];
    let all = Ending::ALL
        .map(Ending::in_words)
        .into_iter()
        .chain(outcomes.map(Outcome::in_words));
    for what in all.chain(rest) {
        assert!(seen.0.contains_key(what), "{what} is never reached");
    }
}

/// Makes the runs of some seeds; the first one that breaks a law ends it.
fn runs(seeds: impl Iterator<Item = u64>, failed: &AtomicBool) -> Result<Seen, u64> {
    let mut seen = Seen::default();
    for seed in seeds {
        if failed.load(Ordering::Relaxed) {
            break;
        }
        let (verdict, _, reached) = world::run(seed, false, Limits::NONE);
        if verdict.is_err() {
            failed.store(true, Ordering::Relaxed);
            return Err(seed);
        }
        seen.add(reached);
    }
    Ok(seen)
}

/// Shows the shortest failing run among this one and some that follow, with as few tasks and troubles as will do.
fn fail(first: u64) -> ! {
    let failures = (first..first + SEARCH).filter_map(|seed| {
        let (verdict, trace, _) = world::run(seed, true, Limits::NONE);
        verdict.err().map(|why| (seed, why, trace))
    });
    let (seed, mut why, mut trace) = failures
        .min_by_key(|(_, _, trace)| trace.len())
        .expect("the first one fails");
    let mut limits = Limits::NONE;
    loop {
        let smaller = limits.smaller().into_iter().filter_map(|limits| {
            let (verdict, trace, _) = world::run(seed, true, limits);
            verdict.err().map(|why| (limits, why, trace))
        });
        match smaller.min_by_key(|(_, _, trace)| trace.len()) {
            Some(found) if found.2.len() < trace.len() => (limits, why, trace) = found,
            _ => panic!("seed {seed}, {limits:?}: {why}\n{}", trace.join("\n")),
        }
    }
}

//! The rows of the policy table, each lived through by a task: what its end costs, when and from where it goes on, what
//! the breaker and the ladder make of it, and whether it ends the run.

use super::*;
use crate::engine::action::{ExecuteMode, StartFrom};
use crate::engine::next::Charge;
use crate::engine::policy::Ladder;
use crate::engine::table::{Retry, Signal};
use crate::engine::view::Wait;
use crate::plan::graph::RetryFrom;

/// A run in which something has worked, so that no end stops it for being the first.
fn worked(threshold: u32) -> Bench {
    let nodes = ["w", "a", "b"].map(|name| with(task(name, &[]), |n| n.max_attempts = 9));
    let mut start = asks_for(nodes.into());
    start.jobs = 2;
    start.policy.breaker_threshold = threshold;
    start.policy.ladder = Ladder {
        enabled: true,
        starting: Some("haiku".to_owned()),
        escalate_after: 1,
        ..Ladder::default()
    };
    let mut bench = Bench::start(&start);
    bench.succeeds("w");
    bench
}

/// Lets a task wait until it starts again; the way in which it does.
fn goes_on(bench: &mut Bench) -> (StartFrom, Option<String>) {
    for _ in 0..9 {
        let prepares = |order: &Action| {
            order.task() == Some(&id("a")) && matches!(order, Action::Prepare { .. })
        };
        if bench.orders.iter().any(prepares) {
            let (_, found) = bench.take("a", |order| match order {
                Action::Prepare { start, model, .. } => Some((start.clone(), model.clone())),
                _ => None,
            });
            return found;
        }
        let wake = bench.engine.next_wake().expect("it waits for a time");
        bench.pass(wake.ms_since(bench.now.wall).max(1));
    }
    panic!("a does not go on: {}", bench.why("a"));
}

fn lives_through(ending: Ending) {
    let row = ending.row();
    let mut bench = worked(0);
    bench.ends("a", ending);
    let spent = bench.engine.view(&id("a")).expect("a task").spent;
    assert_eq!(spent, u32::from(row.counts == Charge::Attempt), "spent");
    assert_eq!(
        bench.engine.run().breaker.is_some(),
        row.breaker == Signal::Opens,
        "the breaker"
    );
    assert_eq!(bench.engine.outcome(), None, "it has worked before");
    let waits = match bench.state("a") {
        TaskState::Waiting { reason, .. } => Some(reason),
        _ => None,
    };
    let expected = match row.retry {
        Retry::Never => panic!("{ending:?} is done"),
        Retry::AtOnce => None,
        Retry::Backoff => Some(Wait::Backoff),
        Retry::AfterLimit => Some(Wait::Limit),
        Retry::AfterBreaker => Some(Wait::Breaker),
    };
    assert_eq!(waits, expected, "when");
    let (start, model) = goes_on(&mut bench);
    let from = match row.from {
        RetryFrom::Base => StartFrom::Tip,
        RetryFrom::Candidate => StartFrom::Candidate(oid("a-1")),
    };
    assert_eq!(start, from, "from where");
    let climbs = if row.ladder { "sonnet" } else { "haiku" };
    assert_eq!(model.as_deref(), Some(climbs), "the ladder");

    continues(ending, row.continues);
    counts_for_the_breaker(ending, row.breaker);
    stops(ending, row.stops);
}

/// Where the agent program can, the session goes on in its slot.
fn continues(ending: Ending, expected: bool) {
    let mut bench = worked(0);
    bench.prepared("a");
    bench.executed("a");
    bench.collected("a", ending, |left| left.can_continue = true);
    assert_eq!(
        !bench.engine.parked().is_empty(),
        expected,
        "the session goes on"
    );
    if expected {
        let wake = bench.engine.next_wake().expect("it waits for a time");
        bench.pass(wake.ms_since(bench.now.wall));
        let (ticket, mode) = bench.take("a", |order| match order {
            Action::Execute { mode, .. } => Some(*mode),
            _ => None,
        });
        let same = ExecuteMode::Continue { number: 1 };
        assert_eq!((ticket.attempt, mode), (1, same));
    }
}

/// Together with a failure of another task it opens the breaker, if it is one itself.
fn counts_for_the_breaker(ending: Ending, signal: Signal) {
    let mut bench = worked(2);
    bench.ends("a", ending);
    let is_open = |bench: &Bench| bench.engine.run().breaker.is_some();
    if signal != Signal::Opens {
        assert!(!is_open(&bench), "one failure opens nothing");
        bench.ends("b", Ending::AgentFailed);
        assert_eq!(is_open(&bench), signal == Signal::Fails);
    }
}

/// As the first thing that happens, it ends the run if a person has to mend something.
fn stops(ending: Ending, expected: bool) {
    let mut bench = Bench::of(vec![with(task("a", &[]), |n| n.max_attempts = 9)]);
    bench.ends("a", ending);
    let failed = |stamped: &Stamped| matches!(stamped.record, Record::RunFailed { .. });
    assert_eq!(
        bench.records.iter().any(failed),
        expected,
        "whether it ends the run"
    );
    if expected {
        assert_eq!(bench.finish(), Outcome::Environment);
    }
}

macro_rules! rows {
    ($($name:ident: $ending:ident,)+) => {
        $(#[test]
        fn $name() {
            lives_through(Ending::$ending);
        })+

        #[test]
        fn every_row_is_lived_through() {
            let lived = [$(Ending::$ending),+];
            let left: Vec<Ending> = Ending::ALL
                .into_iter()
                .filter(|ending| !lived.contains(ending))
                .collect();
            assert_eq!(left, [Ending::Success, Ending::NoChange], "those are done");
        }
    };
}

rows! {
    an_agent_that_says_failed: AgentFailed,
    a_session_without_a_status: NoStatus,
    a_status_that_cannot_be_read: BadStatus,
    a_plan_edit_that_is_not_allowed: PlanEditInvalid,
    a_candidate_out_of_scope: OutOfScope,
    a_merge_conflict: Conflict,
    a_gate_that_says_no: VerifyFailed,
    a_person_who_says_no: Rejected,
    a_usage_limit: UsageLimit,
    a_throttled_service: Throttled,
    a_login_that_is_refused: Auth,
    an_account_that_cannot_pay: Billing,
    a_context_that_is_too_long: Context,
    a_cap_of_turns: Turns,
    a_cap_of_money: Budget,
    a_refusal: Refused,
    tools_that_were_denied: Denied,
    a_timeout: Timeout,
    a_stalled_session: Stalled,
    no_first_event: NoFirstEvent,
    a_crash: Crashed,
    an_interruption: Interrupted,
    an_environment_that_fails: Environment,
    a_flood_of_output: OutputFlood,
}

#[test]
fn done_work_lands_or_is_completed_and_closes_the_breaker() {
    let mut bench = worked(0);
    bench.ends("a", Ending::Success);
    assert_eq!(bench.state("a"), TaskState::Landing);
    bench.prepared("b");
    bench.executed("b");
    bench.collected("b", Ending::NoChange, |left| left.candidate = None);
    assert!(matches!(bench.state("b"), TaskState::Completed { .. }));
}

//! The breaker, the model ladder, budgets, and the longest time of a run.

use super::*;
use crate::engine::budget::Learned;
use crate::engine::policy::{Allowance, Budgets, Ladder};
use crate::engine::usage::{MicroUsd, Usage};
use crate::engine::view::Wait;

const RESET: u64 = 300_000;

fn independent(names: &[&str]) -> Vec<Node> {
    names
        .iter()
        .map(|name| with(task(name, &[]), |n| n.max_attempts = 9))
        .collect()
}

fn is_open(bench: &Bench) -> bool {
    bench.engine.run().breaker.is_some()
}

#[test]
fn a_task_that_fails_alone_spends_its_attempts_and_opens_no_breaker() {
    let mut bench = Bench::of(independent(&["a", "b"]));
    for _ in 0..9 {
        bench.ends("a", Ending::AgentFailed);
    }
    assert_eq!(bench.state("a"), TaskState::Failed);
    assert!(!is_open(&bench));
    bench.succeeds("b");
    assert_eq!(bench.finish(), Outcome::Failed);
}

#[test]
fn three_failures_in_a_row_of_two_tasks_open_the_breaker_and_one_probe_closes_it() {
    let mut bench = Bench::of(independent(&["a", "b", "c"]));
    bench.ends("a", Ending::AgentFailed);
    bench.ends("b", Ending::NoStatus);
    assert!(!is_open(&bench));
    bench.ends("a", Ending::AgentFailed);
    assert!(is_open(&bench));
    bench.executed_after_prepare("c");
    bench.collected("c", Ending::OutOfScope, |_| {});
    assert_eq!(bench.running(), ["b"], "what had started goes on");
    assert_eq!(
        bench.state("a"),
        TaskState::Waiting {
            reason: Wait::Breaker,
            until: Some(bench.now.wall.plus_ms(RESET)),
        }
    );
    assert!(
        bench.why("a").contains("3 failures in a row of 2 tasks"),
        "{}",
        bench.why("a")
    );
    bench.ends("b", Ending::Interrupted);
    bench.pass(RESET);
    assert_eq!(bench.running(), ["a"], "one tries");
    bench.ends("a", Ending::Success);
    assert!(!is_open(&bench));
    assert_eq!(bench.running(), ["b", "c"]);
}

/// Waits for an open breaker, of which b and c never run at once.
fn with_an_open_breaker() -> Bench {
    let exclusive = |name| {
        with(task(name, &[]), |n| {
            n.max_attempts = 9;
            n.resources = vec!["db".to_owned()];
        })
    };
    let mut bench = Bench::start(&RunStart {
        jobs: 2,
        ..asks_for([independent(&["a"]), vec![exclusive("b"), exclusive("c")]].concat())
    });
    bench.ends("a", Ending::AgentFailed);
    bench.ends("b", Ending::AgentFailed);
    bench.prepared("b");
    bench.ends("a", Ending::AgentFailed);
    assert!(is_open(&bench));
    assert_eq!(bench.running(), ["b"]);
    bench
}

fn retry(name: &str) -> Verb {
    Verb::Retry {
        task: id(name),
        from: None,
    }
}

#[test]
fn of_several_that_wait_for_the_breaker_the_one_tries_that_a_person_wants_tried() {
    let mut bench = with_an_open_breaker();
    bench.executed("b");
    bench.collected("b", Ending::Interrupted, |_| {});
    assert_eq!(bench.ask(retry("c")), None);
    assert_eq!(bench.running(), ["c"]);
    assert!(bench.why("a").contains("c tries"), "{}", bench.why("a"));
    bench.ends("c", Ending::Success);
    assert!(!is_open(&bench));
    assert_eq!(bench.running(), ["a"]);
}

#[test]
fn the_trial_is_left_to_the_task_that_was_asked_for_as_long_as_it_can_make_it() {
    let mut bench = with_an_open_breaker();
    assert_eq!(bench.ask(retry("c")), None);
    assert_eq!(bench.running(), ["b"], "b and c never run at once");
    let why = bench.why("a");
    assert!(why.contains("c is to try first"), "{why}");
    assert_eq!(bench.ask(Verb::Hold { task: id("c") }), None);
    assert_eq!(bench.running(), ["a", "b"], "c no longer can");
}

#[test]
fn a_retry_of_a_failed_task_tries_it_although_the_breaker_is_open() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[]), task("c", &[])]);
    for _ in 0..bench
        .engine
        .view(&id("a"))
        .expect("a task")
        .node
        .max_attempts
    {
        bench.ends("a", Ending::AgentFailed);
    }
    bench.ends("b", Ending::AgentFailed);
    assert!(is_open(&bench));
    assert_eq!(bench.state("a"), TaskState::Failed);
    bench.ends("c", Ending::Interrupted);
    assert_eq!(bench.ask(retry("a")), None);
    assert_eq!(bench.running(), ["a"]);
}

#[test]
fn a_success_in_between_starts_the_count_anew() {
    let mut bench = Bench::of(independent(&["a", "b", "c"]));
    bench.ends("a", Ending::AgentFailed);
    bench.ends("b", Ending::AgentFailed);
    bench.succeeds("c");
    bench.ends("a", Ending::AgentFailed);
    assert!(!is_open(&bench));
}

#[test]
fn after_three_failed_probes_the_run_ends_as_what_opened_the_breaker_says() {
    for (ending, outcome) in [
        (Ending::Throttled, Outcome::Environment),
        (Ending::AgentFailed, Outcome::Failed),
    ] {
        let mut bench = Bench::of(independent(&["a", "b"]));
        while !is_open(&bench) {
            let name = bench.running().first().expect("one runs").clone();
            bench.ends(&name, ending);
            if !is_open(&bench) {
                bench.ends("b", ending);
            }
        }
        for name in bench.running() {
            bench.ends(&name, Ending::Interrupted);
        }
        for _ in 0..3 {
            bench.pass(RESET);
            let name = bench.running().first().expect("one tries").clone();
            bench.ends(&name, ending);
        }
        assert_eq!(bench.finish(), outcome, "{ending:?}");
    }
}

#[test]
fn what_stops_a_run_at_its_beginning_opens_the_breaker_once_something_has_worked() {
    for ending in [Ending::Auth, Ending::Billing, Ending::Environment] {
        let mut bench = Bench::of(independent(&["a", "b"]));
        bench.succeeds("a");
        bench.ends("b", ending);
        assert!(is_open(&bench), "{ending:?}");
        bench.pass(RESET);
        bench.succeeds("b");
        assert_eq!(bench.finish(), Outcome::Completed);
    }
}

impl Bench {
    fn executed_after_prepare(&mut self, name: &str) {
        self.prepared(name);
        self.executed(name);
    }

    /// The order to prepare a task's slot: the model and the cap it names.
    fn granted(&mut self, name: &str) -> (Option<String>, Option<u64>) {
        let task = id(name);
        let order = self.orders.iter().find_map(|order| match order {
            Action::Prepare {
                ticket, model, cap, ..
            } if ticket.task == task => Some((model.clone(), cap.map(|cap| cap.0))),
            _ => None,
        });
        order.expect("it is prepared")
    }
}

fn done_by(names: &[&str], model: Option<&str>, policy: Policy) -> RunStart {
    let mut start = RunStart {
        policy,
        ..asks_for(independent(names))
    };
    for name in names {
        let profile = Profile {
            entitlement: "claude".to_owned(),
            agent: "coder".to_owned(),
            model: model.map(str::to_owned),
            metered: true,
            is_command: false,
            resolves: false,
        };
        std::sync::Arc::make_mut(&mut start.revision.profiles).insert(id(name), profile.into());
    }
    start
}

fn ladder() -> Ladder {
    Ladder {
        enabled: true,
        ..Ladder::default()
    }
}

#[test]
fn failures_that_a_better_model_could_mend_climb_the_ladder_and_others_do_not() {
    let policy = Policy {
        ladder: Ladder {
            starting: Some("haiku".to_owned()),
            ..ladder()
        },
        breaker_threshold: 0,
        ..Policy::default()
    };
    let mut bench = Bench::start(&done_by(&["a"], None, policy));
    let mut models = Vec::new();
    for ending in [
        Ending::AgentFailed,
        Ending::Denied,
        Ending::Stalled,
        Ending::Refused,
        Ending::NoStatus,
        Ending::BadStatus,
    ] {
        models.extend(bench.granted("a").0);
        bench.ends("a", ending);
        bench.pass(60_000);
    }
    models.extend(bench.granted("a").0);
    assert_eq!(
        models,
        [
            "haiku", "haiku", "haiku", "haiku", "sonnet", "sonnet", "opus"
        ]
    );
}

#[test]
fn a_declared_model_is_a_floor_and_a_foreign_one_stays() {
    let chosen = |ladder: &Ladder, declared, failures| ladder.model(declared, failures);
    let capped = Ladder {
        max: Some("haiku".to_owned()),
        ..ladder()
    };
    for (ladder, declared, failures, expected) in [
        (ladder(), Some("sonnet"), 0, Some("sonnet")),
        (ladder(), Some("sonnet"), 2, Some("opus")),
        (ladder(), Some("haiku"), 2, Some("sonnet")),
        (ladder(), Some("opus"), 4, Some("opus")),
        (ladder(), Some("custom-model"), 4, Some("custom-model")),
        (
            ladder(),
            Some("claude-sonnet-4-5"),
            1,
            Some("claude-sonnet-4-5"),
        ),
        (ladder(), Some("claude-sonnet-4-5"), 2, Some("opus")),
        (ladder(), None, 4, None),
        (capped, Some("opus"), 4, Some("opus")),
        (Ladder::default(), Some("haiku"), 9, Some("haiku")),
    ] {
        let model = chosen(&ladder, declared, failures);
        assert_eq!(model.as_deref(), expected, "{declared:?} after {failures}");
    }
}

fn within(run: u64) -> Policy {
    Policy {
        budgets: Budgets {
            run: Allowance {
                cost: Some(MicroUsd(run)),
                ..Allowance::default()
            },
            default_reserve: MicroUsd(200_000),
            overshoot: MicroUsd(100_000),
            ..Budgets::default()
        },
        breaker_threshold: 0,
        ..Policy::default()
    }
}

#[test]
fn agents_that_run_at_once_cannot_spend_more_together_than_there_is() {
    let names = ["a", "b", "c", "d", "e"];
    let mut bench = Bench::start(&done_by(&names, None, within(1_000_000)));
    assert_eq!(bench.running(), ["a", "b", "c"], "a fourth would not fit");
    let caps: u64 = ["a", "b", "c"]
        .map(|name| bench.granted(name).1.expect("a cap"))
        .iter()
        .sum();
    assert!(caps + 3 * 100_000 <= 1_000_000, "{caps}");
    assert!(
        bench.why("d").contains("the run's budget"),
        "{}",
        bench.why("d")
    );
    bench.executed_after_prepare("a");
    bench.collected("a", Ending::Success, |left| {
        left.usage.cost = MicroUsd(50_000);
    });
    assert_eq!(
        bench.running(),
        ["b", "c", "d"],
        "what it did not spend is there again"
    );
}

#[test]
fn a_session_of_unknown_cost_is_charged_what_was_set_aside_for_it() {
    let mut bench = Bench::start(&done_by(&["a", "b"], None, within(500_000)));
    assert_eq!(bench.running(), ["a"]);
    bench.executed_after_prepare("a");
    bench.collected("a", Ending::Success, |left| {
        left.usage.unpriced_sessions = 1;
    });
    bench.lands("a");
    assert!(bench.engine.run().charged.cost >= MicroUsd(300_000));
    assert_eq!(bench.finish(), Outcome::LimitReached);
    assert_eq!(
        bench.state("b"),
        TaskState::Waiting {
            reason: Wait::Budget,
            until: None
        }
    );
}

#[test]
fn what_was_learned_is_set_aside_instead_of_the_default() {
    let mut start = done_by(&["a", "b"], Some("opus"), within(1_000_000));
    start.learned = vec![Learned {
        agent: "coder".to_owned(),
        model: Some("opus".to_owned()),
        attempts: 12,
        p90: Amount {
            cost: MicroUsd(800_000),
            ..Amount::default()
        },
    }];
    let bench = Bench::start(&start);
    assert_eq!(bench.running(), ["a"], "two of $0.90 do not fit into $1");
}

#[test]
fn the_next_day_brings_a_new_budget() {
    let mut policy = within(1_000_000);
    policy.budgets.day = std::mem::take(&mut policy.budgets.run);
    policy.budgets.day_begins = Wall(0);
    let mut start = done_by(&["a"], None, policy);
    start.spent_today = Amount {
        cost: MicroUsd(900_000),
        ..Amount::default()
    };
    let mut bench = Bench::start(&start);
    let midnight = Wall(24 * 3_600_000);
    assert_eq!(
        bench.state("a"),
        TaskState::Waiting {
            reason: Wait::Budget,
            until: Some(midnight)
        }
    );
    assert_eq!(bench.engine.next_wake(), Some(midnight));
    bench.pass(midnight.ms_since(bench.now.wall));
    assert_eq!(bench.running(), ["a"]);
}

#[test]
fn sessions_and_time_can_be_limited_too() {
    let mut policy = within(100_000_000);
    policy.budgets.task.sessions = Some(2);
    policy.budgets.run.wall_ms = Some(10_000);
    let mut bench = Bench::start(&done_by(&["a", "b"], None, policy));
    bench.ends("a", Ending::NoStatus);
    bench.ends("a", Ending::NoStatus);
    assert!(
        bench.why("a").contains("sessions: 2 of 2"),
        "{}",
        bench.why("a")
    );
    bench.prepared("b");
    bench.now.wall = bench.now.wall.plus_ms(10_000);
    bench.executed("b");
    bench.collected("b", Ending::NoStatus, |_| {});
    assert!(
        bench.why("b").contains("time: 10 s of 10 s"),
        "{}",
        bench.why("b")
    );
    assert_eq!(bench.finish(), Outcome::LimitReached);
}

#[test]
fn a_command_is_no_session_and_uses_no_tokens() {
    let mut policy = within(100_000_000);
    policy.budgets.run.sessions = Some(1);
    policy.budgets.run.tokens = Some(10);
    let mut start = done_by(&["a", "b"], None, policy);
    let command = Profile {
        entitlement: "command".to_owned(),
        is_command: true,
        ..Profile::default()
    };
    std::sync::Arc::make_mut(&mut start.revision.profiles).insert(id("b"), command.into());
    let mut bench = Bench::start(&start);
    bench.ends("a", Ending::NoStatus);
    assert!(
        bench.why("a").contains("agent sessions: 1 of 1"),
        "{}",
        bench.why("a")
    );
    bench.prepared("b");
    bench.executed("b");
    bench.collected("b", Ending::Success, |left| left.usage = Usage::default());
    bench.lands("b");
    assert_eq!(bench.finish(), Outcome::LimitReached);
}

#[test]
fn a_run_that_has_taken_its_longest_time_ends_its_agents_and_keeps_their_work() {
    let policy = Policy {
        max_duration_ms: Some(3_600_000),
        ..Policy::default()
    };
    let start = || RunStart {
        policy: policy.clone(),
        ..asks_for(independent(&["a", "b"]))
    };
    let mut bench = Bench::start(&start());
    bench.succeeds("a");
    bench.prepared("b");
    assert_eq!(
        bench.engine.next_wake(),
        Some(bench.now.wall.plus_ms(3_600_000))
    );
    bench.pass(3_600_000);
    bench.take("b", |a| matches!(a, Action::EndAgent { .. }).then_some(()));
    bench.executed("b");
    bench.collected("b", Ending::Interrupted, |_| {});
    assert_eq!(bench.finish(), Outcome::LimitReached);
    assert_eq!(bench.engine.view(&id("b")).map(|v| v.spent), Some(0));
    bench.resume(&start());
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn a_run_that_is_done_in_time_is_completed() {
    let policy = Policy {
        max_duration_ms: Some(1_000),
        ..Policy::default()
    };
    let mut bench = Bench::start(&RunStart {
        policy,
        ..asks_for(independent(&["a"]))
    });
    bench.prepared("a");
    bench.executed("a");
    bench.collected("a", Ending::Success, |_| {});
    bench.lands("a");
    bench.pass(1_000);
    assert_eq!(bench.finish(), Outcome::Completed);
}

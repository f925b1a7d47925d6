//! What earlier records tell about spending.

use std::sync::Arc;

use super::*;
use crate::engine::budget::Learned;
use crate::engine::history::History;
use crate::engine::profile::Profile;
use crate::engine::usage::MicroUsd;

/// Tasks that cost money, done by one agent with one model.
fn priced(names: &[&str], reserve: u64) -> RunStart {
    let nodes = names
        .iter()
        .map(|name| with(task(name, &[]), |n| n.max_attempts = 9));
    let mut start = asks_for(nodes.collect());
    start.policy.budgets.day.cost = Some(MicroUsd(1_000_000_000));
    start.policy.budgets.day_begins = Wall(0);
    start.policy.budgets.attempt.cost = Some(MicroUsd(reserve));
    start.policy.breaker_threshold = 0;
    start.policy.budgets.default_reserve = MicroUsd(reserve);
    start.policy.budgets.overshoot = MicroUsd(0);
    for name in names {
        let profile = Profile {
            entitlement: "claude".to_owned(),
            agent: "coder".to_owned(),
            model: Some("opus".to_owned()),
            metered: true,
            is_command: false,
            resolves: false,
        };
        Arc::make_mut(&mut start.revision.profiles).insert(id(name), profile.into());
    }
    start
}

impl Bench {
    /// An attempt that tells its price, or does not.
    fn costs(&mut self, name: &str, ending: Ending, price: Option<u64>) {
        self.prepared(name);
        self.pass(1_000);
        self.executed(name);
        self.collected(name, ending, |left| {
            left.usage.cost = MicroUsd(price.unwrap_or(0));
            left.usage.output_tokens = 10;
            left.usage.unpriced_sessions = u32::from(price.is_none());
        });
    }
}

#[test]
fn p90_of_finished_attempts_is_learned_by_agent_and_model() {
    let names: Vec<String> = (1..=10).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::start(&priced(&names, 500_000));
    for (n, name) in (1..).zip(&names) {
        bench.costs(name, Ending::Success, Some(n * 100_000));
    }
    let mut history = History::since(Wall(0));
    history.hear(&bench.records, false);
    assert_eq!(
        history.learned(),
        [Learned {
            agent: "coder".to_owned(),
            model: Some("opus".to_owned()),
            attempts: 10,
            p90: Amount {
                cost: MicroUsd(900_000),
                tokens: 10,
                sessions: 1,
                wall_ms: 1_000,
            },
        }]
    );
}

#[test]
fn few_attempts_and_those_that_were_cut_or_told_no_price_teach_nothing() {
    let mut bench = Bench::start(&priced(&["a", "b"], 500_000));
    for _ in 0..4 {
        bench.costs("a", Ending::AgentFailed, Some(100_000));
    }
    for _ in 0..2 {
        bench.costs("b", Ending::NoStatus, None);
    }
    bench.costs("b", Ending::Interrupted, Some(1));
    let mut history = History::since(Wall(0));
    history.hear(&bench.records, false);
    assert_eq!(history.learned(), []);
}

#[test]
fn what_was_spent_today_is_what_the_run_itself_charged() {
    let mut bench = Bench::start(&priced(&["a", "b", "c"], 500_000));
    bench.costs("a", Ending::Success, Some(300_000));
    bench.costs("b", Ending::AgentFailed, None);
    let own = bench.engine.state.day.charged;
    assert_eq!(own.cost, MicroUsd(800_000), "unknown is what was set aside");
    let today = |begins: Wall, is_own: bool| {
        let mut history = History::since(begins);
        history.hear(&bench.records, is_own);
        history.today()
    };
    assert_eq!(today(Wall(0), true), own);
    let after = bench.now.wall.plus_ms(1);
    assert_eq!(today(after, true), Amount::default());
}

#[test]
fn what_another_run_left_under_way_counts_as_it_was_set_aside() {
    let mut bench = Bench::start(&priced(&["a"], 500_000));
    bench.prepared("a");
    let today = |is_own: bool| {
        let mut history = History::since(Wall(0));
        history.hear(&bench.records, is_own);
        history.today().cost
    };
    assert_eq!(today(false), MicroUsd(500_000));
    assert_eq!(today(true), MicroUsd(0), "the run knows it itself");
}

#[test]
fn a_run_that_goes_on_decides_by_what_it_is_told_again() {
    let mut start = priced(&["a", "b"], 500_000);
    start.policy.budgets.day.cost = Some(MicroUsd(700_000));
    let mut bench = Bench::start(&start);
    assert_eq!(bench.running(), ["a"], "the day holds one at a time");
    bench.costs("a", Ending::Success, Some(300_000));
    let mut history = History::since(Wall(0));
    history.hear(&bench.records, true);
    start.spent_today = history.today();
    bench.resume(&start);
    assert!(
        bench.why("b").contains("$0.3000 of $0.7000"),
        "{}",
        bench.why("b")
    );
}

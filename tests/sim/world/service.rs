//! The services that agents use: accounts with usage limits that come and go, and what they report about them.

use std::collections::BTreeMap;

use orch::engine::ending::{AttemptEnd, Ending};
use orch::engine::event::{Collected, Event};
use orch::engine::limit::{LimitHit, LimitScope, UsageWindow};
use orch::engine::policy::{Allowance, OnLimit, Policy};
use orch::engine::profile::Profile;
use orch::engine::usage::MicroUsd;
use orch::ids::{TaskId, Ticket};
use orch::time::Wall;

use super::World;
use crate::rng::Rng;

/// Accounts that refuse to serve, each until a time on the clock that nobody sets.
#[derive(Default)]
pub(super) struct Service {
    exhausted: BTreeMap<String, u64>,
}

/// How a task is done: always the same for the same task.
pub(crate) fn profile(task: &TaskId) -> Profile {
    let sum: usize = task.as_str().bytes().map(usize::from).sum();
    let model = [None, Some("haiku"), Some("sonnet"), Some("opus")][sum % 4];
    Profile {
        entitlement: ["one", "one", "two"][sum % 3].to_owned(),
        agent: "coder".to_owned(),
        model: model.map(str::to_owned),
        metered: !sum.is_multiple_of(5),
        is_command: false,
        resolves: !sum.is_multiple_of(3),
    }
}

/// What whoever starts the run decides by; most runs have few bounds, so that they meet the others' consequences.
pub(super) fn random_policy(rng: &mut Rng) -> Policy {
    let mut policy = Policy {
        pause_at: rng.percent(15).then_some(900),
        max_duration_ms: rng.percent(4).then(|| 600_000 + rng.ms(36_000_000)),
        breaker_threshold: u32::try_from(rng.below(5)).expect("small"),
        limit_margin_ms: 1_000 * rng.ms(60),
        gate_slots: *rng.pick(&[1, 2, 3, 5]),
        signed_approvals: rng.percent(25),
        ..Policy::default()
    };
    if rng.percent(15) {
        policy.on_limit = OnLimit::Stop;
    }
    policy.ladder.enabled = rng.percent(40);
    policy.ladder.starting = rng.percent(50).then(|| "sonnet".to_owned());
    policy.ladder.escalate_after = 1 + u32::try_from(rng.below(2)).expect("small");
    let budgets = &mut policy.budgets;
    budgets.default_reserve = MicroUsd(200_000 + rng.ms(500_000));
    budgets.overshoot = MicroUsd(rng.ms(300_000));
    budgets.day_begins = Wall(1_700_000_000_000 - 3_600_000);
    let money = |rng: &mut Rng, chance, most| Allowance {
        cost: rng
            .percent(chance)
            .then(|| MicroUsd(1_000_000 + rng.ms(most))),
        ..Allowance::default()
    };
    budgets.run = money(rng, 15, 20_000_000);
    budgets.day = money(rng, 10, 10_000_000);
    budgets.task = money(rng, 5, 5_000_000);
    budgets.attempt = money(rng, 10, 1_000_000);
    if rng.percent(5) {
        budgets.run.sessions = Some(3);
    }
    if rng.percent(5) {
        budgets.day.wall_ms = Some(3_600_000);
    }
    policy
}

impl World {
    fn is_exhausted(&self, entitlement: &str) -> bool {
        let until = self.service.exhausted.get(entitlement);
        until.is_some_and(|until| *until > self.now.mono.0)
    }

    /// An account runs out.
    pub(super) fn exhaust(&mut self) {
        let entitlement = *self.rng.pick(&["one", "two"]);
        let until = self.now.mono.0 + self.rng.ms(5 * 3_600_000);
        self.say(|_| format!("{entitlement} is exhausted until {until}"));
        self.service.exhausted.insert(entitlement.to_owned(), until);
    }

    /// What an agent is answered while it runs, if it is.
    pub(super) fn observe(&mut self, ticket: &Ticket) -> Event {
        let entitlement = profile(&ticket.task).entitlement;
        let mut windows = Vec::new();
        if self.rng.percent(40) || self.is_exhausted(&entitlement) {
            windows.push(UsageWindow {
                kind: (*self.rng.pick(&["five_hour", "seven_day", "seven_day_opus"])).to_owned(),
                utilisation: u32::try_from(self.rng.below(1001)).expect("small"),
                resets_at: self.rng.percent(70).then(|| {
                    let ms = self.rng.ms(5 * 3_600_000);
                    self.now.wall.plus_ms(ms)
                }),
            });
        }
        Event::Observed {
            ticket: ticket.clone(),
            windows,
        }
    }

    pub(super) fn is_served(&self, task: &TaskId) -> bool {
        !self.is_exhausted(&profile(task).entitlement)
    }

    /// Whoever asks an exhausted account is told so, more or less well.
    pub(super) fn cut(&mut self, ticket: &Ticket, left: &mut Collected) {
        let entitlement = profile(&ticket.task).entitlement;
        let Some(&until) = self.service.exhausted.get(&entitlement) else {
            return;
        };
        if until <= self.now.mono.0 || self.rng.percent(10) {
            return;
        }
        let left_ms = until - self.now.mono.0;
        left.end = AttemptEnd::new(Ending::UsageLimit, "as the service says");
        self.seen.note(Ending::UsageLimit.in_words());
        let scope = match self.rng.below(10) {
            0 => LimitScope::Organisation,
            1 => LimitScope::Unknown,
            2 => LimitScope::Model {
                model: "opus".to_owned(),
            },
            _ => LimitScope::Account {
                window: "five_hour".to_owned(),
            },
        };
        let resets_at = match self.rng.below(10) {
            0 | 1 => None,
            2 => Some(Wall(0)),
            3 => Some(self.now.wall.plus_ms(9 * 24 * 3_600_000)),
            _ => Some(self.now.wall.plus_ms(left_ms)),
        };
        left.limit = Some(LimitHit { scope, resets_at });
        left.can_continue = self.rng.percent(70);
    }

    /// Whether nobody says what a session cost.
    pub(super) fn unpriced(&mut self, ticket: &Ticket) -> u32 {
        u32::from(profile(&ticket.task).metered && self.rng.percent(5))
    }

    /// What a session cost: never more than its cap and one request.
    pub(super) fn price(&mut self, ticket: &Ticket) -> MicroUsd {
        let cost = self.rng.ms(1_000_000);
        if !profile(&ticket.task).metered {
            return MicroUsd(0);
        }
        let cap = self.agents.get(&ticket.task).and_then(|agent| agent.cap);
        let overshoot = self.engine.run().policy.budgets.overshoot.0;
        match cap {
            Some(cap) => MicroUsd(cost.min(cap.0.saturating_add(overshoot))),
            None => MicroUsd(cost),
        }
    }
}

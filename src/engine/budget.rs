//! Budgets: what an attempt is expected to spend is reserved before it starts, and what it spent is charged when it has
//! ended. What a session does not tell stays charged as it was reserved: unknown is not nothing.

use serde::{Deserialize, Serialize};

use super::policy::{Allowance, Budgets};
use super::profile::Profile;
use super::usage::{MicroUsd, Usage};
use crate::time::Wall;

/// How long a day is.
const DAY_MS: u64 = 24 * 3_600_000;

/// The least cap that is passed on; agent programs take none for no cap, or refuse it.
const CAP_MIN: MicroUsd = MicroUsd(10_000);

/// What was, or may be, spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Amount {
    /// Money.
    pub cost: MicroUsd,
    /// Tokens in and out, cached ones included.
    pub tokens: u64,
    /// Agent processes; a command is none.
    pub sessions: u32,
    /// Time in which agents and commands ran.
    pub wall_ms: u64,
}

/// What earlier attempts of an agent with a model spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// The role.
    pub agent: String,
    /// The model, if one was asked for.
    pub model: Option<String>,
    /// How many finished attempts that is from.
    pub attempts: u32,
    /// What nine of ten of them stayed below.
    pub p90: Amount,
}

/// What an attempt is given when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Grant {
    /// The most that its agent program may spend, if it is told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<MicroUsd>,
    /// What is set aside for it until it has ended.
    pub reserved: Amount,
}

/// The levels that a start is weighed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Task,
    Run,
    Day,
}

/// Why a start is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub level: Level,
    /// What is missing, with its numbers.
    pub what: String,
    /// Whether it could start if nothing else ran.
    pub is_reserved: bool,
    /// Whether it could start if nothing had been spent.
    pub is_enough_alone: bool,
}

/// What one level has spent and set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Account {
    pub charged: Amount,
    pub reserved: Amount,
}

/// What all runs of the repository spent in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Day {
    pub begins: Wall,
    pub charged: Amount,
}

impl Amount {
    /// Nothing.
    pub const NONE: Self = Self {
        cost: MicroUsd(0),
        tokens: 0,
        sessions: 0,
        wall_ms: 0,
    };

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cost: MicroUsd(self.cost.0.saturating_add(other.cost.0)),
            tokens: self.tokens.saturating_add(other.tokens),
            sessions: self.sessions.saturating_add(other.sessions),
            wall_ms: self.wall_ms.saturating_add(other.wall_ms),
        }
    }

    /// What is left of this when the other is gone.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            cost: MicroUsd(self.cost.0.saturating_sub(other.cost.0)),
            tokens: self.tokens.saturating_sub(other.tokens),
            sessions: self.sessions.saturating_sub(other.sessions),
            wall_ms: self.wall_ms.saturating_sub(other.wall_ms),
        }
    }

    /// What sessions are charged for which `reserved` was set aside. Time is charged where it passes.
    pub fn charge(usage: &Usage, reserved: Self) -> Self {
        let is_unknown = usage.unpriced_sessions > 0;
        let tokens = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_creation_tokens,
        ];
        let known = Self {
            cost: usage.cost,
            tokens: tokens.into_iter().fold(0, u64::saturating_add),
            sessions: usage.sessions,
            wall_ms: 0,
        };
        Self {
            cost: if is_unknown {
                known.cost.max(reserved.cost)
            } else {
                known.cost
            },
            tokens: if is_unknown {
                known.tokens.max(reserved.tokens)
            } else {
                known.tokens
            },
            ..known
        }
    }
}

impl Grant {
    /// Nothing, and no cap.
    pub const NONE: Self = Self {
        cap: None,
        reserved: Amount::NONE,
    };

    /// What is left of it after `charged`; nothing, if that is too little for another request.
    pub(super) fn after(self, charged: Amount) -> Option<Self> {
        let cap = self
            .cap
            .map(|cap| MicroUsd(cap.0.saturating_sub(charged.cost.0)));
        cap.is_none_or(|cap| cap >= CAP_MIN).then_some(Self {
            cap,
            reserved: self.reserved.less(charged),
        })
    }
}

impl Day {
    /// The day in which `at` is; what was charged on an earlier one no longer counts.
    pub(super) fn on(self, at: Wall) -> Self {
        let days = at.ms_since(self.begins) / DAY_MS;
        if days == 0 {
            return self;
        }
        Self {
            begins: self.begins.plus_ms(days * DAY_MS),
            charged: Amount::default(),
        }
    }

    /// When the next one begins.
    pub(super) fn ends(self) -> Wall {
        self.begins.plus_ms(DAY_MS)
    }
}

impl Allowance {
    /// Whether it says nothing.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }

    /// What is missing for `wanted` beside what is `used`.
    fn missing(&self, used: Amount, wanted: Amount) -> Option<String> {
        let says = |what: &str, wanted: String, used: String, most: String| {
            Some(format!(
                "{what}: {used} of {most} are spent or reserved, and an attempt is expected to take {wanted}"
            ))
        };
        // A command asks no model. Of an agent, what is spent to the last bit leaves nothing to start with, whatever is
        // expected.
        let is_session = wanted.sessions > 0;
        let exceeds = |most: u64, used: u64, wanted: u64| used >= most || wanted > most - used;
        let people = crate::time::for_people;
        if let Some(most) = self.cost
            && wanted.cost.0 > 0
            && exceeds(most.0, used.cost.0, wanted.cost.0)
        {
            return says(
                "money",
                wanted.cost.to_string(),
                used.cost.to_string(),
                most.to_string(),
            );
        }
        if let Some(most) = self.tokens
            && is_session
            && exceeds(most, used.tokens, wanted.tokens)
        {
            return says(
                "tokens",
                wanted.tokens.to_string(),
                used.tokens.to_string(),
                most.to_string(),
            );
        }
        if let Some(most) = self.sessions
            && is_session
            && exceeds(most.into(), used.sessions.into(), wanted.sessions.into())
        {
            return says(
                "agent sessions",
                wanted.sessions.to_string(),
                used.sessions.to_string(),
                most.to_string(),
            );
        }
        if let Some(most) = self.wall_ms
            && exceeds(most, used.wall_ms, wanted.wall_ms)
        {
            return says(
                "time",
                people(wanted.wall_ms),
                people(used.wall_ms),
                people(most),
            );
        }
        None
    }
}

impl Budgets {
    /// Whether nothing is limited.
    pub fn are_free(&self) -> bool {
        [self.attempt, self.task, self.run, self.day]
            .iter()
            .all(Allowance::is_free)
    }

    /// What an attempt is expected to spend: by what was learned of its agent and model, else the default. A cap may be
    /// overstepped by a request, which is part of it.
    pub(super) fn expected(
        &self,
        profile: &Profile,
        model: Option<&str>,
        learned: &[Learned],
    ) -> Amount {
        let known = learned
            .iter()
            .find(|l| l.agent == profile.agent && l.model.as_deref() == model);
        let usual = known.map_or(
            Amount {
                cost: self.default_reserve,
                ..Amount::default()
            },
            |known| known.p90,
        );
        if !profile.metered {
            return Amount {
                sessions: u32::from(!profile.is_command),
                wall_ms: usual.wall_ms,
                ..Amount::NONE
            };
        }
        Amount {
            cost: MicroUsd(usual.cost.0.saturating_add(self.overshoot.0)),
            sessions: 1,
            ..usual
        }
    }

    /// Whether an attempt that is expected to spend `wanted` may start, and what it is given: its share of what is left,
    /// so that the `shares` attempts that may run at once cannot spend more together than there is.
    pub(super) fn weigh(
        &self,
        wanted: Amount,
        accounts: [Account; 3],
        shares: u32,
    ) -> Result<Grant, Refusal> {
        let levels = [
            (Level::Task, self.task, 1),
            (Level::Run, self.run, shares.max(1)),
            (Level::Day, self.day, shares.max(1)),
        ];
        let mut share: Option<u64> = None;
        for ((level, allowance, shares), account) in levels.into_iter().zip(accounts) {
            let used = account.charged.plus(account.reserved);
            if let Some(what) = allowance.missing(used, wanted) {
                let is_reserved = allowance.missing(account.charged, wanted).is_none();
                let is_enough_alone = allowance.missing(Amount::default(), wanted).is_none();
                return Err(Refusal {
                    level,
                    what,
                    is_reserved,
                    is_enough_alone,
                });
            }
            if let Some(most) = allowance.cost {
                let left = most.0.saturating_sub(used.cost.0);
                let own = (left / u64::from(shares)).max(wanted.cost.0);
                share = Some(share.map_or(own, |least| least.min(own)));
            }
        }
        let is_capped = wanted.cost.0 > 0;
        let own = self
            .attempt
            .cost
            .map(|most| most.0.saturating_add(self.overshoot.0));
        let cost = match (share, own) {
            (Some(share), Some(own)) => Some(share.min(own)),
            (share, own) => share.or(own),
        };
        let Some(cost) = cost.filter(|_| is_capped) else {
            return Ok(Grant {
                cap: None,
                reserved: wanted,
            });
        };
        Ok(Grant {
            cap: Some(MicroUsd(cost.saturating_sub(self.overshoot.0)).max(CAP_MIN)),
            reserved: Amount {
                cost: MicroUsd(cost),
                ..wanted
            },
        })
    }

    /// What an attempt is given that goes on under the attempt's own allowance: nothing new, if that is spent.
    pub(super) fn may_go_on(&self, spent: Amount) -> bool {
        let next = Amount {
            sessions: 1,
            ..Amount::default()
        };
        let cost_left = self.attempt.cost.is_none_or(|most| spent.cost < most);
        cost_left
            && Allowance {
                cost: None,
                ..self.attempt
            }
            .missing(spent, next)
            .is_none()
    }
}

impl Level {
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Task => "the task's budget",
            Self::Run => "the run's budget",
            Self::Day => "the day's budget",
        }
    }
}

//! What a process used, added up from its results.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::engine::usage::{MicroUsd, Usage};

/// Tokens by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tokens {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_creation: u64,
}

/// Answers of one turn whose tokens are told apart; more, and those seen so far are not expected again.
const ANSWERS_MAX: usize = 4096;

/// What the answers of the turn under way used, as far as they said so themselves: all that is known of a turn that
/// never came to a result. Several lines are about the same answer, and each tells of all of it so far.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenTurn {
    answers: BTreeMap<String, Tokens>,
    sum: Tokens,
}

impl OpenTurn {
    pub(super) fn heard(&mut self, message: &str, tokens: Tokens) {
        if self.answers.len() >= ANSWERS_MAX && !self.answers.contains_key(message) {
            self.answers.clear();
        }
        let before = self.answers.entry(message.to_owned()).or_default();
        let after = before.most(tokens);
        self.sum = self.sum.plus(after.minus(*before));
        *before = after;
    }

    /// Tokens without a price: only results have one.
    pub(super) fn tokens(&self) -> Tokens {
        self.sum
    }
}

/// What a result tells of what was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    tokens: Tokens,
    /// By model, since the last result; from 2.1.329 on.
    of_turn: Option<Spent>,
    /// By model, all of the process, and of a resumed session also what came before it.
    of_process: Option<Spent>,
    /// Cost of all of the process, and of a resumed session also of what came before it.
    total_cost: Option<MicroUsd>,
}

impl Told {
    /// Of the members of a result.
    pub(super) fn of(result: &Map<String, Value>) -> Self {
        let models = |key| result.get(key).and_then(Spent::of_models);
        Self {
            tokens: result.get("usage").map(Tokens::of_turn).unwrap_or_default(),
            of_turn: models("model_usage_since_last_result"),
            of_process: models("modelUsage"),
            total_cost: result
                .get("total_cost_usd")
                .and_then(Value::as_f64)
                .and_then(MicroUsd::from_usd),
        }
    }
}

/// Tokens and their price; none: unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    tokens: Tokens,
    pub(super) cost: Option<MicroUsd>,
}

impl Default for Spent {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            cost: Some(MicroUsd(0)),
        }
    }
}

impl Spent {
    /// The sum over a map from models to what they used.
    pub(super) fn of_models(models: &Value) -> Option<Self> {
        let sum = models
            .as_object()?
            .values()
            .fold(Self::default(), |sum, model| {
                let cost = model.get("costUSD").and_then(Value::as_f64);
                sum.plus(Self {
                    tokens: Tokens::of_model(model),
                    cost: cost.and_then(MicroUsd::from_usd),
                })
            });
        Some(sum)
    }

    /// This, and what a result adds to it. Totals of a `resumed` process begin with what its session used before; only
    /// differences are its own.
    pub(super) fn after(self, result: Told, resumed: bool) -> Self {
        match (result.of_turn, result.of_process) {
            (Some(turn), _) => self.plus(turn),
            (None, _) if resumed => Self {
                tokens: self.tokens.plus(result.tokens),
                cost: None,
            },
            (None, Some(process)) if process.tokens != Tokens::default() => Self {
                tokens: process.tokens,
                cost: result.total_cost,
            },
            (None, _) => Self {
                tokens: self.tokens.plus(result.tokens),
                cost: result.total_cost,
            },
        }
    }

    /// This, and the tokens of a turn that has no price.
    pub(super) fn and_unpriced(self, tokens: Tokens) -> Self {
        Self {
            tokens: self.tokens.plus(tokens),
            cost: self.cost,
        }
    }

    /// `usage` with these tokens and the known part of the price added.
    pub(super) fn added_to(self, usage: Usage) -> Usage {
        usage.plus(Usage {
            input_tokens: self.tokens.input,
            output_tokens: self.tokens.output,
            cache_read_tokens: self.tokens.cache_read,
            cache_creation_tokens: self.tokens.cache_creation,
            cost: self.cost.unwrap_or_default(),
            ..Usage::default()
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.plus(other.tokens),
            cost: self
                .cost
                .and_then(|a| Some(MicroUsd(a.0.saturating_add(other.cost?.0)))),
        }
    }
}

impl Tokens {
    /// By the names of a turn's `usage`.
    pub(super) fn of_turn(usage: &Value) -> Self {
        Self::named(
            usage,
            [
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
            ],
        )
    }

    /// By the names of an entry of `modelUsage`.
    fn of_model(model: &Value) -> Self {
        Self::named(
            model,
            [
                "inputTokens",
                "outputTokens",
                "cacheReadInputTokens",
                "cacheCreationInputTokens",
            ],
        )
    }

    fn named(object: &Value, [input, output, cache_read, cache_creation]: [&str; 4]) -> Self {
        let count = |key: &str| object.get(key).and_then(Value::as_u64).unwrap_or(0);
        Self {
            input: count(input),
            output: count(output),
            cache_read: count(cache_read),
            cache_creation: count(cache_creation),
        }
    }

    /// What an answer was given to: input of all kinds.
    pub(super) fn prompt(self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_creation)
    }

    /// The part of it that was read from a cache.
    pub(super) fn cached(self) -> u64 {
        self.cache_read
    }

    fn most(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: with(self.input, other.input),
            output: with(self.output, other.output),
            cache_read: with(self.cache_read, other.cache_read),
            cache_creation: with(self.cache_creation, other.cache_creation),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

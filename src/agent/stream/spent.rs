//! What a process used, added up from its results.

use serde_json::Value;

use super::line::ResultLine;
use crate::engine::usage::{MicroUsd, Usage};

/// Tokens by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tokens {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_creation: u64,
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

    /// This, and what `result` adds to it. Totals of a `resumed` process begin with what its session used before; only
    /// differences are its own.
    pub(super) fn after(self, result: &ResultLine, resumed: bool) -> Self {
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

    fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_creation: self.cache_creation.saturating_add(other.cache_creation),
        }
    }
}

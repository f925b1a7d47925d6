//! What sessions used: tokens, money, turns. Unknown stays unknown.

use serde::{Deserialize, Serialize};

/// Money in millionths of a US dollar.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

/// What one or several sessions used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens sent and not read from a cache.
    pub input_tokens: u64,
    /// Tokens the model wrote.
    pub output_tokens: u64,
    /// Tokens read from a prompt cache.
    pub cache_read_tokens: u64,
    /// Tokens written to a prompt cache.
    pub cache_creation_tokens: u64,
    /// What the agent program says it cost; the known part where several sessions are added.
    pub cost: MicroUsd,
    /// Sessions whose cost is unknown (killed before they reported, or a runner without prices).
    pub unpriced_sessions: u32,
    /// Agent processes, resumed ones included.
    pub sessions: u32,
    /// Turns as the agent program counts them.
    pub turns: u32,
    /// Time the agent program spent waiting for its API, in milliseconds.
    pub api_ms: u64,
    /// Tokens of the first request of fresh sessions, cached ones included: with the next field, how much of their
    /// common beginning sessions share. Zero where a session did not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_prompt_tokens: u64,
    /// The part of them that was read from a prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_cached_tokens: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// That of no session.
    pub const NONE: Self = Self {
        input_tokens: 0,
        output_tokens: 0,
        cache_read_tokens: 0,
        cache_creation_tokens: 0,
        cost: MicroUsd(0),
        unpriced_sessions: 0,
        sessions: 0,
        turns: 0,
        api_ms: 0,
        first_prompt_tokens: 0,
        first_cached_tokens: 0,
    };

    /// Both together. Agent programs report what they like, so sums stop at the top instead of failing.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self
                .cache_read_tokens
                .saturating_add(other.cache_read_tokens),
            cache_creation_tokens: self
                .cache_creation_tokens
                .saturating_add(other.cache_creation_tokens),
            cost: MicroUsd(self.cost.0.saturating_add(other.cost.0)),
            unpriced_sessions: self
                .unpriced_sessions
                .saturating_add(other.unpriced_sessions),
            sessions: self.sessions.saturating_add(other.sessions),
            turns: self.turns.saturating_add(other.turns),
            api_ms: self.api_ms.saturating_add(other.api_ms),
            first_prompt_tokens: self
                .first_prompt_tokens
                .saturating_add(other.first_prompt_tokens),
            first_cached_tokens: self
                .first_cached_tokens
                .saturating_add(other.first_cached_tokens),
        }
    }
}

impl Usage {
    /// What is known of sessions that could tell nothing: that they were, and that nobody knows their price.
    pub fn unknown_session() -> Self {
        Self {
            sessions: 1,
            unpriced_sessions: 1,
            ..Self::default()
        }
    }
}

impl MicroUsd {
    /// From a price in dollars as programs report it; negative and non-finite values are not prices.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let micro = (usd * 1e6).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked"
        )]
        (micro.is_finite() && (0.0..1e15).contains(&micro)).then_some(Self(micro as u64))
    }
}

impl std::fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "${}.{:04}", self.0 / 1_000_000, self.0 % 1_000_000 / 100)
    }
}

//! How an attempt can end: one closed list for the whole program.
//!
//! `agent::failure` tells them apart from what a session left behind; the engine's policy says what follows.

use serde::{Deserialize, Serialize};

/// Every end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The agent says completed, and left a change.
    Success,
    /// The agent says completed, and changed nothing.
    NoChange,
    /// The agent says failed.
    AgentFailed,
    /// The session ended without a status.
    NoStatus,
    /// A status that cannot be read, or of another task or attempt.
    BadStatus,
    /// The agent edited the plan in a way that does not check or that it may not.
    PlanEditInvalid,
    /// The candidate touches paths outside the task's `files`, or protected ones.
    OutOfScope,
    /// The candidate does not merge with the target's tip.
    Conflict,
    /// A gate said no.
    VerifyFailed,
    /// A person was shown what would land, and said no.
    Rejected,
    /// The account's usage limit.
    UsageLimit,
    /// The service throttles or is overloaded, or could not be reached.
    Throttled,
    /// The agent program could not authenticate.
    Auth,
    /// The account cannot pay.
    Billing,
    /// The session grew over the model's context.
    Context,
    /// The session's cap of turns.
    Turns,
    /// The session's cap of money.
    Budget,
    /// The model refused, or the service rejected what was asked as it was asked.
    Refused,
    /// The agent was denied the tools it needed.
    Denied,
    /// The attempt's wall-clock limit.
    Timeout,
    /// No sign of life for too long while no tool was running.
    Stalled,
    /// No sign of life at all after the start.
    NoFirstEvent,
    /// The agent program died or ended without a result, or everything died together with the machine.
    Crashed,
    /// orch ended it: a stop, a cancellation, or the shim had been without orch for too long.
    Interrupted,
    /// orch could not provide what the attempt needs: slot, setup, program, disk.
    Environment,
    /// More output than the limit.
    OutputFlood,
}

/// How one attempt ended, with the sentence for people and for the next attempt's prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Which of the ends.
    pub ending: Ending,
    /// One or a few lines: what happened, with names of files where there are any.
    pub detail: String,
}

impl AttemptEnd {
    /// An end with its sentence.
    pub fn new(ending: Ending, detail: impl Into<String>) -> Self {
        Self {
            ending,
            detail: detail.into(),
        }
    }
}

/// What a detail says in one line. What follows is evidence, such as the end of a gate's output.
pub fn headline(detail: &str) -> &str {
    detail.trim().lines().next().unwrap_or_default()
}

impl Ending {
    /// All of them, in declaration order.
    pub const ALL: [Self; 26] = [
        Self::Success,
        Self::NoChange,
        Self::AgentFailed,
        Self::NoStatus,
        Self::BadStatus,
        Self::PlanEditInvalid,
        Self::OutOfScope,
        Self::Conflict,
        Self::VerifyFailed,
        Self::Rejected,
        Self::UsageLimit,
        Self::Throttled,
        Self::Auth,
        Self::Billing,
        Self::Context,
        Self::Turns,
        Self::Budget,
        Self::Refused,
        Self::Denied,
        Self::Timeout,
        Self::Stalled,
        Self::NoFirstEvent,
        Self::Crashed,
        Self::Interrupted,
        Self::Environment,
        Self::OutputFlood,
    ];

    /// In words, for people: "agent says failed", "usage limit".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NoChange => "no change",
            Self::AgentFailed => "agent says failed",
            Self::NoStatus => "no status",
            Self::BadStatus => "bad status",
            Self::PlanEditInvalid => "plan edit invalid",
            Self::OutOfScope => "out of scope",
            Self::Conflict => "merge conflict",
            Self::VerifyFailed => "verify failed",
            Self::Rejected => "rejected",
            Self::UsageLimit => "usage limit",
            Self::Throttled => "throttled",
            Self::Auth => "authentication",
            Self::Billing => "billing",
            Self::Context => "context too long",
            Self::Turns => "turn limit",
            Self::Budget => "budget",
            Self::Refused => "refused",
            Self::Denied => "tools denied",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::NoFirstEvent => "no first event",
            Self::Crashed => "crashed",
            Self::Interrupted => "interrupted",
            Self::Environment => "environment",
            Self::OutputFlood => "output flood",
        }
    }
}

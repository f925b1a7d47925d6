//! The policy table: one row for each way to end.
//!
//! `docs/failures.md` is made from it. What a row leads to in the end, within the limits around it, is decided in
//! `after`.

use super::ending::Ending;
use super::next::Charge;
use crate::plan::graph::RetryFrom;

/// What one way to end means for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What it costs the task, within the limit of that charge.
    pub counts: Charge,
    /// When there is another attempt.
    pub retry: Retry,
    /// Where the next attempt starts unless the plan says otherwise.
    pub from: RetryFrom,
    /// Whether the attempt goes on in its slot instead, where the agent program can do that.
    pub continues: bool,
    /// What it tells the breaker.
    pub breaker: Signal,
    /// Whether a better model could mend it.
    pub ladder: bool,
    /// Whether it ends a run in which nothing has worked since it was started or continued: then a person is there, and
    /// the next attempt would end the same.
    pub stops: bool,
    /// Whether the session shows that the service serves this account: such an end lifts a limit that was probed.
    pub answered: bool,
}

/// When there is another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: the work is done.
    Never,
    /// As soon as there is a slot.
    AtOnce,
    /// After a back-off.
    Backoff,
    /// When the usage limit is over.
    AfterLimit,
    /// When the breaker lets it.
    AfterBreaker,
}

/// What an end tells the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// All is well: closes it.
    Works,
    /// Nothing about the world.
    Nothing,
    /// A failure: several in a row, of several tasks, open it.
    Fails,
    /// The next attempt of any task would end the same: opens it at once.
    Opens,
}

impl Row {
    /// Whether the work is done: it lands, or is completed without a commit.
    pub fn is_done(&self) -> bool {
        self.retry == Retry::Never
    }
}

impl Ending {
    /// The row of this ending.
    pub fn row(self) -> Row {
        match self {
            Self::Success | Self::NoChange => Row {
                counts: Charge::Nothing,
                retry: Retry::Never,
                breaker: Signal::Works,
                ladder: false,
                ..WORK
            },
            Self::AgentFailed
            | Self::NoStatus
            | Self::BadStatus
            | Self::VerifyFailed
            | Self::Refused
            | Self::Timeout => WORK,
            Self::Denied | Self::OutputFlood => Row {
                ladder: false,
                ..WORK
            },
            Self::Context | Self::Turns | Self::Budget => Row {
                breaker: Signal::Nothing,
                ladder: self == Self::Turns,
                ..WORK
            },
            Self::Rejected => Row {
                breaker: Signal::Nothing,
                ..WORK
            },
            Self::PlanEditInvalid | Self::OutOfScope => Row {
                from: RetryFrom::Base,
                breaker: Signal::Nothing,
                ..WORK
            },
            Self::Conflict => Row {
                counts: Charge::Conflict,
                from: RetryFrom::Base,
                breaker: Signal::Nothing,
                ladder: false,
                ..WORK
            },
            Self::Stalled | Self::NoFirstEvent => Row {
                retry: Retry::Backoff,
                ladder: false,
                answered: false,
                ..WORK
            },
            Self::Crashed => Row {
                counts: Charge::Streak,
                retry: Retry::Backoff,
                from: RetryFrom::Base,
                ladder: false,
                answered: false,
                ..WORK
            },
            Self::Interrupted => Row {
                counts: Charge::Streak,
                retry: Retry::Backoff,
                breaker: Signal::Nothing,
                ladder: false,
                answered: false,
                ..WORK
            },
            Self::UsageLimit => Row {
                counts: Charge::Nothing,
                retry: Retry::AfterLimit,
                breaker: Signal::Nothing,
                stops: false,
                continues: true,
                ..WORLD
            },
            Self::Throttled => Row {
                stops: false,
                continues: true,
                ..WORLD
            },
            Self::Auth | Self::Billing | Self::Environment => WORLD,
        }
    }
}

/// The agent worked, and its work is not good enough.
const WORK: Row = Row {
    counts: Charge::Attempt,
    retry: Retry::AtOnce,
    from: RetryFrom::Candidate,
    continues: false,
    breaker: Signal::Fails,
    ladder: true,
    stops: false,
    answered: true,
};

/// The agent could not work, for a reason that has nothing to do with the task.
const WORLD: Row = Row {
    counts: Charge::Streak,
    retry: Retry::AfterBreaker,
    from: RetryFrom::Candidate,
    continues: false,
    breaker: Signal::Opens,
    ladder: false,
    stops: true,
    answered: false,
};

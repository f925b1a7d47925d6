//! What follows an attempt, and what it costs its task.

use serde::{Deserialize, Serialize};

use super::budget::Grant;
use crate::plan::graph::RetryFrom;
use crate::time::Wall;

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "next")]
pub enum Next {
    /// The candidate goes to the landing queue.
    Land,
    /// The task is completed without a commit.
    Complete,
    /// The session is resumed once to ask for its status.
    AskStatus,
    /// The session is parked in its slot, and goes on when it may.
    Continue {
        /// What the interruption cost the task.
        charge: Charge,
    },
    /// Another attempt, not before `at`.
    Retry {
        /// The earliest start.
        at: Option<Wall>,
        /// What the attempt cost the task.
        charge: Charge,
        /// Where the next one starts.
        from: RetryFrom,
    },
    /// No attempts are left: the task has failed.
    Fail {
        /// What the attempt cost the task.
        charge: Charge,
    },
    /// The task was cancelled or settled by a person meanwhile; nothing follows.
    Nothing,
}

/// What an ended attempt costs its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// One of `max_attempts`.
    Attempt,
    /// One of the few uncounted ends in a row.
    Streak,
    /// One of the few uncounted merge conflicts.
    Conflict,
    /// Nothing: a person asked for it, or the run stops over it.
    Nothing,
}

/// A session that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// How many times the attempt has gone on, with this one.
    pub number: u32,
    /// What it may spend from here on.
    pub grant: Grant,
}

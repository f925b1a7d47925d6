//! The one outcome of a run, and its exit code.

use serde::{Deserialize, Serialize};

/// How a run ended. Which one, when several hold, is decided in `engine::judge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every task is completed or skipped.
    Completed,
    /// A task failed, was cancelled, or is blocked by one that did.
    Failed,
    /// The plan or the usage is invalid.
    Invalid,
    /// Halted by `.stop`, `orch stop` or a signal; resumable.
    Stopped,
    /// Only a person or external evidence can go on; also a rewritten target.
    WaitingForPerson,
    /// A budget or usage limit was reached and waiting was not asked for.
    LimitReached,
    /// Pending tasks that nothing can ever release.
    Stuck,
    /// Another orch holds this plan or target.
    Busy,
    /// The repository or the environment is not usable.
    Environment,
    /// A bug in orch.
    Bug,
    /// Ended at once by a third Ctrl-C.
    Abandoned,
}

impl Outcome {
    /// The process exit code; documented and stable.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Stopped => 3,
            Self::WaitingForPerson => 4,
            Self::LimitReached => 5,
            Self::Stuck => 6,
            Self::Busy => 7,
            Self::Environment => 8,
            Self::Bug => 70,
            Self::Abandoned => 130,
        }
    }

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Stopped => "stopped",
            Self::WaitingForPerson => "waiting for a person",
            Self::LimitReached => "limit reached",
            Self::Stuck => "stuck",
            Self::Busy => "busy",
            Self::Environment => "environment not usable",
            Self::Bug => "bug in orch",
            Self::Abandoned => "ended at once",
        }
    }
}

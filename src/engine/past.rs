//! What a task has behind it once something has happened to it.

use super::budget::{Amount, Grant};
use super::conflict::{Answered, Resolving};
use super::ending::AttemptEnd;
use super::event::Decision;
use super::usage::Usage;
use crate::time::Wall;

/// What is known of the evidence that a task needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Supply {
    /// Whether it is there.
    pub found: bool,
    /// Since when it is looked for.
    pub since: Option<Wall>,
    /// What the last look said.
    pub said: String,
}

/// What the attempts of a task were given, took and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    /// The model that policy chose for the newest attempt.
    pub model: Option<String>,
    /// What the newest attempt may spend; nothing is reserved once it has ended.
    pub grant: Grant,
    /// What the newest attempt was charged.
    pub attempt_charged: Amount,
    /// What all attempts were charged.
    pub charged: Amount,
    /// What is known of the evidence that the task needs.
    pub supply: Supply,
    /// How the newest attempt ended.
    pub last_end: Option<AttemptEnd>,
    /// How earlier attempts failed, oldest first, at most [`super::policy::EVIDENCE_MAX`].
    pub evidence: Vec<AttemptEnd>,
    pub usage: Usage,
    pub message: Option<String>,
    pub report: Option<String>,
    pub notes: Vec<String>,
    /// What changed in the user's repository while attempts of it ran.
    pub meanwhile: Vec<String>,
    /// Conflicts of its newest landing commit that were settled as a person had said beforehand.
    pub answers: Vec<Answered>,
    /// Who settled it, if a person did.
    pub settled_by: Option<Decision>,
    /// What the newest attempt is to resolve, if it is no attempt at the task itself.
    pub resolving: Option<Resolving>,
}

impl Past {
    pub(super) const NONE: Self = Self {
        model: None,
        grant: Grant::NONE,
        attempt_charged: Amount::NONE,
        charged: Amount::NONE,
        supply: Supply::NONE,
        last_end: None,
        evidence: Vec::new(),
        usage: Usage::NONE,
        message: None,
        report: None,
        notes: Vec::new(),
        meanwhile: Vec::new(),
        answers: Vec::new(),
        settled_by: None,
        resolving: None,
    };
}

impl Supply {
    /// Of a task for which nobody has looked.
    pub(super) const NONE: Self = Self {
        found: false,
        since: None,
        said: String::new(),
    };
}

//! What there is to keep of a task once something has happened to it: most tasks of a large plan are waiting, or were done
//! long ago.

use super::action::StartFrom;
use super::approval::Consent;
use super::budget::{Amount, Grant};
use super::conflict::{Answered, Resolving};
use super::ending::AttemptEnd;
use super::event::Decision;
use super::phase::Closing;
use super::usage::Usage;
use crate::ids::ObjectId;
use crate::plan::graph::Declared;
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
    /// Where its approval stands, if the plan asks for one.
    pub consent: Consent,
    /// What the plan's text said before the task was settled otherwise or reopened, and may still say.
    pub unwritten: Vec<Declared>,
    /// What spoke against its candidate behind others that had not landed; it is built again with nothing before it.
    pub suspected: Option<Box<str>>,
    /// The newest candidate.
    pub candidate: Option<ObjectId>,
    /// What the next attempt starts from.
    pub start: StartFrom,
    /// What a person wants it settled as, once what is under way has ended.
    pub closing: Option<Closing>,
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
        consent: Consent::None,
        unwritten: Vec::new(),
        suspected: None,
        candidate: None,
        start: StartFrom::Tip,
        closing: None,
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

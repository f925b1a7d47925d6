//! What a person is asked to approve, and what became of the question.
//!
//! An approval of what was made is bound to the candidate and to the landing commit that was shown. When a task waits for
//! one, and what follows from it, is in `consent`.

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectId, PlanId, RunId, TaskId};

/// What a person was shown when asked for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What the attempt made.
    pub candidate: ObjectId,
    /// The landing commit.
    pub commit: ObjectId,
    /// The tip it was built on.
    pub onto: ObjectId,
    /// What the landing commit is made of.
    pub change: Change,
}

/// What a landing commit is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its tree.
    pub tree: ObjectId,
    /// What it changes against the tip it was built on, the plan aside: the same for another landing commit only if that
    /// changes the same files from the same contents to the same contents.
    pub sha256: String,
}

/// Where the approval of a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Consent {
    /// Nobody was asked yet, or it lapsed.
    #[default]
    None,
    /// Somebody was asked whether it may start.
    AskedToStart,
    /// Somebody was asked about a landing commit.
    Asked(Box<Shown>),
    /// Somebody said yes.
    Given {
        /// To what was shown; to the start if none.
        shown: Option<Box<Shown>>,
        /// With this signature.
        signature: Option<String>,
    },
}

impl Consent {
    /// What was approved, if it was something made.
    pub(super) fn shown(&self) -> Option<&Shown> {
        match self {
            Self::Given { shown, .. } => shown.as_deref(),
            Self::None | Self::AskedToStart | Self::Asked(_) => None,
        }
    }

    /// What is to be approved now.
    pub(super) fn asked(&self) -> Option<&Shown> {
        match self {
            Self::Asked(shown) => Some(shown),
            Self::None | Self::AskedToStart | Self::Given { .. } => None,
        }
    }

    /// Takes back what was said without a signature.
    pub(super) fn drop_unsigned(&mut self) {
        if let Self::Given {
            signature: None, ..
        } = self
        {
            *self = Self::None;
        }
    }

    /// Another candidate takes the place of the one that was approved.
    pub(super) fn renew(&mut self) {
        match self {
            Self::Asked(_) | Self::Given { shown: Some(_), .. } => *self = Self::None,
            Self::None | Self::AskedToStart | Self::Given { shown: None, .. } => {}
        }
    }
}

/// What a person says yes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approves<'a> {
    /// That the task starts, as it is written.
    Start {
        /// The hash of what it asks for.
        spec: &'a str,
    },
    /// That what was shown lands.
    Landing(&'a Shown),
}

/// What is signed: all that tells one approval from another, and the tree for which it is given.
#[derive(Serialize)]
struct Statement<'a> {
    orch: &'static str,
    plan: &'a str,
    run: &'a str,
    task: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<&'a str>,
}

impl Approves<'_> {
    /// The text that a signed approval signs: one line of JSON.
    pub fn statement(self, plan: &PlanId, run: &RunId, task: &TaskId) -> String {
        let (start, shown) = match self {
            Self::Start { spec } => (Some(spec), None),
            Self::Landing(shown) => (None, Some(shown)),
        };
        let statement = Statement {
            orch: "approval 1",
            plan: plan.as_str(),
            run: run.as_str(),
            task: task.as_str(),
            start,
            tree: shown.map(|shown| shown.change.tree.as_str()),
            change: shown.map(|shown| shown.change.sha256.as_str()),
            candidate: shown.map(|shown| shown.candidate.as_str()),
        };
        serde_json::to_string(&statement).expect("texts are JSON") + "\n"
    }
}

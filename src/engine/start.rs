//! How a run is started or continued: what a person asked for, as the ledger keeps it.

use serde::{Deserialize, Serialize};

use super::budget::{Amount, Learned};
use super::event::PlanRevision;
use super::policy::Policy;
use crate::ids::{ObjectId, RefName, TaskId};

/// What a person asked for when starting or continuing a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStart {
    /// Version of the records that follow.
    pub format: u32,
    /// The version of orch.
    pub orch: String,
    /// The plan, by path for people.
    pub plan: String,
    /// The full name of the ref that lands.
    pub target: RefName,
    /// How many agents may run at once.
    pub jobs: u32,
    /// Which tasks.
    pub selection: Selection,
    /// Settings that were in force, as resolved, for people and later readers.
    pub settings: std::collections::BTreeMap<String, String>,
    /// The plan at the start.
    pub revision: PlanRevision,
    /// Tasks that the ledger knows as landed by earlier runs of this plan, with the commit.
    pub landed_before: Vec<(TaskId, ObjectId)>,
    /// The numbers that the run decides by.
    #[serde(default)]
    pub policy: Policy,
    /// Whether the run stays for people and for evidence when nothing else is left to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Whether the gates are asked about the untouched target before the first attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub baseline: bool,
    /// Whether the smoke commands are asked about what has landed when the plan is through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smoke: bool,
    /// Who may sign approvals, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signers: Option<Signers>,
    /// What earlier attempts spent, by agent and model.
    #[serde(default)]
    pub learned: Vec<Learned>,
    /// What all runs of the repository have been charged since the policy's day began.
    #[serde(default)]
    pub spent_today: Amount,
}

/// Who may sign approvals: the text of a person's allowed-signers file, kept with the run, so that its records alone prove
/// an approval and nothing that lands in the run changes who may give one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    /// The file: its path in the repository, if it was read from a commit.
    pub file: String,
    /// The commit: where the target stood when the run began. None for a file outside of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<ObjectId>,
    /// Its text.
    pub text: String,
}

/// Which tasks a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "select")]
pub enum Selection {
    /// Every task that is open.
    #[default]
    All,
    /// From a task on, in document order: open tasks before it are left out and count as satisfied; it is reset; later
    /// completed ones stay, or are reset with `redo`.
    From {
        /// The task.
        task: TaskId,
        /// Whether completed tasks after it are reset too.
        redo: bool,
    },
    /// Exactly one task, and the run is judged by it alone: the given one, else the next that is ready.
    Single {
        /// The task, if given.
        task: Option<TaskId>,
    },
}

//! What was saved of an attempt that nothing else reaches: the facts that the ledger keeps of it.

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectId, RunId, TaskId};

/// Work of an attempt that was saved from its slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvage {
    /// The run of the attempt, which may be an earlier one than the run that saved it.
    pub run: RunId,
    /// Its task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// Counts what was saved of the task, from 1.
    pub number: u32,
    /// The commit of the files, or the newest of the agent's commits.
    pub commit: ObjectId,
    /// What it is.
    pub of: SalvageOf,
    /// Where it is.
    pub place: SalvagePlace,
}

/// How many digits of a commit name what was saved: enough for the few such commits of a repository.
const ID_DIGITS: usize = 7;

impl Salvage {
    /// By what people call it: the first digits of its commit.
    pub fn id(&self) -> &str {
        let commit = self.commit.as_str();
        commit.get(..ID_DIGITS).unwrap_or(commit)
    }
}

/// What was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SalvageOf {
    /// Files of the working tree, as a commit on the attempt's base.
    Files,
    /// Commits that the agent made: on branches, in its stash, or reached by nothing.
    Commits,
}

/// Where saved work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SalvagePlace {
    /// In the repository, under `refs/orch/salvage/`.
    Repository,
    /// Beside the attempt, as a pack: it holds files that do not go into the repository unasked.
    RunDirectory,
}

//! The flat graph that front ends compile to, and the only thing of a plan that the engine sees.
//!
//! How a plan's document order, groups and `depends_on` become edges is decided in `order`; texts that only prompts
//! need stay in the plan.

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;

/// A checked plan as a graph without cycles, in document order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The tasks in document order.
    pub nodes: Vec<Node>,
}

/// A task as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph.
    pub id: TaskId,
    /// For people.
    pub name: String,
    /// What must be settled before this task may start.
    pub needs: Vec<Edge>,
    /// Higher starts first; 0 unless the plan says otherwise.
    pub priority: i64,
    /// Names that no two running tasks may share.
    pub resources: Vec<String>,
    /// Globs of paths that the task may write; overlapping ones never run at once. Empty: not declared.
    pub files: Vec<String>,
    /// Attempts that may be spent before the task has failed; at least 1.
    pub max_attempts: u32,
    /// Where a retry starts, if the plan says so.
    pub retry_from: Option<RetryFrom>,
    /// What counts as done.
    pub kind: TaskKind,
    /// The status in the plan's text when it was read.
    pub declared: Declared,
    /// SHA-256 of what the task asks for, in hexadecimal: with the id, the task's key. Fields that a run writes do not
    /// take part.
    pub spec_hash: String,
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The task that must be settled first.
    pub on: TaskId,
    /// Whether the edge follows from document order instead of a written `depends_on`.
    pub implied: bool,
}

/// Where the next attempt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryFrom {
    /// From what the last attempt left.
    Candidate,
    /// From the target's tip.
    Base,
}

/// What counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// A change of the repository.
    #[default]
    Change,
    /// A text, stored with its hash.
    Report,
}

/// A settled or open status as plans spell it. `in_progress` is read as [`Declared::Pending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Declared {
    /// To be done.
    #[default]
    Pending,
    /// Done, says the text.
    Completed,
    /// Failed, says the text.
    Failed,
    /// Not to be done; satisfies those that need it.
    Skipped,
}

impl Graph {
    /// The node of a task.
    pub fn node(&self, id: &TaskId) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == *id)
    }
}

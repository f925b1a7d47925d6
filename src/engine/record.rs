//! What the ledger keeps of a run: the vocabulary of the journal, its version, and nothing about how it is stored.
//!
//! A record is appended before the action it announces starts. Replaying the records through the same transition table
//! that runs live (`engine::apply`) gives the engine back.

use serde::{Deserialize, Serialize};

use super::ending::AttemptEnd;
use super::event::{Author, Control, PlanRevision, StopLevel};
use super::outcome::Outcome;
use super::usage::Usage;
use crate::ids::{ObjectId, RefName, RunId, SlotId, TaskId, Ticket};
use crate::time::Wall;

/// The version of this vocabulary. A ledger with a newer one is only read.
pub const FORMAT: u32 = 1;

/// A record with its place and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Place in the ledger; order is by this alone.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// When, by the wall clock.
    pub at: Wall,
    /// What.
    pub record: Record,
}

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Record {
    /// The run exists.
    RunStarted(RunStart),
    /// A later orch goes on with the run.
    RunResumed {
        /// What the resuming person asked for.
        start: RunStart,
    },
    /// A revision of the plan holds from here on.
    PlanAccepted {
        /// The revision.
        revision: PlanRevision,
    },
    /// An attempt begins. Synced: from here on money may be spent.
    AttemptStarted {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The slot leased to it.
        slot: SlotId,
    },
    /// The slot stands at the base; the agent is about to start.
    AgentStarting {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The commit it starts on.
        base: ObjectId,
        /// Whether the ended session is resumed to ask for its status.
        asks_status: bool,
    },
    /// The agent process ended.
    AgentEnded {
        /// Task, attempt, epoch.
        ticket: Ticket,
    },
    /// What the attempt left was read; its slot is free unless the session is asked again. Synced when it holds a
    /// candidate.
    Collected {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// How it ended.
        end: AttemptEnd,
        /// What its session used.
        usage: Usage,
        /// The commit of what it left.
        candidate: Option<ObjectId>,
        /// The agent's words.
        message: Option<String>,
        /// SHA-256 of a report's text.
        report: Option<String>,
        /// For people.
        notes: Vec<String>,
        /// What follows, decided by policy.
        next: Next,
    },
    /// The landing commit is about to be made.
    Building {
        /// Task, attempt, epoch.
        ticket: Ticket,
    },
    /// The candidate could not be landed; what follows, decided by policy.
    NotLandable {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// Why.
        end: AttemptEnd,
        /// What follows.
        next: Next,
    },
    /// The target is about to move. Synced, after the objects.
    LandingIntended {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on, to which the target must still point.
        onto: ObjectId,
    },
    /// The target moved under the landing; it is built again.
    LandingMissed {
        /// Task, attempt, epoch.
        ticket: Ticket,
    },
    /// The target holds the commit. Synced, after the ref.
    Landed {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// Whether a required verify command passed on exactly this tree.
        verified: bool,
    },
    /// A task settled without landing: completed without a change, believed, skipped, cancelled.
    Settled {
        /// The task.
        task: TaskId,
        /// As what.
        as_: Settlement,
    },
    /// A task is open again with fresh attempts.
    Reopened {
        /// The task.
        task: TaskId,
        /// Where its next attempt starts, if said.
        from: Option<crate::plan::graph::RetryFrom>,
    },
    /// Something under way was given up after a crash; results of the old epoch are not heard.
    Superseded {
        /// The task.
        task: TaskId,
        /// The new epoch.
        epoch: u32,
    },
    /// A wait is over.
    WaitEnded {
        /// The task.
        task: TaskId,
    },
    /// A person or a signal decided something; what it changed follows as records of its own.
    Controlled {
        /// The decision.
        control: Control,
        /// Whether it could be followed, and why not.
        refused: Option<String>,
    },
    /// The run is being halted.
    Stopping {
        /// How firmly.
        level: StopLevel,
        /// Who asked.
        by: Author,
    },
    /// The target no longer contains what was landed.
    TargetRewritten {
        /// Where it stands now.
        found: Option<ObjectId>,
    },
    /// The shell cannot go on.
    RunFailed {
        /// How the run will end.
        outcome: Outcome,
        /// One line.
        detail: String,
    },
    /// The run ended.
    RunEnded {
        /// How.
        outcome: Outcome,
    },
}

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

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "next")]
pub enum Next {
    /// The candidate goes to the landing queue.
    Land,
    /// The task is completed without a commit.
    Complete,
    /// The session is resumed once to ask for its status.
    AskStatus,
    /// Another attempt, not before `at`.
    Retry {
        /// The earliest start.
        at: Option<Wall>,
        /// Whether this attempt was spent.
        counted: bool,
        /// Where the next one starts.
        from: crate::plan::graph::RetryFrom,
    },
    /// No attempts are left: the task has failed.
    Fail {
        /// Whether this attempt was spent.
        counted: bool,
    },
    /// The task was cancelled or settled by a person meanwhile; nothing follows.
    Nothing,
}

/// How a task settled without landing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "settled")]
pub enum Settlement {
    /// Completed according to the plan's text; orch has no record of it.
    Believed,
    /// Completed by a landing of an earlier run.
    LandedBefore {
        /// That landing's commit.
        commit: ObjectId,
    },
    /// A person says it is done.
    MarkedDone,
    /// Skipped by the plan's text or a person.
    Skipped,
    /// Left out by the selection of this run; counts as satisfied in it.
    LeftOut,
    /// Failed according to the plan's text.
    DeclaredFailed,
    /// Cancelled by a person.
    Cancelled,
    /// The task vanished from the plan before it started.
    Removed,
}

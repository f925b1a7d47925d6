//! What the engine hears: results of its actions, controls by people, plan edits, what recovery found, and time.
//!
//! Results carry ids and texts, never paths, pids or handles, so that an action may be carried out anywhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::approval::Change;
use super::conflict::{Answered, Conflict, Resolving};
use super::ending::AttemptEnd;
use super::limit::{LimitHit, UsageWindow};
use super::outcome::Outcome;
use super::profile::Profiles;
use super::salvage::Salvage;
use super::scope::Scope;
use super::usage::Usage;
use super::verification::{Smoke, Verification};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::checks::Checks;
use crate::plan::graph::{Graph, RetryFrom};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A slot stands at the base, or could not be brought there.
    Prepared {
        /// The order answered.
        ticket: Ticket,
        /// What an earlier attempt had left in the slot, and is saved now.
        saved: Vec<Salvage>,
        /// The conflicts that the slot holds, if it was to hold some.
        resolving: Option<Box<Resolving>>,
        /// The base the attempt starts on.
        result: Result<ObjectId, Unprepared>,
    },
    /// The agent process ended, for whatever reason; nothing of what it left has been read.
    Executed {
        /// The order answered.
        ticket: Ticket,
    },
    /// The service has answered the agent, which runs; given again whenever it reports other windows.
    Observed {
        /// The order that is being carried out.
        ticket: Ticket,
        /// How full the account's windows are, if it said so.
        windows: Vec<UsageWindow>,
    },
    /// What the attempt left was read, and nothing of its process tree lives.
    Collected {
        /// The order answered.
        ticket: Ticket,
        /// What was found.
        result: Box<Collected>,
    },
    /// The landing commit was made, or cannot be.
    Built {
        /// The order answered.
        ticket: Ticket,
        /// The commit, or why not.
        result: Result<Landing, BuildFailure>,
    },
    /// The gates of a landing commit were asked.
    Verified {
        /// The order answered.
        ticket: Ticket,
        /// What they said.
        result: Box<Verification>,
    },
    /// The gates were asked about the untouched target.
    Baselined(Box<Verification>),
    /// `Smoke` is done; none if there is nothing to ask.
    Smoked(Option<Box<Smoke>>),
    /// The compare-and-swap of the target was tried.
    Landed {
        /// The order answered.
        ticket: Ticket,
        /// What came of it.
        result: LandResult,
    },
    /// Evidence that a task needs was looked for.
    EvidenceLooked {
        /// The task.
        task: TaskId,
        /// Whether it is there.
        found: bool,
        /// What the look said, in a line.
        said: String,
    },
    /// The plan's settled fields were written to a plan outside the target, or could not be (told by the shell).
    PlanWritten,
    /// The end of the run was published to the user's checkout, or left to the person (told by the shell).
    Published,
    /// A person changed the plan, and it checks.
    PlanRevised(PlanRevision),
    /// The target no longer contains the last landed commit.
    TargetRewritten {
        /// Where the target stands now.
        found: Option<ObjectId>,
    },
    /// A person (or a signal) decided something.
    Control(Control),
    /// What the world looked like for a task that was under way when orch last died.
    Recovered {
        /// The task.
        task: TaskId,
        /// What was found.
        found: Found,
    },
    /// The shell cannot go on, or cannot tell what became of an order. The run ends at once; the next orch asks the world
    /// about what is under way.
    Failed {
        /// The outcome to end with, [`Outcome::Environment`] or [`Outcome::Bug`].
        outcome: Outcome,
        /// One line.
        detail: String,
    },
    /// Time passed; lets the engine look at `now`.
    Tick,
}

/// Why a slot does not stand at a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unprepared {
    /// It could not be brought there; how that ends the attempt.
    Ended(AttemptEnd),
    /// The signature of the approval of its start proves nothing; told in the text.
    Unapproved(String),
    /// The target lacks what was landed before, so that there is no base; where it stands now, if it exists.
    Rewritten(Option<ObjectId>),
}

/// What an attempt left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// How it ended, by the evidence.
    pub end: AttemptEnd,
    /// What its last session used.
    pub usage: Usage,
    /// The commit made of the files it left, on its base; none if they equal the base's.
    pub candidate: Option<ObjectId>,
    /// The agent's own words about the result.
    pub message: Option<String>,
    /// SHA-256 of the stored text of a report task.
    pub report: Option<String>,
    /// Whether the session could be resumed to ask for the missing status.
    pub can_ask: bool,
    /// The usage limit that ended it, if one did.
    pub limit: Option<LimitHit>,
    /// How full the account's windows were when last reported.
    pub windows: Vec<UsageWindow>,
    /// Whether the attempt could go on in its slot: in the same session, or in a new one if this one had not begun.
    pub can_continue: bool,
    /// What people should know: files left out, tools denied, odd status files.
    pub notes: Vec<String>,
    /// What changed in the user's repository and checkout while the attempt ran, orch's own doings aside.
    pub meanwhile: Vec<String>,
    /// By what a candidate that may land was judged.
    pub scope: Option<Box<Scope>>,
}

impl Collected {
    /// Of an attempt that left nothing.
    pub fn nothing(end: AttemptEnd, usage: Usage) -> Self {
        Self {
            end,
            usage,
            candidate: None,
            message: None,
            report: None,
            can_ask: false,
            limit: None,
            windows: Vec::new(),
            can_continue: false,
            notes: Vec::new(),
            meanwhile: Vec::new(),
            scope: None,
        }
    }
}

/// A landing commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The commit that will land.
    pub commit: ObjectId,
    /// The tip it was made on.
    pub onto: ObjectId,
    /// What it is made of.
    pub change: Change,
    /// Conflicts that were settled as a person had said beforehand, by file.
    pub answers: Vec<Answered>,
}

/// Why there is no landing commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildFailure {
    /// The candidate does not merge with the tip.
    Conflict(Conflict),
    /// After the merge nothing is left to land: the tip has it all.
    AlreadyThere,
    /// The plan edit no longer fits the tip's plan.
    PlanEdit(String),
    /// The target lacks what was landed before; where it stands now, if it exists.
    Rewritten(Option<ObjectId>),
    /// The candidate cannot be read any more, as after a loss of power; told in the text.
    Lost(String),
    /// orch ended the command that was to make a file in conflict anew.
    Interrupted,
    /// git or the disk refused; told in the text.
    Trouble(String),
}

impl BuildFailure {
    /// What speaks against the candidate, where it is about what the candidate changes beside what it was to be built
    /// on.
    pub(super) fn of_content(&self) -> Option<String> {
        match self {
            Self::Conflict(conflict) => Some(format!("conflicts in {}", conflict.files.join(", "))),
            Self::AlreadyThere => Some("the change is there already".to_owned()),
            Self::PlanEdit(detail) => Some(detail.clone()),
            Self::Rewritten(_) | Self::Lost(_) | Self::Interrupted | Self::Trouble(_) => None,
        }
    }
}

/// What came of a landing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LandResult {
    /// The target holds the commit. The plan as it stands now, if the commit changed it.
    Landed(Option<PlanRevision>),
    /// The target moved since the landing commit was built, and still contains what was landed before.
    TipMoved,
    /// The target moved away from what was landed before; where it stands now, if it exists.
    Rewritten(Option<ObjectId>),
    /// Something of a person's lies in the way of a checkout; what, and what can be done about it.
    InTheWay(String),
    /// Another program holds a lock, and for longer than programs do; which one, and what can be done about it.
    Locked(String),
    /// git or the disk refused; told in the text.
    Trouble(String),
    /// The signature of its approval proves nothing; told in the text.
    Unapproved(String),
}

/// A plan that checks, as a graph, with the address of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRevision {
    /// SHA-256 of the text, in hexadecimal; the text is stored under it in the run's directory.
    pub text_sha256: String,
    /// Who made it.
    pub by: Author,
    /// What it asks for.
    pub graph: Graph,
    /// How its tasks are done. Shared, as are the tasks of the graph: the engine keeps the same ones.
    #[serde(default, with = "super::profile::alike")]
    pub profiles: Profiles,
    /// What its tasks are checked by, for whoever proves a run from its records. Nothing in records of older versions.
    #[serde(default, skip_serializing_if = "Checked::is_empty")]
    pub checked: Arc<Checked>,
}

/// What the tasks of a plan are checked by, as plan and settings say it together. Many are checked alike, so that each set
/// of checks is there once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    /// The sets: those of tasks, and those that a task would have which says nothing itself, wherever it stood.
    pub sets: Vec<Checks>,
    /// The number of the set of each task, in the order of the graph.
    pub of: Vec<usize>,
}

impl Checked {
    /// For records, which leave out what is not there.
    pub fn is_empty(this: &Arc<Self>) -> bool {
        this.sets.is_empty()
    }
}

/// Who is responsible for a change or a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A person, by name where one is known.
    Person(String),
    /// The agent of a task.
    Agent(TaskId),
    /// A signal of the operating system.
    Signal,
    /// The stop file.
    StopFile,
    /// orch itself.
    Orch,
}

/// Who decided something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub by: Author,
    /// In the person's words.
    pub note: Option<String>,
}

/// A decision by a person, with author and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What is asked.
    pub verb: Verb,
    /// By whom.
    pub by: Author,
    /// Why, in the person's words.
    pub note: Option<String>,
}

/// What a person can ask of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Verb {
    /// Halt the run, at least this firmly.
    Stop {
        /// How firmly; a lesser level never overrides a greater one.
        level: StopLevel,
    },
    /// End what runs for a task and settle it as cancelled.
    Cancel {
        /// The task.
        task: TaskId,
    },
    /// Do not start a task until released.
    Hold {
        /// The task.
        task: TaskId,
    },
    /// Undo a hold.
    Release {
        /// The task.
        task: TaskId,
    },
    /// Settle a task as skipped; those that need it go on.
    Skip {
        /// The task.
        task: TaskId,
    },
    /// Give a settled task fresh attempts, or try a waiting one now.
    Retry {
        /// The task.
        task: TaskId,
        /// Where its next attempt starts; by policy if not said.
        from: Option<RetryFrom>,
    },
    /// Give every failed task fresh attempts.
    RetryFailed,
    /// A person says the task is done outside orch.
    MarkDone {
        /// The task.
        task: TaskId,
        /// The commit that did it, if the person names one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<ObjectId>,
    },
    /// Let a task start, or let what it made land, where the plan asks a person.
    Approve {
        /// The task.
        task: TaskId,
        /// What is approved: the candidate or the landing commit; what is asked for now if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<ObjectId>,
        /// A person's signature of the statement of what is approved, in OpenSSH's armour.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Refuse what a person was asked for: what was made does not land, a task that was not to start is cancelled.
    Reject {
        /// The task.
        task: TaskId,
    },
    /// Change when a task starts among ready ones.
    Priority {
        /// The task.
        task: TaskId,
        /// The new priority; higher first.
        value: i64,
    },
    /// Change how many agents may run.
    Jobs {
        /// At least 1.
        count: u32,
    },
    /// Start nothing new until it is resumed; what runs goes on, and the run stays.
    Pause,
    /// Undo a pause.
    Resume,
}

impl Verb {
    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Cancel { task }
            | Self::Hold { task }
            | Self::Release { task }
            | Self::Skip { task }
            | Self::Retry { task, .. }
            | Self::MarkDone { task, .. }
            | Self::Approve { task, .. }
            | Self::Reject { task }
            | Self::Priority { task, .. } => Some(task),
            Self::Stop { .. }
            | Self::RetryFailed
            | Self::Jobs { .. }
            | Self::Pause
            | Self::Resume => None,
        }
    }
}

/// How firmly a run is halted. The order is the severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopLevel {
    /// Not at all.
    #[default]
    Running,
    /// No new attempt starts; running ones finish and land.
    Drain,
    /// Agents are ended and their work is saved.
    EndAgents,
}

/// What recovery found in the world for a task that was under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The shim of the current attempt lives.
    AgentAlive,
    /// The agent ended while nobody looked; its exit was recorded.
    AgentEnded,
    /// No agent of the attempt lives and none recorded its exit; its process tree is swept.
    AgentGone,
    /// The process that was to ask for the status, or to go on, was never started; the one before had ended.
    NeverStarted,
    /// The commit of the landing intent is in the target's history. The plan as it stands now.
    Landed(Option<PlanRevision>),
    /// The commit of the landing intent is not in the target's history.
    NotLanded,
}

//! What the ledger keeps of a run: the vocabulary of the journal, its version, and nothing about how it is stored.
//!
//! A record is appended before the action it announces starts. Replaying the records through the same transition table
//! that runs live (`engine::apply`) gives the engine back.

use serde::{Deserialize, Serialize};

use super::approval::{Change, Shown};
use super::budget::Grant;
use super::conflict::{Answered, Resolving};
use super::ending::{AttemptEnd, Ending};
use super::event::{Author, Collected, Control, PlanRevision, StopLevel};
use super::limit::{LimitHit, LimitScope, UsageWindow};
use super::next::{Continuation, Next};
use super::outcome::Outcome;
use super::salvage::Salvage;
use super::scope::Scope;
use super::start::RunStart;
use super::usage::Usage;
use super::verification::{Smoke, Verification};
use crate::ids::{ObjectId, RefName, RunId, SlotId, TaskId, Ticket};
use crate::plan::graph::RetryFrom;
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

/// What an attempt told, and what was seen meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// The agent's words.
    pub message: Option<String>,
    /// SHA-256 of a report's text.
    pub report: Option<String>,
    /// For people.
    pub notes: Vec<String>,
    /// How full the account's windows were when last reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<UsageWindow>,
    /// What changed in the user's repository and checkout while the attempt ran, orch's own doings aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meanwhile: Vec<String>,
}

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Record {
    /// The run exists.
    RunStarted(Box<RunStart>),
    /// A later orch goes on with the run.
    RunResumed {
        /// What the resuming person asked for.
        start: Box<RunStart>,
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
        /// The model that policy chose; none leaves it to the agent program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What it may spend.
        #[serde(default)]
        grant: Grant,
    },
    /// The slot holds an earlier candidate merged with the base, and the session that starts in it is to resolve the
    /// conflicts between them. It is no attempt at the task itself: it costs none, and what follows one that fails is an
    /// attempt on the target's tip.
    Resolving {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// What.
        resolving: Box<Resolving>,
    },
    /// The slot stands at the base; the agent is about to start.
    AgentStarting {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The commit it starts on.
        base: ObjectId,
        /// Whether the ended session is resumed to ask for its status.
        asks_status: bool,
        /// Set if the ended session is resumed to go on with its work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        continues: Option<Continuation>,
    },
    /// The agent process ended; what it left is about to be read.
    AgentEnded {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// Set when orch ended the agent, or when both vanished together.
        ended_by_orch: Option<AttemptEnd>,
    },
    /// The attempt ended: what it left was read, or its agent never started. Its slot is free unless the session is
    /// asked again. Synced when it holds a candidate.
    Collected {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// How it ended.
        end: AttemptEnd,
        /// What its session used.
        usage: Box<Usage>,
        /// The commit of what it left.
        candidate: Option<ObjectId>,
        /// The usage limit that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<Box<LimitHit>>,
        /// What it told.
        #[serde(flatten)]
        told: Box<Told>,
        /// By what a candidate that may land was judged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<Box<Scope>>,
        /// What follows, decided by policy.
        next: Next,
    },
    /// A parked session will not go on; the next attempt starts from what it left. Its slot is free.
    SessionDropped {
        /// The task.
        task: TaskId,
    },
    /// The service has answered a running agent.
    Observed {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// How full the windows of its account are.
        windows: Vec<UsageWindow>,
    },
    /// A usage limit is in force.
    Limited {
        /// Whose.
        entitlement: String,
        /// Which.
        hit: LimitHit,
        /// When one task may probe.
        until: Wall,
        /// Probes that have met it.
        probes: u32,
        /// The task that a person wants tried first; none leaves it to whichever comes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<TaskId>,
    },
    /// A usage limit is over.
    LimitLifted {
        /// Whose.
        entitlement: String,
        /// Which.
        scope: LimitScope,
    },
    /// Nothing new starts, since the world outside the tasks seems broken.
    BreakerOpened {
        /// Why, in a line.
        cause: String,
        /// The end that opened it.
        ending: Ending,
        /// When one task may probe.
        until: Wall,
        /// Probes that failed since it was last closed.
        failed_probes: u32,
        /// The task that a person wants tried first; none leaves it to whichever comes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<TaskId>,
    },
    /// The world works again.
    BreakerClosed,
    /// The landing commit is about to be made.
    Building {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit of the task before it in the queue, on which it is built; the target's tip if none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<ObjectId>,
    },
    /// The candidate is not going to land (`no change`: the tip has it all already); what follows, decided by policy.
    NotLandable {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// Why.
        end: AttemptEnd,
        /// What follows.
        next: Next,
        /// Whether what follows first is a session that resolves its conflict.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        resolve: bool,
    },
    /// The landing commit is made, and conflicts in it were settled as a person had said beforehand.
    ConflictsAnswered {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
        /// How, by file.
        answers: Vec<Answered>,
    },
    /// The landing commit is made, and its gates are about to be asked.
    Verifying {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
        /// What it is made of, if a person is to be asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<Change>,
    },
    /// What the gates said of the landing commit's tree. What follows is the next record.
    Verified {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// What they said.
        result: Box<Verification>,
    },
    /// What the gates said of the target before any agent was paid. Attempts start only after one that passed, if the
    /// start of the run asks for it.
    Baselined {
        /// What they said.
        result: Box<Verification>,
    },
    /// What the smoke commands said of the target when the plan was through.
    Smoked(Box<Smoke>),
    /// A person is asked whether a task may start whose turn it would be.
    StartAsked {
        /// The task.
        task: TaskId,
    },
    /// The landing commit stands, and a person is asked whether it may land. The candidate waits in the landing queue.
    ApprovalAsked {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// What is to be approved.
        shown: Shown,
    },
    /// What a person approved is no longer what would land; it will be asked again.
    ApprovalLapsed {
        /// The task.
        task: TaskId,
    },
    /// Evidence from outside was looked for. Kept when something changed.
    EvidenceLooked {
        /// The task.
        task: TaskId,
        /// Whether it is there.
        found: bool,
        /// What the look said.
        said: String,
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
    /// The landing did not come about this time; the candidate is back in the landing queue.
    LandingMissed {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// Why.
        why: Miss,
        /// The earliest next try.
        at: Option<Wall>,
    },
    /// The target holds the commit. Synced, after the ref.
    Landed {
        /// Task, attempt, epoch.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// Whether a required verify command passed on exactly this tree.
        verified: bool,
        /// Which opening of the task it ends: 1, plus how often the task was reopened before. One that was written before
        /// this was recorded reads as the first.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        generation: u32,
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
        from: Option<RetryFrom>,
    },
    /// What was under way when an earlier orch died is ordered again; results of the old epoch are not heard.
    Superseded {
        /// Task, attempt, and the new epoch.
        ticket: Ticket,
    },
    /// A wait is over.
    WaitEnded {
        /// The task.
        task: TaskId,
    },
    /// Work that was in no candidate and reached by no ref was saved before its slot was used for anything else. Written
    /// after the ref.
    Salvaged {
        /// What, and where it is.
        salvage: Salvage,
    },
    /// Refs of orch's own are about to be removed, because nothing needs them any more.
    Discarded {
        /// Their full names.
        refs: Vec<RefName>,
        /// Whether the run's directory goes, too.
        directory: bool,
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
    /// A landing whose own records were lost with a damaged ledger: the target's history holds the commit, with the
    /// run's trailers.
    LandingFound {
        /// The task.
        task: TaskId,
        /// The attempt that it says it is of.
        attempt: u32,
        /// The landing commit.
        commit: ObjectId,
    },
    /// The ledger was damaged and some of the run's records are gone. The run is over: what it had under way is not
    /// known, and its other tasks begin anew in the next run.
    LedgerRebuilt {
        /// What is not known, a line each.
        lost: Vec<String>,
    },
}

fn first() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_first(generation: &u32) -> bool {
    *generation == 1
}

/// Why a landing did not come about this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// The target moved on since the landing commit was built.
    TipMoved,
    /// The target no longer contains what was landed.
    TargetRewritten,
    /// Something of a person's lies in the way of a checkout; the text says what, and what can be done about it.
    InTheWay(String),
    /// git or the disk refused; the text says how.
    Trouble(String),
    /// An earlier orch died before the target moved.
    Lost,
    /// Its gates could not be asked; the text says why.
    GatesBroken(String),
    /// Its gates were ended together with the agents.
    GatesEnded,
    /// The plan asks for other gates since.
    GatesChanged,
    /// What it was built on does not land.
    Unstacked,
    /// The signature of its approval does not hold; the text says why. The approval is asked again.
    Unapproved(String),
    /// Something spoke against it behind others that had not landed; the text says what. Nobody is blamed for that: it is
    /// built again with nothing before it.
    Suspected(String),
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
    MarkedDone {
        /// The commit that did it, if the person named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<ObjectId>,
    },
    /// Skipped by the plan's text or a person.
    Skipped,
    /// Left out by the selection of this run; counts as satisfied in it.
    LeftOut,
    /// Failed according to the plan's text.
    DeclaredFailed,
    /// Cancelled by a person.
    Cancelled,
    /// The task vanished from the plan while nothing was under way for it.
    Removed,
    /// A landing of this run was undone on the target.
    Reverted {
        /// The commit that undid it.
        commit: ObjectId,
    },
}

impl Record {
    /// What an attempt left, and what follows.
    pub fn collected(ticket: Ticket, left: Collected, next: Next) -> Self {
        Self::Collected {
            ticket,
            end: left.end,
            usage: Box::new(left.usage),
            candidate: left.candidate,
            limit: left.limit.map(Box::new),
            told: Box::new(Told {
                message: left.message,
                report: left.report,
                notes: left.notes,
                windows: left.windows,
                meanwhile: left.meanwhile,
            }),
            scope: left.scope,
            next,
        }
    }

    /// Whether what follows must wait until this record is safe on disk: the intent to spend money, a candidate, the
    /// intent to land, and the receipt of a landing. Everything else can be found again from the world.
    pub fn is_barrier(&self) -> bool {
        match self {
            Self::AttemptStarted { .. } | Self::LandingIntended { .. } | Self::Landed { .. } => {
                true
            }
            Self::AgentStarting { continues, .. } => continues.is_some(),
            Self::Collected { candidate, .. } => candidate.is_some(),
            Self::RunStarted(_)
            | Self::RunResumed { .. }
            | Self::PlanAccepted { .. }
            | Self::AgentEnded { .. }
            | Self::SessionDropped { .. }
            | Self::Observed { .. }
            | Self::Limited { .. }
            | Self::LimitLifted { .. }
            | Self::BreakerOpened { .. }
            | Self::BreakerClosed
            | Self::Resolving { .. }
            | Self::Building { .. }
            | Self::ConflictsAnswered { .. }
            | Self::Verifying { .. }
            | Self::Verified { .. }
            | Self::StartAsked { .. }
            | Self::ApprovalAsked { .. }
            | Self::ApprovalLapsed { .. }
            | Self::EvidenceLooked { .. }
            | Self::Baselined { .. }
            | Self::Smoked(_)
            | Self::NotLandable { .. }
            | Self::LandingMissed { .. }
            | Self::Settled { .. }
            | Self::Reopened { .. }
            | Self::Superseded { .. }
            | Self::WaitEnded { .. }
            | Self::Salvaged { .. }
            | Self::Discarded { .. }
            | Self::Controlled { .. }
            | Self::Stopping { .. }
            | Self::TargetRewritten { .. }
            | Self::RunFailed { .. }
            | Self::RunEnded { .. }
            | Self::LandingFound { .. }
            | Self::LedgerRebuilt { .. } => false,
        }
    }

    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::AttemptStarted { ticket, .. }
            | Self::AgentStarting { ticket, .. }
            | Self::AgentEnded { ticket, .. }
            | Self::Observed { ticket, .. }
            | Self::Collected { ticket, .. }
            | Self::Resolving { ticket, .. }
            | Self::Building { ticket, .. }
            | Self::ConflictsAnswered { ticket, .. }
            | Self::Verifying { ticket, .. }
            | Self::Verified { ticket, .. }
            | Self::ApprovalAsked { ticket, .. }
            | Self::NotLandable { ticket, .. }
            | Self::LandingIntended { ticket, .. }
            | Self::LandingMissed { ticket, .. }
            | Self::Landed { ticket, .. }
            | Self::Superseded { ticket } => Some(&ticket.task),
            Self::Settled { task, .. }
            | Self::Reopened { task, .. }
            | Self::StartAsked { task }
            | Self::ApprovalLapsed { task }
            | Self::EvidenceLooked { task, .. }
            | Self::WaitEnded { task }
            | Self::LandingFound { task, .. }
            | Self::SessionDropped { task } => Some(task),
            Self::Controlled { control, .. } => control.verb.task(),
            // It is about the task of that run, which may be another one.
            Self::Salvaged { .. } => None,
            Self::RunStarted(_)
            | Self::RunResumed { .. }
            | Self::PlanAccepted { .. }
            | Self::Discarded { .. }
            | Self::Baselined { .. }
            | Self::Smoked(_)
            | Self::Limited { .. }
            | Self::LimitLifted { .. }
            | Self::BreakerOpened { .. }
            | Self::BreakerClosed
            | Self::Stopping { .. }
            | Self::TargetRewritten { .. }
            | Self::RunFailed { .. }
            | Self::RunEnded { .. }
            | Self::LedgerRebuilt { .. } => None,
        }
    }
}

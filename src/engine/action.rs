//! What the engine orders. Every started action ends in exactly one event, also when it panics.

use super::conflict::Contested;
use super::ending::AttemptEnd;
use super::outcome::Outcome;
use super::usage::MicroUsd;
use crate::ids::{ObjectId, SlotId, TaskId, Ticket};

/// One order to the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bring a slot to its start and write the attempt directory. Repeatable. Answered by `Prepared`.
    Prepare {
        /// The order.
        ticket: Ticket,
        /// The leased slot.
        slot: SlotId,
        /// What to start from.
        start: StartFrom,
        /// How earlier attempts of the task ended, oldest first: evidence for the prompt.
        evidence: Vec<AttemptEnd>,
        /// The model that policy chose; none leaves it to the agent program.
        model: Option<String>,
        /// The most that the agent program may spend.
        cap: Option<MicroUsd>,
    },
    /// Run the agent, or follow one that runs. Answered by `Executed`.
    Execute {
        /// The order.
        ticket: Ticket,
        /// The leased slot.
        slot: SlotId,
        /// Fresh, adopted, continued or asked again.
        mode: ExecuteMode,
        /// The most that the agent program may spend from here on.
        cap: Option<MicroUsd>,
    },
    /// End the agent of a running `Execute`, or the set-up of a running `Prepare`, whose event then comes soon. No event
    /// of its own.
    EndAgent {
        /// The order to end.
        ticket: Ticket,
    },
    /// End what is left of the process tree, read what the attempt left, make the candidate. Answered by `Collected`.
    Collect {
        /// The order.
        ticket: Ticket,
        /// The leased slot.
        slot: SlotId,
        /// The base the attempt started on.
        base: ObjectId,
        /// Set when orch ended the agent, to say so instead of guessing from the exit.
        ended_by_orch: Option<AttemptEnd>,
        /// Whether the process that is collected was to be asked for the status.
        asked: bool,
        /// How many times the attempt had gone on with it. A process that never began has used nothing, and what those
        /// before it used is counted already.
        continued: u32,
    },
    /// Make the landing commit of a candidate. Answered by `Built`.
    Build {
        /// The order.
        ticket: Ticket,
        /// The landing commit of the task before it in the queue, to build on; the target's tip if none.
        behind: Option<ObjectId>,
        /// The base the attempt started on.
        base: ObjectId,
        /// The candidate. For a change of the plan's text alone its tree equals the base's.
        candidate: ObjectId,
    },
    /// Run the gates of a landing commit in a clean checkout of it. Repeatable. Answered by `Verified`.
    Verify {
        /// The order.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
        /// Whether others before it have yet to land: then it is not said whose fault a failure is.
        stacked: bool,
    },
    /// End the gates of a running `Verify`, whose event then comes soon. No event of its own.
    EndGates {
        /// The order to end.
        ticket: Ticket,
    },
    /// Run the gates of the tasks that are to be done on the untouched target, before any agent is paid. Answered by
    /// `Baselined`.
    Baseline,
    /// End the gates of a running `Baseline`. No event of its own.
    EndBaseline,
    /// Run the smoke commands on the target as it stands, at the last landing commit or beyond it. Answered by `Smoked`.
    Smoke {
        /// The last landing commit.
        tip: ObjectId,
    },
    /// End a running `Smoke`. No event of its own.
    EndSmoke,
    /// Move the target from `onto` to `commit` if it still stands there. Answered by `Landed`.
    Land {
        /// The order.
        ticket: Ticket,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
    },
    /// Look once whether the evidence that a task needs is there. Answered by `EvidenceLooked`.
    LookForEvidence {
        /// The task.
        task: TaskId,
    },
    /// Write settled fields into a plan that is not part of the target. Answered by `PlanWritten`.
    WritePlan,
    /// Bring the user's checkout up to the target where that is safe. Answered by `Published`.
    Publish,
    /// The run has ended.
    Finish {
        /// How.
        outcome: Outcome,
    },
}

/// What an attempt starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// The target's tip.
    Tip,
    /// The files of an earlier attempt's candidate, on that candidate's base or newer.
    Candidate(ObjectId),
    /// The merge of an earlier attempt's candidate with the target's tip, with its conflicts, to resolve these and do
    /// nothing else. Where there are none any more, it is as [`StartFrom::Candidate`].
    Conflict(Box<Contested>),
}

/// How an agent is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecuteMode {
    /// A fresh session.
    Fresh,
    /// Follow the one that an earlier orch started.
    Adopt,
    /// Resume the ended session once, only to ask for the missing status.
    AskStatus,
    /// Resume the session that was cut off, in its slot, to go on with its work.
    Continue {
        /// How many times the attempt has gone on, with this one.
        number: u32,
    },
}

impl Action {
    /// The task it works for, if it is about one.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Prepare { ticket, .. }
            | Self::Execute { ticket, .. }
            | Self::EndAgent { ticket }
            | Self::Collect { ticket, .. }
            | Self::Build { ticket, .. }
            | Self::Verify { ticket, .. }
            | Self::EndGates { ticket }
            | Self::Land { ticket, .. } => Some(&ticket.task),
            Self::LookForEvidence { task } => Some(task),
            Self::Baseline
            | Self::EndBaseline
            | Self::Smoke { .. }
            | Self::EndSmoke
            | Self::WritePlan
            | Self::Publish
            | Self::Finish { .. } => None,
        }
    }
}

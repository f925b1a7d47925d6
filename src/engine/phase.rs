//! Where a task of a run stands, and how it settled.

use super::approval::Change;
use super::ending::AttemptEnd;
use super::record::Settlement;
use crate::ids::{ObjectId, SlotId};
use crate::plan::graph::Declared;
use crate::time::{Now, Wall};

/// Where a task stands. Other gates (review, approval) will stand beside `Verifying`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is under way.
    Open {
        /// The next attempt starts only after it.
        pause: Option<Pause>,
    },
    /// The slot is being brought to its start.
    Preparing {
        /// The leased slot.
        slot: SlotId,
    },
    /// The agent runs.
    Executing {
        /// The leased slot.
        slot: SlotId,
        /// The commit the attempt started on.
        base: ObjectId,
        /// Whether it is only asked for its status.
        asked: bool,
    },
    /// Its session was cut off, and goes on in its slot when it may.
    Parked {
        /// The leased slot.
        slot: SlotId,
        /// The commit the attempt started on.
        base: ObjectId,
        /// The commit of what it has left so far.
        candidate: Option<ObjectId>,
    },
    /// What the agent left is being read.
    Collecting {
        /// The leased slot.
        slot: SlotId,
        /// The commit the attempt started on.
        base: ObjectId,
        /// Whether the session was asked for its status already.
        asked: bool,
        /// Set when orch ended the agent.
        ended_by_orch: Option<AttemptEnd>,
    },
    /// In the landing queue.
    Queued {
        /// What is to land.
        work: Work,
        /// The next try comes only after it.
        pause: Option<Pause>,
        /// What a person must clear away first. It is tried again as long as the run does other things, and not waited
        /// for.
        in_the_way: Option<String>,
    },
    /// The landing commit is being made.
    Building {
        /// What is to land.
        work: Work,
        /// Its place in the queue.
        place: Place,
    },
    /// The gates of the landing commit are asked.
    Verifying {
        /// What is to land.
        work: Work,
        /// Its place in the queue.
        place: Place,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
        /// What it is made of, if a person is to be asked.
        change: Option<Box<Change>>,
    },
    /// Nothing speaks against the landing; those before it have yet to land.
    Judged {
        /// What is to land.
        work: Work,
        /// Its place in the queue.
        place: Place,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
        /// Whether a required gate vouches for its tree.
        verified: bool,
        /// What it is made of, if a person is to be asked.
        change: Option<Box<Change>>,
    },
    /// The target is being moved.
    Landing {
        /// What is to land.
        work: Work,
        /// Its place in the queue.
        place: Place,
        /// The landing commit.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
        /// Whether a required gate vouches for its tree.
        verified: bool,
    },
    /// Over, unless somebody reopens it.
    Settled(Settled),
}

/// What an attempt made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    pub base: ObjectId,
    pub candidate: ObjectId,
}

/// A place in the landing queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Greater than that of every task before it.
    pub number: u32,
    /// The landing commit of the task before it, on which its own is built; none if it is built on the target's tip.
    pub behind: Option<ObjectId>,
}

/// How a task settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// Its commit is on the target.
    Landed { commit: ObjectId, verified: bool },
    /// It is done and changed nothing, or its text is stored.
    Unchanged,
    /// Done, says the plan's text.
    Believed,
    /// Done by an earlier run.
    LandedBefore { commit: ObjectId },
    /// Done, says a person.
    MarkedDone { commit: Option<ObjectId> },
    /// Not to be done.
    Skipped,
    /// No attempts are left.
    Failed,
    /// Failed, says the plan's text.
    DeclaredFailed,
    /// A person called it off.
    Cancelled,
    /// No longer in the plan.
    Removed,
    /// It had landed, and that was undone.
    Reverted { commit: ObjectId },
}

impl Settled {
    /// What orch writes of it into the plan.
    pub(super) fn written(&self) -> Declared {
        match self {
            Self::Landed { .. }
            | Self::Unchanged
            | Self::Believed
            | Self::LandedBefore { .. }
            | Self::MarkedDone { .. } => Declared::Completed,
            Self::Skipped => Declared::Skipped,
            Self::Failed | Self::DeclaredFailed => Declared::Failed,
            Self::Cancelled | Self::Removed | Self::Reverted { .. } => Declared::Pending,
        }
    }
}

/// What a person wants a task settled as that is still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closing {
    Cancel,
    Skip,
    MarkDone { commit: Option<ObjectId> },
}

/// A wait with an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    pub since: Wall,
    pub until: Wall,
}

impl Pause {
    /// Whether it is over. A clock set back to before its beginning ends it too: no wait may grow by that.
    pub(super) fn is_over(self, now: Now) -> bool {
        now.wall >= self.until || now.wall < self.since
    }
}

impl Closing {
    pub(super) fn settlement(&self) -> Settlement {
        match self {
            Self::Cancel => Settlement::Cancelled,
            Self::Skip => Settlement::Skipped,
            Self::MarkDone { commit } => Settlement::MarkedDone {
                commit: commit.clone(),
            },
        }
    }

    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Skip => "skipped",
            Self::MarkDone { .. } => "marked as done",
        }
    }
}

impl Settled {
    /// Whether tasks that need this one may start.
    pub(super) fn satisfies(&self) -> bool {
        match self {
            Self::Landed { .. }
            | Self::Unchanged
            | Self::Believed
            | Self::LandedBefore { .. }
            | Self::MarkedDone { .. }
            | Self::Skipped
            | Self::Removed => true,
            Self::Failed | Self::DeclaredFailed | Self::Cancelled | Self::Reverted { .. } => false,
        }
    }
}

impl Phase {
    /// The slot it leases.
    pub(super) fn slot(&self) -> Option<SlotId> {
        match self {
            Self::Preparing { slot }
            | Self::Executing { slot, .. }
            | Self::Parked { slot, .. }
            | Self::Collecting { slot, .. } => Some(*slot),
            Self::Open { .. }
            | Self::Queued { .. }
            | Self::Building { .. }
            | Self::Verifying { .. }
            | Self::Judged { .. }
            | Self::Landing { .. }
            | Self::Settled(_) => None,
        }
    }

    /// What is on its way to the target.
    pub(super) fn work(&self) -> Option<&Work> {
        match self {
            Self::Queued { work, .. }
            | Self::Building { work, .. }
            | Self::Verifying { work, .. }
            | Self::Judged { work, .. }
            | Self::Landing { work, .. } => Some(work),
            Self::Open { .. }
            | Self::Preparing { .. }
            | Self::Executing { .. }
            | Self::Parked { .. }
            | Self::Collecting { .. }
            | Self::Settled(_) => None,
        }
    }

    /// Its place in the landing queue, once it is built or being built.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Building { place, .. }
            | Self::Verifying { place, .. }
            | Self::Judged { place, .. }
            | Self::Landing { place, .. } => Some(place),
            Self::Open { .. }
            | Self::Preparing { .. }
            | Self::Executing { .. }
            | Self::Parked { .. }
            | Self::Collecting { .. }
            | Self::Queued { .. }
            | Self::Settled(_) => None,
        }
    }

    /// The landing commit, once it is made.
    pub(super) fn landing_commit(&self) -> Option<&ObjectId> {
        match self {
            Self::Verifying { commit, .. }
            | Self::Judged { commit, .. }
            | Self::Landing { commit, .. } => Some(commit),
            Self::Open { .. }
            | Self::Preparing { .. }
            | Self::Executing { .. }
            | Self::Parked { .. }
            | Self::Collecting { .. }
            | Self::Queued { .. }
            | Self::Building { .. }
            | Self::Settled(_) => None,
        }
    }

    /// Whether an order of the task is being carried out.
    pub(super) fn is_ordered(&self) -> bool {
        match self {
            Self::Preparing { .. }
            | Self::Executing { .. }
            | Self::Collecting { .. }
            | Self::Building { .. }
            | Self::Verifying { .. }
            | Self::Landing { .. } => true,
            Self::Open { .. }
            | Self::Parked { .. }
            | Self::Queued { .. }
            | Self::Judged { .. }
            | Self::Settled(_) => false,
        }
    }

    /// Whether an agent runs, or what it needs is being made or what it left read: what the number of jobs limits.
    pub(super) fn is_running(&self) -> bool {
        self.slot().is_some() && !matches!(self, Self::Parked { .. })
    }

    /// Whether an attempt of the task has begun and its work is neither landed nor given up: as long as that holds,
    /// tasks with a common resource or overlapping files stay out.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_ordered()
            || matches!(
                self,
                Self::Parked { .. } | Self::Queued { .. } | Self::Judged { .. }
            )
    }

    /// What a person must clear away before its commit can land.
    pub(super) fn in_the_way(&self) -> Option<&str> {
        match self {
            Self::Queued { in_the_way, .. } => in_the_way.as_deref(),
            Self::Open { .. }
            | Self::Preparing { .. }
            | Self::Executing { .. }
            | Self::Parked { .. }
            | Self::Collecting { .. }
            | Self::Building { .. }
            | Self::Verifying { .. }
            | Self::Judged { .. }
            | Self::Landing { .. }
            | Self::Settled(_) => None,
        }
    }

    /// In words, for people and for errors.
    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Self::Open { pause: None } => "open",
            Self::Open { pause: Some(_) } => "waiting",
            Self::Preparing { .. } => "preparing",
            Self::Executing { .. } => "executing",
            Self::Parked { .. } => "waiting in its slot",
            Self::Collecting { .. } => "collecting",
            Self::Queued { .. } => "queued for landing",
            Self::Building { .. } => "building",
            Self::Verifying { .. } => "being verified",
            Self::Judged { .. } => "verified and next to land",
            Self::Landing { .. } => "landing",
            Self::Settled(settled) => match settled {
                Settled::Landed { .. } => "landed",
                Settled::Unchanged => "completed without a change",
                Settled::Believed => "completed according to the plan",
                Settled::LandedBefore { .. } => "landed by an earlier run",
                Settled::MarkedDone { .. } => "marked as done",
                Settled::Skipped => "skipped",
                Settled::Failed => "failed",
                Settled::DeclaredFailed => "failed according to the plan",
                Settled::Cancelled => "cancelled",
                Settled::Removed => "removed from the plan",
                Settled::Reverted { .. } => "reverted",
            },
        }
    }
}

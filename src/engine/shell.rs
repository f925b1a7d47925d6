//! What the shell was told since this process began: errands that belong to no attempt, and whether anybody carries
//! out orders at all.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Action;
use super::next::Next;
use super::record::Record;
use crate::ids::{TaskId, Ticket};
use crate::time::Wall;

/// What the shell was told since this process began. Not part of the state: errands may be run twice, and a new process
/// begins with all of them still to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shell {
    /// Whether anybody carries out orders.
    pub attached: bool,
    /// Writing settled fields into the plan.
    pub plan: Errand,
    /// Publishing the target to the user's checkout.
    pub publication: Errand,
    /// Looks for evidence.
    pub looks: Looks,
    /// Asking the gates about the untouched target.
    pub baseline: Errand,
    /// Asking the smoke commands about what has landed.
    pub smoke: Errand,
    /// Whether they were ended without an answer.
    pub smoke_was_ended: bool,
    /// Orders to verify that were told to end because what they verify will not land.
    pub recalled: BTreeSet<Ticket>,
}

/// Where an errand stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Due,
    Ordered,
    /// Ordered, and due again since.
    Outdated,
    Done,
}

/// Looks for evidence, by task.
pub(super) type Looks = BTreeMap<TaskId, Look>;

/// Where a look for evidence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Ordered,
    Done(Wall),
}

impl Errand {
    fn is_due_again(&mut self) {
        *self = match self {
            Self::Due | Self::Done => Self::Due,
            Self::Ordered | Self::Outdated => Self::Outdated,
        };
    }

    /// Orders it if it is due; whether it was.
    pub(super) fn order(&mut self) -> bool {
        let due = *self == Self::Due;
        if due {
            *self = Self::Ordered;
        }
        due
    }

    /// Whether an answer is to come.
    pub(super) fn is_under_way(self) -> bool {
        matches!(self, Self::Ordered | Self::Outdated)
    }

    /// Hears that it was run; whether that was expected.
    pub(super) fn is_done_once(&mut self) -> bool {
        let (next, expected) = match self {
            Self::Ordered => (Self::Done, true),
            Self::Outdated => (Self::Due, true),
            Self::Due | Self::Done => (*self, false),
        };
        *self = next;
        expected
    }
}

impl Shell {
    pub(super) fn attached() -> Self {
        Self {
            attached: true,
            plan: Errand::Due,
            publication: Errand::Due,
            looks: Looks::new(),
            baseline: Errand::Due,
            smoke: Errand::Due,
            smoke_was_ended: false,
            recalled: BTreeSet::new(),
        }
    }

    pub(super) fn detached() -> Self {
        Self {
            attached: false,
            ..Self::attached()
        }
    }

    /// Sees which errands a record makes due.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Landed { .. } => {
                self.plan.is_due_again();
                self.publication.is_due_again();
                self.smoke.is_due_again();
            }
            Record::Settled { .. } | Record::Reopened { .. } => self.plan.is_due_again(),
            Record::Collected { next, .. } | Record::NotLandable { next, .. } => match next {
                Next::Complete | Next::Fail { .. } => self.plan.is_due_again(),
                Next::Land
                | Next::AskStatus
                | Next::Continue { .. }
                | Next::Retry { .. }
                | Next::Nothing => {}
            },
            Record::RunStarted(_)
            | Record::RunResumed { .. }
            | Record::PlanAccepted { .. }
            | Record::AttemptStarted { .. }
            | Record::AgentStarting { .. }
            | Record::AgentEnded { .. }
            | Record::SessionDropped { .. }
            | Record::Observed { .. }
            | Record::Limited { .. }
            | Record::LimitLifted { .. }
            | Record::BreakerOpened { .. }
            | Record::BreakerClosed
            | Record::Building { .. }
            | Record::ConflictsAnswered { .. }
            | Record::Resolving { .. }
            | Record::Verifying { .. }
            | Record::Verified { .. }
            | Record::StartAsked { .. }
            | Record::ApprovalAsked { .. }
            | Record::ApprovalLapsed { .. }
            | Record::EvidenceLooked { .. }
            | Record::Baselined { .. }
            | Record::Smoked(_)
            | Record::LandingIntended { .. }
            | Record::LandingMissed { .. }
            | Record::Superseded { .. }
            | Record::WaitEnded { .. }
            | Record::Salvaged { .. }
            | Record::Discarded { .. }
            | Record::Controlled { .. }
            | Record::Stopping { .. }
            | Record::TargetRewritten { .. }
            | Record::RunFailed { .. }
            | Record::RunEnded { .. }
            | Record::LandingFound { .. }
            | Record::LedgerRebuilt { .. } => {}
        }
    }

    /// The order that ends the gates which are asked about the untouched target, if they are.
    pub(super) fn end_baseline(&self) -> Option<Action> {
        (self.baseline == Errand::Ordered).then_some(Action::EndBaseline)
    }

    /// The order that ends the smoke commands, if they are asked.
    pub(super) fn end_smoke(&self) -> Option<Action> {
        self.smoke.is_under_way().then_some(Action::EndSmoke)
    }
}

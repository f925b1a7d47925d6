//! What the shell is told to do: the orders that follow from a record, and the two errands that belong to no task.

use std::collections::BTreeSet;

use super::Turn;
use super::action::{Action, ExecuteMode};
use super::consent::Looks;
use super::event::{StopLevel, Verb};
use super::phase::Phase;
use super::record::{Next, Record};
use super::task::Task;
use crate::ids::Ticket;

/// What the shell was told since this process began. Not part of the state: both errands may be run twice, and a new
/// process begins with both still to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shell {
    /// Whether anybody carries out orders.
    pub attached: bool,
    /// Writing settled fields into the plan.
    pub plan: Errand,
    /// Publishing the target to the user's checkout.
    pub publication: Errand,
    /// Looking for evidence.
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
            looks: Looks::default(),
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
}

impl Shell {
    /// The order that ends the gates which are asked about the untouched target, if they are.
    fn end_baseline(&self) -> Option<Action> {
        (self.baseline == Errand::Ordered).then_some(Action::EndBaseline)
    }

    /// The order that ends the smoke commands, if they are asked.
    fn end_smoke(&self) -> Option<Action> {
        self.smoke.is_under_way().then_some(Action::EndSmoke)
    }
}

impl Turn<'_> {
    /// Gives out what a record orders; the state has followed it already.
    pub(super) fn order(&mut self, record: &Record) {
        let state = &*self.state;
        let task_of = |ticket: &Ticket| state.get(&ticket.task).map(|(_, task)| task);
        let actions = &mut self.effects.actions;
        match record {
            Record::AttemptStarted { ticket, .. }
            | Record::AgentEnded { ticket, .. }
            | Record::Building { ticket, .. }
            | Record::Verifying { ticket, .. }
            | Record::LandingIntended { ticket, .. } => {
                actions.extend(task_of(ticket).and_then(|task| order_of(task, ExecuteMode::Fresh)));
            }
            Record::AgentStarting {
                ticket,
                asks_status,
                continues,
                ..
            } => {
                let Some(task) = task_of(ticket) else { return };
                let mode = match (asks_status, continues) {
                    (true, _) => ExecuteMode::AskStatus,
                    (false, None) => ExecuteMode::Fresh,
                    (false, Some(_)) => ExecuteMode::Continue {
                        number: task.continued,
                    },
                };
                actions.extend(order_of(task, mode));
            }
            Record::Superseded { ticket } => {
                let Some(task) = task_of(ticket) else { return };
                actions.extend(order_of(task, ExecuteMode::Adopt));
                if task.closing.is_some() || state.ends_agents() {
                    actions.extend(end_of(task));
                }
            }
            Record::Stopping {
                level: StopLevel::EndAgents,
                ..
            } => {
                actions.extend(state.tasks.iter().filter_map(end_of));
                actions.extend(self.shell.end_baseline());
                actions.extend(self.shell.end_smoke());
            }
            // Nothing starts any more that the baseline could be asked for; smoke is asked again by the next start.
            Record::Stopping { .. } => {
                actions.extend(self.shell.end_baseline());
                actions.extend(self.shell.end_smoke());
            }
            Record::Controlled {
                control,
                refused: None,
            } => match &control.verb {
                Verb::Cancel { task } | Verb::Skip { task } | Verb::MarkDone { task, .. } => {
                    actions.extend(state.get(task).and_then(|(_, task)| end_of(task)));
                }
                Verb::Stop { .. }
                | Verb::Hold { .. }
                | Verb::Release { .. }
                | Verb::Retry { .. }
                | Verb::RetryFailed
                | Verb::Approve { .. }
                | Verb::Reject { .. }
                | Verb::Priority { .. }
                | Verb::Jobs { .. }
                | Verb::Pause
                | Verb::Resume => {}
            },
            Record::RunFailed { .. } if state.is_overdue() => {
                actions.extend(state.tasks.iter().filter_map(end_of));
                actions.extend(self.shell.end_smoke());
            }
            Record::RunEnded { outcome } => actions.push(Action::Finish { outcome: *outcome }),
            Record::RunStarted(_)
            | Record::RunResumed { .. }
            | Record::PlanAccepted { .. }
            | Record::Collected { .. }
            | Record::ConflictsAnswered { .. }
            | Record::Resolving { .. }
            | Record::Verified { .. }
            | Record::StartAsked { .. }
            | Record::ApprovalAsked { .. }
            | Record::ApprovalLapsed { .. }
            | Record::EvidenceLooked { .. }
            | Record::Baselined { .. }
            | Record::Smoked(_)
            | Record::SessionDropped { .. }
            | Record::Observed { .. }
            | Record::Limited { .. }
            | Record::LimitLifted { .. }
            | Record::BreakerOpened { .. }
            | Record::BreakerClosed
            | Record::NotLandable { .. }
            | Record::LandingMissed { .. }
            | Record::Landed { .. }
            | Record::Settled { .. }
            | Record::Reopened { .. }
            | Record::WaitEnded { .. }
            | Record::Salvaged { .. }
            | Record::Discarded { .. }
            | Record::Controlled {
                refused: Some(_), ..
            }
            | Record::TargetRewritten { .. }
            | Record::RunFailed { .. }
            | Record::LandingFound { .. }
            | Record::LedgerRebuilt { .. } => {}
        }
    }
}

/// The order that carries out the phase of a task.
fn order_of(task: &Task, mode: ExecuteMode) -> Option<Action> {
    let ticket = task.ticket();
    match &task.phase {
        Phase::Preparing { slot } => Some(Action::Prepare {
            ticket,
            slot: *slot,
            start: task.start.clone(),
            evidence: task.past().evidence.clone(),
            model: task.past().model.clone(),
            cap: task.past().grant.cap,
        }),
        Phase::Executing { slot, .. } => Some(Action::Execute {
            ticket,
            slot: *slot,
            mode,
            cap: task.past().grant.cap,
        }),
        Phase::Collecting {
            slot,
            base,
            ended_by_orch,
            asked,
            ..
        } => Some(Action::Collect {
            ticket,
            slot: *slot,
            base: base.clone(),
            ended_by_orch: ended_by_orch.clone(),
            asked: *asked,
            continued: task.continued,
        }),
        Phase::Building { work, place } => Some(Action::Build {
            ticket,
            behind: place.behind.clone(),
            base: work.base.clone(),
            candidate: work.candidate.clone(),
        }),
        Phase::Verifying {
            commit,
            onto,
            place,
            ..
        } => Some(Action::Verify {
            ticket,
            commit: commit.clone(),
            onto: onto.clone(),
            stacked: place.behind.is_some(),
        }),
        Phase::Landing { commit, onto, .. } => Some(Action::Land {
            ticket,
            commit: commit.clone(),
            onto: onto.clone(),
        }),
        Phase::Open { .. }
        | Phase::Parked { .. }
        | Phase::Queued { .. }
        | Phase::Judged { .. }
        | Phase::Settled(_) => None,
    }
}

/// The order that ends the agent of a task, the set-up of its slot or what runs for it in a gate slot, if this process
/// lets one run.
fn end_of(task: &Task) -> Option<Action> {
    // A person's command may be making a file anew for a landing commit.
    let may_ask = matches!(task.phase, Phase::Building { .. } | Phase::Verifying { .. });
    if may_ask && !task.lost {
        return Some(Action::EndGates {
            ticket: task.ticket(),
        });
    }
    let under_shim = matches!(
        task.phase,
        Phase::Preparing { .. } | Phase::Executing { .. }
    );
    let runs = under_shim && !task.lost;
    runs.then(|| Action::EndAgent {
        ticket: task.ticket(),
    })
}

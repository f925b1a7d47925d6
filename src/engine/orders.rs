//! The orders that follow from a record.

use super::action::{Action, ExecuteMode};
use super::event::{StopLevel, Verb};
use super::phase::Phase;
use super::record::Record;
use super::shell::Shell;
use super::state::State;
use super::task::Task;
use crate::ids::Ticket;

/// What a record orders; the state has followed it already.
pub(super) fn ordered_by(record: &Record, state: &State, shell: &Shell) -> Vec<Action> {
    let task_of = |ticket: &Ticket| state.get(&ticket.task).map(|(_, task)| task);
    let mut actions = Vec::new();
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
            let Some(task) = task_of(ticket) else {
                return actions;
            };
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
            let Some(task) = task_of(ticket) else {
                return actions;
            };
            actions.extend(order_of(task, ExecuteMode::Adopt));
            if task.past().closing.is_some() || state.ends_agents() {
                actions.extend(end_of(task));
            }
        }
        Record::Stopping {
            level: StopLevel::EndAgents,
            ..
        } => {
            actions.extend(state.tasks.iter().filter_map(end_of));
            actions.extend(shell.end_baseline());
            actions.extend(shell.end_smoke());
        }
        // Nothing starts any more that the baseline could be asked for; smoke is asked again by the next start.
        Record::Stopping { .. } => {
            actions.extend(shell.end_baseline());
            actions.extend(shell.end_smoke());
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
            actions.extend(shell.end_smoke());
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
    actions
}

/// The order that carries out the phase of a task.
fn order_of(task: &Task, mode: ExecuteMode) -> Option<Action> {
    let ticket = task.ticket();
    match &task.phase {
        Phase::Preparing { slot } => Some(Action::Prepare {
            ticket,
            slot: *slot,
            start: task.past().start.clone(),
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

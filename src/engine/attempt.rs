//! Decisions on the results of an attempt: its slot is prepared, its agent ended, what it left was read.

use super::action::StartFrom;
use super::after::{self, Fate, Leaves};
use super::budget::Amount;
use super::conflict::Resolving;
use super::ending::{AttemptEnd, Ending};
use super::event::{Collected, Unprepared};
use super::next::Next;
use super::outcome::Outcome;
use super::phase::Phase;
use super::record::Record;
use super::salvage::Salvage;
use super::task::Task;
use super::turn::Turn;
use super::usage::Usage;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::graph::RetryFrom;

impl Turn<'_> {
    pub(super) fn prepared(
        &mut self,
        ticket: &Ticket,
        saved: Vec<Salvage>,
        resolving: Option<Box<Resolving>>,
        result: Result<ObjectId, Unprepared>,
    ) -> bool {
        let is_preparing = |task: &&Task| matches!(task.phase, Phase::Preparing { .. });
        if self.awaited(ticket).filter(is_preparing).is_none() {
            return false;
        }
        for salvage in saved {
            self.record(Record::Salvaged { salvage });
        }
        let result = match result {
            Ok(base) => Ok(base),
            Err(Unprepared::Ended(end)) => Err(end),
            Err(Unprepared::Unapproved(why)) => {
                let detail = format!("the approval of its start does not hold: {why}");
                let end = AttemptEnd::new(Ending::Interrupted, detail);
                self.end_unstarted(ticket, &end, true);
                let task = ticket.task.clone();
                self.record(Record::ApprovalLapsed { task });
                return true;
            }
            Err(Unprepared::Rewritten(found)) => {
                let detail =
                    "the target no longer holds what was landed, so that nothing starts on it";
                let end = AttemptEnd::new(Ending::Interrupted, detail);
                self.end_unstarted(ticket, &end, true);
                self.target_rewritten(found);
                return true;
            }
        };
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        match result {
            Ok(base) if !self.state.is_halting() && task.past().closing.is_none() => {
                let asked = matches!(task.past().start, StartFrom::Conflict(_));
                if let Some(resolving) = resolving.filter(|_| asked) {
                    let ticket = ticket.clone();
                    self.record(Record::Resolving { ticket, resolving });
                }
                let Some((_, task)) = self.state.get(&ticket.task) else {
                    return false;
                };
                let ticket = task.next_order();
                self.record(Record::AgentStarting {
                    ticket,
                    base,
                    asks_status: false,
                    continues: None,
                });
            }
            Ok(_) => {
                let end = self.demanded_end(ticket).unwrap_or_else(|| {
                    AttemptEnd::new(
                        Ending::Interrupted,
                        "the run stopped before the agent had started",
                    )
                });
                self.end_unstarted(ticket, &end, true);
            }
            // A set-up that was ended on demand has not failed.
            Err(end) if end.ending == Ending::Interrupted => {
                let demanded = self.demanded_end(ticket);
                let is_demanded = demanded.is_some();
                self.end_unstarted(ticket, &demanded.unwrap_or(end), is_demanded);
            }
            // Whatever the shell says, work that was never begun is not done.
            Err(end) if end.ending.row().is_done() => {
                let end = AttemptEnd::new(Ending::Environment, end.detail);
                self.end_unstarted(ticket, &end, false);
            }
            Err(end) => self.end_unstarted(ticket, &end, false),
        }
        true
    }

    pub(super) fn executed(&mut self, ticket: &Ticket) -> bool {
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        if !matches!(task.phase, Phase::Executing { .. }) {
            return false;
        }
        self.agent_ended(&ticket.task, None);
        true
    }

    /// Goes on to read what an agent left that ended by itself, by orders, or as `vanished`.
    pub(super) fn agent_ended(&mut self, id: &TaskId, vanished: Option<AttemptEnd>) {
        let Some((_, task)) = self.state.get(id) else {
            return;
        };
        let ended_by_orch = vanished.or_else(|| self.demanded_end(&task.ticket()));
        let ticket = task.next_order();
        self.record(Record::AgentEnded {
            ticket,
            ended_by_orch,
        });
    }

    pub(super) fn collected(&mut self, ticket: &Ticket, left: Collected) -> bool {
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        let Phase::Collecting {
            asked,
            ended_by_orch,
            base,
            ..
        } = &task.phase
        else {
            return false;
        };
        let base = base.clone();
        let demanded = ended_by_orch
            .as_ref()
            .is_some_and(|end| end.ending == Ending::Interrupted);
        let end = after::judged_end(task, &left);
        let charged = Amount::charge(&left.usage, task.past().grant.reserved);
        let spent = task.past().attempt_charged.plus(charged);
        let may_ask = end.ending == Ending::NoStatus
            && left.can_ask
            && !asked
            && !demanded
            && !self.state.ends_agents()
            && task.past().grant.after(charged).is_some()
            && self.state.policy.budgets.may_go_on(spent);
        let may_continue = left.can_continue
            && !asked
            && task.in_plan
            && !self.state.is_halting()
            && self.state.policy.budgets.may_go_on(spent);
        let leaves = match left.candidate {
            Some(_) => Leaves::Candidate,
            None => Leaves::Nothing,
        };
        let fate = Fate {
            leaves,
            demanded,
            may_continue,
        };
        let next = match &task.past().closing {
            Some(_) => Next::Nothing,
            None if may_ask => Next::AskStatus,
            None => after::next(self.state, task, end.ending, fate, self.now),
        };
        let probes = self.probes(&ticket.task);
        let hit = left.limit.clone();
        let left = Collected {
            end: end.clone(),
            ..left
        };
        self.record(Record::collected(ticket.clone(), left, next));
        if next == Next::AskStatus {
            let ticket = Ticket {
                epoch: ticket.epoch + 1,
                ..ticket.clone()
            };
            self.record(Record::AgentStarting {
                ticket,
                base,
                asks_status: true,
                continues: None,
            });
        } else {
            self.after_end(&ticket.task, &end, hit, probes);
        }
        true
    }

    /// Ends an attempt whose agent never started.
    fn end_unstarted(&mut self, ticket: &Ticket, end: &AttemptEnd, demanded: bool) {
        let Some((_, task)) = self.state.get(&ticket.task) else {
            return;
        };
        let from = match task.past().start {
            StartFrom::Tip => RetryFrom::Base,
            StartFrom::Candidate(_) | StartFrom::Conflict(_) => RetryFrom::Candidate,
        };
        let next = match &task.past().closing {
            Some(_) => Next::Nothing,
            None => {
                let fate = Fate {
                    leaves: Leaves::AsBefore(from),
                    demanded,
                    may_continue: false,
                };
                after::next(self.state, task, end.ending, fate, self.now)
            }
        };
        let probes = self.probes(&ticket.task);
        let left = Collected::nothing(end.clone(), Usage::default());
        self.record(Record::collected(ticket.clone(), left, next));
        self.after_unstarted(end, &probes);
    }

    /// Nothing new starts any more; what runs may finish.
    pub(super) fn run_failed(&mut self, outcome: Outcome, detail: String) {
        if self.state.failed.is_none() {
            self.record(Record::RunFailed { outcome, detail });
        }
    }

    /// The run ends here and now; what is under way is left to the next orch's recovery.
    pub(super) fn give_up(&mut self, outcome: Outcome, detail: String) -> bool {
        self.record(Record::RunFailed { outcome, detail });
        self.record(Record::RunEnded { outcome });
        true
    }

    /// The task, if the ticket is its order in force and this process gave it.
    pub(super) fn awaited(&self, ticket: &Ticket) -> Option<&Task> {
        let (_, task) = self.state.get(&ticket.task)?;
        (!task.lost && task.phase.is_ordered() && task.ticket() == *ticket).then_some(task)
    }

    /// The end that a person or the stop asked for, if one did.
    fn demanded_end(&self, ticket: &Ticket) -> Option<AttemptEnd> {
        let (_, task) = self.state.get(&ticket.task)?;
        let detail = match &task.past().closing {
            Some(closing) => format!("the task was {} while it ran", closing.in_words()),
            None if self.state.is_overdue() => "the run had taken its longest time".to_owned(),
            None if self.state.ends_agents() => "the run was stopped".to_owned(),
            None => return None,
        };
        Some(AttemptEnd::new(Ending::Interrupted, detail))
    }
}

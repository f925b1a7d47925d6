//! The book of sessions that resolve conflicts: nobody's attempt at a task, judged by everybody's gates.

use std::collections::{BTreeMap, BTreeSet};

use orch::engine::ending::Ending;
use orch::engine::event::PlanRevision;
use orch::engine::next::{Charge, Next};
use orch::engine::record::{Record, Stamped};
use orch::ids::{ObjectId, TaskId, Ticket};
use orch::plan::graph::Gates;

use super::{Verdict, law};

#[derive(Default)]
pub(super) struct Resolvers {
    gates: BTreeMap<TaskId, Gates>,
    /// The newest candidate of each task.
    candidates: BTreeMap<TaskId, ObjectId>,
    /// The conflicts that may be resolved: the candidate, and the attempt that left it.
    due: BTreeMap<TaskId, (ObjectId, u32)>,
    /// The attempts that resolve, with the tasks whose gates judge what comes of it.
    now: BTreeMap<TaskId, (u32, Vec<TaskId>)>,
    vouched: BTreeSet<ObjectId>,
}

impl Resolvers {
    pub(super) fn follow(&mut self, stamped: &Stamped) -> Verdict {
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.take_over(&start.revision);
            }
            Record::PlanAccepted { revision } => self.take_over(revision),
            Record::AttemptStarted { ticket, .. } => {
                self.now.remove(&ticket.task);
            }
            Record::AgentStarting { ticket, .. } if !self.resolves(ticket) => {
                self.due.remove(&ticket.task);
            }
            Record::Resolving { ticket, resolving } => {
                let due = self.due.get(&ticket.task);
                let what = (resolving.candidate.clone(), resolving.attempt);
                law(due == Some(&what), || {
                    format!("{ticket} resolves what is no conflict of it: {due:?}")
                })?;
                let with = resolving.with.clone();
                self.now.insert(ticket.task.clone(), (ticket.attempt, with));
            }
            Record::Collected {
                ticket,
                end,
                next,
                candidate,
                ..
            } => {
                self.ended(ticket, end.ending, *next)?;
                if let Some(candidate) = candidate {
                    self.candidates
                        .insert(ticket.task.clone(), candidate.clone());
                }
            }
            Record::NotLandable {
                ticket,
                end,
                next,
                resolve,
            } => {
                self.ended(ticket, end.ending, *next)?;
                if *resolve {
                    law(end.ending == Ending::Conflict, || {
                        format!("{ticket} is to be resolved and is no conflict")
                    })?;
                    law(!self.resolves(ticket), || {
                        format!("what resolves {ticket} is to be resolved")
                    })?;
                    law(
                        self.gates.get(&ticket.task) == Some(&Gates::Required),
                        || format!("{ticket} is to be resolved and nothing would judge it"),
                    )?;
                    let candidate = self.candidates.get(&ticket.task).cloned();
                    let candidate = candidate.ok_or("a conflict of nothing")?;
                    self.due
                        .insert(ticket.task.clone(), (candidate, ticket.attempt));
                }
            }
            Record::Verified { commit, result, .. } if result.vouches() => {
                self.vouched.insert(commit.clone());
            }
            Record::LandingIntended { ticket, commit, .. } if self.resolves(ticket) => {
                let (_, with) = &self.now[&ticket.task];
                let mut all = with.iter().chain([&ticket.task]);
                let needs = all.any(|id| self.gates.get(id) == Some(&Gates::Required));
                law(!needs || self.vouched.contains(commit), || {
                    format!("{ticket} lands what was resolved, and no gate vouches for it")
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_over(&mut self, revision: &PlanRevision) {
        for node in &revision.graph.nodes {
            self.gates.insert(node.id.clone(), node.gates);
        }
    }

    /// Whether the attempt is one that resolves.
    pub(super) fn resolves(&self, ticket: &Ticket) -> bool {
        let now = self.now.get(&ticket.task);
        now.is_some_and(|(attempt, _)| *attempt == ticket.attempt)
    }

    /// Whoever has said something about a conflict is not asked about it once more, and costs no attempt.
    fn ended(&mut self, ticket: &Ticket, ending: Ending, next: Next) -> Verdict {
        if !self.resolves(ticket) {
            return Ok(());
        }
        let is_answer = matches!(ending.row().counts, Charge::Attempt | Charge::Conflict);
        if is_answer && next != Next::AskStatus {
            self.due.remove(&ticket.task);
        }
        let is_free = match next {
            Next::Retry { charge, .. } | Next::Continue { charge } => {
                matches!(charge, Charge::Nothing | Charge::Streak)
            }
            Next::Complete | Next::Fail { .. } => false,
            Next::Land | Next::AskStatus | Next::Nothing => true,
        };
        law(is_free, || {
            format!("what resolves {ticket} ends as {next:?}")
        })
    }
}

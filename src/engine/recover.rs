//! Going on after a crash: what an earlier orch left under way, and what follows from what the world looks like now.

use super::ending::{AttemptEnd, Ending};
use super::event::Found;
use super::next::Continuation;
use super::outcome::Outcome;
use super::phase::Phase;
use super::record::{Miss, Record};
use super::state::State;
use super::task::Task;
use super::turn::Turn;
use crate::ids::{ObjectId, SlotId, TaskId, Ticket};

/// An order that an earlier orch left, and what must be asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InFlight {
    /// The slot was being brought to its start. End what its set-up left running and answer [`Found::AgentGone`]: it is
    /// prepared again.
    Preparing {
        /// The leased slot.
        slot: SlotId,
    },
    /// The agent ran, or was about to. Answer [`Found::AgentAlive`], [`Found::AgentEnded`], or after a sweep
    /// [`Found::AgentGone`]; [`Found::NeverStarted`] if only the process is missing that asks for the status or goes on.
    Executing {
        /// The leased slot.
        slot: SlotId,
        /// The commit the attempt started on.
        base: ObjectId,
        /// Whether it is a process of its own that is asked for the status: the exit of the one before says nothing
        /// about it.
        asked: bool,
        /// How many times the attempt has gone on after it was cut off, each time in a process of its own.
        continued: u32,
    },
    /// What the agent left was being read. Answer [`Found::AgentEnded`] or [`Found::AgentGone`]: it is read again.
    Collecting {
        /// The leased slot.
        slot: SlotId,
        /// The commit the attempt started on.
        base: ObjectId,
    },
    /// The landing commit was being made. Answer [`Found::NotLanded`]: it is made again.
    Building {
        /// The commit the attempt started on.
        base: ObjectId,
        /// What is to land.
        candidate: ObjectId,
    },
    /// The gates of the landing commit were asked. End what they left running and answer [`Found::NotLanded`]: they are
    /// asked again.
    Verifying {
        /// The landing commit.
        commit: ObjectId,
    },
    /// The target was being moved. Answer [`Found::Landed`] or [`Found::NotLanded`].
    Landing {
        /// The landing commit, whose place in the target's history is the question.
        commit: ObjectId,
        /// The tip it was built on.
        onto: ObjectId,
    },
}

/// What recovery must ask the world about.
pub(super) fn unsettled(state: &State) -> Vec<(Ticket, InFlight)> {
    orders(state.tasks.iter().filter(|task| task.lost))
}

/// What was ordered and has not been answered.
pub(super) fn under_way(state: &State) -> Vec<(Ticket, InFlight)> {
    orders(state.tasks.iter())
}

fn orders<'a>(tasks: impl Iterator<Item = &'a Task>) -> Vec<(Ticket, InFlight)> {
    let order = |task: &Task| {
        let in_flight = match &task.phase {
            Phase::Preparing { slot } => InFlight::Preparing { slot: *slot },
            Phase::Executing { slot, base, asked } => InFlight::Executing {
                slot: *slot,
                base: base.clone(),
                asked: *asked,
                continued: task.continued,
            },
            Phase::Collecting { slot, base, .. } => InFlight::Collecting {
                slot: *slot,
                base: base.clone(),
            },
            Phase::Building { work, .. } => InFlight::Building {
                base: work.base.clone(),
                candidate: work.candidate.clone(),
            },
            Phase::Verifying { commit, .. } => InFlight::Verifying {
                commit: commit.clone(),
            },
            Phase::Landing { commit, onto, .. } => InFlight::Landing {
                commit: commit.clone(),
                onto: onto.clone(),
            },
            Phase::Open { .. }
            | Phase::Parked { .. }
            | Phase::Queued { .. }
            | Phase::Judged { .. }
            | Phase::Settled(_) => return None,
        };
        Some((task.ticket(), in_flight))
    };
    tasks.filter_map(order).collect()
}

impl Turn<'_> {
    /// One function for each row of the table in `docs/recovery.md`; an answer that has no place in its row is a bug.
    pub(super) fn recovered(&mut self, id: &TaskId, found: Found) -> bool {
        let Some((_, task)) = self.state.get(id).filter(|(_, task)| task.lost) else {
            return false;
        };
        let (ticket, phase) = (task.ticket(), task.phase.clone());
        let impossible = match &phase {
            Phase::Preparing { .. } => self.preparing(id, found),
            Phase::Executing { base, asked, .. } => self.executing(id, base, *asked, found),
            Phase::Collecting { .. } => self.collecting(id, found),
            Phase::Building { .. } | Phase::Verifying { .. } => self.building(id, found),
            Phase::Landing {
                commit, verified, ..
            } => self.landing(&ticket, commit, *verified, found),
            Phase::Open { .. }
            | Phase::Parked { .. }
            | Phase::Queued { .. }
            | Phase::Judged { .. }
            | Phase::Settled(_) => Some(found),
        };
        if let Some(found) = impossible {
            let detail = format!(
                "recovery found what cannot be for {ticket}, which is {}: {found:?}",
                phase.in_words()
            );
            self.give_up(Outcome::Bug, detail);
        }
        true
    }

    /// Row `attempt_started`.
    fn preparing(&mut self, id: &TaskId, found: Found) -> Option<Found> {
        match found {
            Found::AgentGone => self.order_again(id),
            Found::AgentAlive
            | Found::AgentEnded
            | Found::NeverStarted
            | Found::Landed(_)
            | Found::NotLanded => Some(found),
        }
    }

    /// Row `agent_starting`.
    fn executing(
        &mut self,
        id: &TaskId,
        base: &ObjectId,
        asked: bool,
        found: Found,
    ) -> Option<Found> {
        match found {
            Found::AgentAlive => return self.order_again(id),
            Found::AgentEnded => self.agent_ended(id, None),
            Found::AgentGone => {
                let detail = "orch and the agent ended together, as in a restart of the machine";
                self.agent_ended(id, Some(AttemptEnd::new(Ending::Crashed, detail)));
            }
            Found::NeverStarted if asked => return self.resume_again(id, base, true),
            Found::NeverStarted if self.has_gone_on(id) => {
                return self.resume_again(id, base, false);
            }
            Found::NeverStarted | Found::Landed(_) | Found::NotLanded => return Some(found),
        }
        None
    }

    fn has_gone_on(&self, id: &TaskId) -> bool {
        self.state
            .get(id)
            .is_some_and(|(_, task)| task.continued > 0)
    }

    /// The process that resumes the session, to ask for the status or to go on, had not started.
    fn resume_again(&mut self, id: &TaskId, base: &ObjectId, asks_status: bool) -> Option<Found> {
        let (_, task) = self.state.get(id)?;
        if task.past().closing.is_some() || self.state.ends_agents() {
            self.agent_ended(id, None);
        } else {
            let (number, grant) = (task.continued, task.past().grant);
            self.record(Record::AgentStarting {
                ticket: task.next_order(),
                base: base.clone(),
                asks_status,
                continues: (!asks_status).then_some(Continuation { number, grant }),
            });
        }
        None
    }

    /// Row `agent_ended`.
    fn collecting(&mut self, id: &TaskId, found: Found) -> Option<Found> {
        match found {
            Found::AgentEnded | Found::AgentGone => self.order_again(id),
            Found::AgentAlive | Found::NeverStarted | Found::Landed(_) | Found::NotLanded => {
                Some(found)
            }
        }
    }

    fn is_stacked(&self, id: &TaskId) -> bool {
        let place = self.state.get(id).and_then(|(_, task)| task.phase.place());
        place.is_some_and(|place| place.behind.is_some())
    }

    /// Row `building` and `verifying`.
    fn building(&mut self, id: &TaskId, found: Found) -> Option<Found> {
        match found {
            // Its gates are to be asked again anyway, and there may be fewer slots for them now.
            Found::NotLanded if self.is_stacked(id) => {
                let ticket = self.state.get(id)?.1.ticket();
                self.missed(&ticket, Miss::Lost);
                None
            }
            Found::NotLanded => self.order_again(id),
            Found::AgentAlive
            | Found::AgentEnded
            | Found::AgentGone
            | Found::NeverStarted
            | Found::Landed(_) => Some(found),
        }
    }

    /// Row `landing_intended`.
    fn landing(
        &mut self,
        ticket: &Ticket,
        commit: &ObjectId,
        verified: bool,
        found: Found,
    ) -> Option<Found> {
        match found {
            Found::Landed(revision) => self.has_landed(ticket, commit.clone(), verified, revision),
            Found::NotLanded => self.missed(ticket, Miss::Lost),
            Found::AgentAlive | Found::AgentEnded | Found::AgentGone | Found::NeverStarted => {
                return Some(found);
            }
        }
        None
    }

    /// What was under way is ordered once more; answers to the old order are not heard.
    fn order_again(&mut self, id: &TaskId) -> Option<Found> {
        let (_, task) = self.state.get(id)?;
        let ticket = task.next_order();
        self.record(Record::Superseded { ticket });
        None
    }
}

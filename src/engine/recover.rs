//! Going on after a crash: what an earlier orch left under way, and what follows from what the world looks like now.

use super::Turn;
use super::ending::{AttemptEnd, Ending};
use super::event::{Found, StopLevel};
use super::outcome::Outcome;
use super::record::{Miss, Record};
use super::state::State;
use super::task::Phase;
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
    /// [`Found::AgentGone`]; [`Found::NeverStarted`] if only the process that asks for the status is missing.
    Executing {
        /// The leased slot.
        slot: SlotId,
        /// The commit the attempt started on.
        base: ObjectId,
        /// Whether it is the second process of the attempt, which is asked for the status: the exit of the first one
        /// says nothing about it.
        asked: bool,
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
    let lost = state.tasks.iter().filter(|task| task.lost);
    lost.filter_map(|task| {
        let in_flight = match &task.phase {
            Phase::Preparing { slot } => InFlight::Preparing { slot: *slot },
            Phase::Executing { slot, base, asked } => InFlight::Executing {
                slot: *slot,
                base: base.clone(),
                asked: *asked,
            },
            Phase::Collecting { slot, base, .. } => InFlight::Collecting {
                slot: *slot,
                base: base.clone(),
            },
            Phase::Building { work } => InFlight::Building {
                base: work.base.clone(),
                candidate: work.candidate.clone(),
            },
            Phase::Landing { commit, onto, .. } => InFlight::Landing {
                commit: commit.clone(),
                onto: onto.clone(),
            },
            Phase::Open { .. } | Phase::Queued { .. } | Phase::Settled(_) => return None,
        };
        Some((task.ticket(), in_flight))
    })
    .collect()
}

impl Turn<'_> {
    pub(super) fn recovered(&mut self, id: &TaskId, found: Found) -> bool {
        let Some((_, task)) = self.state.get(id).filter(|(_, task)| task.lost) else {
            return false;
        };
        let (current, again) = (task.ticket(), task.next_order());
        match (&task.phase, found) {
            (Phase::Executing { .. }, Found::AgentAlive)
            | (
                Phase::Preparing { .. } | Phase::Collecting { .. } | Phase::Building { .. },
                Found::AgentEnded | Found::AgentGone | Found::NotLanded,
            ) => self.record(Record::Superseded { ticket: again }),
            (
                Phase::Executing {
                    asked: true, base, ..
                },
                Found::NeverStarted,
            ) => {
                let base = base.clone();
                if task.closing.is_some() || self.state.stop == StopLevel::EndAgents {
                    self.agent_ended(id, None);
                } else {
                    self.record(Record::AgentStarting {
                        ticket: again,
                        base,
                        asks_status: true,
                    });
                }
            }
            (Phase::Executing { .. }, Found::AgentEnded) => self.agent_ended(id, None),
            (Phase::Executing { .. }, Found::AgentGone) => {
                let detail = "orch and the agent ended together, as in a restart of the machine";
                self.agent_ended(id, Some(AttemptEnd::new(Ending::Crashed, detail)));
            }
            (Phase::Landing { commit, .. }, Found::Landed(revision)) => {
                let commit = commit.clone();
                self.has_landed(&current, commit, revision);
            }
            (Phase::Landing { .. }, Found::NotLanded) => self.missed(&current, Miss::Lost),
            (
                Phase::Preparing { .. } | Phase::Collecting { .. } | Phase::Building { .. },
                Found::AgentAlive | Found::NeverStarted | Found::Landed(_),
            )
            | (
                Phase::Executing { .. },
                Found::NeverStarted | Found::Landed(_) | Found::NotLanded,
            )
            | (
                Phase::Landing { .. },
                Found::AgentAlive | Found::AgentEnded | Found::AgentGone | Found::NeverStarted,
            )
            | (
                Phase::Open { .. } | Phase::Queued { .. } | Phase::Settled(_),
                Found::AgentAlive
                | Found::AgentEnded
                | Found::AgentGone
                | Found::NeverStarted
                | Found::Landed(_)
                | Found::NotLanded,
            ) => {
                let detail = format!(
                    "recovery found what cannot be for {current}, which is {}",
                    task.phase.in_words()
                );
                self.give_up(Outcome::Bug, detail);
            }
        }
        true
    }
}

//! Records of an attempt: from its start until what it left was read.

use crate::engine::action::StartFrom;
use crate::engine::ending::AttemptEnd;
use crate::engine::policy::EVIDENCE_MAX;
use crate::engine::record::{Charge, Next};
use crate::engine::state::State;
use crate::engine::task::{Pause, Phase, Settled, Task, Work};
use crate::engine::usage::Usage;
use crate::ids::{ObjectId, SlotId, Ticket};
use crate::plan::graph::RetryFrom;
use crate::time::Wall;

/// The parts of [`Record::Collected`] that describe the attempt.
pub(super) struct Left<'a> {
    pub end: &'a AttemptEnd,
    pub usage: Usage,
    pub candidate: Option<&'a ObjectId>,
    pub message: Option<&'a String>,
    pub report: Option<&'a String>,
    pub notes: &'a [String],
    pub meanwhile: &'a [String],
}

impl State {
    pub(super) fn attempt_started(&mut self, ticket: &Ticket, slot: SlotId, at: Wall) -> bool {
        let Some((ix, task)) = self.get(&ticket.task) else {
            return false;
        };
        let expected = Ticket {
            attempt: task.attempt + 1,
            ..task.next_order()
        };
        let is_free = self.tasks.iter().all(|t| t.phase.slot() != Some(slot));
        let possible = *ticket == expected
            && is_free
            && !self.bars_starts()
            && !self.awaits_baseline
            && self.is_ready(ix)
            && self.clash(ix).is_none();
        if possible {
            let task = &mut self.tasks[ix];
            task.attempt = ticket.attempt;
            task.epoch = ticket.epoch;
            task.fresh = false;
            task.enter(Phase::Preparing { slot }, at);
        }
        possible
    }

    pub(super) fn agent_starting(
        &mut self,
        ticket: &Ticket,
        base: &ObjectId,
        asks: bool,
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let slot = match (&task.phase, asks) {
            (Phase::Preparing { slot }, false) => *slot,
            (
                Phase::Collecting {
                    slot, asked: true, ..
                },
                true,
            ) => *slot,
            // It was about to be asked when an earlier orch died.
            (
                Phase::Executing {
                    slot, asked: true, ..
                },
                true,
            ) if task.lost => *slot,
            _ => return false,
        };
        let phase = Phase::Executing {
            slot,
            base: base.clone(),
            asked: asks,
        };
        let is_known = !task.lost || matches!(task.phase, Phase::Executing { .. });
        is_known && task.order(ticket, phase, at)
    }

    pub(super) fn agent_ended(
        &mut self,
        ticket: &Ticket,
        ended_by_orch: Option<&AttemptEnd>,
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let Phase::Executing { slot, base, asked } = &task.phase else {
            return false;
        };
        let phase = Phase::Collecting {
            slot: *slot,
            base: base.clone(),
            asked: *asked,
            ended_by_orch: ended_by_orch.cloned(),
        };
        task.order(ticket, phase, at)
    }

    pub(super) fn collected(
        &mut self,
        ticket: &Ticket,
        left: &Left<'_>,
        next: Next,
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        let work = match (&task.phase, next) {
            // The agent never started, so that nothing new can have been left.
            (Phase::Preparing { .. }, Next::Retry { .. } | Next::Fail { .. } | Next::Nothing) => {
                None
            }
            (Phase::Collecting { asked: true, .. }, Next::AskStatus) => return false,
            (Phase::Collecting { base, .. }, _) => left.candidate.map(|candidate| Work {
                base: base.clone(),
                candidate: candidate.clone(),
            }),
            _ => return false,
        };
        if !task.follow(next, left.end, work, at) {
            return false;
        }
        task.usage = task.usage.plus(left.usage);
        for (kept, new) in [
            (&mut task.message, left.message),
            (&mut task.report, left.report),
        ] {
            *kept = new.cloned().or(kept.take());
        }
        task.candidate = left.candidate.cloned().or(task.candidate.take());
        task.notes = left.notes.to_vec();
        task.meanwhile.extend_from_slice(left.meanwhile);
        self.usage = self.usage.plus(left.usage);
        true
    }
}

impl Task {
    pub(super) fn enter(&mut self, phase: Phase, at: Wall) {
        self.phase = phase;
        self.since = at;
    }

    /// Gives the next order; whether it could be given: always.
    pub(super) fn order(&mut self, ticket: &Ticket, phase: Phase, at: Wall) -> bool {
        self.epoch = ticket.epoch;
        self.lost = false;
        self.enter(phase, at);
        true
    }

    /// Goes where policy sends an ended attempt.
    pub(super) fn follow(
        &mut self,
        next: Next,
        end: &AttemptEnd,
        work: Option<Work>,
        at: Wall,
    ) -> bool {
        let ran = !matches!(self.phase, Phase::Preparing { .. });
        let phase = match next {
            Next::Land => {
                let Some(work) = work else { return false };
                self.missed = 0;
                self.troubles = 0;
                Phase::Queued {
                    work,
                    pause: None,
                    in_the_way: None,
                }
            }
            Next::Complete => Phase::Settled(Settled::Unchanged),
            Next::Retry {
                at: until,
                charge,
                from,
            } => {
                match (from, work) {
                    (RetryFrom::Candidate, Some(work)) => {
                        self.start = StartFrom::Candidate(work.candidate);
                    }
                    (RetryFrom::Candidate, None) if ran => return false,
                    (RetryFrom::Candidate, None) => {}
                    (RetryFrom::Base, _) => self.start = StartFrom::Tip,
                }
                self.pay(charge);
                Phase::Open {
                    pause: until.map(|until| Pause { since: at, until }),
                }
            }
            Next::Fail { charge } => {
                self.pay(charge);
                Phase::Settled(Settled::Failed)
            }
            Next::Nothing if self.closing.is_some() => Phase::Open { pause: None },
            Next::AskStatus => {
                if let Phase::Collecting { asked, .. } = &mut self.phase {
                    *asked = true;
                }
                return true;
            }
            Next::Nothing => return false,
        };
        let is_evidence = match next {
            Next::Retry { charge, .. } => ran || charge != Charge::Nothing,
            Next::Fail { .. } => true,
            Next::Land | Next::Complete | Next::AskStatus | Next::Nothing => false,
        };
        if is_evidence {
            if self.evidence.len() == EVIDENCE_MAX {
                self.evidence.remove(0);
            }
            self.evidence.push(end.clone());
        }
        self.last_end = Some(end.clone());
        self.enter(phase, at);
        true
    }

    fn pay(&mut self, charge: Charge) {
        match charge {
            Charge::Attempt => {
                self.spent += 1;
                self.streak = 0;
            }
            Charge::Streak => self.streak += 1,
            Charge::Conflict => {
                self.conflicts += 1;
                self.streak = 0;
            }
            Charge::Nothing => {}
        }
    }
}

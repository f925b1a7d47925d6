//! Records of an attempt: from its start until what it left was read.

use crate::engine::action::StartFrom;
use crate::engine::budget::{Amount, Grant};
use crate::engine::conflict::Resolving;
use crate::engine::ending::AttemptEnd;
use crate::engine::limit::UsageWindow;
use crate::engine::next::{Charge, Continuation, Next};
use crate::engine::phase::{Pause, Phase, Settled, Work};
use crate::engine::policy::EVIDENCE_MAX;
use crate::engine::record::Told;
use crate::engine::state::State;
use crate::engine::table::Signal;
use crate::engine::task::Task;
use crate::engine::topology::Ix;
use crate::engine::usage::Usage;
use crate::ids::{ObjectId, SlotId, TaskId, Ticket};
use crate::plan::graph::RetryFrom;
use crate::time::Wall;

/// The parts of [`Record::Collected`] that describe the attempt.
pub(super) struct Left<'a> {
    pub end: &'a AttemptEnd,
    pub usage: Usage,
    pub candidate: Option<&'a ObjectId>,
    pub told: &'a Told,
}

/// The parts of [`Record::AttemptStarted`] that describe the attempt.
pub(super) struct Begin<'a> {
    pub slot: SlotId,
    pub model: Option<&'a String>,
    pub grant: Grant,
}

impl State {
    pub(super) fn attempt_started(&mut self, ticket: &Ticket, begin: &Begin<'_>, at: Wall) -> bool {
        let slot = begin.slot;
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
            task.outlived = false;
            task.continued = 0;
            let past = task.past_mut();
            past.model = begin.model.cloned();
            past.attempt_charged = Amount::NONE;
            past.resolving = None;
            task.enter(Phase::Preparing { slot }, at);
            self.goes(ix, begin.grant, at);
        }
        possible
    }

    /// Sets aside what an agent is granted that starts or goes on, and lets it probe what it had to wait for.
    fn goes(&mut self, ix: Ix, grant: Grant, at: Wall) {
        let task = &mut self.tasks[ix];
        task.past_mut().grant = grant;
        self.reserved = self.reserved.plus(grant.reserved);
        let task = &self.tasks[ix];
        self.limiter
            .started(&task.asking(&self.run, task.past().model.as_deref()), at);
        self.breaker.started(&task.node.id);
    }

    /// Charges what a task spent to every level.
    fn charge(&mut self, ix: Ix, amount: Amount, at: Wall) {
        let past = self.tasks[ix].past_mut();
        past.attempt_charged = past.attempt_charged.plus(amount);
        past.charged = past.charged.plus(amount);
        self.charged = self.charged.plus(amount);
        self.day = self.day.on(at);
        self.day.charged = self.day.charged.plus(amount);
    }

    /// Leaves only this much set aside for a task.
    fn reserve_only(&mut self, ix: Ix, amount: Amount) {
        let grant = &mut self.tasks[ix].past_mut().grant;
        let before = std::mem::replace(&mut grant.reserved, amount);
        self.reserved = self.reserved.less(before).plus(amount);
    }

    pub(super) fn resolving(&mut self, ticket: &Ticket, resolving: &Resolving) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        let is_its = match &task.past().start {
            StartFrom::Conflict(of) => **of == resolving.contested(),
            StartFrom::Tip | StartFrom::Candidate(_) => false,
        };
        let possible = is_its && matches!(task.phase, Phase::Preparing { .. });
        if possible {
            task.past_mut().resolving = Some(resolving.clone());
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

    /// A parked session goes on.
    pub(super) fn agent_continues(
        &mut self,
        ticket: &Ticket,
        base: &ObjectId,
        continuation: Continuation,
        at: Wall,
    ) -> bool {
        let Some((ix, task)) = self.get(&ticket.task) else {
            return false;
        };
        let is_next = task.next_order() == *ticket;
        let (slot, again) = match &task.phase {
            Phase::Parked { slot, .. }
                if is_next && !self.bars_starts() && continuation.number == task.continued + 1 =>
            {
                (*slot, false)
            }
            // It was about to go on when an earlier orch died.
            Phase::Executing {
                slot, asked: false, ..
            } if is_next && task.lost && continuation.number == task.continued => (*slot, true),
            Phase::Open { .. }
            | Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. }
            | Phase::Settled(_) => return false,
        };
        let phase = Phase::Executing {
            slot,
            base: base.clone(),
            asked: false,
        };
        let task = &mut self.tasks[ix];
        task.order(ticket, phase, at);
        if !again {
            task.continued = continuation.number;
            self.goes(ix, continuation.grant, at);
        }
        true
    }

    pub(super) fn session_dropped(&mut self, id: &TaskId, at: Wall) -> bool {
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        let Phase::Parked { candidate, .. } = &task.phase else {
            return false;
        };
        task.past_mut().start = match (task.contested(), candidate) {
            // What is half resolved is nothing to go on from.
            (Some(contested), _) => StartFrom::Conflict(Box::new(contested)),
            (None, Some(candidate)) => StartFrom::Candidate(candidate.clone()),
            (None, None) => StartFrom::Tip,
        };
        task.enter(Phase::Open { pause: None }, at);
        true
    }

    pub(super) fn observed(&mut self, ticket: &Ticket, windows: &[UsageWindow], at: Wall) -> bool {
        let Some(task) = self.ordered(ticket) else {
            return false;
        };
        let entitlement = task.profile.entitlement.clone();
        self.worked = true;
        self.sees(entitlement, windows, at);
        true
    }

    fn sees(&mut self, entitlement: String, windows: &[UsageWindow], at: Wall) {
        if !windows.is_empty() {
            let seen = (at, windows.to_vec());
            self.limiter.windows.insert(entitlement, seen);
        }
    }

    pub(super) fn agent_ended(
        &mut self,
        ticket: &Ticket,
        ended_by_orch: Option<&AttemptEnd>,
        at: Wall,
    ) -> bool {
        let Some((ix, task)) = self.get(&ticket.task) else {
            return false;
        };
        let Phase::Executing { slot, base, asked } = &task.phase else {
            return false;
        };
        let possible = task.next_order() == *ticket;
        if possible {
            let phase = Phase::Collecting {
                slot: *slot,
                base: base.clone(),
                asked: *asked,
                ended_by_orch: ended_by_orch.cloned(),
            };
            let ran = Amount {
                wall_ms: at.ms_since(task.since),
                ..Amount::default()
            };
            self.charge(ix, ran, at);
            self.tasks[ix].order(ticket, phase, at);
        }
        possible
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
        let ran = !matches!(task.phase, Phase::Preparing { .. });
        let work = match (&task.phase, next) {
            // The agent never started, so that nothing new can have been left.
            (Phase::Preparing { .. }, Next::Retry { .. } | Next::Fail { .. } | Next::Nothing) => {
                None
            }
            (Phase::Collecting { asked: true, .. }, Next::AskStatus | Next::Continue { .. }) => {
                return false;
            }
            (Phase::Collecting { base, .. }, _) => left.candidate.map(|candidate| Work {
                base: base.clone(),
                candidate: candidate.clone(),
            }),
            _ => return false,
        };
        if !task.follow(next, left.end, work, at) {
            return false;
        }
        // The words about the work are of those who did it, and what is not resolved is no work.
        let is_own = !task.is_resolving();
        if is_own || next == Next::Land {
            let past = task.past_mut();
            past.candidate = left.candidate.cloned().or(past.candidate.take());
        }
        let past = task.past_mut();
        past.usage = past.usage.plus(left.usage);
        for (kept, new) in [
            (&mut past.message, &left.told.message),
            (&mut past.report, &left.told.report),
        ] {
            *kept = new.clone().filter(|_| is_own).or(kept.take());
        }
        past.notes.clone_from(&left.told.notes);
        past.meanwhile.extend_from_slice(&left.told.meanwhile);
        let entitlement = task.profile.entitlement.clone();
        self.usage = self.usage.plus(left.usage);
        self.sees(entitlement, &left.told.windows, at);
        let Some(&ix) = self.index.get(&ticket.task) else {
            return false;
        };
        let reserved = self.tasks[ix].past().grant.reserved;
        let charged = Amount::charge(&left.usage, reserved);
        self.charge(ix, charged, at);
        match next {
            Next::AskStatus => {
                let Some(grant) = self.tasks[ix].past().grant.after(charged) else {
                    return false;
                };
                self.reserve_only(ix, grant.reserved);
                self.tasks[ix].past_mut().grant.cap = grant.cap;
            }
            Next::Land
            | Next::Complete
            | Next::Continue { .. }
            | Next::Retry { .. }
            | Next::Fail { .. }
            | Next::Nothing => {
                self.reserve_only(ix, Amount::default());
                let row = left.end.ending.row();
                self.worked |= ran && row.answered;
                self.limiter.ended(&ticket.task);
                // What ended with an earlier orch, or in a restart of the machine, says nothing about the world of now.
                let ended_with_it = self.tasks[ix].outlived && row.breaker == Signal::Fails;
                let signal = if ended_with_it {
                    Signal::Nothing
                } else {
                    row.breaker
                };
                self.breaker.hear(&ticket.task, signal);
            }
        }
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
                if let Some(past) = self.past_if_any() {
                    past.consent.renew();
                    past.suspected = None;
                }
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
                    (RetryFrom::Candidate, _) if ran && let Some(contested) = self.contested() => {
                        self.past_mut().start = StartFrom::Conflict(Box::new(contested));
                    }
                    (RetryFrom::Candidate, Some(work)) => {
                        self.past_mut().start = StartFrom::Candidate(work.candidate);
                    }
                    (RetryFrom::Candidate, None) if ran => return false,
                    (RetryFrom::Candidate, None) => {}
                    (RetryFrom::Base, _) => self.past_mut().start = StartFrom::Tip,
                }
                self.pay(charge, end);
                Phase::Open {
                    pause: until.map(|until| Pause { since: at, until }),
                }
            }
            Next::Continue { charge } => {
                let Phase::Collecting { slot, base, .. } = &self.phase else {
                    return false;
                };
                let (slot, base) = (*slot, base.clone());
                self.pay(charge, end);
                Phase::Parked {
                    slot,
                    base,
                    candidate: work.map(|work| work.candidate),
                }
            }
            Next::Fail { charge } => {
                self.pay(charge, end);
                Phase::Settled(Settled::Failed)
            }
            Next::Nothing if self.past().closing.is_some() => Phase::Open { pause: None },
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
            Next::Land
            | Next::Complete
            | Next::AskStatus
            | Next::Continue { .. }
            | Next::Nothing => false,
        };
        let past = self.past_mut();
        if is_evidence {
            if past.evidence.len() == EVIDENCE_MAX {
                past.evidence.remove(0);
            }
            past.evidence.push(end.clone());
        }
        past.last_end = Some(end.clone());
        self.enter(phase, at);
        true
    }

    fn pay(&mut self, charge: Charge, end: &AttemptEnd) {
        match charge {
            Charge::Attempt => {
                self.spent += 1;
                self.streak = 0;
                self.mendable += u32::from(end.ending.row().ladder);
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

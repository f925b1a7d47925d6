//! Records of a candidate on its way to the target.

use crate::engine::action::StartFrom;
use crate::engine::approval::Change;
use crate::engine::conflict::{Answered, Contested};
use crate::engine::ending::AttemptEnd;
use crate::engine::next::Next;
use crate::engine::phase::{Pause, Phase, Place, Settled};
use crate::engine::record::Miss;
use crate::engine::state::State;
use crate::engine::verification::{Verdict, Verification};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::graph::Gates;
use crate::time::Wall;

/// What a receipt says.
pub(super) struct Receipt<'a> {
    pub(super) commit: &'a ObjectId,
    pub(super) verified: bool,
    pub(super) generation: u32,
}

impl State {
    pub(super) fn building(
        &mut self,
        ticket: &Ticket,
        behind: Option<&ObjectId>,
        at: Wall,
    ) -> bool {
        let last = self.queue().last().map(|&ix| &self.tasks[ix].phase);
        let possible =
            behind == last.and_then(Phase::landing_commit) && behind.is_some() == last.is_some();
        let before = last.and_then(Phase::place).map_or(0, |place| place.number);
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let Phase::Queued { work, .. } = &task.phase else {
            return false;
        };
        let place = Place {
            number: before + 1,
            behind: behind.cloned(),
        };
        let work = work.clone();
        if !task.past().answers.is_empty() {
            task.past_mut().answers.clear();
        }
        possible
            && !task.awaits_approval()
            && task.order(ticket, Phase::Building { work, place }, at)
    }

    pub(super) fn conflicts_answered(&mut self, ticket: &Ticket, answers: &[Answered]) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        let possible = matches!(task.phase, Phase::Building { .. });
        if possible {
            task.past_mut().answers = answers.to_vec();
        }
        possible
    }

    pub(super) fn not_landable(
        &mut self,
        ticket: &Ticket,
        end: &AttemptEnd,
        (next, resolve): (Next, bool),
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        let work = match &task.phase {
            Phase::Building { work, .. }
            | Phase::Verifying { work, .. }
            | Phase::Judged { work, .. } => work.clone(),
            // A person said no.
            Phase::Queued { work, .. } if task.awaits_approval() => work.clone(),
            Phase::Open { .. }
            | Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Landing { .. }
            | Phase::Settled(_) => return false,
        };
        task.past_mut().consent.renew();
        let candidate = work.candidate.clone();
        let followed = match next {
            Next::Complete | Next::Retry { .. } | Next::Fail { .. } | Next::Nothing => {
                task.follow(next, end, Some(work), at)
            }
            Next::Land | Next::AskStatus | Next::Continue { .. } => false,
        };
        if followed && resolve {
            let attempt = ticket.attempt;
            task.past_mut().start = StartFrom::Conflict(Box::new(Contested { candidate, attempt }));
        }
        if followed {
            // What was said of those that were built on it says nothing about them.
            let pasts = self.tasks.iter_mut().filter_map(|task| task.past_if_any());
            pasts.for_each(|past| past.suspected = None);
            self.breaker.hear(&ticket.task, end.ending.row().breaker);
        }
        followed
    }

    pub(super) fn verifying(
        &mut self,
        ticket: &Ticket,
        [commit, onto]: [&ObjectId; 2],
        change: Option<&Change>,
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let Phase::Building { work, place } = &task.phase else {
            return false;
        };
        if place.behind.as_ref().is_some_and(|behind| behind != onto) {
            return false;
        }
        let phase = Phase::Verifying {
            work: work.clone(),
            place: place.clone(),
            commit: commit.clone(),
            onto: onto.clone(),
            change: change.cloned().map(Box::new),
        };
        !task.lost && task.past().closing.is_none() && task.order(ticket, phase, at)
    }

    pub(super) fn verified(
        &mut self,
        ticket: &Ticket,
        commit: &ObjectId,
        result: &Verification,
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        let Phase::Verifying {
            work,
            place,
            commit: judged,
            onto,
            change,
        } = &task.phase
        else {
            return false;
        };
        if judged != commit {
            return false;
        }
        if result.verdict == Verdict::Passed {
            let judged = Phase::Judged {
                work: work.clone(),
                place: place.clone(),
                commit: commit.clone(),
                onto: onto.clone(),
                verified: result.vouches(),
                change: change.clone(),
            };
            task.past_mut().suspected = None;
            task.enter(judged, at);
        }
        true
    }

    pub(super) fn baselined(&mut self, result: &Verification) -> bool {
        let possible = self.awaits_baseline;
        self.has_baseline |= result.verdict == Verdict::Passed;
        self.awaits_baseline &= !self.has_baseline;
        possible
    }

    pub(super) fn landing_intended(
        &mut self,
        ticket: &Ticket,
        commit: &ObjectId,
        onto: &ObjectId,
        at: Wall,
    ) -> bool {
        let queue = self.queue();
        let stands = self.fallen().is_empty() || self.fallen().first() != queue.first();
        let ix = self.get(&ticket.task).map(|(ix, _)| ix);
        let is_first = queue.first() == ix.as_ref();
        let gates = ix.map_or(Gates::Required, |ix| self.gates_of(ix));
        let Some(task) = self.ordering(ticket).filter(|_| is_first && stands) else {
            return false;
        };
        let (work, place, verified) = match &task.phase {
            Phase::Building { work, place } if gates.is_none() => (work, place, false),
            Phase::Judged {
                work,
                place,
                commit: judged,
                onto: tip,
                verified,
                ..
            } if judged == commit && tip == onto && (*verified || gates != Gates::Required) => {
                (work, place, *verified)
            }
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
        if !task.has_consent_to_land(&work.candidate) {
            return false;
        }
        let phase = Phase::Landing {
            work: work.clone(),
            place: place.clone(),
            commit: commit.clone(),
            onto: onto.clone(),
            verified,
        };
        !task.lost && task.past().closing.is_none() && task.order(ticket, phase, at)
    }

    pub(super) fn landing_missed(
        &mut self,
        ticket: &Ticket,
        why: &Miss,
        until: Option<Wall>,
        at: Wall,
    ) -> bool {
        let Some(task) = self
            .ordered(ticket)
            .filter(|t| t.lost == (*why == Miss::Lost))
        else {
            return false;
        };
        let (Phase::Building { work, .. }
        | Phase::Verifying { work, .. }
        | Phase::Judged { work, .. }
        | Phase::Landing { work, .. }) = &task.phase
        else {
            return false;
        };
        let work = work.clone();
        match why {
            Miss::TipMoved | Miss::InTheWay(_) => task.missed += 1,
            Miss::Trouble(_) | Miss::GatesBroken(_) => task.troubles += 1,
            Miss::Suspected(what) => task.past_mut().suspected = Some(what.as_str().into()),
            Miss::TargetRewritten
            | Miss::Lost
            | Miss::GatesEnded
            | Miss::GatesChanged
            | Miss::Unapproved(_)
            | Miss::Unstacked => {}
        }
        task.cut_off = *why == Miss::GatesEnded;
        task.lost = false;
        let in_the_way = match why {
            Miss::InTheWay(what) => Some(what.clone()),
            Miss::TipMoved
            | Miss::Trouble(_)
            | Miss::TargetRewritten
            | Miss::Lost
            | Miss::GatesBroken(_)
            | Miss::GatesEnded
            | Miss::GatesChanged
            | Miss::Unstacked
            | Miss::Unapproved(_)
            | Miss::Suspected(_) => None,
        };
        let queued = Phase::Queued {
            work,
            pause: until.map(|until| Pause { since: at, until }),
            in_the_way,
        };
        task.enter(queued, at);
        true
    }

    pub(super) fn landed(&mut self, ticket: &Ticket, receipt: &Receipt<'_>, at: Wall) -> bool {
        let Receipt {
            commit,
            verified,
            generation,
        } = *receipt;
        let Some(task) = self.ordered(ticket) else {
            return false;
        };
        // A receipt that says the first may be of a time when nothing else was said.
        let is_its = generation == task.generation || generation == 1;
        let possible = is_its
            && matches!(&task.phase, Phase::Landing { commit: intended, verified: vouched, .. } if intended == commit && *vouched == verified);
        if possible {
            let commit = commit.clone();
            task.lost = false;
            task.enter(
                Phase::Settled(Settled::Landed {
                    commit: commit.clone(),
                    verified,
                }),
                at,
            );
            self.tip = Some(commit);
        }
        possible
    }

    /// Whatever was known of the task: the target holds its commit.
    pub(super) fn landing_found(
        &mut self,
        id: &TaskId,
        attempt: u32,
        commit: &ObjectId,
        at: Wall,
    ) -> bool {
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        task.attempt = task.attempt.max(attempt);
        task.fresh = false;
        task.lost = false;
        task.past_mut().closing = None;
        let landed = Settled::Landed {
            commit: commit.clone(),
            verified: false,
        };
        task.enter(Phase::Settled(landed), at);
        self.tip = Some(commit.clone());
        true
    }
}

//! Records of a candidate on its way to the target.

use crate::engine::consent::Change;
use crate::engine::ending::AttemptEnd;
use crate::engine::record::{Miss, Next};
use crate::engine::state::State;
use crate::engine::task::{Pause, Phase, Settled};
use crate::engine::verification::{Verdict, Verification};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::checks::Gates;
use crate::time::Wall;

/// What a receipt says.
pub(super) struct Receipt<'a> {
    pub(super) commit: &'a ObjectId,
    pub(super) verified: bool,
    pub(super) generation: u32,
}

impl State {
    pub(super) fn building(&mut self, ticket: &Ticket, at: Wall) -> bool {
        let clear = !self.is_landing();
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let Phase::Queued { work, .. } = &task.phase else {
            return false;
        };
        let clear = clear && !task.awaits_approval();
        let phase = Phase::Building { work: work.clone() };
        clear && task.order(ticket, phase, at)
    }

    pub(super) fn not_landable(
        &mut self,
        ticket: &Ticket,
        end: &AttemptEnd,
        next: Next,
        at: Wall,
    ) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        let work = match &task.phase {
            Phase::Building { work } | Phase::Verifying { work, .. } => work.clone(),
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
        task.consent.renew();
        let followed = match next {
            Next::Complete | Next::Retry { .. } | Next::Fail { .. } | Next::Nothing => {
                task.follow(next, end, Some(work), at)
            }
            Next::Land | Next::AskStatus | Next::Continue { .. } => false,
        };
        if followed {
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
        let Phase::Building { work } = &task.phase else {
            return false;
        };
        let phase = Phase::Verifying {
            work: work.clone(),
            commit: commit.clone(),
            onto: onto.clone(),
            change: change.cloned(),
            passed: None,
        };
        !task.lost && task.closing.is_none() && task.order(ticket, phase, at)
    }

    pub(super) fn verified(
        &mut self,
        ticket: &Ticket,
        commit: &ObjectId,
        result: &Verification,
    ) -> bool {
        let Some(task) = self.ordered(ticket).filter(|t| !t.lost) else {
            return false;
        };
        match &mut task.phase {
            Phase::Verifying {
                commit: judged,
                passed,
                ..
            } if judged == commit => {
                *passed = (result.verdict == Verdict::Passed).then(|| result.vouches());
                true
            }
            Phase::Open { .. }
            | Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Landing { .. }
            | Phase::Settled(_) => false,
        }
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
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let (work, verified) = match &task.phase {
            Phase::Building { work } if task.node.gates.is_none() => (work, false),
            Phase::Verifying {
                work,
                commit: judged,
                onto: tip,
                passed: Some(verified),
                ..
            } if judged == commit
                && tip == onto
                && (*verified || task.node.gates != Gates::Required) =>
            {
                (work, *verified)
            }
            Phase::Open { .. }
            | Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Landing { .. }
            | Phase::Settled(_) => return false,
        };
        if !task.has_consent_to_land(&work.candidate) {
            return false;
        }
        let phase = Phase::Landing {
            work: work.clone(),
            commit: commit.clone(),
            onto: onto.clone(),
            verified,
        };
        !task.lost && task.closing.is_none() && task.order(ticket, phase, at)
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
        let (Phase::Building { work }
        | Phase::Verifying { work, .. }
        | Phase::Landing { work, .. }) = &task.phase
        else {
            return false;
        };
        let work = work.clone();
        match why {
            Miss::TipMoved | Miss::InTheWay(_) => task.missed += 1,
            Miss::Trouble(_) | Miss::GatesBroken(_) => task.troubles += 1,
            Miss::TargetRewritten | Miss::Lost | Miss::GatesEnded | Miss::GatesChanged => {}
        }
        task.lost = false;
        let in_the_way = match why {
            Miss::InTheWay(what) => Some(what.clone()),
            Miss::TipMoved
            | Miss::Trouble(_)
            | Miss::TargetRewritten
            | Miss::Lost
            | Miss::GatesBroken(_)
            | Miss::GatesEnded
            | Miss::GatesChanged => None,
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
        task.closing = None;
        let landed = Settled::Landed {
            commit: commit.clone(),
            verified: false,
        };
        task.enter(Phase::Settled(landed), at);
        self.tip = Some(commit.clone());
        true
    }
}

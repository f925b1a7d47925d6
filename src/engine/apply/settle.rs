//! Records that settle a task, open it again, or let it go on.

use std::sync::Arc;

use crate::engine::action::StartFrom;
use crate::engine::approval::Consent;
use crate::engine::outcome::Outcome;
use crate::engine::phase::{Phase, Settled};
use crate::engine::record::Settlement;
use crate::engine::state::State;
use crate::ids::{TaskId, Ticket};
use crate::plan::graph::RetryFrom;
use crate::time::Wall;

impl State {
    pub(super) fn settled(&mut self, id: &TaskId, settlement: &Settlement, at: Wall) -> bool {
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        let is_open = task.is_open();
        let is_undone = task.is_open()
            || matches!(
                task.phase,
                Phase::Queued { .. } | Phase::Parked { .. } | Phase::Judged { .. }
            )
            || matches!(&task.phase, Phase::Settled(settled) if !settled.satisfies());
        let settled = match settlement {
            Settlement::Believed if is_open => Settled::Believed,
            Settlement::LandedBefore { commit } if is_open => Settled::LandedBefore {
                commit: commit.clone(),
            },
            Settlement::DeclaredFailed if is_open => Settled::DeclaredFailed,
            Settlement::Removed if is_open && !task.in_plan => Settled::Removed,
            Settlement::MarkedDone { commit } if is_undone => Settled::MarkedDone {
                commit: commit.clone(),
            },
            Settlement::Skipped if is_undone => Settled::Skipped,
            Settlement::Cancelled if is_undone => Settled::Cancelled,
            Settlement::Reverted { commit }
                if matches!(task.phase, Phase::Settled(Settled::Landed { .. })) =>
            {
                Settled::Reverted {
                    commit: commit.clone(),
                }
            }
            Settlement::LeftOut if task.in_plan && !task.satisfies() => {
                task.left_out = true;
                return true;
            }
            Settlement::Believed
            | Settlement::LandedBefore { .. }
            | Settlement::DeclaredFailed
            | Settlement::Removed
            | Settlement::MarkedDone { .. }
            | Settlement::Skipped
            | Settlement::Cancelled
            | Settlement::Reverted { .. }
            | Settlement::LeftOut => return false,
        };
        if let Phase::Settled(before) = &task.phase {
            let written = before.written();
            task.past_mut().unwritten.push(written);
        }
        task.forget_closing();
        task.enter(Phase::Settled(settled), at);
        true
    }

    pub(super) fn reopened(&mut self, id: &TaskId, from: Option<RetryFrom>, at: Wall) -> bool {
        let Some(task) = self.task_mut(id).filter(|t| t.past().closing.is_none()) else {
            return false;
        };
        let was_done = match &task.phase {
            Phase::Settled(Settled::Removed) => return false,
            Phase::Settled(settled) => settled.satisfies(),
            Phase::Open { .. } => false,
            Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. } => return false,
        };
        if was_done {
            task.past_mut().evidence.clear();
        }
        if let Phase::Settled(settled) = &task.phase {
            // The plan's text may still say so for a while, which is no news.
            let written = settled.written();
            if task.node.declared != written {
                let declared = task.node.declared;
                task.past_mut().unwritten.push(declared);
            }
            Arc::make_mut(&mut task.node).declared = written;
            if let Some(newer) = &mut task.newer {
                Arc::make_mut(newer).declared = written;
            }
        }
        match (from, &task.past().candidate) {
            (Some(RetryFrom::Candidate), Some(candidate)) => {
                task.past_mut().start = StartFrom::Candidate(candidate.clone());
            }
            (Some(RetryFrom::Candidate), None) => return false,
            (Some(RetryFrom::Base), _) => task.past_mut().start = StartFrom::Tip,
            (None, _) if was_done => task.past_mut().start = StartFrom::Tip,
            (None, _) => {}
        }
        task.spent = 0;
        task.streak = 0;
        task.conflicts = 0;
        task.mendable = 0;
        task.fresh = true;
        task.generation += 1;
        task.past_mut().settled_by = None;
        task.past_mut().consent = Consent::None;
        task.forget_supply();
        task.enter(Phase::Open { pause: None }, at);
        if let Some(newer) = task.newer.take() {
            task.node = newer;
            self.rebuild_topology();
        }
        true
    }

    /// The run is over, and nothing is known of what it had under way.
    pub(super) fn close_rebuilt(&mut self, at: Wall) {
        for task in self.tasks.iter_mut().filter(|t| t.phase.is_under_way()) {
            task.lost = false;
            task.forget_closing();
            task.enter(Phase::Open { pause: None }, at);
        }
        self.ended = Some(Outcome::Environment);
    }

    pub(super) fn superseded(&mut self, ticket: &Ticket) -> bool {
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        // A landing is never ordered again as it was: either it happened, or its commit is built anew.
        let possible = task.lost && !matches!(task.phase, Phase::Landing { .. });
        if possible {
            task.lost = false;
            task.epoch = ticket.epoch;
            // What a slot holds that is prepared again is told when it is.
            if matches!(task.phase, Phase::Preparing { .. }) {
                task.past_mut().resolving = None;
            }
        }
        possible
    }

    pub(super) fn wait_ended(&mut self, id: &TaskId, at: Wall) -> bool {
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        let possible = matches!(task.phase, Phase::Open { pause: Some(_) });
        if possible {
            task.enter(Phase::Open { pause: None }, at);
        }
        possible
    }
}

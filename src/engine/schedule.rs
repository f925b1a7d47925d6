//! Which task goes first, and which tasks may not run beside each other.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::budget::Grant;
use super::state::State;
use super::topology::Ix;
use crate::ids::SlotId;
use crate::time::Wall;

impl State {
    /// The order in which tasks start, and in which candidates land: least first.
    pub(super) fn rank(&self, ix: Ix) -> impl Ord + use<> {
        (
            Reverse(self.tasks[ix].priority()),
            Reverse(self.topology.remaining(ix)),
            self.topology.position(ix),
            ix,
        )
    }

    /// The next task to start, the slot for it, and what it may spend.
    pub(super) fn next_start(&self, at: Wall) -> Option<(Ix, SlotId, Grant)> {
        let slot = self.free_slot()?;
        let under_way = self.under_way();
        let mut best = None;
        for ix in (0..self.tasks.len()).filter(|&ix| self.is_ready(ix)) {
            let rank = self.rank(ix);
            let is_better = best.as_ref().is_none_or(|(least, _)| rank < *least);
            if is_better && self.clash_among(ix, &under_way).is_none() && self.bar(ix, at).is_none()
            {
                best = Some((rank, ix));
            }
        }
        let (_, ix) = best?;
        Some((ix, slot, self.grant(ix, at).ok()?))
    }

    /// The next parked session to go on, and what it may spend.
    pub(super) fn next_to_continue(&self, at: Wall) -> Option<(Ix, Grant)> {
        if self.running() >= self.jobs {
            return None;
        }
        let ix = (0..self.tasks.len())
            .filter(|&ix| self.could_continue(ix) && self.bar(ix, at).is_none())
            .min_by_key(|&ix| self.rank(ix))?;
        Some((ix, self.grant(ix, at).ok()?))
    }

    /// The lowest free slot, if the number of jobs allows one more.
    pub(super) fn free_slot(&self) -> Option<SlotId> {
        let leased: BTreeSet<SlotId> = self.tasks.iter().filter_map(|t| t.phase.slot()).collect();
        if self.running() >= self.jobs {
            return None;
        }
        (1..).map(SlotId).find(|slot| !leased.contains(slot))
    }

    /// What keeps a task from starting beside those that are under way, and which of them it is.
    pub(super) fn clash(&self, ix: Ix) -> Option<(Ix, String)> {
        self.clash_among(ix, &self.under_way())
    }

    fn under_way(&self) -> Vec<Ix> {
        let tasks = self.tasks.iter().enumerate();
        tasks
            .filter(|(_, t)| t.phase.is_under_way())
            .map(|(ix, _)| ix)
            .collect()
    }

    fn clash_among(&self, ix: Ix, under_way: &[Ix]) -> Option<(Ix, String)> {
        let others = under_way.iter().filter(|&&other| other != ix);
        others.copied().find_map(|other| {
            Some((
                other,
                self.tasks[ix].node.conflict(&self.tasks[other].node)?,
            ))
        })
    }
}

//! Which task goes first, and which tasks may not run beside each other.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::budget::Grant;

use super::state::{Ix, State};
use crate::ids::{SlotId, TaskId};
use crate::plan::graph::{Edge, Node};
use crate::time::Wall;

/// The edges of the tasks as they are now in force, by place instead of by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topology {
    needs: Vec<Vec<Need>>,
    /// The reverse of `needs`.
    dependents: Vec<Vec<Ix>>,
    /// The tasks, each behind those that it needs. A task that started under an older revision keeps its edges, so
    /// that old and new ones may close a circle; tasks on one or behind one are missing here.
    sorted: Vec<Ix>,
    /// Tasks on the longest path that starts with this one.
    remaining: Vec<u32>,
    /// Place in the document; those that left the plan come last.
    position: Vec<usize>,
}

/// An edge to what must be satisfied first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// The task that is needed.
    pub on: Ix,
    /// Whether the edge stands for all that can be reached over it: see [`Edge`](crate::plan::graph::Edge).
    pub implied: bool,
}

impl Topology {
    pub(super) fn new<'a>(
        nodes: impl ExactSizeIterator<Item = &'a Node>,
        index: &HashMap<TaskId, Ix>,
        order: &[Ix],
    ) -> Self {
        let count = nodes.len();
        let need = |edge: &Edge| {
            let on = *index.get(&edge.on)?;
            Some(Need {
                on,
                implied: edge.implied,
            })
        };
        let needs: Vec<Vec<Need>> = nodes
            .map(|node| node.needs.iter().filter_map(need).collect())
            .collect();
        let mut position = vec![usize::MAX; count];
        for (place, &ix) in order.iter().enumerate() {
            position[ix] = place;
        }
        let mut dependents = vec![Vec::new(); count];
        for (ix, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[need.on].push(ix));
        }
        let sorted = sorted(&needs, &dependents);
        let mut remaining = vec![1; count];
        for &ix in sorted.iter().rev() {
            for need in &needs[ix] {
                remaining[need.on] = remaining[need.on].max(remaining[ix] + 1);
            }
        }
        Self {
            needs,
            dependents,
            sorted,
            remaining,
            position,
        }
    }

    pub(super) fn needs(&self, ix: Ix) -> &[Need] {
        &self.needs[ix]
    }

    pub(super) fn dependents(&self, ix: Ix) -> &[Ix] {
        &self.dependents[ix]
    }

    pub(super) fn remaining(&self, ix: Ix) -> u32 {
        self.remaining[ix]
    }

    pub(super) fn sorted(&self) -> &[Ix] {
        &self.sorted
    }
}

fn sorted(needs: &[Vec<Need>], dependents: &[Vec<Ix>]) -> Vec<Ix> {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut sorted: Vec<Ix> = (0..needs.len()).filter(|&ix| open[ix] == 0).collect();
    let mut next = 0;
    while let Some(&ix) = sorted.get(next) {
        next += 1;
        for &dependent in &dependents[ix] {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                sorted.push(dependent);
            }
        }
    }
    sorted
}

impl State {
    /// The order in which tasks start, and in which candidates land: least first.
    pub(super) fn rank(&self, ix: Ix) -> impl Ord + use<> {
        (
            Reverse(self.tasks[ix].priority()),
            Reverse(self.topology.remaining[ix]),
            self.topology.position[ix],
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

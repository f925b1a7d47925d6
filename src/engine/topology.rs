//! What needs what: the edges of a run's tasks, by place.

use std::collections::HashMap;

use crate::ids::TaskId;
use crate::plan::graph::{Edge, Node};

/// The place of a task in `State::tasks`; never changes while the state lives.
pub(super) type Ix = usize;

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

    pub(super) fn position(&self, ix: Ix) -> usize {
        self.position[ix]
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

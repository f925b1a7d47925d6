//! Which task goes first, and which tasks may not run beside each other.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::state::{Ix, State};
use super::task::{Phase, Task};
use crate::ids::{SlotId, TaskId};
use crate::plan::graph::Node;
use crate::time::Now;

/// The edges of the tasks as they are now in force, by place instead of by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topology {
    needs: Vec<Vec<Ix>>,
    dependents: Vec<Vec<Ix>>,
    /// Tasks on the longest path that starts with this one.
    remaining: Vec<u32>,
    /// Place in the document; those that left the plan come last.
    position: Vec<usize>,
}

/// Why two tasks may not be under way together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clash<'a> {
    /// A resource that both claim for themselves.
    Resource(&'a str),
    /// Globs of which some path may match both.
    Files(&'a str, &'a str),
}

impl Topology {
    pub(super) fn new<'a>(
        nodes: impl ExactSizeIterator<Item = &'a Node>,
        index: &HashMap<TaskId, Ix>,
        order: &[Ix],
    ) -> Self {
        let count = nodes.len();
        let needs: Vec<Vec<Ix>> = nodes
            .map(|n| {
                n.needs
                    .iter()
                    .filter_map(|e| index.get(&e.on).copied())
                    .collect()
            })
            .collect();
        let mut dependents = vec![Vec::new(); count];
        for (ix, of) in needs.iter().enumerate() {
            for &need in of {
                dependents[need].push(ix);
            }
        }
        let mut position = vec![usize::MAX; count];
        for (place, &ix) in order.iter().enumerate() {
            position[ix] = place;
        }
        let remaining = remaining(&needs, &dependents);
        Self {
            needs,
            dependents,
            remaining,
            position,
        }
    }

    pub(super) fn needs(&self, ix: Ix) -> &[Ix] {
        &self.needs[ix]
    }

    pub(super) fn dependents(&self, ix: Ix) -> &[Ix] {
        &self.dependents[ix]
    }

    pub(super) fn remaining(&self, ix: Ix) -> u32 {
        self.remaining[ix]
    }
}

/// The longest paths, from the ends backwards. A task that started under an older revision keeps its edges, so that
/// old and new ones may close a circle; tasks on it keep a length of 1.
fn remaining(needs: &[Vec<Ix>], dependents: &[Vec<Ix>]) -> Vec<u32> {
    let mut length = vec![1; needs.len()];
    let mut open: Vec<usize> = dependents.iter().map(Vec::len).collect();
    let mut next: Vec<Ix> = (0..needs.len()).filter(|&ix| open[ix] == 0).collect();
    while let Some(ix) = next.pop() {
        for &need in &needs[ix] {
            length[need] = length[need].max(length[ix] + 1);
            open[need] -= 1;
            if open[need] == 0 {
                next.push(need);
            }
        }
    }
    length
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

    /// The next task to start, and the slot for it.
    pub(super) fn next_start(&self) -> Option<(Ix, SlotId)> {
        let slot = self.free_slot()?;
        let under_way = self.under_way();
        let mut best = None;
        for ix in (0..self.tasks.len()).filter(|&ix| self.is_ready(ix)) {
            let rank = self.rank(ix);
            let is_better = best.as_ref().is_none_or(|(least, _)| rank < *least);
            if is_better && self.clash_among(ix, &under_way).is_none() {
                best = Some((rank, ix));
            }
        }
        best.map(|(_, ix)| (ix, slot))
    }

    /// The lowest free slot, if the number of jobs allows one more.
    pub(super) fn free_slot(&self) -> Option<SlotId> {
        let leased: std::collections::BTreeSet<SlotId> =
            self.tasks.iter().filter_map(|t| t.phase.slot()).collect();
        if leased.len() >= self.jobs as usize {
            return None;
        }
        (1..).map(SlotId).find(|slot| !leased.contains(slot))
    }

    /// What keeps a task from starting beside those that are under way, and which of them it is.
    pub(super) fn clash(&self, ix: Ix) -> Option<(Ix, Clash<'_>)> {
        self.clash_among(ix, &self.under_way())
    }

    fn under_way(&self) -> Vec<Ix> {
        let tasks = self.tasks.iter().enumerate();
        tasks
            .filter(|(_, t)| t.phase.is_under_way())
            .map(|(ix, _)| ix)
            .collect()
    }

    fn clash_among(&self, ix: Ix, under_way: &[Ix]) -> Option<(Ix, Clash<'_>)> {
        let others = under_way.iter().filter(|&&other| other != ix);
        others
            .copied()
            .find_map(|other| clash(&self.tasks[ix], &self.tasks[other]).map(|why| (other, why)))
    }

    /// The next candidate on the way to the target, if that way is free.
    pub(super) fn next_build(&self, now: Now) -> Option<Ix> {
        if self.tasks.iter().any(|t| t.phase.is_on_the_way_in()) {
            return None;
        }
        (0..self.tasks.len())
            .filter(|&ix| match &self.tasks[ix].phase {
                Phase::Queued { pause, .. } => pause.is_none_or(|p| p.is_over(now)),
                Phase::Open { .. }
                | Phase::Preparing { .. }
                | Phase::Executing { .. }
                | Phase::Collecting { .. }
                | Phase::Building { .. }
                | Phase::Landing { .. }
                | Phase::Settled(_) => false,
            })
            .min_by_key(|&ix| self.rank(ix))
    }
}

fn clash<'a>(a: &'a Task, b: &'a Task) -> Option<Clash<'a>> {
    let (a, b) = (&a.node, &b.node);
    if let Some(name) = a.resources.iter().find(|name| b.resources.contains(name)) {
        return Some(Clash::Resource(name));
    }
    a.files.iter().find_map(|mine| {
        let theirs = b.files.iter().find(|theirs| may_meet(mine, theirs))?;
        Some(Clash::Files(mine, theirs))
    })
}

/// Whether some path may match both globs. Errs on the side of yes: two tasks that wait for each other lose time, two
/// that write the same file lose an attempt.
fn may_meet(a: &str, b: &str) -> bool {
    let mut a = a.trim_end_matches('/').split('/');
    let mut b = b.trim_end_matches('/').split('/');
    loop {
        match (a.next(), b.next()) {
            (Some("**"), _) | (_, Some("**")) => return true,
            (Some(x), Some(y)) if segments_may_meet(x, y) => {}
            (Some(_), Some(_)) => return false,
            // One is a directory above the other, or both are the same.
            (None, _) | (_, None) => return true,
        }
    }
}

/// Compares what stands before the first and after the last special character of two path segments.
fn segments_may_meet(a: &str, b: &str) -> bool {
    const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];
    let ends = |s: &str| {
        let head = s.find(SPECIAL)?;
        let tail = s
            .rfind([']', '}', '*', '?', '\\'])
            .map_or(s.len(), |at| at + 1);
        Some((s[..head].to_owned(), s[tail.max(head)..].to_owned()))
    };
    let agree = |x: &str, y: &str| x.starts_with(y) || y.starts_with(x);
    let agree_at_end = |x: &str, y: &str| x.ends_with(y) || y.ends_with(x);
    match (ends(a), ends(b)) {
        (None, None) => a == b,
        (Some((head, tail)), None) => b.starts_with(&head) && b.ends_with(&tail),
        (None, Some((head, tail))) => a.starts_with(&head) && a.ends_with(&tail),
        (Some((head_a, tail_a)), Some((head_b, tail_b))) => {
            agree(&head_a, &head_b) && agree_at_end(&tail_a, &tail_b)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::may_meet;

    #[test]
    fn globs_meet_unless_a_segment_rules_it_out() {
        for (a, b) in [
            ("src/a.rs", "src/a.rs"),
            ("src", "src/a.rs"),
            ("src/", "src/deep/a.rs"),
            ("src/*.rs", "src/a.rs"),
            ("src/*.rs", "src/a*"),
            ("src/**", "src/x/y"),
            ("**/*.md", "docs/a.md"),
            ("src/{a,b}.rs", "src/b.rs"),
            ("src/[ab].rs", "src/?.rs"),
            ("a\\*b", "a*"),
        ] {
            assert!(may_meet(a, b) && may_meet(b, a), "{a} and {b}");
        }
        for (a, b) in [
            ("src/a.rs", "src/b.rs"),
            ("src/*.rs", "src/a.md"),
            ("src/*.rs", "docs/*.rs"),
            ("api_*", "web_*"),
            ("src/**", "docs/**"),
        ] {
            assert!(!may_meet(a, b) && !may_meet(b, a), "{a} and {b}");
        }
    }
}

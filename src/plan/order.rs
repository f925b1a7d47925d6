//! What follows what: the edges that document order implies, and cycles among written ones.
//!
//! An explicit `depends_on` means exactly that. A task without one follows all earlier tasks of the document that do not
//! themselves depend on it, directly or not; but not its group neighbours: the adjacent tasks of its section that name
//! the same `parallel_group`. `docs/plan-format.md` has a table of examples, which is tested here.

use std::collections::{BTreeSet, HashMap};

/// Most edges of a graph. 100,000 tasks in a row have 100,000; two groups of a thousand that follow each other have a
/// million, and one task between them makes that two thousand.
pub(super) const EDGES_MAX: usize = 1_000_000;

/// Most steps of the search for earlier tasks that depend on a later one: about a second's work. Plans that are read by
/// people need a few for each edge that points forward.
const SEARCH_STEPS_MAX: usize = 50_000_000;

/// A task as far as its place in the order goes.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    /// Index of its section.
    pub(super) section: usize,
    /// Its `parallel_group`.
    pub(super) group: Option<&'a str>,
    /// Its `depends_on` as indices of tasks, if it has one.
    pub(super) explicit: Option<Vec<usize>>,
}

/// What a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// Index of the task that is needed.
    pub(super) on: usize,
    /// Whether document order implies it.
    pub(super) implied: bool,
}

/// The plan has more edges than a graph may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// The task at which the limit was passed.
    pub(super) at: usize,
}

/// What each task needs by its own `depends_on` alone.
///
/// # Errors
/// [`TooLarge`] beyond [`EDGES_MAX`].
pub(super) fn explicit_needs(tasks: &[Place<'_>]) -> Result<Vec<Vec<Need>>, TooLarge> {
    let mut edges = 0;
    let mut needs = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        let written = task.explicit.as_deref().unwrap_or_default();
        edges += written.len();
        if edges > EDGES_MAX {
            return Err(TooLarge { at });
        }
        needs.push(
            written
                .iter()
                .map(|&on| Need { on, implied: false })
                .collect(),
        );
    }
    Ok(needs)
}

/// What each task needs by its own `depends_on` or by document order. Written edges must be free of cycles; the result
/// then is.
///
/// Of all earlier tasks that a task follows, only those get an edge that no other of them depends on. The rest can be
/// reached from these, since from any of them the path along its dependents among the followed tasks ends, without
/// cycles, at one on which none depends. This keeps a row of n tasks at n edges instead of n²/2. (An edge to a task
/// that is completed does not imply that what the task needs is, so readers of the graph look behind implied edges:
/// see [`Edge`](super::graph::Edge).)
///
/// # Errors
/// [`TooLarge`] beyond [`EDGES_MAX`] edges, or if finding them takes too long.
pub(super) fn needs(tasks: &[Place<'_>]) -> Result<Vec<Vec<Need>>, TooLarge> {
    let mut order = Order::new(explicit_needs(tasks)?);
    let mut run = 0..0;
    while run.end < tasks.len() {
        run = run.end..end_of_group(tasks, run.end);
        for task in run.clone().filter(|task| tasks[*task].explicit.is_none()) {
            order.follow_all_before(run.start, task)?;
        }
        run.clone().for_each(|task| order.admit(task));
    }
    Ok(order.needs)
}

/// Where the group ends that begins at `start`; a task without a group is one by itself.
fn end_of_group(tasks: &[Place<'_>], start: usize) -> usize {
    let first = &tasks[start];
    let neighbours = tasks[start + 1..]
        .iter()
        .take_while(|t| t.group.is_some() && t.group == first.group && t.section == first.section);
    start + 1 + neighbours.count()
}

struct Order {
    needs: Vec<Vec<Need>>,
    /// The reverse of `needs`.
    dependents: Vec<Vec<usize>>,
    edges: usize,
    steps: usize,
    /// How many admitted tasks depend on each task, directly.
    covered: Vec<usize>,
    /// The admitted tasks that no admitted task depends on.
    last: BTreeSet<usize>,
    /// The task for whose search a task was last seen.
    seen_for: Vec<usize>,
}

impl Order {
    fn new(needs: Vec<Vec<Need>>) -> Self {
        let mut dependents = vec![Vec::new(); needs.len()];
        for (task, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[need.on].push(task));
        }
        Self {
            edges: needs.iter().map(Vec::len).sum(),
            steps: 0,
            covered: vec![0; needs.len()],
            last: BTreeSet::new(),
            seen_for: vec![usize::MAX; needs.len()],
            dependents,
            needs,
        }
    }

    /// Lets a task without `depends_on` follow all admitted tasks (those before `start`) that do not depend on it.
    fn follow_all_before(&mut self, start: usize, task: usize) -> Result<(), TooLarge> {
        let depending = self.depending_on(task)?;
        let depends = |t: &usize| self.seen_for[*t] == task;
        let mut followed: Vec<usize> = self.last.iter().copied().filter(|t| !depends(t)).collect();
        // Tasks on which only such tasks depend that are not followed themselves come to light.
        let mut uncovered: HashMap<usize, usize> = HashMap::new();
        for dependent in depending.into_iter().filter(|d| *d < start) {
            self.steps += self.needs[dependent].len();
            for need in self.needs[dependent].iter().map(|need| need.on) {
                if need < start && !depends(&need) {
                    let by = uncovered.entry(need).or_default();
                    *by += 1;
                    if *by == self.covered[need] {
                        followed.push(need);
                    }
                }
            }
        }
        followed.sort_unstable();
        self.edges += followed.len();
        if self.edges > EDGES_MAX || self.steps > SEARCH_STEPS_MAX {
            return Err(TooLarge { at: task });
        }
        for on in followed {
            self.needs[task].push(Need { on, implied: true });
            self.dependents[on].push(task);
        }
        Ok(())
    }

    /// All tasks that depend on `task`, directly or not; marks them in `seen_for`.
    fn depending_on(&mut self, task: usize) -> Result<Vec<usize>, TooLarge> {
        let mut found = Vec::new();
        let mut next = vec![task];
        while let Some(on) = next.pop() {
            self.steps += self.dependents[on].len();
            if self.steps > SEARCH_STEPS_MAX {
                return Err(TooLarge { at: task });
            }
            for &dependent in &self.dependents[on] {
                if std::mem::replace(&mut self.seen_for[dependent], task) != task {
                    found.push(dependent);
                    next.push(dependent);
                }
            }
        }
        Ok(found)
    }

    /// Counts a task among the earlier ones from here on. Tasks are admitted in document order, a group at its end, so
    /// that its members do not see each other.
    fn admit(&mut self, task: usize) {
        if self.covered[task] == 0 {
            self.last.insert(task);
        }
        for need in self.needs[task].iter().map(|need| need.on) {
            self.covered[need] += 1;
            self.last.remove(&need);
        }
    }
}

/// One shortest cycle of each knot of tasks that depend on each other, as a path whose last task needs its first.
/// Edges from a task to itself are not looked at.
pub(super) fn cycles(needs: &[Vec<Need>]) -> Vec<Vec<usize>> {
    let knots = knots(needs);
    let mut cycles: Vec<Vec<usize>> = knots.iter().map(|knot| cycle_in(needs, knot)).collect();
    cycles.sort_unstable();
    cycles
}

/// A shortest cycle through the first task of a knot.
fn cycle_in(needs: &[Vec<Need>], knot: &[usize]) -> Vec<usize> {
    let start = knot
        .iter()
        .copied()
        .min()
        .expect("a knot has two tasks or more");
    let members: BTreeSet<usize> = knot.iter().copied().collect();
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(task) = queue.pop_front() {
        for need in needs[task].iter().map(|need| need.on) {
            if need == start && task != start {
                let mut path = vec![task];
                while let Some(before) = path.last().and_then(|t| came_from.get(t)) {
                    path.push(*before);
                }
                path.reverse();
                return path;
            }
            if members.contains(&need) && need != start && !came_from.contains_key(&need) {
                came_from.insert(need, task);
                queue.push_back(need);
            }
        }
    }
    knot.to_vec()
}

/// The strongly connected components of two tasks or more (Tarjan's algorithm with a stack of its own, since plans are
/// deeper than call stacks).
fn knots(needs: &[Vec<Need>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut number = vec![UNSEEN; needs.len()];
    let mut lowest = vec![UNSEEN; needs.len()];
    let mut is_open = vec![false; needs.len()];
    let mut open = Vec::new();
    let mut knots = Vec::new();
    let mut count = 0;
    for root in 0..needs.len() {
        if number[root] != UNSEEN {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((task, next_need)) = path.pop() {
            if next_need == 0 {
                (number[task], lowest[task]) = (count, count);
                count += 1;
                open.push(task);
                is_open[task] = true;
            }
            if let Some(need) = needs[task].get(next_need).map(|need| need.on) {
                path.push((task, next_need + 1));
                if number[need] == UNSEEN {
                    path.push((need, 0));
                } else if is_open[need] {
                    lowest[task] = lowest[task].min(number[need]);
                }
                continue;
            }
            if let Some((parent, _)) = path.last() {
                lowest[*parent] = lowest[*parent].min(lowest[task]);
            }
            if lowest[task] == number[task] {
                let first = open
                    .iter()
                    .rposition(|t| *t == task)
                    .expect("it was opened");
                let knot = open.split_off(first);
                knot.iter().for_each(|t| is_open[*t] = false);
                if knot.len() > 1 {
                    knots.push(knot);
                }
            }
        }
    }
    knots
}

#[cfg(test)]
mod tests;

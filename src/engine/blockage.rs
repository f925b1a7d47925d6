//! Which open tasks cannot start unless a person acts, because something that they need failed or was called off.

use super::state::State;
use super::topology::Ix;

/// The blocked tasks of a run.
pub(super) struct Blockage {
    /// For each blocked task, the need through which it is blocked.
    by: Vec<Option<Ix>>,
    /// For each task, open or not, the first of its needs at or behind which something blocks.
    behind: Vec<Option<Ix>>,
}

impl Blockage {
    pub(super) fn of(state: &State) -> Self {
        let mut by = vec![None; state.tasks.len()];
        let mut behind = vec![None; state.tasks.len()];
        for &ix in state.topology.sorted() {
            let task = &state.tasks[ix];
            if task.is_removed() {
                continue;
            }
            let needs = state.topology.needs(ix);
            let stops = |on: Ix| state.tasks[on].blocks() || by[on].is_some();
            let far = |on: Ix| stops(on) || behind[on].is_some();
            let by_need = needs
                .iter()
                .find(|need| {
                    if need.implied {
                        far(need.on)
                    } else {
                        stops(need.on)
                    }
                })
                .map(|need| need.on);
            behind[ix] = needs.iter().map(|need| need.on).find(|&on| far(on));
            by[ix] = by_need.filter(|_| task.is_open() && task.is_judged());
        }
        Self { by, behind }
    }

    /// The need through which a task is blocked, if it is.
    pub(super) fn by(&self, ix: Ix) -> Option<Ix> {
        self.by[ix]
    }

    /// The way from a blocked task to what blocks it, each one needed by the one before; empty if it is not blocked.
    pub(super) fn chain(&self, state: &State, ix: Ix) -> Vec<Ix> {
        let mut chain: Vec<Ix> = self.by[ix].into_iter().collect();
        while let Some(&last) = chain.last() {
            match self.behind[last] {
                Some(next) if !state.tasks[last].blocks() => chain.push(next),
                Some(_) | None => break,
            }
        }
        chain
    }
}

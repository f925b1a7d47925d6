//! The breaker: when the world outside the tasks seems broken, nothing new starts until one probe has shown otherwise.

use std::collections::BTreeSet;

use super::ending::Ending;
use super::policy::Policy;
use super::table::Signal;
use crate::ids::TaskId;
use crate::time::Wall;

/// The breaker of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Breaker {
    /// Failures since something last worked.
    pub failures: u32,
    /// The tasks that failed.
    pub tasks: BTreeSet<TaskId>,
    /// Probes that failed since it was last closed.
    pub failed_probes: u32,
    /// Set unless it is closed.
    pub open: Option<Open>,
}

/// A breaker that is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub since: Wall,
    /// When one attempt may try.
    pub until: Wall,
    /// Why, in a line.
    pub cause: String,
    /// The end that opened it.
    pub ending: Ending,
    /// The task whose attempt tries.
    pub probe: Option<TaskId>,
    /// The task that a person wants tried first.
    pub asked: Option<TaskId>,
}

impl Breaker {
    /// What keeps `task` from starting: the time at which that changes by itself, if it does.
    pub(super) fn bars(&self, task: &TaskId, at: Wall) -> Option<Option<Wall>> {
        let open = self.open.as_ref()?;
        match &open.probe {
            Some(probe) if probe == task => None,
            Some(_) => Some(None),
            None => (at < open.until && at >= open.since).then_some(Some(open.until)),
        }
    }

    /// Counts an end. A probe that ended is over, whatever it showed.
    pub(super) fn hear(&mut self, task: &TaskId, signal: Signal) {
        match signal {
            Signal::Works => {
                self.failures = 0;
                self.tasks.clear();
            }
            Signal::Fails => {
                self.failures += 1;
                self.tasks.insert(task.clone());
            }
            Signal::Nothing | Signal::Opens => {}
        }
        if let Some(open) = self
            .open
            .as_mut()
            .filter(|o| o.probe.as_ref() == Some(task))
        {
            open.probe = None;
        }
    }

    /// Sees an attempt start.
    pub(super) fn started(&mut self, task: &TaskId) {
        if let Some(open) = self.open.as_mut().filter(|open| open.probe.is_none()) {
            open.probe = Some(task.clone());
            open.asked = None;
        }
    }

    /// Whether the failures since something last worked are enough to open it.
    pub(super) fn has_enough(&self, policy: &Policy) -> bool {
        policy.breaker_threshold > 0
            && self.failures >= policy.breaker_threshold
            && self.tasks.len() >= 2
    }

    pub(super) fn is_probed_by(&self, task: &TaskId) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.probe.as_ref() == Some(task))
    }
}

impl Open {
    /// Whether it opened because no service let agents work, so that an answer is enough to close it.
    pub(super) fn is_over_when_answered(&self) -> bool {
        self.ending.row().breaker == Signal::Opens && self.ending != Ending::Environment
    }
}

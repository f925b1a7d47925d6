//! What the laws ask about the tasks as the records left them.

use orch::ids::TaskId;

use super::{Done, Entry, Laws};

impl Laws {
    pub(super) fn is_removed(&self, entry: &Entry) -> bool {
        !entry.in_plan && !entry.under_way
    }

    pub(super) fn is_satisfied(&self, entry: &Entry) -> bool {
        entry.left_out || entry.done == Done::Satisfied || self.is_removed(entry)
    }

    /// Whether the task and all that it needs are satisfied. `depth` ends the search where edits made a circle.
    pub(super) fn is_reached(&self, task: &TaskId, depth: usize) -> bool {
        let entry = &self.tasks[task];
        depth < self.tasks.len()
            && self.is_satisfied(entry)
            && (self.is_removed(entry)
                || entry
                    .node
                    .needs
                    .iter()
                    .all(|edge| self.is_reached(&edge.on, depth + 1)))
    }

    pub(super) fn is_startable(&self, entry: &Entry) -> bool {
        let met = entry.node.needs.iter().all(|edge| match edge.implied {
            true => self.is_reached(&edge.on, 0),
            false => self.is_satisfied(&self.tasks[&edge.on]),
        });
        entry.in_plan
            && !entry.under_way
            && entry.done == Done::No
            && !entry.held
            && !entry.left_out
            && met
    }

    pub(super) fn clashes(&self, entry: &Entry) -> bool {
        let others = self
            .tasks
            .values()
            .filter(|other| other.under_way && other.node.id != entry.node.id);
        others
            .into_iter()
            .any(|other| entry.node.conflict(&other.node).is_some())
    }
}

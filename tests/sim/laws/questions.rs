//! What the laws ask about the tasks as the records left them, in the end and on the way.

use orch::engine::outcome::Outcome;
use orch::ids::TaskId;

use super::{Done, Entry, Laws};
use crate::bounds::{Verdict, law};

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
            && self
                .consents
                .let_start(&entry.node.id, entry.node.evidence.is_some())
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

    pub(super) fn run_ended(&mut self, outcome: Outcome, gives_up: bool) -> Verdict {
        self.ended = Some(outcome);
        law(
            gives_up
                || self
                    .tasks
                    .values()
                    .all(|t| t.slot.is_none() && !t.on_the_way_in && !t.parked),
            || "the run ends under way".to_owned(),
        )?;
        let judged = || self.tasks.values().filter(|t| t.in_plan && !t.left_out);
        let all_done = judged().all(|t| t.done == Done::Satisfied);
        law(outcome != Outcome::Completed || all_done, || {
            "completed, but not all tasks are".to_owned()
        })?;
        let is_asked = |t: &Entry| self.consents.is_asked(&t.node.id);
        let waits = judged().any(|t| t.under_way && (t.in_the_way || is_asked(t)));
        law(
            !waits || !matches!(outcome, Outcome::Failed | Outcome::Stuck),
            || format!("ended as {outcome:?} although a commit waits for a person"),
        )?;
        let is_red = self.smokes.is_red();
        law(outcome != Outcome::Completed || !is_red, || {
            "completed, and smoke is red".to_owned()
        })?;
        law(outcome != Outcome::Failed || !all_done || is_red, || {
            "failed, but all tasks are done".to_owned()
        })?;
        let could_start = judged().any(|t| self.is_startable(t) && !self.clashes(t));
        let is_left = judged().any(|t| t.done == Done::No && !t.held);
        let is_left = is_left || self.smokes.is_owed();
        law(outcome != Outcome::LimitReached || is_left, || {
            "ended by a limit, but nothing is left".to_owned()
        })?;
        let is_limited = outcome == Outcome::LimitReached;
        law(!could_start || self.barred.is_some() || is_limited, || {
            format!("ended as {outcome:?} although a task could start")
        })
    }
}

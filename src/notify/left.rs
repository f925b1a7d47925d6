//! What a run has left to start, as far as its records tell: who is told that nothing starts wants something to start.

use std::collections::BTreeSet;

use crate::engine::event::PlanRevision;
use crate::engine::next::Next;
use crate::engine::record::Record;
use crate::ids::TaskId;

/// The tasks of a run, by whether an attempt of them could start.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Those of the plan; none as long as no record told of it.
    planned: Option<BTreeSet<TaskId>>,
    /// Those that are settled, or of which an attempt is under way.
    taken: BTreeSet<TaskId>,
}

impl Left {
    /// Whether every task is known to be settled or under way.
    pub(super) fn is_nothing(&self) -> bool {
        let planned = self.planned.as_ref();
        planned.is_some_and(|planned| planned.is_subset(&self.taken))
    }

    pub(super) fn hear(&mut self, record: &Record) {
        match record {
            Record::RunStarted(start) | Record::RunResumed { start } => self.plan(&start.revision),
            Record::PlanAccepted { revision } => self.plan(revision),
            Record::AttemptStarted { ticket, .. }
            | Record::AgentStarting { ticket, .. }
            | Record::Landed { ticket, .. } => drop(self.taken.insert(ticket.task.clone())),
            Record::Settled { task, .. } | Record::LandingFound { task, .. } => {
                self.taken.insert(task.clone());
            }
            Record::Collected { ticket, next, .. } | Record::NotLandable { ticket, next, .. } => {
                match next {
                    Next::Retry { .. } | Next::Continue { .. } | Next::Nothing => {
                        self.taken.remove(&ticket.task);
                    }
                    Next::Land | Next::Complete | Next::Fail { .. } | Next::AskStatus => {}
                }
            }
            Record::SessionDropped { task } | Record::Reopened { task, .. } => {
                self.taken.remove(task);
            }
            _ => {}
        }
    }

    fn plan(&mut self, revision: &PlanRevision) {
        let nodes = revision.graph.nodes.iter();
        self.planned = Some(nodes.map(|node| node.id.clone()).collect());
    }
}

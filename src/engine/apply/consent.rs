//! Records of waits for people and for the world outside.

use crate::engine::approval::{Consent, Shown};
use crate::engine::phase::Phase;
use crate::engine::state::State;
use crate::engine::task::Task;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::graph::When;
use crate::time::Wall;

impl State {
    pub(super) fn approval_asked(&mut self, ticket: &Ticket, shown: &Shown, at: Wall) -> bool {
        let gates = self.get(&ticket.task).map(|(ix, _)| self.gates_of(ix));
        let Some(task) = self.ordering(ticket) else {
            return false;
        };
        let work = match &task.phase {
            Phase::Building { work, .. } if gates.is_some_and(|gates| gates.is_none()) => {
                work.clone()
            }
            Phase::Judged {
                work, commit, onto, ..
            } if *commit == shown.commit && *onto == shown.onto => work.clone(),
            Phase::Open { .. }
            | Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. }
            | Phase::Settled(_) => return false,
        };
        let possible = !task.lost
            && task.past().closing.is_none()
            && task.node.approval == Some(When::After)
            && work.candidate == shown.candidate;
        if !possible {
            return false;
        }
        task.past_mut().consent = Consent::Asked(Box::new(shown.clone()));
        let queued = Phase::Queued {
            work,
            pause: None,
            in_the_way: None,
        };
        task.order(ticket, queued, at)
    }

    pub(super) fn start_asked(&mut self, id: &TaskId) -> bool {
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        let possible =
            task.is_open() && task.awaits_approval() && task.past().consent == Consent::None;
        if possible {
            task.past_mut().consent = Consent::AskedToStart;
        }
        possible
    }

    pub(super) fn approval_lapsed(&mut self, id: &TaskId) -> bool {
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        let possible = matches!(task.past().consent, Consent::Given { .. });
        if possible {
            task.past_mut().consent = Consent::None;
        }
        possible
    }

    pub(super) fn evidence_looked(
        &mut self,
        id: &TaskId,
        found: bool,
        said: &str,
        at: Wall,
    ) -> bool {
        let Some(task) = self.task_mut(id).filter(|task| task.awaits_evidence()) else {
            return false;
        };
        let supply = &mut task.past_mut().supply;
        supply.found = found;
        supply.since.get_or_insert(at);
        said.clone_into(&mut supply.said);
        true
    }
}

impl Task {
    /// A person said yes; `meant` is what they named, if they named something.
    pub(super) fn approved(&mut self, meant: Option<&ObjectId>, signature: Option<&str>) -> bool {
        let shown = match (self.node.approval, &self.past().consent) {
            (Some(When::Before), _) if self.is_open() => None,
            (Some(When::After), Consent::Asked(shown)) => {
                let is_meant = meant.is_none_or(|id| *id == shown.candidate || *id == shown.commit);
                if !is_meant {
                    return false;
                }
                Some(shown.clone())
            }
            _ => return false,
        };
        self.past_mut().consent = Consent::Given {
            shown,
            signature: signature.map(str::to_owned),
        };
        true
    }
}

//! What the plan and the person who starts a run ask for: declared statuses, selections, and revisions while it goes.

use std::collections::HashMap;

use super::event::{Author, Control, Decision, PlanRevision, Verb};
use super::outcome::Outcome;
use super::phase::{Phase, Settled};
use super::record::{Record, Settlement};
use super::start::{RunStart, Selection};
use super::task::Task;
use super::topology::Ix;
use super::turn::Turn;
use crate::ids::{ObjectId, TaskId};
use crate::plan::graph::Declared;

/// A status that a revision declares and the one before did not.
struct Declaration {
    task: TaskId,
    declared: Declared,
}

impl Turn<'_> {
    /// Believes what the plan's text says about tasks of which nothing better is known.
    pub(super) fn settle_declared_at_start(&mut self, start: &RunStart) {
        self.settle_landed_before(start);
        let declarations = start.revision.graph.nodes.iter().map(|node| Declaration {
            task: node.id.clone(),
            declared: node.declared,
        });
        self.settle_declared(declarations.collect(), true);
    }

    /// Goes on with a run under what the resuming person asks for.
    pub(super) fn resume(&mut self, start: &RunStart) {
        let declarations = self.declarations(&start.revision);
        let paused = self.state.paused.clone();
        self.record(Record::RunResumed {
            start: Box::new(start.clone()),
        });
        // Whoever starts orch again need not be the one who paused the run.
        if let Some(Decision { by, note }) = paused {
            let verb = Verb::Pause;
            let control = Control { verb, by, note };
            self.record(Record::Controlled {
                control,
                refused: None,
            });
        }
        self.settle_landed_before(start);
        self.settle_declared(declarations, true);
        self.select();
    }

    /// Goes by a revision that a person or a landed agent made.
    pub(super) fn plan_revised(&mut self, revision: PlanRevision) -> bool {
        if revision.text_sha256 == self.state.revision {
            return true;
        }
        let declarations = self.declarations(&revision);
        let by_person = matches!(revision.by, Author::Person(_));
        self.record(Record::PlanAccepted { revision });
        self.settle_declared(declarations, by_person);
        true
    }

    /// The statuses that a revision changes. A text that merely repeats an old status says nothing about a task that was
    /// reopened since.
    fn declarations(&self, revision: &PlanRevision) -> Vec<Declaration> {
        let is_new = |task: &TaskId, declared| {
            self.state.get(task).is_none_or(|(_, known)| {
                known.node.declared != declared && !known.past().unwritten.contains(&declared)
            })
        };
        let nodes = revision.graph.nodes.iter();
        nodes
            .filter(|node| is_new(&node.id, node.declared))
            .map(|node| Declaration {
                task: node.id.clone(),
                declared: node.declared,
            })
            .collect()
    }

    /// Settles open tasks as declared. An agent may call off what has not started; the rest takes a person.
    fn settle_declared(&mut self, declarations: Vec<Declaration>, by_person: bool) {
        // Thousands at the start of a large plan.
        self.effects.records.reserve(declarations.len());
        for Declaration { task: id, declared } in declarations {
            let Some((_, task)) = self.state.get(&id) else {
                continue;
            };
            if !task.is_open() || task.past().closing.is_some() {
                continue;
            }
            let as_ = match declared {
                Declared::Skipped if by_person || task.fresh => Settlement::Skipped,
                Declared::Completed if by_person => Settlement::Believed,
                Declared::Failed if by_person && task.fresh => Settlement::DeclaredFailed,
                Declared::Skipped | Declared::Completed | Declared::Failed | Declared::Pending => {
                    continue;
                }
            };
            self.record(Record::Settled { task: id, as_ });
        }
    }

    /// What the ledger knows as landed counts, whatever the plan's text says, unless it was reopened since.
    fn settle_landed_before(&mut self, start: &RunStart) {
        let landed: HashMap<&TaskId, &ObjectId> = start
            .landed_before
            .iter()
            .map(|(task, commit)| (task, commit))
            .collect();
        for ix in self.state.order.clone() {
            let task = &self.state.tasks[ix];
            if !task.is_open()
                || !task.fresh
                || task.generation > 1
                || task.past().closing.is_some()
            {
                continue;
            }
            if let Some(&commit) = landed.get(&task.node.id) {
                let task = task.node.id.clone();
                let as_ = Settlement::LandedBefore {
                    commit: commit.clone(),
                };
                self.record(Record::Settled { task, as_ });
            }
        }
    }

    /// Leaves out and reopens what the selection says.
    pub(super) fn select(&mut self) {
        match self.state.selection.clone() {
            Selection::All => {}
            Selection::From { task, redo } => {
                let Some(place) = self.place(&task) else {
                    return;
                };
                let order = self.state.order.clone();
                let (before, rest) = order.split_at(place);
                self.leave_out(before);
                self.reset(rest[0]);
                for &ix in rest[1..].iter().filter(|_| redo) {
                    if is_done(&self.state.tasks[ix]) {
                        self.reset(ix);
                    }
                }
            }
            Selection::Single { task } => {
                let chosen = match task {
                    Some(task) => match self.place(&task) {
                        Some(place) => Some(self.state.order[place]),
                        None => return,
                    },
                    None => self.next_of_all(),
                };
                if let Some(chosen) = chosen {
                    let mut others = self.state.order.clone();
                    others.retain(|&ix| ix != chosen);
                    self.leave_out(&others);
                    self.reset_if_settled(chosen);
                }
            }
        }
    }

    /// The place of a selected task in the document; a run that selects what is not there is invalid.
    fn place(&mut self, id: &TaskId) -> Option<usize> {
        let place = self
            .state
            .order
            .iter()
            .position(|&ix| self.state.tasks[ix].node.id == *id);
        if place.is_none() {
            self.run_failed(
                Outcome::Invalid,
                format!("the plan has no task `{id}` to run"),
            );
        }
        place
    }

    /// The task that would start next, pauses aside.
    fn next_of_all(&self) -> Option<Ix> {
        let state = &*self.state;
        state
            .order
            .iter()
            .copied()
            .filter(|&ix| {
                state.tasks[ix].is_open() && !state.tasks[ix].is_held() && state.needs_are_met(ix)
            })
            .min_by_key(|&ix| state.rank(ix))
    }

    fn leave_out(&mut self, tasks: &[Ix]) {
        for &ix in tasks {
            let task = &self.state.tasks[ix];
            if !task.satisfies() {
                let task = task.node.id.clone();
                self.record(Record::Settled {
                    task,
                    as_: Settlement::LeftOut,
                });
            }
        }
    }

    /// Gives a task a fresh beginning, unless it is at its beginning or under way.
    fn reset(&mut self, ix: Ix) {
        let task = &self.state.tasks[ix];
        if task.is_open() && !task.fresh && task.past().closing.is_none() {
            let record = self.reopen(task, None);
            self.record(record);
        } else {
            self.reset_if_settled(ix);
        }
    }

    fn reset_if_settled(&mut self, ix: Ix) {
        let task = &self.state.tasks[ix];
        if matches!(task.phase, Phase::Settled(_)) {
            let record = self.reopen(task, None);
            self.record(record);
        }
    }
}

fn is_done(task: &Task) -> bool {
    let Phase::Settled(settled) = &task.phase else {
        return false;
    };
    settled.satisfies() && !matches!(settled, Settled::Skipped | Settled::Removed)
}

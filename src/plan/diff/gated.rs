//! What people said about approvals, as far as an agent's edit must not lead around it: a task that is added asks the
//! person whom the task asks that adds it, and what waits for people or for evidence is not skipped by an agent.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;
use crate::ids::{SectionId, TaskId};
use crate::plan::Plan;
use crate::plan::consent::Gate;
use crate::plan::edit::anchors::Anchors;
use crate::plan::edit::render::Renderer;
use crate::plan::syntax;

/// Who asks people, in a plan as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gated {
    /// The value of `gate` that says what a task asks for, by task.
    tasks: BTreeMap<TaskId, String>,
    /// Tasks that wait for evidence from outside.
    external: BTreeSet<TaskId>,
    /// Sections whose tasks ask without a word of their own.
    sections: BTreeSet<SectionId>,
    /// Whether tasks of other sections do.
    everywhere: bool,
    /// Whether the edit was judged before: what a person has gated since was skipped in time.
    is_judged: bool,
}

impl Gated {
    /// In this plan.
    pub fn of(plan: &Plan) -> Self {
        let asks = |gate: &Option<Gate>| gate.as_ref().is_some_and(|g| g.approval().is_some());
        let everywhere = asks(&plan.meta.gate);
        let approvals = plan.tasks.iter().filter_map(|task| {
            let approval = task.approval.as_deref()?;
            Some((task.id.clone(), approval.yaml()))
        });
        let external = plan.tasks.iter().filter(|task| task.external.is_some());
        let sections = plan.sections.iter().filter(|section| match section.gate {
            Some(_) => asks(&section.gate),
            None => everywhere,
        });
        Self {
            tasks: approvals.collect(),
            external: external.map(|task| task.id.clone()).collect(),
            sections: sections.map(|section| section.id.clone()).collect(),
            everywhere,
            is_judged: false,
        }
    }

    /// For an edit that was permitted before: nothing of it is refused any more.
    #[must_use]
    pub fn judged(self) -> Self {
        Self {
            is_judged: true,
            ..self
        }
    }

    /// Whether a task waits for a person's yes, or for evidence that people bring.
    pub(super) fn waits_for_people(&self, task: &TaskId) -> bool {
        !self.is_judged && (self.tasks.contains_key(task) || self.external.contains(task))
    }

    /// An addition that the agent of `adder` makes, which then says what `adder` asks for, unless people are asked about it
    /// anyway. `None` if what is added is no mapping.
    pub(super) fn inherited(&self, change: Change, adder: &TaskId) -> Option<Change> {
        let Some(gate) = self.tasks.get(adder) else {
            return Some(change);
        };
        Some(match change {
            Change::AddTask {
                section,
                after,
                task,
                yaml,
            } if !self.sections.contains(&section) => Change::AddTask {
                section,
                after,
                task,
                yaml: with_gate(&yaml, gate)?,
            },
            Change::AddSection {
                section,
                after,
                yaml,
            } if !self.everywhere => Change::AddSection {
                section,
                after,
                yaml: with_gate(&yaml, gate)?,
            },
            as_it_is => as_it_is,
        })
    }
}

/// A mapping with `gate` as its last key. What an agent may add has none of its own.
fn with_gate(yaml: &str, gate: &str) -> Option<String> {
    let (mapping, value) = (syntax::parse(yaml).ok()?.root?, syntax::parse(gate).ok()?);
    let with = mapping.with_entry("gate", value.root?)?;
    let anchors = Anchors::default();
    Some(Renderer { anchors: &anchors }.document(&with))
}

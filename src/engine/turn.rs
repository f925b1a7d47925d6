//! A step under way: decisions made one record at a time, and what has come of them so far.

use super::action::Action;
use super::orders::ordered_by;
use super::record::Record;
use super::shell::Shell;
use super::state::State;
use crate::time::{Now, Wall};

/// What a step decided. The records are appended in one transaction, stamped with `at`, before any action starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "records must be kept and actions carried out"]
pub struct Effects {
    /// The time of the step.
    pub at: Wall,
    /// What to keep, in order.
    pub records: Vec<Record>,
    /// What to start then, in order.
    pub actions: Vec<Action>,
}

/// A step under way: decisions are made one record at a time, each on the state that the one before left.
pub(super) struct Turn<'a> {
    pub state: &'a mut State,
    pub shell: &'a mut Shell,
    pub now: Now,
    pub effects: Effects,
}

impl<'a> Turn<'a> {
    pub(super) fn new(state: &'a mut State, shell: &'a mut Shell, now: Now) -> Self {
        let effects = Effects {
            at: now.wall,
            ..Effects::default()
        };
        Self {
            state,
            shell,
            now,
            effects,
        }
    }

    /// Makes a decision: the state follows it, it is kept, and what it orders is given out.
    pub(super) fn record(&mut self, record: Record) {
        self.state
            .apply(&record, self.now.wall)
            .expect("only records that the state allows are decided");
        self.shell.note(&record);
        if self.shell.attached {
            let orders = ordered_by(&record, self.state, self.shell);
            self.effects.actions.extend(orders);
        }
        self.effects.records.push(record);
    }
}

//! What agents are doing right now, for the live region of a terminal. Never a fact: nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::usage::Usage;
use crate::ids::TaskId;

/// What the agent of a task does at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doing {
    /// Its last tool call, shortened: `Bash cargo test`.
    pub last_tool: Option<String>,
    /// What its session used so far; a price is known only of turns that have ended.
    pub used: Usage,
}

/// A board that followers write on and the terminal reads.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<TaskId, Doing>>>);

impl Board {
    /// Says what a task's agent does.
    pub fn set(&self, task: &TaskId, doing: Doing) {
        self.with(|board| board.insert(task.clone(), doing));
    }

    /// Takes a task off.
    pub fn clear(&self, task: &TaskId) {
        self.with(|board| board.remove(task));
    }

    /// What everyone does.
    pub fn read(&self) -> BTreeMap<TaskId, Doing> {
        self.with(|board| board.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<TaskId, Doing>) -> T) -> T {
        // The map is whole after any panic of a writer: each write is one insertion.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

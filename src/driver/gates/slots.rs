//! The gate slots: how many there are, which are taken, and whose tests may have left something in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use anyhow::Context;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::lock;
use crate::ids::TaskId;

/// The slots of a run.
#[derive(Debug)]
pub(super) struct Slots {
    /// As many as there are slots; whoever holds one works in a slot.
    permits: Semaphore,
    /// The numbers of the slots in which somebody works.
    taken: Mutex<BTreeSet<u32>>,
    /// Whose commands were last red in a slot, since it was empty.
    red: Mutex<BTreeMap<u32, TaskId>>,
}

/// The number of a slot that nobody else works in, as long as this lives.
#[derive(Debug)]
pub(super) struct Berth<'a> {
    slots: &'a Slots,
    number: u32,
    _permit: SemaphorePermit<'a>,
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        Self {
            permits: Semaphore::new(count as usize),
            taken: Mutex::default(),
            red: Mutex::default(),
        }
    }

    /// Waits for a slot, and takes the one with the least number: the warmest.
    pub(super) async fn berth(&self) -> anyhow::Result<Berth<'_>> {
        let permit = self.permits.acquire().await;
        let permit = permit.context("the gate slots are closed")?;
        let mut taken = lock(&self.taken);
        let number = (1..)
            .find(|number| !taken.contains(number))
            .context("there are not so many gate slots")?;
        taken.insert(number);
        Ok(Berth {
            slots: self,
            number,
            _permit: permit,
        })
    }
}

impl Berth<'_> {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Remembers that a command was red here.
    pub(super) fn note_red(&self, task: &TaskId) {
        lock(&self.slots.red).insert(self.number, task.clone());
    }

    /// Whether a command of another task was the last to be red here: its tests may have left what makes others red.
    pub(super) fn was_red_for_another(&self, task: &TaskId) -> bool {
        let red = lock(&self.slots.red);
        red.get(&self.number).is_some_and(|of| of != task)
    }

    /// The slot is empty.
    pub(super) fn forget_red(&self) {
        lock(&self.slots.red).remove(&self.number);
    }
}

impl Drop for Berth<'_> {
    fn drop(&mut self) {
        lock(&self.slots.taken).remove(&self.number);
    }
}

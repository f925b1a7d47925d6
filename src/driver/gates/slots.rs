//! The gate slots: how many there are, and which are taken.

use std::collections::BTreeSet;
use std::sync::Mutex;

use anyhow::Context;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::lock;

/// The slots of a run.
#[derive(Debug)]
pub(super) struct Slots {
    /// As many as there are slots; whoever holds one works in a slot.
    permits: Semaphore,
    /// The numbers of the slots in which somebody works.
    taken: Mutex<BTreeSet<u32>>,
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
}

impl Drop for Berth<'_> {
    fn drop(&mut self) {
        lock(&self.slots.taken).remove(&self.number);
    }
}

//! The gate slots: how many there are, which are taken, and whether commands of several trees may have left something in
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use anyhow::Context;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::lock;
use crate::ids::ObjectId;

/// The slots of a run.
#[derive(Debug)]
pub(super) struct Slots {
    /// As many as there are slots; whoever holds one works in a slot.
    permits: Semaphore,
    /// The numbers of the slots in which somebody works.
    taken: Mutex<BTreeSet<u32>>,
    /// The files, by commit or tree, that are the only ones to have stood in a slot since it was empty. Of a slot from
    /// an earlier life of orch nothing is known.
    alone: Mutex<BTreeMap<u32, ObjectId>>,
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
            alone: Mutex::default(),
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

    /// Files stand here now, in a slot that was empty before or that held what others left.
    pub(super) fn note_files(&self, files: &ObjectId, was_empty: bool) {
        let mut alone = lock(&self.slots.alone);
        if was_empty {
            alone.insert(self.number, files.clone());
        } else if alone.get(&self.number) != Some(files) {
            alone.remove(&self.number);
        }
    }

    /// Whether commands of other trees may have left something here.
    pub(super) fn is_shared(&self) -> bool {
        !lock(&self.slots.alone).contains_key(&self.number)
    }
}

impl Drop for Berth<'_> {
    fn drop(&mut self) {
        lock(&self.slots.taken).remove(&self.number);
    }
}

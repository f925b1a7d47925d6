//! Filling a new ledger with what was saved of a damaged one.

use rusqlite::params;

use super::{Durability, Ledger, NewRun};
use crate::engine::record::Stamped;
use crate::store::ledger_file::LedgerError;
use crate::store::lock::OrchLock;
use crate::store::project::{self, Refusal};
use crate::time::Wall;

/// A record to be written again where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The record.
    pub stamped: Stamped,
    /// Its text, byte for byte.
    pub body: String,
}

impl Ledger {
    /// Makes a new ledger in the place of one that was set aside, although there were runs.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub fn replace(lock: OrchLock) -> Result<Self, LedgerError> {
        Self::open_anywhere(lock)
    }

    /// Writes runs and records, all or none, and derives what follows from them. The last place that was given away is
    /// never given away again, if it is known.
    ///
    /// # Errors
    /// If the ledger holds records already, or one contradicts those before it.
    pub fn restore(
        &mut self,
        runs: &[(NewRun, Wall)],
        records: &[Saved],
        last_seq: Option<u64>,
    ) -> Result<(), LedgerError> {
        let all: Vec<Stamped> = records.iter().map(|saved| saved.stamped.clone()).collect();
        self.transact(Durability::Synced, |tx| {
            for (new, at) in runs {
                super::insert_run(tx, new, *at)?;
            }
            let mut insert = tx.prepare(
                "INSERT INTO records (seq, run_id, at_ms, body) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for Saved { stamped, body } in records {
                let seq = stamped.seq.cast_signed();
                insert
                    .execute(params![seq, stamped.run.as_str(), stamped.at.0, body])
                    .map_err(project::contradiction(|| {
                        format!("record {seq} cannot stand in the new ledger")
                    }))?;
            }
            project::project_all(tx, &all)?;
            if let Some(last) = last_seq {
                tx.execute(
                    "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'records'",
                    [i64::try_from(last).unwrap_or(i64::MAX)],
                )?;
            }
            Ok::<(), Refusal>(())
        })
    }
}

//! How records are appended within a transaction, with what follows from each of them.

use std::io;

use rusqlite::Transaction;

use crate::engine::record::{Record, Stamped};
use crate::ids::RunId;
use crate::store::project::{self, Placed, Refusal};
use crate::time::Wall;

/// Records that the ledger holds now. They follow each other in it, since one orch writes at a time, so that their places
/// need no room beside them: a large plan begins with thousands of records.
#[derive(Debug)]
pub struct Appended {
    run: RunId,
    at: Wall,
    /// The place of the first.
    first: u64,
    records: Vec<Record>,
}

impl Appended {
    pub(super) fn nothing(run: &RunId, at: Wall) -> Self {
        Self {
            run: run.clone(),
            at,
            first: 0,
            records: Vec::new(),
        }
    }

    /// The records, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records with their places.
    pub fn into_stamped(self) -> impl Iterator<Item = Stamped> {
        let Self {
            run,
            at,
            first,
            records,
        } = self;
        (first..).zip(records).map(move |(seq, record)| Stamped {
            seq,
            run: run.clone(),
            at,
            record,
        })
    }
}

pub(super) fn append(
    tx: &Transaction<'_>,
    run: &RunId,
    at: Wall,
    records: Vec<Record>,
) -> Result<Appended, Refusal> {
    let mut insert =
        tx.prepare_cached("INSERT INTO records (run_id, at_ms, body) VALUES (?1, ?2, ?3)")?;
    let mut first = 0;
    for record in &records {
        let body = body_of(record)
            .map_err(|e| Refusal::Contradiction(format!("it cannot be written: {e}")))?;
        insert.raw_bind_parameter(1, run.as_str())?;
        insert.raw_bind_parameter(2, at.0)?;
        // Gone once it is bound: the record of a start holds the whole plan, so that copies of it count.
        insert.raw_bind_parameter(3, body)?;
        insert
            .raw_execute()
            .map_err(project::contradiction(|| format!("there is no run {run}")))?;
        // Else SQLite keeps the room of the largest body for the bodies that follow.
        insert.clear_bindings();
        let seq = tx.last_insert_rowid().cast_unsigned();
        first = if first == 0 { seq } else { first };
        project::project(
            tx,
            &Placed {
                seq,
                run,
                at,
                record,
            },
        )?;
    }
    Ok(Appended {
        run: run.clone(),
        at,
        first,
        records,
    })
}

/// A record as it is kept. One that holds a plan is megabytes long: a text that grows would take that several times.
fn body_of(record: &Record) -> serde_json::Result<String> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, record)?;
    let mut body = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut body, record)?;
    Ok(String::from_utf8(body).expect("JSON is UTF-8"))
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

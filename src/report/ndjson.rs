//! Records as lines of JSON: what `orch events` and `orch run --format json` print, and what every other reader can be
//! made of.

use serde::Serialize;

use crate::engine::record::{FORMAT, Record, Stamped};
use crate::ids::RunId;
use crate::time::Wall;

#[derive(Serialize)]
struct Line<'a> {
    /// Version of the vocabulary.
    v: u32,
    seq: u64,
    run: &'a RunId,
    at: Wall,
    record: &'a Record,
}

/// One line a record, each with its line feed.
///
/// # Errors
/// If a record cannot be put into JSON, which would be a bug.
pub fn lines(records: &[Stamped]) -> serde_json::Result<String> {
    let mut text = String::new();
    for Stamped {
        seq,
        run,
        at,
        record,
    } in records
    {
        text.push_str(&serde_json::to_string(&Line {
            v: FORMAT,
            seq: *seq,
            run,
            at: *at,
            record,
        })?);
        text.push('\n');
    }
    Ok(text)
}

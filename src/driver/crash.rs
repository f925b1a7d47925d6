//! The places around records at which a test may kill orch; all others are named where they lie (`crate::crash`).

use crate::crash::{is_armed, point};
use crate::engine::record::Record;

/// On which side of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The record is decided, and not kept.
    Before,
    /// It is kept, and nothing that it orders has begun.
    After,
}

/// Passes the places `before-<kind>` or `after-<kind>` of records.
pub fn pass<'a>(side: Side, records: impl Iterator<Item = &'a Record>) {
    if !is_armed() {
        return;
    }
    let side = match side {
        Side::Before => "before",
        Side::After => "after",
    };
    for record in records {
        let kind = serde_json::to_value(record).unwrap_or_default();
        point(&format!(
            "{side}-{}",
            kind["kind"].as_str().unwrap_or_default()
        ));
    }
}

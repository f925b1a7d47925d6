//! A hook for tests: orch kills itself at an exact place between two records.
//!
//! `ORCH_CRASH_AT=<kind>:<n>[:before|:after]` is a SIGKILL just before or (the default) just after the n-th record of a
//! kind is kept. As an effect lies between the record that intends it and the one that confirms it, these places are
//! all that a crash can tell apart. Release builds have no such hook.

use rustix::process::{Signal, getpid, kill_process};

use crate::engine::record::Record;

/// Where orch kills itself, if anywhere.
#[derive(Debug)]
pub(super) struct CrashPoint(Option<Place>);

#[derive(Debug)]
struct Place {
    kind: String,
    left: u32,
    side: Side,
}

/// On which side of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The record is decided, and not kept.
    Before,
    /// It is kept, and nothing that it orders has begun.
    After,
}

impl CrashPoint {
    /// What the environment asks for, in a debug build.
    ///
    /// # Panics
    /// If it cannot be understood: a test that asks for nothing would pass.
    pub(super) fn from_environment() -> Self {
        if !cfg!(debug_assertions) {
            return Self(None);
        }
        Self(std::env::var("ORCH_CRASH_AT").ok().map(|text| {
            parse(&text).expect("ORCH_CRASH_AT is `<record kind>:<n>[:before|:after]`")
        }))
    }

    /// Kills this process if `records` hold the one that is waited for.
    pub(super) fn pass<'a>(&mut self, side: Side, records: impl Iterator<Item = &'a Record>) {
        let Some(place) = self.0.as_mut().filter(|place| place.side == side) else {
            return;
        };
        for record in records.filter(|record| kind(record) == place.kind) {
            tracing::debug!(?record, "a crash point is near");
            place.left = place.left.saturating_sub(1);
            if place.left == 0 {
                kill_process(getpid(), Signal::KILL).expect("a process may signal itself");
            }
        }
    }
}

fn parse(text: &str) -> Option<Place> {
    let mut parts = text.split(':');
    let (kind, count, side) = (parts.next()?, parts.next()?, parts.next());
    Some(Place {
        kind: kind.to_owned(),
        left: count.parse().ok().filter(|n| *n > 0)?,
        side: match side {
            Some("before") => Side::Before,
            Some("after") | None => Side::After,
            Some(_) => return None,
        },
    })
}

/// The record's kind, in the ledger's word.
fn kind(record: &Record) -> String {
    let value = serde_json::to_value(record).unwrap_or_default();
    value["kind"].as_str().unwrap_or_default().to_owned()
}

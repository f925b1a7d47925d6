//! Time as data: the engine is handed the time with each event and never asks for it.

use serde::{Deserialize, Serialize};

/// A point of wall-clock time: milliseconds since 1970-01-01 UTC. May jump when the clock is set.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

/// A point on a clock that only goes forward and stands still in suspend: milliseconds since some start.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mono(pub u64);

/// The time of an event, on both clocks: durations are measured with `mono`, people and reset times use `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For people, reset times and records.
    pub wall: Wall,
    /// For durations.
    pub mono: Mono,
}

impl Wall {
    /// This time plus `ms` milliseconds.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 if the clock went back in between.
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// As a calendar time; `None` only for values outside the calendar.
    pub fn to_utc(self) -> Option<chrono::DateTime<chrono::Utc>> {
        chrono::DateTime::from_timestamp_millis(self.0)
    }
}

/// A duration for people: `850 ms`, `42 s`, `3 min 05 s`, `2 h 10 min`.
pub fn for_people(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        let shown: Vec<String> = [850, 42_000, 185_000, 7_800_000].map(for_people).into();
        assert_eq!(shown, ["850 ms", "42 s", "3 min 05 s", "2 h 10 min"]);
    }

    #[test]
    fn a_clock_set_back_counts_as_no_time() {
        assert_eq!(Wall(5).ms_since(Wall(9)), 0);
    }
}

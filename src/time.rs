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

/// Reads a duration as people write it in plans and settings: `90` (seconds), `90s`, `10m`, `1h30m`, `2d`, `500ms`.
/// Units go from large to small, each at most once; no blanks, signs or fractions.
///
/// # Errors
/// One sentence about what is wrong with the text and what would be right.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    /// Milliseconds of each unit, largest first: the order in which they may follow each other.
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let wrong = || format!("`{text}` is not a duration; write for example `90s`, `10m` or `1h30m`");
    let too_long = || format!("`{text}` is longer than any clock can count");

    let mut rest = text;
    let mut units_left = &UNITS[..];
    let mut total_ms: u64 = 0;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| too_long())?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "" if digits == text.len() => "s",
            unit => unit,
        };
        let at = units_left
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        total_ms = number
            .checked_mul(units_left[at].1)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(too_long)?;
        units_left = &units_left[at + 1..];
        rest = tail;
        if rest.is_empty() {
            return Ok(std::time::Duration::from_millis(total_ms));
        }
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
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("90", 90_000),
            ("0", 0),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("2d1s", 172_801_000),
            ("1s500ms", 1_500),
        ] {
            let read = parse_duration(text).map(|d| d.as_millis());
            assert_eq!(read, Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            " 1s",
            "1 h",
            "-5",
            "1.5h",
            "30m1h",
            "1m1m",
            "1h30",
            "ten",
            "5x",
            "m",
            "1\u{a0}s",
            "99999999999999999999",
            "9999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_clock_set_back_counts_as_no_time() {
        assert_eq!(Wall(5).ms_since(Wall(9)), 0);
    }
}

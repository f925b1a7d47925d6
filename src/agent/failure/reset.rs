//! When a usage limit ends, read from the text of its message or from the seconds that stand in a field.
//!
//! The wording changes between releases, its parts do not: an epoch behind a bar, or a clock time with an optional day,
//! year and zone. Seconds are cut off in texts, and where no zone is named it is that of the program's machine. Only an
//! end in the future is one: what lies in the past tells nothing about when work can go on.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

use crate::time::Wall;

#[cfg(test)]
mod tests;

/// A clock time without a day that is past by no more than this has been reached, not missed by a day: the text has no
/// seconds, and the session ended a moment after it was printed.
const JUST_PAST_MS: u64 = 5 * 60_000;

/// Words looked at behind "resets": the longest form has seven.
const WORDS_MAX: usize = 10;

/// Numbers from here on count milliseconds; as seconds it would be the year 5138.
const EPOCH_IN_MS: i64 = 100_000_000_000;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The end of a limit that a field gives in seconds (or milliseconds) since 1970, if it is still to come.
pub(super) fn from_epoch(number: i64, now: Wall) -> Option<Wall> {
    let ms = if number >= EPOCH_IN_MS {
        number
    } else {
        number.checked_mul(1000)?
    };
    Some(Wall(ms)).filter(|at| *at > now)
}

/// The end of a limit that a message names, if it is still to come when the message was written, at `now`. Times
/// without a zone are read in `local`.
pub(super) fn from_text(text: &str, now: Wall, local: &impl TimeZone) -> Option<Wall> {
    let text = text.to_lowercase();
    let behind = |form: &'static str| {
        text.match_indices(form)
            .map(|(at, form)| &text[at + form.len()..])
    };
    behind("|").find_map(|rest| epoch(rest, now)).or_else(|| {
        behind("reset")
            .chain(behind("try again"))
            .find_map(|rest| Named::read(rest)?.resolve(now, local))
    })
}

fn epoch(rest: &str, now: Wall) -> Option<Wall> {
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = (digits >= 10).then(|| rest[..digits].parse().ok())??;
    from_epoch(number, now)
}

/// A point of time as a message names it.
#[derive(Debug, PartialEq)]
struct Named {
    day: Option<Day>,
    time: Option<NaiveTime>,
    zone: Option<Tz>,
}

/// A day of a calendar, perhaps without its year.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Day {
    year: Option<i32>,
    month: u32,
    day: u32,
}

/// A piece of a message.
#[derive(Debug, PartialEq)]
enum Word<'a> {
    /// Letters, digits and colons.
    Plain(&'a str),
    /// What stands in brackets.
    Bracketed(&'a str),
}

impl Named {
    /// Reads what follows "reset"; `None` if it names no time, or a zone that is not known.
    fn read(rest: &str) -> Option<Self> {
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let words = words(rest);
        let mut words = words.as_slice();
        skip_joints(&mut words);
        let day = day(&mut words)?;
        skip_joints(&mut words);
        let time = time(&mut words)?;
        let zone = match words.first() {
            Some(Word::Bracketed(name)) => Some(zone(name)?),
            Some(Word::Plain(_)) | None => None,
        };
        (day.is_some() || time.is_some()).then_some(Self { day, time, zone })
    }

    fn resolve(&self, now: Wall, local: &impl TimeZone) -> Option<Wall> {
        match &self.zone {
            Some(zone) => self.resolve_in(zone, now),
            None => self.resolve_in(local, now),
        }
    }

    fn resolve_in(&self, zone: &impl TimeZone, now: Wall) -> Option<Wall> {
        let today = now.to_utc()?.with_timezone(zone).date_naive();
        let at = |date: NaiveDate| moments(zone, date.and_time(self.time.unwrap_or_default()));
        match self.day {
            None => {
                let candidates: Vec<Wall> = [today.pred_opt(), Some(today), today.succ_opt()]
                    .into_iter()
                    .flatten()
                    .flat_map(at)
                    .collect();
                let is_reached = |at: &Wall| *at <= now && now.ms_since(*at) <= JUST_PAST_MS;
                if candidates.iter().any(is_reached) {
                    return None;
                }
                candidates.into_iter().find(|at| *at > now)
            }
            Some(day) => {
                let dates: Vec<NaiveDate> = match day.year {
                    Some(year) => NaiveDate::from_ymd_opt(year, day.month, day.day)
                        .into_iter()
                        .collect(),
                    None => (today.year() - 1..=today.year() + 1)
                        .filter_map(|year| NaiveDate::from_ymd_opt(year, day.month, day.day))
                        .collect(),
                };
                // Without a year the nearest one is meant.
                let date = dates
                    .into_iter()
                    .min_by_key(|date| (*date - today).num_days().abs())?;
                at(date).into_iter().find(|at| *at > now)
            }
        }
    }
}

/// When a zone's clocks show this time: twice where they were set back, and where they leapt over it, as if they had
/// not yet been set.
fn moments(zone: &impl TimeZone, shown: NaiveDateTime) -> Vec<Wall> {
    let wall = |at: DateTime<Utc>| Wall(at.timestamp_millis());
    let found = zone.from_local_datetime(&shown).map(|at| at.to_utc());
    match (found.earliest(), found.latest()) {
        (Some(first), Some(second)) if first != second => vec![wall(first), wall(second)],
        (Some(only), _) => vec![wall(only)],
        (None, _) => {
            let day = chrono::TimeDelta::days(1);
            zone.from_local_datetime(&(shown - day))
                .earliest()
                .map(|before| wall(before.to_utc() + day))
                .into_iter()
                .collect()
        }
    }
}

/// The words up to the end of the sentence; blanks and commas stand between them.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    while words.len() < WORDS_MAX {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == ':');
        if let Some(inner) = rest.strip_prefix('(') {
            let Some((inside, behind)) = inner.split_once(')') else {
                break;
            };
            words.push(Word::Bracketed(inside.trim()));
            rest = behind;
            continue;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != ':')
            .unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        words.push(Word::Plain(&rest[..end]));
        rest = &rest[end..];
    }
    words
}

fn skip_joints(words: &mut &[Word<'_>]) {
    while let [Word::Plain("at" | "on"), rest @ ..] = words {
        *words = rest;
    }
}

/// The day that comes next, if one does; `None` for one that no calendar has.
fn day(words: &mut &[Word<'_>]) -> Option<Option<Day>> {
    let [Word::Plain(month), Word::Plain(day), rest @ ..] = *words else {
        return Some(None);
    };
    let Some(month) = month_number(month) else {
        return Some(None);
    };
    let day: u32 = day
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .ok()
        .filter(|day| (1..=31).contains(day))?;
    let mut rest = rest;
    let year = match rest {
        [Word::Plain(year), behind @ ..]
            if year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) =>
        {
            rest = behind;
            Some(year.parse().ok()?)
        }
        _ => None,
    };
    *words = rest;
    Some(Some(Day { year, month, day }))
}

/// `feb` and `february`, and whatever stands between them.
fn month_number(word: &str) -> Option<u32> {
    let found = MONTHS
        .iter()
        .position(|month| word.len() >= 3 && month.starts_with(word))?;
    u32::try_from(found + 1).ok()
}

/// The time of day that comes next, if one does; `None` for one that no clock shows.
fn time(words: &mut &[Word<'_>]) -> Option<Option<NaiveTime>> {
    let [Word::Plain(first), rest @ ..] = *words else {
        return Some(None);
    };
    if !first.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(None);
    }
    let (digits, mut half) = match first.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => (&first[..at], Some(&first[at..])),
        None => (*first, None),
    };
    *words = rest;
    if half.is_none()
        && let [Word::Plain(word @ ("am" | "pm")), rest @ ..] = rest
    {
        half = Some(word);
        *words = rest;
    }
    let (hour, minute) = match digits.split_once(':') {
        Some((hour, minute)) if minute.len() == 2 => (hour, minute.parse().ok()?),
        // `15` alone is no time of day.
        None if half.is_some() => (digits, 0),
        Some(_) | None => return None,
    };
    let hour: u32 = hour.parse().ok()?;
    let hour = match half {
        None => hour,
        Some("am") if (1..=12).contains(&hour) => hour % 12,
        Some("pm") if (1..=12).contains(&hour) => hour % 12 + 12,
        Some(_) => return None,
    };
    NaiveTime::from_hms_opt(hour, minute, 0).map(Some)
}

/// By its name in the time zone database, in any case.
fn zone(name: &str) -> Option<Tz> {
    chrono_tz::TZ_VARIANTS
        .into_iter()
        .find(|zone| zone.name().eq_ignore_ascii_case(name))
}

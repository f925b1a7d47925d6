//! What bounds a run, as plans and settings write it: retries, the breaker, the model ladder, budgets, whether conflicts
//! are resolved; and the hooks around it. One table of the names that both share, and how each kind of value is read, so
//! that both refuse the same.
//!
//! A plan has these keys below `meta`; what they mean is decided in `engine::policy`.

use std::time::Duration;

use super::keys;
use super::reader::{Fields, Reader, Spanned, quote};
use super::syntax::Node;
use crate::diagnostic::Diagnostic;
use crate::time::{for_people, parse_duration};

/// Most tasks that may run at once; each is a process of hundreds of megabytes.
pub const JOBS_MAX: u32 = 256;

/// Most attempts of a task: a plan that needs more is wrong.
pub const ATTEMPTS_MAX: u32 = 1000;

/// Longest time of one attempt: a week.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Largest sum of money, in millionths of a US dollar.
const MICRO_USD_MAX: u64 = 1_000_000_000_000;

/// Most failures that anything counts up to.
pub const FAILURES_MAX: u32 = 100;

/// Most tokens of a budget: more than a service could serve in the time.
const TOKENS_MAX: u64 = 1_000_000_000_000_000;

/// Most sessions of a budget.
const SESSIONS_MAX: u32 = 1_000_000;

/// Longest pause between two tries of anything.
pub const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest time of a budget: a year, added up over agents.
const SPENT_TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The models that the agent program knows by a word.
const MODEL_WORDS: [&str; 8] = [
    "haiku", "sonnet", "opus", "fable", "best", "default", "opusplan", "inherit",
];

/// A value of a plan that settings can have, too; it has been read once, so that it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Where it stands: `meta.budget.task.usd`. Without `meta.`, the name of the setting.
    pub key: &'static str,
    /// As written.
    pub text: String,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Model,
    Failures,
    FailuresOrNone,
    Pause,
    Percent,
    Usd,
    SomeUsd,
    Tokens,
    Sessions,
    SpentTime,
    Command,
}

/// Every key that plans share with settings.
const KEYS: [(&str, Kind); 32] = [
    ("meta.backoff_base", Kind::Pause),
    ("meta.backoff_max", Kind::Pause),
    ("meta.circuit_breaker_threshold", Kind::FailuresOrNone),
    ("meta.circuit_breaker_reset_timeout", Kind::Pause),
    ("meta.model_escalation.enabled", Kind::Switch),
    ("meta.model_escalation.starting_model", Kind::Model),
    ("meta.model_escalation.escalate_after", Kind::Failures),
    ("meta.model_escalation.max_model", Kind::Model),
    ("meta.budget.quota_ceiling_usd", Kind::Usd),
    ("meta.budget.max_quota_percent", Kind::Percent),
    ("meta.budget.reserved_budget_usd", Kind::Usd),
    ("meta.budget.default_reserve", Kind::Usd),
    ("meta.budget.overshoot", Kind::Usd),
    ("meta.budget.attempt.usd", Kind::SomeUsd),
    ("meta.budget.attempt.tokens", Kind::Tokens),
    ("meta.budget.attempt.sessions", Kind::Sessions),
    ("meta.budget.task.usd", Kind::SomeUsd),
    ("meta.budget.task.tokens", Kind::Tokens),
    ("meta.budget.task.sessions", Kind::Sessions),
    ("meta.budget.task.time", Kind::SpentTime),
    ("meta.budget.run.usd", Kind::SomeUsd),
    ("meta.budget.run.tokens", Kind::Tokens),
    ("meta.budget.run.sessions", Kind::Sessions),
    ("meta.budget.run.time", Kind::SpentTime),
    ("meta.budget.day.usd", Kind::SomeUsd),
    ("meta.budget.day.tokens", Kind::Tokens),
    ("meta.budget.day.sessions", Kind::Sessions),
    ("meta.budget.day.time", Kind::SpentTime),
    ("meta.hooks.before_run", Kind::Command),
    ("meta.hooks.after_task", Kind::Command),
    ("meta.hooks.after_run", Kind::Command),
    ("meta.merge_resolver", Kind::Switch),
];

/// Other spellings of claude-plan-orchestrator: what its page says, what its program reads, what its later versions do.
/// The setting's name stands behind each.
pub const SPELLINGS: [(&str, &str); 4] = [
    ("budget.quota_ceiling", "budget.quota_ceiling_usd"),
    ("budget.max_budget_pct", "budget.max_quota_percent"),
    ("budget.reserved_budget", "budget.reserved_budget_usd"),
    ("budget_limit_usd", "budget.quota_ceiling_usd"),
];

impl Kind {
    fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Switch => switch(text).map(drop),
            Self::Model => model(text),
            Self::Failures => failures(text).map(drop),
            Self::FailuresOrNone => failures_or_none(text).map(drop),
            Self::Pause => pause(text).map(drop),
            Self::Percent => percent(text).map(drop),
            Self::Usd => usd(text).map(drop),
            Self::SomeUsd => some_usd(text).map(drop),
            Self::Tokens => tokens(text).map(drop),
            Self::Sessions => sessions(text).map(drop),
            Self::SpentTime => spent_time(text).map(drop),
            Self::Command => command(text),
        }
    }
}

/// Reads the bounds of `meta`.
pub(super) fn read<'t>(reader: &mut Reader<'t>, meta: &Fields<'t>) -> Vec<Bound> {
    let mut found = Found::default();
    found.level(reader, "", meta);
    if let Some(fields) = group(
        reader,
        meta,
        "model_escalation",
        &keys::MODEL_ESCALATION,
        "`model_escalation`",
    ) {
        found.level(reader, "model_escalation.", &fields);
    }
    if let Some(budget) = group(reader, meta, "budget", &keys::BUDGET, "`budget`") {
        found.level(reader, "budget.", &budget);
        for level in ["attempt", "task", "run", "day"] {
            let allowed = match level {
                "attempt" => &keys::ATTEMPT_ALLOWANCE,
                _ => &keys::ALLOWANCE,
            };
            let what = format!("`budget.{level}`");
            if let Some(fields) = group(reader, &budget, level, allowed, &what) {
                found.level(reader, &format!("budget.{level}."), &fields);
            }
        }
    }
    if let Some(fields) = group(reader, meta, "hooks", &keys::HOOKS, "`hooks`") {
        found.level(reader, "hooks.", &fields);
    }
    found.bounds
}

fn group<'t>(
    reader: &mut Reader<'t>,
    fields: &Fields<'t>,
    key: &str,
    level: &keys::Level,
    what: &str,
) -> Option<Fields<'t>> {
    let node: &Node<'t> = fields.get(key)?;
    reader.fields(node, level, what)
}

#[derive(Default)]
struct Found {
    bounds: Vec<Bound>,
    spans: Vec<std::ops::Range<usize>>,
}

impl Found {
    /// Takes the values of one mapping, whose keys all begin with `prefix`.
    fn level<'t>(&mut self, reader: &mut Reader<'t>, prefix: &str, fields: &Fields<'t>) {
        for (word, node, _) in fields.iter() {
            let name = format!("{prefix}{word}");
            let name = canonical(&name);
            let known = KEYS.iter().find(|(key, _)| key["meta.".len()..] == *name);
            let Some((key, kind)) = known else { continue };
            let Some(Spanned { text, span }) = reader.text(fields, word) else {
                continue;
            };
            if let Err(wrong) = kind.check(text) {
                let message = format!("`{word}`: {wrong}");
                reader.push(Diagnostic::error("wrong-value", message).at(span));
                continue;
            }
            if let Some(other) = self.bounds.iter().position(|bound| bound.key == *key) {
                reader.push(
                    Diagnostic::error("contradiction", "two keys say the same")
                        .at(node.span())
                        .related(self.spans[other].clone(), "the other one")
                        .help(format!("keep `{}`", &key["meta.".len()..])),
                );
                continue;
            }
            self.spans.push(node.span());
            self.bounds.push(Bound {
                key,
                text: text.to_owned(),
            });
        }
    }
}

/// The name of a setting that may be spelt otherwise.
pub fn canonical(name: &str) -> &str {
    let other = SPELLINGS.iter().find(|(other, _)| *other == name);
    other.map_or(name, |(_, name)| name)
}

/// A shell command; what is in it is up to the shell.
fn command(text: &str) -> Result<(), String> {
    match text.trim().is_empty() {
        true => Err("there is no command".to_owned()),
        false => Ok(()),
    }
}

/// `true` or `false`.
///
/// # Errors
/// Says what else it is, as all readers here do.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{} is not one of true, false", quote(text))),
    }
}

/// Whether a text names a model: a word that the agent program knows, or a full name as `claude-opus-4-1` and those of
/// other providers are.
///
/// # Errors
/// Says why it is none.
pub fn model(text: &str) -> Result<(), String> {
    let is_usable = !text.is_empty()
        && !text.starts_with('-')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_usable {
        return Err(format!(
            "`{}` cannot be the name of a model",
            text.escape_debug()
        ));
    }
    // `sonnet[1m]` is sonnet with another context.
    let name = text.split('[').next().unwrap_or(text);
    if MODEL_WORDS.contains(&name) {
        return Ok(());
    }
    let is_full = name.contains(['-', '/', ':', '.', '@']);
    let meant = if is_full {
        let family = name.split('-').next().unwrap_or(name);
        keys::nearest(family, ["claude"].into_iter()).filter(|meant| *meant != family)
    } else {
        keys::nearest(name, MODEL_WORDS.into_iter())
    };
    match meant {
        None if is_full => Ok(()),
        None => Err(format!(
            "{} is not a model; write haiku, sonnet, opus, or a full name as claude-opus-4-1",
            quote(text)
        )),
        Some(meant) => Err(format!(
            "{} is not a model; did you mean `{meant}`?",
            quote(text)
        )),
    }
}

/// Whether a model goes by a name: its own, or that of its family (`claude-opus-4-1` is an `opus`).
pub fn is_called(model: &str, name: &str) -> bool {
    let is_part = |part: &str| part.eq_ignore_ascii_case(name);
    model.eq_ignore_ascii_case(name) || model.split(['-', '/', ':', '[', '@', '.']).any(is_part)
}

/// A number of failures after which something happens.
///
/// # Errors
/// Says what else it is.
pub fn failures(text: &str) -> Result<u32, String> {
    whole(text, 1, FAILURES_MAX)
}

/// The same, or 0 for never.
///
/// # Errors
/// Says what else it is.
pub fn failures_or_none(text: &str) -> Result<u32, String> {
    whole(text, 0, FAILURES_MAX)
}

/// A pause between two tries.
///
/// # Errors
/// Says what else it is.
pub fn pause(text: &str) -> Result<Duration, String> {
    time(text, Duration::ZERO, PAUSE_MAX)
}

/// Time that agents may take together.
///
/// # Errors
/// Says what else it is.
pub fn spent_time(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_secs(1), SPENT_TIME_MAX)
}

/// Tokens that agents may use.
///
/// # Errors
/// Says what else it is.
pub fn tokens(text: &str) -> Result<u64, String> {
    whole(text, 1, TOKENS_MAX)
}

/// Sessions that may be started.
///
/// # Errors
/// Says what else it is.
pub fn sessions(text: &str) -> Result<u32, String> {
    whole(text, 1, SESSIONS_MAX)
}

/// A sum of money in US dollars, `12`, `12.5` or `$0.25`, in millionths.
///
/// # Errors
/// Says what else it is.
pub fn usd(text: &str) -> Result<u64, String> {
    decimal(text.strip_prefix('$').unwrap_or(text), 6)
        .filter(|micro| *micro <= MICRO_USD_MAX)
        .ok_or_else(|| {
            let most = MICRO_USD_MAX / 1_000_000;
            format!(
                "{} is not a sum of money from 0 to {most} US dollars",
                quote(text)
            )
        })
}

/// The same, but not nothing, with which nothing could ever start.
///
/// # Errors
/// Says what else it is.
pub fn some_usd(text: &str) -> Result<u64, String> {
    match usd(text)? {
        0 => Err("with nothing to spend, nothing could ever start".to_owned()),
        micro => Ok(micro),
    }
}

/// A part of a whole, `90`, `90%` or `87.5`, in thousandths.
///
/// # Errors
/// Says what else it is.
pub fn percent(text: &str) -> Result<u32, String> {
    decimal(text.strip_suffix('%').unwrap_or(text), 1)
        .and_then(|thousandths| u32::try_from(thousandths).ok())
        .filter(|thousandths| *thousandths <= 1000)
        .ok_or_else(|| format!("{} is not a percentage from 0 to 100", quote(text)))
}

fn whole<N>(text: &str, min: N, max: N) -> Result<N, String>
where
    N: Copy + std::str::FromStr + PartialOrd + std::fmt::Display,
{
    // Rust would read `+5`; YAML readers disagree about it.
    let is_digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(n) if is_digits && n >= min && n <= max => Ok(n),
        _ => Err(format!(
            "{} is not a number from {min} to {max}",
            quote(text)
        )),
    }
}

fn time(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let read = parse_duration(text)?;
    if (min..=max).contains(&read) {
        return Ok(read);
    }
    let people = |d: Duration| for_people(u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    Err(format!(
        "{} is not between {} and {}",
        quote(text),
        people(min),
        people(max)
    ))
}

/// A number without a sign, times ten to the power of `places`; more places than that must be zeros.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let (part, rest) = part.split_at(part.len().min(places));
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_and_percentages_are_read_to_the_last_digit_or_not_at_all() {
        assert_eq!(usd("100.0"), Ok(100_000_000));
        assert_eq!(usd("$0.25"), Ok(250_000));
        assert_eq!(percent("90"), Ok(900));
        assert_eq!(percent("87.5%"), Ok(875));
        for bad in ["-1", "1e3", ".5", "", "1.0000001", "9999999999"] {
            assert!(usd(bad).is_err(), "{bad}");
        }
        for bad in ["100.1", "-5", "101%", "half", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        assert!(some_usd("0.00").is_err());
    }

    #[test]
    fn models_are_words_of_the_program_or_full_names() {
        for good in [
            "haiku",
            "sonnet[1m]",
            "opusplan",
            "claude-sonnet-4-5-20250929",
            "custom-model",
            "us.anthropic.claude-opus-4-1-20250805-v1:0",
        ] {
            assert_eq!(model(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("sonet", "did you mean `sonnet`?"),
            ("Opus", "did you mean `opus`?"),
            ("cluade-opus-4-1", "did you mean `claude`?"),
            ("gpt4", "is not a model"),
            ("a b", "cannot be the name"),
            ("-p", "cannot be the name"),
            ("", "cannot be the name"),
        ] {
            let wrong = model(bad).err().unwrap_or_default();
            assert!(wrong.contains(says), "{bad}: {wrong}");
        }
    }
}

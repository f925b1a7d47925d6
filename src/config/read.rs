//! How single values are read, with their limits. Each function says in a few words what is wrong and what would be
//! right; the words follow the key's name.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::{Cache, Confinement, Mcp, OnLimit, PerMille, Permission, Usd};
use crate::plan::Runner;
use crate::plan::bounds::{self, ATTEMPTS_MAX, JOBS_MAX, TIMEOUT_MAX};
use crate::plan::checks::{self, VerifyCommand};
use crate::plan::conflicts::{self, KnownAnswer};
use crate::plan::syntax::{Node, NodeKind};
use crate::time;

/// Longest wait between SIGTERM and SIGKILL; a stopping run waits for it.
const GRACE_MAX: Duration = Duration::from_secs(10 * 60);

/// The smallest stream that holds a session's first and last lines.
const OUTPUT_BYTES_MIN: u64 = 64 << 10;

/// The largest: what a disk may lose to one agent.
const OUTPUT_BYTES_MAX: u64 = 64 << 30;

/// The program's own default is 10, over three minutes; far above that an attempt is silent for hours.
const RETRIES_MAX: u32 = 20;

/// Each gate slot is a checkout, and gates are heavy.
const GATE_SLOTS_MAX: u32 = 64;

/// Most runs that are kept by number: more than anybody has.
const RUNS_KEPT_MAX: u32 = 1_000_000;

/// Longest time that runs are kept by age: a century.
const DAYS_KEPT_MAX: u32 = 36_500;

/// Longest time of a run.
const RUN_TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Longest command, path or name.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// A value as it was given.
pub(super) struct Given<'a> {
    /// The value.
    pub(super) raw: Raw<'a>,
    /// What `~/` stands for.
    pub(super) home: Option<&'a Path>,
}

/// Where values come from.
pub(super) enum Raw<'a> {
    /// A variable or a flag.
    Text(&'a str),
    /// A settings file.
    Node(&'a Node<'a>),
}

impl Given<'_> {
    fn word(&self) -> Result<&str, String> {
        let text = match self.raw {
            Raw::Text(text) => text,
            Raw::Node(node) => scalar(node)?,
        };
        checked(text)
    }

    fn words(&self) -> Result<Vec<String>, String> {
        match self.raw {
            Raw::Node(Node {
                kind: NodeKind::Sequence { items, .. },
                ..
            }) => items
                .iter()
                .map(|item| scalar(item).and_then(checked).map(str::to_owned))
                .collect(),
            Raw::Node(_) => Err("write a list: one line `- ...` for each item".to_owned()),
            Raw::Text(_) => Err("a list can only be written in a settings file".to_owned()),
        }
    }

    fn path(&self) -> Result<PathBuf, String> {
        let text = self.word()?;
        match text.strip_prefix("~/") {
            None => Ok(PathBuf::from(text)),
            Some(rest) => match self.home {
                Some(home) => Ok(home.join(rest)),
                None => Err(format!("`{text}`: the home directory is not known")),
            },
        }
    }
}

/// The word that a node is.
pub(super) fn word_of<'n>(node: &'n Node<'_>) -> Result<&'n str, String> {
    scalar(node).and_then(checked)
}

pub(super) fn scalar<'n>(node: &'n Node<'_>) -> Result<&'n str, String> {
    match &node.kind {
        NodeKind::Scalar { value, .. } => Ok(value),
        NodeKind::Alias { .. } => Err("aliases have no place in settings".to_owned()),
        _ => Err("write a single value".to_owned()),
    }
}

fn checked(text: &str) -> Result<&str, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("it is longer than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn number<N: FromStr + PartialOrd + Copy + std::fmt::Display>(
    given: &Given<'_>,
    min: N,
    max: N,
) -> Result<N, String> {
    let text = given.word()?;
    // Rust would read `+5`; YAML readers disagree about it.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(n) if digits && n >= min && n <= max => Ok(n),
        _ => Err(format!("`{text}` is not a number from {min} to {max}")),
    }
}

fn duration(given: &Given<'_>, min: Duration, max: Duration) -> Result<Duration, String> {
    let text = given.word()?;
    let read = time::parse_duration(text)?;
    if !(min..=max).contains(&read) {
        let shown =
            |d: Duration| time::for_people(u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        return Err(format!(
            "`{text}` is not between {} and {}",
            shown(min),
            shown(max)
        ));
    }
    Ok(read)
}

fn one_of<T: Copy>(given: &Given<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let text = given.word()?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not one of {}", words.join(", "))
    })
}

pub(super) fn jobs(given: &Given<'_>) -> Result<u32, String> {
    number(given, 1, JOBS_MAX)
}

pub(super) fn gate_slots(given: &Given<'_>) -> Result<u32, String> {
    number(given, 1, GATE_SLOTS_MAX)
}

pub(super) fn max_attempts(given: &Given<'_>) -> Result<u32, String> {
    number(given, 1, ATTEMPTS_MAX)
}

pub(super) fn retries(given: &Given<'_>) -> Result<u32, String> {
    number(given, 0, RETRIES_MAX)
}

pub(super) fn run_count(given: &Given<'_>) -> Result<u32, String> {
    number(given, 0, RUNS_KEPT_MAX)
}

pub(super) fn days(given: &Given<'_>) -> Result<u32, String> {
    number(given, 0, DAYS_KEPT_MAX)
}

pub(super) fn port(given: &Given<'_>) -> Result<Option<u16>, String> {
    number(given, 1, u16::MAX).map(Some)
}

pub(super) fn work_time(given: &Given<'_>) -> Result<Duration, String> {
    duration(given, Duration::from_secs(1), TIMEOUT_MAX)
}

pub(super) fn grace(given: &Given<'_>) -> Result<Duration, String> {
    duration(given, Duration::ZERO, GRACE_MAX)
}

pub(super) fn switch(given: &Given<'_>) -> Result<bool, String> {
    one_of(given, &[("true", true), ("false", false)])
}

pub(super) fn runner(given: &Given<'_>) -> Result<Runner, String> {
    one_of(given, &Runner::ALL.map(|runner| (runner.as_str(), runner)))
}

pub(super) fn permission(given: &Given<'_>) -> Result<Permission, String> {
    one_of(given, &Permission::WORDS)
}

pub(super) fn confinement(given: &Given<'_>) -> Result<Confinement, String> {
    one_of(given, &[("none", Confinement::None)])
        .map_err(|wrong| format!("{wrong} in this version of orch"))
}

pub(super) fn mcp(given: &Given<'_>) -> Result<Mcp, String> {
    match given.word()? {
        "none" => Ok(Mcp::None),
        "project" => Ok(Mcp::Project),
        _ => given.path().map(Mcp::File),
    }
}

/// A model's name goes onto a command line.
pub(super) fn model(given: &Given<'_>) -> Result<Option<String>, String> {
    let text = given.word()?;
    bounds::model(text).map(|()| Some(text.to_owned()))
}

/// Models from the least to the best, each once.
pub(super) fn ladder(given: &Given<'_>) -> Result<Vec<String>, String> {
    let models = given.words()?;
    if models.is_empty() {
        return Err("a ladder has at least one model".to_owned());
    }
    for (ix, model) in models.iter().enumerate() {
        bounds::model(model)?;
        if models[..ix].contains(model) {
            return Err(format!("`{model}` stands on the ladder twice"));
        }
    }
    Ok(models)
}

pub(super) fn on_limit(given: &Given<'_>) -> Result<OnLimit, String> {
    one_of(given, &[("wait", OnLimit::Wait), ("stop", OnLimit::Stop)])
}

pub(super) fn pause(given: &Given<'_>) -> Result<Duration, String> {
    bounds::pause(given.word()?)
}

pub(super) fn longest(given: &Given<'_>) -> Result<Option<Duration>, String> {
    duration(given, Duration::from_secs(1), RUN_TIME_MAX).map(Some)
}

pub(super) fn failures(given: &Given<'_>) -> Result<u32, String> {
    bounds::failures(given.word()?)
}

pub(super) fn failures_or_none(given: &Given<'_>) -> Result<u32, String> {
    bounds::failures_or_none(given.word()?)
}

pub(super) fn percent(given: &Given<'_>) -> Result<PerMille, String> {
    bounds::percent(given.word()?).map(PerMille)
}

pub(super) fn some_percent(given: &Given<'_>) -> Result<Option<PerMille>, String> {
    percent(given).map(Some)
}

pub(super) fn usd(given: &Given<'_>) -> Result<Usd, String> {
    bounds::usd(given.word()?).map(Usd)
}

pub(super) fn some_usd(given: &Given<'_>) -> Result<Option<Usd>, String> {
    bounds::some_usd(given.word()?).map(|usd| Some(Usd(usd)))
}

pub(super) fn tokens(given: &Given<'_>) -> Result<Option<u64>, String> {
    bounds::tokens(given.word()?).map(Some)
}

pub(super) fn sessions(given: &Given<'_>) -> Result<Option<u32>, String> {
    bounds::sessions(given.word()?).map(Some)
}

pub(super) fn spent_time(given: &Given<'_>) -> Result<Option<Duration>, String> {
    bounds::spent_time(given.word()?).map(Some)
}

/// A number of bytes, with `KiB`, `MiB` or `GiB` behind it if that is shorter.
pub(super) fn output_bytes(given: &Given<'_>) -> Result<u64, String> {
    let text = given.word()?;
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let bytes = digits.parse::<u64>().ok().filter(|_| is_number);
    match bytes.and_then(|n| n.checked_mul(1 << shift)) {
        Some(n) if (OUTPUT_BYTES_MIN..=OUTPUT_BYTES_MAX).contains(&n) => Ok(n),
        _ => Err(format!(
            "`{text}` is not a number of bytes from 64KiB to 64GiB"
        )),
    }
}

pub(super) fn command(given: &Given<'_>) -> Result<Option<String>, String> {
    given.word().map(|text| Some(text.to_owned()))
}

/// Verify commands can only be written in a settings file.
pub(super) fn verify(given: &Given<'_>) -> Result<Vec<VerifyCommand>, String> {
    match given.raw {
        Raw::Node(node) => checks::of_settings(node),
        Raw::Text(text) => checked(text).map(|text| vec![VerifyCommand::plain(text)]),
    }
}

pub(super) fn answers(given: &Given<'_>) -> Result<Vec<KnownAnswer>, String> {
    match given.raw {
        Raw::Node(node) => conflicts::of_settings(node),
        Raw::Text(_) => Err("it can only be written in a settings file or a plan".to_owned()),
    }
}

pub(super) fn cache(given: &Given<'_>) -> Result<Cache, String> {
    one_of(given, &[("run", Cache::Run), ("hermetic", Cache::Hermetic)])
}

pub(super) fn commands(given: &Given<'_>) -> Result<Vec<String>, String> {
    given.words()
}

pub(super) fn globs(given: &Given<'_>) -> Result<Vec<String>, String> {
    let globs = given.words()?;
    for glob in &globs {
        globset::Glob::new(glob).map_err(|e| format!("`{glob}` is no glob: {}", e.kind()))?;
    }
    Ok(globs)
}

/// Tools go onto a command line as one list.
pub(super) fn tools(given: &Given<'_>) -> Result<Vec<String>, String> {
    let tools = given.words()?;
    let is_name = |tool: &&String| {
        let first = tool.bytes().next();
        first.is_some_and(|b| b.is_ascii_alphabetic())
            && tool.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match tools.iter().find(|tool| !is_name(tool)) {
        Some(bad) => Err(format!(
            "`{bad}` is not the name of a tool, as `Bash` or `Read` is"
        )),
        None => Ok(tools),
    }
}

pub(super) fn program(given: &Given<'_>) -> Result<PathBuf, String> {
    let path = given.path()?;
    match path.is_absolute() || path.components().count() == 1 {
        true => Ok(path),
        false => Err(format!(
            "`{}` must be absolute, begin with `~/`, or be a name to look up in PATH",
            path.display()
        )),
    }
}

pub(super) fn absolute_dir(given: &Given<'_>) -> Result<Option<PathBuf>, String> {
    let path = given.path()?;
    match path.is_absolute() {
        true => Ok(Some(path)),
        false => Err(format!(
            "`{}` must be absolute, or begin with `~/`",
            path.display()
        )),
    }
}

pub(super) fn project_dir(given: &Given<'_>) -> Result<PathBuf, String> {
    let text = given.word()?;
    let path = PathBuf::from(text);
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    match inside {
        true => Ok(path),
        false => Err(format!("`{text}` must lie inside the repository")),
    }
}

//! What the output of a gate, or a report file that it leaves, tells of single tests and findings, where the form is
//! known. One file a form.
//!
//! An output of no known form tells nothing, and its gate is judged by the exit code alone. One of a known form that
//! cannot be read to its end says so: what is unreadable is neither green nor the same as on the base.

mod cargo;
mod go;
mod javascript;
mod junit;
mod lints;
mod pytest;
mod sarif;
mod tap;

use std::collections::BTreeSet;

use crate::engine::verification::Counts;

/// Single failures that are kept; an output with more of them is not told apart.
const FAILURES_MAX: usize = 2_000;

/// Longest name of a failure that is kept.
const NAME_CHARS_MAX: usize = 300;

/// What an output tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// How many tests.
    pub counts: Option<Counts>,
    /// Which of them failed, and what linters found. What fails twice under one name is numbered.
    pub failures: BTreeSet<String>,
    /// Why it cannot be read, though its form is known.
    pub unreadable: Option<String>,
}

type Form = fn(&str) -> Option<Told>;

/// Test runners whose output has marks that no other has. A command may run several of them.
const RUNNERS: [Form; 8] = [
    cargo::libtest,
    cargo::nextest,
    pytest::read,
    go::read,
    javascript::jest,
    javascript::vitest,
    javascript::mocha,
    javascript::node,
];

impl Told {
    fn unreadable(why: impl Into<String>) -> Self {
        Self {
            unreadable: Some(why.into()),
            ..Self::default()
        }
    }

    /// Adds tests to those that are counted.
    fn count(&mut self, passed: u64, failed: u64, skipped: u64) {
        let counts = self.counts.get_or_insert_default();
        counts.passed += passed;
        counts.failed += failed;
        counts.skipped += skipped;
    }

    /// Adds a failure. One that has its name already is another one: the second parameter of a test, the second
    /// finding of a kind in a file.
    fn fail(&mut self, name: &str) {
        let name: String = name.trim().chars().take(NAME_CHARS_MAX).collect();
        let numbered = (2..).map(|n| format!("{name} ({n})"));
        let free = std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !self.failures.contains(name));
        self.failures.extend(free);
    }

    /// Adds a failure that its form names more than once.
    fn fail_once(&mut self, name: &str) {
        self.failures
            .insert(name.trim().chars().take(NAME_CHARS_MAX).collect());
    }

    /// Adds what another output of the same command tells.
    fn add(&mut self, other: Self) {
        self.counts = match (self.counts, other.counts) {
            (Some(a), Some(b)) => Some(Counts {
                passed: a.passed + b.passed,
                failed: a.failed + b.failed,
                skipped: a.skipped + b.skipped,
            }),
            (a, b) => a.or(b),
        };
        for name in &other.failures {
            self.fail(name);
        }
        self.unreadable = self.unreadable.take().or(other.unreadable);
    }

    fn bounded(mut self) -> Self {
        if self.failures.len() > FAILURES_MAX {
            let why = format!("it names more than {FAILURES_MAX} failures");
            self.failures.clear();
            self.unreadable = self.unreadable.or(Some(why));
        }
        self
    }
}

/// Reads what a command printed. `root` is where it ran: the same file has one name wherever its tree lies.
pub fn read(output: &str, root: &str, passed: bool) -> Told {
    let plain = without_root(&without_colours(output), root);
    let mut told = Told::default();
    for found in RUNNERS.iter().filter_map(|form| form(&plain)) {
        told.add(found);
    }
    if told == Told::default() {
        told = tap::read(&plain)
            .or_else(|| javascript::json_printed(&plain))
            .or_else(|| sarif::printed(&plain, passed))
            .unwrap_or_default();
    }
    // What a linter finds and yet passes is a warning.
    if !passed && told.failures.is_empty() && told.unreadable.is_none() {
        told.failures = lints::read(&plain);
    }
    told.bounded()
}

/// Reads a report file that a command left. A file is there to be read: one of no known form is unreadable.
pub fn report(bytes: &[u8], root: &str, passed: bool) -> Told {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Told::unreadable("it is not UTF-8");
    };
    let text = without_root(text.trim_start_matches('\u{feff}'), root);
    let begin = text.trim_start();
    let told = match begin.chars().next() {
        None => Told::unreadable("it is empty"),
        Some('<') => junit::read(begin),
        Some('{') => go::json(begin)
            .or_else(|| javascript::json(begin))
            .unwrap_or_else(|| sarif::read(begin, passed)),
        Some(_) => go::json(&text)
            .or_else(|| tap::read(&text))
            .unwrap_or_else(|| {
                Told::unreadable("it is neither JUnit XML, SARIF, TAP, `go test -json`, nor the JSON of jest, vitest or mocha")
            }),
    };
    told.bounded()
}

/// Several reports of one command as one.
pub fn together(reports: impl IntoIterator<Item = Told>) -> Told {
    let mut all = Told::default();
    for report in reports {
        all.add(report);
    }
    all.bounded()
}

fn without_root(text: &str, root: &str) -> String {
    let root = root.trim_end_matches('/');
    if root.is_empty() {
        return text.to_owned();
    }
    text.replace(&format!("file://{root}/"), "")
        .replace(&format!("{root}/"), "")
}

/// The text without the escape sequences of terminals, and with plain line ends.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at + 1..];
        rest = match sequence.strip_prefix('[') {
            Some(body) => {
                let end = body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c));
                end.map_or("", |end| &body[end + 1..])
            }
            None => sequence,
        };
    }
    plain.push_str(rest);
    plain.replace("\r\n", "\n")
}

/// The number before the first `word` in a line of numbers with words, as in `3 passed, 1 failed`.
fn number_before(line: &str, word: &str) -> Option<u64> {
    let mut before = None;
    for token in line.split(|c: char| c.is_whitespace() || ",;()|=".contains(c)) {
        if token == word {
            return before;
        }
        if !token.is_empty() {
            before = token.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests;

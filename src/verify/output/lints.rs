//! Findings of compilers and linters, one a line: `file:line: message` as gcc, clippy's short form, mypy, flake8 and
//! eslint's `unix` print them, `file: line 1, col 2, Error - message` as its `compact`, rustc's two lines, which ruff
//! has as well, and eslint's lists below the name of a file.
//!
//! A finding is named by its file and message: line numbers move with everything above them.

use std::collections::BTreeSet;

use super::Told;

/// How bad a finding is, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Note,
}

/// Errors; where there are none, warnings: they are what the command failed for.
pub(super) fn read(output: &str) -> BTreeSet<String> {
    let [mut errors, mut warnings] = [Told::default(), Told::default()];
    let mut headline: Option<(Severity, String)> = None;
    let mut file = None;
    for line in output.lines() {
        let found = located(line)
            .or_else(|| compact(line))
            .or_else(|| listed(file, line))
            .or_else(|| under(headline.as_ref(), line));
        headline = rustc(line).or_else(|| ruff(line));
        match line {
            "" => file = None,
            line if is_file(line) => file = Some(line),
            _ => {}
        }
        match found {
            Some((Severity::Error, name)) => errors.fail(&name),
            Some((Severity::Warning, name)) => warnings.fail(&name),
            Some((Severity::Note, _)) | None => {}
        }
    }
    match errors.failures.is_empty() {
        true => warnings.failures,
        false => errors.failures,
    }
}

/// `src/a.c:3:5: error: message`, also without the column.
fn located(line: &str) -> Option<(Severity, String)> {
    let (file, rest) = line.split_once(':')?;
    is_file(file).then_some(())?;
    let (number, mut rest) = rest.split_once(':')?;
    is_number(number).then_some(())?;
    if let Some((column, after)) = rest.split_once(':')
        && is_number(column)
    {
        rest = after;
    }
    // Time stamps and addresses have digits behind their colons, findings a blank.
    let message = rest.strip_prefix(' ')?.trim();
    if message.is_empty() {
        return None;
    }
    Some((severity(message), format!("{file}: {message}")))
}

/// `src/a.js: line 1, col 7, Error - message`.
fn compact(line: &str) -> Option<(Severity, String)> {
    let (file, rest) = line.split_once(": line ")?;
    is_file(file).then_some(())?;
    let mut parts = rest.splitn(3, ", ");
    is_number(parts.next()?).then_some(())?;
    is_number(parts.next()?.strip_prefix("col ")?).then_some(())?;
    let (word, message) = parts.next()?.split_once(" - ")?;
    let severity = match word {
        "Error" => Severity::Error,
        _ => Severity::Warning,
    };
    Some((severity, format!("{file}: {message}")))
}

/// `error[E0308]: mismatched types`, whose next line is ` --> src/a.rs:12:5`.
fn rustc(line: &str) -> Option<(Severity, String)> {
    let (word, message) = line.split_once(": ")?;
    let severity = match word.split('[').next()? {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => return None,
    };
    Some((severity, message.to_owned()))
}

/// `F401 [*] unused import`, with such a next line.
fn ruff(line: &str) -> Option<(Severity, String)> {
    let (code, message) = line.split_once(' ')?;
    let number = code.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let is_code = number.len() < code.len() && is_number(number);
    let message = message.strip_prefix("[*] ").unwrap_or(message);
    is_code.then(|| (Severity::Error, format!("{code} {message}")))
}

/// `  1:7   error    message   rule`, below its file.
fn listed(file: Option<&str>, line: &str) -> Option<(Severity, String)> {
    let mut words = line.strip_prefix("  ")?.split_whitespace();
    let (row, column) = words.next()?.split_once(':')?;
    (is_number(row) && is_number(column)).then_some(())?;
    let severity = match words.next()? {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => return None,
    };
    // How far its columns stand apart depends on the others.
    let message: Vec<&str> = words.collect();
    Some((severity, format!("{}: {}", file?, message.join(" "))))
}

fn under(headline: Option<&(Severity, String)>, line: &str) -> Option<(Severity, String)> {
    let (severity, message) = headline?;
    let place = line.trim_start().strip_prefix("--> ")?;
    let file = place.split(':').next()?;
    Some((*severity, format!("{file}: {message}")))
}

fn is_file(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(char::is_whitespace)
        && text.contains(['.', '/'])
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "./_-+@~()[]$#\\".contains(c))
}

fn is_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn severity(message: &str) -> Severity {
    let first = message
        .split([':', '[', ' '])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match first.as_str() {
        "warning" => Severity::Warning,
        "note" | "info" | "help" => Severity::Note,
        _ if message.ends_with(']') && message.contains("[Warning") => Severity::Warning,
        _ => Severity::Error,
    }
}

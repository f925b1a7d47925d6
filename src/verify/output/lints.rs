//! Findings of compilers and linters, one a line: `file:line: message` as gcc, clippy's short form, mypy, flake8 and
//! eslint's `unix` print them, `file: line 1, col 2, Error - message` as its `compact`, and rustc's two lines.
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
    let mut headline: Option<(Severity, &str)> = None;
    for line in output.lines() {
        let found = located(line)
            .or_else(|| compact(line))
            .or_else(|| under(headline, line));
        headline = rustc(line);
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
fn rustc(line: &str) -> Option<(Severity, &str)> {
    let (word, message) = line.split_once(": ")?;
    let severity = match word.split('[').next()? {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => return None,
    };
    Some((severity, message))
}

fn under(headline: Option<(Severity, &str)>, line: &str) -> Option<(Severity, String)> {
    let (severity, message) = headline?;
    let place = line.trim_start().strip_prefix("--> ")?;
    let file = place.split(':').next()?;
    Some((severity, format!("{file}: {message}")))
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

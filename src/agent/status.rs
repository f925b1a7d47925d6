//! What an agent says about its task: by the session's structured output, else by a file in its slot.
//!
//! Both are evidence, checked for task and attempt; whether the work is there is for git to say.

use serde_json::Value;

use crate::ids::TaskId;

mod file;
#[cfg(test)]
mod tests;
mod tolerant;

pub use file::{FileError, clear, read, read_report};

/// Where status files are looked for in a slot, in this order: ours, then the two names that plans written for
/// claude-plan-orchestrator tell their agents. None of them is ever part of a candidate.
pub const FILES: [&str; 3] = [
    ".orch/task-status.json",
    ".claude/plans/task-status.json",
    "tmp/task-status.json",
];

/// Where a report task may leave its text, relative to the slot.
pub const REPORT_FILE: &str = ".orch/report.md";

/// Longest message that is kept: what a reader of logs and the prompt of a dependent task can use. A longer report
/// belongs into [`REPORT_FILE`].
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the agent says about the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// All of it is done.
    Completed,
    /// It is not.
    Failed,
}

/// A status of this very attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Done or not.
    pub said: Said,
    /// In the agent's words; may be empty.
    pub message: String,
}

/// What was found of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    None,
    /// Something that is no status of this attempt, and why.
    Bad(String),
    /// A status of this attempt.
    Status(Status),
}

/// A finding with what people should know about how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub finding: Finding,
    /// Oddities that were tolerated, a line each.
    pub notes: Vec<String>,
}

/// Which attempt a status must be of.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// A word that only this attempt was told.
    pub nonce: &'a str,
}

/// The JSON schema of a status, on one line. The same for all tasks: it stands in the part of the request that sessions
/// share in the prompt cache.
pub fn schema() -> String {
    let schema: Value = serde_json::from_str(include_str!("status_schema.json"))
        .expect("the file is JSON; a test reads it");
    schema.to_string()
}

/// Judges what was found: `structured` of the session that orch started, and the status file as [`read`] gave it.
///
/// Where both are statuses of this attempt, `failed` wins.
pub fn judge(
    structured: Option<&Value>,
    file: Result<Option<file::StatusFile>, FileError>,
    expected: Expected<'_>,
) -> Found {
    let mut notes = Vec::new();
    let from_session = structured.map_or(Finding::None, |value| {
        check(
            value,
            expected,
            Nonce::Optional,
            "the structured status",
            &mut notes,
        )
    });
    let from_file = match file {
        Ok(None) => Finding::None,
        Ok(Some(file)) => {
            notes.extend(
                file.oddities
                    .iter()
                    .map(|what| format!("{}: {what}", file.path)),
            );
            check(&file.value, expected, Nonce::Wanted, file.path, &mut notes)
        }
        Err(error) => Finding::Bad(error.to_string()),
    };
    let finding = match (from_session, from_file) {
        (Finding::None, only) | (only, Finding::None) => only,
        (Finding::Status(a), Finding::Status(b)) if a.said != b.said => {
            notes
                .push("the structured status and the status file disagree; failed wins".to_owned());
            Finding::Status(if a.said == Said::Failed { a } else { b })
        }
        (Finding::Status(status), Finding::Bad(why)) => {
            notes.push(format!("{why}; the structured status counts"));
            Finding::Status(status)
        }
        (first, _) => first,
    };
    Found { finding, notes }
}

/// Whether a status without the attempt's nonce deserves a note.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nonce {
    /// The session's id already says whose it is.
    Optional,
    /// A file says nothing about who wrote it.
    Wanted,
}

fn check(
    value: &Value,
    expected: Expected<'_>,
    nonce: Nonce,
    source: &str,
    notes: &mut Vec<String>,
) -> Finding {
    let field = |key: &str| value.get(key).and_then(Value::as_str);
    let bad = |what: String| Finding::Bad(format!("{source} {what}"));
    match field("task_id") {
        Some(id) if id == expected.task.as_str() => {}
        Some(id) => {
            return bad(format!(
                "is of task `{}`, not of `{}`",
                shown(id),
                expected.task
            ));
        }
        None => return bad("names no task".to_owned()),
    }
    match field("nonce") {
        Some(n) if n == expected.nonce => {}
        Some(_) => return bad("carries the nonce of another attempt".to_owned()),
        None if nonce == Nonce::Wanted => notes.push(format!("{source} carries no nonce")),
        None => {}
    }
    let said = match field("status") {
        Some("completed") => Said::Completed,
        Some("failed") => Said::Failed,
        Some(word) => {
            return bad(format!(
                "says `{}`, which is neither completed nor failed",
                shown(word)
            ));
        }
        None => return bad("says neither completed nor failed".to_owned()),
    };
    let message = field("message").unwrap_or("").trim();
    if message.len() > MESSAGE_BYTES_MAX {
        notes.push(format!(
            "{source}: the message is cut after {} KiB",
            MESSAGE_BYTES_MAX / 1024
        ));
    }
    let message = super::head(message, MESSAGE_BYTES_MAX).to_owned();
    Finding::Status(Status { said, message })
}

/// A word of an agent, short and on one line.
fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(60).collect()
}

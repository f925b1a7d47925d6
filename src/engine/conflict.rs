//! Conflicts on the way to the target: what does not fit, and what was done about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectId, TaskId};

/// Where a candidate does not fit what it was to be built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The files in conflict, sorted.
    pub files: Vec<String>,
    /// Why what a person said beforehand about them did not help, if it was tried.
    pub tried: Option<String>,
    /// The commits since the candidate's base that changed these files; empty where more is in conflict than the lines of
    /// text files.
    pub with: Vec<ObjectId>,
}

/// A candidate that is in conflict with what landed before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contested {
    /// The candidate.
    pub candidate: ObjectId,
    /// The attempt that left it.
    pub attempt: u32,
}

/// What a session is asked to resolve, which did not make either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolving {
    /// The candidate that does not fit, of an earlier attempt of the task.
    pub candidate: ObjectId,
    /// That attempt.
    pub attempt: u32,
    /// The files in conflict, sorted: all that it may change.
    pub files: Vec<String>,
    /// The tasks whose landed commits it is in conflict with. Their gates judge the result, too.
    pub with: Vec<TaskId>,
}

impl Resolving {
    /// The candidate that does not fit, and whose it is.
    pub(super) fn contested(&self) -> Contested {
        Contested {
            candidate: self.candidate.clone(),
            attempt: self.attempt,
        }
    }

    /// `conflicts with 1, 2 in a.rs, b.rs`.
    pub fn in_words(&self) -> String {
        let with: Vec<&str> = self.with.iter().map(TaskId::as_str).collect();
        format!(
            "conflicts with {} in {}",
            with.join(", "),
            self.files.join(", ")
        )
    }
}

impl Conflict {
    /// In words, for people and for the next attempt.
    pub(super) fn in_words(&self) -> String {
        let tried = self.tried.as_ref();
        format!(
            "conflicts with what landed meanwhile: {}{}",
            self.files.join(", "),
            tried.map_or_else(String::new, |why| format!(
                "; the answer that was given to that failed: {why}"
            ))
        )
    }
}

/// A file in which a conflict was settled as a person had said beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Its path, relative to the top of the repository.
    pub file: String,
    /// How.
    pub by: By,
}

/// How a conflict in a file was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum By {
    /// The lines of both sides stand in it.
    Union,
    /// A person's command made it anew from the other files of the merge.
    Run {
        /// The shell's text.
        command: String,
        /// How long it took.
        ms: u64,
    },
}

impl Answered {
    /// A file in which the lines of both sides stand.
    pub fn united(file: String) -> Self {
        let by = By::Union;
        Self { file, by }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::Union => write!(f, "{} by union", self.file),
            By::Run { command, .. } => write!(f, "{} by `{command}`", self.file),
        }
    }
}

/// Several answers in a line.
pub fn in_words(answers: &[Answered]) -> String {
    let words: Vec<String> = answers.iter().map(Answered::to_string).collect();
    words.join(", ")
}

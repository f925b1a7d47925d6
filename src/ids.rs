//! Names of things: every identifier is a type of its own, checked where it enters the program.
//!
//! What is stored or compared across processes lives here; what a module only uses inside itself does not. Names are
//! shared, not copied: those of a plan stand in its tasks, its graph, the engine and many records at once.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest task, section or plan identifier that is accepted, in bytes: with run and attempt around it, it must fit a
/// file name and a ref name component (255 bytes on common file systems).
pub const ID_BYTES_MAX: usize = 100;

/// Why a text cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there, or only blanks.
    #[error("it is empty")]
    Empty,
    /// Longer than [`ID_BYTES_MAX`].
    #[error("it is longer than {ID_BYTES_MAX} bytes")]
    TooLong,
    /// A character, or a place of a character, that a directory or a git ref name cannot hold.
    #[error("{0} cannot be part of a directory or git ref name")]
    Unusable(String),
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

string_id! {
    /// A task of one plan, as the plan's source text has it (`1.10` is not `1.1`). Usable as a directory and as a
    /// component of a ref name.
    TaskId
}

string_id! {
    /// A section of a plan, as the plan's source text has it.
    SectionId
}

string_id! {
    /// A plan: `meta.id`, else its path relative to the repository when the run started.
    PlanId
}

string_id! {
    /// One execution of a plan against a target. Sorts by start time: `20261121-063312-k3f9`.
    RunId
}

string_id! {
    /// A full git ref name, `refs/heads/main`.
    RefName
}

string_id! {
    /// A git object id in lower-case hexadecimal.
    ObjectId
}

impl TaskId {
    /// Accepts a text that can name a directory and a ref component.
    ///
    /// # Errors
    /// Says which rule is broken, in words that fit after "task id `x` is not usable: ".
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_component(text).map(|()| Self(text.into()))
    }
}

impl SectionId {
    /// Section ids only stand in prompts and reports, so anything but blanks will do.
    ///
    /// # Errors
    /// If the text is blank or too long.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        match text.trim() {
            "" => Err(IdError::Empty),
            _ if text.len() > ID_BYTES_MAX => Err(IdError::TooLong),
            _ => Ok(Self(text.into())),
        }
    }
}

impl PlanId {
    /// A `meta.id` that a person wrote.
    ///
    /// # Errors
    /// As for [`TaskId::parse`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_component(text).map(|()| Self(text.into()))
    }

    /// The identity of a plan without `meta.id`: its path, relative to the repository where it lies inside it.
    pub fn from_path(path: &std::path::Path) -> Self {
        Self(path.to_string_lossy().into())
    }
}

impl RunId {
    /// Makes the id of a run that starts at `at`, with `random` making it unique.
    pub fn new(at: chrono::DateTime<chrono::Utc>, random: u32) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let tail: String = (0..4)
            .map(|i| char::from(ALPHABET[((random >> (5 * i)) & 31) as usize]))
            .collect();
        Self(format!("{}-{tail}", at.format("%Y%m%d-%H%M%S")).into())
    }

    /// A run id that a person typed or a file holds.
    ///
    /// # Errors
    /// As for [`TaskId::parse`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_component(text).map(|()| Self(text.into()))
    }
}

impl RefName {
    /// Takes a full ref name that git itself gave or accepted.
    pub fn new(full: impl Into<String>) -> Self {
        Self(full.into().into())
    }

    /// The name of a branch, without `refs/heads/`; the full name for other refs.
    pub fn short(&self) -> &str {
        self.0.strip_prefix("refs/heads/").unwrap_or(&self.0)
    }
}

impl ObjectId {
    /// Takes an object id that git itself gave.
    pub fn new(hex: impl Into<String>) -> Self {
        Self(hex.into().into())
    }

    /// The first ten digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

/// A place to work, numbered from 1. Agent slots and gate slots are counted apart and never exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an action was ordered for, and what its result must carry to be heard.
///
/// `attempt` counts fresh sessions of a task within a run, from 1, and is never reused. `epoch` rises whenever the
/// engine gives up on results still under way (an attempt ended, was cancelled, or recovered after a crash), so that a
/// late result of an older order cannot move a newer one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The task worked on.
    pub task: TaskId,
    /// Which fresh session of the task, from 1.
    pub attempt: u32,
    /// Which order; only the task's current epoch is heard.
    pub epoch: u32,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.attempt)
    }
}

const UNUSABLE: [char; 18] = [
    ' ', '~', '^', ':', '?', '*', '[', '\\', '/', '"', '\'', '`', '$', '<', '>', '|', ';', '&',
];

fn check_component(text: &str) -> Result<(), IdError> {
    let unusable = |what: &str| Err(IdError::Unusable(what.to_owned()));
    if text.trim().is_empty() || text == "~" {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong);
    }
    let is_unusable = |c: &char| UNUSABLE.contains(c) || c.is_control();
    if let Some(c) = text.chars().find(is_unusable) {
        return unusable(&format!("{c:?}"));
    }
    if text.starts_with(['.', '-']) {
        return unusable("a leading `.` or `-`");
    }
    if text.ends_with('.') || text.ends_with(".lock") {
        return unusable("a trailing `.` or `.lock`");
    }
    if text.contains("..") || text.contains("@{") || text == "@" {
        return unusable("`..` or `@`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_must_be_able_to_name_a_directory_and_a_ref() {
        for good in ["1.1", "1.10", "api-tests", "größe", "A_b"] {
            assert!(TaskId::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            "~",
            "a/b",
            ".x",
            "x.",
            "a..b",
            "x.lock",
            "a b",
            "@",
            "-x",
            "a:b",
            "a\nb",
            &"x".repeat(101),
        ] {
            assert!(TaskId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn run_ids_sort_by_start_time() {
        let at = |s| chrono::DateTime::from_timestamp(s, 0).expect("in range");
        assert!(RunId::new(at(1_000), u32::MAX) < RunId::new(at(2_000), 0));
    }
}

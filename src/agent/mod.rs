//! Runners of agent programs, their prompts, and what their sessions left.
//!
//! Nothing here starts or waits for an agent: a runner only says what to start ([`crate::process::Launch`]), the shim starts it, and
//! what it left (stream, status file, exit) is read back here and told apart.

pub mod claude;
pub mod command;
pub mod failure;
pub mod prompt;
pub mod rehearsal;
pub mod role;
pub mod status;
pub mod stream;
pub mod transcript;

/// The adapter for an agent program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// The `claude` program, one session per attempt.
    Claude(claude::ClaudeSettings),
    /// The task's `run:` through a shell; no agent, no prompt, no stream.
    Command,
    /// A simulated agent that follows the task's `rehearse:` block; costs nothing.
    Rehearsal,
}

impl Runner {
    /// The name by which plans, settings and records call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claude(_) => "claude",
            Self::Command => "command",
            Self::Rehearsal => "rehearsal",
        }
    }

    /// Whether its standard output is stream-json for [`stream::SessionReader`]; a command's is its result text.
    pub fn speaks_stream_json(&self) -> bool {
        match self {
            Self::Claude(_) | Self::Rehearsal => true,
            Self::Command => false,
        }
    }

    /// Whether an ended session can be resumed to ask for a missing status.
    pub fn can_resume(&self) -> bool {
        match self {
            Self::Claude(_) => true,
            Self::Command | Self::Rehearsal => false,
        }
    }
}

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A new one under this id.
    Fresh,
    /// The ended one of this id goes on.
    Resume,
}

/// The beginning of `text`, at most `bytes_max` long and cut between characters.
fn head(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The end of `text`, at most `bytes_max` long and cut between characters.
fn tail(text: &str, bytes_max: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

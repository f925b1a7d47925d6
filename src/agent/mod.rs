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

//! Where commands print: data to stdout, talk to stderr.

use std::borrow::Cow;
use std::io::Write;

use crate::error::{OrKind, Result};
use crate::report::paint::{Paint, for_terminal};

/// What commands print with.
pub(super) struct Out<'a> {
    /// Data.
    pub(super) data: &'a mut dyn Write,
    /// Whether data goes to a terminal, which texts of agents must not command.
    pub(super) is_terminal: bool,
    /// How data is coloured.
    pub(super) paint: Paint,
    /// How talk on stderr is coloured.
    pub(super) talk: Paint,
}

impl Out<'_> {
    /// Prints data.
    pub(super) fn print(&mut self, text: &str) -> Result<()> {
        let text = match self.is_terminal {
            true => Cow::Owned(for_terminal(text)),
            false => Cow::Borrowed(text),
        };
        self.data
            .write_all(text.as_bytes())
            .and_then(|()| self.data.flush())
            .or_environment()
    }

    /// Prints talk; that nobody listens is no reason to stop.
    pub(super) fn talk(&self, text: &str) {
        // An error may quote what an agent or its program said.
        let text = for_terminal(text);
        if let Err(error) = std::io::stderr().lock().write_all(text.as_bytes()) {
            tracing::debug!(%error, "stderr is closed");
        }
    }
}

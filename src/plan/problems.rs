//! The problems found so far, up to a limit: a text of 16 MiB can have millions, which nobody reads.

use crate::diagnostic::{Diagnostic, first_error, has_errors};

/// Most problems that are kept: one for each task of the largest plans.
const PROBLEMS_MAX: usize = 100_000;

/// A bounded list of problems.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Diagnostic>,
}

impl Problems {
    /// Keeps a problem. The first one beyond the limit becomes an error of its own, since what is dropped may be one.
    pub(super) fn push(&mut self, problem: Diagnostic) {
        match self.found.len() {
            0..PROBLEMS_MAX => self.found.push(problem),
            PROBLEMS_MAX => self.found.push(Diagnostic::error(
                "too-many-problems",
                format!("the plan has more than {PROBLEMS_MAX} problems; the rest is not listed"),
            )),
            _ => {}
        }
    }

    /// Whether further problems are dropped, so that looking for them is a waste.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() > PROBLEMS_MAX
    }

    /// Whether one of them is an error.
    pub(super) fn has_errors(&self) -> bool {
        has_errors(&self.found)
    }

    /// All of them in the order of the text, those without a place first.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|d| d.span.as_ref().map(|span| span.start));
        self.found
    }

    /// The first error in words.
    pub(super) fn first_error(self) -> Option<String> {
        first_error(&self.into_diagnostics()).map(|d| d.message.clone())
    }
}

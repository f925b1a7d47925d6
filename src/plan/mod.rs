//! The plan as a document: schema, checks, graph, edits.
//!
//! [`check`] leads from bytes to a [`Plan`] or to everything that is wrong with them. Nothing here opens a file.

pub mod bounds;
pub mod checks;
pub mod conflicts;
pub mod consent;
pub mod diff;
pub mod edit;
pub mod graph;
pub mod schema;
pub mod syntax;

mod keys;
mod order;
mod paths;
mod problems;
mod read;
mod reader;
mod rehearse;
mod role;
mod second_reading;
mod validate;

use std::sync::Arc;

use crate::diagnostic::{self, Diagnostic, Located};
use crate::digest::sha256_hex;
use edit::LastWritten;
use problems::Problems;
use read::Draft;
use reader::Reader;
use second_reading::Pieces;
use syntax::Document;

pub use keys::nearest;
pub use read::is_mail_address;
pub use schema::{Meta, Plan, Rehearse, RehearsedStatus, Runner, Schedule, Section, Task};

/// What is done about unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// What the plan asks for: errors with `orch: 1`, else warnings.
    #[default]
    AsWritten,
    /// They are errors.
    Strict,
}

/// A plan with all that was noticed about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The file's name as it was given.
    pub name: String,
    /// The text that places count in. For bytes that are no UTF-8, as much of it as can be shown.
    pub text: Arc<str>,
    /// The plan, if there are no errors.
    pub plan: Option<Plan>,
    /// All problems, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    /// The problems for people; empty if there are none.
    pub fn render(&self, color: bool) -> String {
        diagnostic::render(&self.name, &self.text, &self.diagnostics, color)
    }

    /// The problems for programs.
    pub fn located(&self) -> Vec<Located<'_>> {
        diagnostic::locate(&self.name, &self.text, &self.diagnostics)
    }
}

/// Reads a plan and reports every problem at once. `name` is the file's name in messages.
pub fn check(name: &str, bytes: &[u8], strictness: Strictness) -> Checked {
    check_and(name, bytes, strictness, |_, _| {})
}

/// As [`check`], of a text that is going to be written: what writing needs to know of it is read at once, because a
/// second reading would take as much time and memory as the first.
pub fn check_to_write(name: &str, bytes: &[u8], strictness: Strictness) -> (Checked, LastWritten) {
    let mut written = LastWritten::default();
    let checked = check_and(name, bytes, strictness, |text, document| {
        written = LastWritten::of_document(text, document);
    });
    (checked, written)
}

/// `see` gets the document of a text without errors.
fn check_and(
    name: &str,
    bytes: &[u8],
    strictness: Strictness,
    see: impl FnOnce(&Arc<str>, &Document<'_>),
) -> Checked {
    let mut problems = Problems::default();
    let (text, plan) = match text_of(bytes) {
        Ok(text) => {
            let text: Arc<str> = text.into();
            let plan = check_text(&text, strictness, &mut problems, see);
            (text, plan)
        }
        Err(problem) => {
            problems.push(problem);
            (String::from_utf8_lossy(bytes).into(), None)
        }
    };
    Checked {
        name: name.to_owned(),
        text,
        plan,
        diagnostics: problems.into_diagnostics(),
    }
}

/// The text that bytes are, or why they are none to look into.
fn text_of(bytes: &[u8]) -> Result<&str, Diagnostic> {
    if bytes.len() > syntax::SOURCE_BYTES_MAX {
        let message = format!(
            "the file is longer than {} MiB",
            syntax::SOURCE_BYTES_MAX >> 20
        );
        return Err(Diagnostic::error("too-long", message));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let problem = Diagnostic::error("not-utf8", "the file is UTF-16");
        return Err(problem.help("save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let problem = Diagnostic::error("not-utf8", "this is not UTF-8");
        problem.at(at..at + 1).help("save the file as UTF-8")
    })?;
    match text.find('\0') {
        None => Ok(text),
        Some(nul) => {
            let message = "the file has a NUL byte, and is no YAML";
            Err(Diagnostic::error("nul", message).at(nul..nul + 1))
        }
    }
}

fn check_text(
    text: &Arc<str>,
    strictness: Strictness,
    problems: &mut Problems,
    see: impl FnOnce(&Arc<str>, &Document<'_>),
) -> Option<Plan> {
    let document = match syntax::parse(text) {
        Ok(document) => document,
        Err(e) => {
            problems.push(Diagnostic::error("yaml", e.message).at(e.span));
            return None;
        }
    };
    let Some(root) = &document.root else {
        problems.push(Diagnostic::error("empty", "the file holds no plan"));
        return None;
    };
    let pieces = Pieces::of(text, &document);
    let mut reader = Reader::new(text, root, strictness == Strictness::Strict);
    let mut draft = read::document(&mut reader, root);
    *problems = reader.problems;
    if !problems.has_errors() {
        see(text, &document);
    }
    // What follows needs its memory.
    drop(document);
    let graph = validate::graph(&mut draft, problems);
    if problems.has_errors() {
        return None;
    }
    if let Some(problem) = second_reading::disagreement(text, &pieces, &draft) {
        problems.push(problem);
        return None;
    }
    let Draft {
        meta,
        sections,
        tasks,
        ..
    } = draft;
    let mut tasks: Vec<Task> = tasks.into_iter().map(|read| read.task).collect();
    // Made in the place of what was read, which is larger.
    tasks.shrink_to_fit();
    Some(Plan {
        text: Arc::clone(text),
        sha256: sha256_hex(text.as_bytes()),
        meta,
        sections: sections.into_iter().map(|read| read.section).collect(),
        tasks,
        graph,
    })
}

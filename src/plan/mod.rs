//! The plan as a document: schema, checks, graph, edits.
//!
//! [`check`] leads from bytes to a [`Plan`] or to everything that is wrong with them. Nothing here opens a file.

pub mod edit;
pub mod graph;
pub mod schema;
pub mod syntax;

mod keys;
mod order;
mod read;
mod reader;
mod rehearse;
mod validate;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::diagnostic::{self, Diagnostic, Located};
use read::Draft;
use reader::Reader;

pub use keys::nearest;
pub use read::{ATTEMPTS_MAX, JOBS_MAX, TIMEOUT_MAX};
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
    pub text: String,
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
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut diagnostics = Vec::new();
    let plan = match not_a_text(bytes) {
        Some(problem) => {
            diagnostics.push(problem);
            None
        }
        None => check_text(&text, strictness, &mut diagnostics),
    };
    diagnostics.sort_by_key(|d| d.span.as_ref().map(|span| span.start));
    let plan = plan.filter(|_| !diagnostic::has_errors(&diagnostics));
    Checked {
        name: name.to_owned(),
        text,
        plan,
        diagnostics,
    }
}

/// Why bytes are not a text to look into.
fn not_a_text(bytes: &[u8]) -> Option<Diagnostic> {
    if bytes.len() > syntax::SOURCE_BYTES_MAX {
        let message = format!(
            "the file is longer than {} MiB",
            syntax::SOURCE_BYTES_MAX >> 20
        );
        return Some(Diagnostic::error("too-long", message));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let problem = Diagnostic::error("not-utf8", "the file is UTF-16");
        return Some(problem.help("save it as UTF-8"));
    }
    if let Err(e) = std::str::from_utf8(bytes) {
        let at = e.valid_up_to();
        let problem = Diagnostic::error("not-utf8", "this is not UTF-8");
        return Some(problem.at(at..at + 1).help("save the file as UTF-8"));
    }
    let nul = bytes.iter().position(|b| *b == 0)?;
    Some(Diagnostic::error("nul", "the file has a NUL byte, and is no YAML").at(nul..nul + 1))
}

fn check_text(
    text: &str,
    strictness: Strictness,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Plan> {
    let document = match syntax::parse(text) {
        Ok(document) => document,
        Err(e) => {
            diagnostics.push(Diagnostic::error("yaml", e.message).at(e.span));
            return None;
        }
    };
    let Some(root) = &document.root else {
        diagnostics.push(Diagnostic::error("empty", "the file holds no plan"));
        return None;
    };
    let mut reader = Reader::new(text, root, strictness == Strictness::Strict);
    let mut draft = read::document(&mut reader, root);
    diagnostics.append(&mut reader.diagnostics);
    let graph = validate::graph(&mut draft, diagnostics);
    if diagnostic::has_errors(diagnostics) {
        return None;
    }
    let Draft {
        meta,
        sections,
        tasks,
        ..
    } = draft;
    let plan = Plan {
        text: text.to_owned(),
        sha256: validate::hex(&Sha256::digest(text)),
        meta,
        sections: sections.into_iter().map(|read| read.section).collect(),
        tasks: tasks.into_iter().map(|read| read.task).collect(),
        graph,
    };
    drop(document);
    diagnostics.extend(disagreement(&plan));
    Some(plan)
}

/// The plan as serde_yaml reads it, as far as a misreading would make the wrong task run or write the wrong status.
#[derive(Deserialize)]
struct SecondReading {
    sections: Option<Vec<SecondSection>>,
}

#[derive(Deserialize)]
struct SecondSection {
    tasks: Option<Vec<SecondTask>>,
}

#[derive(Deserialize)]
struct SecondTask {
    id: String,
    status: Option<String>,
    depends_on: Option<Vec<String>>,
}

/// Where a second, independent parser reads the text in another way, one of the two must be wrong: such a text is
/// refused. (It has been checked for size, depth and aliases, which serde_yaml alone bounds too late.)
fn disagreement(plan: &Plan) -> Option<Diagnostic> {
    let refuse = |why: String| {
        let problem = Diagnostic::error("ambiguous-yaml", why);
        Some(problem.help("quote values with unusual characters and indent with spaces"))
    };
    let text = plan
        .text
        .strip_prefix(syntax::BYTE_ORDER_MARK)
        .unwrap_or(&plan.text);
    let second: SecondReading = match serde_yaml::from_str(text) {
        Ok(second) => second,
        Err(e) => return refuse(format!("another YAML parser reads this otherwise: {e}")),
    };
    let sections = second.sections.into_iter().flatten();
    let tasks: Vec<SecondTask> = sections
        .filter_map(|section| section.tasks)
        .flatten()
        .collect();
    let same = |(first, second): (&Task, &SecondTask)| {
        let status = second.status.as_deref();
        let depends_on = |on: &Vec<crate::ids::TaskId>| {
            let second = second.depends_on.as_deref().unwrap_or_default();
            // Repeated items are dropped with a warning.
            on.iter().all(|id| second.iter().any(|s| s == id.as_str()))
        };
        first.id.as_str() == second.id
            && Some(first.declared) == read::declared(status.unwrap_or("pending"))
            && first.depends_on.is_some() == second.depends_on.is_some()
            && first.depends_on.as_ref().is_none_or(depends_on)
    };
    if tasks.len() == plan.tasks.len() && plan.tasks.iter().zip(&tasks).all(same) {
        return None;
    }
    refuse("another YAML parser reads other tasks in this text".to_owned())
}

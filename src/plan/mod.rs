//! The plan as a document: schema, checks, graph, edits.
//!
//! [`check`] leads from bytes to a [`Plan`] or to everything that is wrong with them. Nothing here opens a file.

pub mod checks;
pub mod diff;
pub mod edit;
pub mod graph;
pub mod schema;
pub mod syntax;

mod keys;
mod order;
mod problems;
mod read;
mod reader;
mod rehearse;
mod role;
mod validate;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::diagnostic::{self, Diagnostic, Located};
use crate::ids::TaskId;
use checks::Gates;
use graph::Declared;
use problems::Problems;
use read::Draft;
use reader::Reader;

pub use keys::nearest;
pub use read::{ATTEMPTS_MAX, JOBS_MAX, TIMEOUT_MAX, is_mail_address};
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
    let mut problems = Problems::default();
    let plan = match not_a_text(bytes) {
        Some(problem) => {
            problems.push(problem);
            None
        }
        None => check_text(&text, strictness, &mut problems),
    };
    Checked {
        name: name.to_owned(),
        text,
        plan,
        diagnostics: problems.into_diagnostics(),
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

fn check_text(text: &str, strictness: Strictness, problems: &mut Problems) -> Option<Plan> {
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
    // Before anything else is built, since it takes the most memory for a moment.
    let second = second_reading(text);
    let mut reader = Reader::new(text, root, strictness == Strictness::Strict);
    let mut draft = read::document(&mut reader, root);
    *problems = reader.problems;
    drop(document);
    let graph = validate::graph(&mut draft, problems);
    if let Some(problem) = disagreement(&draft, second).filter(|_| !problems.has_errors()) {
        problems.push(problem);
    }
    if problems.has_errors() {
        return None;
    }
    let Draft {
        meta,
        sections,
        tasks,
        ..
    } = draft;
    let mut plan = Plan {
        text: text.to_owned(),
        sha256: validate::hex(&Sha256::digest(text)),
        meta,
        sections: sections.into_iter().map(|read| read.section).collect(),
        tasks: tasks.into_iter().map(|read| read.task).collect(),
        graph,
    };
    let gates: Vec<Gates> = plan
        .tasks
        .iter()
        .map(|task| plan.checks(task).gates())
        .collect();
    for (node, gates) in plan.graph.nodes.iter_mut().zip(gates) {
        node.gates = gates;
    }
    Some(plan)
}

/// The plan as serde_yaml reads it, as far as a misreading would make the wrong task run or write the wrong status.
#[derive(Deserialize)]
struct SecondReading {
    sections: Option<Vec<SecondSection>>,
}

#[derive(Deserialize)]
struct SecondSection {
    tasks: Option<Vec<Fingerprint>>,
}

#[derive(Deserialize)]
struct SecondTask {
    id: String,
    status: Option<String>,
    depends_on: Option<Vec<String>>,
}

/// What a task must be the same in: a hash, since at this point the document still fills the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "SecondTask")]
struct Fingerprint(u64);

impl Fingerprint {
    fn new<'a>(
        id: &str,
        status: Option<Declared>,
        depends_on: Option<impl Iterator<Item = &'a str>>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (id, status).hash(&mut hasher);
        // Repeated items count once, as they do in the draft.
        let mut seen = HashSet::new();
        let depends_on: Option<Vec<&str>> =
            depends_on.map(|ids| ids.filter(|id| seen.insert(*id)).collect());
        depends_on.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl From<SecondTask> for Fingerprint {
    fn from(task: SecondTask) -> Self {
        let status = task.status.as_deref().unwrap_or("pending");
        let depends_on = task.depends_on.as_ref();
        Self::new(
            &task.id,
            read::declared(status),
            depends_on.map(|ids| ids.iter().map(String::as_str)),
        )
    }
}

impl From<&Task> for Fingerprint {
    fn from(task: &Task) -> Self {
        let depends_on = task.depends_on.as_ref();
        Self::new(
            task.id.as_str(),
            Some(task.declared),
            depends_on.map(|ids| ids.iter().map(TaskId::as_str)),
        )
    }
}

/// Reads a text that has been checked for size, depth and aliases, which serde_yaml alone bounds too late.
fn second_reading(text: &str) -> Result<Vec<Fingerprint>, serde_yaml::Error> {
    let text = text.strip_prefix(syntax::BYTE_ORDER_MARK).unwrap_or(text);
    let read: SecondReading = serde_yaml::from_str(text)?;
    let sections = read.sections.into_iter().flatten();
    Ok(sections
        .filter_map(|section| section.tasks)
        .flatten()
        .collect())
}

/// Where a second, independent parser reads a text without errors in another way, one of the two must be wrong: such a
/// text is refused.
fn disagreement(
    draft: &Draft,
    second: Result<Vec<Fingerprint>, serde_yaml::Error>,
) -> Option<Diagnostic> {
    let why = match second {
        Ok(second) => {
            let first = draft.tasks.iter().map(|read| Fingerprint::from(&read.task));
            if first.eq(second) {
                return None;
            }
            "another YAML parser reads other tasks in this text".to_owned()
        }
        Err(e) => format!("another YAML parser reads this otherwise: {e}"),
    };
    let help = "quote values with unusual characters and indent with spaces";
    Some(Diagnostic::error("ambiguous-yaml", why).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_two_parsers_read_in_two_ways_is_refused() {
        let plan = |tasks: &str| format!("sections: [{{id: s, name: S, tasks: [{tasks}]}}]");
        let text = plan("{id: 1.10, name: a}, {id: b, name: b, depends_on: [1.10, 1.10]}");
        let document = syntax::parse(&text).expect("YAML");
        let root = document.root.as_ref().expect("a document");
        let mut reader = Reader::new(&text, root, false);
        let mut draft = read::document(&mut reader, root);
        validate::graph(&mut draft, &mut reader.problems);
        assert_eq!(disagreement(&draft, second_reading(&text)), None);

        for other in [
            "{id: 1.10, name: a}",
            "{id: 1.1, name: a}, {id: b, name: b, depends_on: [1.10]}",
            "{id: 1.10, name: a}, {id: b, name: b, depends_on: [1.1]}",
            "{id: 1.10, name: a}, {id: b, name: b}",
            "{id: 1.10, name: a, status: completed}, {id: b, name: b, depends_on: [1.10]}",
            "{id: [1.10], name: a}",
        ] {
            let problem = disagreement(&draft, second_reading(&plan(other)));
            assert_eq!(problem.map(|p| p.code), Some("ambiguous-yaml"), "{other}");
        }
    }
}

//! How a rehearsed session extends the plan: text put behind the last task of its own section in the plan copy.

use std::fs;
use std::path::Path;

use crate::plan::syntax::{self, Node};

/// Where an attempt finds its copy of the plan.
pub(super) const PLAN_COPY: &str = ".orch/plan.yaml";

/// Puts `items` (a YAML list at column 0) behind the last task of the section that holds `task`.
///
/// # Errors
/// In words, if the copy is not there or not a plan in block style that holds the task.
pub(super) fn add_tasks(cwd: &Path, task: &str, items: &str) -> Result<(), String> {
    let path = cwd.join(PLAN_COPY);
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {PLAN_COPY}: {e}"))?;
    let extended = extend(&text, task, items)?;
    fs::write(&path, extended).map_err(|e| format!("cannot write {PLAN_COPY}: {e}"))
}

fn extend(text: &str, task: &str, items: &str) -> Result<String, String> {
    let document = syntax::parse(text).map_err(|e| format!("{PLAN_COPY} is not YAML: {e}"))?;
    let root = document
        .root
        .ok_or_else(|| format!("{PLAN_COPY} is empty"))?;
    let last =
        last_neighbour(&root, task).ok_or_else(|| format!("{PLAN_COPY} has no task {task}"))?;
    let start = text[..last.full().start].rfind('\n').map_or(0, |at| at + 1);
    let indent = text[start..last.full().start]
        .split_once('-')
        .map(|(indent, _)| indent)
        .filter(|indent| indent.bytes().all(|b| b == b' '))
        .ok_or("the tasks of the section are not written one below the other")?;
    let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut block = String::new();
    for line in items.lines() {
        let line = line.trim_end();
        block.extend(if line.is_empty() {
            [eol, "", ""]
        } else {
            [indent, line, eol]
        });
    }
    let at = end_of_line(text, last.full().end);
    let (before, after) = text.split_at(at);
    let missing_eol = if before.ends_with('\n') { "" } else { eol };
    Ok([before, missing_eol, &block, after].concat())
}

/// The last task of the section that holds `task`.
fn last_neighbour<'n>(root: &'n Node<'n>, task: &str) -> Option<&'n Node<'n>> {
    let holds = |tasks: &&Node<'_>| {
        tasks
            .items()
            .iter()
            .any(|t| t.get("id").and_then(Node::as_scalar) == Some(task))
    };
    let sections = root.get("sections")?.items();
    sections
        .iter()
        .filter_map(|s| s.get("tasks"))
        .find(holds)?
        .items()
        .last()
}

/// The start of the next line, or the end of the text. A block scalar ends with its line already.
fn end_of_line(text: &str, at: usize) -> usize {
    match text[..at].ends_with('\n') {
        true => at,
        false => text[at..].find('\n').map_or(text.len(), |n| at + n + 1),
    }
}

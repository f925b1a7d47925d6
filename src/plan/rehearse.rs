//! Reads a task's `rehearse` block: what the rehearsal runner plays instead of an agent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys;
use super::paths::plain_path_problem;
use super::reader::{Fields, Reader, Spanned, quote};
use super::schema::{Rehearse, RehearsedStatus};
use super::syntax::{Node, NodeKind};
use crate::diagnostic::Diagnostic;

/// Longest rehearsed attempt: an hour shows everything that a day would.
const TAKES_MAX: Duration = Duration::from_secs(3600);

/// Highest cost of a rehearsed attempt, in whole US dollars.
const COSTS_USD_MAX: u64 = 1_000_000;

/// The `rehearse` block of a task, if it has one.
pub(super) fn read<'t>(reader: &mut Reader<'t>, task: &Fields<'t>) -> Option<Rehearse> {
    let node = task.get("rehearse")?;
    let fields = reader.fields(node, &keys::REHEARSE, "`rehearse`")?;
    let statuses = [
        ("completed", RehearsedStatus::Completed),
        ("failed", RehearsedStatus::Failed),
        ("none", RehearsedStatus::None),
    ];
    let deleted = reader.texts(&fields, "delete", "paths").unwrap_or_default();
    deleted.iter().for_each(|path| check_path(reader, path));
    Some(Rehearse {
        write: contents(reader, &fields, "write"),
        append: contents(reader, &fields, "append"),
        delete: deleted
            .into_iter()
            .map(|path| path.text.to_owned())
            .collect(),
        answer: reader.owned(&fields, "answer"),
        status: reader
            .word(&fields, "status", &statuses)
            .unwrap_or_default(),
        fail_times: reader.count(&fields, "fail_times", 0..=1000).unwrap_or(0),
        takes: reader
            .duration(&fields, "takes", Duration::ZERO..=TAKES_MAX)
            .unwrap_or_default(),
        costs_micro_usd: costs(reader, &fields).unwrap_or(0),
        add_tasks: add_tasks(reader, &fields).unwrap_or_default(),
    })
}

/// A mapping of paths to texts.
fn contents<'t>(
    reader: &mut Reader<'t>,
    fields: &Fields<'t>,
    key: &str,
) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    let Some(node) = fields.get(key) else {
        return contents;
    };
    let Some(files) = reader.any_fields(node, &quote(key)) else {
        return contents;
    };
    for (path, path_node, content) in files.iter() {
        let span = path_node.span();
        check_path(reader, &Spanned { text: path, span });
        match content.as_scalar() {
            Some(text) => drop(contents.insert(path.to_owned(), text.to_owned())),
            None => reader.wrong_type(content, "the content of a file", "a text"),
        }
    }
    contents
}

fn check_path(reader: &mut Reader<'_>, path: &Spanned<'_>) {
    if let Some(problem) = plain_path_problem(path.text) {
        reader.push(
            Diagnostic::error("unusable-path", format!("{} {problem}", quote(path.text)))
                .at(path.span.clone()),
        );
    }
}

/// A price in US dollars, `0.25`, in millionths. Digits behind the sixth are refused, so that money stays exact.
fn costs<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<u64> {
    let Spanned { text, span } = reader.text(fields, "costs")?;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(part) && part.len() <= 6 {
        let whole: Option<u64> = whole.parse().ok().filter(|usd| *usd < COSTS_USD_MAX);
        let part: Option<u64> = format!("{part:0<6}").parse().ok();
        if let (Some(whole), Some(part)) = (whole, part) {
            return Some(whole * 1_000_000 + part);
        }
    }
    reader.push(
        Diagnostic::error(
            "wrong-value",
            format!("`costs` must be US dollars, not {}", quote(text)),
        )
        .at(span)
        .help("write for example `costs: 0.25`"),
    );
    None
}

/// The source text of a block list, moved to column 0. Source and not values, since the tasks are put into the plan's
/// text as they are, numeric ids included.
fn add_tasks<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<String> {
    let node: &Node<'_> = fields.get("add_tasks")?;
    let NodeKind::Sequence { items, flow: false } = &node.kind else {
        reader.wrong_type(node, "`add_tasks`", "a block list of tasks (`- id: ...`)");
        return None;
    };
    for item in items {
        reader.fields(item, &keys::TASK, "a task");
    }
    Some(reader.unindented(node))
}

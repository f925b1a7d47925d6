//! The tasks of a text as serde_yaml reads them, as far as a misreading would make the wrong task run or write the wrong
//! status: where two parsers that share no code disagree, one of them must be wrong, and the text is refused.
//!
//! A whole text of many tasks fills that parser's memory many times over, so that one whose tasks stand on lines of
//! their own is read in pieces of some tasks each, and what is left of it as one more.

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserialize;

use super::edit::splice::{behind_lines, line_start};
use super::read::{self, Draft, TaskDraft};
use super::schema::Task;
use super::syntax::{BYTE_ORDER_MARK, Document, Node, NodeKind};
use crate::diagnostic::Diagnostic;
use crate::ids::TaskId;

/// About how long a piece is: long enough that few of its lines are at an end of it.
const PIECE_BYTES: usize = 16 << 10;

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

impl SecondTask {
    fn is(&self, task: &Task) -> bool {
        let status = self.status.as_deref().unwrap_or("pending");
        let waits_alike = match (&self.depends_on, &task.depends_on) {
            (None, None) => true,
            (Some(second), Some(first)) => {
                // Repeated items count once, as they do in the draft.
                let mut seen = HashSet::new();
                let second = second.iter().filter(|id| seen.insert(id.as_str()));
                second.eq(first.iter().map(TaskId::as_str))
            }
            _ => false,
        };
        self.id == task.id.as_str() && read::declared(status) == Some(task.declared) && waits_alike
    }
}

/// Lines of a text that hold tasks and nothing else, one after the other; none where all of it must be read at once.
#[derive(Debug)]
pub(super) struct Pieces(Vec<Range<usize>>);

impl Pieces {
    /// Those of a text without aliases, in which every task of a section is an item of a block list on lines of its own.
    pub(super) fn of(text: &str, document: &Document<'_>) -> Self {
        let mut pieces = Vec::new();
        let sections = document.root.as_ref().and_then(|root| root.get("sections"));
        let sections = sections.map_or(&[][..], Node::items);
        let mut lists = sections.iter().filter_map(|section| section.get("tasks"));
        let apart =
            !document.has_aliases && lists.all(|list| cut(text, list, &mut pieces).is_some());
        Self(if apart { pieces } else { Vec::new() })
    }
}

/// Cuts a list into pieces; `None` if its items share lines with anything else.
fn cut(text: &str, list: &Node<'_>, pieces: &mut Vec<Range<usize>>) -> Option<()> {
    let items = list.items();
    if matches!(list.kind, NodeKind::Sequence { flow: true, .. }) && !items.is_empty() {
        return None;
    }
    let own = pieces.len();
    for item in items {
        let start = line_start(text, item.full().start);
        if text[start..item.full().start].trim_matches(' ') != "-" {
            return None;
        }
        let end = behind_lines(text, item.full().end)?;
        match pieces[own..].last_mut() {
            Some(piece) if piece.len() < PIECE_BYTES => piece.end = end,
            _ => pieces.push(start..end),
        }
    }
    Some(())
}

/// Why a text without errors is refused: the second parser reads other tasks in it.
pub(super) fn disagreement(text: &str, pieces: &Pieces, draft: &Draft) -> Option<Diagnostic> {
    if is_same_by_pieces(text, pieces, draft) {
        return None;
    }
    // Whatever is unusual about the pieces, the whole text decides.
    let why = match whole(text) {
        Ok(second) if are_all(&second, draft) => return None,
        Ok(_) => "another YAML parser reads other tasks in this text".to_owned(),
        Err(e) => format!("another YAML parser reads this otherwise: {e}"),
    };
    let help = "quote values with unusual characters and indent with spaces";
    Some(Diagnostic::error("ambiguous-yaml", why).help(help))
}

fn are_all(second: &[SecondTask], draft: &Draft) -> bool {
    let mut first = draft.tasks.iter();
    are_next(second, &mut first) && first.next().is_none()
}

fn are_next<'d>(second: &[SecondTask], first: &mut impl Iterator<Item = &'d TaskDraft>) -> bool {
    second
        .iter()
        .all(|second| first.next().is_some_and(|first| second.is(&first.task)))
}

/// Reads a text that has been checked for size, depth and aliases, which serde_yaml alone bounds too late.
fn whole(text: &str) -> Result<Vec<SecondTask>, serde_yaml::Error> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let read: SecondReading = serde_yaml::from_str(text)?;
    let sections = read.sections.into_iter().flatten();
    Ok(sections
        .filter_map(|section| section.tasks)
        .flatten()
        .collect())
}

fn is_same_by_pieces(text: &str, Pieces(pieces): &Pieces, draft: &Draft) -> bool {
    let mut first = draft.tasks.iter();
    let mut rest = String::new();
    let mut kept = 0;
    for piece in pieces {
        rest.push_str(&text[kept..piece.start]);
        kept = piece.end;
        let second: Result<Vec<SecondTask>, _> = serde_yaml::from_str(&text[piece.clone()]);
        if !second.is_ok_and(|second| are_next(&second, &mut first)) {
            return false;
        }
    }
    rest.push_str(&text[kept..]);
    !pieces.is_empty()
        && first.next().is_none()
        && whole(&rest).is_ok_and(|others| others.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::graph::Declared;
    use crate::plan::reader::Reader;
    use crate::plan::{syntax, validate};

    fn draft(text: &str) -> (Pieces, Draft) {
        let document = syntax::parse(text).expect("YAML");
        let root = document.root.as_ref().expect("a document");
        let mut reader = Reader::new(text, root, false);
        let mut draft = read::document(&mut reader, root);
        validate::graph(&mut draft, &mut reader.problems);
        (Pieces::of(text, &document), draft)
    }

    #[test]
    fn a_text_that_two_parsers_read_in_two_ways_is_refused() {
        let plan = |tasks: &str| format!("sections: [{{id: s, name: S, tasks: [{tasks}]}}]");
        let text = plan("{id: 1.10, name: a}, {id: b, name: b, depends_on: [1.10, 1.10]}");
        let (pieces, draft) = draft(&text);
        assert_eq!(disagreement(&text, &pieces, &draft), None);

        for other in [
            "{id: 1.10, name: a}",
            "{id: 1.1, name: a}, {id: b, name: b, depends_on: [1.10]}",
            "{id: 1.10, name: a}, {id: b, name: b, depends_on: [1.1]}",
            "{id: 1.10, name: a}, {id: b, name: b}",
            "{id: 1.10, name: a, status: completed}, {id: b, name: b, depends_on: [1.10]}",
            "{id: [1.10], name: a}",
        ] {
            let problem = disagreement(&plan(other), &pieces, &draft);
            assert_eq!(problem.map(|p| p.code), Some("ambiguous-yaml"), "{other}");
        }
    }

    /// Whether the tasks of a text are read in pieces, and are the same then.
    fn is_read_by_pieces(text: &str) -> bool {
        let (pieces, draft) = draft(text);
        assert!(are_all(&whole(text).expect("YAML"), &draft), "{text}");
        is_same_by_pieces(text, &pieces, &draft)
    }

    #[test]
    fn tasks_on_lines_of_their_own_are_read_in_pieces() {
        let head = "meta: {name: x}\nsections:\n  - id: s\n    name: S\n    tasks:\n";
        let task = "    - id: a\n      name: A\n      depends_on: []\n";
        let many =
            head.to_owned() + &task.repeat(10_000) + "  - id: t\n    tasks: []\n    name: T\n";
        for (i, text) in [
            head.to_owned() + task + "    # a note\n\n    - {id: b, name: B} # flow\n",
            head.to_owned() + task.trim_end(),
            many,
        ]
        .iter()
        .enumerate()
        {
            assert!(is_read_by_pieces(text), "text {i}");
        }
        for text in [
            head.replace("name: S", "name: &n S") + task + "    - {id: b, name: *n}\n",
            "sections: [{id: s, name: S, tasks: [{id: a, name: A}]}]".to_owned(),
        ] {
            assert!(!is_read_by_pieces(&text), "{text}");
        }
    }

    #[test]
    fn a_piece_that_is_read_otherwise_is_noticed() {
        let head = "sections:\n  - id: s\n    name: S\n    tasks:\n";
        let tasks = (0..2_000).map(|id| format!("    - id: t{id}\n      name: A\n"));
        let text = head.to_owned() + &tasks.collect::<String>();
        let (pieces, mut draft) = draft(&text);
        assert!(is_same_by_pieces(&text, &pieces, &draft));
        draft.tasks[1_500].task.declared = Declared::Completed;
        assert!(!is_same_by_pieces(&text, &pieces, &draft));
        assert!(disagreement(&text, &pieces, &draft).is_some());
        draft.tasks.truncate(1_500);
        assert!(!is_same_by_pieces(&text, &pieces, &draft));
    }
}

//! Proofs that an edit means what was intended, each by two readers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::anchors::Anchors;
use super::fields::Own;
use super::locate::Located;
use super::outline::{self, Digest, Outline, Part, Reader};
use super::splice::{Splice, behind_lines, line_start, splice};
use super::{EditError, Intended, Place};

/// Who has to agree.
const READERS: [Reader; 2] = [Reader::Events, Reader::Serde];

/// Proves that a text has become what was intended: that for both readers it means the old text after `intend`.
///
/// # Errors
/// It does not, or one of the texts cannot be read.
pub(crate) fn whole(
    text: &str,
    edited: &str,
    intend: impl Fn(Reader, &mut Outline) -> Result<(), EditError>,
) -> Result<(), EditError> {
    for reader in READERS {
        let mut expected = reader.outline(text, Part::Plan)?;
        intend(reader, &mut expected)?;
        equal(&expected, &reader.outline(edited, Part::Plan)?)?;
    }
    Ok(())
}

/// Makes and proves an edit item by item, which takes a fraction of the time: the changed sections and tasks are lines
/// of their own that a reader can read alone, and every byte outside of them stays. `None` where that does not hold or
/// does not pay.
///
/// # Errors
/// The edit does not mean what was intended.
pub(super) fn by_items(
    text: &str,
    located: &Located<'_>,
    anchors: &Anchors<'_>,
    intended: &Intended,
    splices: &[Splice],
) -> Result<Option<String>, EditError> {
    let Some(items) = items(text, located, anchors, intended) else {
        return Ok(None);
    };
    let mut splices = splices.to_vec();
    splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
    let mut splices = splices.into_iter().peekable();
    let mut out = String::with_capacity(text.len() + 64 * items.len());
    let mut kept = 0;
    for Item { place, lines } in items {
        let mut own = Vec::new();
        while let Some(next) = splices.next_if(|splice| splice.range.end <= lines.end) {
            let Some(start) = next.range.start.checked_sub(lines.start) else {
                return Ok(None);
            };
            own.push(Splice {
                range: start..next.range.end - lines.start,
                text: next.text,
            });
        }
        let old = &text[lines.clone()];
        let new = splice(old, own)?;
        if !proven(old, &new, place, intended)? {
            return Ok(None);
        }
        out.push_str(&text[kept..lines.start]);
        out.push_str(&new);
        kept = lines.end;
    }
    out.push_str(&text[kept..]);
    Ok(splices.next().is_none().then_some(out))
}

/// A list item that is changed, with the lines that it has for itself.
struct Item {
    place: Place,
    lines: Range<usize>,
}

/// The items in which something changes, a section with all its tasks if it changes itself.
fn items(
    text: &str,
    located: &Located<'_>,
    anchors: &Anchors<'_>,
    intended: &Intended,
) -> Option<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut length = 0;
    for &place in intended.keys() {
        if items
            .last()
            .is_some_and(|last| last.place == (place.0, None))
        {
            continue;
        }
        let node = located.mapping(place);
        let start = line_start(text, node.full.start);
        let is_item = text[start..node.full.start].trim_matches(' ') == "-";
        if !is_item || anchors.aliased_within(node).is_some() {
            return None;
        }
        let lines = start..behind_lines(text, node.full.end)?;
        length += lines.len();
        items.push(Item { place, lines });
    }
    // Two readings of the changed items must cost less than two of the text.
    (length <= text.len() / 2).then_some(items)
}

/// Whether an item, read alone, has become what was intended; not if it cannot be read alone.
fn proven(old: &str, new: &str, place: Place, intended: &Intended) -> Result<bool, EditError> {
    let (part, until) = match place {
        (section, None) => (Part::Section, (section, Some(usize::MAX))),
        (_, Some(_)) => (Part::Task, place),
    };
    for reader in READERS {
        let Ok(Ok([mut expected])) = reader.outlines(old, part).map(<[Outline; 1]>::try_from)
        else {
            return Ok(false);
        };
        let mut digests = Digests::of(reader);
        for (&(_, task), fields) in intended.range(place..=until) {
            let mapping = match (place, task) {
                ((_, None), Some(task)) => &mut expected.items[task],
                _ => &mut expected,
            };
            digests.set(mapping, fields)?;
        }
        match &reader.outlines(new, part)?[..] {
            [new] => equal(&expected, new)?,
            _ => return Err(EditError::Unproven("an item is no longer one".to_owned())),
        }
    }
    Ok(true)
}

fn equal(expected: &Outline, found: &Outline) -> Result<(), EditError> {
    match expected.first_difference(found) {
        None => Ok(()),
        Some(place) => Err(EditError::Unproven(format!("{place} differs"))),
    }
}

/// The digests of the values that orch writes, which are few.
pub(super) struct Digests {
    reader: Reader,
    known: HashMap<String, Digest>,
}

impl Digests {
    pub(super) fn of(reader: Reader) -> Self {
        Self {
            reader,
            known: HashMap::new(),
        }
    }

    /// Changes an outline as the text should have been changed.
    pub(super) fn set(
        &mut self,
        mapping: &mut Outline,
        fields: &[(&'static str, Own)],
    ) -> Result<(), EditError> {
        for (key, own) in fields {
            let digest = match self.known.entry(own.to_string()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let digest = self.reader.digest(new.key())?;
                    *new.insert(digest)
                }
            };
            mapping.fields.insert(outline::key(key), digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::syntax::parse;

    const PLAN: &str = "\
sections:
  - id: s
    tasks:
      - id: a
        status: pending
      - id: b
        status: pending
      - {id: c, status: pending}
      - id: d
        status: &d pending
x-d: *d
";

    /// The status of this task of the plan, completed by a cut at the first `at` behind the task's id.
    fn completed(task: usize, id: &str, at: &str) -> Result<Option<String>, EditError> {
        let document = parse(PLAN).expect("well-formed");
        let anchors = Anchors::of(&document);
        let located = Located::of(&document, &anchors).expect("a plan");
        let intended =
            Intended::from([((0, Some(task)), vec![("status", Own::Word("completed"))])]);
        let behind = PLAN.find(id).expect("the id");
        let start = behind + PLAN[behind..].find(at).expect("the place");
        let splice = Splice {
            range: start..start + at.len(),
            text: "completed".to_owned(),
        };
        by_items(PLAN, &located, &anchors, &intended, &[splice])
    }

    #[test]
    fn a_task_on_lines_of_its_own_is_proven_by_these() {
        for (task, id) in [(0, "id: a"), (2, "{id: c")] {
            let edited = completed(task, id, "pending").expect("proven");
            let (before, behind) = PLAN.split_at(PLAN.find(id).expect("the id"));
            let expected = before.to_owned() + &behind.replacen("pending", "completed", 1);
            assert_eq!(edited, Some(expected), "{id}");
        }
    }

    #[test]
    fn a_cut_that_means_something_else_is_not_proven() {
        for (id, at) in [("id: a", "status"), ("id: b", "pending"), ("id: a", "- ")] {
            let refused = completed(0, id, at);
            assert!(matches!(refused, Err(EditError::Unproven(_))), "{id}");
        }
        let refused = whole(PLAN, &PLAN.replacen("pending", "failed", 1), |_, _| Ok(()));
        assert!(matches!(refused, Err(EditError::Unproven(_))));
    }

    #[test]
    fn what_others_refer_to_is_left_to_the_proof_of_the_whole() {
        assert_eq!(completed(3, "id: d", "pending").expect("no claim"), None);
    }
}

//! Proofs that an edit means what was intended, each by two readers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::EditError;
use super::fields::Own;
use super::outline::{self, Digest, Outline, Part, Reader};

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

/// Proves of an item of a list, which can be read alone, that only these fields of it have changed, and so.
///
/// # Errors
/// They have not, or it cannot be read alone.
pub(super) fn item(
    old: &str,
    new: &str,
    part: Part,
    fields: &[(&'static str, Own)],
    known: &mut Known,
) -> Result<(), EditError> {
    for digests in known {
        let mut expected = alone(digests.reader, old, part)?;
        digests.set(&mut expected, fields)?;
        equal(&expected, &alone(digests.reader, new, part)?)?;
    }
    Ok(())
}

fn alone(reader: Reader, text: &str, part: Part) -> Result<Outline, EditError> {
    let items = <[Outline; 1]>::try_from(reader.outlines(text, part)?);
    let [item] = items.map_err(|_| EditError::Unproven("an item is no longer one".to_owned()))?;
    Ok(item)
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

/// Those of each reader.
pub(super) type Known = [Digests; READERS.len()];

/// Nothing is known yet.
pub(super) fn known() -> Known {
    READERS.map(Digests::of)
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

    const TASK: &str = "      - id: a  # first\n        status: pending\n";

    /// Whether it is proven that the task is completed when `at` is replaced.
    fn completed(at: &str) -> Result<(), EditError> {
        let fields = [("status", Own::Word("completed"))];
        let new = TASK.replacen(at, "completed", 1);
        item(TASK, &new, Part::Task, &fields, &mut known())
    }

    #[test]
    fn a_task_is_proven_by_its_own_lines() {
        assert!(completed("pending").is_ok());
    }

    #[test]
    fn a_cut_that_means_something_else_is_not_proven() {
        for at in ["status", "- ", "id", "a"] {
            let refused = completed(at);
            assert!(refused.is_err(), "{at}");
        }
        let plan = format!("sections:\n  - id: s\n    tasks:\n{TASK}");
        let refused = whole(&plan, &plan.replacen("pending", "failed", 1), |_, _| Ok(()));
        assert!(matches!(refused, Err(EditError::Unproven(_))));
    }
}

//! Byte-exact edits of a plan's text: what orch writes back, and the cuts that structural edits are made of.
//!
//! Whatever is not a changed value stays as it is, byte for byte. Every edit is proven before it is given out: two
//! readers that share no code must find that the new text means the old one with exactly the intended changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::TaskId;
use crate::plan::graph::Declared;
use crate::plan::syntax::{self, Document, Node, SyntaxError};

pub(crate) mod anchors;
pub(crate) mod fields;
mod indexed;
mod items;
pub(crate) mod locate;
pub(crate) mod outline;
pub(crate) mod proof;
pub(crate) mod render;
pub(crate) mod scalar;
pub(crate) mod splice;

use anchors::Anchors;
use fields::{Editor, FieldEdit, NewValue, Own};
use indexed::Indexed;
use locate::Located;
use proof::Digests;

/// Why a text was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text, or what it would have become, is not well-formed.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The text has something in the way that is not edited.
    #[error("cannot edit the plan at byte {at}: {what}")]
    Unsupported {
        /// Where it is.
        at: usize,
        /// What it is.
        what: String,
    },
    /// The edited text was read back and does not mean what was intended.
    #[error("the edited plan would not mean what was intended: {0}")]
    Unproven(String),
}

impl EditError {
    pub(crate) fn unsupported(at: usize, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Unsupported { at, what }
    }
}

/// What becomes of a task's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskChange {
    /// The task.
    pub task: TaskId,
    /// Its `status`.
    pub status: Declared,
    /// Its `attempts`; `None` leaves what is there.
    pub attempts: Option<u32>,
}

/// A text with its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The new text; the old one if nothing changed.
    pub text: String,
    /// Tasks that the text does not have.
    pub missing: Vec<TaskId>,
}

/// A section, or with a second position a task of it.
pub(crate) type Place = (usize, Option<usize>);

/// The fields to be written, by the mapping that they belong to.
type Intended = BTreeMap<Place, Vec<(&'static str, Own)>>;

/// The tasks to be changed, by section and position in it. A section without any is still looked at for its status.
type Wanted<'c> = BTreeMap<usize, BTreeMap<usize, &'c TaskChange>>;

/// Writes the status and attempts of tasks, and the status of their sections where it changes by that. Of several
/// changes of one task the last counts. Without changes this tells whether the text can be edited at all.
///
/// # Errors
/// The text is not a plan as `check` accepts it, or the edit could not be proven.
pub fn write_statuses(text: &str, changes: &[TaskChange]) -> Result<Written, EditError> {
    LastWritten::default().write_statuses(text, changes)
}

/// What is known of the text that was written last. The next write mostly goes on with that text, and then costs as much
/// as what it changes.
#[derive(Debug, Default)]
pub struct LastWritten(Option<Indexed>);

impl LastWritten {
    /// What is known of `text`, as if it had been written.
    ///
    /// # Errors
    /// As [`write_statuses`].
    pub fn reading(text: &str) -> Result<Self, EditError> {
        let mut last = Self::default();
        last.of(text)?;
        Ok(last)
    }

    /// As [`write_statuses`].
    ///
    /// # Errors
    /// As [`write_statuses`].
    pub fn write_statuses(
        &mut self,
        text: &str,
        changes: &[TaskChange],
    ) -> Result<Written, EditError> {
        let written = self.of(text)?.and_then(|indexed| indexed.write(changes));
        let Some(missing) = written else {
            return self.write_afresh(text, changes);
        };
        let text = self.text().unwrap_or(text).to_owned();
        Ok(Written { text, missing })
    }

    /// The text that was written last, if the next write can go on with it.
    pub fn text(&self) -> Option<&str> {
        self.0.as_ref().map(Indexed::text)
    }

    /// As [`Self::write_statuses`], into the text that was written last, without a copy of it. Whether that could be done;
    /// if not, nothing has changed.
    pub fn write_on(&mut self, changes: &[TaskChange]) -> bool {
        let indexed = self.0.as_mut();
        indexed.is_some_and(|indexed| indexed.write(changes).is_some())
    }

    /// Reads and writes all of the text. Nothing is known of the new one.
    fn write_afresh(&mut self, text: &str, changes: &[TaskChange]) -> Result<Written, EditError> {
        self.0 = None;
        let mut missing = Vec::new();
        let text = write_whole(text, |located| {
            let mut wanted = Wanted::new();
            for change in changes {
                match located.place(change.task.as_str()) {
                    Some((section, task)) => {
                        wanted.entry(section).or_default().insert(task, change);
                    }
                    None => missing.push(change.task.clone()),
                }
            }
            wanted
        })?;
        Ok(Written { text, missing })
    }

    /// What is known of a text by its document. A text that is not one to be written tells so when it is.
    pub(crate) fn of_document(text: &Arc<str>, document: &Document<'_>) -> Self {
        Self(indexed(text, document).unwrap_or_default())
    }

    fn of(&mut self, text: &str) -> Result<Option<&mut Indexed>, EditError> {
        if self.0.as_ref().is_none_or(|last| last.text() != text) {
            self.0 = None;
            self.0 = indexed(&text.into(), &syntax::parse(text)?)?;
        }
        Ok(self.0.as_mut())
    }
}

fn indexed(text: &Arc<str>, document: &Document<'_>) -> Result<Option<Indexed>, EditError> {
    let anchors = Anchors::of(document);
    let located = Located::of(document, &anchors)?;
    Ok(Indexed::of(text, &located, &anchors))
}

/// Writes the status of sections where it no longer follows from their tasks.
pub(crate) fn derive_sections(text: &str, sections: &BTreeSet<&str>) -> Result<String, EditError> {
    let mut last = LastWritten::default();
    if let Some(text) = last.of(text)?.and_then(|indexed| indexed.derive(sections)) {
        return Ok(text.to_owned());
    }
    write_whole(text, |located| {
        let places = sections.iter().filter_map(|id| located.section(id));
        places.map(|section| (section, BTreeMap::new())).collect()
    })
}

/// Writes into a text of any style, all of which is read for it.
fn write_whole<'c>(
    text: &str,
    wanted: impl FnOnce(&Located<'_>) -> Wanted<'c>,
) -> Result<String, EditError> {
    let (edited, intended) = {
        let document = syntax::parse(text)?;
        let anchors = Anchors::of(&document);
        let located = Located::of(&document, &anchors)?;
        let intended = intend(&anchors, &located, &wanted(&located));
        let mut editor = Editor::new(text, &anchors);
        for (place, fields) in &intended {
            let edits: Vec<FieldEdit<'_, '_>> = fields
                .iter()
                .map(|&(key, own)| FieldEdit {
                    key,
                    value: NewValue::Own(own),
                })
                .collect();
            editor.change(located.mapping(*place), &edits)?;
        }
        (splice::splice(text, editor.finish()?)?, intended)
    };
    proof::whole(text, &edited, |reader, outline| {
        let mut digests = Digests::of(reader);
        for (&place, fields) in &intended {
            digests.set(outline.mapping(place), fields)?;
        }
        Ok(())
    })?;
    Ok(edited)
}

/// Leaves out what the text says already.
fn intend<'d>(anchors: &Anchors<'d>, located: &Located<'d>, wanted: &Wanted<'_>) -> Intended {
    let mut intended = Intended::new();
    let mut set = |place, key, own: Own, default| {
        let word = own.to_string();
        let written = located.mapping(place).get(key);
        let written = written.map(|node| anchors.resolve(node));
        let says = match written.filter(|node| !locate::is_null(node)) {
            Some(node) => node.as_scalar(),
            None => Some(default),
        };
        if says != Some(word.as_str()) {
            intended.entry(place).or_default().push((key, own));
        }
    };
    for (&section, tasks) in wanted {
        for (&task, change) in tasks {
            let place = (section, Some(task));
            set(place, "status", Own::Word(change.status.as_str()), PENDING);
            if let Some(attempts) = change.attempts {
                set(place, "attempts", Own::Number(attempts), "0");
            }
        }
        let all = located.sections[section].tasks.iter().enumerate();
        let statuses: Vec<&str> = all
            .map(|(i, task)| match tasks.get(&i) {
                Some(change) => change.status.as_str(),
                None => status(anchors, task.node),
            })
            .collect();
        let derived = Own::Word(derived(&statuses));
        set((section, None), "status", derived, PENDING);
    }
    intended
}

fn status<'d>(anchors: &Anchors<'d>, task: &'d Node<'d>) -> &'d str {
    let written = task.get("status").map(|node| anchors.resolve(node));
    let written = written.filter(|node| !locate::is_null(node));
    written.and_then(Node::as_scalar).unwrap_or(PENDING)
}

/// The status of a section whose tasks have these.
fn derived(statuses: &[&str]) -> &'static str {
    let all = |words: &[&str]| statuses.iter().all(|status| words.contains(status));
    if all(&["completed", "skipped"]) {
        "completed"
    } else if statuses.contains(&"failed") {
        "failed"
    } else if all(&[PENDING]) {
        PENDING
    } else {
        "in_progress"
    }
}

/// What a section or task without a status has.
const PENDING: &str = "pending";

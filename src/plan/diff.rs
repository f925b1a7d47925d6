//! What an edit of a plan changed, as structure: agents rewrite whole files, lose comments and change quotes, and still
//! only what they meant may reach a person's text.
//!
//! [`difference`] finds the changes, [`permit`] decides which of them an agent may make, and [`apply`] cuts those into
//! the text that then stands, by the means of [`super::edit`].

use std::collections::HashMap;

use super::edit::EditError;
use super::edit::anchors::Anchors;
use super::edit::locate::{Located, SectionAt, TaskAt, is_null};
use super::edit::render::Renderer;
use super::edit::scalar::{Resolved, resolve, style_by_tag};
use super::syntax::{self, Document, Node, NodeKind};
use crate::ids::{SectionId, TaskId};

mod apply;
mod gated;
mod permit;

pub use apply::{Applied, apply};
pub use gated::Gated;
pub use permit::{ADDED_TASKS_MAX, Permitted, landed, permit};

/// Why two texts could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The text before the edit is not a plan.
    #[error("the plan before the edit: {0}")]
    Base(EditError),
    /// The edited text is not a plan.
    #[error("the edited plan: {0}")]
    Edited(EditError),
}

/// What an edit changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanEdit {
    /// Changes that could be made to another text, in document order.
    pub changes: Vec<Change>,
    /// Changes that are only noted.
    pub beyond: Vec<Beyond>,
}

/// A change that can be made to another text. YAML is a document of its own, aliases replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A section that the base does not have.
    AddSection {
        /// Its id.
        section: SectionId,
        /// The section before it.
        after: Option<SectionId>,
        /// Its mapping, tasks included.
        yaml: String,
    },
    /// A task that the base does not have, in a section that it has.
    AddTask {
        /// The section.
        section: SectionId,
        /// The task before it in the section, which may be an added one.
        after: Option<TaskId>,
        /// Its id.
        task: TaskId,
        /// Its mapping.
        yaml: String,
    },
    /// Another value, an added or a removed one.
    SetField {
        /// The task.
        task: TaskId,
        /// The field.
        key: String,
        /// The value in the base; `None` if it is absent or null.
        before: Option<String>,
        /// The new value; `None` if it is absent or null.
        after: Option<String>,
    },
}

/// A change that only a person makes, in their own text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// A top-level field.
    #[error("`{0}` may only be changed by a person")]
    Document(String),
    /// A field of `meta`.
    #[error("`meta.{0}` may only be changed by a person")]
    Meta(String),
    /// A field of a section.
    #[error("`{key}` of section `{section}` may only be changed by a person")]
    Section {
        /// The section.
        section: String,
        /// The field.
        key: String,
    },
    /// A section went.
    #[error("section `{0}` may not be removed; set `status: skipped` on tasks that are not needed")]
    RemoveSection(String),
    /// Sections changed places.
    #[error("sections may not change places")]
    ReorderSections,
    /// A task went.
    #[error("task `{0}` may not be removed; set `status: skipped` if it is not needed")]
    RemoveTask(String),
    /// A task is in another section.
    #[error("task `{0}` may not move to another section")]
    MoveTask(String),
    /// Tasks of a section changed places.
    #[error("the tasks of section `{0}` may not change places")]
    ReorderTasks(String),
    /// An id that cannot be one.
    #[error("`{id}` cannot be an id: {why}")]
    Id {
        /// The id.
        id: String,
        /// Why not.
        why: crate::ids::IdError,
    },
}

impl PlanEdit {
    /// Whether both texts mean the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.beyond.is_empty()
    }
}

/// Finds what `edited` means that `base` does not. Layout, comments, quotes, and null against absent make no
/// difference.
///
/// # Errors
/// One of the texts is not well-formed, or has something else where sections and tasks belong.
pub fn difference(base: &str, edited: &str) -> Result<PlanEdit, DiffError> {
    let base = syntax::parse(base).map_err(|e| DiffError::Base(e.into()))?;
    let base = Side::of(&base).map_err(DiffError::Base)?;
    let edited = syntax::parse(edited).map_err(|e| DiffError::Edited(e.into()))?;
    let edited = Side::of(&edited).map_err(DiffError::Edited)?;
    let mut edit = PlanEdit::default();
    edit.compare_document(&base, &edited);
    edit.compare_sections(&base, &edited);
    Ok(edit)
}

/// One of the two texts.
struct Side<'d> {
    anchors: Anchors<'d>,
    located: Located<'d>,
}

impl<'d> Side<'d> {
    fn of(document: &'d Document<'d>) -> Result<Self, EditError> {
        let anchors = Anchors::of(document);
        let located = Located::of(document, &anchors)?;
        Ok(Self { anchors, located })
    }

    fn yaml(&self, node: &'d Node<'d>) -> String {
        let anchors = &self.anchors;
        Renderer { anchors }.document(node)
    }

    /// The id of the section in which a task is.
    fn section_of(&self, task: &str) -> Option<&'d str> {
        let (section, _) = self.located.place(task)?;
        Some(self.located.sections[section].id)
    }

    fn task(&self, id: &str) -> Option<&TaskAt<'d>> {
        let (section, task) = self.located.place(id)?;
        Some(&self.located.sections[section].tasks[task])
    }
}

impl PlanEdit {
    fn compare_document(&mut self, base: &Side<'_>, edited: &Side<'_>) {
        for (key, before, after) in
            changed_fields(base, base.located.root, edited, edited.located.root)
        {
            match (key, before, after) {
                ("sections", ..) => {}
                ("meta", Some(before), Some(after)) => {
                    let fields = changed_fields(base, before, edited, after);
                    let fields = fields
                        .into_iter()
                        .map(|(key, ..)| Beyond::Meta(key.to_owned()));
                    self.beyond.extend(fields);
                }
                _ => self.beyond.push(Beyond::Document(key.to_owned())),
            }
        }
    }

    fn compare_sections(&mut self, base: &Side<'_>, edited: &Side<'_>) {
        let [of_base, of_edited] = [(base, edited), (edited, base)].map(|(side, other)| {
            let ids = side.located.sections.iter().map(|section| section.id);
            ids.filter(|id| other.located.section(id).is_some())
        });
        if !of_base.eq(of_edited) {
            self.beyond.push(Beyond::ReorderSections);
        }
        for section in &base.located.sections {
            if edited.located.section(section.id).is_none() {
                self.beyond
                    .push(Beyond::RemoveSection(section.id.to_owned()));
            }
            for task in &section.tasks {
                if edited.task(task.id).is_none() {
                    self.beyond.push(Beyond::RemoveTask(task.id.to_owned()));
                }
            }
        }
        let mut before = None;
        for section in &edited.located.sections {
            match base.located.section(section.id) {
                Some(old) => {
                    self.compare_section(base, &base.located.sections[old], edited, section);
                }
                None => self.add_section(base, edited, section, before),
            }
            before = Some(section.id);
        }
    }

    fn add_section(
        &mut self,
        base: &Side<'_>,
        edited: &Side<'_>,
        section: &SectionAt<'_>,
        before: Option<&str>,
    ) {
        for task in &section.tasks {
            if base.task(task.id).is_some() {
                self.beyond.push(Beyond::MoveTask(task.id.to_owned()));
            } else {
                self.id(task.id, TaskId::parse);
            }
        }
        let after = before.and_then(|id| self.id(id, SectionId::parse));
        if let Some(id) = self.id(section.id, SectionId::parse) {
            self.changes.push(Change::AddSection {
                section: id,
                after,
                yaml: edited.yaml(section.node),
            });
        }
    }

    fn compare_section(
        &mut self,
        base: &Side<'_>,
        old: &SectionAt<'_>,
        edited: &Side<'_>,
        new: &SectionAt<'_>,
    ) {
        for (key, ..) in changed_fields(base, old.node, edited, new.node) {
            if key != "tasks" {
                self.beyond.push(Beyond::Section {
                    section: new.id.to_owned(),
                    key: key.to_owned(),
                });
            }
        }
        let [of_base, of_edited] = [(old, edited), (new, base)].map(|(side, other)| {
            let ids = side.tasks.iter().map(|task| task.id);
            ids.filter(|id| other.section_of(id) == Some(side.id))
        });
        if !of_base.eq(of_edited) {
            self.beyond.push(Beyond::ReorderTasks(new.id.to_owned()));
        }
        let mut before = None;
        for task in &new.tasks {
            match base.task(task.id) {
                Some(old) => {
                    if base.section_of(task.id) != Some(new.id) {
                        self.beyond.push(Beyond::MoveTask(task.id.to_owned()));
                    }
                    self.compare_task(base, old, edited, task);
                }
                None => self.add_task(edited, new.id, before, task),
            }
            before = Some(task.id);
        }
    }

    fn add_task(
        &mut self,
        edited: &Side<'_>,
        section: &str,
        before: Option<&str>,
        task: &TaskAt<'_>,
    ) {
        let after = before.and_then(|id| self.id(id, TaskId::parse));
        let section = self.id(section, SectionId::parse);
        let id = self.id(task.id, TaskId::parse);
        if let (Some(section), Some(id)) = (section, id) {
            self.changes.push(Change::AddTask {
                section,
                after,
                task: id,
                yaml: edited.yaml(task.node),
            });
        }
    }

    fn compare_task(
        &mut self,
        base: &Side<'_>,
        old: &TaskAt<'_>,
        edited: &Side<'_>,
        new: &TaskAt<'_>,
    ) {
        for (key, before, after) in changed_fields(base, old.node, edited, new.node) {
            if let Some(task) = self.id(new.id, TaskId::parse) {
                self.changes.push(Change::SetField {
                    task,
                    key: key.to_owned(),
                    before: before.map(|node| base.yaml(node)),
                    after: after.map(|node| edited.yaml(node)),
                });
            }
        }
    }

    /// Takes an id, or notes why it cannot be one.
    fn id<T>(&mut self, id: &str, parse: fn(&str) -> Result<T, crate::ids::IdError>) -> Option<T> {
        parse(id)
            .map_err(|why| {
                let id = id.to_owned();
                self.beyond.push(Beyond::Id { id, why });
            })
            .ok()
    }
}

/// A field that differs: key, old and new value.
type ChangedField<'d> = (&'d str, Option<&'d Node<'d>>, Option<&'d Node<'d>>);

/// The fields in which two mappings differ: those of the new one in its order, then those that went.
fn changed_fields<'b, 'e: 'b>(
    base: &Side<'b>,
    old: &'b Node<'b>,
    edited: &Side<'e>,
    new: &'e Node<'e>,
) -> Vec<ChangedField<'b>> {
    let old = fields(&base.anchors, old);
    let new = fields(&edited.anchors, new);
    let before: HashMap<&str, &'b Node<'b>> = old.iter().copied().collect();
    let after: HashMap<&str, &'e Node<'e>> = new.iter().copied().collect();
    let changed = new.iter().filter_map(|&(key, new)| {
        let old = before.get(key).copied();
        let is_same =
            old.is_some_and(|old| same(key, (&base.anchors, old), (&edited.anchors, new)));
        (!is_same).then_some((key, old, Some(new)))
    });
    let gone = old.iter().filter(|(key, _)| !after.contains_key(key));
    let gone = gone.map(|&(key, old)| (key, Some(old), None));
    changed.chain(gone).collect()
}

/// The fields of a mapping that say something; a key that is no text stands for itself.
fn fields<'d>(anchors: &Anchors<'d>, node: &'d Node<'d>) -> Vec<(&'d str, &'d Node<'d>)> {
    let entries = anchors.resolve(node).entries().iter();
    entries
        .map(|(key, value)| (anchors.resolve(key).as_scalar(), anchors.resolve(value)))
        .filter(|(_, value)| !is_null(value))
        .map(|(key, value)| (key.unwrap_or("?"), value))
        .collect()
}

/// Fields whose scalars are texts whatever they look like: `1.10` is not `1.1`.
const TEXTS: [&str; 6] = [
    "id",
    "depends_on",
    "parallel_group",
    "exclusive_resources",
    "labels",
    "files",
];

/// The text of a key, with nothing spelt in one way.
fn key_text<'n>(key: &'n Node<'_>) -> Option<&'n str> {
    if is_null(key) {
        Some("null")
    } else {
        key.as_scalar()
    }
}

/// Whether two values of a field mean the same. Quotes make no difference: an agent that writes `"3"` for `3` is not
/// taken to have meant another value.
fn same(key: &str, a: (&Anchors<'_>, &Node<'_>), b: (&Anchors<'_>, &Node<'_>)) -> bool {
    let ((anchors_a, a), (anchors_b, b)) = (a, b);
    let (a, b) = (anchors_a.resolve(a), anchors_b.resolve(b));
    let is_same = |a, b| same(key, (anchors_a, a), (anchors_b, b));
    match (&a.kind, &b.kind) {
        (
            NodeKind::Scalar {
                value: text_a,
                style: style_a,
            },
            NodeKind::Scalar {
                value: text_b,
                style: style_b,
            },
        ) => {
            let value_a = resolve(text_a, style_by_tag(a, *style_a));
            let value_b = resolve(text_b, style_by_tag(b, *style_b));
            // Of texts, only nothing can be written in several ways.
            let by_value = !TEXTS.contains(&key) || value_a == Resolved::Null;
            text_a == text_b || (by_value && value_a == value_b)
        }
        (NodeKind::Sequence { items: a, .. }, NodeKind::Sequence { items: b, .. }) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (NodeKind::Mapping { entries: a, .. }, NodeKind::Mapping { entries: b, .. }) => {
            let of_b: HashMap<Option<&str>, &Node<'_>> = b
                .iter()
                .map(|(key, value)| (key_text(key), value))
                .collect();
            a.len() == b.len()
                && a.iter().all(|(key, a)| {
                    let b = key_text(key).and_then(|key| of_b.get(&Some(key)));
                    b.is_some_and(|b| is_same(a, b))
                })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

//! Permitted changes, cut into the text that stands now: it may have moved on since the edit began, and what a person
//! changed meanwhile wins.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Change, Permitted, Side, fields, same};
use crate::ids::{SectionId, TaskId};
use crate::plan::edit::anchors::Anchors;
use crate::plan::edit::fields::{Editor, FieldEdit, NewValue, Own};
use crate::plan::edit::outline::{self, Outline, Part, Reader};
use crate::plan::edit::proof;
use crate::plan::edit::render::Renderer;
use crate::plan::edit::splice::splice;
use crate::plan::edit::{EditError, derive_sections};
use crate::plan::read::declared;
use crate::plan::syntax::{self, Document, Node};

/// A text with the changes that could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The new text; the old one if nothing changed.
    pub text: String,
    /// Changes that were not made, one sentence each.
    pub dropped: Vec<String>,
}

/// Makes permitted changes in a text. A field that has another value than the edit began with is left alone, and so is
/// what the text no longer has. Sections that get or change tasks get the status that follows from these.
///
/// # Errors
/// The text is not a plan as `check` accepts it, has something in the way that is not edited, or the edit could not be
/// proven.
pub fn apply(text: &str, edit: &Permitted) -> Result<Applied, EditError> {
    let (edited, intended) = {
        let document = syntax::parse(text)?;
        let side = Side::of(&document)?;
        let intended = Intended::of(&side, &edit.changes)?;
        (cut(text, &side, &intended)?, intended)
    };
    if edited == text {
        let text = edited;
        let dropped = intended.dropped;
        return Ok(Applied { text, dropped });
    }
    proof::whole(text, &edited, |reader, outline| {
        intended.expect(reader, outline)
    })?;
    let sections: BTreeSet<&str> = intended.concerned.iter().map(String::as_str).collect();
    Ok(Applied {
        text: derive_sections(&edited, &sections)?,
        dropped: intended.dropped,
    })
}

/// A list of tasks or of sections, inner ones first: where a section ends its last task does, and what is added to it
/// comes before what is added behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum List {
    Tasks(usize),
    Sections,
}

/// Where in a list, behind the item with this index or before the first.
type Gap = (List, Option<usize>);

/// A key and its value; without one the field goes.
type NewField<'c> = (String, Option<Snippet<'c>>);

/// What is to be done, by place in the text.
#[derive(Default)]
struct Intended<'c> {
    /// New values by section and task.
    fields: BTreeMap<(usize, usize), Vec<NewField<'c>>>,
    items: BTreeMap<Gap, Vec<Snippet<'c>>>,
    /// The ids of sections whose tasks change.
    concerned: Vec<String>,
    dropped: Vec<String>,
}

/// YAML that comes into the text.
struct Snippet<'c> {
    yaml: &'c str,
    document: Document<'c>,
}

impl<'c> Snippet<'c> {
    fn of(yaml: &'c str) -> Result<Self, EditError> {
        let document = syntax::parse(yaml)?;
        Ok(Self { yaml, document })
    }

    fn node(&self) -> Result<&Node<'c>, EditError> {
        let nothing = || EditError::Unproven("an added value is empty".to_owned());
        self.document.root.as_ref().ok_or_else(nothing)
    }
}

impl<'c> Intended<'c> {
    fn of(side: &Side<'_>, changes: &'c [Change]) -> Result<Self, EditError> {
        let mut intended = Self::default();
        // Where added items went, for those that follow them.
        let mut sections = HashMap::new();
        let mut tasks = HashMap::new();
        for change in changes {
            match change {
                Change::AddSection {
                    section,
                    after,
                    yaml,
                } => {
                    let after = after.as_ref();
                    let known = after.and_then(|after| sections.get(after));
                    if let Some(gap) = intended.gap_for_section(side, section, after, known) {
                        sections.insert(section, gap);
                        let items = intended.items.entry(gap).or_default();
                        items.push(Snippet::of(yaml)?);
                    }
                }
                Change::AddTask {
                    section,
                    after,
                    task,
                    yaml,
                } => {
                    let after = after.as_ref();
                    let known = after.and_then(|after| tasks.get(after));
                    if let Some(gap) = intended.gap_for_task(side, (section, task), after, known) {
                        tasks.insert(task, gap);
                        let items = intended.items.entry(gap).or_default();
                        items.push(Snippet::of(yaml)?);
                        intended.concerned.push(section.as_str().to_owned());
                    }
                }
                Change::SetField {
                    task,
                    key,
                    before,
                    after,
                } => {
                    intended.set(side, task, key, [before.as_deref(), after.as_deref()])?;
                }
            }
        }
        Ok(intended)
    }

    /// Where an added section goes, unless it is there; `known` is where the one before it went.
    fn gap_for_section(
        &mut self,
        side: &Side<'_>,
        section: &SectionId,
        after: Option<&SectionId>,
        known: Option<&Gap>,
    ) -> Option<Gap> {
        if side.located.section(section.as_str()).is_some() {
            self.drop(format!("section `{section}` is there already"));
            return None;
        }
        Some(known.copied().unwrap_or_else(|| {
            let place = |after: &SectionId| side.located.section(after.as_str());
            let count = side.located.sections.len();
            (List::Sections, behind(after, place, count))
        }))
    }

    /// Where an added task goes, unless it is there or its section is not; `known` is where the one before it went.
    fn gap_for_task(
        &mut self,
        side: &Side<'_>,
        (section, task): (&SectionId, &TaskId),
        after: Option<&TaskId>,
        known: Option<&Gap>,
    ) -> Option<Gap> {
        if side.task(task.as_str()).is_some() {
            self.drop(format!("task `{task}` is there already"));
            return None;
        }
        let Some(section) = side.located.section(section.as_str()) else {
            self.drop(format!(
                "task `{task}` has no place: section `{section}` is gone"
            ));
            return None;
        };
        Some(known.copied().unwrap_or_else(|| {
            let place = |after: &TaskId| {
                let found = side.located.place(after.as_str());
                found.filter(|(s, _)| *s == section).map(|(_, task)| task)
            };
            let count = side.located.sections[section].tasks.len();
            (List::Tasks(section), behind(after, place, count))
        }))
    }

    fn drop(&mut self, why: String) {
        self.dropped.push(why);
    }

    fn set(
        &mut self,
        side: &Side<'_>,
        task: &TaskId,
        key: &str,
        [before, after]: [Option<&'c str>; 2],
    ) -> Result<(), EditError> {
        let Some((section, place)) = side.located.place(task.as_str()) else {
            self.drop(format!("`{key}` of task `{task}`: the task is gone"));
            return Ok(());
        };
        let at = &side.located.sections[section];
        let written = fields(&side.anchors, at.tasks[place].node);
        let current = written
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| *value);
        let before = before.map(Snippet::of).transpose()?;
        let after = after.map(Snippet::of).transpose()?;
        if is_now(side, key, current, after.as_ref()) {
            return Ok(());
        }
        if !is_now(side, key, current, before.as_ref()) {
            self.drop(format!("`{key}` of task `{task}` was changed meanwhile"));
            return Ok(());
        }
        self.fields
            .entry((section, place))
            .or_default()
            .push((key.to_owned(), after));
        if key == "status" {
            self.concerned.push(at.id.to_owned());
        }
        Ok(())
    }

    /// Changes an outline as the text should have been changed.
    fn expect(&self, reader: Reader, outline: &mut Outline) -> Result<(), EditError> {
        for (&(section, task), fields) in &self.fields {
            let task = &mut outline.items[section].items[task];
            for (key, value) in fields {
                match value {
                    Some(value) => {
                        let value = reader.digest(value.yaml)?;
                        task.fields.insert(outline::key(key), value);
                    }
                    None => {
                        task.fields.remove(&outline::key(key));
                    }
                }
            }
        }
        // From behind, so that the places before stay what they are.
        let (sections, tasks): (Vec<_>, Vec<_>) = self
            .items
            .iter()
            .rev()
            .partition(|((list, _), _)| *list == List::Sections);
        for (&(list, after), snippets) in tasks.into_iter().chain(sections) {
            let at = after.map_or(0, |after| after + 1);
            let new = snippets.iter().map(|snippet| match list {
                List::Tasks(_) => reader.outline(snippet.yaml, Part::Task),
                List::Sections => reader.outline(snippet.yaml, Part::Section),
            });
            let new = new.collect::<Result<Vec<Outline>, EditError>>()?;
            let items = match list {
                List::Tasks(section) => &mut outline.items[section].items,
                List::Sections => &mut outline.items,
            };
            items.splice(at..at, new);
        }
        Ok(())
    }
}

/// The gap behind an item, at the end if the item is gone.
fn behind<T>(after: Option<T>, place: impl Fn(T) -> Option<usize>, count: usize) -> Option<usize> {
    match after {
        None => None,
        Some(after) => place(after).or(count.checked_sub(1)),
    }
}

/// Whether a field has this value now. An absent status is a pending one.
fn is_now(
    side: &Side<'_>,
    key: &str,
    current: Option<&Node<'_>>,
    value: Option<&Snippet<'_>>,
) -> bool {
    let value = value.and_then(|value| value.document.root.as_ref());
    match (current, value) {
        (None, None) => true,
        (Some(current), Some(value)) => {
            same(key, (&side.anchors, current), (&Anchors::default(), value))
        }
        (Some(one), None) | (None, Some(one)) => {
            key == "status" && one.as_scalar() == Some("pending")
        }
    }
}

/// The value as orch itself would write it, if this is a field that orch writes.
fn own(key: &str, value: &Node<'_>) -> Option<Own> {
    let word = value.as_scalar()?;
    match key {
        "status" => {
            let status = declared(word).filter(|status| status.as_str() == word)?;
            Some(Own::Word(status.as_str()))
        }
        "attempts" => word.parse().ok().map(Own::Number),
        _ => None,
    }
}

fn cut(text: &str, side: &Side<'_>, intended: &Intended<'_>) -> Result<String, EditError> {
    let none = Anchors::default();
    let renderer = Renderer { anchors: &none };
    let mut editor = Editor::new(text, &side.anchors);
    for (&(section, task), fields) in &intended.fields {
        let mut edits = Vec::new();
        for (key, value) in fields {
            let value = match value.as_ref().map(Snippet::node).transpose()? {
                Some(node) => match own(key, node) {
                    Some(own) => NewValue::Own(own),
                    None => NewValue::Tree(renderer, node),
                },
                None => NewValue::Absent,
            };
            edits.push(FieldEdit { key, value });
        }
        editor.change(side.located.mapping((section, Some(task))), &edits)?;
    }
    for (&(list, after), snippets) in &intended.items {
        let nodes: Vec<&Node<'_>> = snippets
            .iter()
            .map(Snippet::node)
            .collect::<Result<_, _>>()?;
        let (owner, key, written) = match list {
            List::Tasks(section) => {
                let section = &side.located.sections[section];
                (section.node, "tasks", section.list)
            }
            List::Sections => (side.located.root, "sections", Some(side.located.list)),
        };
        match written.filter(|list| !list.items().is_empty()) {
            Some(list) => {
                let new: Vec<_> = nodes.into_iter().map(|node| (renderer, node)).collect();
                editor.insert_items(list, after, &new)?;
            }
            // A list without items is written anew.
            None => {
                let list = Node::list_of(nodes.into_iter().cloned().collect());
                let value = NewValue::Tree(renderer, &list);
                editor.change(owner, &[FieldEdit { key, value }])?;
            }
        }
    }
    splice(text, editor.finish()?)
}

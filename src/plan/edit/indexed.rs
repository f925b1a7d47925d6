//! A text that is written again and again: it remembers where its tasks stand and what they say, so that a write reads
//! the changed items only and not the whole text. A run of thousands of tasks writes as often as it has tasks.
//!
//! For texts in block style whose tasks and sections have lines of their own, and that use no aliases; all others are
//! edited and proven whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::anchors::Anchors;
use super::fields::{Editor, FieldEdit, NewValue, Own};
use super::locate::{Located, is_null};
use super::outline::Part;
use super::proof::{self, Known};
use super::splice::{behind_lines, line_break, line_start, splice};
use super::{PENDING, TaskChange, derived};
use crate::ids::TaskId;
use crate::plan::syntax::{self, Node, NodeKind};

/// Bytes by which a text may grow before it is moved to a larger place: a thousand changed statuses.
const ROOM: usize = 4096;

/// A text and the places in it.
#[derive(Debug)]
pub(super) struct Indexed {
    text: Text,
    sections: Vec<Section>,
    tasks: Vec<Task>,
    tasks_by_id: HashMap<Box<str>, usize>,
    sections_by_id: HashMap<Box<str>, usize>,
}

/// A text as it was read, which others hold too, or as it was written.
#[derive(Debug)]
enum Text {
    Shared(Arc<str>),
    Own(String),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Shared(text) => text,
            Self::Own(text) => text,
        }
    }
}

#[derive(Debug)]
struct Section {
    lines: Lines,
    /// In [`Indexed::tasks`].
    tasks: Range<usize>,
    status: Option<Cow<'static, str>>,
}

#[derive(Debug)]
struct Task {
    lines: Lines,
    section: usize,
    /// The text of its status; `None` if that is none.
    status: Option<Cow<'static, str>>,
    /// `None` if they are not written as a number is.
    attempts: Option<u32>,
}

/// The lines that an item of a list has for itself.
#[derive(Debug, Clone, Copy)]
struct Lines {
    start: usize,
    end: usize,
}

impl Lines {
    /// Those of an item of a block list.
    fn of(text: &str, item: &Node<'_>) -> Option<Self> {
        let full = item.full();
        let start = line_start(text, full.start);
        let end = behind_lines(text, full.end)?;
        (text[start..full.start].trim_matches(' ') == "-").then_some(Self { start, end })
    }

    fn within(self, text: &str) -> &str {
        &text[self.start..self.end]
    }
}

/// What is to be written into an item, and what is proven of that.
#[derive(Clone, Copy)]
struct Fields<'f> {
    part: Part,
    fields: &'f [(&'static str, Own)],
}

/// A range of the text and what takes its place.
struct Patch {
    range: Range<usize>,
    new: String,
}

impl Indexed {
    /// The places of a text's parts, if it is one of those that can be written item by item.
    pub(super) fn of(
        text: &Arc<str>,
        located: &Located<'_>,
        anchors: &Anchors<'_>,
    ) -> Option<Self> {
        let mut indexed = Self {
            text: Text::Shared(Arc::clone(text)),
            sections: Vec::with_capacity(located.sections.len()),
            tasks: Vec::new(),
            tasks_by_id: HashMap::new(),
            sections_by_id: HashMap::new(),
        };
        if anchors.has_aliases() {
            return None;
        }
        for (section, at) in located.sections.iter().enumerate() {
            let first = indexed.tasks.len();
            indexed.tasks.reserve(at.tasks.len());
            indexed.tasks_by_id.reserve(at.tasks.len());
            for task in &at.tasks {
                let index = indexed.tasks.len();
                indexed.tasks_by_id.insert(task.id.into(), index);
                indexed.tasks.push(Task {
                    lines: Lines::of(text, task.node)?,
                    section,
                    status: says(task.node, "status", PENDING),
                    attempts: says(task.node, "attempts", "0").as_deref().and_then(number),
                });
            }
            indexed.sections_by_id.insert(at.id.into(), section);
            indexed.sections.push(Section {
                lines: Lines::of(text, at.node)?,
                tasks: first..indexed.tasks.len(),
                status: says(at.node, "status", PENDING),
            });
        }
        Some(indexed)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Writes changes as [`super::write_statuses`] does, and tells the tasks that the text does not have. `None` where that
    /// needs a look at the whole text; nothing has changed then.
    pub(super) fn write(&mut self, changes: &[TaskChange]) -> Option<Vec<TaskId>> {
        let mut missing = Vec::new();
        let mut wanted: BTreeMap<usize, &TaskChange> = BTreeMap::new();
        for change in changes {
            match self.tasks_by_id.get(change.task.as_str()) {
                Some(&task) => drop(wanted.insert(task, change)),
                None => missing.push(change.task.clone()),
            }
        }
        let sections = wanted.keys().map(|&task| self.tasks[task].section);
        let sections = sections.collect();
        self.patch(&wanted, &sections)?;
        Some(missing)
    }

    /// Writes the status of sections as [`super::derive_sections`] does; `None` as [`Self::write`].
    pub(super) fn derive(&mut self, sections: &BTreeSet<&str>) -> Option<&str> {
        let places = sections
            .iter()
            .filter_map(|id| self.sections_by_id.get(*id));
        let places = places.copied().collect();
        self.patch(&BTreeMap::new(), &places)?;
        Some(&self.text)
    }

    fn patch(
        &mut self,
        wanted: &BTreeMap<usize, &TaskChange>,
        sections: &BTreeSet<usize>,
    ) -> Option<()> {
        let mut known = proof::known();
        let mut patches = Vec::new();
        for (&task, change) in wanted {
            let fields = self.tasks[task].fields(change);
            if !fields.is_empty() {
                let lines = self.tasks[task].lines;
                let (part, fields) = (Part::Task, &fields[..]);
                let new = self.edited(
                    lines.within(&self.text),
                    Fields { part, fields },
                    &mut known,
                );
                patches.push(Patch {
                    range: lines.start..lines.end,
                    new: new?,
                });
            }
        }
        let mut derived_statuses = Vec::new();
        for &section in sections {
            let status = self.derived(section, wanted);
            if self.sections[section].status.as_deref() != Some(status) {
                patches.push(self.head(section, status, &mut known)?);
                derived_statuses.push((section, status));
            }
        }
        self.take(patches);
        for (&task, change) in wanted {
            self.tasks[task].status = Some(change.status.as_str().into());
            if change.attempts.is_some() {
                self.tasks[task].attempts = change.attempts;
            }
        }
        for (section, status) in derived_statuses {
            self.sections[section].status = Some(status.into());
        }
        Some(())
    }

    /// The status that follows for a section.
    fn derived(&self, section: usize, wanted: &BTreeMap<usize, &TaskChange>) -> &'static str {
        let tasks = self.sections[section].tasks.clone();
        let statuses: Vec<&str> = tasks
            .map(|task| match wanted.get(&task) {
                Some(change) => change.status.as_str(),
                None => self.tasks[task].status.as_deref().unwrap_or(PENDING),
            })
            .collect();
        derived(&statuses)
    }

    /// Writes the status of a section into the lines before its first task. It is edited and proven without the lines of
    /// its tasks, which stay as they are.
    fn head(&self, section: usize, status: &'static str, known: &mut Known) -> Option<Patch> {
        let section = &self.sections[section];
        let mut own = String::new();
        let mut kept = section.lines.start;
        for task in &self.tasks[section.tasks.clone()] {
            own.push_str(&self.text[kept..task.lines.start]);
            kept = task.lines.end;
        }
        own.push_str(&self.text[kept..section.lines.end]);
        let head = match self.tasks[section.tasks.clone()].first() {
            Some(first) => first.lines.start - section.lines.start,
            None => own.len(),
        };
        let fields = &[("status", Own::Word(status))][..];
        let part = Part::Section;
        let new = self.edited(&own, Fields { part, fields }, known)?;
        let end = new.len() - (own.len() - head);
        Some(Patch {
            range: section.lines.start..section.lines.start + head,
            new: new[..end].to_owned(),
        })
    }

    /// An item with its new values, proven.
    fn edited(
        &self,
        item: &str,
        Fields { part, fields }: Fields<'_>,
        known: &mut Known,
    ) -> Option<String> {
        let document = syntax::parse(item).ok()?;
        let anchors = Anchors::of(&document);
        let [mapping] = document.root.as_ref()?.items() else {
            return None;
        };
        let mut editor = Editor::new(item, &anchors);
        editor.line_break = line_break(&self.text);
        let edit = |&(key, own): &(&'static str, Own)| FieldEdit {
            key,
            value: NewValue::Own(own),
        };
        let edits: Vec<FieldEdit<'_, '_>> = fields.iter().map(edit).collect();
        editor.change(mapping, &edits).ok()?;
        let splices = editor.finish().ok()?;
        // Below the key of the tasks the lines of these are missing here, and nothing can be put in their place.
        let mut keys = mapping.entries().iter().map(|(key, _)| key);
        let tasks = keys.find(|key| part == Part::Section && key.as_scalar() == Some("tasks"));
        let limit = tasks.map_or(item.len(), |key| key.full().start);
        if splices.iter().any(|splice| splice.range.end > limit) {
            return None;
        }
        let new = splice(item, splices).ok()?;
        proof::item(item, &new, part, fields, known).ok()?;
        Some(new)
    }

    /// Makes patches, which do not overlap, and moves the places behind them.
    fn take(&mut self, mut patches: Vec<Patch>) {
        patches.sort_by_key(|patch| patch.range.start);
        // Where each patch ended, and where it ends now.
        let mut moved = Vec::with_capacity(patches.len());
        let (mut kept, mut end) = (0, 0);
        for Patch { range, new } in &patches {
            end += range.start - kept + new.len();
            kept = range.end;
            moved.push((range.end, end));
        }
        let length = end + self.text.len() - kept;
        // Changed in place: a large text is not held twice to change a word.
        let mut text = match &mut self.text {
            Text::Own(text) => std::mem::take(text),
            Text::Shared(shared) => {
                let mut text = String::with_capacity(length + ROOM);
                text.push_str(shared);
                text
            }
        };
        if text.capacity() < length {
            text.reserve_exact(length + ROOM - text.len());
        }
        // From the last to the first, so that the ranges of those still to be made hold.
        for Patch { range, new } in patches.into_iter().rev() {
            text.replace_range(range, &new);
        }
        self.text = Text::Own(text);
        let place = |at: usize| match moved.partition_point(|(before, _)| *before <= at) {
            0 => at,
            behind => {
                let (before, now) = moved[behind - 1];
                at - before + now
            }
        };
        let tasks = self.tasks.iter_mut().map(|task| &mut task.lines);
        let sections = self.sections.iter_mut().map(|section| &mut section.lines);
        for lines in tasks.chain(sections) {
            *lines = Lines {
                start: place(lines.start),
                end: place(lines.end),
            };
        }
    }
}

impl Task {
    /// What a change writes, without what is there already.
    fn fields(&self, change: &TaskChange) -> Vec<(&'static str, Own)> {
        let mut fields = Vec::new();
        if self.status.as_deref() != Some(change.status.as_str()) {
            fields.push(("status", Own::Word(change.status.as_str())));
        }
        if let Some(attempts) = change.attempts
            && self.attempts != Some(attempts)
        {
            fields.push(("attempts", Own::Number(attempts)));
        }
        fields
    }
}

/// The text of a field, which is `default` where it says nothing; `None` of what is no text.
fn says(mapping: &Node<'_>, key: &str, default: &'static str) -> Option<Cow<'static, str>> {
    const WORDS: [&str; 6] = [
        PENDING,
        "in_progress",
        "completed",
        "failed",
        "skipped",
        "0",
    ];
    match mapping.get(key).filter(|node| !is_null(node)) {
        None => Some(default.into()),
        Some(Node {
            kind: NodeKind::Scalar { value, .. },
            ..
        }) => {
            let word = WORDS.into_iter().find(|word| word == value);
            Some(word.map_or_else(|| value.clone().into_owned().into(), Cow::Borrowed))
        }
        Some(_) => None,
    }
}

/// The number that orch would write so.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

//! Changes of single fields of a mapping, cut into the text in whatever style it is written.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use super::EditError;
use super::anchors::Anchors;
use super::render::Renderer;
use super::splice::{
    Splice, ends_line, indentation, is_blank, line_break, line_end, line_start, next_line,
};
use crate::plan::syntax::{BYTE_ORDER_MARK, Node, NodeKind, ScalarStyle, skip_trivia};

/// A value that orch itself writes.
#[derive(Clone, Copy)]
pub(crate) enum Own {
    /// A word without need of quotes: written in those that are there.
    Word(&'static str),
    /// A number: written without quotes.
    Number(u32),
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// What a field becomes.
#[derive(Clone, Copy)]
pub(crate) enum NewValue<'a, 'n> {
    /// One of orch's.
    Own(Own),
    /// Any value, rendered.
    Tree(Renderer<'a, 'n>, &'n Node<'n>),
    /// The field goes.
    Absent,
}

/// The change of one field.
pub(crate) struct FieldEdit<'a, 'n> {
    pub(crate) key: &'a str,
    pub(crate) value: NewValue<'a, 'n>,
}

/// Collects the cuts into one text.
pub(crate) struct Editor<'a, 'd> {
    pub(crate) text: &'a str,
    pub(crate) anchors: &'a Anchors<'d>,
    pub(crate) splices: Vec<Splice>,
    /// Scalars to be replaced whose anchor aliases refer to.
    moved_anchors: Vec<&'d Node<'d>>,
    pub(crate) line_break: &'static str,
}

impl<'a, 'd> Editor<'a, 'd> {
    pub(crate) fn new(text: &'a str, anchors: &'a Anchors<'d>) -> Self {
        Self {
            text,
            anchors,
            splices: Vec::new(),
            moved_anchors: Vec::new(),
            line_break: line_break(text),
        }
    }

    /// Changes fields of a mapping. A field that is missing is added behind the first entry that ends its line.
    pub(crate) fn change(
        &mut self,
        mapping: &'d Node<'d>,
        edits: &[FieldEdit<'_, '_>],
    ) -> Result<(), EditError> {
        let NodeKind::Mapping { entries, flow } = &mapping.kind else {
            return Err(EditError::unsupported(
                mapping.span().start,
                "not a mapping",
            ));
        };
        let edit_of = |key: &Node<'_>| {
            let edit = edits.iter().find(|edit| key.as_scalar() == Some(edit.key));
            edit.map(|edit| edit.value)
        };
        let fields = Fields {
            entries,
            flow: *flow,
            indent: self.indent(entries),
            kept: entries
                .iter()
                .map(|(key, _)| !matches!(edit_of(key), Some(NewValue::Absent)))
                .collect(),
        };
        for (key, value) in entries {
            match edit_of(key) {
                Some(NewValue::Own(own)) => self.set_own(&fields, key, value, own)?,
                Some(NewValue::Tree(renderer, node)) => {
                    self.set_tree(&fields, key, value, renderer, node)?;
                }
                Some(NewValue::Absent) | None => {}
            }
        }
        self.remove(&fields)?;
        for edit in edits {
            if !entries
                .iter()
                .any(|(key, _)| key.as_scalar() == Some(edit.key))
            {
                self.insert(mapping, &fields, edit)?;
            }
        }
        Ok(())
    }

    fn set_own(
        &mut self,
        fields: &Fields<'d>,
        key: &'d Node<'d>,
        value: &'d Node<'d>,
        own: Own,
    ) -> Result<(), EditError> {
        // A number under another tag than that of numbers would not be one.
        let keeps_tag = matches!(own, Own::Word(_)) || matches!(value.tag(), None | Some("!!int"));
        let (range, new) = match (&value.kind, own) {
            (NodeKind::Scalar { .. }, _) if value.span().is_empty() && keeps_tag => {
                let new = self.behind_colon(fields, key, value, &own.to_string())?;
                (value.span(), new)
            }
            (NodeKind::Scalar { style, .. }, Own::Word(word)) => {
                let new = match style {
                    ScalarStyle::SingleQuoted => format!("'{word}'"),
                    ScalarStyle::DoubleQuoted => format!("\"{word}\""),
                    _ => word.to_owned(),
                };
                (self.without_last_break(&value.span()), new)
            }
            (NodeKind::Scalar { .. }, Own::Number(_)) => {
                let range = if keeps_tag {
                    &value.span()
                } else {
                    &value.full()
                };
                (self.without_last_break(range), own.to_string())
            }
            (NodeKind::Alias { .. }, _) => (value.span(), own.to_string()),
            (NodeKind::Mapping { .. } | NodeKind::Sequence { .. }, _) => {
                let what = "a collection where a word belongs";
                return Err(EditError::unsupported(value.span().start, what));
            }
        };
        if self.anchors.aliases_of(value).is_empty() {
            self.splices.push(Splice { range, text: new });
        } else {
            // The aliases keep their meaning: the first that stays takes over anchor and value.
            let range = value.full().start..range.end;
            self.splices.push(Splice { range, text: new });
            self.moved_anchors.push(value);
        }
        Ok(())
    }

    fn set_tree<'n>(
        &mut self,
        fields: &Fields<'d>,
        key: &'d Node<'d>,
        value: &'d Node<'d>,
        renderer: Renderer<'_, 'n>,
        node: &'n Node<'n>,
    ) -> Result<(), EditError> {
        self.refuse_aliased(value)?;
        let end = self.without_last_break(&value.full()).end;
        let one_line = fields.flow || !is_blank(&self.text[end..line_end(self.text, end)]);
        let mut new = if one_line {
            format!(" {}", renderer.inline(node, fields.flow))
        } else {
            let indent = fields.indent.as_deref().unwrap_or_default();
            self.with_line_breaks(&renderer.below_key(node, indent))
        };
        let range = if value.is_absent() {
            new = self.behind_colon(fields, key, value, new.trim_start_matches(' '))?;
            value.span()
        } else {
            let between = &self.text[key.full().end..value.full().start];
            match between.find(':') {
                Some(colon) if between[colon + 1..].trim().is_empty() => {
                    key.full().end + colon + 1..end
                }
                // A comment or a line of its own stands between key and value.
                _ => {
                    new = renderer.inline(node, fields.flow);
                    value.full().start..end
                }
            }
        };
        if range.end == self.text.len() && ends_with_break(renderer, node) && !one_line {
            new.push_str(self.line_break);
        }
        self.splices.push(Splice { range, text: new });
        Ok(())
    }

    /// What to write where a value is absent.
    fn behind_colon(
        &self,
        fields: &Fields<'d>,
        key: &Node<'_>,
        value: &Node<'_>,
        new: &str,
    ) -> Result<String, EditError> {
        if new.starts_with(['\r', '\n']) {
            Ok(new.to_owned())
        } else if value.span().start > key.full().end {
            Ok(format!(" {new}"))
        } else if fields.flow {
            Ok(format!(": {new}"))
        } else {
            let what = "a key without a colon";
            Err(EditError::unsupported(key.span().start, what))
        }
    }

    /// Removes the entries that are not kept, with their lines.
    fn remove(&mut self, fields: &Fields<'d>) -> Result<(), EditError> {
        let Some(first_kept) = fields.kept.iter().position(|kept| *kept) else {
            return Ok(());
        };
        for (i, (key, value)) in fields.entries.iter().enumerate() {
            if fields.kept[i] {
                continue;
            }
            self.refuse_aliased(key)?;
            self.refuse_aliased(value)?;
            let range = if i < first_kept {
                let (kept, _) = &fields.entries[first_kept];
                key.full().start..kept.full().start
            } else if fields.flow {
                self.entry_with_comma(fields, i)
            } else {
                self.entry_lines(fields, i)?
            };
            let text = String::new();
            self.splices.push(Splice { range, text });
        }
        Ok(())
    }

    /// An entry between braces, not the first, with one of the commas around it.
    fn entry_with_comma(&self, fields: &Fields<'d>, i: usize) -> Range<usize> {
        let (key, value) = &fields.entries[i];
        let (_, before) = &fields.entries[i - 1];
        match fields.entries.get(i + 1) {
            Some((next, _)) => key.full().start..next.full().start,
            // The colon of an absent value would touch what follows: its comma stays.
            None if before.is_absent() => {
                let comma = skip_trivia(self.text, value.full().end);
                let trails = self.text[comma..].starts_with(',');
                key.full().start..if trails { comma + 1 } else { value.full().end }
            }
            None => before.full().end..value.full().end,
        }
    }

    /// The lines of an entry that is not the first.
    fn entry_lines(&self, fields: &Fields<'d>, i: usize) -> Result<Range<usize>, EditError> {
        let (key, value) = &fields.entries[i];
        let start = line_start(self.text, key.full().start);
        if !is_blank(&self.text[start..key.full().start]) {
            let what = "an entry that does not begin its line";
            return Err(EditError::unsupported(key.span().start, what));
        }
        let mut end = next_line(self.text, self.without_last_break(&value.full()).end);
        // Blank lines would become part of a text before them that keeps them.
        while keeps_breaks(self.text, &fields.entries[i - 1].1)
            && end < self.text.len()
            && is_blank(&self.text[end..line_end(self.text, end)])
        {
            end = next_line(self.text, end);
        }
        Ok(start..end)
    }

    fn insert(
        &mut self,
        mapping: &Node<'_>,
        fields: &Fields<'d>,
        edit: &FieldEdit<'_, '_>,
    ) -> Result<(), EditError> {
        let unsupported = |what| Err(EditError::unsupported(mapping.span().start, what));
        let Some((model, _)) = fields.entries.first() else {
            return unsupported("an empty mapping");
        };
        let key = match model.kind {
            NodeKind::Scalar {
                style: ScalarStyle::DoubleQuoted,
                ..
            } => format!("\"{}\"", edit.key),
            _ => edit.key.to_owned(),
        };
        let indent = fields.indent.as_deref();
        let new = match (edit.value, indent) {
            (NewValue::Absent, _) => return Ok(()),
            (NewValue::Own(own), _) => format!("{key}: {own}"),
            (NewValue::Tree(renderer, node), Some(indent)) if !fields.flow => {
                let below = renderer.below_key(node, indent);
                format!("{key}:{}", self.with_line_breaks(&below))
            }
            (NewValue::Tree(renderer, node), _) => {
                format!("{key}: {}", renderer.inline(node, fields.flow))
            }
        };
        let splice = if fields.flow {
            self.behind_comma(mapping, fields, &new)
        } else {
            let needs_break = match edit.value {
                NewValue::Tree(renderer, node) => ends_with_break(renderer, node),
                NewValue::Own(_) | NewValue::Absent => false,
            };
            indent.and_then(|indent| self.new_line(fields, indent, &new, needs_break))
        };
        let Some(splice) = splice else {
            return unsupported("a mapping without braces, or whose keys are marked by `?`");
        };
        self.splices.push(splice);
        Ok(())
    }

    /// Adds an entry between braces.
    fn behind_comma(&self, mapping: &Node<'_>, fields: &Fields<'d>, new: &str) -> Option<Splice> {
        // Behind an absent value its colon would touch the comma.
        let mut kept = fields.entries.iter().zip(&fields.kept);
        let ((_, neighbour), _) = kept.find(|((_, v), kept)| **kept && !v.is_absent())?;
        let at = neighbour.full().end;
        let has_braces = self.text[mapping.span()].starts_with('{');
        has_braces.then(|| Splice {
            range: at..at,
            text: format!(", {new}"),
        })
    }

    /// Adds a line behind the first entry that ends its line, else before the first entry.
    fn new_line(
        &self,
        fields: &Fields<'d>,
        indent: &str,
        new: &str,
        needs_break: bool,
    ) -> Option<Splice> {
        let entries = fields.entries.iter().zip(&fields.kept);
        let candidates: Vec<&(Node<'_>, Node<'_>)> = entries
            .filter(|((key, _), kept)| **kept && is_implicit(self.text, key))
            .map(|(entry, _)| entry)
            .collect();
        let one_line = candidates.iter().find(|(key, value)| {
            !is_block_scalar(value)
                && value.full().end <= line_end(self.text, key.full().end)
                && ends_line(self.text, value.full().end)
        });
        let line_break = self.line_break;
        let (at, text) = if let Some((_, value)) = one_line {
            let at = next_line(self.text, value.full().end);
            if at == line_end(self.text, value.full().end) {
                let closing = if needs_break { line_break } else { "" };
                (at, format!("{line_break}{indent}{new}{closing}"))
            } else {
                (at, format!("{indent}{new}{line_break}"))
            }
        } else {
            let (first, _) = candidates.first()?;
            (first.full().start, format!("{new}{line_break}{indent}"))
        };
        Some(Splice {
            range: at..at,
            text,
        })
    }

    /// The blanks before the keys of a block mapping; `None` if no key shows them.
    fn indent(&self, entries: &[(Node<'_>, Node<'_>)]) -> Option<String> {
        let mut implicit = entries
            .iter()
            .filter(|(key, _)| is_implicit(self.text, key));
        let written = implicit
            .clone()
            .find_map(|(key, _)| indentation(self.text, key.full().start));
        let counted = || {
            let (first, _) = implicit.next()?;
            let before = &self.text[line_start(self.text, first.full().start)..first.full().start];
            let before = before.trim_start_matches(BYTE_ORDER_MARK);
            Some(" ".repeat(before.chars().count()))
        };
        written.map(str::to_owned).or_else(counted)
    }

    pub(crate) fn with_line_breaks(&self, lines: &str) -> String {
        lines.replace('\n', self.line_break)
    }

    /// A range without the line breaks at its end: a block scalar includes its last ones.
    pub(crate) fn without_last_break(&self, range: &Range<usize>) -> Range<usize> {
        let text = self.text[range.clone()].trim_end_matches(['\r', '\n']);
        range.start..range.start + text.len()
    }

    /// Refuses what cannot go without changing the meaning of an alias elsewhere.
    pub(crate) fn refuse_aliased(&self, node: &Node<'_>) -> Result<(), EditError> {
        match self.anchors.aliased_within(node) {
            None => Ok(()),
            Some(name) => {
                let what = format!("the anchor `&{name}`, which an alias elsewhere refers to");
                Err(EditError::unsupported(node.full().start, what))
            }
        }
    }

    /// The cuts that make the changes.
    pub(crate) fn finish(mut self) -> Result<Vec<Splice>, EditError> {
        let replaced: HashSet<usize> = self.splices.iter().map(|s| s.range.start).collect();
        for node in std::mem::take(&mut self.moved_anchors) {
            let aliases = self.anchors.aliases_of(node);
            let heir = aliases
                .iter()
                .find(|alias| !replaced.contains(&alias.start));
            if let Some(heir) = heir {
                let source = &self.text[node.full()];
                if node.span().is_empty() || source.contains(['\r', '\n']) {
                    self.refuse_aliased(node)?;
                }
                let range = heir.clone();
                let text = source.to_owned();
                self.splices.push(Splice { range, text });
            }
        }
        Ok(self.splices)
    }
}

/// The entries of the mapping that is changed.
struct Fields<'d> {
    entries: &'d [(Node<'d>, Node<'d>)],
    flow: bool,
    /// Before keys in block style.
    indent: Option<String>,
    /// Which entries stay.
    kept: Vec<bool>,
}

fn is_block_scalar(node: &Node<'_>) -> bool {
    use ScalarStyle::{Folded, Literal};
    matches!(&node.kind, NodeKind::Scalar { style, .. } if matches!(style, Literal | Folded))
}

/// Whether a node is a block scalar with all line breaks at its end: `|+`.
fn keeps_breaks(text: &str, node: &Node<'_>) -> bool {
    let header = text[node.span().start..].chars().skip(1).take(2);
    is_block_scalar(node) && header.take_while(|c| !c.is_whitespace()).any(|c| c == '+')
}

/// Whether a key has its colon behind it in its line, instead of a `?` before it.
fn is_implicit(text: &str, key: &Node<'_>) -> bool {
    let line = &text[key.full().end..line_end(text, key.full().end)];
    line.trim_start_matches([' ', '\t']).starts_with(':')
        && !text[key.full()].contains(['\r', '\n'])
}

/// Whether a node, written in block style, ends with a literal text whose last line break belongs to it.
pub(crate) fn ends_with_break<'n>(renderer: Renderer<'_, 'n>, node: &'n Node<'n>) -> bool {
    let node = renderer.anchors.resolve(node);
    match &node.kind {
        NodeKind::Scalar { value, .. } => value.ends_with('\n'),
        NodeKind::Mapping { entries, .. } => entries
            .last()
            .is_some_and(|(_, last)| ends_with_break(renderer, last)),
        NodeKind::Sequence { items, .. } => items
            .last()
            .is_some_and(|last| ends_with_break(renderer, last)),
        NodeKind::Alias { .. } => false,
    }
}

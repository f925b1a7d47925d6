//! New items of a list, in the style in which the list is written.

use super::EditError;
use super::fields::{Editor, ends_with_break};
use super::render::Renderer;
use super::splice::{Splice, behind_lines, indentation, line_start};
use crate::plan::syntax::{Node, NodeKind, ScalarStyle};

impl<'d> Editor<'_, 'd> {
    /// Adds items to a list that has some, behind the item with this index or before the first.
    pub(crate) fn insert_items<'n>(
        &mut self,
        list: &'d Node<'d>,
        after: Option<usize>,
        new: &[(Renderer<'_, 'n>, &'n Node<'n>)],
    ) -> Result<(), EditError> {
        let NodeKind::Sequence { items, flow } = &list.kind else {
            return Err(EditError::unsupported(list.span().start, "not a list"));
        };
        if *flow {
            self.insert_in_brackets(items, after, new);
            Ok(())
        } else {
            self.insert_lines(list, items, after, new)
        }
    }

    fn insert_in_brackets<'n>(
        &mut self,
        items: &[Node<'_>],
        after: Option<usize>,
        new: &[(Renderer<'_, 'n>, &'n Node<'n>)],
    ) {
        let neighbour = &items[after.unwrap_or(0)];
        // Items that stand on lines of their own get one, too.
        let gap = match indentation(self.text, neighbour.full().start) {
            Some(indent) => format!(",{}{indent}", self.line_break),
            None => ", ".to_owned(),
        };
        let new = new
            .iter()
            .map(|(renderer, node)| renderer.inline(node, true));
        let (at, text) = match after {
            Some(_) => (
                neighbour.full().end,
                new.map(|item| format!("{gap}{item}")).collect(),
            ),
            None => (
                neighbour.full().start,
                new.map(|item| format!("{item}{gap}")).collect(),
            ),
        };
        self.splices.push(Splice {
            range: at..at,
            text,
        });
    }

    fn insert_lines<'n>(
        &mut self,
        list: &'d Node<'d>,
        items: &'d [Node<'d>],
        after: Option<usize>,
        new: &[(Renderer<'_, 'n>, &'n Node<'n>)],
    ) -> Result<(), EditError> {
        let first_line = line_start(self.text, list.span().start);
        let indent = match indentation(self.text, list.span().start) {
            Some(indent) => indent.to_owned(),
            None if after.is_none() => {
                let what = "a list that does not begin on a line of its own";
                return Err(EditError::unsupported(list.span().start, what));
            }
            None => " ".repeat(self.text[first_line..list.span().start].chars().count()),
        };
        let at = match after {
            Some(i) => behind_lines(self.text, items[i].full().end).ok_or_else(|| {
                let what = "an item that does not end its line";
                EditError::unsupported(items[i].full().end, what)
            })?,
            None => first_line,
        };
        let is_last = after.is_some_and(|i| i + 1 == items.len());
        let blank_between = self.has_blank_between(items);
        let blank_before = self.text[..at].ends_with("\n\n") || self.text[..at].ends_with("\n\r\n");
        let line_break = self.line_break;
        let mut text = String::new();
        // Where the last lines of a text go, the line break before them ends it.
        let gone = |s: &&Splice| s.range.end == at && s.text.is_empty();
        let end = self.splices.iter().find(gone).map_or(at, |s| s.range.start);
        let open = !self.text[..end].ends_with(['\r', '\n']);
        if open {
            text.push_str(line_break);
            self.close_block_scalar(&items[items.len() - 1]);
        }
        for (i, (renderer, node)) in new.iter().enumerate() {
            if blank_between && after.is_some() && (i > 0 || !blank_before) {
                text.push_str(line_break);
            }
            text.push_str(&indent);
            text.push_str(&self.with_line_breaks(&renderer.item(node, &indent)));
            if !open || i + 1 < new.len() || ends_with_break(*renderer, node) {
                text.push_str(line_break);
            }
            if blank_between && after.is_none() {
                text.push_str(line_break);
            }
        }
        if blank_between && blank_before && !is_last && after.is_some() {
            text.push_str(line_break);
        }
        self.splices.push(Splice {
            range: at..at,
            text,
        });
        Ok(())
    }

    fn has_blank_between(&self, items: &[Node<'_>]) -> bool {
        let [first, second, ..] = items else {
            return false;
        };
        let between = self.without_last_break(&first.full()).end..second.full().start;
        let mut lines = self.text[between].lines().skip(1).peekable();
        std::iter::from_fn(|| lines.next().filter(|_| lines.peek().is_some()))
            .any(|line| line.trim().is_empty())
    }

    /// Makes the block scalar that ends a text without line break keep its meaning when a line break follows it.
    fn close_block_scalar(&mut self, node: &Node<'_>) {
        match &node.kind {
            NodeKind::Mapping { entries, .. } => {
                if let Some((_, last)) = entries.last() {
                    self.close_block_scalar(last);
                }
            }
            NodeKind::Sequence { items, .. } => {
                if let Some(last) = items.last() {
                    self.close_block_scalar(last);
                }
            }
            NodeKind::Scalar {
                style: ScalarStyle::Literal | ScalarStyle::Folded,
                ..
            } if !self
                .splices
                .iter()
                .any(|s| s.range.contains(&node.span().start)) =>
            {
                let start = node.span().start + 1;
                let header = &self.text[start..];
                let header = &header[..header
                    .find(|c: char| !c.is_ascii_digit() && c != '+' && c != '-')
                    .unwrap_or(header.len())];
                let range = match header.find(['+', '-']) {
                    Some(at) => start + at..start + at + 1,
                    None => start..start,
                };
                let splice = Splice {
                    range,
                    text: "-".to_owned(),
                };
                // What ends a section may end the list of sections, too.
                if !self.splices.contains(&splice) {
                    self.splices.push(splice);
                }
            }
            NodeKind::Scalar { .. } | NodeKind::Alias { .. } => {}
        }
    }
}

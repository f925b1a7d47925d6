//! From the parser's events to the tree of nodes, with spans as a reader of the text sees them.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScanError, Span, StructureStyle};

use super::{
    BYTE_ORDER_MARK, DEPTH_MAX, Document, EXPANDED_BYTES_MAX, NODES_MAX, Node, NodeKind,
    Properties, ScalarStyle, SyntaxError, skip_trivia,
};

/// Builds the tree of a text's one document.
pub(super) fn build(text: &str) -> Result<Document<'_>, SyntaxError> {
    let options = granit_parser::options! {
        emit_anchor_events: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::new(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|e| scan_error(text, &e))?;
        let anchor_id = event.anchor_id().unwrap_or(0);
        let anchor = if anchor_id == 0 {
            None
        } else {
            // With `emit_anchor_events` the anchor follows its node at once.
            match parser
                .next_event()
                .transpose()
                .map_err(|e| scan_error(text, &e))?
            {
                Some((Event::Anchor(id, _), at)) => Some((id, bytes(&at))),
                _ => return Err(SyntaxError::new("an anchor without its name", bytes(&span))),
            }
        };
        builder.take(event, &span, anchor)?;
    }
    Ok(Document {
        root: builder.done.pop(),
        has_aliases: builder.has_aliases,
    })
}

/// A collection whose end is still to come.
struct Frame<'t> {
    /// Where its children begin in [`Builder::done`].
    children: usize,
    mapping: bool,
    flow: bool,
    open: Before<'t>,
    start: usize,
    expanded: Expanded,
}

/// What a node is with its aliases replaced by what they stand for.
#[derive(Debug, Clone, Copy)]
struct Expanded {
    /// As [`EXPANDED_BYTES_MAX`] counts.
    bytes: usize,
    /// Levels of collections, itself included.
    depth: usize,
}

/// What stands before a value: its properties, and where.
#[derive(Clone, Copy, Default)]
struct Before<'t> {
    /// Where the first of them begins.
    start: Option<usize>,
    /// Where the last of them ends.
    end: Option<usize>,
    anchor: Option<(usize, &'t str)>,
    tag: Option<&'t str>,
}

struct Builder<'t> {
    text: &'t str,
    /// Finished nodes whose parent is not finished.
    done: Vec<Node<'t>>,
    open: Vec<Frame<'t>>,
    /// Each finished anchored node, by the parser's anchor id.
    anchored: Vec<Option<Expanded>>,
    /// The end of the last token seen.
    cursor: usize,
    nodes: usize,
    bytes: usize,
    documents: usize,
    has_aliases: bool,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            done: Vec::new(),
            open: Vec::new(),
            anchored: Vec::new(),
            cursor: BYTE_ORDER_MARK.len_utf8() * usize::from(text.starts_with(BYTE_ORDER_MARK)),
            nodes: 0,
            bytes: 0,
            documents: 0,
            has_aliases: false,
        }
    }

    fn take(
        &mut self,
        event: Event<'t>,
        span: &Span,
        anchor: Option<(usize, Range<usize>)>,
    ) -> Result<(), SyntaxError> {
        let at = bytes(span);
        match event {
            Event::DocumentStart(explicit, _) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(SyntaxError::new("a second document begins here", at));
                }
                if explicit {
                    self.cursor = at.end;
                }
            }
            Event::Alias(id) => {
                self.has_aliases = true;
                let expanded = self.anchored.get(id).copied().flatten().ok_or_else(|| {
                    SyntaxError::new("this alias stands inside of what it refers to", at.clone())
                })?;
                self.count(expanded, &at)?;
                let name = self.text[at.clone()].trim_start_matches('*');
                let kind = NodeKind::Alias { name };
                self.finish(kind, at, Before::default(), expanded);
            }
            Event::Scalar(value, style, ..) => {
                let properties = self.properties(span, anchor);
                self.scalar(value, style, at, properties)?;
            }
            Event::SequenceStart(style, ..) => self.begin(false, style, span, anchor)?,
            Event::MappingStart(style, ..) => self.begin(true, style, span, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            _ => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        mut value: Cow<'t, str>,
        style: granit_parser::ScalarStyle,
        at: Range<usize>,
        properties: Before<'t>,
    ) -> Result<(), SyntaxError> {
        let expanded = Expanded {
            bytes: 1 + value.len(),
            depth: 0,
        };
        self.count(expanded, &at)?;
        let style = match style {
            granit_parser::ScalarStyle::Plain => ScalarStyle::Plain,
            granit_parser::ScalarStyle::SingleQuoted => ScalarStyle::SingleQuoted,
            granit_parser::ScalarStyle::DoubleQuoted => ScalarStyle::DoubleQuoted,
            granit_parser::ScalarStyle::Literal => ScalarStyle::Literal,
            granit_parser::ScalarStyle::Folded => ScalarStyle::Folded,
        };
        let at = if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            let start = self.indicator(&properties, &['|', '>'], at.start);
            let end = without_next_indentation(self.text, at.end).max(start + 1);
            // The parser adds a line break that the text does not have; other readers, libyaml among them, do not.
            if end == self.text.len() && !self.text.ends_with(['\n', '\r']) {
                let length = value.trim_end_matches('\n').len();
                value.to_mut().truncate(length);
            }
            start..end
        } else if at.is_empty() {
            // The parser gives `~` for a value that is not there.
            value = Cow::Borrowed("");
            let start = self.empty_value(&properties, at.start);
            start..start
        } else {
            at
        };
        self.finish(NodeKind::Scalar { value, style }, at, properties, expanded);
        Ok(())
    }

    fn begin(
        &mut self,
        mapping: bool,
        style: StructureStyle,
        span: &Span,
        anchor: Option<(usize, Range<usize>)>,
    ) -> Result<(), SyntaxError> {
        let at = bytes(span);
        let open = self.properties(span, anchor);
        let expanded = Expanded { bytes: 1, depth: 1 };
        self.count(expanded, &at)?;
        let flow = style == StructureStyle::Flow;
        // The parser reports a sequence that is not indented below its key at its first item, not at its first dash.
        let start = if !flow && !mapping && self.open.last().is_some_and(|parent| parent.mapping) {
            self.indicator(&open, &['-'], at.start)
        } else {
            at.start
        };
        self.cursor = self.cursor.max(at.end).max(start);
        self.open.push(Frame {
            children: self.done.len(),
            mapping,
            flow,
            open,
            start,
            expanded,
        });
        Ok(())
    }

    fn end(&mut self, at: Range<usize>) {
        let frame = self.open.pop().expect("every end has its start");
        let children = self.done.drain(frame.children..);
        let (start, end) = match children.as_slice() {
            // The parser ends a block collection where the next token begins, and begins it behind its first key's
            // anchor.
            [first, .., last] | [first @ last] if !frame.flow => {
                (frame.start.min(first.full().start), last.full().end)
            }
            _ => (frame.start, at.end),
        };
        let flow = frame.flow;
        let kind = if frame.mapping {
            let mut entries = Vec::with_capacity(children.len() / 2);
            let mut children = children;
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                entries.push((key, value));
            }
            let entries = entries.into();
            NodeKind::Mapping { entries, flow }
        } else {
            let items = children.collect();
            NodeKind::Sequence { items, flow }
        };
        self.finish(kind, start..end, frame.open, frame.expanded);
    }

    fn finish(
        &mut self,
        kind: NodeKind<'t>,
        span: Range<usize>,
        before: Before<'t>,
        expanded: Expanded,
    ) {
        self.cursor = self.cursor.max(span.end);
        let Before {
            start, anchor, tag, ..
        } = before;
        if let Some((id, _)) = anchor {
            if self.anchored.len() <= id {
                self.anchored.resize(id + 1, None);
            }
            self.anchored[id] = Some(expanded);
        }
        if let Some(parent) = self.open.last_mut() {
            let parent = &mut parent.expanded;
            parent.bytes = parent.bytes.saturating_add(expanded.bytes);
            parent.depth = parent.depth.max(expanded.depth + 1);
        }
        let anchor = anchor.map(|(_, name)| name);
        let has_properties = anchor.is_some() || tag.is_some();
        self.done.push(Node {
            full_start: offset(start.unwrap_or(span.start).min(span.start)),
            start: offset(span.start),
            end: offset(span.end),
            kind,
            properties: has_properties.then(|| Box::new(Properties { anchor, tag })),
        });
    }

    /// Counts a node that begins.
    fn count(&mut self, expanded: Expanded, at: &Range<usize>) -> Result<(), SyntaxError> {
        self.nodes += 1;
        self.bytes = self.bytes.saturating_add(expanded.bytes);
        let message = if self.nodes > NODES_MAX {
            format!("the text has more than {NODES_MAX} nodes")
        } else if self.bytes > EXPANDED_BYTES_MAX {
            format!("with its aliases expanded the text exceeds {EXPANDED_BYTES_MAX} bytes")
        } else if self.open.len() + expanded.depth > DEPTH_MAX {
            too_deep()
        } else {
            return Ok(());
        };
        Err(SyntaxError::new(message, at.clone()))
    }

    fn properties(&self, span: &Span, anchor: Option<(usize, Range<usize>)>) -> Before<'t> {
        let tag = span.tag_span().as_ref().map(bytes);
        let places = || {
            let anchor = anchor.as_ref().map(|(_, at)| at);
            anchor.into_iter().chain(tag.as_ref())
        };
        Before {
            start: places().map(|at| at.start).min(),
            end: places().map(|at| at.end).max(),
            tag: tag.clone().map(|at| &self.text[at]),
            anchor: anchor.map(|(id, at)| (id, &self.text[at.start + 1..at.end])),
        }
    }

    /// Where the indicator of a block value stands: behind its properties or the last token, beyond blanks, comments
    /// and the indicators of its parents. `limit` is where its content begins.
    fn indicator(&self, properties: &Before<'_>, wanted: &[char], limit: usize) -> usize {
        let mut at = properties.end.unwrap_or(self.cursor).min(limit);
        while at < limit {
            at = skip_trivia(self.text, at);
            match self.text[at..].chars().next() {
                Some(c) if wanted.contains(&c) => return at,
                // The parser takes a byte order mark before the document on any line for nothing.
                Some(c @ ('-' | '?' | ':' | BYTE_ORDER_MARK)) => at += c.len_utf8(),
                _ => break,
            }
        }
        limit
    }

    /// Where a value would be written of which nothing is written but perhaps properties. The parser reports a missing
    /// value of a mapping before its colon.
    fn empty_value(&self, properties: &Before<'_>, reported: usize) -> usize {
        if let Some(end) = properties.end {
            return end;
        }
        let is_value = self
            .open
            .last()
            .is_some_and(|frame| frame.mapping && (self.done.len() - frame.children) % 2 == 1);
        if !is_value {
            return reported;
        }
        let colon = skip_trivia(self.text, self.cursor);
        if self.text[colon..].starts_with(':') {
            colon + 1
        } else {
            self.cursor
        }
    }
}

/// The end of a block scalar, which the parser places behind the indentation of the line after it.
fn without_next_indentation(text: &str, end: usize) -> usize {
    let trimmed = text[..end].trim_end_matches([' ', '\t']);
    if trimmed.ends_with(['\n', '\r']) {
        trimmed.len()
    } else {
        end
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a text is not longer than `SOURCE_BYTES_MAX`")
}

fn bytes(span: &Span) -> Range<usize> {
    let offset = |marker: granit_parser::Marker| {
        marker
            .byte_offset()
            .expect("a parser of a string counts bytes")
    };
    offset(span.start)..offset(span.end)
}

fn too_deep() -> String {
    format!("collections nest deeper than {DEPTH_MAX} levels")
}

fn scan_error(text: &str, error: &ScanError) -> SyntaxError {
    // An error at the end of the text may be placed behind it.
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let at = (0..=at.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    let width = text[at..].chars().next().map_or(0, char::len_utf8);
    let message = match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(),
        _ => error.info(),
    };
    SyntaxError::new(message, at..at + width)
}

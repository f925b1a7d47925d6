//! YAML text as a tree of nodes with byte spans: what diagnostics point at and what byte-exact edits cut into.
//!
//! One pass over the events of `granit-parser`, the only place that knows that crate. It also bounds size, depth, nodes
//! and what aliases expand to, so that no later reader (serde among them) ever sees a hostile text. What keys and values
//! mean is decided elsewhere.

use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScanError, Span, StructureStyle};

/// Longest text that is read: some 100,000 tasks with a description each.
pub const SOURCE_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting of collections, aliases expanded, so that readers may recurse. A plan needs seven levels; serde_yaml
/// recurses up to 128.
pub const DEPTH_MAX: usize = 64;

/// Most nodes of one text: 100,000 tasks of 40 nodes. A node takes about 100 bytes of memory.
pub const NODES_MAX: usize = 4_000_000;

/// Largest text after aliases are replaced by what they stand for, one byte counted per node and per byte of a scalar.
/// A text without aliases stays below it by itself, so that only a multiplication by aliases can reach it.
pub const EXPANDED_BYTES_MAX: usize = 4 * SOURCE_BYTES_MAX;

/// What some editors put before a text; no part of its content.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why a text is not one well-formed YAML document within the limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
}

/// The one document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its content; `None` in a text of blanks and comments.
    pub root: Option<Node>,
}

/// A value with its place in the text. All offsets are bytes of the whole text, a byte order mark included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The value itself. A block collection reaches from its first dash or key to the end of its last child; a block
    /// scalar from its `|` or `>`; an empty value is an empty span after its colon or dash.
    pub span: Range<usize>,
    /// The value with its anchor and tag.
    pub full: Range<usize>,
    /// The value.
    pub kind: NodeKind,
    /// The name of its anchor, without `&`.
    pub anchor: Option<Box<str>>,
    /// Its tag as written, `!!str`.
    pub tag: Option<Box<str>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A text. An absent value is the empty plain scalar with an empty span.
    Scalar {
        /// The text after unescaping and folding.
        value: String,
        /// How it was written.
        style: ScalarStyle,
    },
    /// Keys with values, in document order, duplicates included.
    Mapping {
        /// Keys with values.
        entries: Vec<(Node, Node)>,
        /// Written with braces, or as a single pair inside brackets.
        flow: bool,
    },
    /// A list.
    Sequence {
        /// In document order.
        items: Vec<Node>,
        /// Written with brackets.
        flow: bool,
    },
    /// A reference to an anchor that stands before it.
    Alias {
        /// The name, without `*`.
        name: String,
    },
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarStyle {
    /// Without quotes.
    Plain,
    /// In `'`.
    SingleQuoted,
    /// In `"`.
    DoubleQuoted,
    /// After `|`.
    Literal,
    /// After `>`.
    Folded,
}

impl Node {
    /// The text of a scalar.
    pub fn as_scalar(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The keys and values of a mapping; none of anything else.
    pub fn entries(&self) -> &[(Self, Self)] {
        match &self.kind {
            NodeKind::Mapping { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none of anything else.
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            NodeKind::Sequence { items, .. } => items,
            _ => &[],
        }
    }

    /// The value of a mapping's first entry with this key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(k, _)| k.as_scalar() == Some(key))
            .map(|(_, value)| value)
    }

    /// Whether this is a value of which nothing is written, not even an anchor or tag.
    pub fn is_absent(&self) -> bool {
        self.full.is_empty()
    }
}

/// Reads a text that holds one YAML document or none.
///
/// # Errors
/// The first problem: not well-formed, a second document, a NUL, an alias without anchor or inside of what it stands
/// for, or a limit of this module exceeded.
pub fn parse(text: &str) -> Result<Document, SyntaxError> {
    if text.len() > SOURCE_BYTES_MAX {
        let message = format!("the text is longer than {SOURCE_BYTES_MAX} bytes");
        return Err(SyntaxError {
            message,
            span: 0..0,
        });
    }
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        return Err(fail("a NUL byte cannot be part of YAML", at..at + 1));
    }
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
                Some((Event::Anchor(id, _), at)) => Some((id, bytes(at))),
                _ => return Err(fail("an anchor without its name", bytes(span))),
            }
        };
        builder.take(event, span, anchor)?;
    }
    Ok(Document {
        root: builder.done.pop(),
    })
}

/// A collection whose end is still to come.
struct Frame {
    /// Where its children begin in [`Builder::done`].
    children: usize,
    mapping: bool,
    flow: bool,
    open: Properties,
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

/// What may stand before a value.
#[derive(Default)]
struct Properties {
    /// Where the first of them begins.
    start: Option<usize>,
    /// Where the last of them ends.
    end: Option<usize>,
    anchor: Option<(usize, Box<str>)>,
    tag: Option<Box<str>>,
}

struct Builder<'t> {
    text: &'t str,
    /// Finished nodes whose parent is not finished.
    done: Vec<Node>,
    open: Vec<Frame>,
    /// Each finished anchored node, by the parser's anchor id.
    anchored: Vec<Option<Expanded>>,
    /// The end of the last token seen.
    cursor: usize,
    nodes: usize,
    bytes: usize,
    documents: usize,
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
        }
    }

    fn take(
        &mut self,
        event: Event<'_>,
        span: Span,
        anchor: Option<(usize, Range<usize>)>,
    ) -> Result<(), SyntaxError> {
        let at = bytes(span);
        match event {
            Event::DocumentStart(explicit, _) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(fail("a second document begins here", at));
                }
                if explicit {
                    self.cursor = at.end;
                }
            }
            Event::Alias(id) => {
                let expanded = self.anchored.get(id).copied().flatten().ok_or_else(|| {
                    fail("this alias stands inside of what it refers to", at.clone())
                })?;
                self.count(expanded, &at)?;
                let name = self.text[at.clone()].trim_start_matches('*').to_owned();
                let kind = NodeKind::Alias { name };
                self.finish(kind, at, Properties::default(), expanded);
            }
            Event::Scalar(value, style, ..) => {
                let properties = self.properties(span, anchor);
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
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let (value, at) = if block {
                    let start = self.indicator(&properties, &['|', '>'], at.start);
                    let end = without_next_indentation(self.text, at.end).max(start + 1);
                    let mut value = value.into_owned();
                    // The parser adds a line break that the text does not have; other readers, libyaml among them,
                    // do not.
                    if end == self.text.len() && !self.text.ends_with(['\n', '\r']) {
                        value.truncate(value.trim_end_matches('\n').len());
                    }
                    (value, start..end)
                } else if at.is_empty() {
                    let start = self.empty_value(&properties, at.start);
                    (String::new(), start..start)
                } else {
                    (value.into_owned(), at)
                };
                self.finish(NodeKind::Scalar { value, style }, at, properties, expanded);
            }
            Event::SequenceStart(style, ..) => self.begin(false, style, span, anchor)?,
            Event::MappingStart(style, ..) => self.begin(true, style, span, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            _ => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        mapping: bool,
        style: StructureStyle,
        span: Span,
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
                (frame.start.min(first.full.start), last.full.end)
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
            NodeKind::Mapping { entries, flow }
        } else {
            let items = children.collect();
            NodeKind::Sequence { items, flow }
        };
        self.finish(kind, start..end, frame.open, frame.expanded);
    }

    fn finish(
        &mut self,
        kind: NodeKind,
        span: Range<usize>,
        properties: Properties,
        expanded: Expanded,
    ) {
        self.cursor = self.cursor.max(span.end);
        let Properties {
            start, anchor, tag, ..
        } = properties;
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
        self.done.push(Node {
            full: start.unwrap_or(span.start).min(span.start)..span.end,
            span,
            kind,
            anchor: anchor.map(|(_, name)| name),
            tag,
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
        Err(fail(message, at.clone()))
    }

    fn properties(&self, span: Span, anchor: Option<(usize, Range<usize>)>) -> Properties {
        let tag = span.tag_span().map(bytes);
        let places = || {
            let anchor = anchor.as_ref().map(|(_, at)| at);
            anchor.into_iter().chain(tag.as_ref())
        };
        Properties {
            start: places().map(|at| at.start).min(),
            end: places().map(|at| at.end).max(),
            tag: tag.clone().map(|at| self.text[at].into()),
            anchor: anchor.map(|(id, at)| (id, self.text[at.start + 1..at.end].into())),
        }
    }

    /// Where the indicator of a block value stands: behind its properties or the last token, beyond blanks, comments
    /// and the indicators of its parents. `limit` is where its content begins.
    fn indicator(&self, properties: &Properties, wanted: &[char], limit: usize) -> usize {
        let mut at = properties.end.unwrap_or(self.cursor).min(limit);
        while at < limit {
            at = skip_trivia(self.text, at);
            match self.text[at..].chars().next() {
                Some(c) if wanted.contains(&c) => return at,
                Some('-' | '?' | ':') => at += 1,
                _ => break,
            }
        }
        limit
    }

    /// Where a value would be written of which nothing is written but perhaps properties. The parser reports a missing
    /// value of a mapping before its colon.
    fn empty_value(&self, properties: &Properties, reported: usize) -> usize {
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

/// The first byte at or after `at` that is neither blank, line break nor comment.
pub fn skip_trivia(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'#' => {
                while bytes.get(at).is_some_and(|b| !matches!(b, b'\r' | b'\n')) {
                    at += 1;
                }
            }
            _ => break,
        }
    }
    at
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

fn bytes(span: Span) -> Range<usize> {
    let offset = |marker: granit_parser::Marker| {
        marker
            .byte_offset()
            .expect("a parser of a string counts bytes")
    };
    offset(span.start)..offset(span.end)
}

fn fail(message: impl Into<String>, span: Range<usize>) -> SyntaxError {
    SyntaxError {
        message: message.into(),
        span,
    }
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
    fail(message, at..at + width)
}

#[cfg(test)]
mod tests;

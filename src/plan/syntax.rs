//! YAML text as a tree of nodes with byte spans: what diagnostics point at and what byte-exact edits cut into.
//!
//! One pass over the events of `granit-parser`, which only `builder` knows. It also bounds size, depth, nodes
//! and what aliases expand to, so that no later reader (serde among them) ever sees a hostile text. What keys and values
//! mean is decided elsewhere.

use std::borrow::Cow;
use std::ops::Range;

/// Longest text that is read: some 100,000 tasks with a description each.
pub const SOURCE_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting of collections, aliases expanded, so that readers may recurse. A plan needs seven levels; serde_yaml
/// recurses up to 128.
pub const DEPTH_MAX: usize = 64;

/// Most nodes of one text: 100,000 tasks of 40 nodes. A node takes 56 bytes of memory.
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document<'t> {
    /// Its content; `None` in a text of blanks and comments.
    pub root: Option<Node<'t>>,
    /// Whether anything in it is an alias.
    pub has_aliases: bool,
}

/// A value with its place in the text. There are millions in a large plan, so that it borrows what it can and keeps its
/// offsets in 32 bits, which [`SOURCE_BYTES_MAX`] fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'t> {
    /// The value.
    pub kind: NodeKind<'t>,
    properties: Option<Box<Properties<'t>>>,
    start: u32,
    end: u32,
    full_start: u32,
}

/// What may stand before a value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Properties<'t> {
    anchor: Option<&'t str>,
    tag: Option<&'t str>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind<'t> {
    /// A text. An absent value is the empty plain scalar with an empty span.
    Scalar {
        /// The text after unescaping and folding.
        value: Cow<'t, str>,
        /// How it was written.
        style: ScalarStyle,
    },
    /// Keys with values, in document order, duplicates included.
    Mapping {
        /// Keys with values.
        entries: Box<[(Node<'t>, Node<'t>)]>,
        /// Written with braces, or as a single pair inside brackets.
        flow: bool,
    },
    /// A list.
    Sequence {
        /// In document order.
        items: Box<[Node<'t>]>,
        /// Written with brackets.
        flow: bool,
    },
    /// A reference to an anchor that stands before it.
    Alias {
        /// The name, without `*`.
        name: &'t str,
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

impl<'t> Node<'t> {
    /// A list in brackets that stands in no text.
    pub(crate) fn list_of(items: Vec<Self>) -> Self {
        Self {
            kind: NodeKind::Sequence {
                items: items.into(),
                flow: false,
            },
            properties: None,
            start: 0,
            end: 0,
            full_start: 0,
        }
    }

    /// A mapping with `key` as its last one, in place of any other of that name; `None` for what is no mapping.
    pub(crate) fn with_entry(self, key: &'t str, value: Self) -> Option<Self> {
        let NodeKind::Mapping { entries, flow } = self.kind else {
            return None;
        };
        let name = Self {
            kind: NodeKind::Scalar {
                value: Cow::Borrowed(key),
                style: ScalarStyle::Plain,
            },
            properties: None,
            start: 0,
            end: 0,
            full_start: 0,
        };
        let others = entries
            .into_iter()
            .filter(|(k, _)| k.as_scalar() != Some(key));
        let entries = others.chain([(name, value)]).collect();
        let kind = NodeKind::Mapping { entries, flow };
        Some(Self { kind, ..self })
    }

    /// The value itself, in bytes of the whole text, a byte order mark included. A block collection reaches from its
    /// first dash or key to the end of its last child; a block scalar from its `|` or `>`; an empty value is an empty
    /// span after its colon or dash.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The value with its anchor and tag.
    pub fn full(&self) -> Range<usize> {
        self.full_start as usize..self.end as usize
    }

    /// The name of its anchor, without `&`.
    pub fn anchor(&self) -> Option<&'t str> {
        self.properties.as_ref()?.anchor
    }

    /// Its tag as written, `!!str`.
    pub fn tag(&self) -> Option<&'t str> {
        self.properties.as_ref()?.tag
    }

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
        self.full().is_empty()
    }
}

impl SyntaxError {
    fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        let message = message.into();
        Self { message, span }
    }
}

/// Reads a text that holds one YAML document or none.
///
/// # Errors
/// The first problem: not well-formed, a second document, a NUL, an alias without anchor or inside of what it stands
/// for, or a limit of this module exceeded.
pub fn parse(text: &str) -> Result<Document<'_>, SyntaxError> {
    if text.len() > SOURCE_BYTES_MAX {
        let message = format!("the text is longer than {SOURCE_BYTES_MAX} bytes");
        return Err(SyntaxError {
            message,
            span: 0..0,
        });
    }
    if let Some(at) = text.find('\0') {
        return Err(SyntaxError::new(
            "a NUL byte cannot be part of YAML",
            at..at + 1,
        ));
    }
    builder::build(text)
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

mod builder;

#[cfg(test)]
mod tests;

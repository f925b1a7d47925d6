//! Nodes as YAML text again: one canonical form in block style and one on a single line, aliases replaced by what they
//! stand for. Comments and the original layout are not kept.

use super::anchors::Anchors;
use super::scalar;
use crate::plan::syntax::{Node, NodeKind};

/// Longest list of scalars that is written on one line in block style.
const LIST_CHARS_MAX: usize = 80;

/// How much deeper than its parent a level stands.
const STEP: &str = "  ";

/// Writes nodes of one document, with `\n` between lines.
#[derive(Clone, Copy)]
pub(crate) struct Renderer<'a, 'd> {
    pub(crate) anchors: &'a Anchors<'d>,
}

impl<'d> Renderer<'_, 'd> {
    /// The node as a document of its own.
    pub(crate) fn document(&self, node: &'d Node<'d>) -> String {
        let content = self.block(node, "");
        content.unwrap_or_else(|| self.leaf(node, STEP)) + "\n"
    }

    /// What follows the colon of a key that is indented by `indent`.
    pub(crate) fn below_key(&self, node: &'d Node<'d>, indent: &str) -> String {
        let deeper = format!("{indent}{STEP}");
        match self.block(node, &deeper) {
            Some(block) => format!("\n{deeper}{block}"),
            None => format!(" {}", self.leaf(node, &deeper)),
        }
    }

    /// A list item whose dash is indented by `indent`, from the dash on.
    pub(crate) fn item(&self, node: &'d Node<'d>, indent: &str) -> String {
        let deeper = format!("{indent}{STEP}");
        let content = self
            .block(node, &deeper)
            .unwrap_or_else(|| self.leaf(node, &deeper));
        format!("- {content}")
    }

    /// The node on one line.
    pub(crate) fn inline(&self, node: &'d Node<'d>, flow: bool) -> String {
        let node = self.anchors.resolve(node);
        let content = match &node.kind {
            NodeKind::Scalar { value, style } => {
                scalar::inline(value, scalar::style_by_tag(node, *style), flow)
            }
            NodeKind::Sequence { items, .. } => {
                let items: Vec<String> = items.iter().map(|item| self.inline(item, true)).collect();
                format!("[{}]", items.join(", "))
            }
            NodeKind::Mapping { entries, .. } => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(k, v)| format!("{}: {}", self.inline(k, true), self.inline(v, true)))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            NodeKind::Alias { name } => format!("*{name}"),
        };
        match written_tag(node) {
            Some(tag) => format!("{tag} {content}"),
            None => content,
        }
    }

    /// A collection in block style, its first line without and the others with `indent`; `None` for what is better or
    /// can only be written on one line.
    fn block(&self, node: &'d Node<'d>, indent: &str) -> Option<String> {
        let node = self.anchors.resolve(node);
        let lines: Vec<String> = match &node.kind {
            _ if node.tag().is_some() => return None,
            NodeKind::Mapping { entries, .. } => entries
                .iter()
                .map(|(k, v)| format!("{}:{}", self.inline(k, true), self.below_key(v, indent)))
                .collect(),
            NodeKind::Sequence { items, .. } if !self.is_short(items) => {
                items.iter().map(|item| self.item(item, indent)).collect()
            }
            _ => return None,
        };
        (!lines.is_empty()).then(|| lines.join(&format!("\n{indent}")))
    }

    fn is_short(&self, items: &'d [Node<'d>]) -> bool {
        let mut chars = 0;
        items
            .iter()
            .all(|item| match &self.anchors.resolve(item).kind {
                NodeKind::Scalar { value, .. } => {
                    chars += value.chars().count() + ", ".len();
                    chars <= LIST_CHARS_MAX
                }
                _ => false,
            })
    }

    /// What is not written as a block collection; the lines of a literal text are indented by `indent`.
    fn leaf(&self, node: &'d Node<'d>, indent: &str) -> String {
        let resolved = self.anchors.resolve(node);
        let literal = match &resolved.kind {
            NodeKind::Scalar { value, style } if written_tag(resolved).is_none() => {
                scalar::literal(value, scalar::style_by_tag(resolved, *style), indent)
            }
            _ => None,
        };
        literal.unwrap_or_else(|| self.inline(node, false))
    }
}

/// The tag that a value needs; what is written as a text needs none to be one.
fn written_tag<'t>(node: &Node<'t>) -> Option<&'t str> {
    let is_text = matches!(node.kind, NodeKind::Scalar { .. });
    node.tag()
        .filter(|tag| !(is_text && matches!(*tag, "!!str" | "!")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::syntax::parse;

    fn canonical(text: &str) -> String {
        let document = parse(text).expect("well-formed");
        let anchors = Anchors::of(&document);
        let renderer = Renderer { anchors: &anchors };
        renderer.document(document.root.as_ref().expect("not empty"))
    }

    #[test]
    fn a_node_is_written_in_block_style_without_its_anchors() {
        let text = "{id: '1.1', name: &n \"a: b\", again: *n, d: 'x\n\n  y', depends_on: ['1.0', api],\
                    \n empty: , none: [], deep: {list: [{a: 1}, [2]]}}";
        assert_eq!(
            canonical(text),
            "id: \"1.1\"\nname: \"a: b\"\nagain: \"a: b\"\nd: |-\n  x\n  y\ndepends_on: [\"1.0\", api]\n\
             empty: null\nnone: []\ndeep:\n  list:\n    - a: 1\n    - [2]\n"
        );
    }

    #[test]
    fn what_was_written_is_read_back_the_same() {
        for text in [
            "a: |\n  x\n   y\n\nb: >-\n  long\n  text\n",
            "- - 1\n  - 2\n- a: b\n  c: [x, 'y: z']\n- |-\n  p\n  q\n",
            "plain",
            "|\n a\n b\n",
            "a: \"tab\\t end \"\nb: ' lead'\nc: 'it''s'\n? [k, 1]\n: v\n",
        ] {
            let once = canonical(text);
            assert_eq!(canonical(&once), once, "{text:?}");
            let value =
                |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).expect("well-formed");
            assert_eq!(value(&once), value(text), "{once}");
        }
    }
}

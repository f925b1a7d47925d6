//! What aliases stand for, and who refers to an anchor.

use std::collections::HashMap;
use std::ops::Range;

use crate::plan::syntax::{Document, Node, NodeKind};

/// The anchors and aliases of a document.
#[derive(Default)]
pub(crate) struct Anchors<'d> {
    by_name: HashMap<&'d str, Named<'d>>,
}

/// In document order each; a name may be given again, and an alias means the last one before it.
#[derive(Default)]
struct Named<'d> {
    definitions: Vec<&'d Node<'d>>,
    aliases: Vec<Range<usize>>,
}

impl<'d> Anchors<'d> {
    pub(crate) fn of(document: &'d Document<'d>) -> Self {
        let mut anchors = Self::default();
        if let Some(root) = &document.root {
            anchors.walk(root);
        }
        anchors
    }

    fn walk(&mut self, node: &'d Node<'d>) {
        if let Some(name) = node.anchor() {
            self.by_name.entry(name).or_default().definitions.push(node);
        }
        match &node.kind {
            NodeKind::Alias { name } => {
                let named = self.by_name.entry(name).or_default();
                named.aliases.push(node.span());
            }
            NodeKind::Sequence { items, .. } => items.iter().for_each(|item| self.walk(item)),
            NodeKind::Mapping { entries, .. } => {
                for (key, value) in entries {
                    self.walk(key);
                    self.walk(value);
                }
            }
            NodeKind::Scalar { .. } => {}
        }
    }

    /// Whether something in the document stands for something else.
    pub(crate) fn has_aliases(&self) -> bool {
        self.by_name.values().any(|named| !named.aliases.is_empty())
    }

    /// The node itself, or what it stands for if it is an alias.
    pub(crate) fn resolve(&self, node: &'d Node<'d>) -> &'d Node<'d> {
        let NodeKind::Alias { name } = &node.kind else {
            return node;
        };
        let definitions = self.by_name.get(name).map(|n| &n.definitions[..]);
        let definitions = definitions.unwrap_or_default();
        let before = definitions.partition_point(|d| d.full().start < node.span().start);
        let last = before.checked_sub(1).map(|last| definitions[last]);
        last.unwrap_or(node)
    }

    /// Where aliases stand that mean this node itself.
    pub(crate) fn aliases_of(&self, node: &Node<'_>) -> &[Range<usize>] {
        let Some(named) = node.anchor().and_then(|name| self.by_name.get(name)) else {
            return &[];
        };
        let from = node.full().start;
        let next = named
            .definitions
            .partition_point(|d| d.full().start <= from);
        let until = named
            .definitions
            .get(next)
            .map_or(usize::MAX, |next| next.full().start);
        let first = named.aliases.partition_point(|alias| alias.start < from);
        let end = named.aliases.partition_point(|alias| alias.start < until);
        &named.aliases[first..end]
    }

    /// The first anchor in a node, itself included, that an alias refers to.
    pub(crate) fn aliased_within<'n>(&self, node: &'n Node<'n>) -> Option<&'n str> {
        let own = node.anchor().filter(|_| !self.aliases_of(node).is_empty());
        own.or_else(|| match &node.kind {
            NodeKind::Sequence { items, .. } => items.iter().find_map(|i| self.aliased_within(i)),
            NodeKind::Mapping { entries, .. } => entries
                .iter()
                .find_map(|(k, v)| self.aliased_within(k).or_else(|| self.aliased_within(v))),
            NodeKind::Scalar { .. } | NodeKind::Alias { .. } => None,
        })
    }
}

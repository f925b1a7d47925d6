//! What a plan means, condensed to digests of its parts: by it an edit is proven to have changed what it should and
//! nothing else. Made by two readers that share no code, since an edit must be right for both.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::scalar::{Resolved, resolve, style_by_tag};
use super::{EditError, Place};
use crate::plan::syntax::{self, BYTE_ORDER_MARK, Node, NodeKind};

/// The lists that are outlined item by item, outermost first; everything else is digested whole.
const LEVELS: &[&str] = &["sections", "tasks"];

/// The digest of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(u64);

/// A mapping: its fields but one as digests, and the items of that one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Outline {
    pub(crate) fields: BTreeMap<Digest, Digest>,
    pub(crate) items: Vec<Self>,
}

/// What of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Plan,
    /// A section with its tasks.
    Section,
    /// A task.
    Task,
}

impl Part {
    /// The lists in it that are outlined item by item.
    fn levels(self) -> &'static [&'static str] {
        match self {
            Self::Plan => LEVELS,
            Self::Section => &LEVELS[1..],
            Self::Task => &[],
        }
    }
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// [`syntax::parse`].
    Events,
    /// serde_yaml.
    Serde,
}

impl Outline {
    /// The section of a plan, or with a second position a task of it.
    pub(crate) fn mapping(&mut self, (section, task): Place) -> &mut Self {
        let section = &mut self.items[section];
        match task {
            Some(task) => &mut section.items[task],
            None => section,
        }
    }

    /// Where a plan first differs from another, in words.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<String> {
        if self.fields != other.fields {
            return Some("a field".to_owned());
        }
        if self.items.len() != other.items.len() {
            return Some("the number of items".to_owned());
        }
        let mut pairs = self.items.iter().zip(&other.items).enumerate();
        pairs.find_map(|(i, (own, other))| {
            let inner = own.first_difference(other)?;
            Some(format!("{inner} of item {}", i + 1))
        })
    }
}

impl Reader {
    /// The outline of a text that holds this part as its document.
    pub(crate) fn outline(self, text: &str, part: Part) -> Result<Outline, EditError> {
        let levels = part.levels();
        match self {
            Self::Events => {
                let document = syntax::parse(text)?;
                let root = document.root.as_ref();
                let outline = root.map(|root| Digests::default().outline(root, levels));
                outline.unwrap_or_else(|| Ok(Outline::default()))
            }
            Self::Serde => Level(levels)
                .deserialize(serde_yaml::Deserializer::from_str(without_mark(text)))
                .map_err(|e| EditError::Unproven(e.to_string())),
        }
    }

    /// The outlines of a text that holds a list of such parts.
    pub(crate) fn outlines(self, text: &str, part: Part) -> Result<Vec<Outline>, EditError> {
        let levels = part.levels();
        match self {
            Self::Events => {
                let document = syntax::parse(text)?;
                let mut digests = Digests::default();
                let items = document.root.iter().flat_map(Node::items);
                items.map(|item| digests.outline(item, levels)).collect()
            }
            Self::Serde => Items(levels)
                .deserialize(serde_yaml::Deserializer::from_str(without_mark(text)))
                .map_err(|e| EditError::Unproven(e.to_string())),
        }
    }

    /// The digest of a value.
    pub(crate) fn digest(self, yaml: &str) -> Result<Digest, EditError> {
        match self {
            Self::Events => {
                let document = syntax::parse(yaml)?;
                let root = document.root.as_ref();
                Ok(root.map_or_else(|| digest(NULL), |root| Digests::default().value(root)))
            }
            Self::Serde => {
                serde_yaml::from_str(yaml).map_err(|e| EditError::Unproven(e.to_string()))
            }
        }
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The digest of a key.
pub(crate) fn key(key: &str) -> Digest {
    digest((TEXT, key))
}

/// Tags that only say what a value is anyway, or what [`style_by_tag`] minds.
const CORE_TAGS: [&str; 8] = [
    "!", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map",
];

const NULL: u8 = 0;
const BOOL: u8 = 1;
const NUMBER: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAGGED: u8 = 6;

fn digest(value: impl Hash) -> Digest {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Digest(hasher.finish())
}

/// Digests of a tree; knows what the anchors seen so far stand for.
#[derive(Default)]
struct Digests<'d> {
    anchors: HashMap<&'d str, Digest>,
}

impl<'d> Digests<'d> {
    fn outline(&mut self, node: &'d Node<'d>, levels: &[&str]) -> Result<Outline, EditError> {
        let mut outline = Outline::default();
        let NodeKind::Mapping { entries, .. } = &node.kind else {
            return Err(EditError::unsupported(node.span().start, "not a mapping"));
        };
        for (name, value) in entries {
            let list = levels
                .split_first()
                .filter(|(list, _)| name.as_scalar() == Some(list));
            match (list, &value.kind) {
                (Some((_, below)), NodeKind::Sequence { items, .. }) => {
                    for item in items {
                        outline.items.push(self.outline(item, below)?);
                    }
                    self.remember(value, digest(&outline.items));
                }
                (Some(_), _) if super::locate::is_null(value) => {}
                _ => {
                    let name = self.value(name);
                    let value = self.value(value);
                    if outline.fields.insert(name, value).is_some() {
                        return Err(EditError::unsupported(
                            node.span().start,
                            "a key stands here twice",
                        ));
                    }
                }
            }
        }
        self.remember(node, digest(&outline));
        Ok(outline)
    }

    fn remember(&mut self, node: &'d Node<'d>, value: Digest) {
        if let Some(anchor) = node.anchor() {
            self.anchors.insert(anchor, value);
        }
    }

    fn value(&mut self, node: &'d Node<'d>) -> Digest {
        let value = match &node.kind {
            NodeKind::Scalar { value, style } => match resolve(value, style_by_tag(node, *style)) {
                Resolved::Null => digest(NULL),
                Resolved::Bool(value) => digest((BOOL, value)),
                Resolved::Number(value) => digest((NUMBER, value.to_bits())),
                Resolved::Text(value) => digest((TEXT, value)),
            },
            NodeKind::Sequence { items, .. } => {
                let items: Vec<Digest> = items.iter().map(|item| self.value(item)).collect();
                digest((LIST, items))
            }
            NodeKind::Mapping { entries, .. } => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(name, value)| (self.value(name), self.value(value)))
                    .collect();
                digest((MAP, entries))
            }
            // The parser refuses an alias without anchor.
            NodeKind::Alias { name } => {
                return self.anchors.get(name).copied().unwrap_or(Digest(0));
            }
        };
        let value = match node.tag() {
            Some(tag) if !CORE_TAGS.contains(&tag) => digest((TAGGED, tag, value)),
            _ => value,
        };
        self.remember(node, value);
        value
    }
}

/// Reads an [`Outline`] of what has these lists.
struct Level(&'static [&'static str]);

/// Reads the items of one of these lists.
struct Items(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Outline;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outline, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
        let mut outline = Outline::default();
        while let Some(name) = map.next_key::<Digest>()? {
            match self.0.split_first() {
                Some((list, below)) if name == key(list) => {
                    outline.items = map.next_value_seed(Items(below))?;
                }
                _ => {
                    if outline.fields.insert(name, map.next_value()?).is_some() {
                        return Err(serde::de::Error::custom("a key stands here twice"));
                    }
                }
            }
        }
        Ok(outline)
    }
}

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Vec<Outline>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Outline>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Outline>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Vec<Outline>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Outline>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Level(self.0))? {
            items.push(item);
        }
        Ok(items)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Digests whatever comes.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Digest, E> {
        Ok(digest(NULL))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Digest, E> {
        Ok(digest((BOOL, value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Digest, E> {
        Ok(digest((NUMBER, value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Digest, E> {
        Ok(digest((NUMBER, value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Digest, E> {
        Ok(digest((NUMBER, value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Digest, E> {
        Ok(digest((NUMBER, value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Digest, E> {
        Ok(digest((NUMBER, value.to_bits())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Digest, E> {
        Ok(key(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Digest, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Digest>()? {
            items.push(item);
        }
        Ok(digest((LIST, items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Digest, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Digest, Digest>()? {
            entries.push(entry);
        }
        Ok(digest((MAP, entries)))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Digest, A::Error> {
        let (tag, value) = data.variant::<String>()?;
        Ok(digest((TAGGED, tag, value.newtype_variant::<Digest>()?)))
    }
}

//! Typed reading of YAML nodes: each accessor takes what it understands and reports the rest, with its place and the
//! right form, so that all problems of a text come to light at once.
//!
//! Which keys there are is decided in `keys`, what a plan is made of in `read`.

use std::collections::{HashMap, HashSet};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::keys::{Class, Key, Level, nearest};
use super::problems::Problems;
use super::syntax::{Node, NodeKind, ScalarStyle};
use crate::diagnostic::Diagnostic;
use crate::time::parse_duration;

/// Longest part of a value that a message repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// Most keys of a mapping that are looked through one by one for a second one; more have a table.
const FEW_KEYS: usize = 32;

/// Most items of a list that is suggested in place of a text.
const SUGGESTED_ITEMS_MAX: usize = 5;

/// A text of the plan and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Spanned<'t> {
    /// The text.
    pub(super) text: &'t str,
    /// In bytes of the plan's text.
    pub(super) span: Range<usize>,
}

/// A mapping whose keys have been looked at: values by key, aliases resolved, without those that are `null`.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    /// Where the mapping stands.
    pub(super) span: Range<usize>,
    values: Vec<(&'t str, &'t Node<'t>, &'t Node<'t>)>,
}

impl<'t> Fields<'t> {
    /// The value of a key, unless it is missing or `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'t Node<'t>> {
        let (_, _, value) = self.values.iter().find(|(k, _, _)| *k == key)?;
        (!is_null(value)).then_some(value)
    }

    /// The node of a key that is there, whatever its value.
    pub(super) fn key(&self, key: &str) -> Option<&'t Node<'t>> {
        let (_, node, _) = self.values.iter().find(|(k, _, _)| *k == key)?;
        Some(node)
    }

    /// Where a complaint about the mapping as a whole points: its first key, since its last may be pages away.
    pub(super) fn head(&self) -> Range<usize> {
        self.values
            .first()
            .map_or(self.span.clone(), |(_, key, _)| key.span())
    }

    /// All keys with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'t str, &'t Node<'t>, &'t Node<'t>)> {
        self.values.iter().copied()
    }
}

/// Reads one document and collects its problems.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    /// The problems so far.
    pub(super) problems: Problems,
    /// Whether unknown keys are errors.
    pub(super) strict: bool,
    text: &'t str,
    /// What each alias stands for, by the place of the alias.
    aliases: HashMap<usize, &'t Node<'t>>,
}

impl<'t> Reader<'t> {
    /// Looks over a whole document for what is wrong anywhere: duplicate keys, merge keys, tags.
    pub(super) fn new(text: &'t str, root: &'t Node<'t>, strict: bool) -> Self {
        let mut reader = Self {
            problems: Problems::default(),
            strict,
            text,
            aliases: HashMap::new(),
        };
        reader.look_over(root, &mut HashMap::new());
        reader
    }

    fn look_over(&mut self, node: &'t Node<'t>, anchors: &mut HashMap<&'t str, &'t Node<'t>>) {
        if let Some(tag) = node.tag().filter(|tag| !is_core_tag(tag)) {
            let message = format!("the tag {} has no meaning in a plan", quote(tag));
            self.push(Diagnostic::error("tag", message).at(node.full()));
        }
        if let Some(name) = node.anchor() {
            anchors.insert(name, node);
        }
        match &node.kind {
            NodeKind::Scalar { .. } => {}
            NodeKind::Alias { name } => {
                if let Some(target) = anchors.get(name) {
                    self.aliases.insert(node.span().start, target);
                }
            }
            NodeKind::Sequence { items, .. } => {
                items.iter().for_each(|item| self.look_over(item, anchors));
            }
            NodeKind::Mapping { entries, .. } => {
                let mut table = (entries.len() > FEW_KEYS).then(HashMap::new);
                for (i, (key, value)) in entries.iter().enumerate() {
                    let same = |text| match &mut table {
                        Some(table) => table.insert(text, key),
                        None => last_with(&entries[..i], text),
                    };
                    self.look_over_key(key, same);
                    self.look_over(key, anchors);
                    self.look_over(value, anchors);
                }
            }
        }
    }

    /// `same` gives the key before this one that has the same text.
    fn look_over_key(
        &mut self,
        key: &'t Node<'t>,
        same: impl FnOnce(&'t str) -> Option<&'t Node<'t>>,
    ) {
        let Some(text) = key.as_scalar() else {
            return;
        };
        if is_merge_key(key) {
            self.push(
                Diagnostic::error("merge-key", "merge keys (`<<`) are not read")
                    .at(key.span())
                    .help("write the keys out; an alias for a whole value is fine: `depends_on: *deps`"),
            );
        } else if let Some(first) = same(text) {
            self.push(
                Diagnostic::error(
                    "duplicate-key",
                    format!("the key {} stands twice here", quote(text)),
                )
                .at(key.span())
                .related(first.span(), "first here"),
            );
        }
    }

    /// Notes a problem.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.problems.push(diagnostic);
    }

    /// What an alias stands for; any other node as it is.
    pub(super) fn resolve(&self, node: &'t Node<'t>) -> &'t Node<'t> {
        match &node.kind {
            NodeKind::Alias { .. } => self
                .aliases
                .get(&node.span().start)
                .copied()
                .unwrap_or(node),
            _ => node,
        }
    }

    /// A mapping of the format, its keys checked against the level's.
    pub(super) fn fields(
        &mut self,
        node: &'t Node<'t>,
        level: &Level,
        what: &str,
    ) -> Option<Fields<'t>> {
        let fields = self.any_fields(node, what)?;
        for (key, node, value) in fields.iter() {
            self.check_key(level, key, node, value);
        }
        Some(fields)
    }

    /// A mapping whose keys are up to the author.
    pub(super) fn any_fields(&mut self, node: &'t Node<'t>, what: &str) -> Option<Fields<'t>> {
        let node = self.resolve(node);
        let NodeKind::Mapping { entries, .. } = &node.kind else {
            self.wrong_type(node, what, "a mapping (`key: value`)");
            return None;
        };
        let mut values = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match key.as_scalar() {
                Some("<<") => {}
                Some(text) => values.push((text, key, self.resolve(value))),
                None => self.wrong_type(key, "a key", "a text"),
            }
        }
        Some(Fields {
            span: node.span(),
            values,
        })
    }

    fn check_key(&mut self, level: &Level, key: &str, node: &Node<'_>, value: &Node<'_>) {
        if self.problems.is_full() {
            return;
        }
        let class = level.classify(key);
        if matches!(class, Key::Known(Class::Read | Class::Kept) | Key::Free) {
            return;
        }
        let place = level.place;
        let shown = quote(key);
        let problem = match class {
            Key::Known(Class::Unbuilt) if !is_switched_off(value) => Diagnostic::warning(
                "not-in-this-version",
                format!("{shown} {place} has no effect: its feature is not in this version"),
            ),
            Key::Known(_) | Key::Free => return,
            Key::Reserved => Diagnostic::error(
                "reserved-key",
                format!("{shown} {place} is reserved and not in this version"),
            )
            .help(format!(
                "remove it; a note of your own can be named `x-{key}`"
            )),
            Key::Misspelt(meant) => {
                Diagnostic::error("misspelt-key", format!("unknown key {shown} {place}")).help(
                    format!("did you mean `{meant}`? A key of your own can be named `x-{key}`"),
                )
            }
            unknown => {
                let message = format!("unknown key {shown} {place}");
                let problem = match self.strict {
                    true => Diagnostic::error("unknown-key", message),
                    false => Diagnostic::warning("unknown-key", format!("{message} has no effect")),
                };
                let own = "prefix keys of your own with `x-`";
                problem.help(match (unknown, level.few()) {
                    (Key::Misplaced(other), None) => format!("it has a meaning {other} only"),
                    (Key::Misplaced(other), Some(known)) => {
                        format!("it has a meaning {other} only; here there are {known}")
                    }
                    (_, None) => own.to_owned(),
                    (_, Some(known)) => format!("there are {known}; {own}"),
                })
            }
        };
        self.push(problem.at(node.span()));
    }

    /// A text; numbers and the like count as they are written.
    pub(super) fn text(&mut self, fields: &Fields<'t>, key: &str) -> Option<Spanned<'t>> {
        let node = fields.get(key)?;
        match node.as_scalar() {
            Some(text) => Some(Spanned {
                text,
                span: node.span(),
            }),
            None => {
                self.wrong_type(node, &quote(key), "a text");
                None
            }
        }
    }

    /// A text, owned.
    pub(super) fn owned(&mut self, fields: &Fields<'t>, key: &str) -> Option<String> {
        self.text(fields, key).map(|text| text.text.to_owned())
    }

    /// The items of a list.
    pub(super) fn items(
        &mut self,
        fields: &Fields<'t>,
        key: &str,
        what: &str,
    ) -> Option<&'t [Node<'t>]> {
        let node = fields.get(key)?;
        if let NodeKind::Sequence { items, .. } = &node.kind {
            return Some(items);
        }
        self.wrong_type(node, &quote(key), &format!("a list of {what}"));
        None
    }

    /// A list of texts. One text instead is an error that shows the list it should be.
    pub(super) fn texts(
        &mut self,
        fields: &Fields<'t>,
        key: &str,
        what: &str,
    ) -> Option<Vec<Spanned<'t>>> {
        let node = fields.get(key)?;
        if let Some(text) = node.as_scalar() {
            let items: Vec<String> = text
                .split([',', ' '])
                .filter(|item| !item.is_empty())
                .take(SUGGESTED_ITEMS_MAX)
                .map(|item| format!("{:?}", clip(item)))
                .collect();
            self.push(
                Diagnostic::error(
                    "wrong-type",
                    format!("`{key}` must be a list of {what}, not a text"),
                )
                .at(node.span())
                .help(format!("write `{key}: [{}]`", items.join(", "))),
            );
            return None;
        }
        let items = self.items(fields, key, what)?;
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            let item = self.resolve(item);
            match item.as_scalar() {
                Some(text) if !text.trim().is_empty() && !is_null(item) => texts.push(Spanned {
                    text,
                    span: item.span(),
                }),
                _ => self.wrong_type(item, &format!("an item of `{key}`"), "a text"),
            }
        }
        Some(texts)
    }

    /// A whole number within a range, written plainly.
    pub(super) fn number(
        &mut self,
        fields: &Fields<'t>,
        key: &str,
        range: &RangeInclusive<i64>,
    ) -> Option<i64> {
        let node = fields.get(key)?;
        let plain = match &node.kind {
            NodeKind::Scalar {
                value,
                style: ScalarStyle::Plain,
            } => value.parse().ok(),
            _ => None,
        };
        if let Some(number) = plain.filter(|n| range.contains(n)) {
            return Some(number);
        }
        let expected = match (*range.start(), *range.end()) {
            (i64::MIN, i64::MAX) => "a whole number".to_owned(),
            (start, end) => format!("a whole number from {start} to {end}"),
        };
        self.wrong_type(node, &quote(key), &expected);
        None
    }

    /// A whole number within a range that fits 32 bits.
    pub(super) fn count(
        &mut self,
        fields: &Fields<'t>,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let wide = i64::from(*range.start())..=i64::from(*range.end());
        let number = self.number(fields, key, &wide)?;
        u32::try_from(number).ok()
    }

    /// A duration within a range, as [`parse_duration`] reads it.
    pub(super) fn duration(
        &mut self,
        fields: &Fields<'t>,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Spanned { text, span } = self.text(fields, key)?;
        let problem = match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) => {
                let people = |d: &Duration| {
                    crate::time::for_people(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
                };
                format!(
                    "`{key}` must be from {} to {}",
                    people(range.start()),
                    people(range.end())
                )
            }
            Err(_) => format!("{} is not a duration", quote(text)),
        };
        self.push(
            Diagnostic::error("wrong-value", problem)
                .at(span)
                .help("write seconds as a number, or for example `90s`, `10m`, `1h30m`"),
        );
        None
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        fields: &Fields<'t>,
        key: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let Spanned { text, span } = self.text(fields, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known = || words.iter().map(|(word, _)| *word);
        let all: Vec<String> = known().map(|word| format!("`{word}`")).collect();
        let help = match nearest(text, known()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it can be {}", all.join(", ")),
        };
        self.push(
            Diagnostic::error("unknown-word", format!("unknown `{key}` {}", quote(text)))
                .at(span)
                .help(help),
        );
        None
    }

    /// The source of a block list or mapping, moved to column 0.
    pub(super) fn unindented(&self, node: &Node<'_>) -> String {
        let start = node.span().start;
        let column = start - self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let unindent = |line: &'t str| {
            let indentation = line.bytes().take_while(|b| *b == b' ').count();
            &line[indentation.min(column)..]
        };
        let mut lines = self.text[node.span()].split_inclusive('\n');
        let first = lines.next().unwrap_or_default().to_owned();
        let mut source = lines.fold(first, |source, line| source + unindent(line));
        if !source.ends_with('\n') {
            source.push('\n');
        }
        source
    }

    /// Says that a value is of the wrong kind.
    pub(super) fn wrong_type(&mut self, node: &Node<'_>, what: &str, expected: &str) {
        let found = match &node.kind {
            NodeKind::Mapping { .. } => "a mapping".to_owned(),
            NodeKind::Sequence { .. } => "a list".to_owned(),
            NodeKind::Alias { .. } => "an alias".to_owned(),
            NodeKind::Scalar { .. } if is_null(node) => "nothing".to_owned(),
            NodeKind::Scalar { value, .. } if value.is_empty() => "an empty text".to_owned(),
            NodeKind::Scalar { value, style } => match style {
                ScalarStyle::Plain => quote(value),
                _ => format!("the text {}", quote(value)),
            },
        };
        let message = format!("{what} must be {expected}, not {found}");
        self.push(Diagnostic::error("wrong-type", message).at(node.span()));
    }

    /// Keeps the first of several equal texts and warns about the others.
    pub(super) fn without_repeats(
        &mut self,
        texts: Vec<Spanned<'t>>,
        key: &str,
    ) -> Vec<Spanned<'t>> {
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(texts.len());
        for text in texts {
            if seen.insert(text.text) {
                kept.push(text);
            } else {
                let message = format!("{} stands twice in `{key}`", quote(text.text));
                self.push(Diagnostic::warning("repeated-item", message).at(text.span));
            }
        }
        kept
    }
}

fn is_merge_key(key: &Node<'_>) -> bool {
    matches!(&key.kind, NodeKind::Scalar { value, style: ScalarStyle::Plain } if value == "<<")
}

/// The last of some entries' keys that has this text.
fn last_with<'t>(entries: &'t [(Node<'t>, Node<'t>)], text: &str) -> Option<&'t Node<'t>> {
    let keys = entries.iter().rev().map(|(key, _)| key);
    keys.filter(|key| !is_merge_key(key))
        .find(|key| key.as_scalar() == Some(text))
}

/// Whether a value is YAML's null: nothing, `~` or `null`, unquoted.
fn is_null(node: &Node<'_>) -> bool {
    match &node.kind {
        NodeKind::Scalar {
            value,
            style: ScalarStyle::Plain,
        } => {
            matches!(value.as_ref(), "" | "~" | "null" | "Null" | "NULL")
                && node.tag().is_none_or(|tag| tag.ends_with("null"))
        }
        _ => false,
    }
}

/// A settings block of claude-plan-orchestrator that does nothing because it says so.
pub(super) fn is_switched_off(value: &Node<'_>) -> bool {
    let disabled = value.get("enabled").and_then(Node::as_scalar) == Some("false");
    disabled || is_null(value) || value.as_scalar() == Some("")
}

/// Tags that say what a reader of plans assumes anyway.
fn is_core_tag(tag: &str) -> bool {
    let name = tag
        .strip_prefix("!!")
        .or_else(|| tag.strip_prefix("!<tag:yaml.org,2002:")?.strip_suffix('>'));
    tag == "!"
        || matches!(
            name,
            Some("str" | "int" | "float" | "bool" | "null" | "seq" | "map")
        )
}

/// A value in backticks for a message: short, on one line, without control characters; an empty one with its quotes.
pub(super) fn quote(text: &str) -> String {
    match text {
        "" => "`\"\"`".to_owned(),
        text => format!("`{}`", clip(text)),
    }
}

fn clip(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut clipped: String = text.chars().take(QUOTED_CHARS_MAX).map(visible).collect();
    if clipped.len() < text.len() && text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}

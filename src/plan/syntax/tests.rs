//! What the node tree promises about spans and limits.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;

/// Every scalar as `text of its span => value`, aliases as `*name`, in document order.
fn scalars(text: &str) -> Vec<String> {
    fn walk(text: &str, node: &Node<'_>, out: &mut Vec<String>) {
        match &node.kind {
            NodeKind::Scalar { value, .. } => {
                out.push(format!("{} => {value}", &text[node.span()]));
            }
            NodeKind::Alias { name } => out.push(format!("*{name}")),
            NodeKind::Sequence { items, .. } => items.iter().for_each(|n| walk(text, n, out)),
            NodeKind::Mapping { entries, .. } => entries.iter().for_each(|(key, value)| {
                walk(text, key, out);
                walk(text, value, out);
            }),
        }
    }
    let mut out = Vec::new();
    let document = parse(text).expect("well-formed");
    if let Some(root) = &document.root {
        walk(text, root, &mut out);
    }
    out
}

fn root(text: &str) -> Node<'_> {
    parse(text).expect("well-formed").root.expect("not empty")
}

#[test]
fn spans_cut_out_what_was_written() {
    let text = "\u{feff}a: 'it''s' # c\nb: é😀 x\nc: &n !!str \"t\\n\"\nd: *n\n";
    assert_eq!(
        scalars(text),
        [
            "a => a",
            "'it''s' => it's",
            "b => b",
            "é😀 x => é😀 x",
            "c => c",
            "\"t\\n\" => t\n",
            "d => d",
            "*n"
        ]
    );
    let root = root(text);
    let tagged = root.get("c").expect("key");
    assert_eq!(&text[tagged.full()], "&n !!str \"t\\n\"");
    assert_eq!(tagged.anchor(), Some("n"));
    assert_eq!(tagged.tag(), Some("!!str"));
}

#[test]
fn a_block_scalar_begins_at_its_indicator_and_ends_with_its_last_line() {
    for (text, expected) in [
        ("a: |\n  x\n  y\nb: 1\n", "|\n  x\n  y\n"),
        ("a: !!str |2-  # h\n   x\nb: 1\n", "|2-  # h\n   x\n"),
        ("a: # c\n  >-\n  x", ">-\n  x"),
        ("- ? k\n  : y\n- a: |\n   x\n  b: 1\n", "|\n   x\n"),
        ("- |\n  x\n- b\n", "|\n  x\n"),
    ] {
        let found = scalars(text);
        let found = found.iter().find_map(|s| {
            s.rsplit_once(" => ")
                .filter(|(source, _)| source.starts_with(['|', '>']))
        });
        assert_eq!(found.map(|(source, _)| source), Some(expected), "{text:?}");
    }
}

#[test]
fn a_block_scalar_has_the_line_breaks_that_are_written() {
    for (text, expected) in [
        ("a: |\n  x", "x"),
        ("a: |+\n  x", "x"),
        ("a: >\n  x\n  y", "x y"),
        ("a: |\n  x\n", "x\n"),
        ("a: |\n  x\n  ", "x\n"),
        ("a: |+\n  x\n\n", "x\n\n"),
    ] {
        assert_eq!(
            root(text).get("a").and_then(Node::as_scalar),
            Some(expected),
            "{text:?}"
        );
        let other: serde_yaml::Value = serde_yaml::from_str(text).expect("well-formed");
        assert_eq!(other["a"].as_str(), Some(expected), "{text:?}");
    }
}

#[test]
fn block_collections_reach_from_their_first_indicator_to_their_last_child() {
    for (text, expected) in [
        ("a:\n- - b\n- c\n\n# tail\nz: 1\n", "- - b\n- c"),
        ("a: # head\n  - b\n  -\n\nz: 1\n", "- b\n  -"),
        ("a: &m\n  b: c\n  d:\n# tail\n", "b: c\n  d:"),
        ("a: {b: c,\n  d}\nz: 1\n", "{b: c,\n  d}"),
    ] {
        let root = root(text);
        let value = root.get("a").expect("key");
        assert_eq!(&text[value.span()], expected, "{text:?}");
    }
}

#[test]
fn an_absent_value_is_empty_and_stands_where_it_would_be_written() {
    for (text, expected) in [
        ("a:\nb: 1\n", 2),
        ("a :   # c\nb: 1\n", 3),
        ("{a: , b: 1}", 3),
        ("{a, b: 1}", 2),
        ("? a\n:\nb: 1\n", 5),
        ("? a\nb: 1\n", 3),
        ("\u{feff}\"a\":", 7),
    ] {
        let root = root(text);
        let value = root.get("a").expect("key");
        assert!(value.is_absent(), "{text:?}");
        assert_eq!(value.span(), expected..expected, "{text:?}");
        assert_eq!(value.as_scalar(), Some(""));
    }
    let anchored = root("a: &x\n");
    let anchored = anchored.get("a").expect("key");
    assert!(!anchored.is_absent());
    assert_eq!((anchored.full(), anchored.span()), (3..5, 5..5));
}

#[test]
fn a_text_of_comments_has_no_root() {
    for text in ["", "# c\n", "\u{feff}\n\n"] {
        assert_eq!(parse(text), Ok(Document::default()), "{text:?}");
    }
}

#[test]
fn what_is_not_one_document_is_refused_with_its_place() {
    for (text, message, span) in [
        ("a: 1\n---\nb: 2\n", "second document", 5..8),
        ("a: 1\n...\nb: 2\n", "second document", 9..9),
        ("a: \0\n", "NUL", 3..4),
        ("a: [\n", "unclosed", 3..4),
        ("é: *x\n", "unknown anchor", 4..5),
        ("&a [*a]\n", "inside of what it refers to", 4..6),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(message), "{error}");
        assert_eq!(error.span, span, "{text:?}");
    }
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let mut laughs = "a0: &a0 [x, x]\n".to_owned();
    for i in 1..40 {
        writeln!(laughs, "a{i}: &a{i} [*a{0}, *a{0}, *a{0}]", i - 1).expect("a string");
    }
    let long = format!("- &a {}\n{}", "x".repeat(1 << 20), "- *a\n".repeat(1000));
    let nested: String = (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for i in 1..100 {
        writeln!(chain, "a{i}: &a{i} [*a{}]", i - 1).expect("a string");
    }
    for (text, message) in [
        (chain, "nest deeper"),
        (laughs, "aliases expanded"),
        (long, "aliases expanded"),
        ("[".repeat(200_000), "nest deeper"),
        ("{a: ".repeat(200_000), "nest deeper"),
        ("- ".repeat(200_000), "nest deeper"),
        ("? ".repeat(200_000), "nest deeper"),
        (nested, "nest deeper"),
        (
            "- ".repeat(40) + &"[".repeat(40) + &"]".repeat(40),
            "nest deeper",
        ),
        (" ".repeat(SOURCE_BYTES_MAX + 1), "longer than"),
    ] {
        let start = Instant::now();
        let error = parse(&text).expect_err("a bomb");
        assert!(error.message.contains(message), "{error}");
        assert!(start.elapsed() < Duration::from_secs(1), "{error}");
    }
}

#[test]
fn a_block_value_behind_a_late_byte_order_mark_has_its_place() {
    let text = "\n\u{feff}>\n a\n";
    let root = parse(text).expect("text").root.expect("a value");
    assert_eq!(&text[root.span()], ">\n a\n");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_spans_inside_it(
        text in "([a-z:\\-?|>&*!#'\"{}\\[\\], \t\r\n\u{feff}é]|: |- |\n  |\n- ){0,60}"
    ) {
        fn check(text: &str, node: &Node<'_>) {
            assert!(text.get(node.span()).is_some() && text.get(node.full()).is_some());
            assert!(node.full().start <= node.span().start && node.full().end == node.span().end);
            if let NodeKind::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } = node.kind {
                assert!(text[node.span()].starts_with(['|', '>']));
            }
            let children = node.items().iter().chain(node.entries().iter().flat_map(|(k, v)| [k, v]));
            let mut last = node.span().start;
            for child in children {
                check(text, child);
                // What is not there has a place, too, but between keys that are not there either it is any.
                if !child.is_absent() {
                    assert!(child.full().start >= last && child.full().end <= node.span().end);
                    last = child.full().end;
                }
            }
        }
        match parse(&text) {
            Ok(document) => if let Some(root) = &document.root {
                check(&text, root);
            },
            Err(error) => assert!(text.get(error.span.clone()).is_some(), "{error:?}"),
        }
    }
}

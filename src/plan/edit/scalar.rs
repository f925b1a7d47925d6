//! Scalars: what a plain one stands for, and how to write a text so that every YAML reader reads it back.

use std::fmt::Write as _;

use crate::plan::syntax::{Node, ScalarStyle};

/// What a scalar stands for, in the reading of the YAML versions that meet in plans: 1.2 (orch) and 1.1 (the scripts
/// with which agents rewrite whole files, where `yes` is a boolean and is written back as `true`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Resolved<'t> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'t str),
}

/// The style that tells how to read and write a scalar: a text by its tag is a text whatever it looks like.
pub(crate) fn style_by_tag(node: &Node<'_>, style: ScalarStyle) -> ScalarStyle {
    match node.tag() {
        Some("!!str" | "!") => ScalarStyle::DoubleQuoted,
        _ => style,
    }
}

/// Resolves a scalar that carries no tag.
pub(crate) fn resolve(value: &str, style: ScalarStyle) -> Resolved<'_> {
    if style != ScalarStyle::Plain {
        return Resolved::Text(value);
    }
    match value {
        "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Resolved::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Resolved::Bool(false)
        }
        _ => number(value).map_or(Resolved::Text(value), Resolved::Number),
    }
}

fn number(value: &str) -> Option<f64> {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    // Rust also reads `inf` and `nan` as numbers, YAML only with a dot before them.
    if !digits.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| {
        if value.starts_with('-') {
            -number
        } else {
            number
        }
    })
}

/// Writes a scalar on one line. `flow`: inside brackets or braces.
pub(crate) fn inline(value: &str, style: ScalarStyle, flow: bool) -> String {
    let plain = match resolve(value, style) {
        Resolved::Null if value.is_empty() => return "null".to_owned(),
        // Written otherwise it might no longer be what it was.
        Resolved::Null | Resolved::Bool(_) | Resolved::Number(_) => true,
        Resolved::Text(_) => may_be_plain(value, style, flow),
    };
    if plain {
        value.to_owned()
    } else {
        quoted(value)
    }
}

/// Writes a text of several lines as a literal block whose lines are indented by `indent`, indicator first and without
/// the last line break; `None` where only quotes preserve the text.
pub(crate) fn literal(value: &str, style: ScalarStyle, indent: &str) -> Option<String> {
    let body = value.strip_suffix('\n').unwrap_or(value);
    let fits = matches!(resolve(value, style), Resolved::Text(_))
        && body.contains('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.chars().all(|c| c == '\n' || is_printable(c));
    if !fits {
        return None;
    }
    let mut out = String::from(if body.len() == value.len() { "|-" } else { "|" });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(indent);
            out.push_str(line);
        }
    }
    Some(out)
}

/// Whether a text reads back as itself without quotes. What came in quotes may have come so for a reason that only
/// another reader knows (`1.10`, `no`), so that nothing but words goes without.
fn may_be_plain(value: &str, style: ScalarStyle, flow: bool) -> bool {
    const RESERVED: [&str; 10] = [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", "~",
    ];
    let first = |c: char| match style {
        ScalarStyle::Plain => c.is_alphanumeric(),
        _ => c.is_ascii_alphabetic(),
    };
    let ends_well = !value.ends_with([' ', ':']);
    let inner = |c: char| {
        c.is_alphanumeric() || " _./+-()=@".contains(c) || (!flow && matches!(c, ',' | ':' | ';'))
    };
    value.starts_with(first)
        && ends_well
        && value.chars().all(inner)
        && !value.contains(": ")
        && !RESERVED.iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ if is_printable(c) => out.push(c),
            _ => write!(out, "\\U{:08X}", u32::from(c)).expect("a String takes everything"),
        }
    }
    out.push('"');
    out
}

/// Whether every reader takes the character as it is: no control, no line break of YAML 1.1, no byte order mark.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_stand_for_what_yaml_readers_take_them_for() {
        for (value, expected) in [
            ("", Resolved::Null),
            ("~", Resolved::Null),
            ("yes", Resolved::Bool(true)),
            ("False", Resolved::Bool(false)),
            ("1.10", Resolved::Number(1.1)),
            ("-3", Resolved::Number(-3.0)),
            ("1.1.0", Resolved::Text("1.1.0")),
            ("infinity", Resolved::Text("infinity")),
            ("pending", Resolved::Text("pending")),
        ] {
            assert_eq!(resolve(value, ScalarStyle::Plain), expected, "{value:?}");
        }
        assert_eq!(resolve("1", ScalarStyle::DoubleQuoted), Resolved::Text("1"));
    }

    #[test]
    fn quotes_are_written_where_a_reader_would_misread_the_text() {
        use ScalarStyle::{Plain, SingleQuoted};
        for (value, style, expected) in [
            ("1.10", Plain, "1.10"),
            ("1.10", SingleQuoted, "\"1.10\""),
            ("no", SingleQuoted, "\"no\""),
            ("", Plain, "null"),
            ("", SingleQuoted, "\"\""),
            ("Fix the build", SingleQuoted, "Fix the build"),
            ("a: b", SingleQuoted, "\"a: b\""),
            ("a #b", SingleQuoted, "\"a #b\""),
            ("- a", SingleQuoted, "\"- a\""),
            ("a\tb\u{85}", SingleQuoted, "\"a\\tb\\U00000085\""),
            ("x\\\"", SingleQuoted, "\"x\\\\\\\"\""),
        ] {
            assert_eq!(inline(value, style, false), expected, "{value:?}");
        }
        assert_eq!(inline("a, b", Plain, false), "a, b");
        assert_eq!(inline("a, b", Plain, true), "\"a, b\"");
    }

    #[test]
    fn several_lines_become_a_literal_block_if_it_can_hold_them() {
        let literal = |value| literal(value, ScalarStyle::DoubleQuoted, "  ");
        assert_eq!(literal("a\n\nb\n").as_deref(), Some("|\n  a\n\n  b"));
        assert_eq!(literal("a\n b").as_deref(), Some("|-\n  a\n   b"));
        for value in ["a", " a\nb", "a\nb\n\n", "a\r\nb", "\na\nb", "a\n\u{7}"] {
            assert_eq!(literal(value), None, "{value:?}");
        }
    }
}

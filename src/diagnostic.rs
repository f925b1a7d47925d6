//! Problems in a file that a person wrote, each with its place: how they are kept, shown to people and given to programs.
//!
//! What is a problem is decided by the readers of plans and settings.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// Most problems that are shown to a person; the JSON form has all.
const SHOWN_MAX: usize = 100;

/// Longest line that the renderer is given whole: its work grows with the line, and a whole plan may be one line.
const LINE_BYTES_MAX: usize = 2000;

/// What is shown of a longer line on each side of the place in question.
const CUT_BYTES: usize = 60;

/// How bad a problem is. A worse one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Suspicious; the file can be used.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One problem of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for programs, in kebab case.
    pub code: &'static str,
    /// What is wrong, in one lower-case sentence.
    pub message: String,
    /// Where, in bytes of the text; none if it concerns the whole text.
    pub span: Option<Range<usize>>,
    /// What would be right.
    pub help: Option<String>,
    /// Other places that one must see to understand it, each with a word on what is there.
    pub related: Vec<(Range<usize>, String)>,
}

impl Diagnostic {
    /// A problem that makes the file unusable.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// A problem that leaves the file usable.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// At these bytes of the text.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// With a word on what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place to see.
    #[must_use]
    pub fn related(mut self, span: Range<usize>, note: impl Into<String>) -> Self {
        self.related.push((span, note.into()));
        self
    }
}

/// Whether one of the problems is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    first_error(diagnostics).is_some()
}

/// The first error.
pub fn first_error(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics.iter().find(|d| d.severity == Severity::Error)
}

/// `2 errors, 1 warning`; `no problems` if there are none.
pub fn tally(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .count();
    let count = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{n} {word}s")),
    };
    let parts = [
        count(errors, "error"),
        count(diagnostics.len() - errors, "warning"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "no problems".to_owned(),
        false => parts.join(", "),
    }
}

/// A place as people and editors count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1. A byte order mark does not count.
    pub column: usize,
}

/// Finds lines and columns of byte offsets in one text.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Reads the text once.
    pub fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        // The mark is no part of the first line.
        let first = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self {
            text,
            starts: std::iter::once(first)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// The place of a byte offset; one outside the text or inside a character is moved back to the nearest before it.
    pub fn position(&self, offset: usize) -> Position {
        let offset = floor_char_boundary(self.text, offset);
        let line = self.line(offset);
        let start = self.starts[line];
        Position {
            line: line + 1,
            column: self
                .text
                .get(start..offset)
                .map_or(0, |s| s.chars().count())
                + 1,
        }
    }

    /// The line that holds an offset, from 0.
    fn line(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }

    /// The bytes of the line that holds an offset, without its line break.
    fn line_range(&self, offset: usize) -> Range<usize> {
        let line = self.line(offset);
        let start = self.starts[line];
        let end = self
            .starts
            .get(line + 1)
            .map_or(self.text.len(), |next| next - 1);
        let text = self.text[start..end].trim_end_matches('\r');
        start..start + text.len()
    }
}

/// A problem as programs read it.
#[derive(Debug, Clone, Serialize)]
pub struct Located<'a> {
    /// The file, as it was given.
    pub file: &'a str,
    /// How bad it is.
    pub severity: Severity,
    /// The stable word.
    pub code: &'static str,
    /// What is wrong.
    pub message: &'a str,
    /// Where it begins, if it has a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
    /// The place behind its last character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Position>,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<&'a str>,
    /// Other places to see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related<'a>>,
}

/// Another place of a problem, as programs read it.
#[derive(Debug, Clone, Serialize)]
pub struct Related<'a> {
    /// Where it begins.
    pub start: Position,
    /// The place behind its last character.
    pub end: Position,
    /// What is there.
    pub message: &'a str,
}

/// The problems with lines and columns instead of byte offsets.
pub fn locate<'a>(file: &'a str, text: &str, diagnostics: &'a [Diagnostic]) -> Vec<Located<'a>> {
    if diagnostics.is_empty() {
        return Vec::new();
    }
    let lines = Lines::new(text);
    let locate = |d: &'a Diagnostic| Located {
        file,
        severity: d.severity,
        code: d.code,
        message: &d.message,
        start: d.span.as_ref().map(|span| lines.position(span.start)),
        end: d.span.as_ref().map(|span| lines.position(span.end)),
        help: d.help.as_deref(),
        related: d
            .related
            .iter()
            .map(|(span, message)| Related {
                start: lines.position(span.start),
                end: lines.position(span.end),
                message,
            })
            .collect(),
    };
    diagnostics.iter().map(locate).collect()
}

/// The problems as people read them: file:line:column, the line, a caret, what would be right. Ends with a line break
/// unless there is nothing to show. Control characters of the text do not reach the terminal.
pub fn render(file: &str, text: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let lines = Lines::new(text);
    let mut out = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN_MAX) {
        out += &render_one(&renderer, file, &lines, diagnostic);
        out += "\n\n";
    }
    if let Some(more @ 1..) = diagnostics.len().checked_sub(SHOWN_MAX) {
        out.extend(["... and ", &more.to_string(), " more\n\n"]);
    }
    out
}

fn render_one(renderer: &Renderer, file: &str, lines: &Lines<'_>, d: &Diagnostic) -> String {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(d.message.as_str()).id(d.code));
    match &d.span {
        Some(span) => group = excerpt(group, file, lines, AnnotationKind::Primary, span, None),
        None => group = group.element(Origin::path(file)),
    }
    for (span, note) in &d.related {
        group = excerpt(
            group,
            file,
            lines,
            AnnotationKind::Context,
            span,
            Some(note),
        );
    }
    if let Some(help) = &d.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// Adds the first line of a span with the span marked.
fn excerpt<'a>(
    group: Group<'a>,
    file: &'a str,
    lines: &Lines<'a>,
    kind: AnnotationKind,
    span: &Range<usize>,
    note: Option<&'a String>,
) -> Group<'a> {
    let text = lines.text;
    let start = floor_char_boundary(text, span.start);
    let line = lines.line_range(start);
    let start = start.clamp(line.start, line.end);
    let end = floor_char_boundary(text, span.end).clamp(start, line.end);
    let is_cut = line.len() > LINE_BYTES_MAX;
    let shown = match is_cut {
        true => {
            floor_char_boundary(text, start.saturating_sub(CUT_BYTES).max(line.start))
                ..floor_char_boundary(text, (start + CUT_BYTES).min(line.end))
        }
        false => line,
    };
    let end = end.min(shown.end);

    let before = without_controls(&text[shown.start..start]);
    let marked = without_controls(&text[start..end]);
    let mark = before.len()..before.len() + marked.len();
    let position = lines.position(start);
    let snippet = Snippet::source(before + &marked + &without_controls(&text[end..shown.end]))
        .line_start(position.line)
        .annotation(kind.span(mark).label(note.map(String::as_str)));
    if !is_cut {
        return group.element(snippet.path(file));
    }
    // The renderer would count the column from the cut.
    let origin = Origin::path(file)
        .line(position.line)
        .char_column(position.column);
    group.element(origin).element(snippet)
}

/// The nearest character boundary at or before an offset.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// What a terminal could take for a command is shown as a replacement character.
pub fn without_controls(text: &str) -> String {
    let safe = |c: char| {
        if c.is_control() && c != '\t' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff}a: 1\r\nb: größe x\n";

    #[test]
    fn positions_count_characters_and_not_the_byte_order_mark() {
        let lines = Lines::new(TEXT);
        let at = |needle: &str| {
            let position = lines.position(TEXT.find(needle).expect("in the text"));
            (position.line, position.column)
        };
        assert_eq!(
            [at("a"), at("1"), at("b"), at("x")],
            [(1, 1), (1, 4), (2, 1), (2, 10)]
        );
        assert_eq!(lines.position(0), Position { line: 1, column: 1 });
        assert_eq!(lines.position(usize::MAX), Position { line: 3, column: 1 });
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_what_would_be_right() {
        let span = |needle: &str| {
            let at = TEXT.find(needle).expect("in the text");
            at..at + needle.len()
        };
        let shown = render(
            "plan.yaml",
            TEXT,
            &[
                Diagnostic::error("sized", "`größe` is no size")
                    .at(span("größe"))
                    .related(span("1"), "a size")
                    .help("write a number"),
                Diagnostic::warning("end", "it ends").at(TEXT.len()..TEXT.len()),
                Diagnostic::warning("whole", "it is all wrong"),
            ],
            false,
        );
        insta::assert_snapshot!(shown, @r"
        error[sized]: `größe` is no size
         --> plan.yaml:2:4
          |
        2 | b: größe x
          |    ^^^^^
          |
         ::: plan.yaml:1:4
          |
        1 | a: 1
          |    - a size
          |
          = help: write a number

        warning[end]: it ends
         --> plan.yaml:3:1
          |
        3 |
          | ^

        warning[whole]: it is all wrong
        --> plan.yaml
        ");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place_and_keeps_its_column() {
        let text = format!("{}here\u{1b}[2J{}", "a".repeat(5000), "b".repeat(5000));
        let d = Diagnostic::error("x", "wrong").at(5000..5004);
        insta::assert_snapshot!(render("f", &text, &[d], false), @r"
        error[x]: wrong
         --> f:1:5001
          |
         ::: 
        1 | aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaahere�[2Jbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
          |                                                             ^^^^
        ");
    }

    #[test]
    fn only_so_many_problems_are_shown() {
        let many = vec![Diagnostic::error("x", "wrong").at(0..1); SHOWN_MAX + 7];
        let shown = render("f", "a", &many, false);
        assert!(shown.ends_with("... and 7 more\n\n"), "{shown}");
        assert_eq!(shown.matches("error[x]").count(), SHOWN_MAX);
        assert_eq!(tally(&many), "107 errors");
    }
}

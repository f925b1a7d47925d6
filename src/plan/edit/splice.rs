//! Cuts into a text, and the lines around them.

use std::ops::Range;

use super::EditError;

/// A range of bytes and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) range: Range<usize>,
    pub(crate) text: String,
}

/// Applies splices in one pass: at one place insertions come first, in the order given. Deletions may overlap.
pub(crate) fn splice(text: &str, mut splices: Vec<Splice>) -> Result<String, EditError> {
    splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
    let added: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut kept = 0;
    for Splice { range, text: new } in splices {
        if range.start < kept && !new.is_empty() {
            let what = "two changes overlap here";
            return Err(EditError::unsupported(range.start, what));
        }
        out.push_str(&text[kept..range.start.max(kept)]);
        out.push_str(&new);
        kept = kept.max(range.end);
    }
    out.push_str(&text[kept..]);
    Ok(out)
}

/// The line break of a text: that of its first line.
pub(crate) fn line_break(text: &str) -> &'static str {
    match text.find(['\r', '\n']) {
        Some(at) if text[at..].starts_with("\r\n") => "\r\n",
        Some(at) if text[at..].starts_with('\r') => "\r",
        _ => "\n",
    }
}

/// Where the line of `at` begins.
pub(crate) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(['\r', '\n']).map_or(0, |end| end + 1)
}

/// Where the line of `at` ends, before its line break.
pub(crate) fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find(['\r', '\n'])
        .map_or(text.len(), |length| at + length)
}

/// Where the line after that of `at` begins; the end of the text if there is none.
pub(crate) fn next_line(text: &str, at: usize) -> usize {
    let end = line_end(text, at);
    let width = match &text.as_bytes()[end..] {
        [b'\r', b'\n', ..] => 2,
        [_, ..] => 1,
        [] => 0,
    };
    end + width
}

/// Where the line begins behind a node that ends at `end`, if nothing but a comment follows it in its line.
pub(crate) fn behind_lines(text: &str, end: usize) -> Option<usize> {
    if text[..end].ends_with(['\r', '\n']) {
        Some(end)
    } else {
        ends_line(text, end).then(|| next_line(text, end))
    }
}

/// What stands before `at` in its line, if these are only blanks.
pub(crate) fn indentation(text: &str, at: usize) -> Option<&str> {
    let before = &text[line_start(text, at)..at];
    is_blank(before).then_some(before)
}

/// Whether nothing but blanks and perhaps a comment follow in the line of `at`.
pub(crate) fn ends_line(text: &str, at: usize) -> bool {
    let rest = &text[at..line_end(text, at)];
    let bare = rest.trim_start_matches([' ', '\t']);
    bare.is_empty() || (bare.starts_with('#') && bare.len() < rest.len())
}

/// Whether a text consists of blanks.
pub(crate) fn is_blank(text: &str) -> bool {
    text.trim_matches([' ', '\t']).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(range: Range<usize>, text: &str) -> Splice {
        let text = text.to_owned();
        Splice { range, text }
    }

    #[test]
    fn splices_keep_every_other_byte() {
        let splices = vec![at(4..5, "x"), at(0..0, "<"), at(4..4, "1"), at(4..4, "2")];
        let spliced = splice("abcdef", splices).expect("no overlap");
        assert_eq!(spliced, "<abcd12xf");
        let deletions = vec![at(1..3, ""), at(2..5, "")];
        assert_eq!(splice("abcdef", deletions).expect("deletions"), "af");
        let overlap = vec![at(1..3, "x"), at(2..5, "y")];
        assert!(splice("abcdef", overlap).is_err());
    }

    #[test]
    fn lines_end_with_any_line_break() {
        let text = "ab\r\ncd\ref\n";
        assert_eq!(
            [
                next_line(text, 0),
                next_line(text, 4),
                next_line(text, 7),
                next_line(text, 10)
            ],
            [4, 7, 10, 10]
        );
        assert_eq!((line_start(text, 5), line_end(text, 4)), (4, 6));
        assert_eq!(line_break(text), "\r\n");
        assert!(ends_line("a # b", 1) && !ends_line("a#b", 1) && !ends_line("a b", 1));
    }
}

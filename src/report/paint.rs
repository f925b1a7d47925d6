//! Colour, where it is wanted, and text of others, which commands no terminal. Everything can be read without colour.

use crate::diagnostic::without_controls;

/// How far what follows the first line of a text is set in: as far as the time of a line.
const INDENT: &str = "        ";

/// Text of others within a line of orch's own: nothing in it commands a terminal, and what follows its first line is set
/// in, so that it cannot be taken for another line of orch's own.
pub fn quoted(text: &str) -> String {
    let mut lines = text.lines();
    let mut out = without_controls(lines.next().unwrap_or_default());
    for line in lines {
        out.push('\n');
        if !line.starts_with(INDENT) {
            out.push_str(INDENT);
        }
        out.push_str(&without_controls(line));
    }
    out
}

/// Text of others in a sentence of one line.
pub fn in_one_line(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| without_controls(line.trim()))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" ")
}

/// Text as a terminal may get it: what commands one is shown as `^[` instead; only colours pass.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = rest.strip_prefix("\x1b[").and_then(|after| {
            let digits = after.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            after[digits..].starts_with('m').then_some(digits + 3)
        });
        let taken = colour.unwrap_or(c.len_utf8());
        match c {
            _ if colour.is_some() || c == '\n' || c == '\t' => out.push_str(&rest[..taken]),
            '\r' if rest.starts_with("\r\n") => {}
            '\0'..='\x1f' => out.extend(['^', char::from(c as u8 + 0x40)]),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

/// Puts colour around words, or leaves them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// With colour if `colour`.
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Without colour.
    pub fn plain() -> Self {
        Self::new(false)
    }

    /// Whether there is colour.
    pub fn is_coloured(self) -> bool {
        self.colour
    }

    /// Something was achieved: green.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something needs attention: yellow.
    pub fn bad(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Detail.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_forges_no_line_and_commands_no_terminal() {
        let text = "done\x1b[2J\n12:00:00  2  landed as 1234567890\n        note: x\r\n";
        let shown = "done\u{fffd}[2J\n        12:00:00  2  landed as 1234567890\n        note: x";
        assert_eq!(quoted(text), shown);
        assert_eq!(in_one_line("one\n\n  two\r\n"), "one two");
    }

    #[test]
    fn a_terminal_gets_colours_and_no_other_commands() {
        let bold = "\x1b[1mtask\x1b[0m\tname\n";
        assert_eq!(for_terminal(bold), bold);
        let hostile = "a\x1b[2J\x1b]52;c;eA==\x07\rb\u{9b}2J\x1b[31";
        assert_eq!(
            for_terminal(hostile),
            "a^[[2J^[]52;c;eA==^G^Mb\u{fffd}2J^[[31"
        );
        assert_eq!(for_terminal("größe\r\n日本\n"), "größe\n日本\n");
    }
}

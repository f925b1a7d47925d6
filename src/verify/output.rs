//! What the output of a gate tells of single tests, where its form is known. One file a form.

mod cargo;
mod pytest;
mod tap;

use std::collections::BTreeSet;

use crate::engine::verification::Counts;

/// Single failures that are kept; an output with more of them is not told apart.
const FAILURES_MAX: usize = 2_000;

/// Longest name of a failure that is kept.
const NAME_CHARS_MAX: usize = 300;

/// What an output tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// How many tests.
    pub counts: Option<Counts>,
    /// Which of them failed.
    pub failures: BTreeSet<String>,
}

type Form = fn(&str) -> Option<Told>;

/// The forms, the surest ones first.
const FORMS: [Form; 3] = [cargo::read, pytest::read, tap::read];

/// Reads an output; `None` if its form is not known.
pub fn read(output: &str) -> Option<Told> {
    let plain = without_colours(output);
    let told = FORMS.iter().find_map(|form| form(&plain))?;
    if told.failures.len() > FAILURES_MAX {
        return None;
    }
    let failures = told.failures.iter().map(|name| {
        let name: String = name.trim().chars().take(NAME_CHARS_MAX).collect();
        name
    });
    Some(Told {
        failures: failures.collect(),
        ..told
    })
}

/// The text without the escape sequences of terminals, and with plain line ends.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at + 1..];
        rest = match sequence.strip_prefix('[') {
            Some(body) => {
                let end = body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c));
                end.map_or("", |end| &body[end + 1..])
            }
            None => sequence,
        };
    }
    plain.push_str(rest);
    plain.replace("\r\n", "\n")
}

/// The number before the first `word` in a line of numbers with words, as in `3 passed, 1 failed`.
fn number_before(line: &str, word: &str) -> Option<u64> {
    let mut before = None;
    for token in line.split(|c: char| c.is_whitespace() || ",;()|=".contains(c)) {
        if token == word {
            return before;
        }
        if !token.is_empty() {
            before = token.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_do_not_hide_what_is_said() {
        assert_eq!(
            without_colours("\u{1b}[31mnot ok\u{1b}[0m 1\r\n"),
            "not ok 1\n"
        );
        assert_eq!(without_colours("a\u{1b}"), "a");
    }

    #[test]
    fn an_output_of_no_known_form_tells_nothing() {
        assert_eq!(read("make: Nothing to be done for 'all'.\n"), None);
        assert_eq!(read(""), None);
    }
}

//! JSON as agents write it: fenced, commented, with a comma too many. What is tolerated is named.

use serde_json::Value;

/// Reads `text` as a JSON value, with the names of what had to be overlooked.
///
/// # Errors
/// The parser's words about what is left when nothing more can be overlooked.
pub(super) fn parse(text: &str) -> Result<(Value, Vec<&'static str>), serde_json::Error> {
    let mut overlooked = Vec::new();
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if let Ok(value) = serde_json::from_str(bare) {
        return Ok((value, overlooked));
    }
    let unfenced = without_fence(bare);
    if unfenced.len() != bare.len() {
        overlooked.push("a code fence around the JSON was overlooked");
    }
    let (cleaned, comments, commas) = without_comments(unfenced);
    if comments {
        overlooked.push("comments in the JSON were overlooked");
    }
    if commas {
        overlooked.push("a trailing comma in the JSON was overlooked");
    }
    serde_json::from_str(&cleaned).map(|value| (value, overlooked))
}

fn without_fence(text: &str) -> &str {
    let Some((first, rest)) = text.split_once('\n') else {
        return text;
    };
    match first.starts_with("```") {
        true => rest.trim_end().strip_suffix("```").unwrap_or(rest).trim(),
        false => text,
    }
}

/// Without `//` and `/* */` comments and commas before a closing bracket, all outside of strings; and whether there
/// were any.
fn without_comments(text: &str) -> (String, bool, bool) {
    let (mut out, mut comments, mut commas) = (String::with_capacity(text.len()), false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '"' => {
                let end = string_end(rest);
                out.push_str(&rest[..end]);
                end
            }
            '/' if rest.starts_with("//") => {
                comments = true;
                rest.find('\n').unwrap_or(rest.len())
            }
            '/' if rest.starts_with("/*") => {
                comments = true;
                rest.find("*/").map_or(rest.len(), |at| at + 2)
            }
            '}' | ']' => {
                let kept = out.trim_end();
                if let Some(before) = kept.strip_suffix(',') {
                    commas = true;
                    out.truncate(before.len());
                }
                out.push(c);
                1
            }
            _ => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[skipped..];
    }
    (out, comments, commas)
}

/// The length of the string literal that `text` begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

//! Known answers: what a person says beforehand about conflicts in some files, in `merge` of the settings or of a plan.
//!
//! Here they are read. An answer that would drop one side's work is none: there is no word for it.

use std::fmt;

use super::paths::check_globs;
use super::reader::{Fields, Reader, Spanned, quote};
use super::syntax::Node;
use crate::diagnostic::Diagnostic;

/// Most answers that one text may give.
const ANSWERS_MAX: usize = 100;

/// How conflicts in the files that a glob matches are settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAnswer {
    /// The glob, relative to the repository, as in `files`.
    pub files: String,
    /// What is done.
    pub answer: Answer,
}

/// What is done about a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The lines of both sides stand in the file.
    Union,
    /// This command makes the file anew from the others, as with a lock file.
    Run(String),
}

impl fmt::Display for KnownAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Answer::Union => write!(f, "{}: union", self.files),
            Answer::Run(command) => write!(f, "{}: run: {command}", self.files),
        }
    }
}

impl Answer {
    /// Reads the word of an answer, or says in words why there is none such.
    fn parse(word: &str) -> Result<Self, String> {
        let word = word.trim();
        match (word, word.strip_prefix("run:").map(str::trim)) {
            ("union", _) => Ok(Self::Union),
            (_, Some("")) => Err("`run:` names no command".to_owned()),
            (_, Some(command)) => Ok(Self::Run(command.to_owned())),
            ("ours" | "theirs", None) => Err(format!(
                "{} would drop the other side's work: the answers that can be given are `union` and `run: COMMAND`",
                quote(word)
            )),
            (_, None) => Err(format!(
                "{} is no answer: `union` and `run: COMMAND` are",
                quote(word)
            )),
        }
    }
}

/// The answers in `merge` of a mapping; `None` if it has no such key.
pub(super) fn read<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<Vec<KnownAnswer>> {
    let node = fields.get("merge")?;
    Some(answers(reader, node))
}

/// The answers of a settings file; the first problem in words.
pub(crate) fn of_settings(node: &Node<'_>) -> Result<Vec<KnownAnswer>, String> {
    let mut reader = Reader::new("", node, true);
    let answers = answers(&mut reader, node);
    reader.problems.first_error().map_or(Ok(answers), Err)
}

fn answers<'t>(reader: &mut Reader<'t>, node: &'t Node<'t>) -> Vec<KnownAnswer> {
    let Some(fields) = reader.any_fields(node, "`merge`") else {
        return Vec::new();
    };
    let mut answers: Vec<KnownAnswer> = Vec::new();
    for (glob, key, value) in fields.iter() {
        let wrong = |code, message| Diagnostic::error(code, message).at(key.span());
        if answers.len() == ANSWERS_MAX {
            let message = format!("`merge` has more than {ANSWERS_MAX} answers");
            reader.push(wrong("too-many-answers", message));
            break;
        }
        if glob.trim_start_matches("./").trim_matches('/').is_empty() {
            let message = format!("{} names no file", quote(glob));
            reader.push(wrong("unusable-glob", message));
            continue;
        }
        let spanned = Spanned {
            text: glob,
            span: key.span(),
        };
        check_globs(reader, &[spanned]);
        match value.as_scalar().map(Answer::parse) {
            Some(Ok(answer)) => answers.push(KnownAnswer {
                files: glob.to_owned(),
                answer,
            }),
            Some(Err(why)) => {
                let message = format!("`merge` of {}: {why}", quote(glob));
                reader.push(Diagnostic::error("wrong-value", message).at(value.span()));
            }
            None => reader.wrong_type(
                value,
                "an answer in `merge`",
                "a text: `union` or `run: COMMAND`",
            ),
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::syntax;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let document = syntax::parse(text).expect("well-formed");
        let answers = of_settings(&document.root.expect("a value"))?;
        Ok(answers.iter().map(KnownAnswer::to_string).collect())
    }

    #[test]
    fn answers_are_read_in_the_order_of_the_text() {
        assert_eq!(
            read(
                "{CHANGELOG.md: union, 'docs/**/*.md': union, Cargo.lock: 'run: cargo update -w'}"
            ),
            Ok(vec![
                "CHANGELOG.md: union".into(),
                "docs/**/*.md: union".into(),
                "Cargo.lock: run: cargo update -w".into()
            ])
        );
        assert_eq!(read("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_would_lose_work_or_is_no_answer_is_refused_by_name() {
        for (text, why) in [
            ("{a: ours}", "would drop the other side's work"),
            ("{a: theirs}", "would drop the other side's work"),
            ("{Cargo.lock: 'run: '}", "names no command"),
            ("{Cargo.lock: {run: cargo update}}", "must be a text"),
            ("{a: onion}", "is no answer"),
            ("{a: [union]}", "must be a text"),
            ("union", "must be a mapping"),
            ("[a]", "must be a mapping"),
            ("{./: union}", "names no file"),
            ("{../a: union}", "leads out of the repository"),
            ("{.git/config: union}", "is git's own"),
            ("{'a[': union}", "is no glob"),
            ("{a: union, a: union}", "stands twice"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}

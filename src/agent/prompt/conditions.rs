//! What a task's work will be judged by, in words for the agent: it saves the attempt that would find it out.

use crate::plan::checks::{Checks, Output, Schema, Want};

/// Longest text of one condition: a command, or a part of a file.
const QUOTE_CHARS_MAX: usize = 300;

/// Longest schema that is told whole.
const SCHEMA_CHARS_MAX: usize = 4_000;

/// One line each.
pub(super) fn lines(checks: &Checks) -> Vec<String> {
    let mut lines: Vec<String> = checks.outputs.iter().map(output).collect();
    let limits = [
        (checks.limits.files, "files"),
        (
            checks.limits.lines,
            "lines, added and removed ones together",
        ),
    ];
    let limits = limits
        .into_iter()
        .filter_map(|(limit, what)| Some(format!("{} {what}", limit?)));
    let limits: Vec<String> = limits.collect();
    if !limits.is_empty() {
        lines.push(format!("You may change at most {}", limits.join(", and ")));
    }
    if checks.wants_red() {
        lines.push(
            "Bring a test, in a file of tests, that fails without your change and passes with it: both is tried"
                .to_owned(),
        );
    }
    let required = checks.verify.iter().filter(|command| command.required);
    let commands: Vec<String> = required
        .map(|command| format!("`{}`", cut(&command.run, QUOTE_CHARS_MAX)))
        .collect();
    if !commands.is_empty() {
        lines.push(format!(
            "Your work is judged on a clean checkout, which has nothing that git ignores, by: {}",
            commands.join(", ")
        ));
    }
    lines
}

fn output(output: &Output) -> String {
    let wants: Vec<String> = output.wants.iter().map(want).collect();
    format!("In the end, `{}` {}", output.path, wants.join(", and "))
}

fn want(want: &Want) -> String {
    match want {
        Want::Exists(true) => "must be there".to_owned(),
        Want::Exists(false) => "must not be there".to_owned(),
        Want::Contains(text) => format!("must contain {:?}", cut(text, QUOTE_CHARS_MAX)),
        Want::NotContains(text) => format!("must not contain {:?}", cut(text, QUOTE_CHARS_MAX)),
        Want::JsonSchema(Schema::File(path)) => {
            format!("must be JSON that fits the schema `{path}`")
        }
        Want::JsonSchema(Schema::Inline(schema)) => format!(
            "must be JSON that fits the schema `{}`",
            cut(&schema.to_string(), SCHEMA_CHARS_MAX)
        ),
    }
}

fn cut(text: &str, chars: usize) -> String {
    let text = text.trim();
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} [...]", &text[..end]),
    }
}

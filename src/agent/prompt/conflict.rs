//! What a session is told that is to resolve a conflict between tasks of which it did none.

use super::{TooLong, bounded, conditions, line, list, quote};
use crate::plan::checks::Checks;
use crate::plan::conflicts::Answer;

/// A conflict.
#[derive(Debug, Clone, Copy)]
pub struct Contested<'a> {
    /// Both sides: first the task whose work does not fit, then those whose work has landed.
    pub sides: &'a [Side],
    /// The files in conflict.
    pub files: &'a [String],
    /// By what the result is judged: the gates of all these tasks.
    pub checks: &'a Checks,
    /// What a person said beforehand about some of them.
    pub known: &'a [(String, Answer)],
    /// What was found when the candidate was to be built.
    pub found: Option<&'a str>,
    /// A word that only this attempt is told.
    pub nonce: &'a str,
}

/// A task, and what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What was to be done.
    pub description: Option<String>,
    /// The patch.
    pub difference: String,
}

/// The text for standard input.
///
/// # Errors
/// If it is longer than the agent program takes.
pub fn conflict_part(contested: &Contested<'_>) -> Result<String, TooLong> {
    let Contested {
        sides,
        files,
        checks,
        known,
        found,
        nonce,
    } = *contested;
    let id = sides.first().map_or("", |side| side.id.as_str());
    let others = list(sides.iter().skip(1).map(|side| side.id.clone()));
    let mut out = format!(
        "# A conflict: task {id} with {others}\n\nYour working tree holds the work of task {id}, merged onto a target on \
         which {others} has landed since that work began. You did neither. In these files git could not bring both together, \
         and both sides stand between marks, the target's first:\n\n"
    );
    for file in files {
        line(&mut out, format_args!("- `{file}`"));
    }
    out += "\nChange these files and no others: a change of anything else, the plan included, is refused. So is a mark that \
            is left, and a file that is just as one of the two sides had it. The gates of all these tasks judge the result.\n";
    let conditions = conditions::lines(checks);
    if !conditions.is_empty() {
        out.push('\n');
    }
    for condition in conditions {
        line(&mut out, format_args!("- {condition}"));
    }
    for (file, answer) in known {
        let answer = match answer {
            Answer::Union => "the lines of both sides belong into it".to_owned(),
            Answer::Run(command) => format!("it is made anew by `{command}`"),
        };
        line(
            &mut out,
            format_args!("\nA person says of `{file}`: {answer}."),
        );
    }
    if let Some(found) = found {
        out.push('\n');
        quote(&mut out, "found", "when it was to land", found);
    }
    for side in sides {
        line(
            &mut out,
            format_args!("\n## Task {}: {}", side.id, side.name),
        );
        let description = side.description.as_deref().map(str::trim);
        if let Some(text) = description.filter(|text| !text.is_empty()) {
            line(&mut out, format_args!("\n{text}"));
        }
        // A patch cannot close its tags.
        let patch = side.difference.replace("</difference", "<\\/difference");
        line(
            &mut out,
            format_args!("\n<difference task {}>\n{patch}</difference>", side.id),
        );
    }
    line(
        &mut out,
        format_args!(
            "\n## When you are done\n\nCheck that both tasks hold, then report with task_id `{id}` and nonce `{nonce}`: \
             `completed`, with a line for each file, or `failed`, if the tasks contradict each other."
        ),
    );
    bounded(out)
}

//! What an agent is told: a part that all sessions of a role share, and the task.
//!
//! The shared part goes into the system prompt and is the same bytes for all tasks of one role, so that sessions share it
//! in the prompt cache: no id, time, path or attempt may stand in it. Everything of one task goes to standard input.

use std::fmt::Write as _;

use super::{head, tail};
use crate::plan::checks::Checks;

mod conditions;
mod conflict;
#[cfg(test)]
mod tests;

pub use conflict::{Contested, Side, conflict_part};

/// The agent program takes up to 10 MB on standard input; a larger prompt would never fit a model anyway.
pub const PROMPT_BYTES_MAX: usize = 10_000_000;
/// Longest list of the plan's tasks in the shared part; a plan over it is summed up by sections.
const SUMMARY_BYTES_MAX: usize = 24 * 1024;
/// Longest text of one earlier attempt or one dependency: enough for the end of a build log.
const QUOTE_BYTES_MAX: usize = 16 * 1024;
/// How many earlier attempts are told in full length; the last ones say the most.
const EARLIER_MAX: usize = 5;

const PROTOCOL: &str = include_str!("protocol.md");

/// A prompt that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the prompt has {bytes} bytes, more than the {PROMPT_BYTES_MAX} that the agent program takes"
)]
pub struct TooLong {
    /// Its length.
    pub bytes: usize,
}

/// What all sessions of a role are told, frozen when the run starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared<'a> {
    /// The role's text.
    pub role: &'a str,
    /// The plan as it was when the run started.
    pub plan: PlanSummary<'a>,
    /// How the project is built, if somebody said so.
    pub build_command: Option<&'a str>,
    /// How the project is tested, if somebody said so.
    pub test_command: Option<&'a str>,
}

/// A plan by names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanSummary<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// What it is about.
    pub description: Option<&'a str>,
    /// The document that it follows.
    pub doc: Option<&'a str>,
    /// Its sections in order.
    pub sections: Vec<SectionSummary<'a>>,
}

/// A section by names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SectionSummary<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Id and name of its tasks in order.
    pub tasks: Vec<(&'a str, &'a str)>,
}

/// One attempt at one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brief<'a> {
    /// The task's id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The name of its section.
    pub section: &'a str,
    /// What is to be done.
    pub description: Option<&'a str>,
    /// The document that the plan follows.
    pub plan_doc: Option<&'a str>,
    /// What counts as done.
    pub wants: Wants,
    /// Globs of the paths it may write; empty: all.
    pub files: Vec<&'a str>,
    /// By what its work is judged.
    pub checks: Option<&'a Checks>,
    /// Globs of the files that it is given as evidence.
    pub evidence: Vec<&'a str>,
    /// Protected paths that it may change; `**` for all.
    pub allowed: Vec<&'a str>,
    /// Ids and messages of the tasks it depends on, where there are messages.
    pub dependencies: Vec<(&'a str, &'a str)>,
    /// Ids and names of tasks that may run at the same time.
    pub siblings: Vec<(&'a str, &'a str)>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How earlier attempts ended, oldest first, with what they left of words.
    pub earlier: Vec<&'a str>,
    /// Whether the files of the last attempt are in the copy.
    pub continues: bool,
    /// A word that only this attempt is told.
    pub nonce: &'a str,
}

/// What counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wants {
    /// A change of the repository.
    #[default]
    Change,
    /// A text.
    Report,
}

/// The text for the system prompt: the same bytes for every task of a role.
///
/// # Errors
/// If it is longer than the agent program takes.
pub fn shared_part(shared: &Shared<'_>) -> Result<String, TooLong> {
    let mut out = PROTOCOL.to_owned();
    if shared.build_command.is_some() || shared.test_command.is_some() {
        out += "\n## The project\n\n";
    }
    for (what, command) in [
        ("Build it", shared.build_command),
        ("Test it", shared.test_command),
    ] {
        if let Some(command) = command {
            line(&mut out, format_args!("{what} with `{command}`."));
        }
    }
    summary(&mut out, &shared.plan);
    out += "\n# Your role\n\n";
    out += shared.role.trim();
    out.push('\n');
    bounded(out)
}

/// The text for standard input: the task and all that is only this attempt's.
///
/// # Errors
/// If it is longer than the agent program takes.
pub fn task_part(brief: &Brief<'_>) -> Result<String, TooLong> {
    let mut out = String::new();
    line(
        &mut out,
        format_args!("# Task {}: {}\n", brief.id, brief.name),
    );
    line(&mut out, format_args!("- Section: {}", brief.section));
    if let Some(doc) = brief.plan_doc {
        line(
            &mut out,
            format_args!("- Document to follow: `{doc}` (read what it says about this task)"),
        );
    }
    if !brief.files.is_empty() {
        line(
            &mut out,
            format_args!(
                "- You may change only files that match: {}",
                list(brief.files.iter().map(|f| format!("`{f}`")))
            ),
        );
    }
    if !brief.allowed.is_empty() {
        line(
            &mut out,
            format_args!(
                "- Of the files that decide how work is checked and what agents are told, you may change: {}",
                list(brief.allowed.iter().map(|f| format!("`{f}`")))
            ),
        );
    }
    for condition in brief.checks.map(conditions::lines).unwrap_or_default() {
        line(&mut out, format_args!("- {condition}"));
    }
    if !brief.evidence.is_empty() {
        line(
            &mut out,
            format_args!(
                "- Given to you to read, in the same places below `.orch/evidence/`: {}",
                list(brief.evidence.iter().map(|glob| format!("`{glob}`")))
            ),
        );
    }
    if !brief.siblings.is_empty() {
        let siblings = brief
            .siblings
            .iter()
            .map(|(id, name)| format!("{id} ({name})"));
        line(
            &mut out,
            format_args!(
                "- Others may work at the same time, in copies of their own, on: {}",
                list(siblings)
            ),
        );
    }
    if let Some(text) = brief.description.map(str::trim).filter(|t| !t.is_empty()) {
        line(&mut out, format_args!("\n## What is to be done\n\n{text}"));
    }
    dependencies(&mut out, &brief.dependencies);
    earlier_attempts(&mut out, brief);
    closing(&mut out, brief);
    bounded(out)
}

/// What a session is told that was cut off and goes on.
pub fn go_on(task: &str, nonce: &str) -> String {
    format!(
        "The session was cut off by a limit of the service, not by anything you did, and goes on now in the same working \
         tree. Look at what is there already, finish task {task}, and report as you were told, with nonce `{nonce}`.\n"
    )
}

/// What a session is asked that ended without a report.
pub fn ask_status(task: &str, nonce: &str) -> String {
    format!(
        "The session ended, and there is no report on task {task}. Change no files now. If all of the task is done and \
         checked, report `completed`, else `failed`, with what is missing: call the `StructuredOutput` tool with task_id \
         `{task}` and nonce `{nonce}`. Without that tool, write the same as JSON to `.orch/task-status.json`.\n"
    )
}

fn summary(out: &mut String, plan: &PlanSummary<'_>) {
    *out += "\n# The plan\n\n";
    if let Some(name) = plan.name {
        line(out, format_args!("{name}\n"));
    }
    if let Some(description) = plan.description.map(str::trim).filter(|d| !d.is_empty()) {
        line(out, format_args!("{}\n", cut(description)));
    }
    if let Some(doc) = plan.doc {
        line(out, format_args!("It follows the document `{doc}`.\n"));
    }
    *out += "As it was when the run started:\n\n";
    let mut full = String::new();
    for section in &plan.sections {
        line(&mut full, format_args!("- {} {}", section.id, section.name));
        for (id, name) in &section.tasks {
            line(&mut full, format_args!("  - {id} {name}"));
        }
    }
    if full.len() <= SUMMARY_BYTES_MAX {
        *out += &full;
        return;
    }
    let mut short = String::new();
    for section in &plan.sections {
        line(
            &mut short,
            format_args!(
                "- {} {} ({} tasks)",
                section.id,
                section.name,
                section.tasks.len()
            ),
        );
    }
    *out += head(&short, SUMMARY_BYTES_MAX);
    *out += "\n(The tasks are in `.orch/plan.yaml`.)\n";
}

fn dependencies(out: &mut String, dependencies: &[(&str, &str)]) {
    if dependencies.is_empty() {
        return;
    }
    *out += "\n## What the tasks before this one reported\n\n";
    for (id, message) in dependencies {
        quote(out, "result-of-dependency", &format!("task {id}"), message);
    }
}

fn earlier_attempts(out: &mut String, brief: &Brief<'_>) {
    let attempt = brief.attempt;
    if brief.earlier.is_empty() {
        return;
    }
    line(out, format_args!("\n## This is attempt {attempt}\n"));
    *out += match brief.continues {
        true => {
            "What the last attempt left is in your copy: look at it first (`git status`, `git diff`) and go on from there.\n\n"
        }
        false => "You start from a clean copy; the files of earlier attempts are not in it.\n\n",
    };
    *out += "Find out why the earlier attempts did not get through before you begin, and do not repeat what failed.\n\n";
    let left_out = brief.earlier.len().saturating_sub(EARLIER_MAX);
    for (n, text) in brief.earlier.iter().enumerate().skip(left_out) {
        quote(out, "earlier-attempt", &format!("number {}", n + 1), text);
    }
}

fn closing(out: &mut String, brief: &Brief<'_>) {
    let (id, nonce) = (brief.id, brief.nonce);
    *out += match brief.wants {
        Wants::Change => "\n## When you are done\n\nCheck your work",
        Wants::Report => {
            "\n## When you are done\n\nThis task asks for a report, not for a change of the repository: other files that you \
             change are not kept. Put the report into `message`, or, if it is longer than a page, into `.orch/report.md` with a \
             summary in `message`. Check what you claim"
        }
    };
    line(
        out,
        format_args!(", then report with task_id `{id}` and nonce `{nonce}`."),
    );
}

/// Text of other authors, between tags that it cannot close.
fn quote(out: &mut String, tag: &str, label: &str, text: &str) {
    let text = cut(text.trim()).replace(&format!("</{tag}"), &format!("<\\/{tag}"));
    line(out, format_args!("<{tag} {label}>\n{text}\n</{tag}>\n"));
}

/// The end of a text that is too long: causes stand last in logs and messages.
fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= QUOTE_BYTES_MAX {
        return text.into();
    }
    let end = tail(text, QUOTE_BYTES_MAX);
    format!("[{} bytes left out]\n{end}", text.len() - end.len()).into()
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
    out.push('\n');
}

fn bounded(text: String) -> Result<String, TooLong> {
    match text.len() > PROMPT_BYTES_MAX {
        true => Err(TooLong { bytes: text.len() }),
        false => Ok(text),
    }
}

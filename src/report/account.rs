//! The account of a run, to be handed on: for each task what was asked, what was done, what was verified, what people
//! decided and what was spent. As one page of HTML that needs nothing else, as Markdown, or as data.
//!
//! It is made from the records alone, and from the plan's text for what the tasks ask.

mod gates;

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, Value};
use serde::Serialize;

use gates::Judgement;

use super::{lines, summary};
use crate::engine::Engine;
use crate::engine::ending::Ending;
use crate::engine::event::{Author, Verb};
use crate::engine::record::{Record, Stamped};
use crate::engine::scope::Exception;
use crate::engine::usage::Usage;
use crate::engine::view::{Completion, TaskState, TaskView, Wait};
use crate::ids::{ObjectId, TaskId};
use crate::plan::Plan;
use crate::time::{Wall, for_people};

/// Version of the data; grows when a field changes its meaning or goes away.
const FORMAT: u32 = 1;

/// A run to be handed on.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    format: u32,
    /// The plan's own name, else its path.
    title: String,
    run: String,
    plan: String,
    target: String,
    /// How it ended or stands.
    outcome: String,
    /// Whether it ended with everything done.
    good: bool,
    started: Wall,
    /// The last record.
    until: Wall,
    /// `8 tasks: 6 completed, 1 failed ...`
    totals: String,
    usage: Usage,
    confinement: &'static str,
    /// How many tasks there are, have landed, and landed verified.
    numbers: Numbers,
    /// What the gates said of the untouched target, oldest first.
    baseline: Vec<Judgement>,
    /// What the smoke commands said when the plan was through, oldest first.
    smoke: Vec<Judgement>,
    tasks: Vec<TaskAccount>,
    /// Decisions about the run as a whole.
    decided: Vec<Decision>,
}

/// The run in numbers.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Numbers {
    tasks: usize,
    /// Completed or skipped.
    done: usize,
    /// Commits on the target.
    landed: usize,
    /// Those of them that gates vouch for.
    verified: usize,
    /// Failed, blocked, cancelled or undone.
    failed: usize,
    /// Waiting, for whatever it may be.
    waiting: usize,
}

/// What became of a task.
#[derive(Debug, Clone, Serialize)]
struct TaskAccount {
    id: TaskId,
    name: String,
    /// The section's name.
    section: Option<String>,
    /// Its description, where the plan's text is still known.
    asked: Option<String>,
    /// In words.
    state: String,
    /// In one word.
    word: &'static str,
    /// Why it is there, where that is not its own doing.
    why: Option<String>,
    /// Whether a person is what it needs.
    needs_somebody: bool,
    commit: Option<ObjectId>,
    /// Whether that commit landed in this run.
    landed: bool,
    /// Whether gates passed on the landed tree; none where nothing landed.
    verified: Option<bool>,
    message: Option<String>,
    /// The text of a report task.
    report: Option<String>,
    notes: Vec<String>,
    attempts: Vec<AttemptAccount>,
    /// Protected paths that its last candidate changes, as a person's text or a person allows.
    exceptions: Vec<Exception>,
    /// What the gates said of its landing commits, oldest first.
    judged: Vec<Judgement>,
    decided: Vec<Decision>,
    usage: Usage,
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
struct AttemptAccount {
    number: u32,
    started: Wall,
    ended: Option<Wall>,
    /// How it ended, in words.
    end: Option<String>,
    detail: Option<String>,
    /// The conflicts that it was to resolve, instead of doing the task.
    resolves: Option<String>,
    /// What changed in the user's repository and checkout while it ran, orch's own doings aside.
    meanwhile: Vec<String>,
    usage: Usage,
}

/// What somebody decided.
#[derive(Debug, Clone, Serialize)]
struct Decision {
    at: Wall,
    by: String,
    what: String,
    note: Option<String>,
    /// Why it was not followed.
    refused: Option<String>,
}

impl Account {
    /// The account of the run that `records` led to. `plan` is the revision in force, where its text can be read;
    /// `reports` are the texts of report tasks.
    pub fn new(
        engine: &Engine,
        records: &[Stamped],
        plan: Option<&Plan>,
        reports: &BTreeMap<TaskId, String>,
        live: bool,
    ) -> Self {
        let run = engine.run();
        let mut attempts = attempts(records);
        let mut judged = gates::of_tasks(records);
        let mut exceptions = exceptions(records);
        let mut decided = decisions(records);
        let tasks: Vec<TaskAccount> = engine
            .tasks()
            .map(|view| {
                let id = &view.node.id;
                let asked = plan.and_then(|p| p.tasks.iter().find(|t| t.id == *id).map(|t| (p, t)));
                TaskAccount {
                    section: asked.map(|(plan, task)| plan.sections[task.section].name.clone()),
                    asked: asked
                        .and_then(|(_, task)| task.description.as_deref().map(str::to_owned)),
                    report: reports.get(id).cloned(),
                    attempts: attempts.remove(id).unwrap_or_default(),
                    why: wants_reason(&view.state).then(|| engine.why(id).join("; ")),
                    exceptions: exceptions.remove(id).unwrap_or_default(),
                    judged: judged.remove(id).unwrap_or_default(),
                    decided: decided.remove(&Some(id.clone())).unwrap_or_default(),
                    ..TaskAccount::of(&view)
                }
            })
            .collect();
        Self {
            format: FORMAT,
            title: plan
                .and_then(|p| p.meta.name.clone())
                .unwrap_or_else(|| run.plan.to_owned()),
            run: run.run.to_string(),
            plan: run.plan.to_owned(),
            target: run.target.short().to_owned(),
            outcome: match (run.ended, live) {
                (Some(outcome), _) => outcome.in_words().to_owned(),
                (None, true) => "running".to_owned(),
                (None, false) => "interrupted".to_owned(),
            },
            good: run.ended.is_some_and(|outcome| outcome.exit_code() == 0),
            started: run.started,
            until: records.last().map_or(run.started, |last| last.at),
            totals: summary::totals(engine),
            usage: run.usage,
            confinement: "none",
            numbers: Numbers::of(&tasks),
            baseline: gates::of_the_target(records),
            smoke: gates::of_the_end(records),
            tasks,
            decided: decided.remove(&None).unwrap_or_default(),
        }
    }

    /// One page of HTML that loads nothing.
    pub fn html(&self) -> anyhow::Result<String> {
        self.rendered("report.html", include_str!("account/report.html"))
    }

    /// Markdown.
    pub fn markdown(&self) -> anyhow::Result<String> {
        self.rendered("report.md", include_str!("account/report.md"))
    }

    fn rendered(&self, name: &str, template: &str) -> anyhow::Result<String> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()?,
        );
        // Whatever an agent or a plan says is text, on the page too.
        env.set_auto_escape_callback(|name| match name.ends_with(".html") {
            true => AutoEscape::Html,
            false => AutoEscape::None,
        });
        env.add_filter("time", time);
        env.add_filter("lasted", for_people);
        env.add_filter("usd", usd);
        env.add_filter("grouped", grouped);
        env.add_filter("cell", cell);
        env.add_filter("brief", brief);
        env.add_filter("quoted", quoted);
        env.add_filter("fenced", fenced);
        env.add_filter("coded", coded);
        Ok(env.render_named_str(name, template, Value::from(Serde(self)))?)
    }
}

impl Numbers {
    fn of(tasks: &[TaskAccount]) -> Self {
        let with = |is: fn(&TaskAccount) -> bool| tasks.iter().filter(|task| is(task)).count();
        Self {
            tasks: tasks.len(),
            done: with(|task| matches!(task.word, "completed" | "skipped")),
            landed: with(|task| task.landed),
            verified: with(|task| task.landed && task.verified == Some(true)),
            waiting: with(|task| task.word == "waiting"),
            failed: with(|task| {
                matches!(task.word, "failed" | "blocked" | "cancelled" | "reverted")
            }),
        }
    }
}

impl TaskAccount {
    fn of(view: &TaskView<'_>) -> Self {
        let (commit, verified) = match &view.state {
            TaskState::Completed {
                commit: Some(commit),
                verified,
                ..
            } => (Some(commit.clone()), Some(*verified)),
            _ => (None, None),
        };
        let landed = matches!(
            view.state,
            TaskState::Completed {
                how: Completion::Landed,
                ..
            }
        );
        let text = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
        Self {
            id: view.node.id.clone(),
            name: view.node.name.to_string(),
            section: None,
            asked: None,
            state: summary::state_in_words(&view.state),
            word: summary::word(&view.state),
            why: None,
            needs_somebody: matches!(
                view.state,
                TaskState::Failed
                    | TaskState::Waiting {
                        reason: Wait::Approval | Wait::Evidence | Wait::Release | Wait::Clearance,
                        ..
                    }
            ),
            commit,
            landed,
            verified,
            message: view.message.and_then(text),
            report: None,
            notes: view.notes.to_vec(),
            attempts: Vec::new(),
            exceptions: Vec::new(),
            judged: Vec::new(),
            decided: Vec::new(),
            usage: view.usage,
        }
    }
}

/// The attempts of each task, in order.
fn attempts(records: &[Stamped]) -> BTreeMap<TaskId, Vec<AttemptAccount>> {
    let mut attempts: BTreeMap<TaskId, Vec<AttemptAccount>> = BTreeMap::new();
    for Stamped { record, at, .. } in records {
        match record {
            Record::AttemptStarted { ticket, .. } => {
                attempts
                    .entry(ticket.task.clone())
                    .or_default()
                    .push(AttemptAccount {
                        number: ticket.attempt,
                        started: *at,
                        ended: None,
                        end: None,
                        detail: None,
                        resolves: None,
                        meanwhile: Vec::new(),
                        usage: Usage::default(),
                    });
            }
            Record::Resolving { ticket, resolving } => {
                let of_task = attempts.entry(ticket.task.clone()).or_default();
                if let Some(attempt) = of_task.iter_mut().find(|a| a.number == ticket.attempt) {
                    attempt.resolves = Some(resolving.in_words());
                }
            }
            Record::Collected { ticket, end, .. } | Record::NotLandable { ticket, end, .. } => {
                let of_task = attempts.entry(ticket.task.clone()).or_default();
                if let Some(attempt) = of_task.iter_mut().find(|a| a.number == ticket.attempt) {
                    attempt.ended = Some(*at);
                    attempt.end = Some(end.ending.in_words().to_owned());
                    // A success says nothing that the agent's message does not.
                    let says_more = end.ending != Ending::Success && !end.detail.is_empty();
                    attempt.detail = says_more.then(|| end.detail.clone());
                    if let Record::Collected { usage, told, .. } = record {
                        attempt.usage = attempt.usage.plus(**usage);
                        attempt.meanwhile.extend_from_slice(&told.meanwhile);
                    }
                }
            }
            _ => {}
        }
    }
    attempts
}

/// Whether a state is explained.
fn wants_reason(state: &TaskState) -> bool {
    matches!(
        state,
        TaskState::Failed
            | TaskState::Waiting { .. }
            | TaskState::Blocked { .. }
            | TaskState::Cancelled
            | TaskState::Reverted
    )
}

/// The protected paths that each task's last candidate changes.
fn exceptions(records: &[Stamped]) -> BTreeMap<TaskId, Vec<Exception>> {
    let scopes = records.iter().filter_map(|s| match &s.record {
        Record::Collected {
            ticket,
            scope: Some(scope),
            ..
        } => Some((ticket.task.clone(), scope.exceptions.clone())),
        _ => None,
    });
    scopes.collect()
}

/// What was decided about each task, and about the run.
fn decisions(records: &[Stamped]) -> BTreeMap<Option<TaskId>, Vec<Decision>> {
    let mut decisions: BTreeMap<Option<TaskId>, Vec<Decision>> = BTreeMap::new();
    for Stamped { record, at, .. } in records {
        if let Record::Controlled { control, refused } = record {
            let about = control.verb.task().cloned();
            decisions.entry(about).or_default().push(Decision {
                at: *at,
                by: match &control.by {
                    Author::Person(name) => name.clone(),
                    Author::Agent(task) => format!("the agent of {task}"),
                    Author::Signal => "a signal".to_owned(),
                    Author::StopFile => "the stop file".to_owned(),
                    Author::Orch => "orch".to_owned(),
                },
                what: decided(&control.verb),
                note: control.note.clone(),
                refused: refused.clone(),
            });
        }
    }
    decisions
}

/// A decision; what was approved is bound to a commit.
fn decided(verb: &Verb) -> String {
    let mut what = lines::verb_in_words(verb);
    if let Verb::Approve {
        commit, signature, ..
    } = verb
    {
        let commit = commit
            .as_ref()
            .map(|commit| format!(" as {}", commit.short()));
        what.push_str(&commit.unwrap_or_default());
        what.push_str(if signature.is_some() { ", signed" } else { "" });
    }
    what
}

/// `2026-11-21 10:42:38 UTC`: a page is read elsewhere, too.
fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|t| t.format("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

/// `$0.0123`.
fn usd(micro: u64) -> String {
    crate::engine::usage::MicroUsd(micro).to_string()
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let groups = digits.as_bytes()[lead..].chunks(3);
    let groups = groups.map(|group| String::from_utf8_lossy(group).into_owned());
    let first = Some(digits[..lead].to_owned()).filter(|first| !first.is_empty());
    first
        .into_iter()
        .chain(groups)
        .collect::<Vec<_>>()
        .join(",")
}

/// A text in one cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// A text's first paragraph, on one line: what follows is output.
fn brief(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.replace('\n', " ")
}

/// A text for the page, with what stands between backticks as code.
fn coded(text: &str) -> Value {
    let parts: Vec<&str> = text.split('`').collect();
    // As many of them open as close.
    if parts.len().is_multiple_of(2) {
        return Value::from_safe_string(HtmlEscape(text).to_string());
    }
    let part = |(at, part): (usize, &&str)| match at % 2 {
        0 => HtmlEscape(part).to_string(),
        _ => format!("<code>{}</code>", HtmlEscape(part)),
    };
    Value::from_safe_string(parts.iter().enumerate().map(part).collect())
}

/// A text as a quotation of Markdown.
fn quoted(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("> {line}")).collect();
    lines.join("\n")
}

/// A text as a block that no text can end: the fence is longer than any run of backticks in it.
fn fenced(text: &str) -> String {
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{}\n{fence}", text.trim_end())
}

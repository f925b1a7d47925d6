//! From nodes to typed values: the meta block, the sections and the tasks, each by itself.
//!
//! What they mean together (ids, dependencies, groups) is decided in `validate`.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use super::bounds::{self, ATTEMPTS_MAX, JOBS_MAX, TIMEOUT_MAX};
use super::checks::{self, Checks};
use super::conflicts;
use super::consent::{self, Approval, Gate};
use super::graph::{Declared, RetryFrom, TaskKind};
use super::keys;
use super::paths;
use super::reader::{Fields, Reader, Spanned, quote};
use super::rehearse;
use super::role;
use super::schema::{Meta, Runner, Schedule, Section, Task};
use super::syntax::Node;
use crate::diagnostic::Diagnostic;
use crate::ids::{IdError, PlanId, SectionId, TaskId};

/// The only version of the format so far: `orch: 1`.
const FORMAT_VERSION: &str = "1";

/// Most tasks of a plan. Aliases can make millions of tasks of a short text.
const TASKS_MAX: usize = 200_000;

const RUNNERS: [(&str, Runner); 3] = [
    ("claude", Runner::Claude),
    ("command", Runner::Command),
    ("rehearsal", Runner::Rehearsal),
];

const STATUSES: [(&str, Declared); 5] = [
    ("pending", Declared::Pending),
    ("in_progress", Declared::Pending),
    ("completed", Declared::Completed),
    ("failed", Declared::Failed),
    ("skipped", Declared::Skipped),
];

/// The status of a word.
pub(super) fn declared(word: &str) -> Option<Declared> {
    let status = STATUSES.into_iter().find(|(known, _)| *known == word);
    status.map(|(_, declared)| declared)
}

/// The plan as far as its parts can be read one by one.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) meta: Meta,
    pub(super) sections: Vec<SectionDraft>,
    pub(super) tasks: Vec<TaskDraft>,
    /// Ids of tasks that could not be read, so that nobody is told that they do not exist.
    pub(super) unreadable: HashSet<String>,
}

/// A section with the places that its checks point at.
#[derive(Debug)]
pub(super) struct SectionDraft {
    pub(super) section: Section,
    pub(super) id_span: Range<usize>,
    pub(super) status_span: Option<Range<usize>>,
}

/// A task with the places that its checks point at.
#[derive(Debug)]
pub(super) struct TaskDraft {
    pub(super) task: Task,
    pub(super) id_span: Range<usize>,
    pub(super) depends_on: Option<Vec<Dependency>>,
    pub(super) group_span: Option<Range<usize>>,
}

/// An item of `depends_on`.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) id: String,
    pub(super) span: Range<usize>,
}

/// Reads a whole document. The draft owns what it says, so that the document, which is larger, can go.
pub(super) fn document<'t>(reader: &mut Reader<'t>, root: &'t Node<'t>) -> Draft {
    let mut draft = Draft::default();
    reader.strict |= root.get("orch").is_some();
    let Some(top) = reader.fields(root, &keys::TOP, "a plan") else {
        return draft;
    };
    format_version(reader, &top);
    if let Some(node) = top.get("meta")
        && let Some(fields) = reader.fields(node, &keys::META, "`meta`")
    {
        draft.meta = meta(reader, &fields);
    }
    if top.key("sections").is_none() {
        reader.push(
            Diagnostic::error("missing-sections", "the plan has no `sections`")
                .at(top.head())
                .help("a plan is `sections:`, a list of sections, each with `id`, `name` and `tasks:`"),
        );
    }
    for node in reader
        .items(&top, "sections", "sections")
        .unwrap_or_default()
    {
        section(reader, &mut draft, node);
    }
    draft
}

fn format_version<'t>(reader: &mut Reader<'t>, top: &Fields<'t>) {
    let Some(key) = top.key("orch") else { return };
    match reader.text(top, "orch") {
        Some(version) if version.text == FORMAT_VERSION => {}
        found => {
            let span = found.map_or(key.span(), |version| version.span);
            reader.push(
                Diagnostic::error(
                    "format-version",
                    format!("this version of orch reads plans of format {FORMAT_VERSION} only"),
                )
                .at(span)
                .help(format!(
                    "write `orch: {FORMAT_VERSION}`, or use a newer orch"
                )),
            );
        }
    }
}

fn meta<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Meta {
    let id = reader
        .text(fields, "id")
        .and_then(|id| match PlanId::parse(id.text) {
            Ok(parsed) => Some(parsed),
            Err(e) => {
                unusable_id(reader, "plan", &id, &e);
                None
            }
        });
    Meta {
        name: reader.owned(fields, "name"),
        description: reader.owned(fields, "description"),
        plan_doc: reader.owned(fields, "plan_doc"),
        max_attempts_default: reader.count(fields, "max_attempts_default", 1..=ATTEMPTS_MAX),
        jobs: reader.count(fields, "jobs", 1..=JOBS_MAX),
        runner: reader.word(fields, "runner", &RUNNERS),
        schedule: reader
            .word(
                fields,
                "schedule",
                &[
                    ("implicit", Schedule::Implicit),
                    ("explicit", Schedule::Explicit),
                ],
            )
            .unwrap_or_default(),
        id,
        smoke: checks::read_smoke(reader, fields),
        checks: checks::read(reader, fields),
        gate: consent::gate(reader, fields),
        notification_email: mail_address(reader, fields),
        bounds: bounds::read(reader, fields),
        merge: conflicts::read(reader, fields),
    }
}

/// An address goes onto a header line. An empty one is how claude-plan-orchestrator writes none.
fn mail_address<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<String> {
    let given = reader.text(fields, "notification_email")?;
    if given.text.is_empty() {
        return None;
    }
    if !is_mail_address(given.text) {
        let message = format!(
            "`notification_email`: {} is not a mail address",
            quote(given.text)
        );
        reader.push(Diagnostic::error("wrong-value", message).at(given.span));
        return None;
    }
    Some(given.text.to_owned())
}

/// Whether a text is one mail address and nothing else that a header line could hold.
pub fn is_mail_address(text: &str) -> bool {
    let usable = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c))
    };
    text.split_once('@')
        .is_some_and(|(name, domain)| usable(name) && usable(domain))
}

fn section<'t>(reader: &mut Reader<'t>, draft: &mut Draft, node: &'t Node<'t>) {
    let Some(fields) = reader.fields(node, &keys::SECTION, "a section") else {
        return;
    };
    let id = required(reader, &fields, "section", "id");
    let parsed = id.as_ref().and_then(|id| match SectionId::parse(id.text) {
        Ok(parsed) => Some(parsed),
        Err(e) => {
            unusable_id(reader, "section", id, &e);
            None
        }
    });
    let name = required(reader, &fields, "section", "name");
    let status = reader.text(&fields, "status");
    reader.word(&fields, "status", &STATUSES);
    let checks = checks::read(reader, &fields);
    let gate = consent::gate(reader, &fields);

    let first = draft.tasks.len();
    let tasks = reader.items(&fields, "tasks", "tasks").unwrap_or_default();
    // Growing bit by bit would take the room of a large plan several times.
    draft.tasks.reserve(tasks.len().min(TASKS_MAX - first));
    for node in tasks {
        if draft.tasks.len() == TASKS_MAX {
            let message = format!("the plan has more than {TASKS_MAX} tasks");
            reader.push(Diagnostic::error("too-many-tasks", message).at(node.span()));
            break;
        }
        let task = task(reader, draft, node, gate.as_ref());
        draft.tasks.extend(task);
    }
    // A section that cannot be read still counts, since its tasks name it by its number.
    draft.sections.push(SectionDraft {
        section: Section {
            id: parsed.unwrap_or_else(|| SectionId::parse("?").expect("not blank")),
            name: name.map_or_else(String::new, |name| name.text.to_owned()),
            status: status.as_ref().map(|status| status.text.to_owned()),
            tasks: first..draft.tasks.len(),
            checks,
            gate,
        },
        id_span: id.map_or(fields.head(), |id| id.span),
        status_span: status.map(|status| status.span),
    });
}

/// Reads a task; `gate` is what its section says.
fn task<'t>(
    reader: &mut Reader<'t>,
    draft: &mut Draft,
    node: &'t Node<'t>,
    gate: Option<&Gate>,
) -> Option<TaskDraft> {
    let fields = reader.fields(node, &keys::TASK, "a task")?;
    let id = required(reader, &fields, "task", "id");
    let name = required(reader, &fields, "task", "name");
    let depends_on = depends_on(reader, &fields);
    let group = reader.text(&fields, "parallel_group");
    let (max_attempts, retry_from) = attempts(reader, &fields);
    let runner = reader.word(&fields, "runner", &RUNNERS);
    let run = reader.text(&fields, "run");
    check_runner(reader, &fields, runner.or(draft.meta.runner), run.as_ref());
    let named = agent(reader, &fields);
    let description = reader.owned(&fields, "description");
    // A command has no role.
    let inferred = match (&named, &run, &name) {
        (None, None, Some(name)) => {
            role::inferred(name.text, description.as_deref().unwrap_or_default())
        }
        (Some(_), _, _) | (_, Some(_), _) | (_, _, None) => None,
    };
    let agent_inferred = inferred.is_some();
    let agent = named.or(inferred.map(str::to_owned));
    let kinds = [("change", TaskKind::Change), ("report", TaskKind::Report)];
    let kind_of_role = match agent.as_deref().is_some_and(role::is_read_only) {
        true => TaskKind::Report,
        false => TaskKind::Change,
    };

    let id = id?;
    let parsed = match TaskId::parse(id.text) {
        Ok(parsed) => parsed,
        Err(e) => {
            unusable_id(reader, "task", &id, &e);
            draft.unreadable.insert(id.text.to_owned());
            return None;
        }
    };
    let task = Task {
        id: parsed,
        name: name.map_or("", |name| name.text).into(),
        section: draft.sections.len(),
        span: fields.span.clone(),
        declared: reader
            .word(&fields, "status", &STATUSES)
            .unwrap_or_default(),
        description: description.map(Into::into),
        depends_on: None,
        parallel_group: group.as_ref().map(|group| group.text.into()),
        exclusive_resources: texts(reader, &fields, "exclusive_resources", "names"),
        agent: agent.map(Into::into),
        agent_inferred,
        max_attempts,
        model: model(reader, &fields),
        files: paths::globs(reader, &fields, "files").into(),
        runner,
        run: run.map(|run| run.text.into()),
        timeout: reader.duration(&fields, "timeout", Duration::from_secs(1)..=TIMEOUT_MAX),
        kind: reader.word(&fields, "kind", &kinds).unwrap_or(kind_of_role),
        retry_from,
        priority: reader
            .number(&fields, "priority", &(i64::MIN..=i64::MAX))
            .unwrap_or(0),
        labels: texts(reader, &fields, "labels", "words"),
        checks: checks::read(reader, &fields).map(Checks::of_task),
        approval: approval(reader, &fields, [gate, draft.meta.gate.as_ref()]),
        external: consent::external(reader, &fields).map(Box::new),
        rehearse: rehearse::read(reader, &fields).map(Box::new),
    };
    Some(TaskDraft {
        task,
        id_span: id.span,
        depends_on,
        group_span: group.map(|group| group.span),
    })
}

/// The approval that the nearest level asks for that says something; the farther ones are given from near to far.
fn approval<'t>(
    reader: &mut Reader<'t>,
    fields: &Fields<'t>,
    farther: [Option<&Gate>; 2],
) -> Option<Box<Approval>> {
    let own = consent::gate(reader, fields);
    let mut levels = [own.as_ref(), farther[0], farther[1]].into_iter().flatten();
    levels.next()?.approval().cloned().map(Box::new)
}

fn model<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<Box<str>> {
    let Spanned { text, span } = reader.text(fields, "model")?;
    match bounds::model(text) {
        Ok(()) => Some(text.into()),
        Err(wrong) => {
            let message = format!("`model`: {wrong}");
            reader.push(Diagnostic::error("wrong-value", message).at(span));
            None
        }
    }
}

/// A text that must be there and not be blank.
fn required<'t>(
    reader: &mut Reader<'t>,
    fields: &Fields<'t>,
    what: &str,
    key: &'static str,
) -> Option<Spanned<'t>> {
    let code = match key {
        "id" => "missing-id",
        _ => "missing-name",
    };
    if fields.get(key).is_none() {
        let key_span = fields.key(key).map(|key| key.span());
        let verb = if key_span.is_some() {
            "is empty"
        } else {
            "is missing"
        };
        reader.push(
            Diagnostic::error(code, format!("the {what}'s `{key}` {verb}"))
                .at(key_span.unwrap_or_else(|| fields.head()))
                .help(format!("every {what} needs an `id` and a `name`")),
        );
        return None;
    }
    let text = reader.text(fields, key)?;
    // An id that is blank is told by what ids must be.
    if key == "name" && text.text.trim().is_empty() {
        reader
            .push(Diagnostic::error(code, format!("the {what}'s `{key}` is blank")).at(text.span));
        return None;
    }
    Some(text)
}

fn unusable_id(reader: &mut Reader<'_>, what: &str, id: &Spanned<'_>, why: &IdError) {
    reader.push(
        Diagnostic::error("unusable-id", format!("{what} id {} is not usable: {why}", quote(id.text)))
            .at(id.span.clone())
            .help("ids name directories and git refs: letters, digits, `-`, `_` and inner dots, as in `1.2` or `api-tests`"),
    );
}

fn depends_on<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<Vec<Dependency>> {
    if let Some(key) = fields.key("depends_on")
        && fields.get("depends_on").is_none()
    {
        reader.push(
            Diagnostic::warning(
                "empty-depends-on",
                "`depends_on` has no value: the task follows the earlier ones as if the key were not there",
            )
            .at(key.span())
            .help("write `depends_on: []` for a task that waits for nothing"),
        );
    }
    let ids = reader.texts(fields, "depends_on", "task ids")?;
    let ids = reader.without_repeats(ids, "depends_on");
    let dependency = |id: Spanned<'t>| Dependency {
        id: id.text.to_owned(),
        span: id.span,
    };
    Some(ids.into_iter().map(dependency).collect())
}

/// The attempts and where they start: `max_attempts`, or `retry`.
fn attempts<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> (Option<u32>, Option<RetryFrom>) {
    let max_attempts = reader.count(fields, "max_attempts", 1..=ATTEMPTS_MAX);
    let Some(node) = fields.get("retry") else {
        return (max_attempts, None);
    };
    let Some(retry) = reader.fields(node, &keys::RETRY, "`retry`") else {
        return (max_attempts, None);
    };
    let places = [
        ("candidate", RetryFrom::Candidate),
        ("base", RetryFrom::Base),
    ];
    let from = reader.word(&retry, "from", &places);
    let retries = reader.count(&retry, "max", 0..=ATTEMPTS_MAX - 1);
    if let (Some(max), Some(attempts)) = (retry.key("max"), fields.key("max_attempts")) {
        reader.push(
            Diagnostic::error(
                "contradiction",
                "`max_attempts` and `retry.max` both say how often",
            )
            .at(max.span())
            .related(attempts.span(), "the other one")
            .help("keep one: `retry.max` counts what comes after the first attempt"),
        );
    }
    (max_attempts.or(retries.map(|retries| retries + 1)), from)
}

fn check_runner<'t>(
    reader: &mut Reader<'t>,
    fields: &Fields<'t>,
    runner: Option<Runner>,
    run: Option<&Spanned<'t>>,
) {
    let problem = match (runner, run) {
        (Some(Runner::Command), Some(run)) if run.text.trim().is_empty() => {
            Diagnostic::error("missing-run", "`run` is blank").at(run.span.clone())
        }
        (Some(Runner::Command), None) => {
            Diagnostic::error("missing-run", "the command runner needs `run`, the command")
                .at(fields.key("runner").map_or(fields.head(), |key| key.span()))
                .help("write for example `run: make lint`, or give the task another `runner`")
        }
        (None | Some(Runner::Claude | Runner::Rehearsal), Some(_)) => {
            let key = fields.key("run").map_or(fields.head(), |key| key.span());
            Diagnostic::error(
                "run-without-command-runner",
                "`run` is for the command runner only",
            )
            .at(key)
            .help("add `runner: command`")
        }
        _ => return,
    };
    reader.push(problem);
}

fn agent<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<String> {
    let agent = reader.text(fields, "agent")?;
    let is_file_name = !agent.text.trim().is_empty()
        && !agent.text.starts_with('.')
        && !agent.text.contains(['/', '\\'])
        && !agent.text.contains(char::is_control);
    if !is_file_name {
        reader.push(
            Diagnostic::error(
                "unusable-agent",
                format!("{} cannot name an agent", quote(agent.text)),
            )
            .at(agent.span)
            .help("an agent is the name of a file in the agents directory, without `.md`"),
        );
        return None;
    }
    Some(agent.text.to_owned())
}

fn texts<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>, key: &str, what: &str) -> Box<[String]> {
    let texts = reader.texts(fields, key, what).unwrap_or_default();
    let texts = reader.without_repeats(texts, key);
    texts.into_iter().map(|text| text.text.to_owned()).collect()
}

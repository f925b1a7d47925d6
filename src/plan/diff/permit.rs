//! What an agent's edit of the plan may change: it may add tasks, and edit the prose and the order of, split or skip
//! tasks that have not started. What gives power comes from a person's text only, and so does every key that is not
//! named here.

use super::gated::Gated;
use super::{Beyond, Change, PlanEdit};
use crate::ids::TaskId;
use crate::plan::edit::locate::is_null;
use crate::plan::syntax::{self, Node};

/// Most tasks that one edit adds: as many as large plans have, and few enough to be stopped in time.
pub const ADDED_TASKS_MAX: usize = 500;

/// Fields of a task that has not started which an agent may change: prose and order.
const EDITABLE: [&str; 5] = [
    "name",
    "description",
    "labels",
    "depends_on",
    "parallel_group",
];

/// Fields that a task may have which an agent adds. Beyond the editable ones they choose a role among a person's, say
/// what counts as done, or keep tasks apart.
const ADDABLE: [&str; 9] = [
    "id",
    "name",
    "description",
    "labels",
    "depends_on",
    "parallel_group",
    "exclusive_resources",
    "agent",
    "kind",
];

/// Fields that a run writes. Agents like to write them, too; nobody reads that.
const WRITTEN_BY_RUNS: [&str; 8] = [
    "attempts",
    "last_attempt",
    "model_used",
    "completed_at",
    "result_message",
    "last_error",
    "validation_findings",
    "validation_attempts",
];

/// The changes of an edit that may be made. Nothing else can be applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permitted {
    pub(super) changes: Vec<Change>,
    ignored: Vec<String>,
}

impl Permitted {
    /// Whether there is nothing to be changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, in document order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What was left out in silence, one sentence each: fields that orch writes itself.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

/// The changes of an edit that was permitted before and landed on the target, fields that orch wrote included: for
/// bringing a person's copy up to it. What only a person can have changed is the copy's own.
pub fn landed(edit: PlanEdit) -> Permitted {
    Permitted {
        changes: edit.changes,
        ignored: Vec::new(),
    }
}

/// Decides whether `this_task`, whose agent made the edit, may make it; `started` tells which tasks have started or are
/// settled, and `gated` what people said about approvals, which added tasks inherit. The edit counts as a whole.
///
/// # Errors
/// What may not be changed, one sentence each.
pub fn permit(
    edit: PlanEdit,
    this_task: &TaskId,
    started: impl Fn(&TaskId) -> bool,
    gated: &Gated,
) -> Result<Permitted, Vec<String>> {
    let mut permitted = Permitted::default();
    let mut refused = Vec::new();
    for beyond in edit.beyond {
        match &beyond {
            Beyond::Section { section, key } if key == "status" => {
                permitted.ignored.push(format!(
                    "`status` of section `{section}` follows from its tasks"
                ));
            }
            _ => refused.push(beyond.to_string()),
        }
    }
    let mut added = 0;
    for change in edit.changes {
        let judged = match &change {
            Change::AddSection { section, yaml, .. } => {
                added_section(section.as_str(), yaml, &mut added)
            }
            Change::AddTask { task, yaml, .. } => added_task(task.as_str(), yaml, &mut added),
            Change::SetField {
                task,
                key,
                before,
                after,
            } => field(
                task,
                key,
                [before.as_deref(), after.as_deref()],
                this_task,
                &started,
                gated,
            ),
        };
        match judged {
            Judged::Permitted => match gated.inherited(change, this_task) {
                Some(change) => permitted.changes.push(change),
                None => refused.push("what is added is no mapping".to_owned()),
            },
            Judged::Ignored(why) => permitted.ignored.push(why),
            Judged::Refused(mut why) => refused.append(&mut why),
        }
    }
    if added > ADDED_TASKS_MAX {
        refused.push(format!(
            "{added} tasks are added, and {ADDED_TASKS_MAX} is the most that one edit may add"
        ));
    }
    if refused.is_empty() {
        Ok(permitted)
    } else {
        Err(refused)
    }
}

enum Judged {
    Permitted,
    Ignored(String),
    Refused(Vec<String>),
}

fn field(
    task: &TaskId,
    key: &str,
    [before, after]: [Option<&str>; 2],
    this_task: &TaskId,
    started: impl Fn(&TaskId) -> bool,
    gated: &Gated,
) -> Judged {
    let refused = |why: &str| Judged::Refused(vec![format!("`{key}` of task `{task}` {why}")]);
    if WRITTEN_BY_RUNS.contains(&key) || (key == "status" && task == this_task) {
        return Judged::Ignored(format!("`{key}` of task `{task}` is written by orch alone"));
    }
    let is_pending = |status: Option<&str>| status.is_none_or(|word| word.trim() == "pending");
    if key == "status" && is_pending(before) && is_pending(after) {
        return Judged::Ignored(format!("`{key}` of task `{task}` is pending either way"));
    }
    if task == this_task {
        return refused("belongs to the task that made the edit, which may not change itself");
    }
    if started(task) {
        return refused("may not be changed any more: the task has started");
    }
    match key {
        "status" if is_pending(before) && after.map(str::trim) == Some("skipped") => {
            match gated.waits_for_people(task) {
                true => refused("may only be changed by a person, for whom the task waits"),
                false => Judged::Permitted,
            }
        }
        "status" => refused("may only be changed from pending to skipped"),
        _ if EDITABLE.contains(&key) || key.starts_with("x-") => Judged::Permitted,
        _ => refused("may only be changed by a person"),
    }
}

fn added_task(id: &str, yaml: &str, added: &mut usize) -> Judged {
    match syntax::parse(yaml) {
        Ok(document) => refused_or_permitted(
            document
                .root
                .iter()
                .flat_map(|task| task_problems(id, task, added))
                .collect(),
        ),
        Err(e) => Judged::Refused(vec![format!("task `{id}`: {e}")]),
    }
}

fn added_section(id: &str, yaml: &str, added: &mut usize) -> Judged {
    let document = match syntax::parse(yaml) {
        Ok(document) => document,
        Err(e) => return Judged::Refused(vec![format!("section `{id}`: {e}")]),
    };
    let mut problems = Vec::new();
    for (key, value) in document.root.iter().flat_map(Node::entries) {
        match key.as_scalar() {
            Some("id" | "name" | "description") => {}
            Some("status") if is_null(value) || value.as_scalar() == Some("pending") => {}
            Some("tasks") => {
                for task in value.items() {
                    let id = task.get("id").and_then(Node::as_scalar).unwrap_or("?");
                    problems.append(&mut task_problems(id, task, added));
                }
            }
            Some(key) if key.starts_with("x-") => {}
            key => {
                let key = key.unwrap_or("?");
                problems.push(format!(
                    "`{key}` of the added section `{id}` may only be set by a person"
                ));
            }
        }
    }
    refused_or_permitted(problems)
}

fn refused_or_permitted(problems: Vec<String>) -> Judged {
    if problems.is_empty() {
        Judged::Permitted
    } else {
        Judged::Refused(problems)
    }
}

fn task_problems(id: &str, task: &Node<'_>, added: &mut usize) -> Vec<String> {
    *added += 1;
    let mut problems = Vec::new();
    for (key, value) in task.entries().iter().filter(|(_, value)| !is_null(value)) {
        let key = key.as_scalar().unwrap_or("?");
        let why = match (key, value.as_scalar()) {
            ("status", Some("pending")) | ("attempts", Some("0")) => continue,
            ("status", _) => "must be pending",
            _ if ADDABLE.contains(&key) || key.starts_with("x-") => continue,
            _ => "may only be set by a person",
        };
        problems.push(format!("`{key}` of the added task `{id}` {why}"));
    }
    problems
}

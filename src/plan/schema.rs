//! The plan as typed values: what a checked document says, key by key (`docs/plan-format.md`).
//!
//! How they are read out of the text is decided in `read`, what they mean together in `validate` and `order`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::Bound;
use super::checks::{Checks, VerifyCommand};
use super::conflicts::KnownAnswer;
use super::consent::{Approval, External, Gate};
use super::graph::{Declared, Graph, RetryFrom, TaskKind};
use crate::ids::{PlanId, SectionId, TaskId};

/// Attempts of a task when neither it nor `meta.max_attempts_default` says a number.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 3;

/// Longest branch name made from a plan's name, so that `orch/<slug>` fits every listing.
const SLUG_CHARS_MAX: usize = 60;

/// A plan without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The file's text, a byte order mark included: what spans count in and edits cut into.
    pub text: Arc<str>,
    /// SHA-256 of the text in hexadecimal: the address of this revision.
    pub sha256: String,
    /// What holds for the whole plan.
    pub meta: Meta,
    /// The sections in document order.
    pub sections: Vec<Section>,
    /// The tasks of all sections in document order, as the graph's nodes are.
    pub tasks: Vec<Task>,
    /// The tasks as the engine sees them.
    pub graph: Graph,
}

/// What holds for the whole plan: `meta`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// For people.
    pub name: Option<String>,
    /// For people and prompts.
    pub description: Option<String>,
    /// Path of a document that prompts point to.
    pub plan_doc: Option<String>,
    /// Attempts of tasks that say no number themselves.
    pub max_attempts_default: Option<u32>,
    /// Tasks that may run at once.
    pub jobs: Option<u32>,
    /// Runner of tasks that name none.
    pub runner: Option<Runner>,
    /// Whether document order means something.
    pub schedule: Schedule,
    /// The plan's identity, where a path will not do.
    pub id: Option<PlanId>,
    /// What judges the target when the plan is through, if the plan says so.
    pub smoke: Option<Vec<VerifyCommand>>,
    /// What every task is checked by.
    pub checks: Option<Box<Checks>>,
    /// Whether a person is asked about every task.
    pub gate: Option<Gate>,
    /// Kept for claude-plan-orchestrator; nothing is sent.
    pub notification_email: Option<String>,
    /// What bounds runs of this plan: settings that it gives, in document order.
    pub bounds: Vec<Bound>,
    /// How conflicts in some files are settled; the settings' answers, if it says nothing.
    pub merge: Option<Vec<KnownAnswer>>,
}

/// Whether tasks without `depends_on` follow what stands before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// They do.
    #[default]
    Implicit,
    /// Only written edges count.
    Explicit,
}

/// What does a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// The `claude` program.
    Claude,
    /// A shell command, the task's `run`.
    Command,
    /// Nothing real: the task's `rehearse` is played.
    Rehearsal,
}

/// A part of the plan, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// As written.
    pub id: SectionId,
    /// For people.
    pub name: String,
    /// The status word in the text; derived from the tasks by those who write, obeyed by nobody.
    pub status: Option<String>,
    /// Its tasks, as a range of [`Plan::tasks`].
    pub tasks: Range<usize>,
    /// What all of them are checked by.
    pub checks: Option<Box<Checks>>,
    /// Whether a person is asked about all of them.
    pub gate: Option<Gate>,
}

/// One piece of work. A plan has thousands of them, and most say little: what they say is kept without room to grow.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Unique in the plan, as written.
    pub id: TaskId,
    /// For people and prompts.
    pub name: Arc<str>,
    /// Index of its section.
    pub section: usize,
    /// Where it stands in [`Plan::text`], from its first key to the end of its last value.
    pub span: Range<usize>,
    /// The status in the text.
    pub declared: Declared,
    /// What is to be done.
    pub description: Option<Box<str>>,
    /// What must be settled first, exactly; `None` if the text leaves it to document order.
    pub depends_on: Option<Box<[TaskId]>>,
    /// Adjacent tasks of a section with the same group do not follow each other.
    pub parallel_group: Option<Box<str>>,
    /// Names that no two running tasks may share.
    pub exclusive_resources: Box<[String]>,
    /// The role that does it, if the task names one or means one.
    pub agent: Option<Box<str>>,
    /// Whether the role was guessed from the task's words.
    pub agent_inferred: bool,
    /// Attempts that may be spent, if the task says so.
    pub max_attempts: Option<u32>,
    /// The model, if the task says so.
    pub model: Option<Box<str>>,
    /// Globs of paths it may write; empty: not declared.
    pub files: Box<[String]>,
    /// What does it, if the task says so.
    pub runner: Option<Runner>,
    /// The shell command of [`Runner::Command`].
    pub run: Option<Box<str>>,
    /// Longest time one attempt may take, if the task says so.
    pub timeout: Option<Duration>,
    /// What counts as done, the role's default applied.
    pub kind: TaskKind,
    /// Where a retry starts, if the task says so.
    pub retry_from: Option<RetryFrom>,
    /// Higher starts first.
    pub priority: i64,
    /// For selections and reports.
    pub labels: Box<[String]>,
    /// What it is checked by, beside what its section and the plan ask for.
    pub checks: Option<Box<Checks>>,
    /// The approval it needs, if it needs one: by its own word, else by that of its section, else by that of the plan.
    pub approval: Option<Box<Approval>>,
    /// The evidence from outside that it needs before it starts, if it needs some.
    pub external: Option<Box<External>>,
    /// What the rehearsal runner plays, if the task says so.
    pub rehearse: Option<Box<Rehearse>>,
}

/// What the rehearsal runner plays for a task. One of the first `fail_times` attempts reports `failed` and changes
/// nothing; any other deletes, writes and appends, adds tasks, answers, and reports `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rehearse {
    /// Files to write, by path in the repository.
    pub write: BTreeMap<String, String>,
    /// Text to put at the end of files, which may be missing.
    pub append: BTreeMap<String, String>,
    /// Files to delete.
    pub delete: Vec<String>,
    /// What the session says in the end; also the status message.
    pub answer: Option<String>,
    /// What the session reports.
    pub status: RehearsedStatus,
    /// How many attempts, from the first, report `failed`.
    pub fail_times: u32,
    /// How long an attempt takes.
    pub takes: Duration,
    /// What an attempt costs, in millionths of a US dollar.
    pub costs_micro_usd: u64,
    /// Tasks that the session puts at the end of its own section in the plan copy: the items of a YAML list at column
    /// 0, byte for byte as in the plan but for the indentation. Empty: none.
    pub add_tasks: String,
}

/// What a rehearsed session reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RehearsedStatus {
    /// The task is done.
    #[default]
    Completed,
    /// The task failed.
    Failed,
    /// Nothing: the session ends without a status.
    None,
}

impl Plan {
    /// The task with this id.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == *id)
    }

    /// What a task is checked by: what it asks for itself, its section and the plan.
    pub fn checks(&self, task: &Task) -> Checks {
        self.checks_of(task.checks.as_deref(), task.section)
    }

    /// What a task of a section would be checked by that says nothing itself.
    pub fn checks_in(&self, section: usize) -> Checks {
        self.checks_of(None, section)
    }

    fn checks_of(&self, task: Option<&Checks>, section: usize) -> Checks {
        let section = self.sections.get(section).and_then(|s| s.checks.as_deref());
        Checks::of_levels([task, section, self.meta.checks.as_deref()])
    }

    /// The plan's identity: `meta.id`, else its path, which is relative to the repository where it lies inside it.
    pub fn id_or(&self, path: &Path) -> PlanId {
        self.meta
            .id
            .clone()
            .unwrap_or_else(|| PlanId::from_path(path))
    }

    /// A short name made of `meta.id`, else of the file's stem, that can be a component of a ref name: letters and
    /// digits of any script, `-`, `_`, and inner single dots.
    pub fn slug(&self, file_stem: &str) -> String {
        slug(self.meta.id.as_ref().map_or(file_stem, PlanId::as_str))
    }

    /// The YAML text of a task.
    pub fn source(&self, task: &Task) -> &str {
        &self.text[task.span.clone()]
    }
}

fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        match c {
            _ if c.is_alphanumeric() || c == '_' => slug.push(c),
            '.' if !slug.is_empty() && !slug.ends_with(['.', '-']) => slug.push('.'),
            _ if !slug.is_empty() && !slug.ends_with(['.', '-']) => slug.push('-'),
            _ => {}
        }
        if slug.chars().count() == SLUG_CHARS_MAX {
            break;
        }
    }
    let slug = slug.trim_end_matches(['.', '-']);
    match slug.trim_end_matches(".lock") {
        "" => "plan".to_owned(),
        slug => slug.to_owned(),
    }
}

impl Runner {
    /// All runners, in the order of messages.
    pub const ALL: [Self; 3] = [Self::Claude, Self::Command, Self::Rehearsal];

    /// The word in plans and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Command => "command",
            Self::Rehearsal => "rehearsal",
        }
    }

    /// The runner of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|runner| runner.as_str() == word)
    }
}

impl std::fmt::Display for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_can_stand_in_a_ref_name() {
        for (text, expected) in [
            ("api migration (v2)", "api-migration-v2"),
            ("release/1.0", "release-1.0"),
            ("..hidden..", "hidden"),
            ("x.lock.lock", "x"),
            ("größe", "größe"),
            ("~^:?*[", "plan"),
            ("", "plan"),
        ] {
            assert_eq!(slug(text), expected, "{text:?}");
        }
        assert_eq!(slug(&"ä".repeat(500)).chars().count(), SLUG_CHARS_MAX);
    }
}

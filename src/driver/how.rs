//! How a task is done: runner, role, model, limits. One place, for the dry run and for the run itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::role::{Effort, Profile, Role};
use crate::config::{Origin, Settings};
use crate::plan::checks::{Checks, cannot_fail};
use crate::plan::graph::TaskKind;
use crate::plan::{Plan, Runner, Task};

/// The role of tasks that name none.
pub const DEFAULT_ROLE: &str = "coder";

/// The role of sessions that resolve conflicts.
pub const RESOLVER_ROLE: &str = "merge-resolver";

/// How a task is done, with where each answer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct How {
    /// What runs it.
    pub runner: Runner,
    /// Who it is done by.
    pub role: String,
    /// The model asked for; the agent program's default if none.
    pub model: Option<String>,
    /// The tools its role is limited to; the settings' if none.
    pub tools: Option<Vec<String>>,
    /// What its role may do without being asked; as the settings say if none.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// How hard the model thinks; the agent program's default if none.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// The wall-clock limit of one attempt.
    pub timeout: Duration,
}

impl How {
    /// The same by another role; the model is still the task's.
    #[must_use]
    pub fn by(self, role: &str, roles: &Roles) -> Self {
        let known = roles.get(role);
        Self {
            role: role.to_owned(),
            tools: known.and_then(|r| r.tools.clone()),
            profile: known.and_then(|r| r.profile),
            effort: known.and_then(|r| r.effort),
            ..self
        }
    }
}

/// Roles by name, frozen for a run.
pub type Roles = BTreeMap<String, Role>;

/// What a task is checked by: by the plan, over the settings. A rehearsal changes nothing that could be checked.
pub fn checks(task: &Task, plan: &Plan, settings: &Settings, force: Option<Runner>) -> Checks {
    over_settings(plan.checks(task), settings, force)
}

/// What a task of a section would be checked by that says nothing itself.
pub fn checks_in(
    section: usize,
    plan: &Plan,
    settings: &Settings,
    force: Option<Runner>,
) -> Checks {
    over_settings(plan.checks_in(section), settings, force)
}

fn over_settings(of_plan: Checks, settings: &Settings, force: Option<Runner>) -> Checks {
    if force.is_some() {
        return Checks::default();
    }
    of_plan.over(&of_settings(settings))
}

/// What the settings check every task by.
pub fn of_settings(settings: &Settings) -> Checks {
    let mut protect = settings.protect_add.value.clone();
    if settings.agents_dir.origin != Origin::Default {
        protect.push(settings.agents_dir.value.display().to_string());
    }
    Checks {
        verify: settings.verify(),
        protect,
        unprotect: settings.protect_remove.value.clone(),
        ..Checks::default()
    }
}

/// Why what a task changes would land unverified, or as good as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unjudged {
    /// No required verify command judges it.
    Ungated,
    /// Those that do cannot fail.
    InVain,
}

/// Why nothing judges a task that may change something, if so. `settings` is what these check every task by.
pub fn unjudged(task: &Task, plan: &Plan, settings: &Checks) -> Option<Unjudged> {
    if task.kind != TaskKind::Change {
        return None;
    }
    let checks = plan.checks(task).over(settings);
    let mut required = checks.verify.iter().filter(|command| command.required);
    match required.next() {
        None => Some(Unjudged::Ungated),
        Some(first) => std::iter::once(first)
            .chain(required)
            .all(|command| cannot_fail(&command.run).is_some())
            .then_some(Unjudged::InVain),
    }
}

/// Decides how `task` is done. What is closer to the task wins, but a runner given on the command line stands above the
/// plan's general one, and `force` above everything: a rehearsal rehearses every task.
pub fn of(
    task: &Task,
    plan: &Plan,
    settings: &Settings,
    roles: &Roles,
    force: Option<Runner>,
) -> How {
    let typed = matches!(
        settings.runner.origin,
        Origin::Flag(_) | Origin::Environment(_)
    );
    let general = if typed {
        settings.runner.value
    } else {
        plan.meta.runner.unwrap_or(settings.runner.value)
    };
    let role = task.agent.as_deref().unwrap_or(DEFAULT_ROLE);
    let known = roles.get(role);
    How {
        runner: force.or(task.runner).unwrap_or(general),
        model: task
            .model
            .as_deref()
            .map(str::to_owned)
            .or_else(|| known.and_then(|r| r.model.clone()))
            .or_else(|| settings.model.value.clone()),
        tools: known.and_then(|r| r.tools.clone()),
        profile: known.and_then(|r| r.profile),
        effort: known.and_then(|r| r.effort),
        timeout: task.timeout.unwrap_or(settings.timeout.value),
        role: role.to_owned(),
    }
}

//! The roles that the tasks of a plan name: for a run, and whether they can be used, for `orch check`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::agent::role::{self, Profile, Role, RoleError};
use crate::config::{Permission, Problems, Settings};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::plan::{Plan, Task, nearest};

const BYPASS: &str = "a role can narrow what the settings allow; widen it in orch.yaml, for all";

/// Whether a role asks for more than the settings give.
fn oversteps(role: &Role, settings: &Settings) -> bool {
    role.profile == Some(Profile::Mode(Permission::Bypass))
        && settings.claude_permission.value != Permission::Bypass
}

fn overstepped(name: &str, settings: &Settings) -> String {
    format!(
        "role `{name}` asks for `permission: bypass`, and `claude.permission` is {}",
        settings.claude_permission.value.as_str()
    )
}

/// Whether a task is done by this role.
fn is_named(plan: &Plan, name: &str) -> bool {
    let names = |task: &Task| task.agent.as_deref() == Some(name);
    name == role::DEFAULT || plan.tasks.iter().any(names)
}

/// The roles that there are; in the place of one that cannot be used stands why.
type Roles = Vec<(String, std::result::Result<Role, RoleError>)>;

fn all(root: &Path, settings: &Settings) -> Result<Roles> {
    let dir = dir(root, settings);
    role::list(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))
        .or_usage()
}

fn dir(root: &Path, settings: &Settings) -> PathBuf {
    root.join(&settings.agents_dir.value)
}

/// Every role that a task names or could name later; one that the plan names must be readable.
pub(super) fn load(
    root: &Path,
    plan: &Plan,
    settings: &Settings,
) -> Result<BTreeMap<String, Role>> {
    let mut roles = BTreeMap::new();
    for (name, role) in all(root, settings)? {
        let named = is_named(plan, &name);
        match role {
            Ok(role) if named && oversteps(&role, settings) => {
                return Err(Error::usage(overstepped(&name, settings)).hint(BYPASS));
            }
            Ok(role) => drop(roles.insert(name, role)),
            Err(error) if named => return Err(Error::new(ErrorKind::Usage, error)),
            Err(error) => tracing::debug!(%error, "a role that no task names is left out"),
        }
    }
    for task in &plan.tasks {
        if let Some(name) = task.agent.as_deref().filter(|n| !roles.contains_key(*n)) {
            let error = role::load(&dir(root, settings), name)
                .err()
                .map_or_else(|| anyhow!("there is no role `{name}`"), Into::into);
            return Err(Error::new(
                ErrorKind::Usage,
                error.context(format!("task {} names an agent", task.id)),
            )
            .hint("orch agents list              shows the roles that tasks can name"));
        }
    }
    Ok(roles)
}

/// What a run would refuse, each at its place: role files that cannot be used, and names of roles that there are not. A
/// file that no task names is only warned of.
pub(super) fn problems(
    root: &Path,
    shown: &str,
    plan: &Plan,
    settings: &Settings,
) -> Result<Vec<Problems>> {
    let roles = all(root, settings)?;
    let mut found: Vec<Problems> = roles
        .iter()
        .filter_map(|(name, role)| of_file(root, name, role, plan, settings))
        .collect();
    let unknown = |task: &Task| unknown(task, plan, &roles);
    let diagnostics: Vec<Diagnostic> = plan.tasks.iter().filter_map(unknown).collect();
    if !diagnostics.is_empty() {
        found.push(Problems {
            name: shown.to_owned(),
            text: plan.text.to_string(),
            diagnostics,
        });
    }
    Ok(found)
}

fn of_file(
    root: &Path,
    name: &str,
    role: &std::result::Result<Role, RoleError>,
    plan: &Plan,
    settings: &Settings,
) -> Option<Problems> {
    let is_named = is_named(plan, name);
    let (wrong, key) = match role {
        Ok(role) if is_named && oversteps(role, settings) => {
            let wrong = Diagnostic::error("role", overstepped(name, settings));
            (wrong.help(BYPASS), Some("permission"))
        }
        Ok(_) => return None,
        Err(error) => {
            let wrong = match is_named {
                true => Diagnostic::error("role", error.to_string()),
                false => Diagnostic::warning("role", error.to_string()),
            };
            let key = match error {
                RoleError::Invalid { key, .. } => *key,
                RoleError::NotFound { .. } | RoleError::BadName(_) | RoleError::Io { .. } => None,
            };
            (wrong, key)
        }
    };
    let file = settings.agents_dir.value.join(format!("{name}.md"));
    // Only for the line that is shown: why it cannot be read, if so, is what is said.
    let text = std::fs::read_to_string(root.join(&file)).unwrap_or_default();
    let diagnostic = match key.and_then(|key| line_of(key, &text)) {
        Some(span) => wrong.at(span),
        None => wrong,
    };
    Some(Problems {
        name: file.display().to_string(),
        text,
        diagnostics: vec![diagnostic],
    })
}

/// That a task names a role that there is not.
fn unknown(task: &Task, plan: &Plan, roles: &Roles) -> Option<Diagnostic> {
    let name = task.agent.as_deref()?;
    let known = || roles.iter().map(|(known, _)| known.as_str());
    if known().any(|known| known == name) {
        return None;
    }
    let value = value_of("agent", name, plan.source(task));
    let span = value.map_or(task.span.clone(), |at| {
        task.span.start + at.start..task.span.start + at.end
    });
    let help = nearest(name, known()).map_or_else(
        || "`orch agents list` shows the roles that tasks can name".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    let message = format!(
        "task `{}` names the role `{name}`, which there is not",
        task.id
    );
    Some(
        Diagnostic::error("unknown-role", message)
            .at(span)
            .help(help),
    )
}

/// Where a task's text gives this value to a key.
fn value_of(key: &str, value: &str, text: &str) -> Option<Range<usize>> {
    let is_value = |start: &usize| {
        let before = text[..*start].trim_end_matches(['"', '\'', ' ']);
        before
            .strip_suffix(':')
            .is_some_and(|before| before.trim_end_matches(['"', '\'']).ends_with(key))
    };
    let mut found = text.match_indices(value).map(|(start, _)| start);
    found.find(is_value).map(|start| start..start + value.len())
}

/// The line of a front matter that says this key.
fn line_of(key: &str, text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix(key).map(str::trim_start);
        if rest.is_some_and(|rest| rest.starts_with(':')) {
            return Some(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}

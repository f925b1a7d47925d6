//! What was typed for a run, made sense of before anything is touched: plan, settings, roles, selection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::args::{RunArgs, RunnerName};
use super::out::Out;
use super::{bounds, locate, propose, protected, roles};
use crate::agent::role::Role;
use crate::config::{self, Settings};
use crate::driver::how::{self, Unjudged};
use crate::engine::start::Selection;
use crate::error::{Error, OrKind, Result};
use crate::ids::{PlanId, TaskId};
use crate::plan::edit::LastWritten;
use crate::plan::{self, Plan, Runner, Strictness, Task};
use crate::store::StateDir;

/// Tasks that one sentence names.
const TASKS_NAMED: usize = 10;

/// What was typed, made sense of, before anything is touched.
pub(super) struct Asked {
    /// The top of the repository's working tree.
    pub(super) root: PathBuf,
    pub(super) state: StateDir,
    pub(super) plan: Arc<Plan>,
    /// What is known of its text, for those who write it.
    pub(super) written: LastWritten,
    /// Absolute.
    pub(super) plan_path: PathBuf,
    /// For people: as typed, or relative to the repository.
    pub(super) shown: String,
    pub(super) plan_id: PlanId,
    pub(super) settings: Settings,
    pub(super) roles: BTreeMap<String, Role>,
    /// Whether the run stays for people and evidence.
    pub(super) waits: bool,
    pub(super) force: Option<Runner>,
    pub(super) selection: Selection,
    pub(super) strictness: Strictness,
}

impl Asked {
    /// Reads plan, settings and roles.
    pub(super) fn read(args: &RunArgs, out: &Out<'_>) -> Result<Self> {
        let locate::Place { root, state } = locate::place()?;
        let path = locate::plan(args.plan.as_deref(), &root)?;
        let plan_path = std::fs::canonicalize(&path)
            .with_context(|| format!("cannot find {}", path.display()))
            .or_usage()?;
        let relative = plan_path.strip_prefix(&root).map(Path::to_owned);
        let shown = relative
            .as_deref()
            .unwrap_or(&plan_path)
            .display()
            .to_string();
        let strictness = if args.strict {
            Strictness::Strict
        } else {
            Strictness::AsWritten
        };
        let (checked, written) = {
            let bytes = std::fs::read(&plan_path)
                .with_context(|| format!("cannot read the plan `{}`", path.display()))
                .or_usage()?;
            plan::check_to_write(&shown, &bytes, strictness)
        };
        out.talk(&checked.render(out.talk.is_coloured()));
        let Some(plan) = checked.plan.map(Arc::new) else {
            return Err(Error::usage(format!("{shown} cannot run as it is"))
                .hint(format!("orch check {shown}")));
        };
        let settings = settings(&root, Some((&shown, &plan)), args, out)?;
        let plan_id = plan.id_or(relative.as_deref().unwrap_or(&plan_path));
        let roles = roles::load(&root, &plan, &settings)?;
        let force = args.every_task_rehearsed.then_some(Runner::Rehearsal);
        let selection = selection(args, &plan)?;
        // A rehearsal changes nothing that could be judged.
        if force.is_none() {
            let [ungated, in_vain] = unjudged(&plan, &settings, &selection);
            if settings.verify_require.value {
                required(&ungated, &in_vain)?;
            }
            if !ungated.is_empty() {
                out.talk(&advice(&root, &ungated)?);
            }
        }
        Ok(Self {
            root,
            state,
            plan,
            written,
            plan_path,
            shown,
            plan_id,
            settings,
            roles,
            waits: args.wait,
            force,
            selection,
            strictness,
        })
    }

    /// Whether a task that may run is done by this runner.
    pub(super) fn needs(&self, runner: Runner) -> bool {
        let tasks = tasks_to_run(&self.plan, &self.selection);
        tasks.into_iter().any(|t| {
            how::of(t, &self.plan, &self.settings, &self.roles, self.force).runner == runner
        })
    }
}

/// The tasks that may run: the open ones, and those that what was selected resets.
fn tasks_to_run<'p>(plan: &'p Plan, selection: &Selection) -> Vec<&'p Task> {
    let (first, redo) = match selection {
        Selection::All | Selection::Single { task: None } => (None, false),
        Selection::Single { task: Some(first) } => (Some(first), false),
        Selection::From { task: first, redo } => (Some(first), *redo),
    };
    let mut is_reset = false;
    let may_run = |task: &&Task| {
        let is_first = first == Some(&task.id);
        is_reset = is_first || (is_reset && redo);
        is_reset || task.declared.is_open()
    };
    plan.tasks.iter().filter(may_run).collect()
}

/// Tasks whose changes no required verify command would judge, and tasks of which each one cannot fail.
fn unjudged(plan: &Plan, settings: &Settings, selection: &Selection) -> [Vec<String>; 2] {
    let settings = how::of_settings(settings);
    let mut found = [Vec::new(), Vec::new()];
    for task in tasks_to_run(plan, selection) {
        let of_why = match how::unjudged(task, plan, &settings) {
            None => continue,
            Some(Unjudged::Ungated) => &mut found[0],
            Some(Unjudged::InVain) => &mut found[1],
        };
        of_why.push(format!("`{}`", task.id));
    }
    found
}

/// Tasks for one sentence.
fn some_of(tasks: &[String]) -> String {
    let named = tasks[..tasks.len().min(TASKS_NAMED)].join(", ");
    match tasks.len().saturating_sub(TASKS_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Refuses tasks that nothing judges, where a run asks for it.
fn required(ungated: &[String], in_vain: &[String]) -> Result<()> {
    let why = match (ungated, in_vain) {
        ([], []) => return Ok(()),
        ([], in_vain) => format!(
            "the required verify commands of {} cannot fail, and this run asks for one that can",
            some_of(in_vain)
        ),
        (ungated, _) => format!(
            "no required verify command judges {}, and this run asks for one",
            some_of(ungated)
        ),
    };
    Err(Error::usage(why)
        .hint("write `verify: <command>` into orch.yaml, or into the plan's `meta`"))
}

/// Which commands of the repository could judge what lands unverified; nothing if there seems to be none.
fn advice(root: &Path, unjudged: &[String]) -> Result<String> {
    let found = propose::found(root)?.main;
    let Some(first) = found.first() else {
        return Ok(String::new());
    };
    let runs: Vec<&str> = found.iter().map(|proposal| proposal.run.as_str()).collect();
    Ok(format!(
        "note: no required verify command judges {}: what they change lands unverified\nhint: {} speaks for a gate; write into orch.yaml: verify: [{}]\n",
        some_of(unjudged),
        first.because,
        runs.join(", "),
    ))
}

fn selection(args: &RunArgs, plan: &Plan) -> Result<Selection> {
    let task = args
        .resume_from
        .as_ref()
        .map(|typed| {
            let known = TaskId::parse(typed)
                .ok()
                .filter(|id| plan.task(id).is_some());
            known.ok_or_else(|| {
                let error = Error::usage(format!("the plan has no task `{typed}`"));
                match plan::nearest(typed, plan.tasks.iter().map(|t| t.id.as_str())) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                }
            })
        })
        .transpose()?;
    Ok(match (args.single_task, task) {
        (true, task) => Selection::Single { task },
        (false, Some(task)) => Selection::From {
            task,
            redo: args.redo,
        },
        (false, None) => Selection::All,
    })
}

/// What is wrong with the settings and the roles that a plan would have here; outside of a repository there are none.
pub(super) fn problems(plan: Option<(&str, &Plan)>) -> Result<Vec<config::Problems>> {
    let here = std::env::current_dir().or_environment()?;
    let found = git2::Repository::discover(here).ok();
    let root = found.and_then(|repo| repo.workdir().map(Path::to_owned));
    let Some(root) = root else {
        return Ok(Vec::new());
    };
    Ok(match layers(&root, plan, config::Flags::default())? {
        Ok(resolved) => {
            let mut found = resolved.warnings;
            if let Some((name, plan)) = plan {
                found.extend(protected::warnings(name, plan, &resolved.settings));
                found.extend(bounds::warnings(plan, &resolved.settings));
                found.extend(roles::problems(&root, name, plan, &resolved.settings)?);
            }
            found
        }
        Err(problems) => problems,
    })
}

/// The settings in force in a repository, for commands that are not about a plan.
pub(super) fn settings_of(root: &Path, out: &Out<'_>) -> Result<Settings> {
    resolve(root, None, config::Flags::default(), out)
}

fn settings(
    root: &Path,
    plan: Option<(&str, &Plan)>,
    args: &RunArgs,
    out: &Out<'_>,
) -> Result<Settings> {
    let runner = args.runner.map(|r| match r {
        RunnerName::Claude => "claude",
        RunnerName::Command => "command",
        RunnerName::Rehearsal => "rehearsal",
    });
    resolve(
        root,
        plan,
        config::Flags {
            jobs: args.jobs,
            parallel: args.parallel,
            runner,
            model: args.model.as_deref(),
            require_verify: args.require_verify,
            others: &args.bounds.given(),
        },
        out,
    )
}

fn resolve(
    root: &Path,
    plan: Option<(&str, &Plan)>,
    flags: config::Flags<'_>,
    out: &Out<'_>,
) -> Result<Settings> {
    let say = |problems: &[config::Problems]| {
        problems
            .iter()
            .for_each(|p| out.talk(&p.render(out.talk.is_coloured())));
    };
    match layers(root, plan, flags)? {
        Ok(resolved) => {
            say(&resolved.warnings);
            Ok(resolved.settings)
        }
        Err(problems) => {
            say(&problems);
            Err(Error::usage("the settings cannot be used as they are"))
        }
    }
}

/// What the layers say together, in a repository, for a plan.
///
/// # Errors
/// If a file cannot be read; what is wrong with its text is in the result.
pub(super) fn layers(
    root: &Path,
    plan: Option<(&str, &Plan)>,
    flags: config::Flags<'_>,
) -> Result<std::result::Result<config::Resolved, Vec<config::Problems>>> {
    let home = std::env::home_dir();
    let user_dir = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|h| h.join(".config")));
    let project = text_if_there(&root.join("orch.yaml"))?;
    let seed = text_if_there(&root.join(".claude/orchestrator-config.yaml"))?;
    let user_file = user_dir.map(|d| d.join("orch/config.yaml"));
    let user = user_file
        .as_deref()
        .map(text_if_there)
        .transpose()?
        .flatten();
    let user_name = user_file
        .map(|f| f.display().to_string())
        .unwrap_or_default();
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let layer = |name, text: &'_ Option<String>| text.clone().map(|text| (name, text));
    let (project, seed, user) = (
        layer("orch.yaml", &project),
        layer(".claude/orchestrator-config.yaml", &seed),
        layer(user_name.as_str(), &user),
    );
    let sources = config::Sources {
        flags,
        environment: Some(&environment),
        plan: plan.map(|(name, plan)| config::PlanLayer::of(name, plan)),
        project: project
            .as_ref()
            .map(|(name, text)| config::Layer { name, text }),
        seed: seed
            .as_ref()
            .map(|(name, text)| config::Layer { name, text }),
        user: user
            .as_ref()
            .map(|(name, text)| config::Layer { name, text }),
        home: home.as_deref(),
    };
    Ok(config::resolve(&sources))
}

fn text_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e)
            .with_context(|| format!("cannot read {}", path.display()))
            .or_usage(),
    }
}

//! Finding what a command is about: the plan when none is named, the repository, the run when none is named.

use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::repository::RepositoryError;
use crate::git::{Git, Repository};
use crate::ids::{RunId, TaskId};
use crate::store::{HeldBy, LedgerError, Reader, RunSummary, StateDir};

use super::args::RunChoice;

/// Where plans usually lie.
pub(super) const PLANS: &str = ".claude/plans";

/// Runs that are looked through for a named plan: years of them.
pub(super) const RUNS_MAX: u32 = 10_000;

/// Where the current directory's repository lies, found without starting git: for readers and dry runs.
pub(super) struct Place {
    /// The top of the working tree.
    pub(super) root: PathBuf,
    /// The state directory.
    pub(super) state: StateDir,
}

/// Finds the repository that the current directory is in.
pub(super) fn place() -> Result<Place> {
    let here = std::env::current_dir().or_environment()?;
    match git2::Repository::discover(&here) {
        Ok(found) if found.workdir().is_some() => Ok(Place {
            root: found.workdir().map(Path::to_owned).unwrap_or(here),
            state: StateDir::of_repository(found.commondir()),
        }),
        // The git program knows better why.
        Ok(_) | Err(_) => {
            let repository = repository()?;
            let state = StateDir::of_repository(repository.common_dir());
            Ok(Place {
                root: repository.worktree().to_owned(),
                state,
            })
        }
    }
}

/// The repository that the current directory is in, judged by git.
pub(super) fn repository() -> Result<Repository> {
    let here = std::env::current_dir().or_environment()?;
    let git = Git::find().or_environment()?;
    Repository::discover(&git, &here).map_err(explain)
}

/// Why a repository cannot be used, with what to do about it.
pub(super) fn explain(error: RepositoryError) -> Error {
    let hints = error.hints();
    hints
        .into_iter()
        .fold(Error::new(ErrorKind::Environment, error), Error::hint)
}

/// Why a ledger cannot be used, with what to do about it.
pub(super) fn unusable(error: LedgerError) -> Error {
    let hints = error.hints();
    hints
        .into_iter()
        .fold(Error::new(ErrorKind::Environment, error), Error::hint)
}

/// The given plan, else the only one of `.claude/plans` below `root`.
pub(super) fn plan(given: Option<&Path>, root: &Path) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let found = plans_below(&root.join(PLANS))?;
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(
            Error::usage(format!("no plan is given, and {PLANS} holds none"))
                .hint("orch init                     writes a first plan"),
        ),
        several => {
            let error = Error::usage(format!(
                "no plan is given, and {PLANS} holds {}; name one of them",
                several.len()
            ));
            let name = |plan: &PathBuf| {
                plan.strip_prefix(root)
                    .unwrap_or(plan)
                    .display()
                    .to_string()
            };
            Err(several.iter().take(10).map(name).fold(error, Error::hint))
        }
    }
}

/// The given plan, in a repository or not; else the only one of `.claude/plans` here, from where the command was typed.
pub(super) fn plan_to_read(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given);
    }
    from_here(plan(None, &place()?.root)?)
}

/// A path as it can be typed where orch was started: relative, if it lies below.
pub(super) fn from_here(path: PathBuf) -> Result<PathBuf> {
    let here = std::env::current_dir().or_environment()?;
    Ok(match path.strip_prefix(&here) {
        Ok(below) => below.to_owned(),
        Err(_) => path,
    })
}

fn plans_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).or_environment(),
    };
    let mut plans = Vec::new();
    for entry in entries {
        let path = entry.or_environment()?.path();
        if path.is_file() && path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            plans.push(path);
        }
    }
    plans.sort();
    Ok(plans)
}

/// A run that a reader is about, with what it is read from.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The state directory it lies in.
    pub(super) state: StateDir,
    /// The open ledger.
    pub(super) reader: Reader,
    /// The run.
    pub(super) run: RunSummary,
}

impl Chosen {
    /// Whether an orch works on the run now.
    pub(super) fn is_live(&self) -> Result<bool> {
        Ok(match self.state.live_orch().or_environment()? {
            Some(HeldBy::Known(holder)) => holder.run.as_ref() == Some(&self.run.run),
            Some(HeldBy::Unreadable) | None => false,
        })
    }
}

/// The run that was chosen, else the latest.
pub(super) fn run(choice: &RunChoice) -> Result<Chosen> {
    let state = place()?.state;
    let none = || {
        Error::new(
            ErrorKind::Negative,
            anyhow::anyhow!("no run is known in this repository"),
        )
        .hint("orch run --plan FILE          starts one")
    };
    let reader = Reader::open(&state).map_err(unusable)?.ok_or_else(none)?;
    let rows = reader.runs(RUNS_MAX).or_environment()?;
    let chosen = match (&choice.run, &choice.plan) {
        (Some(run), _) => {
            let wanted = RunId::parse(run).or_usage()?;
            rows.into_iter().find(|r| r.run == wanted).ok_or_else(|| {
                Error::new(
                    ErrorKind::Negative,
                    anyhow::anyhow!("no run {wanted} is known in this repository"),
                )
            })?
        }
        (None, Some(plan)) => {
            let path = std::path::absolute(plan).or_usage()?;
            rows.into_iter()
                .find(|r| Path::new(&r.plan_path) == path)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Negative,
                        anyhow::anyhow!("no run of {} is known", plan.display()),
                    )
                })?
        }
        (None, None) => rows.into_iter().next().ok_or_else(none)?,
    };
    Ok(Chosen {
        state,
        reader,
        run: chosen,
    })
}

/// The state of a run, folded from its records.
pub(super) fn engine(chosen: &Chosen) -> Result<Engine> {
    let records = chosen.reader.records(&chosen.run.run).or_environment()?;
    Engine::replay(chosen.run.run.clone(), records).or_bug()
}

/// A task of the run, by what was typed.
pub(super) fn task(engine: &Engine, typed: &str) -> Result<TaskId> {
    let known = TaskId::parse(typed)
        .ok()
        .filter(|id| engine.view(id).is_some());
    known.ok_or_else(|| {
        let error = Error::new(
            ErrorKind::Negative,
            anyhow::anyhow!("the run has no task `{typed}`"),
        );
        let ids = engine
            .tasks()
            .map(|v| v.node.id.to_string())
            .collect::<Vec<_>>();
        match crate::plan::nearest(typed, ids.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("orch status lists the tasks"),
        }
    })
}

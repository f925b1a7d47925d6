//! The site of a run: repository, target, program and plan, as the driver wants them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::args::RunArgs;
use super::asked::Asked;
use super::locate;
use super::out::Out;
use crate::agent::claude::{self, ClaudeSettings};
use crate::config::{Mcp, Settings};
use crate::driver::begin;
use crate::driver::guard::Guard;
use crate::driver::how;
use crate::driver::plan_file::{PlanFile, Rules, Tracked};
use crate::driver::signers;
use crate::driver::site::{Publishing, Site};
use crate::engine::record::Record;
use crate::engine::start::{RunStart, Signers};
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::Repository;
use crate::git::commit::{Signing, try_signing};
use crate::git::include::included_files;
use crate::git::land::recover_checkouts;
use crate::git::repository::{Head, Identity};
use crate::git::target::{self, Origin, Target, TargetError};
use crate::git::tree::{blob_at, file_in};
use crate::ids::{ObjectId, PlanId};
use crate::plan::Runner;
use crate::process;
use crate::store::{Reader, RunSummary};

/// The `claude` program, if a task of the plan is done by it.
pub(super) async fn claude_if_needed(asked: &Asked) -> Result<Option<ClaudeSettings>> {
    if !asked.needs(Runner::Claude) {
        return Ok(None);
    }
    let explain = |error: claude::ClaudeError| {
        let hints = error.hints();
        hints
            .iter()
            .fold(Error::new(ErrorKind::Environment, error), |e, hint| {
                e.hint(*hint)
            })
    };
    let settings = &asked.settings;
    let found = claude::resolve::resolve(
        Some(&settings.claude_binary.value),
        std::env::var_os("PATH").as_deref(),
    )
    .await
    .map_err(explain)?;
    let mcp = match &settings.claude_mcp.value {
        Mcp::File(file) => Mcp::File(asked.root.join(file)),
        other @ (Mcp::None | Mcp::Project) => other.clone(),
    };
    let claude = ClaudeSettings {
        binary: found.path,
        version: found.version,
        permission: settings.claude_permission.value,
        allow_root: settings.claude_allow_root.value,
        mcp,
        tools: settings.claude_tools.value.clone(),
        max_retries: settings.claude_max_retries.value,
    };
    claude.check_user(&environment()).map_err(explain)?;
    Ok(Some(claude))
}

fn environment() -> BTreeMap<String, String> {
    process::scrub_environment(std::env::vars_os())
}

/// Whose commits a run makes, and how they are signed.
pub(super) struct Signature {
    identity: Identity,
    signing: Signing,
}

/// What can be said against a run in this repository before anything is made in it.
pub(super) fn judged(repo: &Repository, asked: &Asked, args: &RunArgs) -> Result<Signature> {
    let identity = repo.identity().map_err(locate::explain)?;
    match (&args.branch, args.live) {
        (Some(name), _) => drop(target::named_branch(repo, name).map_err(refused)?),
        (None, true) => drop(target::live_branch(repo).map_err(refused)?),
        (None, false) => {
            let head = repo.head().map_err(locate::explain)?;
            // Where another orch works, the run branch is on its way, and that orch is the reason to name.
            if asked.state.live_orch().or_environment()?.is_none() {
                let branch = target::run_branch(&asked.plan_id);
                target::judge_run_branch(repo, &branch, head.commit()).map_err(refused)?;
            }
        }
    }
    let opened = repo.open().or_environment()?;
    let signing = Signing::configured(&opened).or_environment()?;
    if signing == Signing::On {
        try_signing(repo.program(), &opened, &identity)
            .context("`commit.gpgSign` is set, but signing does not work")
            .or_environment()
            .map_err(|error| {
                error
                    .hint("git config user.signingKey YOUR-KEY")
                    .hint("git config commit.gpgSign false       lands commits without signatures")
            })?;
    }
    Ok(Signature { identity, signing })
}

/// Makes the site of a run: from here on the repository is touched.
pub(super) fn site(
    repo: Repository,
    Signature { identity, signing }: Signature,
    asked: Asked,
    reader: &Reader,
    args: &RunArgs,
    claude: Option<ClaudeSettings>,
    out: &mut Out<'_>,
) -> Result<Site> {
    for recovered in recover_checkouts(&repo).or_environment()? {
        out.talk(&format!(
            "finished what an earlier orch had begun in {}\n",
            recovered.worktree.display()
        ));
    }
    let opened = repo.open().or_environment()?;
    let hooks = active_hooks(&repo);
    if !hooks.is_empty() {
        out.talk(&format!(
            "note: hooks of this repository are not run for landed commits ({})\n",
            hooks.join(", ")
        ));
    }
    let head = repo.head().map_err(locate::explain)?;
    let target = target(&repo, &asked.plan_id, &head, args)?;
    let publishing = if args.live || args.branch.is_some() {
        Publishing::Live
    } else {
        let (origin, from) = match &head {
            Head::Branch(name, at) => (Some(name.clone()), at.clone()),
            Head::Detached(at) => (None, at.clone()),
        };
        Publishing::AtEnd { origin, from }
    };
    let unfinished = begin::unfinished(reader, &asked.plan_id, &target.name)?;
    let signers = signers(&repo, &target.tip, &asked, unfinished.as_ref(), reader)?;
    let run = unfinished.map_or_else(begin::fresh_run_id, |run| run.run);
    let tracked = tracked(
        &opened,
        repo.worktree(),
        &asked.plan_path,
        head.commit(),
        &target.tip,
    )?;
    let asks_for_gates = asked.settings.verify_require.value && asked.force.is_none();
    let plan = PlanFile::new(
        asked.plan_path,
        asked.shown,
        tracked,
        (&asked.plan, asked.written),
        Rules {
            strictness: asked.strictness,
            roles: asked.roles.keys().cloned().collect(),
            asks_for_gates: asks_for_gates.then(|| how::of_settings(&asked.settings)),
        },
    )
    .or_usage()?;
    let taken = begin::taken_slots(reader, &asked.state, &run)?;
    let guard = Guard::new(&repo);
    if let Origin::MovedUp { from } = &target.origin {
        guard.steps(from, &target.tip);
    }
    let user_state = user_state_dir()?;
    let included = included_files(&repo).or_environment()?;
    Ok(Site {
        state: asked.state,
        slots: slots_dir(&asked.settings)?,
        ports: user_state.join("ports"),
        exe: std::env::current_exe().or_environment()?,
        run,
        plan_id: asked.plan_id,
        plan,
        plan_at_start: asked.plan,
        target: target.name,
        publishing,
        settings: asked.settings,
        roles: asked.roles,
        claude,
        waits: asked.waits,
        skip_smoke: args.skip_smoke,
        force: asked.force,
        environment: environment(),
        identity,
        signing,
        signers,
        included,
        taken,
        guard,
        landed: std::sync::Mutex::default(),
        made: std::sync::Mutex::default(),
        repo,
    })
}

/// Who may sign approvals, if any are asked for. Without them nothing starts that only signed approvals could end.
fn signers(
    repo: &Repository,
    tip: &ObjectId,
    asked: &Asked,
    unfinished: Option<&RunSummary>,
    reader: &Reader,
) -> Result<Option<Signers>> {
    let must = asked.settings.approvals_signed.value;
    if asked.plan.tasks.iter().all(|task| task.approval.is_none()) && !must {
        return Ok(None);
    }
    let earlier = match unfinished {
        Some(run) => first_start(reader, run)?.and_then(|start| start.signers),
        None => None,
    };
    let hint = "git config gpg.ssh.allowedSignersFile FILE    names who may sign";
    match signers::find(repo, tip, earlier) {
        Ok(None) if must => Err(Error::usage(
            "approvals are signed here (`approvals.signed`), and it is not known who may sign",
        )
        .hint(hint)),
        Ok(found) => Ok(found),
        Err(error) if must => Err(Error::new(ErrorKind::Usage, error).hint(hint)),
        Err(error) => {
            tracing::warn!("signed approvals are refused in this run: {error:#}");
            Ok(None)
        }
    }
}

fn first_start(reader: &Reader, run: &RunSummary) -> Result<Option<Box<RunStart>>> {
    let records = reader.records(&run.run).or_environment()?;
    Ok(records.into_iter().find_map(|s| match s.record {
        Record::RunStarted(start) => Some(start),
        _ => None,
    }))
}

/// Hooks that `git commit` or `git merge` would run here.
pub(super) fn active_hooks(repo: &Repository) -> Vec<&'static str> {
    let configured = repo
        .settings()
        .last("core.hookspath")
        .map(|p| PathBuf::from(String::from_utf8_lossy(p).into_owned()));
    let dir = configured.map_or_else(
        || repo.common_dir().join("hooks"),
        |p| repo.worktree().join(p),
    );
    [
        "pre-commit",
        "prepare-commit-msg",
        "commit-msg",
        "post-commit",
        "pre-merge-commit",
        "post-merge",
    ]
    .into_iter()
    .filter(|hook| dir.join(hook).is_file())
    .collect()
}

/// The plan in the target's tree, if it lies there.
fn tracked(
    repo: &git2::Repository,
    root: &Path,
    plan: &Path,
    head: &ObjectId,
    tip: &ObjectId,
) -> Result<Option<Tracked>> {
    let Some(path) = plan.strip_prefix(root).ok().and_then(Path::to_str) else {
        return Ok(None);
    };
    let text = |commit: &ObjectId| -> Result<Option<String>> {
        let bytes = file_in(repo, commit, Path::new(path)).or_environment()?;
        bytes
            .map(|b| {
                String::from_utf8(b)
                    .with_context(|| format!("{path} is not UTF-8 in {commit}"))
                    .or_usage()
            })
            .transpose()
    };
    let blob = blob_at(repo, tip, Path::new(path)).or_environment()?;
    let (Some(at_target), Some(blob)) = (text(tip)?, blob) else {
        return Ok(None);
    };
    let at_head = text(head)?.unwrap_or_else(|| at_target.clone());
    Ok(Some(Tracked {
        path: path.to_owned(),
        at_head,
        at_target,
        blob,
    }))
}

fn target(repo: &Repository, plan: &PlanId, head: &Head, args: &RunArgs) -> Result<Target> {
    let target = match (&args.branch, args.live) {
        (Some(name), _) => target::named_branch(repo, name),
        (None, true) => target::live_branch(repo),
        (None, false) => target::prepare_run_branch(repo, &target::run_branch(plan), head.commit()),
    };
    target.map_err(refused)
}

fn refused(error: TargetError) -> Error {
    let hints = error.hints();
    hints
        .into_iter()
        .fold(Error::new(ErrorKind::Environment, error), Error::hint)
}

/// Where slots lie by these settings.
pub(super) fn slots_dir(settings: &Settings) -> Result<PathBuf> {
    match &settings.slots_dir.value {
        Some(dir) => Ok(dir.clone()),
        None => Ok(user_state_dir()?.join("slots")),
    }
}

/// `$XDG_STATE_HOME/orch`, else `~/.local/state/orch`.
pub(super) fn user_state_dir() -> Result<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|d| d.is_absolute());
    let home = || std::env::home_dir().map(|h| h.join(".local/state"));
    let dir = given.or_else(home).ok_or_else(|| {
        Error::environment("neither XDG_STATE_HOME nor HOME is set, so there is no place for slots")
            .hint("set `slots_dir` in orch.yaml")
    })?;
    Ok(dir.join("orch"))
}

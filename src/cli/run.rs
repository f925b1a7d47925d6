//! `orch run`: reads plan and settings, takes the lock, makes the site, and lets the driver work.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow};

use super::args::{Format, RunArgs, RunnerName};
use super::{Out, dry_run, ending, locate, rehearse};
use crate::agent::claude::{self, ClaudeSettings};
use crate::agent::role::{self, Role};
use crate::config::{self, Settings};
use crate::driver::begin::{self, begin};
use crate::driver::plan_file::{PlanFile, Tracked};
use crate::driver::site::{Publishing, Site};
use crate::driver::{self, Ended, Inputs, Signals, control, how, stop_files, watch};
use crate::engine::outcome::Outcome;
use crate::engine::record::Selection;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::Repository;
use crate::git::commit::{Signing, try_signing};
use crate::git::include::included_files;
use crate::git::land::recover_checkouts;
use crate::git::repository::Head;
use crate::git::target::{self, Target};
use crate::git::tree::file_in;
use crate::ids::{ObjectId, PlanId, TaskId};
use crate::plan::{self, Plan, Runner, Strictness};
use crate::process;
use crate::report::Reporter;
use crate::store::{Holder, Ledger, LockError, StateDir};

/// What was typed, made sense of, before anything is touched.
pub(super) struct Asked {
    pub(super) repo: Repository,
    pub(super) plan: Plan,
    /// Absolute.
    pub(super) plan_path: PathBuf,
    /// For people: as typed, or relative to the repository.
    pub(super) shown: String,
    pub(super) plan_id: PlanId,
    pub(super) settings: Settings,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) force: Option<Runner>,
    pub(super) selection: Selection,
    strictness: Strictness,
}

/// `orch run`.
pub(super) fn run(args: &RunArgs, out: &mut Out<'_>) -> Result<u8> {
    let started = Instant::now();
    if args.rehearse {
        return rehearse::rehearse(args, out);
    }
    let asked = Asked::read(args, out)?;
    if args.dry_run {
        return dry_run::print(&asked, args, out);
    }
    if let Some(code) = refused_by_stop_file(&asked, args, out)? {
        return Ok(code);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_environment()?;
    let code = runtime.block_on(work(asked, args, started, out));
    // Blocking threads may hold a slot's git; nothing that they do counts any more.
    runtime.shutdown_background();
    code
}

impl Asked {
    fn read(args: &RunArgs, out: &Out<'_>) -> Result<Self> {
        let repo = locate::repository()?;
        let path = locate::plan(args.plan.as_deref(), repo.worktree())?;
        let plan_path = std::fs::canonicalize(&path)
            .with_context(|| format!("cannot find {}", path.display()))
            .or_usage()?;
        let relative = plan_path.strip_prefix(repo.worktree()).map(Path::to_owned);
        let shown = relative
            .as_deref()
            .unwrap_or(&plan_path)
            .display()
            .to_string();
        let bytes = std::fs::read(&plan_path)
            .with_context(|| format!("cannot read {shown}"))
            .or_usage()?;
        let strictness = if args.strict {
            Strictness::Strict
        } else {
            Strictness::AsWritten
        };
        let checked = plan::check(&shown, &bytes, strictness);
        out.talk(&checked.render(out.talk.is_coloured()));
        let Some(plan) = checked.plan else {
            return Err(Error::usage(format!("{shown} cannot run as it is"))
                .hint(format!("orch check {shown}")));
        };
        let settings = settings(&repo, Some((&shown, &plan)), args, out)?;
        let plan_id = plan.id_or(relative.as_deref().unwrap_or(&plan_path));
        let roles = roles(&repo, &plan, &settings)?;
        let force = args.every_task_rehearsed.then_some(Runner::Rehearsal);
        let selection = selection(args, &plan)?;
        Ok(Self {
            repo,
            plan,
            plan_path,
            shown,
            plan_id,
            settings,
            roles,
            force,
            selection,
            strictness,
        })
    }

    /// Whether a task of the plan is done by this runner.
    fn needs(&self, runner: Runner) -> bool {
        self.plan.tasks.iter().any(|t| {
            how::of(t, &self.plan, &self.settings, &self.roles, self.force).runner == runner
        })
    }
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

/// The settings in force in a repository, for commands that are not about a plan.
pub(super) fn settings_of(repo: &Repository, out: &Out<'_>) -> Result<Settings> {
    resolve(repo, None, config::Flags::default(), out)
}

fn settings(
    repo: &Repository,
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
        repo,
        plan,
        config::Flags {
            jobs: args.jobs,
            parallel: args.parallel,
            runner,
            model: args.model.as_deref(),
        },
        out,
    )
}

fn resolve(
    repo: &Repository,
    plan: Option<(&str, &Plan)>,
    flags: config::Flags<'_>,
    out: &Out<'_>,
) -> Result<Settings> {
    let home = std::env::home_dir();
    let user_dir = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|h| h.join(".config")));
    let project = text_if_there(&repo.worktree().join("orch.yaml"))?;
    let seed = text_if_there(&repo.worktree().join(".claude/orchestrator-config.yaml"))?;
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
        plan: plan.map(|(name, plan)| config::PlanLayer {
            name,
            jobs: plan.meta.jobs,
            runner: plan.meta.runner,
            max_attempts: plan.meta.max_attempts_default,
        }),
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
    let say = |problems: &[config::Problems]| {
        problems
            .iter()
            .for_each(|p| out.talk(&p.render(out.talk.is_coloured())))
    };
    match config::resolve(&sources) {
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

fn text_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e)
            .with_context(|| format!("cannot read {}", path.display()))
            .or_usage(),
    }
}

/// Every role that a task names or could name later; one that the plan names must be readable.
fn roles(repo: &Repository, plan: &Plan, settings: &Settings) -> Result<BTreeMap<String, Role>> {
    let dir = repo.worktree().join(&settings.agents_dir.value);
    let mut roles = BTreeMap::new();
    for (name, role) in role::list(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))
        .or_usage()?
    {
        let named = name == role::DEFAULT
            || plan
                .tasks
                .iter()
                .any(|t| t.agent.as_deref() == Some(name.as_str()));
        match role {
            Ok(role) => drop(roles.insert(name, role)),
            Err(error) if named => return Err(Error::new(ErrorKind::Usage, error)),
            Err(error) => tracing::debug!(%error, "a role that no task names is left out"),
        }
    }
    for task in &plan.tasks {
        if let Some(name) = task.agent.as_deref().filter(|n| !roles.contains_key(*n)) {
            let error = role::load(&dir, name)
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

fn refused_by_stop_file(asked: &Asked, args: &RunArgs, out: &mut Out<'_>) -> Result<Option<u8>> {
    for file in stop_files(&asked.plan_path, asked.repo.worktree()) {
        if !file.exists() {
            continue;
        }
        if !args.clear_stop {
            out.talk(&format!(
                "{} is there, so nothing starts; `orch run --clear-stop` removes it and runs\n",
                file.display()
            ));
            return Ok(Some(Outcome::Stopped.exit_code()));
        }
        std::fs::remove_file(&file)
            .with_context(|| format!("cannot remove {}", file.display()))
            .or_environment()?;
        out.talk(&format!("removed {}\n", file.display()));
    }
    Ok(None)
}

async fn work(asked: Asked, args: &RunArgs, started: Instant, out: &mut Out<'_>) -> Result<u8> {
    let state = StateDir::of_repository(asked.repo.common_dir());
    let claude = claude_if_needed(&asked).await?;
    let holder = Holder {
        pid: std::process::id(),
        plan: asked.shown.clone(),
        started: driver::now(started).wall,
        run: None,
    };
    let lock = state.lock(&holder).map_err(|e| match e {
        LockError::Held { .. } => {
            Error::new(ErrorKind::Busy, e).hint("orch status                   shows what it does")
        }
        LockError::Io { .. } => Error::new(ErrorKind::Environment, e),
    })?;
    let ledger = Ledger::open(lock).or_environment()?;
    let selection = asked.selection.clone();
    let jobs = asked.settings.jobs.value;
    let site = site(asked, &state, &ledger, args, claude, out)?;
    log_to(&site, args.verbose)?;
    ledger
        .describe(&Holder {
            run: Some(site.run.clone()),
            ..holder
        })
        .or_environment()?;
    let signals = Signals::take().or_environment()?;
    let requests = control::listen(&state.control_socket()).or_environment()?;
    let files: Vec<PathBuf> = stop_files(site.plan.path(), site.repo.worktree())
        .into_iter()
        .chain([site.plan.path().to_owned()])
        .collect();
    let inputs = Inputs {
        requests,
        watch: watch::Watch::over(&files),
        signals,
    };
    let reporter = reporter(args, out);
    let begun = begin(site, ledger, reporter, selection, jobs, started).await?;
    let (ended, mut done) = begun
        .work
        .run(begun.first, begun.found, inputs)
        .await
        .or_environment()?;
    done.reporter.finish();
    for saying in done.executor.sayings() {
        done.reporter.say(&saying);
    }
    Ok(match ended {
        Ended::Run(outcome) => {
            if args.format == Format::Text {
                ending::print(&done.engine, outcome, out)?;
            }
            outcome.exit_code()
        }
        Ended::Abandoned => {
            out.talk("ended at once; agents that still run are picked up by the next `orch run`\n");
            Outcome::Abandoned.exit_code()
        }
        Ended::Detached => Outcome::Stopped.exit_code(),
    })
}

fn reporter(args: &RunArgs, out: &Out<'_>) -> Reporter {
    match args.format {
        Format::Json => Reporter::json(),
        Format::Text if std::io::stderr().is_terminal() => Reporter::live(out.talk),
        Format::Text => Reporter::lines(out.talk),
    }
}

async fn claude_if_needed(asked: &Asked) -> Result<Option<ClaudeSettings>> {
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
    let claude = ClaudeSettings {
        binary: found.path,
        version: found.version,
        permission: permission(settings.claude_permission.value),
        allow_root: settings.claude_allow_root.value,
        mcp: mcp(&settings.claude_mcp.value, asked.repo.worktree()),
        tools: settings.claude_tools.value.clone(),
        max_retries: settings.claude_max_retries.value,
    };
    claude.check_user(&environment()).map_err(explain)?;
    Ok(Some(claude))
}

fn permission(setting: config::Permission) -> claude::Permission {
    match setting {
        config::Permission::Bypass => claude::Permission::Bypass,
        config::Permission::DontAsk => claude::Permission::AllowTools,
        config::Permission::AcceptEdits => claude::Permission::AcceptEdits,
    }
}

fn mcp(setting: &config::Mcp, root: &Path) -> claude::Mcp {
    match setting {
        config::Mcp::None => claude::Mcp::None,
        config::Mcp::Project => claude::Mcp::Project,
        config::Mcp::File(path) => claude::Mcp::File(root.join(path)),
    }
}

fn environment() -> BTreeMap<String, String> {
    process::scrub_environment(std::env::vars_os())
}

fn site(
    asked: Asked,
    state: &StateDir,
    ledger: &Ledger,
    args: &RunArgs,
    claude: Option<ClaudeSettings>,
    out: &mut Out<'_>,
) -> Result<Site> {
    let repo = asked.repo;
    let identity = repo.identity().map_err(locate::explain)?;
    for recovered in recover_checkouts(&repo).or_environment()? {
        out.talk(&format!(
            "finished what an earlier orch had begun in {}\n",
            recovered.worktree.display()
        ));
    }
    let opened = repo.open().or_environment()?;
    let signing = Signing::configured(&opened).or_environment()?;
    if signing == Signing::On {
        try_signing(repo.program(), &opened, &identity)
            .context("`commit.gpgSign` is set, but signing does not work")
            .or_environment()?;
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
    let unfinished = begin::unfinished(&ledger.reader(), &asked.plan_id, &target.name)?;
    let run = unfinished.map_or_else(begin::fresh_run_id, |run| run.run);
    let tracked = tracked(
        &opened,
        repo.worktree(),
        &asked.plan_path,
        head.commit(),
        &target.tip,
    )?;
    let plan = PlanFile::new(
        asked.plan_path,
        asked.shown,
        tracked,
        asked.plan.text.clone(),
        asked.strictness,
    )
    .or_usage()?;
    let user_state = user_state_dir()?;
    let included = included_files(&repo).or_environment()?;
    Ok(Site {
        state: state.clone(),
        slots: asked
            .settings
            .slots_dir
            .value
            .clone()
            .unwrap_or_else(|| user_state.join("slots")),
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
        force: asked.force,
        environment: environment(),
        identity,
        signing,
        included,
        landed: std::sync::Mutex::default(),
        repo,
    })
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
    let Some(at_target) = text(tip)? else {
        return Ok(None);
    };
    let at_head = text(head)?.unwrap_or_else(|| at_target.clone());
    Ok(Some(Tracked {
        path: path.to_owned(),
        at_head,
        at_target,
    }))
}

fn target(repo: &Repository, plan: &PlanId, head: &Head, args: &RunArgs) -> Result<Target> {
    let target = match (&args.branch, args.live) {
        (Some(name), _) => target::named_branch(repo, name),
        (None, true) => target::live_branch(repo),
        (None, false) => target::prepare_run_branch(repo, &target::run_branch(plan), head.commit()),
    };
    target.map_err(|error| {
        let hints = error.hints();
        hints
            .into_iter()
            .fold(Error::new(ErrorKind::Environment, error), Error::hint)
    })
}

/// `$XDG_STATE_HOME/orch`, else `~/.local/state/orch`.
fn user_state_dir() -> Result<PathBuf> {
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

/// Diagnostics go to the run's log, and to stderr if asked for.
fn log_to(site: &Site, verbose: bool) -> Result<()> {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{EnvFilter, Layer, fmt};
    let path = site.run_dir().log();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make {}", dir.display()))
            .or_environment()?;
    }
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path);
    let file = file
        .with_context(|| format!("cannot write {}", path.display()))
        .or_environment()?;
    let to_file = fmt::layer()
        .json()
        .with_writer(std::sync::Mutex::new(file))
        .with_filter(EnvFilter::new("orch=info"));
    let to_stderr = verbose.then(|| {
        fmt::layer()
            .with_writer(std::io::stderr)
            .with_filter(EnvFilter::new("orch=debug"))
    });
    tracing_subscriber::registry()
        .with(to_file)
        .with(to_stderr)
        .try_init()
        .or_bug()
}

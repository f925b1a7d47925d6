//! `orch run`: reads plan and settings, takes the lock, makes the site, and lets the driver work.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::{Format, RunArgs};
use super::asked::Asked;
use super::out::Out;
use super::site::{claude_if_needed, judged, site};
use super::{bounds, dry_run, ending, locate, rehearse};
use crate::config::Settings;
use crate::config::notify::{Occasion, Subscription};
use crate::doctor;
use crate::driver::begin::{Wanted, begin};
use crate::driver::site::Site;
use crate::driver::{self, Ended, Inputs, Loop, Signals, control, stop_files, watch};
use crate::engine::Engine;
use crate::engine::outcome::Outcome;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::Repository;
use crate::notify::Notifier;
use crate::process::{Awake, Errands};
use crate::report::Reporter;
use crate::store::{Holder, Ledger, LockError, StateDir};
use crate::time::Wall;

/// The longest that a run which has ended stays for those who are told of it.
const NOTIFYING_MAX: Duration = Duration::from_secs(15);

/// The same where there are hooks, and the longest that the hook before a run may take.
const HOOK_MAX: Duration = Duration::from_secs(600);

/// When the hook after a task runs.
const AFTER_TASK: [Occasion; 2] = [Occasion::TaskDone, Occasion::TaskFailed];

/// `orch run`.
pub(super) fn run(args: &RunArgs, out: &mut Out<'_>) -> Result<u8> {
    let started = Instant::now();
    if args.rehearse {
        return rehearse::rehearse(args, out);
    }
    // A dry run starts no program, git included.
    if args.dry_run {
        return dry_run::print(&Asked::read(args, out)?, args, out);
    }
    let repo = locate::repository()?;
    let asked = Asked::read(args, out)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(blocking_threads(&asked.settings))
        .enable_all()
        .build()
        .or_environment()?;
    let code = runtime.block_on(work(repo, asked, args, started, out));
    // Blocking threads may hold a slot's git; nothing that they do counts any more.
    runtime.shutdown_background();
    code
}

/// One for each attempt or gate slot, whichever are more, and one for what is neither; landings have their own. Each
/// thread keeps memory for itself, so that there are not more.
fn blocking_threads(settings: &Settings) -> usize {
    let slots = settings.jobs.value.max(settings.verify_parallel.value);
    slots as usize + 1
}

fn refused_by_stop_file(asked: &Asked, args: &RunArgs, out: &mut Out<'_>) -> Result<Option<u8>> {
    for file in stop_files(&asked.plan_path, &asked.root) {
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

fn busy(error: LockError) -> Error {
    Error::new(ErrorKind::Busy, error).hint("orch status                   shows what it does")
}

async fn work(
    repo: Repository,
    asked: Asked,
    args: &RunArgs,
    started: Instant,
    out: &mut Out<'_>,
) -> Result<u8> {
    let signature = judged(&repo, &asked, args)?;
    let claude = claude_if_needed(&asked).await?;
    let state = asked.state.clone();
    // Asked before the lock is taken, because a run that a `.stop` keeps from starting makes nothing.
    if let Some(by) = state.live_orch().or_environment()? {
        return Err(busy(LockError::Held { by }));
    }
    if let Some(code) = refused_by_stop_file(&asked, args, out)? {
        return Ok(code);
    }
    let holder = Holder::of_this_process(asked.shown.clone(), driver::now(started).wall, None);
    let ledger = take_ledger(&state, &repo, &holder, args)?;
    // Before any of them is run again.
    let errands = Errands::noted_in(state.errands());
    errands.end_left().or_environment()?;
    let selection = asked.selection.clone();
    let jobs = asked.settings.jobs.value;
    let site = site(repo, signature, asked, &ledger.reader(), args, claude, out)?;
    log_to(&site, args.verbose, out.talk.is_coloured())?;
    if args.skip_smoke {
        out.talk("smoke commands are left out: --skip-smoke\n");
    }
    before_run(&site, &errands, started).await?;
    ledger
        .describe(&Holder {
            run: Some(site.run.clone()),
            ..holder
        })
        .or_environment()?;
    let signals = Signals::take().or_environment()?;
    let requests = control::listen(&state.control_socket()).or_environment()?;
    let stop_files = stop_files(site.plan.path(), site.repo.worktree());
    let mut watched = stop_files.clone();
    watched.push(site.plan.path().to_owned());
    // Outlives the loop and its lock: whoever waits for the end of the run is told by the end of their connection.
    let mut inputs = Inputs {
        requests,
        watch: watch::Watch::over(&watched),
        signals,
    };
    let reporter = reporter(args, out);
    let notifier = notifier(&site, &ledger, driver::now(started).wall)?;
    let keeps_awake = site.settings.keep_awake.value && !args.allow_sleep && site.force.is_none();
    let _awake = keeps_awake.then(Awake::hold).flatten();
    let wanted = Wanted {
        selection,
        jobs,
        policy: bounds::policy(&site.settings),
    };
    let has_hooks = site.settings.hooks_after_task.value.is_some()
        || site.settings.hooks_after_run.value.is_some();
    let telling_max = if has_hooks { HOOK_MAX } else { NOTIFYING_MAX };
    // A site is large, and a future holds it several times.
    let begun = Box::pin(begin(site, ledger, reporter, notifier, wanted, started)).await?;
    let (ended, mut done) = begun
        .work
        .run(begun.first, begun.found, &mut inputs)
        .await
        .or_environment()?;
    done.reporter.finish();
    for saying in done.executor.sayings() {
        done.reporter.say(&saying);
    }
    let stop_file = stop_files.into_iter().find(|file| file.exists());
    let code = told(&done.engine, &ended, stop_file.as_deref(), args, out)?;
    let Loop {
        notifier, ledger, ..
    } = done;
    // Whoever is to be told is told without the lock: the next run need not wait for it.
    ledger.close().map_err(locate::unusable)?;
    if matches!(ended, Ended::Run(_)) {
        tokio::select! {
            biased;
            () = inputs.signals.interrupted() => {}
            () = notifier.finish() => {}
            () = tokio::time::sleep(telling_max) => {}
        }
    }
    Ok(code)
}

/// Takes the lock of the state directory, and opens the ledger that it lets write.
fn take_ledger(
    state: &StateDir,
    repo: &Repository,
    holder: &Holder,
    args: &RunArgs,
) -> Result<Ledger> {
    let lock = state.lock(holder).map_err(|e| match e {
        LockError::Held { .. } => busy(e),
        LockError::Io { .. } => Error::new(ErrorKind::Environment, e),
    })?;
    doctor::check_for_lost_ledger(state, repo).map_err(locate::unusable)?;
    let ledger = match args.adopt_ledger {
        true => Ledger::open_moved(lock),
        false => Ledger::open(lock),
    };
    ledger.map_err(locate::unusable)
}

/// Tells how it ended; the exit code.
fn told(
    engine: &Engine,
    ended: &Ended,
    stop_file: Option<&Path>,
    args: &RunArgs,
    out: &mut Out<'_>,
) -> Result<u8> {
    let (outcome, how) = match ended {
        Ended::Run(outcome) => {
            if args.format == Format::Text {
                ending::print(engine, *outcome, stop_file, out)?;
            }
            return Ok(outcome.exit_code());
        }
        Ended::Abandoned => (Outcome::Abandoned, "ended at once"),
        Ended::Detached => (Outcome::Stopped, "left by SIGHUP"),
    };
    out.talk(&format!(
        "{how}; agents that still run are picked up by the next `orch run`\n"
    ));
    Ok(outcome.exit_code())
}

/// Runs the hook that may keep a run from starting.
async fn before_run(site: &Site, errands: &Errands, started: Instant) -> Result<()> {
    let Some(hook) = site.settings.hooks_before_run.value.as_deref() else {
        return Ok(());
    };
    if site.force.is_some() {
        return Ok(());
    }
    let id = format!("{}-before-{}", site.run, driver::now(started).wall.0);
    let errand = errands.begin("before_run").or_environment()?;
    let errand = errand
        .context("another orch waits for the hook before_run")
        .or_environment()?;
    let (name, mark) = errand.variable();
    let mut command = tokio::process::Command::new("/bin/sh");
    command
        .args(["-c", hook])
        .current_dir(site.repo.worktree())
        .env("ORCH_EVENT", "before_run")
        .env("ORCH_EVENT_ID", id)
        .env("ORCH_RUN", site.run.to_string())
        .env("ORCH_PLAN", site.plan.shown())
        .env(name, mark)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let status = tokio::time::timeout(HOOK_MAX, command.status()).await;
    if status.is_err() {
        errand.end().or_environment()?;
    }
    errand.done().or_environment()?;
    let wrong = match status {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(status)) => format!("ended with {status}"),
        Ok(Err(error)) => format!("cannot be run: {error}"),
        Err(_) => format!("took longer than {} s", HOOK_MAX.as_secs()),
    };
    let error = anyhow::anyhow!("nothing starts: the hook before_run, `{hook}`, {wrong}");
    Err(Error::new(ErrorKind::Environment, error))
}

/// Who is told of this run. A rehearsal is nobody's business.
fn notifier(site: &Site, ledger: &Ledger, now: Wall) -> Result<Notifier> {
    if site.force.is_some() {
        return Ok(Notifier::silent());
    }
    let mut subscriptions = site.settings.notify.value.clone();
    let address = site.plan_at_start.meta.notification_email.as_deref();
    subscriptions.extend(address.map(Subscription::email));
    let hooks = [
        (&site.settings.hooks_after_task.value, &AFTER_TASK[..]),
        (&site.settings.hooks_after_run.value, &[Occasion::RunEnded]),
    ];
    for (command, on) in hooks {
        subscriptions.extend(command.as_deref().map(|text| Subscription::hook(on, text)));
    }
    Notifier::start(
        subscriptions,
        &site.state,
        &ledger.reader(),
        &site.run,
        site.plan.shown(),
        site.repo.worktree().to_owned(),
        now,
    )
    .or_environment()
}

fn reporter(args: &RunArgs, out: &Out<'_>) -> Reporter {
    match args.format {
        Format::Json => Reporter::json(),
        Format::Text if std::io::stderr().is_terminal() => Reporter::live(out.talk),
        Format::Text => Reporter::lines(out.talk),
    }
}

/// Diagnostics go to the run's log, and to stderr if asked for.
fn log_to(site: &Site, verbose: bool, is_coloured: bool) -> Result<()> {
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
            .with_ansi(is_coloured)
            .with_filter(EnvFilter::new("orch=debug"))
    });
    tracing_subscriber::registry()
        .with(to_file)
        .with(to_stderr)
        .try_init()
        .or_bug()
}

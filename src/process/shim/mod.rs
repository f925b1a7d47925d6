//! The shim: one small process that owns one agent process and whatever the agent starts.
//!
//! It has one thread. That is not thrift: the parent-death signal by which the agent dies with its shim is bound to the
//! *thread* that started the agent, and in a program with a thread pool it fires when that thread retires. For the same
//! reason nothing of tokio is used here. Signals come through a descriptor, so that one `poll` waits for everything.
//!
//! Three descriptors are handed over by [`super::spawn`]: 0 is the lock of the attempt directory, held for life; 1 is
//! the agent's environment; 2 is the shim's log. None of them reaches the agent.

mod agent;
mod tree;
mod watch;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use self::tree::Tree;
use super::identity::ProcessIdentity;
use super::launch::{
    AgentEnd, AgentRun, EXIT_FILE, ExitReport, FORMAT, LOCK_FILE, PID_FILE, SHIM_COMMAND,
    SPEC_FILE, ShimSpec, TreeUsage, wall_now, write_durably, write_whole,
};
use super::sweep::{SweepReport, alive, sweep};
use crate::crash::point;
use crate::error::ErrorKind;

/// `orch __agent ...`: become the agent; see [`agent`].
const AGENT_COMMAND: &str = "__agent";

/// Does the work of a hidden subcommand if the arguments name one. To be asked first of all in `main`: a shim needs
/// neither command line parser nor runtime, and its start is part of every attempt.
pub fn dispatch() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let outcome = match args.next()?.to_str()? {
        SHIM_COMMAND => run(args),
        AGENT_COMMAND => return Some(agent::become_agent(args)),
        _ => return None,
    };
    let Err(error) = outcome else {
        return Some(ExitCode::SUCCESS);
    };
    // If even the log cannot be written, the missing report says that the shim failed.
    let logged = writeln!(io::stderr(), "orch shim: {error}");
    drop(logged);
    Some(ExitCode::from(ErrorKind::Bug.exit_code()))
}

fn run(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let Some(dir) = args.next() else {
        return Err(io::Error::other("this command is not for people"));
    };
    // By the directory itself from here on: its report arrives there even if the repository is moved meanwhile.
    std::env::set_current_dir(&dir).map_err(at("entering the attempt's directory"))?;
    let dir = Path::new(".");
    confirm_lock(dir).map_err(at("the lock"))?;
    let mut tree = Tree::new().map_err(at("taking charge of descendants"))?;
    let identity = ProcessIdentity::of_this_process().map_err(at("identifying itself"))?;
    write_whole(dir, PID_FILE, &identity).map_err(at(PID_FILE))?;
    point("shim-identified");
    let started_at = wall_now();
    let begin = Instant::now();
    let agent = match load_spec(dir) {
        Ok(spec) => supervise(&spec, &mut tree, begin)?,
        Err(error) => AgentEnd::NotStarted {
            error: format!("cannot use `{SPEC_FILE}`: {error}"),
        },
    };
    let report = ExitReport {
        version: FORMAT,
        started_at,
        ended_at: tree.agent_ended().map_or_else(wall_now, |ended| ended.at),
        agent,
        boot_id: Some(identity.boot_id),
    };
    point("agent-ended");
    write_durably(dir, EXIT_FILE, &report).map_err(at(EXIT_FILE))?;
    point("exit-reported");
    Ok(())
}

/// Names the step that failed.
fn at(step: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{step}: {e}"))
}

/// Runs the agent from start to end, and ends what it leaves.
fn supervise(spec: &ShimSpec, tree: &mut Tree, begin: Instant) -> io::Result<AgentEnd> {
    let mut agent = match agent::start(spec) {
        Ok(agent) => agent,
        Err(error) => return Ok(AgentEnd::NotStarted { error }),
    };
    tree.plant(agent.pid);
    point("agent-started");
    let cause = watch::watch(spec, &agent, tree, begin).map_err(at("watching the agent"))?;
    point("agent-gone");
    let grace = Duration::from_millis(spec.grace_ms);
    tree.end(grace).map_err(at("ending the agent"))?;
    let swept = sweep_rest(spec, tree).map_err(at("the sweep"))?;
    let survivors = tree.survivors()?.max(swept.alive.len());
    let Some(ended) = tree.agent_ended() else {
        return Err(io::Error::other("the agent survived SIGKILL"));
    };
    if let Some(error) = agent.failure()? {
        return Ok(AgentEnd::NotStarted { error });
    }
    Ok(AgentEnd::Ended(AgentRun {
        cause,
        exit: ended.exit,
        wall_ms: millis(ended.instant.duration_since(begin)),
        usage: usage_of_children()?,
        stdout_bytes: agent.stdout.metadata()?.size(),
        stderr_bytes: agent.stderr.metadata()?.size(),
        swept: count(tree.told() + swept.killed.len()),
        survivors: count(survivors),
    }))
}

/// Ends what carries the marker and is not below this shim: what a service of the machine started for the agent.
///
/// A tree that was empty by itself cannot fork any more, so one look is enough to know that there is no such thing.
fn sweep_rest(spec: &ShimSpec, tree: &Tree) -> io::Result<SweepReport> {
    if tree.told() == 0 && alive(&spec.marker)?.is_empty() {
        return Ok(SweepReport::default());
    }
    sweep(&spec.marker, None)
}

/// The lock must have come from orch: taken here, there would be a time in which this shim lives and looks dead.
fn confirm_lock(dir: &Path) -> io::Result<()> {
    let given = rustix::fs::fstat(io::stdin())?;
    let expected = fs::metadata(dir.join(LOCK_FILE))?;
    if (given.st_dev, given.st_ino) != (expected.dev(), expected.ino()) {
        return Err(io::Error::other("standard input is not the lock"));
    }
    rustix::fs::flock(
        io::stdin(),
        rustix::fs::FlockOperation::NonBlockingLockExclusive,
    )?;
    Ok(())
}

fn load_spec(dir: &Path) -> io::Result<ShimSpec> {
    let mut spec: ShimSpec = serde_json::from_slice(&fs::read(dir.join(SPEC_FILE))?)?;
    if spec.version != FORMAT {
        return Err(io::Error::other(format!(
            "{SPEC_FILE} has version {} instead of {FORMAT}: orch was replaced while it ran",
            spec.version
        )));
    }
    let mut environment = Vec::new();
    File::from(io::stdout().as_fd().try_clone_to_owned()?).read_to_end(&mut environment)?;
    spec.launch.env = serde_json::from_slice(&environment)?;
    Ok(spec)
}

fn usage_of_children() -> io::Result<TreeUsage> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let to_ms = |time: TimeVal| {
        u64::try_from(time.tv_sec() * 1000 + time.tv_usec() / 1000).unwrap_or_default()
    };
    Ok(TreeUsage {
        user_ms: to_ms(usage.user_time()),
        system_ms: to_ms(usage.system_time()),
        max_rss_kib: u64::try_from(usage.max_rss()).unwrap_or_default(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

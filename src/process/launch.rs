//! What passes between orch and a shim: the order (`shim.json`) and the report (`exit.json`), with their formats, and the
//! locks by which each knows whether the other lives.
//!
//! Order and report lie in the attempt directory. The environment of the agent is the one thing that never does: it holds
//! people's secrets, so it goes from orch to the shim through an anonymous file in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::identity::boot_id;
use crate::crash;
use crate::ids::{RunId, TaskId, Ticket};
use crate::time::Wall;

/// Version of `shim.json` and `exit.json`. A file with another one is refused.
pub(super) const FORMAT: u32 = 1;

/// `orch __shim <attempt directory>`: be the shim of that directory.
pub(super) const SHIM_COMMAND: &str = "__shim";

/// Locked by the shim for as long as it lives; orch takes the lock and hands it over, so that there is no moment at
/// which a started shim looks dead.
pub(super) const LOCK_FILE: &str = "shim.lock";
/// The [`super::ProcessIdentity`] of the shim, written before it starts anything.
pub(super) const PID_FILE: &str = "shim.pid";
/// The [`ShimSpec`].
pub(super) const SPEC_FILE: &str = "shim.json";
/// The [`ExitReport`].
pub(super) const EXIT_FILE: &str = "exit.json";
/// What the shim itself has to say; empty unless something is wrong with it.
pub(super) const LOG_FILE: &str = "shim.log";

/// The variable that every process of an attempt inherits, and by which it is found again.
pub(super) const MARK_VARIABLE: &str = "ORCH_MARK";

/// The command of an agent, complete: nothing is added from orch's own environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The program; without a slash it is looked up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// The whole environment, to which only the marker is added. Not part of `shim.json`.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
}

/// How the agent is kept from the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confinement {
    /// Not at all: the agent can do what the user can.
    #[default]
    None,
}

/// The order to a shim. All paths are absolute, all times in milliseconds of a clock that stands still in suspend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimSpec {
    /// Version of this order; see [`ShimSpec::VERSION`].
    pub version: u32,
    /// What to start.
    pub launch: Launch,
    /// The file that the agent reads as its standard input.
    pub stdin: PathBuf,
    /// The file to which its standard output is appended.
    pub stdout: PathBuf,
    /// The file to which its standard error is appended; may be the same.
    pub stderr: PathBuf,
    /// Marks every process of the attempt.
    pub marker: Marker,
    /// The longest time the agent may run.
    pub timeout_ms: u64,
    /// The largest size of each of the two output files, in bytes. Checked once a second.
    pub output_bytes_max: u64,
    /// How long the agent may go on while no orch holds `orch_lock`.
    pub unsupervised_ms_max: u64,
    /// How long the tree has between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// The lock (`flock`) that a living orch holds.
    pub orch_lock: PathBuf,
    /// Recorded, and shown as `unconfined` where it is `none`.
    pub confinement: Confinement,
}

/// The mark of one order for one attempt: inherited by every process it starts, whatever session or parent it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    run: RunId,
    ticket: Ticket,
}

/// What is left of an ended attempt process. Written atomically as `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Version of this report.
    pub version: u32,
    /// When the agent was started.
    pub started_at: Wall,
    /// When the agent itself ended; what was left of its tree ended later.
    pub ended_at: Wall,
    /// Whether the agent started, and how it ended.
    pub agent: AgentEnd,
    /// The boot in which it ended; shims before this was written did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

impl ExitReport {
    /// Whether the machine was started again since: what the agent wrote just before may then not be on the disk.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn is_of_earlier_boot(&self) -> io::Result<bool> {
        match &self.boot_id {
            None => Ok(false),
            Some(then) => Ok(*then != boot_id()?),
        }
    }
}

/// Whether the agent started, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEnd {
    /// It never ran.
    NotStarted {
        /// Which step failed, on what, and why.
        error: String,
    },
    /// It ran and ended.
    Ended(AgentRun),
}

/// A run of an agent program, from the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRun {
    /// Why it ended.
    pub cause: Cause,
    /// With what.
    pub exit: Exit,
    /// How long it ran, in milliseconds without suspend.
    pub wall_ms: u64,
    /// What its whole tree used.
    pub usage: TreeUsage,
    /// Size of the output file at the end.
    pub stdout_bytes: u64,
    /// Size of the error file at the end.
    pub stderr_bytes: u64,
    /// How many processes other than the agent had to be ended.
    pub swept: u32,
    /// How many could not be: they survived SIGKILL or may not be signalled.
    pub survivors: u32,
}

/// Why an agent process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// By itself, or by a signal that did not come from the shim.
    Exited,
    /// The shim ended it at its time limit.
    Timeout,
    /// The shim ended it for an output file over the limit.
    OutputFlood,
    /// The shim ended it because there was no orch for too long.
    Unsupervised,
    /// The shim ended it because it was told to.
    Ended,
    /// The shim ended it because a process of the agent's own told it to.
    EndedFromBelow,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exited => "by itself",
            Self::Timeout => "at its time limit",
            Self::OutputFlood => "for more output than may be",
            Self::Unsupervised => "because there was no orch for too long",
            Self::Ended => "by a person",
            Self::EndedFromBelow => "by a process of its own",
        })
    }
}

/// The status of an ended process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a process tree used: every process that was waited for, the agent's helpers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TreeUsage {
    /// CPU time in user mode, in milliseconds.
    pub user_ms: u64,
    /// CPU time in the kernel, in milliseconds.
    pub system_ms: u64,
    /// The largest resident set of any one process, in KiB.
    pub max_rss_kib: u64,
}

/// Why an `exit.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadExitError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what this version of orch writes.
    #[error("`{path}` is not a report that this orch can read: {detail}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl ShimSpec {
    /// The version of the order that this orch writes and understands.
    pub const VERSION: u32 = FORMAT;
}

impl Marker {
    /// The mark of the order `ticket` of `run`.
    pub fn new(run: RunId, ticket: Ticket) -> Self {
        Self { run, ticket }
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Task, attempt, and order.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Reads the value of [`MARK_VARIABLE`].
    pub(super) fn parse(value: &str) -> Option<Self> {
        let parts: Vec<&str> = value.split('/').collect();
        let [run, task, attempt, epoch] = parts.as_slice() else {
            return None;
        };
        let ticket = Ticket {
            task: TaskId::parse(task).ok()?,
            attempt: attempt.parse().ok()?,
            epoch: epoch.parse().ok()?,
        };
        Some(Self::new(RunId::parse(run).ok()?, ticket))
    }

    /// The variables that the agent and all its descendants get.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("ORCH_RUN", self.run.to_string()),
            ("ORCH_TASK", self.ticket.task.to_string()),
            ("ORCH_ATTEMPT", self.ticket.attempt.to_string()),
            (MARK_VARIABLE, self.value()),
        ]
    }

    /// The entry of a marked process in `/proc/<pid>/environ`.
    pub(super) fn environ_entry(&self) -> String {
        format!("{MARK_VARIABLE}={}", self.value())
    }

    fn value(&self) -> String {
        let Ticket {
            task,
            attempt,
            epoch,
        } = &self.ticket;
        format!("{}/{task}/{attempt}/{epoch}", self.run)
    }
}

/// The report of the shim of `attempt_dir`, if it has ended and written one.
///
/// # Errors
/// If there is a report and it cannot be read. That is not the same as none.
pub fn read_exit(attempt_dir: &Path) -> Result<Option<ExitReport>, ReadExitError> {
    let path = attempt_dir.join(EXIT_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReadExitError::Io { path, source }),
    };
    match serde_json::from_slice::<ExitReport>(&bytes) {
        Ok(report) if report.version == FORMAT => Ok(Some(report)),
        Ok(report) => Err(ReadExitError::Foreign {
            path,
            detail: format!("version {} instead of {FORMAT}", report.version),
        }),
        Err(e) => Err(ReadExitError::Foreign {
            path,
            detail: e.to_string(),
        }),
    }
}

/// Writes `value` as `dir/name`, whole or not at all.
///
/// The content is synced before the name appears, so a power cut cannot leave an empty file under it. The name itself
/// may be lost: then nothing of the attempt lives any more, and it counts as gone, which is true.
pub(super) fn write_durably(dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    write_json(dir, name, value, File::sync_data)?;
    crash::synced("report", [dir.join(name).as_path()]);
    Ok(())
}

/// As [`write_durably`], for what loses its meaning with the machine's next start.
pub(super) fn write_whole(dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    write_json(dir, name, value, |_| Ok(()))
}

fn write_json(
    dir: &Path,
    name: &str,
    value: &impl Serialize,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    file.write_all(&text)?;
    sync(&file)?;
    fs::rename(unfinished, dir.join(name))
}

/// The wall clock.
pub(super) fn wall_now() -> Wall {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    fn report() -> ExitReport {
        ExitReport {
            version: FORMAT,
            started_at: Wall(1_000),
            ended_at: Wall(3_500),
            agent: AgentEnd::Ended(AgentRun {
                cause: Cause::Timeout,
                exit: Exit::Signal(15),
                wall_ms: 2_500,
                usage: TreeUsage::default(),
                stdout_bytes: 10,
                stderr_bytes: 0,
                swept: 2,
                survivors: 0,
            }),
            boot_id: Some("a boot".to_owned()),
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("made");
        assert_eq!(read_exit(dir.path()).expect("nothing there"), None);
        write_durably(dir.path(), EXIT_FILE, &report()).expect("written");
        let read = read_exit(dir.path()).expect("readable");
        assert_eq!(read, Some(report()));
    }

    #[test]
    fn a_report_of_another_version_or_a_torn_one_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("made");
        let newer = ExitReport {
            version: FORMAT + 1,
            ..report()
        };
        write_durably(dir.path(), EXIT_FILE, &newer).expect("written");
        let refused = read_exit(dir.path()).expect_err("newer").to_string();
        assert!(refused.contains("exit.json") && refused.contains("version 2"));

        fs::write(dir.path().join(EXIT_FILE), "{\"version\": 1,").expect("written");
        let refused = read_exit(dir.path()).expect_err("torn").to_string();
        assert!(refused.contains("exit.json"), "{refused}");
    }

    #[test]
    fn the_marks_of_two_orders_differ() {
        let run = RunId::parse("20260102-030405-abcd").expect("an id");
        let marker = |attempt, epoch| {
            let task = TaskId::parse("1.1").expect("an id");
            let ticket = Ticket {
                task,
                attempt,
                epoch,
            };
            Marker::new(run.clone(), ticket).environ_entry()
        };
        assert_eq!(marker(2, 3), "ORCH_MARK=20260102-030405-abcd/1.1/2/3");
        let read = Marker::parse("20260102-030405-abcd/1.1/2/3").expect("a mark");
        assert_eq!(read.environ_entry(), marker(2, 3));
        assert_ne!(marker(2, 3), marker(2, 4));
        assert_ne!(marker(2, 3), marker(3, 3));
    }
}

//! orch's side of the shims: starting one, finding it again after orch died, waiting for its end, ending it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::follow::register;
use super::identity::ProcessIdentity;
use super::launch::{
    EXIT_FILE, ExitReport, LOCK_FILE, LOG_FILE, PID_FILE, ReadExitError, SHIM_COMMAND, SPEC_FILE,
    ShimSpec, read_exit, write_whole,
};
use crate::crash::point;
use crate::flock::{self, is_held};

/// How long a shim may take from its start to its `shim.pid`: milliseconds, but more on a machine that swaps.
const IDENTIFY_MAX: Duration = Duration::from_secs(30);
/// How often that is looked for meanwhile.
const IDENTIFY_EVERY: Duration = Duration::from_millis(5);
/// The longest log of a shim that is read; it is a sentence, or a panic message.
const LOG_BYTES_MAX: u64 = 16 << 10;

/// A shim that runs.
#[derive(Debug)]
pub struct Running(Watched);

#[derive(Debug)]
enum Watched {
    Child(Child),
    /// Somebody else's child by now, watched through a pidfd.
    Adopted(AsyncFd<OwnedFd>),
}

/// What became of a shim that an earlier orch started.
#[derive(Debug)]
pub enum Adoption {
    /// It runs, and so does its agent.
    Alive(Running),
    /// It has ended and reported.
    Ended(ExitReport),
    /// It was killed or never came to life. Its agent died with it; what the agent started may live: [`super::sweep`].
    Gone,
}

/// Why a shim was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A shim was started in this directory before. Two orders never share one.
    #[error("`{0}` already belongs to a shim")]
    Used(PathBuf),
    /// A file that it needs cannot be made.
    #[error("cannot write `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Handing over the environment failed.
    #[error("cannot hand the environment to the shim")]
    Environment(#[source] io::Error),
    /// The program of the shim, which is orch itself, cannot be started.
    #[error("cannot start the shim `{path}`")]
    Shim {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a command that was to run to its end has no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was not started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its shim could not be waited for.
    #[error("cannot wait for the shim")]
    Wait(#[source] io::Error),
    /// The report cannot be read.
    #[error(transparent)]
    Report(#[from] ReadExitError),
    /// The shim ended without a report: it was killed, or could not do its work and says why.
    #[error("the shim of `{attempt_dir}` ended without a report{}", said(log))]
    Gone {
        /// The directory.
        attempt_dir: PathBuf,
        /// Its last words, usually none.
        log: String,
    },
}

/// Starts a shim in `attempt_dir`, which must exist and be absolute, and which no shim has used before.
///
/// `exe` is the orch binary; `/proc/self/exe` is the running one, whatever became of its file. When this returns, the
/// output files exist, and [`adopt`] finds the shim even if this process dies at once.
///
/// # Errors
/// Anything that keeps the shim from starting. What keeps the *agent* from starting is in the [`ExitReport`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(exe: &Path, attempt_dir: &Path, spec: &ShimSpec) -> Result<Running, SpawnError> {
    let lock = claim(attempt_dir)?;
    point("shim-claimed");
    for output in [&spec.stdout, &spec.stderr] {
        appendable(output).map_err(file_error(output))?;
    }
    let log = attempt_dir.join(LOG_FILE);
    let log_file = appendable(&log).map_err(file_error(&log))?;
    write_whole(attempt_dir, SPEC_FILE, spec).map_err(file_error(&attempt_dir.join(SPEC_FILE)))?;
    let environment = environment_file(spec).map_err(SpawnError::Environment)?;
    let child = Command::new(exe)
        .arg0("orch-shim")
        .arg(SHIM_COMMAND)
        .arg(attempt_dir)
        .current_dir(attempt_dir)
        .stdin(Stdio::from(lock))
        .stdout(Stdio::from(environment))
        .stderr(Stdio::from(log_file))
        .spawn()
        .map_err(|source| SpawnError::Shim {
            path: exe.to_owned(),
            source,
        })?;
    point("shim-spawned");
    Ok(Running(Watched::Child(child)))
}

/// Starts a command under a shim and waits for the end of its tree: for commands that are not agents, such as the set-up
/// of a slot.
///
/// # Errors
/// Everything but how the command ended, which the report tells.
pub async fn run_to_end(
    exe: &Path,
    attempt_dir: &Path,
    spec: &ShimSpec,
) -> Result<ExitReport, RunError> {
    let running = spawn(exe, attempt_dir, spec)?;
    running.wait().await.map_err(RunError::Wait)?;
    match read_exit(attempt_dir)? {
        Some(report) => Ok(report),
        None => Err(RunError::Gone {
            attempt_dir: attempt_dir.to_owned(),
            log: shim_log(attempt_dir).map_err(RunError::Wait)?,
        }),
    }
}

/// What the shim of `attempt_dir` has to say about itself: nothing, unless it could not do its work. Tells a shim that
/// failed from one that was killed, when there is no report.
///
/// # Errors
/// If its log is there and cannot be read.
pub fn shim_log(attempt_dir: &Path) -> io::Result<String> {
    let mut log = String::new();
    match File::open(attempt_dir.join(LOG_FILE)) {
        Ok(file) => file.take(LOG_BYTES_MAX).read_to_string(&mut log)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        Err(e) => return Err(e),
    };
    Ok(log.trim_end().to_owned())
}

fn said(log: &str) -> String {
    match log {
        "" => String::new(),
        log => format!(": {log}"),
    }
}

/// Finds out what became of the shim of `attempt_dir`.
///
/// # Errors
/// If that cannot be told: an unreadable report, or a lock held by a process that cannot be seen (another container).
pub async fn adopt(attempt_dir: &Path) -> io::Result<Adoption> {
    if let Some(handle) = locate(attempt_dir).await? {
        return Ok(Adoption::Alive(Running(Watched::Adopted(register(
            handle,
        )?))));
    }
    match read_exit(attempt_dir).map_err(io::Error::other)? {
        Some(report) => Ok(Adoption::Ended(report)),
        None => Ok(Adoption::Gone),
    }
}

/// Tells the shim of `attempt_dir` to end its agent; told again, it does not wait for the grace time. Nothing happens if
/// the shim has ended. Returns at once; [`Running::wait`] tells when it is done.
///
/// # Errors
/// If the shim lives and cannot be found.
pub async fn end(attempt_dir: &Path) -> io::Result<()> {
    let Some(handle) = locate(attempt_dir).await? else {
        return Ok(());
    };
    match pidfd_send_signal(handle, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

impl Running {
    /// Returns when the shim has ended, whether or not it left a report.
    ///
    /// # Errors
    /// If the operating system refuses to tell.
    pub async fn wait(self) -> io::Result<()> {
        match self.0 {
            Watched::Child(mut child) => child.wait().await.map(drop),
            Watched::Adopted(handle) => handle.readable().await.map(drop),
        }
    }
}

/// A handle on the living shim of a directory; `None` if there is none.
async fn locate(attempt_dir: &Path) -> io::Result<Option<OwnedFd>> {
    let deadline = Instant::now() + IDENTIFY_MAX;
    loop {
        if !is_held(&attempt_dir.join(LOCK_FILE))? {
            return Ok(None);
        }
        // There is no `shim.pid` in the first moment, and a lock without process in the last.
        let identity = read_identity(&attempt_dir.join(PID_FILE))?;
        if let Some(handle) = identity.map(|i| i.open()).transpose()?.flatten() {
            return Ok(Some(handle));
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "`{}` is locked by a process that cannot be identified",
                    attempt_dir.join(LOCK_FILE).display()
                ),
            ));
        }
        tokio::time::sleep(IDENTIFY_EVERY).await;
    }
}

fn read_identity(path: &Path) -> io::Result<Option<ProcessIdentity>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes the lock that the shim will hold.
fn claim(attempt_dir: &Path) -> Result<File, SpawnError> {
    let path = attempt_dir.join(LOCK_FILE);
    let lock = appendable(&path).map_err(file_error(&path))?;
    if !flock::take(&lock).map_err(file_error(&path))? {
        return Err(SpawnError::Used(attempt_dir.to_owned()));
    }
    for trace in [PID_FILE, EXIT_FILE] {
        if attempt_dir.join(trace).exists() {
            return Err(SpawnError::Used(attempt_dir.to_owned()));
        }
    }
    Ok(lock)
}

fn appendable(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The agent's environment in a file that has no name: it cannot be read from the disk, and it is whole even if this
/// process dies while the shim reads it.
fn environment_file(spec: &ShimSpec) -> io::Result<File> {
    let mut file = File::from(memfd_create("orch-environment", MemfdFlags::CLOEXEC)?);
    let mut environment = spec.launch.env.clone();
    for (name, value) in spec.marker.variables() {
        environment.insert(name.to_owned(), value);
    }
    file.write_all(&serde_json::to_vec(&environment)?)?;
    file.rewind()?;
    Ok(file)
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SpawnError {
    let path = path.to_owned();
    move |source| SpawnError::File { path, source }
}

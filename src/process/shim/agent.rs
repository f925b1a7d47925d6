//! Starting the agent, in two steps: the shim starts its own program once more, and that becomes the agent.
//!
//! The step between does what must be done inside the new process (parent-death signal, a session of its own), which
//! would otherwise need code between fork and exec. It costs about a millisecond.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal};

use super::super::launch::{Confinement, ShimSpec};
use super::AGENT_COMMAND;

/// The running program, whatever became of its file.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The longest reason for not starting that is read; they are one sentence.
const REASON_BYTES_MAX: u64 = 16 << 10;
/// What a shell answers for a program that cannot be started; nobody sees it but the shim.
const CANNOT_START: u8 = 127;

/// A started agent, or what is on its way to become one.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) stdout: File,
    pub(super) stderr: File,
    /// Closed by the exec that makes the agent; before it, the reason why there is none.
    reason: UnixStream,
}

impl Started {
    /// Why the agent could not be started, if it could not. To be asked when the process has ended.
    pub(super) fn failure(&mut self) -> io::Result<Option<String>> {
        let mut reason = String::new();
        (&mut self.reason)
            .take(REASON_BYTES_MAX)
            .read_to_string(&mut reason)?;
        Ok((!reason.is_empty()).then_some(reason))
    }
}

/// Starts the agent of `spec`.
///
/// The new process gets the agent's environment and working directory from its first moment, so that it carries the
/// marker; only its standard input is not yet the agent's, but the channel for the reason of a failure.
pub(super) fn start(spec: &ShimSpec) -> Result<Started, String> {
    let output = |path: &Path| {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| format!("cannot open `{}`: {e}", path.display()))
    };
    let failed = |e: io::Error| {
        let program = spec.launch.program.display();
        let cwd = spec.launch.cwd.display();
        format!("cannot start `{program}` in `{cwd}`: {e}")
    };
    let (stdout, stderr) = (output(&spec.stdout)?, output(&spec.stderr)?);
    let (reason, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = match spec.confinement {
        Confinement::None => Command::new(THIS_PROGRAM),
    };
    let child = command
        .arg(AGENT_COMMAND)
        .arg(rustix::process::getpid().as_raw_pid().to_string())
        .arg(&spec.stdin)
        .arg(&spec.launch.program)
        .args(&spec.launch.args)
        .env_clear()
        .envs(&spec.launch.env)
        .current_dir(&spec.launch.cwd)
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout.try_clone().map_err(failed)?)
        .stderr(stderr.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    Ok(Started {
        pid: Pid::from_child(&child),
        stdout,
        stderr,
        reason,
    })
}

/// `orch __agent <pid of the shim> <standard input> <program> <arguments>`: becomes the agent, or says why not.
pub(super) fn become_agent(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let [shim, stdin, program, args @ ..] = args.as_slice() else {
        return ExitCode::from(CANNOT_START);
    };
    let Ok(reason) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(CANNOT_START);
    };
    let error = exec(shim, Path::new(stdin), program, args);
    // Without a reader there is no shim, and nobody to tell.
    let told = write!(UnixStream::from(reason), "{error}");
    drop(told);
    ExitCode::from(CANNOT_START)
}

/// Returns only if it fails, with the reason.
fn exec(shim: &OsStr, stdin: &Path, program: &OsStr, args: &[OsString]) -> String {
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("cannot bind the agent to its shim: {e}");
    }
    // The signal is sent at the death of the parent; a parent that died before has to be noticed.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_pid().to_string());
    if parent.as_deref().map(OsStr::new) != Some(shim) {
        return "the shim has ended".to_owned();
    }
    // The shim reads its signals from a descriptor; the agent would inherit that they are blocked.
    if let Err(e) = SigSet::all().thread_unblock() {
        return format!("cannot unblock the signals of the agent: {e}");
    }
    if let Err(e) = rustix::process::setsid() {
        return format!("cannot open a session for the agent: {e}");
    }
    let stdin = match File::open(stdin) {
        Ok(file) => Stdio::from(file),
        Err(e) => return format!("cannot open `{}`: {e}", stdin.display()),
    };
    let error = Command::new(program).args(args).stdin(stdin).exec();
    format!("cannot start `{}`: {error}", program.display())
}

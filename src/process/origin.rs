//! Where a process comes from: whether an agent started it.
//!
//! A shim adopts whatever its agent's processes leave behind, so that ancestry holds however a process detaches and
//! whatever it clears from its environment.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::process::Pid;

use super::launch::SHIM_COMMAND;
use super::table::{Process, is_gone};

/// More generations than any tree of processes has; a bound for a table that changes while it is read.
const GENERATIONS_MAX: usize = 1_000;

/// The attempt directories of the shims that `pid` works under, the nearest first.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn shims_above(pid: Pid) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for process in up_from(pid) {
        found.extend(shim_directory(process?.pid)?);
    }
    Ok(found)
}

/// Whether `pid` works under `ancestor`; none if it is gone.
///
/// # Errors
/// If `/proc` cannot be read.
pub(super) fn is_below(pid: Pid, ancestor: Pid) -> io::Result<Option<bool>> {
    let mut line = up_from(pid);
    let Some(process) = line.next().transpose()? else {
        return Ok(None);
    };
    let mut parent = process.parent;
    for above in line {
        if parent == ancestor.as_raw_pid() {
            break;
        }
        parent = above?.parent;
    }
    Ok(Some(parent == ancestor.as_raw_pid()))
}

/// A process and those that it works under, the nearest first.
fn up_from(pid: Pid) -> impl Iterator<Item = io::Result<Process>> {
    let mut next = Some(pid);
    let step = move || {
        let process = next.take().map(Process::look)?.transpose()?;
        next = process.as_ref().ok().and_then(|p| Pid::from_raw(p.parent));
        Some(process)
    };
    std::iter::from_fn(step).take(GENERATIONS_MAX)
}

/// The attempt directory, if the process is a shim.
fn shim_directory(pid: Pid) -> io::Result<Option<PathBuf>> {
    let line = match fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())) {
        Ok(line) => line,
        Err(e) if is_gone(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut words = line.split(|&byte| byte == 0).skip(1);
    let is_shim = words.next() == Some(SHIM_COMMAND.as_bytes());
    let directory = words.next().filter(|_| is_shim);
    Ok(directory.map(|dir| PathBuf::from(OsStr::from_bytes(dir))))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_child_is_below_also_when_it_has_ended_and_a_parent_is_not() {
        let me = getpid();
        let mut child = Command::new("true").spawn().expect("a process");
        let pid = Pid::from_child(&child);
        // Whether it has ended already or not: it is there until somebody asks how.
        assert_eq!(is_below(pid, me).expect("/proc"), Some(true));
        assert_eq!(is_below(me, pid).expect("/proc"), Some(false));
        child.wait().expect("its end");
        assert_eq!(is_below(pid, me).expect("/proc"), None);
    }
}

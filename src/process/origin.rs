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
    let mut next = Some(pid);
    for _ in 0..GENERATIONS_MAX {
        let Some(process) = next.map(Process::look).transpose()?.flatten() else {
            break;
        };
        found.extend(shim_directory(process.pid)?);
        next = Pid::from_raw(process.parent);
    }
    Ok(found)
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

//! Which process a record means: a pid alone is reused, a pid with its start time and boot is not.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::table::Process;
use crate::crash;

/// Names one process, for as long as the record of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id` of the boot in which it ran.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The identity of the calling process.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of_this_process() -> io::Result<Self> {
        let pid = rustix::process::getpid();
        let this = Process::look(pid)?
            .ok_or_else(|| io::Error::other("/proc does not show the calling process"))?;
        Ok(Self {
            pid: pid.as_raw_pid(),
            start_time: this.start_time,
            boot_id: boot_id()?,
        })
    }

    /// Signals exactly this process; `false` if it has ended.
    ///
    /// # Errors
    /// If `/proc` cannot be read or the process belongs to somebody else.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        match self.open()? {
            None => Ok(false),
            Some(handle) => match pidfd_send_signal(handle, signal) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::SRCH) => Ok(false),
                Err(e) => Err(e.into()),
            },
        }
    }

    /// A handle on exactly this process; `None` if it has ended, also if nobody has heard of that yet.
    pub(super) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        if boot_id()? != self.boot_id {
            return Ok(None);
        }
        match Process::look(pid)? {
            Some(process) if process.start_time == self.start_time => process.open(),
            _ => Ok(None),
        }
    }
}

/// The boot in which this process runs.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    if let Some(pretended) = crash::boot() {
        return Ok(pretended);
    }
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_boot_or_start_is_not_this_one() {
        let me = ProcessIdentity::of_this_process().expect("readable");
        assert!(me.open().expect("looked up").is_some());
        let earlier = ProcessIdentity {
            start_time: me.start_time - 1,
            ..me.clone()
        };
        assert!(earlier.open().expect("looked up").is_none());
        let last_boot = ProcessIdentity {
            boot_id: "another".to_owned(),
            ..me
        };
        assert!(!last_boot.signal(Signal::KILL).expect("looked up"));
    }
}

//! The table of running processes, as `/proc` shows it.
//!
//! What is read here may be out of date a moment later: before a process is signalled it is opened as a pidfd and
//! compared with what was seen, so that a process that got the same pid meanwhile is never hit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process at the moment of looking. Fields as in proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) comm: String,
    pub(super) is_dead: bool,
    /// Whether it is dead, or giving back what it has.
    pub(super) is_ending: bool,
    /// 0 for the first process and for parents outside this pid namespace.
    pub(super) parent: i32,
    pub(super) has_terminal: bool,
    /// In clock ticks since boot; together with the pid it names a process uniquely until the next boot.
    pub(super) start_time: u64,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Sent,
    /// The process has ended before.
    TooLate,
    /// It belongs to somebody else.
    NotAllowed,
}

impl Process {
    /// Of a process that is giving back what it has (`PF_EXITING`, `include/linux/sched.h`).
    const EXITING: u64 = 0x4;

    /// The process that has `pid` now, if any.
    pub(super) fn look(pid: Pid) -> io::Result<Option<Self>> {
        let path = format!("/proc/{}/stat", pid.as_raw_pid());
        match fs::read(&path) {
            Ok(stat) => match Self::parse(&stat) {
                Some(process) => Ok(Some(process)),
                None => Err(io::Error::other(format!("`{path}` is not as documented"))),
            },
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All processes that this process may see.
    pub(super) fn all() -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for pid in pids()? {
            found.extend(Self::look(pid)?);
        }
        Ok(found)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may itself hold blanks and parentheses.
        let text = String::from_utf8_lossy(stat);
        let (pid, rest) = text.split_once(" (")?;
        let (comm, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `fields[0]` is field 3 of the manual page.
        let field = |number: usize| fields.get(number - 3).copied();
        let is_dead = matches!(field(3)?, "Z" | "X");
        let flags: u64 = field(9)?.parse().ok()?;
        Some(Self {
            pid: Pid::from_raw(pid.parse().ok()?)?,
            comm: comm.to_owned(),
            is_dead,
            is_ending: is_dead || flags & Self::EXITING != 0,
            parent: field(4)?.parse().ok()?,
            has_terminal: field(7)? != "0",
            start_time: field(22)?.parse().ok()?,
        })
    }

    /// A handle on exactly this process; `None` if it has ended.
    pub(super) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let handle = match pidfd_open(self.pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let now = Self::look(self.pid)?;
        let is_same = now.is_some_and(|now| now.start_time == self.start_time && !now.is_dead);
        Ok(is_same.then_some(handle))
    }

    /// Signals exactly this process.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<Delivery> {
        let Some(handle) = self.open()? else {
            return Ok(Delivery::TooLate);
        };
        match pidfd_send_signal(handle, signal) {
            Ok(()) => Ok(Delivery::Sent),
            Err(Errno::SRCH) => Ok(Delivery::TooLate),
            Err(Errno::PERM) => Ok(Delivery::NotAllowed),
            Err(e) => Err(e.into()),
        }
    }
}

/// Everything below `ancestor` in `processes`, living or not, without itself.
pub(super) fn descendants(processes: Vec<Process>, ancestor: Pid) -> Vec<Process> {
    let mut by_parent: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in processes {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut found = by_parent.remove(&ancestor.as_raw_pid()).unwrap_or_default();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let children = by_parent.remove(&process.pid.as_raw_pid());
        found.extend(children.unwrap_or_default());
        next += 1;
    }
    found
}

/// The pids of all visible processes.
pub(super) fn pids() -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        found.extend(pid_of(&name));
    }
    Ok(found)
}

fn pid_of(name: &OsStr) -> Option<Pid> {
    Pid::from_raw(name.to_str()?.parse().ok()?)
}

/// Whether reading below `/proc/<pid>` failed because the process has ended.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process {
            pid: Pid::from_raw(pid).expect("positive"),
            comm: String::new(),
            is_dead: false,
            is_ending: false,
            parent,
            has_terminal: false,
            start_time: 0,
        }
    }

    #[test]
    fn a_process_name_with_blanks_and_parentheses_is_read() {
        let stat =
            b"42 (tmux: (x) y) S 7 42 42 34816 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 9876 0 0\n";
        let process = Process::parse(stat).expect("a stat line");
        assert_eq!(process.comm, "tmux: (x) y");
        assert_eq!((process.parent, process.start_time), (7, 9876));
        assert!(process.has_terminal && !process.is_dead && !process.is_ending);
    }

    #[test]
    fn descendants_are_found_over_generations_and_without_the_ancestor() {
        let table = vec![
            process(1, 0),
            process(9, 4),
            process(2, 1),
            process(3, 2),
            process(4, 3),
            process(5, 1),
        ];
        let mut found: Vec<i32> = descendants(table, Pid::from_raw(2).expect("positive"))
            .iter()
            .map(|p| p.pid.as_raw_pid())
            .collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4, 9]);
    }

    #[test]
    fn this_process_is_in_the_table_and_can_be_opened() {
        let me = rustix::process::getpid();
        let all = Process::all().expect("/proc is readable");
        let myself = all.iter().find(|p| p.pid == me).expect("listed");
        assert!(myself.open().expect("opened").is_some());
    }

    #[test]
    fn a_process_that_took_over_a_pid_is_not_opened() {
        let me = rustix::process::getpid();
        let mut other = Process::look(me).expect("readable").expect("alive");
        other.start_time += 1;
        assert!(other.open().expect("looked at").is_none());
    }
}

//! Ending what is left of an attempt, wherever in the process tree it went.
//!
//! Descent is lost when a shim is killed, sessions and groups are left by any `setsid`; the environment a process
//! started with stays readable. So that is what leftovers are found by.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpid};

use super::launch::{MARK_VARIABLE, Marker};
use super::table::{self, Delivery, Process};

/// How long a sweep goes on. A process can outlive SIGKILL only in uninterruptible sleep, which ends by itself or not at
/// all; and a tree that forks faster than it is killed is not worth more time.
const SWEEP_MAX: Duration = Duration::from_secs(10);
/// How long one pass waits for its processes to vanish; usually a millisecond is enough.
const VANISH_MAX: Duration = Duration::from_secs(1);
/// A single pass can miss a process that was forked into a part of the table already read.
const EMPTY_PASSES: u32 = 2;
/// The largest environment that is searched: twice the largest that execve(2) takes with the usual 8 MiB stack.
const ENVIRON_BYTES_MAX: u64 = 4 << 20;

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Processes that it killed.
    pub killed: Vec<Swept>,
    /// Processes that still lived at its end.
    pub alive: Vec<Swept>,
}

/// A process, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// The process id it had.
    pub pid: i32,
    /// Its name: the first 15 bytes of its program's.
    pub comm: String,
}

/// Kills every process that carries `marker` and, when `tree` is given, every process without a controlling terminal
/// that works in that directory or holds a file open below it, until two passes in a row find none.
///
/// The calling process and its ancestors are spared. So is, under `tree`, whatever hangs on a terminal: a person
/// looking around in the slot. Whatever orch itself runs in `tree` must have ended. Blocks for up to ten seconds.
///
/// # Errors
/// If the process table or `tree` cannot be read.
pub fn sweep(marker: &Marker, tree: Option<&Path>) -> io::Result<SweepReport> {
    end_found(Search::new(marker.environ_entry(), tree)?)
}

/// The same for every process whose environment holds `entry`, `NAME=value`.
pub(super) fn sweep_entry(entry: &str) -> io::Result<SweepReport> {
    end_found(Search::new(entry.to_owned(), None)?)
}

fn end_found(mut search: Search) -> io::Result<SweepReport> {
    let deadline = Instant::now() + SWEEP_MAX;
    let mut killed = BTreeMap::new();
    let mut empty_passes = 0;
    loop {
        let found = search.pass()?;
        if found.is_empty() {
            empty_passes += 1;
            // Following every open file costs five times as much as the marks, and has found nothing.
            search.tree = None;
        } else {
            empty_passes = 0;
        }
        if empty_passes == EMPTY_PASSES || Instant::now() >= deadline {
            let alive: Vec<Swept> = found.iter().map(Swept::from).collect();
            let killed = killed
                .into_values()
                .filter(|swept| !alive.contains(swept))
                .collect();
            return Ok(SweepReport { killed, alive });
        }
        for process in &found {
            if process.signal(Signal::KILL)? == Delivery::Sent {
                killed.insert(
                    (process.start_time, process.pid.as_raw_pid()),
                    Swept::from(process),
                );
            }
        }
        wait_until_gone(&found, deadline.min(Instant::now() + VANISH_MAX))?;
    }
}

/// The processes that carry `marker`. A slot is not leased while there are any.
///
/// # Errors
/// If the process table cannot be read.
pub fn alive(marker: &Marker) -> io::Result<Vec<Swept>> {
    alive_entry(&marker.environ_entry())
}

/// The processes whose environment holds `entry`, `NAME=value`.
pub(super) fn alive_entry(entry: &str) -> io::Result<Vec<Swept>> {
    let found = Search::new(entry.to_owned(), None)?.pass()?;
    Ok(found.iter().map(Swept::from).collect())
}

/// Whether a process that this one may look into has the file open, this one included.
///
/// # Errors
/// If the process table or the file cannot be read. A file that is gone is open to nobody.
pub fn is_open(file: &Path) -> io::Result<bool> {
    let file = match fs::canonicalize(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let has_it = |pid: &Pid| {
        fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).is_ok_and(|fds| {
            fds.flatten()
                .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == file))
        })
    };
    Ok(table::pids()?.iter().any(has_it))
}

/// A process that works for an attempt, of whatever run and repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The process.
    pub process: Swept,
    /// What it works for.
    pub marker: Marker,
}

/// The processes that carry the mark of any attempt, but for the caller and those it descends from.
///
/// # Errors
/// If the process table cannot be read.
pub fn marked() -> io::Result<Vec<Marked>> {
    let spared = this_process_and_ancestors()?;
    let mut found = Vec::new();
    for pid in table::pids()? {
        if spared.contains(&pid) {
            continue;
        }
        let Some(marker) = mark_of(pid) else { continue };
        let process = Process::look(pid)?.filter(|process| !process.is_dead);
        found.extend(process.map(|process| Marked {
            process: Swept::from(&process),
            marker,
        }));
    }
    Ok(found)
}

fn mark_of(pid: Pid) -> Option<Marker> {
    let mut environ = Vec::new();
    let path = format!("/proc/{}/environ", pid.as_raw_pid());
    // A process whose environment may not be read is somebody else's.
    File::open(path)
        .and_then(|file| file.take(ENVIRON_BYTES_MAX).read_to_end(&mut environ))
        .ok()?;
    let environ = String::from_utf8_lossy(&environ);
    let mut entries = environ.split('\0');
    let value = entries.find_map(|e| e.strip_prefix(MARK_VARIABLE)?.strip_prefix('='))?;
    Marker::parse(value)
}

/// Processes that can own a lock file of git: those that have it open, and every git that works below one of `dirs`.
/// git closes its lock files long before it removes them.
///
/// # Errors
/// If the process table cannot be read.
pub fn owners_of_git_lock(lock: &Path, dirs: &[PathBuf]) -> io::Result<Vec<Swept>> {
    let mut found = Vec::new();
    for pid in table::pids()? {
        let Some(process) = Process::look(pid)?.filter(|process| !process.is_dead) else {
            continue;
        };
        let is_git = process.comm == "git" || process.comm.starts_with("git-");
        if is_inside(pid, lock) || is_git && dirs.iter().any(|dir| is_inside(pid, dir)) {
            found.push(Swept::from(&process));
        }
    }
    Ok(found)
}

/// The processes that work in the directory `dir` or hold a file open below it, on a terminal or not, but this one.
///
/// # Errors
/// If the process table or `dir` cannot be read.
pub fn working_in(dir: &Path) -> io::Result<Vec<Swept>> {
    let dir = fs::canonicalize(dir)?;
    let mut found = Vec::new();
    for pid in table::pids()? {
        if pid != getpid() && is_inside(pid, &dir) {
            found.extend(Process::look(pid)?.filter(|process| !process.is_dead));
        }
    }
    Ok(found.iter().map(Swept::from).collect())
}

impl From<&Process> for Swept {
    fn from(process: &Process) -> Self {
        Self {
            pid: process.pid.as_raw_pid(),
            comm: process.comm.clone(),
        }
    }
}

/// What is looked for, with a buffer for looking.
struct Search {
    entry: String,
    tree: Option<PathBuf>,
    spared: Vec<Pid>,
    environ: Vec<u8>,
}

impl Search {
    fn new(entry: String, tree: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            entry,
            // As the links in `/proc` show it. By a directory that is gone nobody can be found.
            tree: match tree.map(fs::canonicalize).transpose() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                tree => tree?,
            },
            spared: this_process_and_ancestors()?,
            environ: Vec::new(),
        })
    }

    /// All processes that match now and have not ended.
    fn pass(&mut self) -> io::Result<Vec<Process>> {
        let mut found = Vec::new();
        for pid in table::pids()? {
            if self.spared.contains(&pid) {
                continue;
            }
            let is_marked = self.is_marked(pid);
            if !is_marked && !self.tree.as_ref().is_some_and(|tree| is_inside(pid, tree)) {
                continue;
            }
            found.extend(
                Process::look(pid)?
                    .filter(|process| !process.is_dead && (is_marked || !process.has_terminal)),
            );
        }
        Ok(found)
    }

    /// A process whose environment may not be read is somebody else's.
    fn is_marked(&mut self, pid: Pid) -> bool {
        self.environ.clear();
        let path = format!("/proc/{}/environ", pid.as_raw_pid());
        let read = File::open(path)
            .and_then(|file| file.take(ENVIRON_BYTES_MAX).read_to_end(&mut self.environ));
        let environ = String::from_utf8_lossy(&self.environ);
        read.is_ok() && environ.split('\0').any(|entry| entry == self.entry)
    }
}

fn is_inside(pid: Pid, tree: &Path) -> bool {
    let process = format!("/proc/{}", pid.as_raw_pid());
    let points_inside = |link: &Path| fs::read_link(link).is_ok_and(|to| to.starts_with(tree));
    points_inside(Path::new(&format!("{process}/cwd")))
        || fs::read_dir(format!("{process}/fd"))
            .is_ok_and(|fds| fds.flatten().any(|fd| points_inside(&fd.path())))
}

fn this_process_and_ancestors() -> io::Result<Vec<Pid>> {
    let mut line = vec![getpid()];
    let mut next = rustix::process::getppid();
    while let Some(pid) = next {
        line.push(pid);
        next = Process::look(pid)?.and_then(|process| Pid::from_raw(process.parent));
    }
    Ok(line)
}

/// Waits until none of `processes` runs any more, or `until`.
fn wait_until_gone(processes: &[Process], until: Instant) -> io::Result<()> {
    for process in processes {
        let Some(handle) = process.open()? else {
            continue;
        };
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a second at most");
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_spares_the_processes_it_is_called_from() {
        let line = this_process_and_ancestors().expect("readable");
        let parent = rustix::process::getppid();
        let expected: Vec<Pid> = [Some(getpid()), parent].into_iter().flatten().collect();
        assert_eq!(line[..expected.len()], expected);
    }
}

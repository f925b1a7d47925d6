//! One orch per state directory: the lock as a value, without which the ledger cannot be opened for writing.
//!
//! The lock is `flock` on a file that is never deleted: it ends with the process, however that ends. Descriptors of std
//! close on exec, so agents do not inherit it; but a child between its birth and its program still has it, and can
//! outlive an orch that was killed by that moment. The words in the file tell such a lock from that of a live orch.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, thread};

use serde::{Deserialize, Serialize};

use super::files::read_limited;
use super::layout::StateDir;
use crate::flock::{self, is_held};
use crate::ids::RunId;
use crate::time::Wall;

/// Looking whether the lock is held takes it shared for some microseconds (readers do, and every shim does every few
/// seconds), which can make an orch that starts just then believe in another one. It therefore asks this often, with
/// [`RETRY_PAUSE`] between: long against all these looks, short for a person who is told that another orch is there.
const TRIES: u32 = 10;

/// See [`TRIES`].
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How often the [`TRIES`] are repeated while the holder is dead: about five seconds.
const HEIR_TRIES: u32 = 50;

/// Largest holder text that is read: a path (4 KiB on Linux, escaped at worst sixfold) and some numbers.
const HOLDER_BYTES_MAX: u64 = 32 << 10;

/// Who holds the lock, in the words of the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The plan, as a path for people.
    pub plan: String,
    /// When the process took the lock.
    pub started: Wall,
    /// The run, once it is known.
    pub run: Option<RunId>,
    /// Field 22 of `/proc/<pid>/stat`, without which a number that is given again would pass for this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
}

impl Holder {
    /// The calling process, working on `plan`.
    pub fn of_this_process(plan: String, started: Wall, run: Option<RunId>) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        Self {
            pid: std::process::id(),
            plan,
            started,
            run,
            start_time: stat
                .as_deref()
                .and_then(Stat::parse)
                .map(|stat| stat.start_time),
        }
    }
}

/// What is known of the orch that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldBy {
    /// Its own words. Just after a change of hands they may still be those of the one before.
    Known(Holder),
    /// It lives, but its words cannot be read.
    Unreadable,
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(holder) => {
                write!(f, "process {}, plan {}", holder.pid, holder.plan)?;
                if let Some(run) = &holder.run {
                    write!(f, ", run {run}")?;
                }
                match holder.started.to_utc() {
                    Some(at) => write!(f, ", since {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
                    None => Ok(()),
                }
            }
            Self::Unreadable => {
                f.write_str("its process is not known: the lock file cannot be read")
            }
        }
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another orch works on this repository.
    #[error("another orch works on this repository ({by})")]
    Held {
        /// Which.
        by: HeldBy,
    },
    /// The state directory or the lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to write the state directory. Ends when dropped or when the process dies.
#[derive(Debug)]
pub struct OrchLock {
    state: StateDir,
    file: File,
}

impl StateDir {
    /// Takes the right to write this state directory, making the directory if it is not there, and leaves `holder` for
    /// others to read.
    ///
    /// # Errors
    /// [`LockError::Held`] if another orch has it; else what the system said.
    pub fn lock(&self, holder: &Holder) -> Result<OrchLock, LockError> {
        let path = self.lock_file();
        let pause = || thread::sleep(RETRY_PAUSE);
        let taken = self.create().and_then(|()| take_in_time(&path, pause));
        match taken {
            Ok(Some(file)) => {
                let lock = OrchLock {
                    state: self.clone(),
                    file,
                };
                match lock.describe(holder) {
                    Ok(()) => Ok(lock),
                    Err(source) => Err(LockError::Io { path, source }),
                }
            }
            Ok(None) => Err(LockError::Held {
                by: read_holder(&path),
            }),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// The orch that works on this state directory now, if there is one: a lock that only a child of a dead one still
    /// has is nobody's. Takes part in nothing and creates nothing.
    ///
    /// # Errors
    /// If the lock file is there and cannot be opened.
    pub fn live_orch(&self) -> io::Result<Option<HeldBy>> {
        let path = self.lock_file();
        for _ in 0..TRIES {
            if !is_held(&path)? {
                return Ok(None);
            }
            let by = read_holder(&path);
            if !by.is_dead() {
                return Ok(Some(by));
            }
            // Or one that lives has just taken the lock, and its own words come in a moment.
            thread::sleep(RETRY_PAUSE);
        }
        Ok(None)
    }
}

impl OrchLock {
    /// The directory that may be written.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Replaces what others read about the holder.
    ///
    /// # Errors
    /// If the lock file cannot be written.
    pub fn describe(&self, holder: &Holder) -> io::Result<()> {
        let mut text = serde_json::to_vec(holder)?;
        text.push(b'\n');
        // In this order the first line is whole whenever a reader comes or this process is killed. A rename would part
        // the lock from its name.
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)
    }
}

/// Opens and locks the file; `None` if another process keeps it. What a dead orch has left to a child is waited for: on a
/// busy machine the child may take a while to begin its program.
fn take_in_time(path: &Path, mut pause: impl FnMut()) -> io::Result<Option<File>> {
    for _ in 0..HEIR_TRIES {
        if let Some(file) = take(path, &mut pause)? {
            return Ok(Some(file));
        }
        if !read_holder(path).is_dead() {
            break;
        }
    }
    Ok(None)
}

/// Opens and locks the file; `None` if another process keeps it.
fn take(path: &Path, mut pause: impl FnMut()) -> io::Result<Option<File>> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause();
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // If somebody deleted the file between open and lock, a lock on it would exclude nobody.
        if flock::take(&file)? && is_still_at(&file, path)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn read_holder(path: &Path) -> HeldBy {
    let first_line = |bytes: Vec<u8>| {
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    };
    read_limited(path, HOLDER_BYTES_MAX)
        .ok()
        .and_then(first_line)
        .map_or(HeldBy::Unreadable, HeldBy::Known)
}

impl HeldBy {
    /// Whether the process that the file names has ended, is ending, or its number now belongs to another one.
    fn is_dead(&self) -> bool {
        let Self::Known(holder) = self else {
            return false;
        };
        let about = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", holder.pid));
        let stat = match about("stat") {
            Ok(stat) => stat,
            Err(e) => return is_gone(&e),
        };
        let Some(now) = Stat::parse(&stat) else {
            return false;
        };
        let is_another = match holder.start_time {
            Some(start_time) => now.start_time != start_time,
            // Words of an orch that did not say it: at least its program is this one.
            None => fs::read_to_string("/proc/self/stat")
                .ok()
                .and_then(|own| Stat::parse(&own).map(|own| own.name != now.name))
                .unwrap_or(false),
        };
        is_another
            || now.is_ending
            || match about("status") {
                Ok(status) => is_killed(&status),
                Err(e) => is_gone(&e),
            }
    }
}

/// What `/proc` answers about a process that is not, or is no more at that very moment.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// What a line of `/proc/<pid>/stat` says.
struct Stat {
    name: String,
    start_time: u64,
    /// Whether it has ended and nobody has heard of it yet, or is giving back what it has.
    is_ending: bool,
}

impl Stat {
    /// Of a process that is giving back what it has (`PF_EXITING`, `include/linux/sched.h`).
    const EXITING: u64 = 0x4;

    fn parse(stat: &str) -> Option<Self> {
        // `pid (name) state ...`, and the name may hold anything.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `fields[0]` is field 3 of proc_pid_stat(5).
        let field = |number: usize| fields.get(number - 3).copied();
        let flags: u64 = field(9)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            start_time: field(22)?.parse().ok()?,
            is_ending: matches!(field(3)?, "Z" | "X") || flags & Self::EXITING != 0,
        })
    }
}

/// Whether a SIGKILL waits for the process, as long as the disk keeps it: by `/proc/<pid>/status`.
fn is_killed(status: &str) -> bool {
    let kill = 1_u64 << (rustix::process::Signal::KILL.as_raw() - 1);
    let pending = status.lines().filter_map(|line| {
        line.strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))
    });
    pending
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & kill != 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn holder() -> Holder {
        let run = RunId::parse("20261121-063312-k3f9").unwrap();
        Holder::of_this_process(
            "plans/a.yaml".to_owned(),
            Wall(1_790_000_000_000),
            Some(run),
        )
    }

    #[test]
    fn a_second_orch_is_told_who_holds_the_lock_and_since_when() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(tmp.path());
        let lock = state.lock(&holder()).unwrap();
        let error = state.lock(&holder()).unwrap_err();
        assert!(matches!(&error, LockError::Held { by: HeldBy::Known(by) } if *by == holder()));
        assert_eq!(
            error.to_string(),
            format!(
                "another orch works on this repository (process {}, plan plans/a.yaml, run 20261121-063312-k3f9, \
                 since 2026-09-21 14:13:20 UTC)",
                std::process::id()
            )
        );
        drop(lock);
        drop(state.lock(&holder()).unwrap());
    }

    #[test]
    fn a_live_lock_with_torn_words_still_counts_as_held() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(tmp.path());
        let _lock = state.lock(&holder()).unwrap();
        fs::write(state.lock_file(), b"{\"pid\":4").unwrap();
        assert_eq!(state.live_orch().unwrap(), Some(HeldBy::Unreadable));
        let error = state.lock(&holder()).unwrap_err().to_string();
        assert!(error.contains("not known"), "{error}");
    }

    #[test]
    fn looking_at_the_lock_neither_creates_nor_takes_it() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(tmp.path());
        assert_eq!(state.live_orch().unwrap(), None);
        assert!(!state.path().exists());
        let lock = state.lock(&holder()).unwrap();
        assert!(is_held(&state.lock_file()).unwrap());
        drop(lock);
        assert!(!is_held(&state.lock_file()).unwrap());
    }

    #[test]
    fn a_probe_at_the_wrong_moment_does_not_keep_an_orch_from_starting() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("l");
        drop(take(&path, || ()).unwrap());
        let probe = File::open(&path).unwrap();
        probe.try_lock_shared().unwrap();
        let mut probe = Some(probe);
        assert!(take(&path, || drop(probe.take())).unwrap().is_some());
        assert!(probe.is_none(), "the first try met the probe");
    }

    #[test]
    fn a_child_that_outlives_its_orch_does_not_keep_the_lock() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(tmp.path());
        let lock = state.lock(&holder()).unwrap();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(lock);
        // A child of another test holds everything for the moment between its fork and its exec.
        while state.live_orch().unwrap().is_some() {
            thread::yield_now();
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn the_lock_that_a_dead_orch_has_left_to_a_child_is_waited_for_and_is_nobodys_meanwhile() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(tmp.path());
        let mut heir = Some(state.lock(&holder()).unwrap());
        let dead = Holder {
            start_time: Some(1),
            ..holder()
        };
        heir.as_ref().unwrap().describe(&dead).unwrap();
        assert_eq!(state.live_orch().unwrap(), None);
        let mut pauses = 0;
        let taken = take_in_time(&state.lock_file(), || {
            pauses += 1;
            if pauses == 2 * TRIES {
                drop(heir.take());
            }
        });
        assert!(taken.unwrap().is_some());
    }

    #[test]
    fn an_orch_is_dead_when_it_ends_is_killed_or_its_number_is_anothers() {
        assert!(!HeldBy::Known(holder()).is_dead());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = HeldBy::Known(Holder {
            pid: child.id(),
            start_time: None,
            ..holder()
        });
        // Nobody has waited for it: it is there, and has ended.
        while !ended.is_dead() {
            thread::yield_now();
        }
        child.wait().unwrap();
        assert!(ended.is_dead());
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(!is_killed(&own));
        assert!(is_killed(
            "Name:\torch\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n"
        ));
        assert!(is_killed(
            "Name:\torch\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"
        ));
    }

    #[test]
    fn words_of_an_orch_that_named_no_start_are_read() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("l");
        let words = "{\"pid\":1,\"plan\":\"p\",\"started\":0,\"run\":null}\nolder, longer words";
        fs::write(&path, words).unwrap();
        let by = read_holder(&path);
        assert!(
            matches!(
                by,
                HeldBy::Known(Holder {
                    pid: 1,
                    start_time: None,
                    ..
                })
            ),
            "{by:?}"
        );
    }

    #[test]
    fn a_lock_file_deleted_under_its_holder_is_not_mistaken_for_the_lock() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("l");
        let file = take(&path, || ()).unwrap().unwrap();
        assert!(is_still_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_still_at(&file, &path).unwrap());
    }

    #[test]
    fn a_repository_that_is_not_there_is_not_made() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(&tmp.path().join("nowhere"));
        assert!(matches!(state.lock(&holder()), Err(LockError::Io { .. })));
        assert!(!tmp.path().join("nowhere").exists());
    }
}

//! One orch per state directory: the lock as a value, without which the ledger cannot be opened for writing.
//!
//! The lock is `flock` on a file that is never deleted: it ends with the process, however that ends. Descriptors of std
//! close on exec, so agents do not inherit it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, thread};

use serde::{Deserialize, Serialize};

use super::files::read_limited;
use super::layout::StateDir;
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
        let taken = self.create().and_then(|()| take_in_time(&path));
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

    /// The orch that works on this state directory now, if there is one. Takes part in nothing and creates nothing.
    ///
    /// # Errors
    /// If the lock file is there and cannot be opened.
    pub fn live_orch(&self) -> io::Result<Option<HeldBy>> {
        let path = self.lock_file();
        Ok(is_held(&path)?.then(|| read_holder(&path)))
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
        // A reader in between finds text that does not parse, and says so. A rename would part the lock from its name.
        self.file.set_len(0)?;
        self.file.write_all_at(&text, 0)
    }
}

/// Whether some process holds the lock of this file. `false` if there is no such file.
///
/// # Errors
/// If the file is there and cannot be opened.
fn is_held(lock_file: &Path) -> io::Result<bool> {
    let file = match File::open(lock_file) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Opens and locks the file; `None` if another process keeps it. An orch that was killed can leave a child between its
/// birth and its program, which holds the lock for that moment, and on a busy machine for longer: it is waited for.
fn take_in_time(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..HEIR_TRIES {
        if let Some(file) = take(path, || thread::sleep(RETRY_PAUSE))? {
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
        match file.try_lock() {
            Ok(()) if is_still_at(&file, path)? => return Ok(Some(file)),
            // Somebody deleted the file between open and lock; a lock on it would exclude nobody.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(None)
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn read_holder(path: &Path) -> HeldBy {
    read_limited(path, HOLDER_BYTES_MAX)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .map_or(HeldBy::Unreadable, HeldBy::Known)
}

impl HeldBy {
    /// Whether the process that the file names has ended, or its number now belongs to another program: then its lock goes
    /// with the last of its children.
    fn is_dead(&self) -> bool {
        let Self::Known(holder) = self else {
            return false;
        };
        let read = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // `pid (name) state ...`, and the name may hold anything.
        let name = |stat: &str| {
            let (_, rest) = stat.split_once('(')?;
            Some(rest.rsplit_once(')')?.0.to_owned())
        };
        match (read(&holder.pid.to_string()), read("self")) {
            (Ok(stat), Ok(own)) => {
                let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
                state.starts_with(['Z', 'X']) || name(&stat) != name(&own)
            }
            (Err(e), _) => e.kind() == io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => false,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            pid: 41,
            plan: "plans/a.yaml".to_owned(),
            started: Wall(1_790_000_000_000),
            run: Some(RunId::parse("20261121-063312-k3f9").unwrap()),
        }
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
            "another orch works on this repository (process 41, plan plans/a.yaml, run 20261121-063312-k3f9, \
             since 2026-09-21 14:13:20 UTC)"
        );
        drop(lock);
        drop(state.lock(&holder()).unwrap());
    }

    #[test]
    fn a_live_lock_with_torn_words_still_counts_as_held() {
        let tmp = tempfile::tempdir().unwrap();
        let state = StateDir::of_repository(tmp.path());
        let _lock = state.lock(&holder()).unwrap();
        std::fs::write(state.lock_file(), b"{\"pid\":4").unwrap();
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
    fn a_lock_file_deleted_under_its_holder_is_not_mistaken_for_the_lock() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("l");
        let file = take(&path, || ()).unwrap().unwrap();
        assert!(is_still_at(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
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

//! Refs and their locks as a process leaves them that was killed, or lost its power, in the middle of writing one.
//!
//! git and libgit2 write a ref as `<ref>.lock` and rename it, without waiting for the disk. So what can be left is a lock
//! of nobody, and, after a loss of power, a ref without content or one that leads to an object that is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Repository;

use super::durable::{is_damage, is_whole};
use super::refs::{LOCK_PAUSE, LOCK_TRIES};
use super::tree::object_id;
use crate::ids::{ObjectId, RefName};

/// Why what was left cannot be judged or removed.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// The disk refused.
    #[error("cannot look at or remove `{}`", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        #[source]
        cause: io::Error,
    },
    /// git refused.
    #[error("cannot read the refs below refs/orch")]
    Git(#[from] git2::Error),
}

impl LeftError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
}

/// Removes, below `refs/orch/`, locks of nobody, refs without content, and refs that lead nowhere: the ledger knows what
/// they said. To be called by the one orch that may write; besides it only `git pack-refs` locks these refs, for a
/// moment, which is waited for. `is_open` tells whether a process has a file open: nobody comes back to a lock that none
/// has.
///
/// # Errors
/// If a file cannot be looked at or removed.
pub fn mend_own_refs(
    repo: &Repository,
    is_open: impl Fn(&Path) -> io::Result<bool>,
) -> Result<(), LeftError> {
    let root = repo.commondir().join("refs/orch");
    let mut unread = vec![root];
    while let Some(dir) = unread.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(LeftError::io(&dir)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(LeftError::io(&dir))?;
            let path = entry.path();
            let found = entry.metadata().map_err(LeftError::io(&path))?;
            if found.is_dir() {
                unread.push(path);
            } else if path.extension().is_some_and(|e| e == "lock") {
                remove_unless_it_goes(&path, &is_open)?;
            } else if !is_ref(&fs::read(&path).map_err(LeftError::io(&path))?) {
                remove(&path)?;
            }
        }
    }
    let store = repo.odb()?;
    let mut nowhere = Vec::new();
    for reference in repo.references_glob("refs/orch/*")? {
        let reference = reference?;
        match reference.target().map(|id| store.read_header(id)) {
            Some(Err(e)) if is_damage(&e) => nowhere.push(reference),
            Some(Err(e)) => return Err(e.into()),
            Some(Ok(_)) | None => {}
        }
    }
    for mut reference in nowhere {
        tracing::warn!(name = ?reference.name(), "a ref that leads nowhere is removed");
        reference.delete()?;
    }
    Ok(())
}

/// Removes, below `refs/orch/`, refs of which a commit is there and not all that it holds, as a loss of power leaves what
/// nobody waited for: such a ref is of no use, and git complains of it. To be called once after a start of the machine,
/// when what is cut off is out of the way.
///
/// # Errors
/// If git refuses.
pub fn drop_broken_refs(repo: &Repository) -> Result<(), LeftError> {
    let mut broken = Vec::new();
    for reference in repo.references_glob("refs/orch/*")? {
        let reference = reference?;
        let Some(id) = reference.target() else {
            continue;
        };
        match repo.find_commit(id) {
            Ok(_) if is_whole(repo, &object_id(id))? => {}
            // No commit of a run.
            Err(e) if !is_damage(&e) => {}
            Ok(_) | Err(_) => broken.push(reference),
        }
    }
    for mut reference in broken {
        tracing::warn!(name = ?reference.name(), "a ref to a commit that is not whole is removed");
        reference.delete()?;
    }
    Ok(())
}

/// The lock of `name`, if it is as an orch leaves it that was about to move the ref to `commit`: empty, or holding that
/// id, which nobody else knows. An empty one is another git's for the moment in which that git has it open.
///
/// # Errors
/// If it cannot be read.
pub fn own_lock(
    repo: &Repository,
    name: &RefName,
    commit: &ObjectId,
) -> Result<Option<PathBuf>, LeftError> {
    let lock = repo.commondir().join(format!("{name}.lock"));
    match fs::read(&lock) {
        Ok(text) if text.is_empty() || text.trim_ascii_end() == commit.as_str().as_bytes() => {
            Ok(Some(lock))
        }
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(LeftError::io(&lock)(e)),
    }
}

/// Whether a file holds an object's id, of either hash, or the name of a ref.
fn is_ref(content: &[u8]) -> bool {
    let id = content.trim_ascii_end();
    content.starts_with(b"ref: ")
        || [40, 64].contains(&id.len()) && id.iter().all(u8::is_ascii_hexdigit)
}

fn remove_unless_it_goes(
    lock: &Path,
    is_open: impl Fn(&Path) -> io::Result<bool>,
) -> Result<(), LeftError> {
    for _ in 0..LOCK_TRIES {
        // git closes a lock just before it renames it.
        std::thread::sleep(LOCK_PAUSE);
        if !lock.exists() {
            return Ok(());
        }
        if !is_open(lock).map_err(LeftError::io(lock))? {
            break;
        }
    }
    remove(lock)
}

fn remove(path: &Path) -> Result<(), LeftError> {
    tracing::warn!(file = %path.display(), "what a killed git left of a ref is removed");
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LeftError::io(path)(e)),
        _ => Ok(()),
    }
}

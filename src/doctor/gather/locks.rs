//! Lock files of git: which are there, and who may own them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::doctor::facts::LockFacts;
use crate::git::Repository;
use crate::git::land::unfinished_checkouts;
use crate::process;
use crate::store::entries_in;

/// Lock files of git in a common git directory and in that of a worktree, besides those of refs.
const COMMON_LOCKS: [&str; 3] = ["packed-refs.lock", "config.lock", "shallow.lock"];
const WORKTREE_LOCKS: [&str; 2] = ["index.lock", "HEAD.lock"];

/// The lock files that are there for longer than one look takes, and worktrees with an unfinished update.
pub(super) fn found(repo: &Repository) -> anyhow::Result<(Vec<LockFacts>, Vec<PathBuf>)> {
    let common = repo.common_dir();
    let worktrees = repo.worktrees()?;
    let unfinished = unfinished_checkouts(repo)?;
    let mut paths: Vec<PathBuf> = COMMON_LOCKS.iter().map(|name| common.join(name)).collect();
    for worktree in &worktrees {
        paths.extend(
            WORKTREE_LOCKS
                .iter()
                .map(|name| worktree.git_dir.join(name)),
        );
    }
    ref_locks(&common.join("refs"), &mut paths)?;
    let mut dirs: Vec<PathBuf> = worktrees.into_iter().map(|w| w.path).collect();
    dirs.push(common.to_owned());
    let mut locks = Vec::new();
    for path in paths {
        let Some(before) = inode(&path)? else {
            continue;
        };
        let owners = process::owners_of_git_lock(&path, &dirs)?;
        if inode(&path)? != Some(before) {
            continue;
        }
        locks.push(LockFacts {
            is_orchs: unfinished
                .iter()
                .any(|left| left.lock.as_ref() == Some(&path)),
            owners: owners.into_iter().map(|p| (p.pid, p.comm)).collect(),
            path,
        });
    }
    let unfinished = unfinished.into_iter().map(|left| left.worktree);
    Ok((locks, unfinished.collect()))
}

/// Which file has this name now.
fn inode(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn ref_locks(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for path in entries_in(dir)? {
        let is_dir = match path.symlink_metadata() {
            Ok(meta) => meta.is_dir(),
            // A ref may go at any moment.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if is_dir {
            ref_locks(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "lock") {
            found.push(path);
        }
    }
    Ok(())
}

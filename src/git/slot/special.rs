//! Named pipes, sockets and devices in the working tree of a slot. git neither lists nor removes them, and whoever opens
//! a pipe waits for its other end, so that orch looks for them itself. In directories that are ignored they stay, as all
//! else there.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{EXCHANGE_DIR, Slot, SlotError, files};
use crate::git::repository::as_path;

impl Slot {
    /// Where they are, relative to the top.
    pub(in crate::git) fn special_files(&self) -> Result<Vec<PathBuf>, SlotError> {
        let libgit2 = |cause| self.libgit2(cause);
        let tree = self.tree();
        let opened = self.repo.open()?;
        opened.set_workdir(&tree, false).map_err(libgit2)?;
        let tracked = self.tracked_dirs().map_err(libgit2)?;
        let (mut found, mut unread) = (Vec::new(), vec![PathBuf::new()]);
        while let Some(dir) = unread.pop() {
            let full = tree.join(&dir);
            let io = |cause| SlotError::io("list", &full, cause);
            let entries = match std::fs::read_dir(&full) {
                Ok(entries) => entries,
                // That it cannot be read is told by git.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => continue,
                Err(e) => return Err(io(e)),
            };
            for entry in entries {
                let entry = entry.map_err(io)?;
                let (kind, path) = (entry.file_type().map_err(io)?, dir.join(entry.file_name()));
                if kind.is_file() || kind.is_symlink() || is_own(&path) {
                    continue;
                }
                if kind.is_dir() && tracked.contains(&path) {
                    unread.push(path);
                } else if !opened.is_path_ignored(&path).map_err(libgit2)? {
                    match kind.is_dir() {
                        false => found.push(path),
                        // Another repository is left out, or removed, whole.
                        true if entry.path().join(".git").symlink_metadata().is_ok() => {}
                        true => unread.push(path),
                    }
                }
            }
        }
        Ok(found)
    }

    /// The directories that hold what orch's index has, at any depth.
    fn tracked_dirs(&self) -> Result<HashSet<PathBuf>, git2::Error> {
        let index = git2::Index::open(&self.index())?;
        let mut dirs = HashSet::new();
        for entry in index.iter() {
            for dir in as_path(&entry.path).ancestors().skip(1) {
                if !dirs.insert(dir.to_owned()) {
                    break;
                }
            }
        }
        Ok(dirs)
    }

    /// Removes them.
    pub(super) fn remove_special_files(&self) -> Result<(), SlotError> {
        let found = self.special_files()?;
        found
            .iter()
            .try_for_each(|path| files::remove(&self.tree().join(path)))
    }
}

/// What is never collected: the slot's own git, and the exchange directory.
fn is_own(path: &Path) -> bool {
    [Path::new(".git"), Path::new(EXCHANGE_DIR)].contains(&path)
}

//! An update ended file by file, whatever a git or an orch that died has done of it, and whatever a person did since.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::checkout::{Change, CheckoutError, git_in, remove_if_there};
use super::super::tree::Entry;
use super::{Update, names, push_entry, succeed};

/// How many names one command line is given: with git's longest paths (4096 bytes) far below what Linux takes (2 MiB).
const NAMES_AT_ONCE: usize = 250;

/// The part of a mode that tells files, links and submodules apart, and what it is for files.
const FILE_KIND: i32 = 0o170_000;
const REGULAR: i32 = 0o100_000;

/// The mode of a submodule in a tree.
const SUBMODULE: i32 = 0o160_000;

impl Update<'_> {
    /// To be called on a fresh copy of the worktree's index, of which all entries to be changed become the new
    /// commit's. A file does if it is the old commit's, or is not there or only its beginning is, as when git was about to
    /// write it or could not end that. Returns the files that were kept.
    pub(in crate::git) fn settle(&self, lock: &File) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let skipped = self.skipped()?;
        let unlike_old = self.unlike("old", |change| change.old)?;
        let (mut old, mut begun) = (BTreeSet::new(), BTreeSet::new());
        for path in self
            .unlike("new", |change| change.new)?
            .difference(&skipped)
        {
            if !unlike_old.contains(path) || self.look(path)?.is_none() {
                old.insert(path.clone());
            } else if self.is_begun(path)? {
                begun.insert(path.clone());
            }
        }
        self.enter(self.changes.keys().map(PathBuf::as_path))?;
        self.mark_skipped(skipped.iter().filter(|path| self.stays_or_comes(path)))?;
        for path in old.iter().filter(|path| self.was_file(path)) {
            self.remove(path)?;
        }
        for path in &begun {
            remove_if_there(&self.worktree.path.join(path))?;
        }
        old.retain(|path| self.stays_or_comes(path));
        old.append(&mut begun);
        let written = self.write(&old, lock)?;
        let mut kept = self.unlike("new", |change| change.new)?;
        kept.retain(|path| !skipped.contains(path) && !self.is_submodule(path));
        for path in written.iter().filter(|path| kept.contains(**path)) {
            // Nobody's file is in the way: it just could not be written.
            if self.look(path)?.is_none() || self.is_begun(path)? {
                return Err(CheckoutError::Unwritten(self.worktree.path.join(path)));
            }
        }
        let kept = self.finish_plan(kept)?;
        self.refresh()?;
        Ok(kept)
    }

    fn stays_or_comes(&self, path: &Path) -> bool {
        self.changes
            .get(path)
            .is_some_and(|change| change.new.is_some())
    }

    /// Submodules stay where they are, as with git.
    fn was_file(&self, path: &Path) -> bool {
        let old = self.changes.get(path).and_then(|change| change.old);
        old.is_some() && !self.is_submodule(path)
    }

    fn is_submodule(&self, path: &Path) -> bool {
        let change = self.changes.get(path);
        let sides = change
            .into_iter()
            .flat_map(|change| [change.old, change.new]);
        sides.flatten().any(|entry| entry.mode == SUBMODULE)
    }

    /// Removes a file, and the directories that it leaves empty.
    fn remove(&self, path: &Path) -> Result<(), CheckoutError> {
        remove_if_there(&self.worktree.path.join(path))?;
        for dir in above(path) {
            // Fails where something is left, which ends it.
            if fs::remove_dir(self.worktree.path.join(dir)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Whether a file is a part of its new content from the start: what is left of a write that could not be ended.
    fn is_begun(&self, path: &Path) -> Result<bool, CheckoutError> {
        let Some(new) = self.changes.get(path).and_then(|change| change.new) else {
            return Ok(false);
        };
        let full = self.worktree.path.join(path);
        let found = self.look(path)?;
        if new.mode & FILE_KIND != REGULAR || !found.is_some_and(|found| found.is_file()) {
            return Ok(false);
        }
        let opened = self.repo.open()?;
        let blob = opened.find_blob(new.id)?;
        let there = fs::read(&full).map_err(CheckoutError::io(&full))?;
        Ok(there.len() < blob.size() && blob.content().starts_with(&there))
    }

    /// Writes the index's version of files that are not there. What something stands in the way of is left; gives the
    /// others.
    fn write<'p>(
        &self,
        paths: &'p BTreeSet<PathBuf>,
        lock: &File,
    ) -> Result<Vec<&'p PathBuf>, CheckoutError> {
        let mut free = Vec::new();
        for path in paths {
            if !self.is_below_file(path)? {
                free.push(path);
            }
        }
        for some in free.chunks(NAMES_AT_ONCE) {
            let lock = lock.try_clone().map_err(CheckoutError::io(self.index))?;
            let command = self.git().args(["checkout-index", "-q", "-u", "--"]);
            let command = command.args(some.iter().copied()).holding(lock);
            // Its exit code 1 says that something stood in the way, which it left.
            succeed(command, "git checkout-index")?;
        }
        Ok(free)
    }

    fn is_below_file(&self, path: &Path) -> Result<bool, CheckoutError> {
        for dir in above(path) {
            if self.look(dir)?.is_some_and(|found| !found.is_dir()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Files that a sparse checkout leaves out of the worktree.
    fn skipped(&self) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let listed = self.git().args(["ls-files", "-t", "-z"]).run()?;
        let fields = listed.split(|&b| b == 0);
        let skipped = fields.filter_map(|field| field.strip_prefix(b"S "));
        Ok(skipped.map(|name| OsStr::from_bytes(name).into()).collect())
    }

    /// Marks again what [`Update::enter`] has unmarked.
    fn mark_skipped<'p>(
        &self,
        paths: impl Iterator<Item = &'p PathBuf>,
    ) -> Result<(), CheckoutError> {
        let mut names = Vec::new();
        for path in paths {
            names.extend(path.as_os_str().as_bytes());
            names.push(0);
        }
        let command = self
            .git()
            .args(["update-index", "--skip-worktree", "-z", "--stdin"]);
        command.input(names).run()?;
        Ok(())
    }

    /// The changed files whose content in the worktree, as git would store it, is not the given side's.
    fn unlike(
        &self,
        name: &str,
        side: impl Fn(&Change) -> Option<Entry>,
    ) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let index = self.index.with_file_name(format!("index-{name}"));
        remove_if_there(&index)?;
        remove_if_there(&index.with_extension("lock"))?;
        let mut unlike = BTreeSet::new();
        let mut entries = Vec::new();
        for (path, change) in self.changes {
            match side(change) {
                Some(entry) => push_entry(&mut entries, path, Some(entry)),
                None if self.look(path)?.is_some_and(|found| !found.is_dir()) => {
                    unlike.insert(path.clone());
                }
                None => {}
            }
        }
        let git = || git_in(self.repo, self.worktree, &index);
        git()
            .args(["update-index", "-z", "--index-info"])
            .input(entries)
            .run()?;
        super::refresh(git())?;
        let command = git().args([
            "diff-files",
            "--name-only",
            "-z",
            "--ignore-submodules=dirty",
        ]);
        unlike.extend(names(&command.run()?));
        Ok(unlike)
    }
}

fn above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors()
        .skip(1)
        .filter(|dir| !dir.as_os_str().is_empty())
}

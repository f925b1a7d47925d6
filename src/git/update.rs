//! The files and the index of a worktree brought from one commit to another, by git itself, on a copy of the index.
//!
//! Files that do not differ between the two commits keep whatever a person did to them. Before the branch moves, a
//! check refuses if that is not possible; after it, what the check allowed is done, and what changed under it is kept.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::checkout::{Change, Changes, CheckoutError, Refusal, git_in, is_absent};
use super::plan_copy::PlanCopy;
use super::program::{GitCommand, GitError};
use super::repository::{Repository, Worktree};
use super::tree::Entry;
use crate::ids::ObjectId;

mod settle;

/// Most files looked at in a directory that gives way to a file, before it counts as being in the way.
const LEFTOVERS_MAX: usize = 10_000;

/// One worktree on its way from one commit to another.
#[derive(Debug)]
pub(super) struct Update<'a> {
    pub(super) repo: &'a Repository,
    pub(super) worktree: &'a Worktree,
    pub(super) from: &'a ObjectId,
    pub(super) to: &'a ObjectId,
    pub(super) changes: &'a Changes,
    /// A copy of the worktree's index, which is worked on.
    pub(super) index: &'a Path,
    /// The plan's copy, if it lies in this worktree.
    pub(super) plan: Option<&'a PlanCopy>,
}

impl Update<'_> {
    /// Refuses if a file to be changed has changes of its own. Touches nothing but the copy of the index.
    pub(super) fn check(&self) -> Result<Option<Refusal>, CheckoutError> {
        self.refresh()?;
        let mut in_the_way = self.dirty()?;
        in_the_way.extend(self.obstructed()?);
        if let Some(plan) = self.plan.filter(|plan| in_the_way.contains(&plan.path)) {
            if plan.on_disk()?.as_ref() != Some(&plan.expected) {
                return Ok(Some(Refusal::PlanChanged(plan.file())));
            }
            if self.staged_apart(&plan.path)? {
                return Ok(Some(self.refusal(&BTreeSet::from([plan.path.clone()]))));
            }
            in_the_way.remove(&plan.path);
            self.enter([plan.path.as_path()])?;
        }
        if !in_the_way.is_empty() {
            return Ok(Some(self.refusal(&in_the_way)));
        }
        if let Some(refusal) = self.unwritable()? {
            return Ok(Some(refusal));
        }
        let output = self
            .git()
            .args(["read-tree", "-m", "-u", "-n"])
            .args(self.ends())
            .output()?;
        Ok((output.code != Some(0)).then(|| Refusal::Git {
            worktree: self.worktree.path.clone(),
            detail: output.stderr.trim().to_owned(),
        }))
    }

    /// The index as it will be, without the stat data of files that are still to be written, into `index`.
    pub(super) fn preview(&self, index: &Path) -> Result<(), CheckoutError> {
        fs::copy(self.index, index).map_err(CheckoutError::io(index))?;
        let command = git_in(self.repo, self.worktree, index).args(["read-tree", "-m"]);
        command.args(self.ends()).run()?;
        Ok(())
    }

    /// Changes the files and the copy of the index, after a check that allowed it. The git that does it holds `lock`
    /// to its end. Returns the files that were kept because they are neither what they were nor what they become.
    pub(super) fn apply(&self, lock: &File) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let held = lock.try_clone().map_err(CheckoutError::io(self.index))?;
        let command = self.git().args(["read-tree", "-m", "-u"]).args(self.ends());
        match command.holding(held).run() {
            Ok(_) => self.finish_plan(self.plan_apart()?),
            Err(GitError::Failed { .. }) => self.settle(lock),
            Err(e) => Err(e.into()),
        }
    }

    /// The plan's path, if git has left its file alone.
    fn plan_apart(&self) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let Some(plan) = self
            .plan
            .filter(|plan| self.changes.contains_key(&plan.path))
        else {
            return Ok(BTreeSet::new());
        };
        self.changed_since_staged(&plan.path)
    }

    /// Writes the plan's copy if it was kept.
    fn finish_plan(&self, mut kept: BTreeSet<PathBuf>) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        if let Some(plan) = self.plan.filter(|plan| kept.contains(&plan.path)) {
            if plan.write()? {
                kept.remove(&plan.path);
            }
            self.refresh()?;
        }
        Ok(kept)
    }

    fn git(&self) -> GitCommand<'_> {
        git_in(self.repo, self.worktree, self.index)
    }

    fn ends(&self) -> [&str; 2] {
        [self.from.as_str(), self.to.as_str()]
    }

    fn refusal(&self, files: &BTreeSet<PathBuf>) -> Refusal {
        Refusal::Dirty {
            worktree: self.worktree.path.clone(),
            files: shown(files),
        }
    }

    /// Takes the files' stat data into the index, so that what was only touched does not look changed. Its exit code
    /// says that some file is changed, which is asked about elsewhere.
    fn refresh(&self) -> Result<(), CheckoutError> {
        refresh(self.git())
    }

    /// Files to be changed whose index entry or content is not the old commit's.
    fn dirty(&self) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let command = self.git().args([
            "diff-index",
            "--name-only",
            "-z",
            "--ignore-submodules=dirty",
        ]);
        let names = names(&command.arg(self.from.as_str()).run()?);
        Ok(names
            .into_iter()
            .filter(|name| self.changes.contains_key(name))
            .collect())
    }

    /// Whether something is staged for the file that is neither the old commit's nor what lies in the worktree: it
    /// would exist nowhere else.
    fn staged_apart(&self, path: &Path) -> Result<bool, CheckoutError> {
        let staged = self
            .git()
            .args(["diff-index", "--cached", "--name-only", "-z"]);
        let staged = staged.arg(self.from.as_str()).arg("--").arg(path).run()?;
        Ok(!staged.is_empty() && !self.changed_since_staged(path)?.is_empty())
    }

    /// The path, if its file is not what the index has (or was not compared with it yet).
    fn changed_since_staged(&self, path: &Path) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let command = self
            .git()
            .args(["diff-files", "--name-only", "-z", "--"])
            .arg(path);
        Ok(names(&command.run()?).into_iter().collect())
    }

    /// What lies where a new file will be: git would overwrite it if it is ignored.
    fn obstructed(&self) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let mut found = BTreeSet::new();
        let comes = |change: &Change| change.old.is_none() && change.new.is_some();
        for path in self
            .changes
            .iter()
            .filter(|(_, change)| comes(change))
            .map(|(path, _)| path)
        {
            let above = path
                .ancestors()
                .skip(1)
                .filter(|dir| !dir.as_os_str().is_empty());
            for dir in above {
                let is_other = self.look(dir)?.is_some_and(|found| !found.is_dir());
                if is_other && !self.goes(dir) {
                    found.insert(dir.to_owned());
                }
            }
            match self.look(path)? {
                Some(there) if there.is_dir() => found.extend(self.leftover(path)?),
                Some(_) => drop(found.insert(path.clone())),
                None => {}
            }
        }
        Ok(found)
    }

    /// A directory in which a file is to be written, made or removed, and which does not allow that.
    fn unwritable(&self) -> Result<Option<Refusal>, CheckoutError> {
        let above = self.changes.keys().filter_map(|path| path.parent());
        let directories: BTreeSet<&Path> = above.collect();
        for directory in directories {
            let existing = directory.ancestors().find_map(|dir| {
                let found = self.look(dir).transpose()?;
                let is_directory = |found: &fs::Metadata| found.is_dir();
                let dir = self.worktree.path.join(dir);
                found.map(|f| is_directory(&f).then_some(dir)).transpose()
            });
            let Some(existing) = existing.transpose()? else {
                continue;
            };
            match rustix::fs::access(&existing, rustix::fs::Access::WRITE_OK) {
                Ok(()) => {}
                Err(why @ (Errno::ROFS | Errno::ACCESS)) => {
                    return Ok(Some(Refusal::Unwritable {
                        directory: existing,
                        why: why.to_string(),
                    }));
                }
                Err(e) => return Err(CheckoutError::io(&existing)(e.into())),
            }
        }
        Ok(None)
    }

    /// A file in the directory at `path`, which gives way to a file, that does not go with it.
    fn leftover(&self, path: &Path) -> Result<Option<PathBuf>, CheckoutError> {
        let mut unread = vec![path.to_owned()];
        for _ in 0..LEFTOVERS_MAX {
            let Some(path) = unread.pop() else {
                return Ok(None);
            };
            let full = self.worktree.path.join(&path);
            if !self.look(&path)?.is_some_and(|found| found.is_dir()) {
                if !self.goes(&path) {
                    return Ok(Some(path));
                }
                continue;
            }
            for entry in fs::read_dir(&full).map_err(CheckoutError::io(&full))? {
                let entry = entry.map_err(CheckoutError::io(&full))?;
                unread.push(path.join(entry.file_name()));
            }
        }
        Ok(Some(path.to_owned()))
    }

    fn goes(&self, path: &Path) -> bool {
        let change = self.changes.get(path);
        change.is_some_and(|change| change.old.is_some() && change.new.is_none())
    }

    fn look(&self, path: &Path) -> Result<Option<fs::Metadata>, CheckoutError> {
        let full = self.worktree.path.join(path);
        match fs::symlink_metadata(&full) {
            Ok(found) => Ok(Some(found)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(CheckoutError::io(&full)(e)),
        }
    }

    /// Sets the index entries of `paths` to what they become, so that git leaves these files alone. What goes is
    /// entered first, so that a file can become a directory.
    fn enter<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Result<(), CheckoutError> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for path in paths {
            match self.changes.get(path).and_then(|change| change.new) {
                Some(entry) => push_entry(&mut come, path, Some(entry)),
                None => push_entry(&mut gone, path, None),
            }
        }
        gone.append(&mut come);
        self.git()
            .args(["update-index", "-z", "--index-info"])
            .input(gone)
            .run()?;
        Ok(())
    }
}

fn refresh(git: GitCommand<'_>) -> Result<(), CheckoutError> {
    succeed(
        git.args(["update-index", "-q", "--refresh"]),
        "git update-index --refresh",
    )
}

/// Runs a command whose exit code 1 is an answer and no failure.
fn succeed(command: GitCommand<'_>, name: &str) -> Result<(), CheckoutError> {
    let output = command.output()?;
    match output.code {
        Some(0 | 1) => Ok(()),
        code => Err(CheckoutError::Git(GitError::Failed {
            command: name.to_owned(),
            code,
            stderr: output.stderr,
        })),
    }
}

/// `mode SP id TAB path NUL`, the input of `update-index --index-info`; mode 0 removes.
fn push_entry(lines: &mut Vec<u8>, path: &Path, entry: Option<Entry>) {
    let entry = entry.unwrap_or(Entry {
        id: git2::Oid::ZERO_SHA1,
        mode: 0,
    });
    lines.extend(format!("{:o} {}\t", entry.mode, entry.id).as_bytes());
    lines.extend(path.as_os_str().as_bytes());
    lines.push(0);
}

fn names(printed: &[u8]) -> Vec<PathBuf> {
    let names = printed.split(|&b| b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .collect()
}

/// Paths as people read them.
pub(super) fn shown(files: &BTreeSet<PathBuf>) -> Vec<String> {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect()
}

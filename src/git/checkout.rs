//! Worktrees that have a branch checked out, and what in them forbids that the branch is moved.
//!
//! Such a worktree must be brought along when its branch moves: otherwise git shows the inverse of the move as the
//! person's own staged change, ready to be committed. `hold` keeps others out meanwhile, `update` does it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::program::{GitCommand, GitError};
use super::refs::RefError;
use super::repository::{Repository, RepositoryError, Worktree};
use super::tree::{Entry, tree_of};
use crate::ids::{ObjectId, RefName};

/// How many files a message names before it only counts.
const FILES_SHOWN: usize = 5;

/// What git leaves in a worktree's git directory while a person is in the middle of something, and its name.
const UNDERWAY: [(&str, &str); 6] = [
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("BISECT_START", "bisect"),
];

/// Where git writes the branch that a rebase or bisect has taken off HEAD and will go back to.
const SUSPENDED: [&str; 3] = [
    "rebase-merge/head-name",
    "rebase-apply/head-name",
    "BISECT_START",
];

/// What is in the way of moving a branch that is checked out. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another git works in the worktree, or died in it.
    #[error("another git process works in {} (`{}` exists)", worktree.display(), lock.display())]
    Locked {
        /// The worktree.
        worktree: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// A person is in the middle of something.
    #[error("a {what} is under way in {}", worktree.display())]
    Underway {
        /// The worktree.
        worktree: PathBuf,
        /// Merge, rebase and so on.
        what: &'static str,
    },
    /// Files that the move changes have changes of their own, or lie where it puts new ones.
    #[error("uncommitted changes in {} are in the way: {}", worktree.display(), some_of(files))]
    Dirty {
        /// The worktree.
        worktree: PathBuf,
        /// The files, relative to the worktree.
        files: Vec<String>,
    },
    /// The person's copy of the plan is not what it was when its new text was made.
    #[error("{} was just changed", .0.display())]
    PlanChanged(PathBuf),
    /// A directory in which files change cannot be written: read-only, or another user's.
    #[error("{} cannot be written: {why}", directory.display())]
    Unwritable {
        /// The directory.
        directory: PathBuf,
        /// The system's refusal.
        why: String,
    },
    /// git would not do it, for a reason of its own.
    #[error("git cannot update {}: {detail}", worktree.display())]
    Git {
        /// The worktree.
        worktree: PathBuf,
        /// Its complaint.
        detail: String,
    },
    /// The worktree lies on a disk that is not there (`git worktree lock`).
    #[error("the worktree {} has the branch checked out, and is not there now", .0.display())]
    Away(PathBuf),
    /// An earlier orch died while it moved the branch there.
    #[error("an earlier orch has not finished its update of {}", .0.display())]
    Unfinished(PathBuf),
}

impl Refusal {
    /// What a person can do about it: one command or one sentence each.
    pub fn hints(&self) -> Vec<String> {
        let shown = |path: &Path| quoted(&path.to_string_lossy());
        let hint = match self {
            Self::Locked { lock, .. } => {
                format!("wait for that process; if none runs, `rm {}`", shown(lock))
            }
            Self::Underway { what, .. } => format!("finish or abort the {what}"),
            Self::Dirty { worktree, .. } => {
                format!(
                    "commit the changes, or `git -C {} stash -u`",
                    shown(worktree)
                )
            }
            Self::Away(path) => {
                format!("connect its disk, or `git worktree unlock {}`", shown(path))
            }
            Self::Unwritable { directory, .. } => {
                format!("make {} writable", shown(directory))
            }
            Self::PlanChanged(_) | Self::Git { .. } | Self::Unfinished(_) => return Vec::new(),
        };
        vec![hint]
    }
}

/// A word of a command that a person can paste into a shell.
pub(super) fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| format!("{text:?}"), Into::into)
}

fn some_of(files: &[String]) -> String {
    let shown = files
        .iter()
        .take(FILES_SHOWN)
        .map(|file| format!("`{file}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(FILES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Why a checked-out branch could not be moved, or its worktree not be brought along.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// A file cannot be read or written.
    #[error("cannot read or write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        #[source]
        cause: io::Error,
    },
    /// A file of the new commit could not be written, and nothing is in its way.
    #[error("`{}` cannot be written; is the disk full?", .0.display())]
    Unwritten(PathBuf),
    /// The git program failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// An object cannot be read.
    #[error("cannot read the changes to be checked out")]
    Objects(#[from] git2::Error),
    /// The branch cannot be read.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// The worktrees cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The notes of an unfinished update cannot be understood: damaged, or of a newer orch.
    #[error("cannot understand `{}`: {detail}", path.display())]
    Notes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl CheckoutError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io {
            path: path.clone(),
            cause,
        }
    }
}

/// `a/b` is absent too if `a` is a file.
pub(super) fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn remove_if_there(file: &Path) -> Result<(), CheckoutError> {
    match fs::remove_file(file) {
        Err(e) if !is_absent(&e) => Err(CheckoutError::io(file)(e)),
        _ => Ok(()),
    }
}

/// A file that differs between two commits: what stands there before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: Option<Entry>,
    pub(super) new: Option<Entry>,
}

/// Changes by path, relative to the top of the repository.
pub(super) type Changes = BTreeMap<PathBuf, Change>;

/// What differs between two commits, file by file.
pub(super) fn changes(
    opened: &git2::Repository,
    from: &ObjectId,
    to: &ObjectId,
) -> Result<Changes, git2::Error> {
    let (from, to) = (tree_of(opened, from)?, tree_of(opened, to)?);
    let diff = opened.diff_tree_to_tree(Some(&from), Some(&to), None)?;
    let mut changes = Changes::new();
    for delta in diff.deltas() {
        let sides = [delta.old_file(), delta.new_file()];
        let [old, new] = sides.each_ref().map(|file| {
            file.exists().then(|| Entry {
                id: file.id(),
                mode: u32::from(file.mode()).cast_signed(),
            })
        });
        let Some(path) = sides.iter().find_map(git2::DiffFile::path) else {
            continue;
        };
        // A file that became a link comes as two deltas of one path.
        let change = changes.entry(path.to_owned()).or_insert(Change {
            old: None,
            new: None,
        });
        change.old = change.old.or(old);
        change.new = change.new.or(new);
    }
    Ok(changes)
}

/// The worktrees that have `branch` checked out, or will go back to it after a rebase or bisect. Those whose directory
/// is gone are left out, unless they are locked to be kept.
///
/// # Errors
/// If a worktree's state cannot be read.
pub fn checked_out_in(repo: &Repository, branch: &RefName) -> Result<Vec<Worktree>, CheckoutError> {
    let mut found = Vec::new();
    for worktree in repo.worktrees()? {
        let concerned = worktree.branch.as_ref() == Some(branch) || suspends(&worktree, branch)?;
        let present = worktree.path.exists() || worktree.git_dir.join("locked").exists();
        if concerned && present {
            found.push(worktree);
        }
    }
    Ok(found)
}

fn suspends(worktree: &Worktree, branch: &RefName) -> Result<bool, CheckoutError> {
    for file in SUSPENDED {
        let path = worktree.git_dir.join(file);
        match fs::read(&path) {
            Ok(name) => {
                let names = [branch.as_str(), branch.short()].map(str::as_bytes);
                if names.contains(&name.trim_ascii_end()) {
                    return Ok(true);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(CheckoutError::io(&path)(e)),
        }
    }
    Ok(false)
}

/// What forbids a move even before the files are looked at.
pub(super) fn refused_by_state(worktree: &Worktree) -> Option<Refusal> {
    let path = worktree.path.clone();
    if !path.exists() {
        return Some(Refusal::Away(path));
    }
    let (_, what) = UNDERWAY
        .iter()
        .find(|(file, _)| worktree.git_dir.join(file).exists())?;
    Some(Refusal::Underway {
        worktree: path,
        what,
    })
}

/// A git command in a worktree, with `index` instead of the worktree's own.
pub(super) fn git_in<'r>(
    repo: &'r Repository,
    worktree: &Worktree,
    index: &Path,
) -> GitCommand<'r> {
    repo.program()
        .command(&worktree.path)
        .env("GIT_DIR", &worktree.git_dir)
        .env("GIT_WORK_TREE", &worktree.path)
        .env("GIT_INDEX_FILE", index)
        .env("GIT_LITERAL_PATHSPECS", "1")
        .config("submodule.recurse=false")
}

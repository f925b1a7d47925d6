//! Why a slot, or a file in it, cannot be used.

use std::path::{Path, PathBuf};

use crate::git::program::GitError;
use crate::git::repository::RepositoryError;
use crate::ids::ObjectId;

/// Why a slot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The directory of the slot holds something else.
    #[error("{} is not a slot of this repository", .0.display())]
    Foreign(PathBuf),
    /// The git of an earlier orch still works in it.
    #[error("a git command of an earlier orch still works in {}", .0.display())]
    Busy(PathBuf),
    /// The working tree was removed or replaced; what the agent left is not known.
    #[error("the working tree {} is gone", .0.display())]
    Gone(PathBuf),
    /// The commit to start from is not in the repository.
    #[error("the repository does not hold {0}")]
    Missing(ObjectId),
    /// The files that are to be copied in are not there, or too many.
    #[error("cannot copy the files of `.worktreeinclude`: {0}")]
    Include(String),
    /// A file or directory of the slot refused.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// libgit2 cannot read the slot's index or a tree.
    #[error("cannot read what {} holds", path.display())]
    Libgit2 {
        /// The slot.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: git2::Error,
    },
    /// The git program failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The user's repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl SlotError {
    pub(in crate::git) fn io(verb: &'static str, path: &Path, cause: std::io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            cause,
        }
    }
}

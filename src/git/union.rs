//! The union of both sides' lines: what a person may have said beforehand settles a conflict in a file to which
//! everybody adds, such as a list of changes.
//!
//! Only conflicts about contents are settled, in text files that both sides have. What one side deleted, moved elsewhere
//! or made no file of, binary files, and modes that differ stay in conflict. The lines are put together by
//! `git merge-file`; which files the union is meant for is the caller's to say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use git2::{Oid, Repository};

use super::program::{Git, GitError};

/// The modes of files that have lines: plain and executable.
const FILES: [&str; 2] = ["100644", "100755"];

/// What `git merge-file` exits with when it cannot merge at all.
const NOT_MERGEABLE: i32 = 255;

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) mode: String,
    pub(super) id: Oid,
}

/// What stands at a path in the base, the tip and the candidate.
pub(super) type Versions = [Option<Version>; 3];

/// What a merge left unmerged, by path.
pub(super) type Unmerged = BTreeMap<Vec<u8>, Versions>;

/// Why there is no union.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// A version could not be read, or the union not be written.
    #[error("the object store refused")]
    Objects(#[from] git2::Error),
    /// `git merge-file` reads files, and they could not be written.
    #[error("cannot write what `git merge-file` reads")]
    Scratch(#[source] std::io::Error),
    /// `git merge-file` could not be asked.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// The union of a file's versions as a new object; `None` if they have none.
pub(super) fn union(
    git: &Git,
    repo: &Repository,
    versions: &Versions,
) -> Result<Option<Oid>, UnionError> {
    let [base, Some(tip), Some(candidate)] = versions else {
        return Ok(None);
    };
    let is_file = |version: &Version| FILES.contains(&version.mode.as_str());
    // With a base the mode is merged like any value; of two that came from nowhere neither is right.
    let modes_fit = base.is_some() || tip.mode == candidate.mode;
    if !modes_fit || ![tip, candidate].into_iter().chain(base).all(is_file) {
        return Ok(None);
    }
    let scratch = tempfile::tempdir().map_err(UnionError::Scratch)?;
    for (name, version) in [
        ("tip", Some(tip)),
        ("base", base.as_ref()),
        ("candidate", Some(candidate)),
    ] {
        let blob = version.map(|v| repo.find_blob(v.id)).transpose()?;
        let bytes = blob.as_ref().map_or(&[][..], |blob| blob.content());
        if bytes.contains(&0) {
            return Ok(None);
        }
        fs::write(scratch.path().join(name), bytes).map_err(UnionError::Scratch)?;
    }
    Ok(match lines_of_both(git, scratch.path())? {
        Some(bytes) => Some(repo.blob(&bytes)?),
        None => None,
    })
}

/// The tip's version of a file that both sides have.
pub(super) fn tips_file(versions: &Versions) -> Option<Oid> {
    let [_, Some(tip), Some(candidate)] = versions else {
        return None;
    };
    let are_files = [tip, candidate].map(|version| FILES.contains(&version.mode.as_str()));
    (are_files == [true; 2]).then_some(tip.id)
}

fn lines_of_both(git: &Git, scratch: &Path) -> Result<Option<Vec<u8>>, GitError> {
    let output = git
        .command(scratch)
        .args(["merge-file", "--union", "-p", "-q"])
        .args(["tip", "base", "candidate"])
        .output()?;
    match output.code {
        Some(0) => Ok(Some(output.stdout)),
        Some(NOT_MERGEABLE) => Ok(None),
        code => Err(GitError::Failed {
            command: "git merge-file --union".to_owned(),
            code,
            stderr: output.stderr,
        }),
    }
}

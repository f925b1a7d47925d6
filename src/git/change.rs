//! What a commit changes: as a digest by which two commits can be told to make the same change to the same files, and as
//! a text to read.

use std::path::Path;

use git2::{DiffFormat, Oid, Repository};
use sha2::{Digest, Sha256};

use crate::ids::ObjectId;

/// The digest of what `commit` changes against `onto`: each path with mode and content before and after. It is the same
/// for two commits only if they change the same files from the same contents to the same contents, so that nothing that
/// the one touches has changed on the target before the other. The plan, which each landing changes, is left `apart`.
///
/// # Errors
/// If one of the commits cannot be read.
pub fn digest(
    repo: &Repository,
    onto: &ObjectId,
    commit: &ObjectId,
    apart: Option<&Path>,
) -> Result<String, git2::Error> {
    let tree = |id: &ObjectId| {
        let commit = repo.find_commit(Oid::from_str(id.as_str())?)?;
        commit.tree()
    };
    let diff = repo.diff_tree_to_tree(Some(&tree(onto)?), Some(&tree(commit)?), None)?;
    let mut hash = Sha256::new();
    for delta in diff.deltas() {
        let sides = [delta.old_file(), delta.new_file()];
        if apart.is_some() && sides.iter().any(|side| side.path() == apart) {
            continue;
        }
        for side in sides {
            // A length before what has none of its own, so that no two lists of files read the same.
            let path = side.path_bytes().unwrap_or_default();
            hash.update(path.len().to_le_bytes());
            hash.update(path);
            hash.update(u32::from(side.mode()).to_le_bytes());
            hash.update(side.id().as_bytes());
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What `commit` changes against `onto`, as a patch of at most so many bytes, the plan left `apart`.
///
/// # Errors
/// If one of the commits cannot be read.
pub fn patch(
    repo: &Repository,
    onto: &ObjectId,
    commit: &ObjectId,
    apart: Option<&Path>,
    bytes_max: usize,
) -> Result<String, git2::Error> {
    let tree = |id: &ObjectId| {
        let commit = repo.find_commit(Oid::from_str(id.as_str())?)?;
        commit.tree()
    };
    let diff = repo.diff_tree_to_tree(Some(&tree(onto)?), Some(&tree(commit)?), None)?;
    let mut text = Vec::new();
    let mut is_whole = true;
    diff.print(DiffFormat::Patch, |delta, _, line| {
        let sides = [delta.old_file(), delta.new_file()];
        if apart.is_some() && sides.iter().any(|side| side.path() == apart) {
            return true;
        }
        if text.len() + line.content().len() > bytes_max {
            is_whole = false;
            return true;
        }
        if let mark @ ('+' | '-' | ' ') = line.origin() {
            text.extend(mark.to_string().bytes());
        }
        text.extend_from_slice(line.content());
        true
    })?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if !is_whole {
        text += "[the rest is left out]\n";
    }
    Ok(text)
}

//! Saved work brought back to where a person wants it: into a directory, or under a branch. Nothing that is there is
//! overwritten or moved.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::commits::quoted;
use super::{Kept, SalvageError};
use crate::git::left_out;
use crate::git::program::GitCommand;
use crate::git::refs::{self, Swap};
use crate::git::repository::Repository;
use crate::ids::RefName;

/// A git command that can read what was saved, wherever it lies.
pub fn git<'a>(repo: &'a Repository, kept: &Kept) -> GitCommand<'a> {
    let command = repo.git();
    match kept.name() {
        Some(_) => command,
        None => command.env(
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            quoted(&kept.dir.join("objects")),
        ),
    }
}

/// Puts the files of what was saved into `dir`, which must be empty or not there, and with them those that did not go
/// into git.
///
/// # Errors
/// If something lies there, or they cannot be read or written.
pub fn files(repo: &Repository, kept: &Kept, dir: &Path) -> Result<(), SalvageError> {
    fs::create_dir_all(dir).map_err(|e| SalvageError::io("create", dir, e))?;
    let dir = fs::canonicalize(dir).map_err(|e| SalvageError::io("find", dir, e))?;
    let mut there = fs::read_dir(&dir).map_err(|e| SalvageError::io("list", &dir, e))?;
    if there.next().is_some() {
        return Err(SalvageError::InTheWay(dir));
    }
    let scratch = tempfile::tempdir().map_err(|e| SalvageError::io("create in", &dir, e))?;
    let index = scratch.path().join("index");
    let with_index = |args: &[&str]| {
        let command = git(repo, kept).env("GIT_INDEX_FILE", &index);
        command.args(args.iter().copied())
    };
    with_index(&["read-tree", kept.salvage.commit.as_str()]).run()?;
    let mut prefix = OsString::from("--prefix=");
    prefix.push(&dir);
    prefix.push("/");
    with_index(&["checkout-index", "-a"]).arg(prefix).run()?;
    Ok(left_out::put_back(&kept.files(), &dir)?)
}

/// Makes the branch `name` at what was saved, if there is no such branch; whether there was none. Commits that did not
/// go into the repository by themselves do now.
///
/// # Errors
/// If no branch can be called so, or the repository refuses.
pub fn branch(repo: &Repository, kept: &Kept, name: &str) -> Result<bool, SalvageError> {
    if !git2::Branch::name_is_valid(name).unwrap_or(false) {
        return Err(SalvageError::BranchName(name.to_owned()));
    }
    let full = RefName::new(format!("refs/heads/{name}"));
    if kept.name().is_none() {
        take_in(repo, kept)?;
    }
    let opened = repo.open()?;
    let commit = &kept.salvage.commit;
    let oid = git2::Oid::from_str(commit.as_str());
    if oid
        .and_then(|oid| opened.find_commit(oid).map(drop))
        .is_err()
    {
        return Err(SalvageError::Gone(commit.clone()));
    }
    let swap = refs::swap(&opened, &full, None, commit, "orch: restore")?;
    Ok(swap == Swap::Done)
}

/// Copies the packs of what was saved into the repository, each with its index last: a pack without one is not seen.
fn take_in(repo: &Repository, kept: &Kept) -> Result<(), SalvageError> {
    let packs = Kept::packs_in(&kept.dir);
    let to = repo.common_dir().join("objects/pack");
    let mut names: Vec<PathBuf> = fs::read_dir(&packs)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|e| SalvageError::io("list", &packs, e))?;
    names.retain(|path| {
        let ending = path.extension().and_then(|e| e.to_str());
        matches!(ending, Some("pack" | "idx"))
    });
    names.sort_by_key(|path| path.extension().is_some_and(|e| e == "idx"));
    for from in names {
        let Some(name) = from.file_name() else {
            continue;
        };
        let target = to.join(name);
        if target.exists() {
            continue;
        }
        let part = target.with_extension("orch-part");
        fs::copy(&from, &part)
            .and_then(|_| fs::rename(&part, &target))
            .map_err(|e| SalvageError::io("copy", &from, e))?;
    }
    Ok(())
}

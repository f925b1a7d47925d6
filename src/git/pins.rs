//! Refs of orch's own in the user's repository: they keep what a run needs from being pruned, and name candidates.
//!
//! All lie below `refs/orch/`, which git neither shows as branches nor pushes or fetches by itself.

use git2::{ErrorCode, Reference, Repository};

use super::program::GitError;
use super::refs::{LOCK_PAUSE, LOCK_TRIES};
use super::tree::{object_id, oid};
use crate::ids::{ObjectId, RefName, RunId, TaskId};

/// Pins `id` for as long as the run lives, under a name that is unique within it (`base-<task>`, `landing-<task>`).
/// The name must be fit for a ref, as task ids are. A pin that exists is moved.
///
/// # Errors
/// If the object is not there, or the ref cannot be written.
pub fn pin(repo: &Repository, run: &RunId, name: &str, id: &ObjectId) -> Result<(), git2::Error> {
    let name = format!("{}{name}", pin_prefix(run));
    repo.reference(&name, oid(id)?, true, "orch: pin").map(drop)
}

/// Removes every pin of a run. Those of candidates stay: they are evidence. Waits a little for a lock that another git
/// holds.
///
/// # Errors
/// If a ref cannot be read or removed; the others may be gone.
pub fn drop_pins(repo: &Repository, run: &RunId) -> Result<(), git2::Error> {
    for reference in repo.references_glob(&format!("{}*", pin_prefix(run)))? {
        delete(reference?)?;
    }
    Ok(())
}

fn delete(mut reference: Reference<'_>) -> Result<(), git2::Error> {
    for _ in 1..LOCK_TRIES {
        match reference.delete() {
            Err(e) if e.code() == ErrorCode::Locked => std::thread::sleep(LOCK_PAUSE),
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(()),
            done => return done,
        }
    }
    reference.delete()
}

/// The pins of a run: name and object, sorted by name.
///
/// # Errors
/// If refs cannot be read.
pub fn pins(repo: &Repository, run: &RunId) -> Result<Vec<(String, ObjectId)>, git2::Error> {
    let prefix = pin_prefix(run);
    let mut found = Vec::new();
    for reference in repo.references_glob(&format!("{prefix}*"))? {
        let reference = reference?;
        let name = reference
            .name()
            .ok()
            .and_then(|name| name.strip_prefix(&prefix));
        if let (Some(name), Some(id)) = (name, reference.target()) {
            found.push((name.to_owned(), object_id(id)));
        }
    }
    found.sort();
    Ok(found)
}

/// The ref that names what an attempt left: `refs/orch/candidate/<run>/<task>/<attempt>`.
pub fn candidate_ref(run: &RunId, task: &TaskId, attempt: u32) -> RefName {
    RefName::new(format!("refs/orch/candidate/{run}/{task}/{attempt}"))
}

/// The candidates of a run that have a name.
///
/// # Errors
/// If refs cannot be read.
pub fn candidates(repo: &Repository, run: &RunId) -> Result<Vec<(RefName, ObjectId)>, git2::Error> {
    let mut found = Vec::new();
    for reference in repo.references_glob(&format!("refs/orch/candidate/{run}/*"))? {
        let reference = reference?;
        if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
            found.push((RefName::new(name), object_id(id)));
        }
    }
    Ok(found)
}

/// Names a candidate. Naming it again, as recovery does, changes nothing.
///
/// # Errors
/// If the object is not there, or the ref cannot be written.
pub fn name_candidate(repo: &Repository, name: &RefName, id: &ObjectId) -> Result<(), git2::Error> {
    repo.reference(name.as_str(), oid(id)?, true, "orch: candidate")
        .map(drop)
}

/// The ref that names work of a task saved from a slot: `refs/orch/salvage/<run>/<task>/<number>`.
pub fn salvage_ref(run: &RunId, task: &TaskId, number: u32) -> RefName {
    RefName::new(format!("{}{number}", salvage_prefix(run, task)))
}

/// Names what was saved. Naming it again changes nothing.
///
/// # Errors
/// If the object is not there, or the ref cannot be written.
pub fn name_salvage(repo: &Repository, name: &RefName, id: &ObjectId) -> Result<(), git2::Error> {
    repo.reference(name.as_str(), oid(id)?, true, "orch: salvage")
        .map(drop)
}

/// What was saved of a task: number and object, in order.
///
/// # Errors
/// If refs cannot be read.
pub fn salvage_of(
    repo: &Repository,
    run: &RunId,
    task: &TaskId,
) -> Result<Vec<(u32, ObjectId)>, git2::Error> {
    let prefix = salvage_prefix(run, task);
    let mut found = Vec::new();
    for reference in repo.references_glob(&format!("{prefix}*"))? {
        let reference = reference?;
        let number = reference
            .name()
            .ok()
            .and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        if let (Some(number), Some(id)) = (number, reference.target()) {
            found.push((number, object_id(id)));
        }
    }
    found.sort();
    Ok(found)
}

fn salvage_prefix(run: &RunId, task: &TaskId) -> String {
    format!("refs/orch/salvage/{run}/{task}/")
}

/// About how many bytes the objects take that only orch's refs reach: git counts each as it is stored, and the ones on
/// which it is stored as a difference may be others'.
///
/// # Errors
/// If git cannot count them.
pub fn held_alone(repo: &super::Repository) -> Result<u64, GitError> {
    let command = repo.git().args(["rev-list", "--disk-usage", "--objects"]);
    let line = command
        .args(["--glob=refs/orch/*", "--not", "--exclude=refs/orch/*"])
        .arg("--all")
        .read_only()
        .line()?;
    let unexpected = |_| GitError::unexpected("git rev-list --disk-usage", line.as_bytes());
    line.trim().parse().map_err(unexpected)
}

/// Removes the name of a candidate that cannot be read any more.
///
/// # Errors
/// If the ref cannot be removed.
pub fn forget_candidate(repo: &Repository, name: &RefName) -> Result<(), git2::Error> {
    repo.find_reference(name.as_str())?.delete()
}

fn pin_prefix(run: &RunId) -> String {
    format!("refs/orch/pin/{run}/")
}

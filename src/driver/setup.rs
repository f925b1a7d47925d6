//! When the commands of `setup:` run again in a slot: in a new one, when they change, and when a file of
//! `setup.when_changed` does. The answer lies as a fingerprint in the slot, outside the tree.

use std::path::{Path, PathBuf};

use anyhow::Context;
use globset::{Glob, GlobSetBuilder};
use sha2::{Digest, Sha256};

use super::site::Site;
use crate::git::slot::Filled;
use crate::ids::ObjectId;
use crate::store::write_atomic;

/// Whether `setup:` must run before the slot with the working tree `tree`, which stands at `base`, can be used.
///
/// # Errors
/// If the files that decide it cannot be read.
pub(super) fn is_due(
    site: &Site,
    tree: &Path,
    base: &ObjectId,
    filled: &Filled,
) -> anyhow::Result<bool> {
    if site.settings.setup_run.value.is_empty() {
        return Ok(false);
    }
    if !matches!(filled, Filled::Warm) {
        return Ok(true);
    }
    let wanted = fingerprint(site, base)?;
    // A fingerprint that is missing or cannot be read means that nothing is known: set up again.
    Ok(std::fs::read_to_string(mark(tree)).map_or(true, |found| found != wanted))
}

/// Remembers that `setup:` ran.
///
/// # Errors
/// If that cannot be written.
pub(super) fn note_done(site: &Site, tree: &Path, base: &ObjectId) -> anyhow::Result<()> {
    Ok(write_atomic(
        &mark(tree),
        fingerprint(site, base)?.as_bytes(),
    )?)
}

/// Forgets that `setup:` ran, before it runs again: one that fails half-way must not count as the one before it.
///
/// # Errors
/// If that cannot be done.
pub(super) fn forget(tree: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(mark(tree)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", mark(tree).display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn mark(tree: &Path) -> PathBuf {
    tree.with_file_name("orch").join("setup")
}

/// The commands, and the blobs that the base, a commit or a tree, has at the paths of `when_changed`.
fn fingerprint(site: &Site, base: &ObjectId) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for command in &site.settings.setup_run.value {
        hash.update(command.as_bytes());
        hash.update([0]);
    }
    if !site.settings.setup_when_changed.value.is_empty() {
        let mut globs = GlobSetBuilder::new();
        for glob in &site.settings.setup_when_changed.value {
            globs.add(
                Glob::new(glob)
                    .with_context(|| format!("`{glob}` in setup.when_changed is not a glob"))?,
            );
        }
        let globs = globs.build()?;
        let repo = site.repo.open()?;
        let tree = repo
            .find_object(git2::Oid::from_str(base.as_str())?, None)?
            .peel_to_tree()?;
        let mut failed = None;
        tree.walk(git2::TreeWalkMode::PreOrder, |directory, entry| {
            match entry.name() {
                Ok(name) if entry.kind() == Some(git2::ObjectType::Blob) => {
                    let path = format!("{directory}{name}");
                    if globs.is_match(&path) {
                        hash.update(path.as_bytes());
                        hash.update(entry.id().as_bytes());
                    }
                }
                Ok(_) => {}
                // A name that is not UTF-8 matches no glob of a YAML file.
                Err(error) => failed = Some(error),
            }
            git2::TreeWalkResult::Ok
        })?;
        if let Some(error) = failed {
            tracing::debug!(%error, "a name that is not UTF-8 takes no part in setup.when_changed");
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

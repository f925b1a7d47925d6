//! Where gates ran, as far as it can make them say something else of the same tree.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::digest::sha256_hex;
use crate::engine::verification::Environment;
use crate::ids::ObjectId;
use crate::time::Wall;

/// Files that say which versions of other projects a tree is built with.
const LOCK_FILES: [&str; 17] = [
    "Cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    "poetry.lock",
    "uv.lock",
    "Pipfile.lock",
    "go.sum",
    "Gemfile.lock",
    "composer.lock",
    "mix.lock",
    "flake.lock",
    "gradle.lockfile",
    "Package.resolved",
];

/// Where gates ran: what the probes answered, and which lock files the tree has.
pub(in crate::driver) fn environment(
    repo: &git2::Repository,
    tree: &ObjectId,
    probes: BTreeMap<String, String>,
    at: Wall,
) -> anyhow::Result<Environment> {
    let mut hash = Sha256::new();
    let tree = repo.find_tree(git2::Oid::from_str(tree.as_str())?)?;
    tree.walk(git2::TreeWalkMode::PreOrder, |directory, entry| {
        // A name that is not UTF-8 is no lock file's.
        if let Ok(name) = entry.name()
            && LOCK_FILES.contains(&name)
        {
            hash.update(directory.as_bytes());
            hash.update(name.as_bytes());
            hash.update(entry.id().as_bytes());
        }
        git2::TreeWalkResult::Ok
    })?;
    Ok(Environment {
        probes,
        locks: sha256_hex(&hash.finalize()),
        at,
    })
}

//! The files of a slot: whether they are those that were kept, and a commit of them if not.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Item, SalvageError, Shelf};
use crate::engine::salvage::{Salvage, SalvageOf, SalvagePlace};
use crate::git::collect::{Collected, collect};
use crate::git::commit::{self, CommitSpec, Signing, make_commit};
use crate::git::left_out::{self, LeftOut, Limits, Reason};
use crate::git::repository::as_path;
use crate::git::slot::error::SlotError;
use crate::git::slot::{EXCHANGE_DIR, Slot, Stage, Tenant};
use crate::git::tree;
use crate::ids::ObjectId;

/// What the working tree of a slot is.
pub(super) struct Found {
    /// The tree of its files; none if there is no working tree.
    pub(super) tree: Option<ObjectId>,
    /// Trees that are kept, or that orch itself had put there.
    pub(super) known: HashSet<ObjectId>,
    /// What has to be saved.
    pub(super) unsaved: Option<Unsaved>,
}

/// Files that are kept nowhere else.
pub(super) struct Unsaved {
    tree: ObjectId,
    left_out: Vec<LeftOut>,
}

/// Looks at the working tree.
pub(super) fn look(slot: &mut Slot, tenant: &Tenant) -> Result<Found, SalvageError> {
    let opened = slot.repository().open()?;
    let mut known: HashSet<ObjectId> = [&tenant.base, &tenant.start]
        .into_iter()
        // A start that is gone from the repository cannot be what lies in the slot.
        .filter_map(|id| tree::tree_id(&opened, id).ok())
        .collect();
    let kept = match &tenant.stage {
        Stage::Kept { tree } => Some(tree.clone()),
        Stage::Working | Stage::Filling => None,
    };
    known.extend(kept.clone());
    if let Some(kept) = kept
        && is_untouched(slot, &opened)
    {
        let (tree, unsaved) = (Some(kept), None);
        return Ok(Found {
            tree,
            known,
            unsaved,
        });
    }
    let base = &tenant.base;
    let found = match collect(slot, base, Limits::default()) {
        Err(SlotError::Gone(_)) => None,
        // Orch's own index may be what cannot be read; nothing but time is lost with it.
        Err(_) if slot.index().is_file() => {
            crate::git::slot::files::remove(&slot.index())?;
            Some(collect(slot, base, Limits::default())?)
        }
        found => Some(found?),
    };
    let Some(found) = found else {
        return Ok(Found {
            tree: None,
            known,
            unsaved: None,
        });
    };
    if tenant.run.as_str() == super::UNKNOWN {
        known.extend(named_trees(&opened).map_err(|cause| slot.libgit2(cause))?);
    }
    let tree = Some(found.tree.clone());
    let unsaved = unsaved(slot, found, &known)?;
    Ok(Found {
        tree,
        known,
        unsaved,
    })
}

/// What of the collected files is not kept.
fn unsaved(
    slot: &Slot,
    found: Collected,
    known: &HashSet<ObjectId>,
) -> Result<Option<Unsaved>, SalvageError> {
    let noted: HashSet<PathBuf> = slot.noted_left_out()?.into_iter().collect();
    let left_out: Vec<LeftOut> = found
        .left_out
        .into_iter()
        .filter(|left| left.why != Reason::NoFile && !noted.contains(&left.path))
        .collect();
    let is_known = known.contains(&found.tree) && left_out.is_empty();
    Ok((!is_known).then_some(Unsaved {
        tree: found.tree,
        left_out,
    }))
}

/// Whether the working tree is what orch's index says, but for what is known not to be in it. Only looks; when in
/// doubt, it is not.
fn is_untouched(slot: &Slot, opened: &git2::Repository) -> bool {
    let untouched = || -> Result<bool, SlotError> {
        let libgit2 = |cause| slot.libgit2(cause);
        let aside: HashSet<PathBuf> = [slot.noted_left_out()?, slot.noted_included()?]
            .concat()
            .into_iter()
            .collect();
        let index = git2::Index::open(&slot.index()).map_err(libgit2)?;
        opened.set_workdir(&slot.tree(), false).map_err(libgit2)?;
        let mut options = git2::DiffOptions::new();
        options
            .include_untracked(true)
            .recurse_untracked_dirs(true)
            .ignore_submodules(true)
            .include_typechange(true);
        let diff = opened
            .diff_index_to_workdir(Some(&index), Some(&mut options))
            .map_err(libgit2)?;
        let is_aside = |path: &Path| {
            path.starts_with(EXCHANGE_DIR) || path.ancestors().any(|part| aside.contains(part))
        };
        Ok(diff.deltas().all(|delta| {
            let path = delta
                .new_file()
                .path_bytes()
                .or(delta.old_file().path_bytes());
            path.is_some_and(|path| is_aside(as_path(path.strip_suffix(b"/").unwrap_or(path))))
        }))
    };
    slot.tree().is_dir() && untouched().unwrap_or(false)
}

/// The trees of everything that orch has named.
fn named_trees(opened: &git2::Repository) -> Result<Vec<ObjectId>, git2::Error> {
    let mut trees = Vec::new();
    for reference in opened.references_glob("refs/orch/*")? {
        if let Ok(commit) = reference?.peel_to_commit() {
            trees.push(ObjectId::new(commit.tree_id().to_string()));
        }
    }
    Ok(trees)
}

/// Makes a commit of the files on the attempt's base, and names it.
pub(super) fn save(shelf: &Shelf<'_>, unsaved: &Unsaved) -> Result<Salvage, SalvageError> {
    let opened = shelf.slot.repository().open()?;
    let tenant = shelf.tenant;
    let commit = make_commit(
        shelf.slot.repository().program(),
        &opened,
        CommitSpec {
            tree: &unsaved.tree,
            parents: std::slice::from_ref(&tenant.base),
            message: &message(tenant, &unsaved.left_out),
            author: shelf.identity,
            committer: shelf.identity,
            // The same files give the same commit, whenever they are saved again.
            at: commit::time_of(&opened, &tenant.base).map_err(|e| shelf.libgit2(e))?,
            signing: Signing::Off,
        },
    )?;
    let item = Item {
        of: SalvageOf::Files,
        place: SalvagePlace::Repository,
        commit: &commit,
    };
    shelf.put(&item, |dir| {
        if !unsaved.left_out.is_empty() {
            let tree = shelf.slot.tree();
            left_out::save(&tree, &unsaved.left_out, &dir.join("left-out"))?;
        }
        Ok(())
    })
}

fn message(tenant: &Tenant, left_out: &[LeftOut]) -> String {
    let mut message = format!(
        "saved from task {}, attempt {}: files that were not collected\n",
        tenant.ticket.task, tenant.ticket.attempt
    );
    if !left_out.is_empty() {
        message.push_str("\nNot in this commit, but kept beside it:\n");
    }
    for left in left_out {
        let path = OsStr::to_string_lossy(left.path.as_os_str());
        message.push_str(&format!("- {path:?}: {}\n", left.why.in_words()));
    }
    message
}

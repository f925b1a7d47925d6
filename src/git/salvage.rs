//! What a slot holds that is kept nowhere else, saved before the slot is used for anything else or removed.
//!
//! Two things can be lost with a slot: files that changed since they were last read, and commits that the agent made in
//! its private git directory. The files become a commit on the attempt's base, by the rules of `collect`; commits stay
//! as they are. Both are named by `refs/orch/salvage/<run>/<task>/<number>` in the user's repository. What does not go
//! into the repository unasked (`left_out`) goes to a directory beside the attempt, as does a history that holds such
//! files, whole, as a pack.
//!
//! In the usual case there is nothing: the files are those that were read, by the index that was made then, and the
//! agent's object store is empty or holds the way to them. To know that, no program is started.

mod commits;
mod files;
mod manifest;
pub mod restore;

use std::path::{Path, PathBuf};

use super::commit::CommitError;
use super::durable::FlushError;
use super::program::GitError;
use super::refs::RefError;
use super::repository::{Identity, RepositoryError};
use super::slot::error::SlotError;
use super::slot::{Slot, Stage, Tenant};
use super::{durable, pins};
use crate::crash::point;
use crate::engine::salvage::{Salvage, SalvageOf, SalvagePlace};
use crate::ids::{ObjectId, RunId, TaskId, Ticket};
use manifest::Manifest;
pub use manifest::{Kept, kept_below, kept_of_runs};

/// The run and task of what is found in a slot of which nothing is known.
const UNKNOWN: &str = "unknown";

/// Why something could not be saved. The slot is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The slot cannot be read.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A ref refuses.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// libgit2 refused.
    #[error("cannot save what {} holds", path.display())]
    Libgit2 {
        /// The slot.
        path: PathBuf,
        /// The refusal.
        #[source]
        cause: git2::Error,
    },
    /// The commit of the files cannot be made.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The agent's commits cannot be copied.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What was saved may not last.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// A file or directory refused.
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
    /// Something lies where saved files should go.
    #[error("{} is there and not empty", .0.display())]
    InTheWay(PathBuf),
    /// No branch can be called so.
    #[error("`{0}` cannot be the name of a branch")]
    BranchName(String),
    /// What was saved cannot be read any more.
    #[error("what was saved as {0} is gone from the repository")]
    Gone(ObjectId),
    /// The agent's object store holds something that is no readable history.
    #[error("the commits made in {} cannot be read: {why}", store.display())]
    Unreadable {
        /// The object store.
        store: PathBuf,
        /// Why not.
        why: String,
    },
}

impl SalvageError {
    fn io(verb: &'static str, path: &Path, cause: std::io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            cause,
        }
    }
}

/// What saving needs to know beside the slot.
pub struct Surroundings<'a> {
    /// Whose name the commit of files bears.
    pub identity: &'a Identity,
    /// The base that is taken where the attempt's own is not known or gone.
    pub base: &'a ObjectId,
    /// The directory of an attempt, where it can be made.
    pub attempt_dir: &'a dyn Fn(&RunId, &TaskId, u32) -> PathBuf,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("identity", self.identity)
            .field("base", self.base)
            .finish_non_exhaustive()
    }
}

/// Saves everything in the slot that is kept nowhere else, and adds it to `saved`; mostly nothing. To be called while no
/// process of its tenant lives. Saving again what was saved before a crash changes nothing.
///
/// # Errors
/// If not everything can be saved: the slot must not be used then.
pub fn save(
    slot: &mut Slot,
    around: &Surroundings<'_>,
    saved: &mut Vec<Salvage>,
) -> Result<(), SalvageError> {
    let Some(tenant) = tenant_of(slot, around)? else {
        return Ok(());
    };
    let found = files::look(slot, &tenant)?;
    let shelf = Shelf::new(slot, &tenant, around);
    if let Some(unsaved) = &found.unsaved {
        saved.push(files::save(&shelf, unsaved)?);
    }
    commits::save(&shelf, &found.known, found.tree.as_ref(), saved)
}

/// Whom the work belongs to; nobody where a slot is new, or was being filled.
fn tenant_of(slot: &Slot, around: &Surroundings<'_>) -> Result<Option<Tenant>, SalvageError> {
    let tenant = match slot.tenant()? {
        Some(tenant) if tenant.stage == Stage::Filling => return Ok(None),
        Some(mut tenant) => {
            if !holds(slot, &tenant.base)? {
                tenant.base = around.base.clone();
            }
            tenant
        }
        None if !slot.tree().exists() && !slot.private_git().exists() => return Ok(None),
        None => {
            let unknown = |text: String| TaskId::parse(&text).expect("letters can be an id");
            let ticket = Ticket {
                task: unknown(UNKNOWN.to_owned()),
                attempt: 0,
                epoch: 0,
            };
            let run = RunId::parse(UNKNOWN).expect("letters can be an id");
            let base = around.base.clone();
            let mut tenant = Tenant::new(run, ticket, base.clone(), base);
            tenant.stage = Stage::Working;
            tenant
        }
    };
    Ok(Some(tenant))
}

fn holds(slot: &Slot, commit: &ObjectId) -> Result<bool, SalvageError> {
    let opened = slot.repository().open()?;
    Ok(git2::Oid::from_str(commit.as_str()).is_ok_and(|oid| opened.find_commit(oid).is_ok()))
}

/// Where the work of a tenant is put.
struct Shelf<'a> {
    slot: &'a Slot,
    tenant: &'a Tenant,
    identity: &'a Identity,
    /// `<attempt>/salvage`, for the manifests and what does not go into the repository.
    dir: PathBuf,
    /// The directory of the task, below which all attempts lie.
    task_dir: PathBuf,
}

/// What is put there.
struct Item<'a> {
    of: SalvageOf,
    place: SalvagePlace,
    commit: &'a ObjectId,
}

impl<'a> Shelf<'a> {
    fn new(slot: &'a Slot, tenant: &'a Tenant, around: &Surroundings<'a>) -> Self {
        let (task, attempt) = (&tenant.ticket.task, tenant.ticket.attempt);
        let attempt_dir = (around.attempt_dir)(&tenant.run, task, attempt);
        Self {
            slot,
            tenant,
            identity: around.identity,
            dir: attempt_dir.join("salvage"),
            task_dir: attempt_dir
                .parent()
                .map_or_else(|| attempt_dir.clone(), Path::to_owned),
        }
    }

    fn libgit2(&self, cause: git2::Error) -> SalvageError {
        SalvageError::Libgit2 {
            path: self.slot.dir().to_owned(),
            cause,
        }
    }

    /// Puts one thing on the shelf: `fill` fills its directory first, then the manifest names it, then the ref. The same
    /// thing keeps its number.
    fn put(
        &self,
        item: &Item<'_>,
        fill: impl FnOnce(&Path) -> Result<(), SalvageError>,
    ) -> Result<Salvage, SalvageError> {
        let repo = self.slot.repository().open()?;
        let (run, task) = (&self.tenant.run, &self.tenant.ticket.task);
        let named = pins::salvage_of(&repo, run, task).map_err(|e| self.libgit2(e))?;
        let kept = kept_below(&self.task_dir)?;
        let same = kept
            .iter()
            .find(|kept| kept.salvage.commit == *item.commit && kept.salvage.place == item.place);
        let number = same.map_or_else(
            || {
                let used = named.iter().map(|(number, _)| *number);
                let used = used.chain(kept.iter().map(|kept| kept.salvage.number));
                used.max().unwrap_or(0) + 1
            },
            |kept| kept.salvage.number,
        );
        let salvage = Salvage {
            run: run.clone(),
            task: task.clone(),
            attempt: self.tenant.ticket.attempt,
            number,
            commit: item.commit.clone(),
            of: item.of,
            place: item.place,
        };
        if same.is_none() {
            let dir = self.dir.join(number.to_string());
            // What a crash left there has no manifest, so that nobody knows of it.
            super::slot::files::remove(&dir)?;
            std::fs::create_dir_all(&dir).map_err(|e| SalvageError::io("create", &dir, e))?;
            fill(&dir)?;
            Manifest::new(&salvage, &self.tenant.base).write(&dir)?;
            point("salvage-shelved");
        }
        if item.place == SalvagePlace::Repository {
            let name = pins::salvage_ref(run, task, number);
            durable::flush_commits(&repo, &[item.commit])?;
            pins::name_salvage(&repo, &name, item.commit).map_err(|e| self.libgit2(e))?;
            durable::flush_ref(&repo, &name)?;
            point("salvage-named");
        }
        Ok(salvage)
    }
}

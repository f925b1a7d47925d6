//! Landing: the target moves to the landing commit by one compare-and-swap, together with every worktree that has it
//! checked out.

use std::path::PathBuf;

use super::checkout::{CheckoutError, checked_out_in};
use super::durable::{FlushError, flush_ref};
use super::hold::{self, Acquired, Hold, Step};
use super::refs::{self, RefError, Swap};
use super::repository::{Repository, RepositoryError, Worktree};
use super::update::shown;
use crate::crash::point;
use crate::ids::{ObjectId, RefName, TaskId};

pub use super::checkout::Refusal;
pub use super::hold::{Recovered, Recovery, Unfinished};
pub use super::plan_copy::PlanCopy;

/// A landing as the engine ordered it.
#[derive(Debug, Clone, Copy)]
pub struct LandOrder<'a> {
    /// The ref to be moved.
    pub target: &'a RefName,
    /// The landing commit.
    pub commit: &'a ObjectId,
    /// Where the ref must stand.
    pub onto: &'a ObjectId,
    /// What the run landed last: a tip without it in its history was rewritten.
    pub last_landed: Option<&'a ObjectId>,
    /// The task, for the reflog.
    pub task: &'a TaskId,
    /// The person's copy of a tracked plan.
    pub plan: Option<&'a PlanCopy>,
}

/// What came of a landing.
#[derive(Debug)]
pub enum Landed {
    /// The target holds the commit, now or since before; that is a fact whatever happened in worktrees.
    Done {
        /// The worktrees that were brought along.
        checkouts: Vec<Brought>,
    },
    /// The target moved, and still has all that was landed.
    TipMoved {
        /// Where it stands.
        found: ObjectId,
    },
    /// The target lacks what was landed before, or is gone.
    Rewritten {
        /// Where it stands, if it exists.
        found: Option<ObjectId>,
    },
    /// A worktree has the target checked out and cannot be brought along now. Nothing was touched.
    NotReady(Refusal),
}

/// A worktree that was brought along with its branch.
#[derive(Debug)]
pub struct Brought {
    /// The worktree.
    pub worktree: PathBuf,
    /// The files that were kept because a person changed them at that moment; or why the update is not finished, which
    /// the next landing or [`recover_checkouts`] does.
    pub kept: Result<Vec<String>, CheckoutError>,
}

/// Why a branch was not moved.
#[derive(Debug, thiserror::Error)]
pub enum LandError {
    /// The ref cannot be read or moved.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// A worktree that has the branch checked out cannot be read or prepared.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// The branch was moved, and may not last.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The history cannot be read.
    #[error("cannot read the history of `{name}`")]
    History {
        /// The branch.
        name: RefName,
        /// The refusal.
        #[source]
        cause: git2::Error,
    },
}

/// Moves the target to the landing commit, if it still stands where the commit was built on. Once done, doing it again
/// changes nothing.
///
/// # Errors
/// If git or the disk refuses, before the target has moved.
pub fn land(repo: &Repository, order: &LandOrder<'_>) -> Result<Landed, LandError> {
    let step = MoveRef {
        name: order.target,
        from: order.onto,
        to: order.commit,
        plan: order.plan,
        why: &format!("orch: land {}", order.task),
    };
    let found = match move_ref(repo, &step)? {
        Moved::Done { checkouts } => return Ok(Landed::Done { checkouts }),
        Moved::NotReady(refusal) => return Ok(Landed::NotReady(refusal)),
        Moved::Elsewhere(found) => found,
    };
    let Some(found) = found else {
        return Ok(Landed::Rewritten { found: None });
    };
    let opened = repo.open()?;
    let has = |commit| {
        refs::contains(&opened, &found, commit).map_err(|cause| LandError::History {
            name: order.target.clone(),
            cause,
        })
    };
    if has(order.commit)? {
        return Ok(Landed::Done {
            checkouts: Vec::new(),
        });
    }
    match order.last_landed {
        Some(landed) if !has(landed)? => Ok(Landed::Rewritten { found: Some(found) }),
        _ => Ok(Landed::TipMoved { found }),
    }
}

/// Ends what an orch that died had begun in worktrees whose branch it moved. To be called before anything else is done
/// in the repository; it does nothing where nothing was left.
///
/// # Errors
/// If what was left cannot be understood or ended; it stays as it is.
pub fn recover_checkouts(repo: &Repository) -> Result<Vec<Recovered>, CheckoutError> {
    let mut all = Vec::new();
    for worktree in repo
        .worktrees()?
        .iter()
        .filter(|worktree| worktree.path.exists())
    {
        all.extend(hold::recover(repo, worktree)?);
    }
    Ok(all)
}

/// Worktrees in which such an update is under way or was cut off. Only looks.
///
/// # Errors
/// If a worktree cannot be looked at.
pub fn unfinished_checkouts(repo: &Repository) -> Result<Vec<Unfinished>, CheckoutError> {
    let mut all = Vec::new();
    for worktree in repo.worktrees()? {
        all.extend(hold::unfinished(&worktree)?);
    }
    Ok(all)
}

/// A move of a branch, forward.
#[derive(Debug, Clone, Copy)]
pub(super) struct MoveRef<'a> {
    pub(super) name: &'a RefName,
    pub(super) from: &'a ObjectId,
    pub(super) to: &'a ObjectId,
    pub(super) plan: Option<&'a PlanCopy>,
    pub(super) why: &'a str,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Moved {
    Done { checkouts: Vec<Brought> },
    Elsewhere(Option<ObjectId>),
    NotReady(Refusal),
}

/// Moves a branch and the worktrees that have it checked out, all or none.
pub(super) fn move_ref(repo: &Repository, step: &MoveRef<'_>) -> Result<Moved, LandError> {
    let opened = repo.open()?;
    let found = refs::tip(&opened, step.name)?;
    if found.as_ref() != Some(step.from) {
        return Ok(Moved::Elsewhere(found));
    }
    let mut holds = Vec::new();
    for worktree in checked_out_in(repo, step.name)? {
        match hold_one(repo, &worktree, step)? {
            Acquired::Held(hold) => holds.push(*hold),
            Acquired::Refused(refusal) => return Ok(Moved::NotReady(refusal)),
        }
    }
    if !holds.is_empty() {
        point("checkout-held");
    }
    holds.iter_mut().for_each(Hold::branch_moves);
    // libgit2 writes the reflog of HEAD only for the worktree it has opened.
    let opened = match holds.first() {
        Some(hold) => open_worktree(hold.worktree())?,
        None => opened,
    };
    let swapped = refs::swap(&opened, step.name, Some(step.from), step.to, step.why);
    if !matches!(swapped, Ok(Swap::Done)) {
        for hold in holds.drain(..) {
            let worktree = hold.worktree().clone();
            drop(hold);
            hold::recover(repo, &worktree)?;
        }
    }
    if let Swap::Found(found) = swapped? {
        return Ok(Moved::Elsewhere(found));
    }
    point("branch-moved");
    // Before files follow: after a loss of power none is newer than its branch.
    flush_ref(&opened, step.name)?;
    point("branch-synced");
    let bring = |hold: Hold| Brought {
        worktree: hold.worktree().path.clone(),
        kept: hold.finish(repo).map(|kept| shown(&kept)),
    };
    Ok(Moved::Done {
        checkouts: holds.into_iter().map(bring).collect(),
    })
}

fn hold_one(
    repo: &Repository,
    worktree: &Worktree,
    step: &MoveRef<'_>,
) -> Result<Acquired, LandError> {
    if let Some(Recovered {
        how: Recovery::StillRunning,
        ..
    }) = hold::recover(repo, worktree)?
    {
        return Ok(Acquired::Refused(Refusal::Unfinished(
            worktree.path.clone(),
        )));
    }
    let step = Step {
        branch: step.name,
        from: step.from,
        to: step.to,
        plan: step.plan,
    };
    Ok(hold::acquire(repo, worktree, &step)?)
}

fn open_worktree(worktree: &Worktree) -> Result<git2::Repository, LandError> {
    git2::Repository::open(&worktree.path).map_err(|cause| {
        LandError::Repository(RepositoryError::Libgit2 {
            path: worktree.path.clone(),
            cause,
        })
    })
}

//! The end of a run brought to the person's own branch and checkout: a fast-forward where it is safe, else the one
//! command by which the person does it.

use super::checkout::{Refusal, quoted};
use super::land::{self, Brought, LandError, MoveRef, Moved, PlanCopy};
use super::refs;
use super::repository::{Head, Repository};
use crate::ids::{ObjectId, RefName};

/// What is to be published, and where.
#[derive(Debug, Clone, Copy)]
pub struct PublishOrder<'a> {
    /// The branch the person was on when the run started.
    pub branch: &'a RefName,
    /// Where it stood then.
    pub from: &'a ObjectId,
    /// The run branch, for the command.
    pub source: &'a RefName,
    /// Its tip.
    pub to: &'a ObjectId,
    /// The person's copy of a tracked plan.
    pub plan: Option<&'a PlanCopy>,
}

/// What came of it.
#[derive(Debug)]
pub enum Published {
    /// The branch and its checkout hold the run's work.
    Done {
        /// The worktrees that were brought along.
        checkouts: Vec<Brought>,
    },
    /// The branch has it all.
    NothingToDo,
    /// It is left to the person.
    Refused {
        /// Why.
        why: Unpublished,
        /// The command that does it.
        command: String,
    },
}

/// Why a run's work was not brought to the person's branch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// The person is elsewhere now.
    #[error("`{}` is not checked out any more", .0.short())]
    NotCheckedOut(RefName),
    /// The branch has other commits now, or is gone.
    #[error("`{}` has moved since the run started", .0.short())]
    Moved(RefName),
    /// A checkout is not ready for it.
    #[error(transparent)]
    Checkout(#[from] Refusal),
}

/// Fast-forwards the branch the person is on, and its checkout, if both are as the run found them: never forced, no
/// hook run, no uncommitted change touched.
///
/// # Errors
/// If git or the disk refuses, before the branch has moved.
pub fn publish(repo: &Repository, order: &PublishOrder<'_>) -> Result<Published, LandError> {
    let refused = |why: Unpublished| {
        let command = command(order, &why);
        Ok(Published::Refused { why, command })
    };
    let opened = repo.open()?;
    let contains = |tip: &ObjectId, commit: &ObjectId| {
        refs::contains(&opened, tip, commit).map_err(|cause| LandError::History {
            name: order.branch.clone(),
            cause,
        })
    };
    match refs::tip(&opened, order.branch)? {
        Some(tip) if contains(&tip, order.to)? => return Ok(Published::NothingToDo),
        Some(tip) if tip == *order.from && contains(order.to, &tip)? => {}
        _ => return refused(Unpublished::Moved(order.branch.clone())),
    }
    if !matches!(repo.head()?, Head::Branch(name, _) if name == *order.branch) {
        return refused(Unpublished::NotCheckedOut(order.branch.clone()));
    }
    let step = MoveRef {
        name: order.branch,
        from: order.from,
        to: order.to,
        plan: order.plan,
        why: &format!("orch: fast-forward to {}", order.source.short()),
    };
    match land::move_ref(repo, &step)? {
        Moved::Done { checkouts } => Ok(Published::Done { checkouts }),
        Moved::NotReady(refusal) => refused(refusal.into()),
        Moved::Elsewhere(_) => refused(Unpublished::Moved(order.branch.clone())),
    }
}

/// What the person types instead.
fn command(order: &PublishOrder<'_>, why: &Unpublished) -> String {
    let branch = quoted(order.branch.short());
    let source = quoted(order.source.short());
    match why {
        Unpublished::Moved(_) => format!("git switch {branch} && git merge {source}"),
        Unpublished::NotCheckedOut(_) => {
            format!("git switch {branch} && git merge --ff-only {source}")
        }
        Unpublished::Checkout(_) => format!("git merge --ff-only {source}"),
    }
}

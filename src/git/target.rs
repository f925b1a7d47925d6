//! The branch a run lands on: the run branch of a plan, a branch by name, or the one checked out.
//!
//! Here it is chosen and brought to where the run starts; it moves on by landings (`land`).

use git2::Repository as Opened;

use super::checkout::quoted;
use super::durable::{FlushError, flush_ref};
use super::land::{self, LandError, MoveRef, Moved, Refusal};
use super::refs::{self, RefError, Swap};
use super::repository::{Head, Repository, RepositoryError};
use crate::crash::point;
use crate::ids::{ObjectId, PlanId, RefName};

/// Where run branches lie, below `refs/heads/`.
const NAMESPACE: &str = "orch/";

/// A branch that a run can land on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its full name.
    pub name: RefName,
    /// Where it stands.
    pub tip: ObjectId,
    /// How it came to stand there.
    pub origin: Origin,
}

/// How a target came to stand where it stands at the start of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The run branch was made, at HEAD.
    Created,
    /// The run branch was moved up to HEAD, which contains it.
    MovedUp {
        /// Where it stood.
        from: ObjectId,
    },
    /// The run branch contains HEAD, and goes on from where it stands.
    Continued,
    /// A branch that a person named, or has checked out.
    Existing,
}

/// Why a run cannot land on a branch.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Both have commits that the other has not.
    #[error("the run branch `{}` and your HEAD ({}) have diverged", branch.short(), head.short())]
    Diverged {
        /// The run branch.
        branch: RefName,
        /// Its tip.
        tip: ObjectId,
        /// The commit checked out.
        head: ObjectId,
    },
    /// git refuses the name.
    #[error("`{0}` is not a valid branch name")]
    InvalidName(String),
    /// There is no such branch.
    #[error("there is no branch `{0}`")]
    NoSuchBranch(String),
    /// A directory of refs and a ref cannot have the same name.
    #[error("the branch `{}` cannot exist beside the branch `{}`", wanted.short(), by.short())]
    NamespaceTaken {
        /// The branch wanted.
        wanted: RefName,
        /// The branch in its way.
        by: RefName,
    },
    /// HEAD is not on a branch.
    #[error("HEAD is detached at {}, so there is no branch to land on", .0.short())]
    DetachedHead(ObjectId),
    /// The run branch should move up to HEAD, but somebody has it checked out and it cannot be moved there now.
    #[error("the run branch `{}` cannot be moved up to HEAD", branch.short())]
    NotReady {
        /// The run branch.
        branch: RefName,
        /// What is in the way.
        #[source]
        refusal: Refusal,
    },
    /// Somebody moved the run branch at this moment.
    #[error("`{}` is being moved by another process", .0.short())]
    Moving(RefName),
    /// A ref cannot be read or moved.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The history or the refs cannot be read.
    #[error("cannot read the repository's history")]
    Git(#[from] git2::Error),
    /// A worktree that has the run branch checked out could not be updated.
    #[error(transparent)]
    Land(#[from] LandError),
    /// The run branch was made, and may not last.
    #[error(transparent)]
    Flush(#[from] FlushError),
}

impl TargetError {
    /// What a person can do about it: one command or one sentence each.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Diverged { branch, .. } => {
                let branch = quoted(branch.short());
                vec![
                    format!("`git merge {branch}` brings its commits into your branch"),
                    format!("`git switch {branch}` goes on where it stands"),
                    format!(
                        "`git branch -m {branch} {branch}-old` sets it aside, and the run starts at HEAD"
                    ),
                ]
            }
            Self::NoSuchBranch(name) => {
                vec![format!("`git branch {}` makes it, at HEAD", quoted(name))]
            }
            Self::NamespaceTaken { by, .. } => {
                let by = quoted(by.short());
                vec![
                    format!("`git branch -m {by} {by}-old` makes room"),
                    "`--branch NAME` lands on a branch of your choice".to_owned(),
                ]
            }
            Self::DetachedHead(_) => vec!["`git switch -c NAME` makes a branch here".to_owned()],
            Self::NotReady { refusal, .. } => refusal.hints(),
            Self::InvalidName(_)
            | Self::Moving(_)
            | Self::Ref(_)
            | Self::Repository(_)
            | Self::Git(_)
            | Self::Land(_)
            | Self::Flush(_) => Vec::new(),
        }
    }
}

/// The name of a plan's run branch: `orch/` and the plan's id, or the stem of its file name, in letters that a ref may
/// have.
pub fn run_branch(plan: &PlanId) -> RefName {
    let path = std::path::Path::new(plan.as_str());
    let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let name = if is_file {
        path.file_stem()
    } else {
        path.file_name()
    };
    let name = name.map(|name| name.to_string_lossy()).unwrap_or_default();
    let usable = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_');
    let words = name.split(|c| !usable(c)).map(|word| {
        let parts: Vec<&str> = word.split('.').filter(|part| !part.is_empty()).collect();
        parts.join(".")
    });
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    let slug = words.join("-");
    let slug = slug.trim_end_matches(".lock");
    let slug = if slug.is_empty() { "plan" } else { slug };
    RefName::new(format!("refs/heads/{NAMESPACE}{slug}"))
}

/// Whether a run that is started at `head` can go on with the plan's run branch. Changes nothing.
///
/// # Errors
/// If it has diverged from `head`, or cannot be made beside other branches.
pub fn judge_run_branch(
    repo: &Repository,
    name: &RefName,
    head: &ObjectId,
) -> Result<(), TargetError> {
    usable_tip(&repo.open()?, name, head).map(drop)
}

/// Where the run branch stands, if there is one; it contains `head` or is contained in it.
fn usable_tip(
    opened: &Opened,
    name: &RefName,
    head: &ObjectId,
) -> Result<Option<ObjectId>, TargetError> {
    let Some(tip) = refs::tip(opened, name)? else {
        return check_room(opened, name).map(|()| None);
    };
    if refs::contains(opened, &tip, head)? || refs::contains(opened, head, &tip)? {
        return Ok(Some(tip));
    }
    Err(TargetError::Diverged {
        branch: name.clone(),
        tip,
        head: head.clone(),
    })
}

/// Brings a plan's run branch to where a run starts that is started at `head`: made there, moved up to it, or
/// continued.
///
/// # Errors
/// If it has diverged from `head`, cannot be made beside other branches, or is checked out where it cannot be moved.
pub fn prepare_run_branch(
    repo: &Repository,
    name: &RefName,
    head: &ObjectId,
) -> Result<Target, TargetError> {
    let opened = repo.open()?;
    let target = |tip: &ObjectId, origin| Target {
        name: name.clone(),
        tip: tip.clone(),
        origin,
    };
    let Some(tip) = usable_tip(&opened, name, head)? else {
        return match refs::swap(&opened, name, None, head, "orch: start the run branch")? {
            Swap::Done => {
                point("run-branch-made");
                flush_ref(&opened, name)?;
                Ok(target(head, Origin::Created))
            }
            Swap::Found(_) => Err(TargetError::Moving(name.clone())),
        };
    };
    if refs::contains(&opened, &tip, head)? {
        return Ok(target(&tip, Origin::Continued));
    }
    let step = MoveRef {
        name,
        from: &tip,
        to: head,
        plan: None,
        why: "orch: move the run branch up to HEAD",
    };
    match land::move_ref(repo, &step)? {
        Moved::Done { .. } => Ok(target(head, Origin::MovedUp { from: tip })),
        Moved::Elsewhere(_) => Err(TargetError::Moving(name.clone())),
        Moved::NotReady(refusal) => Err(TargetError::NotReady {
            branch: name.clone(),
            refusal,
        }),
    }
}

/// The branch that a person named, `main` or `refs/heads/main`.
///
/// # Errors
/// If the name is not valid, or there is no such branch.
pub fn named_branch(repo: &Repository, name: &str) -> Result<Target, TargetError> {
    let short = name.strip_prefix("refs/heads/").unwrap_or(name);
    if !git2::Branch::name_is_valid(short)? {
        return Err(TargetError::InvalidName(name.to_owned()));
    }
    let full = RefName::new(format!("refs/heads/{short}"));
    let tip = refs::tip(&repo.open()?, &full)?;
    let tip = tip.ok_or_else(|| TargetError::NoSuchBranch(short.to_owned()))?;
    Ok(Target {
        name: full,
        tip,
        origin: Origin::Existing,
    })
}

/// The branch that the worktree in which orch was started has checked out.
///
/// # Errors
/// If HEAD is detached, or cannot be read.
pub fn live_branch(repo: &Repository) -> Result<Target, TargetError> {
    match repo.head()? {
        Head::Detached(commit) => Err(TargetError::DetachedHead(commit)),
        Head::Branch(name, _) => named_branch(repo, name.short()),
    }
}

/// Refuses by name what git would refuse by "cannot lock ref": `orch` beside `orch/x`, and `orch/x` beside `orch/x/y`.
fn check_room(opened: &Opened, wanted: &RefName) -> Result<(), TargetError> {
    let taken = |by: &str| TargetError::NamespaceTaken {
        wanted: wanted.clone(),
        by: RefName::new(by),
    };
    let name = wanted.as_str();
    for (at, _) in name.match_indices('/') {
        let above = RefName::new(&name[..at]);
        if above.as_str().starts_with("refs/heads/") && refs::tip(opened, &above)?.is_some() {
            return Err(taken(above.as_str()));
        }
    }
    match opened.references_glob(&format!("{name}/*"))?.names().next() {
        Some(below) => Err(taken(below?)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_branch_is_named_after_the_plan() {
        let name = |id: &str| run_branch(&PlanId::from_path(std::path::Path::new(id)));
        for (id, branch) in [
            (".claude/plans/auth rewrite.yaml", "orch/auth-rewrite"),
            ("auth-2.0", "orch/auth-2.0"),
            ("x/größe.v2.yml", "orch/größe.v2"),
            ("a...b~^:?*[\\.yaml", "orch/a.b"),
            ("x.lock", "orch/x"),
            ("x.lock.yaml", "orch/x"),
            ("@{-1}", "orch/1"),
            ("...", "orch/plan"),
            ("-.yaml", "orch/plan"),
        ] {
            assert_eq!(name(id).short(), branch, "{id}");
            assert!(git2::Branch::name_is_valid(branch).expect("no NUL"));
        }
    }
}

//! Refs read and moved: by compare-and-swap only, never by force.

use std::collections::BTreeSet;
use std::time::Duration;

use git2::{ErrorCode, Oid, ReferenceType, Repository};

use super::tree::{object_id, oid};
use crate::ids::{ObjectId, RefName};

/// How often a lock that another git holds is tried, and how long is waited in between: git holds its locks for
/// milliseconds, and gives up itself after a second for packed refs (`core.packedRefsTimeout`).
pub(super) const LOCK_TRIES: u32 = 20;
/// See [`LOCK_TRIES`].
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why a ref could not be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum RefError {
    /// It points to another ref, so that moving it would move that one.
    #[error("`{name}` is a symbolic ref to `{to}`")]
    Symbolic {
        /// The ref.
        name: RefName,
        /// The ref it points to.
        to: String,
    },
    /// Another process holds its lock file, and for longer than git does.
    #[error(
        "`{name}` is locked by another process: wait for it; if no git runs, remove `{name}.lock` in the git directory"
    )]
    Locked {
        /// The ref.
        name: RefName,
    },
    /// git cannot read or write it.
    #[error("cannot read or move `{name}`")]
    Git {
        /// The ref.
        name: RefName,
        /// The refusal.
        #[source]
        cause: git2::Error,
    },
}

impl RefError {
    fn git(name: &RefName) -> impl Fn(git2::Error) -> Self {
        let name = name.clone();
        move |cause| Self::Git {
            name: name.clone(),
            cause,
        }
    }
}

/// What came of a compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Swap {
    /// The ref has its new value.
    Done,
    /// It had another value than expected: this one, or none.
    Found(Option<ObjectId>),
}

/// What a ref points to; none if it does not exist.
///
/// # Errors
/// If it is a symbolic ref, or cannot be read.
pub fn tip(repo: &Repository, name: &RefName) -> Result<Option<ObjectId>, RefError> {
    let reference = match repo.find_reference(name.as_str()) {
        Ok(reference) => reference,
        Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
        Err(e) => return Err(RefError::git(name)(e)),
    };
    if reference.kind() == Some(ReferenceType::Symbolic) {
        let to = reference
            .symbolic_target()
            .ok()
            .flatten()
            .unwrap_or("a name that is not UTF-8");
        return Err(RefError::Symbolic {
            name: name.clone(),
            to: to.to_owned(),
        });
    }
    Ok(reference.target().map(object_id))
}

/// Whether `commit` is `tip` or one of its ancestors. An unknown commit is not.
///
/// # Errors
/// If the history of `tip` cannot be read.
pub fn contains(repo: &Repository, tip: &ObjectId, commit: &ObjectId) -> Result<bool, git2::Error> {
    if tip == commit {
        return Ok(true);
    }
    let (tip, commit) = (oid(tip)?, oid(commit)?);
    if repo
        .find_commit(commit)
        .is_err_and(|e| e.code() == ErrorCode::NotFound)
    {
        return Ok(false);
    }
    repo.graph_descendant_of(tip, commit)
}

/// Commits between two landings over which [`contained`] follows the history before it asks anew.
const BETWEEN_MAX: u32 = 1_000;

/// Which of `commits` are `tip` or one of its ancestors. They come in the order in which they landed: as a rule each is
/// a few steps below the next, so that one look at the whole history does for all.
///
/// # Errors
/// If the history of `tip` cannot be read.
pub fn contained(
    repo: &Repository,
    tip: &ObjectId,
    commits: &[ObjectId],
) -> Result<BTreeSet<ObjectId>, git2::Error> {
    let wanted: BTreeSet<&ObjectId> = commits.iter().collect();
    let mut found = BTreeSet::new();
    for commit in commits.iter().rev() {
        if found.contains(commit) || !contains(repo, tip, commit)? {
            continue;
        }
        // Whatever it stands on is contained as well.
        let (mut next, mut between) = (Some(commit.clone()), 0);
        while let Some(id) = next.take() {
            let parent = repo.find_commit(oid(&id)?)?.parent_id(0).ok();
            between = match wanted.contains(&id) {
                true if !found.insert(id) => break,
                true => 0,
                false => between + 1,
            };
            next = parent.map(object_id).filter(|_| between <= BETWEEN_MAX);
        }
    }
    Ok(found)
}

/// Moves `name` from `from` to `to`, or creates it at `to` if `from` is none, with `why` in its reflog; if it stands
/// elsewhere, nothing happens. Waits a little for a lock that another git holds.
pub(super) fn swap(
    repo: &Repository,
    name: &RefName,
    from: Option<&ObjectId>,
    to: &ObjectId,
    why: &str,
) -> Result<Swap, RefError> {
    let git = RefError::git(name);
    let expected = from.map_or(Ok(Oid::ZERO_SHA1), oid).map_err(&git)?;
    let to = oid(to).map_err(&git)?;
    for _ in 0..LOCK_TRIES {
        let found = tip(repo, name)?;
        if found.as_ref() != from {
            return Ok(Swap::Found(found));
        }
        // With an expected value, `force` means to replace that value and no other; zero stands for "no such ref".
        match repo.reference_matching(name.as_str(), to, true, expected, why) {
            Ok(_) => return Ok(Swap::Done),
            Err(e) => match e.code() {
                ErrorCode::Modified | ErrorCode::NotFound => {}
                ErrorCode::Locked => std::thread::sleep(LOCK_PAUSE),
                _ => return Err(git(e)),
            },
        }
    }
    Err(RefError::Locked { name: name.clone() })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const ROUNDS: usize = 100;

    /// A commit without a parent, told apart by its message.
    fn commit(repo: &Repository, message: &str) -> ObjectId {
        let who = git2::Signature::now("Ada", "ada@example.invalid").unwrap();
        let tree = repo.treebuilder(None).unwrap().write().unwrap();
        let tree = repo.find_tree(tree).unwrap();
        let id = repo.commit(None, &who, &who, message, &tree, &[]).unwrap();
        object_id(id)
    }

    #[test]
    fn a_ref_that_stands_elsewhere_is_not_moved() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let name = RefName::new("refs/heads/target");
        let [old, other, new] = ["old", "other", "new"].map(|m| commit(&repo, m));
        let swapped = |from: Option<&ObjectId>| swap(&repo, &name, from, &new, "why").unwrap();
        assert!(matches!(swapped(Some(&old)), Swap::Found(None)));
        repo.reference(name.as_str(), oid(&other).unwrap(), false, "")
            .unwrap();
        assert!(matches!(swapped(Some(&old)), Swap::Found(Some(found)) if found == other));
        assert!(matches!(swapped(None), Swap::Found(Some(found)) if found == other));
        assert_eq!(tip(&repo, &name).unwrap(), Some(other.clone()));
        assert!(matches!(swapped(Some(&other)), Swap::Done));
    }

    #[test]
    fn of_two_who_move_a_ref_from_the_same_place_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let name = RefName::new("refs/heads/target");
        let old = commit(&repo, "old");
        let news = ["a", "b"].map(|m| commit(&repo, m));
        for _ in 0..ROUNDS {
            repo.reference(name.as_str(), oid(&old).unwrap(), true, "")
                .unwrap();
            let start = Barrier::new(news.len());
            let move_to = |new: &ObjectId| {
                let repo = Repository::open(dir.path()).unwrap();
                start.wait();
                let swapped = swap(&repo, &name, Some(&old), new, "why");
                // The other one may have it locked all the time.
                matches!(swapped, Ok(Swap::Done))
            };
            let done = std::thread::scope(|scope| {
                let both = news.each_ref().map(|new| scope.spawn(|| move_to(new)));
                both.map(|one| one.join().unwrap())
            });
            assert_eq!(done.iter().filter(|done| **done).count(), 1);
            let moved = tip(&repo, &name).unwrap();
            let winner = done.iter().position(|done| *done).unwrap();
            assert_eq!(moved.as_ref(), Some(&news[winner]));
        }
    }
}

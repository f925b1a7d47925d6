//! Commits made of a tree and a message, without touching a ref: candidates and landing commits.

use git2::{Repository, Signature, Time};

use super::program::{Git, GitError};
use super::repository::Identity;
use super::tree::{object_id, oid};
use crate::ids::ObjectId;

/// The tree with nothing in it; git knows it without having it stored.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// Whether commits carry a cryptographic signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// They do not.
    Off,
    /// The `git` program signs them by the user's settings (`gpg.format`, `user.signingKey`).
    On,
}

impl Signing {
    /// What `commit.gpgSign` of the repository's configuration asks for.
    ///
    /// # Errors
    /// If the configuration cannot be read, or the value is not a boolean.
    pub fn configured(repo: &Repository) -> Result<Self, git2::Error> {
        match repo.config()?.get_bool("commit.gpgSign") {
            Ok(true) => Ok(Self::On),
            Ok(false) => Ok(Self::Off),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(Self::Off),
            Err(e) => Err(e),
        }
    }
}

/// What a commit is made of. The same parts give the same commit, unless it is signed.
#[derive(Debug, Clone, Copy)]
pub struct CommitSpec<'a> {
    /// Its tree.
    pub tree: &'a ObjectId,
    /// Its parents, first the one it continues.
    pub parents: &'a [ObjectId],
    /// Its message, UTF-8 without NUL.
    pub message: &'a str,
    /// Whose work it is.
    pub author: &'a Identity,
    /// Who makes the commit.
    pub committer: &'a Identity,
    /// When: of the author and of the committer.
    pub at: Time,
    /// Whether it is signed.
    pub signing: Signing,
}

/// Why there is no commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The object store refused.
    #[error("cannot make a commit of tree {tree}")]
    Objects {
        /// The tree.
        tree: ObjectId,
        /// The refusal.
        #[source]
        cause: git2::Error,
    },
    /// `git commit-tree` could not make or sign it.
    #[error("cannot make a signed commit")]
    Signing(#[source] GitError),
}

/// Stores a commit. No ref points to it; git may prune it until one does.
///
/// # Errors
/// If the tree or a parent is not there, an identity is empty, the store refuses, or it cannot be signed.
pub fn make_commit(
    git: &Git,
    repo: &Repository,
    spec: CommitSpec<'_>,
) -> Result<ObjectId, CommitError> {
    match spec.signing {
        Signing::Off => store(repo, spec).map_err(|cause| CommitError::Objects {
            tree: spec.tree.clone(),
            cause,
        }),
        Signing::On => sign(git, repo, spec).map_err(CommitError::Signing),
    }
}

/// The tree of a commit.
///
/// # Errors
/// If there is no such commit.
pub fn tree_id(repo: &Repository, commit: &ObjectId) -> Result<ObjectId, git2::Error> {
    Ok(object_id(repo.find_commit(oid(commit)?)?.tree_id()))
}

/// The first parent of a commit that has one.
///
/// # Errors
/// If there is no such commit, or it is a root.
pub fn first_parent(repo: &Repository, commit: &ObjectId) -> Result<ObjectId, git2::Error> {
    repo.find_commit(oid(commit)?)?.parent_id(0).map(object_id)
}

/// When a commit was made.
///
/// # Errors
/// If there is no such commit.
pub fn time_of(repo: &Repository, commit: &ObjectId) -> Result<Time, git2::Error> {
    Ok(repo.find_commit(oid(commit)?)?.time())
}

/// Signs a commit of nothing, so that a missing key or a locked agent shows before any work is done.
///
/// # Errors
/// With git's complaint, if it cannot.
pub fn try_signing(git: &Git, repo: &Repository, who: &Identity) -> Result<(), CommitError> {
    make_commit(
        git,
        repo,
        CommitSpec {
            tree: &ObjectId::new(EMPTY_TREE),
            parents: &[],
            message: "orch tries to sign\n",
            author: who,
            committer: who,
            at: Time::new(0, 0),
            signing: Signing::On,
        },
    )
    .map(drop)
}

fn store(repo: &Repository, spec: CommitSpec<'_>) -> Result<ObjectId, git2::Error> {
    let tree = repo.find_tree(oid(spec.tree)?)?;
    let find = |id: &ObjectId| repo.find_commit(oid(id)?);
    let parents = spec
        .parents
        .iter()
        .map(find)
        .collect::<Result<Vec<_>, _>>()?;
    let signature = |who: &Identity| Signature::new(&who.name, &who.email, &spec.at);
    let (author, committer) = (signature(spec.author)?, signature(spec.committer)?);
    let parents: Vec<_> = parents.iter().collect();
    let message = spec.message.replace('\0', "");
    repo.commit(None, &author, &committer, &message, &tree, &parents)
        .map(object_id)
}

fn sign(git: &Git, repo: &Repository, spec: CommitSpec<'_>) -> Result<ObjectId, GitError> {
    let sign = if spec.at.sign() == '-' { '-' } else { '+' };
    let offset = spec.at.offset_minutes().abs();
    let date = format!(
        "@{} {sign}{:02}{:02}",
        spec.at.seconds(),
        offset / 60,
        offset % 60
    );
    git.command(repo.commondir())
        .config("i18n.commitEncoding=UTF-8")
        .args(["commit-tree", "-S", spec.tree.as_str()])
        .args(
            spec.parents
                .iter()
                .flat_map(|parent| ["-p", parent.as_str()]),
        )
        .args(["-F", "-"])
        .env("GIT_AUTHOR_NAME", &spec.author.name)
        .env("GIT_AUTHOR_EMAIL", &spec.author.email)
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", &spec.committer.name)
        .env("GIT_COMMITTER_EMAIL", &spec.committer.email)
        .env("GIT_COMMITTER_DATE", &date)
        .input(spec.message.replace('\0', ""))
        .line()
        .map(ObjectId::new)
}

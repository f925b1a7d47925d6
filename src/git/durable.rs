//! Objects and refs made to last through a loss of power, at the moments that promise it.
//!
//! git2 writes without waiting for the disk, and the `git` program does so for loose objects (`core.fsync`), so that
//! only what is about to be relied upon is waited for: a commit before the intent names it, a ref before its receipt.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::ZlibDecoder;
use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository, Tree};

use super::tree::oid;
use crate::crash::synced;
use crate::ids::{ObjectId, RefName};

/// Above so many objects one sync of the whole file system is cheaper than one a file: it then waits for other
/// people's dirty pages too, at a price like that of some hundred single syncs.
const SINGLE_SYNCS_MAX: usize = 200;

/// Why something may not last.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The disk refused.
    #[error("cannot bring `{}` to disk", path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        #[source]
        cause: io::Error,
    },
    /// An object that was written before a loss of power has no content.
    #[error("the object `{}` is empty, as after a loss of power", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An object is gone: a `git gc --prune=now` took it before a ref held it.
    #[error("the object {id} of {commit} is gone")]
    Gone {
        /// The commit.
        commit: ObjectId,
        /// The object.
        id: Oid,
    },
    /// An object cannot be read.
    #[error("cannot read the objects of {commit}")]
    Objects {
        /// The commit.
        commit: ObjectId,
        /// The refusal.
        #[source]
        cause: git2::Error,
    },
}

/// Waits until commits, and what their trees have beyond those of their parents, are on disk. Like git (`core.fsync`), it
/// relies on file systems to keep the name of a new file that is synced, as ext4, xfs and btrfs do; to sync directories
/// too would double the time.
///
/// # Errors
/// If an object is missing, or the disk refuses.
pub fn flush_commits(repo: &Repository, commits: &[&ObjectId]) -> Result<(), FlushError> {
    let mut objects = BTreeSet::new();
    let store = repo.commondir().join("objects");
    for commit in commits {
        let unreadable = |cause| FlushError::Objects {
            commit: (*commit).clone(),
            cause,
        };
        for id in new_objects(repo, commit).map_err(unreadable)? {
            let is_there = loose_file(&store, id).exists()
                || repo.odb().map(|odb| odb.exists(id)).map_err(unreadable)?;
            if !is_there {
                return Err(FlushError::Gone {
                    commit: (*commit).clone(),
                    id,
                });
            }
            objects.insert(id);
        }
    }
    let files: Vec<PathBuf> = objects.iter().map(|id| loose_file(&store, *id)).collect();
    if let Some(path) = files.iter().find(|file| is_empty(file)) {
        return Err(FlushError::Empty { path: path.clone() });
    }
    if files.len() > SINGLE_SYNCS_MAX {
        sync_file_system(&store)?;
    } else {
        files.iter().try_for_each(|file| sync_if_there(file))?;
    }
    synced("git objects", files.iter().map(PathBuf::as_path));
    Ok(())
}

/// Whether a commit, and what its tree has beyond those of its parents, can be read. What nobody waited for may be gone
/// after a loss of power, or be a file without content.
///
/// # Errors
/// If the objects cannot be read for another reason than that they are gone or damaged.
pub fn is_whole(repo: &Repository, commit: &ObjectId) -> Result<bool, git2::Error> {
    let read = || {
        let store = repo.odb()?;
        let objects = new_objects(repo, commit)?;
        objects
            .into_iter()
            .try_for_each(|id| store.read_header(id).map(drop))
    };
    match read() {
        Ok(()) => Ok(true),
        Err(e) if is_damage(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether an object that was to be read, or to be named in a tree, is not there.
pub fn is_missing(error: &git2::Error) -> bool {
    // A tree is not made of what is not there: libgit2 has no code of its own for that.
    error.code() == ErrorCode::NotFound || error.class() == ErrorClass::Tree
}

/// Whether an object is gone, or is none.
pub(super) fn is_damage(error: &git2::Error) -> bool {
    error.code() == ErrorCode::NotFound
        || matches!(
            error.class(),
            ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib
        )
}

/// Most loose objects that are looked through: `git gc` packs them at 6,700.
const LOOSE_MAX: usize = 100_000;

/// Whether a file is a whole loose object: compressed data with the right checksum, as long as its header says.
fn is_object(file: &Path) -> io::Result<bool> {
    let mut content = BufReader::new(ZlibDecoder::new(File::open(file)?));
    let mut header = Vec::new();
    let read = content
        .read_until(0, &mut header)
        .and_then(|_| io::copy(&mut content, &mut io::sink()));
    let length = match read {
        Ok(length) => length,
        Err(e) => {
            let is_damage = [
                ErrorKind::InvalidInput,
                ErrorKind::InvalidData,
                ErrorKind::UnexpectedEof,
            ];
            return if is_damage.contains(&e.kind()) {
                Ok(false)
            } else {
                Err(e)
            };
        }
    };
    let header = header.strip_suffix(&[0]).map(String::from_utf8_lossy);
    let says = header.and_then(|text| text.rsplit(' ').next()?.parse().ok());
    Ok(says == Some(length))
}

/// Moves the files of loose objects that are none into `aside`: those without content, and those written since `since`
/// that are cut off, as a loss of power leaves them. While they are there, neither git nor libgit2 writes these objects
/// again, and libgit2 does not come back from reading one that is cut off. Returns where they are now.
///
/// # Errors
/// If the store cannot be read or a file not be moved.
pub fn set_damaged_aside(
    repo: &Repository,
    since: SystemTime,
    aside: &Path,
) -> io::Result<Vec<PathBuf>> {
    let mut moved = Vec::new();
    for (name, file) in loose(repo)? {
        let found = fs::metadata(&file)?;
        if found.len() == 0 || found.modified()? >= since && !is_object(&file)? {
            fs::create_dir_all(aside)?;
            let to = aside.join(name);
            tracing::warn!(from = %file.display(), to = %to.display(), "no object");
            fs::rename(file, &to)?;
            moved.push(to);
        }
    }
    Ok(moved)
}

/// The files of loose objects that are none, whenever they were written. To be asked before libgit2 is to read objects
/// of which nothing is known.
///
/// # Errors
/// If the disk refuses, or there are more than [`LOOSE_MAX`].
pub fn damaged(repo: &Repository) -> io::Result<Vec<PathBuf>> {
    let files = loose(repo)?;
    if files.len() > LOOSE_MAX {
        let many = format!(
            "there are {} loose objects; `git gc` packs them",
            files.len()
        );
        return Err(io::Error::other(many));
    }
    let mut damaged = Vec::new();
    for (_, file) in files {
        match is_object(&file) {
            Ok(true) => {}
            Ok(false) => damaged.push(file),
            // A `git gc` at work.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(damaged)
}

/// The same for the repository around a directory, without a look at any commit of it.
///
/// # Errors
/// As above, or if there is no repository.
pub fn damaged_around(dir: &Path) -> io::Result<Vec<PathBuf>> {
    damaged(&Repository::discover(dir).map_err(io::Error::other)?)
}

/// The file of a loose object, if it is cut off or empty: libgit2 would not come back from it.
pub(super) fn cut_off(repo: &Repository, id: Oid) -> Option<PathBuf> {
    let file = loose_file(&repo.commondir().join("objects"), id);
    // One that cannot be read for another reason is for whoever reads it to tell of.
    matches!(is_object(&file), Ok(false)).then_some(file)
}

/// Files that [`set_damaged_aside`] has moved to `aside` and whose objects are not there again, although a ref of the
/// repository leads to something that is gone.
///
/// # Errors
/// If that cannot be told.
pub fn missed(
    repo: &super::Repository,
    aside: &Path,
) -> Result<Vec<PathBuf>, super::program::GitError> {
    let Ok(entries) = fs::read_dir(aside) else {
        return Ok(Vec::new());
    };
    let store = repo.common_dir().join("objects");
    let is_gone = |file: &PathBuf| {
        let id = file
            .file_name()
            .and_then(|name| Oid::from_str(name.to_str()?).ok());
        id.is_some_and(|id| !loose_file(&store, id).exists())
    };
    let files = entries.flatten().map(|entry| entry.path());
    let gone: Vec<PathBuf> = files.filter(is_gone).collect();
    if gone.is_empty() {
        return Ok(gone);
    }
    let all = ["rev-list", "--objects", "--all", "--quiet"];
    let are_whole = repo.git().args(all).read_only().output()?.code == Some(0);
    Ok(if are_whole { Vec::new() } else { gone })
}

/// The loose objects, by name.
fn loose(repo: &Repository) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for fan_out in fs::read_dir(repo.commondir().join("objects"))? {
        let fan_out = fan_out?;
        if fan_out.file_name().len() != 2 || !fan_out.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(fan_out.path())? {
            let file = file?;
            let [first, rest] = [fan_out.file_name(), file.file_name()];
            let name = format!("{}{}", first.display(), rest.display());
            if Oid::from_str(&name).is_ok() {
                found.push((name, file.path()));
            }
        }
    }
    Ok(found)
}

fn is_empty(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() == 0)
}

/// Waits until a ref's value is on disk, wherever git keeps it.
///
/// # Errors
/// If the disk refuses.
pub fn flush_ref(repo: &Repository, name: &RefName) -> Result<(), FlushError> {
    let loose = repo.commondir().join(name.as_str());
    let file = if loose.exists() {
        loose
    } else {
        repo.commondir().join("packed-refs")
    };
    sync_if_there(&file)?;
    // The value came by a rename, which is the directory's change.
    file.parent().map_or(Ok(()), sync_if_there)?;
    synced("git ref", [file.as_path()]);
    Ok(())
}

/// Waits until refs and what is new in their commits are on disk, all in one: what is named there outlasts a loss of
/// power from now on. What was synced before costs next to nothing.
///
/// # Errors
/// If a ref or a commit cannot be read, or the disk refuses.
pub fn flush_named(repo: &Repository, refs: &[(RefName, ObjectId)]) -> Result<(), FlushError> {
    let (root, store) = (repo.commondir(), repo.commondir().join("objects"));
    let mut files = BTreeSet::new();
    for (name, commit) in refs {
        let unreadable = |cause| FlushError::Objects {
            commit: commit.clone(),
            cause,
        };
        let objects = new_objects(repo, commit).map_err(unreadable)?;
        files.extend(objects.into_iter().map(|id| loose_file(&store, id)));
        let loose = root.join(name.as_str());
        files.extend(loose.parent().map(Path::to_owned));
        files.insert(loose);
    }
    if let Some(path) = files.iter().find(|file| is_empty(file)) {
        return Err(FlushError::Empty { path: path.clone() });
    }
    if files.len() > SINGLE_SYNCS_MAX {
        sync_file_system(root)?;
    } else {
        files.iter().try_for_each(|file| sync_if_there(file))?;
    }
    let noted = files.iter().filter(|file| file.is_file());
    synced("run's evidence", noted.map(PathBuf::as_path));
    Ok(())
}

/// The commit, and each tree and blob that its tree has and no parent's has at the same place.
fn new_objects(repo: &Repository, commit: &ObjectId) -> Result<BTreeSet<Oid>, git2::Error> {
    let commit = repo.find_commit(oid(commit)?)?;
    let mut found = BTreeSet::from([commit.id()]);
    let olds = commit
        .parents()
        .map(|parent| parent.tree())
        .collect::<Result<Vec<_>, _>>()?;
    let tree = commit.tree()?;
    if olds.iter().all(|old| old.id() != tree.id()) {
        add_new(repo, &tree, &olds, &mut found)?;
    }
    Ok(found)
}

/// Depth is bounded by git's own limit on paths.
fn add_new(
    repo: &Repository,
    tree: &Tree<'_>,
    olds: &[Tree<'_>],
    found: &mut BTreeSet<Oid>,
) -> Result<(), git2::Error> {
    found.insert(tree.id());
    for entry in tree {
        let before: Vec<_> = olds
            .iter()
            .filter_map(|old| old.get_name_bytes(entry.name_bytes()))
            .collect();
        if before.iter().any(|old| old.id() == entry.id()) {
            continue;
        }
        match entry.kind() {
            Some(ObjectType::Tree) => {
                let olds = before
                    .iter()
                    .filter(|old| old.kind() == Some(ObjectType::Tree))
                    .map(|old| repo.find_tree(old.id()))
                    .collect::<Result<Vec<_>, _>>()?;
                add_new(repo, &repo.find_tree(entry.id())?, &olds, found)?;
            }
            Some(ObjectType::Blob) => drop(found.insert(entry.id())),
            _ => {}
        }
    }
    Ok(())
}

fn loose_file(store: &Path, id: Oid) -> PathBuf {
    let hex = id.to_string();
    let (directory, file) = hex.split_at(2);
    store.join(directory).join(file)
}

/// What is not there was packed meanwhile, and git syncs its packs.
fn sync_if_there(path: &Path) -> Result<(), FlushError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(|cause| FlushError::Disk {
            path: path.to_owned(),
            cause,
        }),
    }
}

fn sync_file_system(directory: &Path) -> Result<(), FlushError> {
    File::open(directory)
        .and_then(|file| Ok(rustix::fs::syncfs(file)?))
        .map_err(|cause| FlushError::Disk {
            path: directory.to_owned(),
            cause,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tree::{object_id, tree_with_file};

    #[test]
    fn what_is_new_in_a_commit_is_what_no_parent_has_at_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let repo = Repository::init(dir.path()).expect("made");
        let who = git2::Signature::new("t", "t@t", &git2::Time::new(0, 0)).expect("valid");
        let mut tree = object_id(
            repo.treebuilder(None)
                .and_then(|empty| empty.write())
                .expect("written"),
        );
        let mut commit = |path: &str, text: &str, parent: Option<&git2::Commit<'_>>| {
            tree = tree_with_file(&repo, &tree, Path::new(path), Some(text.as_bytes()))
                .expect("written");
            let tree = repo.find_tree(oid(&tree).expect("an id")).expect("there");
            let parents: Vec<_> = parent.into_iter().collect();
            let id = repo
                .commit(None, &who, &who, "m", &tree, &parents)
                .expect("written");
            repo.find_commit(id).expect("there")
        };
        let first = commit("d/e/f", "old", None);
        let second = commit("d/e/g", "new", Some(&first));
        let count = |commit: &git2::Commit<'_>| {
            let new = new_objects(&repo, &object_id(commit.id())).expect("readable");
            (new.len(), new.contains(&commit.id()))
        };
        assert_eq!(count(&first), (5, true), "commit, three trees, one blob");
        assert_eq!(count(&second), (5, true), "the old blob is not among them");
        let same = commit("d/e/g", "new", Some(&second));
        assert_eq!(count(&same), (1, true));
    }

    #[test]
    fn a_commit_whose_objects_were_taken_away_is_not_called_safe() {
        let dir = tempfile::tempdir().expect("a directory");
        let repo = Repository::init(dir.path()).expect("made");
        let who = git2::Signature::new("t", "t@t", &git2::Time::new(0, 0)).expect("valid");
        let empty = repo
            .treebuilder(None)
            .and_then(|empty| empty.write())
            .expect("written");
        let tree =
            tree_with_file(&repo, &object_id(empty), Path::new("a"), Some(b"text")).expect("made");
        let tree = repo.find_tree(oid(&tree).expect("an id")).expect("there");
        let id = repo.commit(None, &who, &who, "m", &tree, &[]);
        let id = object_id(id.expect("written"));
        flush_commits(&repo, &[&id]).expect("it is whole");
        let blob = tree.get_name("a").expect("there").id();
        fs::remove_file(loose_file(&repo.path().join("objects"), blob)).expect("removed");
        let refused = flush_commits(&repo, &[&id]);
        assert!(
            matches!(refused, Err(FlushError::Gone { id, .. }) if id == blob),
            "{refused:?}"
        );
        assert!(!is_whole(&repo, &id).expect("it can be told"));
    }
}

//! Trees edited in the object store, without an index or a working copy.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use git2::{
    DiffOptions, ErrorClass, ErrorCode, ObjectType, Oid, Repository, Tree, TreeEntry, TreeWalkMode,
    TreeWalkResult,
};

use crate::ids::ObjectId;

const BLOB: i32 = 0o100_644;
const BLOB_EXECUTABLE: i32 = 0o100_755;
const DIRECTORY: i32 = 0o040_000;
const LINK: i32 = 0o120_000;
const SUBMODULE: i32 = 0o160_000;

/// What stands in a tree under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Oid,
    pub(super) mode: i32,
}

impl Entry {
    pub(super) fn of(entry: &TreeEntry<'_>) -> Self {
        Self {
            id: entry.id(),
            mode: entry.filemode(),
        }
    }

    pub(super) fn directory(id: Oid) -> Self {
        Self {
            id,
            mode: DIRECTORY,
        }
    }
}

/// The object id as git2 has it.
pub(super) fn oid(id: &ObjectId) -> Result<Oid, git2::Error> {
    Oid::from_str(id.as_str())
}

/// The object id as the rest of the program has it.
pub(super) fn object_id(oid: Oid) -> ObjectId {
    ObjectId::new(oid.to_string())
}

/// The tree of a commit; a tree is its own.
///
/// # Errors
/// If there is no such object, or it has no tree.
pub(super) fn tree_of<'r>(repo: &'r Repository, id: &ObjectId) -> Result<Tree<'r>, git2::Error> {
    repo.find_object(oid(id)?, None)?.peel_to_tree()
}

/// The id of a commit's tree; of a tree, its own.
///
/// # Errors
/// If there is no such object, or it has no tree.
pub fn tree_id(repo: &Repository, id: &ObjectId) -> Result<ObjectId, git2::Error> {
    Ok(object_id(tree_of(repo, id)?.id()))
}

/// The bytes of the file at `path` in a commit or tree; none if there is no file.
///
/// # Errors
/// If an object cannot be read.
pub fn file_in(
    repo: &Repository,
    of: &ObjectId,
    path: &Path,
) -> Result<Option<Vec<u8>>, git2::Error> {
    match entry_at(&tree_of(repo, of)?, path)? {
        Some(entry) if is_file(entry) => Ok(Some(repo.find_blob(entry.id)?.content().to_owned())),
        _ => Ok(None),
    }
}

/// The blob of the file at `path` in a commit or tree; none if there is no file.
///
/// # Errors
/// If an object cannot be read.
pub fn blob_at(
    repo: &Repository,
    of: &ObjectId,
    path: &Path,
) -> Result<Option<ObjectId>, git2::Error> {
    let entry = entry_at(&tree_of(repo, of)?, path)?;
    let file = entry.filter(|entry| is_file(*entry));
    Ok(file.map(|entry| object_id(entry.id)))
}

/// What stands at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether it can be run.
        executable: bool,
    },
    /// A symbolic link, to this text.
    Link(Vec<u8>),
    /// A commit of another repository.
    Submodule,
    /// A directory.
    Directory,
}

/// What stands at `path` in a commit or tree.
///
/// # Errors
/// If an object cannot be read.
pub fn content_at(
    repo: &Repository,
    of: &ObjectId,
    path: &Path,
) -> Result<Option<Content>, git2::Error> {
    let entry = entry_at(&tree_of(repo, of)?, path)?;
    entry.map(|entry| content(repo, entry)).transpose()
}

fn content(repo: &Repository, Entry { id, mode }: Entry) -> Result<Content, git2::Error> {
    let bytes = || repo.find_blob(id).map(|blob| blob.content().to_owned());
    Ok(match mode {
        DIRECTORY => Content::Directory,
        SUBMODULE => Content::Submodule,
        LINK => Content::Link(bytes()?),
        _ => Content::File {
            bytes: bytes()?,
            executable: mode == BLOB_EXECUTABLE,
        },
    })
}

/// A commit or tree that is asked about many paths. libgit2 keeps no large trees: looked up one by one, the files of a
/// directory would have it read and unpacked as often as there are files.
#[expect(missing_debug_implementations, reason = "git2's objects have none")]
pub struct Contents<'r> {
    repo: &'r Repository,
    root: Tree<'r>,
    /// The directory that was asked about last; none where there is no such directory.
    last: RefCell<Option<(PathBuf, Option<Tree<'r>>)>>,
}

impl<'r> Contents<'r> {
    /// Those of a commit or tree.
    ///
    /// # Errors
    /// If there is no such object, or it has no tree.
    pub fn of(repo: &'r Repository, id: &ObjectId) -> Result<Self, git2::Error> {
        Ok(Self {
            repo,
            root: tree_of(repo, id)?,
            last: RefCell::new(None),
        })
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// If an object cannot be read.
    pub fn at(&self, path: &Path) -> Result<Option<Content>, git2::Error> {
        let entry = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
                let mut last = self.last.borrow_mut();
                if last.as_ref().is_none_or(|(path, _)| path != parent) {
                    *last = Some((parent.to_owned(), self.directory(parent)?));
                }
                let tree = last.as_ref().and_then(|(_, tree)| tree.as_ref());
                tree.and_then(|tree| tree.get_name_bytes(name.as_bytes()))
                    .map(|entry| Entry::of(&entry))
            }
            _ => entry_at(&self.root, path)?,
        };
        entry.map(|entry| content(self.repo, entry)).transpose()
    }

    fn directory(&self, path: &Path) -> Result<Option<Tree<'r>>, git2::Error> {
        match entry_at(&self.root, path)? {
            Some(Entry { id, mode }) if mode == DIRECTORY => self.repo.find_tree(id).map(Some),
            _ => Ok(None),
        }
    }
}

/// The symbolic links of a commit or tree, with what they say.
///
/// # Errors
/// If an object cannot be read.
pub fn links_in(
    repo: &Repository,
    of: &ObjectId,
) -> Result<BTreeMap<PathBuf, Vec<u8>>, git2::Error> {
    let mut found = Vec::new();
    tree_of(repo, of)?.walk(TreeWalkMode::PreOrder, |directory, entry| {
        if entry.filemode() == LINK {
            let name = Path::new(OsStr::from_bytes(entry.name_bytes()));
            found.push((Path::new(directory).join(name), entry.id()));
        }
        TreeWalkResult::Ok
    })?;
    let mut links = BTreeMap::new();
    for (path, id) in found {
        links.insert(path, repo.find_blob(id)?.content().to_owned());
    }
    Ok(links)
}

/// The paths of all files of a commit or tree.
///
/// # Errors
/// If an object cannot be read.
pub fn files_in(repo: &Repository, of: &ObjectId) -> Result<Vec<PathBuf>, git2::Error> {
    let mut found = Vec::new();
    tree_of(repo, of)?.walk(TreeWalkMode::PreOrder, |directory, entry| {
        if [BLOB, BLOB_EXECUTABLE].contains(&entry.filemode()) {
            let name = Path::new(OsStr::from_bytes(entry.name_bytes()));
            found.push(Path::new(directory).join(name));
        }
        TreeWalkResult::Ok
    })?;
    Ok(found)
}

/// The paths that differ between two commits or trees, both sides of renames.
///
/// # Errors
/// If an object cannot be read.
pub fn paths_between(
    repo: &Repository,
    old: &ObjectId,
    new: &ObjectId,
) -> Result<BTreeSet<PathBuf>, git2::Error> {
    let (old, new) = (tree_of(repo, old)?, tree_of(repo, new)?);
    let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), None)?;
    let files = diff
        .deltas()
        .flat_map(|delta| [delta.old_file(), delta.new_file()]);
    Ok(files
        .filter_map(|file| {
            file.path_bytes()
                .map(|path| Path::new(OsStr::from_bytes(path)).to_owned())
        })
        .collect())
}

/// `tree` (or a commit's tree) with what `from` has at `paths`, which may be nothing.
///
/// # Errors
/// If something other than a directory stands above a path, or an object cannot be read or written.
pub fn tree_with_paths_of(
    repo: &Repository,
    tree: &ObjectId,
    from: &ObjectId,
    paths: &[PathBuf],
) -> Result<ObjectId, git2::Error> {
    let mut made = tree_id(repo, tree)?;
    let from = tree_of(repo, from)?;
    for path in paths {
        let entry = entry_at(&from, path)?;
        made = object_id(with_entry(repo, &tree_of(repo, &made)?, path, entry)?);
    }
    Ok(made)
}

/// How many lines of the files at `paths` were added and removed between two commits or trees.
///
/// # Errors
/// If an object cannot be read.
pub fn line_changes(
    repo: &Repository,
    old: &ObjectId,
    new: &ObjectId,
    paths: &[PathBuf],
) -> Result<usize, git2::Error> {
    if paths.is_empty() {
        return Ok(0);
    }
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true);
    for path in paths {
        options.pathspec(path);
    }
    let (old, new) = (tree_of(repo, old)?, tree_of(repo, new)?);
    let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))?;
    let stats = diff.stats()?;
    Ok(stats.insertions() + stats.deletions())
}

/// Whether two commits or trees have the same file at `path`, or both none.
///
/// # Errors
/// If an object cannot be read.
pub fn same_file(
    repo: &Repository,
    a: &ObjectId,
    b: &ObjectId,
    path: &Path,
) -> Result<bool, git2::Error> {
    let file = |of| -> Result<Option<Oid>, git2::Error> {
        let entry = entry_at(&tree_of(repo, of)?, path)?;
        Ok(entry.filter(|entry| is_file(*entry)).map(|entry| entry.id))
    };
    Ok(file(a)? == file(b)?)
}

/// `tree` (or a commit's tree) with `content` in the file at `path`, whose mode is kept (a new file is not
/// executable), or without that file. Directories come and go as needed.
///
/// # Errors
/// If something other than a file stands at `path` or above it, or an object cannot be read or written.
pub fn tree_with_file(
    repo: &Repository,
    tree: &ObjectId,
    path: &Path,
    content: Option<&[u8]>,
) -> Result<ObjectId, git2::Error> {
    let tree = tree_of(repo, tree)?;
    let old = entry_at(&tree, path)?;
    if old.is_some_and(|entry| !is_file(entry)) {
        return Err(refusal(format!(
            "`{}` is not a file in git",
            path.display()
        )));
    }
    let new = content
        .map(|bytes| {
            let mode = old.map_or(BLOB, |entry| entry.mode);
            repo.blob(bytes).map(|id| Entry { id, mode })
        })
        .transpose()?;
    with_entry(repo, &tree, path, new).map(object_id)
}

fn is_file(entry: Entry) -> bool {
    entry.mode == BLOB || entry.mode == BLOB_EXECUTABLE
}

/// What stands at `path`, if anything.
pub(super) fn entry_at(tree: &Tree<'_>, path: &Path) -> Result<Option<Entry>, git2::Error> {
    match tree.get_path(path) {
        Ok(entry) => Ok(Some(Entry::of(&entry))),
        Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The tree with `entry` at `path`, or with nothing there.
pub(super) fn with_entry(
    repo: &Repository,
    tree: &Tree<'_>,
    path: &Path,
    entry: Option<Entry>,
) -> Result<Oid, git2::Error> {
    let names = names(path)?;
    match replaced(repo, Some(tree), &names, entry)? {
        Some(id) => Ok(id),
        None => repo.treebuilder(None)?.write(),
    }
}

fn names(path: &Path) -> Result<Vec<&[u8]>, git2::Error> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    };
    path.components()
        .map(name)
        .collect::<Option<Vec<_>>>()
        .filter(|names| !names.is_empty())
        .ok_or_else(|| {
            refusal(format!(
                "`{}` is not a path inside the repository",
                path.display()
            ))
        })
}

/// None if nothing is left in the directory.
fn replaced(
    repo: &Repository,
    tree: Option<&Tree<'_>>,
    names: &[&[u8]],
    entry: Option<Entry>,
) -> Result<Option<Oid>, git2::Error> {
    let Some((&name, below)) = names.split_first() else {
        return Err(refusal("a path without a name".to_owned()));
    };
    let mut builder = repo.treebuilder(tree)?;
    let old = tree.and_then(|tree| tree.get_name_bytes(name));
    let new = if below.is_empty() {
        entry
    } else {
        let directory = match &old {
            Some(old) if old.kind() == Some(ObjectType::Tree) => Some(repo.find_tree(old.id())?),
            Some(_) => {
                let name = String::from_utf8_lossy(name);
                return Err(refusal(format!("`{name}` is a file, not a directory")));
            }
            None => None,
        };
        replaced(repo, directory.as_ref(), below, entry)?.map(Entry::directory)
    };
    match new {
        Some(Entry { id, mode }) => drop(builder.insert(name, id, mode)?),
        None if old.is_some() => builder.remove(name)?,
        None => {}
    }
    if builder.is_empty() {
        Ok(None)
    } else {
        builder.write().map(Some)
    }
}

fn refusal(message: String) -> git2::Error {
    git2::Error::new(ErrorCode::GenericError, ErrorClass::Tree, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_asked_about_in_any_order_are_those_of_single_looks() {
        let dir = tempfile::tempdir().expect("a directory");
        let repo = Repository::init(dir.path()).expect("a repository");
        let blob = repo.blob(b"text").expect("a blob");
        let tree = |entries: &[(&str, Oid, i32)]| {
            let mut builder = repo.treebuilder(None).expect("a builder");
            for (name, id, mode) in entries {
                builder.insert(name, *id, *mode).expect("an entry");
            }
            builder.write().expect("a tree")
        };
        let below = tree(&[("f", blob, BLOB)]);
        let directory = tree(&[
            ("b", blob, BLOB_EXECUTABLE),
            ("e", below, DIRECTORY),
            ("l", blob, LINK),
        ]);
        let root = tree(&[("a", blob, BLOB), ("d", directory, DIRECTORY)]);
        let root = object_id(root);
        let contents = Contents::of(&repo, &root).expect("a tree");
        let paths = [
            "a", "d", "d/b", "d/l", "d/e/f", "d/e", "d/b", "x", "d/x", "a/x", "x/y", "d/b/z",
            "d/e/f",
        ];
        for path in paths.map(Path::new) {
            let alone = content_at(&repo, &root, path).expect("readable");
            assert_eq!(contents.at(path).expect("readable"), alone, "{path:?}");
        }
        assert_eq!(
            contents.at(Path::new("d/l")).expect("readable"),
            Some(Content::Link(b"text".to_vec()))
        );
    }
}

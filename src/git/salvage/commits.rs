//! Commits that an agent made in its private git directory (or in one of its own making at the top of the working
//! tree): found by their objects, so that branches, stashes, detached heads and what a reset let go are all the same.
//!
//! Nothing of that directory is believed but its objects: no program reads its configuration.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{Commit, ObjectType, Oid, Repository, Sort};

use super::{Item, Kept, SalvageError, Shelf};
use crate::engine::salvage::{Salvage, SalvageOf, SalvagePlace};
use crate::git::left_out::{Limits, begins_with, is_secret_holding};
use crate::git::repository::as_path;
use crate::git::tree::{entry_at, object_id, oid};
use crate::ids::ObjectId;

/// Most objects that an agent's store may hold. Above this somebody copied a whole repository into it.
const OBJECTS_MAX: usize = 2_000_000;

/// Most different lines of commits that are saved of one attempt.
const TIPS_MAX: usize = 100;

/// The newest of some commits of the agent, with all that lead to it and are reached by nothing else.
struct Line {
    tip: Oid,
    commits: Vec<Oid>,
    /// The commits before them, which the repository has.
    before: BTreeSet<Oid>,
}

/// Saves the commits that no ref of the repository reaches, unless they only lead to the files that were kept.
pub(super) fn save(
    shelf: &Shelf<'_>,
    known: &HashSet<ObjectId>,
    files: Option<&ObjectId>,
    saved: &mut Vec<Salvage>,
) -> Result<(), SalvageError> {
    for store in stores(shelf) {
        let objects = objects_in(&store)?;
        if objects.is_empty() {
            continue;
        }
        let unreadable = |why: String| SalvageError::Unreadable {
            store: store.clone(),
            why,
        };
        let repo = shelf.slot.repository().open()?;
        let told = |e: git2::Error| unreadable(e.message().to_owned());
        let lines = lines(&repo, &store, &objects, shelf, known, files).map_err(told)?;
        if lines.len() > TIPS_MAX {
            return Err(unreadable(format!(
                "there are {} lines of them",
                lines.len()
            )));
        }
        for line in lines {
            let place = match holds_back(&repo, &line, shelf).map_err(told)? {
                true => SalvagePlace::RunDirectory,
                false => SalvagePlace::Repository,
            };
            saved.push(save_line(shelf, &store, &line, place)?);
        }
    }
    Ok(())
}

/// The object stores in which an agent's git writes.
fn stores(shelf: &Shelf<'_>) -> Vec<PathBuf> {
    let of_its_own = shelf.slot.tree().join(".git");
    let is_dir = std::fs::symlink_metadata(&of_its_own).is_ok_and(|found| found.is_dir());
    let own = is_dir.then(|| of_its_own.join("objects"));
    std::iter::once(shelf.slot.private_git().join("objects"))
        .chain(own)
        .collect()
}

/// The ids of all objects that lie in a store itself.
fn objects_in(store: &Path) -> Result<Vec<Oid>, SalvageError> {
    let mut found = Vec::new();
    for dir in names_in(store)? {
        let Some(name) = dir.to_str() else { continue };
        if name.len() == 2 {
            for file in names_in(&store.join(name))? {
                let id = file.to_str().map(|rest| format!("{name}{rest}"));
                found.extend(id.and_then(|id| Oid::from_str(&id).ok()));
            }
        }
    }
    let packs = store.join("pack");
    for name in names_in(&packs)? {
        let path = packs.join(&name);
        if path.extension() == Some(OsStr::new("idx")) {
            found.extend(objects_of_pack(&path)?);
        }
    }
    if found.len() > OBJECTS_MAX {
        return Err(SalvageError::Unreadable {
            store: store.to_owned(),
            why: format!("it holds {} objects", found.len()),
        });
    }
    Ok(found)
}

fn names_in(dir: &Path) -> Result<Vec<std::ffi::OsString>, SalvageError> {
    let io = |cause| SalvageError::io("list", dir, cause);
    match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()).map_err(io))
            .collect(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(io(e)),
    }
}

/// The ids in a pack's index, by gitformat-pack(5), version 2: a head of 8 bytes, 256 running counts, the sorted ids.
fn objects_of_pack(index: &Path) -> Result<Vec<Oid>, SalvageError> {
    const HEAD: &[u8] = &[0xff, b't', b'O', b'c', 0, 0, 0, 2];
    const COUNTS_BYTES: usize = 256 * 4;
    const ID_BYTES: usize = 20;
    let bytes = std::fs::read(index).map_err(|e| SalvageError::io("read", index, e))?;
    let ids = || -> Option<Vec<Oid>> {
        let rest = bytes.strip_prefix(HEAD)?;
        let (counts, rest) = rest.split_at_checked(COUNTS_BYTES)?;
        let last: [u8; 4] = counts.last_chunk::<4>().copied()?;
        let length = usize::try_from(u32::from_be_bytes(last)).ok()? * ID_BYTES;
        let ids = rest.get(..length)?.chunks_exact(ID_BYTES);
        ids.map(|id| Oid::from_bytes(id).ok()).collect()
    };
    ids().ok_or_else(|| SalvageError::Unreadable {
        store: index.to_owned(),
        why: "it is no index of a pack".to_owned(),
    })
}

/// The lines of commits to be saved. From here on `repo` reads the agent's objects, too.
fn lines(
    repo: &Repository,
    store: &Path,
    objects: &[Oid],
    shelf: &Shelf<'_>,
    known: &HashSet<ObjectId>,
    files: Option<&ObjectId>,
) -> Result<Vec<Line>, git2::Error> {
    let path = store
        .to_str()
        .ok_or_else(|| git2::Error::from_str("its path is not UTF-8"))?;
    let odb = repo.odb()?;
    odb.add_disk_alternate(path)?;
    let mut walk = repo.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL)?;
    let mut has_commits = false;
    for id in objects {
        if odb.read_header(*id)?.1 == ObjectType::Commit {
            walk.push(*id)?;
            has_commits = true;
        }
    }
    if !has_commits {
        return Ok(Vec::new());
    }
    hide_reached(repo, &mut walk)?;
    walk.hide(oid(&shelf.tenant.base)?)?;
    let mut unreached: Vec<Oid> = Vec::new();
    for id in walk {
        unreached.push(id?);
    }
    let of_line: HashSet<Oid> = unreached.iter().copied().collect();
    let mut parents: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for id in &unreached {
        parents.insert(*id, repo.find_commit(*id)?.parent_ids().collect());
    }
    let inner: HashSet<Oid> = parents.values().flatten().copied().collect();
    let mut found = Vec::new();
    for tip in unreached.into_iter().filter(|id| !inner.contains(id)) {
        let line = line_to(tip, &parents, &of_line);
        if is_unsaved(repo, &line, shelf, known, files)? {
            found.push(line);
        }
    }
    Ok(found)
}

/// Hides what the repository's refs reach. A ref that leads nowhere hides nothing: rather is something saved twice.
fn hide_reached(repo: &Repository, walk: &mut git2::Revwalk<'_>) -> Result<(), git2::Error> {
    for reference in repo.references()? {
        if let Ok(commit) = reference?.peel_to_commit() {
            walk.hide(commit.id())?;
        }
    }
    Ok(())
}

fn line_to(tip: Oid, parents: &HashMap<Oid, Vec<Oid>>, unreached: &HashSet<Oid>) -> Line {
    let (mut seen, mut before) = (HashSet::from([tip]), BTreeSet::new());
    let mut commits = vec![tip];
    let mut next = 0;
    while let Some(id) = commits.get(next) {
        for parent in parents.get(id).into_iter().flatten() {
            if !unreached.contains(parent) {
                before.insert(*parent);
            } else if seen.insert(*parent) {
                commits.push(*parent);
            }
        }
        next += 1;
    }
    Line {
        tip,
        commits,
        before,
    }
}

/// Commits that end in exactly the files that were kept are the way to them, and no work of their own. Where these are
/// the base's, the way there may be all that there is.
fn is_unsaved(
    repo: &Repository,
    line: &Line,
    shelf: &Shelf<'_>,
    known: &HashSet<ObjectId>,
    files: Option<&ObjectId>,
) -> Result<bool, git2::Error> {
    let base = repo.find_commit(oid(&shelf.tenant.base)?)?.tree_id();
    let tree_of = |id: &Oid| -> Result<Oid, git2::Error> { Ok(repo.find_commit(*id)?.tree_id()) };
    let last = tree_of(&line.tip)?;
    if last != base && files.is_some_and(|files| *files == object_id(last)) {
        return Ok(false);
    }
    for id in &line.commits {
        if !known.contains(&object_id(tree_of(id)?)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a line holds a file that does not go into the repository unasked: the rules of `left_out`, for what the
/// base does not have.
fn holds_back(repo: &Repository, line: &Line, shelf: &Shelf<'_>) -> Result<bool, git2::Error> {
    let base = repo.find_commit(oid(&shelf.tenant.base)?)?.tree()?;
    let limits = Limits::default();
    let odb = repo.odb()?;
    let mut total = 0;
    let mut seen = HashSet::new();
    for id in &line.commits {
        let commit = repo.find_commit(*id)?;
        for (path, blob) in new_files(repo, &commit)? {
            if entry_at(&base, &path)?.is_some() || !seen.insert(blob) {
                continue;
            }
            let bytes = odb.read_header(blob)?.0 as u64;
            total += bytes;
            let name = path.file_name().unwrap_or_default();
            let holds = |wanted: &[u8]| -> Result<bool, git2::Error> {
                Ok(begins_with(repo.find_blob(blob)?.content(), wanted))
            };
            if bytes > limits.file_bytes
                || total > limits.total_bytes
                || is_secret_holding(name, holds)?
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The files that a commit adds or changes against its first parent.
fn new_files(repo: &Repository, commit: &Commit<'_>) -> Result<Vec<(PathBuf, Oid)>, git2::Error> {
    let before = match commit.parent(0) {
        Ok(parent) => Some(parent.tree()?),
        Err(e) if e.code() == git2::ErrorCode::NotFound => None,
        Err(e) => return Err(e),
    };
    let diff = repo.diff_tree_to_tree(before.as_ref(), Some(&commit.tree()?), None)?;
    let files = diff.deltas().filter_map(|delta| {
        let new = delta.new_file();
        let is_file = matches!(
            new.mode(),
            git2::FileMode::Blob | git2::FileMode::BlobExecutable
        );
        let path = new.path_bytes().filter(|_| is_file)?;
        Some((as_path(path).to_owned(), new.id()))
    });
    Ok(files.collect())
}

fn save_line(
    shelf: &Shelf<'_>,
    store: &Path,
    line: &Line,
    place: SalvagePlace,
) -> Result<Salvage, SalvageError> {
    let commit = object_id(line.tip);
    let item = Item {
        of: SalvageOf::Commits,
        place,
        commit: &commit,
    };
    shelf.put(&item, |dir| {
        let pack = match place {
            SalvagePlace::Repository => {
                let common_dir = shelf.slot.repository().common_dir();
                common_dir.join("objects/pack/pack")
            }
            SalvagePlace::RunDirectory => {
                let packs = Kept::packs_in(dir);
                std::fs::create_dir_all(&packs)
                    .map_err(|e| SalvageError::io("create", &packs, e))?;
                packs.join("pack")
            }
        };
        copy(shelf, store, line, &pack)
    })
}

/// Writes the objects of a line into a pack. git reads the agent's store as one more place for objects of the user's
/// repository, by the user's configuration.
fn copy(shelf: &Shelf<'_>, store: &Path, line: &Line, pack: &Path) -> Result<(), SalvageError> {
    let mut wanted = format!("{}\n", line.tip);
    for before in &line.before {
        wanted.push_str(&format!("^{before}\n"));
    }
    let command = shelf.slot.repository().git();
    command
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(store))
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .args(["pack-objects", "-q", "--revs", "--delta-base-offset"])
        .arg(pack)
        .input(wanted)
        .run()?;
    Ok(())
}

/// A path as git reads it in a list of paths, whatever bytes it holds.
pub(super) fn quoted(path: &Path) -> std::ffi::OsString {
    let mut bytes = vec![b'"'];
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
    bytes.push(b'"');
    OsStr::from_bytes(&bytes).to_owned()
}

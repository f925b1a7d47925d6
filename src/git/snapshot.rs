//! How the user's repository stands beside the work of agents: refs, configuration, hooks, and which files of the
//! checkout are changed. Two looks, before an attempt and after it, tell what an agent (or a person) did there meanwhile.
//!
//! Files are told apart by git itself, but only when an index or a file has changed since git was last asked; else a look
//! costs one `lstat` a file. Nothing is written, and nothing is undone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::program::GitError;
use super::refs::{LOCK_PAUSE, LOCK_TRIES};
use super::repository::{Repository, RepositoryError, as_path};
use crate::digest::sha256_hex;
use crate::ids::ObjectId;

/// Files in a git directory, beside hooks, that decide what git does. The worktree's own come first.
const DECIDING_FILES: [(Owner, &str); 5] = [
    (Owner::Worktree, "config.worktree"),
    (Owner::Repository, "config"),
    (Owner::Repository, "info/attributes"),
    (Owner::Repository, "info/exclude"),
    (Owner::Repository, "objects/info/alternates"),
];

/// Refs that orch keeps for itself.
const OWN_REFS: &str = "refs/orch/";

/// Larger files are not read; their size and time stand for them.
const READ_BYTES_MAX: u64 = 1 << 20;

/// How many refs, and how many files, one telling names.
const NAMED_MAX: usize = 5;

/// Letters of an object id that people are shown.
const SHORT: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Owner {
    Worktree,
    Repository,
}

/// How the repository stood at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What HEAD of the checkout holds.
    head: Option<String>,
    /// All refs but orch's, by full name.
    refs: BTreeMap<String, String>,
    /// What stands for the content of each hook and deciding file, by its name for people.
    files: BTreeMap<String, String>,
    /// Tracked files of the checkout that are not clean.
    dirty: BTreeSet<String>,
}

/// Why the repository could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Its refs cannot be read.
    #[error("cannot read its refs")]
    Refs(#[from] git2::Error),
    /// It cannot be opened.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// git cannot tell which files are changed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Looks at one repository again and again.
#[derive(Debug)]
pub struct Observer {
    repo: Repository,
    /// What git said of the files last, and how index and files stood then.
    last: Mutex<Option<(Stand, BTreeSet<String>)>>,
}

/// Stands for an index, the commit it is compared with, and the times and sizes of all files in it.
type Stand = [u8; 32];

impl Observer {
    /// For the worktree in which orch was started.
    pub fn new(repo: &Repository) -> Self {
        Self {
            repo: repo.clone(),
            last: Mutex::default(),
        }
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// If something of it cannot be read.
    pub fn look(&self) -> Result<Snapshot, SnapshotError> {
        let opened = self.repo.open()?;
        Ok(Snapshot {
            head: self.head()?,
            refs: refs(&opened)?,
            files: self.deciding_files()?,
            dirty: self.dirty(&opened)?,
        })
    }

    /// What has changed since `before`, in words. `own_step` gives where a commit that orch itself moved a branch to had
    /// moved it from: such moves are not told.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn changes_since(
        &self,
        before: &Snapshot,
        own_step: impl Fn(&ObjectId) -> Option<ObjectId>,
    ) -> Result<Vec<String>, SnapshotError> {
        let mut now = self.look()?;
        if !now.dirty.is_subset(&before.dirty) {
            // A git at work shows files as changed that are not, until it has written the index.
            let lock = self.repo.git_dir().join("index.lock");
            for _ in 0..LOCK_TRIES {
                if !lock.exists() {
                    break;
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            let again = self.dirty(&self.repo.open()?)?;
            now.dirty.retain(|file| again.contains(file));
        }
        Ok(told(before, &now, own_step))
    }

    fn head(&self) -> Result<Option<String>, SnapshotError> {
        let path = self.repo.git_dir().join("HEAD");
        let text = read_if_there(&path)?;
        Ok(text.map(|text| String::from_utf8_lossy(text.trim_ascii()).into_owned()))
    }

    fn deciding_files(&self) -> Result<BTreeMap<String, String>, SnapshotError> {
        let mut found = BTreeMap::new();
        for (owner, name) in DECIDING_FILES {
            let dir = match owner {
                Owner::Worktree => self.repo.git_dir(),
                Owner::Repository => self.repo.common_dir(),
            };
            let path = dir.join(name);
            if let Some(content) = content(&path)? {
                found.insert(format!("`{}`", self.shown(&path)), content);
            }
        }
        let hooks = self.hooks_dir();
        let entries = match std::fs::read_dir(&hooks) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(io_error(&hooks))?,
        };
        for entry in entries {
            let path = entry.map_err(io_error(&hooks))?.path();
            if let Some(content) = content(&path)? {
                found.insert(format!("the hook `{}`", self.shown(&path)), content);
            }
        }
        Ok(found)
    }

    fn hooks_dir(&self) -> PathBuf {
        match self.repo.settings().last("core.hookspath") {
            Some(dir) => self.repo.worktree().join(as_path(dir)),
            None => self.repo.common_dir().join("hooks"),
        }
    }

    fn shown(&self, path: &Path) -> String {
        let relative = path.strip_prefix(self.repo.worktree());
        relative.unwrap_or(path).display().to_string()
    }

    /// Asks git, unless nothing has changed since it was last asked.
    fn dirty(&self, opened: &git2::Repository) -> Result<BTreeSet<String>, SnapshotError> {
        let stand = self.stand(opened);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(stand), Some((then, dirty))) = (&stand, &*last)
            && stand == then
        {
            return Ok(dirty.clone());
        }
        let command = self.repo.git().read_only().args([
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=no",
            "--no-renames",
            "--ignore-submodules=dirty",
        ]);
        // Each entry is two letters, a blank and the path.
        let printed = command.run()?;
        let entries = printed.split(|&byte| byte == 0);
        let dirty: BTreeSet<String> = entries
            .filter_map(|entry| entry.get(3..))
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect();
        *last = stand.map(|stand| (stand, dirty.clone()));
        Ok(dirty)
    }

    /// None if libgit2 cannot read the index (a sparse or split one): git is asked then each time.
    fn stand(&self, opened: &git2::Repository) -> Option<Stand> {
        let index = git2::Index::open(&self.repo.git_dir().join("index")).ok()?;
        let mut hash = Sha256::new();
        let head = opened.head().ok().and_then(|head| head.target());
        hash.update(head.map_or_else(Vec::new, |id| id.as_bytes().to_vec()));
        let mut path = self.repo.worktree().as_os_str().as_bytes().to_vec();
        path.push(b'/');
        let above = path.len();
        for entry in index.iter() {
            hash.update(entry.id.as_bytes());
            hash.update(entry.mode.to_be_bytes());
            hash.update(entry.flags.to_be_bytes());
            hash.update(entry.flags_extended.to_be_bytes());
            hash.update(&entry.path);
            path.truncate(above);
            path.extend_from_slice(&entry.path);
            match std::fs::symlink_metadata(as_path(&path)) {
                Ok(found) => hash.update(stat(&found)),
                Err(error) => hash.update(error.to_string()),
            }
        }
        Some(hash.finalize().into())
    }
}

/// What changes with every change of a file.
fn stat(found: &Metadata) -> [u8; 48] {
    let numbers = [
        found.ino(),
        found.size(),
        u64::from(found.mode()),
        found.mtime().cast_unsigned(),
        found.ctime().cast_unsigned(),
        (found.mtime_nsec() << 32 | found.ctime_nsec()).cast_unsigned(),
    ];
    let mut bytes = [0; 48];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn refs(opened: &git2::Repository) -> Result<BTreeMap<String, String>, git2::Error> {
    let mut found = BTreeMap::new();
    for reference in opened.references()? {
        let reference = reference?;
        let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        if name.starts_with(OWN_REFS) {
            continue;
        }
        let value = match (reference.target(), reference.symbolic_target_bytes()) {
            (Some(id), _) => id.to_string(),
            (None, Some(to)) => format!("ref: {}", String::from_utf8_lossy(to)),
            (None, None) => continue,
        };
        found.insert(name, value);
    }
    Ok(found)
}

/// What stands for a regular file's content and mode; none if there is no such file.
fn content(path: &Path) -> Result<Option<String>, SnapshotError> {
    let found = match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(io_error(path))?,
    };
    if !found.is_file() {
        return Ok(None);
    }
    let mode = found.mode() & 0o111;
    if found.size() > READ_BYTES_MAX {
        let (size, s, ns) = (found.size(), found.mtime(), found.mtime_nsec());
        return Ok(Some(format!("{mode:o} {size} bytes of {s}.{ns}")));
    }
    let Some(bytes) = read_if_there(path)? else {
        return Ok(None);
    };
    Ok(Some(format!("{mode:o} {}", sha256_hex(&bytes))))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(io_error(path)),
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |cause| SnapshotError::Io {
        path: path.clone(),
        cause,
    }
}

/// The differences of two looks, in words.
fn told(
    before: &Snapshot,
    now: &Snapshot,
    own_step: impl Fn(&ObjectId) -> Option<ObjectId>,
) -> Vec<String> {
    let mut told = Vec::new();
    if before.head != now.head {
        let of = |head: &Option<String>| match head.as_deref() {
            Some(head) => format!("`{}`", head.strip_prefix("ref: ").unwrap_or(head)),
            None => "nothing".to_owned(),
        };
        told.push(format!(
            "HEAD went from {} to {}",
            of(&before.head),
            of(&now.head)
        ));
    }
    let mut refs: Vec<String> = differences(&before.refs, &now.refs)
        .filter(|(_, was, is)| !is_own(*was, *is, &own_step))
        .map(|(name, was, is)| match (was, is) {
            (Some(was), Some(is)) => {
                format!("`{name}` went from {} to {}", short(was), short(is))
            }
            (None, Some(is)) => format!("`{name}` was made at {}", short(is)),
            (Some(was), None) => format!("`{name}` was deleted, it stood at {}", short(was)),
            (None, None) => format!("`{name}` was changed"),
        })
        .collect();
    shorten(&mut refs, "refs");
    told.append(&mut refs);
    told.extend(
        differences(&before.files, &now.files).map(|(name, was, is)| {
            let what = match (was, is) {
                (None, _) => "made",
                (_, None) => "removed",
                _ => "changed",
            };
            format!("{name} was {what}")
        }),
    );
    let mut files: Vec<String> = now
        .dirty
        .difference(&before.dirty)
        .map(|file| format!("`{file}`"))
        .collect();
    if !files.is_empty() {
        shorten(&mut files, "files");
        told.push(format!(
            "files of the checkout that were clean are changed: {}",
            files.join(", ")
        ));
    }
    told
}

type Difference<'a> = (&'a String, Option<&'a String>, Option<&'a String>);

fn differences<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Difference<'a>> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .map(|name| (name, before.get(name), now.get(name)))
        .filter(|(_, was, is)| was != is)
}

/// Whether a branch came from one value to the other by orch's own steps alone.
fn is_own(
    was: Option<&String>,
    is: Option<&String>,
    own_step: impl Fn(&ObjectId) -> Option<ObjectId>,
) -> bool {
    let (Some(was), Some(is)) = (was, is) else {
        return false;
    };
    let mut at = ObjectId::new(is.as_str());
    while let Some(from) = own_step(&at) {
        if from.as_str() == was {
            return true;
        }
        at = from;
    }
    false
}

fn short(value: &str) -> &str {
    match value.strip_prefix("ref: ") {
        Some(name) => name,
        None => value.get(..SHORT).unwrap_or(value),
    }
}

fn shorten(named: &mut Vec<String>, what: &str) {
    let more = named.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        named.truncate(NAMED_MAX);
        named.push(format!("and {more} more {what}"));
    }
}

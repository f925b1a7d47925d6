//! A slot: a place outside the repository where one agent at a time works, kept warm from task to task.
//!
//! On disk, below `<slots root>/<repository>/agent-<n>/` (`gate-<n>/` where landing commits are judged): `tree/`, the working tree; `git/`, its private git
//! directory; `orch/`, what orch knows: a marker, a lock, and an index of its own. orch brings the tree to a commit
//! and reads it back with that index and the user's git directory, so that the user's filters, attributes and sparse
//! rules hold, and nothing the agent does to its own git directory matters.
//!
//! Slots work in parallel. Objects go straight into the user's object store, which is safe at any time; refs are only
//! read here.

pub mod error;
pub(super) mod files;
mod fill;
mod private;
mod special;
mod tenant;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use error::SlotError;
use private::PrivateGit;
pub use tenant::{Stage, Tenant};

use super::program::GitCommand;
use super::repository::{Repository, as_path};
use crate::crash::{point, synced};
use crate::digest::sha256_hex;
use crate::flock;
use crate::ids::{ObjectId, SlotId};

/// The directory in a slot's tree where orch and the agent leave each other files. Never collected.
pub const EXCHANGE_DIR: &str = ".orch";

/// The first line of the marker file: without it, a directory is not touched.
const MARKER: &str = "orch slot 1";

/// How long to wait for the git of an orch that was killed. Nobody else holds the lock of a slot: a repository has
/// one orch at a time.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(60);

/// How often to look whether that git has ended.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Bytes of the repository's name that are kept in the name of its directory of slots.
const STEM_BYTES_MAX: usize = 40;

/// Digits of the hash of its place that follow them there.
const HASH_DIGITS: usize = 12;

/// Settings under which orch's own index is kept: readable by libgit2, whole, and true about every file.
const INDEX_SETTINGS: [&str; 12] = [
    "index.sparse=false",
    "index.skipHash=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "core.ignoreStat=false",
    "core.checkStat=default",
    "core.trustctime=true",
    "core.safecrlf=false",
    "add.ignoreErrors=false",
    "clean.requireForce=false",
    "submodule.recurse=false",
    "checkout.workers=0",
];

/// Which files an attempt finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// Those of the base.
    Base,
    /// Those of this tree (or commit), as uncommitted changes to the base. What the base has and the tree lacks will
    /// count as deleted: merge the two first where the tree was made on an older base.
    Files(&'a ObjectId),
}

/// How the working tree was brought to its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filled {
    /// From what it held before; ignored files are still there.
    Warm,
    /// From nothing; what `setup` makes is not there.
    New,
    /// From nothing, because what was there could not be used.
    Rebuilt {
        /// Why not.
        why: String,
    },
}

/// An open slot. Nobody else can open it while this value lives.
#[derive(Debug)]
pub struct Slot {
    repo: Repository,
    dir: PathBuf,
    lock: File,
}

impl Slot {
    /// Opens the slot `id` of `repo` below `slots_root`, or makes it.
    ///
    /// # Errors
    /// If its place is taken by something else, or cannot be written.
    pub fn open(repo: &Repository, slots_root: &Path, id: SlotId) -> Result<Self, SlotError> {
        Self::open_at(repo, slots_root, &format!("agent-{id}"))
    }

    /// The same for the gate slot of that number, in which no agent ever works.
    ///
    /// # Errors
    /// If its place is taken by something else, or cannot be written.
    pub fn open_gate(repo: &Repository, slots_root: &Path, number: u32) -> Result<Self, SlotError> {
        Self::open_at(repo, slots_root, &format!("gate-{number}"))
    }

    fn open_at(repo: &Repository, slots_root: &Path, name: &str) -> Result<Self, SlotError> {
        // For the owner alone: the repository may lie in a private place, and so may the files copied in.
        let create = |dir: &Path| {
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir);
            made.map_err(|cause| SlotError::io("create", dir, cause))
        };
        create(slots_root)?;
        let root = std::fs::canonicalize(slots_root)
            .map_err(|cause| SlotError::io("find", slots_root, cause))?;
        let dir = root.join(repository_key(repo)).join(name);
        create(&dir)?;
        judge(&dir, repo)?;
        mark(&dir, repo)?;
        let lock = lock(&dir)?;
        Ok(Self {
            repo: repo.clone(),
            dir,
            lock,
        })
    }

    /// Opens the slot whose working tree is `tree`, in which an attempt of `repo` worked, wherever the repository lies
    /// by now: when it is moved, its next slots lie elsewhere.
    ///
    /// # Errors
    /// If there is no slot there, or it cannot be locked.
    pub fn reopen(repo: &Repository, tree: &Path) -> Result<Self, SlotError> {
        let dir = tree
            .parent()
            .ok_or_else(|| SlotError::Foreign(tree.to_owned()))?;
        let marked = match std::fs::read(dir.join("orch/slot")) {
            Ok(marker) => marker.starts_with(MARKER.as_bytes()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(SlotError::Gone(tree.to_owned()));
            }
            Err(cause) => return Err(SlotError::io("look into", dir, cause)),
        };
        if !marked {
            return Err(SlotError::Foreign(dir.to_owned()));
        }
        Ok(Self {
            repo: repo.clone(),
            dir: dir.to_owned(),
            lock: lock(dir)?,
        })
    }

    /// Forgets which files were read before: the next collection reads, and stores, each of them.
    ///
    /// # Errors
    /// If the index cannot be removed.
    pub fn forget_index(&mut self) -> Result<(), SlotError> {
        files::remove(&self.index())
    }

    /// The working tree: where an agent works.
    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// The user's repository.
    pub fn repository(&self) -> &Repository {
        &self.repo
    }

    /// Brings the slot to the commit `base`: tracked files to those of `start`, other files away unless they are
    /// ignored, HEAD detached at the base, the private git directory as new, and the files `included` (paths relative
    /// to the top, see [`super::include`]) copied from the user's checkout.
    ///
    /// What the slot held is gone afterwards: see [`super::salvage`].
    ///
    /// # Errors
    /// If the commit is not in the repository, or the files cannot be written even into an empty slot.
    pub fn prepare(
        &mut self,
        base: &ObjectId,
        start: Start<'_>,
        included: &[PathBuf],
    ) -> Result<Filled, SlotError> {
        self.must_hold(base)?;
        self.unlock_index()?;
        let files = match start {
            Start::Base => base,
            Start::Files(tree) => {
                self.must_hold(tree)?;
                tree
            }
        };
        files::real_dir(&self.dir)?;
        mark(&self.dir, &self.repo)?;
        let filled = self.fill(files)?;
        point("slot-filled");
        let (git, tree) = (self.private_git(), self.tree());
        let private = PrivateGit {
            dir: &git,
            tree: &tree,
        };
        private.reset(&self.repo, base)?;
        point("slot-git-reset");
        files::copy_if_there(&self.index(), &private.index())?;
        if files != base {
            // Keeps what the index knows about the files that are the same in both.
            self.git_with(&private.index())
                .args(["read-tree", "-m", base.as_str()])
                .run()?;
        }
        self.include(included)?;
        Ok(filled)
    }

    /// Takes the whole slot out of use and keeps it, for people: by a rename within the directory of slots, which needs
    /// no room on the disk. Gives where it is kept; a new slot is made in its place.
    ///
    /// # Errors
    /// If the directory cannot be renamed.
    pub fn set_aside(self, name: &str) -> Result<PathBuf, SlotError> {
        let mut place = self.dir.with_file_name(format!("aside-{name}"));
        let mut n = 1;
        while place.symlink_metadata().is_ok() {
            n += 1;
            place.set_file_name(format!("aside-{name}-{n}"));
        }
        std::fs::rename(&self.dir, &place)
            .map_err(|cause| SlotError::io("set aside", &self.dir, cause))?;
        Ok(place)
    }

    /// Removes it with all that it holds. To be called when nothing in it is kept nowhere else.
    ///
    /// # Errors
    /// If something refuses; the rest is there.
    pub fn remove(self) -> Result<(), SlotError> {
        files::remove(&self.dir)
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The private git directory.
    pub(super) fn private_git(&self) -> PathBuf {
        self.dir.join("git")
    }

    /// Removes everything from the working tree, ignored files included.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn clear(&mut self) -> Result<(), SlotError> {
        files::remove(&self.tree())
    }

    /// The tracked files that are not as the slot was prepared, whatever the index of the slot's own git says.
    ///
    /// # Errors
    /// If git cannot compare them.
    pub fn altered(&mut self) -> Result<Vec<PathBuf>, SlotError> {
        self.unlock_index()?;
        let listed = self
            .git()?
            .args(["diff", "--name-only", "-z", "--no-ext-diff", "--no-renames"])
            .run()?;
        let names = listed.split(|byte| *byte == 0).filter(|n| !n.is_empty());
        Ok(names.map(|name| as_path(name).to_owned()).collect())
    }

    /// orch's own index of the working tree.
    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("orch/index")
    }

    /// Removes the lock that a git which was ended left on orch's index. No other can be at work: this value holds the
    /// slot, and waits for each git it starts.
    pub(super) fn unlock_index(&self) -> Result<(), SlotError> {
        files::remove(&self.dir.join("orch/index.lock"))
    }

    /// Where the list of files lies that were copied in for the current attempt.
    pub(super) fn included_list(&self) -> PathBuf {
        self.dir.join("orch/included")
    }

    /// A file for the pathspecs of one git command.
    pub(super) fn pathspecs(&self) -> PathBuf {
        self.dir.join("orch/pathspecs")
    }

    /// A git command over the files of the slot, with the user's git directory and orch's index. It holds the slot's
    /// lock, so that no other orch opens the slot before it has ended.
    pub(super) fn git(&self) -> Result<GitCommand<'_>, SlotError> {
        let held = self.lock.try_clone();
        let held = held.map_err(|cause| SlotError::io("share the lock of", &self.dir, cause))?;
        Ok(self.git_with(&self.index()).holding(held))
    }

    fn git_with(&self, index: &Path) -> GitCommand<'_> {
        let tree = self.tree();
        let command = self.repo.git_over(&tree, index);
        INDEX_SETTINGS
            .iter()
            .fold(command, |command, setting| command.config(*setting))
    }

    pub(super) fn libgit2(&self, cause: git2::Error) -> SlotError {
        SlotError::Libgit2 {
            path: self.dir.clone(),
            cause,
        }
    }

    fn must_hold(&self, id: &ObjectId) -> Result<(), SlotError> {
        let missing = |_| SlotError::Missing(id.clone());
        let oid = git2::Oid::from_str(id.as_str()).map_err(missing)?;
        let opened = self.repo.open()?;
        opened.find_object(oid, None).map(drop).map_err(missing)
    }
}

/// Something in the directory of a repository's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lodging {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub kind: LodgingKind,
}

/// What lies in the directory of a repository's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LodgingKind {
    /// A slot, with the attempt it was last prepared for, as far as that is known.
    Slot(SlotId, Option<Tenant>),
    /// A gate slot, in which no agent ever works.
    Gate,
    /// A slot that was kept whole, for people.
    Aside,
    /// Nothing of orch's, or not of this repository.
    Foreign,
}

/// Where the slots of a repository lie below `slots_root`.
pub fn lodgings_dir(repo: &Repository, slots_root: &Path) -> PathBuf {
    slots_root.join(repository_key(repo))
}

/// Everything that lies where the slots of a repository are, by name.
///
/// # Errors
/// If something there cannot be read.
pub fn lodgings(repo: &Repository, slots_root: &Path) -> Result<Vec<Lodging>, SlotError> {
    let dir = lodgings_dir(repo, slots_root);
    let io = |cause| SlotError::io("list", &dir, cause);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let kind = lodging_kind(&path, repo)?;
        found.push(Lodging { path, kind });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn lodging_kind(path: &Path, repo: &Repository) -> Result<LodgingKind, SlotError> {
    let is_marked = std::fs::read(path.join("orch/slot")).is_ok_and(|found| found == marker(repo));
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if !is_marked || !is_dir {
        return Ok(LodgingKind::Foreign);
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let number = name.strip_prefix("agent-").map(str::parse);
    Ok(match number {
        Some(Ok(number)) => LodgingKind::Slot(SlotId(number), Tenant::read(path)?),
        _ if name.starts_with("aside-") => LodgingKind::Aside,
        _ if name.starts_with("gate-") => LodgingKind::Gate,
        _ => LodgingKind::Foreign,
    })
}

/// The name of the directory that holds the slots of a repository: readable, and unique by its path.
fn repository_key(repo: &Repository) -> String {
    let common_dir = repo.common_dir();
    let named = match common_dir.file_name() {
        Some(name) if name == ".git" => common_dir.parent().and_then(Path::file_name),
        name => name,
    };
    let stem: String = named
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(STEM_BYTES_MAX)
        .collect();
    let hash = sha256_hex(common_dir.as_os_str().as_encoded_bytes());
    let hash = &hash[..HASH_DIGITS];
    format!("{}-{hash}", stem.trim_start_matches('.'))
}

/// What the marker file of a slot of `repo` holds.
fn marker(repo: &Repository) -> Vec<u8> {
    let mut marker = format!("{MARKER}\n").into_bytes();
    marker.extend_from_slice(repo.common_dir().as_os_str().as_encoded_bytes());
    marker
}

/// Makes sure that the directory `dir` is a slot of `repo`, or empty.
fn judge(dir: &Path, repo: &Repository) -> Result<(), SlotError> {
    let io = |cause| SlotError::io("look into", dir, cause);
    let is_link = std::fs::symlink_metadata(dir).map_err(io)?.is_symlink();
    let is_ours = match std::fs::read(dir.join("orch/slot")) {
        // A loss of power may have taken the end of it.
        Ok(found) => marker(repo).starts_with(&found),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => is_unmarked(dir).map_err(io)?,
        Err(e) => return Err(io(e)),
    };
    if is_link || !is_ours {
        return Err(SlotError::Foreign(dir.to_owned()));
    }
    Ok(())
}

/// Whether `dir` holds nothing, or only what an orch that was killed just before it marked the slot had made.
fn is_unmarked(dir: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let is_begun = entry.file_name() == "orch" && entry.file_type()?.is_dir();
        if !is_begun || std::fs::read_dir(entry.path())?.next().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Marks `dir` as a slot of `repo`.
fn mark(dir: &Path, repo: &Repository) -> Result<(), SlotError> {
    files::real_dir(&dir.join("orch"))?;
    point("slot-made");
    let (path, marker) = (dir.join("orch/slot"), marker(repo));
    match std::fs::read(&path) {
        Ok(found) if found == marker => Ok(()),
        _ => {
            files::write(&path, &marker)?;
            // Without it nothing in the slot is orch's to remove.
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|cause| SlotError::io("bring to disk", &path, cause))?;
            synced("slot", [path.as_path()]);
            Ok(())
        }
    }
}

/// Takes the slot's lock, which a git of a killed orch may still hold for a while.
fn lock(dir: &Path) -> Result<File, SlotError> {
    let path = dir.join("orch/lock");
    let io = |cause| SlotError::io("lock", &path, cause);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io)?;
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    while !flock::take(&file).map_err(io)? {
        if Instant::now() >= deadline {
            return Err(SlotError::Busy(dir.to_owned()));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(file)
}

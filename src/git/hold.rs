//! A worktree held while its branch moves: from before the move until its files are what they become, nobody else can
//! commit in it.
//!
//! What stops them is git's own lock, `index.lock`, holding the index as it will be. Beside it, in the worktree's git
//! directory, `orch-landing/` holds what the next orch needs if this one dies:
//!
//! | found                                   | meaning                          | done                                |
//! |-----------------------------------------|----------------------------------|-------------------------------------|
//! | no `orch-landing/`                      | nothing was under way            | nothing                             |
//! | lock not ours, branch not moved         | died before the lock             | `orch-landing/` removed             |
//! | lock ours, branch not moved             | died before the move             | lock and `orch-landing/` removed    |
//! | lock ours, branch moved                 | died in the update               | updated file by file, then the same |
//! | lock not ours, branch moved, no `index` | died in tidying up               | `orch-landing/` removed             |
//! | lock not ours, branch moved             | a person removed the lock        | the same, and said                  |
//!
//! The lock is ours if it is the file `orch-landing/new-index`, by inode.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkout::{CheckoutError, Refusal, changes, refused_by_state, remove_if_there};
use super::plan_copy::PlanCopy;
use super::refs::{self, LOCK_PAUSE, LOCK_TRIES};
use super::repository::{Repository, Worktree};
use super::update::Update;
use crate::crash::{point, synced};
use crate::flock;
use crate::ids::{ObjectId, RefName};

/// The directory of an update under way, in a worktree's git directory.
const DIRECTORY: &str = "orch-landing";

/// The version of the notes in it.
const NOTES_VERSION: u32 = 1;

/// What is being done, for an orch that finds it unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    version: u32,
    branch: RefName,
    from: ObjectId,
    to: ObjectId,
    /// The plan's path in the worktree; its texts lie beside the notes.
    plan: Option<PathBuf>,
}

/// A branch's way from one commit to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) branch: &'a RefName,
    pub(super) from: &'a ObjectId,
    pub(super) to: &'a ObjectId,
    pub(super) plan: Option<&'a PlanCopy>,
}

/// What came of asking for a worktree.
#[derive(Debug)]
pub(super) enum Acquired {
    Held(Box<Hold>),
    Refused(Refusal),
}

/// A held worktree. Dropped before [`Hold::branch_moves`], it lets go of everything; after it, what is not finished is
/// left for [`recover`].
#[derive(Debug)]
pub(super) struct Hold {
    worktree: Worktree,
    notes: Notes,
    plan: Option<PlanCopy>,
    /// Open and locked for as long as an orch, or a git that it started, works here.
    lock: File,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    BranchUnmoved,
    BranchMoves,
    Over,
}

/// Where things lie in a worktree's git directory.
struct Places {
    directory: PathBuf,
    notes: PathBuf,
    /// The copy of the index that is worked on.
    index: PathBuf,
    /// What `index.lock` is a second name of.
    new_index: PathBuf,
    plan_expected: PathBuf,
    plan_new: PathBuf,
    git_index: PathBuf,
    git_lock: PathBuf,
}

impl Places {
    fn of(worktree: &Worktree) -> Self {
        let directory = worktree.git_dir.join(DIRECTORY);
        Self {
            notes: directory.join("notes.json"),
            index: directory.join("index"),
            new_index: directory.join("new-index"),
            plan_expected: directory.join("plan.expected"),
            plan_new: directory.join("plan.new"),
            git_index: worktree.git_dir.join("index"),
            git_lock: worktree.git_dir.join("index.lock"),
            directory,
        }
    }

    fn lock_is_ours(&self) -> Result<bool, CheckoutError> {
        let lock = look(&self.git_lock)?;
        let ours = look(&self.new_index)?;
        let inode = |found: Metadata| (found.dev(), found.ino());
        Ok(lock.is_some() && lock.map(inode) == ours.map(inode))
    }

    fn copy_index(&self) -> Result<(), CheckoutError> {
        match fs::copy(&self.git_index, &self.index) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(CheckoutError::io(&self.git_index)(e))
            }
            _ => Ok(()),
        }
    }

    /// Removes what this module made: `index.lock` if it is ours, then the directory.
    fn clear(&self) -> Result<(), CheckoutError> {
        if self.lock_is_ours()? {
            fs::remove_file(&self.git_lock).map_err(CheckoutError::io(&self.git_lock))?;
            point("index-unlocked");
        }
        match fs::remove_dir_all(&self.directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(CheckoutError::io(&self.directory)(e))
            }
            _ => Ok(()),
        }
    }
}

/// Takes a worktree for a step of its branch, if nothing in it is in the way. Waits a little for a git that works in
/// it. Nothing but `orch-landing/` and `index.lock` is written.
pub(super) fn acquire(
    repo: &Repository,
    worktree: &Worktree,
    step: &Step<'_>,
) -> Result<Acquired, CheckoutError> {
    let places = Places::of(worktree);
    for _ in 0..LOCK_TRIES {
        if let Some(refusal) = refused_by_state(worktree) {
            return Ok(Acquired::Refused(refusal));
        }
        if places.lock_is_ours()? {
            return Ok(Acquired::Refused(Refusal::Unfinished(
                worktree.path.clone(),
            )));
        }
        if look(&places.git_lock)?.is_some() {
            std::thread::sleep(LOCK_PAUSE);
            continue;
        }
        let hold = Hold::begin(&places, worktree, step)?;
        let before = look(&places.git_index)?.as_ref().map(stamp);
        places.copy_index()?;
        if let Some(refusal) = hold.check(repo, &places)? {
            return Ok(Acquired::Refused(refusal));
        }
        match fs::hard_link(&places.new_index, &places.git_lock) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(CheckoutError::io(&places.git_lock)(e)),
        }
        // A git that finished between the copy and the lock has changed the index, or has left the branch.
        let after = look(&places.git_index)?.as_ref().map(stamp);
        if before == after && hold.is_on_branch()? {
            return Ok(Acquired::Held(Box::new(hold)));
        }
    }
    Ok(Acquired::Refused(Refusal::Locked {
        worktree: worktree.path.clone(),
        lock: places.git_lock,
    }))
}

impl Hold {
    fn begin(places: &Places, worktree: &Worktree, step: &Step<'_>) -> Result<Self, CheckoutError> {
        places.clear()?;
        fs::create_dir(&places.directory).map_err(CheckoutError::io(&places.directory))?;
        let plan = step
            .plan
            .filter(|plan| is_same(&plan.worktree, &worktree.path));
        let notes = Notes {
            version: NOTES_VERSION,
            branch: step.branch.clone(),
            from: step.from.clone(),
            to: step.to.clone(),
            plan: plan.map(|plan| plan.path.clone()),
        };
        if let Some(plan) = plan {
            let write =
                |file: &Path, bytes: &[u8]| fs::write(file, bytes).map_err(CheckoutError::io(file));
            write(&places.plan_expected, &plan.expected)?;
            write(&places.plan_new, &plan.new)?;
        }
        let write = || {
            let mut file = File::create_new(&places.notes)?;
            file.lock()?;
            file.write_all(&serde_json::to_vec(&notes)?)?;
            file.sync_all()?;
            synced("checkout", [places.notes.as_path()]);
            Ok(file)
        };
        let lock = write().map_err(CheckoutError::io(&places.notes))?;
        Ok(Self {
            worktree: worktree.clone(),
            notes,
            plan: plan.cloned(),
            lock,
            stage: Stage::BranchUnmoved,
        })
    }

    fn check(&self, repo: &Repository, places: &Places) -> Result<Option<Refusal>, CheckoutError> {
        self.with_update(repo, places, |update| match update.check()? {
            Some(refusal) => Ok(Some(refusal)),
            None => update.preview(&places.new_index).map(|()| None),
        })
    }

    fn is_on_branch(&self) -> Result<bool, CheckoutError> {
        let head = self.worktree.git_dir.join("HEAD");
        let found = fs::read(&head).map_err(CheckoutError::io(&head))?;
        let name = found.trim_ascii_end().strip_prefix(b"ref: ");
        Ok(name == Some(self.notes.branch.as_str().as_bytes()))
    }

    pub(super) fn worktree(&self) -> &Worktree {
        &self.worktree
    }

    /// To be called just before the branch moves: from here on only [`Hold::finish`] ends it, or [`recover`], which
    /// looks whether the branch has moved.
    pub(super) fn branch_moves(&mut self) {
        self.stage = Stage::BranchMoves;
    }

    /// The branch has moved: brings files and index along. Returns the files that were kept as they are.
    pub(super) fn finish(mut self, repo: &Repository) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let places = Places::of(&self.worktree);
        let kept = self.with_update(repo, &places, |update| update.apply(&self.lock))?;
        self.put_index(&places)?;
        Ok(kept)
    }

    /// As [`Hold::finish`], for an update that somebody has begun and that nobody works on any more.
    fn resume(mut self, repo: &Repository) -> Result<BTreeSet<PathBuf>, CheckoutError> {
        let places = Places::of(&self.worktree);
        remove_if_there(&places.index.with_extension("lock"))?;
        places.copy_index()?;
        let kept = self.with_update(repo, &places, |update| update.settle(&self.lock))?;
        self.put_index(&places)?;
        Ok(kept)
    }

    fn put_index(&mut self, places: &Places) -> Result<(), CheckoutError> {
        point("checkout-updated");
        fs::rename(&places.index, &places.git_index)
            .map_err(CheckoutError::io(&places.git_index))?;
        self.stage = Stage::Over;
        point("index-put");
        places.clear()?;
        point("checkout-released");
        Ok(())
    }

    fn with_update<T>(
        &self,
        repo: &Repository,
        places: &Places,
        work: impl FnOnce(&Update<'_>) -> Result<T, CheckoutError>,
    ) -> Result<T, CheckoutError> {
        let changes = changes(&repo.open()?, &self.notes.from, &self.notes.to)?;
        work(&Update {
            repo,
            worktree: &self.worktree,
            from: &self.notes.from,
            to: &self.notes.to,
            changes: &changes,
            index: &places.index,
            plan: self.plan.as_ref(),
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.stage == Stage::BranchUnmoved
            && let Err(e) = Places::of(&self.worktree).clear()
        {
            tracing::warn!(worktree = %self.worktree.path.display(), error = %e, "cannot let go of a worktree");
        }
    }
}

/// An update that is under way or was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The worktree.
    pub worktree: PathBuf,
    /// Its `index.lock`, if orch made it.
    pub lock: Option<PathBuf>,
}

/// Whether an update is under way in a worktree or was cut off there. Only looks.
pub(super) fn unfinished(worktree: &Worktree) -> Result<Option<Unfinished>, CheckoutError> {
    let places = Places::of(worktree);
    if look(&places.directory)?.is_none() {
        return Ok(None);
    }
    let is_ours = places.lock_is_ours()?;
    Ok(Some(Unfinished {
        worktree: worktree.path.clone(),
        lock: is_ours.then_some(places.git_lock),
    }))
}

/// What an orch that died while a branch was moved under a worktree had left there, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The worktree.
    pub worktree: PathBuf,
    /// The branch.
    pub branch: RefName,
    /// The commit it moved to, or should have.
    pub commit: ObjectId,
    /// What was done.
    pub how: Recovery,
}

/// How an unfinished update was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// The branch had not moved; nothing had been touched.
    NotBegun,
    /// Files and index are now the new commit's, except for these files, which are neither old nor new.
    Finished {
        /// Files that were kept as they are.
        kept: Vec<String>,
    },
    /// Somebody has removed the lock meanwhile and may have worked on; the files are left to them.
    Disturbed,
    /// A git that the dead orch started still works there; to be asked again.
    StillRunning,
}

/// Ends what a dead orch had begun in a worktree, by the table above. None if there was nothing to do.
pub(super) fn recover(
    repo: &Repository,
    worktree: &Worktree,
) -> Result<Option<Recovered>, CheckoutError> {
    let places = Places::of(worktree);
    if look(&places.directory)?.is_none() {
        return Ok(None);
    }
    let ours = places.lock_is_ours()?;
    let Some((notes, lock)) = read_notes(&places, ours)? else {
        return places.clear().map(|()| None);
    };
    let recovered = |how| {
        Some(Recovered {
            worktree: worktree.path.clone(),
            branch: notes.branch.clone(),
            commit: notes.to.clone(),
            how,
        })
    };
    if !locked(&lock).map_err(CheckoutError::io(&places.notes))? {
        return Ok(recovered(Recovery::StillRunning));
    }
    let opened = repo.open()?;
    let moved = match refs::tip(&opened, &notes.branch)? {
        Some(tip) => refs::contains(&opened, &tip, &notes.to)?,
        None => false,
    };
    let how = match (moved, ours) {
        (false, _) => Recovery::NotBegun,
        (true, false) if look(&places.index)?.is_none() => return places.clear().map(|()| None),
        (true, false) => Recovery::Disturbed,
        (true, true) => {
            let hold = Hold {
                worktree: worktree.clone(),
                plan: read_plan(&places, worktree, &notes)?,
                notes: notes.clone(),
                lock,
                stage: Stage::BranchMoves,
            };
            let kept = super::update::shown(&hold.resume(repo)?);
            return Ok(recovered(Recovery::Finished { kept }));
        }
    };
    places.clear()?;
    Ok(recovered(how))
}

/// None if there are none and none are needed: they are complete before the lock is taken.
fn read_notes(places: &Places, needed: bool) -> Result<Option<(Notes, File)>, CheckoutError> {
    let bad = |detail: String| CheckoutError::Notes {
        path: places.notes.clone(),
        detail,
    };
    let file = match File::open(&places.notes) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !needed => return Ok(None),
        Err(e) => return Err(CheckoutError::io(&places.notes)(e)),
    };
    let text = fs::read(&places.notes).map_err(CheckoutError::io(&places.notes))?;
    match serde_json::from_slice::<Notes>(&text) {
        Ok(notes) if notes.version <= NOTES_VERSION => Ok(Some((notes, file))),
        Ok(notes) => Err(bad(format!("version {} is of a newer orch", notes.version))),
        Err(_) if !needed => Ok(None),
        Err(e) => Err(bad(e.to_string())),
    }
}

fn read_plan(
    places: &Places,
    worktree: &Worktree,
    notes: &Notes,
) -> Result<Option<PlanCopy>, CheckoutError> {
    let read = |file: &Path| fs::read(file).map_err(CheckoutError::io(file));
    let Some(path) = notes.plan.clone() else {
        return Ok(None);
    };
    Ok(Some(PlanCopy {
        worktree: worktree.path.clone(),
        path,
        expected: read(&places.plan_expected)?,
        new: read(&places.plan_new)?,
    }))
}

/// Waits a little for the lock of whoever still works there.
fn locked(file: &File) -> io::Result<bool> {
    for _ in 0..LOCK_TRIES {
        if flock::take(file)? {
            return Ok(true);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(false)
}

/// Git notes the path of a linked worktree as it was typed, perhaps through a symbolic link.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path| fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

fn look(path: &Path) -> Result<Option<Metadata>, CheckoutError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(CheckoutError::io(path)(e)),
    }
}

/// What changes whenever git replaces a file.
fn stamp(found: &Metadata) -> (u64, u64, i64, i64, u64) {
    (
        found.dev(),
        found.ino(),
        found.mtime(),
        found.mtime_nsec(),
        found.size(),
    )
}

#[cfg(test)]
mod tests;

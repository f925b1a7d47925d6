//! What was saved, as a file beside it: for the list, and so that the same is not saved twice.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::SalvageError;
use crate::engine::salvage::{Salvage, SalvagePlace};
use crate::git::pins;
use crate::git::slot::files;
use crate::ids::{ObjectId, RefName};
use crate::time::Wall;

/// Version of the manifest.
const VERSION: u32 = 1;

/// `salvage.json` in the directory of what was saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    #[serde(flatten)]
    salvage: Salvage,
    base: ObjectId,
    at: Wall,
}

/// Something that was saved, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What.
    pub salvage: Salvage,
    /// The commit that its attempt started on.
    pub base: ObjectId,
    /// When.
    pub at: Wall,
    /// Where its manifest lies, and what is not in the repository.
    pub dir: PathBuf,
}

impl Kept {
    /// Where commits lie that did not go into the repository: the packs of an object store.
    pub(super) fn packs_in(dir: &Path) -> PathBuf {
        dir.join("objects/pack")
    }

    /// The ref that names it; none if it did not go into the repository.
    pub fn name(&self) -> Option<RefName> {
        let Salvage {
            run, task, number, ..
        } = &self.salvage;
        match self.salvage.place {
            SalvagePlace::Repository => Some(pins::salvage_ref(run, task, *number)),
            SalvagePlace::RunDirectory => None,
        }
    }

    /// The files that did not go into the repository, below this directory at their paths; there may be none.
    pub fn files(&self) -> PathBuf {
        self.dir.join("left-out/files")
    }
}

impl Manifest {
    pub(super) fn new(salvage: &Salvage, base: &ObjectId) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            version: VERSION,
            salvage: salvage.clone(),
            base: base.clone(),
            at: Wall(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), SalvageError> {
        let path = dir.join("salvage.json");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| SalvageError::io("write", &path, e.into()))?;
        Ok(files::replace(&path, &text)?)
    }
}

/// What was saved of all runs, whose directories lie in `runs_dir`, oldest first.
///
/// # Errors
/// If a directory or a manifest cannot be read.
pub fn kept_of_runs(runs_dir: &Path) -> Result<Vec<Kept>, SalvageError> {
    let mut found = Vec::new();
    for run in entries(runs_dir)? {
        for task in entries(&run)? {
            found.extend(kept_below(&task)?);
        }
    }
    found.sort_by_key(|kept| kept.at);
    Ok(found)
}

/// What was saved of the attempts of one task, whose directories lie in `task_dir`.
///
/// # Errors
/// If a directory or a manifest cannot be read.
pub fn kept_below(task_dir: &Path) -> Result<Vec<Kept>, SalvageError> {
    let mut found = Vec::new();
    for attempt in entries(task_dir)? {
        for dir in entries(&attempt.join("salvage"))? {
            let path = dir.join("salvage.json");
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(e) => return Err(SalvageError::io("read", &path, e)),
            };
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|e| SalvageError::io("understand", &path, e.into()))?;
            found.push(Kept {
                salvage: manifest.salvage,
                base: manifest.base,
                at: manifest.at,
                dir,
            });
        }
    }
    found.sort_by_key(|kept| kept.salvage.number);
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, SalvageError> {
    let io = |cause| SalvageError::io("list", dir, cause);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(io(e)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(io))
        .collect()
}

//! Who has a slot and how far that went: what tells, before a slot is used for anything else, whether it holds work
//! that is kept nowhere else. Written where agents do not work, beside the working tree.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::SlotError;
use super::{Slot, files};
use crate::git::include::names;
use crate::git::left_out::LeftOut;
use crate::ids::{ObjectId, RunId, Ticket};

/// Version of the note.
const FORMAT: u32 = 1;

/// The attempt that a slot was last prepared for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    format: u32,
    /// Its run.
    pub run: RunId,
    /// Its task and attempt.
    pub ticket: Ticket,
    /// The commit it started on.
    pub base: ObjectId,
    /// The files it started with: a tree, or the base itself.
    pub start: ObjectId,
    /// How far it went.
    pub stage: Stage,
}

/// How far an attempt went in its slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Stage {
    /// Its files are being put in place; what the slot held before was kept, and nobody has worked in it since.
    Filling,
    /// It may have worked.
    Working,
    /// What it left was read into this tree and is kept. If the slot changed since, that is not.
    Kept {
        /// The tree of its files.
        tree: ObjectId,
    },
}

impl Tenant {
    /// An attempt for which a slot is about to be filled.
    pub fn new(run: RunId, ticket: Ticket, base: ObjectId, start: ObjectId) -> Self {
        Self {
            format: FORMAT,
            run,
            ticket,
            base,
            start,
            stage: Stage::Filling,
        }
    }

    /// Whether it is this attempt, in whichever order.
    pub fn is(&self, run: &RunId, ticket: &Ticket) -> bool {
        let (mine, asked) = (&self.ticket, ticket);
        (&self.run, &mine.task, mine.attempt) == (run, &asked.task, asked.attempt)
    }

    fn path(slot: &Path) -> PathBuf {
        slot.join("orch/tenant.json")
    }

    /// Reads the note of the slot at `dir`. None if nobody ever had it, or if the note cannot be understood: then
    /// nothing is known of what the slot holds.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, SlotError> {
        let path = Self::path(dir);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(SlotError::io("read", &path, e)),
        };
        let read: Result<Self, _> = serde_json::from_slice(&bytes);
        Ok(read.ok().filter(|tenant| tenant.format <= FORMAT))
    }
}

impl Slot {
    /// The attempt it was last prepared for, as far as that is known.
    ///
    /// # Errors
    /// If the note is there and cannot be read.
    pub fn tenant(&self) -> Result<Option<Tenant>, SlotError> {
        Tenant::read(&self.dir)
    }

    /// Notes for whom it is filled, and how far that is.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note(&self, tenant: &Tenant) -> Result<(), SlotError> {
        files::real_dir(&self.dir.join("orch"))?;
        let bytes = serde_json::to_vec(tenant)
            .map_err(|e| SlotError::io("write", &Tenant::path(&self.dir), e.into()))?;
        files::replace(&Tenant::path(&self.dir), &bytes)
    }

    /// Notes that its files are in place and that its tenant may work from now on.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note_working(&self, tenant: Tenant) -> Result<(), SlotError> {
        let stage = Stage::Working;
        self.note(&Tenant { stage, ..tenant })
    }

    /// Notes that what its tenant left is kept: `tree` by a ref or because the base has it, and `left_out` beside the
    /// attempt.
    ///
    /// # Errors
    /// If the notes cannot be read or written.
    pub fn note_kept(&self, tree: &ObjectId, left_out: &[LeftOut]) -> Result<(), SlotError> {
        let Some(tenant) = self.tenant()? else {
            return Ok(());
        };
        let mut list = Vec::new();
        for left in left_out {
            list.extend_from_slice(left.path.as_os_str().as_encoded_bytes());
            list.push(0);
        }
        files::replace(&self.left_out_list(), &list)?;
        let stage = Stage::Kept { tree: tree.clone() };
        self.note(&Tenant { stage, ..tenant })
    }

    /// What was left out of the last tree that was kept.
    pub(in crate::git) fn noted_left_out(&self) -> Result<Vec<PathBuf>, SlotError> {
        read_list(&self.left_out_list())
    }

    /// What orch copied in for the tenant.
    pub(in crate::git) fn noted_included(&self) -> Result<Vec<PathBuf>, SlotError> {
        read_list(&self.included_list())
    }

    fn left_out_list(&self) -> PathBuf {
        self.dir.join("orch/left-out")
    }
}

fn read_list(path: &Path) -> Result<Vec<PathBuf>, SlotError> {
    match std::fs::read(path) {
        Ok(list) => Ok(names(&list).map(Path::to_owned).collect()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(SlotError::io("read", path, e)),
    }
}

//! The sheet of an attempt: what the shell must remember of it across processes, beside the prompt and the streams in
//! the attempt's directory. The engine knows nothing of it.

use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::how::How;
use crate::engine::conflict::Resolving;
use crate::ids::{ObjectId, SlotId, TaskId, Ticket};
use crate::plan::Runner;
use crate::plan::checks::Checks;
use crate::store::{AttemptDir, read_limited, write_atomic};

/// Version of the sheet.
const FORMAT: u32 = 1;
/// A sheet is a few hundred bytes, and the command of a command task.
const SHEET_BYTES_MAX: u64 = 1024 * 1024;

/// What a later orch must know to follow, collect or end an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sheet {
    format: u32,
    /// Task and attempt.
    pub ticket: Ticket,
    /// Where it works.
    pub slot: SlotId,
    /// The slot's working tree.
    pub tree: PathBuf,
    /// The commit it started on.
    pub base: ObjectId,
    /// How the task is done, as decided when the attempt began.
    pub how: How,
    /// The command of a command task.
    pub run: Option<String>,
    /// The session's id, chosen by orch.
    pub session: Uuid,
    /// What the status file must repeat.
    pub nonce: String,
    /// The first of its ten ports.
    pub port: u16,
    /// What its work is checked by, in case that the plan loses the task meanwhile.
    #[serde(default)]
    pub checks: Checks,
    /// The conflict that it is to resolve, if it is no attempt at the task itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contest: Option<Contest>,
}

/// A conflict that a session is to resolve which made neither side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contest {
    /// The candidate that does not fit.
    pub candidate: ObjectId,
    /// The attempt that left it.
    pub attempt: u32,
    /// The merge, with both sides between marks in the files in conflict.
    pub marked: ObjectId,
    /// These files, sorted.
    pub files: Vec<String>,
    /// With whose work it is in conflict.
    pub with: Vec<Opponent>,
}

impl Contest {
    /// As the engine knows it.
    pub fn resolving(&self) -> Resolving {
        let with = self.with.iter();
        Resolving {
            candidate: self.candidate.clone(),
            attempt: self.attempt,
            files: self.files.clone(),
            with: with.map(|opponent| opponent.task.clone()).collect(),
        }
    }
}

/// A task with whose landed work another's is in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opponent {
    /// The task.
    pub task: TaskId,
    /// Its commit on the target.
    pub commit: ObjectId,
    /// What it was checked by when the session was asked, in case that the plan loses it meanwhile.
    pub checks: Checks,
}

impl Sheet {
    /// A sheet for a fresh attempt, with new random session id and nonce.
    pub fn new(
        ticket: Ticket,
        slot: SlotId,
        tree: PathBuf,
        base: ObjectId,
        how: How,
        run: Option<String>,
        port: u16,
    ) -> Self {
        let (session, nonce) = (Uuid::new_v4(), Uuid::new_v4().simple().to_string());
        Self {
            format: FORMAT,
            ticket,
            slot,
            tree,
            base,
            how,
            run,
            session,
            nonce,
            port,
            checks: Checks::default(),
            contest: None,
        }
    }

    /// The same with what its work is checked by.
    #[must_use]
    pub fn checked_by(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }

    /// The same for a session that begins in the place of one that could not.
    #[must_use]
    pub fn in_a_new_session(self) -> Self {
        Self {
            session: Uuid::new_v4(),
            ..self
        }
    }

    /// The same with a conflict to resolve.
    #[must_use]
    pub fn resolving(self, contest: Option<Contest>) -> Self {
        Self { contest, ..self }
    }

    /// Whether its output is the stream of an agent program; a command's is text.
    pub fn speaks_stream_json(&self) -> bool {
        match self.how.runner {
            Runner::Claude | Runner::Rehearsal => true,
            Runner::Command => false,
        }
    }

    /// Writes it into the attempt's directory.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, dir: &AttemptDir) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("a sheet is plain data")?;
        Ok(write_atomic(&dir.sheet(), &text)?)
    }

    /// Reads it back, if there is one: an attempt without a sheet has started nothing.
    ///
    /// # Errors
    /// If it is damaged or of a newer orch.
    pub fn find(dir: &AttemptDir) -> anyhow::Result<Option<Self>> {
        if !dir.sheet().exists() {
            return Ok(None);
        }
        Self::load(dir).map(Some)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// If it is missing, damaged or of a newer orch.
    pub fn load(dir: &AttemptDir) -> anyhow::Result<Self> {
        let path = dir.sheet();
        let sheet: Self = serde_json::from_slice(&read_limited(&path, SHEET_BYTES_MAX)?)
            .with_context(|| format!("{} is damaged", path.display()))?;
        anyhow::ensure!(
            sheet.format <= FORMAT,
            "{} was written by a newer orch",
            path.display()
        );
        Ok(sheet)
    }
}

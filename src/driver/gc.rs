//! What orch itself made and nobody needs any more: found with a proof for each thing, and removed.
//!
//! Nothing is removed for being old or unknown alone. Refs and directories belong to a run that the ledger knows as
//! completed; slots bear the mark of this repository. Whatever cannot be proven stays, and says why.

mod dirs;
mod refs;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

pub use dirs::disk_bytes;

use super::crash::{self, Side};
use crate::crash::point;
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::git::Repository;
use crate::git::repository::Identity;
use crate::ids::{ObjectId, RefName, RunId, SlotId};
use crate::store::{Ledger, Reader, RunSummary, StateDir};
use crate::time::Wall;

/// Runs that are looked at; those beyond are not known, and stay.
const RUNS_MAX: u32 = 100_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Where and by which rules is looked.
#[derive(Debug)]
pub struct Gc {
    /// The user's repository.
    pub repo: Repository,
    /// The state directory below it.
    pub state: StateDir,
    /// The ledger; none if nothing was ever run here.
    pub reader: Option<Reader>,
    /// Where slots lie.
    pub slots: PathBuf,
    /// How many of the newest runs keep everything.
    pub keep_runs: u32,
    /// How many days every run keeps everything.
    pub keep_days: u32,
    /// The time of now.
    pub now: Wall,
}

/// One thing, and what becomes of it.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name or path.
    pub name: String,
    /// Whether it goes.
    pub goes: bool,
    /// The proof that it may go, or why it stays.
    pub why: String,
    /// What it takes on the disk, where that is known.
    pub bytes: Option<u64>,
    #[serde(skip)]
    what: What,
}

/// The kinds of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A ref that kept objects while a run lived.
    Pin,
    /// A ref that names what an attempt left.
    Candidate,
    /// A ref that names work saved from a slot.
    Salvage,
    /// The directory of a run.
    RunDirectory,
    /// A file that a killed orch had not finished.
    TemporaryFile,
    /// A slot.
    Slot,
}

impl Kind {
    /// In words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Candidate => "candidate",
            Self::Salvage => "saved work",
            Self::RunDirectory => "run directory",
            Self::TemporaryFile => "temporary file",
            Self::Slot => "slot",
        }
    }
}

/// How it is removed.
#[derive(Debug, Clone)]
enum What {
    Ref(RunId, RefName, ObjectId),
    RunDirectory(RunId, PathBuf),
    File(PathBuf),
    Slot(SlotId, PathBuf),
    /// It stays.
    Nothing,
}

/// Why something goes or stays, with how it is removed.
enum Verdict {
    Goes(String),
    Stays(String),
}

impl Item {
    fn new(kind: Kind, name: impl Into<String>, verdict: Verdict, what: What) -> Self {
        let (goes, why, what) = match verdict {
            Verdict::Goes(why) => (true, why, what),
            Verdict::Stays(why) => (false, why, What::Nothing),
        };
        Self {
            kind,
            name: name.into(),
            goes,
            why,
            bytes: None,
            what,
        }
    }
}

/// A run, as far as it matters here.
struct Run {
    summary: RunSummary,
    records: Vec<Stamped>,
    standing: Standing,
}

/// Whether a run still needs what was made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It may go on.
    Open(&'static str),
    /// It completed; what is no landing is kept for a while.
    Completed,
    /// It completed, and long enough ago.
    Old(String),
}

impl Gc {
    /// Looks at everything. Changes nothing, and needs no lock.
    ///
    /// # Errors
    /// If ledger, refs or directories cannot be read.
    pub fn survey(&self, with_slots: bool) -> anyhow::Result<Vec<Item>> {
        let runs = self.runs()?;
        let mut items = refs::survey(self, &runs)?;
        items.extend(dirs::survey(self, &runs)?);
        if with_slots {
            items.extend(slots::survey(self)?);
        }
        Ok(items)
    }

    fn runs(&self) -> anyhow::Result<BTreeMap<RunId, Run>> {
        let Some(reader) = &self.reader else {
            return Ok(BTreeMap::new());
        };
        let mut runs = BTreeMap::new();
        for (rank, summary) in reader.runs(RUNS_MAX)?.into_iter().enumerate() {
            // What an unfinished run recorded decides nothing here.
            let records = match summary.end {
                Some(end) if end.outcome == Outcome::Completed => reader.records(&summary.run)?,
                _ => Vec::new(),
            };
            let standing = self.standing(rank, &summary, &records);
            let run = Run {
                summary,
                records,
                standing,
            };
            runs.insert(run.summary.run.clone(), run);
        }
        Ok(runs)
    }

    fn standing(&self, rank: usize, run: &RunSummary, records: &[Stamped]) -> Standing {
        let Some(end) = run.end else {
            return Standing::Open("its run has not ended");
        };
        if end.outcome != Outcome::Completed {
            return Standing::Open("its run has not completed");
        }
        let last = records.iter().rev().find(|stamped| {
            matches!(
                stamped.record,
                Record::RunEnded { .. } | Record::Reopened { .. }
            )
        });
        if last.is_some_and(|stamped| matches!(stamped.record, Record::Reopened { .. })) {
            return Standing::Open("a task of its run was opened again");
        }
        let days = self.now.ms_since(end.at) / DAY_MS;
        let is_new = rank < usize::try_from(self.keep_runs).unwrap_or(usize::MAX);
        if is_new || days < u64::from(self.keep_days) {
            return Standing::Completed;
        }
        Standing::Old(format!(
            "its run completed {days} days ago and is not among the newest {}",
            self.keep_runs
        ))
    }

    /// Removes what goes, and takes from the list what could not be removed after all. `ledger` proves that no other
    /// orch works here; it is told first which refs go.
    ///
    /// # Errors
    /// If the ledger cannot be written, or something refuses; what was removed until then is gone.
    pub fn carry_out(
        &self,
        ledger: &mut Ledger,
        identity: &Identity,
        items: &mut [Item],
    ) -> anyhow::Result<()> {
        self.announce(ledger, items)?;
        let repo = self.repo.open()?;
        for item in items.iter_mut() {
            let stays = match &item.what {
                What::Nothing => None,
                What::Ref(_, name, at) => refs::remove(&repo, name, at)?,
                What::RunDirectory(_, path) => dirs::remove(path)?,
                What::File(path) => {
                    std::fs::remove_file(path)
                        .with_context(|| format!("cannot remove {}", path.display()))?;
                    None
                }
                What::Slot(slot, path) => slots::remove(self, ledger, identity, *slot, path)?,
            };
            point("item-removed");
            if let Some(why) = stays {
                item.goes = false;
                item.why = why;
                item.what = What::Nothing;
            }
        }
        slots::remove_empty(self)
    }

    /// Records which refs of which runs go.
    fn announce(&self, ledger: &mut Ledger, items: &[Item]) -> anyhow::Result<()> {
        let mut refs: BTreeMap<&RunId, Vec<RefName>> = BTreeMap::new();
        let mut directories = BTreeSet::new();
        for item in items {
            match &item.what {
                // Nothing but the run itself knows of its pins.
                What::Ref(run, name, _) if item.kind != Kind::Pin => {
                    refs.entry(run).or_default().push(name.clone());
                }
                What::RunDirectory(run, _) => drop(directories.insert(run)),
                What::Ref(..) | What::File(_) | What::Slot(..) | What::Nothing => {}
            }
        }
        let runs: BTreeSet<&RunId> = refs.keys().copied().chain(directories.clone()).collect();
        for run in runs {
            let record = Record::Discarded {
                refs: refs.remove(run).unwrap_or_default(),
                directory: directories.contains(run),
            };
            crash::pass(Side::Before, [&record].into_iter());
            let kept = ledger.append(run, self.now, vec![record])?;
            crash::pass(Side::After, kept.records().iter());
        }
        Ok(())
    }
}

//! A damaged, emptied or vanished ledger is set aside, and a new one made of what can still be told.
//!
//! Nothing is deleted: the files go to `damaged/<time>/` in the state directory, with the account of what became of each
//! run. Dying at any place here leaves a state that the next rebuild goes on from: as long as the new ledger holds no
//! run, the newest set-aside one that tells anything is read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use serde::Serialize;

use super::compose::{Account, Fate, compose};
use super::world::World;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::Repository;
use crate::ids::RunId;
use crate::process;
use crate::store::{Fragments, Ledger, LedgerError, OrchLock, Reader, StateDir, write_atomic};
use crate::time::Wall;

/// Runs that are looked at: years of them.
pub(super) const RUNS_MAX: u32 = 10_000;

/// What a ledger consists of, the write-ahead log first: alone, it cannot be taken for that of a new ledger.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", ""];

/// What became of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "ledger")]
pub enum Rebuilt {
    /// Nothing is wrong with it; nothing was done.
    Sound,
    /// It was set aside, and made anew.
    Anew {
        /// Where the old files lie.
        set_aside: PathBuf,
        /// What became of each run.
        runs: Vec<Account>,
        /// Processes of closed runs that were ended.
        ended: Vec<String>,
    },
}

/// Sees that a ledger without runs is not taken for a new one where refs tell of runs; directories of attempts are seen
/// to when it is opened.
///
/// # Errors
/// [`LedgerError::Lost`].
pub fn check_for_lost_ledger(
    state: &StateDir,
    repo: &Repository,
) -> std::result::Result<(), LedgerError> {
    let tells_nothing = match Reader::open(state) {
        Ok(Some(reader)) => reader.newer_format().is_none() && reader.runs(1)?.is_empty(),
        Ok(None) => true,
        // Whoever opens it for writing says so with more knowledge.
        Err(_) => false,
    };
    match tells_nothing.then(|| any_candidate(repo)).flatten() {
        Some(evidence) => Err(LedgerError::Lost {
            path: state.ledger(),
            evidence,
        }),
        None => Ok(()),
    }
}

/// A ref that only a run makes. A repository that cannot be read is found out by others.
fn any_candidate(repo: &Repository) -> Option<String> {
    let opened = repo.open().ok()?;
    let mut names = opened.references_glob("refs/orch/candidate/*").ok()?;
    let name = names.names().next()?.ok()?.to_owned();
    Some(name)
}

/// Makes the ledger anew if something is wrong with it.
///
/// # Errors
/// If it is of a newer format, or files cannot be read or written.
pub fn rebuild(repo: &Repository, lock: OrchLock, now: Wall) -> Result<Rebuilt> {
    let state = lock.state().clone();
    if is_sound(&state, repo)? {
        return Ok(Rebuilt::Sound);
    }
    let fragments = everything_left(&state).or_environment()?;
    let opened = repo.open().or_environment()?;
    let world = World::look(&opened, &state).or_environment()?;
    let composed = compose(&fragments, &world, repo.common_dir(), now);
    let set_aside = set_aside(&state, now).or_environment()?;
    let mut ledger = Ledger::replace(lock).or_environment()?;
    ledger
        .restore(&composed.runs, &composed.records, composed.last_seq)
        .or_bug()?;
    replays(&ledger.reader(), &composed.accounts).or_bug()?;
    let ended = end_processes(&composed.accounts).or_environment()?;
    let rebuilt = Rebuilt::Anew {
        set_aside: set_aside.clone(),
        runs: composed.accounts,
        ended,
    };
    let account = serde_json::to_vec_pretty(&rebuilt).or_bug()?;
    write_atomic(&set_aside.join("account.json"), &account).or_environment()?;
    Ok(rebuilt)
}

fn is_sound(state: &StateDir, repo: &Repository) -> Result<bool> {
    let reader = match Reader::open(state) {
        Ok(Some(reader)) => reader,
        Ok(None) => {
            let lost = state.any_attempt().or_environment()?.is_some();
            return Ok(!lost && check_for_lost_ledger(state, repo).is_ok());
        }
        Err(LedgerError::Damaged { .. } | LedgerError::NotALedger { .. }) => return Ok(false),
        Err(error) => return Err(Error::new(ErrorKind::Environment, error)),
    };
    if let Some(found) = reader.newer_format() {
        let path = state.ledger();
        return Err(Error::new(
            ErrorKind::Environment,
            LedgerError::NewerFormat { path, found },
        ));
    }
    let look = || -> std::result::Result<bool, LedgerError> {
        if !reader.integrity()?.is_empty() {
            return Ok(false);
        }
        let runs = reader.runs(RUNS_MAX)?;
        for run in &runs {
            let records = reader.records(&run.run)?;
            if Engine::replay(run.run.clone(), records).is_err() {
                return Ok(false);
            }
        }
        let is_empty = runs.is_empty();
        let path = state.ledger();
        let kept = state.any_attempt();
        let kept = kept.map_err(|source| LedgerError::Io { path, source })?;
        Ok(!is_empty || (kept.is_none() && check_for_lost_ledger(state, repo).is_ok()))
    };
    match look() {
        Ok(sound) => Ok(sound),
        Err(LedgerError::Damaged { .. } | LedgerError::NotALedger { .. }) => Ok(false),
        Err(error) => Err(Error::new(ErrorKind::Environment, error)),
    }
}

/// What the ledger still tells; if that is nothing, what the newest set-aside one tells that does.
fn everything_left(state: &StateDir) -> anyhow::Result<Fragments> {
    let found = Fragments::read(&state.ledger())?;
    if !found.records.is_empty() {
        return Ok(found);
    }
    let mut earlier = match fs::read_dir(state.set_aside()) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e.into()),
    };
    earlier.sort();
    for dir in earlier.iter().rev() {
        let name = state.ledger();
        let name = name.file_name().unwrap_or_default();
        let older = Fragments::read(&dir.join(name))?;
        if !older.records.is_empty() {
            // Whether something came after it is not known.
            return Ok(Fragments {
                last_seq: None,
                ..older
            });
        }
    }
    Ok(found)
}

/// Moves the files of the ledger to a directory of their own.
fn set_aside(state: &StateDir, now: Wall) -> anyhow::Result<PathBuf> {
    let time = now
        .to_utc()
        .map(|at| at.format("%Y%m%d-%H%M%S").to_string())
        .ok_or_else(|| anyhow!("the clock tells no time"))?;
    fs::create_dir_all(state.set_aside())?;
    let dir = (1..1_000)
        .map(|n| match n {
            1 => state.set_aside().join(&time),
            n => state.set_aside().join(format!("{time}-{n:03}")),
        })
        .find(|dir| !dir.exists());
    let dir = dir.ok_or_else(|| anyhow!("{time} was used a thousand times"))?;
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for suffix in SUFFIXES {
        let mut from = state.ledger().into_os_string();
        from.push(suffix);
        let from = PathBuf::from(from);
        let to = dir.join(from.file_name().unwrap_or_default());
        match fs::rename(&from, &to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot move {}", from.display()));
            }
            _ => {}
        }
    }
    sync(&dir)?;
    sync(state.path())?;
    Ok(dir)
}

fn sync(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// What was written must be a ledger that everybody can read.
fn replays(reader: &Reader, accounts: &[Account]) -> anyhow::Result<()> {
    for account in accounts.iter().filter(|a| a.fate != Fate::Unknown) {
        let records = reader.records(&account.run)?;
        Engine::replay(account.run.clone(), records)
            .with_context(|| format!("run {} was not rebuilt well", account.run))?;
    }
    ensure!(
        reader.integrity()?.is_empty(),
        "the new ledger is not sound"
    );
    Ok(())
}

/// Ends what still works for runs of which nobody can know any more what it is; what it left lies in its slot.
fn end_processes(accounts: &[Account]) -> std::io::Result<Vec<String>> {
    let closed: Vec<&RunId> = accounts
        .iter()
        .filter(|account| account.fate != Fate::Whole)
        .map(|account| &account.run)
        .collect();
    let mut ended = Vec::new();
    for marked in process::marked()? {
        if closed.contains(&marked.marker.run()) {
            let swept = process::sweep(&marked.marker, None)?;
            let words = |p: &process::Swept| format!("{} ({})", p.pid, p.comm);
            ended.extend(swept.killed.iter().map(words));
        }
    }
    Ok(ended)
}

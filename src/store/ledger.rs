//! The ledger: one SQLite file per repository to which records are appended, and which only the holder of the lock
//! writes. What it is as a file is in `ledger_file`, how it is read in `reader`, what is derived from records in
//! `project`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::layout::StateDir;
use super::ledger_file::{
    APPLICATION_ID, BUSY_PATIENCE, FORMAT, Identity, LedgerError, format_of, log_of,
};
use super::lock::{Holder, OrchLock};
use super::project::{self, Refusal};
use super::reader::Reader;
use crate::crash::{is_armed, synced};
use crate::engine::record::Record;
use crate::ids::{PlanId, RefName, RunId};
use crate::time::Wall;

/// Up to this size the whole file is checked when it is opened for writing (about 0.2 s at most); a larger one shows
/// damage when the damaged page is read.
const QUICK_CHECK_BYTES_MAX: u64 = 64 << 20;

/// Pages of 4 KiB that SQLite keeps. What is appended is seldom read again by the one who does, so that more of them would
/// only hold the records of a start.
const CACHE_PAGES: u32 = 128;

const SCHEMA: &str = include_str!("schema.sql");

/// What must be true on disk before the loop goes on. The order is the strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Survives the death of orch at once, a power failure with the next synced record or checkpoint.
    Grouped,
    /// Survives a power failure.
    Synced,
}

impl Durability {
    /// What a record needs: barriers, and what cannot be found out again because it was a person's word.
    pub fn of(record: &Record) -> Self {
        match record {
            Record::RunStarted(_) | Record::Controlled { .. } => Self::Synced,
            barrier if barrier.is_barrier() => Self::Synced,
            _ => Self::Grouped,
        }
    }

    fn pragma_value(self) -> &'static str {
        match self {
            Self::Grouped => "NORMAL",
            Self::Synced => "FULL",
        }
    }
}

/// What identifies a run for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The run.
    pub run: RunId,
    /// The plan's identity.
    pub plan_id: PlanId,
    /// The plan, as a path for people.
    pub plan_path: String,
    /// The full name of the ref that lands.
    pub target: RefName,
    /// The repository's identity: its common git directory.
    pub repository: String,
}

/// The ledger, open for writing.
#[derive(Debug)]
pub struct Ledger {
    // Dropped before the lock: nobody else writes while the connection closes.
    conn: Connection,
    path: PathBuf,
    durability: Durability,
    lock: OrchLock,
}

impl Ledger {
    /// Opens the ledger of the locked state directory, making it if there is none.
    ///
    /// # Errors
    /// As [`LedgerError`] says; the lock is then released.
    pub fn open(lock: OrchLock) -> Result<Self, LedgerError> {
        let ledger = Self::open_complete(lock)?;
        let found = Identity::of_file(&ledger.path)?;
        match Identity::recorded(&ledger.conn, &ledger.path)?.is_same_file(&found) {
            true => Ok(ledger),
            false => Err(LedgerError::Copied { path: ledger.path }),
        }
    }

    /// Opens a ledger that was moved or restored from a backup, and makes this place its own. For when a person said
    /// that no orch works where it came from.
    ///
    /// # Errors
    /// As for [`Ledger::open`], [`LedgerError::Copied`] excepted.
    pub fn open_moved(lock: OrchLock) -> Result<Self, LedgerError> {
        let ledger = Self::open_complete(lock)?;
        let here = Identity::of_file(&ledger.path)?;
        ledger
            .conn
            .execute(
                "UPDATE meta SET device = ?1, inode = ?2, born_ns = ?3",
                params![here.device, here.inode, here.born_ns],
            )
            .map_err(|e| LedgerError::sqlite(&ledger.path, e))?;
        Ok(ledger)
    }

    /// Opens a ledger that tells of runs if there were any. SQLite would make a new one in place of a missing or empty
    /// file, and remove the write-ahead log beside it, in which everything may stand.
    fn open_complete(lock: OrchLock) -> Result<Self, LedgerError> {
        let (state, path) = (lock.state().clone(), lock.state().ledger());
        let lost = |path: &Path| -> Result<(), LedgerError> {
            let kept = state.any_attempt().map_err(|e| LedgerError::io(path, e))?;
            kept.map_or(Ok(()), |dir| {
                Err(LedgerError::Lost {
                    path: path.to_owned(),
                    evidence: dir.display().to_string(),
                })
            })
        };
        if size_of(&path)? == 0 {
            let log = log_of(&path);
            if size_of(&log)? > 0 {
                let evidence = log.display().to_string();
                return Err(LedgerError::Lost { path, evidence });
            }
            lost(&path)?;
        }
        let ledger = Self::open_anywhere(lock)?;
        let has_runs: bool = ledger
            .conn
            .query_row("SELECT EXISTS (SELECT 1 FROM runs)", [], |row| row.get(0))
            .map_err(|e| LedgerError::sqlite(&path, e))?;
        if !has_runs {
            lost(&path)?;
        }
        Ok(ledger)
    }

    fn open_anywhere(lock: OrchLock) -> Result<Self, LedgerError> {
        let path = lock.state().ledger();
        let sqlite = |e| LedgerError::sqlite(&path, e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(&path, flags).map_err(sqlite)?;
        conn.busy_timeout(BUSY_PATIENCE).map_err(sqlite)?;
        // Until it is known to be sound, nothing is brought from the log into the file.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(sqlite)?;
        let format = format_of(&conn, &path)?;
        if let Some(found) = format.filter(|&found| found > FORMAT) {
            return Err(LedgerError::NewerFormat { path, found });
        }
        let mode: String = conn
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(sqlite)?;
        if mode != "wal" {
            return Err(LedgerError::NoLog { path });
        }
        conn.pragma_update(None, "foreign_keys", true)
            .and_then(|()| conn.pragma_update(None, "cache_size", CACHE_PAGES))
            .and_then(|()| {
                conn.pragma_update(None, "synchronous", Durability::Synced.pragma_value())
            })
            .map_err(sqlite)?;
        match format {
            None => create(&mut conn, &path)?,
            Some(_) => {
                quick_check(&conn, &path)?;
                upgrade::widen(&mut conn).map_err(sqlite)?;
            }
        }
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(sqlite)?;
        Ok(Self {
            conn,
            path,
            durability: Durability::Synced,
            lock,
        })
    }

    /// Brings the log into the file and releases the lock.
    ///
    /// # Errors
    /// If SQLite cannot close the file; nothing that was appended is lost by that.
    pub fn close(self) -> Result<(), LedgerError> {
        let Self {
            conn, path, lock, ..
        } = self;
        let sqlite = |e| LedgerError::sqlite(&path, e);
        // In two steps, since closing removes the log, and others may ask in between what is on disk.
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(sqlite)?;
        synced("ledger", [path.as_path(), log_of(&path).as_path()]);
        conn.close().map_err(|(_, e)| sqlite(e))?;
        drop(lock);
        Ok(())
    }

    /// Where it may write.
    pub fn state(&self) -> &StateDir {
        self.lock.state()
    }

    /// Replaces what others read about the orch that holds the lock.
    ///
    /// # Errors
    /// If the lock file cannot be written.
    pub fn describe(&self, holder: &Holder) -> io::Result<()> {
        self.lock.describe(holder)
    }

    /// A reader of the same ledger; sees what is appended before each of its questions.
    pub fn reader(&self) -> Reader {
        Reader::of_current_format(&self.path)
    }

    /// Makes a run together with its first records.
    ///
    /// # Errors
    /// If the run exists, or as for [`Ledger::append`]. There is then no run.
    pub fn begin_run(
        &mut self,
        new: &NewRun,
        at: Wall,
        records: Vec<Record>,
    ) -> Result<Appended, LedgerError> {
        self.transact(Durability::Synced, |tx| {
            insert_run(tx, new, at)?;
            append(tx, &new.run, at, records)
        })
    }

    /// Appends records of a run, all or none, as durably as the most demanding of them needs.
    ///
    /// # Errors
    /// If the run is unknown, a record contradicts what is known, or the file cannot be written. Nothing is then
    /// appended.
    pub fn append(
        &mut self,
        run: &RunId,
        at: Wall,
        records: Vec<Record>,
    ) -> Result<Appended, LedgerError> {
        let Some(durability) = records.iter().map(Durability::of).max() else {
            return Ok(Appended::nothing(run, at));
        };
        self.transact(durability, |tx| append(tx, run, at, records))
    }

    fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>,
    ) -> Result<T, LedgerError> {
        let sqlite = |e| LedgerError::sqlite(&self.path, e);
        if self.durability != durability {
            self.conn
                .pragma_update(None, "synchronous", durability.pragma_value())
                .map_err(sqlite)?;
            self.durability = durability;
        }
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sqlite)?;
        let done = work(&tx).map_err(|refusal| LedgerError::refused(&self.path, refusal))?;
        tx.commit().map_err(sqlite)?;
        if durability == Durability::Synced {
            self.synced();
        }
        Ok(done)
    }

    /// Tells tests that the log is on disk.
    fn synced(&self) {
        if is_armed() {
            let log = log_of(&self.path);
            synced("ledger", [self.path.as_path(), log.as_path()]);
        }
    }
}

fn create(conn: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let here = Identity::of_file(path)?;
    let created = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let make = |conn: &mut Connection| {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        tx.execute_batch(SCHEMA)?;
        tx.execute(
            "INSERT INTO meta (only_row, device, inode, born_ns, created_ms, orch)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![
                here.device,
                here.inode,
                here.born_ns,
                i64::try_from(created).unwrap_or(i64::MAX),
                env!("CARGO_PKG_VERSION")
            ],
        )?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", FORMAT)?;
        tx.commit()
    };
    make(conn).map_err(|e| LedgerError::sqlite(path, e))
}

fn quick_check(conn: &Connection, path: &Path) -> Result<(), LedgerError> {
    let size = std::fs::metadata(path)
        .map_err(|e| LedgerError::io(path, e))?
        .len();
    if size > QUICK_CHECK_BYTES_MAX {
        return Ok(());
    }
    let found: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| LedgerError::sqlite(path, e))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(LedgerError::Damaged {
            path: path.to_owned(),
            detail: found,
        }),
    }
}

/// 0 if there is no such file.
fn size_of(path: &Path) -> Result<u64, LedgerError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(LedgerError::io(path, e)),
    }
}

fn insert_run(tx: &Transaction<'_>, new: &NewRun, at: Wall) -> Result<(), Refusal> {
    tx.execute(
        "INSERT INTO runs (run_id, plan_id, plan_path, target_ref, repository, started_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            new.run.as_str(),
            new.plan_id.as_str(),
            new.plan_path,
            new.target.as_str(),
            new.repository,
            at.0
        ],
    )
    .map(drop)
    .map_err(project::contradiction(|| format!("run {} exists", new.run)))
}

mod append;
mod restore;
#[cfg(test)]
mod tests;
mod upgrade;

pub use append::Appended;
use append::append;
pub use restore::Saved;

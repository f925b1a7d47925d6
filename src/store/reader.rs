//! Questions to the ledger, by anybody at any time: beside a writing orch, after a killed one, and without making or
//! changing a single file.
//!
//! SQLite alone cannot promise the last point: a read-only connection to a write-ahead log makes the log and its index
//! where they are missing. So each question looks first at what is there, and takes the way that needs nothing else:
//! see [`Access`].

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::layout::{SessionPart, StateDir};
use super::ledger_file::{BUSY_PATIENCE, FORMAT, Identity, LedgerError, format_of};
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::engine::usage::{MicroUsd, Usage};
use crate::ids::{ObjectId, PlanId, RefName, RunId, TaskId};
use crate::time::Wall;

/// How often a question is asked again because an orch started or ended meanwhile.
const TRIES: u32 = 5;

/// A ledger to ask. Every question opens it anew (a fraction of a millisecond) and sees everything appended before.
#[derive(Debug, Clone)]
pub struct Reader {
    path: PathBuf,
    format: u32,
}

/// A run as the ledger sums it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The plan's identity.
    pub plan_id: PlanId,
    /// The plan, as a path for people.
    pub plan_path: String,
    /// The full name of the ref that lands.
    pub target: RefName,
    /// The repository's identity.
    pub repository: String,
    /// When it was made.
    pub started: Wall,
    /// How it ended; `None` while it lives, and after a kill.
    pub end: Option<RunEnd>,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub at: Wall,
    /// How.
    pub outcome: Outcome,
}

/// A task's commit on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The run that landed it.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// 1, and one more for each time the task had been reopened in the run.
    pub generation: u32,
    /// What the task asked for when the attempt began.
    pub spec_hash: String,
    /// The landing commit.
    pub commit: ObjectId,
    /// Whether a required verify command passed on exactly this tree.
    pub verified: bool,
    /// The place of the `Landed` record.
    pub seq: u64,
}

/// What one agent process used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUsage {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: u32,
    /// Which of the attempt's processes.
    pub part: SessionPart,
    /// What it used.
    pub usage: Usage,
}

impl Reader {
    /// The ledger of a state directory; `None` if nothing was ever run there.
    ///
    /// # Errors
    /// If there is a file and it is not a readable ledger.
    pub fn open(state: &StateDir) -> Result<Option<Self>, LedgerError> {
        let mut reader = Self::of_current_format(&state.ledger());
        // Of an empty file SQLite would remove the log, in which everything may stand, even when it opens for reading.
        if Stamp::of(&reader.path)?.is_none_or(|stamp| stamp.main.bytes == 0) {
            return Ok(None);
        }
        let format = reader.ask(format_of)?;
        Ok(format.map(|format| {
            reader.format = format;
            reader
        }))
    }

    pub(super) fn of_current_format(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            format: FORMAT,
        }
    }

    /// Set if a newer orch wrote the ledger: records that this one does not know are then left out of every answer, and
    /// whoever shows the answers has to say so.
    pub fn newer_format(&self) -> Option<u32> {
        (self.format > FORMAT).then_some(self.format)
    }

    /// The latest runs, newest first, at most `limit`.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn runs(&self, limit: u32) -> Result<Vec<RunSummary>, LedgerError> {
        self.ask(|conn, path| {
            const SQL: &str = "SELECT * FROM runs ORDER BY started_ms DESC, run_id DESC LIMIT ?1";
            rows(conn, path, SQL, params![limit], run_summary)
        })
    }

    /// One run.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn run(&self, run: &RunId) -> Result<Option<RunSummary>, LedgerError> {
        self.ask(|conn, path| {
            const SQL: &str = "SELECT * FROM runs WHERE run_id = ?1";
            Ok(rows(conn, path, SQL, [run.as_str()], run_summary)?.pop())
        })
    }

    /// The run that started last, of one plan or of all.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn latest_run(&self, plan: Option<&PlanId>) -> Result<Option<RunSummary>, LedgerError> {
        self.ask(|conn, path| {
            const SQL: &str = "SELECT * FROM runs WHERE ?1 IS NULL OR plan_id = ?1
                ORDER BY started_ms DESC, run_id DESC LIMIT 1";
            let plan = plan.map(PlanId::as_str);
            Ok(rows(conn, path, SQL, [plan], run_summary)?.pop())
        })
    }

    /// All records of a run, in order.
    ///
    /// # Errors
    /// If the ledger or one of the records cannot be read.
    pub fn records(&self, run: &RunId) -> Result<Vec<Stamped>, LedgerError> {
        const SQL: &str = "SELECT seq, run_id, at_ms, body FROM records WHERE run_id = ?1
            ORDER BY seq";
        self.ask(|conn, path| {
            let found = rows(conn, path, SQL, [run.as_str()], |row| self.stamped(row))?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    /// The records of all runs after place `seq`, in order, at most `limit`.
    ///
    /// # Errors
    /// If the ledger or one of the records cannot be read.
    pub fn records_since(&self, seq: u64, limit: u32) -> Result<Vec<Stamped>, LedgerError> {
        const SQL: &str = "SELECT seq, run_id, at_ms, body FROM records WHERE seq > ?1
            ORDER BY seq LIMIT ?2";
        let after = i64::try_from(seq).unwrap_or(i64::MAX);
        self.ask(|conn, path| {
            let found = rows(conn, path, SQL, params![after, limit], |row| {
                self.stamped(row)
            })?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    /// The records of one kind of all runs, in order.
    ///
    /// # Errors
    /// If the ledger or one of the records cannot be read.
    pub fn records_of_kind(&self, kind: &str) -> Result<Vec<Stamped>, LedgerError> {
        const SQL: &str =
            "SELECT seq, run_id, at_ms, body FROM records WHERE kind = ?1 ORDER BY seq";
        self.ask(|conn, path| {
            let found = rows(conn, path, SQL, [kind], |row| self.stamped(row))?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    /// What runs of a plan landed on a target, in order of landing.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn landings(&self, plan: &PlanId, target: &RefName) -> Result<Vec<Landing>, LedgerError> {
        const SQL: &str = "SELECT * FROM landings WHERE plan_id = ?1 AND target_ref = ?2
            ORDER BY seq";
        self.ask(|conn, path| {
            let of = [plan.as_str(), target.as_str()];
            rows(conn, path, SQL, of, landing)
        })
    }

    /// What the agent processes of a run used, by task and attempt.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn usage(&self, run: &RunId) -> Result<Vec<SessionUsage>, LedgerError> {
        const SQL: &str = "SELECT * FROM usage WHERE run_id = ?1 ORDER BY task, attempt, part DESC";
        self.ask(|conn, path| rows(conn, path, SQL, [run.as_str()], session_usage))
    }

    /// The newest record of all runs: its place and time.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn newest(&self) -> Result<Option<(u64, Wall)>, LedgerError> {
        const SQL: &str = "SELECT seq, at_ms FROM records ORDER BY seq DESC LIMIT 1";
        self.ask(|conn, path| {
            let newest = rows(conn, path, SQL, [], |row| {
                Ok((count(row, "seq")?, Wall(row.get("at_ms")?)))
            });
            Ok(newest?.pop())
        })
    }

    /// Whether the run lost records with a damaged ledger, and is over for that.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn lost_records(&self, run: &RunId) -> Result<bool, LedgerError> {
        const SQL: &str =
            "SELECT 1 FROM records WHERE run_id = ?1 AND kind = 'ledger_rebuilt' LIMIT 1";
        self.ask(|conn, path| {
            let found = rows(conn, path, SQL, [run.as_str()], |_| Ok(()));
            Ok(!found?.is_empty())
        })
    }

    /// What SQLite finds wrong with the file; nothing if it is sound. Reads all of it.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn integrity(&self) -> Result<Vec<String>, LedgerError> {
        self.ask(|conn, path| {
            let found = rows(conn, path, "PRAGMA integrity_check(20)", [], |row| {
                Ok(row.get::<_, String>(0)?)
            });
            Ok(found?.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// Whether the file is the one that was made here, and no copy of it.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn is_original(&self) -> Result<bool, LedgerError> {
        self.ask(|conn, path| {
            Ok(Identity::recorded(conn, path)?.is_same_file(&Identity::of_file(path)?))
        })
    }

    /// Asks one question of a state that held at one moment.
    fn ask<T>(
        &self,
        question: impl Fn(&Connection, &Path) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut last = LedgerError::Busy {
            path: self.path.clone(),
        };
        for _ in 0..TRIES {
            let before = Stamp::of(&self.path)?;
            if before.as_ref().is_some_and(|stamp| stamp.main.bytes == 0) {
                return Err(LedgerError::Damaged {
                    path: self.path.clone(),
                    detail: "it is empty".to_owned(),
                });
            }
            let access = before
                .as_ref()
                .map_or(Access::MainFile, |stamp| stamp.access);
            let answer = self
                .connect(access)
                .and_then(|conn| question(&conn, &self.path));
            match answer {
                Ok(answer) if access == Access::LogWithIndex => return Ok(answer),
                answer if Stamp::of(&self.path)? == before => return answer,
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect(&self, access: Access) -> Result<Connection, LedgerError> {
        let parameters = match access {
            Access::LogWithIndex => "?mode=ro&readonly_shm=1",
            Access::LogAlone => "?mode=ro&vfs=unix-none",
            Access::MainFile => "?mode=ro&immutable=1",
        };
        let uri = format!("file:{}{parameters}", uri_path(&self.path));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connect = || {
            let conn = Connection::open_with_flags(uri, flags)?;
            conn.busy_timeout(BUSY_PATIENCE)?;
            // Else the end of reading removes a log in which nothing stands yet, under the orch that just made it.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            if access == Access::LogAlone {
                // Exclusive locking keeps the log's index in memory; `unix-none` locks nothing.
                conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            }
            Ok(conn)
        };
        connect().map_err(|e| LedgerError::sqlite(&self.path, e))
    }

    /// `None`: a record of a newer format that this orch does not know.
    fn stamped(&self, row: &Row<'_>) -> Result<Option<Stamped>, Unreadable> {
        match stamped(row) {
            Err(Unreadable::Text(_)) if self.newer_format().is_some() => Ok(None),
            read => read.map(Some),
        }
    }
}

/// A path as SQLite's URIs have it: every byte that could mean something else is written in hexadecimal.
fn uri_path(path: &Path) -> String {
    let escape = |&byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    path.as_os_str().as_bytes().iter().map(escape).collect()
}

/// How a ledger can be read without touching anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// An orch lives, or was killed. SQLite gives every statement a consistent view.
    LogWithIndex,
    /// The index of the log is gone: no orch lives. Nobody is kept out while reading, so the files must be the same
    /// before and after.
    LogAlone,
    /// The last orch ended properly, the main file is complete. It must be the same before and after.
    MainFile,
}

/// What tells whether files may have changed between two looks.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    access: Access,
    main: FileStamp,
    log: Option<FileStamp>,
}

#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    bytes: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(ledger: &Path) -> Result<Option<Self>, LedgerError> {
        let beside = |suffix: &str| {
            let mut name = ledger.as_os_str().to_owned();
            name.push(suffix);
            FileStamp::of(Path::new(&name)).map_err(|e| LedgerError::io(ledger, e))
        };
        let Some(main) = beside("")? else {
            return Ok(None);
        };
        let log = beside("-wal")?;
        let access = match (&log, beside("-shm")?) {
            (Some(_), Some(_)) => Access::LogWithIndex,
            (Some(_), None) => Access::LogAlone,
            (None, _) => Access::MainFile,
        };
        Ok(Some(Self { access, main, log }))
    }
}

impl FileStamp {
    fn of(path: &Path) -> std::io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(meta) => Ok(Some(Self {
                bytes: meta.len(),
                inode: meta.ino(),
                modified: (meta.mtime(), meta.mtime_nsec()),
            })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Why a row could not be understood.
enum Unreadable {
    Sqlite(rusqlite::Error),
    Text(String),
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn rows<T>(
    conn: &Connection,
    path: &Path,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, Unreadable>,
) -> Result<Vec<T>, LedgerError> {
    let collect = || {
        let mut statement = conn.prepare_cached(sql)?;
        let mut found = statement.query(params)?;
        let mut out = Vec::new();
        while let Some(row) = found.next()? {
            out.push(read(row)?);
        }
        Ok(out)
    };
    collect().map_err(|unreadable| match unreadable {
        Unreadable::Sqlite(source) => LedgerError::sqlite(path, source),
        Unreadable::Text(detail) => LedgerError::Damaged {
            path: path.to_owned(),
            detail,
        },
    })
}

fn id<T, E>(
    row: &Row<'_>,
    column: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, Unreadable> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|_| Unreadable::Text(format!("{text:?} is no {column}")))
}

fn count(row: &Row<'_>, column: &str) -> Result<u64, Unreadable> {
    let n: i64 = row.get(column)?;
    u64::try_from(n).map_err(|_| Unreadable::Text(format!("{n} is no {column}")))
}

fn stamped(row: &Row<'_>) -> Result<Stamped, Unreadable> {
    let seq = count(row, "seq")?;
    let body: String = row.get("body")?;
    let record: Record = serde_json::from_str(&body)
        .map_err(|e| Unreadable::Text(format!("record {seq} cannot be read: {e}")))?;
    Ok(Stamped {
        seq,
        run: id(row, "run_id", RunId::parse)?,
        at: Wall(row.get("at_ms")?),
        record,
    })
}

fn run_summary(row: &Row<'_>) -> Result<RunSummary, Unreadable> {
    let plan_id: String = row.get("plan_id")?;
    let target: String = row.get("target_ref")?;
    let outcome: Option<String> = row.get("outcome")?;
    let ended: Option<i64> = row.get("ended_ms")?;
    let end = match (outcome, ended) {
        (Some(word), Some(at)) => Some(RunEnd {
            at: Wall(at),
            outcome: serde_json::from_value(serde_json::Value::String(word))
                .map_err(|e| Unreadable::Text(e.to_string()))?,
        }),
        _ => None,
    };
    Ok(RunSummary {
        run: id(row, "run_id", RunId::parse)?,
        plan_id: PlanId::from_path(Path::new(&plan_id)),
        plan_path: row.get("plan_path")?,
        target: RefName::new(target),
        repository: row.get("repository")?,
        started: Wall(row.get("started_ms")?),
        end,
    })
}

fn landing(row: &Row<'_>) -> Result<Landing, Unreadable> {
    let commit: String = row.get("commit_id")?;
    Ok(Landing {
        run: id(row, "run_id", RunId::parse)?,
        task: id(row, "task", TaskId::parse)?,
        generation: row.get("generation")?,
        spec_hash: row.get("spec_hash")?,
        commit: ObjectId::new(commit),
        verified: row.get("verified")?,
        seq: count(row, "seq")?,
    })
}

fn session_usage(row: &Row<'_>) -> Result<SessionUsage, Unreadable> {
    Ok(SessionUsage {
        task: id(row, "task", TaskId::parse)?,
        attempt: row.get("attempt")?,
        part: id(row, "part", |text| SessionPart::parse(text).ok_or(()))?,
        usage: Usage {
            input_tokens: count(row, "input_tokens")?,
            output_tokens: count(row, "output_tokens")?,
            cache_read_tokens: count(row, "cache_read_tokens")?,
            cache_creation_tokens: count(row, "cache_creation_tokens")?,
            cost: MicroUsd(count(row, "cost_micro_usd")?),
            unpriced_sessions: row.get("unpriced_sessions")?,
            sessions: row.get("sessions")?,
            turns: row.get("turns")?,
            api_ms: count(row, "api_ms")?,
            // What the first requests shared is in the records alone.
            ..Usage::default()
        },
    })
}

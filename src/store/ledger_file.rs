//! The ledger as a file: its format, which file it is, its log, and why it cannot be used.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode};

use super::project::Refusal;

/// The version of the file (`PRAGMA user_version`), raised when the tables or the vocabulary of records change. A ledger
/// with a newer one is only read.
pub(super) const FORMAT: u32 = 1;

/// `PRAGMA application_id`: the letters `orch`.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"orch");

/// How long a statement waits for another process. Only a person's `sqlite3` can make it wait: readers of orch do not.
pub(super) const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Why the ledger could not be opened, read or written; every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file is a copy: runs that it records may be going on where it came from.
    #[error("the ledger {} was copied or moved here from another file system", path.display())]
    Copied {
        /// The ledger.
        path: PathBuf,
    },
    /// Written by an orch that knows more than this one.
    #[error("the ledger {} was written by a newer orch (format {found}, this one knows {FORMAT})", path.display())]
    NewerFormat {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Some other file.
    #[error("{} is not a ledger of orch", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// The file is broken.
    #[error("the ledger {} is damaged: {detail}", path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The disk or the quota is full; nothing was appended.
    #[error("no space left to write the ledger {}", path.display())]
    Full {
        /// The ledger.
        path: PathBuf,
    },
    /// A read-only file system or missing permission; nothing was appended.
    #[error("the ledger {} cannot be opened or written", path.display())]
    NotUsable {
        /// The ledger.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A file system, of a network as a rule, on which readers and a writer cannot share a file.
    #[error("the file system of {} cannot hold a ledger: SQLite refuses to keep a write-ahead log on it", path.display())]
    NoLog {
        /// The ledger.
        path: PathBuf,
    },
    /// Another program keeps the file locked.
    #[error("the ledger {} is kept locked by another program", path.display())]
    Busy {
        /// The ledger.
        path: PathBuf,
    },
    /// A record that contradicts what the ledger knows was refused: a bug in orch.
    #[error("a record contradicts the ledger {}: {detail}", path.display())]
    Contradiction {
        /// The ledger.
        path: PathBuf,
        /// In what.
        detail: String,
    },
    /// The file system refused.
    #[error("cannot use the ledger {}", path.display())]
    Io {
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There were runs here, and the ledger tells of none.
    #[error("the ledger {} is gone or empty, and {evidence} tells of runs", path.display())]
    Lost {
        /// The ledger.
        path: PathBuf,
        /// What is left of runs.
        evidence: String,
    },
    /// Anything else that SQLite says.
    #[error("cannot use the ledger {}", path.display())]
    Sqlite {
        /// The ledger.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl LedgerError {
    /// What a person can do about it: one command each.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::Copied { .. } => {
                &["orch run --adopt-ledger       if no orch works on the repository it came from"]
            }
            Self::NewerFormat { .. } => &["install the newer orch; this one can only read it"],
            Self::NotALedger { .. } | Self::Damaged { .. } | Self::Lost { .. } => &[
                "orch doctor                   says what is wrong",
                "orch doctor --rebuild-ledger  sets the file aside and saves what can still be read",
            ],
            Self::Full { .. } | Self::NotUsable { .. } | Self::NoLog { .. } => {
                &["orch doctor                   says what is wrong"]
            }
            Self::Busy { .. }
            | Self::Contradiction { .. }
            | Self::Io { .. }
            | Self::Sqlite { .. } => &[],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }

    pub(super) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotUsable { path, source }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::NotADatabase) => Self::NotALedger { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged {
                path,
                detail: source.to_string(),
            },
            _ => Self::Sqlite { path, source },
        }
    }

    pub(super) fn refused(path: &Path, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Sqlite(source) => Self::sqlite(path, source),
            Refusal::Contradiction(detail) => Self::Contradiction {
                path: path.to_owned(),
                detail,
            },
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Which file this is, as far as a file system can tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: i64,
    pub(super) inode: i64,
    pub(super) born_ns: Option<i64>,
}

impl Identity {
    /// The file that the ledger was when it was last made this place's own.
    pub(super) fn recorded(conn: &Connection, path: &Path) -> Result<Self, LedgerError> {
        conn.query_row("SELECT device, inode, born_ns FROM meta", [], |row| {
            Ok(Self {
                device: row.get(0)?,
                inode: row.get(1)?,
                born_ns: row.get(2)?,
            })
        })
        .map_err(|e| LedgerError::sqlite(path, e))
    }

    /// Only asks by name: opening the file and closing it again would drop the locks that SQLite holds on it in this
    /// process (POSIX locks belong to process and file, not to descriptors).
    pub(super) fn of_file(path: &Path) -> Result<Self, LedgerError> {
        let meta = std::fs::metadata(path).map_err(|e| LedgerError::io(path, e))?;
        let born = meta.created().ok();
        let since_epoch = born.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
        Ok(Self {
            device: meta.dev().cast_signed(),
            inode: meta.ino().cast_signed(),
            born_ns: since_epoch.and_then(|d| i64::try_from(d.as_nanos()).ok()),
        })
    }

    /// Birth times are compared where both are known: they survive the renumbering of devices by a reboot, and no copy
    /// has the same.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        let same_origin = match (self.born_ns, other.born_ns) {
            (Some(a), Some(b)) => a == b,
            _ => self.device == other.device,
        };
        same_origin && self.inode == other.inode
    }
}

/// The format of a ledger; `None` for a file in which making one was begun and not finished.
pub(super) fn format_of(conn: &Connection, path: &Path) -> Result<Option<u32>, LedgerError> {
    const SQL: &str = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
        FROM pragma_application_id, pragma_user_version";
    let (application, format, tables): (i32, u32, u32) = conn
        .query_row(SQL, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(|e| LedgerError::sqlite(path, e))?;
    match (application, format, tables) {
        (0, 0, 0) => Ok(None),
        (APPLICATION_ID, 1.., _) => Ok(Some(format)),
        _ => Err(LedgerError::NotALedger {
            path: path.to_owned(),
        }),
    }
}

/// The write-ahead log of a ledger.
pub(super) fn log_of(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

//! What orch keeps on disk: the state directory with its layout, the lock, the ledger, and files that change in one
//! step. What the facts mean is decided in `engine`; what lies in slots belongs to `git`.

pub mod files;
pub mod fragments;
pub mod layout;
pub mod ledger;
mod ledger_file;
pub mod lock;
mod project;
pub mod reader;

pub use files::{
    FileError, entries_in, read_if_other, read_limited, same_bytes, write_atomic, write_whole,
};
pub use fragments::{Fragment, Fragments};
pub use layout::{AttemptDir, CommandDir, GateDir, RunDir, SessionDir, SessionPart, StateDir};
pub use ledger::{Appended, Durability, Ledger, NewRun, Saved};
pub use ledger_file::LedgerError;
pub use lock::{HeldBy, Holder, LockError, OrchLock};
pub use reader::{Landing, Reader, RunEnd, RunSummary, SessionUsage};

//! What was looked at, as data. Whatever could not be read says so in its place: nothing is taken to be healthy because it
//! is not known.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::engine::outcome::Outcome;
use crate::ids::{PlanId, RunId, TaskId};
use crate::process::LeftErrand;
use crate::store::HeldBy;
use crate::time::Wall;

/// Everything that is judged.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The wall clock.
    pub now: Wall,
    /// The orch that works here now.
    pub live: Option<HeldBy>,
    /// What keeps git or the repository from being used; then nothing of the repository was looked at.
    pub unusable: Option<Trouble>,
    /// What keeps commits from being made with a name.
    pub identity: Option<Trouble>,
    /// Hooks that landed commits do not run.
    pub hooks: Vec<String>,
    /// Why the state directory cannot be written.
    pub state_not_writable: Option<String>,
    /// File systems that a run writes to.
    pub disks: Vec<Disk>,
    /// The ledger.
    pub ledger: LedgerFacts,
    /// The runs that it tells of, newest first.
    pub runs: Vec<RunFacts>,
    /// Processes that carry the mark of a run of this repository.
    pub processes: Vec<ProcessFacts>,
    /// Processes of hooks, notices and looks for evidence whose orch is gone.
    pub errands: Vec<LeftErrand>,
    /// Directories of slots whose repository is gone.
    pub orphan_slots: Vec<PathBuf>,
    /// Files of loose objects that are cut off or empty.
    pub damaged_objects: Vec<PathBuf>,
    /// Runs that refs of orch's own tell of, with how many of each kind.
    pub refs: Vec<RefFacts>,
    /// Lock files of git.
    pub locks: Vec<LockFacts>,
    /// Worktrees in which an update of orch's own is not finished.
    pub unfinished_checkouts: Vec<PathBuf>,
    /// Plans.
    pub plans: Vec<PlanFacts>,
    /// What keeps the settings from being read.
    pub settings: Option<Trouble>,
    /// The agent program.
    pub claude: ClaudeFacts,
    /// Lock files of package managers.
    pub lock_files: Vec<String>,
    /// Whether the settings have a set-up for slots.
    pub has_setup: bool,
    /// What could not be looked at, and why.
    pub not_examined: Vec<Trouble>,
}

/// Something that went wrong, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trouble {
    /// What.
    pub what: String,
    /// Commands.
    pub hints: Vec<String>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What lies there, for people.
    pub of: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Files that may still be made; none where the file system does not count.
    pub free_files: Option<u64>,
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LedgerFacts {
    /// There is none, and nothing tells of runs.
    #[default]
    None,
    /// It tells of no run, and something else does.
    Lost {
        /// What.
        evidence: String,
    },
    /// SQLite finds it damaged, or it is no database any more.
    Damaged {
        /// What was found.
        detail: String,
    },
    /// It cannot be read for another reason.
    Unreadable(Trouble),
    /// It can be read.
    Sound {
        /// The format, if it is newer than this orch.
        newer: Option<u32>,
        /// Whether the file was made here.
        is_original: bool,
        /// When the newest record was appended.
        newest: Option<Wall>,
    },
}

/// A run as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    /// The run.
    pub run: RunId,
    /// Its plan.
    pub plan: PlanId,
    /// The plan, as a path for people.
    pub plan_path: String,
    /// How it ended, if it did.
    pub ended: Option<Outcome>,
    /// Whether records of it were lost with a damaged ledger.
    pub lost_records: bool,
    /// The attempts it has under way, or why its records do not follow each other.
    pub under_way: Result<Vec<(TaskId, u32)>, String>,
    /// Tasks that landed.
    pub landed: BTreeSet<TaskId>,
    /// Contradictions that the audit finds.
    pub contradictions: Vec<String>,
}

/// A process that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its id.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// For which run.
    pub run: RunId,
    /// For which task.
    pub task: TaskId,
    /// For which attempt.
    pub attempt: u32,
}

/// Refs of orch's own for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefFacts {
    /// The run.
    pub run: RunId,
    /// Those that hold what a live run needs.
    pub pins: usize,
    /// All.
    pub all: usize,
}

/// A lock file of git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFacts {
    /// The file.
    pub path: PathBuf,
    /// Whether orch made it, for a landing.
    pub is_orchs: bool,
    /// Processes that can own it: id and name.
    pub owners: Vec<(i32, String)>,
}

/// A plan file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFacts {
    /// The file.
    pub path: PathBuf,
    /// Its identity, if it checks.
    pub id: Option<PlanId>,
    /// How many errors it has.
    pub errors: usize,
    /// Its tasks.
    pub tasks: BTreeSet<TaskId>,
    /// Whether one of them may need the agent program.
    pub needs_claude: bool,
}

/// The agent program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClaudeFacts {
    /// Nobody looked.
    #[default]
    NotAsked,
    /// It cannot be used.
    Missing(Trouble),
    /// It is there.
    Found {
        /// What it says about itself.
        version: String,
    },
}

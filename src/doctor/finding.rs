//! What can be found: each unhealthy fact by its stable word, and how bad it is.

use serde::Serialize;

/// How bad it is. The order is the severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// A run cannot begin or go on, or something is left that should not be.
    Problem,
}

macro_rules! checks {
    ($($(#[doc = $doc:literal])* $name:ident = $id:literal, $severity:ident;)*) => {
        /// What can be found. The words are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Check {
            $($(#[doc = $doc])* #[serde(rename = $id)] $name,)*
        }

        impl Check {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word.
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id),* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),* }
            }
        }
    };
}

checks! {
    /// git or the repository cannot be used.
    RepositoryUnusable = "repository-unusable", Problem;
    /// Something could not be looked at.
    NotExamined = "not-examined", Problem;
    /// The state directory cannot be written.
    StateNotWritable = "state-not-writable", Problem;
    /// A file system is nearly full.
    DiskLow = "disk-low", Problem;
    /// The ledger is gone or empty although there were runs.
    LedgerLost = "ledger-lost", Problem;
    /// The ledger is damaged.
    LedgerDamaged = "ledger-damaged", Problem;
    /// The ledger cannot be read.
    LedgerUnreadable = "ledger-unreadable", Problem;
    /// The ledger is of a newer orch.
    LedgerNewer = "ledger-newer", Problem;
    /// The ledger was copied or moved here.
    LedgerCopied = "ledger-copied", Problem;
    /// The newest record lies in the future.
    ClockSetBack = "clock-set-back", Problem;
    /// The records of a run do not follow each other.
    RecordsContradict = "records-contradict", Problem;
    /// Landed commits and the ledger contradict each other.
    AuditContradicts = "audit-contradicts", Problem;
    /// Records of a run were lost.
    RecordsLost = "records-lost", Note;
    /// A run has not ended, and no orch works on it.
    RunInterrupted = "run-interrupted", Problem;
    /// Agents of an interrupted run work on.
    AgentUnattended = "agent-unattended", Note;
    /// A process works for an attempt that is over.
    ProcessOrphan = "process-orphan", Problem;
    /// A process of a hook, a notice or a look for evidence works on without the orch that waited for it.
    ErrandOrphan = "errand-orphan", Problem;
    /// An update of a checkout was cut off.
    CheckoutUnfinished = "checkout-unfinished", Problem;
    /// A loose object is cut off.
    ObjectDamaged = "object-damaged", Problem;
    /// A lock file of git that nobody can own.
    GitLockStale = "git-lock-stale", Problem;
    /// A lock file of git that somebody owns.
    GitLockHeld = "git-lock-held", Note;
    /// Slots of a repository that is gone.
    SlotOrphan = "slot-orphan", Note;
    /// Refs of runs that the ledger does not know.
    RefOrphan = "ref-orphan", Note;
    /// Pins of a run that is over.
    PinsLeft = "pins-left", Note;
    /// A plan does not check.
    PlanInvalid = "plan-invalid", Problem;
    /// A task landed and is no longer in the plan.
    TaskVanished = "task-vanished", Note;
    /// The settings do not check.
    SettingsInvalid = "settings-invalid", Problem;
    /// Commits cannot be signed with a name.
    IdentityMissing = "identity-missing", Problem;
    /// The agent program is missing, and a plan needs it.
    ClaudeMissing = "claude-missing", Problem;
    /// The agent program is missing, and no plan needs it.
    ClaudeNotNeeded = "claude-not-needed", Note;
    /// The agent program is of a release that was not tried.
    ClaudeUntested = "claude-untested", Note;
    /// Hooks that do not run for landed commits.
    HooksNotRun = "hooks-not-run", Note;
    /// A lock file of a package manager, and no set-up.
    SetupMissing = "setup-missing", Note;
}

/// One unhealthy fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which.
    pub id: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What is.
    pub what: String,
    /// What it means.
    pub means: String,
    /// What to do, a command or a sentence each.
    pub next: Vec<String>,
    /// Whether `--fix-safe` sees to it.
    pub fixable: bool,
}

//! Where everything lies below the state directory. Paths are joined here and nowhere else.
//!
//! ```text
//! <git common dir>/orch/
//!   orch.lock                 held by the one orch that may write; says who it is
//!   control.sock              where that orch listens
//!   damaged/<time>/           ledgers that were set aside
//!   ledger.db                 records and projections (docs/ledger.md)
//!   runs/<run>/
//!     log/orch.jsonl          diagnostics log
//!     log/notices             which notices were delivered to whom
//!     log/notify.log          what commands that delivered them printed
//!     plans/<sha256>.yaml     every plan text that was accepted
//!     verify/<order>/<n>/     what the n-th gate command of a verification printed; `base` is the untouched target
//!     <task>/<attempt>/       what one attempt was given and left
//!       ask/                  the same for the session resumed to ask for a missing status
//! ```
//!
//! Task ids share `runs/<run>/` with names of orch's own. They cannot collide: below a task stand only numbers, below
//! orch's names never.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::files::{FileError, entries_in, read_limited, write_atomic, write_whole};
use crate::digest::sha256_hex;
use crate::ids::{RunId, TaskId, Ticket};

/// Largest plan text that is read back: the size limit of plans themselves.
const PLAN_BYTES_MAX: u64 = 16 << 20;
/// Longest name of a boot that is read: it is a UUID.
const BOOT_BYTES_MAX: u64 = 64;

/// `<git common dir>/orch`: survives `git clean`, is shared by all worktrees of the repository, and no agent works
/// there. Naming it touches no disk; only [`StateDir::lock`](super::lock) creates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// What is kept of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

/// What the gates of one verification left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateDir {
    root: PathBuf,
}

/// What one command of a verification was given and left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandDir {
    root: PathBuf,
}

/// What is kept of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptDir {
    root: PathBuf,
}

/// What one agent process was given and left. The shim's own files beside these are named in `process`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDir {
    root: PathBuf,
}

/// The agent processes that an attempt can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionPart {
    /// The one that does the work.
    Work,
    /// The same session resumed after it was cut off, for the nth time, from 1.
    Continue(u32),
    /// The same session resumed once, only to ask for the missing status.
    AskStatus,
}

/// What the words of continued sessions begin with.
const CONTINUE: &str = "continue-";

impl SessionPart {
    /// The one that runs in an attempt that has gone on this many times, or that is asked for its status.
    pub fn of(asks_status: bool, continued: u32) -> Self {
        match (asks_status, continued) {
            (true, _) => Self::AskStatus,
            (false, 0) => Self::Work,
            (false, number) => Self::Continue(number),
        }
    }

    /// As the ledger spells it.
    pub fn word(self) -> String {
        match self {
            Self::Work => "work".to_owned(),
            Self::Continue(number) => format!("{CONTINUE}{number}"),
            Self::AskStatus => "ask".to_owned(),
        }
    }

    /// Reads the ledger's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(CONTINUE) {
            Some(number) => number.parse().ok().map(Self::Continue),
            None => [Self::Work, Self::AskStatus]
                .into_iter()
                .find(|part| part.word() == text),
        }
    }
}

impl StateDir {
    /// The state directory of the repository with this common git directory.
    pub fn of_repository(git_common_dir: &Path) -> Self {
        Self {
            root: git_common_dir.join("orch"),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The SQLite ledger.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    /// Where the live orch listens to other terminals.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The lock that the one writing orch holds for life.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("orch.lock")
    }

    /// Where commands that belong to no attempt are noted while they run.
    pub fn errands(&self) -> PathBuf {
        self.root.join("errands")
    }

    /// Where the directories of runs lie.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Takes note of the boot in which orch works now; whether that is another than last time, or nobody knows.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn enter_boot(&self, boot: &str) -> Result<bool, FileError> {
        let path = self.root.join("boot");
        let last = read_limited(&path, BOOT_BYTES_MAX);
        if last.is_ok_and(|last| last == boot.as_bytes()) {
            return Ok(false);
        }
        write_whole(&path, boot.as_bytes())?;
        Ok(true)
    }

    /// Where files of git's object store are moved that are no objects.
    pub fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// The directory of a run.
    pub fn run(&self, run: &RunId) -> RunDir {
        RunDir {
            root: self.runs().join(run.as_str()),
        }
    }

    /// Where damaged ledgers are set aside.
    pub fn set_aside(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// The runs of which anything is kept, sorted.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn kept_runs(&self) -> io::Result<Vec<RunId>> {
        let names = names_in(&self.root.join("runs"))?;
        Ok(names.iter().filter_map(|n| RunId::parse(n).ok()).collect())
    }

    /// The directory of some attempt, if there ever was one here.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn any_attempt(&self) -> io::Result<Option<PathBuf>> {
        for run in self.kept_runs()? {
            let dir = self.run(&run);
            if let Some((task, attempt)) = dir.kept_attempts()?.first() {
                return Ok(Some(dir.attempt(task, *attempt).root));
            }
        }
        Ok(None)
    }

    /// Makes the directory, for its owner alone (prompts and sessions can hold secrets). Its parent must exist.
    pub(super) fn create(&self) -> io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.root) {
            Ok(()) => sync_parent(&self.root),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl RunDir {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The diagnostics log of the run, JSON lines.
    pub fn log(&self) -> PathBuf {
        self.root.join("log").join("orch.jsonl")
    }

    /// Which notices were delivered to whom; there only if the run had somebody to tell.
    pub fn notices(&self) -> PathBuf {
        self.root.join("log").join("notices")
    }

    /// What commands that delivered notices printed.
    pub fn notify_log(&self) -> PathBuf {
        self.root.join("log").join("notify.log")
    }

    /// A plan text by the SHA-256 of its bytes, in hexadecimal.
    pub fn plan(&self, sha256: &str) -> PathBuf {
        self.root.join("plans").join(format!("{sha256}.yaml"))
    }

    /// Stores a plan text durably and returns its SHA-256, in hexadecimal. To be called before a record names it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_plan(&self, text: &[u8]) -> Result<String, FileError> {
        let sha256 = sha256_hex(text);
        let path = self.plan(&sha256);
        if let Some(dir) = path.parent() {
            create_dir_durably(dir).map_err(|e| FileError::writing(dir, e))?;
        }
        write_atomic(&path, text)?;
        Ok(sha256)
    }

    /// Reads a stored plan text back.
    ///
    /// # Errors
    /// If it is missing, or its content no longer has the hash.
    pub fn read_plan(&self, sha256: &str) -> Result<Vec<u8>, FileError> {
        let path = self.plan(sha256);
        let text = read_limited(&path, PLAN_BYTES_MAX)?;
        if sha256_hex(&text) != sha256 {
            return Err(FileError::HashMismatch { path });
        }
        Ok(text)
    }

    /// The attempts of which anything is kept, sorted.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn kept_attempts(&self) -> io::Result<Vec<(TaskId, u32)>> {
        let mut found = Vec::new();
        for name in names_in(&self.root)? {
            let Ok(task) = TaskId::parse(&name) else {
                continue;
            };
            let numbers = names_in(&self.root.join(&name))?;
            let numbers = numbers.iter().filter_map(|n| n.parse().ok());
            found.extend(numbers.map(|n| (task.clone(), n)));
        }
        found.sort();
        Ok(found)
    }

    /// The texts of plans that are kept, oldest first.
    ///
    /// # Errors
    /// If the directory or a file in it cannot be read.
    pub fn kept_plans(&self) -> io::Result<Vec<PathBuf>> {
        let dir = self.root.join("plans");
        let mut found = Vec::new();
        for name in names_in(&dir)? {
            let path = dir.join(name);
            found.push((std::fs::metadata(&path)?.modified()?, path));
        }
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// The directory of a verification: of the landing commit of an order, or of the untouched target.
    pub fn gates(&self, of: Option<&Ticket>) -> GateDir {
        let name = match of {
            Some(ticket) => format!("{}-{}-{}", ticket.task, ticket.attempt, ticket.epoch),
            None => "base".to_owned(),
        };
        GateDir {
            root: self.root.join("verify").join(name),
        }
    }

    /// The directory of an attempt.
    pub fn attempt(&self, task: &TaskId, attempt: u32) -> AttemptDir {
        AttemptDir {
            root: self.root.join(task.as_str()).join(attempt.to_string()),
        }
    }
}

impl AttemptDir {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What a session of the attempt was given and left.
    pub fn session(&self, part: SessionPart) -> SessionDir {
        SessionDir {
            root: match part {
                SessionPart::Work => self.root.clone(),
                SessionPart::Continue(_) | SessionPart::AskStatus => self.root.join(part.word()),
            },
        }
    }

    /// The agent processes that it can have had, in the order in which they ran: the first, those that went on and were
    /// begun, the one that is asked.
    pub fn sessions(&self) -> Vec<SessionDir> {
        let went_on = (1..)
            .map(|number| self.session(SessionPart::Continue(number)))
            .take_while(|session| session.path().exists());
        std::iter::once(self.session(SessionPart::Work))
            .chain(went_on)
            .chain([self.session(SessionPart::AskStatus)])
            .collect()
    }

    /// The status file as the agent left it.
    pub fn status(&self) -> PathBuf {
        self.root.join("status.json")
    }

    /// The text of a report task.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.md")
    }

    /// The plan copy that the attempt was given at `.orch/plan.yaml`.
    pub fn plan_given(&self) -> PathBuf {
        self.root.join("plan.given.yaml")
    }

    /// The plan copy as the agent left it, if it was edited.
    pub fn plan_left(&self) -> PathBuf {
        self.root.join("plan.left.yaml")
    }

    /// Files that were not put into git, with their manifest.
    pub fn left_out(&self) -> PathBuf {
        self.root.join("left-out")
    }

    /// What a command of `setup:`, numbered from 0, was given and left.
    pub fn setup(&self, number: usize) -> SessionDir {
        SessionDir {
            root: self.root.join("setup").join(number.to_string()),
        }
    }

    /// What a later orch must know of the attempt.
    pub fn sheet(&self) -> PathBuf {
        self.root.join("attempt.json")
    }

    /// How the user's repository stood before the attempt.
    pub fn before(&self) -> PathBuf {
        self.root.join("before.json")
    }

    /// What the rehearsal runner plays.
    pub fn rehearsal(&self) -> PathBuf {
        self.root.join("rehearse.json")
    }

    /// Makes the directory and those above it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(&self) -> Result<(), FileError> {
        create_dir(&self.root)
    }
}

impl GateDir {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What a command, numbered from 0, was given and left.
    pub fn command(&self, number: u32) -> CommandDir {
        CommandDir {
            root: self.root.join(number.to_string()),
        }
    }
}

impl CommandDir {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Its stdin, which is empty.
    pub fn stdin(&self) -> PathBuf {
        self.root.join("stdin")
    }

    /// Its whole stdout.
    pub fn stdout(&self) -> PathBuf {
        self.root.join("stdout")
    }

    /// Its whole stderr.
    pub fn stderr(&self) -> PathBuf {
        self.root.join("stderr")
    }

    /// Makes the directory and those above it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(&self) -> Result<(), FileError> {
        create_dir(&self.root)
    }
}

impl SessionDir {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The text on the agent's stdin.
    pub fn prompt(&self) -> PathBuf {
        self.root.join("prompt.md")
    }

    /// The text appended to the agent's system prompt.
    pub fn system_prompt(&self) -> PathBuf {
        self.root.join("system.md")
    }

    /// The agent's stdout.
    pub fn stream(&self) -> PathBuf {
        self.root.join("stream.jsonl")
    }

    /// The agent's stderr.
    pub fn stderr(&self) -> PathBuf {
        self.root.join("stderr")
    }

    /// Makes the directory and those above it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(&self) -> Result<(), FileError> {
        create_dir(&self.root)
    }
}

fn create_dir(dir: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(dir).map_err(|e| FileError::writing(dir, e))
}

/// Makes a directory and those above it so that they survive a power failure as files synced in them do.
fn create_dir_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dir_durably(parent)?;
    }
    match std::fs::create_dir(dir) {
        Ok(()) => sync_parent(dir),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// The names in a directory that are text, sorted; none if it is not there or is a file.
fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    let paths = entries_in(dir)?.into_iter();
    let name = |path: PathBuf| path.file_name()?.to_str().map(str::to_owned);
    Ok(paths.filter_map(name).collect())
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    dir.parent()
        .map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn run_dir(tmp: &tempfile::TempDir) -> RunDir {
        StateDir::of_repository(tmp.path()).run(&RunId::parse("r1").unwrap())
    }

    #[test]
    fn no_task_id_can_collide_with_names_of_the_run() {
        let tmp = tempfile::tempdir().unwrap();
        let run = run_dir(&tmp);
        for name in ["plans", "log"] {
            run.attempt(&TaskId::parse(name).unwrap(), 1)
                .session(SessionPart::AskStatus)
                .create()
                .unwrap();
        }
        let sha = run.keep_plan(b"tasks: []\n").unwrap();
        assert_eq!(run.read_plan(&sha).unwrap(), b"tasks: []\n");
        std::fs::write(run.log(), b"{}\n").unwrap();
    }

    #[test]
    fn a_stored_plan_that_was_changed_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let run = run_dir(&tmp);
        let sha = run.keep_plan(b"a").unwrap();
        std::fs::write(run.plan(&sha), b"b").unwrap();
        assert!(matches!(
            run.read_plan(&sha),
            Err(FileError::HashMismatch { .. })
        ));
    }

    #[test]
    fn session_parts_are_spelt_one_way() {
        for part in [
            SessionPart::Work,
            SessionPart::Continue(12),
            SessionPart::AskStatus,
        ] {
            assert_eq!(SessionPart::parse(&part.word()), Some(part));
        }
    }
}

//! A scratch repository with its own HOME and identity, and the binary run in it with a clean environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for something that should come at once: long on a loaded machine, short for a person.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest it waits without a look: what a process maps into its memory changes files without an event.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits for files to change.
struct Changes {
    changes: Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    fn of(dir: &Path, mode: RecursiveMode) -> Self {
        let (send, changes) = sync_channel(1);
        let notice = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel already says "look again".
                send.try_send(()).ok();
            }
        };
        let mut watcher = notify::recommended_watcher(notice).expect("a watcher");
        // Directories come and go while they are listed.
        watcher.watch(dir, mode).ok();
        Self {
            changes,
            _watcher: watcher,
        }
    }

    /// Looks after each change until `look` finds something; `None` if it does not in time.
    fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = look() {
                return Some(found);
            }
            // Whether something changed or not, it looks again.
            self.changes.recv_timeout(LOOK_AGAIN).ok();
        }
        look()
    }
}

/// Waits for the end of a process, which is true at once of one that is gone; whether it ended in time.
pub(crate) fn await_end(pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut ends, Some(&patience)).expect("polled") > 0
}

/// The shell's words for waiting at the gate `name`; a gate of a test that failed is gone, and nobody waits there.
pub(crate) fn waits(name: &str) -> String {
    format!("while [ ! -e \"$GATE/{name}\" ]; do [ -d \"$GATE\" ] || exit 9; sleep 0.02; done")
}

/// The shell's words for: say at gate `up`, wait at gate `go`, then do `work`.
pub(crate) fn gated(up: &str, go: &str, work: &str) -> String {
    format!("touch \"$GATE/{up}\"; {}; {work}", waits(go))
}

/// A repository on branch `main` with one commit, and everything a run writes outside of it below one directory.
pub(crate) struct Fixture {
    root: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self {
            root: tempfile::tempdir().expect("a scratch directory"),
        };
        for dir in ["home", "repo", "state", "gate"] {
            std::fs::create_dir(fixture.root.path().join(dir)).expect("a directory");
        }
        fixture.git(["init", "-q", "-b", "main"]);
        fixture.git(["config", "user.name", "Ada"]);
        fixture.git(["config", "user.email", "ada@example.invalid"]);
        fixture.write("README.md", "# scratch\n");
        fixture.git(["add", "-A"]);
        fixture.git(["commit", "-qm", "Begin"]);
        fixture
    }

    /// The same, with a plan at `.claude/plans/plan.yaml` committed.
    pub(crate) fn with_plan(plan: &str) -> Self {
        let fixture = Self::new();
        fixture.write(".claude/plans/plan.yaml", plan);
        fixture.git(["add", "-A"]);
        fixture.git(["commit", "-qm", "Add the plan"]);
        fixture
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.repo().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, text).expect("a file");
    }

    /// Writes the person's own settings.
    pub(crate) fn write_settings(&self, text: &str) {
        let dir = self.root.path().join("home/.config/orch");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("config.yaml"), text).expect("a file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.repo().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn clean(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.repo())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.root.path().join("home"))
            .env("XDG_STATE_HOME", self.root.path().join("state"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// git in the repository; its stdout.
    pub(crate) fn git<const N: usize>(&self, args: [&str; N]) -> String {
        let output = self.clean("git").args(args).output().expect("git");
        assert!(
            output.status.success(),
            "git {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// git with arguments that were made up while running.
    pub(crate) fn git_all(&self, args: &[&str]) {
        let output = self.clean("git").args(args).output().expect("git");
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// orch, not yet run.
    pub(crate) fn command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.clean(env!("CARGO_BIN_EXE_orch"));
        command.args(args).env("GATE", self.gate());
        command
    }

    /// orch with one more variable, run to its end.
    pub(crate) fn orch_with<const N: usize>(
        &self,
        name: &str,
        value: &Path,
        args: [&str; N],
    ) -> Ran {
        Ran::of(self.command(args).env(name, value).output().expect("orch"))
    }

    /// A directory in which tasks and tests wait for each other: a file is a signal.
    pub(crate) fn gate(&self) -> PathBuf {
        self.root.path().join("gate")
    }

    /// Lets those go on who wait at a gate.
    pub(crate) fn open(&self, gate: &str) {
        std::fs::write(self.gate().join(gate), "").expect("a gate");
    }

    /// Waits until a gate is open.
    #[track_caller]
    pub(crate) fn await_gate(&self, gate: &str) {
        let path = self.gate().join(gate);
        let gates = Changes::of(&self.gate(), RecursiveMode::NonRecursive);
        let opened = gates.until(|| path.exists().then_some(()));
        assert!(opened.is_some(), "{gate}: was not opened");
    }

    /// Waits until `look` finds something in the files of the run.
    #[track_caller]
    pub(crate) fn await_that<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        let found = Changes::of(self.root(), RecursiveMode::Recursive).until(look);
        found.unwrap_or_else(|| panic!("{what}: did not come about"))
    }

    /// orch at work, with its words in files.
    pub(crate) fn live<const N: usize>(&self, args: [&str; N]) -> Live {
        Live::of(self.command(args), self.root())
    }

    /// The attempts that the plan's tasks have cost, as written into it.
    pub(crate) fn attempts_written(&self) -> Vec<String> {
        let text = self.read(".claude/plans/plan.yaml");
        let fields = text
            .lines()
            .filter_map(|l| l.trim().strip_prefix("attempts: "));
        fields.map(str::to_owned).collect()
    }

    /// How many records of a kind there are about a task.
    pub(crate) fn count(&self, kind: &str, task: &str) -> usize {
        let about = |r: &&Value| {
            let record = &r["record"];
            record["kind"] == kind && record["ticket"]["task"] == task
        };
        self.records().iter().filter(about).count()
    }

    /// orch, run to its end.
    pub(crate) fn orch<const N: usize>(&self, args: [&str; N]) -> Ran {
        Ran::of(self.command(args).output().expect("orch"))
    }

    /// orch, started.
    pub(crate) fn start<const N: usize>(&self, args: [&str; N]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("orch")
    }

    /// The records of the ledger, oldest first.
    pub(crate) fn records(&self) -> Vec<Value> {
        let ran = self.orch(["events", "--since", "0"]);
        ran.stdout
            .lines()
            .map(|l| serde_json::from_str(l).expect("a record a line"))
            .collect()
    }

    /// What `orch events` prints now, also while a run begins.
    pub(crate) fn records_so_far(&self) -> String {
        self.orch(["events", "--since", "0"]).stdout
    }

    /// The task of `orch status --format json`.
    pub(crate) fn status(&self, task: &str) -> Value {
        let ran = self.orch(["status", "--format", "json"]);
        let status: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let tasks = status["tasks"].as_array().expect("tasks");
        tasks
            .iter()
            .find(|t| t["id"] == task)
            .unwrap_or_else(|| panic!("no task {task} in {status}"))
            .clone()
    }

    /// How many attempts were ever started.
    pub(crate) fn attempts(&self) -> usize {
        let starts = self
            .records()
            .into_iter()
            .filter(|r| r["record"]["kind"] == "attempt_started");
        starts.count()
    }

    /// The subjects of a branch's commits, newest first.
    pub(crate) fn subjects(&self, branch: &str) -> Vec<String> {
        self.git(["log", "--format=%s", branch])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Asserts that the checkout is clean and nothing of the run is left but its branch, ledger and warm slots.
    pub(crate) fn assert_tidy(&self) {
        self.assert_tidy_but("");
    }

    /// The same, but for what a person has changed, as `git status` tells it.
    pub(crate) fn assert_tidy_but(&self, changed: &str) {
        self.orch(["audit"]).exits(0);
        assert_eq!(
            self.git(["status", "--porcelain"]),
            changed,
            "the checkout is clean"
        );
        assert_eq!(
            self.git(["worktree", "list"]).lines().count(),
            1,
            "no worktree is left"
        );
        assert!(
            !self.repo().join(".git/index.lock").exists(),
            "no lock is left"
        );
        assert_eq!(
            processes_in(self.root.path()),
            Vec::<String>::new(),
            "no process is left"
        );
    }
}

/// What a finished orch said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "no {text:?} in stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// An orch at work.
pub(crate) struct Live {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Live {
    pub(crate) fn of(mut command: Command, place: &Path) -> Self {
        let number = std::fs::read_dir(place).expect("a directory").count();
        let [out, err] = ["out", "err"].map(|name| place.join(format!("{number}.{name}")));
        let child = command
            .stdout(std::fs::File::create(&out).expect("a file"))
            .stderr(std::fs::File::create(&err).expect("a file"))
            .spawn()
            .expect("orch");
        Self { child, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.err).expect("text")
    }

    #[track_caller]
    pub(crate) fn await_says(&self, text: &str) {
        let place = self.err.parent().expect("a place");
        let words = Changes::of(place, RecursiveMode::NonRecursive);
        let says = words.until(|| self.said().contains(text).then_some(()));
        assert!(says.is_some(), "no {text:?} in:\n{}", self.said());
    }

    pub(crate) fn has_not_ended(&mut self) -> bool {
        self.child.try_wait().expect("orch").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ran {
        let has_ended = await_end(Pid::from_child(&self.child));
        assert!(has_ended, "orch does not end: {}", self.said());
        Ran::of(Output {
            status: self.child.wait().expect("orch"),
            stdout: std::fs::read(&self.out).expect("stdout"),
            stderr: std::fs::read(&self.err).expect("stderr"),
        })
    }

    /// Kills it as a power cut would.
    #[track_caller]
    pub(crate) fn killed(self) {
        self.signal(Signal::KILL);
        self.ended();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A test that failed leaves no orch behind; one that passed has waited for it.
        self.child.kill().ok();
    }
}

/// Whether a process lives.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Commands of processes whose working directory lies below `root`.
fn processes_in(root: &Path) -> Vec<String> {
    let below = working_below(root).into_iter();
    below
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok())
        .collect()
}

/// Processes whose working directory lies below `root`.
pub(crate) fn working_below(root: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|e| std::fs::read_link(e.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(root)))
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

//! A scratch repository with its own HOME and identity, and the binary run in it with a clean environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A repository on branch `main` with one commit, and everything a run writes outside of it below one directory.
pub(crate) struct Fixture {
    root: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self {
            root: tempfile::tempdir().expect("a scratch directory"),
        };
        for dir in ["home", "repo", "state"] {
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
            "git {args:?}: {}",
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
        command.args(args);
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
        self.orch(["audit"]).exits(0);
        assert_eq!(
            self.git(["status", "--porcelain"]),
            "",
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

/// Commands of processes whose working directory lies below `root`.
fn processes_in(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|e| std::fs::read_link(e.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(root)))
        .filter_map(|e| std::fs::read_to_string(e.path().join("comm")).ok())
        .collect()
}

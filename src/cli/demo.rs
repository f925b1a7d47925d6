//! `orch demo`: the built-in example in a scratch repository with its own identity and HOME, through the real engine,
//! shims, slots and landing; only the agent is rehearsed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, anyhow};
use tokio::process::Command;

use super::args::DemoArgs;
use super::out::Out;
use crate::error::{Error, OrKind, Result};

/// What is run.
const PLAN: &str = include_str!("../../examples/demo.yaml");
/// Where it stands in the scratch repository.
const PLAN_PATH: &str = ".claude/plans/demo.yaml";

/// `orch demo`.
pub(super) fn demo(args: &DemoArgs, out: &mut Out<'_>) -> Result<u8> {
    let root = scratch(args.into.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment()?;
    runtime.block_on(show(&Scratch { root }, args.jobs, out))
}

fn scratch(into: Option<&Path>) -> Result<PathBuf> {
    let Some(into) = into else {
        return Ok(tempfile::Builder::new()
            .prefix("orch-demo-")
            .tempdir()
            .or_environment()?
            .keep());
    };
    let root = std::path::absolute(into).or_usage()?;
    if root.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Err(Error::usage(format!("{} is not empty", into.display())));
    }
    std::fs::create_dir_all(&root).or_environment()?;
    Ok(root)
}

/// The directory of a demonstration.
struct Scratch {
    root: PathBuf,
}

impl Scratch {
    fn repository(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// A program that sees only the scratch directory's HOME.
    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.repository())
            .env("HOME", self.root.join("home"))
            .env("XDG_STATE_HOME", self.root.join("state"))
            .env("XDG_CONFIG_HOME", self.root.join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null());
        command
    }

    async fn git(&self, args: &[&str]) -> Result<String> {
        let output = self
            .command(Path::new("git"), args)
            .output()
            .await
            .context("cannot run git")
            .or_environment()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::environment(format!(
                "git {} failed: {}",
                args.join(" "),
                said.trim()
            )));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn make(&self) -> Result<()> {
        let plan = self.repository().join(PLAN_PATH);
        let directory = plan
            .parent()
            .ok_or_else(|| anyhow!("a plan lies in a directory"))
            .or_bug()?;
        std::fs::create_dir_all(directory).or_environment()?;
        std::fs::create_dir_all(self.root.join("home")).or_environment()?;
        std::fs::write(&plan, PLAN).or_environment()?;
        for args in [
            &["init", "-q", "-b", "main"][..],
            &["config", "user.name", "orch demo"],
            &["config", "user.email", "demo@example.invalid"],
            &["add", "-A"],
            &["commit", "-q", "-m", "Begin with a plan"],
        ] {
            self.git(args).await?;
        }
        Ok(())
    }
}

async fn show(scratch: &Scratch, jobs: u32, out: &mut Out<'_>) -> Result<u8> {
    scratch.make().await?;
    let exe = std::env::current_exe().or_environment()?;
    out.talk(&format!(
        "a scratch repository at {}\n\n",
        scratch.repository().display()
    ));
    let mut run = scratch.command(&exe, &["run", "--plan", PLAN_PATH, "-j", &jobs.to_string()]);
    let mut child = run.spawn().context("cannot start orch").or_environment()?;
    // The terminal's Ctrl-C reaches the run itself, which knows what to do; this process only waits for it.
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .or_environment()?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.or_environment()?,
            _ = interrupts.recv() => {}
        }
    };
    out.print(&format!(
        "\n$ git log --graph --oneline\n{}",
        scratch
            .git(&["log", "--graph", "--oneline", "main"])
            .await?
    ))?;
    let cd = format!("cd {}", quoted(&scratch.repository()));
    // A binary that was only built is not in the PATH.
    let go = match is_in_path(&exe) {
        true => cd,
        false => format!("{cd}; alias orch={}", quoted(&exe)),
    };
    out.print(&format!(
        "\nLook around:\n  {go}\n  orch status              what became of each task\n  orch show 2.2            the task that failed once\n  orch logs 2.2            what its agent did\n  git show main            the last landed commit\n\nThe ledger is in .git/orch, what the agents left in .git/orch/runs. Nothing else was written; remove {} when done.\n",
        scratch.root.display()
    ))?;
    Ok(status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(1))
}

/// Whether `orch` typed into a shell is this program.
fn is_in_path(exe: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("orch"))
        .find(|p| p.is_file());
    found.is_some_and(|p| p.canonicalize().is_ok_and(|p| p == exe))
}

fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    shlex::try_quote(&path).map_or_else(|_| path.clone().into_owned(), |q| q.into_owned())
}

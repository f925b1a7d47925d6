//! `orch run --rehearse`: the user's plan in a throwaway clone, every task by the rehearsal runner.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::args::RunArgs;
use super::locate;
use super::out::Out;
use crate::error::{Error, OrKind, Result};

/// Clones the repository, runs the plan there, and removes the clone.
pub(super) fn rehearse(args: &RunArgs, out: &mut Out<'_>) -> Result<u8> {
    let repository = locate::repository()?;
    let plan = locate::plan(args.plan.as_deref(), repository.worktree())?;
    let text = std::fs::read(&plan)
        .with_context(|| format!("cannot read {}", plan.display()))
        .or_usage()?;
    let identity = repository.identity().or_environment()?;
    let root = tempfile::Builder::new()
        .prefix("orch-rehearsal-")
        .tempdir()
        .or_environment()?;
    let clone = root.path().join("clone");
    git(
        root.path(),
        &[
            "clone",
            "-q",
            "--no-local",
            "--",
            path(repository.worktree())?,
            path(&clone)?,
        ],
    )?;
    git(&clone, &["config", "user.name", &identity.name])?;
    git(&clone, &["config", "user.email", &identity.email])?;
    git(&clone, &["config", "commit.gpgSign", "false"])?;
    // Outside the clone's tree, so that an edit that is not committed is rehearsed too.
    let name = plan
        .file_name()
        .context("a plan has a file name")
        .or_usage()?;
    let copy = root.path().join(name);
    std::fs::write(&copy, text).or_environment()?;

    let exe = std::env::current_exe().or_environment()?;
    let mut run = Command::new(exe);
    run.arg("-C")
        .arg(&clone)
        .args(["run", "--every-task-rehearsed", "--plan"])
        .arg(&copy);
    if let Some(jobs) = args.jobs {
        run.args(["-j", &jobs.to_string()]);
    }
    for (given, flag) in [
        (args.parallel, "--parallel"),
        (args.strict, "--strict"),
        (args.verbose, "--verbose"),
        (args.single_task, "--single-task"),
    ] {
        if given {
            run.arg(flag);
        }
    }
    if let Some(task) = &args.resume_from {
        run.args(["--resume-from", task]);
    }
    if args.format == super::args::Format::Json {
        run.args(["--format", "json"]);
    }
    run.env("XDG_STATE_HOME", root.path().join("state"))
        .stdin(Stdio::null());
    let status = run.status().context("cannot start orch").or_environment()?;
    out.talk("\nThat was a rehearsal in a throwaway clone: no agent ran, no gate was asked, nothing was paid, and your repository is as it was.\n");
    Ok(status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(130))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::environment(format!("the path {} is not UTF-8", path.display())))
}

fn git(at: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("git")
        .args(args)
        .current_dir(at)
        .stdin(Stdio::null())
        .output();
    let output = output.context("cannot run git").or_environment()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::environment(format!(
        "git {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

//! `orch salvage`: what was saved from slots, listed, shown and brought back.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;

use super::args::{Format, SalvageCommand};
use super::locate;
use super::out::Out;
use crate::engine::salvage::{SalvageOf, SalvagePlace};
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::Repository;
use crate::git::salvage::{Kept, SalvageError, kept_of_runs, restore};
use crate::report::table;
use crate::time::Wall;

/// Fewest digits that name something.
const ID_DIGITS_MIN: usize = 4;
/// Commits of a line that are shown.
const COMMITS_SHOWN: &str = "-20";

/// `orch salvage ...`.
pub(super) fn salvage(command: &SalvageCommand, out: &mut Out<'_>) -> Result<u8> {
    match command {
        SalvageCommand::List { format } => list(*format, out),
        SalvageCommand::Show {
            id,
            stat: _,
            patch: false,
        } => show(id, "--stat", out),
        SalvageCommand::Show { id, .. } => show(id, "--patch", out),
        SalvageCommand::Restore { id, to, branch } => match to {
            Some(dir) => to_dir(id, dir, out),
            None => to_branch(id, branch.as_deref(), out),
        },
    }
}

fn all() -> Result<Vec<Kept>> {
    kept_of_runs(&locate::place()?.state.runs()).or_environment()
}

/// The one whose id begins with what was typed.
fn chosen(typed: &str) -> Result<Kept> {
    let negative = |text: String| {
        Error::new(ErrorKind::Negative, anyhow!(text))
            .hint("orch salvage list             shows what was saved")
    };
    if typed.len() < ID_DIGITS_MIN {
        return Err(Error::usage(format!(
            "`{typed}` is too short: {ID_DIGITS_MIN} digits of an id at least"
        )));
    }
    let mut found: Vec<Kept> = all()?;
    found.retain(|kept| kept.salvage.commit.as_str().starts_with(typed));
    match found.len() {
        0 => Err(negative(format!("nothing was saved as `{typed}`"))),
        1 => Ok(found.remove(0)),
        n => Err(negative(format!("`{typed}` is the beginning of {n} ids"))),
    }
}

fn list(format: Format, out: &mut Out<'_>) -> Result<u8> {
    let all = all()?;
    let text = match format {
        Format::Json => {
            let rows: Vec<_> = all.iter().map(as_json).collect();
            serde_json::to_string_pretty(&rows).or_bug()? + "\n"
        }
        Format::Text if all.is_empty() => "nothing was saved\n".to_owned(),
        Format::Text => {
            let rows: Vec<Vec<String>> = all.iter().map(row).collect();
            let heads = ["id", "run", "task", "attempt", "saved", "what"];
            table::render(&heads, &rows, out.paint)
        }
    };
    out.print(&text).map(|()| 0)
}

fn as_json(kept: &Kept) -> serde_json::Value {
    let salvage = &kept.salvage;
    json!({
        "id": salvage.id(),
        "commit": salvage.commit,
        "run": salvage.run,
        "task": salvage.task,
        "attempt": salvage.attempt,
        "of": salvage.of,
        "place": salvage.place,
        "ref": kept.name(),
        "base": kept.base,
        "at": kept.at,
        "directory": kept.dir,
        "left_out": left_out(kept),
    })
}

fn row(kept: &Kept) -> Vec<String> {
    let salvage = &kept.salvage;
    vec![
        salvage.id().to_owned(),
        salvage.run.to_string(),
        salvage.task.to_string(),
        salvage.attempt.to_string(),
        when(kept.at),
        what(kept),
    ]
}

fn when(at: Wall) -> String {
    at.to_utc().map_or_else(String::new, |t| {
        let local = t.with_timezone(&chrono::Local);
        local.format("%Y-%m-%d %H:%M").to_string()
    })
}

fn what(kept: &Kept) -> String {
    let mut text = match kept.salvage.of {
        SalvageOf::Files => "files that were not collected",
        SalvageOf::Commits => "commits of the agent",
    }
    .to_owned();
    if kept.salvage.place == SalvagePlace::RunDirectory {
        text.push_str(", kept out of git: they hold secrets or large files");
    } else if left_out(kept) {
        text.push_str(", and some that do not go into git");
    }
    text
}

fn left_out(kept: &Kept) -> bool {
    kept.files().is_dir()
}

fn show(typed: &str, how: &str, out: &mut Out<'_>) -> Result<u8> {
    let kept = chosen(typed)?;
    let repo = locate::repository()?;
    let salvage = &kept.salvage;
    let mut text = format!(
        "{} {}\n  from      task {}, attempt {}, run {}\n  saved     {}\n",
        out.paint.bold(salvage.id()),
        what(&kept),
        salvage.task,
        salvage.attempt,
        salvage.run,
        when(kept.at),
    );
    match kept.name() {
        Some(name) => text.push_str(&format!("  ref       {name}\n")),
        None => text.push_str(&format!("  kept in   {}\n", kept.dir.display())),
    }
    if left_out(&kept) {
        let files = kept.files();
        text.push_str(&format!("  left out  {}\n", files.display()));
    }
    let colour = match out.paint.is_coloured() {
        true => "--color=always",
        false => "--color=never",
    };
    let range = format!("{}..{}", kept.base, salvage.commit);
    if salvage.of == SalvageOf::Commits {
        text.push('\n');
        let log = ["log", "--oneline", "--no-decorate", COMMITS_SHOWN];
        text.push_str(&git(&repo, &kept, &[&log[..], &[colour, &range]].concat())?);
    }
    text.push('\n');
    let diff = ["diff", "--no-ext-diff", "--no-textconv", how, colour];
    text.push_str(&git(&repo, &kept, &[&diff[..], &[&range]].concat())?);
    out.print(&text).map(|()| 0)
}

fn git(repo: &Repository, kept: &Kept, args: &[&str]) -> Result<String> {
    let printed = restore::git(repo, kept)
        .args(args.iter().copied())
        .read_only()
        .run()
        .or_environment()?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

fn to_dir(typed: &str, dir: &Path, out: &mut Out<'_>) -> Result<u8> {
    let kept = chosen(typed)?;
    restore::files(&locate::repository()?, &kept, dir).map_err(|error| match error {
        SalvageError::InTheWay(_) => {
            Error::new(ErrorKind::Negative, error).hint("name a directory that is not there yet")
        }
        error => Error::new(ErrorKind::Environment, error),
    })?;
    let shown = dir.display().to_string();
    let quoted = shlex::try_quote(&shown).or_usage()?;
    out.print(&format!(
        "the files are in {shown}\nhint: git diff --no-index . {quoted}\n"
    ))?;
    Ok(0)
}

fn to_branch(typed: &str, name: Option<&str>, out: &mut Out<'_>) -> Result<u8> {
    let kept = chosen(typed)?;
    let name = name.map_or_else(|| format!("salvage/{}", kept.salvage.id()), str::to_owned);
    let made = restore::branch(&locate::repository()?, &kept, &name).map_err(|error| {
        let kind = match error {
            SalvageError::BranchName(_) => ErrorKind::Usage,
            _ => ErrorKind::Environment,
        };
        Error::new(kind, error)
    })?;
    if !made {
        return Err(Error::new(
            ErrorKind::Negative,
            anyhow!("there is a branch `{name}`, and it stays where it is"),
        )
        .hint("orch salvage restore ID --branch NAME"));
    }
    let mut text = format!("branch {name} is made\n");
    if kept.salvage.place == SalvagePlace::RunDirectory {
        text.push_str("it holds secrets or large files, which are in the repository now\n");
    }
    if left_out(&kept) {
        let files = kept.files();
        text.push_str(&format!("not in it: what lies in {}\n", files.display()));
    }
    text.push_str(&format!(
        "hint: git diff HEAD...{name}\nhint: git cherry-pick {}..{name}\n",
        kept.base
    ));
    out.print(&text).map(|()| 0)
}

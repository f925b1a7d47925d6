//! `--fix-safe`: repairs that cannot lose anything, because a start or an end of a run makes the same ones.
//!
//! Only the holder of the lock repairs, so that no orch is in the middle of what looks left over.

use std::collections::BTreeMap;

use serde::Serialize;

use super::facts::Facts;
use super::judge::is_over;
use crate::engine::outcome::Outcome;
use crate::error::{OrKind, Result};
use crate::git::Repository;
use crate::git::land::{Recovery, recover_checkouts};
use crate::git::pins;
use crate::ids::{RunId, TaskId};
use crate::process::{self, Errands, LeftErrand};
use crate::store::{OrchLock, StateDir};

/// Something that was repaired, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// What was done.
    pub what: String,
}

/// Repairs what `facts` tell of and what is safe: it finishes updates of checkouts, ends processes of attempts that are
/// over and of commands whose orch is gone, and drops pins of completed runs.
///
/// # Errors
/// If a repair fails; those before it hold.
pub fn fix_safe(repo: &Repository, facts: &Facts, _lock: &OrchLock) -> Result<Vec<Repair>> {
    let mut done = Vec::new();
    let mut note = |what: String| done.push(Repair { what });
    for recovered in recover_checkouts(repo).or_environment()? {
        let worktree = recovered.worktree.display();
        note(match recovered.how {
            Recovery::NotBegun => {
                format!("let go of {worktree}: its branch had not moved, nothing was touched")
            }
            Recovery::Finished { kept } if kept.is_empty() => {
                format!("finished the update of {worktree}")
            }
            Recovery::Finished { kept } => format!(
                "finished the update of {worktree}; kept as they are: {}",
                kept.join(", ")
            ),
            Recovery::Disturbed => format!(
                "left {worktree} to you: somebody had removed the lock, and may have worked on"
            ),
            Recovery::StillRunning => {
                format!("left {worktree}: a git that orch started still works there")
            }
        });
    }
    end_orphans(facts, &mut note)?;
    end_errands(
        facts,
        &StateDir::of_repository(repo.common_dir()),
        &mut note,
    )?;
    let opened = repo.open().or_environment()?;
    for refs in facts.refs.iter().filter(|refs| refs.pins > 0) {
        let run = facts.runs.iter().find(|run| run.run == refs.run);
        if run.is_some_and(|run| run.ended == Some(Outcome::Completed)) {
            pins::drop_pins(&opened, &refs.run).or_environment()?;
            note(format!("dropped {} pins of run {}", refs.pins, refs.run));
        }
    }
    Ok(done)
}

fn end_errands(facts: &Facts, state: &StateDir, note: &mut impl FnMut(String)) -> Result<()> {
    if facts.errands.is_empty() {
        return Ok(());
    }
    let errands = Errands::noted_in(state.errands());
    let before = errands.left().or_environment()?;
    errands.end_left().or_environment()?;
    for LeftErrand { name, process } in before {
        note(format!(
            "ended process {} ({}) of {name}",
            process.pid, process.comm
        ));
    }
    Ok(())
}

fn end_orphans(facts: &Facts, note: &mut impl FnMut(String)) -> Result<()> {
    let orphans: BTreeMap<i32, (&RunId, &TaskId, u32)> = facts
        .processes
        .iter()
        .filter(|process| is_over(facts, process) == Some(true))
        .map(|p| (p.pid, (&p.run, &p.task, p.attempt)))
        .collect();
    if orphans.is_empty() {
        return Ok(());
    }
    // Looked at anew: a process may have ended, and another one got its number.
    for marked in process::marked().or_environment()? {
        let (run, ticket) = (marked.marker.run(), marked.marker.ticket());
        let of = (run, &ticket.task, ticket.attempt);
        if !orphans.values().any(|orphan| *orphan == of) {
            continue;
        }
        let swept = process::sweep(&marked.marker, None).or_environment()?;
        for process in swept.killed {
            note(format!(
                "ended process {} ({}) of task {}",
                process.pid, process.comm, ticket.task
            ));
        }
        for process in swept.alive {
            note(format!(
                "process {} ({}) of task {} cannot be ended",
                process.pid, process.comm, ticket.task
            ));
        }
    }
    Ok(())
}

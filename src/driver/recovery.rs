//! What the world looks like for orders that an earlier orch left, one function a question. What follows from it is
//! decided in the engine.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use super::attempt::Sheet;
use super::executor::{plan_after, setup_parts};
use super::site::Site;
use crate::crash::point;
use crate::engine::event::{Event, Found};
use crate::engine::record::{Record, Stamped};
use crate::engine::{Engine, InFlight};
use crate::git::durable::{is_whole, set_damaged_aside};
use crate::git::{left, pins, refs};
use crate::ids::{ObjectId, Ticket};
use crate::process::{self, Adoption, Marker};
use crate::store::SessionPart;
use crate::time::Wall;

/// How long the kernel may keep written data from the disk: 30 s by default (`vm.dirty_expire_centisecs`), with room for
/// a clock that is set.
const UNWRITTEN_MAX_MS: i64 = 600_000;

/// Looks at everything that was under way, and at the target. One function for each row of `docs/recovery.md` that asks
/// something.
///
/// # Errors
/// If something cannot be told; nothing is assumed then.
pub(super) async fn look(
    site: &Site,
    engine: &Engine,
    records: &[Stamped],
) -> anyhow::Result<Vec<Event>> {
    point("recovery-begins");
    let since = unwritten_since(records.last().map_or(Wall(0), |stamped| stamped.at));
    let is_new_boot = site.state.enter_boot(&process::boot_id()?)?;
    if is_new_boot {
        left_objects(site, since)?;
    }
    left_refs(site, engine)?;
    candidates(site, records, since, is_new_boot)?;
    let mut events: Vec<Event> = target(site, engine)?.into_iter().collect();
    for (ticket, in_flight) in engine.unsettled() {
        let found = match in_flight {
            InFlight::Preparing { .. } => preparing(site, &ticket).await?,
            InFlight::Executing {
                asked, continued, ..
            } => executing(site, &ticket, asked, continued).await?,
            // What it left is read again, and its processes are ended then, too.
            InFlight::Collecting { .. } => Found::AgentEnded,
            // Without an intent nothing can have moved.
            InFlight::Building { .. } | InFlight::Verifying { .. } => {
                end_gates(site, &ticket).await?;
                Found::NotLanded
            }
            InFlight::Landing { commit, .. } => landing(site, &ticket, &commit)?,
        };
        tracing::info!(%ticket, ?found, "recovered");
        point("order-judged");
        events.push(Event::Recovered {
            task: ticket.task,
            found,
        });
    }
    Ok(events)
}

/// From when on what was written may not have been on the disk at `last`.
pub(super) fn unwritten_since(last: Wall) -> Wall {
    Wall(last.0.saturating_sub(UNWRITTEN_MAX_MS))
}

/// After the machine was started again: loose objects that a loss of power cut off, refs of orch's own that it cut off or
/// that lead nowhere now, and refs of what it took in part.
pub(super) fn left_objects(site: &Site, since: Wall) -> anyhow::Result<()> {
    let since = Duration::from_millis(u64::try_from(since.0).unwrap_or_default());
    let since = SystemTime::UNIX_EPOCH + since;
    set_damaged_aside(&site.repo.open()?, since, &site.state.damaged())
        .context("cannot look through the loose objects")?;
    left::mend_own_refs(&site.repo.open()?, process::is_open)?;
    left::drop_broken_refs(&site.repo.open()?)?;
    Ok(())
}

/// Refs below `refs/orch/`, and the lock of the target, as a git that was killed or lost its power leaves them.
fn left_refs(site: &Site, engine: &Engine) -> anyhow::Result<()> {
    let repo = site.repo.open()?;
    left::mend_own_refs(&repo, process::is_open)?;
    for (_, order) in engine.unsettled() {
        if let InFlight::Landing { commit, .. } = order
            && let Some(lock) = left::own_lock(&repo, &site.target, &commit)?
            && !process::is_open(&lock)?
        {
            tracing::warn!(lock = %lock.display(), "a lock that an orch left is removed");
            std::fs::remove_file(&lock)
                .with_context(|| format!("cannot remove {}", lock.display()))?;
        }
    }
    Ok(())
}

/// Row `collected`: a candidate that can be read has its ref, whatever became of the ref's file, and no other has one.
/// Without a start of the machine in between, what has a ref can be read.
fn candidates(
    site: &Site,
    records: &[Stamped],
    since: Wall,
    is_new_boot: bool,
) -> anyhow::Result<()> {
    let repo = site.repo.open()?;
    for stamped in records
        .iter()
        .rev()
        .take_while(|stamped| stamped.at >= since)
    {
        if let Record::Collected {
            ticket,
            candidate: Some(candidate),
            ..
        } = &stamped.record
        {
            let name = pins::candidate_ref(&site.run, &ticket.task, ticket.attempt);
            let tip = refs::tip(&repo, &name)?;
            if tip.is_some() && !is_new_boot {
                continue;
            }
            match (tip, is_whole(&repo, candidate)?) {
                (None, true) => pins::name_candidate(&repo, &name, candidate)?,
                (Some(_), false) => pins::forget_candidate(&repo, &name)?,
                (None, false) | (Some(_), true) => {}
            }
        }
    }
    Ok(())
}

/// Whether the target still holds the last landed commit.
fn target(site: &Site, engine: &Engine) -> anyhow::Result<Option<Event>> {
    let Some(landed) = engine.tip() else {
        return Ok(None);
    };
    let repo = site.repo.open()?;
    let found = refs::tip(&repo, &site.target)?;
    let holds = match &found {
        Some(tip) => refs::contains(&repo, tip, landed)?,
        None => false,
    };
    Ok((!holds).then_some(Event::TargetRewritten { found }))
}

/// Row `attempt_started`: no agent has started, and nothing of the set-up goes on.
async fn preparing(site: &Site, ticket: &Ticket) -> anyhow::Result<Found> {
    end_setup(site, ticket).await?;
    sweep(site, ticket)?;
    Ok(Found::AgentGone)
}

/// Row `agent_starting`: is the shim's lock held, is there an `exit.json`?
async fn executing(
    site: &Site,
    ticket: &Ticket,
    asked: bool,
    continued: u32,
) -> anyhow::Result<Found> {
    let dir = site.attempt_dir(ticket);
    let own = SessionPart::of(asked, continued);
    if own != SessionPart::Work && !dir.session(own).path().exists() {
        return Ok(Found::NeverStarted);
    }
    let parts = dir.sessions();
    let Some(last) = parts.iter().rev().find(|p| p.path().exists()) else {
        sweep(site, ticket)?;
        return Ok(Found::AgentGone);
    };
    Ok(match process::adopt(last.path()).await? {
        Adoption::Alive(_) => Found::AgentAlive,
        Adoption::Ended(_) => Found::AgentEnded,
        Adoption::Gone => {
            sweep(site, ticket)?;
            Found::AgentGone
        }
    })
}

/// Ends a set-up that still runs, and waits until its shim has written its last file.
async fn end_setup(site: &Site, ticket: &Ticket) -> anyhow::Result<()> {
    for part in setup_parts(site, ticket) {
        if let Adoption::Alive(shim) = process::adopt(part.path()).await? {
            process::end(part.path()).await?;
            shim.wait().await?;
        }
    }
    Ok(())
}

/// Ends the gates of an order that still run, or the command that makes a file anew for it, and waits until their shim has written its last file.
async fn end_gates(site: &Site, ticket: &Ticket) -> anyhow::Result<()> {
    let dir = site.run_dir().gates(Some(ticket));
    let mut number = 0;
    while dir.command(number).path().exists() {
        let command = dir.command(number);
        if let Adoption::Alive(shim) = process::adopt(command.path()).await? {
            process::end(command.path()).await?;
            shim.wait().await?;
        }
        number += 1;
    }
    Ok(())
}

/// Ends whatever carries the attempt's mark or works in its slot.
fn sweep(site: &Site, ticket: &Ticket) -> anyhow::Result<()> {
    let Some(sheet) = Sheet::find(&site.attempt_dir(ticket))? else {
        return Ok(());
    };
    let tree: PathBuf = sheet.tree;
    let swept = process::sweep(&Marker::new(site.run.clone(), sheet.ticket), Some(&tree))?;
    if let Some(process) = swept.alive.first() {
        bail!(
            "process {} ({}) of task {} still works in {} and cannot be ended",
            process.pid,
            process.comm,
            ticket.task,
            tree.display()
        );
    }
    point("swept");
    Ok(())
}

/// Row `landing_intended`: is that commit in the target's history?
fn landing(site: &Site, ticket: &Ticket, commit: &ObjectId) -> anyhow::Result<Found> {
    let repo = site.repo.open()?;
    let landed = match refs::tip(&repo, &site.target)? {
        Some(tip) => refs::contains(&repo, &tip, commit)?,
        None => false,
    };
    Ok(if landed {
        Found::Landed(plan_after(site, ticket)?)
    } else {
        Found::NotLanded
    })
}

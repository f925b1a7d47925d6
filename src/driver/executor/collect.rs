//! `Collect`: nothing of the attempt's process tree lives any more, what it left is read and told apart, and its files
//! are a candidate commit.

mod session;
mod work;

use std::sync::Arc;

use anyhow::bail;

use super::trouble::Trouble;
use super::{blocking, parts};
use crate::crash::point;
use crate::driver::attempt::Sheet;
use crate::driver::how::RESOLVER_ROLE;
use crate::driver::site::Site;
use crate::engine::Engine;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::{Collected, Event};
use crate::engine::outcome::Outcome;
use crate::engine::usage::Usage;
use crate::git::collect::collect as collect_files;
use crate::git::durable::is_missing;
use crate::git::left_out::{self, LeftOut, Limits, Reason};
use crate::git::slot::Slot;
use crate::git::slot::error::SlotError;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::graph::TaskKind;
use crate::plan::{self, Runner};
use crate::process::{self, AgentEnd, Marker};
use crate::store::{AttemptDir, SessionDir, SessionPart};
use session::{Left, used};
use work::Work;

/// Longest plan copy that is read back.
const PLAN_BYTES_MAX: u64 = plan::syntax::SOURCE_BYTES_MAX as u64;
/// How often files are read whose objects vanish as soon as they are written.
const READS_MAX: u32 = 4;
/// Paths named in one sentence.
const PATHS_SHOWN: usize = 10;

/// What is collected, with what only the engine and the plan know.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) ticket: Ticket,
    base: ObjectId,
    ended_by_orch: Option<AttemptEnd>,
    /// The process that was ordered last, whether it began or not.
    last: SessionPart,
    kind: TaskKind,
    files: Vec<String>,
    /// Tasks that have started; an agent's plan edit leaves them alone.
    started: Vec<TaskId>,
}

impl Order {
    pub(super) fn new(
        engine: &Engine,
        ticket: Ticket,
        base: ObjectId,
        ended_by_orch: Option<AttemptEnd>,
        last: SessionPart,
    ) -> Self {
        let view = engine.view(&ticket.task);
        let spec = view.as_ref().map(|v| v.node);
        Self {
            kind: spec.map_or(TaskKind::Change, |n| n.kind),
            files: spec.map(|n| n.files.clone()).unwrap_or_default(),
            started: engine
                .tasks()
                .filter(|v| v.attempt > 0 || v.state.is_settled())
                .map(|v| v.node.id.clone())
                .collect(),
            ticket,
            base,
            ended_by_orch,
            last,
        }
    }

    /// What the attempt has used since it was last counted, if `used` is what its newest process used: nothing, where
    /// the process that was ordered last never began.
    fn uncounted(&self, site: &Site, used: Usage) -> Usage {
        match site.attempt_dir(&self.ticket).session(self.last).path() {
            path if path.exists() => used,
            _ => Usage::default(),
        }
    }
}

pub(super) async fn collect(site: Arc<Site>, order: Order) -> Event {
    let ticket = order.ticket.clone();
    let result = blocking(move || {
        let mut collected = match collected(&site, &order) {
            Ok(collected) => collected,
            Err(trouble) => set_aside(&site, &order, trouble)?,
        };
        collected.usage = order.uncounted(&site, collected.usage);
        let dir = site.attempt_dir(&order.ticket);
        collected.meanwhile = site.guard.ends(&order.ticket, &dir);
        Ok::<_, anyhow::Error>(collected)
    });
    match result.await {
        Ok(result) => Event::Collected {
            ticket,
            result: Box::new(result),
        },
        // The task stays where it is, and its slot with it: the next start reads it again.
        Err(error) => Event::Failed {
            outcome: Outcome::Environment,
            detail: format!(
                "what attempt {} of {} left cannot be read yet: {error:#}; it stays where it is, and the next \
                 `orch run` reads it again",
                ticket.attempt, ticket.task
            ),
        },
    }
}

/// Keeps a slot whose files cannot be read whole, out of the way of the next attempt. The run stops over it, since what
/// could not be read here may not be readable in the next slot either.
fn set_aside(site: &Site, order: &Order, trouble: Trouble) -> anyhow::Result<Collected> {
    let error = match trouble {
        Trouble::Machine(error) => return Err(error),
        Trouble::Files(error) => error,
    };
    let dir = site.attempt_dir(&order.ticket);
    let sheet = Sheet::load(&dir)?;
    let part = parts::last(site, &order.ticket);
    let usage = used(&sheet, &part, &dir)?;
    let slot = Slot::reopen(&site.repo, &sheet.tree)?;
    let name = format!(
        "{}-{}-{}",
        site.run, order.ticket.task, order.ticket.attempt
    );
    let kept = slot.set_aside(&name)?;
    let detail = format!(
        "what the attempt left cannot be read, its slot is kept whole in {}: {error:#}",
        kept.display()
    );
    Ok(Collected {
        notes: vec![format!("its slot is kept in {}", kept.display())],
        ..Collected::nothing(AttemptEnd::new(Ending::Environment, detail), usage)
    })
}

fn collected(site: &Site, order: &Order) -> Result<Collected, Trouble> {
    let opened = || -> anyhow::Result<_> {
        let sheet = Sheet::load(&site.attempt_dir(&order.ticket))?;
        end_leftovers(site, &sheet, &parts::last(site, &order.ticket))?;
        point("leftovers-ended");
        let slot = slot_of(site, &sheet)?;
        Ok((sheet, slot))
    };
    let (sheet, mut slot) = opened().map_err(Trouble::Machine)?;
    for _ in 1..READS_MAX {
        match read_slot(site, order, &sheet, &mut slot) {
            Err(error) if is_taken(&error) => {
                tracing::warn!(ticket = %order.ticket, "objects are gone as soon as they are written");
                slot.forget_index()
                    .map_err(|error| Trouble::of(site, error.into()))?;
            }
            read => return read.map_err(|error| Trouble::of(site, error)),
        }
    }
    read_slot(site, order, &sheet, &mut slot).map_err(|error| Trouble::of(site, error))
}

/// The slot in which the attempt worked. One that it removed whole is made again, empty, to be found without its tree.
fn slot_of(site: &Site, sheet: &Sheet) -> Result<Slot, SlotError> {
    match Slot::reopen(&site.repo, &sheet.tree) {
        Err(SlotError::Gone(_)) => Slot::open(&site.repo, &site.slots, sheet.slot),
        opened => opened,
    }
}

/// A `git gc --prune=now` takes objects that no ref holds yet, also such as were written at that moment.
#[derive(Debug, thiserror::Error)]
#[error("objects of {0} are gone: is a `git gc --prune=now` at work?")]
struct ObjectsTaken(ObjectId);

fn is_taken(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    error.is::<ObjectsTaken>() || causes.any(is_missing)
}

fn read_slot(
    site: &Site,
    order: &Order,
    sheet: &Sheet,
    slot: &mut Slot,
) -> anyhow::Result<Collected> {
    let dir = site.attempt_dir(&order.ticket);
    let part = parts::last(site, &order.ticket);
    let mut notes = Vec::new();
    if let Some(other) = slot.tenant()?.filter(|t| !t.is(&site.run, &order.ticket)) {
        let detail = format!(
            "its slot was used for task {} of run {} meanwhile; what it had left is saved, see `orch salvage list`",
            other.ticket.task, other.run
        );
        let end = AttemptEnd::new(Ending::Crashed, detail);
        return without_files(sheet, &dir, &part, end);
    }
    let files = match collect_files(slot, &order.base, Limits::default()) {
        Err(SlotError::Gone(tree)) => {
            let end = order.ended_by_orch.clone().unwrap_or_else(|| {
                let detail = format!("its working tree {} is gone", tree.display());
                AttemptEnd::new(Ending::AgentFailed, detail)
            });
            return without_files(sheet, &dir, &part, end);
        }
        result => result?,
    };
    if !files.left_out.is_empty() {
        notes.extend(files.left_out.iter().map(|l| {
            let kept = match l.why {
                Reason::NoFile => "it is left out",
                _ => "it is kept with the attempt",
            };
            format!("`{}` is {}; {kept}", l.path.display(), l.why.in_words())
        }));
        left_out::save(&slot.tree(), &files.left_out, &dir.left_out())?;
    }
    point("files-read");
    let work = Work::of(site, order, slot, &files, &dir)?;
    let left = Left::read(site, order, sheet, slot, &dir, &work, &mut notes)?;
    let mut end = left.end.clone();
    let mut scope = None;
    if matches!(end.ending, Ending::Success | Ending::NoChange) {
        let unresolved = match &sheet.contest {
            Some(contest) => work.unresolved(site, contest)?,
            None => None,
        };
        match unresolved {
            Some(refused) => end = refused,
            None => match work.judged(site, order, &sheet.how)? {
                Ok(judged) => scope = judged,
                Err(refused) => end = refused,
            },
        }
    } else if let Some(given) = &order.ended_by_orch {
        end = given.clone();
    }
    if end.ending == Ending::NoChange
        && order.kind == TaskKind::Change
        && let Some(refused) = all_nested(&files.left_out)
    {
        end = refused;
    }
    if was_restarted(&part)? {
        let detail = "the machine was started again before what the agent left was read, which may not be whole";
        end = AttemptEnd::new(Ending::Crashed, detail);
    }
    if let (Some(_), Some(said)) = (&sheet.contest, &left.message) {
        notes.push(format!("{RESOLVER_ROLE} says: {said}"));
    }
    let candidate = work.candidate(site, order, &end)?;
    slot.note_kept(&files.tree, &files.left_out)?;
    point("slot-kept");
    let can_ask = end.ending == Ending::NoStatus
        && sheet.how.runner == Runner::Claude
        && site.settings.ask_status.value;
    Ok(Collected {
        usage: left.usage,
        candidate,
        message: left.message,
        report: left.report,
        can_ask,
        can_continue: left.can_continue && end.ending.row().continues,
        limit: left.limit.filter(|_| end.ending == Ending::UsageLimit),
        windows: left.windows,
        end,
        notes,
        meanwhile: Vec::new(),
        scope,
    })
}

/// The end of a change that is there, but in a repository of its own, so that none of it can land.
fn all_nested(left_out: &[LeftOut]) -> Option<AttemptEnd> {
    let nested: Vec<String> = left_out
        .iter()
        .filter(|l| l.why == Reason::NestedRepository)
        .map(|l| format!("`{}`", l.path.display()))
        .collect();
    let detail = format!(
        "nothing of it can land, as all of it lies in a git repository of its own: {}; files that are to land must not lie beside a `.git` of their own",
        nested.join(", ")
    );
    (!nested.is_empty()).then(|| AttemptEnd::new(Ending::OutOfScope, detail))
}

/// Whether the machine was started again since the agent ended: its last files may not have reached the disk.
fn was_restarted(part: &SessionDir) -> anyhow::Result<bool> {
    match process::read_exit(part.path())? {
        Some(report) => Ok(report.is_of_earlier_boot()?),
        // Then it ended with its shim, and is judged as that.
        None => Ok(false),
    }
}

/// An attempt that removed its working tree: only what it used is known.
fn without_files(
    sheet: &Sheet,
    dir: &AttemptDir,
    part: &SessionDir,
    end: AttemptEnd,
) -> anyhow::Result<Collected> {
    Ok(Collected::nothing(end, used(sheet, part, dir)?))
}

/// Ends what is left of the attempt's processes, unless its shim reported that nothing is.
fn end_leftovers(site: &Site, sheet: &Sheet, part: &SessionDir) -> anyhow::Result<()> {
    let ended = process::read_exit(part.path())?.map(|report| report.agent);
    let is_swept = match &ended {
        Some(AgentEnd::Ended(run)) => run.survivors == 0,
        Some(AgentEnd::NotStarted { .. }) => true,
        None => false,
    };
    if is_swept {
        return Ok(());
    }
    let marker = Marker::new(site.run.clone(), sheet.ticket.clone());
    let swept = process::sweep(&marker, Some(&sheet.tree))?;
    if let Some(process) = swept.alive.first() {
        bail!(
            "process {} ({}) of the attempt cannot be ended",
            process.pid,
            process.comm
        );
    }
    Ok(())
}

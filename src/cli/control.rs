//! `orch stop`, `cancel`, `retry`, `skip`: a person's decision, given to the live run, or written into the ledger for
//! the next start where no orch lives.

use std::time::Instant;

use anyhow::anyhow;

use super::Out;
use super::args::{ControlArgs, RetryArgs, StopArgs};
use super::locate;
use crate::driver::{control, now};
use crate::engine::Engine;
use crate::engine::event::{Author, Control, Event, StopLevel, Verb};
use crate::engine::record::Record;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::ids::TaskId;
use crate::store::{Holder, Ledger, LockError, StateDir};

/// `orch stop`.
pub(super) fn stop(args: &StopArgs, out: &mut Out<'_>) -> Result<u8> {
    let state = locate::place()?.state;
    let control = decision(
        Verb::Stop {
            level: StopLevel::Drain,
        },
        args.note.as_deref(),
    );
    let Some(asked) = control::ask(&state.control_socket(), &control).or_environment()? else {
        return Err(Error::new(
            ErrorKind::Negative,
            anyhow!("no run is live in this repository"),
        )
        .hint("touch .stop beside the plan to keep the next run from starting"));
    };
    refused(asked.answer.refused.as_deref())?;
    out.talk("stopping: running tasks finish and land, no new one starts\n");
    if args.wait {
        asked.wait_for_end().or_environment()?;
    }
    Ok(0)
}

/// `orch cancel`.
pub(super) fn cancel(args: &ControlArgs, out: &mut Out<'_>) -> Result<u8> {
    give(
        Verb::Cancel {
            task: task(&args.task)?,
        },
        args.note.as_deref(),
        out,
    )
}

/// `orch skip`.
pub(super) fn skip(args: &ControlArgs, out: &mut Out<'_>) -> Result<u8> {
    give(
        Verb::Skip {
            task: task(&args.task)?,
        },
        args.note.as_deref(),
        out,
    )
}

/// `orch retry`.
pub(super) fn retry(args: &RetryArgs, out: &mut Out<'_>) -> Result<u8> {
    let verb = match &args.task {
        Some(id) => Verb::Retry {
            task: task(id)?,
            from: None,
        },
        None => Verb::RetryFailed,
    };
    give(verb, args.note.as_deref(), out)
}

fn task(id: &str) -> Result<TaskId> {
    TaskId::parse(id).map_err(|e| Error::usage(format!("`{id}` is not a task id: {e}")))
}

fn decision(verb: Verb, note: Option<&str>) -> Control {
    let name = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "somebody".to_owned());
    Control {
        verb,
        by: Author::Person(name),
        note: note.map(str::to_owned),
    }
}

fn refused(why: Option<&str>) -> Result<()> {
    match why {
        Some(why) => Err(Error::new(ErrorKind::Negative, anyhow!("{why}"))),
        None => Ok(()),
    }
}

fn give(verb: Verb, note: Option<&str>, out: &mut Out<'_>) -> Result<u8> {
    let state = locate::place()?.state;
    let control = decision(verb, note);
    if let Some(asked) = control::ask(&state.control_socket(), &control).or_environment()? {
        refused(asked.answer.refused.as_deref())?;
        out.talk("the live run follows\n");
        return Ok(0);
    }
    let asker = rustix::process::getpid();
    refused(
        control::refuse_agents(asker, state.path())
            .or_environment()?
            .as_deref(),
    )?;
    into_ledger(&state, control)?;
    out.talk("noted; the next `orch run` goes on from there\n");
    Ok(0)
}

/// Steps the latest run's engine once, without a loop around it: what it orders is found again by the next start.
fn into_ledger(state: &StateDir, control: Control) -> Result<()> {
    let chosen = locate::run(&super::args::RunChoice {
        plan: None,
        run: None,
    })?;
    let started = Instant::now();
    let holder = Holder {
        pid: std::process::id(),
        plan: chosen.run.plan_path.clone(),
        started: now(started).wall,
        run: Some(chosen.run.run.clone()),
    };
    let lock = state.lock(&holder).map_err(|e| match e {
        LockError::Held { .. } => Error::new(ErrorKind::Busy, e),
        LockError::Io { .. } => Error::new(ErrorKind::Environment, e),
    })?;
    let mut ledger = Ledger::open(lock).map_err(locate::unusable)?;
    let run = chosen.run.run;
    if ledger.reader().lost_records(&run).or_environment()? {
        return Err(Error::new(
            ErrorKind::Negative,
            anyhow!("run {run} is over: the ledger was rebuilt without all of its records"),
        )
        .hint("orch run                      begins a new run with what is left"));
    }
    let records = ledger.reader().records(&run).or_environment()?;
    let mut engine = Engine::replay(run.clone(), records).or_bug()?;
    let at = now(started);
    let effects = engine.step(Event::Control(control), at);
    let why = effects.records.iter().find_map(|r| match r {
        Record::Controlled { refused, .. } => refused.clone(),
        _ => None,
    });
    ledger
        .append(&run, effects.at, effects.records)
        .or_environment()?;
    refused(why.as_deref())
}

//! `orch stop`, `cancel`, `retry`, `hold` and the like: a person's decision, given to the live run, or written into the
//! ledger for the next start where no orch lives.

use std::time::Instant;

use anyhow::anyhow;
use serde_json::json;

use super::args::{
    ApproveArgs, ControlArgs, Deciding, DoneArgs, Format, JobsArgs, PauseArgs, PriorityArgs,
    RejectArgs, RetryArgs, RetryStart, StopArgs,
};
use super::locate::{self, Chosen};
use super::out::Out;
use crate::driver::crash::{self, Side};
use crate::driver::{control, now, signers};
use crate::engine::Engine;
use crate::engine::approval::Approves;
use crate::engine::event::{Author, Control, Event, StopLevel, Verb};
use crate::engine::record::Record;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::signature;
use crate::ids::{ObjectId, TaskId};
use crate::plan::graph::RetryFrom;
use crate::store::{Holder, Ledger, LockError, StateDir};

/// `orch stop`.
pub(super) fn stop(args: &StopArgs, out: &mut Out<'_>) -> Result<u8> {
    let state = locate::place()?.state;
    let control = decision(
        Verb::Stop {
            level: StopLevel::Drain,
        },
        args.note.as_deref(),
        None,
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

/// The decisions about one task that say nothing but which.
pub(super) fn of_task(
    args: &ControlArgs,
    verb: impl FnOnce(TaskId) -> Verb,
    out: &mut Out<'_>,
) -> Result<u8> {
    give(verb(task(&args.task)?), &args.deciding, None, out)
}

/// `orch pause` and `orch resume`.
pub(super) fn of_run(args: &PauseArgs, verb: Verb, out: &mut Out<'_>) -> Result<u8> {
    give(verb, &args.deciding, None, out)
}

/// `orch done`.
pub(super) fn done(args: &DoneArgs, out: &mut Out<'_>) -> Result<u8> {
    let commit = args.commit.as_deref().map(commit).transpose()?;
    let task = task(&args.task)?;
    give(Verb::MarkDone { task, commit }, &args.deciding, None, out)
}

/// `orch approve`.
pub(super) fn approve(args: &ApproveArgs, out: &mut Out<'_>) -> Result<u8> {
    let commit = args.commit.as_deref().map(commit).transpose()?;
    let task = task(&args.task)?;
    let verb = match args.signed {
        true => signed(task, commit)?,
        false => Verb::Approve {
            task,
            commit,
            signature: None,
        },
    };
    give(verb, &args.deciding, args.by.as_deref(), out)
}

/// An approval of what is asked for now, signed with the key that git signs with.
fn signed(task: TaskId, commit: Option<ObjectId>) -> Result<Verb> {
    let chosen = latest()?;
    let engine = locate::engine(&chosen)?;
    let Some(asked) = engine.asked(&task) else {
        let error = anyhow!("nothing of task {task} waits for approval");
        return Err(Error::new(ErrorKind::Negative, error).hint(format!("orch why {task}")));
    };
    let statement = asked.statement(&chosen.run.plan_id, &chosen.run.run, &task);
    let repository = locate::repository()?;
    let signature = signature::sign(repository.settings(), &statement).map_err(|error| {
        Error::new(ErrorKind::Environment, error).hint(
            "git config user.signingKey ~/.ssh/id_ed25519.pub    names the key, as for signed commits",
        )
    })?;
    // What is signed is what is approved, also if something else is asked for by then.
    let shown = match asked {
        Approves::Landing(shown) => Some(shown.commit.clone()),
        Approves::Start { .. } => None,
    };
    Ok(Verb::Approve {
        task,
        commit: commit.or(shown),
        signature: Some(signature),
    })
}

fn latest() -> Result<Chosen> {
    locate::run(&super::args::RunChoice {
        plan: None,
        run: None,
    })
}

/// `orch reject`.
pub(super) fn reject(args: &RejectArgs, out: &mut Out<'_>) -> Result<u8> {
    let task = task(&args.task)?;
    give(
        Verb::Reject { task },
        &args.deciding,
        args.by.as_deref(),
        out,
    )
}

/// A commit, by whatever name git knows it.
fn commit(typed: &str) -> Result<ObjectId> {
    let repo = locate::repository()?.open().or_environment()?;
    let object = repo.revparse_single(typed);
    let commit = object.and_then(|object| object.peel_to_commit());
    let commit = commit.map_err(|_| Error::usage(format!("`{typed}` names no commit")))?;
    Ok(ObjectId::new(commit.id().to_string()))
}

/// `orch retry`.
pub(super) fn retry(args: &RetryArgs, out: &mut Out<'_>) -> Result<u8> {
    let from = args.from.map(|from| match from {
        RetryStart::Fresh => RetryFrom::Base,
        RetryStart::Candidate => RetryFrom::Candidate,
    });
    let verb = match &args.task {
        Some(id) => Verb::Retry {
            task: task(id)?,
            from,
        },
        None => Verb::RetryFailed,
    };
    give(verb, &args.deciding, None, out)
}

/// `orch priority`.
pub(super) fn priority(args: &PriorityArgs, out: &mut Out<'_>) -> Result<u8> {
    let verb = Verb::Priority {
        task: task(&args.task)?,
        value: args.value,
    };
    give(verb, &args.deciding, None, out)
}

/// `orch jobs`.
pub(super) fn jobs(args: &JobsArgs, out: &mut Out<'_>) -> Result<u8> {
    give(Verb::Jobs { count: args.count }, &args.deciding, None, out)
}

fn task(id: &str) -> Result<TaskId> {
    TaskId::parse(id).map_err(|e| Error::usage(format!("`{id}` is not a task id: {e}")))
}

fn decision(verb: Verb, note: Option<&str>, by: Option<&str>) -> Control {
    Control {
        verb,
        by: Author::Person(by.map_or_else(person, str::to_owned)),
        note: note.map(str::to_owned),
    }
}

/// Who types: the user's name, else git's, else the user's number.
fn person() -> String {
    let of_git = || {
        let repo = git2::Repository::discover(".").ok()?;
        repo.config().ok()?.get_string("user.name").ok()
    };
    ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .chain(of_git())
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

fn refused(why: Option<&str>) -> Result<()> {
    match why {
        Some(why) => Err(Error::new(ErrorKind::Negative, anyhow!("{why}"))),
        None => Ok(()),
    }
}

/// Gives a decision to the live run, or to the ledger where none lives. `by`: who decides, if they say.
fn give(verb: Verb, deciding: &Deciding, by: Option<&str>, out: &mut Out<'_>) -> Result<u8> {
    let state = locate::place()?.state;
    let control = decision(verb, deciding.note.as_deref(), by);
    let asked = control::ask(&state.control_socket(), &control).or_environment()?;
    let is_live = asked.is_some();
    let why = match asked {
        Some(asked) => asked.answer.refused,
        None => {
            let asker = rustix::process::getpid();
            let by = control::author(asker, state.path(), control.by.clone()).or_environment()?;
            into_ledger(&state, Control { by, ..control })?
        }
    };
    if deciding.format == Format::Json {
        let answer =
            json!({ "format": 1, "followed": why.is_none(), "live": is_live, "refused": why });
        out.print(&format!("{answer}\n"))?;
    }
    refused(why.as_deref())?;
    out.talk(match is_live {
        true => "the live run follows\n",
        false => "noted; the next `orch run` goes on from there\n",
    });
    Ok(0)
}

/// Steps the latest run's engine once, without a loop around it: what it orders is found again by the next start. Gives
/// why it does not follow, if it does not.
fn into_ledger(state: &StateDir, control: Control) -> Result<Option<String>> {
    let chosen = latest()?;
    let started = Instant::now();
    let (plan, run) = (chosen.run.plan_path.clone(), chosen.run.run.clone());
    let holder = Holder::of_this_process(plan, now(started).wall, Some(run));
    let lock = state.lock(&holder).map_err(|e| match e {
        LockError::Held { .. } => Error::new(ErrorKind::Busy, e),
        LockError::Io { .. } => Error::new(ErrorKind::Environment, e),
    })?;
    let mut ledger = Ledger::open(lock).map_err(locate::unusable)?;
    let run = chosen.run.run.clone();
    if ledger.reader().lost_records(&run).or_environment()? {
        return Err(Error::new(
            ErrorKind::Negative,
            anyhow!("run {run} is over: the ledger was rebuilt without all of its records"),
        )
        .hint("orch run                      begins a new run with what is left"));
    }
    let records = ledger.reader().records(&run).or_environment()?;
    let signers = records.iter().rev().find_map(|s| match &s.record {
        Record::RunStarted(start) | Record::RunResumed { start } => Some(start.signers.clone()),
        _ => None,
    });
    let mut engine = Engine::replay(run.clone(), records).or_bug()?;
    let program = signature::program(locate::repository()?.settings());
    let signers = signers.flatten();
    let of = (&chosen.run.plan_id, &run);
    let refused = signers::refusal(&program, signers.as_ref(), of, &engine, &control);
    if let Some(why) = refused.or_environment()? {
        return Ok(Some(why));
    }
    let at = now(started);
    let effects = engine.step(Event::Control(control), at);
    let why = effects.records.iter().find_map(|r| match r {
        Record::Controlled { refused, .. } => refused.clone(),
        _ => None,
    });
    crash::pass(Side::Before, effects.records.iter());
    let kept = ledger
        .append(&run, effects.at, effects.records)
        .or_environment()?;
    crash::pass(Side::After, kept.records().iter());
    Ok(why)
}

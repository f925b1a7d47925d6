//! What the ledger derives from records, in the transaction that appends them.
//!
//! A projection that cannot be made is a contradiction between a record and what the ledger knows, and refuses the
//! record: here the laws "landed exactly once" and "counted once" are held by the database itself.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::layout::SessionPart;
use crate::engine::event::PlanRevision;
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::engine::usage::Usage;
use crate::ids::{ObjectId, RunId, TaskId, Ticket};
use crate::time::Wall;

/// A record in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'r> {
    pub(super) seq: u64,
    pub(super) run: &'r RunId,
    pub(super) at: Wall,
    pub(super) record: &'r Record,
}

impl<'r> From<&'r Stamped> for Placed<'r> {
    fn from(stamped: &'r Stamped) -> Self {
        Self {
            seq: stamped.seq,
            run: &stamped.run,
            at: stamped.at,
            record: &stamped.record,
        }
    }
}

/// Derives what follows from one record.
pub(super) fn project(tx: &Transaction<'_>, placed: &Placed<'_>) -> Result<(), Refusal> {
    let run = placed.run;
    match placed.record {
        Record::RunStarted(start) => accept_specs(tx, run, &start.revision),
        Record::RunResumed { start } => {
            reopen(tx, run)?;
            accept_specs(tx, run, &start.revision)
        }
        // A run with work to do is not over: the next start goes on with it.
        Record::Reopened { .. } => Ok(reopen(tx, run)?),
        Record::PlanAccepted { revision } => accept_specs(tx, run, revision),
        Record::AttemptStarted { ticket, .. } => begin_attempt(tx, run, ticket),
        Record::AgentStarting {
            ticket,
            asks_status,
            continues,
            ..
        } => {
            let continued = continues.map_or(0, |continuation| continuation.number);
            set_part(tx, run, ticket, SessionPart::of(*asks_status, continued))
        }
        Record::Collected { ticket, usage, .. } => count_usage(tx, run, ticket, usage),
        Record::Landed {
            ticket,
            commit,
            verified,
            generation,
        } => add_landing(tx, placed, ticket, commit, *verified, *generation),
        Record::RunEnded { outcome } => end(tx, placed, *outcome),
        Record::LandingFound { task, commit, .. } => find_landing(tx, placed, task, commit),
        Record::LedgerRebuilt { .. } => end(tx, placed, Outcome::Environment),
        Record::AgentEnded { .. }
        | Record::SessionDropped { .. }
        | Record::Observed { .. }
        | Record::Limited { .. }
        | Record::LimitLifted { .. }
        | Record::BreakerOpened { .. }
        | Record::BreakerClosed
        | Record::Building { .. }
        | Record::ConflictsAnswered { .. }
        | Record::Resolving { .. }
        | Record::Verifying { .. }
        | Record::StartAsked { .. }
        | Record::ApprovalAsked { .. }
        | Record::ApprovalLapsed { .. }
        | Record::EvidenceLooked { .. }
        | Record::Verified { .. }
        | Record::Baselined { .. }
        | Record::Smoked(_)
        | Record::NotLandable { .. }
        | Record::LandingIntended { .. }
        | Record::LandingMissed { .. }
        | Record::Settled { .. }
        | Record::Superseded { .. }
        | Record::WaitEnded { .. }
        | Record::Salvaged { .. }
        | Record::Discarded { .. }
        | Record::Controlled { .. }
        | Record::Stopping { .. }
        | Record::TargetRewritten { .. }
        | Record::RunFailed { .. } => Ok(()),
    }
}

/// Derives what follows from all records. Of a run some of whose records are gone, what does not follow without them is
/// left out.
pub(super) fn project_all(tx: &Transaction<'_>, all: &[Stamped]) -> Result<(), Refusal> {
    let rebuilt: BTreeSet<&RunId> = all
        .iter()
        .filter(|stamped| matches!(stamped.record, Record::LedgerRebuilt { .. }))
        .map(|stamped| &stamped.run)
        .collect();
    for stamped in all {
        match project(tx, &stamped.into()) {
            Err(Refusal::Contradiction(_)) if rebuilt.contains(&stamped.run) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Why a record was refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// SQLite could not.
    Sqlite(rusqlite::Error),
    /// The record cannot be true.
    Contradiction(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Turns a broken constraint into the sentence that it stands for.
pub(super) fn contradiction(
    what: impl FnOnce() -> String,
) -> impl FnOnce(rusqlite::Error) -> Refusal {
    move |error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => Refusal::Contradiction(what()),
        _ => Refusal::Sqlite(error),
    }
}

fn end(tx: &Transaction<'_>, placed: &Placed<'_>, outcome: Outcome) -> Result<(), Refusal> {
    tx.prepare_cached("UPDATE runs SET ended_ms = ?2, outcome = ?3 WHERE run_id = ?1")?
        .execute(params![placed.run.as_str(), placed.at.0, word_of(outcome)])?;
    Ok(())
}

fn reopen(tx: &Transaction<'_>, run: &RunId) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE runs SET ended_ms = NULL, outcome = NULL WHERE run_id = ?1")?
        .execute([run.as_str()])
        .map(drop)
}

fn accept_specs(tx: &Transaction<'_>, run: &RunId, revision: &PlanRevision) -> Result<(), Refusal> {
    tx.prepare_cached("DELETE FROM specs WHERE run_id = ?1")?
        .execute([run.as_str()])?;
    let mut insert =
        tx.prepare_cached("INSERT INTO specs (run_id, task, spec_hash) VALUES (?1, ?2, ?3)")?;
    for node in &revision.graph.nodes {
        insert
            .execute([run.as_str(), node.id.as_str(), &node.spec_hash])
            .map_err(contradiction(|| {
                format!("the plan has task {} twice", node.id)
            }))?;
    }
    Ok(())
}

/// The attempt works on what the plan asks for now, whatever the plan becomes later.
fn begin_attempt(tx: &Transaction<'_>, run: &RunId, ticket: &Ticket) -> Result<(), Refusal> {
    let added = tx
        .prepare_cached(
            "INSERT INTO attempts (run_id, task, attempt, spec_hash, part)
             SELECT run_id, task, ?3, spec_hash, 'work' FROM specs WHERE run_id = ?1 AND task = ?2",
        )?
        .execute(params![run.as_str(), ticket.task.as_str(), ticket.attempt])
        .map_err(contradiction(|| format!("attempt {ticket} started twice")))?;
    one_row(added, || {
        format!("attempt {ticket} started of a task that the plan does not have")
    })
}

fn set_part(
    tx: &Transaction<'_>,
    run: &RunId,
    ticket: &Ticket,
    part: SessionPart,
) -> Result<(), Refusal> {
    let changed = tx
        .prepare_cached(
            "UPDATE attempts SET part = ?4 WHERE run_id = ?1 AND task = ?2 AND attempt = ?3",
        )?
        .execute(params![
            run.as_str(),
            ticket.task.as_str(),
            ticket.attempt,
            part.word()
        ])?;
    one_row(changed, || {
        format!("an agent of attempt {ticket} started before the attempt")
    })
}

fn count_usage(
    tx: &Transaction<'_>,
    run: &RunId,
    ticket: &Ticket,
    usage: &Usage,
) -> Result<(), Refusal> {
    // SQLite counts to 2^63; what an agent program reports beyond that is no count, and must not stop a run.
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let added = tx
        .prepare_cached(
            "INSERT INTO usage SELECT run_id, task, attempt, part, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
             FROM attempts WHERE run_id = ?1 AND task = ?2 AND attempt = ?3",
        )?
        .execute(params![
            run.as_str(),
            ticket.task.as_str(),
            ticket.attempt,
            count(usage.input_tokens),
            count(usage.output_tokens),
            count(usage.cache_read_tokens),
            count(usage.cache_creation_tokens),
            count(usage.cost.0),
            usage.unpriced_sessions,
            usage.sessions,
            usage.turns,
            count(usage.api_ms),
        ])
        .map_err(contradiction(|| {
            format!("a session of attempt {ticket} was counted twice")
        }))?;
    one_row(added, || {
        format!("attempt {ticket} was collected and never started")
    })
}

fn add_landing(
    tx: &Transaction<'_>,
    placed: &Placed<'_>,
    ticket: &Ticket,
    commit: &ObjectId,
    verified: bool,
    generation: u32,
) -> Result<(), Refusal> {
    let run = placed.run.as_str();
    let task = ticket.task.as_str();
    let seq = placed.seq.cast_signed();
    let reopened: i64 = tx
        .prepare_cached(
            "SELECT count(*) FROM records
             WHERE run_id = ?1 AND task = ?2 AND kind = 'reopened' AND seq < ?3",
        )?
        .query_row(params![run, task, seq], |row| row.get(0))?;
    if ![1, reopened + 1].contains(&i64::from(generation)) {
        return Err(Refusal::Contradiction(format!(
            "attempt {ticket} landed in generation {generation}, and the task was reopened {reopened} times"
        )));
    }
    let spec_hash: Option<String> = tx
        .prepare_cached(
            "SELECT spec_hash FROM attempts WHERE run_id = ?1 AND task = ?2 AND attempt = ?3",
        )?
        .query_row(params![run, task, ticket.attempt], |row| row.get(0))
        .optional()?;
    let Some(spec_hash) = spec_hash else {
        return Err(Refusal::Contradiction(format!(
            "attempt {ticket} landed and never started"
        )));
    };
    tx.prepare_cached(
        "INSERT INTO landings
            (seq, run_id, task, generation, spec_hash, plan_id, target_ref, commit_id, verified)
         SELECT ?2, run_id, ?3, ?4, ?5, plan_id, target_ref, ?6, ?7 FROM runs WHERE run_id = ?1",
    )?
    .execute(params![
        run,
        seq,
        task,
        reopened + 1,
        spec_hash,
        commit.as_str(),
        verified
    ])
    .map_err(contradiction(|| {
        format!("task {task} landed twice in run {run}")
    }))?;
    Ok(())
}

/// A landing that only the history tells of: what was asked for is what the plan asked for last, as far as that is known.
fn find_landing(
    tx: &Transaction<'_>,
    placed: &Placed<'_>,
    task: &TaskId,
    commit: &ObjectId,
) -> Result<(), Refusal> {
    tx.prepare_cached(
        "INSERT INTO landings
            (seq, run_id, task, generation, spec_hash, plan_id, target_ref, commit_id, verified)
         SELECT ?2, run_id, ?3,
            (SELECT count(*) + 1 FROM landings l WHERE l.run_id = ?1 AND l.task = ?3),
            coalesce((SELECT spec_hash FROM specs s WHERE s.run_id = ?1 AND s.task = ?3), 'unknown'),
            plan_id, target_ref, ?4, 0
         FROM runs WHERE run_id = ?1
            AND NOT EXISTS (SELECT 1 FROM landings l WHERE l.run_id = ?1 AND l.commit_id = ?4)",
    )?
    .execute(params![
        placed.run.as_str(),
        placed.seq.cast_signed(),
        task.as_str(),
        commit.as_str()
    ])
    .map_err(contradiction(|| format!("task {task} landed twice")))?;
    Ok(())
}

fn one_row(rows: usize, otherwise: impl FnOnce() -> String) -> Result<(), Refusal> {
    match rows {
        1 => Ok(()),
        _ => Err(Refusal::Contradiction(otherwise())),
    }
}

fn word_of(outcome: Outcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("an outcome is written as one word, not {other:?}"),
    }
}

//! What follows the end of an attempt: its row of the table, within the limits around it.

use super::ending::{AttemptEnd, Ending};
use super::event::Collected;
use super::policy::{CONFLICTS_MAX, STREAK_MAX};
use super::record::{Charge, Next};
use super::table::Retry;
use super::task::Task;
use crate::plan::graph::{RetryFrom, TaskKind};
use crate::time::{Now, Wall};

/// The first back-off; each further one in a row doubles.
const BACKOFF_MS: u64 = 1_000;

/// The longest back-off.
const BACKOFF_MAX_MS: u64 = 60_000;

/// The `n`th back-off in a row, from 1.
pub(super) fn backoff_ms(n: u32) -> u64 {
    BACKOFF_MS
        .saturating_mul(1 << n.saturating_sub(1).min(16))
        .min(BACKOFF_MAX_MS)
}

/// The end of a collected attempt as the engine sees it: a report task that left no text has not done its work.
pub(super) fn judged_end(kind: TaskKind, left: &Collected) -> AttemptEnd {
    match kind {
        TaskKind::Report
            if left.end.ending.row().is_done()
                && left.candidate.is_none()
                && left.report.is_none() =>
        {
            AttemptEnd::new(
                Ending::BadStatus,
                "a report task ends with a text, and this one left none",
            )
        }
        TaskKind::Report | TaskKind::Change => left.end.clone(),
    }
}

/// What an ended attempt leaves to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Its agent never started; the next attempt starts from where this one should have.
    AsBefore(RetryFrom),
    /// A candidate.
    Candidate,
    /// Nothing.
    Nothing,
}

/// What follows an attempt of `task` that ended as `end`; `demanded` if a person or the stop had orch end it.
pub(super) fn next(task: &Task, end: Ending, leaves: Leaves, demanded: bool, now: Now) -> Next {
    let row = end.row();
    if row.is_done() {
        return match leaves {
            Leaves::Candidate => Next::Land,
            Leaves::AsBefore(_) | Leaves::Nothing => Next::Complete,
        };
    }
    let charge = if row.stops || demanded && end == Ending::Interrupted {
        Charge::Nothing
    } else if row.retry == Retry::AfterLimit {
        within_limit(task, Charge::Streak)
    } else {
        within_limit(task, row.counts)
    };
    if charge == Charge::Attempt && task.spent + 1 >= task.node.max_attempts {
        return Next::Fail { charge };
    }
    let from = match leaves {
        Leaves::AsBefore(from) => from,
        Leaves::Candidate => wished(task, end, row.from),
        Leaves::Nothing => RetryFrom::Base,
    };
    Next::Retry {
        at: (charge == Charge::Streak).then(|| pause_until(now, task.streak + 1)),
        charge,
        from,
    }
}

/// Where an attempt starts after a candidate was left: as the plan says, else as the policy table does.
fn wished(task: &Task, end: Ending, by_policy: RetryFrom) -> RetryFrom {
    match task.node.retry_from {
        // On the candidate's old base the next attempt would run into the same conflict.
        Some(_) if end == Ending::Conflict => by_policy,
        Some(wished) => wished,
        None => by_policy,
    }
}

/// Where a task starts that a person reopens without saying where.
pub(super) fn restart(task: &Task) -> RetryFrom {
    match (&task.last_end, &task.candidate) {
        (Some(end), Some(_)) if !task.satisfies() && !end.ending.row().is_done() => {
            wished(task, end.ending, end.ending.row().from)
        }
        (None | Some(_), _) => RetryFrom::Base,
    }
}

fn within_limit(task: &Task, charge: Charge) -> Charge {
    match charge {
        Charge::Streak if task.streak >= STREAK_MAX => Charge::Attempt,
        Charge::Conflict if task.conflicts >= CONFLICTS_MAX => Charge::Attempt,
        Charge::Attempt | Charge::Streak | Charge::Conflict | Charge::Nothing => charge,
    }
}

/// The end of the `n`th pause in a row that begins now.
pub(super) fn pause_until(now: Now, n: u32) -> Wall {
    now.wall.plus_ms(backoff_ms(n))
}

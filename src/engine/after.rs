//! What follows the end of an attempt: its row of the table, within the limits around it.

use super::chance;
use super::ending::{AttemptEnd, Ending};
use super::event::Collected;
use super::next::{Charge, Next};
use super::policy::{CONFLICTS_MAX, Policy, STREAK_MAX};
use super::state::State;
use super::table::Retry;
use super::task::Task;
use crate::plan::graph::{RetryFrom, TaskKind};
use crate::time::Now;

impl Policy {
    /// The `n`th back-off in a row, from 1, at its longest.
    pub fn backoff_ms(&self, n: u32) -> u64 {
        self.backoff_base_ms
            .saturating_mul(1 << n.saturating_sub(1).min(32))
            .min(self.backoff_max_ms)
    }
}

/// The end of a collected attempt as the engine sees it: a report task that left no text has not done its work, nor has
/// a session that resolved a conflict to nothing.
pub(super) fn judged_end(task: &Task, left: &Collected) -> AttemptEnd {
    let is_done = left.end.ending.row().is_done();
    if task.is_resolving() && is_done && left.candidate.is_none() {
        let detail = "the session that was to resolve the conflict left nothing";
        return AttemptEnd::new(Ending::Conflict, detail);
    }
    match task.node.kind {
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

/// What an ended attempt leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub leaves: Leaves,
    /// Whether a person or the stop had orch end it.
    pub demanded: bool,
    /// Whether its session may go on in its slot.
    pub may_continue: bool,
}

/// What follows an attempt of `task` that ended as `end`.
pub(super) fn next(state: &State, task: &Task, end: Ending, fate: Fate, now: Now) -> Next {
    let row = end.row();
    if row.is_done() {
        return match fate.leaves {
            Leaves::Candidate => Next::Land,
            Leaves::AsBefore(_) | Leaves::Nothing => Next::Complete,
        };
    }
    let stops = row.stops && !state.worked;
    let charge = match stops || fate.demanded && end == Ending::Interrupted {
        true => Charge::Nothing,
        false => within_limit(task, row.counts),
    };
    // Whoever resolves a conflict is nobody's attempt at the task.
    let is_answer = matches!(charge, Charge::Attempt | Charge::Conflict);
    let charge = match is_answer && task.is_resolving() {
        true => Charge::Nothing,
        false => charge,
    };
    if charge == Charge::Attempt && task.spent + 1 >= task.node.max_attempts {
        return Next::Fail { charge };
    }
    // An attempt that is spent is over.
    if row.continues && fate.may_continue && charge != Charge::Attempt {
        return Next::Continue { charge };
    }
    let from = match fate.leaves {
        Leaves::AsBefore(from) => from,
        // A session that could not work has said nothing about the conflict: it is asked about once more. After one that
        // did not get there, the task is done again.
        _ if task.is_resolving() && is_answer => RetryFrom::Base,
        _ if task.is_resolving() => RetryFrom::Candidate,
        Leaves::Candidate => wished(task, end, row.from),
        Leaves::Nothing => RetryFrom::Base,
    };
    let backs_off = row.retry == Retry::Backoff && charge != Charge::Nothing;
    Next::Retry {
        at: backs_off.then(|| {
            let most = state.policy.backoff_ms(task.streak + task.spent + 1);
            let pause = chance::up_to(most, &state.run, &task.node.id, task.attempt);
            now.wall.plus_ms(pause)
        }),
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
    match (&task.past().last_end, &task.past().candidate) {
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

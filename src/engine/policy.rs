//! What follows the end of an attempt: one row for each way to end, and the limits around them.

use super::ending::{AttemptEnd, Ending};
use super::event::Collected;
use super::record::{Charge, Next};
use super::task::Task;
use crate::plan::graph::{RetryFrom, TaskKind};
use crate::time::{Now, Wall};

/// Uncounted ends in a row, per task; from the next one on they are counted, so that an attempt that takes its machine
/// down with it cannot go on for ever.
pub const STREAK_MAX: u32 = 3;

/// Conflicts that cost no attempt, per task: whoever loses a race to the target twice has only been unlucky.
pub const CONFLICTS_MAX: u32 = 2;

/// Landing tries at once while the target keeps moving; later ones wait first.
pub const MISSES_AT_ONCE_MAX: u32 = 5;

/// Landing tries that git or the disk may refuse, each after a pause; one more stops the run.
pub const TROUBLES_MAX: u32 = 3;

/// The first back-off; each further one in a row doubles.
pub const BACKOFF_MS: u64 = 1_000;

/// The longest back-off.
pub const BACKOFF_MAX_MS: u64 = 60_000;

/// Earlier ends that are kept for the next attempt's prompt; older ones no longer help.
pub const EVIDENCE_MAX: usize = 8;

/// What follows one way to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The work lands, or the task is completed without a commit.
    Done,
    /// Another attempt, as long as there are any.
    Again {
        /// What the end costs, within the limit of that charge.
        charge: Charge,
        /// Where the next attempt starts unless the plan says otherwise.
        from: RetryFrom,
    },
    /// The run stops, for the next attempt would end the same; this one costs nothing.
    StopRun,
}

/// The policy table.
pub fn after(ending: Ending) -> After {
    let again = |charge, from| After::Again { charge, from };
    match ending {
        Ending::Success | Ending::NoChange => After::Done,
        Ending::AgentFailed
        | Ending::NoStatus
        | Ending::BadStatus
        | Ending::VerifyFailed
        | Ending::UsageLimit
        | Ending::Throttled
        | Ending::Context
        | Ending::Turns
        | Ending::Budget
        | Ending::Refused
        | Ending::Denied
        | Ending::Timeout
        | Ending::Stalled
        | Ending::NoFirstEvent
        | Ending::OutputFlood => again(Charge::Attempt, RetryFrom::Candidate),
        Ending::PlanEditInvalid | Ending::OutOfScope => again(Charge::Attempt, RetryFrom::Base),
        Ending::Conflict => again(Charge::Conflict, RetryFrom::Base),
        Ending::Crashed => again(Charge::Streak, RetryFrom::Base),
        Ending::Interrupted => again(Charge::Streak, RetryFrom::Candidate),
        Ending::Auth | Ending::Billing | Ending::Environment => After::StopRun,
    }
}

/// The `n`th back-off in a row, from 1.
pub fn backoff_ms(n: u32) -> u64 {
    BACKOFF_MS
        .saturating_mul(1 << n.saturating_sub(1).min(16))
        .min(BACKOFF_MAX_MS)
}

/// The end of a collected attempt as the engine sees it: a report task that left no text has not done its work.
pub(super) fn judged_end(kind: TaskKind, left: &Collected) -> AttemptEnd {
    match kind {
        TaskKind::Report
            if after(left.end.ending) == After::Done
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
    let (charge, from) = match after(end) {
        After::Done if leaves == Leaves::Candidate => return Next::Land,
        After::Done => return Next::Complete,
        After::StopRun => (Charge::Nothing, RetryFrom::Candidate),
        After::Again { from, .. } if demanded && end == Ending::Interrupted => {
            (Charge::Nothing, from)
        }
        After::Again { charge, from } => (within_limit(task, charge), from),
    };
    if charge == Charge::Attempt && task.spent + 1 >= task.node.max_attempts {
        return Next::Fail { charge };
    }
    let from = match leaves {
        Leaves::AsBefore(from) => from,
        Leaves::Candidate => wished(task, end, from),
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
        (Some(end), Some(_)) if !task.satisfies() => match after(end.ending) {
            After::Again { from, .. } => wished(task, end.ending, from),
            After::StopRun => wished(task, end.ending, RetryFrom::Candidate),
            After::Done => RetryFrom::Base,
        },
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

//! What a person reads when a run has ended: the table, and the ways on.

use std::path::Path;

use super::out::Out;
use crate::engine::Engine;
use crate::engine::outcome::Outcome;
use crate::engine::view::{TaskState, Wait};
use crate::error::Result;
use crate::report::summary::{self, Shown};

/// Failed tasks that are named with commands of their own.
const FAILED_SHOWN: usize = 3;
/// Waiting tasks that are named with what they wait for.
const WAITING_SHOWN: usize = 10;

/// Prints the table to stdout and the ways on to stderr.
///
/// `stop_file`: the file that would keep the next run from starting, if there is one.
pub(super) fn print(
    engine: &Engine,
    outcome: Outcome,
    stop_file: Option<&Path>,
    out: &mut Out<'_>,
) -> Result<()> {
    let text = summary::text(engine, Shown::OfTheRun, false, out.paint);
    out.print(&format!("\n{text}"))?;
    let ways = ways_on(engine, outcome, stop_file);
    if !ways.is_empty() {
        out.talk("\n");
    }
    for way in ways {
        out.talk(&format!("hint: {way}\n"));
    }
    Ok(())
}

fn ways_on(engine: &Engine, outcome: Outcome, stop_file: Option<&Path>) -> Vec<String> {
    match outcome {
        Outcome::Failed => {
            let failed = engine.tasks().filter(|v| v.state == TaskState::Failed);
            let mut ways: Vec<String> = failed
                .take(FAILED_SHOWN)
                .map(|v| format!("orch show {0}; orch logs {0}", v.node.id))
                .collect();
            if !ways.is_empty() {
                ways.push(
                    "orch retry --failed && orch run     gives failed tasks fresh attempts"
                        .to_owned(),
                );
            }
            if engine.run().has_red_smoke {
                ways.push(
                    "mend it on the target, or add a task that does; `orch run` then asks the smoke commands again"
                        .to_owned(),
                );
            }
            let cancelled = engine.tasks().filter(|v| v.state == TaskState::Cancelled);
            ways.extend(cancelled.take(FAILED_SHOWN).map(|v| {
                format!(
                    "orch retry {0} && orch run     takes {0} up again",
                    v.node.id
                )
            }));
            ways
        }
        Outcome::Stopped => vec![match stop_file {
            Some(file) => format!(
                "orch run --clear-stop               removes {} and goes on",
                file.display()
            ),
            None => "orch run                            goes on".to_owned(),
        }],
        Outcome::WaitingForPerson if engine.run().target_rewritten => rewritten(engine),
        Outcome::WaitingForPerson => waiting(engine),
        Outcome::Stuck => engine
            .tasks()
            .filter(|v| matches!(v.state, TaskState::Pending | TaskState::Waiting { .. }))
            .take(FAILED_SHOWN)
            .map(|v| format!("orch why {}", v.node.id))
            .collect(),
        Outcome::LimitReached => {
            let mut ways: Vec<String> = engine
                .tasks()
                .filter(|v| matches!(v.state, TaskState::Waiting { .. }))
                .take(FAILED_SHOWN)
                .map(|v| format!("{}: {}", v.node.id, engine.why(&v.node.id).join("; ")))
                .collect();
            ways.push("orch run                            goes on, once there is more or the limit is over".to_owned());
            ways
        }
        Outcome::Environment => vec!["mend it, then `orch run` goes on".to_owned()],
        Outcome::Completed
        | Outcome::Invalid
        | Outcome::Busy
        | Outcome::Bug
        | Outcome::Abandoned => Vec::new(),
    }
}

/// What each task that waits for a person waits for.
fn waiting(engine: &Engine) -> Vec<String> {
    let waiting = engine.tasks().filter(|v| {
        matches!(
            v.state,
            TaskState::Waiting {
                reason: Wait::Release | Wait::Clearance | Wait::Approval | Wait::Evidence,
                ..
            }
        )
    });
    let mut ways: Vec<String> = waiting
        .take(WAITING_SHOWN)
        .map(|v| format!("{}: {}", v.node.id, engine.why(&v.node.id).join("; ")))
        .collect();
    ways.push("orch run                            goes on then".to_owned());
    ways
}

/// The three ways out of a target that lost what was landed.
fn rewritten(engine: &Engine) -> Vec<String> {
    let run = engine.run();
    let branch = run.target.short();
    let tip = run.tip.map_or("", |t| t.as_str());
    vec![
        format!(
            "git branch -f {branch} {tip}     puts the landed commits back, if nothing is to be kept of where it stands"
        ),
        format!("git switch {branch} && git merge {tip}     brings them into where it stands now"),
        "orch retry TASK for each task that is to be done again, then orch run".to_owned(),
    ]
}

//! A run as a table or as JSON: for `orch status` and for the end of `orch run`.

use serde_json::{Value, json};

use super::lines;
use super::paint::{Paint, in_one_line, quoted};
use super::{bounds, table};
use crate::engine::Engine;
use crate::engine::event::StopLevel;
use crate::engine::usage::Usage;
use crate::engine::view::{Completion, Stage, TaskState, TaskView, Wait};
use crate::time::Wall;

/// Version of the JSON form; grows when a field changes its meaning or goes away.
const FORMAT: u32 = 1;

/// The state in one or two words: `completed`, `running (executing)`.
pub fn state_in_words(state: &TaskState) -> String {
    match state {
        TaskState::Running(stage) => format!("running ({})", stage_in_words(*stage)),
        TaskState::Waiting { reason, .. } => format!("waiting ({})", wait_in_words(*reason)),
        TaskState::Completed { how, verified, .. } => match how {
            Completion::Landed if *verified => "landed".to_owned(),
            Completion::Landed => "landed, unverified".to_owned(),
            Completion::NoChange => "completed (no change)".to_owned(),
            Completion::Report => "completed (report)".to_owned(),
            Completion::Believed => "completed (says the plan)".to_owned(),
            Completion::LandedBefore => "completed (earlier run)".to_owned(),
            Completion::MarkedDone => "completed (says a person)".to_owned(),
        },
        TaskState::Blocked { by } => format!("blocked by {by}"),
        TaskState::LeftOut => "left out".to_owned(),
        other => word(other).to_owned(),
    }
}

fn was_done_before(state: &TaskState) -> bool {
    matches!(
        state,
        TaskState::Completed {
            how: Completion::Believed | Completion::LandedBefore,
            ..
        }
    )
}

/// The state's word, for scripts.
pub fn word(state: &TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Ready => "ready",
        TaskState::Running(_) => "running",
        TaskState::Waiting { .. } => "waiting",
        TaskState::Landing => "landing",
        TaskState::Completed { .. } => "completed",
        TaskState::Failed => "failed",
        TaskState::Skipped => "skipped",
        TaskState::Blocked { .. } => "blocked",
        TaskState::Cancelled => "cancelled",
        TaskState::LeftOut => "left_out",
        TaskState::Removed => "removed",
        TaskState::Reverted => "reverted",
    }
}

/// A stage's word.
pub fn stage_in_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Preparing => "preparing",
        Stage::Executing => "executing",
        Stage::Collecting => "collecting",
        Stage::Verifying => "verifying",
    }
}

fn wait_in_words(wait: Wait) -> &'static str {
    match wait {
        Wait::Backoff => "back-off",
        Wait::Limit => "limit",
        Wait::Breaker => "breaker",
        Wait::Budget => "budget",
        Wait::Resume => "paused",
        Wait::Release => "held",
        Wait::Approval => "approval",
        Wait::Evidence => "evidence",
        Wait::Clearance => "your checkout",
    }
}

/// Which tasks a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All of the plan.
    All,
    /// Those that were not done when the run began; the others are counted.
    OfTheRun,
}

/// The run as text: a head, the table of tasks, what people should know. `live` says whether an orch works on it now.
pub fn text(engine: &Engine, shown: Shown, live: bool, paint: Paint) -> String {
    let run = engine.run();
    let state = match (run.ended, live) {
        (Some(outcome), _) => outcome.in_words().to_owned(),
        (None, true) if run.stop > StopLevel::Running => {
            "stopping: what runs finishes, nothing new starts".to_owned()
        }
        (None, true) if run.paused => "paused: nothing new starts until `orch resume`".to_owned(),
        (None, true) => "running".to_owned(),
        (None, false) => "interrupted; `orch run` goes on with it".to_owned(),
    };
    let mut out = format!(
        "{}  {} -> {}  {}\n\n",
        paint.bold(run.run.as_str()),
        run.plan,
        run.target.short(),
        state
    );
    let mut heads = vec![
        "task",
        "state",
        "attempt",
        "since",
        "cost",
        "tokens in/out",
        "name",
    ];
    let shown = |view: &TaskView<'_>| shown == Shown::All || !was_done_before(&view.state);
    let mut rows: Vec<Vec<String>> = engine.tasks().filter(shown).map(|v| row(&v)).collect();
    if run.policy.ladder.enabled {
        let at = heads.len() - 1;
        heads.insert(at, "model");
        for (row, view) in rows.iter_mut().zip(engine.tasks().filter(shown)) {
            row.insert(at, view.model.unwrap_or_else(|| "default".to_owned()));
        }
    }
    out.push_str(&table::render(&heads, &rows, paint));
    match engine.tasks().filter(|view| !shown(view)).count() {
        0 => {}
        1 => out.push_str("1 more was done before; `orch status` lists it too\n"),
        n => out.push_str(&format!(
            "{n} more were done before; `orch status` lists them too\n"
        )),
    }
    for view in engine.tasks() {
        if let Some(reason) = reason(engine, &view) {
            let reason = quoted(&reason);
            out.push_str(&format!("\n{}: {reason}", paint.bad(view.node.id.as_str())));
        }
    }
    for (task, told) in engine
        .tasks()
        .flat_map(|view| view.meanwhile.iter().map(move |told| (&view.node.id, told)))
    {
        let told = quoted(told);
        out.push_str(&format!("\n{}: {told}", paint.bad(task.as_str())));
    }
    if let Some(tip) = run.smoke_passed {
        out.push_str(&format!(
            "\n{} on {}",
            paint.good("smoke passed"),
            tip.short()
        ));
    }
    if let Some(failure) = run.failure {
        out.push_str(&format!("\n{}", paint.bad(failure)));
    }
    if let Some((cause, until)) = run.breaker.filter(|_| live) {
        let tries = lines::tries_again(&format!("at {}", since(until)));
        out.push_str(&format!(
            "\n{} {cause}; {tries}",
            paint.bad("nothing new starts:")
        ));
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    let bounds = bounds::text(engine, paint);
    if !bounds.is_empty() {
        out.push_str(&format!("\n{bounds}"));
    }
    out.push_str(&format!("\n{}\n", totals(engine)));
    out
}

/// `8 tasks: 6 completed (landed, unverified), 1 failed, 1 blocked. ~$0.37 (API-equivalent), unconfined.`
pub fn totals(engine: &Engine) -> String {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    let mut total = 0;
    let mut unverified = 0;
    for view in engine.tasks() {
        total += 1;
        unverified += usize::from(matches!(
            view.state,
            TaskState::Completed {
                how: Completion::Landed,
                verified: false,
                ..
            }
        ));
        let word = word(&view.state);
        match counts.iter_mut().find(|(w, _)| *w == word) {
            Some((_, n)) => *n += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(w, n)| format!("{n} {}", w.replace('_', " ")))
        .collect();
    let usage = engine.run().usage;
    let tasks = match total {
        1 => "1 task".to_owned(),
        n => format!("{n} tasks"),
    };
    let mut text = format!("{tasks}: {}.", counts.join(", "));
    if unverified > 0 {
        text.push_str(&format!(
            " {unverified} landed unverified (no required verify command)."
        ));
    }
    if usage.sessions > 0 {
        let unknown = match usage.unpriced_sessions {
            1 => "1 session of unknown cost".to_owned(),
            n => format!("{n} sessions of unknown cost"),
        };
        let known = format!("~{} API-equivalent", usage.cost);
        let cost = match usage.unpriced_sessions {
            0 => known,
            n if n == usage.sessions => unknown,
            _ => format!("{known}, and {unknown}"),
        };
        let tokens = match tokens_in(&usage) + usage.output_tokens {
            0 if usage.unpriced_sessions == usage.sessions => String::new(),
            _ => format!(
                ", {} tokens in, {} out",
                tokens_in(&usage),
                usage.output_tokens
            ),
        };
        text.push_str(&format!(" {cost}{tokens}."));
    }
    text.push_str(" Agents ran unconfined.");
    text
}

pub(super) fn tokens_in(usage: &Usage) -> u64 {
    usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
}

/// The state, with the place in the landing queue of those that are not the first.
fn place_in_words(view: &TaskView<'_>) -> String {
    let state = state_in_words(&view.state);
    match view.queue_position {
        Some(place) if place > 1 => format!("{state}, number {place} to land"),
        Some(_) | None => state,
    }
}

fn row(view: &TaskView<'_>) -> Vec<String> {
    let attempt = match (view.attempt, view.spent) {
        (0, _) => String::new(),
        (1, 0) => "1".to_owned(),
        (n, spent) => format!("{n} ({spent}/{} failed)", view.node.max_attempts),
    };
    let usage = &view.usage;
    let tokens = match tokens_in(usage) + usage.output_tokens {
        0 => String::new(),
        _ => format!(
            "{}/{}",
            rounded(tokens_in(usage)),
            rounded(usage.output_tokens)
        ),
    };
    let cost = if view.usage.sessions == 0 {
        String::new()
    } else {
        cost_of(view)
    };
    vec![
        view.node.id.to_string(),
        place_in_words(view),
        attempt,
        since(view.since),
        cost,
        tokens,
        in_one_line(&view.node.name),
    ]
}

/// `950`, `12.3k`, `4.5M`.
pub(super) fn rounded(tokens: u64) -> String {
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..1_000_000 => format!("{}.{}k", tokens / 1_000, tokens % 1_000 / 100),
        _ => format!("{}.{}M", tokens / 1_000_000, tokens % 1_000_000 / 100_000),
    }
}

fn cost_of(view: &TaskView<'_>) -> String {
    match view.usage.unpriced_sessions {
        0 => format!("~{}", view.usage.cost),
        n if n == view.usage.sessions => "unknown".to_owned(),
        _ => format!("~{} + unknown", view.usage.cost),
    }
}

fn since(at: Wall) -> String {
    at.to_utc()
        .map(|t| {
            t.with_timezone(&chrono::Local)
                .format("%m-%d %H:%M:%S")
                .to_string()
        })
        .unwrap_or_default()
}

/// Why a task that did not go well is where it is.
fn reason(engine: &Engine, view: &TaskView<'_>) -> Option<String> {
    if let TaskState::Waiting {
        reason: Wait::Approval | Wait::Evidence,
        ..
    } = view.state
    {
        return Some(engine.why(&view.node.id).join("; "));
    }
    let end = view.last_end?;
    matches!(view.state, TaskState::Failed | TaskState::Waiting { .. })
        .then(|| format!("{}: {}", end.ending.in_words(), end.detail))
}

/// The run for scripts. Money in millionths of a US dollar, times in milliseconds since 1970 UTC.
pub fn json(engine: &Engine, live: bool) -> Value {
    let run = engine.run();
    let mut value = json!({
        "format": FORMAT,
        "run": run.run,
        "plan": run.plan,
        "target": run.target,
        "live": live,
        "started": run.started,
        "ended": run.ended,
        "outcome": run.ended,
        "stop": run.stop,
        "jobs": run.jobs,
        "running": run.running,
        "target_rewritten": run.target_rewritten,
        "failure": run.failure,
        "smoke": match (run.smoke_passed, run.has_red_smoke) {
            (Some(_), _) => Some("passed"),
            (None, true) => Some("failed"),
            (None, false) => None,
        },
        "tip": run.tip,
        "usage": run.usage,
        "confinement": "none",
        "tasks": engine.tasks().map(|view| task_json(&view)).collect::<Vec<_>>(),
    });
    value["bounds"] = bounds::json(engine);
    value
}

/// A task for scripts.
pub fn task_json(view: &TaskView<'_>) -> Value {
    let (mut stage, mut until, mut wait, mut how, mut landed, mut is_verified, mut blocked_by) =
        (None, None, None, None, None, None, None);
    match &view.state {
        TaskState::Running(at) => stage = Some(stage_in_words(*at)),
        TaskState::Waiting { reason, until: at } => {
            wait = Some(wait_in_words(*reason));
            until = *at;
        }
        TaskState::Completed {
            how: way,
            commit,
            verified,
        } => {
            how = Some(completion_word(*way));
            landed = commit.clone();
            is_verified = Some(*verified);
        }
        TaskState::Blocked { by } => blocked_by = Some(by.clone()),
        _ => {}
    }
    json!({
        "id": view.node.id,
        "name": view.node.name,
        "state": word(&view.state),
        "stage": stage,
        "resolving": view.resolving,
        "wait": wait,
        "until": until,
        "how": how,
        "commit": landed,
        "verified": is_verified,
        "blocked_by": blocked_by,
        "since": view.since,
        "attempt": view.attempt,
        "attempts_spent": view.spent,
        "max_attempts": view.node.max_attempts,
        "slot": view.slot,
        "model": view.model,
        "model_why": view.model_why,
        "charged": view.charged,
        "last_end": view.last_end,
        "usage": view.usage,
        "message": view.message,
        "report": view.report,
        "candidate": view.candidate,
        "notes": view.notes,
        "meanwhile": view.meanwhile,
        "approval": view.shown,
        "evidence": view.supply,
        "queue_position": view.queue_position,
        "held": view.held,
        "stale": view.stale,
    })
}

fn completion_word(how: Completion) -> &'static str {
    match how {
        Completion::Landed => "landed",
        Completion::NoChange => "no_change",
        Completion::Report => "report",
        Completion::Believed => "believed",
        Completion::LandedBefore => "landed_before",
        Completion::MarkedDone => "marked_done",
    }
}

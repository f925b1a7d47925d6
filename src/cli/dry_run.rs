//! `orch run --dry-run`: the schedule, and nothing else: no file written, no process started, no network.

use super::args::{Format, RunArgs};
use super::asked::Asked;
use super::out::Out;
use super::{bounds, locate, protected};
use crate::config::Origin;
use crate::driver::how::{self, How};
use crate::driver::stop_file;
use crate::engine::Engine;
use crate::engine::outcome::Outcome;
use crate::engine::start::Selection;
use crate::error::{OrKind, Result};
use crate::plan::Task;
use crate::plan::graph::Declared;
use crate::report;
use crate::report::bounds::{ceilings, limits};
use crate::report::paint::Paint;
use crate::report::table;
use crate::store::{Reader, RunEnd, RunSummary};
use crate::time::for_people;
use serde_json::json;

/// Prints the schedule.
pub(super) fn print(asked: &Asked, args: &RunArgs, out: &mut Out<'_>) -> Result<u8> {
    let text = match args.format {
        Format::Text => text(asked, out)?,
        Format::Json => serde_json::to_string_pretty(&as_json(asked)?).or_bug()? + "\n",
    };
    out.print(&text).map(|()| 0)
}

fn how(asked: &Asked, task: &Task) -> How {
    how::of(
        task,
        &asked.plan,
        &asked.settings,
        &asked.roles,
        asked.force,
    )
}

fn text(asked: &Asked, out: &Out<'_>) -> Result<String> {
    let plan = &asked.plan;
    let jobs = &asked.settings.jobs;
    let mut text = format!(
        "{}: {} tasks, {} at once ({}). Nothing is done in a dry run.\n",
        plan.meta.name.as_deref().unwrap_or(&asked.shown),
        plan.tasks.len(),
        jobs.value,
        jobs.origin
    );
    if let Some(stop) = stop_file(&asked.plan_path, &asked.root) {
        text.push_str(&format!(
            "note: {} is there; a real run would refuse to start\n",
            stop.display()
        ));
    }
    match &asked.selection {
        Selection::All => {}
        Selection::From { task, redo } => {
            let again = match redo {
                true => format!("{task} and all completed tasks after it are done again"),
                false => format!("{task} is done again if it is completed"),
            };
            text.push_str(&format!(
                "note: starts at {task}; open tasks before it are left out, and {again}\n"
            ));
        }
        Selection::Single { task: Some(task) } => {
            text.push_str(&format!("note: only task {task} would run\n"));
        }
        Selection::Single { task: None } => {
            text.push_str("note: only the next ready task would run\n");
        }
    }
    for (key, value, origin) in asked.settings.rows() {
        if *origin != Origin::Default && key != "jobs" {
            text.push_str(&format!("setting: {key} = {value} ({origin})\n"));
        }
    }
    let policy = bounds::policy(&asked.settings);
    let budgets = &policy.budgets;
    for (whose, allowance) in [
        ("an attempt", &budgets.attempt),
        ("a task", &budgets.task),
        ("the run", &budgets.run),
        ("a day", &budgets.day),
    ] {
        if !allowance.is_free() {
            let most = ceilings(allowance);
            text.push_str(&format!("budget: {whose} may spend {most}\n"));
        }
    }
    if policy.ladder.enabled {
        text.push_str(&format!("models: {}\n", policy.ladder.in_words()));
    }
    if let Some(engine) = unfinished(asked)? {
        text.push_str(&in_force(&engine, out.paint));
    }
    let mut rows = Vec::new();
    for (level, members) in plan.graph.levels().into_iter().enumerate() {
        for ix in members {
            rows.push(row(asked, level + 1, ix));
        }
    }
    text.push('\n');
    text.push_str(&table::render(
        &[
            "level", "task", "status", "agent", "model", "runner", "limit", "needs", "name",
        ],
        &rows,
        out.paint,
    ));
    for line in protected::lines(&asked.plan, &asked.settings, asked.force) {
        text.push_str(&format!("{line}\n"));
    }
    for (a, b, why) in conflicts(asked) {
        text.push_str(&format!("{a} and {b} never run at once: {why}\n"));
    }
    let critical: Vec<String> = plan
        .graph
        .critical_path()
        .into_iter()
        .map(|ix| plan.tasks[ix].id.to_string())
        .collect();
    text.push_str(&format!("\ncritical path: {}\n", critical.join(" -> ")));
    Ok(text)
}

/// The models that a task's attempts get, the first one first: as many as its attempts can climb to.
fn models(asked: &Asked, task: &Task, declared: Option<&str>) -> Vec<String> {
    let ladder = bounds::policy(&asked.settings).ladder;
    let attempts = task
        .max_attempts
        .unwrap_or(asked.settings.max_attempts.value);
    let mut models: Vec<String> = (0..attempts)
        .map(|failures| ladder.model(declared, failures))
        .map(|model| model.unwrap_or_else(|| "default".to_owned()))
        .collect();
    models.dedup();
    models
}

/// The run that a start would go on with, as it stands.
fn unfinished(asked: &Asked) -> Result<Option<Engine>> {
    let Some(reader) = Reader::open(&asked.state).map_err(locate::unusable)? else {
        return Ok(None);
    };
    let last = reader.latest_run(Some(&asked.plan_id)).or_environment()?;
    let goes_on = |run: &RunSummary| {
        let completed = |end: &RunEnd| end.outcome == Outcome::Completed;
        !run.end.as_ref().is_some_and(completed)
    };
    let Some(run) = last.filter(goes_on) else {
        return Ok(None);
    };
    let records = reader.records(&run.run).or_environment()?;
    Engine::replay(run.run, &records).map(Some).or_bug()
}

/// The limits that the last run met and that would keep the next one from starting.
fn in_force(engine: &Engine, paint: Paint) -> String {
    let run = engine.run();
    match run.limits.is_empty() && run.windows.is_empty() {
        true => String::new(),
        false => format!("the last run, {}:\n{}", run.run, limits(&run, paint)),
    }
}

fn row(asked: &Asked, level: usize, ix: usize) -> Vec<String> {
    let task = &asked.plan.tasks[ix];
    let how = how(asked, task);
    let needs: Vec<String> = asked.plan.graph.nodes[ix]
        .needs
        .iter()
        .map(|e| {
            if e.implied {
                format!("({})", e.on)
            } else {
                e.on.to_string()
            }
        })
        .collect();
    vec![
        level.to_string(),
        task.id.to_string(),
        declared(task.declared).to_owned(),
        if task.agent_inferred {
            format!("({})", how.role)
        } else {
            how.role
        },
        models(asked, task, how.model.as_deref()).join(" > "),
        how.runner.to_string(),
        for_people(u64::try_from(how.timeout.as_millis()).unwrap_or(u64::MAX)),
        needs.join(" "),
        task.name.to_string(),
    ]
}

fn declared(status: Declared) -> &'static str {
    match status {
        Declared::Pending => "pending",
        Declared::Completed => "completed",
        Declared::Failed => "failed",
        Declared::Skipped => "skipped",
    }
}

/// Pairs of tasks of one level that exclude each other, and why. Tasks of different levels never meet anyway.
fn conflicts(asked: &Asked) -> Vec<(String, String, String)> {
    let nodes = &asked.plan.graph.nodes;
    let mut found = Vec::new();
    // Of thousands of tasks without either, no pair need be looked at.
    let may_exclude = |ix: &usize| !nodes[*ix].resources.is_empty() || !nodes[*ix].files.is_empty();
    for mut members in asked.plan.graph.levels() {
        members.retain(may_exclude);
        for (i, a) in members.iter().enumerate() {
            for b in &members[i + 1..] {
                if let Some(why) = nodes[*a].conflict(&nodes[*b]) {
                    found.push((nodes[*a].id.to_string(), nodes[*b].id.to_string(), why));
                }
            }
        }
    }
    found
}

fn as_json(asked: &Asked) -> Result<serde_json::Value> {
    let plan = &asked.plan;
    let mut level_of = vec![0; plan.tasks.len()];
    for (level, members) in plan.graph.levels().into_iter().enumerate() {
        for ix in members {
            level_of[ix] = level + 1;
        }
    }
    let tasks: Vec<_> = plan
        .tasks
        .iter()
        .enumerate()
        .map(|(ix, task)| {
            let how = how(asked, task);
            json!({
                "id": task.id, "name": task.name, "level": level_of[ix], "status": declared(task.declared),
                "agent": how.role, "agent_inferred": task.agent_inferred, "model": how.model, "models": models(asked, task, how.model.as_deref()), "runner": how.runner, "timeout_ms": u64::try_from(how.timeout.as_millis()).unwrap_or(u64::MAX),
                "needs": plan.graph.nodes[ix].needs,
            })
        })
        .collect();
    let conflicts: Vec<_> = conflicts(asked)
        .into_iter()
        .map(|(a, b, why)| json!({"tasks": [a, b], "why": why}))
        .collect();
    let policy = bounds::policy(&asked.settings);
    let before = unfinished(asked)?;
    Ok(json!({
        "format": 1,
        "plan": asked.shown,
        "jobs": asked.settings.jobs.value,
        "stop_file": stop_file(&asked.plan_path, &asked.root),
        "settings": asked.settings.for_record(),
        "tasks": tasks,
        "conflicts": conflicts,
        "protection": protected::lines(&asked.plan, &asked.settings, asked.force),
        "critical_path": plan.graph.critical_path().into_iter().map(|ix| plan.tasks[ix].id.clone()).collect::<Vec<_>>(),
        "policy": policy,
        "last_run": before.as_ref().map(report::bounds::json),
    }))
}

//! `orch gates`: what waits for a person or for evidence, and what a person should see before deciding.

use serde_json::json;

use super::args::{Format, GatesArgs};
use super::locate::{self, Chosen};
use super::out::Out;
use crate::engine::Engine;
use crate::engine::record::Record;
use crate::engine::scope::Exception;
use crate::engine::verification::GateRecord;
use crate::engine::view::{TaskState, TaskView, Wait};
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::ids::ObjectId;
use crate::plan::{self, Plan, Strictness};
use crate::report::table;
use crate::store::FileError;

/// `orch gates`.
pub(super) fn gates(args: &GatesArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let engine = locate::engine(&chosen)?;
    let plan = plan_of(&chosen, &engine)?;
    let wanted = args
        .task
        .as_deref()
        .map(|typed| locate::task(&engine, typed))
        .transpose()?;
    let waiting: Vec<TaskView<'_>> = engine
        .tasks()
        .filter(|view| wait(view).is_some())
        .filter(|view| wanted.as_ref().is_none_or(|task| *task == view.node.id))
        .collect();
    if let (Some(task), []) = (&wanted, waiting.as_slice()) {
        let error = anyhow::anyhow!("task {task} waits for no person and no evidence");
        return Err(Error::new(ErrorKind::Negative, error).hint(format!("orch why {task}")));
    }
    let text = match (args.format, waiting.as_slice(), &wanted) {
        (Format::Json, views, _) => {
            let rows: Vec<_> = views
                .iter()
                .map(|view| as_json(view, plan.as_ref()))
                .collect();
            serde_json::to_string_pretty(&rows).or_bug()? + "\n"
        }
        (Format::Text, [], _) => "nothing waits for a person or for evidence\n".to_owned(),
        (Format::Text, [view], Some(_)) => {
            let signed = match engine.run().policy.signed_approvals {
                true => " --signed",
                false => "",
            };
            let id = &view.node.id;
            packet(&chosen, view, plan.as_ref(), out)?
                + &format!("\norch approve {id}{signed}\norch reject {id} --note '...'\n")
        }
        (Format::Text, views, _) => listing(views, plan.as_ref(), out),
    };
    out.print(&text).map(|()| 0)
}

/// For what the task waits, if it is a person's yes or evidence.
fn wait(view: &TaskView<'_>) -> Option<Wait> {
    match view.state {
        TaskState::Waiting {
            reason: reason @ (Wait::Approval | Wait::Evidence),
            ..
        } => Some(reason),
        _ => None,
    }
}

/// The plan as the run goes by it, where its text is still there.
fn plan_of(chosen: &Chosen, engine: &Engine) -> Result<Option<Plan>> {
    let dir = chosen.state.run(&chosen.run.run);
    match dir.read_plan(engine.run().revision) {
        Ok(text) => Ok(plan::check(&chosen.run.plan_path, &text, Strictness::AsWritten).plan),
        Err(FileError::Missing { .. }) => Ok(None),
        Err(error) => Err(error).or_environment(),
    }
}

fn what(view: &TaskView<'_>) -> &'static str {
    match (wait(view), view.shown) {
        (Some(Wait::Evidence), _) => "evidence",
        (_, Some(_)) => "landing",
        (_, None) => "start",
    }
}

fn reason<'p>(view: &TaskView<'_>, plan: Option<&'p Plan>) -> Option<&'p str> {
    let task = plan?.task(&view.node.id)?;
    task.approval.as_ref()?.reason.as_deref()
}

fn listing(views: &[TaskView<'_>], plan: Option<&Plan>, out: &Out<'_>) -> String {
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let said = view.supply.filter(|said| !said.is_empty());
            vec![
                view.node.id.to_string(),
                what(view).to_owned(),
                view.shown
                    .map_or_else(String::new, |shown| shown.commit.short().to_owned()),
                reason(view, plan).or(said).unwrap_or_default().to_owned(),
                view.node.name.to_string(),
            ]
        })
        .collect();
    let table = table::render(
        &["task", "of its", "commit", "reason", "name"],
        &rows,
        out.paint,
    );
    table
        + "\norch gates TASK shows what would land; orch approve TASK, orch reject TASK --note '...'\n"
}

fn as_json(view: &TaskView<'_>, plan: Option<&Plan>) -> serde_json::Value {
    let approval = plan
        .and_then(|plan| plan.task(&view.node.id))
        .and_then(|task| task.approval.as_deref());
    json!({
        "task": view.node.id,
        "name": view.node.name,
        "of": what(view),
        "since": view.since,
        "candidate": view.shown.map(|shown| &shown.candidate),
        "commit": view.shown.map(|shown| &shown.commit),
        "onto": view.shown.map(|shown| &shown.onto),
        "reason": approval.and_then(|approval| approval.reason.as_deref()),
        "look_at": approval.map(|approval| &approval.evidence),
        "evidence": view.supply,
    })
}

/// All that a person should see before deciding about one task.
fn packet(
    chosen: &Chosen,
    view: &TaskView<'_>,
    plan: Option<&Plan>,
    out: &Out<'_>,
) -> Result<String> {
    let id = &view.node.id;
    let mut text = format!("{} {}\n", out.paint.bold(id.as_str()), view.node.name);
    let mut row = |key: &str, value: &str| text.push_str(&format!("  {key:<11}{value}\n"));
    row(
        "waits for",
        match wait(view) {
            Some(Wait::Evidence) => "evidence from outside",
            _ if view.shown.is_some() => "approval of its landing",
            _ => "approval of its start",
        },
    );
    if let Some(task) = plan.and_then(|plan| plan.task(id)) {
        if let Some(approval) = &task.approval {
            if let Some(reason) = &approval.reason {
                row("reason", reason);
            }
            for evidence in &approval.evidence {
                row("look at", evidence);
            }
        }
        if let Some(description) = task.description.as_deref().filter(|_| view.shown.is_none()) {
            row("asks", description.trim());
        }
    }
    if let Some(said) = view.supply.filter(|said| !said.is_empty()) {
        row("last look", said);
    }
    if let Some(shown) = view.shown {
        row("commit", shown.commit.as_str());
        row("onto", shown.onto.as_str());
        if let Some(message) = view.message {
            row("agent says", message.trim());
        }
        for touched in protected(chosen, &shown.candidate)? {
            row("protected", &format!("`{}` {}", touched.path, touched.why));
        }
        for gate in verified(chosen, &shown.commit)? {
            row("gate", &gate_in_words(&gate));
        }
        text.push('\n');
        text.push_str(&difference(&shown.onto, &shown.commit)?);
    }
    Ok(text)
}

/// The protected paths that a candidate changes.
fn protected(chosen: &Chosen, of: &ObjectId) -> Result<Vec<Exception>> {
    let records = chosen.reader.records(&chosen.run.run).or_environment()?;
    let scope = records
        .into_iter()
        .rev()
        .find_map(|stamped| match stamped.record {
            Record::Collected {
                candidate: Some(candidate),
                scope,
                ..
            } if candidate == *of => scope,
            _ => None,
        });
    Ok(scope.map(|scope| scope.exceptions).unwrap_or_default())
}

/// What the verify commands said of a commit.
fn verified(chosen: &Chosen, of: &ObjectId) -> Result<Vec<GateRecord>> {
    let records = chosen.reader.records(&chosen.run.run).or_environment()?;
    let last = records
        .into_iter()
        .rev()
        .find_map(|stamped| match stamped.record {
            Record::Verified { commit, result, .. } if commit == *of => Some(result),
            _ => None,
        });
    Ok(last.map(|result| result.gates).unwrap_or_default())
}

fn gate_in_words(gate: &GateRecord) -> String {
    let counts = gate
        .counts
        .map(|counts| format!(", {}", counts.in_words()))
        .unwrap_or_default();
    format!("{}: {}{counts}", gate.name, gate.result.in_words())
}

fn difference(onto: &ObjectId, commit: &ObjectId) -> Result<String> {
    let repository = locate::repository()?;
    let args = ["diff", "--stat", "--patch", "--no-color", "--no-ext-diff"];
    let command = repository.git().read_only().args(args);
    let printed = command
        .args([onto.as_str(), commit.as_str()])
        .run()
        .or_environment()?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

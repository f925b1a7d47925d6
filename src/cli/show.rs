//! `orch show`: everything known about a task.

use serde_json::json;

use super::args::{Format, ShowArgs};
use super::{Out, locate};
use crate::engine::record::Record;
use crate::engine::view::TaskState;
use crate::error::{OrKind, Result};
use crate::git::pins;
use crate::report::paint::{in_one_line, quoted};
use crate::report::summary;
use crate::store::FileError;

/// Longest stored report that is printed.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// `orch show`.
pub(super) fn show(args: &ShowArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let engine = locate::engine(&chosen)?;
    let task = locate::task(&engine, &args.task)?;
    let view = engine.view(&task).expect("the task was just found");
    let records = chosen.reader.records(&chosen.run.run).or_environment()?;
    let ends: Vec<_> = records
        .iter()
        .filter_map(|stamped| match &stamped.record {
            Record::Collected { ticket, end, .. } | Record::NotLandable { ticket, end, .. }
                if ticket.task == task =>
            {
                Some((stamped.at, ticket.attempt, end))
            }
            _ => None,
        })
        .collect();
    let dir = chosen
        .state
        .run(&chosen.run.run)
        .attempt(&task, view.attempt.max(1));
    let report = match view.report {
        Some(_) => match crate::store::read_limited(&dir.report(), REPORT_BYTES_MAX) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(FileError::Missing { path }) => Some(format!(
                "(its text is gone: {} is not there)",
                path.display()
            )),
            Err(error) => return Err(error).or_environment(),
        },
        None => None,
    };
    if args.format == Format::Json {
        let mut value = summary::task_json(&view);
        value["run"] = json!(chosen.run.run);
        value["why"] = json!(engine.why(&task));
        value["attempts"] = ends
            .iter()
            .map(|(at, attempt, end)| json!({"at": at, "attempt": attempt, "end": end}))
            .collect();
        value["report_text"] = json!(report);
        value["directory"] = json!(dir.path());
        return out
            .print(&(serde_json::to_string_pretty(&value).or_bug()? + "\n"))
            .map(|()| 0);
    }
    let mut text = format!(
        "{} {}\n",
        out.paint.bold(task.as_str()),
        in_one_line(&view.node.name)
    );
    text.push_str(&format!(
        "  state     {}\n",
        summary::state_in_words(&view.state)
    ));
    let why = in_one_line(&engine.why(&task).join("; "));
    text.push_str(&format!("  why       {why}\n"));
    if let TaskState::Completed {
        commit: Some(commit),
        verified,
        ..
    } = &view.state
    {
        text.push_str(&format!(
            "  commit    {commit}{}\n",
            if *verified { "" } else { " (unverified)" }
        ));
    }
    for (at, attempt, end) in &ends {
        let at = at
            .to_utc()
            .map(|t| {
                t.with_timezone(&chrono::Local)
                    .format("%H:%M:%S")
                    .to_string()
            })
            .unwrap_or_default();
        text.push_str(&format!(
            "  attempt {attempt} ended {at}: {}{}\n",
            end.ending.in_words(),
            quoted(&detail(&end.detail))
        ));
    }
    if view.usage.sessions > 0 {
        text.push_str(&format!(
            "  used      ~{} in {}, {}\n",
            view.usage.cost,
            counted(view.usage.sessions, "session"),
            counted(view.usage.turns, "turn"),
        ));
    }
    for note in view.notes {
        text.push_str(&format!("  note      {}\n", quoted(note)));
    }
    for told in view.meanwhile {
        text.push_str(&format!("  meanwhile {told}\n"));
    }
    if let Some(candidate) = view.candidate {
        text.push_str(&format!(
            "  candidate {} ({})\n",
            candidate.short(),
            pins::candidate_ref(&chosen.run.run, &task, view.attempt)
        ));
    }
    if view.attempt > 0 {
        text.push_str(&format!("  kept in   {}\n", dir.path().display()));
    }
    if let Some(message) = view.message.filter(|m| !m.is_empty()) {
        text.push_str(&format!("\n{}\n", message.trim_end()));
    }
    if let Some(report) = report.filter(|r| Some(r.as_str()) != view.message) {
        text.push_str(&format!("\n{}\n", report.trim_end()));
    }
    out.print(&text).map(|()| 0)
}

/// `1 session`, `2 sessions`.
fn counted(number: u32, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

fn detail(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

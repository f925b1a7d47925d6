//! `orch show`: everything known about a task.

use serde_json::{Value, json};

use super::args::{Format, ShowArgs};
use super::locate;
use super::out::Out;
use crate::engine::ending::AttemptEnd;
use crate::engine::record::Record;
use crate::engine::view::{TaskState, TaskView};
use crate::error::{OrKind, Result};
use crate::git::pins;
use crate::ids::RunId;
use crate::report::paint::{Paint, in_one_line, quoted};
use crate::report::summary;
use crate::store::{AttemptDir, FileError};
use crate::time::Wall;

/// Longest stored report that is printed.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// `orch show`.
pub(super) fn show(args: &ShowArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let engine = locate::engine(&chosen)?;
    let task = locate::task(&engine, &args.task)?;
    let view = engine.view(&task).expect("the task was just found");
    let run = &chosen.run.run;
    let records = chosen.reader.records(run).or_environment()?;
    let ends = records.iter().filter_map(|stamped| match &stamped.record {
        Record::Collected { ticket, end, .. } | Record::NotLandable { ticket, end, .. }
            if ticket.task == task =>
        {
            Some((stamped.at, ticket.attempt, end))
        }
        _ => None,
    });
    let dir = chosen.state.run(run).attempt(&task, view.attempt.max(1));
    let known = Known {
        run,
        why: engine.why(&task),
        ends: ends.collect(),
        report: view.report.map(|_| report(&dir)).transpose()?,
        dir,
        view,
    };
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&known.json()).or_bug()? + "\n",
        Format::Text => known.text(out.paint),
    };
    out.print(&text).map(|()| 0)
}

/// The text of a report, or that it is gone.
fn report(dir: &AttemptDir) -> Result<String> {
    match crate::store::read_limited(&dir.report(), REPORT_BYTES_MAX) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(FileError::Missing { path }) => Ok(format!(
            "(its text is gone: {} is not there)",
            path.display()
        )),
        Err(error) => Err(error).or_environment(),
    }
}

/// What is known about a task.
struct Known<'a> {
    run: &'a RunId,
    view: TaskView<'a>,
    why: Vec<String>,
    /// How its attempts ended: when, which, and how.
    ends: Vec<(Wall, u32, &'a AttemptEnd)>,
    report: Option<String>,
    dir: AttemptDir,
}

impl Known<'_> {
    fn json(&self) -> Value {
        let mut value = summary::task_json(&self.view);
        value["run"] = json!(self.run);
        value["why"] = json!(self.why);
        let ends = self.ends.iter();
        value["attempts"] = ends
            .map(|(at, attempt, end)| json!({"at": at, "attempt": attempt, "end": end}))
            .collect();
        value["report_text"] = json!(self.report);
        value["directory"] = json!(self.dir.path());
        value
    }

    fn text(&self, paint: Paint) -> String {
        let view = &self.view;
        let id = paint.bold(view.node.id.as_str());
        let mut text = format!("{id} {}\n", in_one_line(&view.node.name));
        let mut line = |label: &str, said: &str| text.push_str(&format!("  {label:<9} {said}\n"));
        line("state", &summary::state_in_words(&view.state));
        line("why", &in_one_line(&self.why.join("; ")));
        if let TaskState::Completed {
            commit: Some(commit),
            verified,
            ..
        } = &view.state
        {
            let unverified = if *verified { "" } else { " (unverified)" };
            line("commit", &format!("{commit}{unverified}"));
        }
        for (at, attempt, end) in &self.ends {
            let at = at.to_utc().map(|at| at.with_timezone(&chrono::Local));
            let at = at.map(|at| at.format("%H:%M:%S").to_string());
            let said = format!(
                "ended {}: {}{}",
                at.unwrap_or_default(),
                end.ending.in_words(),
                quoted(&detail(&end.detail))
            );
            line(&format!("attempt {attempt}"), &said);
        }
        if view.usage.sessions > 0 {
            let sessions = counted(view.usage.sessions, "session");
            let turns = counted(view.usage.turns, "turn");
            let cost = view.usage.cost;
            line("used", &format!("~{cost} in {sessions}, {turns}"));
        }
        for note in view.notes {
            line("note", &quoted(note));
        }
        for told in view.meanwhile {
            line("meanwhile", told);
        }
        if let Some(candidate) = view.candidate {
            let pin = pins::candidate_ref(self.run, &view.node.id, view.attempt);
            line("candidate", &format!("{} ({pin})", candidate.short()));
        }
        if view.attempt > 0 {
            line("kept in", &self.dir.path().display().to_string());
        }
        if let Some(message) = view.message.filter(|m| !m.is_empty()) {
            text.push_str(&format!("\n{}\n", message.trim_end()));
        }
        let report = self.report.as_deref();
        if let Some(report) = report.filter(|r| Some(*r) != view.message) {
            text.push_str(&format!("\n{}\n", report.trim_end()));
        }
        text
    }
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

//! The rehearsal runner: a simulated agent that plays a task's `rehearse:` block.
//!
//! It is started by the shim like any agent (`orch __rehearse <order>`), works in the slot, and writes stream-json in the
//! form of the `claude` program, so that everything from shim to landing is as in a real run. It asks no service.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plan::schema::{Rehearse, RehearsedStatus};
use crate::process::Launch;

mod plan_edit;
#[cfg(test)]
mod tests;

/// The hidden subcommand; its one argument is the path of an [`Order`] as JSON.
pub const COMMAND: &str = "__rehearse";

/// What the stream calls the model.
const MODEL: &str = "rehearsal";

/// One rehearsed session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The task's id.
    pub task: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The session's id.
    pub session: String,
    /// The attempt's nonce.
    pub nonce: String,
    /// What to play; without it the session adds a line to `rehearsal/<task>.md`.
    pub rehearse: Option<Rehearse>,
}

/// What to start for the order stored at `order`; `orch` is this very binary.
pub fn launch(orch: &Path, order: &Path, cwd: &Path, env: BTreeMap<String, String>) -> Launch {
    Launch {
        program: orch.to_owned(),
        args: vec![COMMAND.to_owned(), order.to_string_lossy().into_owned()],
        env,
        cwd: cwd.to_owned(),
    }
}

/// Does the hidden subcommand's work, if this process was started for it.
pub fn dispatch() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == COMMAND).then(|| main(Path::new(&args.next().unwrap_or_default())))
}

/// Plays the order in the current directory.
fn main(order: &Path) -> ExitCode {
    let played = fs::read(order)
        .and_then(|bytes| Ok(serde_json::from_slice::<Order>(&bytes)?))
        .and_then(|order| play(&order, Path::new("."), &mut io::stdout().lock()));
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The shim keeps standard error beside the stream; if even that is closed, the exit code has to do.
            writeln!(io::stderr(), "orch {COMMAND} {}: {error}", order.display()).ok();
            ExitCode::FAILURE
        }
    }
}

/// One thing that a session does, with the tool call that a real one would do it by.
enum Step<'a> {
    Delete(&'a str),
    Write(&'a str, &'a str),
    Append(&'a str, &'a str),
    AddTasks(&'a str),
}

/// Plays `order` in `cwd`, with the stream going to `out`.
fn play(order: &Order, cwd: &Path, out: &mut impl Write) -> io::Result<()> {
    let default = default_play(order);
    let rehearse = order.rehearse.as_ref().unwrap_or(&default);
    let mut stream = Stream {
        out,
        session: &order.session,
        turns: 0,
    };
    stream.init(cwd)?;
    let fails = order.attempt <= rehearse.fail_times;
    let steps = if fails { Vec::new() } else { steps(rehearse) };
    // Spread over the steps, so that a session that is ended halfway leaves half of its work, as a real one does.
    let pause = rehearse.takes / u32::try_from(steps.len() + 1).unwrap_or(u32::MAX);
    let mut failure = fails.then(|| {
        format!(
            "rehearsed failure of attempt {} of {}",
            order.attempt, rehearse.fail_times
        )
    });
    for step in &steps {
        if let Err(error) = stream.step(step, pause, cwd, &order.task)? {
            failure = Some(error);
            break;
        }
    }
    stream.think(pause)?;
    let status = match (failure, rehearse.status) {
        (Some(why), _) => Some(("failed", why)),
        (None, RehearsedStatus::None) => None,
        (None, status) => {
            let word = if status == RehearsedStatus::Failed {
                "failed"
            } else {
                "completed"
            };
            let answer = rehearse.answer.clone();
            Some((
                word,
                answer.unwrap_or_else(|| format!("rehearsed task {}", order.task)),
            ))
        }
    };
    stream.result(order, status, rehearse.costs_micro_usd)
}

fn default_play(order: &Order) -> Rehearse {
    let line = format!(
        "Attempt {} of task {} was rehearsed.\n",
        order.attempt, order.task
    );
    Rehearse {
        append: BTreeMap::from([(format!("rehearsal/{}.md", order.task), line)]),
        ..Rehearse::default()
    }
}

fn steps(rehearse: &Rehearse) -> Vec<Step<'_>> {
    let deletes = rehearse.delete.iter().map(|path| Step::Delete(path));
    let writes = rehearse
        .write
        .iter()
        .map(|(path, text)| Step::Write(path, text));
    let appends = rehearse
        .append
        .iter()
        .map(|(path, text)| Step::Append(path, text));
    let tasks = Some(rehearse.add_tasks.as_str())
        .filter(|t| !t.trim().is_empty())
        .map(Step::AddTasks);
    deletes.chain(writes).chain(appends).chain(tasks).collect()
}

impl Step<'_> {
    fn tool(&self) -> (&'static str, Value) {
        match self {
            Self::Delete(path) => ("Bash", json!({ "command": format!("rm {path}") })),
            Self::Write(path, _) => ("Write", json!({ "file_path": path })),
            Self::Append(path, _) => ("Edit", json!({ "file_path": path })),
            Self::AddTasks(_) => ("Edit", json!({ "file_path": plan_edit::PLAN_COPY })),
        }
    }

    fn perform(&self, cwd: &Path, task: &str) -> Result<(), String> {
        match self {
            Self::Delete(path) => inside(cwd, path)
                .and_then(|p| fs::remove_file(p).map_err(|e| format!("cannot delete {path}: {e}"))),
            Self::Write(path, text) => put(
                cwd,
                path,
                text,
                fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true),
            ),
            Self::Append(path, text) => put(
                cwd,
                path,
                text,
                fs::OpenOptions::new().append(true).create(true),
            ),
            Self::AddTasks(items) => plan_edit::add_tasks(cwd, task, items),
        }
    }
}

fn put(cwd: &Path, path: &str, text: &str, options: &fs::OpenOptions) -> Result<(), String> {
    let full = inside(cwd, path)?;
    let parent = full.parent().unwrap_or(cwd);
    fs::create_dir_all(parent)
        .and_then(|()| options.open(&full)?.write_all(text.as_bytes()))
        .map_err(|e| format!("cannot write {path}: {e}"))
}

/// A path of the repository as a path of the slot.
fn inside(cwd: &Path, path: &str) -> Result<PathBuf, String> {
    let relative = Path::new(path);
    let plain = !path.is_empty()
        && relative
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
    plain
        .then(|| cwd.join(relative))
        .ok_or_else(|| format!("`{path}` is not a path in the repository"))
}

/// Writes stream-json, each line at once: orch follows it as it grows.
struct Stream<'a, W> {
    out: &'a mut W,
    session: &'a str,
    turns: u32,
}

impl<W: Write> Stream<'_, W> {
    fn line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }

    fn init(&mut self, cwd: &Path) -> io::Result<()> {
        self.line(&json!({
            "type": "system", "subtype": "init", "session_id": self.session, "cwd": cwd, "model": MODEL,
            "claude_code_version": concat!("orch ", env!("CARGO_PKG_VERSION")),
        }))
    }

    fn message(&mut self, role: &str, block: &Value) -> io::Result<()> {
        let (session, turn) = (self.session, self.turns);
        let message =
            json!({ "id": format!("rehearsed_{turn}"), "role": role, "content": [block] });
        self.line(&json!({ "type": role, "message": message, "parent_tool_use_id": null, "session_id": session }))
    }

    fn think(&mut self, pause: Duration) -> io::Result<()> {
        self.turns += 1;
        std::thread::sleep(pause);
        self.message("assistant", &json!({ "type": "text", "text": "Done." }))
    }

    /// Does a step between the call of its tool and the tool's result.
    fn step(
        &mut self,
        step: &Step<'_>,
        pause: Duration,
        cwd: &Path,
        task: &str,
    ) -> io::Result<Result<(), String>> {
        self.turns += 1;
        let id = format!("tool_{}", self.turns);
        let (name, input) = step.tool();
        self.message(
            "assistant",
            &json!({ "type": "tool_use", "id": id, "name": name, "input": input }),
        )?;
        std::thread::sleep(pause);
        let done = step.perform(cwd, task);
        let text = done.as_ref().err().map_or("done", String::as_str);
        self.message("user", &json!({ "type": "tool_result", "tool_use_id": id, "content": text, "is_error": done.is_err() }))?;
        Ok(done)
    }

    fn result(
        &mut self,
        order: &Order,
        status: Option<(&str, String)>,
        costs_micro_usd: u64,
    ) -> io::Result<()> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rehearsed price has a few digits"
        )]
        let cost = costs_micro_usd as f64 / 1e6;
        let mut result = json!({
            "type": "result", "subtype": "success", "is_error": false, "session_id": self.session,
            "num_turns": self.turns, "duration_api_ms": 0, "total_cost_usd": cost, "permission_denials": [],
            "terminal_reason": "completed", "result": "",
            "usage": {
                "input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
            },
        });
        if let Some((word, message)) = status {
            result["result"] = json!(message);
            result["structured_output"] = json!({ "task_id": order.task, "status": word, "message": message, "nonce": order.nonce });
        }
        self.line(&result)
    }
}

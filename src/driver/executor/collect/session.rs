//! What the last agent process of an attempt said and used: its stream, its status, its exit, read from the files alone.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use super::{Order, Work};
use crate::agent::failure::{self, Evidence};
use crate::agent::status::{self, Expected, Finding};
use crate::agent::stream::SessionReport;
use crate::digest::sha256_hex;
use crate::driver::attempt::Sheet;
use crate::driver::executor::{execute, parts};
use crate::driver::site::Site;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::limit::{LimitHit, UsageWindow};
use crate::engine::usage::Usage;
use crate::git::slot::Slot;
use crate::plan::Runner;
use crate::plan::graph::TaskKind;
use crate::process::{self, ExitReport};
use crate::store::{AttemptDir, SessionDir, read_limited, write_atomic};
use crate::time::Wall;

/// How much of the end of stderr is looked at and quoted.
const TAIL_BYTES: u64 = 16 << 10;

/// What the session said and used.
pub(super) struct Left {
    pub(super) end: AttemptEnd,
    pub(super) usage: Usage,
    pub(super) message: Option<String>,
    pub(super) report: Option<String>,
    /// The usage limit that the session ran into.
    pub(super) limit: Option<LimitHit>,
    /// How full the account's windows were when last reported.
    pub(super) windows: Vec<UsageWindow>,
    /// Whether the attempt can go on in its slot: in the same session, or in a new one if this one had not begun.
    pub(super) can_continue: bool,
}

impl Left {
    pub(super) fn read(
        site: &Site,
        order: &Order,
        sheet: &Sheet,
        slot: &Slot,
        dir: &AttemptDir,
        work: &Work,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let part = parts::last(site, &order.ticket);
        if let Some(reason) = execute::start_error(&part)? {
            let end = AttemptEnd::new(
                Ending::Environment,
                format!("the agent could not be started: {reason}"),
            );
            return Ok(Self {
                end,
                // No process, no session.
                usage: Usage::default(),
                message: None,
                report: None,
                limit: None,
                windows: Vec::new(),
                can_continue: false,
            });
        }
        let exit = process::read_exit(part.path())?;
        let session = if sheet.speaks_stream_json() {
            Some(parts::read_stream(&part, parts::start_of(&part, dir)?)?)
        } else {
            None
        };
        notes.extend(
            session
                .iter()
                .flat_map(|s| s.denials.iter())
                .map(|d| format!("denied: {d}")),
        );
        let expected = Expected {
            task: &order.ticket.task,
            nonce: &sheet.nonce,
        };
        let structured = session
            .as_ref()
            .and_then(|s| s.structured_output(sheet.session))
            .cloned();
        let file = status::read(&slot.tree());
        let found = status::judge(structured.as_ref(), file, expected);
        notes.extend(found.notes);
        keep_status(dir, &found.finding)?;
        let message = match &found.finding {
            Finding::Status(status) => Some(status.message.clone()),
            Finding::None | Finding::Bad(_) => None,
        };
        let report = keep_report(order, slot, dir, message.as_deref(), notes)?;
        let changed = match order.kind {
            TaskKind::Change => work.is_change(),
            TaskKind::Report => report.is_some(),
        };
        let stderr = tail(&part.stderr())?;
        let ended_for = ended_for(&part)?;
        let evidence = Evidence {
            exit: exit.as_ref().map(|e: &ExitReport| &e.agent),
            ended_for: ended_for.as_ref(),
            stderr: &stderr,
            status: &found.finding,
            changed,
        };
        let end = match &session {
            Some(session) => failure::of_session(&evidence, session),
            None => failure::of_command(&evidence, &tail(&part.stream())?),
        };
        let limit = match &session {
            Some(session) if end.ending == Ending::UsageLimit => {
                let written = written(&part)?;
                Some(failure::limit_hit(session, written, &chrono::Local))
            }
            Some(_) | None => None,
        };
        Ok(Self {
            end,
            message,
            report,
            limit,
            can_continue: sheet.how.runner == Runner::Claude,
            windows: session
                .as_ref()
                .map_or_else(Vec::new, SessionReport::windows),
            usage: session.map_or_else(Usage::default, |s| s.usage),
        })
    }
}

/// Why orch ended the agent by itself, if it did.
fn ended_for(part: &SessionDir) -> anyhow::Result<Option<AttemptEnd>> {
    let path = execute::ended_for(part);
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_slice(&read_limited(&path, TAIL_BYTES)?)
        .with_context(|| format!("{} is damaged", path.display()))
}

/// When the last line of the session was written.
fn written(part: &SessionDir) -> anyhow::Result<Wall> {
    let path = part.stream();
    let modified = std::fs::metadata(&path)
        .and_then(|meta| meta.modified())
        .with_context(|| format!("cannot read {}", path.display()))?;
    let since_1970 = modified
        .duration_since(std::time::UNIX_EPOCH)
        .context("a stream was written before 1970")?;
    Ok(Wall(i64::try_from(since_1970.as_millis())?))
}

fn keep_status(dir: &AttemptDir, finding: &Finding) -> anyhow::Result<()> {
    if let Finding::Status(status) = finding {
        let text = serde_json::json!({"status": format!("{:?}", status.said).to_lowercase(), "message": status.message});
        write_atomic(&dir.status(), text.to_string().as_bytes())?;
    }
    Ok(())
}

/// Stores the text of a report task and gives its SHA-256: the report file, else the message.
fn keep_report(
    order: &Order,
    slot: &Slot,
    dir: &AttemptDir,
    message: Option<&str>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<String>> {
    if order.kind != TaskKind::Report {
        return Ok(None);
    }
    let text = match status::read_report(&slot.tree()) {
        Ok(Some(text)) => Some(text),
        Ok(None) => message.filter(|m| !m.trim().is_empty()).map(str::to_owned),
        Err(error) => {
            notes.push(error.to_string());
            None
        }
    };
    let Some(text) = text else { return Ok(None) };
    write_atomic(&dir.report(), text.as_bytes())?;
    Ok(Some(sha256_hex(text.as_bytes())))
}

/// The end of a text file; nothing, where there is no file.
fn tail(path: &Path) -> anyhow::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the last process of an attempt used. A shell command is no session: it asks no model, and its cost is none.
pub(super) fn used(sheet: &Sheet, part: &SessionDir, dir: &AttemptDir) -> anyhow::Result<Usage> {
    if sheet.speaks_stream_json() {
        Ok(parts::read_stream(part, parts::start_of(part, dir)?)?.usage)
    } else {
        Ok(Usage::default())
    }
}

//! `Execute`: a shim runs the agent, and orch waits for the shim and follows the stream for people.
//!
//! What the agent did is read in `collect`, from the files alone. What is seen here decides one thing: an agent that gives
//! no sign of life any more is ended, and the reason is left in a file for `collect`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;

use anyhow::Context as _;

use super::silence::Silence;
use super::{Observations, Recalled, blocking, parts};
use crate::agent::Start;
use crate::agent::claude::Session;
use crate::agent::stream::SessionReader;
use crate::agent::{command, prompt, rehearsal};
use crate::driver::attempt::Sheet;
use crate::driver::ports;
use crate::driver::site::Site;
use crate::engine::action::ExecuteMode;
use crate::engine::ending::AttemptEnd;
use crate::engine::event::Event;
use crate::engine::limit::UsageWindow;
use crate::engine::usage::MicroUsd;
use crate::ids::Ticket;
use crate::plan::Runner;
use crate::process::{
    self, Adoption, Changes, Confinement, Launch, LineFollower, Marker, Running, ShimSpec,
};
use crate::report::{Board, Doing};
use crate::store::{AttemptDir, SessionDir, SessionPart};

pub(super) async fn execute(
    site: Arc<Site>,
    ticket: Ticket,
    mode: ExecuteMode,
    cap: Option<MicroUsd>,
    board: Board,
    recalled: Recalled,
    observations: Observations,
) -> Event {
    let part = match mode {
        ExecuteMode::Fresh => site.attempt_dir(&ticket).session(SessionPart::Work),
        ExecuteMode::AskStatus => site.attempt_dir(&ticket).session(SessionPart::AskStatus),
        ExecuteMode::Continue { number } => site
            .attempt_dir(&ticket)
            .session(SessionPart::Continue(number)),
        // The last one that was started.
        ExecuteMode::Adopt => parts::last(&site, &ticket),
    };
    let running = match mode {
        ExecuteMode::Fresh | ExecuteMode::AskStatus | ExecuteMode::Continue { .. } => {
            start(&site, &ticket, mode, cap, &part).await.map(Some)
        }
        ExecuteMode::Adopt => adopt(&part).await,
    };
    match running {
        Ok(Some(running)) => {
            // Whoever recalled it before the shim could be reached has left it to this place.
            if recalled.has(&ticket)
                && let Err(error) = process::end(part.path()).await
            {
                tracing::warn!(%ticket, %error, "cannot reach the shim; its own limits end it");
            }
            let silence = silence(&site, &ticket).await;
            let watch = Watch {
                ticket: &ticket,
                part: &part,
                board: &board,
                observations: &observations,
            };
            watch.until_end(running, silence).await;
        }
        Ok(None) => {}
        // Collect finds neither exit nor stream and says so; the reason is kept for it.
        Err(error) => note_failed_start(&part, &error),
    }
    Event::Executed { ticket }
}

/// Where stands why orch ended the agent by itself.
pub(super) fn ended_for(part: &SessionDir) -> PathBuf {
    part.path().join("ended-for.json")
}

/// Why the agent could not be started, if that was so.
pub(super) fn start_error(part: &SessionDir) -> anyhow::Result<Option<String>> {
    let path = start_error_file(part);
    match std::fs::read_to_string(&path) {
        Ok(reason) => Ok(Some(reason)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn start_error_file(part: &SessionDir) -> PathBuf {
    part.path().join("start-error")
}

fn note_failed_start(part: &SessionDir, error: &anyhow::Error) {
    let text = format!("{error:#}");
    tracing::error!("{text}");
    if let Err(error) = part
        .create()
        .and_then(|()| crate::store::write_atomic(&start_error_file(part), text.as_bytes()))
    {
        tracing::error!(%error, "the reason cannot be kept");
    }
}

async fn adopt(part: &SessionDir) -> anyhow::Result<Option<Running>> {
    Ok(match process::adopt(part.path()).await? {
        Adoption::Alive(running) => Some(running),
        Adoption::Ended(_) | Adoption::Gone => None,
    })
}

async fn start(
    site: &Arc<Site>,
    ticket: &Ticket,
    mode: ExecuteMode,
    cap: Option<MicroUsd>,
    part: &SessionDir,
) -> anyhow::Result<Running> {
    let (owner, of, dir) = (Arc::clone(site), ticket.clone(), part.clone());
    let spec = blocking(move || spec(&owner, &of, mode, cap, &dir)).await?;
    Ok(process::spawn(&site.exe, part.path(), &spec)?)
}

fn spec(
    site: &Site,
    ticket: &Ticket,
    mode: ExecuteMode,
    cap: Option<MicroUsd>,
    part: &SessionDir,
) -> anyhow::Result<ShimSpec> {
    let dir = site.attempt_dir(ticket);
    let mut sheet = Sheet::load(&dir)?;
    let start = parts::start_of(part, &dir)?;
    let task = ticket.task.as_str();
    let again = match (mode, start) {
        (ExecuteMode::Fresh | ExecuteMode::Adopt, _) => None,
        (ExecuteMode::AskStatus, _) => Some(prompt::ask_status(task, &sheet.nonce).into_bytes()),
        (ExecuteMode::Continue { .. }, Start::Resume) => {
            Some(prompt::go_on(task, &sheet.nonce).into_bytes())
        }
        (ExecuteMode::Continue { .. }, Start::Fresh) => {
            // The program takes no id of a session twice.
            sheet = sheet.in_a_new_session();
            sheet.save(&dir)?;
            Some(first_prompt(&dir)?)
        }
    };
    if let Some(text) = again {
        // What the sessions before had to do with is told already.
        site.guard.begins(ticket, &dir)?;
        part.create()?;
        crate::store::write_atomic(&part.prompt(), &text)?;
    }
    let launch = launch(site, ticket, &sheet, start, cap, part)?;
    Ok(spec_for(site, &sheet, launch, part))
}

/// What the first session of an attempt is told.
fn first_prompt(dir: &AttemptDir) -> anyhow::Result<Vec<u8>> {
    let path = dir.session(SessionPart::Work).prompt();
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The shim's order for any command of an attempt.
pub(super) fn spec_for(site: &Site, sheet: &Sheet, launch: Launch, part: &SessionDir) -> ShimSpec {
    ShimSpec {
        version: ShimSpec::VERSION,
        launch,
        stdin: part.prompt(),
        stdout: part.stream(),
        stderr: part.stderr(),
        marker: Marker::new(site.run.clone(), sheet.ticket.clone()),
        timeout_ms: ms(sheet.how.timeout),
        output_bytes_max: site.settings.output_max.value,
        unsupervised_ms_max: ms(site.settings.unsupervised_max.value),
        grace_ms: ms(site.settings.kill_grace.value),
        orch_lock: site.state.lock_file(),
        confinement: Confinement::None,
    }
}

pub(super) fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The environment of an attempt's commands: the inherited one and orch's variables.
pub(super) fn environment(
    site: &Site,
    sheet: &Sheet,
) -> std::collections::BTreeMap<String, String> {
    let mut env = site.environment.clone();
    env.extend(ports::variables(sheet.port));
    let own = [
        ("ORCH_PLAN", site.plan_id.to_string()),
        ("ORCH_NONCE", sheet.nonce.clone()),
        ("ORCH_ATTEMPT_NUMBER", sheet.ticket.attempt.to_string()),
        ("ORCH_BASE", sheet.base.to_string()),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    env
}

fn launch(
    site: &Site,
    ticket: &Ticket,
    sheet: &Sheet,
    start: Start,
    cap: Option<MicroUsd>,
    part: &SessionDir,
) -> anyhow::Result<Launch> {
    let (env, cwd) = (environment(site, sheet), sheet.tree.clone());
    match sheet.how.runner {
        Runner::Command => {
            let run = sheet
                .run
                .as_deref()
                .ok_or_else(|| anyhow!("task {} has no `run:`", ticket.task))?;
            Ok(command::launch(run, &cwd, env))
        }
        Runner::Rehearsal => Ok(rehearsal::launch(
            &site.exe,
            &site.attempt_dir(ticket).rehearsal(),
            &cwd,
            env,
        )),
        Runner::Claude => {
            let claude = site
                .claude
                .as_ref()
                .ok_or_else(|| anyhow!("the `claude` program was not looked up for this run"))?;
            let system_prompt_file = site
                .attempt_dir(ticket)
                .session(SessionPart::Work)
                .system_prompt();
            tracing::debug!(dir = %part.path().display(), ?start, "a session starts");
            let how = sheet.how.clone();
            let session = Session {
                id: sheet.session,
                start,
                cwd,
                system_prompt_file,
                model: how.model,
                cap,
                tools: how.tools,
                profile: how.profile,
                effort: how.effort,
                timeout: how.timeout,
                env,
            };
            Ok(claude.launch(&session)?)
        }
    }
}

/// Counts the silence of sessions; a command may be silent as long as it likes.
async fn silence(site: &Arc<Site>, ticket: &Ticket) -> Option<Silence> {
    let (owner, of) = (Arc::clone(site), ticket.clone());
    let sheet = blocking(move || Sheet::load(&owner.attempt_dir(&of))).await;
    match sheet {
        Ok(sheet) if sheet.speaks_stream_json() => Some(Silence::new(
            site.settings.start_timeout.value,
            site.settings.stall_timeout.value,
            Instant::now(),
        )),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%ticket, %error, "its silence is not watched");
            None
        }
    }
}

/// One agent process while it runs.
struct Watch<'a> {
    ticket: &'a Ticket,
    part: &'a SessionDir,
    board: &'a Board,
    observations: &'a Observations,
}

impl Watch<'_> {
    /// Waits for the shim; meanwhile passes on what the stream shows, and ends an agent that has fallen silent.
    async fn until_end(&self, running: Running, mut silence: Option<Silence>) {
        let ended = running.wait();
        tokio::pin!(ended);
        let stream = self.part.stream();
        let mut follow = Follow::open(&stream);
        let mut changes = Changes::watch(&stream).ok();
        let mut has_more = false;
        loop {
            let open_tools = follow.as_ref().map(Follow::open_tools);
            let deadline = silence
                .as_ref()
                .and_then(|silence| silence.deadline(open_tools?));
            let is_due = tokio::select! {
                biased;
                result = &mut ended => {
                    if let Err(error) = result {
                        tracing::warn!(%error, "waiting for a shim failed; its lock decides");
                    }
                    return;
                }
                // The end of the shim comes first, also while a flood is read.
                () = tokio::task::yield_now(), if has_more => false,
                () = changed(&mut changes) => false,
                () = until(deadline) => true,
            };
            // A stream that cannot be read tells nothing about the agent, so nothing follows from it.
            let Some(followed) = follow.as_mut() else {
                continue;
            };
            match followed.look() {
                Ok(read) => has_more = read,
                Err(error) => {
                    tracing::warn!(ticket = %self.ticket, %error, "its stream cannot be followed");
                    (follow, has_more) = (None, false);
                    continue;
                }
            }
            self.tell(followed);
            if let Some(counting) = silence.as_mut() {
                counting.looked(followed.lines.seen(), Instant::now());
                let verdict = is_due
                    .then(|| counting.verdict(followed.open_tools(), Instant::now()))
                    .flatten();
                if let Some(end) = verdict {
                    end_silent(self.part, &end).await;
                    silence = None;
                }
            }
        }
    }

    fn tell(&self, followed: &mut Follow) {
        let live = followed.reader.live();
        if live.answered && followed.observed.as_ref() != Some(&live.windows) {
            self.observations.tell(Event::Observed {
                ticket: self.ticket.clone(),
                windows: live.windows.clone(),
            });
            followed.observed = Some(live.windows);
        }
        let doing = Doing {
            last_tool: live.last_tool,
            used: live.used,
        };
        self.board.set(&self.ticket.task, doing);
    }
}

/// The reason is on disk before the agent is ended: whoever collects the attempt finds it, also after a crash.
async fn end_silent(part: &SessionDir, end: &AttemptEnd) {
    let noted = serde_json::to_vec(end)
        .map_err(anyhow::Error::from)
        .and_then(|text| Ok(crate::store::write_atomic(&ended_for(part), &text)?));
    if let Err(error) = noted {
        tracing::error!(%error, "why the agent is ended cannot be kept");
    }
    if let Err(error) = process::end(part.path()).await {
        tracing::warn!(%error, "cannot reach the shim; its own limits end it");
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn changed(changes: &mut Option<Changes>) {
    match changes {
        Some(watch) => {
            if watch.next().await.is_err() {
                *changes = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// Reads the stream of a live session for people.
struct Follow {
    lines: LineFollower,
    reader: SessionReader,
    /// The windows of which the engine was told.
    observed: Option<Vec<UsageWindow>>,
}

impl Follow {
    fn open(stream: &Path) -> Option<Self> {
        Some(Self {
            lines: LineFollower::open(stream, 0).ok()?,
            reader: SessionReader::new(Start::Fresh),
            observed: None,
        })
    }

    /// Reads the next part of what is new; whether there was any.
    fn look(&mut self) -> std::io::Result<bool> {
        let lines = self.lines.read_new()?;
        lines
            .iter()
            .for_each(|line| parts::read_line(&mut self.reader, line));
        Ok(!lines.is_empty())
    }

    fn open_tools(&self) -> u32 {
        self.reader.live().open_tools
    }
}

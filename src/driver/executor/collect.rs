//! `Collect`: nothing of the attempt's process tree lives any more, what it left is read and told apart, and its files
//! are a candidate commit.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::{blocking, execute, landing};
use crate::agent::Start;
use crate::agent::failure::{self, Evidence};
use crate::agent::role::Profile;
use crate::agent::status::{self, Expected, Finding};
use crate::agent::stream::{SessionReader, SessionReport};
use crate::driver::attempt::Sheet;
use crate::driver::how::How;
use crate::driver::site::Site;
use crate::engine::Engine;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::{Collected, Event};
use crate::engine::outcome::Outcome;
use crate::engine::usage::Usage;
use crate::git::collect::{Change, Collected as Files, collect as collect_files};
use crate::git::commit::{CommitSpec, Signing, make_commit};
use crate::git::left_out::{self, Limits};
use crate::git::slot::{EXCHANGE_DIR, Slot, SlotError};
use crate::git::tree::{file_in, tree_with_file};
use crate::git::{commit, pins};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::graph::TaskKind;
use crate::plan::{self, Runner, Strictness, diff};
use crate::process::{self, AgentEnd, ExitReport, LineFollower, Marker};
use crate::store::{AttemptDir, SessionDir, SessionPart, read_limited, sha256_hex, write_atomic};
use crate::verify::scope::Scope;

/// How much of the end of stderr is looked at and quoted.
const TAIL_BYTES: u64 = 16 << 10;
/// Longest plan copy that is read back.
const PLAN_BYTES_MAX: u64 = plan::syntax::SOURCE_BYTES_MAX as u64;
/// Less room than this on a disk, and whatever git says may be because of it.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// Paths named in one sentence.
const PATHS_SHOWN: usize = 10;

/// What is collected, with what only the engine and the plan know.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) ticket: Ticket,
    base: ObjectId,
    ended_by_orch: Option<AttemptEnd>,
    kind: TaskKind,
    files: Vec<String>,
    /// Tasks that have started; an agent's plan edit leaves them alone.
    started: Vec<TaskId>,
}

impl Order {
    pub(super) fn new(
        engine: &Engine,
        ticket: Ticket,
        base: ObjectId,
        ended_by_orch: Option<AttemptEnd>,
    ) -> Self {
        let view = engine.view(&ticket.task);
        let spec = view.as_ref().map(|v| v.node);
        Self {
            kind: spec.map_or(TaskKind::Change, |n| n.kind),
            files: spec.map(|n| n.files.clone()).unwrap_or_default(),
            started: engine
                .tasks()
                .filter(|v| v.attempt > 0 || v.state.is_settled())
                .map(|v| v.node.id.clone())
                .collect(),
            ticket,
            base,
            ended_by_orch,
        }
    }
}

pub(super) async fn collect(site: Arc<Site>, order: Order) -> Event {
    let ticket = order.ticket.clone();
    let result = blocking(move || match collected(&site, &order) {
        Ok(collected) => Ok(collected),
        Err(trouble) => set_aside(&site, &order, trouble),
    });
    match result.await {
        Ok(result) => Event::Collected {
            ticket,
            result: Box::new(result),
        },
        // The task stays where it is, and its slot with it: the next start reads it again.
        Err(error) => Event::Failed {
            outcome: Outcome::Environment,
            detail: format!(
                "what attempt {} of {} left cannot be read yet: {error:#}; it stays where it is, and the next \
                 `orch run` reads it again",
                ticket.attempt, ticket.task
            ),
        },
    }
}

/// Why nothing could be collected.
enum Trouble {
    /// The machine refused; on another day the same files can be read.
    Machine(anyhow::Error),
    /// The files themselves, as far as can be told: the same would be met again.
    Files(anyhow::Error),
}

impl Trouble {
    /// The trouble behind an error that came while the files of a slot were read.
    fn of(site: &Site, error: anyhow::Error) -> Self {
        let kind = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<std::io::Error>())
            .map(std::io::Error::kind);
        let refused = matches!(
            kind,
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
        );
        let places = [site.repo.common_dir(), &site.slots];
        if refused || places.into_iter().any(is_nearly_full) {
            Self::Machine(error)
        } else {
            Self::Files(error)
        }
    }
}

/// Whether so little room is left that git may have failed for it, which its exit code does not tell.
fn is_nearly_full(dir: &Path) -> bool {
    rustix::fs::statvfs(dir)
        .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < ROOM_BYTES_MIN)
}

/// Keeps a slot whose files cannot be read whole, out of the way of the next attempt. The run stops over it, since what
/// could not be read here may not be readable in the next slot either.
fn set_aside(site: &Site, order: &Order, trouble: Trouble) -> anyhow::Result<Collected> {
    let error = match trouble {
        Trouble::Machine(error) => return Err(error),
        Trouble::Files(error) => error,
    };
    let dir = site.attempt_dir(&order.ticket);
    let sheet = Sheet::load(&dir)?;
    let part = execute::last_part(site, &order.ticket);
    let usage = if sheet.speaks_stream_json() {
        read_stream(&part, start_of(&part, &dir))?.usage
    } else {
        Usage::default()
    };
    let slot = Slot::open(&site.repo, &site.slots, sheet.slot)?;
    let name = format!(
        "{}-{}-{}",
        site.run, order.ticket.task, order.ticket.attempt
    );
    let kept = slot.set_aside(&name)?;
    let detail = format!(
        "what the attempt left cannot be read: {error:#}; its slot is kept whole in {}",
        kept.display()
    );
    Ok(Collected {
        end: AttemptEnd::new(Ending::Environment, detail),
        usage,
        candidate: None,
        message: None,
        report: None,
        can_ask: false,
        limit: None,
        windows: Vec::new(),
        can_continue: false,
        notes: vec![format!("its slot is kept in {}", kept.display())],
    })
}

fn collected(site: &Site, order: &Order) -> Result<Collected, Trouble> {
    let opened = || -> anyhow::Result<_> {
        let sheet = Sheet::load(&site.attempt_dir(&order.ticket))?;
        end_leftovers(site, &sheet, &execute::last_part(site, &order.ticket))?;
        let slot = Slot::open(&site.repo, &site.slots, sheet.slot)?;
        Ok((sheet, slot))
    };
    let (sheet, slot) = opened().map_err(Trouble::Machine)?;
    read_slot(site, order, &sheet, slot).map_err(|error| Trouble::of(site, error))
}

fn read_slot(
    site: &Site,
    order: &Order,
    sheet: &Sheet,
    mut slot: Slot,
) -> anyhow::Result<Collected> {
    let dir = site.attempt_dir(&order.ticket);
    let part = execute::last_part(site, &order.ticket);
    let mut notes = Vec::new();
    let files = match collect_files(&mut slot, &order.base, Limits::default()) {
        Err(SlotError::Gone(tree)) => return without_tree(order, sheet, &dir, &part, &tree),
        result => result?,
    };
    if !files.left_out.is_empty() {
        notes.extend(files.left_out.iter().map(|l| {
            format!(
                "`{}` is {}; it is kept with the attempt",
                l.path.display(),
                l.why.in_words()
            )
        }));
        left_out::save(&slot.tree(), &files.left_out, &dir.left_out())?;
    }
    let work = Work::of(site, order, &slot, &files, &dir)?;
    let left = Left::read(site, order, sheet, &slot, &dir, &work, &mut notes)?;
    let mut end = left.end.clone();
    if matches!(end.ending, Ending::Success | Ending::NoChange) {
        if let Some(refused) = work.refused(order, &sheet.how)? {
            end = refused;
        }
    } else if let Some(given) = &order.ended_by_orch {
        end = given.clone();
    }
    let candidate = work.candidate(site, order, &end)?;
    let can_ask = end.ending == Ending::NoStatus
        && sheet.how.runner == Runner::Claude
        && site.settings.ask_status.value;
    Ok(Collected {
        end,
        usage: left.usage,
        candidate,
        message: left.message,
        report: left.report,
        can_ask,
        limit: None,
        windows: Vec::new(),
        can_continue: false,
        notes,
    })
}

/// An attempt that removed its working tree: only what it used is known.
fn without_tree(
    order: &Order,
    sheet: &Sheet,
    dir: &AttemptDir,
    part: &SessionDir,
    tree: &Path,
) -> anyhow::Result<Collected> {
    let usage = if sheet.speaks_stream_json() {
        read_stream(part, start_of(part, dir))?.usage
    } else {
        Usage::default()
    };
    let end = order.ended_by_orch.clone().unwrap_or_else(|| {
        AttemptEnd::new(
            Ending::AgentFailed,
            format!("its working tree {} is gone", tree.display()),
        )
    });
    Ok(Collected {
        end,
        usage,
        candidate: None,
        message: None,
        report: None,
        can_ask: false,
        limit: None,
        windows: Vec::new(),
        can_continue: false,
        notes: Vec::new(),
    })
}

fn start_of(part: &SessionDir, dir: &AttemptDir) -> Start {
    if *part == dir.session(SessionPart::Work) {
        Start::Fresh
    } else {
        Start::Resume
    }
}

/// Ends what is left of the attempt's processes, unless its shim reported that nothing is.
fn end_leftovers(site: &Site, sheet: &Sheet, part: &SessionDir) -> anyhow::Result<()> {
    let ended = process::read_exit(part.path())?.map(|report| report.agent);
    let is_swept = match &ended {
        Some(AgentEnd::Ended(run)) => run.survivors == 0,
        Some(AgentEnd::NotStarted { .. }) => true,
        None => false,
    };
    if is_swept {
        return Ok(());
    }
    let marker = Marker::new(site.run.clone(), sheet.ticket.clone());
    let swept = process::sweep(&marker, Some(&sheet.tree))?;
    if let Some(process) = swept.alive.first() {
        bail!(
            "process {} ({}) of the attempt cannot be ended",
            process.pid,
            process.comm
        );
    }
    Ok(())
}

/// What the attempt changed.
struct Work {
    /// The files, with the base's plan.
    tree: ObjectId,
    /// Whether they differ from the base's.
    changed: bool,
    /// Changed paths, without the plan's.
    paths: Vec<std::path::PathBuf>,
    /// The edit of the plan, or why there cannot be one.
    plan: Result<Option<diff::Permitted>, String>,
}

impl Work {
    fn of(
        site: &Site,
        order: &Order,
        slot: &Slot,
        files: &Files,
        dir: &AttemptDir,
    ) -> anyhow::Result<Self> {
        let repo = site.repo.open()?;
        let plan_path = site.plan.tracked().map(Path::new);
        let base_tree = commit::tree_id(&repo, &order.base)?;
        let mut tree = files.tree.clone();
        // A status is for orch, wherever the agent put it; the repository keeps what it had there.
        for path in status::FILES.map(Path::new) {
            if files.changes.iter().any(|c| c.paths().any(|p| p == path)) {
                let base = file_in(&repo, &order.base, path)?;
                tree = tree_with_file(&repo, &tree, path, base.as_deref())?;
            }
        }
        let mut left = exchanged_plan(slot, dir)?;
        if let Some(path) = plan_path {
            let base = file_in(&repo, &order.base, path)?;
            let now = file_in(&repo, &tree, path)?;
            if now != base {
                // An agent that edited the tracked file instead of its copy meant the same.
                left = left.map(|left| left.or(now));
                tree = tree_with_file(&repo, &tree, path, base.as_deref())?;
            }
        }
        let plan = match left {
            Err(why) => Err(why),
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => {
                // From here on both are needed until the edit has landed, also after a loss of power.
                let given = read_limited(&dir.plan_given(), PLAN_BYTES_MAX)?;
                write_atomic(&dir.plan_given(), &given)?;
                write_atomic(&dir.plan_left(), &bytes)?;
                Self::plan_edit(site, order)
            }
        };
        Ok(Self {
            changed: tree != base_tree,
            tree,
            paths: changed_paths(files, plan_path),
            plan,
        })
    }

    fn plan_edit(site: &Site, order: &Order) -> Result<Option<diff::Permitted>, String> {
        let edit = landing::plan_difference(site, &order.ticket)
            .map_err(|e| format!("the edited plan cannot be read: {e:#}"))?;
        let Some(edit) = edit.filter(|e| !e.is_empty()) else {
            return Ok(None);
        };
        let others_started =
            |task: &TaskId| *task != order.ticket.task && order.started.contains(task);
        let edit =
            diff::permit(edit, &order.ticket.task, others_started).map_err(|why| why.join("; "))?;
        if edit.is_empty() {
            return Ok(None);
        }
        let given = read_text(&site.attempt_dir(&order.ticket).plan_given())
            .map_err(|e| format!("{e:#}"))?;
        let text = site
            .plan
            .compose(&given, Some(&edit), &[])
            .map_err(|e| format!("{e:#}"))?;
        known_roles(site, &text)?;
        Ok(Some(edit))
    }

    /// Whether the attempt left what its task wants changed.
    fn is_change(&self) -> bool {
        self.changed || !matches!(self.plan, Ok(None))
    }

    /// Why a result that calls itself good is not taken.
    fn refused(&self, order: &Order, how: &How) -> anyhow::Result<Option<AttemptEnd>> {
        if let Err(why) = &self.plan {
            return Ok(Some(AttemptEnd::new(
                Ending::PlanEditInvalid,
                format!("the edit of the plan is refused: {why}"),
            )));
        }
        let rule = match order.kind {
            TaskKind::Report => Some("a report task changes no files".to_owned()),
            TaskKind::Change if how.profile == Some(Profile::ReadOnly) => {
                Some(format!("the role `{}` is read-only", how.role))
            }
            TaskKind::Change => None,
        };
        let outside = match rule {
            Some(_) => self.paths.iter().map(std::path::PathBuf::as_path).collect(),
            None => Scope::new(&order.files)?.outside(&self.paths),
        };
        if outside.is_empty() {
            return Ok(None);
        }
        let shown: Vec<String> = outside
            .iter()
            .take(PATHS_SHOWN)
            .map(|p| format!("`{}`", p.display()))
            .collect();
        let more = outside.len().saturating_sub(PATHS_SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let rule = rule.unwrap_or_else(|| format!("the task may write {}", order.files.join(", ")));
        Ok(Some(AttemptEnd::new(
            Ending::OutOfScope,
            format!("{rule}, and changed {}{more}", shown.join(", ")),
        )))
    }

    /// The commit of what was left, named by a ref; none if nothing differs from the base.
    fn candidate(
        &self,
        site: &Site,
        order: &Order,
        end: &AttemptEnd,
    ) -> anyhow::Result<Option<ObjectId>> {
        let plan_alone =
            !self.changed && end.ending == Ending::Success && matches!(self.plan, Ok(Some(_)));
        if !self.changed && !plan_alone {
            return Ok(None);
        }
        let repo = site.repo.open()?;
        let message = format!(
            "candidate of task {}, attempt {}: {}\n",
            order.ticket.task,
            order.ticket.attempt,
            end.ending.in_words()
        );
        let id = make_commit(
            site.repo.program(),
            &repo,
            CommitSpec {
                tree: &self.tree,
                parents: std::slice::from_ref(&order.base),
                message: &message,
                author: &site.identity,
                committer: &site.identity,
                // The same files give the same commit, whenever they are read again.
                at: commit::time_of(&repo, &order.base)?,
                signing: Signing::Off,
            },
        )?;
        pins::name_candidate(
            &repo,
            &pins::candidate_ref(&site.run, &order.ticket.task, order.ticket.attempt),
            &id,
        )?;
        Ok(Some(id))
    }
}

/// Changed paths, without the plan's and those of the status.
fn changed_paths(files: &Files, plan_path: Option<&Path>) -> Vec<std::path::PathBuf> {
    let is_work =
        |p: &&Path| Some(*p) != plan_path && !status::FILES.iter().any(|f| *p == Path::new(f));
    let paths = files.changes.iter().flat_map(Change::paths);
    paths.filter(is_work).map(Path::to_owned).collect()
}

/// Roles are a person's: a task that an agent adds may choose among them, and not name others.
fn known_roles(site: &Site, text: &str) -> Result<(), String> {
    let plan = plan::check(site.plan.shown(), text.as_bytes(), Strictness::AsWritten).plan;
    let tasks = plan.map(|p| p.tasks).unwrap_or_default();
    match tasks.iter().find_map(|t| {
        t.agent
            .as_ref()
            .filter(|name| !site.roles.contains_key(*name))
    }) {
        Some(name) => Err(format!("there is no role `{name}`")),
        None => Ok(()),
    }
}

/// The plan copy, if the agent changed it, or why what stands in its place is no plan.
fn exchanged_plan(
    slot: &Slot,
    dir: &AttemptDir,
) -> anyhow::Result<Result<Option<Vec<u8>>, String>> {
    let copy = slot.tree().join(EXCHANGE_DIR).join("plan.yaml");
    if !copy.exists() {
        return Ok(Ok(None));
    }
    let given = read_limited(&dir.plan_given(), PLAN_BYTES_MAX)?;
    Ok(match read_limited(&copy, PLAN_BYTES_MAX) {
        Ok(left) => Ok((left != given).then_some(left)),
        Err(error) => Err(format!("the edited plan cannot be read: {error}")),
    })
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_limited(path, PLAN_BYTES_MAX)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// What the session said and used.
struct Left {
    end: AttemptEnd,
    usage: Usage,
    message: Option<String>,
    report: Option<String>,
}

impl Left {
    fn read(
        site: &Site,
        order: &Order,
        sheet: &Sheet,
        slot: &Slot,
        dir: &AttemptDir,
        work: &Work,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let part = execute::last_part(site, &order.ticket);
        if let Some(reason) = execute::start_error(&part)? {
            let end = AttemptEnd::new(
                Ending::Environment,
                format!("the agent could not be started: {reason}"),
            );
            return Ok(Self {
                end,
                usage: Usage::default(),
                message: None,
                report: None,
            });
        }
        let exit = process::read_exit(part.path())?;
        let session = if sheet.speaks_stream_json() {
            Some(read_stream(&part, start_of(&part, dir))?)
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
        let evidence = Evidence {
            exit: exit.as_ref().map(|e: &ExitReport| &e.agent),
            stderr: &stderr,
            status: &found.finding,
            changed,
        };
        let end = match &session {
            Some(session) => failure::of_session(&evidence, session),
            None => failure::of_command(&evidence, &tail(&part.stream())?),
        };
        let usage = session.map_or_else(Usage::default, |s| s.usage);
        Ok(Self {
            end,
            usage,
            message,
            report,
        })
    }
}

fn read_stream(part: &SessionDir, start: Start) -> anyhow::Result<SessionReport> {
    let path = part.stream();
    let unreadable = || format!("cannot read {}", path.display());
    let mut reader = SessionReader::new(start);
    let mut follower = match LineFollower::open(&path, 0) {
        Ok(follower) => follower,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(reader.finish()),
        Err(e) => return Err(e).with_context(unreadable),
    };
    loop {
        let lines = follower.read_new().with_context(unreadable)?;
        if lines.is_empty() {
            break;
        }
        lines
            .iter()
            .for_each(|line| execute::read_line(&mut reader, line));
    }
    if let Some(line) = follower.finish() {
        execute::read_line(&mut reader, &line);
    }
    Ok(reader.finish())
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

//! Carries out actions, each in one event. One file an action.
//!
//! Blocking work (git, files) runs on tokio's blocking threads. Here nothing is decided that the engine could decide:
//! an action either did what it says or tells why not.

mod answers;
mod collect;
mod evidence;
mod execute;
mod landing;
mod parts;
mod plan_texts;
mod plan_thread;
mod prepare;
mod publish;
mod resolving;
mod silence;
mod trouble;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::attempt::Sheet;
use super::gates::{Gates, Job};
use super::how;
use super::plan_file::Look;
use super::ports::Lease;
use super::signers::{self, Signed};
use super::site::Site;
use crate::engine::Engine;
use crate::engine::action::Action;
use crate::engine::event::{Author, Checked, Control, Event, PlanRevision, StopLevel, Verb};
use crate::engine::profile::{Profile, Profiles};
use crate::engine::record::{Record, Stamped};
use crate::engine::view::{Stage, TaskState};
use crate::git::signature;
use crate::ids::{TaskId, Ticket};
use crate::plan::checks::Checks;
use crate::plan::{Plan, Runner};
use crate::process;
use crate::report::{Board, Doing};
use crate::store::SessionPart;
use crate::time::{Now, Wall};
pub(super) use plan_texts::plan_after;
use plan_thread::PlanThread;
pub(super) use prepare::setup_parts;
pub(super) use verify::smoke_job;

/// Carries out actions.
#[derive(Debug, Clone)]
pub struct Executor {
    site: Arc<Site>,
    board: Board,
    leases: Leases,
    recalled: Recalled,
    observations: Observations,
    gates: Gates,
    landings: PlanThread,
    /// Diagnostics of plan edits that were rejected, told once.
    rejected: Arc<Mutex<Vec<String>>>,
}

/// What a stopping run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finishing {
    /// Tasks that finish.
    pub tasks: usize,
    /// The longest time that one of their agents may still take.
    pub longest_limit_ms: Option<u64>,
}

/// Port leases of live attempts.
#[derive(Debug, Clone, Default)]
struct Leases(Arc<Mutex<HashMap<TaskId, Lease>>>);

impl Leases {
    fn put(&self, task: &TaskId, lease: Lease) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(task.clone(), lease);
    }

    fn end(&self, task: &TaskId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(task);
    }
}

/// Orders whose agent is to end. Noted before the shim is told, so that an order which starts its shim at that moment
/// sees it.
#[derive(Debug, Clone, Default)]
struct Recalled(Arc<Mutex<HashSet<Ticket>>>);

impl Recalled {
    fn add(&self, ticket: &Ticket) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(ticket.clone());
    }

    fn has(&self, ticket: &Ticket) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(ticket)
    }
}

/// What running agents show that matters before they end. The loop hears it like any event.
#[derive(Debug, Clone)]
struct Observations(mpsc::UnboundedSender<Event>);

impl Observations {
    fn tell(&self, event: Event) {
        if self.0.send(event).is_err() {
            tracing::debug!("the loop has ended and hears nothing more");
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Event> + Send>>;

/// Of an action that is done as soon as it is told on.
fn told() -> Work {
    Box::pin(std::future::ready(Event::Tick))
}

impl Executor {
    /// For a run at `site`, and where it tells of agents that run.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn new(site: Arc<Site>) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<Event>)> {
        let (observations, observed) = mpsc::unbounded_channel();
        let slots = site.settings.verify_parallel.value;
        let executor = Self {
            site,
            landings: PlanThread::start()?,
            board: Board::default(),
            leases: Leases::default(),
            recalled: Recalled::default(),
            observations: Observations(observations),
            gates: Gates::new(slots),
            rejected: Arc::default(),
        };
        Ok((executor, observed))
    }

    /// Where the run takes place.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What agents are doing right now.
    pub fn live(&self) -> BTreeMap<TaskId, Doing> {
        self.board.read()
    }

    /// Sentences for people that no record holds: plan edits that were rejected. Each is given out once.
    pub fn sayings(&self) -> Vec<String> {
        std::mem::take(&mut *self.rejected.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes from new records what later actions need.
    pub fn note(&self, stamped: &[Stamped]) {
        for Stamped { record, .. } in stamped {
            match record {
                Record::Landed { commit, .. } => self.site.note_landed(commit),
                Record::LandingIntended { commit, onto, .. } => {
                    self.site.guard.steps(onto, commit);
                }
                _ => {}
            }
        }
        self.gates.learn(stamped, false);
    }

    /// Why a decision is not heard, if it brings a signature that does not hold.
    pub fn refusal(&self, engine: &Engine, control: &Control) -> Option<String> {
        let site = &self.site;
        let program = signature::program(site.repo.settings());
        let of = (&site.plan_id, &site.run);
        signers::refusal(&program, site.signers.as_ref(), of, engine, control)
            .unwrap_or_else(|error| Some(format!("{error:#}")))
    }

    /// Looks for a stop file and for edits of the plan by a person.
    pub fn look_at_files(&self, engine: &Engine) -> Vec<Event> {
        let mut events = Vec::new();
        if engine.stop_level() < StopLevel::Drain
            && stop_file(self.site.plan.path(), self.site.repo.worktree()).is_some()
        {
            let stop = Verb::Stop {
                level: StopLevel::Drain,
            };
            events.push(Event::Control(Control {
                verb: stop,
                by: Author::StopFile,
                note: None,
            }));
        }
        match self
            .site
            .plan
            .look(|| plan_texts::plan_at_target(&self.site))
        {
            Look::Same => {}
            Look::Revised(plan) => {
                match self.revision(&plan, Author::Person(self.site.identity.name.clone())) {
                    Ok(revision) => events.push(Event::PlanRevised(revision)),
                    Err(error) => self.say(format!(
                        "the plan's new text cannot be kept, so it does not hold: {error:#}"
                    )),
                }
            }
            Look::Unreadable(error) => {
                self.say(format!(
                    "{} cannot be read: {error}; the last good plan goes on",
                    self.site.plan.shown()
                ));
            }
            Look::Undecided(error) => {
                self.say(format!(
                    "the plan was edited, but what the target holds of it cannot be read: {error:#}; the last good \
                     plan goes on until it can"
                ));
            }
            Look::Rejected(unusable) => {
                self.say(format!(
                    "the plan was edited, but {unusable}; the last good plan goes on"
                ));
            }
        }
        events
    }

    /// What a stopping run still waits for; nothing, if nothing.
    pub fn finishing(&self, engine: &Engine, now: Now) -> Option<Finishing> {
        let mut finishing = Finishing {
            tasks: 0,
            longest_limit_ms: None,
        };
        for view in engine.tasks() {
            match view.state {
                TaskState::Running(Stage::Executing) => {
                    let attempt = self.site.run_dir().attempt(&view.node.id, view.attempt);
                    let left = Sheet::load(&attempt).ok().map(|sheet| {
                        execute::ms(sheet.how.timeout).saturating_sub(now.wall.ms_since(view.since))
                    });
                    finishing.longest_limit_ms = finishing.longest_limit_ms.max(left);
                }
                TaskState::Running(Stage::Collecting | Stage::Verifying) | TaskState::Landing => {}
                _ => continue,
            }
            finishing.tasks += 1;
        }
        (finishing.tasks > 0).then_some(finishing)
    }

    fn say(&self, text: String) {
        tracing::warn!("{text}");
        self.rejected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    fn revision(&self, plan: &Plan, by: Author) -> anyhow::Result<PlanRevision> {
        revision(&self.site, plan, by)
    }

    /// Starts an action; the future ends with its one event.
    pub fn start(&self, action: Action, engine: &Engine, at: Wall) -> Work {
        let site = Arc::clone(&self.site);
        match action {
            Action::Prepare {
                ticket,
                slot,
                start,
                evidence,
                model,
                cap: _,
            } => {
                let signed = engine.signed_start(&ticket.task);
                let approval = signed.map(|signed| Signed::of(&site, &ticket, signed));
                let begin = prepare::Begin {
                    ticket,
                    slot,
                    start,
                    evidence,
                    model,
                };
                let order = prepare::Order::new(&site, engine, begin);
                Box::pin(prepare::prepare(self.clone(), order, approval))
            }
            Action::Execute {
                ticket,
                slot: _,
                mode,
                cap,
            } => Box::pin(execute::execute(
                site,
                ticket,
                mode,
                cap,
                self.board.clone(),
                self.recalled.clone(),
                self.observations.clone(),
            )),
            Action::Collect {
                ticket,
                slot: _,
                base,
                ended_by_orch,
                asked,
                continued,
            } => {
                let last = SessionPart::of(asked, continued);
                let order = collect::Order::new(engine, ticket, base, ended_by_orch, last);
                let (board, leases) = (self.board.clone(), self.leases.clone());
                Box::pin(async move {
                    let task = order.ticket.task.clone();
                    let event = collect::collect(site, order).await;
                    board.clear(&task);
                    leases.end(&task);
                    event
                })
            }
            Action::LookForEvidence { task } => Box::pin(evidence::look(site, task)),
            Action::Build {
                ticket,
                behind,
                base,
                candidate,
            } => {
                let place = landing::Place { behind, base };
                let order = landing::BuildOrder::new(engine, ticket, place, candidate);
                let (gates, landings) = (self.gates.clone(), self.landings.clone());
                Box::pin(landing::build(site, gates, landings, order))
            }
            Action::Land {
                ticket,
                commit,
                onto,
            } => {
                let signed = engine.signed(&ticket.task);
                let approval = signed.map(|signed| Signed::of(&site, &ticket, signed));
                Box::pin(landing::land(
                    site,
                    self.landings.clone(),
                    (ticket, approval),
                    commit,
                    onto,
                ))
            }
            Action::Verify {
                ticket,
                commit,
                onto,
                stacked,
            } => {
                let order = verify::Order {
                    ticket,
                    commit,
                    onto,
                    stacked,
                    at,
                };
                Box::pin(verify::verify(site, self.gates.clone(), order))
            }
            Action::Baseline => {
                let tasks = verify::pending(engine);
                Box::pin(verify::baseline(site, self.gates.clone(), tasks, at))
            }
            Action::Smoke { tip } => Box::pin(verify::smoke(site, self.gates.clone(), tip, at)),
            Action::WritePlan => {
                let settled = landing::settled_fields(engine);
                Box::pin(publish::write_plan(self.clone(), settled))
            }
            Action::Publish => Box::pin(publish::publish(self.clone())),
            Action::EndAgent { ticket } => {
                self.end_agent(&ticket);
                told()
            }
            Action::EndGates { ticket } => {
                self.end_gates(&Some(ticket));
                told()
            }
            Action::EndBaseline => {
                self.end_gates(&None);
                told()
            }
            Action::EndSmoke => {
                self.end_gates(&smoke_job());
                told()
            }
            Action::Finish { .. } => told(),
        }
    }

    /// Learns what gates said of trees before: in this run, or in earlier ones.
    pub(super) fn learn<'a>(&self, records: impl IntoIterator<Item = &'a Stamped>, foreign: bool) {
        self.gates.learn(records, foreign);
    }

    /// Ends the gates of an order, or of the untouched target. The event of the order tells when that is done.
    pub(super) fn end_gates(&self, job: &Job) {
        self.gates.end(job);
    }

    /// Asks the shim of an attempt to end its agent or set-up. The event of the order tells when that is done.
    pub fn end_agent(&self, ticket: &Ticket) {
        self.recalled.add(ticket);
        let (mut parts, ticket) = (parts::all(&self.site, ticket), ticket.clone());
        parts.extend(setup_parts(&self.site, &ticket));
        tokio::spawn(async move {
            for part in parts {
                if let Err(error) = process::end(part.path()).await {
                    tracing::warn!(%ticket, %error, "cannot reach the shim; its own limits end it");
                }
            }
        });
    }
}

/// The stop file that is there, if one is.
pub fn stop_file(plan: &std::path::Path, worktree: &std::path::Path) -> Option<std::path::PathBuf> {
    stop_files(plan, worktree).into_iter().find(|f| f.exists())
}

/// Where stop files are looked for: beside the plan, and in `.claude/plans`.
pub fn stop_files(plan: &std::path::Path, worktree: &std::path::Path) -> Vec<std::path::PathBuf> {
    let beside = plan.parent().map(|d| d.join(".stop"));
    beside
        .into_iter()
        .chain([worktree.join(".claude/plans/.stop")])
        .collect()
}

/// Stores a plan's text and gives its revision, with the attempts that settings give to tasks of a plan that says no
/// number.
pub(super) fn revision(site: &Site, plan: &Plan, by: Author) -> anyhow::Result<PlanRevision> {
    let text_sha256 = site.run_dir().keep_plan(plan.text.as_bytes())?;
    let mut graph = plan.graph.clone();
    let checked = checked(site, plan)?;
    for (node, set) in graph.nodes.iter_mut().zip(&checked.of) {
        let gates = checked.sets[*set].gates();
        if node.gates != gates {
            Arc::make_mut(node).gates = gates;
        }
    }
    if plan.meta.max_attempts_default.is_none() {
        for (node, task) in graph.nodes.iter_mut().zip(&plan.tasks) {
            let max_attempts = task
                .max_attempts
                .unwrap_or(site.settings.max_attempts.value);
            if node.max_attempts != max_attempts {
                Arc::make_mut(node).max_attempts = max_attempts;
            }
        }
    }
    Ok(PlanRevision {
        text_sha256,
        by,
        graph,
        profiles: profiles(site, plan),
        checked: Arc::new(checked),
    })
}

/// What the tasks of a plan are checked by, and what those would be that say nothing themselves, in each section and in
/// one that says nothing either.
fn checked(site: &Site, plan: &Plan) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut number = |sets: &mut Vec<Checks>, checks: Checks| -> anyhow::Result<usize> {
        let key = serde_json::to_string(&checks).context("checks are no JSON")?;
        Ok(*known.entry(key).or_insert_with(|| {
            sets.push(checks);
            sets.len() - 1
        }))
    };
    for task in &plan.tasks {
        let set = how::checks(task, plan, &site.settings, site.force);
        checked.of.push(number(&mut checked.sets, set)?);
    }
    for section in 0..=plan.sections.len() {
        let set = how::checks_in(section, plan, &site.settings, site.force);
        number(&mut checked.sets, set)?;
    }
    Ok(checked)
}

/// How the tasks of a plan are done, as far as the engine goes by it. Many are done alike.
fn profiles(site: &Site, plan: &Plan) -> Profiles {
    let mut kinds: BTreeSet<Arc<Profile>> = BTreeSet::new();
    let mut profile = |task: &crate::plan::Task| {
        let how = site.how(task, plan);
        let profile = Profile {
            entitlement: site.entitlement(how.runner),
            metered: how.runner == Runner::Claude,
            is_command: how.runner == Runner::Command,
            agent: how.role,
            model: how.model,
            resolves: site.settings.merge_resolver.value && how.runner == Runner::Claude,
        };
        if let Some(same) = kinds.get(&profile) {
            return Arc::clone(same);
        }
        let new = Arc::new(profile);
        kinds.insert(Arc::clone(&new));
        new
    };
    let tasks = plan.tasks.iter();
    let all: BTreeMap<_, _> = tasks.map(|task| (task.id.clone(), profile(task))).collect();
    Arc::new(all)
}

/// Runs blocking work on a thread for it. A panic in it panics here, and becomes the action's one event.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

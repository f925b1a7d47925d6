//! The rooms where landing commits are judged: `verify.parallel` gate slots, in which no agent ever works, and what gates
//! have said of trees so far.
//!
//! A command runs under a shim of its own, in a clean checkout of exactly one commit, with the environment of agents,
//! ten ports and its own variables. Whatever is in its way there is broken environment, and speaks for nothing.

mod environment;
mod judging;
mod ran;
mod reports;
mod slots;
mod standing;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::ports::{self, Lease};
use super::site::Site;
use crate::agent::command;
use crate::config::Cache;
use crate::crash::point;
use crate::engine::record::Stamped;
use crate::engine::verification::{GateRecord, GateResult, On, Verification};
use crate::git::slot::Slot;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::checks::VerifyCommand;
use crate::process::{self, AgentEnd, Cause, Confinement, Launch, Marker, ShimSpec};
use crate::store::{CommandDir, GateDir, write_whole};

pub(super) use environment::environment;
use judging::{Judging, UnderJudgement};
pub(super) use ran::Ran;
use slots::{Berth, Slots};

/// How long a gate goes on without orch: nobody follows it again, it is asked anew.
const UNSUPERVISED_MAX: Duration = Duration::from_secs(10);

/// How many shims a command may have: one that is killed says nothing about the command, and three in a row do about
/// the machine.
const SHIMS_MAX: u32 = 3;

/// Longest time of a command of `verify.env_probe`.
const PROBE_MAX: Duration = Duration::from_secs(60);

/// Longest answer of such a command that is kept.
const PROBE_CHARS_MAX: usize = 500;

/// Whose gates are asked: those of a landing commit, or, without an order, those of the untouched target.
pub(super) type Job = Option<Ticket>;

/// Why a command has said nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    /// It was ended on demand.
    #[error("the gates were ended")]
    Ended,
    /// The checkout could not be made usable.
    #[error("`setup` failed at `{command}`: {why}; its output is in {}\n\n{excerpt}", dir.display())]
    Setup {
        /// The command.
        command: String,
        /// How it ended.
        why: String,
        /// Where its output lies.
        dir: PathBuf,
        /// Its ends.
        excerpt: String,
    },
    /// Everything else: git, the disk, a shim.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// The rooms, and what is known from them. Shared by all actions of a run.
#[derive(Debug, Clone)]
pub(super) struct Gates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Slots,
    judging: Arc<Judging>,
    /// What the probes answered. Whoever holds this asks them.
    probes: tokio::sync::Mutex<Option<BTreeMap<String, String>>>,
    known: Mutex<HashMap<(ObjectId, String), Known>>,
    ended: Mutex<HashSet<Job>>,
    /// The directories of the shims that run.
    running: Mutex<HashMap<Job, PathBuf>>,
}

/// What a command said of a tree before.
#[derive(Debug, Clone)]
struct Known {
    record: GateRecord,
    probes: BTreeMap<String, String>,
    /// Whether an earlier run has it.
    foreign: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gates {
    /// With so many slots.
    pub(super) fn new(slots: u32) -> Self {
        Self(Arc::new(Inner {
            slots: Slots::new(slots),
            judging: Arc::default(),
            probes: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            ended: Mutex::default(),
            running: Mutex::default(),
        }))
    }

    /// Says that a landing commit is being judged, as long as the answer lives.
    pub(super) fn judges(&self, commit: &ObjectId) -> UnderJudgement {
        UnderJudgement::begin(&self.0.judging, commit)
    }

    /// Waits until a landing commit is no longer being judged, or the job that asks is to end.
    pub(super) async fn until_judged(&self, commit: &ObjectId, job: &Job) {
        loop {
            let changed = self.0.judging.changed();
            if !self.0.judging.has(commit) || self.is_ended(job) {
                return;
            }
            changed.await;
        }
    }

    /// Learns what records say of trees; `foreign` ones count only where a person called the gates hermetic.
    pub(super) fn learn<'a>(&self, records: impl IntoIterator<Item = &'a Stamped>, foreign: bool) {
        for Stamped { record, .. } in records {
            if let Some(result) = judging::said_in(record) {
                self.note(result, foreign);
            }
        }
    }

    /// Remembers what gates said.
    pub(super) fn note(&self, result: &Verification, foreign: bool) {
        let mut known = lock(&self.0.known);
        for record in &result.gates {
            if record.reused || record.result == GateResult::Broken || record.on != On::Landing {
                continue;
            }
            let key = (result.tree.clone(), record.command.clone());
            let entry = Known {
                record: record.clone(),
                probes: result.environment.probes.clone(),
                foreign,
            };
            known.insert(key, entry);
        }
    }

    /// What a command said of a tree in this run, or in an earlier one under the same environment.
    pub(super) fn known(
        &self,
        tree: &ObjectId,
        command: &VerifyCommand,
        cache: Cache,
        probes: &BTreeMap<String, String>,
    ) -> Option<GateRecord> {
        let known = lock(&self.0.known);
        let found = known.get(&(tree.clone(), command.hash()))?;
        let counts = !found.foreign || (cache == Cache::Hermetic && found.probes == *probes);
        counts.then(|| found.record.clone())
    }

    /// Ends the gates of a job, now or as soon as they begin.
    pub(super) fn end(&self, job: &Job) {
        lock(&self.0.ended).insert(job.clone());
        self.0.judging.wake();
        let running = lock(&self.0.running).get(job).cloned();
        if let Some(dir) = running {
            tokio::spawn(async move {
                if let Err(error) = process::end(&dir).await {
                    tracing::warn!(%error, "cannot reach the shim of a gate; its own limits end it");
                }
            });
        }
    }

    pub(super) fn is_ended(&self, job: &Job) -> bool {
        lock(&self.0.ended).contains(job)
    }

    /// A new attempt to ask: what was ended before says nothing about it.
    pub(super) fn begin(&self, job: &Job) {
        lock(&self.0.ended).remove(job);
    }

    /// Waits for a slot, and takes it.
    pub(super) async fn enter<'a>(
        &'a self,
        site: &'a Arc<Site>,
        job: Job,
    ) -> Result<Room<'a>, GateError> {
        let berth = self.0.slots.berth().await?;
        if self.is_ended(&job) {
            return Err(GateError::Ended);
        }
        let (owner, number) = (Arc::clone(site), berth.number());
        let (slot, lease) = blocking(move || -> anyhow::Result<_> {
            let slot = Slot::open_gate(&owner.repo, &owner.slots, number)?;
            Ok((slot, Lease::take(&owner.ports)?))
        })
        .await?;
        let dir = site.run_dir().gates(job.as_ref());
        let room = Room {
            gates: self,
            site,
            job,
            slot: Some(slot),
            port: lease,
            dir,
            next: 0,
            stands: None,
            berth,
        };
        room.sweep().await?;
        Ok(room)
    }
}

/// A gate slot, in somebody's hands.
pub(super) struct Room<'a> {
    gates: &'a Gates,
    site: &'a Arc<Site>,
    job: Job,
    /// Away only while a thread works with it.
    slot: Option<Slot>,
    port: Lease,
    dir: GateDir,
    next: u32,
    /// The commit, and the files where they are not the commit's.
    stands: Option<(ObjectId, Option<ObjectId>)>,
    /// The slot's number; given back after the slot.
    berth: Berth<'a>,
}

impl Room<'_> {
    fn marker(&self) -> Marker {
        let ticket = self.job.clone().unwrap_or_else(|| Ticket {
            task: TaskId::parse("baseline").expect("a word is an id"),
            attempt: 0,
            epoch: 0,
        });
        Marker::new(self.site.run.clone(), ticket)
    }

    fn tree(&self) -> anyhow::Result<PathBuf> {
        Ok(self.slot.as_ref().context("the gate slot is lost")?.tree())
    }

    /// Ends what an earlier orch left running here.
    async fn sweep(&self) -> Result<(), GateError> {
        let (marker, tree) = (self.marker(), self.tree()?);
        let within = tree.clone();
        let swept = blocking(move || process::sweep(&marker, Some(&within)))
            .await
            .context("cannot look for processes")?;
        match swept.alive.first() {
            None => Ok(()),
            Some(process) => Err(anyhow::anyhow!(
                "process {} ({}) works in {} and cannot be ended",
                process.pid,
                process.comm,
                tree.display()
            )
            .into()),
        }
    }

    /// What the probes of the settings answer; asked once in the life of this orch, where the slot stands now.
    pub(super) async fn probe(&mut self) -> Result<BTreeMap<String, String>, GateError> {
        let gates = self.gates;
        let mut known = gates.0.probes.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let mut answers = BTreeMap::new();
        for text in self.site.settings.verify_env_probe.value.clone() {
            let ran = self.run_text(&text, &BTreeMap::new(), PROBE_MAX).await?;
            let answer = match (&ran.facts.fault, ran.facts.exit) {
                (None, Some(0)) => ran.excerpt.trim().chars().take(PROBE_CHARS_MAX).collect(),
                (Some(fault), _) => fault.clone(),
                (None, Some(code)) => format!("failed: exit code {code}"),
                (None, None) => "failed: a signal ended it".to_owned(),
            };
            answers.insert(text, answer);
        }
        *known = Some(answers.clone());
        Ok(answers)
    }

    /// Runs a verify command where the slot stands. Tracked files that it changes are a fault of it.
    pub(super) async fn run(&mut self, command: &VerifyCommand) -> Result<Ran, GateError> {
        let timeout = command
            .timeout
            .unwrap_or(self.site.settings.verify_timeout.value);
        let tree = self.tree()?;
        let reports = command.reports.clone();
        blocking({
            let (tree, reports) = (tree.clone(), reports.clone());
            move || reports::clear(&tree, &reports)
        })
        .await?;
        let mut ran = self.run_text(&command.run, &command.env, timeout).await?;
        point("gate-told");
        ran.among_leftovers = self.berth.is_shared();
        if !reports.is_empty() {
            let passed = ran.facts.exit == Some(0);
            match blocking(move || reports::read(&tree, &reports, passed)).await {
                Ok(told) => ran.facts = ran::told_by(told, ran.facts),
                Err(error) => ran.facts.broke = Some(format!("{error:#}")),
            }
        }
        let mut slot = self.slot.take().context("the gate slot is lost")?;
        let (slot, altered) = blocking(move || {
            let altered = slot.altered();
            (slot, altered)
        })
        .await;
        self.slot = Some(slot);
        let altered = match altered {
            // A person's own set of files on a base differs from its index by intent.
            Ok(_) if !matches!(&self.stands, Some((_, None))) => Vec::new(),
            Ok(altered) => altered,
            Err(error) => {
                self.stands = None;
                let why = format!("it left a place whose files cannot be compared: {error}");
                ran.facts.broke = ran.facts.broke.or(Some(why));
                Vec::new()
            }
        };
        if !altered.is_empty() && ran.facts.fault.is_none() {
            let names: Vec<String> = altered
                .iter()
                .take(10)
                .map(|path| format!("`{}`", path.display()))
                .collect();
            ran.facts.fault = Some(format!(
                "it changed tracked files, so that it says nothing about this tree: {}",
                names.join(", ")
            ));
        }
        Ok(ran)
    }

    /// Runs a command where the slot stands, whatever it changes there.
    pub(super) async fn run_text(
        &mut self,
        text: &str,
        variables: &BTreeMap<String, String>,
        timeout: Duration,
    ) -> Result<Ran, GateError> {
        if self.gates.is_ended(&self.job) {
            return Err(GateError::Ended);
        }
        let mut env = self.site.environment.clone();
        env.extend(ports::variables(self.port.first()));
        env.insert("ORCH_PLAN".to_owned(), self.site.plan_id.to_string());
        env.insert("ORCH_GATE".to_owned(), "1".to_owned());
        env.extend(variables.clone());
        let launch = command::launch(text, &self.tree()?, env);
        let argv = std::iter::once(launch.program.to_string_lossy().into_owned())
            .chain(launch.args.iter().cloned())
            .collect();
        for lost in 1.. {
            let dir = self.fresh_dir()?;
            let spec = self.spec(&dir, &launch, timeout);
            if let Some(end) = self.supervised(&dir, &spec).await? {
                let tree = self.tree()?;
                return blocking(move || ran::of(&dir, argv, &end, timeout, &tree)).await;
            }
            let said = process::shim_log(dir.path()).context("cannot read the shim's log")?;
            tracing::warn!(dir = %dir.path().display(), lost, said, "a gate lost its shim");
            self.sweep().await?;
            if lost == SHIMS_MAX {
                return Ok(ran::unsupervised(&dir, argv));
            }
        }
        Err(GateError::Ended)
    }

    fn spec(&self, dir: &CommandDir, launch: &Launch, timeout: Duration) -> ShimSpec {
        let settings = &self.site.settings;
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        ShimSpec {
            version: ShimSpec::VERSION,
            launch: launch.clone(),
            stdin: dir.stdin(),
            stdout: dir.stdout(),
            stderr: dir.stderr(),
            marker: self.marker(),
            timeout_ms: ms(timeout),
            output_bytes_max: settings.output_max.value,
            unsupervised_ms_max: ms(UNSUPERVISED_MAX.min(settings.unsupervised_max.value)),
            grace_ms: ms(settings.kill_grace.value),
            orch_lock: self.site.state.lock_file(),
            confinement: Confinement::None,
        }
    }

    /// How a command ended; `None` if its shim was killed and cannot say it, or was told to end by somebody else than
    /// orch: it takes no word from what it runs.
    async fn supervised(
        &self,
        dir: &CommandDir,
        spec: &ShimSpec,
    ) -> Result<Option<AgentEnd>, GateError> {
        let path = dir.path().to_owned();
        let running = process::spawn(&self.site.exe, &path, spec).context("cannot start a shim")?;
        lock(&self.gates.0.running).insert(self.job.clone(), path.clone());
        // Whoever ended the job before the shim could be reached has left it to this place.
        if self.gates.is_ended(&self.job)
            && let Err(error) = process::end(&path).await
        {
            tracing::warn!(%error, "cannot reach the shim of a gate; its own limits end it");
        }
        let waited = running.wait().await;
        lock(&self.gates.0.running).remove(&self.job);
        waited.context("cannot wait for a shim")?;
        let report = process::read_exit(&path).context("cannot read how a gate ended")?;
        match report.map(|report| report.agent) {
            Some(AgentEnd::Ended(run))
                if matches!(
                    run.cause,
                    Cause::Ended | Cause::EndedFromBelow | Cause::Unsupervised
                ) =>
            {
                match self.gates.is_ended(&self.job) {
                    true => Err(GateError::Ended),
                    false => Ok(None),
                }
            }
            end => Ok(end),
        }
    }

    fn fresh_dir(&mut self) -> anyhow::Result<CommandDir> {
        loop {
            let dir = self.dir.command(self.next);
            self.next += 1;
            if !dir.path().exists() {
                dir.create()?;
                write_whole(&dir.stdin(), b"")?;
                return Ok(dir);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

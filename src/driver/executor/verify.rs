//! `Verify`, `Baseline` and `Smoke`: the commands that judge a landing commit, the untouched target, or the target when
//! the plan is through, one after the other.
//!
//! What a gate's end means is judged in `verify::judge`; here it is brought about.

mod beyond;
mod blame;
mod checked;
mod smoke;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::blocking;
use crate::config::Cache;
use crate::driver::gates::{self, GateError, Gates, Job, Ran, Room};
use crate::driver::how;
use crate::driver::protection;
use crate::driver::site::Site;
use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::scope::Rules;
use crate::engine::verification::{GateRecord, GateResult, On, Verdict, Verification};
use crate::git::refs;
use crate::git::tree::{file_in, paths_between, tree_id};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::checks::{Checks, FailOn, VerifyCommand};
use crate::time::Wall;
use crate::verify::judge::{Facts, Judged, judge, unattained};
use crate::verify::outputs;
use crate::verify::protect::Protection;
use beyond::Changed;
pub(super) use checked::{checks, joined_checks, landing_checks};
pub(super) use smoke::smoke;
pub(in crate::driver) use smoke::smoke_job;

/// A landing commit that is to be judged.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) ticket: Ticket,
    pub(super) commit: ObjectId,
    pub(super) onto: ObjectId,
    /// Whether others before it have yet to land: then nobody is blamed, and the tip that will be is not asked.
    pub(super) stacked: bool,
    pub(super) at: Wall,
}

/// What the gates have said so far.
#[derive(Default)]
struct Said {
    gates: Vec<GateRecord>,
    probes: BTreeMap<String, String>,
}

/// Why the gates went no further.
enum Halt {
    /// The candidate is red.
    Red(String),
    /// They could not be asked.
    Error(GateError),
}

impl From<GateError> for Halt {
    fn from(error: GateError) -> Self {
        Self::Error(error)
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error.into())
    }
}

/// Judges a landing commit. What is built on it waits for what is said of it, and it can be ended, from now on.
pub(super) fn verify(
    site: Arc<Site>,
    gates: Gates,
    order: Order,
) -> impl Future<Output = Event> + Send {
    let judging = gates.judges(&order.commit);
    gates.begin(&Some(order.ticket.clone()));
    async move {
        let mut said = Said::default();
        let halted = judged(&site, &gates, &order, &mut said).await.err();
        let result = concluded(&site, &order.commit, said, halted, order.at);
        gates.note(&result, false);
        drop(judging);
        Event::Verified {
            ticket: order.ticket,
            result: Box::new(result),
        }
    }
}

/// The tasks whose gates are asked about the untouched target: those that are still to be done.
pub(super) fn pending(engine: &Engine) -> Vec<TaskId> {
    let open = engine.tasks().filter(|view| !view.state.is_settled());
    open.map(|view| view.node.id.clone()).collect()
}

/// Judges the untouched target. It can be ended from now on.
pub(super) fn baseline(
    site: Arc<Site>,
    gates: Gates,
    tasks: Vec<TaskId>,
    at: Wall,
) -> impl Future<Output = Event> + Send {
    gates.begin(&None);
    base(site, gates, tasks, at)
}

async fn base(site: Arc<Site>, gates: Gates, tasks: Vec<TaskId>, at: Wall) -> Event {
    let mut said = Said::default();
    let tip = {
        let site = Arc::clone(&site);
        blocking(move || target(&site)).await
    };
    let result = match tip {
        Ok(tip) => {
            let halted = base_judged(&site, &gates, &tip, &tasks, &mut said)
                .await
                .err();
            concluded(&site, &tip, said, halted, at)
        }
        Err(error) => Verification {
            tree: ObjectId::new(""),
            gates: Vec::new(),
            environment: crate::engine::verification::Environment::default(),
            verdict: Verdict::Broken(format!("{error:#}")),
        },
    };
    Event::Baselined(Box::new(result))
}

fn target(site: &Site) -> anyhow::Result<ObjectId> {
    let repo = site.repo.open()?;
    refs::tip(&repo, &site.target)?.with_context(|| format!("{} is gone", site.target))
}

fn concluded(
    site: &Site,
    commit: &ObjectId,
    said: Said,
    halted: Option<Halt>,
    at: Wall,
) -> Verification {
    let verdict = match halted {
        None => Verdict::Passed,
        Some(Halt::Red(detail)) => Verdict::Failed(detail),
        Some(Halt::Error(GateError::Ended)) => Verdict::Interrupted,
        Some(Halt::Error(error)) => Verdict::Broken(error.to_string()),
    };
    let place = || -> anyhow::Result<_> {
        let repo = site.repo.open()?;
        let tree = tree_id(&repo, commit)?;
        let environment = gates::environment(&repo, &tree, said.probes.clone(), at)?;
        Ok((tree, environment))
    };
    match place() {
        Ok((tree, environment)) => Verification {
            tree,
            gates: said.gates,
            environment,
            verdict,
        },
        Err(error) => Verification {
            tree: ObjectId::new(""),
            gates: said.gates,
            environment: crate::engine::verification::Environment::default(),
            verdict: Verdict::Broken(format!("the tree of {commit} cannot be read: {error:#}")),
        },
    }
}

async fn judged(
    site: &Arc<Site>,
    gates: &Gates,
    order: &Order,
    said: &mut Said,
) -> Result<(), Halt> {
    let (owner, ticket, commit, onto) = (
        Arc::clone(site),
        order.ticket.clone(),
        order.commit.clone(),
        order.onto.clone(),
    );
    let (checks, base, tree, missing, may_drop, changed) =
        blocking(move || -> anyhow::Result<_> {
            let checks = landing_checks(&owner, &ticket)?;
            let repo = owner.repo.open()?;
            let missing = outputs::missing(
                &checks.outputs,
                |path| Ok(file_in(&repo, &commit, Path::new(path))?),
                |path| Ok(file_in(&repo, &onto, Path::new(path))?),
            )?;
            let base = tree_id(&repo, &onto)?;
            let tree = tree_id(&repo, &commit)?;
            let rules = Protection::new(&Rules {
                allow_protected: checks.allow_protected.clone(),
                ..Rules::default()
            })?;
            let mut tests = Vec::new();
            let mut may_drop = false;
            for path in paths_between(&repo, &base, &tree)? {
                if rules.is_test(&path) {
                    may_drop |= rules.allows(&path);
                    if file_in(&repo, &tree, &path)?.is_some() {
                        tests.push(path);
                    }
                }
            }
            let trees = [&onto, &commit];
            let protected =
                protection::protected_paths(&owner, &repo, &ticket.task, &checks, trees)?;
            let changed = Changed { protected, tests };
            Ok((checks, base, tree, missing, may_drop, changed))
        })
        .await?;
    if !missing.is_empty() {
        return Err(Halt::Red(format!(
            "what the task must leave is not there: {}",
            missing.join("; ")
        )));
    }
    if checks.verify.is_empty() {
        return Ok(());
    }
    let cache = site.settings.verify_cache.value;
    let mut judging = Judging {
        site,
        gates,
        order,
        base,
        tree,
        cache,
        may_drop,
        room: None,
    };
    judging.all(&checks, said).await?;
    judging.beyond(&checks, &changed, said).await
}

/// A landing commit under judgement. The room is taken when the first gate must really run.
struct Judging<'a> {
    site: &'a Arc<Site>,
    gates: &'a Gates,
    order: &'a Order,
    base: ObjectId,
    tree: ObjectId,
    cache: Cache,
    /// Whether a person allows that tests go.
    may_drop: bool,
    room: Option<Room<'a>>,
}

impl<'a> Judging<'a> {
    async fn all(&mut self, checks: &Checks, said: &mut Said) -> Result<(), Halt> {
        if !self.site.settings.verify_env_probe.value.is_empty() {
            self.place().await?;
            said.probes = self.at(None).await?.probe().await?;
        }
        for command in &checks.verify {
            let known = self
                .gates
                .known(&self.tree, command, self.cache, &said.probes);
            if let Some(record) = known.filter(|r| r.result == GateResult::Passed) {
                said.gates.push(GateRecord {
                    reused: true,
                    required: command.required,
                    name: command.name.clone(),
                    ..record
                });
                continue;
            }
            let (record, told) = self.one(command, &said.probes).await?;
            let stops = command.required && !record.result.lets_land();
            said.gates.push(record);
            if stops {
                return Err(Halt::Red(told));
            }
        }
        Ok(())
    }

    /// The room, standing at the landing commit or, given that, at the tip it was built on.
    async fn at(&mut self, other: Option<&ObjectId>) -> Result<&mut Room<'a>, GateError> {
        if self.room.is_none() {
            let job = Some(self.order.ticket.clone());
            self.room = Some(self.gates.enter(self.site, job).await?);
        }
        let room = self.room.as_mut().context("the room was just taken")?;
        let wanted = other.unwrap_or(&self.order.commit);
        if !room.stands_at(wanted) {
            room.stand_at(wanted).await?;
        }
        Ok(room)
    }

    async fn one(
        &mut self,
        command: &VerifyCommand,
        probes: &BTreeMap<String, String>,
    ) -> Result<(GateRecord, String), Halt> {
        self.place().await?;
        let mut ran = self.at(None).await?.run(command).await?;
        self.wait_for_base(command, probes).await?;
        let mut base = self.known_base(command, probes);
        let mut judged = judge(command.fail_on, &ran.facts, base.as_ref(), self.may_drop);
        let mut is_repeated = false;
        // Behind others nobody is blamed: what is red there is judged again when nothing is before it.
        if command.required && !self.order.stacked && !judged.result.lets_land() {
            is_repeated = ran.among_leftovers && !ran.facts.is_silent();
            judged = self
                .before_blame(command, judged, &mut ran, &mut base)
                .await?;
        }
        if command.is_goal && judged.result == GateResult::Broken {
            judged = unattained(&ran.facts).unwrap_or(judged);
        }
        let tip_is_red = base.as_ref().is_some_and(|base| base.exit != Some(0));
        if command.required
            && !self.order.stacked
            && command.must_pass_before()
            && judged.result == GateResult::Failed
            && tip_is_red
        {
            return Err(Halt::Error(
                anyhow::anyhow!(
                    "`{}` fails on the target's tip {} itself, without the task's change ({})",
                    command.name,
                    self.order.onto.short(),
                    judged.detail
                )
                .into(),
            ));
        }
        if judged.result == GateResult::Broken && command.required {
            return Err(Halt::Error(
                anyhow::anyhow!("`{}`: {}\n\n{}", command.name, judged.detail, ran.excerpt).into(),
            ));
        }
        if judged.result == GateResult::Failed && command.fail_on == FailOn::New && !is_repeated {
            judged = self.again(command, judged, base.as_ref()).await?;
        }
        let told = evidence(command, &judged, &ran);
        Ok((record(command, &judged, &ran), told))
    }

    /// Behind others, what the base does is being found out in another slot; this one is left to those who need it.
    async fn wait_for_base(
        &mut self,
        command: &VerifyCommand,
        probes: &BTreeMap<String, String>,
    ) -> Result<(), GateError> {
        let is_open = self.known_base(command, probes).is_none();
        if self.order.stacked && is_open {
            self.room = None;
            let job = Some(self.order.ticket.clone());
            self.gates.until_judged(&self.order.onto, &job).await;
            if self.gates.is_ended(&job) {
                return Err(GateError::Ended);
            }
        }
        Ok(())
    }

    fn known_base(
        &self,
        command: &VerifyCommand,
        probes: &BTreeMap<String, String>,
    ) -> Option<Facts> {
        let record = self.gates.known(&self.base, command, self.cache, probes)?;
        Some(facts_of(&record))
    }

    /// Runs a command once more on the same tree: what does not fail again is flaky, unless the candidate touches it.
    async fn again(
        &mut self,
        command: &VerifyCommand,
        first: Judged,
        base: Option<&Facts>,
    ) -> Result<Judged, Halt> {
        if first.new.is_empty() {
            return Ok(first);
        }
        let commit = self.order.commit.clone();
        let room = self.at(None).await?;
        room.stand_at(&commit).await?;
        let second = room.run(command).await?;
        let again = judge(command.fail_on, &second.facts, base, self.may_drop);
        match again.result.lets_land() {
            true => Ok(self.flaky(first)?),
            false => Ok(first),
        }
    }

    /// Which of the failing tests the candidate touches: a changed file that names the test, or that the test names.
    fn touched(&self, names: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
        let repo = self.site.repo.open()?;
        let mut touched = BTreeSet::new();
        for path in paths_between(&repo, &self.base, &self.tree)? {
            let bytes = file_in(&repo, &self.order.commit, &path)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let path = path.to_string_lossy();
            for name in names {
                let last = name
                    .rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == ' '))
                    .find(|part| !part.trim().is_empty())
                    .unwrap_or(name);
                if name.contains(&*path) || text.contains(last.trim()) {
                    touched.insert(name.clone());
                }
            }
        }
        Ok(touched)
    }
}

/// Asks the gates of the tasks that are to be done about the untouched target.
async fn base_judged(
    site: &Arc<Site>,
    gates: &Gates,
    tip: &ObjectId,
    tasks: &[TaskId],
    said: &mut Said,
) -> Result<(), Halt> {
    let commands = commands_of(site, tasks);
    asked(site, gates, (tip, None, Among::Leftovers), &commands, said).await
}

/// In which slot commands are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    /// Where others have been asked before; what is red there is asked again in an empty one.
    Leftovers,
    /// In an empty one: what is green there owes nothing to others, either.
    Nothing,
}

/// Asks commands about a commit that nobody is to blame for: what it was built on is not asked.
async fn asked(
    site: &Arc<Site>,
    gates: &Gates,
    (tip, job, among): (&ObjectId, Job, Among),
    commands: &[VerifyCommand],
    said: &mut Said,
) -> Result<(), Halt> {
    if commands.is_empty() {
        return Ok(());
    }
    let tree = tree_id(
        &site.repo.open().context("cannot open the repository")?,
        tip,
    )
    .context("cannot read the target's tree")?;
    let cache = site.settings.verify_cache.value;
    let mut room: Option<Room<'_>> = None;
    if !site.settings.verify_env_probe.value.is_empty() {
        let taken = gates.enter(site, job.clone()).await?;
        said.probes = standing(room.insert(taken), tip, among)
            .await?
            .probe()
            .await?;
    }
    for command in commands {
        if let Some(record) = gates.known(&tree, command, cache, &said.probes)
            && record.result == GateResult::Passed
            && (record.alone || among == Among::Leftovers)
        {
            said.gates.push(GateRecord {
                reused: true,
                ..record
            });
            continue;
        }
        if room.is_none() {
            let taken = gates.enter(site, job.clone()).await?;
            standing(room.insert(taken), tip, among).await?;
        }
        let room = room.as_mut().context("the room was just taken")?;
        let mut ran = room.run(command).await?;
        let mut judged = judge(FailOn::Any, &ran.facts, None, true);
        let decides = command.required && !command.is_goal;
        // What tests of other trees have left says nothing about this one.
        if decides && !judged.result.lets_land() && ran.among_leftovers {
            room.stand_alone_at(tip).await?;
            ran = room.run(command).await?;
            judged = judge(FailOn::Any, &ran.facts, None, true);
        }
        let is_red = decides && !judged.result.lets_land();
        let told = evidence(command, &judged, &ran);
        said.gates.push(record(command, &judged, &ran));
        if is_red && judged.result == GateResult::Broken {
            return Err(Halt::Error(anyhow::anyhow!(told).into()));
        }
        if is_red && (command.must_pass_before() || ran.facts.fault.is_some()) {
            return Err(Halt::Red(told));
        }
    }
    Ok(())
}

/// The room, at a commit.
async fn standing<'r, 'a>(
    room: &'r mut Room<'a>,
    commit: &ObjectId,
    among: Among,
) -> Result<&'r mut Room<'a>, GateError> {
    match among {
        Among::Leftovers => room.stand_at(commit).await?,
        Among::Nothing => room.stand_alone_at(commit).await?,
    }
    Ok(room)
}

/// The distinct commands of tasks, in the order of the plan.
fn commands_of(site: &Site, tasks: &[TaskId]) -> Vec<VerifyCommand> {
    let plan = site.plan.current();
    let mut commands: Vec<VerifyCommand> = Vec::new();
    let mut seen = BTreeSet::new();
    for task in tasks.iter().filter_map(|id| plan.task(id)) {
        for command in how::checks(task, &plan, &site.settings, site.force).verify {
            if seen.insert((command.hash(), command.must_pass_before(), command.required)) {
                commands.push(command);
            }
        }
    }
    commands
}

fn facts_of(record: &GateRecord) -> Facts {
    Facts {
        exit: record.exit,
        counts: record.counts,
        failures: record.failures.iter().cloned().collect(),
        ..Facts::default()
    }
}

fn record(command: &VerifyCommand, judged: &Judged, ran: &Ran) -> GateRecord {
    GateRecord {
        name: command.name.clone(),
        command: command.hash(),
        argv: ran.argv.clone(),
        required: command.required,
        result: judged.result,
        exit: ran.facts.exit,
        ms: ran.ms,
        counts: ran.facts.counts,
        failures: ran.facts.failures.iter().cloned().collect(),
        reused: false,
        detail: judged.detail.clone(),
        on: On::Landing,
        alone: !ran.among_leftovers,
        goal: command.is_goal,
    }
}

/// What a red gate has to say to a person and to the next attempt.
fn evidence(command: &VerifyCommand, judged: &Judged, ran: &Ran) -> String {
    let mut text = format!(
        "`{}` {}: {}; its whole output is in {}",
        command.name,
        judged.result.in_words(),
        judged.detail,
        ran.dir.display()
    );
    if !ran.excerpt.is_empty() {
        text.push_str("\n\n");
        text.push_str(&ran.excerpt);
    }
    text
}

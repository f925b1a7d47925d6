//! From a lock to a loop: a new run, or the last one of the same plan and target going on.
//!
//! A run goes on unless it completed: one that stopped, died, waited or failed is continued by the next start, with the
//! settings and the plan of that start. What was under way when orch died is looked at by `recovery`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use anyhow::Context;

use super::attempt::Sheet;
use super::executor::revision;
use super::site::Site;
use super::{Executor, Loop, now, recovery, spending};
use crate::config::Cache;
use crate::engine::event::{Author, Event};
use crate::engine::outcome::Outcome;
use crate::engine::policy::Policy;
use crate::engine::record::{FORMAT, Record};
use crate::engine::start::{RunStart, Selection};
use crate::engine::view::{Completion, TaskState};
use crate::engine::{Effects, Engine, InFlight};
use crate::error::{OrKind, Result};
use crate::git::refs;
use crate::ids::{ObjectId, PlanId, RefName, RunId, SlotId, TaskId};
use crate::notify::Notifier;
use crate::process;
use crate::report::Reporter;
use crate::store::{Ledger, NewRun, Reader, RunSummary, StateDir};

/// Runs that are looked through for left-over work.
const RUNS_MAX: u32 = 1_000;

/// Runs whose gates are remembered under `verify.cache: hermetic`.
const RUNS_REMEMBERED: u32 = 100;

/// A loop that is ready to run, with what it begins with.
#[derive(Debug)]
pub struct Begun {
    /// The loop.
    pub work: Loop,
    /// The effects of starting or resuming.
    pub first: Effects,
    /// What recovery found.
    pub found: Vec<Event>,
}

/// The run that a start of this plan onto this target goes on with, if there is one.
///
/// # Errors
/// If the ledger cannot be read.
pub fn unfinished(reader: &Reader, plan: &PlanId, target: &RefName) -> Result<Option<RunSummary>> {
    let last = reader.latest_run(Some(plan)).or_environment()?;
    let goes_on = |run: &RunSummary| {
        run.target == *target
            && run
                .end
                .as_ref()
                .is_none_or(|end| end.outcome != Outcome::Completed)
    };
    let Some(run) = last.filter(goes_on) else {
        return Ok(None);
    };
    // What a run had under way whose records are lost is not known: its tasks begin anew, in a new run.
    let is_over = reader.lost_records(&run.run).or_environment()?;
    Ok((!is_over).then_some(run))
}

/// What a start asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which tasks.
    pub selection: Selection,
    /// How many agents at once.
    pub jobs: u32,
    /// The numbers to decide by.
    pub policy: Policy,
}

/// Starts the site's run, or goes on with it if the ledger knows it.
///
/// # Errors
/// If the ledger or the repository cannot be used, or the ledger's records are not those of a run.
pub async fn begin(
    site: Site,
    ledger: Ledger,
    reporter: Reporter,
    notifier: Notifier,
    wanted: Wanted,
    started: Instant,
) -> Result<Begun> {
    let at = now(started);
    let reader = ledger.reader();
    let known = reader.run(&site.run).or_environment()?.is_some();
    let start = run_start(&site, &reader, wanted)?;
    if !known {
        let boot = process::boot_id().or_environment()?;
        if site.state.enter_boot(&boot).or_environment()? {
            // The ledger may have lost all that it knew of a run.
            recovery::left_objects(&site, recovery::unwritten_since(at.wall)).or_environment()?;
        }
        let (engine, mut first) = Engine::start(site.run.clone(), &start, at);
        let new = new_run(&site);
        let mut work =
            Loop::new(engine, ledger, reporter, notifier, site, started).or_environment()?;
        learn_earlier(&work.executor, &reader)?;
        work.found(&new, &mut first).or_environment()?;
        return Ok(Begun {
            work,
            first,
            found: Vec::new(),
        });
    }
    let records = reader.records(&site.run).or_environment()?;
    for stamped in &records {
        if let Record::LandingIntended { commit, onto, .. } = &stamped.record {
            site.guard.steps(onto, commit);
        }
    }
    let mut engine = Engine::replay(site.run.clone(), &records)
        .context("the ledger's records of this run contradict each other")
        .or_bug()
        .map_err(|e| e.hint("orch doctor                   says what is wrong"))?;
    let first = engine.resume(&start, at);
    if let Some(landed) = engine.tip() {
        site.note_landed(landed);
    }
    let unsettled = engine.unsettled();
    site.guard
        .resume(unsettled.iter().filter_map(|(ticket, at)| match at {
            InFlight::Executing { .. } | InFlight::Collecting { .. } => Some(ticket),
            InFlight::Preparing { .. }
            | InFlight::Building { .. }
            | InFlight::Verifying { .. }
            | InFlight::Landing { .. } => None,
        }));
    let found = recovery::look(&site, &engine, &records)
        .await
        .or_environment()?;
    let work = Loop::new(engine, ledger, reporter, notifier, site, started).or_environment()?;
    learn_earlier(&work.executor, &reader)?;
    work.executor.learn(&records, false);
    Ok(Begun { work, first, found })
}

/// Learns what gates said in earlier runs, where a person called them hermetic.
fn learn_earlier(executor: &Executor, reader: &Reader) -> Result<()> {
    let site = executor.site();
    if site.settings.verify_cache.value != Cache::Hermetic {
        return Ok(());
    }
    for run in reader.runs(RUNS_REMEMBERED).or_environment()? {
        if run.run != site.run {
            executor.learn(&reader.records(&run.run).or_environment()?, true);
        }
    }
    Ok(())
}

/// Places of slots in which other runs, which died or could not go on, left work that nobody has collected. Their agents
/// may even live; the next start of their plans finds it all there.
///
/// # Errors
/// If the ledger cannot be read.
pub fn taken_slots(reader: &Reader, state: &StateDir, run: &RunId) -> Result<BTreeSet<SlotId>> {
    let mut taken = BTreeSet::new();
    for other in reader.runs(RUNS_MAX).or_environment()? {
        if other.run == *run || !may_have_left_work(&other) {
            continue;
        }
        let records = reader.records(&other.run).or_environment()?;
        let engine = Engine::replay(other.run.clone(), records).or_bug()?;
        for ticket in engine.parked() {
            let dir = state.run(&other.run).attempt(&ticket.task, ticket.attempt);
            taken.extend(Sheet::find(&dir).or_environment()?.map(|sheet| sheet.slot));
        }
        for (ticket, in_flight) in engine.under_way() {
            let dir = state.run(&other.run).attempt(&ticket.task, ticket.attempt);
            match in_flight {
                InFlight::Preparing { .. }
                | InFlight::Executing { .. }
                | InFlight::Collecting { .. } => {
                    taken.extend(Sheet::find(&dir).or_environment()?.map(|sheet| sheet.slot));
                }
                // Gate slots are shared, and made clean before each use.
                InFlight::Building { .. }
                | InFlight::Verifying { .. }
                | InFlight::Landing { .. } => {}
            }
        }
    }
    Ok(taken)
}

/// All other ends of a run wait until nothing is under way.
fn may_have_left_work(run: &RunSummary) -> bool {
    let outcome = run.end.map(|end| end.outcome);
    matches!(outcome, None | Some(Outcome::Environment | Outcome::Bug))
}

fn new_run(site: &Site) -> NewRun {
    NewRun {
        run: site.run.clone(),
        plan_id: site.plan_id.clone(),
        plan_path: site.plan.path().to_string_lossy().into_owned(),
        target: site.target.clone(),
        repository: site.repo.common_dir().to_string_lossy().into_owned(),
    }
}

fn run_start(site: &Site, reader: &Reader, wanted: Wanted) -> Result<RunStart> {
    let Wanted {
        selection,
        jobs,
        policy,
    } = wanted;
    let plan = site.plan.current();
    let revision =
        revision(site, &plan, Author::Person(site.identity.name.clone())).or_environment()?;
    let has_gates = revision
        .graph
        .nodes
        .iter()
        .any(|node| !node.gates.is_none());
    let (learned, spent_today) = spending::earlier(reader, &site.run, &policy.budgets)?;
    Ok(RunStart {
        format: FORMAT,
        orch: env!("CARGO_PKG_VERSION").to_owned(),
        plan: site.plan.shown().to_owned(),
        target: site.target.clone(),
        jobs,
        selection,
        settings: settings(site),
        revision,
        waits: site.waits,
        baseline: has_gates,
        smoke: !site.skip_smoke && site.force.is_none(),
        landed_before: landed_before(site, reader)?,
        signers: site.signers.clone(),
        policy: Policy {
            gate_slots: site.settings.verify_parallel.value,
            signed_approvals: site.settings.approvals_signed.value,
            ..policy
        },
        learned,
        spent_today,
    })
}

/// The settings in force, and the agent program that was found.
fn settings(site: &Site) -> BTreeMap<String, String> {
    let mut settings = site.settings.for_record();
    if let Some(claude) = &site.claude {
        settings.insert(
            "claude.program".to_owned(),
            format!("{} ({})", claude.binary.display(), claude.version),
        );
    }
    settings
}

/// Tasks that earlier runs landed on the target and whose commits it still holds.
fn landed_before(site: &Site, reader: &Reader) -> Result<Vec<(TaskId, ObjectId)>> {
    let repo = site.repo.open().or_environment()?;
    let Some(tip) = refs::tip(&repo, &site.target).or_environment()? else {
        return Ok(Vec::new());
    };
    let landings = reader
        .landings(&site.plan_id, &site.target)
        .or_environment()?;
    let (tasks, commits): (Vec<TaskId>, Vec<ObjectId>) = landings
        .into_iter()
        .filter(|landing| landing.run != site.run)
        .map(|landing| (landing.task, landing.commit))
        .unzip();
    let held = refs::contained(&repo, &tip, &commits).or_environment()?;
    let mut found: Vec<(TaskId, ObjectId)> = tasks
        .into_iter()
        .zip(commits)
        .filter(|(_, commit)| held.contains(commit))
        .collect();
    let landed: BTreeSet<TaskId> = found.iter().map(|(task, _)| task.clone()).collect();
    for (task, commit) in settled_before(site, reader, &tip)? {
        if !landed.contains(&task) && refs::contains(&repo, &tip, &commit).or_environment()? {
            found.push((task, commit));
        }
    }
    Ok(found)
}

/// Tasks that the last run of the plan completed without a commit: reports, and tasks that had nothing to change. The
/// plan's text may not say so, because statuses land with the next commit and there was none. A task whose text has
/// changed since is another task. They come with the commit they hold for: `tip`, unless they were carried over before.
fn settled_before(site: &Site, reader: &Reader, tip: &ObjectId) -> Result<Vec<(TaskId, ObjectId)>> {
    let Some(last) = reader.latest_run(Some(&site.plan_id)).or_environment()? else {
        return Ok(Vec::new());
    };
    if last.run == site.run || last.target != site.target {
        return Ok(Vec::new());
    }
    let records = reader.records(&last.run).or_environment()?;
    let engine = Engine::replay(last.run, records).or_bug()?;
    let plan = site.plan.current();
    let nodes = plan.graph.nodes.iter();
    let specs: HashMap<&TaskId, &String> = nodes.map(|n| (&n.id, &n.spec_hash)).collect();
    let settled = engine.tasks().filter_map(|view| {
        let spec = *specs.get(&view.node.id)?;
        match view.state {
            TaskState::Completed {
                how:
                    Completion::NoChange
                    | Completion::Report
                    | Completion::MarkedDone
                    | Completion::LandedBefore,
                commit,
                ..
            } if *spec == view.node.spec_hash => {
                Some((view.node.id.clone(), commit.unwrap_or_else(|| tip.clone())))
            }
            _ => None,
        }
    });
    Ok(settled.collect())
}

/// A fresh id for a run that starts now.
pub fn fresh_run_id() -> RunId {
    let random = uuid::Uuid::new_v4().as_u128();
    RunId::new(
        chrono::Utc::now(),
        (random & u128::from(u32::MAX))
            .try_into()
            .unwrap_or(u32::MAX),
    )
}

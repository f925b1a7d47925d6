//! `Prepare`: a slot stands at the attempt's base, `setup:` has run in it, and the attempt's directory holds everything
//! the agent will be given.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

use super::answers::Answers;
use super::resolving::{self, Landings};
use super::trouble::Trouble;
use super::{Executor, Recalled, blocking, execute};
use crate::agent::prompt::{
    Brief, PlanSummary, SectionSummary, Shared, Wants, shared_part, task_part,
};
use crate::agent::{command, rehearsal, status};
use crate::crash::point;
use crate::driver::attempt::Sheet;
use crate::driver::evidence;
use crate::driver::how::{self, How, RESOLVER_ROLE};
use crate::driver::ports::Lease;
use crate::driver::setup;
use crate::driver::signers::Signed;
use crate::driver::site::Site;
use crate::engine::Engine;
use crate::engine::action::StartFrom;
use crate::engine::conflict::Resolving;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::{Event, Unprepared};
use crate::engine::salvage::Salvage;
use crate::git::durable::is_whole;
use crate::git::merge::Merge;
use crate::git::salvage::{self, Surroundings};
use crate::git::slot::{EXCHANGE_DIR, Filled, Slot, Start, Tenant};
use crate::git::{commit, pins, refs};
use crate::ids::{ObjectId, SlotId, TaskId, Ticket};
use crate::plan::checks::Allowed;
use crate::plan::consent::Source;
use crate::plan::graph::TaskKind;
use crate::plan::{Plan, Runner, Task};
use crate::process::{self, AgentEnd, Cause, Exit};
use crate::store::{SessionDir, SessionPart, write_whole};

/// What is prepared, with what only the engine knows.
#[derive(Debug)]
pub(super) struct Order {
    ticket: Ticket,
    slot: SlotId,
    start: StartFrom,
    evidence: Vec<AttemptEnd>,
    model: Option<String>,
    plan: Arc<Plan>,
    /// Ids and messages of the tasks it needs.
    dependencies: Vec<(TaskId, String)>,
    /// Ids and names of tasks under way.
    siblings: Vec<(TaskId, String)>,
    /// What the tasks landed, where their work may be in conflict with this one's.
    landed: Landings,
}

/// What the engine says about it.
pub(super) struct Begin {
    pub ticket: Ticket,
    pub slot: SlotId,
    pub start: StartFrom,
    pub evidence: Vec<AttemptEnd>,
    pub model: Option<String>,
}

impl Order {
    pub(super) fn new(site: &Site, engine: &Engine, begin: Begin) -> Self {
        let Begin {
            ticket,
            slot,
            start,
            evidence,
            model,
        } = begin;
        let plan = site.plan.current();
        let needs = plan
            .graph
            .node(&ticket.task)
            .map(|n| n.needs.clone())
            .unwrap_or_default();
        let dependencies = needs
            .iter()
            .filter_map(|e| Some((e.on.clone(), engine.view(&e.on)?.message?.to_owned())))
            .collect();
        let siblings = engine
            .tasks()
            .filter(|v| v.slot.is_some() && v.node.id != ticket.task)
            .map(|v| (v.node.id.clone(), v.node.name.to_string()))
            .collect();
        let landed = match &start {
            StartFrom::Conflict(_) => resolving::landed(engine),
            StartFrom::Tip | StartFrom::Candidate(_) => Landings::new(),
        };
        Self {
            ticket,
            slot,
            start,
            evidence,
            model,
            plan,
            dependencies,
            siblings,
            landed,
        }
    }

    fn task(&self) -> anyhow::Result<&Task> {
        self.plan
            .task(&self.ticket.task)
            .ok_or_else(|| anyhow!("task {} is no longer in the plan", self.ticket.task))
    }
}

/// The set-up of a slot was ended on demand.
#[derive(Debug, thiserror::Error)]
#[error("the set-up of its slot was ended")]
struct SetupEnded;

/// The target lacks what was landed before: what is done on it could not land.
#[derive(Debug, thiserror::Error)]
#[error("the target no longer holds what was landed")]
struct TargetRewritten(Option<ObjectId>);

/// The approval of the start does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unapproved(String);

/// `approval`: the signed one by which it starts.
pub(super) async fn prepare(executor: Executor, order: Order, approval: Option<Signed>) -> Event {
    let ticket = order.ticket.clone();
    let mut saved = Vec::new();
    let holds = match approval {
        Some(approval) => {
            blocking(move || match approval.doubt()? {
                Some(why) => Err(Unapproved(why).into()),
                None => Ok(()),
            })
            .await
        }
        None => Ok(()),
    };
    let result = match holds {
        Ok(()) => prepared(executor, order, &mut saved).await,
        Err(error) => Err(error),
    };
    let (resolving, result) = match result {
        Ok((base, resolving)) => (resolving, Ok(base)),
        Err(error) => (None, Err(error)),
    };
    Event::Prepared {
        ticket,
        saved,
        resolving,
        result: result.map_err(|error| {
            if let Some(TargetRewritten(found)) = error.downcast_ref() {
                return Unprepared::Rewritten(found.clone());
            }
            if let Some(Unapproved(why)) = error.downcast_ref() {
                return Unprepared::Unapproved(why.clone());
            }
            let ending = match error.is::<SetupEnded>() {
                true => Ending::Interrupted,
                false => Ending::Environment,
            };
            Unprepared::Ended(AttemptEnd::new(ending, format!("{error:#}")))
        }),
    }
}

async fn prepared(
    executor: Executor,
    order: Order,
    saved: &mut Vec<Salvage>,
) -> anyhow::Result<(ObjectId, Option<Box<Resolving>>)> {
    let site = Arc::clone(&executor.site);
    let lease = Lease::take(&site.ports)?;
    let port = lease.first();
    executor.leases.put(&order.ticket.task, lease);
    let owner = executor.clone();
    let (order, vacated) = blocking(move || {
        let vacated = vacated(&owner, &order);
        (order, vacated)
    })
    .await;
    let (tip, result) = vacated?;
    *saved = result.saved;
    result.done?;
    let owner = Arc::clone(&site);
    let (order, sheet, needs_setup) = blocking(move || -> anyhow::Result<_> {
        let (sheet, filled) = place(&owner, &order, tip, port)?;
        owner.attempt_dir(&order.ticket).create()?;
        // From here on a later orch can find what this attempt starts.
        sheet.save(&owner.attempt_dir(&order.ticket))?;
        point("sheet-saved");
        owner
            .guard
            .begins(&order.ticket, &owner.attempt_dir(&order.ticket))?;
        let needs_setup = setup::is_due(&owner, &sheet.tree, &sheet.base, &filled)?;
        Ok((order, sheet, needs_setup))
    })
    .await?;
    if needs_setup {
        run_setup(&site, &sheet, &executor.recalled).await?;
    }
    blocking(move || {
        write(&site, &order, &sheet)?;
        point("inputs-written");
        let resolving = sheet.contest.map(|of| Box::new(of.resolving()));
        Ok((sheet.base, resolving))
    })
    .await
}

/// What came of saving what a slot held.
struct Vacated {
    saved: Vec<Salvage>,
    done: anyhow::Result<()>,
}

/// The commit that the attempt will start on, and a slot that holds nothing which is kept nowhere else.
fn vacated(executor: &Executor, order: &Order) -> anyhow::Result<(ObjectId, Vacated)> {
    let site = &*executor.site;
    let repo = site.repo.open()?;
    let tip = refs::tip(&repo, &site.target)?;
    if let Some(landed) = site.last_landed() {
        let holds = match &tip {
            Some(tip) => refs::contains(&repo, tip, &landed)?,
            None => false,
        };
        if !holds {
            bail!(TargetRewritten(tip));
        }
    }
    let tip = tip.with_context(|| format!("{} is gone", site.target))?;
    let pin = format!("base-{}", order.ticket.task);
    pins::pin(&repo, &site.run, &pin, &tip)?;
    point("base-pinned");
    let mut slot = Slot::open(&site.repo, &site.slots, site.place_of(order.slot))?;
    let around = Surroundings {
        identity: &site.identity,
        base: &tip,
        attempt_dir: &|run, task, attempt| {
            let attempt = site.state.run(run).attempt(task, attempt);
            attempt.path().to_owned()
        },
    };
    let mut saved = Vec::new();
    let done = salvage::save(&mut slot, &around, &mut saved);
    point("slot-vacated");
    let done = match done.map_err(|error| Trouble::of(site, error.into())) {
        Ok(()) => Ok(()),
        Err(Trouble::Machine(error)) => Err(error.context("the slot holds work to be saved")),
        Err(Trouble::Files(error)) => kept_whole(executor, slot, &error),
    };
    Ok((tip, Vacated { saved, done }))
}

/// Keeps a slot of which not everything can be saved, for people.
fn kept_whole(executor: &Executor, slot: Slot, error: &anyhow::Error) -> anyhow::Result<()> {
    let name = match slot.tenant()? {
        Some(tenant) => {
            let (task, attempt) = (&tenant.ticket.task, tenant.ticket.attempt);
            format!("{}-{task}-{attempt}", tenant.run)
        }
        None => "unknown".to_owned(),
    };
    let kept = slot.set_aside(&name)?;
    executor.say(format!(
        "not everything in a slot could be saved, so that it is kept whole in {}: {error:#}",
        kept.display()
    ));
    Ok(())
}

/// Brings the slot to its start.
fn place(site: &Site, order: &Order, tip: ObjectId, port: u16) -> anyhow::Result<(Sheet, Filled)> {
    let repo = site.repo.open()?;
    let place = site.place_of(order.slot);
    let mut slot = Slot::open(&site.repo, &site.slots, place)?;
    let known = (&*order.plan, &order.landed);
    let resolving::Start { files, contest } = match &order.start {
        StartFrom::Tip => resolving::Start::default(),
        StartFrom::Candidate(candidate) => resolving::Start {
            files: on_tip(site, &repo, candidate, &tip)?,
            contest: None,
        },
        StartFrom::Conflict(of) => resolving::start(site, &repo, known, of, &tip)?,
    };
    let tenant = Tenant::new(
        site.run.clone(),
        order.ticket.clone(),
        tip.clone(),
        files.clone().unwrap_or_else(|| tip.clone()),
    );
    slot.note(&tenant)?;
    point("tenant-noted");
    let filled = slot.prepare(
        &tip,
        files.as_ref().map_or(Start::Base, Start::Files),
        &site.included,
    )?;
    point("slot-prepared");
    slot.note_working(tenant)?;
    point("tenant-works");
    let task = order.task()?;
    let how = How {
        model: order.model.clone(),
        ..site.how(task, &order.plan)
    };
    let how = match contest {
        Some(_) => how.by(RESOLVER_ROLE, &site.roles),
        None => how,
    };
    Ok((
        Sheet::new(
            order.ticket.clone(),
            place,
            slot.tree(),
            tip,
            how,
            task.run.as_deref().map(str::to_owned),
            port,
        )
        .checked_by(how::checks(task, &order.plan, &site.settings, site.force))
        .resolving(contest),
        filled,
    ))
}

/// The files of an earlier candidate on the tip; none if they do not fit it, and the attempt starts from the tip alone.
fn on_tip(
    site: &Site,
    repo: &git2::Repository,
    candidate: &ObjectId,
    tip: &ObjectId,
) -> anyhow::Result<Option<ObjectId>> {
    if !is_whole(repo, candidate)? {
        tracing::warn!(%candidate, "the last attempt's files cannot be read any more");
        return Ok(None);
    }
    let base = commit::first_parent(repo, candidate)?;
    let answers = Answers::of(site)?;
    let between = [&base, tip, candidate];
    match resolving::merged(site, repo, between, &|file| answers.known(file))? {
        Merge::Clean { tree } => Ok(Some(tree)),
        Merge::Answered { tree, to_make, .. } if to_make.is_empty() => Ok(Some(tree)),
        // Files are made anew for a landing alone: an agent has the command itself.
        Merge::Answered { to_make: files, .. } | Merge::Conflict { files, .. } => {
            tracing::info!(?files, "the last attempt's files no longer fit the tip");
            Ok(None)
        }
    }
}

async fn run_setup(site: &Arc<Site>, sheet: &Sheet, recalled: &Recalled) -> anyhow::Result<()> {
    let attempt = site.attempt_dir(&sheet.ticket);
    remove_if_there(&attempt.setup(0))?;
    setup::forget(&sheet.tree)?;
    for (number, text) in site.settings.setup_run.value.iter().enumerate() {
        if recalled.has(&sheet.ticket) {
            bail!(SetupEnded);
        }
        let part = attempt.setup(number);
        part.create()?;
        write_whole(&part.prompt(), b"")?;
        let launch = command::launch(text, &sheet.tree, execute::environment(site, sheet));
        let spec = execute::spec_for(site, sheet, launch, &part);
        let report = process::run_to_end(&site.exe, part.path(), &spec).await?;
        let what = match &report.agent {
            AgentEnd::Ended(run) if run.cause == Cause::Exited && run.exit == Exit::Code(0) => {
                continue;
            }
            AgentEnd::Ended(run) if run.cause == Cause::Exited => {
                format!("it ended with {}", run.exit)
            }
            AgentEnd::Ended(run) if run.cause == Cause::Ended => bail!(SetupEnded),
            AgentEnd::Ended(run) => format!("it was ended {}", run.cause),
            AgentEnd::NotStarted { error } => error.clone(),
        };
        bail!(
            "`setup` failed at `{text}`: {what}; its output is in {}",
            part.path().display()
        );
    }
    setup::note_done(site, &sheet.tree, &sheet.base)
}

/// The directories of the set-up commands that an attempt has started.
pub(in crate::driver) fn setup_parts(site: &Site, ticket: &Ticket) -> Vec<SessionDir> {
    let attempt = site.attempt_dir(ticket);
    (0..site.settings.setup_run.value.len())
        .map(|number| attempt.setup(number))
        .filter(|part| part.path().exists())
        .collect()
}

/// A set-up that was cut off leaves a directory that no second shim may use.
fn remove_if_there(first: &SessionDir) -> anyhow::Result<()> {
    let Some(all) = first.path().parent() else {
        return Ok(());
    };
    match std::fs::remove_dir_all(all) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", all.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes what the agent is given. A loss of power ends the agent, and the next attempt is given its own: only the sheet
/// waits for the disk.
fn write(site: &Site, order: &Order, sheet: &Sheet) -> anyhow::Result<()> {
    let attempt = site.attempt_dir(&order.ticket);
    let part = attempt.session(SessionPart::Work);
    part.create()?;
    status::clear(&sheet.tree)?;
    let exchange = sheet.tree.join(EXCHANGE_DIR);
    std::fs::create_dir_all(&exchange)
        .with_context(|| format!("cannot make {}", exchange.display()))?;
    let inherited = match &sheet.contest {
        Some(contest) => resolving::inherit_plan(site, &order.ticket, contest.attempt)?,
        None => None,
    };
    let copy = inherited.as_deref().unwrap_or(order.plan.text.as_bytes());
    std::fs::write(exchange.join("plan.yaml"), copy).context("cannot write the plan copy")?;
    write_whole(&attempt.plan_given(), copy)?;
    let task = order.task()?;
    if let Some(Source::Files(globs)) = task.external.as_ref().map(|external| &external.source) {
        evidence::show(globs, site.repo.worktree(), &sheet.tree)?;
    }
    let prompt = match &sheet.contest {
        Some(contest) => resolving::prompt(site, &order.plan, sheet, contest, &order.evidence)?,
        None => task_part(&brief(order, task, sheet))?,
    };
    write_whole(&part.prompt(), prompt.as_bytes())?;
    match sheet.how.runner {
        Runner::Claude => {
            let shared = shared(site, &sheet.how)?;
            write_whole(&part.system_prompt(), shared.as_bytes())?;
        }
        Runner::Rehearsal => {
            let played = rehearsal::Order {
                task: task.id.to_string(),
                attempt: order.ticket.attempt,
                session: sheet.session.to_string(),
                nonce: sheet.nonce.clone(),
                rehearse: task.rehearse.as_deref().cloned(),
            };
            write_whole(
                &attempt.rehearsal(),
                &serde_json::to_vec_pretty(&played).context("a rehearsal is plain data")?,
            )?;
        }
        Runner::Command => {}
    }
    Ok(())
}

fn brief<'a>(order: &'a Order, task: &'a Task, sheet: &'a Sheet) -> Brief<'a> {
    let pairs = |list: &'a [(TaskId, String)]| {
        list.iter()
            .map(|(id, text)| (id.as_str(), text.as_str()))
            .collect()
    };
    Brief {
        id: task.id.as_str(),
        name: &task.name,
        section: order
            .plan
            .sections
            .get(task.section)
            .map_or("", |s| s.name.as_str()),
        description: task.description.as_deref(),
        plan_doc: order.plan.meta.plan_doc.as_deref(),
        wants: match task.kind {
            TaskKind::Change => Wants::Change,
            TaskKind::Report => Wants::Report,
        },
        files: task.files.iter().map(String::as_str).collect(),
        checks: (task.kind == TaskKind::Change).then_some(&sheet.checks),
        evidence: match task.external.as_ref().map(|external| &external.source) {
            Some(Source::Files(globs)) => globs.iter().map(String::as_str).collect(),
            Some(Source::Run(_)) | None => Vec::new(),
        },
        allowed: match &sheet.checks.allow_protected {
            Allowed::None => Vec::new(),
            Allowed::Globs(globs) => globs.iter().map(String::as_str).collect(),
            Allowed::All => vec!["**"],
        },
        dependencies: pairs(&order.dependencies),
        siblings: pairs(&order.siblings),
        attempt: order.ticket.attempt,
        earlier: order
            .evidence
            .iter()
            .map(|end| end.detail.as_str())
            .collect(),
        continues: matches!(
            order.start,
            StartFrom::Candidate(_) | StartFrom::Conflict(_)
        ),
        nonce: &sheet.nonce,
    }
}

/// What all sessions of a role are told: the plan as it was when this orch started, so that it is the same for all.
fn shared(site: &Site, how: &How) -> anyhow::Result<String> {
    let plan = &site.plan_at_start;
    let role = site
        .roles
        .get(&how.role)
        .with_context(|| format!("there is no role `{}`", how.role))?;
    let sections = plan
        .sections
        .iter()
        .map(|s| SectionSummary {
            id: s.id.as_str(),
            name: &s.name,
            tasks: plan.tasks[s.tasks.clone()]
                .iter()
                .map(|t| (t.id.as_str(), &*t.name))
                .collect(),
        })
        .collect();
    Ok(shared_part(&Shared {
        role: &role.text,
        plan: PlanSummary {
            name: plan.meta.name.as_deref(),
            description: plan.meta.description.as_deref(),
            doc: plan.meta.plan_doc.as_deref(),
            sections,
        },
        build_command: site.settings.build_command.value.as_deref(),
        test_command: site.settings.test_command.value.as_deref(),
    })?)
}

//! `Build` and `Land`: the landing commit is made whole, then the target moves to it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};

use super::answers::{self, Answers, Unanswered, Unmade};
use super::plan_texts::{plan_after, plan_at_target, plan_copy, plan_edit};
use super::plan_thread::PlanThread;
use super::resolving;
use crate::crash::point;
use crate::driver::attempt::Sheet;
use crate::driver::gates::{GateError, Gates};
use crate::driver::signers::Signed;
use crate::driver::site::{Publishing, Site};
use crate::engine::Engine;
use crate::engine::approval::Change;
use crate::engine::conflict::{Answered, Conflict};
use crate::engine::event::{BuildFailure, Event, LandResult, Landing};
use crate::engine::outcome::Outcome;
use crate::engine::view::{Completion, TaskState};
use crate::git::change;
use crate::git::commit::{self, CommitSpec, make_commit};
use crate::git::durable::{flush_commits, is_whole, set_damaged_aside};
use crate::git::land::{self, Brought, LandError, LandOrder, Landed, Refusal};
use crate::git::merge::Merge;
use crate::git::message::Message;
use crate::git::pins;
use crate::git::refs::{self, RefError};
use crate::git::tree::{blob_at, file_in, tree_with_file};
use crate::ids::{ObjectId, Ticket};
use crate::plan::edit::TaskChange;
use crate::plan::graph::Declared;

/// What is built, with what only the engine knows.
#[derive(Debug)]
pub(super) struct BuildOrder {
    ticket: Ticket,
    place: Place,
    candidate: ObjectId,
    settled: Vec<TaskChange>,
    name: String,
    message: String,
    generation: u32,
}

/// What a candidate is merged onto, and from where.
#[derive(Debug)]
pub(super) struct Place {
    /// The landing commit before it in the queue; the target's tip if none.
    pub(super) behind: Option<ObjectId>,
    /// The commit that its attempt started on.
    pub(super) base: ObjectId,
}

impl BuildOrder {
    pub(super) fn new(engine: &Engine, ticket: Ticket, place: Place, candidate: ObjectId) -> Self {
        let view = engine.view(&ticket.task);
        let mut settled = settled_fields(engine);
        settled.retain(|c| c.task != ticket.task);
        settled.push(TaskChange {
            task: ticket.task.clone(),
            status: Declared::Completed,
            attempts: Some(view.as_ref().map_or(1, |v| v.spent + 1)),
        });
        Self {
            name: view
                .as_ref()
                .map_or_else(String::new, |v| v.node.name.to_string()),
            generation: view.as_ref().map_or(1, |v| v.generation),
            message: view.and_then(|v| v.message).unwrap_or_default().to_owned(),
            ticket,
            place,
            candidate,
            settled,
        }
    }
}

/// The settled facts of a run in the plan's words. Tasks the plan itself declares keep what it says.
pub(super) fn settled_fields(engine: &Engine) -> Vec<TaskChange> {
    let mut changes = Vec::new();
    for view in engine.tasks() {
        let status = match &view.state {
            TaskState::Completed {
                how: Completion::Believed | Completion::LandedBefore,
                ..
            } => continue,
            TaskState::Completed { .. } => Declared::Completed,
            TaskState::Failed => Declared::Failed,
            TaskState::Skipped => Declared::Skipped,
            _ => continue,
        };
        // The attempt that succeeded counts, too.
        let succeeded = u32::from(status == Declared::Completed && view.attempt > 0);
        let attempts = Some(view.spent + succeeded).filter(|n| *n > 0);
        changes.push(TaskChange {
            task: view.node.id.clone(),
            status,
            attempts,
        });
    }
    changes
}

/// What to tell of checkouts whose update kept a person's files.
pub(super) fn kept_files(checkouts: &[Brought]) -> Option<String> {
    let tellings: Vec<String> = checkouts
        .iter()
        .filter_map(|brought| match &brought.kept {
            Ok(files) if files.is_empty() => None,
            Ok(files) => Some(format!(
                "kept as they are in {}: {}",
                brought.worktree.display(),
                files.join(", ")
            )),
            Err(error) => Some(format!(
                "{} is not up to date yet, and its index is locked until it is: {error}; mend that, and the next \
                 `orch run` finishes it",
                brought.worktree.display()
            )),
        })
        .collect();
    (!tellings.is_empty()).then(|| tellings.join("\n"))
}

/// A candidate merged onto what it is built on; its landing commit is still to be made.
struct Merged {
    tip: ObjectId,
    tree: ObjectId,
    answers: Vec<Answered>,
    /// The files that are to be made anew, of which the tree has the tip's version.
    to_make: Vec<String>,
}

/// Makes the landing commit. What is run for it can be ended from now on.
pub(super) fn build(
    site: Arc<Site>,
    gates: Gates,
    landings: PlanThread,
    order: BuildOrder,
) -> impl Future<Output = Event> + Send {
    let ticket = order.ticket.clone();
    gates.begin(&Some(ticket.clone()));
    async move {
        let result = built(&site, &gates, &landings, Arc::new(order)).await;
        Event::Built {
            ticket,
            result: result.unwrap_or_else(|error| Err(BuildFailure::Trouble(format!("{error:#}")))),
        }
    }
}

async fn built(
    site: &Arc<Site>,
    gates: &Gates,
    landings: &PlanThread,
    order: Arc<BuildOrder>,
) -> anyhow::Result<Result<Landing, BuildFailure>> {
    let (owner, of) = (Arc::clone(site), Arc::clone(&order));
    let merge = move || merged(&owner, &of).or_else(|e| unless_lost(&owner, &of.candidate, e));
    let mut merged = match landings.run(merge).await? {
        Ok(merged) => merged,
        Err(failure) => return Ok(Err(failure)),
    };
    if !merged.to_make.is_empty() {
        let unmade = Unmade {
            tip: merged.tip.clone(),
            tree: merged.tree.clone(),
            commands: Answers::of(site)?.commands(&merged.to_make),
        };
        match answers::make(site, gates, &order.ticket, &unmade).await {
            Ok(made) => {
                merged.tree = made.tree;
                merged.answers.extend(made.answers);
            }
            Err(Unanswered::Failed(why)) => {
                let owner = Arc::clone(site);
                let conflict = move || unanswered(&owner, &order, &merged, why);
                return Ok(Err(BuildFailure::Conflict(landings.run(conflict).await?)));
            }
            Err(Unanswered::Gate(GateError::Ended)) => return Ok(Err(BuildFailure::Interrupted)),
            Err(Unanswered::Gate(error)) => return Err(error.into()),
        }
        merged.answers.sort_by(|a, b| a.file.cmp(&b.file));
    }
    let owner = Arc::clone(site);
    let make =
        move || made(&owner, &order, &merged).or_else(|e| unless_lost(&owner, &order.candidate, e));
    landings.run(make).await
}

impl Merged {
    /// The files that git could not merge, sorted.
    fn files_in_conflict(&self) -> Vec<String> {
        let answered = self.answers.iter().map(|answered| answered.file.clone());
        let mut files: Vec<String> = answered.chain(self.to_make.iter().cloned()).collect();
        files.sort();
        files
    }
}

fn merged(site: &Site, order: &BuildOrder) -> anyhow::Result<Result<Merged, BuildFailure>> {
    let repo = site.repo.open()?;
    let tip = match &order.place.behind {
        Some(commit) => commit.clone(),
        None => match refs::tip(&repo, &site.target)? {
            Some(tip) => tip,
            None => return Ok(Err(BuildFailure::Rewritten(None))),
        },
    };
    // Built on a tip that lost what was landed, the commit would land there without a question.
    if let Some(landed) = site.last_landed()
        && !refs::contains(&repo, &tip, &landed)?
    {
        return Ok(Err(BuildFailure::Rewritten(Some(tip))));
    }
    if !site.has_made(&order.candidate) && !is_whole(&repo, &order.candidate)? {
        return Ok(Err(lost(&order.candidate)));
    }
    let known = Answers::of(site)?;
    let between = [&order.place.base, &tip, &order.candidate];
    let merge = resolving::merged(site, &repo, between, &|file| known.known(file))?;
    Ok(match merge {
        Merge::Clean { tree } => Ok(Merged {
            tip,
            tree,
            answers: Vec::new(),
            to_make: Vec::new(),
        }),
        Merge::Answered {
            tree,
            united,
            to_make,
        } => {
            tracing::info!(ticket = %order.ticket, ?united, ?to_make, "conflicts have known answers");
            Ok(Merged {
                tip,
                tree,
                answers: united.into_iter().map(Answered::united).collect(),
                to_make,
            })
        }
        Merge::Conflict { files, marked } => {
            let with = match marked {
                Some(_) => resolving::touching(&repo, [&order.place.base, &tip], &files)?,
                None => Vec::new(),
            };
            Err(BuildFailure::Conflict(Conflict {
                files,
                tried: None,
                with,
            }))
        }
    })
}

/// The conflict that is left where a person's answer has failed.
fn unanswered(
    site: &Site,
    order: &BuildOrder,
    merged: &Merged,
    why: String,
) -> anyhow::Result<Conflict> {
    let repo = site.repo.open()?;
    let between = [&order.place.base, &merged.tip, &order.candidate];
    let with = match resolving::merged(site, &repo, between, &|_| None)? {
        Merge::Conflict {
            files,
            marked: Some(_),
        } => resolving::touching(&repo, [&order.place.base, &merged.tip], &files)?,
        Merge::Conflict { marked: None, .. } | Merge::Clean { .. } | Merge::Answered { .. } => {
            Vec::new()
        }
    };
    Ok(Conflict {
        files: merged.files_in_conflict(),
        tried: Some(why),
        with,
    })
}

fn made(
    site: &Site,
    order: &BuildOrder,
    merged: &Merged,
) -> anyhow::Result<Result<Landing, BuildFailure>> {
    let repo = site.repo.open()?;
    let tip = &merged.tip;
    let edit = plan_edit(site, &order.ticket)?;
    let unchanged = merged.tree == commit::tree_id(&repo, tip)? && edit.is_none();
    if unchanged {
        return Ok(Err(BuildFailure::AlreadyThere));
    }
    let apart = site.plan.tracked().map(Path::new);
    let tree = match apart {
        None => merged.tree.clone(),
        Some(path) => {
            let gone = || anyhow!("{} is gone from {}", path.display(), site.target);
            let read = || -> anyhow::Result<String> {
                let text = file_in(&repo, tip, path)?.ok_or_else(gone)?;
                String::from_utf8(text)
                    .with_context(|| format!("{} is not UTF-8 at {}", path.display(), site.target))
            };
            let keep = |text: &str| -> anyhow::Result<_> {
                let tree = tree_with_file(&repo, &merged.tree, path, Some(text.as_bytes()))?;
                let blob = blob_at(&repo, &tree, path)?;
                Ok((tree, blob))
            };
            let blob = blob_at(&repo, tip, path)?.ok_or_else(gone)?;
            let (edit, settled) = (edit.as_ref(), &order.settled);
            match site.plan.compose_onto(&blob, read, edit, settled, keep)? {
                Ok(tree) => tree,
                Err(error) => return Ok(Err(BuildFailure::PlanEdit(format!("{error:#}")))),
            }
        }
    };
    let commit = make_commit(
        site.repo.program(),
        &repo,
        CommitSpec {
            tree: &tree,
            parents: std::slice::from_ref(tip),
            message: &message(site, order, &merged.answers)?,
            author: &site.identity,
            committer: &site.identity,
            at: commit_time(),
            signing: site.signing,
        },
    )?;
    point("landing-made");
    pins::pin(
        &repo,
        &site.run,
        &format!("landing-{}", order.ticket.task),
        &commit,
    )?;
    point("landing-pinned");
    flush_commits(&repo, &[&commit, &order.candidate])?;
    point("landing-synced");
    let sha256 = change::digest(&repo, tip, &commit, apart)?;
    Ok(Ok(Landing {
        commit,
        onto: tip.clone(),
        change: Change { tree, sha256 },
        answers: merged.answers.clone(),
    }))
}

/// Tells a candidate that a loss of power took from other reasons why no landing commit can be made.
fn unless_lost<T>(
    site: &Site,
    candidate: &ObjectId,
    error: anyhow::Error,
) -> anyhow::Result<Result<T, BuildFailure>> {
    let repo = site.repo.open()?;
    set_damaged_aside(&repo, SystemTime::UNIX_EPOCH, &site.state.damaged())?;
    if is_whole(&repo, candidate)? {
        return Err(error);
    }
    Ok(Err(lost(candidate)))
}

fn lost(candidate: &ObjectId) -> BuildFailure {
    BuildFailure::Lost(format!(
        "the candidate {} cannot be read any more, as after a loss of power",
        candidate.short()
    ))
}

fn message(site: &Site, order: &BuildOrder, answers: &[Answered]) -> anyhow::Result<String> {
    let checks = super::verify::landing_checks(site, &order.ticket)?;
    let sheet = Sheet::find(&site.attempt_dir(&order.ticket))?;
    let contest = sheet.and_then(|sheet| sheet.contest);
    let resolved = contest.map_or_else(Vec::new, |contest| contest.files);
    let gates: Vec<&str> = checks
        .verify
        .iter()
        .filter(|command| command.required)
        .map(|command| command.name.as_str())
        .collect();
    let gates = gates.join(", ");
    let sign_off = site
        .settings
        .commit_sign_off
        .value
        .then(|| format!("{} <{}>", site.identity.name, site.identity.email));
    let text = Message {
        plan: &site.plan_id,
        task: &order.ticket.task,
        name: &order.name,
        run: &site.run,
        attempt: order.ticket.attempt,
        generation: order.generation,
        body: &order.message,
        verified: match gates.as_str() {
            "" => Err("no required verify command"),
            gates => Ok(gates),
        },
        answered: answers,
        resolved: &resolved,
        sign_off: sign_off.as_deref(),
    };
    Ok(text.text())
}

fn commit_time() -> git2::Time {
    let now = chrono::Local::now();
    git2::Time::new(now.timestamp(), now.offset().local_minus_utc() / 60)
}

pub(super) async fn land(
    site: Arc<Site>,
    landings: PlanThread,
    (ticket, approval): (Ticket, Option<Signed>),
    commit: ObjectId,
    onto: ObjectId,
) -> Event {
    let of = ticket.clone();
    let work = move || {
        let doubt = approval.map_or(Ok(None), |approval| approval.doubt());
        let came = doubt.and_then(|doubt| match doubt {
            Some(doubt) => Ok(LandResult::Unapproved(doubt)),
            None => landed(&site, &of, &commit, &onto),
        });
        came.map_err(|error| (error, lacks(&site, &commit)))
    };
    match landings.run(work).await {
        Ok(result) => Event::Landed { ticket, result },
        Err((error, true)) => Event::Landed {
            ticket,
            result: LandResult::Trouble(format!("{error:#}")),
        },
        // To build it again would land it twice or lose its receipt; the next orch asks the target's history.
        Err((error, false)) => Event::Failed {
            outcome: Outcome::Environment,
            detail: format!("{ticket} may have landed, but: {error:#}"),
        },
    }
}

/// Whether the target certainly does not have the commit.
fn lacks(site: &Site, commit: &ObjectId) -> bool {
    let contains = || -> anyhow::Result<bool> {
        let repo = site.repo.open()?;
        let tip = refs::tip(&repo, &site.target)?.context("the target is gone")?;
        Ok(refs::contains(&repo, &tip, commit)?)
    };
    matches!(contains(), Ok(false))
}

fn landed(
    site: &Site,
    ticket: &Ticket,
    commit: &ObjectId,
    onto: &ObjectId,
) -> anyhow::Result<LandResult> {
    let last_landed = site.last_landed();
    let plan = match site.publishing {
        Publishing::Live => plan_copy(site, commit)?,
        Publishing::AtEnd { .. } => None,
    };
    let order = LandOrder {
        target: &site.target,
        commit,
        onto,
        last_landed: last_landed.as_ref(),
        task: &ticket.task,
        plan: plan.as_ref(),
    };
    let steady = site.guard.steady();
    let update = site.plan.update();
    let came = match land::land(&site.repo, &order) {
        Err(LandError::Ref(locked @ RefError::Locked { .. })) => {
            return Ok(LandResult::Locked(locked.to_string()));
        }
        came => came?,
    };
    match came {
        Landed::Done { checkouts } => {
            if !checkouts.is_empty()
                && let Some(text) = plan_at_target(site)?
            {
                site.plan.updated(&text);
            }
            if let Some(kept) = kept_files(&checkouts) {
                tracing::warn!("{kept}");
            }
        }
        Landed::TipMoved { .. } => return Ok(LandResult::TipMoved),
        Landed::Rewritten { found } => return Ok(LandResult::Rewritten(found)),
        Landed::NotReady(refusal) => return Ok(not_ready(&refusal)),
    }
    drop(update);
    drop(steady);
    Ok(LandResult::Landed(plan_after(site, ticket)?))
}

/// What the state of a checkout means for a landing: some of it passes by itself, for the rest a person must do
/// something.
fn not_ready(refusal: &Refusal) -> LandResult {
    let told: Vec<String> = std::iter::once(refusal.to_string())
        .chain(refusal.hints())
        .collect();
    let told = told.join("; ");
    match refusal {
        Refusal::Locked { .. } => LandResult::Locked(told),
        Refusal::PlanChanged(_) | Refusal::Unfinished(_) => LandResult::Trouble(told),
        Refusal::Underway { .. }
        | Refusal::Dirty { .. }
        | Refusal::Unwritable { .. }
        | Refusal::Git { .. }
        | Refusal::Away(_) => LandResult::InTheWay(told),
    }
}

//! `WritePlan` and `Publish`: what a person sees of a run in files of their own, a plan outside the target and the
//! checkout at the end.

use std::sync::Arc;

use anyhow::Context;

use super::{Executor, landing, plan_texts};
use crate::crash::point;
use crate::driver::site::{Publishing, Site};
use crate::engine::event::Event;
use crate::git::durable::flush_named;
use crate::git::publish::{PublishOrder, Published, publish as fast_forward};
use crate::git::{pins, refs};
use crate::plan::edit::TaskChange;

pub(super) async fn write_plan(executor: Executor, settled: Vec<TaskChange>) -> Event {
    let site = Arc::clone(&executor.site);
    if site.plan.tracked().is_none() {
        let written = executor
            .landings
            .run(move || site.plan.write_in_place(None, &settled))
            .await;
        if let Err(error) = written {
            executor.say(format!(
                "the plan's status fields could not be written, the ledger has them: {error:#}"
            ));
        }
    }
    Event::PlanWritten
}

pub(super) async fn publish(executor: Executor) -> Event {
    let site = Arc::clone(&executor.site);
    if let Err(error) = executor.landings.run(move || lasting(&site)).await {
        executor.say(format!(
            "the candidates below refs/orch/candidate may not outlast a loss of power that comes soon: {error:#}"
        ));
    }
    let site = Arc::clone(&executor.site);
    if let Err(error) = executor.landings.run(move || unpinned(&site)).await {
        executor.say(format!(
            "the run's pins below refs/orch/pin stay for now, which does no harm: {error:#}"
        ));
    }
    let site = Arc::clone(&executor.site);
    match executor.landings.run(move || published(&site)).await {
        Ok(Some(saying)) => executor.say(saying),
        Ok(None) => {}
        Err(error) => {
            let target = executor.site.target.short();
            executor.say(format!("the run's commits are on {target}, but your checkout was not brought up to them: {error:#}"));
        }
    }
    Event::Published
}

/// Brings what attempts left, and its names, to disk: no start goes on with a run that completed, and so none would find
/// that a loss of power took some of it.
fn lasting(site: &Site) -> anyhow::Result<()> {
    let repo = site.repo.open()?;
    flush_named(&repo, &pins::candidates(&repo, &site.run)?)?;
    point("candidates-synced");
    Ok(())
}

fn unpinned(site: &Site) -> anyhow::Result<()> {
    pins::drop_pins(&site.repo.open()?, &site.run)?;
    point("pins-dropped");
    Ok(())
}

/// What to say about it, if anything.
fn published(site: &Site) -> anyhow::Result<Option<String>> {
    let repo = site.repo.open()?;
    let Publishing::AtEnd { origin, from } = &site.publishing else {
        return Ok(None);
    };
    let to = refs::tip(&repo, &site.target)?.with_context(|| format!("{} is gone", site.target))?;
    let Some(branch) = origin else {
        return Ok((to != *from).then(|| {
            format!(
                "HEAD is detached; `git merge --ff-only {}` brings it up to the run's commits",
                site.target.short()
            )
        }));
    };
    let plan = plan_texts::plan_copy(site, &to)?;
    let order = PublishOrder {
        branch,
        from,
        source: &site.target,
        to: &to,
        plan: plan.as_ref(),
    };
    let _update = site.plan.update();
    let published = fast_forward(&site.repo, &order)?;
    point("published");
    Ok(match published {
        Published::NothingToDo => None,
        Published::Done { checkouts } => {
            if let Some(text) = plan_texts::plan_at_target(site)? {
                site.plan.updated(&text);
            }
            landing::kept_files(&checkouts)
        }
        Published::Refused { why, command } => Some(format!(
            "the run's commits are on {}, your branch stays as it is: {why}\n  {command}",
            site.target.short()
        )),
    })
}

//! The plan's texts around a landing: what an agent changed of its copy, what stands at the target, what is brought to
//! the person's copy, and the plan that holds afterwards. Putting fields into a text is [`crate::plan::edit`]'s.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use crate::driver::site::Site;
use crate::engine::event::{Author, PlanRevision};
use crate::git::land::PlanCopy;
use crate::git::refs;
use crate::git::tree::{blob_at, file_in};
use crate::ids::{ObjectId, Ticket};
use crate::plan::diff::{Gated, Permitted, PlanEdit, difference, permit};
use crate::store::read_limited;

/// Largest plan copy that is read back.
pub(super) const PLAN_BYTES_MAX: u64 = crate::plan::syntax::SOURCE_BYTES_MAX as u64;

/// The person's edited copy of a tracked plan, with what `commit` changes of the plan put into it.
pub(super) fn plan_copy(site: &Site, commit: &ObjectId) -> anyhow::Result<Option<PlanCopy>> {
    let Some(path) = site.plan.tracked().filter(|_| site.plan.is_edited()) else {
        return Ok(None);
    };
    let repo = site.repo.open()?;
    let Some(bytes) = file_in(&repo, commit, Path::new(path))? else {
        return Ok(None);
    };
    let at_commit =
        String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8 at {commit}"))?;
    let Some((expected, new)) = site.plan.published(&at_commit)? else {
        return Ok(None);
    };
    let worktree = site.repo.worktree().to_owned();
    Ok(Some(PlanCopy {
        worktree,
        path: path.into(),
        expected: expected.into_bytes(),
        new: new.into_bytes(),
    }))
}

/// The tracked plan's text at the target's tip; none for other plans.
pub(super) fn plan_at_target(site: &Site) -> anyhow::Result<Option<Arc<str>>> {
    let Some(path) = site.plan.tracked() else {
        return Ok(None);
    };
    let repo = site.repo.open()?;
    let tip =
        refs::tip(&repo, &site.target)?.with_context(|| format!("{} is gone", site.target))?;
    let gone = || format!("{path} is gone from {}", site.target);
    let blob = blob_at(&repo, &tip, Path::new(path))?.with_context(gone)?;
    if let Some(text) = site.plan.written_as(&blob) {
        return Ok(Some(text));
    }
    let bytes = file_in(&repo, &tip, Path::new(path))?.with_context(gone)?;
    let text = String::from_utf8(bytes)
        .with_context(|| format!("{path} is not UTF-8 at {}", site.target))?;
    Ok(Some(text.into()))
}

/// What the agent may have changed of the plan copy that it was given. That it may was decided when it was collected.
pub(super) fn plan_edit(site: &Site, ticket: &Ticket) -> anyhow::Result<Option<Permitted>> {
    let Some(edit) = plan_difference(site, ticket)? else {
        return Ok(None);
    };
    // Whether tasks had started was asked then; tasks that started since keep the spec they started with.
    let gated = Gated::of(&site.plan.current()).judged();
    let permitted = permit(edit, &ticket.task, |_| false, &gated)
        .map_err(|why| anyhow!("the plan edit is refused: {}", why.join("; ")))?;
    Ok((!permitted.is_empty()).then_some(permitted))
}

/// What the agent changed of the plan copy that it was given; `None` if it changed nothing.
pub(super) fn plan_difference(site: &Site, ticket: &Ticket) -> anyhow::Result<Option<PlanEdit>> {
    let dir = site.attempt_dir(ticket);
    if !dir.plan_left().exists() {
        return Ok(None);
    }
    let [given, left] = [dir.plan_given(), dir.plan_left()].map(|path| {
        let bytes = read_limited(&path, PLAN_BYTES_MAX)?;
        String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))
    });
    Ok(Some(difference(&given?, &left?)?))
}

/// The plan that holds after a landing, if the landing changed more of it than its status. Also repeats, after a crash,
/// what the landing's agent changed of a plan outside the target.
pub(in crate::driver) fn plan_after(
    site: &Site,
    ticket: &Ticket,
) -> anyhow::Result<Option<PlanRevision>> {
    let Some(edit) = plan_edit(site, ticket)? else {
        return Ok(None);
    };
    let plan = match plan_at_target(site)? {
        Some(tip) => site.plan.after_landing(&tip)?,
        None => match site.plan.write_in_place(Some(&edit), &[])? {
            Some(plan) => plan,
            None => site.plan.current(),
        },
    };
    super::revision(site, &plan, Author::Agent(ticket.task.clone())).map(Some)
}

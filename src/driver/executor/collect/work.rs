//! What an attempt changed: its files as a tree, its edit of the plan, what of either is refused, and the candidate commit
//! made of them.

mod resolved;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{ObjectsTaken, Order, PATHS_SHOWN, PLAN_BYTES_MAX};
use crate::agent::role::Profile;
use crate::agent::status;
use crate::crash::point;
use crate::driver::executor::{plan_texts, verify};
use crate::driver::how::How;
use crate::driver::protection;
use crate::driver::site::Site;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::scope::Scope;
use crate::git::collect::{Change, ChangeKind, Collected};
use crate::git::commit::{CommitSpec, Signing, make_commit};
use crate::git::durable::is_whole;
use crate::git::slot::{EXCHANGE_DIR, Slot};
use crate::git::tree::{file_in, same_file, tree_with_file};
use crate::git::{commit, pins};
use crate::ids::{ObjectId, TaskId};
use crate::plan::diff::{self, Gated};
use crate::plan::graph::TaskKind;
use crate::store::{AttemptDir, read_if_other, read_limited, write_atomic};
use crate::verify::scope::Scope as Files;

/// What the attempt changed.
pub(super) struct Work {
    /// What the attempt started on.
    base: ObjectId,
    /// The files, with the base's plan.
    tree: ObjectId,
    /// Whether they differ from the base's.
    changed: bool,
    /// Changes, without the plan's and those of the status.
    changes: Vec<Change>,
    /// The edit of the plan, or why there cannot be one.
    plan: Result<Option<diff::Permitted>, String>,
}

impl Work {
    pub(super) fn of(
        site: &Site,
        order: &Order,
        slot: &Slot,
        files: &Collected,
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
        if let Some(path) = plan_path
            && !same_file(&repo, &order.base, &tree, path)?
        {
            let base = file_in(&repo, &order.base, path)?;
            let now = file_in(&repo, &tree, path)?;
            // An agent that edited the tracked file instead of its copy meant the same.
            left = left.map(|left| left.or(now));
            tree = tree_with_file(&repo, &tree, path, base.as_deref())?;
        }
        let plan = match left {
            Err(why) => Err(why),
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => {
                // From here on both are needed until the edit has landed, also after a loss of power.
                let given = read_limited(&dir.plan_given(), PLAN_BYTES_MAX)?;
                write_atomic(&dir.plan_given(), &given)?;
                write_atomic(&dir.plan_left(), &bytes)?;
                point("plan-edit-kept");
                Self::plan_edit(site, order)
            }
        };
        Ok(Self {
            changed: tree != base_tree,
            base: order.base.clone(),
            tree,
            changes: changes(files, plan_path),
            plan,
        })
    }

    fn plan_edit(site: &Site, order: &Order) -> Result<Option<diff::Permitted>, String> {
        let edit = plan_texts::plan_difference(site, &order.ticket)
            .map_err(|e| format!("the edited plan cannot be read: {e:#}"))?;
        let Some(edit) = edit.filter(|e| !e.is_empty()) else {
            return Ok(None);
        };
        let others_started =
            |task: &TaskId| *task != order.ticket.task && order.started.contains(task);
        let gated = Gated::of(&site.plan.current());
        let edit = diff::permit(edit, &order.ticket.task, others_started, &gated)
            .map_err(|why| why.join("; "))?;
        if edit.is_empty() {
            return Ok(None);
        }
        let given = read_text(&site.attempt_dir(&order.ticket).plan_given())
            .map_err(|e| format!("{e:#}"))?;
        // The roles are a person's, and a task that an agent adds may choose among them.
        site.plan
            .admits(&given, &edit)
            .map_err(|e| format!("{e:#}"))?;
        Ok(Some(edit))
    }

    /// Whether the attempt left what its task wants changed.
    pub(super) fn is_change(&self) -> bool {
        self.changed || !matches!(self.plan, Ok(None))
    }

    /// Why a result that calls itself good is not taken, or by what it was judged.
    pub(super) fn judged(
        &self,
        site: &Site,
        order: &Order,
        how: &How,
    ) -> anyhow::Result<Result<Option<Box<Scope>>, AttemptEnd>> {
        if let Err(why) = &self.plan {
            return Ok(Err(AttemptEnd::new(
                Ending::PlanEditInvalid,
                format!("the edit of the plan is refused: {why}"),
            )));
        }
        if let Some(end) = self.outside(order, how)? {
            return Ok(Err(end));
        }
        // A rehearsal changes what it was told to change.
        if self.changes.is_empty() || site.force.is_some() {
            return Ok(Ok(None));
        }
        let checks = verify::checks(site, &order.ticket)?;
        let trees = [&order.base, &self.tree];
        let judged = protection::judged(site, &order.ticket.task, &checks, &self.changes, trees)?;
        Ok(match judged.refused {
            Some(end) => Err(end),
            None => Ok(Some(Box::new(judged.scope))),
        })
    }

    /// Why the changed paths are not taken, whatever is in them.
    fn outside(&self, order: &Order, how: &How) -> anyhow::Result<Option<AttemptEnd>> {
        let rule = match order.kind {
            TaskKind::Report => Some("a report task changes no files".to_owned()),
            TaskKind::Change if how.profile == Some(Profile::ReadOnly) => {
                Some(format!("the role `{}` is read-only", how.role))
            }
            TaskKind::Change => None,
        };
        let paths: Vec<PathBuf> = self
            .changes
            .iter()
            .flat_map(Change::paths)
            .map(Path::to_owned)
            .collect();
        let outside = match rule {
            Some(_) => paths.iter().map(PathBuf::as_path).collect(),
            None => Files::new(&order.files)?.outside(&paths),
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
    pub(super) fn candidate(
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
        point("candidate-made");
        pins::name_candidate(
            &repo,
            &pins::candidate_ref(&site.run, &order.ticket.task, order.ticket.attempt),
            &id,
        )?;
        point("candidate-named");
        // Only now that a ref holds them can nothing take its objects any more.
        if !is_whole(&repo, &id)? {
            bail!(ObjectsTaken(id));
        }
        site.note_made(&id);
        Ok(Some(id))
    }
}

/// Changes, without the plan's and those of the status. A rename from or to one of these is a change of the other side.
fn changes(files: &Collected, plan_path: Option<&Path>) -> Vec<Change> {
    let is_own = |p: &Path| Some(p) == plan_path || status::FILES.iter().any(|f| p == Path::new(f));
    let mut changes = Vec::new();
    for change in &files.changes {
        match &change.kind {
            ChangeKind::Renamed { from } if is_own(&change.path) && !is_own(from) => {
                changes.push(Change {
                    path: from.clone(),
                    kind: ChangeKind::Deleted,
                });
            }
            _ if is_own(&change.path) => {}
            ChangeKind::Renamed { from } if is_own(from) => changes.push(Change {
                path: change.path.clone(),
                kind: ChangeKind::Added,
            }),
            _ => changes.push(change.clone()),
        }
    }
    changes
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
    let given = dir.plan_given();
    let given = File::open(&given).with_context(|| format!("cannot read {}", given.display()))?;
    let left = read_if_other(&copy, PLAN_BYTES_MAX, given);
    Ok(left.map_err(|error| format!("the edited plan cannot be read: {error}")))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_limited(path, PLAN_BYTES_MAX)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

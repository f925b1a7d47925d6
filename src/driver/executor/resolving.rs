//! Conflicts that a session resolves which made neither side: with whose work a candidate is in conflict, and what the
//! session is given of both. What is taken of its result is decided in `collect`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use git2::{Oid, Repository};

use super::answers::Answers;
use super::plan_texts::PLAN_BYTES_MAX;
use super::verify::joined_checks;
use crate::agent::prompt::{Contested, Side, conflict_part};
use crate::driver::attempt::{Contest, Opponent, Sheet};
use crate::driver::how;
use crate::driver::site::Site;
use crate::engine::Engine;
use crate::engine::conflict;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::view::TaskState;
use crate::git::change::patch;
use crate::git::commit;
use crate::git::durable::is_whole;
use crate::git::merge::{Known, Merge, MergeError, merge};
use crate::git::tree::paths_between;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::Plan;
use crate::plan::graph::Gates;
use crate::store::{read_limited, write_atomic};

/// Longest difference of one side that a session is told; the files themselves are before it.
const PATCH_BYTES_MAX: usize = 64 << 10;

/// The tasks of commits that orch landed.
pub(super) type Landings = BTreeMap<ObjectId, TaskId>;

/// Those that the engine knows.
pub(super) fn landed(engine: &Engine) -> Landings {
    let commit_of = |state| match state {
        TaskState::Completed { commit, .. } => commit,
        _ => None,
    };
    let tasks = engine.tasks();
    tasks
        .filter_map(|view| Some((commit_of(view.state)?, view.node.id.clone())))
        .collect()
}

/// What `candidate` changed since `base`, merged into `tip`, the plan left apart.
pub(super) fn merged(
    site: &Site,
    repo: &Repository,
    [base, tip, candidate]: [&ObjectId; 3],
    known: &dyn Fn(&str) -> Option<Known>,
) -> Result<Merge, MergeError> {
    let apart = site.plan.tracked().map(Path::new);
    merge(
        site.repo.program(),
        repo,
        base,
        tip,
        candidate,
        apart,
        known,
    )
}

/// The commits between `base` and `tip` that changed one of `files`, the newest first.
pub(super) fn touching(
    repo: &Repository,
    [base, tip]: [&ObjectId; 2],
    files: &[String],
) -> anyhow::Result<Vec<ObjectId>> {
    let files: BTreeSet<PathBuf> = files.iter().map(PathBuf::from).collect();
    let mut walk = repo.revwalk()?;
    walk.push(Oid::from_str(tip.as_str())?)?;
    walk.hide(Oid::from_str(base.as_str())?)?;
    walk.simplify_first_parent()?;
    let mut found = Vec::new();
    for id in walk {
        let id = ObjectId::new(id?.to_string());
        let parent = commit::first_parent(repo, &id)?;
        if !paths_between(repo, &parent, &id)?.is_disjoint(&files) {
            found.push(id);
        }
    }
    Ok(found)
}

/// A candidate on the tip: the files to start from, none for those of the tip, and the conflict in them.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) files: Option<ObjectId>,
    pub(super) contest: Option<Contest>,
}

/// What a session starts from that is to resolve the conflict of a candidate with the tip. There may be none any more.
pub(super) fn start(
    site: &Site,
    repo: &Repository,
    (plan, landed): (&Plan, &Landings),
    of: &conflict::Contested,
    tip: &ObjectId,
) -> anyhow::Result<Start> {
    if !is_whole(repo, &of.candidate)? {
        tracing::warn!(candidate = %of.candidate, "the last attempt's files cannot be read any more");
        return Ok(Start::default());
    }
    let base = commit::first_parent(repo, &of.candidate)?;
    let answers = Answers::of(site)?;
    let between = [&base, tip, &of.candidate];
    let (files, marked) = match merged(site, repo, between, &|file| answers.known(file))? {
        Merge::Clean { tree } => return Ok(as_it_is(tree)),
        Merge::Answered { tree, to_make, .. } if to_make.is_empty() => return Ok(as_it_is(tree)),
        // The command that is to make these files anew has failed.
        Merge::Answered { .. } => match merged(site, repo, between, &|_| None)? {
            Merge::Conflict { files, marked } => (files, marked),
            Merge::Clean { tree } | Merge::Answered { tree, .. } => return Ok(as_it_is(tree)),
        },
        Merge::Conflict { files, marked } => (files, marked),
    };
    // Where not everybody's gates would judge it any more, the task is done again.
    let Some(marked) = marked else {
        return Ok(Start::default());
    };
    let touching = touching(repo, [&base, tip], &files)?;
    let with = touching.into_iter().map(|commit| {
        let task = plan.task(landed.get(&commit)?)?;
        let checks = how::checks(task, plan, &site.settings, site.force);
        (checks.gates() == Gates::Required).then(|| Opponent {
            task: task.id.clone(),
            commit,
            checks,
        })
    });
    let with: Option<Vec<Opponent>> = with.collect();
    let Some(mut with) = with.filter(|with| !with.is_empty()) else {
        return Ok(Start::default());
    };
    with.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(Start {
        files: Some(marked.clone()),
        contest: Some(Contest {
            candidate: of.candidate.clone(),
            attempt: of.attempt,
            marked,
            files,
            with,
        }),
    })
}

/// There is nothing to resolve: the session goes on with the work itself.
fn as_it_is(tree: ObjectId) -> Start {
    Start {
        files: Some(tree),
        contest: None,
    }
}

/// Gives the resolving attempt the plan edit of the one whose work it resolves, so that it lands with it; the plan copy
/// as that one was given it.
pub(super) fn inherit_plan(
    site: &Site,
    ticket: &Ticket,
    author: u32,
) -> anyhow::Result<Option<Vec<u8>>> {
    let author = Ticket {
        attempt: author,
        ..ticket.clone()
    };
    let (from, to) = (site.attempt_dir(&author), site.attempt_dir(ticket));
    if !from.plan_left().exists() {
        return Ok(None);
    }
    let given = read_limited(&from.plan_given(), PLAN_BYTES_MAX)?;
    write_atomic(&to.plan_given(), &given)?;
    let left = read_limited(&from.plan_left(), PLAN_BYTES_MAX)?;
    write_atomic(&to.plan_left(), &left)?;
    Ok(Some(given))
}

/// What the session is told: both tasks, both differences, and what came of the answers that were known.
pub(super) fn prompt(
    site: &Site,
    plan: &Plan,
    sheet: &Sheet,
    contest: &Contest,
    evidence: &[AttemptEnd],
) -> anyhow::Result<String> {
    let repo = site.repo.open()?;
    let apart = site.plan.tracked().map(Path::new);
    let side = |id: &TaskId, commit: &ObjectId| -> anyhow::Result<Side> {
        let task = plan.task(id);
        let parent = commit::first_parent(&repo, commit)?;
        Ok(Side {
            id: id.to_string(),
            name: task.map_or_else(String::new, |task| task.name.to_string()),
            description: task.and_then(|task| task.description.as_deref().map(str::to_owned)),
            difference: patch(&repo, &parent, commit, apart, PATCH_BYTES_MAX)?,
        })
    };
    let mut sides = vec![side(&sheet.ticket.task, &contest.candidate)?];
    for opponent in &contest.with {
        sides.push(side(&opponent.task, &opponent.commit)?);
    }
    let answers = Answers::of(site)?;
    let known = contest.files.iter().filter_map(|file| {
        let answer = answers.to(file)?;
        Some((file.clone(), answer.clone()))
    });
    let is_conflict = |end: &&AttemptEnd| end.ending == Ending::Conflict;
    let found = evidence.iter().rev().find(is_conflict);
    let checks = joined_checks(site, sheet.checks.clone(), contest.with.clone());
    let contested = Contested {
        sides: &sides,
        files: &contest.files,
        checks: &checks,
        known: &known.collect::<Vec<_>>(),
        found: found.map(|end| end.detail.as_str()),
        nonce: &sheet.nonce,
    };
    conflict_part(&contested).context("the conflict is too large to be told")
}

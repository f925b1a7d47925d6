//! What the repository and the run directories tell of runs, without the ledger: commits with the trailers of landings,
//! refs of orch's own, directories of attempts, texts of plans.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use git2::{Oid, Sort};

use crate::digest::sha256_hex;
use crate::engine::event::{Author, PlanRevision};
use crate::git::refs;
use crate::git::target::run_branch;
use crate::ids::{ObjectId, PlanId, RefName, RunId, TaskId};
use crate::plan::{self, Strictness};
use crate::store::{StateDir, read_limited};

/// Largest plan text that is read back.
const PLAN_BYTES_MAX: u64 = 16 << 20;

/// What is told of all runs.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Commits that carry a run's trailers on any branch, oldest first.
    pub(super) commits: BTreeMap<RunId, Vec<Signed>>,
    /// Attempts whose candidates have refs.
    pub(super) candidates: BTreeMap<RunId, BTreeSet<(TaskId, u32)>>,
    /// Attempts that have directories.
    pub(super) attempts: BTreeMap<RunId, BTreeSet<(TaskId, u32)>>,
    /// The newest text of a run's plan that is kept and checks.
    pub(super) plans: BTreeMap<RunId, KeptPlan>,
    /// The branch that a run most likely landed on, by what its commits are on.
    pub(super) targets: BTreeMap<RunId, LikelyTarget>,
}

/// A commit that says which attempt it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    pub(super) plan: PlanId,
    pub(super) commit: ObjectId,
    /// The branches that hold it.
    pub(super) branches: BTreeSet<RefName>,
}

/// A plan's text in a run's directory.
#[derive(Debug, Clone)]
pub(super) struct KeptPlan {
    /// `meta.id`, if it has one.
    pub(super) id: Option<PlanId>,
    pub(super) revision: PlanRevision,
}

/// Where a run landed, as far as its commits tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LikelyTarget {
    pub(super) name: RefName,
    /// Whether the reflog says so, or no other branch comes into question.
    pub(super) is_certain: bool,
}

impl World {
    /// Looks at everything; nothing is written.
    pub(super) fn look(repo: &git2::Repository, state: &StateDir) -> anyhow::Result<Self> {
        let mut world = Self::default();
        world.look_at_history(repo)?;
        world.look_at_candidates(repo)?;
        for run in state.kept_runs()? {
            let dir = state.run(&run);
            let attempts = dir.kept_attempts()?;
            if !attempts.is_empty() {
                world
                    .attempts
                    .insert(run.clone(), attempts.into_iter().collect());
            }
            for path in dir.kept_plans()?.iter().rev() {
                if let Some(kept) = kept_plan(path)? {
                    world.plans.insert(run, kept);
                    break;
                }
            }
        }
        Ok(world)
    }

    /// Every run that anything tells of.
    pub(super) fn runs(&self) -> BTreeSet<RunId> {
        let (commits, candidates) = (self.commits.keys(), self.candidates.keys());
        let attempts = self.attempts.keys();
        commits.chain(candidates).chain(attempts).cloned().collect()
    }

    /// What a run has on a branch, oldest first, each attempt once: a copy of a commit is no other landing.
    pub(super) fn landed(&self, run: &RunId, target: &RefName) -> Vec<&Signed> {
        let mut seen = BTreeSet::new();
        let commits = self.commits.get(run).into_iter().flatten();
        commits
            .filter(|signed| signed.branches.contains(target))
            .filter(|signed| seen.insert((&signed.task, signed.attempt)))
            .collect()
    }

    fn look_at_history(&mut self, repo: &git2::Repository) -> anyhow::Result<()> {
        let mut branches = Vec::new();
        for reference in repo.references_glob("refs/heads/*")? {
            let reference = reference?;
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            if let Some(tip) = reference.target() {
                branches.push((RefName::new(name), ObjectId::new(tip.to_string())));
            }
        }
        let mut walk = repo.revwalk()?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
        walk.push_glob("refs/heads/*")?;
        let mut all = Vec::new();
        for id in walk {
            all.extend(signed(&repo.find_commit(id?)?));
        }
        let commits: Vec<ObjectId> = all.iter().map(|(_, s)| s.commit.clone()).collect();
        for (name, tip) in &branches {
            let held = refs::contained(repo, tip, &commits)?;
            for (_, signed) in &mut all {
                if held.contains(&signed.commit) {
                    signed.branches.insert(name.clone());
                }
            }
        }
        for (run, signed) in all {
            self.commits.entry(run).or_default().push(signed);
        }
        for (run, commits) in &self.commits {
            if let Some(target) = likely_target(repo, commits)? {
                self.targets.insert(run.clone(), target);
            }
        }
        Ok(())
    }

    fn look_at_candidates(&mut self, repo: &git2::Repository) -> anyhow::Result<()> {
        for reference in repo.references_glob("refs/orch/candidate/*")? {
            let reference = reference?;
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            let rest = name.strip_prefix("refs/orch/candidate/");
            let parts: Vec<&str> = rest.unwrap_or_default().split('/').collect();
            let [run, task, attempt] = parts.as_slice() else {
                continue;
            };
            let (run, task) = (RunId::parse(run), TaskId::parse(task));
            if let (Ok(run), Ok(task), Ok(attempt)) = (run, task, attempt.parse()) {
                self.candidates
                    .entry(run)
                    .or_default()
                    .insert((task, attempt));
            }
        }
        Ok(())
    }
}

/// The branch whose reflog tells of landings; else the run branch of the plan; else the only one that holds the newest
/// commit, or the first by name.
fn likely_target(
    repo: &git2::Repository,
    commits: &[Signed],
) -> anyhow::Result<Option<LikelyTarget>> {
    let Some(newest) = commits.last() else {
        return Ok(None);
    };
    let oid = Oid::from_str(newest.commit.as_str())?;
    for name in &newest.branches {
        let log = repo.reflog(name.as_str())?;
        let landed = log.iter().any(|entry| {
            entry.id_new() == oid
                && entry
                    .message_bytes()
                    .is_some_and(|m| m.starts_with(b"orch: land "))
        });
        if landed {
            return Ok(Some(LikelyTarget {
                name: name.clone(),
                is_certain: true,
            }));
        }
    }
    let run_branch = run_branch(&newest.plan);
    let name = match newest.branches.contains(&run_branch) {
        true => Some(run_branch),
        false => newest.branches.first().cloned(),
    };
    let is_certain = newest.branches.len() == 1;
    Ok(name.map(|name| LikelyTarget { name, is_certain }))
}

fn signed(commit: &git2::Commit<'_>) -> Option<(RunId, Signed)> {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let last = message.trim_end().rsplit("\n\n").next()?;
    let value = |key: &str| {
        last.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    };
    let signed = Signed {
        task: TaskId::parse(value("Orch-Task")?).ok()?,
        attempt: value("Orch-Attempt")?.parse().ok()?,
        plan: PlanId::from_path(Path::new(value("Orch-Plan")?)),
        commit: ObjectId::new(commit.id().to_string()),
        branches: BTreeSet::new(),
    };
    Some((RunId::parse(value("Orch-Run")?).ok()?, signed))
}

/// A kept text, if it is a plan that checks: it was when it was kept.
fn kept_plan(path: &Path) -> anyhow::Result<Option<KeptPlan>> {
    let text = read_limited(path, PLAN_BYTES_MAX)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let checked = plan::check(&path.to_string_lossy(), &text, Strictness::AsWritten);
    Ok(checked.plan.map(|plan| KeptPlan {
        id: plan.meta.id.clone(),
        revision: PlanRevision {
            text_sha256: sha256_hex(&text),
            by: Author::Orch,
            graph: plan.graph,
            profiles: std::sync::Arc::default(),
            checked: std::sync::Arc::default(),
        },
    }))
}

//! Whether what landed of a conflict that a session resolved is the merge of the work in conflict but for the files in
//! conflict, and whether the gates of everybody concerned have judged it.

use std::collections::{BTreeMap, BTreeSet};

use git2::Repository;

use super::merges::Landing;
use super::trees::Trees;
use super::{Case, Report, find, object_id};
use crate::engine::conflict::Resolving;
use crate::engine::record::Record;
use crate::engine::verification::{GateRecord, On, Verification};
use crate::ids::{ObjectId, TaskId};

/// An attempt.
type Attempt<'a> = (&'a TaskId, u32);

/// The hashes of the commands that had to pass.
type Required<'a> = BTreeSet<&'a str>;

/// What the records say, up to a moment.
#[derive(Default)]
struct Known<'a> {
    plans: BTreeSet<Vec<u8>>,
    candidates: BTreeMap<Attempt<'a>, &'a ObjectId>,
    resolving: BTreeMap<Attempt<'a>, &'a Resolving>,
    said: BTreeMap<&'a ObjectId, &'a Verification>,
    /// What judged the landed work of each task, by the plan in force.
    landed: BTreeMap<&'a TaskId, Required<'a>>,
}

impl Report {
    /// Follows the sessions that resolved conflicts.
    pub(super) fn resolved(&mut self, repo: &Repository, trees: &Trees<'_>, case: &Case<'_>) {
        let mut known = Known::default();
        for stamped in case.records {
            match &stamped.record {
                Record::RunStarted(start) | Record::RunResumed { start } => {
                    known.plans.insert(start.plan.clone().into_bytes());
                    known.landed.clear();
                }
                Record::PlanAccepted { .. } => known.landed.clear(),
                Record::Resolving { ticket, resolving } => {
                    let attempt = (&ticket.task, ticket.attempt);
                    self.of_its_task(&known, attempt, resolving);
                    known.resolving.insert(attempt, resolving);
                }
                Record::Collected {
                    ticket,
                    candidate: Some(candidate),
                    ..
                } => {
                    let attempt = (&ticket.task, ticket.attempt);
                    known.candidates.insert(attempt, candidate);
                }
                Record::Verified { commit, result, .. } => {
                    known.said.insert(commit, result);
                }
                Record::Landed { ticket, commit, .. } => {
                    let attempt = (&ticket.task, ticket.attempt);
                    let asked = known.said.get(commit).map(|said| required(said));
                    let asked = asked.unwrap_or_default();
                    if let Some(resolving) = known.resolving.get(&attempt) {
                        self.judged_by_all(&known, &ticket.task, commit, (resolving, &asked));
                        self.in_conflict_only((repo, trees), &known, attempt, resolving);
                    }
                    known.landed.insert(&ticket.task, asked);
                }
                _ => {}
            }
        }
    }

    /// What is resolved is the work of an earlier attempt.
    fn of_its_task(&mut self, known: &Known<'_>, (task, attempt): Attempt<'_>, what: &Resolving) {
        let candidate = known.candidates.get(&(task, what.attempt)).copied();
        if candidate != Some(&what.candidate) || what.attempt >= attempt {
            let message = format!(
                "attempt {attempt} resolves a conflict of attempt {}, of which this is no candidate",
                what.attempt
            );
            self.find("resolved", Some(task), Some(&what.candidate), message);
        }
    }

    /// All that judged the work of the others was asked again.
    fn judged_by_all(
        &mut self,
        known: &Known<'_>,
        task: &TaskId,
        commit: &ObjectId,
        (what, asked): (&Resolving, &Required<'_>),
    ) {
        for other in &what.with {
            let theirs = known.landed.get(other);
            if theirs.is_some_and(|theirs| !theirs.is_subset(asked)) {
                let message = format!(
                    "it came of a conflict with {other}, and a gate that judged what landed of that was not asked"
                );
                self.find("resolved", Some(task), Some(commit), message);
            }
        }
    }

    /// The session's result differs from the merge of the work in conflict in nothing but the files in conflict.
    fn in_conflict_only(
        &mut self,
        (repo, trees): (&Repository, &Trees<'_>),
        known: &Known<'_>,
        attempt: Attempt<'_>,
        what: &Resolving,
    ) {
        // A candidate whose record is lost, or that is gone, is told elsewhere.
        if let Some(result) = known.candidates.get(&attempt)
            && let (Ok(author), Ok(result)) = (find(repo, &what.candidate), find(repo, result))
        {
            let plain = Landing::of(&author, &result)
                .and_then(|landing| landing.plain(repo, trees, &known.plans));
            let plain = plain.map_err(|e| e.to_string()).flatten();
            let files = what.files.iter().map(|file| file.clone().into_bytes());
            let of = object_id(result.id());
            self.explained(attempt.0, &of, &plain, &files.collect());
        }
    }
}

fn required(said: &Verification) -> Required<'_> {
    let asked = |gate: &&GateRecord| gate.required && gate.on == On::Landing;
    let gates = said.gates.iter().filter(asked);
    gates.map(|gate| gate.command.as_str()).collect()
}

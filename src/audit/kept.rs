//! What a run keeps beside its landings: candidates and saved work, each readable under its ref; and that what was
//! removed was not needed any more.

use std::collections::{BTreeMap, BTreeSet};

use git2::Repository;

use super::trees::Trees;
use super::{Case, History, Receipt, Report, find, object_id};
use crate::engine::ending::Ending;
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::engine::salvage::{Salvage, SalvagePlace};
use crate::ids::{ObjectId, RefName, RunId, TaskId};

/// The records of a run, read from the first one on, with what later ones say of candidates.
pub(super) struct Reading<'a> {
    repo: &'a Repository,
    trees: &'a Trees<'a>,
    run: &'a RunId,
    discarded: BTreeSet<&'a RefName>,
    known_lost: BTreeSet<(&'a TaskId, u32)>,
    /// A session that goes on in its slot is collected again: the later candidate holds what the earlier one held.
    last: BTreeMap<(&'a TaskId, u32), u64>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(repo: &'a Repository, trees: &'a Trees<'a>, case: &Case<'a>) -> Self {
        let mut reading = Self {
            repo,
            trees,
            run: case.run,
            discarded: BTreeSet::new(),
            known_lost: BTreeSet::new(),
            last: BTreeMap::new(),
        };
        for stamped in case.discards {
            if let Record::Discarded { refs, .. } = &stamped.record {
                reading.discarded.extend(refs);
            }
        }
        for stamped in case.records {
            match &stamped.record {
                Record::NotLandable { ticket, end, .. } if end.ending == Ending::Crashed => {
                    reading.known_lost.insert((&ticket.task, ticket.attempt));
                }
                Record::Collected {
                    ticket,
                    candidate: Some(_),
                    ..
                } => {
                    let key = (&ticket.task, ticket.attempt);
                    reading.last.insert(key, stamped.seq);
                }
                _ => {}
            }
        }
        reading
    }

    /// Every candidate and all saved work can still be read under its ref, unless a record calls it lost, or says that
    /// the ref was to go, and it may.
    pub(super) fn follow(&self, report: &mut Report, stamped: &Stamped) {
        match &stamped.record {
            Record::Collected {
                ticket,
                candidate: Some(id),
                ..
            } => {
                let key = (&ticket.task, ticket.attempt);
                if self.last.get(&key) != Some(&stamped.seq) || self.known_lost.contains(&key) {
                    return;
                }
                report.candidates += 1;
                let name = RefName::new(format!(
                    "refs/orch/candidate/{}/{}/{}",
                    self.run, ticket.task, ticket.attempt
                ));
                self.readable(report, "candidate", &ticket.task, &name, id);
            }
            Record::Salvaged { salvage } => {
                report.salvaged += 1;
                if salvage.place == SalvagePlace::Repository {
                    let name = name_of(salvage);
                    self.readable(report, "salvage", &salvage.task, &name, &salvage.commit);
                }
            }
            _ => {}
        }
    }

    fn readable(
        &self,
        report: &mut Report,
        law: &'static str,
        task: &TaskId,
        name: &RefName,
        id: &ObjectId,
    ) {
        if self.discarded.contains(name) {
            return;
        }
        let at = self.repo.refname_to_id(name.as_str()).map(object_id).ok();
        let is_readable =
            find(self.repo, id).is_ok_and(|found| self.trees.read(found.tree_id()).is_ok());
        if at.as_ref() != Some(id) || !is_readable {
            let message = format!("{name} does not lead to it, or it cannot be read");
            report.find(law, Some(task), Some(id), message);
        }
    }
}

impl Report {
    /// Refs of a run are removed only when it had completed; and the candidate of a landing that the target lost is
    /// still needed.
    pub(super) fn discards(
        &mut self,
        case: &Case<'_>,
        history: &History,
        receipts: &BTreeMap<ObjectId, Receipt>,
    ) {
        let lost: BTreeSet<String> = receipts
            .iter()
            .filter(|(commit, _)| !history.commits.contains(*commit) && !history.is_rewritten)
            .map(|(_, r)| format!("refs/orch/candidate/{}/{}/{}", case.run, r.task, r.attempt))
            .collect();
        let mut has_completed = false;
        for stamped in case.records {
            match &stamped.record {
                Record::RunResumed { .. } => has_completed = false,
                Record::RunEnded { outcome } => has_completed = *outcome == Outcome::Completed,
                Record::Discarded { .. } if !has_completed => self.find(
                    "discard",
                    None,
                    None,
                    "refs were removed of a run that had not completed".to_owned(),
                ),
                Record::Discarded { refs, .. } => {
                    for name in refs.iter().filter(|name| lost.contains(name.as_str())) {
                        self.find(
                            "discard",
                            None,
                            None,
                            format!("{name} was removed, and the target does not hold its landing"),
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

fn name_of(salvage: &Salvage) -> RefName {
    RefName::new(format!(
        "refs/orch/salvage/{}/{}/{}",
        salvage.run, salvage.task, salvage.number
    ))
}

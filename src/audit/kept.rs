//! What a run keeps beside its landings: candidates and saved work, each readable under its ref; and that what was
//! removed was not needed any more.

use std::collections::{BTreeMap, BTreeSet};

use git2::Repository;

use super::{Case, History, Receipt, Report, find, object_id};
use crate::engine::ending::Ending;
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Salvage, SalvagePlace};
use crate::ids::{ObjectId, RefName, TaskId};

impl Report {
    /// Every candidate and all saved work can still be read under its ref, unless a record calls it lost, or says that
    /// the ref was to go, and it may.
    pub(super) fn kept(
        &mut self,
        repo: &Repository,
        case: &Case<'_>,
        history: &History,
        receipts: &BTreeMap<ObjectId, Receipt>,
    ) {
        let discarded: BTreeSet<&RefName> = case
            .discards
            .iter()
            .filter_map(|stamped| match &stamped.record {
                Record::Discarded { refs, .. } => Some(refs),
                _ => None,
            })
            .flatten()
            .collect();
        let known_lost: BTreeSet<(&TaskId, u32)> = case
            .records
            .iter()
            .filter_map(|s| match &s.record {
                Record::NotLandable { ticket, end, .. } if end.ending == Ending::Crashed => {
                    Some((&ticket.task, ticket.attempt))
                }
                _ => None,
            })
            .collect();
        // A session that goes on in its slot is collected again: the later candidate holds what the earlier one held.
        let last: BTreeMap<(&TaskId, u32), u64> = case
            .records
            .iter()
            .filter_map(|s| match &s.record {
                Record::Collected {
                    ticket,
                    candidate: Some(_),
                    ..
                } => Some(((&ticket.task, ticket.attempt), s.seq)),
                _ => None,
            })
            .collect();
        for stamped in case.records {
            match &stamped.record {
                Record::Collected {
                    ticket,
                    candidate: Some(id),
                    ..
                } if last.get(&(&ticket.task, ticket.attempt)) == Some(&stamped.seq)
                    && !known_lost.contains(&(&ticket.task, ticket.attempt)) =>
                {
                    self.candidates += 1;
                    let name = RefName::new(format!(
                        "refs/orch/candidate/{}/{}/{}",
                        case.run, ticket.task, ticket.attempt
                    ));
                    if !discarded.contains(&name) {
                        self.readable(repo, "candidate", &ticket.task, &name, id);
                    }
                }
                Record::Salvaged { salvage } if salvage.place == SalvagePlace::Repository => {
                    self.salvaged += 1;
                    let name = name_of(salvage);
                    if !discarded.contains(&name) {
                        self.readable(repo, "salvage", &salvage.task, &name, &salvage.commit);
                    }
                }
                Record::Salvaged { .. } => self.salvaged += 1,
                _ => {}
            }
        }
        self.discards(case, history, receipts);
    }

    fn readable(
        &mut self,
        repo: &Repository,
        law: &'static str,
        task: &TaskId,
        name: &RefName,
        id: &ObjectId,
    ) {
        let at = repo.refname_to_id(name.as_str()).map(object_id).ok();
        let is_readable = find(repo, id).is_ok_and(|c| c.tree().is_ok());
        if at.as_ref() != Some(id) || !is_readable {
            self.find(
                law,
                Some(task),
                Some(id),
                format!("{name} does not lead to it, or it cannot be read"),
            );
        }
    }

    /// Refs of a run are removed only when it had completed; and the candidate of a landing that the target lost is
    /// still needed.
    fn discards(
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

//! The records by themselves: one receipt for each landed commit, and a ground for each task that is called completed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, has_gaps};
use crate::engine::next::Next;
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Settlement, Stamped};
use crate::engine::start::Selection;
use crate::ids::{ObjectId, TaskId, Ticket};

/// A receipt: what the ledger says about a landed commit.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub task: TaskId,
    pub attempt: u32,
    /// Not known of one whose records are lost.
    pub generation: Option<u32>,
    pub onto: Option<ObjectId>,
}

/// One receipt for each landed commit, one landing for each generation of a task, each after its intent.
pub(super) fn of(report: &mut Report, records: &[Stamped]) -> BTreeMap<ObjectId, Receipt> {
    let mut reading = Reading {
        report,
        has_gaps: has_gaps(records),
        intents: BTreeMap::new(),
        reopened: BTreeMap::new(),
        landings: BTreeSet::new(),
        done: BTreeSet::new(),
        receipts: BTreeMap::new(),
    };
    for stamped in records {
        reading.follow(&stamped.record);
    }
    reading.receipts
}

/// What the records have said so far.
struct Reading<'r> {
    report: &'r mut Report,
    has_gaps: bool,
    /// The task of a landing commit, and the tip that it was to land on.
    intents: BTreeMap<&'r ObjectId, (&'r TaskId, &'r ObjectId)>,
    /// How often a task was reopened.
    reopened: BTreeMap<&'r TaskId, u32>,
    /// Tasks with the generation that landed.
    landings: BTreeSet<(&'r TaskId, u32)>,
    done: BTreeSet<&'r TaskId>,
    receipts: BTreeMap<ObjectId, Receipt>,
}

impl<'r> Reading<'r> {
    fn follow(&mut self, record: &'r Record) {
        match record {
            Record::LandingIntended {
                ticket,
                commit,
                onto,
            } => {
                self.intents.insert(commit, (&ticket.task, onto));
            }
            Record::Reopened { task, .. } => {
                *self.reopened.entry(task).or_default() += 1;
                self.done.remove(task);
            }
            Record::Settled {
                task,
                as_:
                    Settlement::LandedBefore { .. }
                    | Settlement::Believed
                    | Settlement::MarkedDone { .. }
                    | Settlement::Skipped,
            } => {
                self.done.insert(task);
            }
            Record::LandingFound {
                task,
                attempt,
                commit,
            } => {
                self.report.landed += 1;
                self.report.unverified += 1;
                self.report.unproven += 1;
                let receipt = Receipt {
                    task: task.clone(),
                    attempt: *attempt,
                    generation: None,
                    onto: None,
                };
                let again = "it was found in the history, and has a receipt as well";
                self.keep(commit, receipt, again);
            }
            Record::Landed {
                ticket,
                commit,
                verified,
                generation,
            } => {
                self.report.landed += 1;
                self.report.unverified += usize::from(!verified);
                self.landed(ticket, commit, *generation);
            }
            _ => {}
        }
    }

    fn landed(&mut self, ticket: &'r Ticket, commit: &'r ObjectId, said: u32) {
        let task = &ticket.task;
        let reopened = self.reopened.get(task).copied().unwrap_or(0);
        let generation = reopened + 1;
        // One that was written before this was recorded says the first.
        if said != generation && said != 1 && !self.has_gaps {
            let message = format!(
                "its receipt says generation {said}, and the task was reopened {reopened} times"
            );
            self.find("generation", task, commit, &message);
        }
        let intent = self.intents.get(commit).copied();
        let is_lost = self.has_gaps && intent.is_none();
        self.report.unproven += usize::from(is_lost);
        if !is_lost && intent.is_none_or(|(of, _)| of != task) {
            self.find(
                "intent",
                task,
                commit,
                "it landed without a recorded intent",
            );
        }
        // Whether it was reopened in between may be among what is lost.
        let is_again = !self.landings.insert((task, generation));
        if (is_again || self.done.contains(task)) && !self.has_gaps {
            let message = "the task was done already, and landed without having been reopened";
            self.find("once", task, commit, message);
        }
        let receipt = Receipt {
            task: task.clone(),
            attempt: ticket.attempt,
            generation: Some(said),
            onto: intent.map(|(_, onto)| onto.clone()),
        };
        self.keep(commit, receipt, "it has two receipts");
    }

    fn keep(&mut self, commit: &ObjectId, receipt: Receipt, again: &str) {
        let task = receipt.task.clone();
        if self.receipts.insert(commit.clone(), receipt).is_some() {
            self.find("once", &task, commit, again);
        }
    }

    fn find(&mut self, law: &'static str, task: &TaskId, commit: &ObjectId, message: &str) {
        self.report.find(law, Some(task), Some(commit), message);
    }
}

/// Nothing is called completed by orch without a landing or a collected result that said so.
pub(super) fn completions(
    report: &mut Report,
    records: &[Stamped],
    receipts: &BTreeMap<ObjectId, Receipt>,
) {
    let mut grounds: BTreeSet<TaskId> = receipts.values().map(|r| r.task.clone()).collect();
    for stamped in records {
        match &stamped.record {
            Record::Collected {
                ticket,
                next: Next::Complete,
                ..
            }
            | Record::NotLandable {
                ticket,
                next: Next::Complete,
                ..
            } => {
                grounds.insert(ticket.task.clone());
            }
            Record::Settled {
                task,
                as_:
                    Settlement::LandedBefore { .. }
                    | Settlement::Believed
                    | Settlement::MarkedDone { .. },
            } => {
                grounds.insert(task.clone());
            }
            _ => {}
        }
    }
    let ends_well = records.iter().rev().find_map(|s| match &s.record {
        Record::RunEnded { outcome } => Some(*outcome == Outcome::Completed),
        _ => None,
    });
    if ends_well != Some(true) || has_gaps(records) {
        return;
    }
    let excused: BTreeSet<&TaskId> = records
        .iter()
        .filter_map(|s| match &s.record {
            Record::Settled {
                task,
                as_: Settlement::Skipped | Settlement::LeftOut | Settlement::Removed,
            } => Some(task),
            _ => None,
        })
        .collect();
    let single = records.iter().any(|s| match &s.record {
        Record::RunStarted(start) | Record::RunResumed { start } => {
            !matches!(start.selection, Selection::All)
        }
        _ => false,
    });
    for task in last_plan(records) {
        if !single && !grounds.contains(task) && !excused.contains(task) {
            report.find(
                "evidence",
                Some(task),
                None,
                "the run calls itself completed, and nothing says that this task is",
            );
        }
    }
}

/// The tasks of the last plan revision of a run.
fn last_plan(records: &[Stamped]) -> impl Iterator<Item = &TaskId> {
    let revision = records.iter().rev().find_map(|s| match &s.record {
        Record::PlanAccepted { revision } => Some(revision),
        Record::RunStarted(start) | Record::RunResumed { start } => Some(&start.revision),
        _ => None,
    });
    revision
        .into_iter()
        .flat_map(|r| &r.graph.nodes)
        .map(|node| &node.id)
}

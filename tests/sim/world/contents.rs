//! What commits hold, in worlds with planted conflicts: every candidate merges cleanly, some are red alone, and some are
//! red only beside another one. There a gate says what the contents say, except that behind others it is flaky.

use std::collections::{BTreeMap, BTreeSet};

use orch::engine::ending::Ending;
use orch::engine::next::Next;
use orch::engine::record::{Miss, Record};
use orch::ids::{ObjectId, TaskId};

use super::World;
use crate::rng::Rng;

/// A change that was made: the task, and a number of its own.
type Change = (TaskId, u64);

/// Of every hundred pairs of changes, so many are red together; of every hundred changes, so many are red alone.
const PAIRS: u64 = 12;
const ALONE: u64 = 6;

/// What is in each commit.
pub(super) struct Contents {
    seed: u64,
    changes: BTreeMap<ObjectId, BTreeSet<Change>>,
    made: u64,
    /// What each landing commit was built on.
    parents: BTreeMap<ObjectId, ObjectId>,
    /// The commit of each task of which gates spoke last.
    judged: BTreeMap<TaskId, ObjectId>,
}

impl Contents {
    pub(super) fn new(seed: u64, first: &ObjectId) -> Self {
        Self {
            seed,
            changes: BTreeMap::from([(first.clone(), BTreeSet::new())]),
            made: 0,
            parents: BTreeMap::new(),
            judged: BTreeMap::new(),
        }
    }

    pub(super) fn of(&self, commit: &ObjectId) -> BTreeSet<Change> {
        self.changes.get(commit).cloned().unwrap_or_default()
    }

    /// A candidate is there, which adds one change.
    pub(super) fn made(&mut self, task: &TaskId, candidate: &ObjectId) {
        self.made += 1;
        let change = (task.clone(), self.made);
        self.changes
            .insert(candidate.clone(), BTreeSet::from([change]));
    }

    /// A landing commit is there.
    pub(super) fn merged(&mut self, candidate: &ObjectId, onto: &ObjectId, commit: &ObjectId) {
        let mut changes = self.of(onto);
        changes.extend(self.of(candidate));
        self.changes.insert(commit.clone(), changes);
        self.parents.insert(commit.clone(), onto.clone());
    }

    /// Somebody else's commit, without a change that matters.
    pub(super) fn follows(&mut self, commit: &ObjectId, onto: &ObjectId) {
        self.changes.insert(commit.clone(), self.of(onto));
    }

    pub(super) fn is_red(&self, changes: &BTreeSet<Change>) -> bool {
        let chance = |what: u64| Rng::new(self.seed ^ what.wrapping_mul(0x00d1_342e_543d_e82f));
        let alone = changes.iter().any(|(_, n)| chance(*n).percent(ALONE));
        alone
            || changes.iter().any(|(_, n)| {
                let others = changes.iter().filter(|(_, other)| other > n);
                let mut pairs = others.map(|(_, other)| n * 100_000 + other);
                pairs.any(|pair| chance(pair).percent(PAIRS))
            })
    }
}

impl World {
    /// The laws about what lands and who is blamed, by the contents of commits.
    pub(super) fn judge_by_contents(&mut self, record: &Record) -> Result<(), String> {
        let Some(contents) = &mut self.contents else {
            return Ok(());
        };
        match record {
            Record::Verified { ticket, commit, .. } => {
                contents.judged.insert(ticket.task.clone(), commit.clone());
                Ok(())
            }
            Record::Landed { ticket, commit, .. } if contents.is_red(&contents.of(commit)) => {
                Err(format!("{ticket} lands {commit}, which is red"))
            }
            Record::NotLandable { ticket, end, .. }
                if end.ending == Ending::VerifyFailed && end.detail == "red" =>
            {
                let commit = contents.judged.get(&ticket.task);
                let onto = commit.and_then(|commit| contents.parents.get(commit));
                let (Some(commit), Some(onto)) = (commit, onto) else {
                    return Err(format!("{ticket} is blamed for nothing"));
                };
                let [before, after] =
                    [onto, commit].map(|commit| contents.is_red(&contents.of(commit)));
                if after && !before {
                    Ok(())
                } else {
                    Err(format!("{ticket} is innocent, and is blamed"))
                }
            }
            _ => Ok(()),
        }
    }

    /// What there is to see of the landing queue.
    pub(super) fn note_queue(&mut self, record: &Record) {
        match record {
            Record::Building {
                behind: Some(_), ..
            } => self.seen.note("built behind another"),
            Record::LandingMissed { why, .. } => match why {
                Miss::Unstacked => self.seen.note("what it was built on does not land"),
                Miss::Suspected(_) => self.seen.note("suspected behind another"),
                _ => {}
            },
            Record::Landed { ticket, .. } if self.laws.resolves(ticket) => {
                self.seen.note("a resolved conflict lands");
            }
            Record::NotLandable { ticket, .. } if self.laws.resolves(ticket) => {
                self.seen.note("a resolved conflict is red");
            }
            Record::Collected {
                ticket,
                next: Next::Retry { .. },
                ..
            } if self.laws.resolves(ticket) => self.seen.note("a session resolves nothing"),
            Record::Landed { commit, .. } if self.laws.stacked.contains(commit) => {
                self.seen.note("landed as built behind another");
            }
            _ => {}
        }
    }
}

//! The ledger as it can be told again: from the records that could still be read, and from what the world says where they
//! are silent. Pure: what was found goes in, rows and an account of them come out.
//!
//! A run whose records are all there, as far as can be told, is taken over as it is, and can go on. Of any other it is
//! not known what it had under way: an attempt that looks unfinished may have been collected long ago, and its slot used
//! by another. So such a run is closed. What its target holds counts as landed; the rest begins anew in the next run.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::world::World;
use crate::engine::Engine;
use crate::engine::event::PlanRevision;
use crate::engine::outcome::Outcome;
use crate::engine::policy::Policy;
use crate::engine::record::{FORMAT, Record, Stamped};
use crate::engine::start::{RunStart, Selection};
use crate::engine::view::{Completion, TaskState};
use crate::ids::{ObjectId, PlanId, RefName, RunId, TaskId};
use crate::plan::graph::{Declared, Gates, Node, TaskKind};
use crate::store::{Fragment, Fragments, NewRun, Saved};
use crate::time::Wall;

/// What a new ledger is made of.
#[derive(Debug, Default)]
pub(super) struct Composed {
    pub(super) runs: Vec<(NewRun, Wall)>,
    pub(super) records: Vec<Saved>,
    pub(super) last_seq: Option<u64>,
    pub(super) accounts: Vec<Account>,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The run.
    pub run: RunId,
    /// Whether it can go on, is over, or is only known by name.
    pub fate: Fate,
    /// How many of its records were saved.
    pub records: usize,
    /// Landings that only the history tells of.
    pub found: Vec<(TaskId, ObjectId)>,
    /// What is not known, a line each.
    pub lost: Vec<String>,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// All of its records are there.
    Whole,
    /// Records are missing: what landed counts, the rest begins anew in the next run.
    Closed,
    /// Nothing tells what it was about; it is not in the new ledger.
    Unknown,
}

/// Makes what can be made.
pub(super) fn compose(
    fragments: &Fragments,
    world: &World,
    repository: &Path,
    now: Wall,
) -> Composed {
    let missing = fragments.missing();
    let newest = fragments.records.keys().next_back().copied().unwrap_or(0);
    let mut composing = Composing {
        fragments,
        world,
        repository,
        now,
        next_seq: newest.max(fragments.end().unwrap_or(0)) + 1,
        free: missing.iter().copied().chain([0]).collect(),
        missing,
        made: Composed {
            last_seq: fragments.end(),
            ..Composed::default()
        },
    };
    let in_records = fragments.records.values().map(|f| f.run.clone());
    let in_runs = fragments.runs.keys().cloned();
    let all: BTreeSet<RunId> = in_records.chain(in_runs).chain(world.runs()).collect();
    for run in all {
        composing.run(&run);
    }
    let mut made = composing.made;
    made.records.sort_by_key(|saved| saved.stamped.seq);
    made
}

struct Composing<'a> {
    fragments: &'a Fragments,
    world: &'a World,
    repository: &'a Path,
    now: Wall,
    next_seq: u64,
    /// Places that are not taken, for records that must stand before others.
    free: BTreeSet<u64>,
    missing: BTreeSet<u64>,
    made: Composed,
}

impl Composing<'_> {
    fn run(&mut self, run: &RunId) {
        let mut saved = self.saved(run);
        let count = saved.len();
        let mut account = Account {
            run: run.clone(),
            fate: Fate::Unknown,
            records: count,
            found: Vec::new(),
            lost: Vec::new(),
        };
        if let Some(row) = self.fragments.runs.get(run)
            && self.is_whole(run, &saved, &row.0.target)
        {
            account.fate = Fate::Whole;
            self.made.runs.push(row.clone());
            self.made.records.extend(saved);
            self.made.accounts.push(account);
            return;
        }
        account.lost = self.lost(run, &saved);
        let Some(new) = self.identity(run, &saved, &mut account) else {
            self.made.accounts.push(account);
            return;
        };
        if !self.begin(run, &new, &mut saved, &mut account) {
            self.made.accounts.push(account);
            return;
        }
        account.fate = Fate::Closed;
        let landed = landed_of(run, &saved);
        for signed in self.world.landed(run, &new.target) {
            if !landed.contains(&signed.commit) {
                account
                    .found
                    .push((signed.task.clone(), signed.commit.clone()));
                let record = Record::LandingFound {
                    task: signed.task.clone(),
                    attempt: signed.attempt,
                    commit: signed.commit.clone(),
                };
                saved.push(self.append(run, record));
            }
        }
        let lost = account.lost.clone();
        saved.push(self.append(run, Record::LedgerRebuilt { lost }));
        let started = self.fragments.runs.get(run).map(|(_, at)| *at);
        let started = started
            .or(started_at(run))
            .or(saved.first().map(|first| first.stamped.at));
        self.made.runs.push((new, started.unwrap_or(self.now)));
        self.made.records.extend(saved);
        self.made.accounts.push(account);
    }

    fn saved(&self, run: &RunId) -> Vec<Saved> {
        let of_run = |(_, fragment): &(&u64, &Fragment)| fragment.run == *run;
        let records = self.fragments.records.iter().filter(of_run);
        records
            .map(|(&seq, fragment)| Saved {
                stamped: Stamped {
                    seq,
                    run: run.clone(),
                    at: fragment.at,
                    record: fragment.record.clone(),
                },
                body: fragment.body.clone(),
            })
            .collect()
    }

    /// Whether nothing speaks against all records of the run being there.
    fn is_whole(&self, run: &RunId, saved: &[Saved], target: &RefName) -> bool {
        let Ok(engine) = Engine::replay(run.clone(), saved.iter().map(|s| &s.stamped)) else {
            return false;
        };
        let first = saved.first().map_or(0, |first| first.stamped.seq);
        let has_end =
            self.fragments.end().is_some() && self.missing.range(first..).next().is_none();
        // After the end of a completed run nothing follows.
        let is_over = engine.outcome() == Some(Outcome::Completed);
        let mut was_closed = false;
        let mut known = BTreeSet::new();
        let mut commits = BTreeSet::new();
        for saved in saved {
            match &saved.stamped.record {
                Record::AttemptStarted { ticket, .. } => {
                    known.insert((ticket.task.clone(), ticket.attempt));
                }
                Record::LandingIntended { commit, .. } | Record::LandingFound { commit, .. } => {
                    commits.insert(commit.clone());
                }
                Record::LedgerRebuilt { .. } => was_closed = true,
                _ => {}
            }
        }
        let all_attempts = self.attempts(run).iter().all(|a| known.contains(a));
        let landed = self.world.landed(run, target);
        let all_landings = landed.iter().all(|signed| commits.contains(&signed.commit));
        all_landings && (was_closed || all_attempts && (has_end || is_over))
    }

    /// The attempts that directories or refs tell of.
    fn attempts(&self, run: &RunId) -> BTreeSet<(TaskId, u32)> {
        let of = |map: &std::collections::BTreeMap<RunId, BTreeSet<(TaskId, u32)>>| {
            map.get(run).cloned().unwrap_or_default()
        };
        let mut all = of(&self.world.attempts);
        all.extend(of(&self.world.candidates));
        all
    }

    fn lost(&self, run: &RunId, saved: &[Saved]) -> Vec<String> {
        let mut lost = Vec::new();
        let starts = saved
            .first()
            .is_some_and(|first| matches!(first.stamped.record, Record::RunStarted(_)));
        if !starts {
            lost.push("how the run began: its settings and what was asked for".to_owned());
        }
        let first = saved.first().map_or(1, |first| first.stamped.seq);
        let gaps = ranges(self.missing.range(first..).copied());
        lost.extend(gaps.into_iter().map(|gap| format!("{gap} of the ledger")));
        if self.fragments.end().is_none() {
            lost.push(match saved.last() {
                Some(last) => format!("what came after record {}, if anything", last.stamped.seq),
                None => "all records".to_owned(),
            });
        }
        let started: BTreeSet<(TaskId, u32)> = saved
            .iter()
            .filter_map(|saved| match &saved.stamped.record {
                Record::AttemptStarted { ticket, .. } => {
                    Some((ticket.task.clone(), ticket.attempt))
                }
                _ => None,
            })
            .collect();
        let silent: Vec<String> = self
            .attempts(run)
            .difference(&started)
            .map(|(task, attempt)| format!("{task}#{attempt}"))
            .collect();
        if !silent.is_empty() {
            lost.push(format!("what became of {}", silent.join(", ")));
        }
        if lost.is_empty() {
            lost.push("what makes its records fit each other".to_owned());
        }
        lost
    }

    /// What identifies the run: its row, else its first record and what its commits say.
    fn identity(&self, run: &RunId, saved: &[Saved], account: &mut Account) -> Option<NewRun> {
        if let Some((new, _)) = self.fragments.runs.get(run) {
            return Some(new.clone());
        }
        let start = saved.iter().rev().find_map(|s| match &s.stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => Some(start),
            _ => None,
        });
        let signed = self.world.commits.get(run).and_then(|all| all.last());
        let kept = self.world.plans.get(run).and_then(|kept| kept.id.clone());
        let shown = start.map(|start| PlanId::from_path(Path::new(&start.plan)));
        let plan_id = kept.or(signed.map(|s| s.plan.clone())).or(shown)?;
        let target = match (start, self.world.targets.get(run)) {
            (Some(start), _) => start.target.clone(),
            (None, Some(likely)) => {
                if !likely.is_certain {
                    let name = likely.name.short();
                    account
                        .lost
                        .push(format!("which branch it landed on: {name} is a guess"));
                }
                likely.name.clone()
            }
            (None, None) => return None,
        };
        let shown = start.map_or(plan_id.as_str(), |start| start.plan.as_str());
        let root = self.repository.parent().unwrap_or(self.repository);
        Some(NewRun {
            run: run.clone(),
            plan_path: root.join(shown).to_string_lossy().into_owned(),
            plan_id,
            target,
            repository: self.repository.to_string_lossy().into_owned(),
        })
    }

    /// Makes sure that the first record is the one that begins the run; `false` if there is no place for it.
    fn begin(
        &mut self,
        run: &RunId,
        new: &NewRun,
        saved: &mut Vec<Saved>,
        account: &mut Account,
    ) -> bool {
        let first = saved.first().map(|first| &first.stamped);
        if first.is_some_and(|first| matches!(first.record, Record::RunStarted(_))) {
            return true;
        }
        let seq = match first {
            Some(first) => match self.free.range(..first.seq).next_back().copied() {
                Some(seq) => seq,
                None => return false,
            },
            None => self.take_seq(),
        };
        self.free.remove(&seq);
        let resumed = saved.iter().find_map(|s| match &s.stamped.record {
            Record::RunResumed { start } => Some(start.clone()),
            _ => None,
        });
        let start = resumed.unwrap_or_else(|| {
            Box::new(RunStart {
                format: FORMAT,
                orch: env!("CARGO_PKG_VERSION").to_owned(),
                plan: new.plan_id.to_string(),
                target: new.target.clone(),
                jobs: 1,
                selection: Selection::All,
                settings: [("ledger", "rebuilt: what was asked for is not known")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                revision: self.revision(run, new, account),
                landed_before: Vec::new(),
                policy: Policy::default(),
                waits: false,
                baseline: false,
                smoke: false,
                learned: Vec::new(),
                signers: None,
                spent_today: crate::engine::budget::Amount::default(),
            })
        });
        let at = started_at(run).or(first.map(|first| first.at));
        let record = Record::RunStarted(start);
        let began = saved_at(seq, run, at.unwrap_or(self.now), record);
        saved.insert(0, began);
        true
    }

    /// The plan as it was kept; else the tasks that landed, which is all that is known of it.
    fn revision(&self, run: &RunId, new: &NewRun, account: &mut Account) -> PlanRevision {
        if let Some(kept) = self.world.plans.get(run) {
            return kept.revision.clone();
        }
        account.lost.push("the text of its plan".to_owned());
        let mut seen = BTreeSet::new();
        let tasks = self.world.landed(run, &new.target).into_iter();
        let nodes = tasks.filter(|signed| seen.insert(&signed.task));
        PlanRevision {
            text_sha256: "unknown".to_owned(),
            by: crate::engine::event::Author::Orch,
            graph: nodes.map(|signed| unknown_node(&signed.task)).collect(),
            profiles: std::sync::Arc::default(),
            checked: std::sync::Arc::default(),
        }
    }

    fn append(&mut self, run: &RunId, record: Record) -> Saved {
        let seq = self.take_seq();
        saved_at(seq, run, self.now, record)
    }

    fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

fn saved_at(seq: u64, run: &RunId, at: Wall, record: Record) -> Saved {
    Saved {
        body: serde_json::to_string(&record).expect("records are plain data"),
        stamped: Stamped {
            seq,
            run: run.clone(),
            at,
            record,
        },
    }
}

/// The commits that the saved records alone show to have landed.
fn landed_of(run: &RunId, saved: &[Saved]) -> BTreeSet<ObjectId> {
    let closing = Stamped {
        seq: u64::MAX,
        run: run.clone(),
        at: Wall(0),
        record: Record::LedgerRebuilt { lost: Vec::new() },
    };
    let records = saved.iter().map(|s| &s.stamped).chain([&closing]);
    let Ok(engine) = Engine::replay(run.clone(), records) else {
        return BTreeSet::new();
    };
    let landed = engine.tasks().filter_map(|view| match view.state {
        TaskState::Completed {
            how: Completion::Landed,
            commit,
            ..
        } => commit,
        _ => None,
    });
    landed.collect()
}

/// A task of which nothing is known but that it landed.
fn unknown_node(id: &TaskId) -> Node {
    Node {
        id: id.clone(),
        name: format!("task {id}").into(),
        needs: Vec::new(),
        priority: 0,
        resources: Vec::new(),
        files: Vec::new(),
        max_attempts: 1,
        retry_from: None,
        kind: TaskKind::Change,
        declared: Declared::Pending,
        spec_hash: "unknown".to_owned(),
        gates: Gates::None,
        approval: None,
        evidence: None,
    }
}

/// When a run began, by its id.
fn started_at(run: &RunId) -> Option<Wall> {
    let time = run.as_str().get(..15)?;
    let at = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%d-%H%M%S").ok()?;
    Some(Wall(at.and_utc().timestamp_millis()))
}

/// Places in words: `record 3`, `records 5 to 9`.
fn ranges(seqs: impl Iterator<Item = u64>) -> Vec<String> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for seq in seqs {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => all.push((seq, seq)),
        }
    }
    let in_words = |(first, last): (u64, u64)| match first == last {
        true => format!("record {first}"),
        false => format!("records {first} to {last}"),
    };
    all.into_iter().map(in_words).collect()
}

#[cfg(test)]
mod tests;

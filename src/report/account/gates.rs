//! What was verified, as a reader of the account sees it: the tree, where and when, and what each command said.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::conflict::Answered;
use crate::engine::record::{Record, Stamped};
use crate::engine::verification::{Counts, GateRecord, GateResult, Verdict, Verification};
use crate::ids::{ObjectId, TaskId};
use crate::time::Wall;

/// Failures of one command that are named; the records have all of them.
const NAMED_MAX: usize = 30;

/// What the gates said of one tree.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Judgement {
    at: Wall,
    /// Of which attempt; none for the target itself.
    attempt: Option<u32>,
    /// The landing commit; none for the untouched target.
    commit: Option<ObjectId>,
    tree: ObjectId,
    /// `passed`, `failed`, `broken`, `interrupted`.
    verdict: &'static str,
    /// Why, where it did not pass.
    detail: Option<String>,
    /// Whether this very commit is on the target.
    landed: bool,
    gates: Vec<Gate>,
    /// Conflicts in the landing commit that were settled as a person had said beforehand, by file.
    answered: Vec<Answered>,
    /// What the probes of the environment answered.
    probes: BTreeMap<String, String>,
    /// SHA-256 over the tree's lock files.
    locks: String,
}

/// What one command said.
#[derive(Debug, Clone, Serialize)]
struct Gate {
    name: String,
    /// The shell's text.
    run: String,
    /// SHA-256 of command and variables.
    command: String,
    required: bool,
    result: GateResult,
    /// The same in words.
    said: String,
    good: bool,
    exit: Option<i32>,
    ms: u64,
    counts: Option<Counts>,
    failures: Vec<String>,
    /// How many more failures there are.
    more_failures: usize,
    /// Whether an earlier record for the same tree was taken.
    reused: bool,
    /// Whether its slot had held nothing else since it was empty, as far as that is known.
    alone: bool,
    detail: String,
    /// On which other files it was asked.
    on: Option<&'static str>,
}

impl Judgement {
    fn new(at: Wall, result: &Verification) -> Self {
        let (verdict, detail) = match &result.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Failed(why) => ("failed", Some(why.clone())),
            Verdict::Broken(why) => ("broken", Some(why.clone())),
            Verdict::Interrupted => ("interrupted", None),
        };
        Self {
            at,
            attempt: None,
            commit: None,
            tree: result.tree.clone(),
            verdict,
            detail,
            landed: false,
            gates: result.gates.iter().map(Gate::new).collect(),
            answered: Vec::new(),
            probes: result.environment.probes.clone(),
            locks: result.environment.locks.clone(),
        }
    }
}

impl Gate {
    fn new(record: &GateRecord) -> Self {
        Self {
            name: record.name.clone(),
            run: record.argv.last().cloned().unwrap_or_default(),
            command: record.command.clone(),
            required: record.required,
            result: record.result,
            said: record.result.in_words().to_owned(),
            good: record.result.lets_land(),
            exit: record.exit,
            ms: record.ms,
            counts: record.counts,
            failures: record.failures.iter().take(NAMED_MAX).cloned().collect(),
            more_failures: record.failures.len().saturating_sub(NAMED_MAX),
            reused: record.reused,
            alone: record.alone,
            detail: beside_the_code(record),
            on: (!record.on.is_landing()).then(|| record.on.in_words()),
        }
    }
}

/// Its sentence without the exit code, which has a place of its own.
fn beside_the_code(record: &GateRecord) -> String {
    let code = record.exit.map(|code| format!("exit code {code}"));
    let rest = code.and_then(|code| record.detail.strip_prefix(&code));
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with("; ") => {
            rest.trim_start_matches("; ").to_owned()
        }
        Some(_) | None => record.detail.clone(),
    }
}

/// Of the landing commits of each task.
pub(super) fn of_tasks(records: &[Stamped]) -> BTreeMap<TaskId, Vec<Judgement>> {
    let mut judged: BTreeMap<TaskId, Vec<Judgement>> = BTreeMap::new();
    let mut answered: BTreeMap<&ObjectId, &[Answered]> = BTreeMap::new();
    for Stamped { record, at, .. } in records {
        match record {
            Record::ConflictsAnswered {
                commit, answers, ..
            } => {
                answered.insert(commit, answers);
            }
            Record::Verified {
                ticket,
                commit,
                result,
            } => {
                let judgement = Judgement {
                    attempt: Some(ticket.attempt),
                    commit: Some(commit.clone()),
                    answered: answered.get(commit).map_or_else(Vec::new, |a| a.to_vec()),
                    ..Judgement::new(*at, result)
                };
                judged
                    .entry(ticket.task.clone())
                    .or_default()
                    .push(judgement);
            }
            Record::Landed { ticket, commit, .. } => {
                let of_task = judged.get_mut(&ticket.task);
                let last = of_task
                    .and_then(|all| all.iter_mut().rfind(|j| j.commit.as_ref() == Some(commit)));
                if let Some(judgement) = last {
                    judgement.landed = true;
                }
            }
            _ => {}
        }
    }
    judged
}

/// Of the target before any agent was paid.
pub(super) fn of_the_target(records: &[Stamped]) -> Vec<Judgement> {
    let said = records.iter().filter_map(|stamped| match &stamped.record {
        Record::Baselined { result } => {
            let mut judgement = Judgement::new(stamped.at, result);
            for (gate, record) in judgement.gates.iter_mut().zip(&result.gates) {
                gate.said = record.said_beforehand();
                gate.good |= record.goal;
            }
            Some(judgement)
        }
        _ => None,
    });
    said.filter(|judgement| !judgement.gates.is_empty() || judgement.verdict != "passed")
        .collect()
}

/// Of the target when the plan was through.
pub(super) fn of_the_end(records: &[Stamped]) -> Vec<Judgement> {
    let said = records.iter().filter_map(|stamped| match &stamped.record {
        Record::Smoked(smoke) => Some(Judgement {
            commit: Some(smoke.commit.clone()),
            ..Judgement::new(stamped.at, &smoke.result)
        }),
        _ => None,
    });
    said.collect()
}

//! What has passed on which tree, by the records of a run and, where gates were called hermetic, of earlier ones; and
//! whether what is called passed before is among it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, has_gaps};
use crate::engine::record::{Record, Stamped};
use crate::engine::start::RunStart;
use crate::engine::verification::{Environment, GateResult, On, Verdict, Verification};
use crate::ids::ObjectId;

/// A command on a tree.
type Asked<'a> = (&'a ObjectId, &'a str);

/// What has passed where, when commands really ran.
pub(super) struct Passed<'a> {
    /// In this run, whenever that was.
    here: BTreeSet<Asked<'a>>,
    /// In other runs, when, and in which environment; none if records were lost.
    elsewhere: Option<BTreeMap<Asked<'a>, Vec<(u64, &'a Environment)>>>,
}

impl<'a> Passed<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let here = case.records.iter().filter_map(|s| said(&s.record));
        let others = case.said_before.iter().filter(|s| s.run != *case.run);
        let mut elsewhere: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for stamped in others {
            if let Some(result) = said(&stamped.record) {
                for asked in passed(result) {
                    let at = (stamped.seq, &result.environment);
                    elsewhere.entry(asked).or_default().push(at);
                }
            }
        }
        Self {
            here: here.flat_map(passed).collect(),
            elsewhere: (!has_gaps(case.said_before)).then_some(elsewhere),
        }
    }

    /// What a result takes for passed before, and no record says.
    pub(super) fn lacks(&self, seq: u64, is_hermetic: bool, result: &Verification) -> Vec<String> {
        // What could not be judged vouches for nothing, and its tree may be unknown.
        if !matches!(result.verdict, Verdict::Passed | Verdict::Failed(_)) {
            return Vec::new();
        }
        let whose = match is_hermetic {
            true => "this run or an earlier one",
            false => "the run",
        };
        let taken = result.gates.iter().filter(|gate| gate.reused);
        let lacking = taken.filter(|gate| {
            let asked = (&result.tree, &*gate.command);
            let is_elsewhere = is_hermetic && self.is_elsewhere(seq, asked, &result.environment);
            gate.on == On::Landing && !is_elsewhere && !self.here.contains(&asked)
        });
        let message = |name: &str| {
            format!(
                "`{name}` is said to have passed on this tree before, and no record of {whose} says so"
            )
        };
        lacking.map(|gate| message(&gate.name)).collect()
    }

    /// Whether it had passed in another run by then, where the probes answered the same; also if that is not known.
    fn is_elsewhere(&self, seq: u64, asked: Asked<'_>, now: &Environment) -> bool {
        self.elsewhere.as_ref().is_none_or(|elsewhere| {
            let mut times = elsewhere.get(&asked).into_iter().flatten();
            times.any(|(at, then)| *at < seq && then.probes == now.probes)
        })
    }
}

/// Whether gates took something over that may be from an earlier run.
pub(super) fn may_take_over(records: &[Stamped]) -> bool {
    let is_hermetic = records.iter().any(|stamped| match &stamped.record {
        Record::RunStarted(start) | Record::RunResumed { start } => is_hermetic(start),
        _ => false,
    });
    let mut said = records.iter().filter_map(|stamped| said(&stamped.record));
    is_hermetic && said.any(|result| result.gates.iter().any(|gate| gate.reused))
}

pub(super) fn is_hermetic(start: &RunStart) -> bool {
    has_set(start, "verify.cache", "hermetic")
}

/// Whether a setting of the run has a value, wherever that came from.
pub(super) fn has_set(start: &RunStart, key: &str, value: &str) -> bool {
    let given = start.settings.get(key);
    given.is_some_and(|said| said == value || said.starts_with(&format!("{value} (")))
}

/// What a record says that gates said.
fn said(record: &Record) -> Option<&Verification> {
    match record {
        Record::Verified { result, .. } | Record::Baselined { result } => Some(result),
        Record::Smoked(smoke) => Some(&smoke.result),
        _ => None,
    }
}

/// What really ran on the tree, and passed.
fn passed(result: &Verification) -> impl Iterator<Item = Asked<'_>> {
    let ran = result
        .gates
        .iter()
        .filter(|gate| gate.on == On::Landing && !gate.reused && gate.result == GateResult::Passed);
    ran.map(|gate| (&result.tree, &*gate.command))
}

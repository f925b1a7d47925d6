//! Whether what had to come first came first: the gates' word on the untouched target and evidence from outside before an
//! agent was paid, a judgement alone on the tip before anybody was blamed, and the smoke commands before a run called
//! itself completed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::{Oid, Repository};

use super::{Case, Report, find, has_gaps, object_id};
use crate::engine::ending::Ending;
use crate::engine::event::PlanRevision;
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::engine::start::RunStart;
use crate::engine::verification::{Smoke, Verdict, Verification};
use crate::ids::{ObjectId, TaskId};

/// The smoke test of projects of claude-plan-orchestrator, which judges where settings and plan name nothing.
const SMOKE_SPEC: &str = "tests/SMOKE01-critical-paths.spec.ts";

/// What the records have said up to a moment.
#[derive(Default)]
struct Reading<'a> {
    start: Option<&'a RunStart>,
    /// Whether the untouched target was found good.
    has_baseline: bool,
    /// Tasks that need evidence before their first attempt.
    wanting: BTreeSet<&'a TaskId>,
    /// Those whose evidence was found.
    found: BTreeSet<&'a TaskId>,
    /// Those that have had an attempt since they were opened.
    begun: BTreeSet<&'a TaskId>,
    /// What each task's landing commit was built on, if not on the target's tip.
    behind: BTreeMap<&'a TaskId, Option<&'a ObjectId>>,
    /// The last landing commit.
    tip: Option<&'a ObjectId>,
    /// What the smoke commands said last.
    smoke: Option<&'a Smoke>,
}

impl Report {
    /// Follows the records from the first one on.
    pub(super) fn order(&mut self, repo: &Repository, case: &Case<'_>) {
        if has_gaps(case.records) {
            return;
        }
        let mut reading = Reading::default();
        for Stamped { record, .. } in case.records {
            reading.note(record);
            match record {
                Record::AttemptStarted { ticket, .. } => {
                    let wants_baseline = reading.start.is_some_and(|start| start.baseline);
                    if wants_baseline && !reading.has_baseline {
                        let message = "it began before the gates had passed the untouched target";
                        self.find("baseline", Some(&ticket.task), None, message);
                    }
                    let is_first = reading.begun.insert(&ticket.task);
                    let lacks = !reading.found.contains(&ticket.task);
                    if is_first && lacks && reading.wanting.contains(&ticket.task) {
                        let message = "it needs evidence from outside, and no record of that precedes its start";
                        self.find("external", Some(&ticket.task), None, message);
                    }
                }
                Record::NotLandable { ticket, end, .. }
                    if matches!(end.ending, Ending::VerifyFailed | Ending::Conflict) =>
                {
                    let behind = reading.behind.get(&ticket.task).copied().flatten();
                    if let Some(behind) = behind {
                        let message = format!(
                            "it was blamed behind {}, which had not landed",
                            behind.short()
                        );
                        self.find("blame", Some(&ticket.task), None, message);
                    }
                }
                Record::Smoked(smoke) => self.smoked(repo, smoke, reading.tip),
                Record::RunEnded { outcome } => self.ended_well(repo, case, &reading, *outcome),
                _ => {}
            }
        }
    }

    /// The smoke commands judged what the run landed last, or what the target has held of it since.
    fn smoked(&mut self, repo: &Repository, smoke: &Smoke, tip: Option<&ObjectId>) {
        if tip.is_some_and(|tip| *tip != smoke.tip) {
            let message =
                "the smoke commands were asked about it, and something else had landed last";
            self.find("smoke", None, Some(&smoke.tip), message);
        }
        let Verification {
            tree,
            gates,
            verdict,
            ..
        } = &smoke.result;
        // A commit that is gone is told elsewhere.
        if let Ok(commit) = find(repo, &smoke.commit)
            && *verdict == Verdict::Passed
        {
            if object_id(commit.tree_id()) != *tree {
                let message = format!(
                    "the smoke commands judged the tree {}, which it has not",
                    tree.short()
                );
                self.find("smoke", None, Some(&smoke.commit), message);
            }
            let beyond = [&smoke.commit, &smoke.tip].map(|id| Oid::from_str(id.as_str()));
            if let [Ok(commit), Ok(tip)] = beyond
                && commit != tip
                && repo.graph_descendant_of(commit, tip).is_ok_and(|is| !is)
            {
                let message = "the smoke commands judged it, and it does not hold what had landed";
                self.find("smoke", None, Some(&smoke.commit), message);
            }
        }
        let red = gates
            .iter()
            .find(|gate| gate.required && !gate.result.lets_land());
        if let (Verdict::Passed, Some(red)) = (verdict, red) {
            let message = format!(
                "smoke is called passed, and `{}` {}",
                red.name,
                red.result.in_words()
            );
            self.find("smoke", None, Some(&smoke.commit), message);
        }
    }

    /// A run that calls itself completed has smoke that passed on what it landed last, if it was to be asked.
    fn ended_well(
        &mut self,
        repo: &Repository,
        case: &Case<'_>,
        reading: &Reading<'_>,
        outcome: Outcome,
    ) {
        let (Some(start), Some(tip), Outcome::Completed) = (reading.start, reading.tip, outcome)
        else {
            return;
        };
        let is_rewritten = case
            .records
            .iter()
            .any(|s| matches!(s.record, Record::TargetRewritten { .. }));
        if !start.smoke || is_rewritten {
            return;
        }
        let said = reading.smoke.filter(|smoke| smoke.tip == *tip);
        let lacks = match said.map(|smoke| &smoke.result.verdict) {
            Some(Verdict::Passed) => return,
            Some(Verdict::Failed(why)) => format!("smoke is red on it: {why}"),
            Some(Verdict::Broken(_) | Verdict::Interrupted) | None => {
                let given = start.settings.get("smoke");
                let has_commands = given.is_some_and(|said| !said.starts_with("none ("));
                let has_spec = || {
                    find(repo, tip)
                        .and_then(|commit| {
                            commit.tree()?.get_path(Path::new(SMOKE_SPEC)).map(|_| ())
                        })
                        .is_ok()
                };
                let is_open = given.is_some_and(|said| said == "none (default)");
                let is_owed = has_commands || (is_open && has_spec());
                if !is_owed {
                    return;
                }
                "no record says that smoke passed on it".to_owned()
            }
        };
        let message = format!("the run calls itself completed, and {lacks}");
        self.find("smoke", None, Some(tip), message);
    }
}

impl<'a> Reading<'a> {
    fn note(&mut self, record: &'a Record) {
        match record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.start = Some(start);
                self.take_over(&start.revision);
            }
            Record::PlanAccepted { revision } => self.take_over(revision),
            Record::Baselined { result } => self.has_baseline |= result.verdict == Verdict::Passed,
            Record::EvidenceLooked {
                task, found: true, ..
            } => drop(self.found.insert(task)),
            Record::Reopened { task, .. } => {
                self.found.remove(task);
                self.begun.remove(task);
            }
            Record::Building { ticket, behind } => {
                self.behind.insert(&ticket.task, behind.as_ref());
            }
            Record::Landed { commit, .. } => self.tip = Some(commit),
            Record::Smoked(smoke) => self.smoke = Some(smoke),
            _ => {}
        }
    }

    fn take_over(&mut self, revision: &'a PlanRevision) {
        for node in &revision.graph.nodes {
            match node.evidence {
                Some(_) => self.wanting.insert(&node.id),
                None => self.wanting.remove(&node.id),
            };
        }
    }
}

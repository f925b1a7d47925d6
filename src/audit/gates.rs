//! Whether each landed commit's tree is the tree of a record that vouches for it, where one was asked for.

use std::collections::BTreeMap;

use git2::Repository;

use super::{Case, Report, find, has_gaps, object_id};
use crate::engine::event::PlanRevision;
use crate::engine::record::Record;
use crate::engine::verification::{GateResult, On, Verdict, Verification};
use crate::ids::{ObjectId, TaskId};
use crate::plan::graph::Gates;

impl Report {
    /// Follows the records: what the plan asks for at each moment, what gates said, what landed.
    pub(super) fn gates(&mut self, repo: &Repository, case: &Case<'_>) {
        let mut wanted: BTreeMap<TaskId, Gates> = BTreeMap::new();
        let mut said: BTreeMap<ObjectId, &Verification> = BTreeMap::new();
        for stamped in case.records {
            match &stamped.record {
                Record::RunStarted(start) | Record::RunResumed { start } => {
                    take_over(&mut wanted, &start.revision);
                }
                Record::PlanAccepted { revision } => take_over(&mut wanted, revision),
                Record::Verified { commit, result, .. } => {
                    said.insert(commit.clone(), result);
                }
                Record::LandingIntended { ticket, commit, .. } => {
                    let result = said.get(commit).copied();
                    match wanted.get(&ticket.task) {
                        Some(gates) => self.announced(&ticket.task, commit, *gates, result),
                        // The revision that had it may be among what was lost.
                        None if has_gaps(case.records) => {}
                        None => {
                            let message = "no revision of the plan has the task, so what should judge it is not known";
                            self.find("plan", Some(&ticket.task), Some(commit), message);
                        }
                    }
                }
                Record::Landed {
                    ticket,
                    commit,
                    verified,
                    ..
                } => {
                    let result = said.get(commit).copied();
                    self.vouched(repo, &ticket.task, commit, *verified, result);
                }
                _ => {}
            }
        }
    }

    /// What is announced for landing has passed what the plan asks for.
    fn announced(
        &mut self,
        task: &TaskId,
        commit: &ObjectId,
        gates: Gates,
        result: Option<&Verification>,
    ) {
        let passed = result.is_some_and(|r| r.verdict == Verdict::Passed);
        let lacks = match gates {
            Gates::None => return,
            Gates::Optional => !passed,
            Gates::Required => !result.is_some_and(proves),
        };
        if lacks {
            let message = "the plan asks for gates, and no record of their passing precedes it";
            self.find("verified", Some(task), Some(commit), message);
        }
    }

    /// What landed as verified has a record for exactly its tree, and only that has.
    fn vouched(
        &mut self,
        repo: &Repository,
        task: &TaskId,
        commit: &ObjectId,
        verified: bool,
        result: Option<&Verification>,
    ) {
        let proof = result.filter(|result| proves(result));
        if verified != proof.is_some() {
            let message = match verified {
                true => "it is called verified, and no record vouches for it",
                false => "a record vouches for it, and it is called unverified",
            };
            self.find("verified", Some(task), Some(commit), message);
        }
        // A commit that is gone is told elsewhere.
        let tree = find(repo, commit).map(|found| object_id(found.tree_id()));
        if let (Some(proof), Ok(tree)) = (result, tree)
            && proof.tree != tree
        {
            let message = format!(
                "its gates were asked about the tree {}, and it has {}",
                proof.tree.short(),
                tree.short()
            );
            self.find("verified", Some(task), Some(commit), message);
        }
    }
}

fn take_over(wanted: &mut BTreeMap<TaskId, Gates>, revision: &PlanRevision) {
    for node in &revision.graph.nodes {
        wanted.insert(node.id.clone(), node.gates);
    }
}

/// At least one required gate was asked, and each one lets the tree land.
fn proves(result: &Verification) -> bool {
    let mut required = 0;
    for gate in result.gates.iter().filter(|gate| gate.required) {
        required += u32::from(gate.on == On::Landing);
        match gate.result {
            GateResult::Passed | GateResult::PreExisting | GateResult::Flaky => {}
            GateResult::Failed | GateResult::Fewer | GateResult::Broken => return false,
        }
    }
    required > 0 && result.verdict == Verdict::Passed
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::engine::record::Stamped;
    use crate::ids::{PlanId, RefName, RunId, Ticket};
    use crate::time::Wall;

    #[test]
    fn a_landing_of_a_task_that_no_plan_has_is_found() {
        let tmp = tempfile::tempdir().unwrap();
        let repo = Repository::init(tmp.path()).unwrap();
        let run = RunId::parse("20261121-063312-k3f9").unwrap();
        let intended = |seq| Stamped {
            seq,
            run: run.clone(),
            at: Wall(0),
            record: Record::LandingIntended {
                ticket: Ticket {
                    task: TaskId::parse("1").unwrap(),
                    attempt: 1,
                    epoch: 4,
                },
                commit: ObjectId::new("c".repeat(40)),
                onto: ObjectId::new("d".repeat(40)),
            },
        };
        let lost = Stamped {
            record: Record::LedgerRebuilt { lost: Vec::new() },
            ..intended(2)
        };
        let findings = |records: &[Stamped]| {
            let mut report = Report::default();
            let case = Case {
                run: &run,
                plan: &PlanId::from_path(std::path::Path::new("plan.yaml")),
                target: &RefName::new("refs/heads/main"),
                records,
                discards: &[],
                said_before: &[],
            };
            report.gates(&repo, &case);
            report.findings
        };
        let found = findings(&[intended(1)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("no revision of the plan"));
        assert_eq!(findings(&[intended(1), lost]), []);
    }
}

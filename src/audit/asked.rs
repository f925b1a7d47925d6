//! Whether what judged a task's work is what people's texts asked for: the commands of gates, the rules of scope, limits,
//! outputs, tests that had to fail first and tests that had to stay; and that no agent's edit of the plan changed any of it.
//!
//! What texts asked for stands in the records of plan revisions. Where that is missing, because the record is older than
//! that, nothing is said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::{Error, Oid, Patch, Repository};
use sha2::{Digest as _, Sha256};

use super::passed::{Passed, has_set, is_hermetic};
use super::trees::{Kind, Trees};
use super::{Case, Report, find, has_gaps};
use crate::engine::event::{Author, PlanRevision};
use crate::engine::record::{Record, Stamped};
use crate::engine::scope::Scope;
use crate::engine::start::RunStart;
use crate::engine::verification::{Counts, GateRecord, GateResult, On, Verdict, Verification};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::checks::{Allowed, ChangeLimits, Checks, VerifyCommand};
use crate::plan::graph::Gates;
use crate::verify::outputs;

/// What a revision asks for, by task.
struct Revision<'a> {
    seq: u64,
    by: &'a Author,
    /// None where the record does not tell it.
    asks: Option<BTreeMap<&'a TaskId, &'a Checks>>,
    sets: &'a [Checks],
}

/// The records of a run, read from the first one on, with the revisions of the plan known beforehand.
pub(super) struct Reading<'a> {
    repo: &'a Repository,
    trees: &'a Trees<'a>,
    has_gaps: bool,
    revisions: Vec<Revision<'a>>,
    start: Option<&'a RunStart>,
    plans: BTreeSet<&'a str>,
    /// When each attempt began, and when its landing commit was last given to the gates.
    began: BTreeMap<(&'a TaskId, u32), u64>,
    given: BTreeMap<&'a ObjectId, u64>,
    collected: BTreeMap<(&'a TaskId, u32), (&'a ObjectId, Option<&'a Scope>)>,
    said: BTreeMap<&'a ObjectId, &'a Verification>,
    passed: Passed<'a>,
    /// What commands said of trees, when they were really run.
    ran: BTreeMap<(&'a ObjectId, &'a str), (u64, &'a GateRecord)>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(repo: &'a Repository, trees: &'a Trees<'a>, case: &Case<'a>) -> Self {
        let revisions = case.records.iter().filter_map(|stamped| {
            let revision = revision(&stamped.record)?;
            let checked = &revision.checked;
            let asks = (!checked.sets.is_empty()).then(|| {
                let nodes = revision.graph.nodes.iter().zip(&checked.of);
                let asks = nodes.filter_map(|(n, set)| Some((&n.id, checked.sets.get(*set)?)));
                asks.collect()
            });
            Some(Revision {
                seq: stamped.seq,
                by: &revision.by,
                asks,
                sets: &checked.sets,
            })
        });
        Self {
            repo,
            trees,
            has_gaps: has_gaps(case.records),
            revisions: revisions.collect(),
            start: None,
            plans: BTreeSet::new(),
            began: BTreeMap::new(),
            given: BTreeMap::new(),
            collected: BTreeMap::new(),
            said: BTreeMap::new(),
            passed: Passed::of(case),
            ran: BTreeMap::new(),
        }
    }

    pub(super) fn follow(&mut self, report: &mut Report, stamped: &'a Stamped) {
        if self.has_gaps {
            return;
        }
        let seq = stamped.seq;
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.start = Some(start);
                self.plans.insert(&start.plan);
            }
            Record::PlanAccepted { .. } => self.edited(report, seq),
            Record::AttemptStarted { ticket, .. } => {
                self.began.insert((&ticket.task, ticket.attempt), seq);
            }
            Record::Collected {
                ticket,
                candidate: Some(candidate),
                scope,
                ..
            } => {
                let key = (&ticket.task, ticket.attempt);
                self.collected.insert(key, (candidate, scope.as_deref()));
                let since = self.began.get(&key).copied().unwrap_or(seq);
                if let (Some(asked), Some(scope)) = (self.asked(&ticket.task, since, seq), scope) {
                    let lacks = "it was judged by other rules than any plan has for it";
                    if !asked.iter().any(|checks| rules_of(checks, scope)) {
                        report.find("asked", Some(&ticket.task), Some(candidate), lacks);
                    }
                }
            }
            Record::Verifying { commit, .. } => {
                self.given.insert(commit, seq);
            }
            Record::Verified {
                ticket,
                commit,
                result,
            } => {
                let since = self.given.get(commit).copied().unwrap_or(seq);
                self.verified(report, [since, seq], &ticket.task, commit, result);
                self.taken_over(report, seq, (Some(&ticket.task), Some(commit)), result);
                self.said.insert(commit, result);
                self.note(seq, result);
            }
            Record::Baselined { result } => {
                self.taken_over(report, seq, (None, None), result);
                self.of_base(report, seq, result);
                self.note(seq, result);
            }
            Record::Smoked(smoke) => {
                let about = (None, Some(&smoke.commit));
                self.taken_over(report, seq, about, &smoke.result);
                self.note(seq, &smoke.result);
            }
            Record::Landed {
                ticket,
                commit,
                verified,
                ..
            } => {
                if !verified && self.setting("verify.require", "true") {
                    let message = "it landed unverified, in a run in which nothing should";
                    report.find("verified", Some(&ticket.task), Some(commit), message);
                }
                if let Err(error) = self.landed(report, seq, ticket, commit) {
                    let message = format!("what it was to leave cannot be read: {error:#}");
                    report.find("asked", Some(&ticket.task), Some(commit), message);
                }
            }
            _ => {}
        }
    }

    /// What the plan asks of a task in the revisions that hold between two records, with the one that holds next: the text
    /// is there before its record. Of a task that none of them has, the last one that had it. None where it is not known.
    fn asked(&self, task: &TaskId, from: u64, to: u64) -> Option<Vec<&'a Checks>> {
        let first = self.revisions.partition_point(|r| r.seq <= from);
        let last = self.revisions.partition_point(|r| r.seq <= to);
        let mut found = Vec::new();
        for revision in self
            .revisions
            .iter()
            .take(last + 1)
            .skip(first.saturating_sub(1))
        {
            found.extend(revision.asks.as_ref()?.get(task).copied());
        }
        if found.is_empty() {
            let earlier = self.revisions[..first].iter().rev();
            let mut had = earlier.filter_map(|r| r.asks.as_ref()?.get(task).copied());
            found.push(had.next()?);
        }
        Some(found)
    }

    fn setting(&self, key: &str, value: &str) -> bool {
        self.start.is_some_and(|start| has_set(start, key, value))
    }

    fn note(&mut self, seq: u64, result: &'a Verification) {
        for gate in &result.gates {
            let is_told = gate.result != GateResult::Broken;
            if !gate.reused && gate.on == On::Landing && is_told {
                self.ran.insert((&result.tree, &gate.command), (seq, gate));
            }
        }
    }

    /// An agent's edit leaves alone what judges tasks, and gives to those that it adds what a task has that says nothing.
    fn edited(&self, report: &mut Report, seq: u64) {
        let place = self.revisions.partition_point(|r| r.seq < seq);
        let (Some(new), Some(old)) = (
            self.revisions.get(place),
            place.checked_sub(1).map(|p| &self.revisions[p]),
        ) else {
            return;
        };
        let (Author::Agent(by), Some(is), Some(was)) = (new.by, &new.asks, &old.asks) else {
            return;
        };
        for (task, checks) in is {
            let is_old = match was.get(task) {
                Some(before) => before == checks,
                None => old.sets.contains(checks),
            };
            if !is_old {
                let message = format!("the agent of {by} changed by what its work is judged");
                report.find("author", Some(task), None, message);
            }
        }
    }

    /// The gates that were asked are those of the plan: all of them, where they let the commit land.
    fn verified(
        &self,
        report: &mut Report,
        [since, seq]: [u64; 2],
        task: &TaskId,
        commit: &ObjectId,
        result: &Verification,
    ) {
        let own: Vec<&GateRecord> = landing(&result.gates)
            .filter(|gate| !self.is_of_another(gate, [since, seq]))
            .collect();
        if let Some(asked) = self.asked(task, since, seq)
            && !asked
                .iter()
                .any(|checks| are_of(&own, checks, &result.verdict))
        {
            let names: Vec<String> = landing(&result.gates)
                .map(|gate| format!("`{}`", gate.name))
                .collect();
            let message = format!(
                "it was judged by {}, and no plan of that time asks for exactly these commands",
                match names.is_empty() {
                    true => "nothing".to_owned(),
                    false => names.join(", "),
                }
            );
            report.find("asked", Some(task), Some(commit), message);
        }
    }

    /// What is called passed before has passed on this tree.
    fn taken_over(
        &self,
        report: &mut Report,
        seq: u64,
        (task, commit): (Option<&TaskId>, Option<&ObjectId>),
        result: &Verification,
    ) {
        let is_hermetic = self.start.is_some_and(is_hermetic);
        for message in self.passed.lacks(seq, is_hermetic, result) {
            report.find("asked", task, commit, message);
        }
    }

    /// Whether a gate is one of a task with whose work a conflict was resolved; that it is asked makes nothing weaker.
    fn is_of_another(&self, gate: &GateRecord, [since, seq]: [u64; 2]) -> bool {
        let Some((name, task)) = gate
            .name
            .strip_suffix(')')
            .and_then(|n| n.rsplit_once(" (of "))
        else {
            return false;
        };
        let asked = TaskId::parse(task)
            .ok()
            .and_then(|task| self.asked(&task, since, seq));
        asked.into_iter().flatten().any(|checks| {
            let mut commands = checks.verify.iter();
            commands.any(|command| {
                command.name == name
                    && hash(command) == gate.command
                    && command.required == gate.required
            })
        })
    }

    /// What was asked about the untouched target is some task's.
    fn of_base(&self, report: &mut Report, seq: u64, result: &Verification) {
        let last = self.revisions.partition_point(|r| r.seq <= seq);
        let mut known = BTreeSet::new();
        for revision in self
            .revisions
            .iter()
            .take(last + 1)
            .skip(last.saturating_sub(1))
        {
            if revision.asks.is_none() {
                return;
            }
            known.extend(revision.sets.iter().flat_map(|set| &set.verify).map(hash));
        }
        for gate in &result.gates {
            if !known.contains(&gate.command) {
                let message = format!(
                    "`{}` judged the untouched target, and no plan of that time asks for it",
                    gate.name
                );
                report.find("asked", None, None, message);
            }
        }
    }

    fn landed(
        &self,
        report: &mut Report,
        seq: u64,
        ticket: &Ticket,
        commit: &'a ObjectId,
    ) -> anyhow::Result<()> {
        let key = (&ticket.task, ticket.attempt);
        let (Some((candidate, scope)), Some(began)) = (
            self.collected.get(&key).copied(),
            self.began.get(&key).copied(),
        ) else {
            return Ok(());
        };
        let given = self.given.get(commit).copied().unwrap_or(seq);
        // A commit that is gone is told elsewhere.
        let (Ok(made), Ok(came)) = (find(self.repo, candidate), find(self.repo, commit)) else {
            return Ok(());
        };
        let onto = came.parent(0)?.tree_id();
        let mut wrong = Vec::new();
        if let Some(asked) = self.asked(&ticket.task, began, given) {
            let size = self.size(&asked, [made.parent(0)?.tree_id(), made.tree_id()])?;
            let fits = |limits: ChangeLimits| {
                let within =
                    |limit: Option<u32>, size| limit.is_none_or(|limit| size <= limit as usize);
                within(limits.files, size[0]) && within(limits.lines, size[1])
            };
            if !asked.iter().any(|checks| fits(checks.limits)) {
                let [files, lines] = size;
                wrong.push(format!(
                    "it changes {files} files and {lines} lines, beyond its limits"
                ));
            }
        }
        if let Some(asked) = self.asked(&ticket.task, given, seq) {
            let mut missing = Vec::new();
            for checks in &asked {
                let read = |path: &str| self.file(came.tree_id(), path);
                let found = outputs::missing(&checks.outputs, read, |path| self.file(onto, path))?;
                missing.push(found);
            }
            if missing.iter().all(|missing| !missing.is_empty()) {
                let said = missing.first().map(|missing| missing.join("; "));
                wrong.push(format!(
                    "what it must leave is not there: {}",
                    said.unwrap_or_default()
                ));
            }
            if let Some(result) = self.said.get(commit) {
                let onto = ObjectId::new(onto.to_string());
                let exceptions = scope.is_some_and(|scope| !scope.exceptions.is_empty())
                    && made.parent(0)?.tree_id() == came.parent(0)?.tree_id();
                wrong.extend(lacks(&asked, result, exceptions));
                wrong.extend(self.fewer(&asked, given, &onto, result));
            }
        }
        for message in wrong {
            report.find("asked", Some(&ticket.task), Some(commit), message);
        }
        Ok(())
    }

    /// How many files and lines differ between two trees, as far as a limit asks for it, plans of the run aside.
    fn size(&self, asked: &[&Checks], [old, new]: [Oid; 2]) -> Result<[usize; 2], Error> {
        let limited = |checks: &&Checks| checks.limits != ChangeLimits::default();
        if !asked.iter().any(limited) {
            return Ok([0; 2]);
        }
        let (old, new) = (self.repo.find_tree(old)?, self.repo.find_tree(new)?);
        let mut diff = self.repo.diff_tree_to_tree(Some(&old), Some(&new), None)?;
        let is_plan = |delta: &git2::DiffDelta<'_>| {
            let path = delta.new_file().path().and_then(Path::to_str);
            path.is_some_and(|path| self.plans.contains(path))
        };
        let mut lines = 0;
        for (number, delta) in diff.deltas().enumerate() {
            if !is_plan(&delta)
                && let Some(patch) = Patch::from_diff(&diff, number)?
            {
                let (_, added, removed) = patch.line_stats()?;
                lines += added + removed;
            }
        }
        diff.find_similar(None)?;
        let files = diff.deltas().filter(|delta| !is_plan(delta)).count();
        Ok([files, lines])
    }

    fn file(&self, tree: Oid, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(match self.trees.at(tree, Path::new(path))? {
            Some(leaf) if matches!(leaf.kind(), Kind::File { .. }) => {
                Some(self.trees.content(leaf.id)?)
            }
            _ => None,
        })
    }

    /// A gate that ran fewer tests than on the tree below, which had been asked before, where nobody allowed that.
    fn fewer(
        &self,
        asked: &[&Checks],
        given: u64,
        onto: &ObjectId,
        result: &Verification,
    ) -> Option<String> {
        if asked
            .iter()
            .any(|checks| checks.allow_protected != Allowed::None)
        {
            return None;
        }
        let executed = |gate: &GateRecord| gate.counts.map_or(0, Counts::executed);
        landing(&result.gates).find_map(|gate| {
            let (seq, below) = self.ran.get(&(onto, &*gate.command))?;
            let is_fewer = *seq < given
                && !gate.reused
                && gate.required
                && gate.result == GateResult::Passed
                && executed(gate) < executed(below);
            is_fewer.then(|| {
                format!(
                    "`{}` ran {} tests, and {} on what it was built on",
                    gate.name,
                    executed(gate),
                    executed(below)
                )
            })
        })
    }
}

fn revision(record: &Record) -> Option<&PlanRevision> {
    match record {
        Record::RunStarted(start) | Record::RunResumed { start } => Some(&start.revision),
        Record::PlanAccepted { revision } => Some(revision),
        _ => None,
    }
}

fn landing(gates: &[GateRecord]) -> impl Iterator<Item = &GateRecord> {
    gates.iter().filter(|gate| gate.on == On::Landing)
}

/// Whether gates are those of a task, in order: all of them, or, where they stop, the first ones.
fn are_of(gates: &[&GateRecord], checks: &Checks, verdict: &Verdict) -> bool {
    let mut commands = checks.verify.iter();
    let each = gates.iter().all(|gate| {
        commands.next().is_some_and(|command| {
            gate.command == hash(command)
                && gate.required == command.required
                && gate.name == command.name
                && gate.argv.last().is_none_or(|text| *text == command.run)
        })
    });
    each && (*verdict != Verdict::Passed || commands.next().is_none())
}

/// What was to be asked beside the landing commit itself, and was not.
fn lacks(asked: &[&Checks], result: &Verification, exceptions: bool) -> Option<String> {
    let on = |on: On| result.gates.iter().filter(move |gate| gate.on == on);
    let wants_red = asked.iter().all(|checks| checks.red_green == Some(true));
    let was_red = on(On::NewTests).any(|gate| gate.result == GateResult::Failed);
    if wants_red && !was_red && result.verdict == Verdict::Passed {
        return Some(
            "its tests were to fail without its change, and no record says that".to_owned(),
        );
    }
    let commands = asked.iter().map(|checks| checks.verify.len()).min();
    (exceptions && on(On::BaseFiles).count() < commands.unwrap_or(0)).then(|| {
        "it changes protected paths, and its gates were not asked with the base's own".to_owned()
    })
}

/// Whether a record's rules of scope are those of a task's checks.
fn rules_of(checks: &Checks, scope: &Scope) -> bool {
    let rules = &scope.rules;
    rules.protect.starts_with(&checks.protect)
        && rules.unprotect == checks.unprotect
        && rules.allow_protected == checks.allow_protected
        && rules.gated == (checks.gates() != Gates::None)
}

/// The digest by which records name a command; made here once more, because a checker believes nobody.
fn hash(command: &VerifyCommand) -> String {
    let (run, env, reports) = (&command.run, &command.env, &command.reports);
    let text = match reports.is_empty() {
        true => serde_json::json!(["orch command 1", run, env]),
        false => serde_json::json!(["orch command 2", run, env, reports]),
    };
    let digest = Sha256::digest(text.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

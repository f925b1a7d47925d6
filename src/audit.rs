//! The independent checker: from the ledger's records and git alone it proves of each landed commit what orch promises,
//! sharing no code with landing and believing no projection.
//!
//! It changes nothing and needs no lock. What it finds are facts that contradict each other, never opinions.

mod asked;
mod consent;
mod gates;
mod kept;
mod merges;
mod order;
mod passed;
mod receipts;
mod resolved;
mod scope;
mod trees;

use std::collections::BTreeSet;

use git2::{Commit, Oid, Repository, Sort};
use receipts::Receipt;
use serde::Serialize;
use trees::Trees;

use crate::engine::record::{Record, Stamped};
use crate::ids::{ObjectId, PlanId, RefName, RunId, TaskId};

/// Most contradictions that are listed; where so much is wrong, more of it helps nobody.
const FINDINGS_MAX: usize = 1_000;

/// A run as the ledger has it.
#[derive(Debug)]
pub struct Case<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Its plan.
    pub plan: &'a PlanId,
    /// The ref that lands.
    pub target: &'a RefName,
    /// Its records in order.
    pub records: &'a [Stamped],
    /// The records of all runs that tell of refs removed because nothing needs them any more.
    pub discards: &'a [Stamped],
    /// What gates have said in all runs, where this one may have taken something over: [`said_before`].
    pub said_before: &'a [Stamped],
}

/// What was looked at, and what contradicts what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Landed commits that were checked.
    pub landed: usize,
    /// Of these, landed without a required verify command.
    pub unverified: usize,
    /// Of these, known from the target's history alone: their intents and receipts were lost with a damaged ledger.
    pub unproven: usize,
    /// Candidates that were checked.
    pub candidates: usize,
    /// Work saved from slots that was checked.
    pub salvaged: usize,
    /// Commits of a range that orch did not make.
    pub others: usize,
    /// Contradictions.
    pub findings: Vec<Finding>,
}

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The law that does not hold, in a stable word.
    pub law: &'static str,
    /// The task, where it is about one.
    pub task: Option<TaskId>,
    /// The commit, where it is about one.
    pub commit: Option<ObjectId>,
    /// What is, and what should be.
    pub message: String,
}

/// Checks every landing of a run, and that its target holds nothing in the run's name without a receipt.
///
/// # Errors
/// If the repository cannot be read; a missing object is a finding, not an error.
pub fn run(repo: &Repository, case: &Case<'_>) -> Result<Report, git2::Error> {
    let mut report = Report::default();
    let receipts = receipts::of(&mut report, case.records);
    receipts::completions(&mut report, case.records, &receipts);
    let history = History::of(repo, case)?;
    // What is read of one landing is asked about by each of them before the next one.
    let trees = Trees::of(repo)?;
    let kept = kept::Reading::of(repo, &trees, case);
    let mut scope = scope::Reading::of(repo, &trees, case);
    let mut merges = merges::Reading::of(repo, &trees);
    let mut asked = asked::Reading::of(repo, &trees, case);
    for stamped in case.records {
        kept.follow(&mut report, stamped);
        if let Record::Landed { commit, .. } | Record::LandingFound { commit, .. } = &stamped.record
            && let Some(receipt) = receipts.get(commit)
        {
            report.landing(repo, &trees, case, &history, commit, receipt);
        }
        scope.follow(&mut report, stamped);
        merges.follow(&mut report, stamped);
        asked.follow(&mut report, stamped);
    }
    for stray in history.in_the_name_of(repo, case.run)? {
        if !receipts.contains_key(&stray) {
            report.find(
                "receipt",
                None,
                Some(&stray),
                format!(
                    "{} carries the run's trailers, and the ledger has no receipt for it",
                    case.target.short()
                ),
            );
        }
    }
    report.discards(case, &history, &receipts);
    report.gates(repo, case);
    report.resolved(repo, &trees, case);
    report.consents(repo, case);
    report.order(repo, case);
    Ok(report)
}

/// Checks the commits of `range` (`a..b`) that carry the trailers of a run against that run's receipts, which `receipt`
/// gives: `Some(true)` for one that the run landed.
///
/// # Errors
/// If the range or the repository cannot be read.
pub fn range(
    repo: &Repository,
    range: &str,
    landed: impl Fn(&RunId, &ObjectId) -> Option<bool>,
) -> Result<Report, git2::Error> {
    let mut walk = repo.revwalk()?;
    if range.contains("..") {
        walk.push_range(range)?;
    } else {
        walk.push(repo.revparse_single(range)?.peel_to_commit()?.id())?;
    }
    let mut report = Report::default();
    for id in walk {
        let commit = repo.find_commit(id?)?;
        let id = object_id(commit.id());
        let Some(run) = trailer(&commit, "Orch-Run").and_then(|r| RunId::parse(&r).ok()) else {
            report.others += 1;
            continue;
        };
        report.landed += 1;
        match landed(&run, &id) {
            Some(true) => {}
            Some(false) => report.find(
                "receipt",
                None,
                Some(&id),
                format!("run {run} has no receipt for it"),
            ),
            None => report.find(
                "receipt",
                None,
                Some(&id),
                format!("the ledger does not know run {run}"),
            ),
        }
    }
    Ok(report)
}

/// The records of all runs in which a run finds what its gates took over from earlier ones: none, unless they were called
/// hermetic and took something over. `of_kind` gives the records of all runs of a kind.
///
/// # Errors
/// Those of `of_kind`.
pub fn said_before<E>(
    records: &[Stamped],
    of_kind: impl Fn(&str) -> Result<Vec<Stamped>, E>,
) -> Result<Vec<Stamped>, E> {
    let mut found = Vec::new();
    if passed::may_take_over(records) {
        for kind in ["verified", "baselined", "smoked", "ledger_rebuilt"] {
            found.extend(of_kind(kind)?);
        }
    }
    Ok(found)
}

/// The commits that a run's records call landed.
pub fn landed_commits(records: &[Stamped]) -> BTreeSet<ObjectId> {
    let landed = records.iter().filter_map(|s| match &s.record {
        Record::Landed { commit, .. } | Record::LandingFound { commit, .. } => Some(commit.clone()),
        _ => None,
    });
    landed.collect()
}

impl Report {
    fn find(
        &mut self,
        law: &'static str,
        task: Option<&TaskId>,
        commit: Option<&ObjectId>,
        message: impl Into<String>,
    ) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                law,
                task: task.cloned(),
                commit: commit.cloned(),
                message: message.into(),
            });
        }
    }

    /// The commit is there, stands on the recorded tip, says what the ledger says, and the target holds it.
    fn landing(
        &mut self,
        repo: &Repository,
        trees: &Trees<'_>,
        case: &Case<'_>,
        history: &History,
        id: &ObjectId,
        receipt: &Receipt,
    ) {
        let task = Some(&receipt.task);
        let Ok(commit) = find(repo, id) else {
            self.find(
                "object",
                task,
                Some(id),
                "the landed commit is gone from the repository",
            );
            return;
        };
        if trees.read(commit.tree_id()).is_err() {
            self.find(
                "object",
                task,
                Some(id),
                "the landed commit's tree is gone from the repository",
            );
        }
        let parents: Vec<ObjectId> = commit.parent_ids().map(object_id).collect();
        if receipt
            .onto
            .as_ref()
            .is_some_and(|onto| parents != [onto.clone()])
        {
            self.find(
                "parent",
                task,
                Some(id),
                format!("its parents are {parents:?}, and the intent names another tip"),
            );
        }
        let wanted = [
            ("Orch-Plan", case.plan.to_string()),
            ("Orch-Task", receipt.task.to_string()),
            ("Orch-Run", case.run.to_string()),
            ("Orch-Attempt", receipt.attempt.to_string()),
        ];
        for (key, value) in wanted {
            let found = trailer(&commit, key);
            if found.as_deref() != Some(value.as_str()) {
                let found = found.map_or_else(|| "nothing".to_owned(), |f| format!("`{f}`"));
                self.find(
                    "trailer",
                    task,
                    Some(id),
                    format!("its {key} says {found} instead of `{value}`"),
                );
            }
        }
        let found = trailer(&commit, "Orch-Generation");
        let wanted = receipt.generation.map(|g| (g > 1).then(|| g.to_string()));
        if wanted.is_some_and(|wanted| wanted != found) {
            let found = found.map_or_else(|| "nothing".to_owned(), |f| format!("`{f}`"));
            let message = format!("its Orch-Generation says {found}, and the receipt another");
            self.find("trailer", task, Some(id), message);
        }
        if !history.commits.contains(id) && !history.is_rewritten {
            self.find(
                "history",
                task,
                Some(id),
                format!("{} does not hold it", case.target.short()),
            );
        }
    }
}

/// What the target holds of a run.
struct History {
    /// Its commits from the first tip that the run landed on.
    commits: BTreeSet<ObjectId>,
    /// Whether a record says that the target lost what was landed: then it need not hold it.
    is_rewritten: bool,
}

impl History {
    fn of(repo: &Repository, case: &Case<'_>) -> Result<Self, git2::Error> {
        let is_rewritten = case
            .records
            .iter()
            .any(|s| matches!(s.record, Record::TargetRewritten { .. }));
        let mut commits = BTreeSet::new();
        if let Ok(tip) = repo.refname_to_id(case.target.as_str()) {
            let mut walk = repo.revwalk()?;
            walk.set_sorting(Sort::NONE)?;
            walk.push(tip)?;
            if let Some(base) = first_tip(case.records).filter(|_| !has_gaps(case.records)) {
                // What lies below the first tip is older than the run; after a rebase, what both have.
                match repo.merge_base(tip, Oid::from_str(base.as_str())?) {
                    Ok(common) => walk.hide(common)?,
                    Err(e) if e.code() == git2::ErrorCode::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            for id in walk {
                commits.insert(object_id(id?));
            }
        }
        Ok(Self {
            commits,
            is_rewritten,
        })
    }

    /// Commits that carry the run's trailer.
    fn in_the_name_of(&self, repo: &Repository, run: &RunId) -> Result<Vec<ObjectId>, git2::Error> {
        let mut found = Vec::new();
        for id in &self.commits {
            if trailer(&find(repo, id)?, "Orch-Run").as_deref() == Some(run.as_str()) {
                found.push(id.clone());
            }
        }
        Ok(found)
    }
}

/// Where the target stood when the run landed for the first time.
fn first_tip(records: &[Stamped]) -> Option<&ObjectId> {
    records.iter().find_map(|s| match &s.record {
        Record::LandingIntended { onto, .. } => Some(onto),
        _ => None,
    })
}

/// Whether records of the run were lost with a damaged ledger: what they said is not known, and contradicts nothing.
fn has_gaps(records: &[Stamped]) -> bool {
    records
        .iter()
        .any(|s| matches!(s.record, Record::LedgerRebuilt { .. }))
}

/// The value of a trailer: of the last paragraph's lines only, where agents' text cannot stand.
fn trailer(commit: &Commit<'_>, key: &str) -> Option<String> {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let last = message.trim_end().rsplit("\n\n").next()?;
    last.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(": ")
            .map(str::to_owned)
    })
}

fn find<'r>(repo: &'r Repository, id: &ObjectId) -> Result<Commit<'r>, git2::Error> {
    repo.find_commit(Oid::from_str(id.as_str())?)
}

fn object_id(oid: Oid) -> ObjectId {
    ObjectId::new(oid.to_string())
}

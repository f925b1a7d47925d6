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
mod resolved;
mod scope;
mod trees;

use std::collections::{BTreeMap, BTreeSet};

use git2::{Commit, Oid, Repository, Sort};
use serde::Serialize;
use trees::Trees;

use crate::engine::next::Next;
use crate::engine::record::{Record, Settlement, Stamped};
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

/// A receipt: what the ledger says about a landed commit.
#[derive(Debug, Clone)]
struct Receipt {
    task: TaskId,
    attempt: u32,
    /// Not known of one whose records are lost.
    generation: Option<u32>,
    onto: Option<ObjectId>,
}

/// Checks every landing of a run, and that its target holds nothing in the run's name without a receipt.
///
/// # Errors
/// If the repository cannot be read; a missing object is a finding, not an error.
pub fn run(repo: &Repository, case: &Case<'_>) -> Result<Report, git2::Error> {
    let mut report = Report::default();
    let receipts = report.receipts(case);
    report.completions(case, &receipts);
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
        message: String,
    ) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                law,
                task: task.cloned(),
                commit: commit.cloned(),
                message,
            });
        }
    }

    /// One receipt for each landed commit, one landing for each generation of a task, each after its intent.
    fn receipts(&mut self, case: &Case<'_>) -> BTreeMap<ObjectId, Receipt> {
        let mut intents: BTreeMap<ObjectId, (TaskId, ObjectId)> = BTreeMap::new();
        let mut generations: BTreeMap<TaskId, u32> = BTreeMap::new();
        let mut receipts: BTreeMap<ObjectId, Receipt> = BTreeMap::new();
        let mut landings = BTreeSet::new();
        let mut done: BTreeSet<TaskId> = BTreeSet::new();
        let has_gaps = has_gaps(case.records);
        for stamped in case.records {
            match &stamped.record {
                Record::LandingIntended {
                    ticket,
                    commit,
                    onto,
                } => {
                    intents.insert(commit.clone(), (ticket.task.clone(), onto.clone()));
                }
                Record::Reopened { task, .. } => {
                    *generations.entry(task.clone()).or_default() += 1;
                    done.remove(task);
                }
                Record::Settled {
                    task,
                    as_:
                        Settlement::LandedBefore { .. }
                        | Settlement::Believed
                        | Settlement::MarkedDone { .. }
                        | Settlement::Skipped,
                } => {
                    done.insert(task.clone());
                }
                Record::LandingFound {
                    task,
                    attempt,
                    commit,
                } => {
                    self.landed += 1;
                    self.unverified += 1;
                    self.unproven += 1;
                    let receipt = Receipt {
                        task: task.clone(),
                        attempt: *attempt,
                        generation: None,
                        onto: None,
                    };
                    if receipts.insert(commit.clone(), receipt).is_some() {
                        self.find(
                            "once",
                            Some(task),
                            Some(commit),
                            "it was found in the history, and has a receipt as well".to_owned(),
                        );
                    }
                }
                Record::Landed {
                    ticket,
                    commit,
                    verified,
                    generation: said,
                } => {
                    self.landed += 1;
                    self.unverified += usize::from(!verified);
                    let generation = generations.get(&ticket.task).copied().unwrap_or(0) + 1;
                    // One that was written before this was recorded says the first.
                    if *said != generation && *said != 1 && !has_gaps {
                        let message = format!(
                            "its receipt says generation {said}, and the task was reopened {} times",
                            generation - 1
                        );
                        self.find("generation", Some(&ticket.task), Some(commit), message);
                    }
                    let intent = intents.get(commit);
                    let is_lost = has_gaps && intent.is_none();
                    self.unproven += usize::from(is_lost);
                    if !is_lost && intent.is_none_or(|(task, _)| *task != ticket.task) {
                        self.find(
                            "intent",
                            Some(&ticket.task),
                            Some(commit),
                            "it landed without a recorded intent".to_owned(),
                        );
                    }
                    // Whether it was reopened in between may be among what is lost.
                    let is_again = !landings.insert((ticket.task.clone(), generation));
                    if (is_again || done.contains(&ticket.task)) && !has_gaps {
                        self.find(
                            "once",
                            Some(&ticket.task),
                            Some(commit),
                            "the task was done already, and landed without having been reopened"
                                .to_owned(),
                        );
                    }
                    let receipt = Receipt {
                        task: ticket.task.clone(),
                        attempt: ticket.attempt,
                        generation: Some(*said),
                        onto: intent.map(|(_, onto)| onto.clone()),
                    };
                    if receipts.insert(commit.clone(), receipt).is_some() {
                        self.find(
                            "once",
                            Some(&ticket.task),
                            Some(commit),
                            "it has two receipts".to_owned(),
                        );
                    }
                }
                _ => {}
            }
        }
        receipts
    }

    /// Nothing is called completed by orch without a landing or a collected result that said so.
    fn completions(&mut self, case: &Case<'_>, receipts: &BTreeMap<ObjectId, Receipt>) {
        let mut grounds: BTreeSet<TaskId> = receipts.values().map(|r| r.task.clone()).collect();
        for stamped in case.records {
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
        let ends_well = case.records.iter().rev().find_map(|s| match &s.record {
            Record::RunEnded { outcome } => {
                Some(*outcome == crate::engine::outcome::Outcome::Completed)
            }
            _ => None,
        });
        if ends_well != Some(true) || has_gaps(case.records) {
            return;
        }
        let excused: BTreeSet<&TaskId> = case
            .records
            .iter()
            .filter_map(|s| match &s.record {
                Record::Settled {
                    task,
                    as_: Settlement::Skipped | Settlement::LeftOut | Settlement::Removed,
                } => Some(task),
                _ => None,
            })
            .collect();
        let single = case.records.iter().any(|s| match &s.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                !matches!(start.selection, crate::engine::start::Selection::All)
            }
            _ => false,
        });
        for task in last_plan(case.records) {
            if !single && !grounds.contains(task) && !excused.contains(task) {
                self.find(
                    "evidence",
                    Some(task),
                    None,
                    "the run calls itself completed, and nothing says that this task is".to_owned(),
                );
            }
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
                "the landed commit is gone from the repository".to_owned(),
            );
            return;
        };
        if trees.read(commit.tree_id()).is_err() {
            self.find(
                "object",
                task,
                Some(id),
                "the landed commit's tree is gone from the repository".to_owned(),
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

//! Whether what needed a person's approval had it before it started or landed.

use std::collections::BTreeMap;

use git2::{Delta, DiffDelta, Oid, Repository};
use sha2::{Digest, Sha256};

use super::{Case, Report, find};
use crate::engine::consent::Shown;
use crate::engine::event::{Author, PlanRevision, Verb};
use crate::engine::record::{Next, Record};
use crate::ids::{ObjectId, TaskId};
use crate::plan::consent::When;

/// What the records say about one task, up to a moment.
#[derive(Default)]
struct Book<'a> {
    wanted: Option<When>,
    candidate: Option<&'a ObjectId>,
    shown: Option<&'a Shown>,
    approved: Option<&'a Shown>,
    may_start: bool,
}

impl Report {
    /// Follows the records: what the plan asks of people at each moment, what they were shown, what they said.
    pub(super) fn consents(&mut self, repo: &Repository, case: &Case<'_>) {
        let mut books: BTreeMap<&TaskId, Book<'_>> = BTreeMap::new();
        let mut plan = None;
        for stamped in case.records {
            match &stamped.record {
                Record::RunStarted(start) | Record::RunResumed { start } => {
                    plan = Some(start.plan.as_str());
                    take_over(&mut books, &start.revision);
                }
                Record::PlanAccepted { revision } => take_over(&mut books, revision),
                Record::AttemptStarted { ticket, .. } => {
                    let book = books.entry(&ticket.task).or_default();
                    if book.wanted == Some(When::Before) && !book.may_start {
                        let message = "its start needs approval, and no record of one precedes it";
                        self.find("approved", Some(&ticket.task), None, message.to_owned());
                    }
                }
                Record::Collected {
                    ticket,
                    next: Next::Land,
                    candidate,
                    ..
                } => books.entry(&ticket.task).or_default().candidate = candidate.as_ref(),
                Record::ApprovalAsked { ticket, shown } => {
                    let book = books.entry(&ticket.task).or_default();
                    (book.shown, book.approved) = (Some(shown), None);
                }
                Record::ApprovalLapsed { task } => books.entry(task).or_default().approved = None,
                Record::NotLandable { ticket, .. } => {
                    books.entry(&ticket.task).or_default().shown = None;
                }
                Record::Reopened { task, .. } => {
                    let book = books.entry(task).or_default();
                    *book = Book {
                        wanted: book.wanted,
                        ..Book::default()
                    };
                }
                Record::Controlled {
                    control,
                    refused: None,
                    ..
                } => {
                    if let (Verb::Approve { task, .. }, Author::Person(_)) =
                        (&control.verb, &control.by)
                    {
                        let book = books.entry(task).or_default();
                        match book.wanted {
                            Some(When::Before) => book.may_start = true,
                            Some(When::After) | None => book.approved = book.shown.take(),
                        }
                    }
                }
                Record::LandingIntended {
                    ticket,
                    commit,
                    onto,
                } => {
                    let book = books.entry(&ticket.task).or_default();
                    if book.wanted == Some(When::After)
                        && let Some(lacks) = unapproved(repo, book, [onto, commit], plan)
                    {
                        self.find("approved", Some(&ticket.task), Some(commit), lacks);
                    }
                }
                _ => {}
            }
        }
    }
}

fn take_over<'a>(books: &mut BTreeMap<&'a TaskId, Book<'a>>, revision: &'a PlanRevision) {
    for node in &revision.graph.nodes {
        books.entry(&node.id).or_default().wanted = node.approval;
    }
}

/// What the landing of a commit lacks of a person's yes, if it lacks something.
fn unapproved(
    repo: &Repository,
    book: &Book<'_>,
    [onto, commit]: [&ObjectId; 2],
    plan: Option<&str>,
) -> Option<String> {
    let Some(shown) = book.approved else {
        return Some("its landing needs approval, and no record of one precedes it".to_owned());
    };
    if book.candidate != Some(&shown.candidate) {
        return Some(format!(
            "{} was approved, which is not what its attempt made",
            shown.candidate.short()
        ));
    }
    if shown.commit == *commit {
        return None;
    }
    // A commit that is gone is told elsewhere.
    let made = change(repo, onto, commit, plan)?;
    (made != shown.change.sha256).then(|| {
        format!(
            "{} was approved, and this makes another change",
            shown.commit.short()
        )
    })
}

/// The digest of a change, as `docs/approvals.md` has it; made here once more, because a checker believes nobody.
fn change(
    repo: &Repository,
    onto: &ObjectId,
    commit: &ObjectId,
    plan: Option<&str>,
) -> Option<String> {
    let (old, new) = (find(repo, onto).ok()?, find(repo, commit).ok()?);
    let (old, new) = (old.tree().ok()?, new.tree().ok()?);
    let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), None).ok()?;
    let mut hash = Sha256::new();
    let is_plan = |delta: &DiffDelta<'_>| {
        let path = match delta.status() {
            Delta::Added => delta.new_file().path_bytes(),
            _ => delta.old_file().path_bytes(),
        };
        path.is_some() && path == plan.map(str::as_bytes)
    };
    for delta in diff.deltas().filter(|delta| !is_plan(delta)) {
        let side = |path: Option<&[u8]>, mode: u32, id: Oid, hash: &mut Sha256| {
            let path = path.unwrap_or_default();
            hash.update(path.len().to_le_bytes());
            hash.update(path);
            hash.update(mode.to_le_bytes());
            hash.update(id.as_bytes());
        };
        let (old, new) = (delta.old_file(), delta.new_file());
        side(old.path_bytes(), old.mode().into(), old.id(), &mut hash);
        side(new.path_bytes(), new.mode().into(), new.id(), &mut hash);
    }
    let digest = hash.finalize();
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

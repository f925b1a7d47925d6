//! Whether what needed a person's approval had it before it started or landed, by a person, and signed where that was
//! asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::{Delta, DiffDelta, Oid, Repository};
use sha2::{Digest, Sha256};

use super::{Case, Report, find};
use crate::engine::approval::{Approves, Shown};
use crate::engine::event::{Author, Control, PlanRevision, Verb};
use crate::engine::next::Next;
use crate::engine::record::{Record, Stamped};
use crate::engine::start::RunStart;
use crate::git::signature;
use crate::ids::{ObjectId, TaskId};
use crate::plan::graph::When;
use crate::time::Wall;

/// What the records say about one task, up to a moment.
#[derive(Default)]
struct Book<'a> {
    wanted: Option<When>,
    /// What it has asked for in any revision of the plan.
    specs: BTreeSet<&'a str>,
    /// What was wanted when its landing commit was built.
    wanted_at_build: Option<When>,
    candidate: Option<&'a ObjectId>,
    shown: Option<&'a Shown>,
    approved: Option<&'a Shown>,
    may_start: bool,
    is_signed: bool,
}

/// The records of a run, read from the first one on.
struct Reading<'a> {
    report: &'a mut Report,
    repo: &'a Repository,
    case: &'a Case<'a>,
    books: BTreeMap<&'a TaskId, Book<'a>>,
    start: Option<&'a RunStart>,
}

impl Report {
    /// Follows the records: what the plan asks of people at each moment, what they were shown, what they said.
    pub(super) fn consents(&mut self, repo: &Repository, case: &Case<'_>) {
        let mut reading = Reading {
            report: self,
            repo,
            case,
            books: BTreeMap::new(),
            start: None,
        };
        for stamped in case.records {
            reading.follow(stamped);
        }
    }
}

impl<'a> Reading<'a> {
    fn follow(&mut self, stamped: &'a Stamped) {
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.start = Some(start);
                self.take_over(&start.revision);
                self.provenance(start);
                if start.policy.signed_approvals {
                    for book in self.books.values_mut().filter(|book| !book.is_signed) {
                        (book.approved, book.may_start) = (None, false);
                    }
                }
            }
            Record::PlanAccepted { revision } => self.take_over(revision),
            Record::AttemptStarted { ticket, .. } => {
                let book = self.books.entry(&ticket.task).or_default();
                if book.wanted == Some(When::Before) && !book.may_start {
                    let message = "its start needs approval, and no record of one precedes it";
                    self.report
                        .find("approved", Some(&ticket.task), None, message);
                }
            }
            Record::Collected {
                ticket,
                next: Next::Land,
                candidate,
                ..
            } => self.books.entry(&ticket.task).or_default().candidate = candidate.as_ref(),
            Record::Building { ticket, .. } => {
                let book = self.books.entry(&ticket.task).or_default();
                book.wanted_at_build = book.wanted;
            }
            Record::ApprovalAsked { ticket, shown } => {
                let book = self.books.entry(&ticket.task).or_default();
                (book.shown, book.approved) = (Some(shown), None);
            }
            Record::ApprovalLapsed { task } => {
                let book = self.books.entry(task).or_default();
                (book.approved, book.may_start) = (None, false);
            }
            Record::NotLandable { ticket, .. } => {
                self.books.entry(&ticket.task).or_default().shown = None;
            }
            Record::Reopened { task, .. } => {
                let book = self.books.entry(task).or_default();
                *book = Book {
                    wanted: book.wanted,
                    specs: std::mem::take(&mut book.specs),
                    ..Book::default()
                };
            }
            Record::Controlled {
                control,
                refused: None,
            } => self.decided(control, stamped.at),
            Record::LandingIntended {
                ticket,
                commit,
                onto,
            } => {
                let plan = self.start.map(|start| start.plan.as_str());
                let book = self.books.entry(&ticket.task).or_default();
                if book.wanted == Some(When::After)
                    && let Some(lacks) = unapproved(self.repo, book, [onto, commit], plan)
                {
                    self.report
                        .find("approved", Some(&ticket.task), Some(commit), lacks);
                }
            }
            _ => {}
        }
    }

    /// A decision that was followed: by a person, and signed if that is asked for, or where it says so.
    fn decided(&mut self, control: &'a Control, at: Wall) {
        if let Author::Agent(task) = &control.by {
            let message = "its agent decided about the run, which only people may".to_owned();
            self.report.find("author", Some(task), None, message);
            return;
        }
        let (
            Verb::Approve {
                task, signature, ..
            },
            Author::Person(_),
        ) = (&control.verb, &control.by)
        else {
            return;
        };
        let book = self.books.entry(task).or_default();
        book.is_signed = signature.is_some();
        let shown = book.shown;
        let statements: Vec<String> = match book.wanted {
            Some(When::Before) => {
                book.may_start = true;
                let starts = book.specs.iter().map(|spec| Approves::Start { spec });
                starts
                    .map(|a| a.statement(self.case.plan, self.case.run, task))
                    .collect()
            }
            Some(When::After) | None => {
                book.approved = book.shown.take();
                let landing = shown.map(Approves::Landing);
                landing
                    .map(|a| a.statement(self.case.plan, self.case.run, task))
                    .into_iter()
                    .collect()
            }
        };
        if let Some(doubt) = self.doubt(&statements, signature.as_deref(), at) {
            let commit = shown.map(|shown| &shown.commit);
            self.report.find("signed", Some(task), commit, doubt);
        }
    }

    /// What speaks against the signature of an approval, or against its absence.
    fn doubt(&self, statements: &[String], signature: Option<&str>, at: Wall) -> Option<String> {
        let start = self.start?;
        let Some(signature) = signature else {
            let must = start.policy.signed_approvals;
            return must.then(|| "approvals were to be signed, and this one is not".to_owned());
        };
        let Some(signers) = &start.signers else {
            return Some("it is signed, and no record says who may sign".to_owned());
        };
        let program = self
            .repo
            .config()
            .and_then(|c| c.get_string("gpg.ssh.program"));
        let program = program.unwrap_or_else(|_| signature::PROGRAM.to_owned());
        let mut why = "nothing was asked".to_owned();
        for statement in statements {
            match signature::signer(&program, &signers.text, statement, signature, Some(at)) {
                Ok(Ok(_)) => return None,
                Ok(Err(said)) => why = said,
                Err(error) => return Some(format!("its signature cannot be checked: {error}")),
            }
        }
        Some(format!(
            "its signature does not hold for what was asked: {why}"
        ))
    }

    /// Who may sign comes from people: from a file outside of the target, or from where the target stood before the run.
    fn provenance(&mut self, start: &RunStart) {
        let Some((signers, from)) = start
            .signers
            .as_ref()
            .and_then(|signers| Some((signers, signers.commit.as_ref()?)))
        else {
            return;
        };
        let landed = super::landed_commits(self.case.records);
        let is_its_own = landed.contains(from);
        let text = find(self.repo, from)
            .and_then(|commit| commit.tree()?.get_path(Path::new(&signers.file)))
            .and_then(|entry| {
                self.repo
                    .find_blob(entry.id())
                    .map(|b| b.content().to_owned())
            });
        if is_its_own || !text.is_ok_and(|text| text == signers.text.as_bytes()) {
            let message = format!(
                "`{}` there does not say who may sign in this run",
                signers.file
            );
            self.report.find("signed", None, Some(from), message);
        }
    }

    /// What a revision of the plan asks. Tasks that an agent adds ask people if the task does that adds them.
    fn take_over(&mut self, revision: &'a PlanRevision) {
        let adder = match &revision.by {
            Author::Agent(task) => Some(task),
            Author::Person(_) | Author::Signal | Author::StopFile | Author::Orch => None,
        };
        let is_gated = adder
            .and_then(|task| self.books.get(task))
            .is_some_and(|book| book.wanted_at_build.is_some());
        for node in &revision.graph.nodes {
            if is_gated && node.approval.is_none() && !self.books.contains_key(&node.id) {
                let message = "an agent whose work needs approval added it without any".to_owned();
                self.report.find("approved", Some(&node.id), None, message);
            }
            let book = self.books.entry(&node.id).or_default();
            book.wanted = node.approval;
            book.specs.insert(&node.spec_hash);
        }
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
    let made = match change(repo, onto, commit, plan) {
        Ok(Some(made)) => made,
        // A commit that is gone is told elsewhere.
        Ok(None) => return None,
        Err(error) => return Some(format!("what it changes cannot be read: {error}")),
    };
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
) -> Result<Option<String>, git2::Error> {
    let (Ok(old), Ok(new)) = (find(repo, onto), find(repo, commit)) else {
        return Ok(None);
    };
    let (old, new) = (old.tree()?, new.tree()?);
    let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), None)?;
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
    let text = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(text))
}

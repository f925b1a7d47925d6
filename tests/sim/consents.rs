//! The laws of approvals and evidence: nothing starts or lands that a person has to approve and has not.

use std::collections::BTreeMap;

use orch::engine::event::{PlanRevision, Verb};
use orch::engine::next::Next;
use orch::engine::record::{Record, Stamped};
use orch::ids::{ObjectId, TaskId};
use orch::plan::graph::When;

use crate::bounds::{Verdict, law};

/// What landing commits change, as far as this world goes: many of them the same.
pub(crate) fn change_of(commit: &ObjectId) -> String {
    match commit.as_str().bytes().last() {
        Some(b'0'..=b'6') => "the usual".to_owned(),
        _ => format!("that of {commit}"),
    }
}

/// What people and evidence have let go on, task by task.
#[derive(Debug, Default)]
pub(crate) struct Consents {
    of: BTreeMap<TaskId, Consent>,
    /// Whether approvals count only with a signature.
    signed: bool,
}

#[derive(Debug, Default)]
struct Consent {
    /// What a person approves of it, by the newest plan, and whether evidence is needed.
    approval: Option<When>,
    /// What is to land.
    candidate: Option<ObjectId>,
    /// Candidate and change that a person was shown, and that they approved.
    shown: Option<(ObjectId, String)>,
    approved: Option<(ObjectId, String)>,
    /// Whether a person approved its start, and whether its evidence was found.
    may_start: bool,
    supplied: bool,
    /// Whether the last approval was signed.
    is_signed: bool,
}

impl Consents {
    fn of(&mut self, task: &TaskId) -> &mut Consent {
        self.of.get_mut(task).expect("a known task")
    }

    pub(crate) fn follow(&mut self, stamped: &Stamped) -> Verdict {
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.take_over(&start.revision);
                self.signed = start.policy.signed_approvals;
                for consent in self.of.values_mut().filter(|c| !c.is_signed) {
                    if self.signed {
                        (consent.approved, consent.may_start) = (None, false);
                    }
                }
            }
            Record::PlanAccepted { revision } => self.take_over(revision),
            Record::AttemptStarted { ticket, .. } => {
                let consent = self.of(&ticket.task);
                law(
                    consent.approval != Some(When::Before) || consent.may_start,
                    || format!("{ticket} starts unapproved"),
                )?;
            }
            Record::Collected {
                ticket,
                next: Next::Land,
                candidate,
                ..
            } => self.of(&ticket.task).candidate.clone_from(candidate),
            Record::ApprovalAsked { ticket, shown } => {
                let consent = self.of(&ticket.task);
                law(consent.candidate.as_ref() == Some(&shown.candidate), || {
                    format!("{ticket} asks for approval of something else")
                })?;
                law(change_of(&shown.commit) == shown.change.sha256, || {
                    format!("{ticket} shows another change")
                })?;
                consent.approved = None;
                consent.shown = Some((shown.candidate.clone(), shown.change.sha256.clone()));
            }
            Record::NotLandable { ticket, .. } => self.of(&ticket.task).shown = None,
            Record::StartAsked { task } => {
                let consent = self.of(task);
                law(
                    consent.approval == Some(When::Before) && !consent.may_start,
                    || format!("the start of {task} is asked about"),
                )?;
            }
            Record::ApprovalLapsed { task } => {
                let consent = self.of(task);
                (consent.approved, consent.may_start) = (None, false);
            }
            Record::EvidenceLooked { task, found, .. } => self.of(task).supplied |= *found,
            Record::LandingIntended { ticket, commit, .. } => {
                let consent = self.of(&ticket.task);
                let is_approved = consent
                    .approved
                    .as_ref()
                    .is_some_and(|(candidate, change)| {
                        Some(candidate) == consent.candidate.as_ref()
                            && *change == change_of(commit)
                    });
                law(consent.approval != Some(When::After) || is_approved, || {
                    format!("{ticket} lands unapproved")
                })?;
            }
            Record::Reopened { task, .. } => {
                let consent = self.of(task);
                let approval = consent.approval;
                *consent = Consent {
                    approval,
                    ..Consent::default()
                };
            }
            Record::Controlled {
                control,
                refused: None,
                ..
            } => {
                if let Verb::Approve {
                    task, signature, ..
                } = &control.verb
                {
                    law(!self.signed || signature.is_some(), || {
                        format!("{task} is approved without a signature")
                    })?;
                    let consent = self.of(task);
                    consent.is_signed = signature.is_some();
                    match consent.approval {
                        Some(When::Before) => consent.may_start = true,
                        Some(When::After) => consent.approved = consent.shown.take(),
                        None => return Err(format!("{task} needs no approval and gets it")),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_over(&mut self, revision: &PlanRevision) {
        for node in &revision.graph.nodes {
            self.of.entry(node.id.clone()).or_default().approval = node.approval;
        }
    }

    /// Whether people let it start, and the evidence it needs is there.
    pub(crate) fn let_start(&self, task: &TaskId, needs_evidence: bool) -> bool {
        let Some(consent) = self.of.get(task) else {
            return false;
        };
        (consent.approval != Some(When::Before) || consent.may_start)
            && (!needs_evidence || consent.supplied)
    }

    /// Whether a person was asked about what it made and has not answered.
    pub(crate) fn is_asked(&self, task: &TaskId) -> bool {
        let is_open = |c: &Consent| c.shown.is_some() && c.approval == Some(When::After);
        self.of.get(task).is_some_and(is_open)
    }
}

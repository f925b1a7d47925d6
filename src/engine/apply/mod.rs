//! The one transition table: what each record does to the state, and in which states it is possible.
//!
//! Live decisions and replay both go through [`State::apply`], so that a state that cannot be reached live cannot be
//! loaded. Nothing is decided here: what a record leaves open was decided by whoever made it.

mod attempt;
mod consent;
mod landing;
mod settle;

use std::sync::Arc;

use attempt::{Begin, Left};
use landing::Receipt;

use super::breaker::Open;
use super::event::{Control, Decision, PlanRevision, StopLevel, Verb};
use super::next::Next;
use super::outcome::Outcome;
use super::phase::{Closing, Phase, Settled};
use super::record::{Record, Settlement};
use super::start::RunStart;
use super::state::{Failure, State};
use super::task::Task;
use crate::ids::{TaskId, Ticket};
use crate::time::Wall;

/// A record that is not possible where it stands: the ledger was damaged, or orch has a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this record is not possible {state}: {record}")]
pub struct IllegalRecord {
    /// The record.
    pub record: String,
    /// Where the run or the task stands.
    pub state: String,
}

impl IllegalRecord {
    pub(super) fn new(record: &Record, state: impl Into<String>) -> Self {
        Self {
            record: format!("{record:?}"),
            state: state.into(),
        }
    }
}

impl State {
    /// Follows a record.
    ///
    /// # Errors
    /// If the record is not possible in this state; nothing has changed then.
    pub(super) fn apply(&mut self, record: &Record, at: Wall) -> Result<(), IllegalRecord> {
        let possible = match record {
            Record::RunStarted(_) => false,
            Record::RunResumed { start } => self.resumed(start, at),
            Record::PlanAccepted { revision } => {
                self.take_over(revision, at);
                true
            }
            Record::AttemptStarted {
                ticket,
                slot,
                model,
                grant,
            } => {
                let begin = Begin {
                    slot: *slot,
                    model: model.as_ref(),
                    grant: *grant,
                };
                self.attempt_started(ticket, &begin, at)
            }
            Record::Resolving { ticket, resolving } => self.resolving(ticket, resolving),
            Record::AgentStarting {
                ticket,
                base,
                asks_status,
                continues: None,
            } => self.agent_starting(ticket, base, *asks_status, at),
            Record::AgentStarting {
                ticket,
                base,
                continues: Some(continuation),
                ..
            } => self.agent_continues(ticket, base, *continuation, at),
            Record::AgentEnded {
                ticket,
                ended_by_orch,
            } => self.agent_ended(ticket, ended_by_orch.as_ref(), at),
            Record::Collected {
                ticket,
                end,
                usage,
                candidate,
                told,
                next,
                limit: _,
                scope: _,
            } => {
                let left = Left {
                    end,
                    usage: **usage,
                    candidate: candidate.as_ref(),
                    told,
                };
                self.collected(ticket, &left, *next, at)
            }
            Record::SessionDropped { task } => self.session_dropped(task, at),
            Record::Observed { ticket, windows } => self.observed(ticket, windows, at),
            Record::Limited {
                entitlement,
                hit,
                until,
                probes,
                asked,
            } => {
                let limiter = &mut self.limiter;
                limiter.limited(entitlement, hit, *until, *probes, asked.as_ref(), at);
                true
            }
            Record::LimitLifted { entitlement, scope } => {
                self.limiter.lifted(entitlement, scope, at)
            }
            Record::BreakerOpened {
                cause,
                ending,
                until,
                failed_probes,
                asked,
            } => {
                self.breaker.failed_probes = *failed_probes;
                self.breaker.open = Some(Open {
                    since: at,
                    until: *until,
                    cause: cause.clone(),
                    ending: *ending,
                    probe: None,
                    asked: asked.clone(),
                });
                true
            }
            Record::BreakerClosed => std::mem::take(&mut self.breaker).open.is_some(),
            Record::Building { ticket, behind } => self.building(ticket, behind.as_ref(), at),
            Record::ConflictsAnswered {
                ticket, answers, ..
            } => self.conflicts_answered(ticket, answers),
            Record::Verifying {
                ticket,
                commit,
                onto,
                change,
            } => self.verifying(ticket, [commit, onto], change.as_ref(), at),
            Record::Verified {
                ticket,
                commit,
                result,
            } => self.verified(ticket, commit, result, at),
            Record::StartAsked { task } => self.start_asked(task),
            Record::ApprovalAsked { ticket, shown } => self.approval_asked(ticket, shown, at),
            Record::ApprovalLapsed { task } => self.approval_lapsed(task),
            Record::EvidenceLooked { task, found, said } => {
                self.evidence_looked(task, *found, said, at)
            }
            Record::Baselined { result } => self.baselined(result),
            Record::Smoked(smoke) => self.smoked(smoke),
            Record::NotLandable {
                ticket,
                end,
                next,
                resolve,
            } => self.not_landable(ticket, end, (*next, *resolve), at),
            Record::LandingIntended {
                ticket,
                commit,
                onto,
            } => self.landing_intended(ticket, commit, onto, at),
            Record::LandingMissed {
                ticket,
                why,
                at: until,
            } => self.landing_missed(ticket, why, *until, at),
            Record::Landed {
                ticket,
                commit,
                verified,
                generation,
            } => {
                let receipt = Receipt {
                    commit,
                    verified: *verified,
                    generation: *generation,
                };
                self.landed(ticket, &receipt, at)
            }
            Record::Settled { task, as_ } => self.settled(task, as_, at),
            Record::Reopened { task, from } => self.reopened(task, *from, at),
            Record::Superseded { ticket } => self.superseded(ticket),
            Record::WaitEnded { task } => self.wait_ended(task, at),
            // They tell of slots and refs, of which the state knows nothing; both can come after the end.
            Record::Salvaged { .. } | Record::Discarded { .. } => true,
            Record::Controlled { control, refused } => {
                refused.is_some() || self.controlled(control)
            }
            Record::Stopping { level, .. } => self.stopping(*level),
            Record::TargetRewritten { .. } => !std::mem::replace(&mut self.parked, true),
            Record::RunFailed { outcome, detail } => self.run_failed(*outcome, detail),
            Record::RunEnded { outcome } => self.run_ended(*outcome),
            Record::LandingFound {
                task,
                attempt,
                commit,
            } => self.landing_found(task, *attempt, commit, at),
            Record::LedgerRebuilt { .. } => {
                self.close_rebuilt(at);
                true
            }
        };
        if possible {
            match satisfies_more(record).and_then(|task| self.index.get(task)) {
                Some(&ix) => self.reach_from(ix),
                None if may_satisfy(record) => self.refresh_reached(),
                None => {}
            }
            Ok(())
        } else {
            Err(IllegalRecord::new(record, self.where_it_stands(record)))
        }
    }

    fn where_it_stands(&self, record: &Record) -> String {
        match record.task().map(|id| (id, self.get(id))) {
            Some((_, Some((_, task)))) => {
                format!("while {} is {}", task.ticket(), task.phase.in_words())
            }
            Some((id, None)) => format!("as there is no task {id}"),
            None => "in this run".to_owned(),
        }
    }

    /// Goes by another revision of the plan. Tasks that started keep the spec they started with.
    pub(super) fn take_over(&mut self, revision: &PlanRevision, at: Wall) {
        self.revision.clone_from(&revision.text_sha256);
        let order = std::mem::take(&mut self.order);
        let mut has_new_edges = false;
        for task in &mut self.tasks {
            task.in_plan = false;
        }
        let count = revision.graph.nodes.len();
        let new = count.saturating_sub(self.tasks.len());
        self.tasks.reserve_exact(new);
        self.index.reserve(new);
        self.order.reserve_exact(count);
        for node in &revision.graph.nodes {
            let ix = *self
                .index
                .entry(node.id.clone())
                .or_insert(self.tasks.len());
            self.order.push(ix);
            let Some(task) = self.tasks.get_mut(ix) else {
                self.tasks.push(Task::new(Arc::clone(node), at));
                has_new_edges = true;
                continue;
            };
            task.in_plan = true;
            if task.phase == Phase::Settled(Settled::Removed) {
                task.enter(Phase::Open { pause: None }, at);
                task.fresh = true;
            }
            if let Some(past) = task.past_if_any() {
                past.unwritten.retain(|said| *said == node.declared);
            }
            let is_current = task.node.declared == node.declared
                && task.node.gates == node.gates
                && task.node.approval == node.approval;
            if !is_current {
                let own = Arc::make_mut(&mut task.node);
                own.declared = node.declared;
                // What judges a commit is up to people until it lands.
                own.gates = node.gates;
                own.approval = node.approval;
            }
            if task.node == *node {
                task.newer = None;
            } else if task.fresh {
                task.node = Arc::clone(node);
                task.newer = None;
                has_new_edges = true;
            } else {
                task.newer = Some(Arc::clone(node));
            }
        }
        for (id, profile) in revision.profiles.iter() {
            if let Some(task) = self.task_mut(id) {
                task.profile.clone_from(profile);
            }
        }
        if has_new_edges || order != self.order {
            self.rebuild_topology();
        } else {
            self.refresh_reached();
        }
    }

    fn resumed(&mut self, start: &RunStart, at: Wall) -> bool {
        self.plan.clone_from(&start.plan);
        self.target.clone_from(&start.target);
        self.jobs = start.jobs.max(1);
        self.selection.clone_from(&start.selection);
        self.waits = start.waits;
        self.awaits_baseline = start.baseline && !self.has_baseline;
        self.smokes = start.smoke;
        self.forget_red_smoke();
        self.go_by(start, at);
        if self.ended.take().is_some() {
            // Another run may have used the slots since.
            self.drop_sessions(at);
        }
        self.failed = None;
        self.stop = StopLevel::Running;
        if std::mem::take(&mut self.parked) {
            // Whoever resumes has seen to the target; what it holds now is where landing goes on.
            self.tip = None;
        }
        for task in &mut self.tasks {
            task.lost = task.phase.is_ordered();
            task.outlived |= task.lost;
            task.left_out = false;
            task.missed = 0;
            task.troubles = 0;
            if let Some(past) = task.past_if_any() {
                past.suspected = None;
                if start.policy.signed_approvals {
                    past.consent.drop_unsigned();
                }
            }
            // The plan, and with it the gates, may be another one; what they have said of a tree still holds.
            if let Phase::Judged { work, .. } = &task.phase {
                let work = work.clone();
                let queued = Phase::Queued {
                    work,
                    pause: None,
                    in_the_way: None,
                };
                task.enter(queued, at);
            }
            if let Phase::Queued {
                pause, in_the_way, ..
            } = &mut task.phase
            {
                *pause = None;
                *in_the_way = None;
            }
        }
        self.take_over(&start.revision, at);
        true
    }

    fn drop_sessions(&mut self, at: Wall) {
        for ix in 0..self.tasks.len() {
            let id = self.tasks[ix].node.id.clone();
            self.session_dropped(&id, at);
        }
    }

    /// What a decision changes by itself; what follows as records of its own changes then.
    fn controlled(&mut self, control: &Control) -> bool {
        let decision = || Decision {
            by: control.by.clone(),
            note: control.note.clone(),
        };
        let close = |task: &mut Task, closing| {
            if task.phase.is_ordered() {
                task.past_mut().closing = Some(closing);
            }
            task.past_mut().settled_by = Some(decision());
        };
        if let Verb::Jobs { count } = control.verb {
            self.jobs = count;
            return count > 0;
        }
        if let Verb::Pause | Verb::Resume = control.verb {
            self.paused = (control.verb == Verb::Pause).then(decision);
            return true;
        }
        let Some(id) = control.verb.task() else {
            return true;
        };
        let Some(task) = self.task_mut(id) else {
            return false;
        };
        match &control.verb {
            Verb::Cancel { .. } => close(task, Closing::Cancel),
            Verb::Skip { .. } => close(task, Closing::Skip),
            Verb::MarkDone { commit, .. } => {
                let commit = commit.clone();
                close(task, Closing::MarkDone { commit });
            }
            Verb::Hold { .. } => {
                task.held = Some(Box::new(decision()));
            }
            Verb::Release { .. } => task.held = None,
            Verb::Priority { value, .. } => task.priority = Some(*value),
            Verb::Approve {
                commit, signature, ..
            } => return task.approved(commit.as_ref(), signature.as_deref()),
            Verb::Reject { .. } => {}
            Verb::Retry { .. }
            | Verb::RetryFailed
            | Verb::Stop { .. }
            | Verb::Jobs { .. }
            | Verb::Pause
            | Verb::Resume => {}
        }
        true
    }

    fn stopping(&mut self, level: StopLevel) -> bool {
        let possible = level > self.stop && self.ended.is_none();
        if possible {
            self.stop = level;
        }
        possible
    }

    fn run_failed(&mut self, outcome: Outcome, detail: &str) -> bool {
        let possible = self.ended.is_none();
        if possible {
            self.failed = Some(Failure {
                outcome,
                detail: detail.to_owned(),
            });
        }
        possible
    }

    fn run_ended(&mut self, outcome: Outcome) -> bool {
        // A shell that cannot go on leaves what is under way to the next one.
        let gave_up = self.failed.is_some();
        let quiet = gave_up || !self.tasks.iter().any(|t| t.phase.is_ordered());
        let possible = quiet && self.ended.is_none();
        if possible {
            self.ended = Some(outcome);
        }
        possible
    }

    fn task_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        let ix = *self.index.get(id)?;
        self.tasks.get_mut(ix)
    }

    /// The task whose order in force the ticket is.
    fn ordered(&mut self, ticket: &Ticket) -> Option<&mut Task> {
        self.task_mut(&ticket.task)
            .filter(|t| t.ticket() == *ticket)
    }

    /// The task for which the ticket is the next order.
    fn ordering(&mut self, ticket: &Ticket) -> Option<&mut Task> {
        self.task_mut(&ticket.task)
            .filter(|t| t.next_order() == *ticket)
    }
}

/// The task that may satisfy others by a record, if the record takes that from none.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all other records everything is seen anew"
)]
fn satisfies_more(record: &Record) -> Option<&TaskId> {
    match record {
        Record::Settled {
            task,
            as_:
                Settlement::Believed
                | Settlement::LandedBefore { .. }
                | Settlement::Skipped
                | Settlement::LeftOut,
        } => Some(task),
        Record::Landed { ticket, .. } => Some(&ticket.task),
        _ => None,
    }
}

/// Whether a record can change which needs are met.
fn may_satisfy(record: &Record) -> bool {
    match record {
        Record::Settled { .. }
        | Record::Reopened { .. }
        | Record::Landed { .. }
        | Record::LandingFound { .. }
        | Record::SessionDropped { .. }
        | Record::LedgerRebuilt { .. } => true,
        // A task that is no longer in the plan stops counting when nothing is under way for it.
        Record::Collected { next, .. } | Record::NotLandable { next, .. } => {
            !matches!(next, Next::Land | Next::AskStatus | Next::Continue { .. })
        }
        Record::RunStarted(_)
        | Record::RunResumed { .. }
        | Record::PlanAccepted { .. }
        | Record::AttemptStarted { .. }
        | Record::AgentStarting { .. }
        | Record::AgentEnded { .. }
        | Record::Observed { .. }
        | Record::Limited { .. }
        | Record::LimitLifted { .. }
        | Record::BreakerOpened { .. }
        | Record::BreakerClosed
        | Record::Building { .. }
        | Record::ConflictsAnswered { .. }
        | Record::Resolving { .. }
        | Record::Verifying { .. }
        | Record::Verified { .. }
        | Record::Baselined { .. }
        | Record::Smoked(_)
        | Record::StartAsked { .. }
        | Record::ApprovalAsked { .. }
        | Record::ApprovalLapsed { .. }
        | Record::EvidenceLooked { .. }
        | Record::LandingIntended { .. }
        | Record::LandingMissed { .. }
        | Record::Superseded { .. }
        | Record::WaitEnded { .. }
        | Record::Salvaged { .. }
        | Record::Discarded { .. }
        | Record::Controlled { .. }
        | Record::Stopping { .. }
        | Record::TargetRewritten { .. }
        | Record::RunFailed { .. }
        | Record::RunEnded { .. } => false,
    }
}

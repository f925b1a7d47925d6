//! Decisions on the way of a candidate to the target.

use super::after::{self, Fate, Leaves};
use super::ending::{AttemptEnd, Ending};
use super::event::{BuildFailure, LandResult, Landing, PlanRevision};
use super::next::Next;
use super::outcome::Outcome;
use super::phase::{Closing, Phase};
use super::policy::{MISSES_AT_ONCE_MAX, TROUBLES_MAX};
use super::record::{Miss, Record};
use super::shell::Errand;
use super::turn::Turn;
use super::verification::{Verdict, Verification};
use crate::ids::{ObjectId, Ticket};
use crate::plan::graph::{Gates, When};

impl Turn<'_> {
    pub(super) fn built(&mut self, ticket: &Ticket, result: Result<Landing, BuildFailure>) -> bool {
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        if !matches!(task.phase, Phase::Building { .. }) {
            return false;
        }
        let closing = task.past().closing.clone();
        self.shell.recalled.remove(ticket);
        if let Some(closing) = closing {
            return self.closed(ticket, &closing);
        }
        let place = self.state.get(&ticket.task).map(|(ix, _)| ix);
        if place.is_some_and(|ix| self.state.has_fallen(ix)) {
            self.missed(ticket, Miss::Unstacked);
            return true;
        }
        if let Ok(made) = &result
            && !made.answers.is_empty()
        {
            self.record(Record::ConflictsAnswered {
                ticket: ticket.clone(),
                commit: made.commit.clone(),
                onto: made.onto.clone(),
                answers: made.answers.clone(),
            });
        }
        let Some((ix, task)) = self.state.get(&ticket.task) else {
            return false;
        };
        let gates = self.state.gates_of(ix);
        let is_first = task
            .phase
            .place()
            .is_none_or(|place| place.behind.is_none());
        match result {
            Err(failure) if !is_first && let Some(what) = failure.of_content() => {
                self.missed(ticket, Miss::Suspected(what));
            }
            Err(failure) => self.not_built(ticket, failure),
            Ok(_) if self.state.parked => self.missed(ticket, Miss::TargetRewritten),
            Ok(_) if !is_first && gates.is_none() => {
                self.missed(ticket, Miss::GatesChanged);
            }
            Ok(_) if self.state.ends_agents() && !gates.is_none() => {
                self.missed(ticket, Miss::GatesEnded);
            }
            Ok(made) => self.made(ticket, made, is_first),
        }
        true
    }

    /// A landing commit stands: its gates are asked, or what follows them.
    fn made(&mut self, ticket: &Ticket, made: Landing, is_first: bool) {
        let Some((ix, task)) = self.state.get(&ticket.task) else {
            return;
        };
        let Landing {
            commit,
            onto,
            change,
            answers: _,
        } = made;
        let gates = self.state.gates_of(ix);
        let next = task.next_order();
        let asks = task.node.approval == Some(When::After);
        let approved = task.past().consent.shown();
        let is_another = approved.is_some_and(|shown| shown.change.sha256 != change.sha256);
        if is_another && !is_first {
            let what = "a person approved another change than it is there";
            self.missed(ticket, Miss::Suspected(what.to_owned()));
            return;
        }
        if is_another {
            self.record(Record::ApprovalLapsed {
                task: ticket.task.clone(),
            });
        }
        match gates {
            Gates::None => self.land_or_ask(ticket, commit, onto, Some(change)),
            Gates::Optional | Gates::Required => self.record(Record::Verifying {
                ticket: next,
                commit,
                onto,
                change: asks.then_some(change),
            }),
        }
    }

    /// There is no landing commit.
    fn not_built(&mut self, ticket: &Ticket, failure: BuildFailure) {
        let Some((ix, task)) = self.state.get(&ticket.task) else {
            return;
        };
        let mut resolve = false;
        let end = match failure {
            BuildFailure::Conflict(conflict) => {
                resolve = self.state.asks_resolver(ix, &conflict);
                AttemptEnd::new(Ending::Conflict, conflict.in_words())
            }
            BuildFailure::AlreadyThere if task.is_resolving() => {
                let detail = "nothing of the task's own is left in what was resolved";
                AttemptEnd::new(Ending::Conflict, detail)
            }
            BuildFailure::AlreadyThere => {
                AttemptEnd::new(Ending::NoChange, "the target has the change already")
            }
            BuildFailure::PlanEdit(detail) => AttemptEnd::new(Ending::PlanEditInvalid, detail),
            BuildFailure::Lost(detail) => {
                let end = AttemptEnd::new(Ending::Crashed, detail);
                return self.not_landable(ticket, &end, Leaves::Nothing);
            }
            BuildFailure::Rewritten(found) => {
                self.missed(ticket, Miss::TargetRewritten);
                self.target_rewritten(found);
                return;
            }
            BuildFailure::Interrupted => return self.missed(ticket, Miss::GatesEnded),
            BuildFailure::Trouble(detail) => return self.missed(ticket, Miss::Trouble(detail)),
        };
        self.not_landable_but(ticket, &end, Leaves::Candidate, resolve);
    }

    /// A person closed the task on its way.
    fn closed(&mut self, ticket: &Ticket, closing: &Closing) -> bool {
        let detail = format!("the task was {} before it landed", closing.in_words());
        let end = AttemptEnd::new(Ending::Interrupted, detail);
        self.not_landable(ticket, &end, Leaves::Candidate);
        true
    }

    pub(super) fn verified(&mut self, ticket: &Ticket, result: Box<Verification>) -> bool {
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        let Phase::Verifying { commit, place, .. } = &task.phase else {
            return false;
        };
        let (commit, closing) = (commit.clone(), task.past().closing.clone());
        let is_first = place.behind.is_none();
        let verdict = result.verdict.clone();
        self.shell.recalled.remove(ticket);
        self.record(Record::Verified {
            ticket: ticket.clone(),
            commit,
            result,
        });
        if let Some(closing) = closing {
            return self.closed(ticket, &closing);
        }
        let place = self.state.get(&ticket.task).map(|(ix, _)| ix);
        match verdict {
            _ if self.state.parked => self.missed(ticket, Miss::TargetRewritten),
            _ if place.is_some_and(|ix| self.state.has_fallen(ix)) => {
                self.missed(ticket, Miss::Unstacked);
            }
            // It lands when those before it have.
            Verdict::Passed => {}
            Verdict::Failed(detail) | Verdict::Broken(detail) if !is_first => {
                self.missed(ticket, Miss::Suspected(detail));
            }
            Verdict::Failed(detail) => {
                let end = AttemptEnd::new(Ending::VerifyFailed, detail);
                self.not_landable(ticket, &end, Leaves::Candidate);
            }
            Verdict::Broken(detail) => self.missed(ticket, Miss::GatesBroken(detail)),
            Verdict::Interrupted => self.missed(ticket, Miss::GatesEnded),
        }
        true
    }

    /// Hears what the gates say of the untouched target: where they are red, no agent is paid.
    pub(super) fn baselined(&mut self, result: Box<Verification>) -> bool {
        if !self.shell.baseline.is_done_once() || !self.state.awaits_baseline {
            return false;
        }
        let verdict = result.verdict.clone();
        self.record(Record::Baselined { result });
        match verdict {
            Verdict::Passed => {}
            // Whoever ended it ends the run as well; else it is asked for again.
            Verdict::Interrupted => self.shell.baseline = Errand::Due,
            Verdict::Failed(detail) => self.run_failed(
                Outcome::Environment,
                format!(
                    "the gates are red before anything was changed: mend that, count only new failures (`fail_on: new`), \
                     or move a command to the `verify` of the task that is to make it pass. {detail}"
                ),
            ),
            Verdict::Broken(detail) => self.run_failed(
                Outcome::Environment,
                format!("the gates cannot be run: {detail}"),
            ),
        }
        true
    }

    pub(super) fn landed(&mut self, ticket: &Ticket, result: LandResult) -> bool {
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        let Phase::Landing {
            commit, verified, ..
        } = &task.phase
        else {
            return false;
        };
        match result {
            LandResult::Landed(revision) => {
                let (commit, verified) = (commit.clone(), *verified);
                self.has_landed(ticket, commit, verified, revision);
            }
            LandResult::TipMoved => self.missed(ticket, Miss::TipMoved),
            LandResult::Rewritten(found) => {
                self.missed(ticket, Miss::TargetRewritten);
                self.target_rewritten(found);
            }
            LandResult::InTheWay(what) => self.missed(ticket, Miss::InTheWay(what)),
            LandResult::Trouble(detail) => self.missed(ticket, Miss::Trouble(detail)),
            LandResult::Unapproved(detail) => {
                self.missed(ticket, Miss::Unapproved(detail));
                self.record(Record::ApprovalLapsed {
                    task: ticket.task.clone(),
                });
            }
            // Whoever works there is waited for; a lock that nobody gives back is for a person to look at.
            LandResult::Locked(detail) if task.troubles < TROUBLES_MAX => {
                self.missed(ticket, Miss::Trouble(detail));
            }
            LandResult::Locked(detail) => self.missed(ticket, Miss::InTheWay(detail)),
        }
        true
    }

    pub(super) fn has_landed(
        &mut self,
        ticket: &Ticket,
        commit: ObjectId,
        verified: bool,
        revision: Option<PlanRevision>,
    ) {
        let generation = self
            .state
            .get(&ticket.task)
            .map_or(1, |(_, task)| task.generation);
        self.record(Record::Landed {
            ticket: ticket.clone(),
            commit,
            verified,
            generation,
        });
        if let Some(revision) = revision {
            self.plan_revised(revision);
        }
    }

    pub(super) fn target_rewritten(&mut self, found: Option<ObjectId>) -> bool {
        if !self.state.parked {
            self.record(Record::TargetRewritten { found });
        }
        true
    }

    /// Puts the candidate back into the landing queue, sooner or later.
    pub(super) fn missed(&mut self, ticket: &Ticket, why: Miss) {
        let Some((_, task)) = self.state.get(&ticket.task) else {
            return;
        };
        let (pauses, gives_up) = match &why {
            Miss::TipMoved => ((task.missed + 1).saturating_sub(MISSES_AT_ONCE_MAX), None),
            Miss::Trouble(detail) | Miss::GatesBroken(detail) if task.troubles >= TROUBLES_MAX => {
                (task.troubles + 1, Some(detail.clone()))
            }
            Miss::Trouble(_) | Miss::GatesBroken(_) => (task.troubles + 1, None),
            Miss::InTheWay(_) => (task.missed + 1, None),
            Miss::TargetRewritten
            | Miss::Lost
            | Miss::GatesEnded
            | Miss::GatesChanged
            | Miss::Unstacked
            | Miss::Unapproved(_)
            | Miss::Suspected(_) => (0, None),
        };
        self.record(Record::LandingMissed {
            ticket: ticket.clone(),
            why,
            at: (pauses > 0).then(|| {
                let pause = self.state.policy.backoff_ms(pauses);
                self.now.wall.plus_ms(pause)
            }),
        });
        if let Some(detail) = gives_up {
            self.run_failed(
                Outcome::Environment,
                format!("{} cannot land: {detail}", ticket.task),
            );
        }
    }

    fn not_landable(&mut self, ticket: &Ticket, end: &AttemptEnd, leaves: Leaves) {
        self.not_landable_but(ticket, end, leaves, false);
    }

    /// The same, where a session may be asked to resolve its conflict if there is another attempt at all.
    fn not_landable_but(
        &mut self,
        ticket: &Ticket,
        end: &AttemptEnd,
        leaves: Leaves,
        resolve: bool,
    ) {
        let Some((_, task)) = self.state.get(&ticket.task) else {
            return;
        };
        let next = match &task.past().closing {
            Some(_) => Next::Nothing,
            None if end.ending == Ending::NoChange => Next::Complete,
            None => {
                let fate = Fate {
                    leaves,
                    demanded: false,
                    may_continue: false,
                };
                after::next(self.state, task, end.ending, fate, self.now)
            }
        };
        self.record(Record::NotLandable {
            ticket: ticket.clone(),
            end: end.clone(),
            next,
            resolve: resolve && matches!(next, Next::Retry { .. }),
        });
        self.tell_breaker(end, false);
    }
}

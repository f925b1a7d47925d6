//! What the ends of attempts and the answers of services tell about the world beyond a task: usage limits, the breaker,
//! and the end of the run's time.

use super::ending::{AttemptEnd, Ending};
use super::limit::{LimitHit, LimitScope, UsageWindow};
use super::outcome::Outcome;
use super::phase::Phase;
use super::record::Record;
use super::table::Signal;
use super::turn::Turn;
use super::{breaker, limiter};
use crate::ids::{TaskId, Ticket};

/// What a task was trying out for others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Probes {
    limits: Vec<(String, LimitScope)>,
    breaker: bool,
}

impl Turn<'_> {
    /// Hears that the service has answered an agent.
    pub(super) fn observed(&mut self, ticket: &Ticket, windows: Vec<UsageWindow>) -> bool {
        let Some(task) = self.awaited(ticket) else {
            return false;
        };
        if !matches!(task.phase, Phase::Executing { .. }) {
            return false;
        }
        let probes = self.probes(&ticket.task);
        let known = self.state.limiter.windows.get(&task.profile.entitlement);
        let is_news = !windows.is_empty() && known.is_none_or(|(_, known)| *known != windows);
        if is_news || !self.state.worked || probes != Probes::default() {
            self.record(Record::Observed {
                ticket: ticket.clone(),
                windows,
            });
            self.lift(probes.limits);
        }
        let open = self.state.breaker.open.as_ref();
        // What opened it was that no service answered.
        if probes.breaker && open.is_some_and(breaker::Open::is_over_when_answered) {
            self.record(Record::BreakerClosed);
        }
        true
    }

    pub(super) fn probes(&self, task: &TaskId) -> Probes {
        let limits = self.state.limiter.probed_by(task);
        Probes {
            limits: limits
                .map(|limit| (limit.entitlement.clone(), limit.hit.scope.clone()))
                .collect(),
            breaker: self.state.breaker.is_probed_by(task),
        }
    }

    fn lift(&mut self, limits: Vec<(String, LimitScope)>) {
        for (entitlement, scope) in limits {
            self.record(Record::LimitLifted { entitlement, scope });
        }
    }

    /// What the end of an attempt asks for beyond its own task. `probes`: what it was trying out.
    pub(super) fn after_end(
        &mut self,
        task: &TaskId,
        end: &AttemptEnd,
        hit: Option<LimitHit>,
        probes: Probes,
    ) {
        let row = end.ending.row();
        let unnamed = || LimitHit {
            scope: LimitScope::Unknown,
            resets_at: None,
        };
        let hit = hit.or_else(|| (end.ending == Ending::UsageLimit).then(unnamed));
        if let Some(hit) = hit {
            self.limited(task, hit, &probes);
        } else if row.answered {
            self.lift(probes.limits);
        }
        self.tell_breaker(end, probes.breaker);
    }

    /// The same for an attempt whose agent never started: no service was asked.
    pub(super) fn after_unstarted(&mut self, end: &AttemptEnd, probes: &Probes) {
        self.tell_breaker(end, probes.breaker);
    }

    fn limited(&mut self, id: &TaskId, hit: LimitHit, probes: &Probes) {
        let Some((_, task)) = self.state.get(id) else {
            return;
        };
        let entitlement = task.profile.entitlement.clone();
        let known = self.state.limiter.find(&entitlement, &hit.scope);
        let was_probe = probes
            .limits
            .iter()
            .any(|(whose, scope)| *whose == entitlement && scope.model() == hit.scope.model());
        let policy = &self.state.policy;
        let (hit, until, probes) = limiter::met(known, was_probe, hit, policy, self.now.wall);
        self.record(Record::Limited {
            entitlement,
            hit,
            until,
            probes,
            asked: None,
        });
    }

    pub(super) fn tell_breaker(&mut self, end: &AttemptEnd, probed: bool) {
        let row = end.ending.row();
        let breaker = &self.state.breaker;
        let is_open = breaker.open.is_some();
        match row.breaker {
            Signal::Opens if row.stops && !self.state.worked => {
                let detail = format!("{}: {}", end.ending.in_words(), end.detail);
                self.run_failed(Outcome::Environment, detail);
            }
            Signal::Opens if probed || !is_open => self.open_breaker(end, probed),
            Signal::Fails if probed => self.open_breaker(end, true),
            Signal::Fails if !is_open && breaker.has_enough(&self.state.policy) => {
                self.open_breaker(end, false);
            }
            Signal::Works if is_open => self.record(Record::BreakerClosed),
            Signal::Nothing if probed && row.answered => self.record(Record::BreakerClosed),
            Signal::Works | Signal::Nothing | Signal::Fails | Signal::Opens => {}
        }
    }

    fn open_breaker(&mut self, end: &AttemptEnd, probed: bool) {
        let policy = &self.state.policy;
        let breaker = &self.state.breaker;
        let failed_probes = breaker.failed_probes + u32::from(probed);
        let cause = match end.ending.row().breaker {
            Signal::Fails => format!(
                "{} failures in a row of {} tasks, the last one: {}: {}",
                breaker.failures,
                breaker.tasks.len(),
                end.ending.in_words(),
                end.detail
            ),
            Signal::Works | Signal::Nothing | Signal::Opens => {
                format!("{}: {}", end.ending.in_words(), end.detail)
            }
        };
        if probed && failed_probes >= policy.breaker_reopenings {
            let outcome = match end.ending.row().breaker {
                Signal::Fails => Outcome::Failed,
                Signal::Works | Signal::Nothing | Signal::Opens => Outcome::Environment,
            };
            let detail = format!("{cause}; {failed_probes} probes have failed since it began");
            self.run_failed(outcome, detail);
            return;
        }
        let until = self.now.wall.plus_ms(policy.breaker_reset_ms);
        self.record(Record::BreakerOpened {
            cause,
            ending: end.ending,
            until,
            failed_probes,
            asked: None,
        });
    }

    /// Ends a run that has taken its longest time, unless there is nothing to end.
    pub(super) fn end_overdue(&mut self) {
        let state = &*self.state;
        let Some(most) = state.policy.max_duration_ms else {
            return;
        };
        if state.failed.is_none() && self.now.wall >= state.begun.plus_ms(most) {
            let most = crate::time::for_people(most);
            let detail = format!("the run has taken the longest time that it may, {most}");
            self.record(Record::RunFailed {
                outcome: Outcome::LimitReached,
                detail,
            });
        }
    }
}

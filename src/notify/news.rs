//! What records mean to people who do not watch.
//!
//! A run is heard from its first record on, so that the same record is news or not whenever it is heard again: a limit
//! that several agents meet, or that probes meet once more, is told of once.

use super::left::Left;
use crate::config::notify::Occasion;
use crate::engine::limit::{LimitScope, UsageWindow};
use crate::engine::next::Next;
use crate::engine::outcome::Outcome;
use crate::engine::policy::{OnLimit, Policy};
use crate::engine::record::{Miss, Record, Stamped};
use crate::ids::TaskId;
use crate::time::{Wall, for_people};

/// A wait for a limit that is shorter is none of anybody's business.
const LIMIT_WAIT_MS: u64 = 10 * 60 * 1000;

/// Something that happened, in words of orch's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Happening {
    pub occasion: Occasion,
    pub task: Option<TaskId>,
    pub outcome: Option<Outcome>,
    pub text: String,
}

/// What a run has told of so far.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Set where limits are waited for.
    policy: Option<Policy>,
    limits: Vec<Known>,
    /// Windows that let nothing start, and until when that was told.
    full: Vec<(String, Wall)>,
    in_the_way: Vec<TaskId>,
    left: Left,
}

/// A limit in force.
#[derive(Debug)]
struct Known {
    entitlement: String,
    model: Option<String>,
    first: Wall,
    is_told: bool,
}

impl News {
    /// Of a run that waits for limits, without its first record.
    #[cfg(test)]
    pub(super) fn that_waits() -> Self {
        Self::of_policy(Policy::default())
    }

    /// Of a run that waits for limits by this policy, without its first record.
    #[cfg(test)]
    pub(super) fn of_policy(policy: Policy) -> Self {
        Self {
            policy: Some(policy),
            ..Self::default()
        }
    }

    /// What the next record of the run means to people, if it means something.
    pub(super) fn of(&mut self, stamped: &Stamped) -> Option<Happening> {
        let of_run = |occasion, text: String| {
            Some(Happening {
                occasion,
                task: None,
                outcome: None,
                text,
            })
        };
        let of_task = |occasion, task: &TaskId, text: &str| {
            Some(Happening {
                occasion,
                task: Some(task.clone()),
                outcome: None,
                text: text.to_owned(),
            })
        };
        self.left.hear(&stamped.record);
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                let policy = Some(&start.policy);
                self.policy = policy.filter(|p| p.on_limit == OnLimit::Wait).cloned();
                self.in_the_way.clear();
                None
            }
            Record::Collected {
                ticket,
                end,
                next: Next::Fail { .. },
                ..
            }
            | Record::NotLandable {
                ticket,
                end,
                next: Next::Fail { .. },
                ..
            } => of_task(
                Occasion::TaskFailed,
                &ticket.task,
                &format!(
                    "failed after attempt {}: {}",
                    ticket.attempt,
                    end.ending.in_words()
                ),
            ),
            Record::Limited {
                entitlement,
                hit,
                until,
                ..
            } => self
                .limited(entitlement, &hit.scope, *until, stamped.at)
                .and_then(|text| of_run(Occasion::Limit, text)),
            Record::LimitLifted { entitlement, scope } => {
                self.limits
                    .retain(|known| !known.is(entitlement, scope.model()));
                None
            }
            // Opened again by a probe, it is the same trouble.
            Record::BreakerOpened {
                ending,
                until,
                failed_probes: 0,
                ..
            } => of_run(
                Occasion::Breaker,
                format!(
                    "the breaker opened, the last end: {}; one task tries again in {}",
                    ending.in_words(),
                    for_people(until.ms_since(stamped.at))
                ),
            ),
            Record::LandingMissed {
                ticket,
                why: Miss::InTheWay(_),
                ..
            } if !self.in_the_way.contains(&ticket.task) => {
                self.in_the_way.push(ticket.task.clone());
                of_task(
                    Occasion::Gate,
                    &ticket.task,
                    "is ready, and something in your checkout keeps it from landing",
                )
            }
            Record::StartAsked { task } => of_task(
                Occasion::Gate,
                task,
                "is next, and waits for a person to approve its start",
            ),
            Record::ApprovalAsked { ticket, .. } => of_task(
                Occasion::Gate,
                &ticket.task,
                "is ready, and waits for a person's approval",
            ),
            Record::TargetRewritten { .. } => of_run(
                Occasion::Gate,
                "the target no longer contains what was landed; a person must look".to_owned(),
            ),
            Record::Landed { ticket, .. } => {
                of_task(Occasion::TaskDone, &ticket.task, "has landed")
            }
            Record::Collected {
                ticket,
                next: Next::Complete,
                ..
            }
            | Record::NotLandable {
                ticket,
                next: Next::Complete,
                ..
            } => of_task(
                Occasion::TaskDone,
                &ticket.task,
                "is completed without a commit",
            ),
            // Short sessions are first heard of when they have ended.
            Record::Observed { windows, .. } => self
                .filled(windows, stamped.at)
                .and_then(|text| of_run(Occasion::Limit, text)),
            Record::Collected { told, .. } => self
                .filled(&told.windows, stamped.at)
                .and_then(|text| of_run(Occasion::Limit, text)),
            Record::RunEnded { outcome } => Some(Happening {
                occasion: Occasion::RunEnded,
                task: None,
                outcome: Some(*outcome),
                text: format!(
                    "the run ended: {} (exit code {})",
                    outcome.in_words(),
                    outcome.exit_code()
                ),
            }),
            _ => None,
        }
    }

    /// Says so when a limit makes work wait for long, once for each time that it is in force.
    fn limited(
        &mut self,
        entitlement: &str,
        scope: &LimitScope,
        until: Wall,
        at: Wall,
    ) -> Option<String> {
        let is_known = |known: &Known| known.is(entitlement, scope.model());
        let place = self.limits.iter().position(is_known).unwrap_or_else(|| {
            self.limits.push(Known {
                entitlement: entitlement.to_owned(),
                model: scope.model().map(str::to_owned),
                first: at,
                is_told: false,
            });
            self.limits.len() - 1
        });
        let known = &mut self.limits[place];
        let is_news =
            self.policy.is_some() && !known.is_told && until.ms_since(known.first) > LIMIT_WAIT_MS;
        known.is_told |= is_news;
        is_news.then(|| {
            format!(
                "{} is reached, and work waits for {}",
                scope.in_words(),
                wait(at, until)
            )
        })
    }

    /// Says so when a window is so full that nothing new starts for long, once for each time that it is.
    fn filled(&mut self, windows: &[UsageWindow], at: Wall) -> Option<String> {
        if windows.is_empty() {
            return None;
        }
        let policy = self.policy.as_ref()?;
        let full: Vec<(&UsageWindow, Wall)> = windows
            .iter()
            .filter_map(|window| Some((window, policy.pauses_until(window, at)?)))
            .collect();
        self.full
            .retain(|(kind, _)| full.iter().any(|(window, _)| window.kind == *kind));
        if self.left.is_nothing() {
            return None;
        }
        let mut news = None;
        for (window, until) in full {
            let is_told = |(kind, told): &(String, Wall)| *kind == window.kind && at < *told;
            if until.ms_since(at) <= LIMIT_WAIT_MS || self.full.iter().any(is_told) {
                continue;
            }
            self.full.retain(|(kind, _)| *kind != window.kind);
            self.full.push((window.kind.clone(), until));
            let longest = news.as_ref().is_none_or(|(_, longest)| *longest < until);
            if longest {
                news = Some((window, until));
            }
        }
        news.map(|(window, until)| {
            format!(
                "the {} window of the account is used to {}.{} %, and nothing new that counts into it starts for {}",
                window.kind,
                window.utilisation / 10,
                window.utilisation % 10,
                wait(at, until)
            )
        })
    }
}

/// How long, and until when.
fn wait(at: Wall, until: Wall) -> String {
    let clock = until.to_utc().map_or_else(String::new, |at| {
        at.format(", until %Y-%m-%d %H:%M UTC").to_string()
    });
    format!("{}{clock}", for_people(until.ms_since(at)))
}

impl Known {
    fn is(&self, entitlement: &str, model: Option<&str>) -> bool {
        self.entitlement == entitlement && self.model.as_deref() == model
    }
}

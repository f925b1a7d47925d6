//! The laws of what may start when: usage limits, the breaker, budgets and pauses, in books of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orch::engine::budget::{Amount, Grant};
use orch::engine::ending::Ending;
use orch::engine::event::{PlanRevision, Verb};
use orch::engine::next::{Charge, Next};
use orch::engine::policy::Policy;
use orch::engine::profile::Profile;
use orch::engine::record::{Record, Stamped};
use orch::engine::start::RunStart;
use orch::engine::table::Signal;
use orch::ids::TaskId;
use orch::time::Wall;

pub(crate) type Verdict = Result<(), String>;

pub(crate) fn law(holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(broken()) }
}

/// What the records say about bounds so far.
#[derive(Default)]
pub(crate) struct Bounds {
    policy: Policy,
    profiles: BTreeMap<TaskId, Arc<Profile>>,
    limits: Vec<Limit>,
    /// When the last limit was lifted of each entitlement.
    lifted: BTreeMap<String, Wall>,
    breaker: Option<Gate>,
    /// Tasks that failed since something last worked, and how often in all.
    failed: (u32, BTreeSet<TaskId>),
    pub paused: bool,
    /// Tasks whose attempt was under way when an orch died: its end says nothing about the world.
    outlived: BTreeSet<TaskId>,
    /// What runs may spend, by task.
    granted: BTreeMap<TaskId, Grant>,
    spent: u64,
    spent_by: BTreeMap<TaskId, u64>,
    /// The model of each task's newest attempt.
    models: BTreeMap<TaskId, Option<String>>,
    /// Whether the run was continued under another budget than it spent the first part under.
    changed: bool,
}

struct Limit {
    entitlement: String,
    model: Option<String>,
    gate: Gate,
}

/// Something that lets one task through when its time has come, and the others when that one has shown that they may.
struct Gate {
    since: Wall,
    until: Wall,
    probe: Option<TaskId>,
}

impl Gate {
    fn lets(&mut self, task: &TaskId, at: Wall, what: &str) -> Verdict {
        law(at >= self.until || at < self.since, || {
            format!("{task} starts before the end of {what}")
        })?;
        law(self.probe.is_none(), || {
            format!("{task} starts while another tries whether {what} is over")
        })?;
        self.probe = Some(task.clone());
        Ok(())
    }

    fn ends(&mut self, task: &TaskId) {
        if self.probe.as_ref() == Some(task) {
            self.probe = None;
        }
    }
}

impl Bounds {
    pub(crate) fn follow(&mut self, stamped: &Stamped) -> Verdict {
        let at = stamped.at;
        match &stamped.record {
            Record::RunStarted(start) => self.go_by(start),
            Record::RunResumed { start } => {
                self.changed |= start.policy.budgets != self.policy.budgets;
                self.breaker = None;
                self.failed = (0, BTreeSet::new());
                self.paused = false;
                self.outlived.extend(self.granted.keys().cloned());
                self.go_by(start);
            }
            Record::PlanAccepted { revision } => self.take_over(revision),
            Record::AttemptStarted {
                ticket,
                model,
                grant,
                ..
            } => {
                self.outlived.remove(&ticket.task);
                self.models.insert(ticket.task.clone(), model.clone());
                self.starts(&ticket.task, *grant, at)?;
            }
            Record::AgentStarting {
                ticket,
                continues: Some(continuation),
                ..
            } if !self.granted.contains_key(&ticket.task) => {
                self.starts(&ticket.task, continuation.grant, at)?;
            }
            Record::Collected {
                ticket,
                end,
                usage,
                next,
                ..
            } => {
                let task = &ticket.task;
                let grant = self.granted.get(task).copied().unwrap_or_default();
                let reserved = grant.reserved.cost.0;
                let cost = match usage.unpriced_sessions {
                    0 => usage.cost.0,
                    _ => usage.cost.0.max(reserved),
                };
                self.spent += cost;
                *self.spent_by.entry(task.clone()).or_default() += cost;
                if *next == Next::AskStatus {
                    let rest = Amount {
                        cost: orch::engine::usage::MicroUsd(reserved.saturating_sub(cost)),
                        ..Amount::default()
                    };
                    let reserved = rest;
                    self.granted
                        .insert(task.clone(), Grant { reserved, ..grant });
                    return Ok(());
                }
                self.granted.remove(task);
                let outlived = self.outlived.contains(task);
                self.ends(task, end.ending, outlived);
                if end.ending == Ending::UsageLimit {
                    let free = match next {
                        Next::Retry { charge, .. } | Next::Continue { charge } => {
                            *charge == Charge::Nothing
                        }
                        Next::Nothing => true,
                        _ => false,
                    };
                    law(free, || format!("{ticket} pays for waiting: {next:?}"))?;
                }
                self.check_spent()?;
            }
            Record::NotLandable { ticket, end, .. } => self.ends(&ticket.task, end.ending, false),
            Record::Limited {
                entitlement,
                hit,
                until,
                ..
            } => {
                let model = hit.scope.model().map(str::to_owned);
                self.lift(entitlement, model.as_deref());
                self.limits.push(Limit {
                    entitlement: entitlement.clone(),
                    model,
                    gate: Gate {
                        since: at,
                        until: *until,
                        probe: None,
                    },
                });
            }
            Record::LimitLifted { entitlement, scope } => {
                self.lift(entitlement, scope.model());
                self.lifted.insert(entitlement.clone(), at);
            }
            Record::BreakerOpened { ending, until, .. } => {
                let (failures, tasks) = &self.failed;
                let is_known = ending.row().breaker == Signal::Opens
                    || self.breaker.is_some()
                    || (*failures >= self.policy.breaker_threshold && tasks.len() >= 2);
                law(is_known, || {
                    format!("the breaker opens after {failures} failures of {tasks:?}")
                })?;
                self.breaker = Some(Gate {
                    since: at,
                    until: *until,
                    probe: None,
                });
            }
            Record::BreakerClosed => {
                self.breaker = None;
                self.failed = (0, BTreeSet::new());
            }
            Record::Controlled {
                control,
                refused: None,
            } => match control.verb {
                Verb::Pause => self.paused = true,
                Verb::Resume => self.paused = false,
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn go_by(&mut self, start: &RunStart) {
        self.policy = start.policy.clone();
        self.take_over(&start.revision);
    }

    fn take_over(&mut self, revision: &PlanRevision) {
        self.profiles.extend((*revision.profiles).clone());
    }

    fn profile(&self, task: &TaskId) -> Arc<Profile> {
        self.profiles.get(task).cloned().unwrap_or_default()
    }

    /// Whether nothing but the rules of the schedule can keep the task from starting.
    pub(crate) fn is_free(&self, task: &TaskId, at: Wall) -> bool {
        let profile = self.profile(task);
        let eases = self.lifted.get(&profile.entitlement);
        !self.paused
            && self.breaker.is_none()
            && self.policy.budgets.are_free()
            && self.policy.pause_at.is_none()
            && self
                .limits
                .iter()
                .all(|limit| limit.entitlement != profile.entitlement)
            && eases.is_none_or(|lifted| at.ms_since(*lifted) > 30_000)
    }

    fn lift(&mut self, entitlement: &str, model: Option<&str>) {
        self.limits
            .retain(|limit| limit.entitlement != entitlement || limit.model.as_deref() != model);
    }

    fn starts(&mut self, task: &TaskId, grant: Grant, at: Wall) -> Verdict {
        law(!self.paused, || format!("{task} starts in a pause"))?;
        let profile = self.profile(task);
        let model = self.models.get(task).cloned().flatten();
        for limit in &mut self.limits {
            let is_its = match (&limit.model, &model) {
                (Some(limited), Some(model)) => limited == model,
                _ => true,
            };
            if limit.entitlement == profile.entitlement && is_its {
                limit.gate.lets(task, at, "a limit")?;
            }
        }
        if let Some(breaker) = &mut self.breaker {
            breaker.lets(task, at, "the breaker")?;
        }
        if let (Some(declared), Some(model)) = (&profile.model, &model) {
            law(rung(model) >= rung(declared), || {
                format!("{task} asks for {declared} and gets {model}")
            })?;
        }
        self.granted.insert(task.clone(), grant);
        let reserved: u64 = self.granted.values().map(|g| g.reserved.cost.0).sum();
        if let Some(most) = self.policy.budgets.run.cost
            && profile.metered
        {
            law(self.spent + reserved <= most.0, || {
                format!(
                    "{task} starts with {} spent and {reserved} reserved of {most}",
                    self.spent
                )
            })?;
            let cap = grant.cap.map_or(u64::MAX, |cap| cap.0);
            law(
                cap.saturating_add(self.policy.budgets.overshoot.0) <= grant.reserved.cost.0,
                || format!("{task} may spend more than {grant:?} sets aside"),
            )?;
        }
        if let Some(most) = self.policy.budgets.task.cost
            && profile.metered
        {
            let spent = self.spent_by.get(task).copied().unwrap_or_default();
            law(spent + grant.reserved.cost.0 <= most.0, || {
                format!("{task} starts beyond its budget")
            })?;
        }
        Ok(())
    }

    fn ends(&mut self, task: &TaskId, ending: Ending, outlived: bool) {
        match ending.row().breaker {
            Signal::Works => self.failed = (0, BTreeSet::new()),
            Signal::Fails if outlived => {}
            Signal::Fails => {
                self.failed.0 += 1;
                self.failed.1.insert(task.clone());
            }
            Signal::Nothing | Signal::Opens => {}
        }
        for limit in &mut self.limits {
            limit.gate.ends(task);
        }
        if let Some(breaker) = &mut self.breaker {
            breaker.ends(task);
        }
    }

    /// Whatever ran at once, it has not spent more than there was.
    fn check_spent(&self) -> Verdict {
        let Some(most) = self.policy.budgets.run.cost.filter(|_| !self.changed) else {
            return Ok(());
        };
        law(self.spent <= most.0, || {
            format!("{} of {most} are spent", self.spent)
        })
    }
}

fn rung(model: &str) -> usize {
    let ladder = ["haiku", "sonnet", "opus"];
    ladder
        .iter()
        .position(|name| *name == model)
        .unwrap_or(usize::MAX)
}

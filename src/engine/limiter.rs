//! The limiter: which usage limits are in force, until when they keep tasks from starting, and who tries first then.
//!
//! A limit is one of an entitlement, or of a model within it. When its time has come, one task probes; when the service
//! has answered that one, the others follow, spread over a while.

use std::collections::BTreeMap;

use super::chance;
use super::limit::{LimitHit, LimitScope, UsageWindow};
use super::policy::{OnLimit, Policy};
use crate::ids::{RunId, TaskId};
use crate::plan::bounds::is_called;
use crate::time::Wall;

/// The first wait for a limit whose end nobody knows; each further one doubles.
const PROBE_MS: u64 = 60_000;

/// The longest wait between two probes.
const PROBE_MAX_MS: u64 = 3_600_000;

/// Over how long the tasks that waited for a limit start again.
const EASING_MS: u64 = 30_000;

/// How long a full window keeps tasks waiting of which the service did not say when it resets.
const WINDOW_MS: u64 = 3_600_000;

/// The limits of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Limiter {
    pub limits: Vec<Limit>,
    /// The newest report about the windows of each entitlement, and when it came.
    pub windows: BTreeMap<String, (Wall, Vec<UsageWindow>)>,
}

/// A limit in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub entitlement: String,
    pub hit: LimitHit,
    /// When it was first met without having been lifted since.
    pub first: Wall,
    /// When `stage` was entered.
    pub since: Wall,
    /// When one task may probe.
    pub until: Wall,
    /// Probes that met it again.
    pub probes: u32,
    pub stage: Stage,
    /// The task that a person wants tried first.
    pub asked: Option<TaskId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing starts before `until`; then one task does.
    Closed,
    /// This task tries whether it is over.
    Probing(TaskId),
    /// It is over, and those that waited start one after the other.
    Easing,
}

/// Who wants to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub run: &'a RunId,
    pub task: &'a TaskId,
    pub entitlement: &'a str,
    /// The model of the attempt; none leaves it to the agent program, which may choose any.
    pub model: Option<&'a str>,
}

/// What keeps a task from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barred<'a> {
    /// A limit; until when, if it is waited for.
    Limit(&'a Limit, Option<Wall>),
    /// A window that is nearly full; until when, if that is waited for.
    Window(&'a UsageWindow, Option<Wall>),
}

impl Limit {
    /// Whether `asking` counts into it.
    pub(super) fn concerns(&self, asking: &Asking<'_>) -> bool {
        self.entitlement == asking.entitlement && concerns(self.hit.scope.model(), asking.model)
    }

    /// Whether waiting for it is allowed and has an end that is near enough.
    pub(super) fn is_waited_for(&self, policy: &Policy) -> bool {
        policy.on_limit == OnLimit::Wait
            && self.until <= self.first.plus_ms(policy.limit_wait_max_ms)
    }

    /// The task that tries whether it is over.
    pub(super) fn probe(&self) -> Option<&TaskId> {
        match &self.stage {
            Stage::Probing(task) => Some(task),
            Stage::Closed | Stage::Easing => None,
        }
    }

    fn is_over(&self, at: Wall) -> bool {
        self.stage == Stage::Easing && (at >= self.since.plus_ms(EASING_MS) || at < self.since)
    }

    /// When `asking` may start, if that is not yet: the time at which it changes by itself, if it does.
    fn bars(&self, asking: &Asking<'_>, policy: &Policy, at: Wall) -> Option<Option<Wall>> {
        let is_early = |until: Wall| at < until && at >= self.since;
        match &self.stage {
            Stage::Closed => is_early(self.until)
                .then(|| Some(self.until).filter(|_| self.is_waited_for(policy))),
            Stage::Probing(task) => (task != asking.task).then_some(None),
            Stage::Easing => {
                let delay = chance::up_to(EASING_MS, asking.run, asking.task, self.probes);
                let until = self.since.plus_ms(delay);
                is_early(until).then_some(Some(until))
            }
        }
    }
}

/// Whether a model's limit, or everybody's if none, is one for this model.
fn concerns(limited: Option<&str>, model: Option<&str>) -> bool {
    match (limited, model) {
        (Some(limited), Some(model)) => is_called(model, limited),
        (Some(_) | None, _) => true,
    }
}

/// The model that a window is for, if it is not for all: `opus` of `seven_day_opus`.
fn model_of_window(kind: &str) -> Option<&str> {
    ["five_hour_", "seven_day_"]
        .iter()
        .find_map(|prefix| kind.strip_prefix(prefix))
}

impl Policy {
    /// Until when a window of which the service told at `seen` keeps what counts into it from starting; none if it is
    /// not full enough for that.
    pub fn pauses_until(&self, window: &UsageWindow, seen: Wall) -> Option<Wall> {
        if window.utilisation < self.pause_at? {
            return None;
        }
        let until = match window.resets_at {
            Some(resets_at) => resets_at.plus_ms(self.limit_margin_ms),
            None => seen.plus_ms(WINDOW_MS),
        };
        Some(until.min(seen.plus_ms(self.limit_wait_max_ms)))
    }
}

impl Limiter {
    /// What keeps `asking` from starting: of several, the one that lasts longest.
    pub(super) fn bars(
        &self,
        asking: &Asking<'_>,
        policy: &Policy,
        at: Wall,
    ) -> Option<Barred<'_>> {
        let concerned = self.limits.iter().filter(|limit| limit.concerns(asking));
        let limits = concerned.filter_map(|limit| {
            let until = limit.bars(asking, policy, at)?;
            Some((until, Barred::Limit(limit, until)))
        });
        let full = self.full_window(asking, policy, at).map(|(window, until)| {
            let until = Some(until).filter(|_| policy.on_limit == OnLimit::Wait);
            (until, Barred::Window(window, until))
        });
        // What does not end by itself lasts longest.
        let longest = limits
            .chain(full)
            .max_by_key(|(until, _)| until.map_or(i64::MAX, |until| until.0));
        longest.map(|(_, barred)| barred)
    }

    fn full_window(
        &self,
        asking: &Asking<'_>,
        policy: &Policy,
        at: Wall,
    ) -> Option<(&UsageWindow, Wall)> {
        let (seen, windows) = self.windows.get(asking.entitlement)?;
        windows
            .iter()
            .filter(|window| concerns(model_of_window(&window.kind), asking.model))
            .filter_map(|window| Some((window, policy.pauses_until(window, *seen)?)))
            .filter(|(_, until)| at < *until && at >= *seen)
            .max_by_key(|(_, until)| *until)
    }

    /// The limit that a hit is about, if it is in force.
    pub(super) fn find(&self, entitlement: &str, scope: &LimitScope) -> Option<&Limit> {
        self.limits.iter().find(|limit| {
            limit.entitlement == entitlement && limit.hit.scope.model() == scope.model()
        })
    }

    /// The limits that `task` probes.
    pub(super) fn probed_by(&self, task: &TaskId) -> impl Iterator<Item = &Limit> {
        self.limits
            .iter()
            .filter(move |limit| matches!(&limit.stage, Stage::Probing(probe) if probe == task))
    }

    /// Sees an attempt start or go on: it probes what it had to wait for. What is over is forgotten.
    pub(super) fn started(&mut self, asking: &Asking<'_>, at: Wall) {
        self.limits.retain(|limit| !limit.is_over(at));
        for limit in &mut self.limits {
            if limit.stage == Stage::Closed && limit.concerns(asking) {
                limit.stage = Stage::Probing(asking.task.clone());
                limit.asked = None;
            }
        }
    }

    /// Sees an attempt end: it no longer probes anything.
    pub(super) fn ended(&mut self, task: &TaskId) {
        for limit in &mut self.limits {
            if matches!(&limit.stage, Stage::Probing(probe) if probe == task) {
                limit.stage = Stage::Closed;
            }
        }
    }

    /// A limit was met.
    pub(super) fn limited(
        &mut self,
        entitlement: &str,
        hit: &LimitHit,
        until: Wall,
        probes: u32,
        asked: Option<&TaskId>,
        at: Wall,
    ) {
        let met = self.find(entitlement, &hit.scope);
        let first = met
            .filter(|limit| !limit.is_over(at))
            .map_or(at, |limit| limit.first);
        self.limits.retain(|limit| {
            limit.entitlement != entitlement || limit.hit.scope.model() != hit.scope.model()
        });
        self.limits.push(Limit {
            entitlement: entitlement.to_owned(),
            hit: hit.clone(),
            first,
            since: at,
            until,
            probes,
            stage: Stage::Closed,
            asked: asked.cloned(),
        });
    }

    /// A limit is over; whether it was in force.
    pub(super) fn lifted(&mut self, entitlement: &str, scope: &LimitScope, at: Wall) -> bool {
        let mut limits = self.limits.iter_mut();
        let limit = limits.find(|limit| {
            limit.entitlement == entitlement && limit.hit.scope.model() == scope.model()
        });
        if let Some(limit) = limit {
            limit.stage = Stage::Easing;
            limit.since = at;
            return true;
        }
        false
    }

    /// A person goes on with the run: what was waited for may be waited for as long again.
    pub(super) fn resumed(&mut self, at: Wall) {
        for limit in &mut self.limits {
            limit.first = at;
        }
    }
}

/// What is known about a limit that was met: the hit, when one task may probe, and how many probes have met it.
/// `was_probe`: whether it was met by the task that tried whether it was over.
pub(super) fn met(
    known: Option<&Limit>,
    was_probe: bool,
    mut hit: LimitHit,
    policy: &Policy,
    now: Wall,
) -> (LimitHit, Wall, u32) {
    let Some(known) = known.filter(|limit| !limit.is_over(now)) else {
        let until = probe_at(hit.resets_at, 0, policy, now);
        return (hit, until, 0);
    };
    let was_probe = was_probe || known.stage == Stage::Easing;
    let probes = known.probes + u32::from(was_probe);
    if !was_probe && hit.resets_at.is_none() {
        // Several agents meet a limit at once, and one of them may say less about it than another.
        hit.resets_at = known.hit.resets_at;
        if known.until > now {
            return (hit, known.until, probes);
        }
    }
    let until = probe_at(hit.resets_at, probes, policy, now);
    (hit, until, probes)
}

/// When a probe may go after a limit was met, with `probes` of them having met it before.
fn probe_at(resets_at: Option<Wall>, probes: u32, policy: &Policy, now: Wall) -> Wall {
    let pause = |n: u32| {
        let ms = PROBE_MS.saturating_mul(1 << n.min(16)).min(PROBE_MAX_MS);
        now.plus_ms(ms)
    };
    match resets_at.filter(|resets_at| *resets_at > now) {
        Some(resets_at) => {
            let reset = resets_at.plus_ms(policy.limit_margin_ms);
            // A service that names a time and then refuses again is not asked every other moment.
            probes
                .checked_sub(1)
                .map_or(reset, |again| reset.max(pause(again)))
        }
        None => pause(probes),
    }
}

//! What keeps a task from starting although its turn has come: a limit, a nearly full window, the breaker, or a budget.

use super::breaker::Open;
use super::budget::{Account, Amount, Grant, Level, Refusal};
use super::limit::UsageWindow;
use super::limiter::{Asking, Barred, Limit, Stage};
use super::phase::Phase;
use super::policy::OnLimit;
use super::state::State;
use super::task::Task;
use super::topology::Ix;
use crate::ids::{RunId, TaskId};
use crate::time::Wall;

/// What keeps a task from starting, and until when, if that changes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bar<'a> {
    Limit(&'a Limit, Option<Wall>),
    Window(&'a UsageWindow, Option<Wall>),
    Breaker(&'a Open, Option<Wall>),
    Budget(Refusal, Option<Wall>),
}

impl Bar<'_> {
    pub(super) fn until(&self) -> Option<Wall> {
        match self {
            Self::Limit(_, until)
            | Self::Window(_, until)
            | Self::Breaker(_, until)
            | Self::Budget(_, until) => *until,
        }
    }

    /// Whether neither time nor anything that runs will change it.
    pub(super) fn is_final(&self) -> bool {
        self.until().is_none()
            && match self {
                // What a task was asked to try is tried by it.
                Self::Limit(limit, _) => limit.stage == Stage::Closed && limit.asked.is_none(),
                Self::Window(..) => true,
                Self::Breaker(..) => false,
                Self::Budget(refusal, _) => !refusal.is_reserved,
            }
    }
}

impl Task {
    pub(super) fn asking<'a>(&'a self, run: &'a RunId, model: Option<&'a str>) -> Asking<'a> {
        Asking {
            run,
            task: &self.node.id,
            entitlement: &self.profile.entitlement,
            model,
        }
    }
}

impl State {
    /// The model of the next attempt of a task; a parked session keeps its own.
    pub(super) fn next_model(&self, ix: Ix) -> Option<String> {
        let task = &self.tasks[ix];
        if let Phase::Parked { .. } = task.phase {
            return task.past().model.clone();
        }
        let declared = task.profile.model.as_deref();
        self.policy.ladder.model(declared, task.mendable)
    }

    /// Why the next attempt of a task gets its model, where the ladder decides.
    pub(super) fn why_model(&self, ix: Ix) -> Option<String> {
        let task = &self.tasks[ix];
        let declared = task.profile.model.as_deref();
        self.policy.ladder.why(declared, task.mendable)
    }

    /// What keeps a task from starting or going on, needs and slots aside.
    pub(super) fn bar(&self, ix: Ix, at: Wall) -> Option<Bar<'_>> {
        self.own_bar(ix, at).or_else(|| self.precedence(ix, at))
    }

    /// A trial that is left to the task that a person asked for, as long as that one can make it.
    fn precedence(&self, ix: Ix, at: Wall) -> Option<Bar<'_>> {
        let open = self.breaker.open.as_ref().filter(|o| o.probe.is_none());
        let open = open.filter(|open| open.asked.is_some());
        let limits = self.limiter.limits.iter();
        let limits: Vec<&Limit> = limits
            .filter(|limit| limit.stage == Stage::Closed && limit.asked.is_some())
            .collect();
        let asked = || {
            let of_limits = limits.iter().filter_map(|limit| limit.asked.as_ref());
            open.and_then(|open| open.asked.as_ref())
                .into_iter()
                .chain(of_limits)
        };
        let task = &self.tasks[ix];
        // Those who were asked for do not wait for each other.
        if asked().next().is_none() || asked().any(|asked| *asked == task.node.id) {
            return None;
        }
        let can_try = |asked: &Option<TaskId>| {
            let asked = asked.as_ref().and_then(|asked| self.get(asked));
            asked.is_some_and(|(ix, _)| {
                self.waits_for_limits_alone(ix) && self.own_bar(ix, at).is_none()
            })
        };
        if let Some(open) = open.filter(|open| can_try(&open.asked)) {
            return Some(Bar::Breaker(open, None));
        }
        let model = self.next_model(ix);
        let asking = task.asking(&self.run, model.as_deref());
        let mut left = limits.iter().filter(|limit| can_try(&limit.asked));
        let limit = left.find(|limit| limit.concerns(&asking))?;
        Some(Bar::Limit(limit, None))
    }

    fn own_bar(&self, ix: Ix, at: Wall) -> Option<Bar<'_>> {
        let task = &self.tasks[ix];
        if let Some(until) = self.breaker.bars(&task.node.id, at) {
            let open = self.breaker.open.as_ref()?;
            return Some(Bar::Breaker(open, until));
        }
        let is_limited = !self.limiter.limits.is_empty() || self.policy.pause_at.is_some();
        if is_limited {
            let model = self.next_model(ix);
            let asking = task.asking(&self.run, model.as_deref());
            if let Some(barred) = self.limiter.bars(&asking, &self.policy, at) {
                return Some(match barred {
                    Barred::Limit(limit, until) => Bar::Limit(limit, until),
                    Barred::Window(window, until) => Bar::Window(window, until),
                });
            }
        }
        let refusal = self.grant(ix, at).err()?;
        let until = (refusal.level == Level::Day
            && refusal.is_enough_alone
            && !refusal.is_reserved
            && self.policy.on_limit == OnLimit::Wait)
            .then(|| self.day.on(at).ends());
        Some(Bar::Budget(refusal, until))
    }

    /// What a task may spend if it starts or goes on now.
    pub(super) fn grant(&self, ix: Ix, at: Wall) -> Result<Grant, Refusal> {
        let task = &self.tasks[ix];
        let budgets = &self.policy.budgets;
        if budgets.are_free() {
            return Ok(Grant::default());
        }
        let model = self.next_model(ix);
        let wanted = budgets.expected(&task.profile, model.as_deref(), &self.learned);
        let account = |charged, reserved| Account { charged, reserved };
        let accounts = [
            account(task.past().charged, Amount::default()),
            account(self.charged, self.reserved),
            account(self.day.on(at).charged, self.reserved),
        ];
        let shares = self.jobs.saturating_sub(self.running());
        budgets.weigh(wanted, accounts, shares)
    }

    /// How many agents run, or are about to or just did.
    pub(super) fn running(&self) -> u32 {
        let running = self.tasks.iter().filter(|task| task.phase.is_running());
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// Whether a task waits for nothing but limits, so that it goes on as soon as they let it.
    pub(super) fn waits_for_limits_alone(&self, ix: Ix) -> bool {
        self.is_ready(ix) || self.could_continue(ix)
    }

    /// When a bar ends that keeps a task waiting; what has ended at `heard` was looked at then.
    pub(super) fn bars_end(&self, heard: Wall) -> Option<Wall> {
        if self.bars_starts() {
            return None;
        }
        (0..self.tasks.len())
            .filter(|&ix| self.waits_for_limits_alone(ix))
            .filter_map(|ix| self.bar(ix, heard)?.until())
            .filter(|until| *until > heard)
            .min()
    }

    /// When the run will have taken its longest time.
    pub(super) fn longest_end(&self, heard: Wall) -> Option<Wall> {
        let most = self.policy.max_duration_ms?;
        let ends = self.begun.plus_ms(most);
        (self.failed.is_none() && ends > heard).then_some(ends)
    }
}

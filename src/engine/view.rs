//! The run and its tasks as people see them: states, counts, and what each task has left behind.

use super::Engine;
use super::approval::Shown;
use super::bars::Bar;
use super::blockage::Blockage;
use super::budget::Amount;
use super::conflict::Resolving;
use super::ending::AttemptEnd;
use super::event::StopLevel;
use super::limit::{LimitHit, UsageWindow};
use super::limiter;
use super::outcome::Outcome;
use super::phase::{Phase, Settled};
use super::policy::Policy;
use super::task::Task;
use super::topology::Ix;
use super::usage::Usage;
use crate::ids::{ObjectId, RefName, RunId, SlotId, TaskId};
use crate::plan::graph::{Node, TaskKind};
use crate::time::Wall;

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunView<'a> {
    /// Which.
    pub run: &'a RunId,
    /// The plan, by path for people.
    pub plan: &'a str,
    /// The ref that lands.
    pub target: &'a RefName,
    /// The address of the plan revision in force.
    pub revision: &'a str,
    /// When it began.
    pub started: Wall,
    /// How many agents may run at once.
    pub jobs: u32,
    /// How many attempts lease a slot now.
    pub running: usize,
    /// How firmly it is being halted.
    pub stop: StopLevel,
    /// Whether the target no longer contains what was landed.
    pub target_rewritten: bool,
    /// Why it cannot go on, if it cannot.
    pub failure: Option<&'a str>,
    /// The smoke commands are red on what has landed.
    pub has_red_smoke: bool,
    /// The newest landing commit, if the smoke commands passed on it.
    pub smoke_passed: Option<&'a ObjectId>,
    /// How it ended, if it did.
    pub ended: Option<Outcome>,
    /// The newest landing commit of the run.
    pub tip: Option<&'a ObjectId>,
    /// What all its sessions used.
    pub usage: Usage,
    /// What all its attempts were charged, and what is reserved for those that run.
    pub charged: Amount,
    /// What is reserved for the attempts that run.
    pub reserved: Amount,
    /// What all runs of the repository were charged today.
    pub charged_today: Amount,
    /// The numbers that it decides by.
    pub policy: &'a Policy,
    /// The usage limits in force.
    pub limits: Vec<LimitView<'a>>,
    /// How full windows are, by entitlement, with the time of the report.
    pub windows: Vec<(&'a str, Wall, &'a [UsageWindow])>,
    /// Why nothing new starts, and when one task will try, while the breaker is open.
    pub breaker: Option<(&'a str, Wall)>,
    /// The task that tries whether the world works again.
    pub breaker_probe: Option<&'a TaskId>,
    /// Whether a person wants nothing new to start for now.
    pub paused: bool,
}

/// A usage limit in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitView<'a> {
    /// Whose.
    pub entitlement: &'a str,
    /// Which.
    pub hit: &'a LimitHit,
    /// When one task may try.
    pub until: Wall,
    /// Whether that is waited for.
    pub is_waited_for: bool,
    /// The task that tries.
    pub probe: Option<&'a TaskId>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView<'a> {
    /// What the plan says about it; of a task that has started, what it said then.
    pub node: &'a Node,
    /// Where it stands.
    pub state: TaskState,
    /// Since when.
    pub since: Wall,
    /// The newest attempt; 0: none yet.
    pub attempt: u32,
    /// 1, plus how often it was reopened: it lands once in each.
    pub generation: u32,
    /// Attempts spent of `node.max_attempts`.
    pub spent: u32,
    /// The model of the newest attempt, or of the next one if none is under way; none leaves it to the agent program.
    pub model: Option<String>,
    /// Why the next attempt gets that model, where the ladder decides.
    pub model_why: Option<String>,
    /// What all its attempts were charged.
    pub charged: Amount,
    /// The slot of the running attempt.
    pub slot: Option<SlotId>,
    /// How the newest ended attempt ended.
    pub last_end: Option<&'a AttemptEnd>,
    /// What all its sessions used.
    pub usage: Usage,
    /// The agent's words about the newest result.
    pub message: Option<&'a str>,
    /// SHA-256 of the newest report.
    pub report: Option<&'a str>,
    /// The newest candidate.
    pub candidate: Option<&'a ObjectId>,
    /// For people.
    pub notes: &'a [String],
    /// What changed in the user's repository while attempts of it ran.
    pub meanwhile: &'a [String],
    /// What a person is asked to approve, if it is something that was made.
    pub shown: Option<&'a Shown>,
    /// What was last said about the evidence it needs.
    pub supply: Option<&'a str>,
    /// Its place among the candidates that are to land, from 1, if it is one of them.
    pub queue_position: Option<usize>,
    /// What its newest attempt is to resolve, if it is no attempt at the task itself.
    pub resolving: Option<&'a Resolving>,
    /// Whether a person holds it.
    pub held: bool,
    /// Whether the plan asks for something else since the task started.
    pub stale: bool,
}

/// Where a task stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Something that it needs is not settled yet.
    Pending,
    /// Only limits keep it from starting.
    Ready,
    /// An attempt is under way.
    Running(Stage),
    /// It goes on by itself, or when a person acts.
    Waiting {
        /// For what.
        reason: Wait,
        /// Until when, where that is known.
        until: Option<Wall>,
    },
    /// Its candidate is on the way to the target.
    Landing,
    /// Done.
    Completed {
        /// In which way.
        how: Completion,
        /// Its commit on the target.
        commit: Option<ObjectId>,
        /// Whether a required verify command passed on exactly that tree.
        verified: bool,
    },
    /// No attempts are left, or the plan says so.
    Failed,
    /// Not to be done.
    Skipped,
    /// Something that it needs, directly or not, failed or was cancelled.
    Blocked {
        /// The need through which it is blocked.
        by: TaskId,
    },
    /// A person called it off.
    Cancelled,
    /// Not part of what this run was asked for.
    LeftOut,
    /// No longer in the plan.
    Removed,
    /// It had landed, and that was undone.
    Reverted,
}

impl TaskState {
    /// Whether nothing more happens to it by itself.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Completed { .. }
            | Self::Failed
            | Self::Skipped
            | Self::Blocked { .. }
            | Self::Cancelled
            | Self::LeftOut
            | Self::Removed
            | Self::Reverted => true,
            Self::Pending
            | Self::Ready
            | Self::Running(_)
            | Self::Waiting { .. }
            | Self::Landing => false,
        }
    }
}

/// A part of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its slot is being brought to the start.
    Preparing,
    /// Its agent runs.
    Executing,
    /// What its agent left is being read.
    Collecting,
    /// The gates of its landing commit are asked.
    Verifying,
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A pause after an end that may be gone on the next try.
    Backoff,
    /// A usage limit, or a window that is nearly full.
    Limit,
    /// The breaker: the world outside the tasks seems broken.
    Breaker,
    /// A budget.
    Budget,
    /// A person to resume the run.
    Resume,
    /// A person to release it.
    Release,
    /// A person to say that it may start, or that what it made may land.
    Approval,
    /// Evidence from outside.
    Evidence,
    /// A person to clear away what keeps its commit from landing.
    Clearance,
}

/// How a task was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Its commit landed.
    Landed,
    /// It changed nothing and said so.
    NoChange,
    /// Its text is stored.
    Report,
    /// The plan's text says so; orch has no record of it.
    Believed,
    /// An earlier run landed it.
    LandedBefore,
    /// A person says so.
    MarkedDone,
}

impl Engine {
    /// The run.
    pub fn run(&self) -> RunView<'_> {
        let state = &self.state;
        let windows = state.limiter.windows.iter();
        let open = state.breaker.open.as_ref();
        RunView {
            run: &state.run,
            plan: &state.plan,
            target: &state.target,
            revision: &state.revision,
            started: state.started,
            jobs: state.jobs,
            running: state.running() as usize,
            stop: state.stop,
            target_rewritten: state.parked,
            failure: match &state.failed {
                Some(failure) => Some(failure.detail.as_str()),
                None => state.red_smoke(),
            },
            has_red_smoke: state.red_smoke().is_some(),
            smoke_passed: state
                .smoke_of_tip()
                .filter(|(_, red)| red.is_none())
                .map(|(tip, _)| tip),
            ended: state.ended,
            tip: state.tip.as_ref(),
            usage: state.usage,
            charged: state.charged,
            reserved: state.reserved,
            charged_today: state.day.on(self.heard).charged,
            policy: &state.policy,
            limits: self.limits(),
            windows: windows
                .map(|(entitlement, (seen, windows))| {
                    (entitlement.as_str(), *seen, windows.as_slice())
                })
                .collect(),
            breaker: open.map(|open| (open.cause.as_str(), open.until)),
            breaker_probe: open.and_then(|open| open.probe.as_ref()),
            paused: state.paused.is_some(),
        }
    }

    fn limits(&self) -> Vec<LimitView<'_>> {
        let limits = self.state.limiter.limits.iter();
        let in_force = limits.filter(|limit| limit.stage != limiter::Stage::Easing);
        in_force
            .map(|limit| LimitView {
                entitlement: &limit.entitlement,
                hit: &limit.hit,
                until: limit.until,
                is_waited_for: limit.is_waited_for(&self.state.policy),
                probe: limit.probe(),
            })
            .collect()
    }

    /// A task, whether or not the plan still has it.
    pub fn view(&self, id: &TaskId) -> Option<TaskView<'_>> {
        let (ix, task) = self.state.get(id)?;
        let blocker = || Blockage::of(&self.state).by(ix);
        Some(self.view_of(ix, task.is_open().then(blocker).flatten()))
    }

    /// The tasks of the plan in document order, then those that left it and had started.
    pub fn tasks(&self) -> impl Iterator<Item = TaskView<'_>> {
        let state = &self.state;
        let left = (0..state.tasks.len())
            .filter(|&ix| !state.tasks[ix].in_plan && state.tasks[ix].attempt > 0);
        let blockage = Blockage::of(state);
        let places = state.order.iter().copied().chain(left);
        places.map(move |ix| self.view_of(ix, blockage.by(ix)))
    }

    fn view_of(&self, ix: Ix, blocker: Option<Ix>) -> TaskView<'_> {
        let task = &self.state.tasks[ix];
        let past = task.past();
        TaskView {
            node: &task.node,
            state: self.state_of(ix, blocker),
            since: task.since,
            attempt: task.attempt,
            generation: task.generation,
            spent: task.spent,
            model: match task.phase.is_under_way() {
                true => past.model.clone(),
                false => self.state.next_model(ix),
            },
            model_why: task.is_open().then(|| self.state.why_model(ix)).flatten(),
            charged: past.charged,
            slot: task.phase.slot(),
            last_end: past.last_end.as_ref(),
            usage: past.usage,
            message: past.message.as_deref(),
            report: past.report.as_deref(),
            candidate: task.past().candidate.as_ref(),
            notes: &past.notes,
            meanwhile: &past.meanwhile,
            shown: task.past().consent.asked(),
            supply: task.awaits_evidence().then_some(past.supply.said.as_str()),
            queue_position: self.state.queue_position(ix),
            resolving: task.past().resolving.as_ref(),
            held: task.is_held(),
            stale: task
                .newer
                .as_ref()
                .is_some_and(|newer| newer.spec_hash != task.node.spec_hash),
        }
    }

    fn state_of(&self, ix: Ix, blocker: Option<Ix>) -> TaskState {
        let task = &self.state.tasks[ix];
        let waiting = |reason, until| TaskState::Waiting { reason, until };
        match &task.phase {
            Phase::Preparing { .. } => TaskState::Running(Stage::Preparing),
            Phase::Executing { .. } => TaskState::Running(Stage::Executing),
            Phase::Parked { .. } => self.waiting(ix),
            Phase::Collecting { .. } => TaskState::Running(Stage::Collecting),
            Phase::Queued {
                in_the_way: Some(_),
                pause,
                ..
            } => waiting(Wait::Clearance, pause.map(|pause| pause.until)),
            Phase::Verifying { .. } => TaskState::Running(Stage::Verifying),
            Phase::Queued { .. } if task.awaits_approval() => waiting(Wait::Approval, None),
            Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. } => TaskState::Landing,
            Phase::Open { .. } | Phase::Settled(_) if task.left_out => TaskState::LeftOut,
            Phase::Settled(settled) => settled_state(task, settled),
            Phase::Open { pause } => match (blocker, pause) {
                (Some(need), _) => TaskState::Blocked {
                    by: self.state.tasks[need].node.id.clone(),
                },
                (None, _) if task.is_held() => waiting(Wait::Release, None),
                (None, Some(pause)) => waiting(Wait::Backoff, Some(pause.until)),
                (None, None) if self.state.awaits_consent(ix) && task.awaits_approval() => {
                    waiting(Wait::Approval, None)
                }
                (None, None) if self.state.awaits_consent(ix) => waiting(Wait::Evidence, None),
                (None, None) if self.state.is_ready(ix) => self.waiting(ix),
                (None, None) => TaskState::Pending,
            },
        }
    }
}

impl Engine {
    /// What a task waits for that needs nothing else to go on.
    fn waiting(&self, ix: Ix) -> TaskState {
        let (reason, until) = match self.state.bar(ix, self.heard) {
            Some(bar) => {
                let reason = match bar {
                    Bar::Limit(..) | Bar::Window(..) => Wait::Limit,
                    Bar::Breaker(..) => Wait::Breaker,
                    Bar::Budget(..) => Wait::Budget,
                };
                (reason, bar.until())
            }
            None if self.state.paused.is_some() => (Wait::Resume, None),
            None => return TaskState::Ready,
        };
        TaskState::Waiting { reason, until }
    }
}

fn settled_state(task: &Task, settled: &Settled) -> TaskState {
    let completed = |how, commit: Option<&ObjectId>, verified| TaskState::Completed {
        how,
        commit: commit.cloned(),
        verified,
    };
    match settled {
        Settled::Landed { commit, verified } => {
            completed(Completion::Landed, Some(commit), *verified)
        }
        Settled::LandedBefore { commit } => {
            completed(Completion::LandedBefore, Some(commit), false)
        }
        Settled::Unchanged
            if task.node.kind == TaskKind::Report && task.past().report.is_some() =>
        {
            completed(Completion::Report, None, false)
        }
        Settled::Unchanged => completed(Completion::NoChange, None, false),
        Settled::Believed => completed(Completion::Believed, None, false),
        Settled::MarkedDone { commit } => completed(Completion::MarkedDone, commit.as_ref(), false),
        Settled::Skipped => TaskState::Skipped,
        Settled::Failed | Settled::DeclaredFailed => TaskState::Failed,
        Settled::Cancelled => TaskState::Cancelled,
        Settled::Removed => TaskState::Removed,
        Settled::Reverted { .. } => TaskState::Reverted,
    }
}

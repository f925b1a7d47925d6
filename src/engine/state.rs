//! What a run is at one moment: the data, and the questions that every part of the engine asks of it.
//!
//! Only [`State::apply`](super::apply) changes it, and only in answer to a record.

use std::collections::HashMap;

use super::breaker::Breaker;
use super::budget::{Amount, Day, Learned};
use super::event::{Decision, StopLevel};
use super::limiter::Limiter;
use super::outcome::Outcome;
use super::phase::Phase;
use super::policy::Policy;
use super::start::{RunStart, Selection};
use super::task::Task;
use super::topology::{Ix, Need, Topology};
use super::usage::Usage;
use crate::ids::{ObjectId, RefName, RunId, TaskId};
use crate::time::Wall;

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub run: RunId,
    pub plan: String,
    pub target: RefName,
    pub jobs: u32,
    pub selection: Selection,
    /// Address of the text of the plan revision in force.
    pub revision: String,
    pub started: Wall,
    /// Every task that ever was in the plan, in order of first appearance.
    pub tasks: Vec<Task>,
    pub index: HashMap<TaskId, Ix>,
    /// The tasks of the revision in force, in document order.
    pub order: Vec<Ix>,
    pub topology: Topology,
    /// For each task, whether it and all that it needs, directly or not, are satisfied.
    pub reached: Vec<bool>,
    pub policy: Policy,
    pub learned: Vec<Learned>,
    /// When it was last started or continued.
    pub begun: Wall,
    /// Whether a service has answered an agent since then.
    pub worked: bool,
    pub limiter: Limiter,
    pub breaker: Breaker,
    /// What all attempts were charged, and what is reserved for those that run.
    pub charged: Amount,
    pub reserved: Amount,
    pub day: Day,
    /// A person wants nothing new to start for now.
    pub paused: Option<Decision>,
    pub stop: StopLevel,
    /// Whether the run stays for people and evidence when nothing else is left to do.
    pub waits: bool,
    /// The gates have yet to be asked about the untouched target; no attempt starts before.
    pub awaits_baseline: bool,
    /// They were, and nothing spoke against a start.
    pub has_baseline: bool,
    /// The smoke commands are asked about what has landed when the plan is through.
    pub smokes: bool,
    /// What they said last.
    pub smoked: Option<Smoked>,
    /// The target no longer contains what was landed; a person must look.
    pub parked: bool,
    pub failed: Option<Failure>,
    pub ended: Option<Outcome>,
    /// The last landing commit of this run that nobody has since rewritten away.
    pub tip: Option<ObjectId>,
    pub usage: Usage,
}

/// Why the run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub outcome: Outcome,
    pub detail: String,
}

/// The answer of the smoke commands about a landed tip, as far as it decides anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Smoked {
    pub tip: ObjectId,
    /// Why it is red; none if it is not.
    pub red: Option<String>,
}

impl State {
    /// The run at its beginning: every task of the plan open, whatever the plan's text declares.
    pub(super) fn begin(run: RunId, start: &RunStart, at: Wall) -> Self {
        let mut state = Self {
            run,
            plan: start.plan.clone(),
            target: start.target.clone(),
            jobs: start.jobs.max(1),
            selection: start.selection.clone(),
            revision: String::new(),
            started: at,
            tasks: Vec::new(),
            index: HashMap::new(),
            order: Vec::new(),
            topology: Topology::default(),
            reached: Vec::new(),
            policy: Policy::default(),
            learned: Vec::new(),
            begun: at,
            worked: false,
            limiter: Limiter::default(),
            breaker: Breaker::default(),
            charged: Amount::default(),
            reserved: Amount::default(),
            day: Day::default(),
            paused: None,
            stop: StopLevel::Running,
            waits: start.waits,
            awaits_baseline: start.baseline,
            has_baseline: false,
            smokes: start.smoke,
            smoked: None,
            parked: false,
            failed: None,
            ended: None,
            tip: None,
            usage: Usage::default(),
        };
        state.go_by(start, at);
        state.take_over(&start.revision, at);
        state
    }

    /// Takes what whoever starts or continues the run decides by.
    pub(super) fn go_by(&mut self, start: &RunStart, at: Wall) {
        self.policy = start.policy.clone();
        self.learned.clone_from(&start.learned);
        self.day = Day {
            begins: start.policy.budgets.day_begins,
            charged: start.spent_today,
        };
        self.begun = at;
        self.worked = false;
        self.paused = None;
        self.breaker = Breaker::default();
        self.limiter.resumed(at);
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<(Ix, &Task)> {
        let ix = *self.index.get(id)?;
        Some((ix, &self.tasks[ix]))
    }

    /// Whether new attempts are out of the question for now, whichever the task.
    pub(super) fn bars_starts(&self) -> bool {
        self.paused.is_some() || self.is_halting()
    }

    /// Whether the run goes towards its end, so that what has not started stays unstarted.
    pub(super) fn is_halting(&self) -> bool {
        self.stop > StopLevel::Running
            || self.parked
            || self.failed.is_some()
            || self.ended.is_some()
    }

    /// Whether a task could start if only the gates had been asked about the untouched target.
    pub(super) fn wants_baseline(&self) -> bool {
        self.awaits_baseline
            && !self.bars_starts()
            && (0..self.tasks.len()).any(|ix| self.is_ready(ix))
    }

    /// Whether a candidate that waits for its next landing try is left where it is instead of waited for.
    pub(super) fn bars_landing_waits(&self) -> bool {
        self.parked || self.failed.is_some() || self.stop == StopLevel::EndAgents
    }

    /// Whether agents that run are to end.
    pub(super) fn ends_agents(&self) -> bool {
        self.stop == StopLevel::EndAgents || self.is_overdue()
    }

    /// Whether the run has taken its longest time.
    pub(super) fn is_overdue(&self) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|failure| failure.outcome == Outcome::LimitReached)
    }

    /// Whether recovery still owes an answer.
    pub(super) fn is_recovering(&self) -> bool {
        self.tasks.iter().any(|t| t.lost)
    }

    /// Whether everything that the task needs is satisfied.
    pub(super) fn needs_are_met(&self, ix: Ix) -> bool {
        self.topology
            .needs(ix)
            .iter()
            .all(|&need| self.is_met(need))
    }

    pub(super) fn is_met(&self, need: Need) -> bool {
        if need.implied {
            self.reached[need.on]
        } else {
            self.tasks[need.on].satisfies()
        }
    }

    /// Whether only limits (slots, exclusions, the stop) keep the task from starting.
    pub(super) fn is_ready(&self, ix: Ix) -> bool {
        let task = &self.tasks[ix];
        matches!(task.phase, Phase::Open { pause: None })
            && task.in_plan
            && !task.is_held()
            && !task.left_out
            && !task.awaits_approval()
            && !task.awaits_evidence()
            && self.needs_are_met(ix)
    }

    /// Whether only limits keep its parked session from going on.
    pub(super) fn could_continue(&self, ix: Ix) -> bool {
        let task = &self.tasks[ix];
        matches!(task.phase, Phase::Parked { .. })
            && task.in_plan
            && !task.is_held()
            && !task.left_out
    }

    /// Makes the edges anew after specs came into force.
    pub(super) fn rebuild_topology(&mut self) {
        let nodes = self.tasks.iter().map(|t| &*t.node);
        self.topology = Topology::new(nodes, &self.index, &self.order);
        self.refresh_reached();
    }

    /// Sees anew what is satisfied, after tasks settled or were reopened.
    pub(super) fn refresh_reached(&mut self) {
        self.reached = self.all_reached();
    }

    fn all_reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.tasks.len()];
        for &ix in self.topology.sorted() {
            reached[ix] = self.is_reached(ix, &reached);
        }
        // On a circle of old and new edges, a task that left the plan lets the others go on.
        while self.topology.sorted().len() < self.tasks.len()
            && let Some(ix) =
                (0..reached.len()).find(|&ix| !reached[ix] && self.is_reached(ix, &reached))
        {
            reached[ix] = true;
        }
        reached
    }

    /// As [`Self::refresh_reached`], after nothing changed but that a task may satisfy others now: what was reached still
    /// is. A plan with thousands of completed tasks begins with as many of these.
    pub(super) fn reach_from(&mut self, ix: Ix) {
        let mut next = vec![ix];
        while let Some(ix) = next.pop() {
            if !self.reached[ix] && self.is_reached(ix, &self.reached) {
                self.reached[ix] = true;
                next.extend_from_slice(self.topology.dependents(ix));
            }
        }
        // INVARIANT
        debug_assert_eq!(self.reached, self.all_reached());
    }

    fn is_reached(&self, ix: Ix, reached: &[bool]) -> bool {
        let task = &self.tasks[ix];
        let mut needs = self.topology.needs(ix).iter();
        task.satisfies() && (task.is_removed() || needs.all(|need| reached[need.on]))
    }
}

//! The landing queue: candidates on their way to the target, each built on the one before it.
//!
//! With several gate slots the commits A, A+B, A+B+C are made in queue order and verified at the same time, and land one
//! by one from the front. What the gates say of a commit behind others is a guess about a target that does not exist yet:
//! a pass counts once all those before it have landed, for it was said of exactly the tree that lands then; anything else
//! blames nobody. Such a candidate is *suspected*: it is built again when nothing is before it, and only what is said
//! then ends its attempt. If one before it turns out to be at fault, the suspicion is void.
//!
//! With one gate slot there is never more than one.

use super::action::Action;
use super::conflict::Conflict;
use super::phase::{Phase, Settled};
use super::record::{Miss, Record};
use super::state::State;
use super::task::Task;
use super::topology::Ix;
use super::turn::Turn;
use crate::ids::ObjectId;
use crate::plan::graph::Gates;
use crate::time::Now;

impl State {
    /// The tasks whose landing commits are made or being made, the next one to land first.
    pub(super) fn queue(&self) -> Vec<Ix> {
        let place = |ix: Ix| self.tasks[ix].phase.place().map(|place| place.number);
        let mut queue: Vec<Ix> = (0..self.tasks.len())
            .filter(|&ix| place(ix).is_some())
            .collect();
        queue.sort_by_key(|&ix| place(ix));
        queue
    }

    /// Those of the queue that cannot land as they are, because one before them has left it without landing; in order.
    pub(super) fn fallen(&self) -> Vec<Ix> {
        let mut before = self.tip.as_ref();
        let mut queue = self.queue().into_iter();
        let falls = |ix: &Ix| {
            let phase = &self.tasks[*ix].phase;
            let behind = phase.place().and_then(|place| place.behind.as_ref());
            let stands = behind.is_none() || behind == before;
            before = phase.landing_commit();
            !stands
        };
        let first = queue.find(falls);
        first.into_iter().chain(queue).collect()
    }

    pub(super) fn has_fallen(&self, ix: Ix) -> bool {
        self.fallen().contains(&ix)
    }

    /// The next candidate to build, and the landing commit to build it on, if not on the target's tip.
    pub(super) fn next_build(&self, now: Now) -> Option<(Ix, Option<ObjectId>)> {
        let queue = self.queue();
        let behind = match queue.last() {
            None => None,
            Some(&last) => Some(self.room_behind(&queue, last)?),
        };
        let ix = (0..self.tasks.len())
            .filter(|&ix| self.could_build(ix, now))
            .min_by_key(|&ix| self.rank(ix))?;
        let task = &self.tasks[ix];
        // Nothing goes past it: whoever overtook it could keep it waiting for ever.
        let goes_alone = task.past().suspected.is_some() || self.gates_of(ix).is_none();
        (behind.is_none() || !goes_alone).then_some((ix, behind))
    }

    fn could_build(&self, ix: Ix, now: Now) -> bool {
        let task = &self.tasks[ix];
        let takes_long = !self.gates_of(ix).is_none() || task.cut_off;
        let Phase::Queued { pause, .. } = &task.phase else {
            return false;
        };
        // Under a hard stop nothing is waited for that takes long.
        let is_cut_off = self.ends_agents() && takes_long;
        !is_cut_off && !task.awaits_approval() && pause.is_none_or(|p| p.is_over(now))
    }

    /// The commit of the last one in the queue, if one more may be built on it.
    fn room_behind(&self, queue: &[Ix], last: Ix) -> Option<ObjectId> {
        let slots = self.policy.gate_slots as usize;
        let is_unjudged = |ix: &&Ix| {
            matches!(
                self.tasks[**ix].phase,
                Phase::Building { .. } | Phase::Verifying { .. }
            )
        };
        // Behind a slow one, as many again may wait as are verified at once.
        let has_room = queue.iter().filter(is_unjudged).count() < slots
            && queue.len() < (2 * slots).saturating_sub(1);
        let is_sound = |ix: &Ix| {
            let task = &self.tasks[*ix];
            // A person takes longer than any gate.
            let work = task.phase.work();
            let may_land = work.is_some_and(|work| task.has_consent_to_land(&work.candidate));
            may_land
                && task.past().suspected.is_none()
                && task.past().closing.is_none()
                && !task.lost
        };
        let is_sound = queue.iter().all(is_sound) && self.fallen().is_empty();
        (has_room && is_sound)
            .then(|| self.tasks[last].phase.landing_commit().cloned())
            .flatten()
    }

    /// What judges its commit: its own gates, and those of the tasks with whose work a conflict of it was resolved.
    pub(super) fn gates_of(&self, ix: Ix) -> Gates {
        let task = &self.tasks[ix];
        let with = task.past().resolving.as_ref();
        let others = with.map_or(&[][..], |resolving| resolving.with.as_slice());
        let others = others.iter().filter_map(|id| self.get(id));
        let gates = others.map(|(_, other)| other.node.gates);
        gates.fold(task.node.gates, Gates::max)
    }

    /// Whether a session is asked to resolve a conflict of the task: once for each, and only where gates of everybody
    /// concerned judge what comes of it.
    pub(super) fn asks_resolver(&self, ix: Ix, conflict: &Conflict) -> bool {
        let task = &self.tasks[ix];
        let has_gates = |task: &Task| task.node.gates == Gates::Required;
        let is_judged = |commit: &ObjectId| self.task_landed_as(commit).is_some_and(has_gates);
        task.profile.resolves
            && !task.is_resolving()
            && !conflict.with.is_empty()
            && has_gates(task)
            && conflict.with.iter().all(is_judged)
    }

    /// The task whose work a commit of the target is, if it is any's.
    fn task_landed_as(&self, commit: &ObjectId) -> Option<&Task> {
        let landed_so = |task: &&Task| matches!(&task.phase, Phase::Settled(Settled::Landed { commit: landed, .. }) if landed == commit);
        self.tasks.iter().find(landed_so)
    }

    /// Whether another candidate could be built while those in the queue are on their way.
    pub(super) fn stacks(&self) -> bool {
        self.policy.gate_slots > 1
    }

    /// The place of a candidate among those that are to land, from 1.
    pub(super) fn queue_position(&self, ix: Ix) -> Option<usize> {
        let waits = |ix: Ix| {
            let task = &self.tasks[ix];
            matches!(task.phase, Phase::Queued { .. }) && !task.awaits_approval()
        };
        if !waits(ix) && self.tasks[ix].phase.place().is_none() {
            return None;
        }
        let mut all = self.queue();
        let mut waiting: Vec<Ix> = (0..self.tasks.len()).filter(|&ix| waits(ix)).collect();
        waiting.sort_by_cached_key(|&ix| self.rank(ix));
        all.extend(waiting);
        all.iter().position(|&other| other == ix).map(|at| at + 1)
    }
}

impl Turn<'_> {
    /// Takes out what cannot land as it is, lands what can, and builds what is next.
    pub(super) fn tend_queue(&mut self) {
        self.take_out_fallen();
        while self.land_front() {
            self.take_out_fallen();
        }
        if self.state.parked {
            return;
        }
        if let Some((ix, behind)) = self.state.next_build(self.now) {
            let ticket = self.state.tasks[ix].next_order();
            self.record(Record::Building {
                ticket: ticket.clone(),
                behind,
            });
            // A person's command that makes a file anew may take long; a landing commit alone does not.
            if self.state.ends_agents() {
                self.effects.actions.push(Action::EndGates { ticket });
            }
        }
    }

    /// What is being made or verified leaves the queue when the shell has answered.
    fn take_out_fallen(&mut self) {
        for ix in self.state.fallen() {
            let task = &self.state.tasks[ix];
            let ticket = task.ticket();
            if matches!(task.phase, Phase::Judged { .. }) {
                self.missed(&ticket, Miss::Unstacked);
            } else if matches!(task.phase, Phase::Building { .. } | Phase::Verifying { .. })
                && self.shell.recalled.insert(ticket.clone())
            {
                self.effects.actions.push(Action::EndGates { ticket });
            }
        }
    }

    /// Goes on with the first of the queue if its gates have spoken; whether it did.
    fn land_front(&mut self) -> bool {
        let Some(&ix) = self.state.queue().first() else {
            return false;
        };
        let task = &self.state.tasks[ix];
        let Phase::Judged {
            commit,
            onto,
            verified,
            change,
            ..
        } = &task.phase
        else {
            return false;
        };
        let ticket = task.ticket();
        if self.state.parked {
            self.missed(&ticket, Miss::TargetRewritten);
        } else if !*verified && self.state.gates_of(ix) == Gates::Required {
            self.missed(&ticket, Miss::GatesChanged);
        } else {
            let (commit, onto, change) = (commit.clone(), onto.clone(), change.as_deref().cloned());
            self.land_or_ask(&ticket, commit, onto, change);
        }
        true
    }
}

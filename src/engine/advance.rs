//! What follows from the state alone after every event: waits that are over, candidates and tasks whose turn it is, and
//! the end of the run.

use super::action::Action;
use super::judge;
use super::next::Continuation;
use super::phase::Phase;
use super::record::{Record, Settlement};
use super::shell::Errand;
use super::state::State;
use super::task::Task;
use super::turn::Turn;
use crate::ids::{TaskId, Ticket};
use crate::time::Wall;

impl Turn<'_> {
    pub(super) fn advance(&mut self) {
        if !self.shell.attached || self.state.ended.is_some() {
            return;
        }
        self.drop_leftover_sessions();
        self.settle_leftovers();
        self.end_waits();
        if !self.state.is_recovering() {
            if !self.is_quiet() || self.shell.smoke.is_under_way() {
                self.end_overdue();
            }
            self.tend_queue();
            self.ask_baseline();
            self.ask_for_starts();
            self.look_for_evidence();
            self.continue_sessions();
            self.start_attempts();
            if self.is_quiet() {
                // Another run may use the slots once this one has ended; and what they kept out may start.
                self.drop_sessions(|_| true);
                self.ask_baseline();
                self.start_attempts();
            }
            self.close();
        }
    }

    /// Whether no result, no wake-up and nobody who is waited for can change anything any more.
    fn is_quiet(&self) -> bool {
        is_quiet(self.state, self.now.wall) && !self.state.consent_may_come(&self.shell.looks)
    }

    /// Gives up sessions of tasks that left the plan or that this run leaves out.
    fn drop_leftover_sessions(&mut self) {
        let is_leftover = |task: &Task| !task.in_plan || task.left_out;
        self.drop_sessions(is_leftover);
    }

    fn drop_sessions(&mut self, which: impl Fn(&Task) -> bool) {
        let parked = |task: &&Task| matches!(task.phase, Phase::Parked { .. }) && which(task);
        let parked: Vec<_> = self.state.tasks.iter().filter(parked).collect();
        let parked: Vec<TaskId> = parked.iter().map(|task| task.node.id.clone()).collect();
        for task in parked {
            self.record(Record::SessionDropped { task });
        }
    }

    /// Settles tasks that left the plan, or that a person called off, now that nothing is under way for them.
    fn settle_leftovers(&mut self) {
        let leftovers: Vec<Record> = self
            .state
            .tasks
            .iter()
            .filter(|task| task.is_open())
            .filter_map(|task| {
                let as_ = match &task.past().closing {
                    Some(closing) => closing.settlement(),
                    None if !task.in_plan => Settlement::Removed,
                    None => return None,
                };
                Some(Record::Settled {
                    task: task.node.id.clone(),
                    as_,
                })
            })
            .collect();
        for record in leftovers {
            self.record(record);
        }
    }

    fn end_waits(&mut self) {
        let over: Vec<_> = self
            .state
            .tasks
            .iter()
            .filter(|task| matches!(task.phase, Phase::Open { pause: Some(pause) } if pause.is_over(self.now)))
            .map(|task| task.node.id.clone())
            .collect();
        for task in over {
            self.record(Record::WaitEnded { task });
        }
    }

    /// Asks the gates about the untouched target as soon as a task could start.
    fn ask_baseline(&mut self) {
        if self.state.wants_baseline() && self.shell.baseline.order() {
            self.effects.actions.push(Action::Baseline);
        }
    }

    /// Lets parked sessions go on.
    fn continue_sessions(&mut self) {
        if self.state.bars_starts() {
            return;
        }
        while let Some((ix, grant)) = self.state.next_to_continue(self.now.wall) {
            let task = &self.state.tasks[ix];
            let Phase::Parked { base, .. } = &task.phase else {
                return;
            };
            let (ticket, base) = (task.next_order(), base.clone());
            let number = task.continued + 1;
            self.record(Record::AgentStarting {
                ticket,
                base,
                asks_status: false,
                continues: Some(Continuation { number, grant }),
            });
        }
    }

    fn start_attempts(&mut self) {
        if self.state.bars_starts() || self.state.awaits_baseline {
            return;
        }
        while let Some((ix, slot, grant)) = self.state.next_start(self.now.wall) {
            let task = &self.state.tasks[ix];
            let ticket = Ticket {
                attempt: task.attempt + 1,
                ..task.next_order()
            };
            let model = self.state.next_model(ix);
            self.record(Record::AttemptStarted {
                ticket,
                slot,
                model,
                grant,
            });
        }
    }

    /// Runs the errands, and ends the run when there is nothing else to wait for.
    fn close(&mut self) {
        if self.shell.plan.order() {
            self.effects.actions.push(Action::WritePlan);
        }
        let asks = self.shell.baseline == Errand::Ordered || self.state.wants_baseline();
        if asks || !self.is_quiet() || self.shell.plan != Errand::Done {
            return;
        }
        if self.ask_smoke() {
            return;
        }
        if self.shell.publication.order() {
            self.effects.actions.push(Action::Publish);
        }
        if self.shell.publication == Errand::Done {
            let outcome = judge::outcome(self.state, self.misses_smoke(), self.now.wall);
            self.record(Record::RunEnded { outcome });
        }
    }
}

/// Whether no result and no wake-up can change anything any more. Whatever could start has been started.
fn is_quiet(state: &State, at: Wall) -> bool {
    // What waits for limits alone waits for an end, or for what runs; a paused run waits for whoever paused it.
    let will_go_on = |ix| {
        !state.is_halting()
            && state.waits_for_limits_alone(ix)
            && (state.paused.is_some()
                || state.bar(ix, at).is_some_and(|bar| bar.until().is_some()))
    };
    state
        .tasks
        .iter()
        .enumerate()
        .all(|(ix, task)| match &task.phase {
            Phase::Settled(_) => true,
            Phase::Open { pause: None } | Phase::Parked { .. } => !will_go_on(ix),
            Phase::Open { pause: Some(_) } => state.is_halting(),
            Phase::Queued { .. } if task.awaits_approval() => true,
            Phase::Queued { in_the_way, .. } => in_the_way.is_some() || state.bars_landing_waits(),
            Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Collecting { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. } => false,
        })
}

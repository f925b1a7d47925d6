//! What follows from the state alone after every event: waits that are over, candidates and tasks whose turn it is, and
//! the end of the run.

use super::action::Action;
use super::orders::Errand;
use super::record::{Record, Settlement};
use super::state::State;
use super::task::Phase;
use super::{Turn, judge};
use crate::ids::Ticket;

impl Turn<'_> {
    pub(super) fn advance(&mut self) {
        if !self.shell.attached || self.state.ended.is_some() {
            return;
        }
        self.settle_leftovers();
        self.end_waits();
        if !self.state.is_recovering() {
            self.build_next();
            self.ask_baseline();
            self.start_attempts();
            self.close();
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
                let as_ = match task.closing {
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

    fn build_next(&mut self) {
        if self.state.parked {
            return;
        }
        if let Some(ix) = self.state.next_build(self.now) {
            let ticket = self.state.tasks[ix].next_order();
            self.record(Record::Building { ticket });
        }
    }

    /// Asks the gates about the untouched target as soon as a task could start.
    fn ask_baseline(&mut self) {
        if self.state.wants_baseline() && self.shell.baseline.order() {
            self.effects.actions.push(Action::Baseline);
        }
    }

    fn start_attempts(&mut self) {
        if self.state.bars_starts() || self.state.awaits_baseline {
            return;
        }
        while let Some((ix, slot)) = self.state.next_start() {
            let task = &self.state.tasks[ix];
            let ticket = Ticket {
                attempt: task.attempt + 1,
                ..task.next_order()
            };
            self.record(Record::AttemptStarted { ticket, slot });
        }
    }

    /// Runs the errands, and ends the run when there is nothing else to wait for.
    fn close(&mut self) {
        if self.shell.plan.order() {
            self.effects.actions.push(Action::WritePlan);
        }
        let asks = self.shell.baseline == Errand::Ordered || self.state.wants_baseline();
        if asks || !is_quiet(self.state) || self.shell.plan != Errand::Done {
            return;
        }
        if self.shell.publication.order() {
            self.effects.actions.push(Action::Publish);
        }
        if self.shell.publication == Errand::Done {
            let outcome = judge::outcome(self.state);
            self.record(Record::RunEnded { outcome });
        }
    }
}

/// Whether no result and no wake-up can change anything any more. Whatever could start has been started.
fn is_quiet(state: &State) -> bool {
    state.tasks.iter().all(|task| match &task.phase {
        Phase::Settled(_) | Phase::Open { pause: None } => true,
        Phase::Open { pause: Some(_) } => state.bars_starts(),
        Phase::Queued { in_the_way, .. } => in_the_way.is_some() || state.bars_landing_waits(),
        Phase::Preparing { .. }
        | Phase::Executing { .. }
        | Phase::Collecting { .. }
        | Phase::Building { .. }
        | Phase::Verifying { .. }
        | Phase::Landing { .. } => false,
    })
}

//! How a run ends: the first outcome that holds, in the documented order.

use super::blockage::Blockage;
use super::event::StopLevel;
use super::outcome::Outcome;
use super::state::State;
use super::task::Phase;

/// The outcome if the run ended as it stands.
pub(super) fn outcome(state: &State) -> Outcome {
    if let Some(failure) = &state.failed {
        return failure.outcome;
    }
    let blockage = Blockage::of(state);
    let judged = || (0..state.tasks.len()).filter(|&ix| state.tasks[ix].is_judged());
    let is_open = |ix: usize| !matches!(state.tasks[ix].phase, Phase::Settled(_));
    if state.parked {
        return Outcome::WaitingForPerson;
    }
    // A need that could go on is a task itself, so that looking at the first ones of each chain is enough.
    let awaits_person =
        |ix: usize| state.tasks[ix].held || state.tasks[ix].phase.in_the_way().is_some();
    let could_go_on = |ix: usize| is_open(ix) && !awaits_person(ix) && state.needs_are_met(ix);
    if state.stop > StopLevel::Running && judged().any(could_go_on) {
        return Outcome::Stopped;
    }
    if judged().any(|ix| is_open(ix) && awaits_person(ix) && blockage.by(ix).is_none()) {
        return Outcome::WaitingForPerson;
    }
    if judged().any(|ix| state.tasks[ix].blocks()) {
        return Outcome::Failed;
    }
    if judged().any(is_open) {
        return Outcome::Stuck;
    }
    Outcome::Completed
}

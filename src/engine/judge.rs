//! How a run ends: the first outcome that holds, in the documented order.

use super::blockage::Blockage;
use super::event::StopLevel;
use super::outcome::Outcome;
use super::phase::Phase;
use super::state::State;
use crate::time::Wall;

/// The outcome if the run ended as it stands; `misses_smoke`: without the smoke commands having been asked.
pub(super) fn outcome(state: &State, misses_smoke: bool, at: Wall) -> Outcome {
    let failed = state.failed.as_ref().map(|failure| failure.outcome);
    // These two say something about the work that is left, and stand where the order has them.
    let is_about_work =
        |outcome: &Outcome| matches!(outcome, Outcome::LimitReached | Outcome::Failed);
    if let Some(outcome) = failed.filter(|outcome| !is_about_work(outcome)) {
        return outcome;
    }
    let blockage = Blockage::of(state);
    let judged = || (0..state.tasks.len()).filter(|&ix| state.tasks[ix].is_judged());
    let is_open = |ix: usize| !matches!(state.tasks[ix].phase, Phase::Settled(_));
    if state.parked {
        return Outcome::WaitingForPerson;
    }
    // A need that could go on is a task itself, so that looking at the first ones of each chain is enough.
    let awaits_person = |ix: usize| {
        let task = &state.tasks[ix];
        task.is_held() || task.phase.in_the_way().is_some() || state.awaits_consent(ix)
    };
    let could_go_on = |ix: usize| is_open(ix) && !awaits_person(ix) && state.needs_are_met(ix);
    if state.stop > StopLevel::Running && (misses_smoke || judged().any(could_go_on)) {
        return Outcome::Stopped;
    }
    let is_limited = |ix: usize| {
        let refused = || state.bar(ix, at).is_some_and(|bar| bar.is_final());
        state.is_overdue() || state.waits_for_limits_alone(ix) && refused()
    };
    if misses_smoke && state.is_overdue() || judged().any(|ix| could_go_on(ix) && is_limited(ix)) {
        return Outcome::LimitReached;
    }
    if judged().any(|ix| is_open(ix) && awaits_person(ix) && blockage.by(ix).is_none()) {
        return Outcome::WaitingForPerson;
    }
    let gave_up = failed == Some(Outcome::Failed) && judged().any(is_open);
    if gave_up || state.red_smoke().is_some() || judged().any(|ix| state.tasks[ix].blocks()) {
        return Outcome::Failed;
    }
    if judged().any(is_open) {
        return Outcome::Stuck;
    }
    Outcome::Completed
}

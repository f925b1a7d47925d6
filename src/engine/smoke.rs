//! The smoke commands: what judges the target when the plan is through, as the baseline does before the first attempt.
//!
//! Asked once for each landed tip, when every task of the plan is settled and this run has landed something. A red answer
//! fails the run and nothing else: what has landed stays.

use super::action::Action;
use super::event::StopLevel;
use super::outcome::Outcome;
use super::phase::Phase;
use super::record::Record;
use super::shell::Errand;
use super::state::{Smoked, State};
use super::turn::Turn;
use super::verification::{Smoke, Verdict};
use crate::ids::ObjectId;

impl State {
    /// The landed tip that the smoke commands have yet to be asked about, now that the plan is through.
    pub(super) fn owes_smoke(&self) -> Option<&ObjectId> {
        let is_through = || {
            let mut tasks = self.tasks.iter();
            tasks.all(|task| matches!(task.phase, Phase::Settled(_)))
        };
        let tip = self.tip.as_ref().filter(|_| self.smokes && is_through())?;
        let is_known = self.smoked.as_ref().is_some_and(|said| said.tip == *tip);
        (!is_known).then_some(tip)
    }

    /// What was said of the landed tip: the tip, and why it is red, if it is.
    pub(super) fn smoke_of_tip(&self) -> Option<(&ObjectId, Option<&str>)> {
        let said = self.smoked.as_ref()?;
        let is_current = self.tip.as_ref() == Some(&said.tip);
        is_current.then_some((&said.tip, said.red.as_deref()))
    }

    /// Why the landed tip is red.
    pub(super) fn red_smoke(&self) -> Option<&str> {
        self.smoke_of_tip().and_then(|(_, red)| red)
    }

    /// Follows an answer.
    pub(super) fn smoked(&mut self, smoke: &Smoke) -> bool {
        let possible = self.smokes && self.tip.is_some() && self.ended.is_none();
        let red = match &smoke.result.verdict {
            Verdict::Passed => None,
            Verdict::Failed(detail) => Some(format!(
                "the smoke commands are red on what has landed: {detail}"
            )),
            // Nothing was said.
            Verdict::Broken(_) | Verdict::Interrupted => return possible,
        };
        if possible {
            self.smoked = Some(Smoked {
                tip: smoke.tip.clone(),
                red,
            });
        }
        possible
    }

    /// Whoever goes on with a run has red smoke asked for again, if for anything: the world may have been mended.
    pub(super) fn forget_red_smoke(&mut self) {
        self.smoked.take_if(|said| said.red.is_some());
    }
}

impl Turn<'_> {
    /// Has the smoke commands asked about a landed tip that they have not judged; whether they are being asked. A run that
    /// goes towards its end only learns whether there is anything to ask.
    pub(super) fn ask_smoke(&mut self) -> bool {
        let state = &*self.state;
        let is_overdue = state.is_overdue();
        let is_short = state.stop > StopLevel::Running || is_overdue;
        let is_barred = state.parked
            || (state.failed.is_some() && !is_overdue)
            || (is_short && self.shell.smoke_was_ended);
        if !is_barred
            && let Some(tip) = state.owes_smoke()
            && self.shell.smoke.order()
        {
            let tip = tip.clone();
            self.effects.actions.push(Action::Smoke { tip });
            if is_short {
                self.effects.actions.push(Action::EndSmoke);
            }
        }
        self.shell.smoke.is_under_way()
    }

    /// Whether the run would end without having had them asked.
    pub(super) fn misses_smoke(&self) -> bool {
        self.state.owes_smoke().is_some() && self.shell.smoke != Errand::Done
    }

    /// Hears what they say; `None`: there is nothing to ask.
    pub(super) fn smoked(&mut self, said: Option<Box<Smoke>>) -> bool {
        if !self.shell.smoke.is_done_once() {
            return false;
        }
        let Some(smoke) = said else { return true };
        let verdict = smoke.result.verdict.clone();
        self.record(Record::Smoked(smoke));
        match verdict {
            Verdict::Passed | Verdict::Failed(_) => {}
            // Whoever ended it ends the run as well; else it is asked for again.
            Verdict::Interrupted => {
                self.shell.smoke = Errand::Due;
                self.shell.smoke_was_ended = true;
            }
            Verdict::Broken(detail) => self.run_failed(
                Outcome::Environment,
                format!("the smoke commands cannot be run: {detail}"),
            ),
        }
        true
    }
}

//! The laws of what may start, and when.

use orch::engine::verification::{Verdict as GatesSay, Verification};
use orch::ids::{SlotId, Ticket};
use orch::time::Wall;

use super::{Laws, Verdict, law};

impl Laws {
    pub(super) fn baselined(&mut self, result: &Verification) -> Verdict {
        law(self.awaits_baseline, || {
            "a baseline that nobody asked for".to_owned()
        })?;
        self.has_baseline |= result.verdict == GatesSay::Passed;
        self.awaits_baseline = !self.has_baseline;
        Ok(())
    }

    pub(super) fn attempt_started(&mut self, ticket: &Ticket, slot: SlotId, at: Wall) -> Verdict {
        if let Some(why) = self.barred {
            return Err(format!("{ticket} starts after {why}"));
        }
        law(self.ended.is_none(), || {
            format!("{ticket} starts after the end")
        })?;
        law(!self.awaits_baseline, || {
            format!("{ticket} starts before the gates were asked")
        })?;
        law(self.unanswered.is_empty(), || {
            format!("{ticket} starts before recovery is done")
        })?;
        let leased = self.running();
        law(leased < self.jobs as usize, || {
            format!("{ticket} starts beyond the number of jobs")
        })?;
        law(self.tasks.values().all(|t| t.slot != Some(slot)), || {
            format!("{ticket} starts in a slot that is taken")
        })?;
        let entry = self.tasks.get(&ticket.task).expect("a known task");
        law(ticket.attempt == entry.attempt + 1, || {
            format!("{ticket} is not the next attempt")
        })?;
        law(self.is_startable(entry), || {
            format!("{ticket} starts too early or too late")
        })?;
        law(!self.clashes(entry), || {
            format!("{ticket} starts beside what excludes it")
        })?;
        law(entry.spent < entry.node.max_attempts, || {
            format!("{ticket} starts with no attempt left")
        })?;
        let waits = entry
            .pause
            .is_some_and(|(since, until)| at < until && at >= since);
        law(!waits, || {
            format!("{ticket} starts before its wait is over")
        })?;
        let entry = self.entry(ticket);
        entry.attempt = ticket.attempt;
        entry.fresh = false;
        entry.asked = false;
        entry.under_way = true;
        entry.slot = Some(slot);
        entry.pause = None;
        Ok(())
    }

    pub(super) fn agent_starting(&mut self, ticket: &Ticket, asks: bool, goes_on: bool) -> Verdict {
        let (running, jobs) = (self.running(), self.jobs as usize);
        let again = self.unanswered.remove(&ticket.task);
        if let Some(why) = self.barred.filter(|_| !(asks || goes_on && again)) {
            return Err(format!("the agent of {ticket} starts after {why}"));
        }
        let entry = self.entry(ticket);
        law(entry.slot.is_some(), || {
            format!("{ticket} runs without a slot")
        })?;
        law(!(asks && entry.asked) || again, || {
            format!("{ticket} is asked twice for its status")
        })?;
        entry.asked |= asks;
        if goes_on && !again {
            law(entry.parked, || format!("{ticket} goes on from nowhere"))?;
            law(running < jobs, || {
                format!("{ticket} goes on beyond the number of jobs")
            })?;
            entry.parked = false;
        }
        Ok(())
    }
}

//! A task of a run: what it is doing (`phase`) and what it has behind it (`past`), with the questions that concern it
//! alone.
//!
//! Only [`State::apply`](super::apply) changes it, and only in answer to a record.

use std::sync::Arc;

use super::approval::Consent;
use super::conflict::{Contested, Resolving};
use super::event::Decision;
use super::past::{Past, Supply};
use super::phase::Phase;
use super::profile::Profile;
use crate::ids::{ObjectId, Ticket};
use crate::plan::graph::{Node, When};
use crate::time::Wall;

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// The spec in force: the newest, or the one the task started with.
    pub node: Arc<Node>,
    /// The newest spec, where the task still goes by an older one.
    pub newer: Option<Arc<Node>>,
    /// How it is done, by the revision in force.
    pub profile: Arc<Profile>,
    /// Whether the revision in force has the task.
    pub in_plan: bool,
    pub phase: Phase,
    /// Under way when an earlier orch died, and recovery has not yet said what became of it.
    pub lost: bool,
    /// Whether its newest attempt was under way when an earlier orch died.
    pub outlived: bool,
    /// When `phase` was entered.
    pub since: Wall,
    /// The last attempt started; 0: none yet.
    pub attempt: u32,
    /// The last order given.
    pub epoch: u32,
    /// Whether no attempt has started since it appeared or was last reopened.
    pub fresh: bool,
    /// 1, plus how often it was reopened: it lands once in each.
    pub generation: u32,
    /// Attempts spent since it was last reopened.
    pub spent: u32,
    /// Uncounted ends in a row.
    pub streak: u32,
    /// Uncounted conflicts since it was last reopened.
    pub conflicts: u32,
    /// Spent attempts since it was last reopened that a better model could have mended.
    pub mendable: u32,
    /// How many times the newest attempt has gone on after it was cut off.
    pub continued: u32,
    /// Landings missed because the target moved, since the candidate was made.
    pub missed: u32,
    /// Landings missed because of trouble, since the candidate was made or the run resumed.
    pub troubles: u32,
    /// Whether what ran for its landing commit was ended on demand the last time.
    pub cut_off: bool,
    /// No attempt starts until a person releases it.
    pub held: Option<Box<Decision>>,
    /// Not part of what the run was asked for: no attempt starts, and those that need it go on.
    pub left_out: bool,
    /// A priority set by a person during the run.
    pub priority: Option<i64>,
    /// Nothing until an attempt has started or evidence was looked for: most tasks of a large plan are waiting, or were done
    /// long ago.
    past: Option<Box<Past>>,
}

impl Task {
    /// A task that appears in the plan at `at`.
    pub(super) fn new(node: Arc<Node>, at: Wall) -> Self {
        Self {
            node,
            newer: None,
            profile: Arc::default(),
            in_plan: true,
            phase: Phase::Open { pause: None },
            lost: false,
            outlived: false,
            since: at,
            attempt: 0,
            epoch: 0,
            fresh: true,
            generation: 1,
            spent: 0,
            streak: 0,
            conflicts: 0,
            mendable: 0,
            continued: 0,
            missed: 0,
            troubles: 0,
            cut_off: false,
            held: None,
            left_out: false,
            priority: None,
            past: None,
        }
    }

    pub(super) fn past(&self) -> &Past {
        static NONE: Past = Past::NONE;
        self.past.as_deref().unwrap_or(&NONE)
    }

    /// Whether its newest attempt resolves a conflict, instead of being one at the task itself.
    pub(super) fn is_resolving(&self) -> bool {
        self.past().resolving.is_some()
    }

    /// The candidate whose conflict its newest attempt resolves.
    pub(super) fn contested(&self) -> Option<Contested> {
        self.past().resolving.as_ref().map(Resolving::contested)
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_with(|| Box::new(Past::NONE))
    }

    /// What it has behind it, if that is anything.
    pub(super) fn past_if_any(&mut self) -> Option<&mut Past> {
        self.past.as_deref_mut()
    }

    /// Evidence must be looked for anew.
    pub(super) fn forget_supply(&mut self) {
        if let Some(past) = self.past_if_any() {
            past.supply = Supply::NONE;
        }
    }

    /// Nobody waits any more to see it settled.
    pub(super) fn forget_closing(&mut self) {
        if let Some(past) = self.past_if_any() {
            past.closing = None;
        }
    }

    /// Whether no attempt starts until a person releases it.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The order now in force.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket {
            task: self.node.id.clone(),
            attempt: self.attempt,
            epoch: self.epoch,
        }
    }

    /// The order to be given next within the attempt.
    pub(super) fn next_order(&self) -> Ticket {
        Ticket {
            epoch: self.epoch + 1,
            ..self.ticket()
        }
    }

    pub(super) fn priority(&self) -> i64 {
        self.priority.unwrap_or(self.node.priority)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether tasks that need this one may start.
    pub(super) fn satisfies(&self) -> bool {
        self.left_out
            || self.is_removed()
            || matches!(&self.phase, Phase::Settled(settled) if settled.satisfies())
    }

    /// Whether the plan no longer has it, and nothing is under way for it.
    pub(super) fn is_removed(&self) -> bool {
        !self.in_plan && !self.phase.is_under_way()
    }

    /// Whether the run is judged by it.
    pub(super) fn is_judged(&self) -> bool {
        self.in_plan && !self.left_out
    }

    /// Whether it will never satisfy those that need it unless a person acts.
    pub(super) fn blocks(&self) -> bool {
        self.is_judged() && matches!(&self.phase, Phase::Settled(settled) if !settled.satisfies())
    }

    /// Whether its work may land as far as people are concerned.
    pub(super) fn has_consent_to_land(&self, candidate: &ObjectId) -> bool {
        self.node.approval != Some(When::After)
            || self
                .past()
                .consent
                .shown()
                .is_some_and(|shown| shown.candidate == *candidate)
    }

    /// Whether a person must say yes before its next attempt, or before its landing goes on.
    pub(super) fn awaits_approval(&self) -> bool {
        match (self.node.approval, &self.phase) {
            (Some(When::Before), Phase::Open { .. }) => {
                !matches!(self.past().consent, Consent::Given { shown: None, .. })
            }
            (Some(When::After), Phase::Queued { .. }) => self.past().consent.asked().is_some(),
            (Some(_), _) | (None, _) => false,
        }
    }

    /// Whether evidence must be there before its next attempt, and is not.
    pub(super) fn awaits_evidence(&self) -> bool {
        self.is_open() && self.node.evidence.is_some() && !self.past().supply.found
    }

    /// Whether nobody looks for its evidence any more.
    pub(super) fn has_waited_long_enough(&self, now: Wall) -> bool {
        let limit = self.node.evidence.and_then(|looks| looks.for_ms);
        match (limit, self.past().supply.since) {
            (Some(limit), Some(since)) => now >= since.plus_ms(limit),
            (None, _) | (_, None) => false,
        }
    }
}

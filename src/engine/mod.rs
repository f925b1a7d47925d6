//! The engine: all policy, as one pure state machine. Events in, records and actions out, time as data.
//!
//! Nothing here reads a clock, a file, an environment variable or a random number, and nothing waits: a night runs in a
//! millisecond, and a crash between any two steps can be tried.
//!
//! A step (`turn`) decides records from the state (`attempt`, `landing`, `queue`, `control`, `plan_change`, `recover`,
//! `advance`), each of which changes the state by the one transition table (`apply`) and gives the orders that follow from
//! it (`orders`). Replay uses the same table. `view` and `why` show the state to people.
//!
//! Between `Building` and `Landing` the landing commit is verified, where its task has gates. Other checks (review,
//! approval) will stand there, too, each with a record that orders it and one that keeps its verdict.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod action;
pub mod approval;
pub mod budget;
pub mod ending;
pub mod event;
pub mod history;
pub mod limit;
pub mod outcome;
pub mod policy;
pub mod profile;
pub mod record;
pub mod table;
pub mod usage;
pub mod verification;
pub mod view;

mod advance;
mod after;
mod apply;
mod attempt;
mod bars;
mod blockage;
mod breaker;
mod chance;
pub mod conflict;
mod consent;
mod control;
mod going;
mod judge;
mod ladder;
mod landing;
mod limiter;
pub mod next;
mod orders;
mod past;
mod phase;
mod plan_change;
mod queue;
mod recover;
pub mod salvage;
mod schedule;
pub mod scope;
mod shell;
mod smoke;
pub mod start;
mod state;
mod task;
#[cfg(test)]
mod tests;
mod topology;
mod turn;
mod why;

use std::borrow::Borrow;

pub use apply::IllegalRecord;
use event::{Event, StopLevel};
use outcome::Outcome;
use phase::Phase;
use record::{Record, Stamped};
pub use recover::InFlight;
use shell::Shell;
use start::RunStart;
use state::State;
pub use turn::Effects;
use turn::Turn;

use crate::ids::{ObjectId, RunId, Ticket};
use crate::time::{Now, Wall};

/// A run: its state, and what the shell was told since this process began.
#[derive(Debug, Clone)]
pub struct Engine {
    state: State,
    shell: Shell,
    dropped: u64,
    /// When it last heard something, or the last record was made: the time for views.
    heard: Wall,
}

/// Two engines are equal if they will decide alike after the same records; what the shell was told does not count.
impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

impl Engine {
    /// Begins a new run.
    pub fn start(run: RunId, start: &RunStart, now: Now) -> (Self, Effects) {
        let mut engine = Self {
            state: State::begin(run, start, now.wall),
            shell: Shell::attached(),
            dropped: 0,
            heard: now.wall,
        };
        let mut turn = engine.turn(now);
        let started = Record::RunStarted(Box::new(start.clone()));
        turn.effects.records.push(started);
        turn.settle_declared_at_start(start);
        turn.select();
        turn.advance();
        let effects = turn.effects;
        (engine, effects)
    }

    /// The state that the records of a run lead to. Until [`Self::resume`], nothing is ordered: only controls are heard.
    ///
    /// Of a run with [`Record::LedgerRebuilt`] some records are known to be missing: what does not follow without them
    /// is passed over.
    ///
    /// # Errors
    /// Names the first record that is not possible where it stands.
    pub fn replay<S: Borrow<Stamped>>(
        run: RunId,
        records: impl IntoIterator<Item = S>,
    ) -> Result<Self, IllegalRecord> {
        let records: Vec<S> = records.into_iter().collect();
        let has_gaps = records
            .iter()
            .any(|stamped| matches!(stamped.borrow().record, Record::LedgerRebuilt { .. }));
        let mut records = records.into_iter();
        let first = records.next();
        let (start, at) = match first.as_ref().map(Borrow::borrow) {
            Some(Stamped {
                record: Record::RunStarted(start),
                at,
                ..
            }) => (start, *at),
            Some(Stamped { record, .. }) => {
                return Err(IllegalRecord::new(record, "before the run has started"));
            }
            None => {
                return Err(IllegalRecord {
                    record: "none".to_owned(),
                    state: "at the start of a run".to_owned(),
                });
            }
        };
        let mut engine = Self {
            state: State::begin(run, start, at),
            shell: Shell::detached(),
            dropped: 0,
            heard: at,
        };
        for stamped in records {
            match engine.observe(stamped.borrow()) {
                Err(_) if has_gaps => {}
                followed => followed?,
            }
        }
        Ok(engine)
    }

    /// Follows one more record that another process decided.
    ///
    /// # Errors
    /// If the record is not possible in this state; nothing has changed then.
    pub fn observe(&mut self, stamped: &Stamped) -> Result<(), IllegalRecord> {
        self.heard = stamped.at;
        self.state.apply(&stamped.record, stamped.at)
    }

    /// Goes on with a replayed run, whether it ended or was cut off. Nothing starts before each task of
    /// [`Self::unsettled`] has had its [`Event::Recovered`].
    pub fn resume(&mut self, start: &RunStart, now: Now) -> Effects {
        self.shell = Shell::attached();
        let mut turn = self.turn(now);
        turn.resume(start);
        turn.advance();
        turn.effects
    }

    /// Hears one event. What it changes, and what can start because of it, is in the effects.
    pub fn step(&mut self, event: Event, now: Now) -> Effects {
        let attached = self.shell.attached && self.state.ended.is_none();
        let mut turn = self.turn(now);
        let heard = match event {
            Event::Control(control) => turn.control(control),
            _ if !attached => false,
            Event::Prepared {
                ticket,
                saved,
                resolving,
                result,
            } => turn.prepared(&ticket, saved, resolving, result),
            Event::Executed { ticket } => turn.executed(&ticket),
            Event::Collected { ticket, result } => turn.collected(&ticket, *result),
            Event::Built { ticket, result } => turn.built(&ticket, result),
            Event::Verified { ticket, result } => turn.verified(&ticket, result),
            Event::Landed { ticket, result } => turn.landed(&ticket, result),
            Event::Baselined(result) => turn.baselined(result),
            Event::Smoked(said) => turn.smoked(said),
            Event::PlanWritten => turn.shell.plan.is_done_once(),
            Event::EvidenceLooked { task, found, said } => turn.evidence_looked(&task, found, said),
            Event::Published => turn.shell.publication.is_done_once(),
            Event::PlanRevised(revision) => turn.plan_revised(revision),
            Event::TargetRewritten { found } => turn.target_rewritten(found),
            Event::Recovered { task, found } => turn.recovered(&task, found),
            Event::Failed { outcome, detail } => turn.give_up(outcome, detail),
            Event::Observed { ticket, windows } => turn.observed(&ticket, windows),
            Event::Tick => true,
        };
        turn.advance();
        let effects = turn.effects;
        self.dropped += u64::from(!heard);
        effects
    }

    /// When time alone will change something; give [`Event::Tick`] then. Derived from the state: a restart cannot lose it.
    pub fn next_wake(&self) -> Option<Wall> {
        let state = &self.state;
        if state.ended.is_some() || state.is_recovering() {
            return None;
        }
        // As long as no candidate can go beside those on their way, a result wakes the landing queue, not the clock.
        let is_empty = state.queue().is_empty();
        let queue_waits = !state.bars_landing_waits() && (is_empty || state.stacks());
        let pauses = state.tasks.iter().filter_map(|task| match &task.phase {
            Phase::Open { pause } if !state.bars_starts() => *pause,
            Phase::Queued { pause, .. } if queue_waits => {
                pause.filter(|pause| is_empty || pause.until > self.heard)
            }
            Phase::Open { .. }
            | Phase::Queued { .. }
            | Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Parked { .. }
            | Phase::Collecting { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. }
            | Phase::Settled(_) => None,
        });
        let pauses = pauses.map(|pause| pause.until);
        pauses
            .chain(state.bars_end(self.heard))
            .chain(state.longest_end(self.heard))
            .chain(state.next_look(&self.shell.looks))
            .min()
    }

    /// What the world must be asked about after [`Self::resume`]: the orders that an earlier orch left.
    pub fn unsettled(&self) -> Vec<(Ticket, InFlight)> {
        recover::unsettled(&self.state)
    }

    /// What was ordered and has not been answered, of a run that another process works on, or nobody.
    pub fn under_way(&self) -> Vec<(Ticket, InFlight)> {
        recover::under_way(&self.state)
    }

    /// Attempts whose sessions were cut off and are to go on in their slots.
    pub fn parked(&self) -> Vec<Ticket> {
        let parked = |task: &&task::Task| matches!(task.phase, Phase::Parked { .. });
        let tasks = self.state.tasks.iter().filter(parked);
        tasks.map(task::Task::ticket).collect()
    }

    /// How the run ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state.ended
    }

    /// How firmly the run is being halted.
    pub fn stop_level(&self) -> StopLevel {
        self.state.stop
    }

    /// The newest landing commit of this run that must still be in the target's history.
    pub fn tip(&self) -> Option<&ObjectId> {
        self.state.tip.as_ref()
    }

    /// Events that were not heard because they came late, twice, or without having been ordered.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn turn(&mut self, now: Now) -> Turn<'_> {
        self.heard = now.wall;
        Turn::new(&mut self.state, &mut self.shell, now)
    }
}

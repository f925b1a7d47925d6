//! How orch dies, alone or with the machine, and how the next one takes over.

use orch::engine::action::Action;
use orch::engine::event::{Event, Found};
use orch::engine::outcome::Outcome;
use orch::engine::{Engine, InFlight};
use orch::ids::TaskId;

use super::people::random_start;
use super::{Crashed, Order, Step, Work, World, run_id};
use crate::laws::Laws;

impl World {
    pub(super) fn crash(&mut self, when: &str) -> Step {
        self.trouble.crashes -= 1;
        if self.smoke_order().is_some() {
            self.seen.note("a crash during smoke");
        }
        self.forgets = false;
        let power = self.rng.percent(25);
        self.say(|_| {
            format!(
                "crash {when}{}",
                if power { ", and the power is gone" } else { "" }
            )
        });
        for order in std::mem::take(&mut self.orders) {
            // A result that nobody hears any more.
            if let Work::Action(Action::Land { commit, onto, .. }) = &order.work
                && self.rng.percent(50)
                && !self.rewritten
                && self.target.last() == Some(onto)
            {
                self.move_target(commit)?;
            }
        }
        if power {
            for agent in self.agents.values_mut() {
                agent.gone = true;
            }
            // Orders that no record remembers are given again under the same epochs, but nobody is left to answer them.
            self.delivered.clear();
            let lost = self.rng.below(self.ledger.len() - self.safe + 1);
            self.forgets = lost > 0;
            self.ledger.truncate(self.ledger.len() - lost);
        }
        let absence = self.rng.ms(7_200_000);
        self.pass_until(self.now.mono.0 + absence);
        Ok(Err(Crashed))
    }

    /// A new orch takes over from the ledger and the world.
    pub(super) fn next_orch(&mut self) -> Step {
        self.finished = false;
        if self.forgets {
            self.laws = Laws::default();
            for stamped in self.ledger.iter().flatten() {
                self.laws.follow(stamped)?;
            }
        }
        self.engine = self.replay()?;
        self.forgets = false;
        self.reader = self.engine.clone();
        while self.trouble.decisions > 0 && self.rng.percent(30) {
            self.trouble.decisions -= 1;
            let control = self.random_control();
            self.say(|_| format!("without an orch <- {control:?}"));
            let effects = self.engine.step(Event::Control(control), self.now);
            if !effects.actions.is_empty() {
                return Err("orders without anybody to carry them out".to_owned());
            }
            self.append(&effects)?;
        }
        if self.trouble.edits > 0 && self.rng.percent(20) {
            self.trouble.edits -= 1;
            self.plan.edit(&mut self.rng);
        }
        let start = random_start(&mut self.rng, &self.plan);
        self.say(|_| format!("resume, {} jobs, {:?}", start.jobs, start.selection));
        let effects = self.engine.resume(&start, self.now);
        self.rewritten = self.is_rewritten();
        if let Err(Crashed) = self.absorb(effects)? {
            return Ok(Err(Crashed));
        }
        for (ticket, in_flight) in self.engine.unsettled() {
            let due = self.now.mono.0 + self.rng.ms(1_000);
            let work = Work::Probe(ticket.task, in_flight);
            self.orders.push(Order { due, work });
        }
        Ok(Ok(()))
    }

    pub(super) fn probe(&mut self, task: &TaskId, in_flight: &InFlight) -> Found {
        let found = match in_flight {
            InFlight::Preparing { .. } | InFlight::Collecting { .. } => Found::AgentGone,
            InFlight::Executing {
                asked, continued, ..
            } => {
                let attempt = self.engine.view(task).expect("a known task").attempt;
                let newest = self.agents.get(task).filter(|a| a.attempt == attempt);
                match newest.filter(|a| a.asked == *asked && a.continued == *continued) {
                    Some(agent) if self.lives(agent) => Found::AgentAlive,
                    Some(agent) if !agent.gone => Found::AgentEnded,
                    Some(_) => Found::AgentGone,
                    None if *asked => Found::NeverStarted,
                    None if newest.is_none_or(|a| a.continued < *continued) && *continued > 0 => {
                        Found::NeverStarted
                    }
                    None => Found::AgentGone,
                }
            }
            InFlight::Building { .. } | InFlight::Verifying { .. } => Found::NotLanded,
            InFlight::Landing { commit, .. } if self.target.contains(commit) => {
                Found::Landed(self.carried.get(commit).cloned())
            }
            InFlight::Landing { .. } => Found::NotLanded,
        };
        self.seen.note(match &found {
            Found::AgentAlive => "an agent alive",
            Found::AgentEnded => "an agent ended",
            Found::AgentGone => "an agent gone",
            Found::NeverStarted => "an agent never started",
            Found::Landed(_) => "a landing done",
            Found::NotLanded => "a landing not done",
        });
        found
    }

    /// The shell cannot go on, says so, and leaves everything as it is.
    pub(super) fn give_up(&mut self) -> Step {
        let outcome = Outcome::Environment;
        let detail = "the disk is gone".to_owned();
        let effects = self
            .engine
            .step(Event::Failed { outcome, detail }, self.now);
        self.append(&effects)?;
        if effects.actions != [Action::Finish { outcome }] {
            return Err("giving up is not the end".to_owned());
        }
        self.crash("having given up")
    }

    /// The engine that the ledger leads to. If nothing was lost, it is the one that died.
    pub(super) fn replay(&self) -> Result<Engine, String> {
        let records = self.ledger.iter().flatten();
        let replayed = Engine::replay(run_id(), records).map_err(|e| e.to_string())?;
        if !self.forgets && replayed != self.engine {
            return Err("the replayed state is another one".to_owned());
        }
        Ok(replayed)
    }
}

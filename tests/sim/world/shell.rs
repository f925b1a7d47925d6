//! What the shell does with orders, and what agents, git and the disk answer.

use orch::engine::action::{Action, ExecuteMode, StartFrom};
use orch::engine::conflict::Resolving;
use orch::engine::ending::{AttemptEnd, Ending};
use orch::engine::event::{BuildFailure, Collected, Event, Unprepared};
use orch::engine::salvage::{Salvage, SalvageOf, SalvagePlace};
use orch::engine::usage::Usage;
use orch::engine::verification::{
    Environment, GateRecord, GateResult, Smoke, Verdict, Verification,
};
use orch::ids::{ObjectId, RunId, Ticket};
use orch::plan::graph::Gates;

use super::{Agent, Order, Work, World};

impl World {
    /// What an earlier attempt may have left in the slot.
    fn salvage(&mut self, ticket: &Ticket) -> Vec<Salvage> {
        if !self.rng.percent(5) {
            return Vec::new();
        }
        vec![Salvage {
            run: RunId::parse("20260101-000000-aaaa").expect("an id"),
            task: ticket.task.clone(),
            attempt: 1,
            number: 1,
            commit: ObjectId::new("5a17a9e"),
            of: SalvageOf::Files,
            place: SalvagePlace::Repository,
        }]
    }

    pub(super) fn begin(&mut self, action: Action) -> Result<(), String> {
        self.say(|_| format!("   -> {action:?}"));
        let soon = 1 + self.rng.ms(2_000);
        let mut due = self.now.mono.0 + soon;
        match &action {
            Action::Prepare { ticket, slot, .. } => {
                if let Some(agent) = self
                    .agents
                    .values()
                    .find(|a| a.slot == *slot && self.lives(a))
                {
                    return Err(format!(
                        "{ticket} gets slot {slot} while attempt {} lives in it",
                        agent.attempt
                    ));
                }
                self.slots.insert(*slot, ticket.task.clone());
            }
            Action::Execute {
                ticket,
                slot,
                mode,
                cap,
            } => {
                if self.slots.get(slot) != Some(&ticket.task) {
                    return Err(format!(
                        "{ticket} runs in slot {slot}, which is not prepared for it"
                    ));
                }
                let lives = self.agents.get(&ticket.task).is_some_and(|a| self.lives(a));
                match mode {
                    ExecuteMode::Adopt => {
                        let known = self
                            .agents
                            .get(&ticket.task)
                            .is_some_and(|a| a.attempt == ticket.attempt);
                        if !known {
                            return Err(format!("{ticket} is adopted and is not there"));
                        }
                    }
                    ExecuteMode::Fresh | ExecuteMode::AskStatus | ExecuteMode::Continue { .. }
                        if lives =>
                    {
                        return Err(format!("{ticket} runs while an agent of the task lives"));
                    }
                    ExecuteMode::Fresh | ExecuteMode::AskStatus | ExecuteMode::Continue { .. } => {
                        let continued = self.continued(ticket, *mode)?;
                        if matches!(mode, ExecuteMode::Continue { .. }) {
                            self.seen.note("a session goes on");
                        }
                        let hangs = self.rng.percent(10);
                        let ends = self.now.mono.0
                            + if hangs {
                                3_600_000
                            } else {
                                self.rng.ms(600_000)
                            };
                        let agent = Agent {
                            attempt: ticket.attempt,
                            asked: *mode == ExecuteMode::AskStatus,
                            continued,
                            cap: *cap,
                            slot: *slot,
                            ends,
                            gone: false,
                        };
                        self.agents.insert(ticket.task.clone(), agent);
                    }
                }
                due = self.agents[&ticket.task].ends;
                let soon = self.now.mono.0 + soon;
                if soon < due && self.is_served(&ticket.task) {
                    let work = Work::Answer(ticket.clone());
                    self.orders.push(Order { due: soon, work });
                }
            }
            Action::EndAgent { ticket } => {
                let ends = self.now.mono.0 + soon;
                let running = self.orders.iter_mut().find(|order| match &order.work {
                    Work::Action(
                        Action::Prepare { ticket: given, .. }
                        | Action::Execute { ticket: given, .. },
                    ) => given == ticket,
                    Work::Action(_) | Work::Probe(..) | Work::Answer(_) => false,
                });
                let Some(order) = running else {
                    return Err(format!("{ticket} is to be ended and does not run"));
                };
                self.to_end.insert(ticket.clone());
                if let Work::Action(Action::Prepare { .. }) = order.work {
                    order.due = order.due.min(ends);
                    return Ok(());
                }
                let agent = self.agents.get_mut(&ticket.task).expect("it runs");
                agent.ends = agent.ends.min(ends);
                return Ok(());
            }
            Action::Collect { ticket, slot, .. } => {
                if self.agents.get(&ticket.task).is_some_and(|a| self.lives(a)) {
                    return Err(format!("{ticket} is collected while its agent lives"));
                }
                if self.slots.get(slot) != Some(&ticket.task) {
                    return Err(format!(
                        "{ticket} is collected from slot {slot}, which is another's"
                    ));
                }
            }
            Action::EndGates { ticket } => {
                let running = self.orders.iter_mut().find(|order| match &order.work {
                    Work::Action(
                        Action::Build { ticket: given, .. } | Action::Verify { ticket: given, .. },
                    ) => given == ticket,
                    Work::Action(_) | Work::Probe(..) | Work::Answer(_) => false,
                });
                let Some(order) = running else {
                    return Err(format!("the gates of {ticket} are to end and do not run"));
                };
                order.due = order.due.min(due);
                self.to_end.insert(ticket.clone());
                return Ok(());
            }
            Action::EndBaseline => {
                self.ends_baseline = true;
                return match self.baseline_order() {
                    Some(order) => {
                        order.due = order.due.min(due);
                        Ok(())
                    }
                    None => Err("the baseline is to end and is not asked for".to_owned()),
                };
            }
            Action::Verify { ticket, .. } => {
                due += self.rng.ms(300_000);
                let others = self
                    .orders
                    .iter()
                    .filter(|order| matches!(&order.work, Work::Action(Action::Verify { .. })));
                if others.count() >= self.laws.gate_slots {
                    return Err(format!("{ticket} is verified without a slot"));
                }
            }
            Action::Baseline => {
                due += self.rng.ms(300_000);
                self.ends_baseline = false;
                if self.baseline_order().is_some() {
                    return Err("the baseline is asked for twice".to_owned());
                }
            }
            Action::Smoke { tip } => {
                due += self.rng.ms(300_000);
                self.ends_smoke = false;
                if self.smoke_order().is_some() {
                    return Err("smoke is asked for twice".to_owned());
                }
                self.laws.smokes.may_ask(tip)?;
            }
            Action::EndSmoke => {
                self.ends_smoke = true;
                return match self.smoke_order() {
                    Some(order) => {
                        order.due = order.due.min(due);
                        Ok(())
                    }
                    None => Err("smoke is to end and is not asked for".to_owned()),
                };
            }
            // A person's command may make a file in conflict anew.
            Action::Build { .. } if self.rng.percent(10) => due += self.rng.ms(300_000),
            Action::Build { .. }
            | Action::LookForEvidence { .. }
            | Action::Land { .. }
            | Action::WritePlan
            | Action::Publish => {}
            Action::Finish { outcome } => {
                if !self.orders.is_empty() {
                    return Err(format!("finished as {outcome:?} with orders under way"));
                }
                self.seen.note(outcome.in_words());
                self.finished = true;
                return Ok(());
            }
        }
        let work = Work::Action(action);
        self.orders.push(Order { due, work });
        Ok(())
    }

    pub(super) fn carry_out(&mut self, work: Work) -> Result<Event, String> {
        let action = match work {
            Work::Probe(task, in_flight) => {
                let found = self.probe(&task, &in_flight);
                return Ok(Event::Recovered { task, found });
            }
            Work::Answer(ticket) => return Ok(self.observe(&ticket)),
            Work::Action(action) => action,
        };
        Ok(match action {
            Action::Prepare { ticket, start, .. } => {
                let is_signed = self.engine.signed_start(&ticket.task).is_some();
                // Now and then the conflict is gone by then.
                let resolving = match start {
                    StartFrom::Conflict(of) if self.rng.percent(90) => {
                        let with = self.opponents().into_iter();
                        Some(Box::new(Resolving {
                            candidate: of.candidate,
                            attempt: of.attempt,
                            files: vec!["src/x.rs".to_owned()],
                            with: with.map(|(task, _)| task).collect(),
                        }))
                    }
                    StartFrom::Conflict(_) | StartFrom::Tip | StartFrom::Candidate(_) => None,
                };
                let result = match self.rng.below(100) {
                    0..20 if is_signed => {
                        self.seen.note("a signed start that does not hold");
                        Err(Unprepared::Unapproved("not by ann".to_owned()))
                    }
                    0..50 if self.to_end.contains(&ticket) => {
                        let end = AttemptEnd::new(Ending::Interrupted, "its set-up was ended");
                        Err(Unprepared::Ended(end))
                    }
                    50..90 if self.rewritten => {
                        self.seen.note("nothing starts on a rewritten target");
                        Err(Unprepared::Rewritten(self.target.last().cloned()))
                    }
                    0..90 => Ok(self.target.last().expect("a tip").clone()),
                    90..98 => {
                        let ends = [Ending::Crashed, Ending::Timeout, Ending::Success];
                        Err(Unprepared::Ended(self.random_end(&ends)))
                    }
                    _ => {
                        let end = AttemptEnd::new(Ending::Environment, "no space");
                        Err(Unprepared::Ended(end))
                    }
                };
                let saved = self.salvage(&ticket);
                Event::Prepared {
                    ticket,
                    saved,
                    resolving,
                    result,
                }
            }
            Action::Execute { ticket, .. } => {
                self.agents.get_mut(&ticket.task).expect("it ran").ends = self.now.mono.0;
                self.orders
                    .retain(|order| !matches!(&order.work, Work::Answer(of) if *of == ticket));
                Event::Executed { ticket }
            }
            Action::Collect {
                ticket,
                ended_by_orch,
                ..
            } => {
                let result = Box::new(self.what_was_left(&ticket, ended_by_orch));
                Event::Collected { ticket, result }
            }
            Action::Build {
                ticket,
                behind,
                candidate,
                ..
            } => {
                let result = match self.to_end.contains(&ticket) && self.rng.percent(50) {
                    true => {
                        self.seen.note("a file made anew is given up");
                        Err(BuildFailure::Interrupted)
                    }
                    false => self.build(behind),
                };
                if let (Ok(made), Some(contents)) = (&result, &mut self.contents) {
                    contents.merged(&candidate, &made.onto, &made.commit);
                }
                Event::Built { ticket, result }
            }
            Action::LookForEvidence { task } => Event::EvidenceLooked {
                task,
                found: self.rng.percent(40),
                said: format!("look {}", self.rng.below(2)),
            },
            Action::Land {
                ticket,
                commit,
                onto,
            } => {
                let result = self.land(&commit, &onto)?;
                Event::Landed { ticket, result }
            }
            Action::Verify {
                ticket,
                commit,
                stacked,
                ..
            } => {
                let gates = self.gates_of(&ticket);
                let ended = self.to_end.contains(&ticket);
                let red = self.contents.as_ref().map(|contents| {
                    let is_red = contents.is_red(&contents.of(&commit));
                    is_red || (stacked && self.rng.percent(10))
                });
                let result = Box::new(self.verified(gates, ended, red));
                Event::Verified { ticket, result }
            }
            Action::Baseline => {
                let ended = self.ends_baseline;
                Event::Baselined(Box::new(self.verified(Gates::Required, ended, None)))
            }
            Action::Smoke { tip } => {
                if self.rng.percent(20) {
                    self.seen.note("nothing to smoke");
                    return Ok(Event::Smoked(None));
                }
                let result = self.verified(Gates::Required, self.ends_smoke, None);
                if matches!(result.verdict, Verdict::Failed(_)) {
                    self.seen.note("red smoke");
                }
                if result.verdict == Verdict::Interrupted {
                    self.seen.note("smoke is ended");
                }
                let commit = tip.clone();
                Event::Smoked(Some(Box::new(Smoke {
                    tip,
                    commit,
                    result,
                })))
            }
            Action::WritePlan => {
                self.write_plan();
                Event::PlanWritten
            }
            Action::Publish => Event::Published,
            Action::EndAgent { .. }
            | Action::EndGates { .. }
            | Action::EndBaseline
            | Action::EndSmoke
            | Action::Finish { .. } => unreachable!("not kept as orders"),
        })
    }

    /// What judges a landing commit.
    fn gates_of(&self, ticket: &Ticket) -> Gates {
        let view = self.engine.view(&ticket.task).expect("a known task");
        let with = view.resolving.map_or(&[][..], |what| what.with.as_slice());
        let others = with.iter().filter_map(|id| self.engine.view(id));
        let gates = others.map(|other| other.node.gates);
        gates.fold(view.node.gates, Gates::max)
    }

    fn baseline_order(&mut self) -> Option<&mut Order> {
        let asks = |order: &&mut Order| matches!(order.work, Work::Action(Action::Baseline));
        self.orders.iter_mut().find(asks)
    }

    pub(super) fn smoke_order(&mut self) -> Option<&mut Order> {
        let asks = |order: &&mut Order| matches!(order.work, Work::Action(Action::Smoke { .. }));
        self.orders.iter_mut().find(asks)
    }

    /// What gates say of a tree.
    fn verified(&mut self, gates: Gates, ended: bool, red: Option<bool>) -> Verification {
        let (verdict, what) = match self.rng.below(100) {
            0..80 if ended => (Verdict::Interrupted, "gates ended"),
            0..92 if red == Some(true) => (Verdict::Failed("red".to_owned()), "gates red"),
            0..92 if red == Some(false) => (Verdict::Passed, "gates passed"),
            0..75 => (Verdict::Passed, "gates passed"),
            75..92 => (Verdict::Failed("red".to_owned()), "gates red"),
            _ => (Verdict::Broken("no tool".to_owned()), "gates broken"),
        };
        self.seen.note(what);
        let result = match verdict {
            Verdict::Passed => *self.rng.pick(&[
                GateResult::Passed,
                GateResult::PreExisting,
                GateResult::Flaky,
            ]),
            Verdict::Failed(_) | Verdict::Broken(_) | Verdict::Interrupted => GateResult::Failed,
        };
        let record = |required| GateRecord {
            name: "test".to_owned(),
            command: "hash".to_owned(),
            argv: Vec::new(),
            required,
            result,
            exit: Some(0),
            ms: 1,
            counts: None,
            failures: Vec::new(),
            reused: false,
            detail: String::new(),
            on: orch::engine::verification::On::Landing,
            alone: false,
            goal: false,
        };
        let records = match gates {
            Gates::None => Vec::new(),
            Gates::Optional => vec![record(false)],
            Gates::Required => vec![record(true), record(false)],
        };
        Verification {
            tree: ObjectId::new("tree"),
            gates: records,
            environment: Environment::default(),
            verdict,
        }
    }

    pub(super) fn random_end(&mut self, of: &[Ending]) -> AttemptEnd {
        let ending = *self.rng.pick(of);
        self.seen.note(ending.in_words());
        AttemptEnd::new(ending, "as drawn")
    }

    /// How many times the attempt has gone on; it does so one by one.
    fn continued(&self, ticket: &Ticket, mode: ExecuteMode) -> Result<u32, String> {
        let agent = self.agents.get(&ticket.task);
        let before = agent
            .filter(|agent| agent.attempt == ticket.attempt)
            .map_or(0, |agent| agent.continued);
        match mode {
            ExecuteMode::Continue { number } if number == before + 1 => Ok(number),
            ExecuteMode::Continue { number } => Err(format!(
                "{ticket} goes on for the {number}th time after {before}"
            )),
            ExecuteMode::Fresh | ExecuteMode::AskStatus | ExecuteMode::Adopt => Ok(before),
        }
    }

    pub(super) fn what_was_left(
        &mut self,
        ticket: &Ticket,
        ended_by_orch: Option<AttemptEnd>,
    ) -> Collected {
        let was_demanded = ended_by_orch.is_some();
        let end = match ended_by_orch {
            Some(end) if self.rng.percent(80) => end,
            Some(_) => self.random_end(&[Ending::Success]),
            None => match self.rng.below(100) {
                0..60 => self.random_end(&[Ending::Success]),
                60..65 => self.random_end(&[Ending::NoChange]),
                65..75 => self.random_end(&[Ending::NoStatus]),
                75..80 => self.random_end(&[Ending::Crashed]),
                _ => self.random_end(&Ending::ALL),
            },
        };
        let has_candidate = match end.ending {
            Ending::Success => self.rng.percent(90),
            Ending::NoChange => false,
            _ => self.rng.percent(60),
        };
        let usage = Usage {
            sessions: 1,
            cost: self.price(ticket),
            unpriced_sessions: self.unpriced(ticket),
            ..Usage::default()
        };
        let mut left = Collected {
            candidate: has_candidate.then(|| self.new_commit()),
            message: self.rng.percent(50).then(|| "done".to_owned()),
            report: self.rng.percent(50).then(|| "sha".to_owned()),
            can_ask: self.rng.percent(70),
            ..Collected::nothing(end, usage)
        };
        if !was_demanded {
            self.cut(ticket, &mut left);
        }
        if let (Some(candidate), Some(contents)) = (&left.candidate, &mut self.contents) {
            contents.made(&ticket.task, candidate);
        }
        left
    }
}

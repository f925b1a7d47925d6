//! The world around the engine: a shell that carries out orders sooner or later, agents that live without it, a target
//! branch that others may move, a ledger of which only a part is safe on disk, and people.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use orch::engine::action::{Action, ExecuteMode};
use orch::engine::ending::{AttemptEnd, Ending};
use orch::engine::event::{
    Author, BuildFailure, Collected, Control, Event, Found, LandResult, Landing, PlanRevision,
    StopLevel, Verb,
};
use orch::engine::record::{FORMAT, Record, RunStart, Selection, Stamped};
use orch::engine::usage::{MicroUsd, Usage};
use orch::engine::view::TaskState;
use orch::engine::{Effects, Engine, InFlight};
use orch::ids::{ObjectId, RefName, RunId, SlotId, TaskId, Ticket};
use orch::plan::graph::{Declared, RetryFrom};
use orch::time::{Mono, Now, Wall};

use crate::laws::Laws;
use crate::plans::Plan;
use crate::rng::Rng;

/// Steps after which a run that has not ended never will.
const STEPS_MAX: usize = 6_000;

/// Every how many seeds the records are written as text and read back, which takes longer than the rest.
const WRITING: u64 = 16;

/// Every how many seeds a second engine follows and is compared after each step.
const READING: u64 = 4;

/// Everything outside the engine.
pub(crate) struct World {
    pub rng: Rng,
    pub trace: Vec<String>,
    /// Whether the trace is written: it takes longer than the run.
    tells: bool,
    /// Whether records go through their text.
    writes: bool,
    /// Whether a reader follows record by record; every crash and every end compares anyway.
    reads: bool,
    pub seen: Seen,
    now: Now,
    engine: Engine,
    /// Follows the records as a reader in another process would.
    reader: Engine,
    laws: Laws,
    /// The transactions of the ledger.
    ledger: Vec<Vec<Stamped>>,
    /// How many of them a loss of power cannot take.
    safe: usize,
    seq: u64,
    orders: Vec<Order>,
    /// The agents that were told to end.
    to_end: BTreeSet<Ticket>,
    agents: BTreeMap<TaskId, Agent>,
    slots: BTreeMap<SlotId, TaskId>,
    target: Vec<ObjectId>,
    /// Revisions of the plan that landing commits carry.
    carried: BTreeMap<ObjectId, PlanRevision>,
    rewritten: bool,
    commits: u32,
    plan: Plan,
    finished: bool,
    /// Whether the ledger lost records when orch last died.
    forgets: bool,
    /// Results already delivered, some of which come again.
    delivered: Vec<Event>,
    /// Usage of all collected sessions.
    trouble: Trouble,
}

/// What may still go wrong; all of it ends, so that the run must.
struct Trouble {
    crashes: usize,
    decisions: usize,
    edits: usize,
    rewrites: usize,
    resumptions: usize,
}

/// Something under way in the shell.
struct Order {
    due: u64,
    work: Work,
}

enum Work {
    Action(Action),
    Probe(TaskId, InFlight),
}

/// The process of an attempt; outlives the shell.
struct Agent {
    attempt: u32,
    asked: bool,
    slot: SlotId,
    ends: u64,
    gone: bool,
}

/// What was seen at all, to know that the simulation reaches it.
#[derive(Default)]
pub(crate) struct Seen(pub BTreeMap<&'static str, u64>);

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        for (what, times) in other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// The next orch must take over from here.
struct Crashed;

type Step = Result<Result<(), Crashed>, String>;

fn id(text: &str) -> TaskId {
    TaskId::parse(text).expect("a good id")
}

/// Runs one seed to its end.
pub(crate) fn run(seed: u64, tells: bool) -> (Result<(), String>, Vec<String>, Seen) {
    let mut rng = Rng::new(seed);
    let plan = Plan::random(&mut rng);
    let mut world = World::new(rng, plan, tells);
    world.writes = seed.is_multiple_of(WRITING);
    world.reads = seed.is_multiple_of(READING);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.live()));
    let verdict = verdict.unwrap_or_else(|_| Err("the engine is at a loss (see above)".to_owned()));
    (verdict, world.trace, world.seen)
}

impl World {
    fn new(mut rng: Rng, plan: Plan, tells: bool) -> Self {
        let calm = rng.percent(15);
        let trouble = |rng: &mut Rng, most: usize| if calm { 0 } else { rng.below(most) };
        let trouble = Trouble {
            crashes: trouble(&mut rng, 8),
            decisions: trouble(&mut rng, 10),
            edits: trouble(&mut rng, 4),
            rewrites: trouble(&mut rng, 2),
            resumptions: trouble(&mut rng, 4),
        };
        let now = Now {
            wall: Wall(1_700_000_000_000),
            mono: Mono(0),
        };
        Self {
            rng,
            trace: Vec::new(),
            tells,
            writes: false,
            reads: false,
            seen: Seen::default(),
            now,
            // Replaced by the first step of `live`; an engine cannot be had without a run.
            engine: Engine::start(run_id(), &start(&plan, 1, Selection::All), now).0,
            reader: Engine::start(run_id(), &start(&plan, 1, Selection::All), now).0,
            laws: Laws::default(),
            ledger: Vec::new(),
            safe: 0,
            seq: 0,
            orders: Vec::new(),
            to_end: BTreeSet::new(),
            agents: BTreeMap::new(),
            slots: BTreeMap::new(),
            target: vec![ObjectId::new("c0")],
            carried: BTreeMap::new(),
            rewritten: false,
            commits: 0,
            plan,
            finished: false,
            forgets: false,
            delivered: Vec::new(),
            trouble,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        let start = self.random_start();
        let (engine, effects) = Engine::start(run_id(), &start, self.now);
        self.engine = engine;
        self.reader = self.engine.clone();
        let mut state = self.absorb(effects)?;
        for _ in 0..STEPS_MAX {
            state = match state {
                Err(Crashed) => self.next_orch()?,
                Ok(()) if self.finished => {
                    self.check_end()?;
                    if self.trouble.resumptions == 0 {
                        return Ok(());
                    }
                    self.trouble.resumptions -= 1;
                    self.next_orch()?
                }
                Ok(()) => self.step()?,
            };
        }
        Err("the run does not end".to_owned())
    }

    /// One thing happens.
    fn step(&mut self) -> Step {
        if self.trouble.crashes > 0 && self.rng.percent(2) {
            return self.crash("between steps");
        }
        if self.trouble.decisions > 0 && self.rng.percent(5) {
            self.trouble.decisions -= 1;
            let control = self.random_control();
            return self.hear(Event::Control(control));
        }
        if self.trouble.edits > 0 && self.rng.percent(4) {
            self.trouble.edits -= 1;
            self.plan.edit(&mut self.rng);
            let revision = self.plan.revision(Author::Person("ann".to_owned()));
            return self.hear(Event::PlanRevised(revision));
        }
        if self.rng.percent(3) {
            self.someone_moves_the_target();
        }
        if self.trouble.rewrites > 0 && self.target.len() > 1 && self.rng.percent(2) {
            self.trouble.rewrites -= 1;
            self.target.pop();
            self.rewritten = self.is_rewritten();
            self.say(|w| format!("target rewritten: {}", w.rewritten));
            if self.rewritten && self.rng.percent(50) {
                let found = self.target.last().cloned();
                return self.hear(Event::TargetRewritten { found });
            }
        }
        if self.rng.percent(5) && !self.delivered.is_empty() {
            return self.hear_again();
        }
        self.next_thing()
    }

    fn is_rewritten(&self) -> bool {
        self.engine
            .tip()
            .is_some_and(|tip| !self.target.contains(tip))
    }

    fn say(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.tells {
            let line = what(self);
            self.trace.push(line);
        }
    }

    /// The order or the timer that is due first.
    fn next_thing(&mut self) -> Step {
        for order in &mut self.orders {
            if let Work::Action(Action::Execute { ticket, .. }) = &order.work
                && let Some(agent) = self.agents.get(&ticket.task)
            {
                order.due = agent.ends;
            }
        }
        let next = (0..self.orders.len()).min_by_key(|&at| self.orders[at].due);
        let wake = self
            .engine
            .next_wake()
            .map(|wall| self.now.mono.0 + wall.ms_since(self.now.wall));
        match (next, wake) {
            (None, None) => Err("nothing is under way and nothing will wake the engine".to_owned()),
            (Some(at), wake) if wake.is_none_or(|wake| self.orders[at].due <= wake) => {
                let order = self.orders.swap_remove(at);
                self.pass_until(order.due);
                let event = self.carry_out(order.work)?;
                self.hear(event)
            }
            (_, Some(wake)) => {
                self.pass_until(wake);
                self.hear(Event::Tick)
            }
            (Some(_), None) => unreachable!("covered by the guard"),
        }
    }

    fn pass_until(&mut self, mono: u64) {
        let ms = mono.saturating_sub(self.now.mono.0);
        self.now.mono.0 += ms;
        self.now.wall = self.now.wall.plus_ms(ms);
        if self.rng.percent(1) {
            // Somebody sets the clock.
            let jump = i64::try_from(self.rng.ms(7_200_000)).expect("small");
            self.now.wall.0 += if self.rng.percent(50) { jump } else { -jump };
        }
    }

    fn hear(&mut self, event: Event) -> Step {
        self.say(|w| format!("{} <- {event:?}", w.now.mono.0));
        let repeatable = matches!(
            event,
            Event::Prepared { .. }
                | Event::Executed { .. }
                | Event::Collected { .. }
                | Event::Built { .. }
                | Event::Landed { .. }
        );
        if repeatable {
            self.delivered.push(event.clone());
        }
        let effects = self.engine.step(event, self.now);
        self.absorb(effects)
    }

    fn hear_again(&mut self) -> Step {
        let event = self.rng.pick(&self.delivered).clone();
        let dropped = self.engine.dropped();
        self.say(|w| format!("{} <- again {event:?}", w.now.mono.0));
        let effects = self.engine.step(event, self.now);
        if self.engine.dropped() != dropped + 1 {
            return Err("a result that comes twice is heard twice".to_owned());
        }
        self.absorb(effects)
    }

    /// Keeps the records, then starts the actions; the orch may die anywhere in between.
    fn absorb(&mut self, effects: Effects) -> Step {
        if !effects.records.is_empty() {
            self.append(&effects)?;
        }
        if self.may_crash() {
            return self.crash("after appending");
        }
        if self
            .engine
            .next_wake()
            .is_some_and(|wake| wake <= self.now.wall)
        {
            return Err("the engine wants to be woken at once, again and again".to_owned());
        }
        for action in effects.actions {
            self.begin(action)?;
            if self.may_crash() {
                return self.crash("between actions");
            }
        }
        self.check_step()?;
        Ok(Ok(()))
    }

    fn check_step(&self) -> Result<(), String> {
        let recovers = !self.engine.unsettled().is_empty() || self.orders.is_empty();
        if let Some(task) = self.laws.idle().filter(|_| !recovers) {
            return Err(format!(
                "{task} could start and does not: {:?}",
                self.engine.why(task)
            ));
        }
        for order in &self.orders {
            if let Work::Action(Action::Execute { ticket, .. }) = &order.work
                && (self.laws.ends_agents || self.laws.tasks[&ticket.task].closing)
                && !self.to_end.contains(ticket)
            {
                return Err(format!("{ticket} is to end and is not told so"));
            }
        }
        Ok(())
    }

    fn may_crash(&mut self) -> bool {
        self.trouble.crashes > 0 && self.rng.percent(2)
    }

    fn append(&mut self, effects: &Effects) -> Result<(), String> {
        let mut transaction = Vec::new();
        for record in &effects.records {
            self.seq += 1;
            let stamped = Stamped {
                seq: self.seq,
                run: run_id(),
                at: effects.at,
                record: record.clone(),
            };
            self.say(|_| format!("   {record:?}"));
            self.laws.follow(&stamped)?;
            self.seen.note(kind(record));
            let stamped = if self.writes {
                rewritten(&stamped)?
            } else {
                stamped
            };
            if self.reads && !self.ledger.is_empty() {
                // Until then the reader is a copy of the engine after its first step.
                self.reader.observe(&stamped).map_err(|e| e.to_string())?;
            }
            transaction.push(stamped);
        }
        self.ledger.push(transaction);
        if effects.records.iter().any(Record::is_barrier) {
            self.safe = self.ledger.len();
        }
        if self.reads && self.reader != self.engine {
            return Err("a reader of the records sees another state".to_owned());
        }
        Ok(())
    }

    fn begin(&mut self, action: Action) -> Result<(), String> {
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
            Action::Execute { ticket, slot, mode } => {
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
                    ExecuteMode::Fresh | ExecuteMode::AskStatus if lives => {
                        return Err(format!("{ticket} runs while an agent of the task lives"));
                    }
                    ExecuteMode::Fresh | ExecuteMode::AskStatus => {
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
                            slot: *slot,
                            ends,
                            gone: false,
                        };
                        self.agents.insert(ticket.task.clone(), agent);
                    }
                }
                due = self.agents[&ticket.task].ends;
            }
            Action::EndAgent { ticket } => {
                let known = self.orders.iter().any(|order| match &order.work {
                    Work::Action(Action::Execute {
                        ticket: running, ..
                    }) => running == ticket,
                    Work::Action(_) | Work::Probe(..) => false,
                });
                if !known {
                    return Err(format!("{ticket} is to be ended and does not run"));
                }
                let ends = self.now.mono.0 + soon;
                self.to_end.insert(ticket.clone());
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
            Action::Build { .. } | Action::Land { .. } | Action::WritePlan | Action::Publish => {}
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

    fn lives(&self, agent: &Agent) -> bool {
        !agent.gone && agent.ends > self.now.mono.0
    }

    fn carry_out(&mut self, work: Work) -> Result<Event, String> {
        let action = match work {
            Work::Probe(task, in_flight) => {
                let found = self.probe(&task, &in_flight);
                return Ok(Event::Recovered { task, found });
            }
            Work::Action(action) => action,
        };
        Ok(match action {
            Action::Prepare { ticket, .. } => {
                let result = match self.rng.below(100) {
                    0..90 => Ok(self.target.last().expect("a tip").clone()),
                    90..98 => {
                        Err(self.random_end(&[Ending::Crashed, Ending::Timeout, Ending::Success]))
                    }
                    _ => Err(AttemptEnd::new(Ending::Environment, "no space")),
                };
                Event::Prepared { ticket, result }
            }
            Action::Execute { ticket, .. } => {
                self.agents.get_mut(&ticket.task).expect("it ran").ends = self.now.mono.0;
                Event::Executed { ticket }
            }
            Action::Collect {
                ticket,
                ended_by_orch,
                ..
            } => {
                let result = Box::new(self.what_was_left(ended_by_orch));
                Event::Collected { ticket, result }
            }
            Action::Build { ticket, .. } => {
                let result = self.build();
                Event::Built { ticket, result }
            }
            Action::Land {
                ticket,
                commit,
                onto,
            } => {
                let result = self.land(&commit, &onto)?;
                Event::Landed { ticket, result }
            }
            Action::WritePlan => {
                self.write_plan();
                Event::PlanWritten
            }
            Action::Publish => Event::Published,
            Action::EndAgent { .. } | Action::Finish { .. } => unreachable!("not kept as orders"),
        })
    }

    fn random_end(&mut self, of: &[Ending]) -> AttemptEnd {
        let ending = *self.rng.pick(of);
        self.seen.note(ending.in_words());
        AttemptEnd::new(ending, "as drawn")
    }

    fn what_was_left(&mut self, ended_by_orch: Option<AttemptEnd>) -> Collected {
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
        Collected {
            end,
            usage: Usage {
                sessions: 1,
                cost: MicroUsd(self.rng.ms(1_000_000)),
                ..Usage::default()
            },
            candidate: has_candidate.then(|| self.new_commit()),
            message: self.rng.percent(50).then(|| "done".to_owned()),
            report: self.rng.percent(50).then(|| "sha".to_owned()),
            can_ask: self.rng.percent(70),
            notes: Vec::new(),
        }
    }

    fn new_commit(&mut self) -> ObjectId {
        self.commits += 1;
        ObjectId::new(format!("c{}", self.commits))
    }

    fn build(&mut self) -> Result<Landing, BuildFailure> {
        match self.rng.below(100) {
            0..80 => Ok(Landing {
                commit: self.new_commit(),
                onto: self.target.last().expect("a tip").clone(),
            }),
            80..89 => Err(BuildFailure::Conflict(vec!["src/x.rs".to_owned()])),
            89..92 => Err(BuildFailure::AlreadyThere),
            92..95 => Err(BuildFailure::PlanEdit("duplicate id".to_owned())),
            _ => Err(BuildFailure::Trouble("disk full".to_owned())),
        }
    }

    fn land(&mut self, commit: &ObjectId, onto: &ObjectId) -> Result<LandResult, String> {
        if self.rewritten {
            return Ok(LandResult::Rewritten(self.target.last().cloned()));
        }
        if self.target.last() != Some(onto) {
            return Ok(LandResult::TipMoved);
        }
        if self.rng.percent(4) {
            return Ok(LandResult::Trouble("ref locked".to_owned()));
        }
        self.move_target(commit)?;
        Ok(LandResult::Landed(self.carried.get(commit).cloned()))
    }

    /// The compare-and-swap that succeeds.
    fn move_target(&mut self, commit: &ObjectId) -> Result<(), String> {
        let work = self
            .laws
            .intended
            .get(commit)
            .ok_or("an unannounced commit lands")?;
        let twin = self
            .target
            .iter()
            .find(|landed| self.laws.intended.get(*landed) == Some(work));
        if let Some(twin) = twin {
            return Err(format!("{work:?} lands twice, as {twin} and {commit}"));
        }
        self.target.push(commit.clone());
        if self.rng.percent(10) {
            self.plan.extend(&mut self.rng);
            let revision = self.plan.revision(Author::Agent(work_task(work)));
            self.carried.insert(commit.clone(), revision);
        }
        Ok(())
    }

    fn someone_moves_the_target(&mut self) {
        let commit = self.new_commit();
        self.target.push(commit);
    }

    fn write_plan(&mut self) {
        let states: Vec<_> = self
            .engine
            .tasks()
            .map(|view| (view.node.id.clone(), view.state))
            .collect();
        for (task, state) in states {
            let declared = match state {
                TaskState::Completed { .. } => Declared::Completed,
                TaskState::Failed => Declared::Failed,
                TaskState::Skipped => Declared::Skipped,
                TaskState::LeftOut => continue,
                _ => Declared::Pending,
            };
            self.plan.write(&task, declared);
        }
    }

    fn crash(&mut self, when: &str) -> Step {
        self.trouble.crashes -= 1;
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
    fn next_orch(&mut self) -> Step {
        self.finished = false;
        if self.ledger.is_empty() {
            // The power went before anything was safe: there is no run, and the same command starts one.
            self.laws = Laws::default();
            let start = self.random_start();
            let (engine, effects) = Engine::start(run_id(), &start, self.now);
            self.engine = engine;
            self.reader = self.engine.clone();
            return self.absorb(effects);
        }
        let records: Vec<Stamped> = self.ledger.iter().flatten().cloned().collect();
        self.laws = Laws::default();
        for stamped in &records {
            self.laws.follow(stamped)?;
        }
        let replayed = Engine::replay(run_id(), records).map_err(|e| e.to_string())?;
        if !self.forgets && replayed != self.engine {
            return Err("the replayed state is another one".to_owned());
        }
        self.engine = replayed;
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
        let start = self.random_start();
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

    fn probe(&mut self, task: &TaskId, in_flight: &InFlight) -> Found {
        let found = match in_flight {
            InFlight::Preparing { .. } | InFlight::Collecting { .. } => Found::AgentGone,
            InFlight::Executing { asked, .. } => {
                let attempt = self.engine.view(task).expect("a known task").attempt;
                match self
                    .agents
                    .get(task)
                    .filter(|a| a.attempt == attempt && a.asked == *asked)
                {
                    Some(agent) if self.lives(agent) => Found::AgentAlive,
                    Some(agent) if !agent.gone => Found::AgentEnded,
                    Some(_) | None => Found::AgentGone,
                }
            }
            InFlight::Building { .. } => Found::NotLanded,
            InFlight::Landing { commit, .. } if self.target.contains(commit) => {
                Found::Landed(self.carried.get(commit).cloned())
            }
            InFlight::Landing { .. } => Found::NotLanded,
        };
        self.seen.note(match &found {
            Found::AgentAlive => "an agent alive",
            Found::AgentEnded => "an agent ended",
            Found::AgentGone => "an agent gone",
            Found::Landed(_) => "a landing done",
            Found::NotLanded => "a landing not done",
        });
        found
    }

    fn random_start(&mut self) -> RunStart {
        let jobs = 1 + u32::try_from(self.rng.below(4)).expect("small");
        let task = self.rng.pick(&self.plan.graph.nodes).id.clone();
        let selection = match self.rng.below(20) {
            0 => Selection::From {
                task,
                redo: self.rng.percent(50),
            },
            1 => Selection::Single { task: Some(task) },
            2 => Selection::Single { task: None },
            _ => Selection::All,
        };
        let mut start = start(&self.plan, jobs, selection);
        if self.rng.percent(10) {
            start.landed_before.push((id("t0"), ObjectId::new("c0")));
        }
        start
    }

    fn random_control(&mut self) -> Control {
        let task = id(&format!(
            "t{}",
            self.rng.below(self.plan.graph.nodes.len() + 2)
        ));
        let verb = match self.rng.below(22) {
            0 => Verb::Stop {
                level: StopLevel::Drain,
            },
            1 => Verb::Stop {
                level: StopLevel::EndAgents,
            },
            2..5 => Verb::Cancel { task },
            5 | 6 => Verb::Hold { task },
            7..11 => Verb::Release { task },
            11..13 => Verb::Skip { task },
            13..15 => Verb::Retry {
                task,
                from: *self
                    .rng
                    .pick(&[None, Some(RetryFrom::Base), Some(RetryFrom::Candidate)]),
            },
            15..17 => Verb::RetryFailed,
            17 | 18 => Verb::MarkDone { task },
            19 => Verb::Priority { task, value: 9 },
            _ => Verb::Jobs {
                count: u32::try_from(self.rng.below(4)).expect("small"),
            },
        };
        Control {
            verb,
            by: Author::Person("ann".to_owned()),
            note: None,
        }
    }

    fn check_end(&mut self) -> Result<(), String> {
        if let Some((task, _)) = self.agents.iter().find(|(_, a)| self.lives(a)) {
            return Err(format!("an agent of {task} outlives the run"));
        }
        let records = self.ledger.iter().flatten().cloned();
        let replayed = Engine::replay(run_id(), records).map_err(|e| e.to_string())?;
        if replayed != self.engine {
            return Err("the replayed state is another one".to_owned());
        }
        let ours = self
            .target
            .iter()
            .filter(|commit| self.laws.intended.contains_key(*commit));
        let unreceipted = ours
            .clone()
            .find(|commit| !self.laws.landed.contains(commit));
        if let Some(commit) = unreceipted {
            return Err(format!("{commit} is on the target without a receipt"));
        }
        let of_tasks: u32 = self.engine.tasks().map(|view| view.usage.sessions).sum();
        let of_run = self.engine.run().usage.sessions;
        if (of_tasks, of_run) != (self.laws.sessions, self.laws.sessions) {
            return Err(format!(
                "{of_tasks}, {of_run} and {} sessions were used",
                self.laws.sessions
            ));
        }
        Ok(())
    }
}

fn work_task(work: &(TaskId, u32)) -> TaskId {
    work.0.clone()
}

fn run_id() -> RunId {
    RunId::parse("run").expect("a good id")
}

fn start(plan: &Plan, jobs: u32, selection: Selection) -> RunStart {
    RunStart {
        format: FORMAT,
        orch: "0".to_owned(),
        plan: "plan.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/plan"),
        jobs,
        selection,
        settings: BTreeMap::new(),
        revision: plan.revision(Author::Person("ann".to_owned())),
        landed_before: Vec::new(),
    }
}

/// The record as it comes back from the ledger.
fn rewritten(stamped: &Stamped) -> Result<Stamped, String> {
    let text = serde_json::to_string(stamped).map_err(|e| e.to_string())?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

fn kind(record: &Record) -> &'static str {
    match record {
        Record::RunStarted(_) => "RunStarted",
        Record::RunResumed { .. } => "RunResumed",
        Record::PlanAccepted { .. } => "PlanAccepted",
        Record::AttemptStarted { .. } => "AttemptStarted",
        Record::AgentStarting { .. } => "AgentStarting",
        Record::AgentEnded { .. } => "AgentEnded",
        Record::Collected { .. } => "Collected",
        Record::Building { .. } => "Building",
        Record::NotLandable { .. } => "NotLandable",
        Record::LandingIntended { .. } => "LandingIntended",
        Record::LandingMissed { .. } => "LandingMissed",
        Record::Landed { .. } => "Landed",
        Record::Settled { .. } => "Settled",
        Record::Reopened { .. } => "Reopened",
        Record::Superseded { .. } => "Superseded",
        Record::WaitEnded { .. } => "WaitEnded",
        Record::Controlled { .. } => "Controlled",
        Record::Stopping { .. } => "Stopping",
        Record::TargetRewritten { .. } => "TargetRewritten",
        Record::RunFailed { .. } => "RunFailed",
        Record::RunEnded { .. } => "RunEnded",
    }
}

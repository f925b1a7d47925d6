//! The world around the engine, in which one thing happens after another: a shell that carries out orders sooner or
//! later (`shell`), agents that live without it, a target branch that others may move, a ledger of which only a part is
//! safe on disk (`crash`), and people (`people`).

mod contents;
mod crash;
mod kind;
mod people;
pub(crate) mod service;
mod shell;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use orch::engine::action::Action;
use orch::engine::event::{Author, Control, Event, PlanRevision, StopLevel, Verb};
use orch::engine::record::{Record, Settlement, Stamped};
use orch::engine::usage::MicroUsd;
use orch::engine::{Effects, Engine, InFlight};
use orch::ids::{ObjectId, RunId, SlotId, TaskId, Ticket};
use orch::store::Durability;
use orch::time::{Mono, Now, Wall};

use crate::laws::Laws;
use crate::plans::Plan;
use crate::rng::Rng;
use kind::kind;

/// Steps after which a run that has not ended never will.
const STEPS_MAX: usize = 30_000;

/// Every how many seeds the records are written as text and read back, which takes longer than the rest.
const WRITING: u64 = 16;

/// Every how many seeds conflicts are planted, and gates say what the contents of commits say.
const PLANTED: u64 = 3;

/// Every how many seeds a second engine follows and is compared after each step.
const READING: u64 = 4;

/// Everything outside the engine.
pub(crate) struct World {
    rng: Rng,
    trace: Vec<String>,
    /// Whether the trace is written: it takes longer than the run.
    tells: bool,
    /// Whether records go through their text.
    writes: bool,
    /// Whether a reader follows record by record; every crash and every end compares anyway.
    reads: bool,
    seen: Seen,
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
    /// Whether the gates on the untouched target are to end.
    ends_baseline: bool,
    /// Whether the smoke commands are to end.
    ends_smoke: bool,
    agents: BTreeMap<TaskId, Agent>,
    slots: BTreeMap<SlotId, TaskId>,
    target: Vec<ObjectId>,
    /// Revisions of the plan that landing commits carry.
    carried: BTreeMap<ObjectId, PlanRevision>,
    rewritten: bool,
    /// What was on the target and was rewritten away.
    lost: Vec<ObjectId>,
    commits: u32,
    plan: Plan,
    finished: bool,
    /// Whether the ledger lost records when orch last died.
    forgets: bool,
    /// Results already delivered, some of which come again.
    delivered: Vec<Event>,
    trouble: Trouble,
    service: service::Service,
    /// What commits hold, where conflicts are planted.
    contents: Option<contents::Contents>,
}

/// What may still go wrong; all of it ends, so that the run must.
struct Trouble {
    crashes: usize,
    decisions: usize,
    edits: usize,
    rewrites: usize,
    resumptions: usize,
    exhaustions: usize,
}

impl Trouble {
    fn limit(&mut self, limits: Limits) {
        self.crashes = self.crashes.min(limits.crashes);
        self.decisions = self.decisions.min(limits.decisions);
        self.edits = self.edits.min(limits.edits);
        self.rewrites = self.rewrites.min(limits.rewrites);
        self.resumptions = self.resumptions.min(limits.resumptions);
    }
}

/// Something under way in the shell.
struct Order {
    due: u64,
    work: Work,
}

enum Work {
    Action(Action),
    Probe(TaskId, InFlight),
    /// The service answers an agent.
    Answer(Ticket),
}

/// The process of an attempt; outlives the shell.
struct Agent {
    attempt: u32,
    asked: bool,
    continued: u32,
    cap: Option<MicroUsd>,
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

/// How much of what a seed draws is used: a failing run is made as small as it can be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub tasks: usize,
    pub crashes: usize,
    pub decisions: usize,
    pub edits: usize,
    pub rewrites: usize,
    pub resumptions: usize,
}

impl Limits {
    pub(crate) const NONE: Self = Self {
        tasks: usize::MAX,
        crashes: usize::MAX,
        decisions: usize::MAX,
        edits: usize::MAX,
        rewrites: usize::MAX,
        resumptions: usize::MAX,
    };

    /// Each with one of its numbers smaller.
    pub(crate) fn smaller(self) -> Vec<Self> {
        let mut all = Vec::new();
        let fields: [fn(&mut Self) -> &mut usize; 6] = [
            |l| &mut l.tasks,
            |l| &mut l.crashes,
            |l| &mut l.decisions,
            |l| &mut l.edits,
            |l| &mut l.rewrites,
            |l| &mut l.resumptions,
        ];
        for (at, field) in fields.into_iter().enumerate() {
            let mut changed = self;
            let least = usize::from(at == 0);
            let now = (*field(&mut changed)).min(200);
            for number in [least, now / 2, now.saturating_sub(1)] {
                if (least..now).contains(&number) {
                    *field(&mut changed) = number;
                    all.push(changed);
                }
            }
        }
        all
    }
}

/// Runs one seed to its end.
pub(crate) fn run(
    seed: u64,
    tells: bool,
    limits: Limits,
) -> (Result<(), String>, Vec<String>, Seen) {
    let mut rng = Rng::new(seed);
    let mut plan = Plan::random(&mut rng);
    plan.cut(limits.tasks);
    plan.is_gated = seed % PLANTED == 1;
    let (mut world, effects) = World::new(rng, plan, tells);
    world.trouble.limit(limits);
    world.writes = seed.is_multiple_of(WRITING);
    world.reads = seed.is_multiple_of(READING);
    if world.plan.is_gated {
        world.contents = Some(contents::Contents::new(seed, &world.target[0]));
    }
    let verdict = catch_unwind(AssertUnwindSafe(|| world.live(effects)));
    let verdict = verdict.unwrap_or_else(|_| Err("the engine is at a loss (see above)".to_owned()));
    (verdict, world.trace, world.seen)
}

impl World {
    fn new(mut rng: Rng, plan: Plan, tells: bool) -> (Self, Effects) {
        let calm = rng.percent(15);
        let trouble = |rng: &mut Rng, most: usize| if calm { 0 } else { rng.below(most) };
        let trouble = Trouble {
            crashes: trouble(&mut rng, 8),
            decisions: trouble(&mut rng, 10),
            edits: trouble(&mut rng, 4),
            rewrites: trouble(&mut rng, 2),
            resumptions: trouble(&mut rng, 4),
            exhaustions: trouble(&mut rng, 4),
        };
        let now = Now {
            wall: Wall(1_700_000_000_000),
            mono: Mono(0),
        };
        let start = people::random_start(&mut rng, &plan);
        let (engine, effects) = Engine::start(run_id(), &start, now);
        let world = Self {
            rng,
            trace: Vec::new(),
            tells,
            writes: false,
            reads: false,
            seen: Seen::default(),
            now,
            reader: engine.clone(),
            engine,
            laws: Laws::default(),
            ledger: Vec::new(),
            safe: 0,
            seq: 0,
            orders: Vec::new(),
            to_end: BTreeSet::new(),
            ends_baseline: false,
            ends_smoke: false,
            agents: BTreeMap::new(),
            slots: BTreeMap::new(),
            target: vec![ObjectId::new("c0")],
            carried: BTreeMap::new(),
            rewritten: false,
            lost: Vec::new(),
            commits: 0,
            plan,
            finished: false,
            forgets: false,
            delivered: Vec::new(),
            trouble,
            service: service::Service::default(),
            contents: None,
        };
        (world, effects)
    }

    fn live(&mut self, effects: Effects) -> Result<(), String> {
        let mut state = self.absorb(effects)?;
        for _ in 0..STEPS_MAX {
            state = match state {
                Err(Crashed) => self.next_orch()?,
                Ok(()) if self.finished => {
                    self.check_end()?;
                    if self.trouble.resumptions == 0 {
                        return self.replay().map(drop);
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
        if self.trouble.crashes > 0 && self.rng.percent(1) {
            return self.give_up();
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
        if self.trouble.exhaustions > 0 && self.rng.percent(3) {
            self.trouble.exhaustions -= 1;
            self.exhaust();
        }
        if self.rng.percent(3) {
            self.someone_moves_the_target();
        }
        if self.trouble.rewrites > 0 && self.target.len() > 1 && self.rng.percent(2) {
            self.trouble.rewrites -= 1;
            self.lost.extend(self.target.pop());
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
            (None, None) if self.laws.bounds.paused => {
                let verb = match self.rng.percent(70) {
                    true => Verb::Resume,
                    false => Verb::Stop {
                        level: StopLevel::Drain,
                    },
                };
                self.hear(Event::Control(Control {
                    verb,
                    by: Author::Person("ann".to_owned()),
                    note: None,
                }))
            }
            (None, None) if self.is_asked() => self.someone_decides(),
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
                | Event::Verified { .. }
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
            if let Record::Settled {
                task,
                as_: Settlement::Believed | Settlement::DeclaredFailed,
            } = record
                && self.laws.is_reopened(task)
                && !self.plan.is_said(task)
            {
                return Err(format!(
                    "{task} was reopened, and is settled by what orch wrote before"
                ));
            }
            self.judge_by_contents(record)?;
            self.seen.note(kind(record));
            self.note_queue(record);
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
        let is_synced = |record| Durability::of(record) == Durability::Synced;
        if effects.records.iter().any(is_synced) {
            self.safe = self.ledger.len();
        }
        if self.reads && self.reader != self.engine {
            return Err("a reader of the records sees another state".to_owned());
        }
        Ok(())
    }

    fn check_step(&self) -> Result<(), String> {
        let recovers = !self.engine.unsettled().is_empty() || self.orders.is_empty();
        if let Some(task) = self.laws.idle(self.now.wall).filter(|_| !recovers) {
            return Err(format!(
                "{task} could start and does not: {:?}",
                self.engine.why(task)
            ));
        }
        for order in &self.orders {
            if let Work::Action(Action::Execute { ticket, .. } | Action::Verify { ticket, .. }) =
                &order.work
                && (self.laws.ends_agents || self.laws.tasks[&ticket.task].closing)
                && !self.to_end.contains(ticket)
            {
                return Err(format!("{ticket} is to end and is not told so"));
            }
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), String> {
        if let Some((task, _)) = self.agents.iter().find(|(_, a)| self.lives(a)) {
            return Err(format!("an agent of {task} outlives the run"));
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
        let receipts = &self.laws.landed;
        let is_there =
            |commit: &ObjectId| self.target.contains(commit) || self.lost.contains(commit);
        if let Some(commit) = receipts.iter().find(|commit| !is_there(commit)) {
            return Err(format!("{commit} has a receipt and is not on the target"));
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

    fn lives(&self, agent: &Agent) -> bool {
        !agent.gone && agent.ends > self.now.mono.0
    }
}

fn run_id() -> RunId {
    RunId::parse("run").expect("a good id")
}

/// The record as it comes back from the ledger.
fn rewritten(stamped: &Stamped) -> Result<Stamped, String> {
    let text = serde_json::to_string(stamped).map_err(|e| e.to_string())?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

//! The loop around the engine: one event in, step, append the records, report them, start the actions.
//!
//! Nothing is decided here. Actions run as tasks of a `JoinSet`, and each ends in exactly one event, also when it
//! panics. Signals and people come first, so that a stop is heard before more work begins.

pub mod attempt;
pub mod begin;
pub mod control;
pub mod crash;
mod evidence;
mod executor;
mod gates;
pub mod gc;
pub mod guard;
pub mod how;
pub mod plan_file;
mod ports;
mod protection;
mod recovery;
mod setup;
pub mod signers;
pub mod site;
mod spending;
pub mod watch;

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};

use crate::engine::action::Action;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::{Author, BuildFailure, Control, Event, StopLevel, Unprepared, Verb};
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::engine::verification::{Environment, Smoke, Verdict, Verification};
use crate::engine::{Effects, Engine};
use crate::ids::ObjectId;
use crate::notify::Notifier;
use crate::report::Reporter;
use crate::store::{Appended, Ledger, LedgerError, NewRun};
use crate::time::{Mono, Now, Wall, for_people};

use crash::Side;
pub use executor::{Executor, stop_file, stop_files};
use site::Site;

/// The most one event may make the loop wait before it looks at the world again although nothing called it: a bound on
/// how long a lost wake-up (a watch that the kernel dropped) can go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Most records that are told of at once: a large plan begins with thousands.
const TOLD_AT_ONCE: usize = 256;

/// What can end the loop.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// The ledger cannot be written: nothing more is started.
    #[error(
        "the ledger cannot be written; agents that run are left to finish and are picked up by the next `orch run`"
    )]
    Ledger(#[from] LedgerError),
}

/// How the loop came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The engine finished the run.
    Run(Outcome),
    /// Ended at once by a third interrupt; nothing was waited for.
    Abandoned,
    /// The terminal went away: agents go on, and the next `orch run` picks them up.
    Detached,
}

/// Everything the loop listens to besides its own actions.
#[derive(Debug)]
pub struct Inputs {
    /// Requests from other terminals.
    pub requests: mpsc::Receiver<control::Request>,
    /// `.stop` and plan edits.
    pub watch: watch::Watch,
    /// Signals to this process.
    pub signals: Signals,
}

/// The signals that halt a run.
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes over SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn take() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when somebody wants this process to end.
    pub async fn interrupted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Reads both clocks.
pub fn now(started: Instant) -> Now {
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    Now {
        wall: Wall(wall),
        mono: Mono(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
    }
}

/// The loop's own hands: the engine, where its records go, and who carries out its actions.
#[derive(Debug)]
pub struct Loop {
    /// Decides.
    pub engine: Engine,
    /// Keeps.
    pub ledger: Ledger,
    /// Tells.
    pub reporter: Reporter,
    /// Tells those who do not watch.
    pub notifier: Notifier,
    /// Acts.
    pub executor: Executor,
    started: Instant,
    observed: mpsc::UnboundedReceiver<Event>,
    running: JoinSet<Event>,
    /// What to say for an action that panics.
    fallbacks: HashMap<Id, Event>,
    interrupts: u32,
}

impl Loop {
    /// A loop that has not begun.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn new(
        engine: Engine,
        ledger: Ledger,
        reporter: Reporter,
        notifier: Notifier,
        site: Site,
        started: Instant,
    ) -> anyhow::Result<Self> {
        let (executor, observed) = Executor::new(site.into())?;
        Ok(Self {
            engine,
            ledger,
            reporter,
            notifier,
            executor,
            started,
            observed,
            running: JoinSet::new(),
            fallbacks: HashMap::new(),
            interrupts: 0,
        })
    }

    /// Works until the run has ended. `first` are the effects of starting or resuming it, `found` what recovery saw.
    ///
    /// # Errors
    /// Only if the ledger cannot be written; agents are left as they are then.
    pub async fn run(
        mut self,
        first: Effects,
        found: Vec<Event>,
        inputs: &mut Inputs,
    ) -> Result<(Ended, Self), LoopError> {
        if let Some(outcome) = self.carry_out(first)? {
            return Ok((Ended::Run(outcome), self));
        }
        for event in found {
            if let Some(outcome) = self.hear(event)? {
                return Ok((Ended::Run(outcome), self));
            }
        }
        loop {
            for event in self.executor.look_at_files(&self.engine) {
                if let Some(outcome) = self.hear(event)? {
                    return Ok((Ended::Run(outcome), self));
                }
            }
            for saying in self.executor.sayings() {
                self.reporter.say(&saying);
            }
            let event = match self.next(inputs).await {
                Heard::Event(event) => event,
                Heard::Asked(control, answer) => {
                    let outcome = self.hear_control(control, Some(answer))?;
                    if let Some(outcome) = outcome {
                        return Ok((Ended::Run(outcome), self));
                    }
                    continue;
                }
                Heard::Interrupted(level) => {
                    if let Some(outcome) = self.hear(stop(level))? {
                        return Ok((Ended::Run(outcome), self));
                    }
                    self.tell_what_finishes(level);
                    continue;
                }
                Heard::Again => continue,
                Heard::Leave(ended) => return Ok((ended, self)),
            };
            if let Some(outcome) = self.hear(event)? {
                return Ok((Ended::Run(outcome), self));
            }
        }
    }

    async fn next(&mut self, inputs: &mut Inputs) -> Heard {
        let wake = self.until_wake();
        let live = self.reporter.refresh();
        tokio::select! {
            biased;
            Some(()) = inputs.signals.interrupt.recv() => self.interrupted(),
            Some(()) = inputs.signals.terminate.recv() => Heard::Event(stop(StopLevel::EndAgents)),
            Some(()) = inputs.signals.hangup.recv() => Heard::Leave(Ended::Detached),
            Some(request) = inputs.requests.recv() => Heard::Asked(request.control, request.answer),
            Some(done) = self.running.join_next_with_id() => Heard::Event(finished(done, &mut self.fallbacks)),
            Some(event) = self.observed.recv() => Heard::Event(event),
            () = inputs.watch.changed() => Heard::Again,
            () = tokio::time::sleep(wake) => Heard::Event(Event::Tick),
            () = live => {
                self.reporter.draw(&self.engine, self.executor.live(), now(self.started));
                Heard::Again
            }
        }
    }

    fn until_wake(&self) -> Duration {
        let Some(wake) = self.engine.next_wake() else {
            return LOOK_AGAIN;
        };
        Duration::from_millis(wake.ms_since(now(self.started).wall)).min(LOOK_AGAIN)
    }

    fn interrupted(&mut self) -> Heard {
        self.interrupts += 1;
        match self.interrupts {
            1 => Heard::Interrupted(StopLevel::Drain),
            2 => Heard::Interrupted(StopLevel::EndAgents),
            _ => Heard::Leave(Ended::Abandoned),
        }
    }

    /// Says what a first interrupt waits for, and what a second one would do.
    fn tell_what_finishes(&mut self, level: StopLevel) {
        if level != StopLevel::Drain || self.engine.stop_level() != level {
            return;
        }
        let Some(finishing) = self.executor.finishing(&self.engine, now(self.started)) else {
            return;
        };
        let tasks = match finishing.tasks {
            1 => "1 task".to_owned(),
            n => format!("{n} tasks"),
        };
        let limit = finishing.longest_limit_ms.map_or_else(String::new, |ms| {
            format!(", longest limit {}", for_people(ms))
        });
        self.reporter.say(&format!(
            "finishing {tasks}{limit}; again to end them and keep their work"
        ));
    }

    fn hear_control(
        &mut self,
        control: Control,
        answer: Option<oneshot::Sender<control::Answer>>,
    ) -> Result<Option<Outcome>, LoopError> {
        if let Some(refused) = self.executor.refusal(&self.engine, &control) {
            tell(answer, Some(refused));
            return Ok(None);
        }
        let effects = self.engine.step(Event::Control(control), now(self.started));
        let refused = effects.records.iter().find_map(|r| match r {
            Record::Controlled { refused, .. } => Some(refused.clone()),
            _ => None,
        });
        let ended = self.carry_out(effects)?;
        tell(answer, refused.flatten());
        Ok(ended)
    }

    fn hear(&mut self, event: Event) -> Result<Option<Outcome>, LoopError> {
        if let Event::Control(control) = event {
            return self.hear_control(control, None);
        }
        let effects = self.engine.step(event, now(self.started));
        self.carry_out(effects)
    }

    /// Makes a new run together with its first records: both exist, or neither.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    fn found(&mut self, new: &NewRun, first: &mut Effects) -> Result<(), LedgerError> {
        let at = first.at;
        self.keep(std::mem::take(&mut first.records), |ledger, records| {
            ledger.begin_run(new, at, records)
        })
    }

    /// Keeps records, then tells of them.
    fn keep(
        &mut self,
        records: Vec<Record>,
        append: impl FnOnce(&mut Ledger, Vec<Record>) -> Result<Appended, LedgerError>,
    ) -> Result<(), LedgerError> {
        crash::pass(Side::Before, records.iter());
        let appended = append(&mut self.ledger, records)?;
        crash::pass(Side::After, appended.records().iter());
        let mut stamped = appended.into_stamped();
        loop {
            let some: Vec<Stamped> = stamped.by_ref().take(TOLD_AT_ONCE).collect();
            if some.is_empty() {
                self.reporter.pause();
                return Ok(());
            }
            self.executor.note(&some);
            self.notifier.records(&some);
            self.reporter
                .records(&self.engine, &some, now(self.started));
        }
    }

    /// Records, then acts.
    fn carry_out(&mut self, effects: Effects) -> Result<Option<Outcome>, LoopError> {
        if !effects.records.is_empty() {
            let run = self.executor.site().run.clone();
            self.keep(effects.records, |ledger, records| {
                ledger.append(&run, effects.at, records)
            })?;
        }
        for action in effects.actions {
            match action {
                Action::Finish { outcome } => return Ok(Some(outcome)),
                Action::EndAgent { ticket } => self.executor.end_agent(&ticket),
                Action::EndGates { ticket } => self.executor.end_gates(&Some(ticket)),
                Action::EndBaseline => self.executor.end_gates(&None),
                Action::EndSmoke => self.executor.end_gates(&executor::smoke_job()),
                action => {
                    let fallback = panicked(&action);
                    let work = self.executor.start(action, &self.engine, effects.at);
                    let handle = self.running.spawn(work);
                    self.fallbacks.insert(handle.id(), fallback);
                }
            }
        }
        Ok(None)
    }
}

enum Heard {
    Event(Event),
    Asked(Control, oneshot::Sender<control::Answer>),
    /// Ctrl-C, which asks for this.
    Interrupted(StopLevel),
    Again,
    Leave(Ended),
}

/// Answers a request. Whoever asked may have gone; what was decided holds all the same.
fn tell(answer: Option<oneshot::Sender<control::Answer>>, refused: Option<String>) {
    if let Some(answer) = answer
        && answer.send(control::Answer { refused }).is_err()
    {
        tracing::debug!("nobody waited for the answer to a request");
    }
}

fn stop(level: StopLevel) -> Event {
    Event::Control(Control {
        verb: Verb::Stop { level },
        by: Author::Signal,
        note: None,
    })
}

fn finished(done: Result<(Id, Event), JoinError>, fallbacks: &mut HashMap<Id, Event>) -> Event {
    match done {
        Ok((id, event)) => {
            fallbacks.remove(&id);
            event
        }
        Err(error) => {
            tracing::error!(%error, "an action panicked");
            fallbacks.remove(&error.id()).unwrap_or(Event::Failed {
                outcome: Outcome::Bug,
                detail: format!("an action panicked: {error}"),
            })
        }
    }
}

/// Gates that could not be asked.
fn unasked(why: &str) -> Verification {
    Verification {
        tree: ObjectId::new(""),
        gates: Vec::new(),
        environment: Environment::default(),
        verdict: Verdict::Broken(why.to_owned()),
    }
}

/// The one event of an action that panics.
fn panicked(action: &Action) -> Event {
    let what = "orch panicked while working on it; this is a bug in orch";
    let end = || AttemptEnd::new(Ending::Environment, what);
    match action {
        Action::Prepare { ticket, .. } => Event::Prepared {
            ticket: ticket.clone(),
            saved: Vec::new(),
            resolving: None,
            result: Err(Unprepared::Ended(end())),
        },
        Action::Build { ticket, .. } => Event::Built {
            ticket: ticket.clone(),
            result: Err(BuildFailure::Trouble(what.to_owned())),
        },
        Action::Verify { ticket, .. } => Event::Verified {
            ticket: ticket.clone(),
            result: Box::new(unasked(what)),
        },
        Action::Baseline => Event::Baselined(Box::new(unasked(what))),
        Action::Smoke { tip } => Event::Smoked(Some(Box::new(Smoke {
            tip: tip.clone(),
            commit: tip.clone(),
            result: unasked(what),
        }))),
        // Whether the target moved is for recovery to find out.
        Action::Land { .. }
        | Action::Execute { .. }
        | Action::EndAgent { .. }
        | Action::EndGates { .. }
        | Action::EndBaseline
        | Action::EndSmoke
        | Action::LookForEvidence { .. }
        | Action::Collect { .. }
        | Action::WritePlan
        | Action::Publish
        | Action::Finish { .. } => Event::Failed {
            outcome: Outcome::Bug,
            detail: what.to_owned(),
        },
    }
}

//! A night of eight hours in which the account's window is used up three times, event by event in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use orch::engine::action::{Action, ExecuteMode};
use orch::engine::approval::Change;
use orch::engine::budget::Amount;
use orch::engine::ending::{AttemptEnd, Ending};
use orch::engine::event::{Author, Collected, Event, LandResult, Landing, PlanRevision};
use orch::engine::limit::{LimitHit, LimitScope, UsageWindow};
use orch::engine::outcome::Outcome;
use orch::engine::policy::Policy;
use orch::engine::profile::Profile;
use orch::engine::record::FORMAT;
use orch::engine::start::{RunStart, Selection};
use orch::engine::usage::{MicroUsd, Usage};
use orch::engine::{Effects, Engine};
use orch::ids::{ObjectId, RefName, RunId, TaskId, Ticket};
use orch::plan::{self, Strictness};
use orch::time::{Mono, Now, Wall};

const MINUTE: u64 = 60_000;
const BEGIN: Wall = Wall(1_763_668_800_000);

/// From when to when the service refuses, in minutes of the night.
const CLOSED: [(u64, u64); 3] = [(90, 135), (240, 300), (390, 420)];

/// Tasks of the plan, two at once, each twelve minutes of work.
const TASKS: usize = 54;
const JOBS: u32 = 2;
const WORK: u64 = 12 * MINUTE;

struct Night {
    engine: Engine,
    now: Wall,
    due: BTreeMap<(Wall, u64), Event>,
    count: u64,
    tip: ObjectId,
    /// Work that a task has left.
    left: BTreeMap<TaskId, u64>,
    /// When the service refused an agent.
    refused: BTreeMap<TaskId, Wall>,
    outcome: Option<Outcome>,
    starts: Vec<Wall>,
    steps: u64,
}

fn minute(n: u64) -> Wall {
    BEGIN.plus_ms(n * MINUTE)
}

/// The reset of the window, if the service refuses at that time.
fn refuses(at: Wall) -> Option<Wall> {
    let closed = CLOSED
        .iter()
        .find(|(from, to)| at >= minute(*from) && at < minute(*to));
    closed.map(|(_, to)| minute(*to))
}

fn start() -> RunStart {
    let tasks: String = (0..TASKS)
        .map(|n| format!("      - {{id: t{n}, name: T, depends_on: []}}\n"))
        .collect();
    let text = format!("sections:\n  - id: s\n    name: S\n    tasks:\n{tasks}");
    let checked = plan::check("plan.yaml", text.as_bytes(), Strictness::AsWritten);
    let graph = checked.plan.expect("a good plan").graph;
    let profile = Arc::new(Profile {
        resolves: true,
        entitlement: "claude (subscription)".to_owned(),
        agent: "coder".to_owned(),
        model: None,
        metered: true,
        is_command: false,
    });
    let profiles = graph.nodes.iter();
    let profiles = profiles.map(|node| (node.id.clone(), Arc::clone(&profile)));
    let mut policy = Policy::default();
    policy.budgets.run.cost = Some(MicroUsd(100_000_000));
    RunStart {
        format: FORMAT,
        orch: "0".to_owned(),
        plan: "plan.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/plan"),
        jobs: JOBS,
        selection: Selection::All,
        settings: BTreeMap::new(),
        revision: PlanRevision {
            text_sha256: "plan".to_owned(),
            by: Author::Orch,
            profiles: Arc::new(profiles.collect()),
            checked: Arc::default(),
            graph,
        },
        landed_before: Vec::new(),
        policy,
        waits: false,
        baseline: false,
        smoke: false,
        learned: Vec::new(),
        signers: None,
        spent_today: Amount::default(),
    }
}

impl Night {
    fn now(&self) -> Now {
        Now {
            wall: self.now,
            mono: Mono(self.now.ms_since(BEGIN)),
        }
    }

    fn later(&mut self, ms: u64, event: Event) {
        self.count += 1;
        self.due.insert((self.now.plus_ms(ms), self.count), event);
    }

    fn follow(&mut self, effects: Effects) {
        for action in effects.actions {
            self.answer(action);
        }
    }

    fn answer(&mut self, action: Action) {
        let second = 1_000;
        match action {
            Action::Prepare { ticket, .. } => {
                let result = Ok(self.tip.clone());
                let saved = Vec::new();
                self.later(
                    second,
                    Event::Prepared {
                        resolving: None,
                        ticket,
                        saved,
                        result,
                    },
                );
            }
            Action::Execute { ticket, mode, .. } => self.execute(ticket, mode),
            Action::Collect { ticket, .. } => {
                let result = Box::new(self.collected(&ticket));
                self.later(second, Event::Collected { ticket, result });
            }
            Action::Build { ticket, .. } => {
                let landing = Landing {
                    commit: ObjectId::new(format!("landing-{}", ticket.task)),
                    onto: self.tip.clone(),
                    change: Change {
                        tree: ObjectId::new("tree"),
                        sha256: String::new(),
                    },
                    answers: Vec::new(),
                };
                let result = Ok(landing);
                self.later(second, Event::Built { ticket, result });
            }
            Action::Land { ticket, commit, .. } => {
                self.tip = commit;
                let result = LandResult::Landed(None);
                self.later(second, Event::Landed { ticket, result });
            }
            Action::WritePlan => self.later(second, Event::PlanWritten),
            Action::Publish => self.later(second, Event::Published),
            Action::Finish { outcome } => self.outcome = Some(outcome),
            other => panic!("nobody asks for {other:?} in this night"),
        }
    }

    /// An agent works until it is done, or until the service refuses it; where it does not, it soon answers.
    fn execute(&mut self, ticket: Ticket, mode: ExecuteMode) {
        assert!(
            matches!(mode, ExecuteMode::Fresh | ExecuteMode::Continue { .. }),
            "{mode:?}"
        );
        self.starts.push(self.now);
        let left = *self.left.entry(ticket.task.clone()).or_insert(WORK);
        if refuses(self.now).is_none() {
            let window = UsageWindow {
                kind: "five_hour".to_owned(),
                utilisation: 500,
                resets_at: None,
            };
            let answered = Event::Observed {
                ticket: ticket.clone(),
                windows: vec![window],
            };
            self.later(2_000, answered);
        }
        let closes = CLOSED.iter().map(|(from, _)| minute(*from));
        let until = closes
            .filter(|from| *from > self.now && *from < self.now.plus_ms(left))
            .chain(refuses(self.now).map(|_| self.now.plus_ms(3_000)))
            .min();
        let works = until.map_or(left, |until| until.ms_since(self.now));
        self.left.insert(ticket.task.clone(), left - works);
        if until.is_some() {
            let at = self.now.plus_ms(works);
            self.refused.insert(ticket.task.clone(), at);
        }
        self.later(works, Event::Executed { ticket });
    }

    fn collected(&mut self, ticket: &Ticket) -> Collected {
        let refused = self.refused.remove(&ticket.task);
        let resets_at = refused.map(|at| refuses(at).expect("it refused then"));
        let ending = match resets_at {
            Some(_) => Ending::UsageLimit,
            None => Ending::Success,
        };
        let usage = Usage {
            sessions: 1,
            cost: MicroUsd(400_000),
            ..Usage::default()
        };
        Collected {
            candidate: Some(ObjectId::new(format!("candidate-{}", ticket.task))),
            limit: resets_at.map(|resets_at| LimitHit {
                scope: LimitScope::Account {
                    window: "five_hour".to_owned(),
                },
                resets_at: Some(resets_at),
            }),
            can_continue: true,
            ..Collected::nothing(AttemptEnd::new(ending, "as it goes"), usage)
        }
    }

    /// Until the run ends: the next event, or the time at which the engine wants to be woken.
    fn pass(&mut self) {
        while self.outcome.is_none() {
            let next = self.due.first_key_value().map(|(at, _)| *at);
            let wake = self.engine.next_wake();
            let event = match (next, wake) {
                (Some((at, _)), Some(wake)) if wake < at => {
                    self.now = wake;
                    Event::Tick
                }
                (Some(first), _) => {
                    self.now = first.0;
                    self.due.remove(&first).expect("it is there")
                }
                (None, Some(wake)) => {
                    self.now = wake;
                    Event::Tick
                }
                (None, None) => panic!("nothing will ever happen"),
            };
            self.steps += 1;
            let now = self.now();
            let effects = self.engine.step(event, now);
            self.follow(effects);
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figure for docs/performance.md")]
fn a_night_with_three_used_up_windows_lands_everything_and_spends_no_attempt() {
    let clock = Instant::now();
    let run = RunId::parse("20261121-063312-k3f9").expect("a run");
    let begin = Now {
        wall: BEGIN,
        mono: Mono(0),
    };
    let (engine, effects) = Engine::start(run, &start(), begin);
    let mut night = Night {
        engine,
        now: BEGIN,
        due: BTreeMap::new(),
        count: 0,
        tip: ObjectId::new("c0"),
        left: BTreeMap::new(),
        refused: BTreeMap::new(),
        outcome: None,
        starts: Vec::new(),
        steps: 0,
    };
    night.follow(effects);
    night.pass();
    eprintln!(
        "{} minutes in {} steps: {:?}",
        night.now.ms_since(BEGIN) / MINUTE,
        night.steps,
        clock.elapsed()
    );
    assert_eq!(night.outcome, Some(Outcome::Completed));
    for view in night.engine.tasks() {
        assert_eq!((view.attempt, view.spent), (1, 0), "{}", view.node.id);
    }
    let too_early = night.starts.iter().filter(|at| refuses(**at).is_some());
    assert_eq!(
        too_early.count(),
        0,
        "nothing starts while the service refuses"
    );
    assert!(night.now <= minute(8 * 60), "the night is long enough");
}

//! The engine by example: a run on a bench, where each order waits until the test answers it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an example picks the cases that it is about"
)]

mod control;
mod history;
mod landing;
mod limits;
mod plans;
mod policy;
mod queue;
mod recovery;
mod rows;
mod schedule;
mod selection;
mod smoke;
mod world;

use super::action::Action;
use super::budget::Amount;
use super::ending::{AttemptEnd, Ending};
use super::event::{
    Author, Collected, Control, Event, LandResult, Landing, PlanRevision, StopLevel, Verb,
};
use super::outcome::Outcome;
use super::policy::Policy;
use super::profile::Profile;
use super::record::{FORMAT, Record, Settlement, Stamped};
use super::start::{RunStart, Selection};
use super::usage::Usage;
use super::view::TaskState;
use super::{Effects, Engine};
use crate::ids::{ObjectId, RefName, RunId, TaskId, Ticket};
use crate::plan::graph::{Declared, Edge, Gates, Node, TaskKind};
use crate::time::{Mono, Now, Wall};

fn id(text: &str) -> TaskId {
    TaskId::parse(text).expect("a good id")
}

fn oid(text: &str) -> ObjectId {
    ObjectId::new(text)
}

/// A task that needs others: `task("c", &["a", "b"])`.
fn task(name: &str, needs: &[&str]) -> Node {
    Node {
        id: id(name),
        name: format!("Task {name}").into(),
        needs: needs
            .iter()
            .map(|on| Edge {
                on: id(on),
                implied: false,
            })
            .collect(),
        priority: 0,
        resources: Vec::new(),
        files: Vec::new(),
        max_attempts: 2,
        retry_from: None,
        kind: TaskKind::Change,
        declared: Declared::Pending,
        spec_hash: format!("spec of {name}"),
        gates: Gates::None,
        approval: None,
        evidence: None,
    }
}

fn with(mut node: Node, change: impl FnOnce(&mut Node)) -> Node {
    change(&mut node);
    node
}

fn run_id() -> RunId {
    RunId::parse("run").expect("a good id")
}

fn ann() -> Author {
    Author::Person("Ann".to_owned())
}

fn revision(version: &str, nodes: Vec<Node>) -> PlanRevision {
    PlanRevision {
        text_sha256: version.to_owned(),
        by: ann(),
        graph: nodes.into_iter().collect(),
        profiles: std::sync::Arc::default(),
        checked: std::sync::Arc::default(),
    }
}

/// A start with one job per task, so that only rules keep tasks from starting.
fn asks_for(nodes: Vec<Node>) -> RunStart {
    RunStart {
        format: FORMAT,
        orch: "0".to_owned(),
        plan: "plan.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/plan"),
        jobs: u32::try_from(nodes.len()).expect("few tasks").max(1),
        selection: Selection::All,
        settings: std::collections::BTreeMap::new(),
        revision: revision("plan 0", nodes),
        landed_before: Vec::new(),
        policy: Policy::default(),
        waits: false,
        baseline: false,
        smoke: false,
        learned: Vec::new(),
        signers: None,
        spent_today: Amount::default(),
    }
}

/// A run of which the test is the shell.
struct Bench {
    engine: Engine,
    now: Now,
    orders: Vec<Action>,
    records: Vec<Stamped>,
    /// The tip of the target.
    tip: ObjectId,
}

impl Bench {
    fn of(nodes: Vec<Node>) -> Self {
        Self::start(&asks_for(nodes))
    }

    fn start(start: &RunStart) -> Self {
        let now = Now {
            wall: Wall(1_000_000),
            mono: Mono(0),
        };
        let (engine, effects) = Engine::start(run_id(), start, now);
        let mut bench = Self {
            engine,
            now,
            orders: Vec::new(),
            records: Vec::new(),
            tip: oid("c0"),
        };
        bench.keep(effects);
        bench
    }

    fn keep(&mut self, effects: Effects) {
        for record in effects.records {
            self.records.push(Stamped {
                seq: self.records.len() as u64,
                run: run_id(),
                at: effects.at,
                record,
            });
        }
        self.orders.extend(effects.actions);
        let replayed = Engine::replay(run_id(), &self.records).expect("what was recorded can be");
        assert!(replayed == self.engine, "replay gives the engine back");
    }

    fn hear(&mut self, event: Event) {
        let effects = self.engine.step(event, self.now);
        self.keep(effects);
    }

    /// Time passes, and the engine is woken.
    fn pass(&mut self, ms: u64) {
        self.now.wall = self.now.wall.plus_ms(ms);
        self.now.mono.0 += ms;
        self.hear(Event::Tick);
    }

    /// Takes the order of a task that the pattern picks.
    fn take<T>(&mut self, name: &str, pick: impl Fn(&Action) -> Option<T>) -> (Ticket, T) {
        let task = id(name);
        let place = self
            .orders
            .iter()
            .position(|order| order.task() == Some(&task) && pick(order).is_some())
            .unwrap_or_else(|| panic!("no such order of {name} in {:?}", self.orders));
        let order = self.orders.remove(place);
        let picked = pick(&order).expect("just picked");
        let (Action::Prepare { ticket, .. }
        | Action::Execute { ticket, .. }
        | Action::EndAgent { ticket }
        | Action::Collect { ticket, .. }
        | Action::Build { ticket, .. }
        | Action::Verify { ticket, .. }
        | Action::EndGates { ticket }
        | Action::Land { ticket, .. }) = order
        else {
            panic!("an order of a task has a ticket");
        };
        (ticket, picked)
    }

    fn prepared(&mut self, name: &str) {
        let (ticket, ()) = self.take(name, |a| matches!(a, Action::Prepare { .. }).then_some(()));
        let result = Ok(self.tip.clone());
        self.hear(Event::Prepared {
            resolving: None,
            ticket,
            saved: Vec::new(),
            result,
        });
    }

    fn executed(&mut self, name: &str) {
        let (ticket, ()) = self.take(name, |a| matches!(a, Action::Execute { .. }).then_some(()));
        self.hear(Event::Executed { ticket });
    }

    fn collected(&mut self, name: &str, ending: Ending, change: impl FnOnce(&mut Collected)) {
        let (ticket, ()) = self.take(name, |a| matches!(a, Action::Collect { .. }).then_some(()));
        let usage = Usage {
            sessions: 1,
            ..Usage::default()
        };
        let mut left = Collected {
            candidate: Some(oid(&format!("{name}-{}", ticket.attempt))),
            ..Collected::nothing(AttemptEnd::new(ending, "as the test says"), usage)
        };
        change(&mut left);
        let result = Box::new(left);
        self.hear(Event::Collected { ticket, result });
    }

    /// An attempt from its prepared slot to its end, with a candidate.
    fn ends(&mut self, name: &str, ending: Ending) {
        self.prepared(name);
        self.executed(name);
        self.collected(name, ending, |_| {});
    }

    fn built(&mut self, name: &str) -> ObjectId {
        let (ticket, ()) = self.take(name, |a| matches!(a, Action::Build { .. }).then_some(()));
        let commit = oid(&format!("landing of {name}"));
        let onto = self.tip.clone();
        let result = Ok(Landing {
            commit: commit.clone(),
            onto,
            change: super::approval::Change {
                tree: ObjectId::new("tree"),
                sha256: "change".to_owned(),
            },
            answers: Vec::new(),
        });
        self.hear(Event::Built { ticket, result });
        commit
    }

    fn landed(&mut self, name: &str, result: LandResult) {
        let (ticket, ()) = self.take(name, |a| matches!(a, Action::Land { .. }).then_some(()));
        self.hear(Event::Landed { ticket, result });
    }

    fn lands(&mut self, name: &str) {
        let commit = self.built(name);
        self.tip = commit;
        self.landed(name, LandResult::Landed(None));
    }

    /// From a prepared slot to the landing.
    fn succeeds(&mut self, name: &str) {
        self.ends(name, Ending::Success);
        self.lands(name);
    }

    /// Answers the errands until the run ends; its outcome.
    fn finish(&mut self) -> Outcome {
        while !self.orders.is_empty() {
            match self.orders.remove(0) {
                Action::WritePlan => self.hear(Event::PlanWritten),
                Action::Publish => self.hear(Event::Published),
                Action::Finish { outcome } => return outcome,
                other => panic!("the run goes on with {other:?}"),
            }
        }
        panic!("the run waits: {:?}", self.engine.next_wake());
    }

    /// Asks for something; why it was refused, if it was.
    fn ask(&mut self, verb: Verb) -> Option<String> {
        let control = Control {
            verb,
            by: ann(),
            note: None,
        };
        let before = self.records.len();
        self.hear(Event::Control(control));
        match &self.records[before].record {
            Record::Controlled { refused, .. } => refused.clone(),
            other => panic!("a decision is kept first, not {other:?}"),
        }
    }

    fn stop(&mut self, level: StopLevel) {
        assert_eq!(self.ask(Verb::Stop { level }), None);
    }

    fn state(&self, name: &str) -> TaskState {
        self.engine.view(&id(name)).expect("a known task").state
    }

    fn why(&self, name: &str) -> String {
        self.engine.why(&id(name)).join("; ")
    }

    /// The tasks whose attempts lease a slot.
    fn running(&self) -> Vec<String> {
        let views = self.engine.tasks();
        views
            .filter(|view| view.slot.is_some())
            .map(|view| view.node.id.to_string())
            .collect()
    }

    fn settled_as(&self, name: &str) -> Vec<Settlement> {
        let task = id(name);
        let settled = self
            .records
            .iter()
            .filter_map(|stamped| match &stamped.record {
                Record::Settled { task: of, as_ } if *of == task => Some(as_.clone()),
                _ => None,
            });
        settled.collect()
    }

    /// The next orch: everything in memory is gone.
    fn resume(&mut self, start: &RunStart) {
        self.orders.clear();
        self.engine = Engine::replay(run_id(), &self.records).expect("what was recorded can be");
        let effects = self.engine.resume(start, self.now);
        self.keep(effects);
    }
}

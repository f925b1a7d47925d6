//! What people ask for: when they start or resume a run, and while it goes.

use std::collections::BTreeMap;

use orch::engine::budget::Amount;
use orch::engine::event::{Author, Control, Event, StopLevel, Verb};
use orch::engine::record::FORMAT;
use orch::engine::start::{RunStart, Selection};
use orch::engine::view::{TaskState, Wait};
use orch::ids::{ObjectId, RefName, TaskId};
use orch::plan::graph::RetryFrom;

use super::service::random_policy;
use super::{Step, World};
use crate::plans::Plan;
use crate::rng::Rng;

fn id(text: &str) -> TaskId {
    TaskId::parse(text).expect("a good id")
}

pub(super) fn random_start(rng: &mut Rng, plan: &Plan) -> RunStart {
    let jobs = 1 + u32::try_from(rng.below(4)).expect("small");
    let task = rng.pick(&plan.graph.nodes).id.clone();
    let selection = match rng.below(20) {
        0 => Selection::From {
            task,
            redo: rng.percent(50),
        },
        1 => Selection::Single { task: Some(task) },
        2 => Selection::Single { task: None },
        _ => Selection::All,
    };
    let landed_before = match rng.percent(10) {
        true => vec![(id("t0"), ObjectId::new("c0"))],
        false => Vec::new(),
    };
    RunStart {
        format: FORMAT,
        orch: "0".to_owned(),
        plan: "plan.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/plan"),
        jobs,
        selection,
        settings: BTreeMap::new(),
        revision: plan.revision(Author::Person("ann".to_owned())),
        landed_before,
        waits: rng.percent(20),
        baseline: rng.percent(30),
        smoke: rng.percent(50),
        policy: random_policy(rng),
        learned: Vec::new(),
        signers: None,
        spent_today: Amount::default(),
    }
}

impl World {
    /// Whether a run that stays for people waits for one to approve something.
    pub(super) fn is_asked(&self) -> bool {
        self.asked().is_some()
    }

    fn asked(&self) -> Option<TaskId> {
        let mut tasks = self.engine.tasks();
        let asked = tasks.find(|view| {
            let reason = Wait::Approval;
            view.state
                == TaskState::Waiting {
                    reason,
                    until: None,
                }
        });
        asked.map(|view| view.node.id.clone())
    }

    /// Somebody looks at what waits for them.
    pub(super) fn someone_decides(&mut self) -> Step {
        self.seen.note("a run stays for a person");
        let task = self.asked().expect("somebody is asked");
        let verb = match self.rng.below(10) {
            0..6 => Verb::Approve {
                task,
                commit: None,
                signature: self.rng.percent(60).then(|| "by ann".to_owned()),
            },
            6..9 => Verb::Reject { task },
            _ => Verb::Stop {
                level: StopLevel::Drain,
            },
        };
        self.hear(Event::Control(Control {
            verb,
            by: Author::Person("ann".to_owned()),
            note: None,
        }))
    }

    pub(super) fn random_control(&mut self) -> Control {
        let task = id(&format!(
            "t{}",
            self.rng.below(self.plan.graph.nodes.len() + 2)
        ));
        let verb = match self.rng.below(31) {
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
            17 | 18 => Verb::MarkDone {
                task,
                commit: self.rng.percent(50).then(|| ObjectId::new("c0")),
            },
            22 | 23 => Verb::Pause,
            24 | 25 => Verb::Resume,
            26..30 => Verb::Approve {
                task,
                commit: None,
                signature: self.rng.percent(60).then(|| "by ann".to_owned()),
            },
            30 => Verb::Reject { task },
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
}

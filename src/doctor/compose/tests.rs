//! What a new ledger is made of, for each kind of hole in the old one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::json;

use super::super::world::{KeptPlan, LikelyTarget, Signed};
use super::*;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::Author;
use crate::engine::next::Next;
use crate::engine::usage::Usage;
use crate::ids::{SlotId, Ticket};

const RUN: &str = "20261121-063312-k3f9";
const NOW: Wall = Wall(1_900_000_000_000);

fn run() -> RunId {
    RunId::parse(RUN).unwrap()
}

fn task(id: &str) -> TaskId {
    TaskId::parse(id).unwrap()
}

fn target() -> RefName {
    RefName::new("refs/heads/orch/plan")
}

fn commit(digit: char) -> ObjectId {
    ObjectId::new(digit.to_string().repeat(40))
}

fn ticket(id: &str, epoch: u32) -> Ticket {
    Ticket {
        task: task(id),
        attempt: 1,
        epoch,
    }
}

fn revision() -> PlanRevision {
    PlanRevision {
        text_sha256: "00".repeat(32),
        by: Author::Orch,
        graph: ["1", "2"]
            .into_iter()
            .map(|id| unknown_node(&task(id)))
            .collect(),
        profiles: std::sync::Arc::default(),
        checked: std::sync::Arc::default(),
    }
}

fn start() -> RunStart {
    let start = json!({
        "format": FORMAT,
        "orch": "0.1.0",
        "plan": "plan.yaml",
        "target": target(),
        "jobs": 2,
        "selection": Selection::All,
        "settings": {},
        "revision": revision(),
        "landed_before": [],
    });
    serde_json::from_value(start).unwrap()
}

fn collected() -> Record {
    let collected = json!({
        "kind": "collected",
        "ticket": ticket("1", 3),
        "end": AttemptEnd::new(Ending::Success, "done"),
        "usage": Usage { sessions: 1, ..Usage::default() },
        "candidate": commit('b'),
        "message": null,
        "report": null,
        "notes": [],
        "next": Next::Land,
    });
    serde_json::from_value(collected).unwrap()
}

/// Task 1 lands, task 2 is under way.
fn records() -> Vec<Record> {
    vec![
        Record::RunStarted(start().into()),
        Record::AttemptStarted {
            ticket: ticket("1", 1),
            slot: SlotId(1),
            model: None,
            grant: crate::engine::budget::Grant::default(),
        },
        Record::AgentStarting {
            ticket: ticket("1", 2),
            base: commit('a'),
            asks_status: false,
            continues: None,
        },
        Record::AgentEnded {
            ticket: ticket("1", 3),
            ended_by_orch: None,
        },
        collected(),
        Record::Building {
            ticket: ticket("1", 4),
            behind: None,
        },
        Record::LandingIntended {
            ticket: ticket("1", 5),
            commit: commit('c'),
            onto: commit('a'),
        },
        Record::Landed {
            ticket: ticket("1", 5),
            commit: commit('c'),
            verified: false,
            generation: 1,
        },
        Record::AttemptStarted {
            ticket: ticket("2", 1),
            slot: SlotId(1),
            model: None,
            grant: crate::engine::budget::Grant::default(),
        },
    ]
}

/// The fragments of the records without those at some places.
fn fragments(without: &[u64]) -> Fragments {
    let mut fragments = Fragments {
        last_seq: Some(records().len() as u64),
        ..Fragments::default()
    };
    for (seq, record) in (1..).zip(records()) {
        if !without.contains(&seq) {
            let fragment = Fragment {
                run: run(),
                at: Wall(1_790_000_000_000),
                body: serde_json::to_string(&record).unwrap(),
                record,
            };
            fragments.records.insert(seq, fragment);
        }
    }
    let new = NewRun {
        run: run(),
        plan_id: PlanId::from_path(Path::new("plan.yaml")),
        plan_path: "/src/shop/plan.yaml".to_owned(),
        target: target(),
        repository: "/src/shop/.git".to_owned(),
    };
    let row = (new, Wall(1_790_000_000_000));
    fragments.runs.insert(run(), row);
    fragments
}

/// What the world tells of the same run.
fn world() -> World {
    let mut world = World::default();
    let signed = Signed {
        task: task("1"),
        attempt: 1,
        plan: PlanId::from_path(Path::new("plan.yaml")),
        commit: commit('c'),
        branches: BTreeSet::from([target()]),
    };
    world.commits.insert(run(), vec![signed]);
    let attempts = ["1", "2"].map(|id| (task(id), 1));
    world.attempts.insert(run(), attempts.into());
    world.plans.insert(
        run(),
        KeptPlan {
            id: None,
            revision: revision(),
        },
    );
    let likely = LikelyTarget {
        name: target(),
        is_certain: true,
    };
    world.targets.insert(run(), likely);
    world
}

fn made(fragments: &Fragments, world: &World) -> (Composed, Account) {
    let made = compose(fragments, world, Path::new("/src/shop/.git"), NOW);
    let account = made.accounts.first().unwrap().clone();
    (made, account)
}

/// The state of the run in the new ledger.
fn engine(made: &Composed) -> Engine {
    Engine::replay(run(), made.records.iter().map(|s| &s.stamped)).unwrap()
}

fn has_landed(engine: &Engine, id: &str) -> bool {
    let view = engine.view(&task(id)).unwrap();
    let how = match view.state {
        TaskState::Completed { how, .. } => Some(how),
        _ => None,
    };
    how == Some(Completion::Landed)
}

#[test]
fn a_run_whose_records_are_all_there_is_taken_over_as_it_is() {
    let (made, account) = made(&fragments(&[]), &world());
    assert_eq!(account.fate, Fate::Whole);
    let kept: Vec<Record> = made
        .records
        .iter()
        .map(|s| s.stamped.record.clone())
        .collect();
    assert_eq!(kept, records());
    assert_eq!(engine(&made).outcome(), None, "it goes on");
}

#[test]
fn a_run_that_lost_any_record_is_closed_and_what_landed_counts() {
    for seq in 2..=records().len() as u64 {
        let (made, account) = made(&fragments(&[seq]), &world());
        assert_eq!(account.fate, Fate::Closed, "record {seq}");
        assert!(
            account
                .lost
                .contains(&format!("record {seq} of the ledger"))
        );
        let engine = engine(&made);
        assert_eq!(engine.outcome(), Some(Outcome::Environment));
        assert!(has_landed(&engine, "1"), "record {seq}");
        assert_eq!(engine.unsettled(), [], "nothing is under way any more");
        let expected = usize::from(seq < 9);
        assert_eq!(account.found.len(), expected, "record {seq}");
    }
}

#[test]
fn a_run_that_lost_its_beginning_begins_as_its_plan_was_kept() {
    let (made, account) = made(&fragments(&[1]), &world());
    assert_eq!(account.fate, Fate::Closed);
    assert!(account.lost[0].starts_with("how the run began"));
    assert!(has_landed(&engine(&made), "1"));
    assert!(engine(&made).view(&task("2")).is_some());
}

#[test]
fn a_run_whose_end_is_not_known_is_closed() {
    let mut fragments = fragments(&[]);
    fragments.last_seq = None;
    let (_, account) = made(&fragments, &world());
    assert_eq!(account.fate, Fate::Closed);
    assert_eq!(account.lost, ["what came after record 9, if anything"]);
}

#[test]
fn a_world_that_knows_more_than_the_records_closes_the_run() {
    let mut further = world();
    let attempt = (task("2"), 2);
    further.attempts.get_mut(&run()).unwrap().insert(attempt);
    let (_, account) = made(&fragments(&[]), &further);
    assert_eq!(account.fate, Fate::Closed);
    assert_eq!(account.lost, ["what became of 2#2"]);

    let mut landed = world();
    let second = Signed {
        task: task("2"),
        commit: commit('d'),
        ..landed.commits[&run()][0].clone()
    };
    landed.commits.get_mut(&run()).unwrap().push(second);
    let (made, account) = made(&fragments(&[]), &landed);
    assert_eq!(account.fate, Fate::Closed);
    assert_eq!(account.found, [(task("2"), commit('d'))]);
    assert!(has_landed(&engine(&made), "2"));
}

#[test]
fn a_run_that_only_the_world_tells_of_is_made_of_that() {
    let (made, account) = made(&Fragments::default(), &world());
    assert_eq!(account.fate, Fate::Closed);
    assert_eq!(account.found, [(task("1"), commit('c'))]);
    let (new, started) = &made.runs[0];
    assert_eq!(new.plan_path, "/src/shop/plan.yaml");
    assert_eq!(new.target, target());
    assert_eq!(started.0, 1_795_242_792_000, "by its id");
    assert!(has_landed(&engine(&made), "1"));
    assert!(!has_landed(&engine(&made), "2"));
}

#[test]
fn without_a_plan_text_the_tasks_that_landed_are_all_that_is_known() {
    let mut world = world();
    world.plans.clear();
    let (made, account) = made(&Fragments::default(), &world);
    assert!(account.lost.contains(&"the text of its plan".to_owned()));
    assert!(has_landed(&engine(&made), "1"));
    assert!(engine(&made).view(&task("2")).is_none());
}

#[test]
fn a_run_of_which_only_directories_tell_is_named_and_not_made_up() {
    let mut world = World::default();
    let attempts = BTreeSet::from([(task("1"), 1)]);
    world.attempts.insert(run(), attempts);
    let (made, account) = made(&Fragments::default(), &world);
    assert_eq!(account.fate, Fate::Unknown);
    assert!(made.records.is_empty() && made.runs.is_empty());
}

#[test]
fn a_run_that_was_closed_once_stays_as_it_is() {
    let (first, _) = made(&fragments(&[4]), &world());
    let again = Fragments {
        records: first
            .records
            .iter()
            .map(|saved| {
                let stamped = &saved.stamped;
                let fragment = Fragment {
                    run: stamped.run.clone(),
                    at: stamped.at,
                    body: saved.body.clone(),
                    record: stamped.record.clone(),
                };
                (stamped.seq, fragment)
            })
            .collect(),
        ..fragments(&[])
    };
    let (second, account) = made(&again, &world());
    assert_eq!(account.fate, Fate::Whole);
    assert_eq!(second.records, first.records);
}

#[test]
fn a_copy_of_a_commit_is_no_other_landing() {
    let mut world = world();
    let copy = Signed {
        commit: commit('e'),
        ..world.commits[&run()][0].clone()
    };
    world.commits.get_mut(&run()).unwrap().push(copy);
    let (_, account) = made(&fragments(&[8]), &world);
    assert_eq!(account.found, [(task("1"), commit('c'))]);
}

#[test]
fn gaps_are_told_as_ranges() {
    assert_eq!(
        ranges([1, 3, 4, 5, 9].into_iter()),
        ["record 1", "records 3 to 5", "record 9"]
    );
}

//! The way of a candidate to the target.

use std::sync::Arc;

use super::*;
use crate::engine::conflict::Conflict;
use crate::engine::event::{BuildFailure, Unprepared};
use crate::engine::policy::{CONFLICTS_MAX, MISSES_AT_ONCE_MAX, TROUBLES_MAX};
use crate::engine::view::Completion;

fn build_fails(bench: &mut Bench, name: &str, failure: BuildFailure) {
    let (ticket, ()) = bench.take(name, |a| matches!(a, Action::Build { .. }).then_some(()));
    let result = Err(failure);
    bench.hear(Event::Built { ticket, result });
}

#[test]
fn one_candidate_lands_at_a_time_the_longest_path_first() {
    let nodes = vec![
        task("a", &[]),
        task("b", &[]),
        task("c", &["b"]),
        task("x", &[]),
    ];
    let mut bench = Bench::of(nodes);
    bench.ends("x", Ending::Success);
    bench.ends("a", Ending::Success);
    bench.ends("b", Ending::Success);
    assert!(
        bench.why("b").contains("x is building"),
        "{}",
        bench.why("b")
    );
    for next in ["x", "b", "a"] {
        let builds: Vec<_> = bench
            .orders
            .iter()
            .filter(|o| matches!(o, Action::Build { .. }))
            .collect();
        assert_eq!(builds.len(), 1);
        bench.lands(next);
    }
}

#[test]
fn the_first_two_conflicts_cost_no_attempt() {
    let mut bench = Bench::of(vec![with(task("a", &[]), |n| n.max_attempts = 1)]);
    let conflict = || {
        BuildFailure::Conflict(Conflict {
            files: vec!["src/x.rs".to_owned()],
            tried: None,
            with: Vec::new(),
        })
    };
    for _ in 0..CONFLICTS_MAX {
        bench.ends("a", Ending::Success);
        build_fails(&mut bench, "a", conflict());
        assert_eq!(bench.running(), ["a"]);
    }
    bench.ends("a", Ending::Success);
    build_fails(&mut bench, "a", conflict());
    assert_eq!(bench.state("a"), TaskState::Failed);
    assert!(bench.why("a").contains("src/x.rs"), "{}", bench.why("a"));
}

#[test]
fn a_candidate_that_the_target_has_already_completes_without_a_commit() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::Success);
    build_fails(&mut bench, "a", BuildFailure::AlreadyThere);
    let expected = TaskState::Completed {
        how: Completion::NoChange,
        commit: None,
        verified: false,
    };
    assert_eq!(bench.state("a"), expected);
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn a_target_that_keeps_moving_is_tried_at_once_and_then_more_slowly() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::Success);
    for _ in 0..MISSES_AT_ONCE_MAX {
        bench.built("a");
        bench.landed("a", LandResult::TipMoved);
        assert_eq!(bench.engine.next_wake(), None);
    }
    bench.built("a");
    bench.landed("a", LandResult::TipMoved);
    let wake = bench.engine.next_wake().expect("it is tried again");
    bench.pass(wake.ms_since(bench.now.wall));
    bench.lands("a");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn git_may_refuse_three_times_before_the_run_stops_and_the_candidate_is_kept() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::Success);
    for _ in 0..TROUBLES_MAX {
        build_fails(
            &mut bench,
            "a",
            BuildFailure::Trouble("disk full".to_owned()),
        );
        let wake = bench.engine.next_wake().expect("it is tried again");
        bench.pass(wake.ms_since(bench.now.wall));
    }
    build_fails(
        &mut bench,
        "a",
        BuildFailure::Trouble("disk full".to_owned()),
    );
    assert_eq!(bench.finish(), Outcome::Environment);
    bench.resume(&asks_for(vec![task("a", &[])]));
    bench.lands("a");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn a_rewritten_target_parks_the_run_until_a_person_resumes_it() {
    let nodes = || vec![task("a", &[]), task("b", &[]), task("c", &["b"])];
    let mut bench = Bench::of(nodes());
    bench.ends("a", Ending::Success);
    bench.built("a");
    bench.landed("a", LandResult::Rewritten(None));
    bench.prepared("b");
    assert_eq!(bench.finish(), Outcome::WaitingForPerson);
    assert_eq!(
        bench.state("a"),
        TaskState::Landing,
        "its candidate is kept"
    );
    bench.resume(&asks_for(nodes()));
    bench.lands("a");
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn what_a_landed_agent_added_to_the_plan_is_run() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::Success);
    bench.built("a");
    let mut extended = revision(
        "plan 1",
        vec![task("a", &[]), task("b", &["a"]), task("c", &[])],
    );
    extended.by = Author::Agent(id("a"));
    Arc::make_mut(&mut extended.graph.nodes[2]).declared = Declared::Completed;
    bench.landed("a", LandResult::Landed(Some(extended)));
    assert_eq!(bench.running(), ["b"], "one job");
    assert_eq!(
        bench.state("c"),
        TaskState::Ready,
        "an agent's word completes nothing"
    );
}

#[test]
fn a_person_edits_the_plan_of_a_running_run() {
    let nodes = vec![
        task("a", &[]),
        task("gone", &["a"]),
        task("later", &["a"]),
        task("off", &["a"]),
    ];
    let mut bench = Bench::of(nodes);
    let edited = vec![
        with(task("a", &[]), |n| n.spec_hash = "another".to_owned()),
        with(task("later", &["a"]), |n| n.max_attempts = 7),
        with(task("off", &["a"]), |n| n.declared = Declared::Skipped),
        task("new", &[]),
    ];
    bench.hear(Event::PlanRevised(revision("plan 1", edited)));
    assert_eq!(bench.settled_as("gone"), [Settlement::Removed]);
    assert_eq!(bench.settled_as("off"), [Settlement::Skipped]);
    assert_eq!(bench.running(), ["a", "new"]);
    let a = bench.engine.view(&id("a")).expect("a known task");
    assert!(
        a.stale && a.node.spec_hash == "spec of a",
        "it finishes what it began"
    );
    assert_eq!(
        bench.engine.view(&id("later")).map(|v| v.node.max_attempts),
        Some(7)
    );
}

#[test]
fn a_landing_that_was_undone_no_longer_satisfies() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &["a"])]);
    bench.succeeds("a");
    let undone = Record::Settled {
        task: id("a"),
        as_: Settlement::Reverted {
            commit: oid("undo"),
        },
    };
    let stamped = Stamped {
        seq: 99,
        run: run_id(),
        at: bench.now.wall,
        record: undone,
    };
    bench
        .engine
        .observe(&stamped)
        .expect("a landing can be undone");
    assert_eq!(bench.state("a"), TaskState::Reverted);
    assert!(bench.engine.observe(&stamped).is_err(), "only once");
}

/// Task `b` lands, then nothing but a person is left to wait for; task `a`, which could not land, does once the run is
/// resumed.
fn lands_in_the_next_run(mut bench: Bench, nodes: Vec<Node>) {
    bench.ends("b", Ending::Success);
    bench.lands("b");
    assert_eq!(bench.finish(), Outcome::WaitingForPerson);
    bench.resume(&asks_for(nodes));
    bench.lands("a");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn what_a_person_has_in_the_way_is_waited_for_by_nobody_and_tried_again_meanwhile() {
    let nodes = || vec![task("a", &[]), task("b", &[])];
    let in_the_way = || LandResult::InTheWay("README.md is dirty".to_owned());
    let mut bench = Bench::of(nodes());
    bench.ends("a", Ending::Success);
    bench.built("a");
    bench.landed("a", in_the_way());
    assert!(bench.why("a").contains("README.md"), "{}", bench.why("a"));
    let wake = bench.engine.next_wake().expect("it is tried again");
    bench.pass(wake.ms_since(bench.now.wall));
    bench.built("a");
    bench.landed("a", in_the_way());
    lands_in_the_next_run(bench, nodes());
}

#[test]
fn a_lock_is_tried_for_some_times_then_waited_for_with_its_name_and_an_end() {
    let nodes = || vec![task("a", &[]), task("b", &[])];
    let locked = || LandResult::Locked("`index.lock` exists; if no git runs, remove it".to_owned());
    let mut bench = Bench::of(nodes());
    bench.ends("a", Ending::Success);
    for _ in 0..TROUBLES_MAX {
        bench.built("a");
        bench.landed("a", locked());
        let wake = bench.engine.next_wake().expect("it is tried again");
        bench.pass(wake.ms_since(bench.now.wall));
    }
    bench.built("a");
    bench.landed("a", locked());
    assert!(bench.why("a").contains("index.lock"), "{}", bench.why("a"));
    lands_in_the_next_run(bench, nodes());
}

#[test]
fn nothing_starts_on_a_target_that_lost_what_was_landed_and_no_attempt_is_spent() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    let (ticket, ()) = bench.take("a", |a| matches!(a, Action::Prepare { .. }).then_some(()));
    bench.hear(Event::Prepared {
        resolving: None,
        ticket,
        saved: Vec::new(),
        result: Err(Unprepared::Rewritten(None)),
    });
    assert_eq!(bench.finish(), Outcome::WaitingForPerson);
    assert_eq!(bench.engine.view(&id("a")).expect("known").spent, 0);
}

#[test]
fn what_changed_in_the_repository_meanwhile_is_told_of_every_attempt() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    for (ending, what) in [(Ending::AgentFailed, "a hook"), (Ending::Success, "a ref")] {
        bench.prepared("a");
        bench.executed("a");
        bench.collected("a", ending, |left| left.meanwhile.push(what.to_owned()));
    }
    let view = bench.engine.view(&id("a")).expect("known");
    assert_eq!(view.meanwhile, ["a hook", "a ref"]);
}

#[test]
fn nothing_is_built_on_a_target_that_lost_what_was_landed() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.ends("a", Ending::Success);
    build_fails(&mut bench, "a", BuildFailure::Rewritten(None));
    assert_eq!(bench.finish(), Outcome::WaitingForPerson);
}

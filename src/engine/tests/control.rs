//! What people decide, in every state of a task.

use std::sync::Arc;

use super::*;
use crate::engine::event::BuildFailure;

/// The states that a decision can meet, and how to get there.
const STATES: [&str; 13] = [
    "pending",
    "waiting",
    "limited",
    "parked",
    "preparing",
    "executing",
    "collecting",
    "queued",
    "building",
    "landing",
    "completed",
    "failed",
    "cancelled",
];

/// A run whose task `a` is in the given state, beside `z`, which keeps the run alive.
fn in_state(state: &str) -> Bench {
    let nodes = vec![
        with(
            task("a", if state == "pending" { &["z"] } else { &[] }),
            |n| n.max_attempts = 1,
        ),
        task("z", &[]),
    ];
    let mut bench = Bench::of(nodes);
    if state == "queued" {
        bench.ends("z", Ending::Success);
    } else {
        bench.prepared("z");
    }
    match state {
        "pending" | "preparing" => {}
        "waiting" => bench.ends("a", Ending::Crashed),
        "limited" => bench.ends("a", Ending::UsageLimit),
        "parked" => {
            bench.prepared("a");
            bench.executed("a");
            bench.collected("a", Ending::UsageLimit, |left| left.can_continue = true);
        }
        "executing" => bench.prepared("a"),
        "collecting" => {
            bench.prepared("a");
            bench.executed("a");
        }
        "queued" | "building" => bench.ends("a", Ending::Success),
        "landing" => {
            bench.ends("a", Ending::Success);
            bench.built("a");
        }
        "completed" => bench.succeeds("a"),
        "failed" => bench.ends("a", Ending::AgentFailed),
        "cancelled" => {
            let task = id("a");
            assert_eq!(bench.ask(Verb::Cancel { task }), None);
            bench.prepared("a");
        }
        other => panic!("no state {other}"),
    }
    bench
}

/// In which states a decision is followed.
fn allowed(verb: impl Fn(TaskId) -> Verb) -> Vec<&'static str> {
    STATES
        .into_iter()
        .filter(|state| in_state(state).ask(verb(id("a"))).is_none())
        .collect()
}

#[test]
fn every_decision_is_followed_or_refused_in_every_state() {
    let under_way = [
        "waiting",
        "limited",
        "parked",
        "preparing",
        "executing",
        "collecting",
        "queued",
        "building",
    ];
    let open: Vec<&str> = ["pending"].into_iter().chain(under_way).collect();
    let cancel = allowed(|task| Verb::Cancel { task });
    assert_eq!(cancel, open);
    let skip = allowed(|task| Verb::Skip { task });
    assert_eq!(skip, [open.as_slice(), &["failed", "cancelled"]].concat());
    assert_eq!(allowed(|task| Verb::MarkDone { task, commit: None }), skip);
    let hold = allowed(|task| Verb::Hold { task });
    assert_eq!(hold, [open.as_slice(), &["landing"]].concat());
    assert_eq!(allowed(|task| Verb::Priority { task, value: 1 }), hold);
    assert_eq!(allowed(|task| Verb::Release { task }), [""; 0]);
    let retry = allowed(|task| Verb::Retry { task, from: None });
    assert_eq!(
        retry,
        [
            "waiting",
            "limited",
            "parked",
            "completed",
            "failed",
            "cancelled"
        ]
    );
}

#[test]
fn a_cancelled_agent_is_ended_and_its_work_kept_but_not_landed() {
    let mut bench = in_state("executing");
    bench.ask(Verb::Cancel { task: id("a") });
    bench.take("a", |a| matches!(a, Action::EndAgent { .. }).then_some(()));
    assert!(
        bench.why("a").starts_with("it will be cancelled"),
        "{}",
        bench.why("a")
    );
    bench.executed("a");
    bench.collected("a", Ending::Success, |_| {});
    assert_eq!(bench.state("a"), TaskState::Cancelled);
    let view = bench.engine.view(&id("a")).expect("a known task");
    assert_eq!((view.spent, view.candidate), (0, Some(&oid("a-1"))));
}

#[test]
fn skipping_a_failed_task_lets_those_go_on_that_need_it() {
    let nodes = vec![
        with(task("a", &[]), |n| n.max_attempts = 1),
        task("b", &["a"]),
    ];
    let mut bench = Bench::of(nodes);
    bench.ends("a", Ending::Refused);
    bench.ask(Verb::Skip { task: id("a") });
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn a_held_task_is_what_the_run_waits_for_in_the_end() {
    let nodes = || vec![task("a", &[]), task("b", &["a"])];
    let mut bench = Bench::of(nodes());
    bench.ask(Verb::Hold { task: id("b") });
    bench.succeeds("a");
    assert_eq!(bench.finish(), Outcome::WaitingForPerson);
    assert_eq!(
        bench.ask(Verb::Release { task: id("b") }),
        None,
        "also while no orch runs"
    );
    assert!(bench.orders.is_empty());
    bench.resume(&asks_for(nodes()));
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn a_failed_run_goes_on_after_a_retry_with_fresh_attempts() {
    let nodes = || vec![with(task("a", &[]), |n| n.max_attempts = 1)];
    let mut bench = Bench::of(nodes());
    bench.ends("a", Ending::AgentFailed);
    assert_eq!(bench.finish(), Outcome::Failed);
    bench.resume(&asks_for(nodes()));
    assert_eq!(bench.finish(), Outcome::Failed, "a settled failure stays");
    assert_eq!(bench.ask(Verb::RetryFailed), None);
    bench.resume(&asks_for(nodes()));
    bench.succeeds("a");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn a_drain_lets_agents_finish_and_starts_none() {
    let nodes = || vec![task("a", &[]), task("b", &[]), task("c", &["a"])];
    let mut bench = Bench::of(nodes());
    bench.prepared("a");
    bench.stop(StopLevel::Drain);
    bench.prepared("b");
    assert_eq!(bench.running(), ["a"], "b's agent had not started");
    bench.executed("a");
    bench.collected("a", Ending::Success, |_| {});
    bench.lands("a");
    assert_eq!(bench.finish(), Outcome::Stopped);
    bench.resume(&asks_for(nodes()));
    assert_eq!(bench.running(), ["b", "c"]);
    assert_eq!(bench.engine.view(&id("b")).map(|v| v.spent), Some(0));
}

#[test]
fn a_firm_stop_ends_agents_keeps_their_work_and_lands_what_is_done() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[])]);
    bench.prepared("a");
    bench.prepared("b");
    bench.stop(StopLevel::Drain);
    bench.stop(StopLevel::EndAgents);
    assert!(
        bench
            .ask(Verb::Stop {
                level: StopLevel::Drain
            })
            .is_some(),
        "less is no more"
    );
    for name in ["a", "b"] {
        bench.take(name, |a| matches!(a, Action::EndAgent { .. }).then_some(()));
        bench.executed(name);
    }
    bench.collected("a", Ending::Interrupted, |_| {});
    bench.collected("b", Ending::Success, |_| {});
    bench.take("b", |a| matches!(a, Action::EndGates { .. }).then_some(()));
    bench.lands("b");
    assert_eq!(bench.finish(), Outcome::Stopped);
    let a = bench.engine.view(&id("a")).expect("a known task");
    assert_eq!((a.spent, a.candidate), (0, Some(&oid("a-1"))));
}

#[test]
fn under_a_firm_stop_no_command_makes_files_anew_and_what_was_ended_is_not_begun_again() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[])]);
    bench.ends("a", Ending::Success);
    bench.prepared("b");
    bench.stop(StopLevel::EndAgents);
    let cut_off = |bench: &mut Bench, name: &str| {
        let ends = |a: &Action| matches!(a, Action::EndGates { .. }).then_some(());
        let (ticket, ()) = bench.take(name, ends);
        let builds = |a: &Action| matches!(a, Action::Build { .. }).then_some(());
        bench.take(name, builds);
        let result = Err(BuildFailure::Interrupted);
        bench.hear(Event::Built { ticket, result });
    };
    cut_off(&mut bench, "a");
    bench.take("b", |a| matches!(a, Action::EndAgent { .. }).then_some(()));
    bench.executed("b");
    bench.collected("b", Ending::Success, |_| {});
    cut_off(&mut bench, "b");
    assert_eq!(bench.finish(), Outcome::Stopped);
    bench.resume(&asks_for(vec![task("a", &[]), task("b", &[])]));
    bench.lands("a");
    bench.lands("b");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn a_stop_that_came_after_the_last_start_changes_no_outcome() {
    let mut bench = Bench::of(vec![task("a", &[])]);
    bench.prepared("a");
    bench.stop(StopLevel::Drain);
    bench.executed("a");
    bench.collected("a", Ending::Success, |_| {});
    bench.lands("a");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn fewer_jobs_let_running_ones_finish() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[]), task("c", &["a"])]);
    assert!(bench.ask(Verb::Jobs { count: 0 }).is_some());
    bench.ask(Verb::Jobs { count: 1 });
    bench.succeeds("a");
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn a_paused_run_starts_nothing_and_stays_until_it_is_resumed() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &["a"])]);
    assert!(bench.ask(Verb::Resume).is_some(), "it is not paused");
    assert_eq!(bench.ask(Verb::Pause), None);
    assert!(bench.ask(Verb::Pause).is_some(), "once is enough");
    bench.succeeds("a");
    assert!(bench.running().is_empty());
    assert!(
        bench
            .orders
            .iter()
            .all(|order| !matches!(order, Action::Finish { .. } | Action::Publish))
    );
    assert!(bench.why("b").contains("Ann paused the run"));
    // A pause outlives orch, and may be ended without one.
    bench.resume(&asks_for(vec![task("a", &[]), task("b", &["a"])]));
    assert!(bench.running().is_empty());
    assert!(bench.why("b").contains("Ann paused the run"));
    assert_eq!(bench.ask(Verb::Resume), None);
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn a_run_that_has_stopped_can_be_paused_and_is_when_it_goes_on() {
    let nodes = || vec![task("a", &[])];
    let mut bench = Bench::of(nodes());
    bench.stop(StopLevel::Drain);
    bench.prepared("a");
    assert!(
        bench
            .ask(Verb::Pause)
            .is_some_and(|why| why.contains("stopping")),
        "it starts nothing anyway"
    );
    assert_eq!(bench.finish(), Outcome::Stopped);
    assert_eq!(bench.ask(Verb::Pause), None);
    bench.resume(&asks_for(nodes()));
    assert!(bench.running().is_empty(), "{:?}", bench.running());
    assert_eq!(bench.ask(Verb::Resume), None);
    assert_eq!(bench.running(), ["a"]);
}

#[test]
fn who_settled_a_task_and_why_is_told() {
    let mut bench = Bench::of(["a", "b", "c"].map(|name| task(name, &[])).into());
    for (verb, name) in [
        (Verb::Cancel { task: id("a") }, "a"),
        (Verb::Skip { task: id("b") }, "b"),
        (
            Verb::MarkDone {
                task: id("c"),
                commit: None,
            },
            "c",
        ),
    ] {
        let note = Some("for a reason".to_owned());
        let by = ann();
        bench.hear(Event::Control(Control { verb, by, note }));
        bench.prepared(name);
        let why = bench.why(name);
        assert!(why.contains("by Ann (for a reason)"), "{why}");
    }
    assert_eq!(
        bench.ask(Verb::Retry {
            task: id("a"),
            from: None
        }),
        None
    );
    bench.ends("a", Ending::AgentFailed);
    assert!(!bench.why("a").contains("Ann"), "{}", bench.why("a"));
}

#[test]
fn a_task_that_a_person_did_elsewhere_names_the_commit() {
    let mut bench = in_state("executing");
    let commit = Some(oid("by hand"));
    let verb = Verb::MarkDone {
        task: id("a"),
        commit: commit.clone(),
    };
    assert_eq!(bench.ask(verb), None);
    bench.executed("a");
    bench.collected("a", Ending::Interrupted, |_| {});
    assert_eq!(
        bench.settled_as("a"),
        [Settlement::MarkedDone {
            commit: commit.clone()
        }]
    );
    let TaskState::Completed { commit: shown, .. } = bench.state("a") else {
        panic!("{:?}", bench.state("a"));
    };
    assert_eq!(shown, commit);
}

#[test]
fn cancelling_a_parked_task_frees_its_slot_at_once() {
    let mut bench = in_state("parked");
    assert_eq!(bench.ask(Verb::Cancel { task: id("a") }), None);
    assert_eq!(bench.state("a"), TaskState::Cancelled);
    assert_eq!(bench.running(), ["z"]);
}

#[test]
fn what_the_plan_said_before_two_decisions_without_an_orch_is_no_news() {
    let mut start = asks_for(vec![with(task("a", &[]), |n| n.max_attempts = 1)]);
    let mut bench = Bench::start(&start);
    bench.ends("a", Ending::AgentFailed);
    assert_eq!(bench.finish(), Outcome::Failed);
    let done = Verb::MarkDone {
        task: id("a"),
        commit: None,
    };
    assert_eq!(bench.ask(done), None);
    let retry = Verb::Retry {
        task: id("a"),
        from: None,
    };
    assert_eq!(bench.ask(retry), None);
    start.revision.text_sha256 = "as the first orch left it".to_owned();
    let nodes = &mut start.revision.graph.nodes;
    Arc::make_mut(&mut nodes[0]).declared = Declared::Failed;
    bench.resume(&start);
    assert_eq!(bench.running(), ["a"]);
}

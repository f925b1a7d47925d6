//! Which tasks a run is about: what the plan declares, what earlier runs landed, and what the start selects.

use super::*;
use crate::engine::view::Completion;

fn declared(name: &str, needs: &[&str], declared: Declared) -> Node {
    with(task(name, needs), |n| n.declared = declared)
}

fn completed(how: Completion, commit: Option<&str>) -> TaskState {
    TaskState::Completed {
        how,
        commit: commit.map(oid),
        verified: false,
    }
}

#[test]
fn what_the_plan_declares_is_believed_and_what_the_ledger_knows_goes_before_it() {
    let mut start = asks_for(vec![
        declared("done", &[], Declared::Completed),
        declared("landed", &[], Declared::Pending),
        declared("off", &[], Declared::Skipped),
        declared("bad", &[], Declared::Failed),
        task("behind", &["bad"]),
    ]);
    start.landed_before = vec![(id("landed"), oid("c7"))];
    let mut bench = Bench::start(&start);
    assert_eq!(bench.state("done"), completed(Completion::Believed, None));
    assert_eq!(
        bench.state("landed"),
        completed(Completion::LandedBefore, Some("c7"))
    );
    assert_eq!(bench.state("off"), TaskState::Skipped);
    assert_eq!(bench.state("behind"), TaskState::Blocked { by: id("bad") });
    assert_eq!(bench.finish(), Outcome::Failed);
}

fn selects(selection: Selection) -> Bench {
    let mut start = asks_for(vec![
        task("open", &[]),
        declared("done", &[], Declared::Completed),
        declared("from", &["open"], Declared::Completed),
        declared("after", &["from"], Declared::Completed),
        task("rest", &["from"]),
    ]);
    start.selection = selection;
    Bench::start(&start)
}

#[test]
fn resuming_from_a_task_leaves_out_open_ones_before_it_and_resets_it() {
    let mut bench = selects(Selection::From {
        task: id("from"),
        redo: false,
    });
    assert_eq!(bench.state("open"), TaskState::LeftOut);
    assert_eq!(bench.state("done"), completed(Completion::Believed, None));
    assert_eq!(bench.state("after"), completed(Completion::Believed, None));
    assert_eq!(bench.running(), ["from"]);
    bench.succeeds("from");
    bench.succeeds("rest");
    assert_eq!(bench.finish(), Outcome::Completed);
}

#[test]
fn redo_resets_completed_tasks_after_it_too() {
    let bench = selects(Selection::From {
        task: id("from"),
        redo: true,
    });
    assert_eq!(bench.state("after"), TaskState::Pending);
    assert_eq!(bench.state("done"), completed(Completion::Believed, None));
}

#[test]
fn a_single_task_is_run_and_judged_alone() {
    let nodes = || {
        vec![
            declared("bad", &[], Declared::Failed),
            task("a", &[]),
            task("b", &["a", "bad"]),
        ]
    };
    let mut start = asks_for(nodes());
    start.selection = Selection::Single {
        task: Some(id("b")),
    };
    let mut bench = Bench::start(&start);
    assert_eq!(bench.running(), ["b"]);
    bench.succeeds("b");
    assert_eq!(bench.finish(), Outcome::Completed);

    start.selection = Selection::Single { task: None };
    let mut bench = Bench::start(&start);
    assert_eq!(bench.running(), ["a"], "the next that is ready");
    bench.succeeds("a");
    assert_eq!(bench.finish(), Outcome::Completed);

    start.selection = Selection::All;
    bench.resume(&start);
    assert_eq!(
        bench.state("bad"),
        TaskState::Failed,
        "leaving it out has not forgiven it"
    );
    assert_eq!(bench.state("b"), TaskState::Blocked { by: id("bad") });
}

#[test]
fn a_task_that_the_plan_does_not_have_cannot_be_selected() {
    let mut start = asks_for(vec![task("a", &[])]);
    start.selection = Selection::Single {
        task: Some(id("b")),
    };
    let mut bench = Bench::start(&start);
    assert!(bench.running().is_empty());
    assert_eq!(bench.finish(), Outcome::Invalid);
}

#[test]
fn a_reset_task_is_not_taken_for_landed_when_the_run_goes_on() {
    let mut start = asks_for(vec![task("a", &[])]);
    start.landed_before = vec![(id("a"), oid("c7"))];
    start.selection = Selection::From {
        task: id("a"),
        redo: false,
    };
    let mut bench = Bench::start(&start);
    bench.stop(StopLevel::Drain);
    bench.prepared("a");
    assert_eq!(bench.finish(), Outcome::Stopped);
    start.selection = Selection::All;
    bench.resume(&start);
    assert_eq!(bench.running(), ["a"]);
}

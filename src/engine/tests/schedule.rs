//! Which tasks start, in which order, and beside which others.

use super::*;

#[test]
fn a_plan_runs_to_its_end_and_every_commit_lands_on_the_one_before() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &["a"])]);
    assert_eq!(bench.running(), ["a"]);
    bench.succeeds("a");
    assert_eq!(bench.running(), ["b"]);
    bench.succeeds("b");
    assert_eq!(bench.finish(), Outcome::Completed);
    assert_eq!(bench.engine.tip(), Some(&oid("landing of b")));
}

#[test]
fn priority_goes_first_then_the_longest_path_then_document_order() {
    let nodes = vec![
        task("last", &[]),
        task("late", &[]),
        task("long", &[]),
        task("behind", &["long"]),
        with(task("urgent", &[]), |n| n.priority = 1),
    ];
    let mut start = asks_for(nodes);
    start.jobs = 1;
    let mut bench = Bench::start(&start);
    for next in ["urgent", "long", "last", "late", "behind"] {
        assert_eq!(bench.running(), [next]);
        bench.succeeds(next);
    }
}

#[test]
fn tasks_with_a_common_resource_or_overlapping_files_take_turns_until_the_landing() {
    let nodes = vec![
        with(task("a", &[]), |n| n.resources = vec!["db".to_owned()]),
        with(task("b", &[]), |n| n.resources = vec!["db".to_owned()]),
        with(task("c", &[]), |n| n.files = vec!["src/**".to_owned()]),
        with(task("d", &[]), |n| n.files = vec!["src/x.rs".to_owned()]),
        task("e", &[]),
    ];
    let mut bench = Bench::of(nodes);
    assert_eq!(bench.running(), ["a", "c", "e"]);
    assert!(
        bench.why("b").contains("the resource `db`"),
        "{}",
        bench.why("b")
    );
    assert!(bench.why("d").contains("src/x.rs"), "{}", bench.why("d"));
    bench.ends("a", Ending::Success);
    assert_eq!(bench.running(), ["c", "e"], "a has not landed yet");
    bench.lands("a");
    assert_eq!(bench.running(), ["b", "c", "e"]);
}

#[test]
fn nobody_waits_for_a_whole_group() {
    let mut bench = Bench::of(vec![task("a", &[]), task("b", &[]), task("c", &["a"])]);
    bench.succeeds("a");
    assert_eq!(bench.running(), ["b", "c"]);
}

#[test]
fn the_lowest_free_slot_is_leased_and_free_again_while_the_candidate_lands() {
    let mut start = asks_for(vec![task("a", &[]), task("b", &[]), task("c", &[])]);
    start.jobs = 2;
    let mut bench = Bench::start(&start);
    let slot = |bench: &Bench, name| {
        bench
            .engine
            .view(&id(name))
            .and_then(|v| v.slot)
            .map(|s| s.0)
    };
    assert_eq!((slot(&bench, "a"), slot(&bench, "b")), (Some(1), Some(2)));
    assert!(
        bench.why("c").contains("all 2 slots are taken"),
        "{}",
        bench.why("c")
    );
    bench.ends("a", Ending::Success);
    assert_eq!(slot(&bench, "c"), Some(1));
    assert_eq!(bench.state("a"), TaskState::Landing);
}

#[test]
fn an_implied_edge_stands_for_all_that_can_be_reached_over_it() {
    let implied = |node| with(node, |n: &mut Node| n.needs[0].implied = true);
    let nodes = |edge: fn(Node) -> Node| {
        let done = with(task("b", &["a"]), |n| n.declared = Declared::Completed);
        vec![task("a", &[]), done, edge(task("c", &["b"]))]
    };
    let bench = Bench::of(nodes(|written| written));
    assert_eq!(
        bench.running(),
        ["a", "c"],
        "a written edge asks for b alone"
    );
    let mut bench = Bench::of(nodes(implied));
    assert_eq!(bench.running(), ["a"]);
    assert!(
        bench
            .why("c")
            .contains("b (implied by the order of the document)"),
        "{}",
        bench.why("c")
    );
    bench.succeeds("a");
    assert_eq!(bench.running(), ["c"]);
}

#[test]
fn what_a_failure_blocks_names_the_chain_and_the_rest_goes_on() {
    let nodes = vec![
        with(task("a", &[]), |n| n.max_attempts = 1),
        task("b", &["a"]),
        with(task("c", &["b"]), |n| n.needs[0].implied = true),
        task("d", &[]),
    ];
    let mut bench = Bench::of(nodes);
    bench.ends("a", Ending::AgentFailed);
    assert_eq!(bench.state("c"), TaskState::Blocked { by: id("b") });
    assert_eq!(
        bench.why("c"),
        "blocked: needs b (implied by the order of the document) <- a, which is failed"
    );
    bench.succeeds("d");
    assert_eq!(bench.finish(), Outcome::Failed);
}

//! The landing queue with several gate slots, with real git: what merges cleanly and is red together never lands, and
//! nobody is blamed for another's fault.

use std::fmt::Write as _;

use serde_json::Value;

use crate::fixture::{Fixture, waits};
use crate::runs::plan;

/// Passes unless both files of a line of `pairs` are there.
const CHECK: &str =
    "while read a b; do if [ -e $a ] && [ -e $b ]; then echo $a and $b; exit 1; fi; done < pairs\n";

/// Tasks `1`.. that need nothing, each of which adds the file `f<n>`, and the checks of a repository whose `pairs` hold
/// these lines.
fn scene(tasks: usize, slots: u32, check: &str, pairs: &[(usize, usize)]) -> Fixture {
    scene_with(tasks, slots, check, pairs, "")
}

/// The same with more keys of `verify`.
fn scene_with(
    tasks: usize,
    slots: u32,
    check: &str,
    pairs: &[(usize, usize)],
    more: &str,
) -> Fixture {
    let ids: Vec<String> = (1..=tasks).map(|n| n.to_string()).collect();
    let keys: Vec<String> = (1..=tasks)
        .map(|n| format!("run: touch f{n}\ndepends_on: []\nmax_attempts: 1"))
        .collect();
    let tasks: Vec<(&str, &str)> = ids
        .iter()
        .zip(&keys)
        .map(|(id, keys)| (id.as_str(), keys.as_str()))
        .collect();
    let f = Fixture::with_plan(&plan(&tasks));
    let mut lines = String::new();
    for (a, b) in pairs {
        writeln!(lines, "f{a} f{b}").expect("a string takes all");
    }
    f.write("pairs", &lines);
    f.write("check.sh", CHECK);
    let keys = format!(
        "verify:\n  parallel: {slots}\n  commands:\n    - {{name: check, run: '{}'}}\n{more}",
        check.replace('\'', "''")
    );
    f.write("orch.yaml", &keys);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a check"]);
    f
}

fn records(f: &Fixture, kind: &str) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records.filter(|r| r["kind"] == kind).collect()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).expect(path)
}

/// Whether the files of a commit hold a pair.
fn is_red(f: &Fixture, commit: &str, pairs: &[(usize, usize)]) -> bool {
    let files = f.git(["ls-tree", "--name-only", commit]);
    let has = |n: usize| files.lines().any(|line| line == format!("f{n}"));
    pairs.iter().any(|&(a, b)| has(a) && has(b))
}

#[test]
fn landing_commits_are_verified_at_once_and_land_in_queue_order() {
    // No gate ends before three have begun: with fewer slots none ever would.
    let check = format!(
        "test \"$ORCH_TASK\" = baseline || {{ touch \"$GATE/$ORCH_TASK\"; {}; {}; {}; }}",
        waits("1"),
        waits("2"),
        waits("3")
    );
    let f = scene(3, 3, &check, &[]);
    f.orch(["run", "-j", "3"]).exits(0);
    assert_eq!(records(&f, "verified").len(), 3, "one for each landed tree");
    assert_eq!(records(&f, "verifying").len(), 3);
    let trees: Vec<String> = (0..3)
        .map(|n| f.git(["rev-parse", &format!("main~{n}^{{tree}}")]))
        .collect();
    for record in records(&f, "verified") {
        let tree = text(&record, "/result/tree");
        assert!(
            trees.iter().any(|t| t.trim() == tree),
            "{tree} is no landed tree"
        );
    }
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn no_red_tree_lands_and_only_culprits_are_named() {
    // Pairs drawn once by a die; files of none of them are of the first to land.
    let planted: [&[(usize, usize)]; 3] = [
        &[(1, 2)],
        &[(2, 5), (3, 6), (1, 4)],
        &[(1, 3), (2, 3), (4, 6), (5, 6)],
    ];
    for pairs in planted {
        let f = scene(6, 3, "sh check.sh", pairs);
        f.orch(["run", "-j", "6"]).exits(1);
        assert_lawful(&f, 6, pairs);
    }
}

/// The same over random plans, slots and conflicts. In every other one a candidate's gate leaves a file that git ignores,
/// and that makes each gate after it red. `ORCH_QUEUES=100 cargo test --test e2e -- --ignored --nocapture many_random`.
#[test]
#[ignore = "takes minutes"]
#[expect(clippy::print_stderr, reason = "the numbers are what it is run for")]
fn no_red_tree_lands_in_many_random_queues() {
    let wanted = std::env::var("ORCH_QUEUES").map_or(20, |n| n.parse().expect("a number"));
    let mut total = (0, 0);
    for seed in 0..wanted {
        let mut state: u64 = seed;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).expect("31 bits") % n
        };
        let (tasks, slots) = (3 + below(6), 1 + below(4));
        let mut pairs = Vec::new();
        for _ in 0..=below(tasks) {
            let (a, b) = (1 + below(tasks), 1 + below(tasks));
            if a != b {
                pairs.push((a.min(b), a.max(b)));
            }
        }
        let check = match seed % 2 {
            0 => "sh check.sh".to_owned(),
            _ => format!(
                "test ! -e left.cache || exit 3; sh check.sh && {{ test ! -e f{} || touch left.cache; }}",
                1 + below(tasks)
            ),
        };
        let f = scene(tasks, u32::try_from(slots).expect("few"), &check, &pairs);
        f.write(".gitignore", "*.cache\n");
        f.git(["add", "-A"]);
        f.git(["commit", "-qm", "Ignore caches"]);
        f.orch(["run", "-j", &tasks.to_string()])
            .exits(i32::from(!pairs.is_empty()));
        let (landed, blamed) = assert_lawful(&f, tasks, &pairs);
        eprintln!(
            "seed {seed}: {tasks} tasks, {slots} slots, {pairs:?}: {landed} landed, {blamed} blamed"
        );
        total = (total.0 + landed, total.1 + blamed);
    }
    eprintln!(
        "{wanted} queues: {} landed, none of them red; {} blamed, none of them innocent",
        total.0, total.1
    );
}

/// No commit that landed is red, each task has landed or is blamed, and whoever is blamed was red upon a commit that has
/// landed and is not red. How many landed, and how many are blamed.
#[track_caller]
fn assert_lawful(f: &Fixture, tasks: usize, pairs: &[(usize, usize)]) -> (usize, usize) {
    let landed = records(f, "landed");
    for record in &landed {
        let commit = text(record, "/commit");
        assert!(!is_red(f, commit, pairs), "{commit} landed red");
    }
    let blamed = records(f, "not_landable");
    assert_eq!(
        landed.len() + blamed.len(),
        tasks,
        "each has landed or is named"
    );
    for record in &blamed {
        let task = text(record, "/ticket/task");
        assert_eq!(text(record, "/end/ending"), "verify_failed");
        let last = records(f, "verified")
            .into_iter()
            .rfind(|r| text(r, "/ticket/task") == task)
            .expect("a verdict");
        let commit = text(&last, "/commit");
        assert!(is_red(f, commit, pairs), "{task} is innocent");
        let onto = format!("{commit}^");
        assert!(!is_red(f, &onto, pairs), "{task} was built on a red tree");
        let landed_on = f.git(["rev-parse", &onto]);
        let is_landed = |r: &Value| text(r, "/commit") == landed_on.trim();
        let target = f.git(["merge-base", landed_on.trim(), "orch/plan"]);
        assert!(
            landed.iter().any(is_landed) || target == landed_on,
            "{task} was judged behind what has not landed"
        );
    }
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
    (landed.len(), blamed.len())
}

#[test]
fn a_red_that_does_not_come_again_with_nothing_before_it_blames_nobody() {
    // The second to be verified is red while the first has not landed, and never again.
    let check = format!(
        "test \"$ORCH_TASK\" = baseline && exit 0; if [ -e f1 ] && [ -e f2 ] && [ ! -e \"$GATE/seen\" ]; then touch \
         \"$GATE/seen\"; exit 1; fi; {}",
        waits("seen")
    );
    let f = scene(2, 2, &check, &[]);
    f.orch(["run", "-j", "2"]).exits(0);
    assert_eq!(records(&f, "not_landable").len(), 0);
    assert_eq!(records(&f, "landed").len(), 2);
    let missed = records(&f, "landing_missed");
    assert_eq!(missed.len(), 1);
    assert!(missed[0]["why"]["suspected"].is_string(), "{missed:?}");
    f.assert_tidy();
}

#[test]
fn an_orch_killed_while_several_are_verified_lands_each_once() {
    let check = format!(
        "test \"$ORCH_TASK\" = baseline || {{ touch \"$GATE/up-$ORCH_TASK\"; {}; }}",
        waits("go")
    );
    let f = scene(3, 3, &check, &[]);
    let run = f.live(["run", "-j", "3"]);
    for task in 1..=3 {
        f.await_gate(&format!("up-{task}"));
    }
    f.orch(["why", "3"]).exits(0);
    run.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    for task in ["1", "2", "3"] {
        assert_eq!(f.count("landed", task), 1);
        assert_eq!(f.count("attempt_started", task), 1);
    }
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

/// How often the check ran.
fn asked(f: &Fixture) -> usize {
    let log = std::fs::read_to_string(f.gate().join("log")).expect("a log");
    log.lines().count()
}

#[test]
fn a_second_run_on_unchanged_trees_verifies_nothing_with_three_gate_slots_too() {
    let f = scene_with(
        3,
        3,
        "echo ran >> \"$GATE/log\"",
        &[],
        "  cache: hermetic\n",
    );
    f.orch(["run", "-j", "1"]).exits(0);
    assert_eq!(asked(&f), 4, "the base, and one for each landed tree");
    let tree = f.git(["rev-parse", "main^{tree}"]);
    f.git(["reset", "-q", "--hard", "main~3"]);
    f.git(["update-ref", "-d", "refs/heads/orch/plan"]);
    f.orch(["run", "-j", "1"]).exits(0);
    assert_eq!(f.git(["rev-parse", "main^{tree}"]), tree);
    assert_eq!(asked(&f), 4, "every tree is known");
    f.assert_tidy();
}

#[test]
fn a_queue_whose_target_is_moved_by_somebody_else_is_verified_again_as_it_lands() {
    // The first three landing commits are judged on a tip that has gone by the time they have passed.
    let check = format!(
        "test \"$ORCH_TASK\" = baseline || {{ touch \"$GATE/up-$ORCH_TASK\"; {}; }}",
        waits("go")
    );
    let f = scene(3, 3, &check, &[]);
    let run = f.live(["run", "-j", "3"]);
    for task in 1..=3 {
        f.await_gate(&format!("up-{task}"));
    }
    let before = f.git(["rev-parse", "orch/plan"]);
    let tree = f.git(["rev-parse", "orch/plan^{tree}"]);
    let theirs = f.git([
        "commit-tree",
        tree.trim(),
        "-p",
        before.trim(),
        "-m",
        "Of a person",
    ]);
    f.git(["update-ref", "refs/heads/orch/plan", theirs.trim()]);
    f.open("go");
    run.ended().exits(0);
    assert_eq!(records(&f, "landed").len(), 3);
    let mut parent = theirs.trim().to_owned();
    for record in records(&f, "landed") {
        let commit = text(&record, "/commit");
        let onto = f.git(["rev-parse", &format!("{commit}^")]);
        assert_eq!(onto.trim(), parent, "nothing of the person is lost");
        let vouching = records(&f, "verified").into_iter();
        let of_it: Vec<Value> = vouching.filter(|r| text(r, "/commit") == commit).collect();
        assert_eq!(of_it.len(), 1, "{commit} has a record of its own");
        let tree = f.git(["rev-parse", &format!("{commit}^{{tree}}")]);
        assert_eq!(text(&of_it[0], "/result/tree"), tree.trim());
        parent = commit.to_owned();
    }
    let missed = records(&f, "landing_missed");
    assert!(!missed.is_empty(), "the old tip was not landed on");
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

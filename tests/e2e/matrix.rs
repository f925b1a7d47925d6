//! The crash matrix: orch, or a shim, is killed at every place between two steps (`src/crash.rs`), for plans of every
//! shape; what the next starts make of it is what the undisturbed run makes.
//!
//! The ordinary tests try each place once. The whole matrix, every passing of every place for every shape, and a second
//! kill in the recovery from the first: `cargo test --test e2e matrix -- --ignored --nocapture`. It prints the table of
//! `docs/reliability.md`; `ORCH_MATRIX_SHAPES='retry,live twice'` tries only some.

use std::collections::BTreeSet;

use crate::shapes::{Shape, adopted, alive, passings};
use crate::tally::{Tally, tried};

/// Places that lie in what shapes beside the sequence have of their own, and are tried for each of them.
const ALWAYS: [&str; 4] = [
    "after-agent_starting",
    "after-landing_intended",
    "branch-moved",
    "agent-started",
];
/// The places that are passed in a recovery are tried after a kill at these.
const WRECKS: [&str; 8] = [
    "sheet-saved",
    "shim-spawned",
    "after-agent_ended",
    "candidate-made",
    "gate-told",
    "after-landing_intended",
    "branch-moved",
    "before-landed",
];

/// Kills at `at`, then lets others finish.
fn kill_at(shape: &Shape, expected: &str, at: &str) -> Tally {
    let f = shape.fixture();
    let crashed = shape.run(&f, Some(at));
    let mut tally = Tally {
        cases: 1,
        ..Tally::default()
    };
    let reached: BTreeSet<String> = at
        .split(',')
        .filter(|place| f.root().join("passings").join(place).exists())
        .map(str::to_owned)
        .collect();
    tally.kills = reached.len();
    if reached.is_empty() {
        tally.not_reached.push(format!("{} {at}", shape.name));
    }
    let outlived = if crashed.code == -1 {
        alive(&f)
    } else {
        Vec::new()
    };
    if crashed.code != 0 {
        assert_eq!(crashed.code, -1, "{}: {at}: {crashed:?}", shape.name);
        tally.starts = shape.finish(&f, at);
    }
    assert_eq!(shape.assert_whole(&f, at), expected, "{}: {at}", shape.name);
    tally.adopted = adopted(&f, &outlived);
    tally.alive = outlived.len();
    tally
}

/// Kills at `first`, then at `second` in the start that finds the wreck.
fn kill_twice(shape: &Shape, expected: &str, first: &str, second: &str) -> Tally {
    let f = shape.fixture();
    shape.run(&f, Some(first));
    let again = shape.run(&f, Some(second));
    let after = format!("{first} and {second}");
    let mut tally = Tally {
        cases: 1,
        kills: 1 + usize::from(again.code == -1),
        ..Tally::default()
    };
    if again.code != 0 {
        assert_eq!(again.code, -1, "{}: {after}: {again:?}", shape.name);
        tally.starts = 1 + shape.finish(&f, &after);
    }
    assert_eq!(
        shape.assert_whole(&f, &after),
        expected,
        "{}: {after}",
        shape.name
    );
    tally
}

/// Kills at each place that `is_wanted` likes, up to `passings_max` times of it.
fn matrix(shape: &Shape, passings_max: u32, is_wanted: impl Fn(&str) -> bool) -> Tally {
    let (expected, places) = shape.undisturbed();
    let cases: Vec<String> = places
        .iter()
        .filter(|(place, _)| is_wanted(place))
        .flat_map(|(place, times)| {
            (1..=(*times).min(passings_max)).map(move |n| format!("{place}:{n}"))
        })
        .collect();
    tried(&cases, Clone::clone, |at| kill_at(shape, &expected, at))
}

/// What the sequence has not, and what always is worth it.
fn own_places(shape: &Shape) -> Tally {
    let (_, common) = Shape::sequence().undisturbed();
    matrix(shape, 1, |place| {
        !common.contains_key(place) || ALWAYS.contains(&place)
    })
}

#[test]
fn a_sequence_survives_a_kill_at_every_place() {
    matrix(&Shape::sequence(), 1, |_| true).assert_clean();
}

#[test]
fn tasks_that_run_together_survive_a_kill() {
    own_places(&Shape::parallel()).assert_clean();
}

#[test]
fn a_conflict_survives_a_kill() {
    own_places(&Shape::conflict()).assert_clean();
}

#[test]
fn a_conflict_of_which_a_command_knows_the_answer_survives_a_kill() {
    own_places(&Shape::remade()).assert_clean();
}

#[test]
fn a_conflict_that_a_session_resolves_survives_a_kill() {
    own_places(&Shape::resolved()).assert_clean();
}

#[test]
fn an_extension_of_the_plan_survives_a_kill() {
    own_places(&Shape::extension()).assert_clean();
}

#[test]
fn a_failed_attempt_and_the_next_one_survive_a_kill() {
    own_places(&Shape::retry()).assert_clean();
}

#[test]
fn landings_into_the_checkout_survive_a_kill() {
    own_places(&Shape::live()).assert_clean();
}

#[test]
fn a_plan_that_a_person_is_editing_survives_a_kill() {
    own_places(&Shape::edited()).assert_clean();
}

#[test]
fn a_plan_outside_of_git_survives_a_kill() {
    own_places(&Shape::outside()).assert_clean();
}

#[test]
fn gates_survive_a_kill() {
    own_places(&Shape::verified()).assert_clean();
}

#[test]
fn a_red_gate_and_the_next_attempt_survive_a_kill() {
    own_places(&Shape::red()).assert_clean();
}

#[test]
fn gates_of_a_suite_that_is_red_already_survive_a_kill() {
    own_places(&Shape::baseline()).assert_clean();
}

#[test]
fn a_queue_of_landing_commits_survives_a_kill() {
    own_places(&Shape::queue()).assert_clean();
}

#[test]
fn questions_to_a_person_and_the_answers_survive_a_kill() {
    own_places(&Shape::approved()).assert_clean();
}

#[test]
fn an_answer_to_an_orch_that_waits_for_it_survives_a_kill() {
    own_places(&Shape::answered()).assert_clean();
}

#[test]
fn a_wait_for_evidence_survives_a_kill() {
    own_places(&Shape::evidence()).assert_clean();
}

#[test]
fn hooks_and_smoke_survive_a_kill() {
    own_places(&Shape::crowned()).assert_clean();
}

#[test]
fn refused_and_allowed_changes_of_protected_paths_survive_a_kill() {
    own_places(&Shape::protected()).assert_clean();
}

#[test]
fn work_that_is_saved_from_a_slot_survives_a_kill() {
    own_places(&Shape::saved()).assert_clean();
}

#[test]
fn a_stop_survives_a_kill() {
    own_places(&Shape::stopped()).assert_clean();
}

#[test]
fn a_kill_in_the_recovery_from_a_kill_is_survived() {
    let shape = Shape::live();
    let (expected, _) = shape.undisturbed();
    let twice = |first: &str, second: &str| kill_twice(&shape, &expected, first, second);
    let mut total = Tally::default();
    for (first, second) in [
        ("branch-moved:1", "checkout-updated:1"),
        ("branch-moved:1", "recovery-begins:1"),
        ("after-landing_intended:1", "order-judged:1"),
        ("after-agent_starting:1", "swept:1"),
        ("sheet-saved:1", "after-superseded:1"),
    ] {
        total.add(twice(first, second));
    }
    total.assert_clean();
    assert_eq!(total.kills, 2 * total.cases, "each second kill is reached");
}

/// The words in backquotes in the tables of `docs/recovery.md`, from `from` to the next heading: in some columns.
fn named_in_docs(from: &str, columns: std::ops::Range<usize>) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recovery.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let (_, rest) = text.split_once(from).expect("the part");
    let part = rest.split("\n## ").next().unwrap_or(rest);
    let rows = part.lines().filter(|line| line.starts_with('|'));
    let cells = rows.flat_map(|row| row.split('|').skip(1 + columns.start).take(columns.len()));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_place_of_the_recovery_table_is_passed_by_a_shape_or_in_its_recovery() {
    let mut passed = BTreeSet::new();
    for shape in Shape::all() {
        passed.extend(shape.undisturbed().1.into_keys());
    }
    for wreck in WRECKS {
        let shape = Shape::live();
        let f = shape.fixture();
        shape.run(&f, Some(&format!("{wreck}:1")));
        shape.run(&f, Some("nowhere:1")).exits(0);
        passed.extend(passings(&f).into_keys());
    }
    let mut places = named_in_docs("## Places", 1..2);
    for record in named_in_docs("| last record of a task", 0..1) {
        places.extend([format!("before-{record}"), format!("after-{record}")]);
    }
    // `orch gc` has a test of its own.
    places.retain(|place| {
        !["before-discarded", "after-discarded", "item-removed"].contains(&place.as_str())
    });
    let missed: Vec<&String> = places.difference(&passed).collect();
    assert!(missed.is_empty(), "no shape passes {missed:?}");
}

#[test]
#[ignore = "takes minutes; see the head of this file"]
#[expect(clippy::print_stderr, reason = "the table is what it is run for")]
fn every_shape_survives_a_kill_at_every_passing_of_every_place() {
    let wanted = std::env::var("ORCH_MATRIX_SHAPES").unwrap_or_default();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(',').any(|one| one == name);
    let mut total = Tally::default();
    let mut table =
        vec!["| shape | cases | kills | restarts | violations | agents adopted |".to_owned()];
    for shape in Shape::all()
        .into_iter()
        .filter(|shape| is_wanted(shape.name))
    {
        let tally = matrix(&shape, u32::MAX, |_| true);
        table.push(tally.row(shape.name));
        eprintln!("{}", tally.row(shape.name));
        total.add(tally);
    }
    let twice = [
        Shape::live(),
        Shape::verified(),
        Shape::approved(),
        Shape::answered(),
        Shape::evidence(),
        Shape::crowned(),
        Shape::protected(),
    ];
    for shape in twice {
        let name = format!("{} twice", shape.name);
        if is_wanted(&name) {
            let tally = in_recovery(&shape);
            eprintln!("{}", tally.row(&name));
            table.push(tally.row(&name));
            total.add(tally);
        }
    }
    table.push(total.row("all"));
    eprintln!("{}\nnot reached: {:?}", table.join("\n"), total.not_reached);
    total.assert_clean();
}

/// Kills at every place that is passed on the way from each of some wrecks to the end.
fn in_recovery(shape: &Shape) -> Tally {
    let (expected, _) = shape.undisturbed();
    let mut cases = Vec::new();
    for wreck in WRECKS {
        let first = format!("{wreck}:1");
        let f = shape.fixture();
        // A shape without gates does not come to theirs.
        if shape.run(&f, Some(&first)).code == 0 {
            continue;
        }
        let before = passings(&f);
        shape.run(&f, Some("nowhere:1")).exits(0);
        for (place, times) in passings(&f) {
            let passed = before.get(&place).copied().unwrap_or(0);
            if times > passed {
                cases.push((first.clone(), format!("{place}:{}", passed + 1)));
            }
        }
    }
    let name = |case: &(String, String)| format!("{} and {}", case.0, case.1);
    tried(&cases, name, |(first, second)| {
        kill_twice(shape, &expected, first, second)
    })
}

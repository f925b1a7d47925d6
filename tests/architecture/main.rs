//! The order of the house: which module may use which, what stays pure, how long a file may be, and that the documents
//! say what the code says. Read from the sources, so that a climb fails before anybody has to see it.

mod circles;
mod documents;
mod source;

use std::path::Path;

use source::Source;

/// The floor of each module; a module uses only floors below its own.
const FLOORS: [(&str, u8); 22] = [
    ("main", 7),
    ("cli", 6),
    ("driver", 5),
    ("doctor", 5),
    ("report", 4),
    ("agent", 4),
    ("audit", 4),
    ("verify", 4),
    ("notify", 4),
    ("store", 3),
    ("git", 3),
    ("process", 3),
    ("engine", 2),
    ("plan", 1),
    ("config", 1),
    ("crash", 0),
    ("error", 0),
    ("flock", 0),
    ("diagnostic", 0),
    ("digest", 0),
    ("ids", 0),
    ("time", 0),
];
/// What may use its own floor: settings speak of the plan's runners and defaults; the audit goes by the names of what is
/// protected, and reads what changed by itself.
const NEIGHBOURS: [(&str, &str); 2] = [("config", "plan"), ("audit", "verify")];
/// Modules that compute and touch nothing.
const PURE: [&str; 2] = ["engine", "plan"];
/// What a pure module does not name.
const IMPURE: [&str; 12] = [
    "async",
    "await",
    "git2",
    "Instant",
    "notify",
    "println",
    "rand",
    "rusqlite",
    "SystemTime",
    "tempfile",
    "tokio",
    "uuid",
];
/// The parts of `std` that a pure module does not use.
const IMPURE_STD: [&str; 5] = ["env", "fs", "net", "process", "thread"];
/// Longest file, tests included: what one can read at a sitting.
const LINES_MAX: usize = 600;

fn floor(module: &str) -> u8 {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("module {module} has no floor: docs/architecture.md, and here"))
        .1
}

/// Fails with everything that is wrong at once.
#[track_caller]
fn nothing(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_module_uses_only_floors_below_its_own() {
    let mut wrong = Vec::new();
    for source in source::all("src") {
        let Some(module) = source.module() else {
            continue;
        };
        for used in source.paths_below("crate") {
            let is_below = floor(&used) < floor(&module);
            if used != module && !is_below && !NEIGHBOURS.contains(&(&module, &used)) {
                wrong.push(format!("{}: {module} uses {used}", source.path));
            }
        }
    }
    nothing(wrong);
}

#[test]
fn no_module_is_left_through_super() {
    let mut wrong = Vec::new();
    for source in source::all("src") {
        let depth = source.depth();
        for (part, may) in [(source.outside_tests(), depth), (source.code(), depth + 1)] {
            let chain = (0..).take_while(|n| part.contains(&"super::".repeat(*n)));
            if chain.last().unwrap_or(0) >= may.max(1) {
                wrong.push(source.path.clone());
            }
        }
    }
    nothing(wrong);
}

#[test]
fn every_module_has_a_floor_and_every_floor_a_module() {
    let mut modules: Vec<String> = source::all("src")
        .iter()
        .filter_map(Source::module)
        .collect();
    modules.dedup();
    let mut floors = FLOORS.map(|(name, _)| name);
    modules.sort();
    modules.dedup();
    floors.sort_unstable();
    assert_eq!(modules, floors);
}

#[test]
fn engine_and_plan_are_pure() {
    let mut wrong = Vec::new();
    for source in source::all("src") {
        if source.is_test() || !source.module().is_some_and(|m| PURE.contains(&m.as_str())) {
            continue;
        }
        let code = source.outside_tests();
        let words = source::words(&code).filter(|w| IMPURE.contains(w));
        wrong.extend(words.map(|w| format!("{} names {w}", source.path)));
        let parts = source::paths_below("std", &code);
        let parts = parts
            .into_iter()
            .filter(|p| IMPURE_STD.contains(&p.as_str()));
        wrong.extend(parts.map(|p| format!("{} uses std::{p}", source.path)));
    }
    nothing(wrong);
}

#[test]
fn every_file_says_first_what_lives_in_it() {
    let files = ["src", "tests"].into_iter().flat_map(source::all);
    let silent = files.filter(|s| !s.text.starts_with("//! "));
    nothing(silent.map(|s| s.path));
}

#[test]
fn no_file_is_too_long_to_read() {
    let files = ["src", "tests"].into_iter().flat_map(source::all);
    let long = files.filter(|s| s.text.lines().count() > LINES_MAX);
    nothing(long.map(|s| s.path));
}

#[test]
fn nothing_is_left_for_later() {
    let unfinished = [
        ["to", "do!"],
        ["un", "implemented!"],
        ["d", "bg!"],
        ["FIX", "ME"],
        ["TO", "DO"],
        ["XX", "X"],
    ]
    .map(|halves| halves.concat());
    let mut wrong = Vec::new();
    for source in ["src", "tests"].into_iter().flat_map(source::all) {
        let found = unfinished.iter().filter(|word| source.text.contains(*word));
        wrong.extend(found.map(|word| format!("{}: {word}", source.path)));
    }
    nothing(wrong);
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = source::read("Cargo.toml");
    let mut in_dependencies = false;
    let mut wrong = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains(" = ") && !line.contains(" # ") {
            wrong.push(line.to_owned());
        }
    }
    nothing(wrong);
}

#[test]
fn no_lock_file_names_a_host() {
    let lock = source::read("tests/claude/package-lock.json");
    assert!(!lock.contains("://"), "whoever fetches chooses where from");
    assert!(Path::new(source::ROOT).join("Cargo.lock").is_file());
}

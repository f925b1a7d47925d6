//! The plans of `examples/`, the demonstration and rehearsals: what a stranger tries first.

use std::path::{Path, PathBuf};

use crate::fixture::Fixture;

/// Every example, and how many commits it lands.
const EXAMPLES: [(&str, usize); 6] = [
    ("commented.yaml", 2),
    ("demo.yaml", 8),
    ("hello.yaml", 2),
    ("parallel.yaml", 4),
    ("self-extending.yaml", 3),
    ("verified.yaml", 3),
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// An example's text, without the time that its attempts pretend to need.
fn hurried(name: &str) -> String {
    let text = std::fs::read_to_string(directory().join(name)).expect("an example");
    let lines = text
        .lines()
        .filter(|l| !l.trim_start().starts_with("takes:"));
    lines.map(|l| format!("{l}\n")).collect()
}

#[test]
fn every_example_is_known_here() {
    let mut found: Vec<String> = std::fs::read_dir(directory())
        .expect("examples")
        .map(|e| e.expect("an entry").file_name().display().to_string())
        .collect();
    found.sort();
    assert_eq!(found, EXAMPLES.map(|(name, _)| name));
}

#[test]
fn examples_check_without_a_word() {
    let f = Fixture::new();
    for (name, _) in EXAMPLES {
        let path = directory().join(name);
        let output = f.command(["check", "--strict"]).arg(&path).output();
        let ran = crate::fixture::Ran::of(output.expect("orch"));
        ran.exits(0).says("no problems");
    }
}

#[test]
fn examples_land_a_commit_for_each_change() {
    for (name, commits) in EXAMPLES {
        let f = Fixture::with_plan(&hurried(name));
        f.orch(["run", "--every-task-rehearsed"]).exits(0);
        let begun = ["Begin", "Add the plan"].len();
        assert_eq!(f.subjects("main").len(), commits + begun, "{name}");
        f.orch(["audit"]).exits(0);
        f.assert_tidy();
    }
}

#[test]
fn the_demonstration_retries_with_evidence_and_extends_its_plan() {
    let f = Fixture::with_plan(&hurried("demo.yaml"));
    f.orch(["run", "-j", "3"]).exits(0);
    assert_eq!(f.status("2.2")["attempt"], 2);
    let dir = f.git([
        "log",
        "-1",
        "--format=%(trailers:key=Orch-Run,valueonly)",
        "main",
    ]);
    let dir = f.repo().join(".git/orch/runs").join(dir.trim());
    let prompt = std::fs::read_to_string(dir.join("2.2/2/prompt.md")).expect("a prompt");
    assert!(prompt.contains("rehearsed failure"), "{prompt}");
    assert_eq!(f.status("3.3")["state"], "completed");
    assert!(f.read(".claude/plans/plan.yaml").contains("name: Checkout"));
}

#[test]
fn the_example_with_gates_lands_verified_commits() {
    let f = Fixture::with_plan(&hurried("verified.yaml"));
    f.orch(["run", "--require-verify"])
        .exits(0)
        .says("tests passed (2 tests");
    for task in ["1", "2", "3"] {
        assert_eq!(f.status(task)["verified"], true, "{task}");
    }
    let records = f.records();
    let last = records.iter().rfind(|r| r["record"]["kind"] == "verified");
    let tests = &last.expect("a record")["record"]["result"]["gates"][2];
    assert_eq!(tests["counts"]["passed"], 2);
    f.assert_tidy();
}

#[test]
fn the_demonstration_makes_its_own_repository_and_says_where_to_look() {
    let f = Fixture::new();
    let into = f.root().join("demo");
    let output = f.command(["demo", "--into"]).arg(&into).output();
    let ran = crate::fixture::Ran::of(output.expect("orch")).exits(0);
    assert!(ran.stdout.contains("3.3: Checkout"), "{}", ran.stdout);
    assert!(ran.stdout.contains("alias orch="), "{}", ran.stdout);
    let status = f
        .command(["-C"])
        .arg(into.join("repository"))
        .arg("status")
        .output();
    crate::fixture::Ran::of(status.expect("orch"))
        .exits(0)
        .says("8 tasks: 8 completed. ");
    assert!(!f.repo().join(".git/orch").exists());
}

#[test]
fn a_rehearsal_starts_no_agent_and_leaves_the_repository_as_it_was() {
    let plan = "meta: {name: Mine}\nsections:\n  - id: s\n    name: S\n    tasks:\n      - {id: a, name: First}\n      - {id: b, name: Second}\n";
    let f = Fixture::with_plan(plan);
    let refs = f.git(["for-each-ref"]);
    f.orch(["run", "--rehearse"])
        .exits(0)
        .says("2 tasks: 2 completed")
        .says("your repository is as it was");
    assert_eq!(f.git(["for-each-ref"]), refs);
    assert_eq!(f.git(["status", "--porcelain"]), "");
    assert!(!f.repo().join(".git/orch").exists());
    assert!(!f.root().join("state/orch").exists());
}

#[test]
fn the_plan_of_the_readme_lands_verified_in_an_empty_repository() {
    let readme = include_str!("../../README.md");
    let plan = readme.split_once("```yaml\n").expect("a plan").1;
    let plan = plan.split_once("```").expect("its end").0;
    // What agents would do.
    let played = |plan: &str, gate: &str, text: &str| {
        let played = format!("rehearse: {{write: {{hello.txt: \"{text}\"}}}}\n        {gate}");
        assert!(plan.contains(gate), "{plan}");
        plan.replace(gate, &played)
    };
    let plan = played(plan, "verify: test -s", "hello\\n");
    let plan = played(&plan, "verify: test \"$(wc", "hello\\nhallo\\nsalut\\n");
    let f = Fixture::with_plan(&plan);
    f.orch(["run", "--runner", "rehearsal"]).exits(0);
    f.orch(["audit"])
        .exits(0)
        .says("2 landed commits (0 unverified)");
}

//! Conflicts that a person settled beforehand: the lines of both sides land, as one judged tree, or nothing is settled.

use serde_json::Value;

use crate::fixture::{Fixture, waits};
use crate::runs::plan;

/// Two tasks that begin on the same tip and then each do `work` with its own word, `one` or `two`.
fn scene(work: &str, settings: &str) -> Fixture {
    let keys = |other: &str, mine: &str, word: &str| {
        let work = work.replace("WORD", word);
        let run = format!("touch \"$GATE/{mine}\"; {}; {work}", waits(other));
        format!("run: {run}\ndepends_on: []\nmax_attempts: 1")
    };
    let (one, two) = (keys("2", "1", "one"), keys("1", "2", "two"));
    let f = Fixture::with_plan(&plan(&[("1", &one), ("2", &two)]));
    f.write("NEWS.md", "# News\n");
    f.write("orch.yaml", settings);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add news"]);
    f
}

fn endings(f: &Fixture) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records
        .filter(|r| r["kind"] == "not_landable")
        .map(|r| r["end"]["ending"].clone())
        .collect()
}

/// The commits on the target that say that a conflict was settled.
fn settled(f: &Fixture) -> Vec<String> {
    let format = "--format=%(trailers:key=Orch-Merged,valueonly,separator=%x2C)";
    let lines = f.git(["log", format, "main"]);
    let lines = lines.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[test]
fn a_known_answer_lands_the_lines_of_both_and_the_gates_judge_that_tree() {
    let f = scene(
        "echo WORD >> NEWS.md",
        "verify: grep -q News NEWS.md\nmerge: {NEWS.md: union}\n",
    );
    f.orch(["run", "-j", "2"]).exits(0);
    let news = f.git(["show", "main:NEWS.md"]);
    let mut lines: Vec<&str> = news.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["# News", "one", "two"]);
    assert_eq!(settled(&f), ["union (NEWS.md)"]);
    assert_eq!(endings(&f), Vec::<Value>::new());
    for task in ["1", "2"] {
        assert_eq!(f.count("attempt_started", task), 1);
        assert_eq!(f.count("verified", task), 1);
    }
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_union_that_the_gates_refuse_does_not_land() {
    let f = scene(
        "echo WORD >> NEWS.md",
        "verify: test $(grep -c -e one -e two NEWS.md) -lt 2\nmerge: {'*.md': union}\n",
    );
    f.orch(["run", "-j", "2"]).exits(1);
    assert_eq!(endings(&f), ["verify_failed"]);
    assert_eq!(f.git(["show", "main:NEWS.md"]).lines().count(), 2);
    assert_eq!(settled(&f), Vec::<String>::new());
    f.orch(["audit"]).exits(0);
}

#[test]
fn a_conflict_beside_the_known_one_leaves_both_to_the_next_attempt() {
    let f = scene(
        "grep -q -e one -e two NEWS.md || echo WORD > other; echo WORD >> NEWS.md",
        "merge: {NEWS.md: union}\n",
    );
    f.orch(["run", "-j", "2"]).exits(0);
    assert_eq!(endings(&f), ["conflict"]);
    assert_eq!(settled(&f), Vec::<String>::new());
    f.orch(["audit"]).exits(0);
}

#[test]
fn a_plan_gives_answers_of_its_own_in_place_of_the_settings() {
    let with_meta = |answers: &str| {
        let f = scene("echo WORD >> NEWS.md", "merge: {NEWS.md: union}\n");
        let path = ".claude/plans/plan.yaml";
        let text = f.read(path).replace(
            "meta: {name: Scratch,",
            &format!("meta: {{name: Scratch, merge: {answers},"),
        );
        f.write(path, &text);
        f.git(["commit", "-qam", "Answer in the plan"]);
        f
    };
    let f = with_meta("{N*.md: union}");
    f.orch(["run", "-j", "2"]).exits(0);
    assert_eq!(settled(&f), ["union (NEWS.md)"]);
    let f = with_meta("{}");
    f.orch(["run", "-j", "2"]).exits(0);
    assert_eq!(endings(&f), ["conflict"]);
    assert_eq!(settled(&f), Vec::<String>::new());
}

#[test]
fn answers_that_are_not_there_are_refused_before_anything_runs() {
    for (answer, why) in [
        ("'run: cargo update -w --offline'", "not in this version"),
        ("theirs", "would drop the other side's work"),
    ] {
        let f = scene("true", &format!("merge: {{Cargo.lock: {answer}}}\n"));
        f.orch(["run"]).exits(2).says(why);
        assert!(!f.gate().join("1").exists(), "nothing was started");
    }
}

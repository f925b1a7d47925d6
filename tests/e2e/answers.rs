//! Conflicts that a person settled beforehand: the lines of both sides land, as one judged tree, or nothing is settled.

use rustix::process::Signal;
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

/// Two tasks that each add a part and make the lock file from the parts that they see.
fn locked(answer: &str) -> Fixture {
    let work = "echo WORD > parts/WORD; cat parts/* > lock";
    let keys = |other: &str, mine: &str, word: &str| {
        let work = work.replace("WORD", word);
        let run = format!("touch \"$GATE/{mine}\"; {}; {work}", waits(other));
        format!("run: {run}\ndepends_on: []\nmax_attempts: 1")
    };
    let (one, two) = (keys("2", "1", "one"), keys("1", "2", "two"));
    let f = Fixture::with_plan(&plan(&[("1", &one), ("2", &two)]));
    f.write("parts/base", "base\n");
    f.write("lock", "base\n");
    f.write("notes", "a person's\n");
    let answer = answer.replace('\'', "''");
    f.write(
        "orch.yaml",
        &format!("verify: 'cat parts/* | cmp - lock'\nmerge: {{lock: 'run: {answer}'}}\n"),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a lock file"]);
    f
}

/// The prompt of the second attempt of the task that had one.
fn second_prompt(f: &Fixture) -> String {
    let runs = std::fs::read_dir(f.repo().join(".git/orch/runs")).expect("runs");
    let run = runs.filter_map(Result::ok).next().expect("a run").path();
    let prompts = ["1", "2"].map(|task| run.join(task).join("2/prompt.md"));
    let prompt = prompts.iter().find(|path| path.exists());
    std::fs::read_to_string(prompt.expect("a second attempt")).expect("a prompt")
}

#[test]
fn a_command_makes_a_file_in_conflict_anew_and_nothing_else_of_it_lands() {
    let f = locked(
        "test -n \"$ORCH_GATE\" && test \"$ORCH_CONFLICTS\" = lock && cat parts/* > lock && echo x > notes && echo x > stray",
    );
    f.orch(["run", "-j", "2"])
        .exits(0)
        .says("conflicts were settled as you said: lock by");
    assert_eq!(f.git(["show", "main:lock"]), "base\none\ntwo\n");
    assert_eq!(f.git(["show", "main:notes"]), "a person's\n");
    assert!(
        !f.git(["ls-tree", "-r", "--name-only", "main"])
            .contains("stray")
    );
    assert_eq!(settled(&f), ["run (lock)"]);
    assert_eq!(endings(&f), Vec::<Value>::new());
    for task in ["1", "2"] {
        assert_eq!(f.count("attempt_started", task), 1);
        assert_eq!(f.count("verified", task), 1);
    }
    let records: Vec<Value> = f
        .records()
        .into_iter()
        .map(|r| r["record"].clone())
        .collect();
    let answered: Vec<&Value> = records
        .iter()
        .filter(|r| r["kind"] == "conflicts_answered")
        .collect();
    assert_eq!(answered.len(), 1);
    assert_eq!(answered[0]["answers"][0]["file"], "lock");
    assert_eq!(answered[0]["answers"][0]["by"]["answer"], "run");
    assert_eq!(
        answered[0]["commit"].as_str().expect("a commit"),
        f.git(["rev-parse", "main"]).trim()
    );
    let task = answered[0]["ticket"]["task"].as_str().expect("a task");
    f.orch(["why", task])
        .exits(0)
        .says("conflicts were settled as a person had said: lock by");
    f.orch(["report"])
        .exits(0)
        .says("conflict in `lock` settled by run");
    f.orch(["report", "--format", "html"])
        .exits(0)
        .says("made it anew");
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_command_that_fails_leaves_the_conflict_to_the_next_attempt_with_the_evidence() {
    for (answer, why) in [
        ("echo no registry here; exit 3", "exit code 3"),
        ("rm lock", "left no file at `lock`"),
        ("rm lock; ln -s notes lock", "left no file at `lock`"),
    ] {
        let f = locked(answer);
        f.orch(["run", "-j", "2"]).exits(0);
        assert_eq!(endings(&f), ["conflict"]);
        assert_eq!(f.git(["show", "main:lock"]), "base\none\ntwo\n");
        let prompt = second_prompt(&f);
        assert!(prompt.contains(why), "{prompt}");
        assert_eq!(settled(&f), Vec::<String>::new());
        f.orch(["audit"]).exits(0);
        f.assert_tidy();
    }
}

#[test]
fn what_a_command_makes_lands_only_if_the_gates_like_it() {
    let f = locked("echo nonsense > lock");
    f.orch(["run", "-j", "2"]).exits(1);
    assert_eq!(endings(&f), ["verify_failed"]);
    assert_eq!(settled(&f), Vec::<String>::new());
    f.orch(["audit"]).exits(0);
}

#[test]
fn a_person_who_stops_the_run_is_not_kept_waiting_by_a_command() {
    let f = locked("touch \"$GATE/making\"; exec sleep 1000");
    let run = f.live(["run", "-j", "2"]);
    f.await_gate("making");
    run.signal(Signal::INT);
    run.await_says("stopping");
    run.signal(Signal::INT);
    run.ended().exits(3);
    assert_eq!(endings(&f), Vec::<Value>::new());
    f.orch(["audit"]).exits(0);
}

#[test]
fn an_orch_killed_while_a_command_makes_a_file_makes_it_again() {
    let f = locked(
        "echo making >> \"$GATE/log\"; test -e \"$GATE/go\" || exec sleep 1000; cat parts/* > lock",
    );
    let run = f.live(["run", "-j", "2"]);
    f.await_gate("log");
    run.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(f.git(["show", "main:lock"]), "base\none\ntwo\n");
    assert_eq!(settled(&f), ["run (lock)"]);
    for task in ["1", "2"] {
        assert_eq!(f.count("attempt_started", task), 1);
        assert_eq!(f.count("landed", task), 1);
    }
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn answers_that_lose_work_are_refused_before_anything_runs() {
    for (answer, why) in [
        ("'run:'", "names no command"),
        ("theirs", "would drop the other side's work"),
    ] {
        let f = scene("true", &format!("merge: {{Cargo.lock: {answer}}}\n"));
        f.orch(["run"]).exits(2).says(why);
        assert!(!f.gate().join("1").exists(), "nothing was started");
    }
}

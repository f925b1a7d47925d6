//! People decide while a run lives and while none does, edit its plan, and look at it.

use serde_json::Value;

use crate::fixture::{Fixture, Ran, gated, lives, waits};
use crate::runs::plan;

/// Task `1` waits at the gate `go`; `2` needs it, `3` needs `2`.
fn chain() -> Fixture {
    let one = format!(
        "run: 'echo $$ > \"$GATE/pid\"; {}'",
        gated("up", "go", "echo a > a.txt")
    );
    Fixture::with_plan(&plan(&[
        ("1", &one),
        ("2", "run: echo b > b.txt"),
        ("3", "run: echo c > c.txt"),
    ]))
}

fn agent(f: &Fixture) -> i32 {
    let text = std::fs::read_to_string(f.gate().join("pid")).expect("a pid");
    text.trim().parse().expect("a number")
}

#[test]
fn cancelling_a_running_task_ends_its_agent_and_blocks_those_that_need_it() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    f.orch(["cancel", "1", "--note", "not now"]).exits(0);
    orch.ended().exits(1);
    assert!(!lives(agent(&f)));
    assert_eq!(f.status("1")["state"], "cancelled");
    assert_eq!(f.status("2")["state"], "blocked");
    f.assert_tidy();
}

#[test]
fn skipping_a_pending_task_lets_those_that_need_it_go_on() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    f.orch(["skip", "2"]).exits(0);
    f.open("go");
    orch.ended().exits(0);
    assert_eq!(f.status("2")["state"], "skipped");
    assert!(!f.repo().join("b.txt").exists());
    assert_eq!(f.read("c.txt"), "c\n");
    f.assert_tidy();
}

#[test]
fn a_failed_task_is_retried_while_the_run_goes_on() {
    let two = format!(
        "depends_on: []\nrun: '{}'",
        gated("up", "go", "echo b > b.txt")
    );
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "depends_on: []\nmax_attempts: 1\nrun: test -e \"$GATE/mended\" && echo a > a.txt",
        ),
        ("2", &two),
    ]));
    let orch = f.live(["run", "-j", "2"]);
    f.await_gate("up");
    f.await_that("a failure", || {
        (f.status("1")["state"] == "failed").then_some(())
    });
    f.open("mended");
    f.orch(["retry", "1"]).exits(0);
    f.open("go");
    orch.ended().exits(0);
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

fn of_run(f: &Fixture) -> Value {
    let status = f.orch(["status", "--format", "json"]).exits(0).stdout;
    serde_json::from_str(&status).expect("JSON")
}

#[test]
fn a_pause_outlives_orch_and_is_told_with_its_author_and_reason() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    assert_eq!(of_run(&f)["outcome"], Value::Null, "nothing is decided yet");
    f.orch(["pause", "--note", "lunch"]).exits(0);
    f.orch(["status"])
        .exits(0)
        .says("paused: nothing new starts");
    f.orch(["why", "2"])
        .exits(0)
        .says("Ada (lunch) paused the run; `orch resume` lets it go on");
    f.open("go");
    f.await_that("its landing", || {
        (f.status("1")["state"] == "completed").then_some(())
    });
    f.orch(["stop", "--wait"]).exits(0);
    orch.ended().exits(3);
    assert_eq!(of_run(&f)["outcome"], "stopped");

    // Whoever starts orch again need not be the one who paused the run.
    let orch = f.live(["run"]);
    orch.await_says("paused by Ada (lunch)");
    assert_eq!(of_run(&f)["outcome"], Value::Null);
    f.orch(["resume"]).exits(0);
    orch.ended().exits(0);
    f.assert_tidy();
}

#[test]
fn a_run_is_paused_and_let_go_on_without_an_orch() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    f.orch(["stop"]).exits(0);
    f.open("go");
    orch.ended().exits(3).says("hint: orch run ");
    f.orch(["pause"]).exits(0).says("noted");
    f.orch(["pause"]).exits(1).says("it is paused already");
    f.orch(["resume", "--note", "on with it"])
        .exits(0)
        .says("noted");
    f.orch(["run"]).exits(0);
    f.orch(["pause"]).exits(1).says("the run is completed");
    f.assert_tidy();
}

#[test]
fn decisions_without_a_live_run_are_followed_by_the_next_one() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "max_attempts: 1\nrun: exit 1"),
        ("2", "run: echo b > b.txt"),
        ("3", "depends_on: []\nrun: echo c >> c.txt"),
    ]));
    f.orch(["run"]).exits(1);
    f.orch(["skip", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("b.txt"), "b\n");
    // A completed run goes on when a task of it is asked for again.
    f.orch(["retry", "3"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("c.txt"), "c\nc\n");
    f.assert_tidy();
}

#[test]
fn a_task_that_lands_again_says_which_time_it_is() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a >> a.txt")]));
    f.orch(["run"]).exits(0);
    f.orch(["retry", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\na\n");
    let trailers = f.git([
        "log",
        "-2",
        "--format=%(trailers:key=Orch-Generation,separator=)",
    ]);
    assert_eq!(trailers, "Orch-Generation: 2\n\n");
    let landed = f.records().into_iter().map(|r| r["record"].clone());
    let generations: Vec<Value> = landed
        .filter(|r| r["kind"] == "landed")
        .map(|r| r["generation"].clone())
        .collect();
    assert_eq!(generations, [Value::Null, Value::from(2)]);
    f.assert_tidy();
}

#[test]
fn an_unknown_task_is_refused_with_the_nearest_one() {
    let f = Fixture::with_plan(&plan(&[("build", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    for command in ["cancel", "skip", "retry", "why", "show", "logs"] {
        f.orch([command, "biuld"])
            .exits(1)
            .says("did you mean `build`?");
    }
}

#[test]
fn a_second_orch_is_told_process_plan_and_start_of_the_first() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    f.orch(["run"])
        .exits(7)
        .says(&format!("process {}", orch.pid()))
        .says(".claude/plans/plan.yaml")
        .says("since ");
    f.open("go");
    orch.ended().exits(0);
}

#[test]
fn a_task_added_to_the_plan_during_a_run_is_done_in_that_run() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    let text = f.read(".claude/plans/plan.yaml");
    let added = "      - id: '4'\n        name: Task 4\n        run: echo d > d.txt\n";
    f.write(".claude/plans/plan.yaml", &format!("{text}{added}"));
    orch.await_says("the plan was edited: 4 tasks now");
    f.open("go");
    orch.ended().exits(0);
    // The edit stays the person's: what landed is the work.
    assert_eq!(f.read("d.txt"), "d\n");
    assert_eq!(f.count("landed", "4"), 1);
}

#[test]
fn a_broken_edit_is_reported_at_once_and_the_last_good_plan_goes_on() {
    let f = chain();
    let good = f.read(".claude/plans/plan.yaml");
    let orch = f.live(["run"]);
    f.await_gate("up");
    f.write(".claude/plans/plan.yaml", "orch: 1\nsections: {}\n");
    orch.await_says("the last good plan goes on");
    f.write(".claude/plans/plan.yaml", &good);
    f.open("go");
    orch.ended().exits(0);
    assert_eq!(f.read("c.txt"), "c\n");
    f.assert_tidy();
}

#[test]
fn an_edit_with_an_unknown_role_and_a_plan_that_is_gone_are_told_and_the_last_good_plan_goes_on() {
    let f = chain();
    let good = f.read(".claude/plans/plan.yaml");
    let orch = f.live(["run"]);
    f.await_gate("up");
    let named = good.replace("name: Task 3", "name: Task 3\n        agent: nobody");
    f.write(".claude/plans/plan.yaml", &named);
    orch.await_says("task 3 names the role `nobody`, which there is not");
    std::fs::remove_file(f.repo().join(".claude/plans/plan.yaml")).expect("it was there");
    orch.await_says("cannot be read: No such file");
    f.write(".claude/plans/plan.yaml", &good);
    f.open("go");
    orch.ended().exits(0);
    assert_eq!(f.read("c.txt"), "c\n");
    f.assert_tidy();
}

#[test]
fn an_edit_of_a_tracked_plan_survives_publishing_with_the_fields_of_the_run_in_it() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    let text = f
        .read(".claude/plans/plan.yaml")
        .replace("name: Task 3", "name: A third task # mine");
    f.write(".claude/plans/plan.yaml", &text);
    orch.await_says("the plan was edited");
    f.open("go");
    orch.ended().exits(0);
    let now = f.read(".claude/plans/plan.yaml");
    assert!(now.contains("name: A third task # mine"), "{now}");
    assert_eq!(now.matches("status: completed").count(), 4, "{now}");
    assert_eq!(
        f.git(["status", "--porcelain"]),
        " M .claude/plans/plan.yaml\n"
    );
}

#[test]
fn a_run_that_nothing_can_release_is_stuck_and_not_done() {
    let task = |id: &str, on: &str, keys: &str| {
        format!("      - id: {id}\n        name: Task {id}\n        depends_on: [{on}]\n{keys}")
    };
    let head = "orch: 1\nmeta: {name: Scratch, runner: command}\nsections:\n  - id: s\n    name: Work\n    tasks:\n";
    let quick = "        run: 'true'\n";
    let slow = format!("        run: '{}'\n", gated("up", "go", "exit 1"));
    let f = Fixture::with_plan(&format!(
        "{head}{}{}",
        task("a", "", quick),
        task("b", "a", &slow)
    ));
    let orch = f.live(["run"]);
    f.await_gate("up");
    // `b` has started and goes by what it was started with: it needs `a`. From now on `a` needs `c`, and that `b`.
    let circle = [
        task("a", "c", quick),
        task("b", "", &slow),
        task("c", "b", quick),
    ]
    .concat();
    f.write(".claude/plans/plan.yaml", &format!("{head}{circle}"));
    orch.await_says("the plan was edited: 3 tasks now");
    f.orch(["retry", "a"]).exits(0);
    f.open("go");
    orch.ended().exits(6);
    f.orch(["why", "c"]).exits(0).says("b");
}

#[test]
fn an_invalid_plan_is_2() {
    Fixture::with_plan("orch: 1\nsections: {}\n")
        .orch(["run"])
        .exits(2);
}

#[test]
fn a_repository_that_cannot_be_used_is_8_with_the_way_out() {
    let f = Fixture::with_plan(&plan(&[("1", "run: 'true'")]));
    let run_in = |place: &str| {
        let plan = f.repo().join(".claude/plans/plan.yaml");
        let mut command = f.command(["run", "--plan", plan.to_str().expect("text")]);
        command.current_dir(f.root().join(place));
        Ran::of(command.output().expect("orch"))
    };
    run_in("home").exits(8).says("git init");
    f.git(["clone", "-q", "--bare", ".", "../bare.git"]);
    run_in("bare.git").exits(8).says("git worktree add");
    f.git(["init", "-q", "../unborn"]);
    run_in("unborn").exits(8).says("git commit --allow-empty");
    f.git(["config", "--unset", "user.email"]);
    run_in("repo")
        .exits(8)
        .says("git config --global user.email");
}

#[test]
fn readers_of_a_live_run_neither_wait_nor_disturb_it() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    for format in ["text", "json"] {
        let status = f.orch(["status", "--format", format]).exits(0);
        if format == "json" {
            serde_json::from_str::<Value>(&status.stdout).expect("JSON");
        }
    }
    assert_eq!(f.status("1")["state"], "running");
    f.orch(["why", "2"]).exits(0).says("1");
    f.orch(["show", "1"]).exits(0);
    f.orch(["logs", "1"]).exits(0);
    f.open("go");
    orch.ended().exits(0);
}

#[test]
fn following_the_events_ends_with_the_run_and_shows_all_of_it() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    let follower = f.live(["events", "--since", "0", "--follow"]);
    f.open("go");
    orch.ended().exits(0);
    let told = follower.ended().exits(0).stdout;
    let records: Vec<Value> = told
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(records, f.records());
}

#[test]
fn following_the_logs_shows_what_comes_and_ends_with_the_attempt() {
    let run = format!(
        "run: 'echo before; {}; echo a > a.txt'",
        gated("up", "go", "echo after")
    );
    let f = Fixture::with_plan(&plan(&[("1", &run)]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    let follower = f.live(["logs", "1", "-f"]);
    f.open("go");
    orch.ended().exits(0);
    follower.ended().exits(0).says("before\nafter\n");
}

#[test]
fn a_run_for_scripts_tells_its_records_as_json() {
    let f = chain();
    f.open("go");
    let told = f.orch(["run", "--format", "json"]).exits(0).stdout;
    let records: Vec<Value> = told
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(records, f.records());
}

#[test]
fn an_agent_decides_nothing_about_the_runs_of_its_repository_however_it_detaches() {
    let ask = "env -i setsid \"$ORCH\" -C \"$REPO\" skip 2 > \"$GATE/said\" 2>&1";
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            &format!(
                "run: ({ask}; touch \"$GATE/asked\") & {}; echo a > a.txt",
                waits("asked")
            ),
        ),
        ("2", "run: echo b > b.txt"),
    ]));
    let mut command = f.command(["run"]);
    command
        .env("ORCH", env!("CARGO_BIN_EXE_orch"))
        .env("REPO", f.repo());
    Ran::of(command.output().expect("orch")).exits(0);
    let said = std::fs::read_to_string(f.gate().join("said")).expect("an answer");
    assert!(said.contains("such decisions come from people"), "{said}");
    assert_eq!(f.read("b.txt"), "b\n");
    f.assert_tidy();
}

#[test]
fn a_held_task_starts_when_it_is_released_and_decisions_are_answered_as_json() {
    let f = chain();
    let orch = f.live(["run"]);
    f.await_gate("up");
    let held = f.orch(["hold", "2", "--note", "wait", "--format", "json"]);
    let answer: Value = serde_json::from_str(&held.exits(0).stdout).expect("JSON");
    assert_eq!(
        (&answer["followed"], &answer["live"]),
        (&Value::from(true), &Value::from(true))
    );
    let again = f.orch(["hold", "2", "--format", "json"]).exits(1);
    let answer: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(
        (&answer["followed"], &answer["refused"]),
        (&Value::from(false), &Value::from("it is held already"))
    );
    f.orch(["jobs", "2"]).exits(0);
    f.orch(["priority", "3", "-5"]).exits(0);
    f.open("go");
    // Only a person can go on from here.
    orch.ended()
        .exits(4)
        .says("2  held by Ada (wait); `orch release 2` lets it go on")
        .says("hint: 2: Ada (wait) holds it; `orch release 2` lets it go on");
    assert_eq!(f.count("attempt_started", "2"), 0);
    let released = f.orch(["release", "2", "--format", "json"]).exits(0);
    let answer: Value = serde_json::from_str(&released.stdout).expect("JSON");
    assert_eq!(answer["live"], false);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("c.txt"), "c\n");
    let notes: Vec<Value> = f
        .records()
        .into_iter()
        .filter(|r| r["record"]["kind"] == "controlled")
        .map(|r| r["record"]["control"]["note"].clone())
        .collect();
    assert_eq!(notes[0], "wait");
    f.assert_tidy();
}

#[test]
fn a_task_that_was_done_by_hand_lets_others_go_on_without_a_live_run() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "max_attempts: 1\nrun: 'echo half > half.txt; exit 1'"),
        ("2", "run: echo b > b.txt"),
    ]));
    f.orch(["run"]).exits(1);
    let retried = f.orch(["retry", "1", "--from", "fresh", "--format", "json"]);
    let answer: Value = serde_json::from_str(&retried.exits(0).stdout).expect("JSON");
    assert_eq!(answer["live"], false);
    f.orch(["done", "1", "--note", "by hand"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("b.txt"), "b\n");
    assert!(!f.repo().join("half.txt").exists());
    f.assert_tidy();
}

#[test]
fn costs_count_every_session_once_and_say_who_did_it() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "runner: rehearsal\nagent: coder\nmax_attempts: 3\nrehearse: {fail_times: 1, costs: 0.25, append: {a.txt: a}}",
    )]));
    f.orch(["run"]).exits(0);
    let costs = f
        .orch(["costs", "--by", "agent", "--format", "json"])
        .exits(0);
    let costs: Value = serde_json::from_str(&costs.stdout).expect("JSON");
    assert_eq!(costs["rows"][0]["key"], "coder");
    assert_eq!(costs["rows"][0]["sessions"], 2, "the failed attempt, too");
    assert_eq!(costs["total"]["cost_micro_usd"], 500_000);
    assert_eq!(
        costs["total"]["first_turn_cache_share"],
        Value::Null,
        "it told none"
    );
    let csv = f.orch(["costs", "--by", "day", "--format", "csv"]).exits(0);
    assert_eq!(csv.stdout.lines().count(), 2, "{}", csv.stdout);
    f.orch(["costs"]).exits(0).says("~$0.5000");
}

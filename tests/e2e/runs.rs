//! Plans become landed commits.

use crate::fixture::{Fixture, gated, waits};

/// A plan of command tasks, from `(id, extra keys)`.
pub(crate) fn plan(tasks: &[(&str, &str)]) -> String {
    let mut text = "orch: 1\nmeta: {name: Scratch, runner: command}\nsections:\n  - id: s\n    name: Work\n    tasks:\n".to_owned();
    for (id, keys) in tasks {
        text.push_str(&format!("      - id: '{id}'\n        name: Task {id}\n"));
        for key in keys.lines() {
            text.push_str(&format!("        {key}\n"));
        }
    }
    text
}

fn two() -> String {
    plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "run: cat a.txt > b.txt"),
    ])
}

#[test]
fn a_sequence_lands_one_commit_a_task_and_publishes_them_to_the_checkout() {
    let f = Fixture::with_plan(&two());
    f.orch(["run"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
    assert_eq!(f.read("b.txt"), "a\n");
    assert_eq!(
        f.read(".claude/plans/plan.yaml")
            .matches("status: completed")
            .count(),
        3,
        "two tasks and their section"
    );
    assert_eq!(
        f.git(["rev-parse", "main"]),
        f.git(["rev-parse", "orch/plan"])
    );
    f.assert_tidy();
}

#[test]
fn the_plan_differs_only_in_the_fields_written() {
    let text = two();
    let f = Fixture::with_plan(&text);
    f.orch(["run"]).exits(0);
    let kept: Vec<String> = f
        .read(".claude/plans/plan.yaml")
        .lines()
        .filter(|l| {
            !l.trim_start().starts_with("status:") && !l.trim_start().starts_with("attempts:")
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(kept, text.lines().collect::<Vec<_>>());
}

#[test]
fn a_commit_names_plan_task_run_and_attempt() {
    let f = Fixture::with_plan(&two());
    f.orch(["run"]).exits(0);
    let body = f.git(["log", "-1", "--format=%(trailers:only,unfold)", "main"]);
    for trailer in [
        "Orch-Plan: ",
        "Orch-Task: 2",
        "Orch-Run: ",
        "Orch-Attempt: 1",
    ] {
        assert!(body.contains(trailer), "{trailer} in {body}");
    }
}

#[test]
fn parallel_tasks_all_land() {
    let tasks: Vec<(String, String)> = (1..=6)
        .map(|i| {
            (
                i.to_string(),
                format!("depends_on: []\nrun: echo {i} > f{i}.txt"),
            )
        })
        .collect();
    let tasks: Vec<(&str, &str)> = tasks
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let f = Fixture::with_plan(&plan(&tasks));
    f.orch(["run", "-j", "3"]).exits(0);
    for i in 1..=6 {
        assert_eq!(f.read(&format!("f{i}.txt")), format!("{i}\n"));
    }
    assert_eq!(f.subjects("main").len(), 8);
    f.assert_tidy();
}

#[test]
fn a_failing_task_is_tried_again_and_then_blocks_those_that_need_it() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "max_attempts: 2\nrun: echo tried >> tried.txt; exit 3"),
        ("2", "run: echo b > b.txt"),
        ("3", "depends_on: []\nrun: echo c > c.txt"),
    ]));
    f.orch(["run"]).exits(1).says("1");
    assert_eq!(f.status("1")["state"], "failed");
    assert_eq!(f.status("2")["state"], "blocked");
    assert_eq!(f.status("3")["state"], "completed");
    f.orch(["why", "2"]).exits(0).says("1");
    assert_eq!(f.subjects("orch/plan")[0], "3: Task 3");
}

#[test]
fn a_settled_failure_stays_failed_until_a_person_retries_it() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "max_attempts: 1\nrun: test -e \"$FLAG\" && echo a > a.txt",
    )]));
    f.orch(["run"]).exits(1);
    let attempts = |f: &Fixture| {
        f.records()
            .iter()
            .filter(|r| r["record"]["kind"] == "attempt_started")
            .count()
    };
    f.orch(["run"]).exits(1).says("orch retry");
    assert_eq!(attempts(&f), 1, "nothing was started again");
    f.orch(["retry", "--failed"]).exits(0);
    let flag = f.root().join("flag");
    std::fs::write(&flag, "").expect("a file");
    let output = f
        .command(["run"])
        .env("FLAG", &flag)
        .output()
        .expect("orch");
    crate::fixture::Ran::of(output).exits(0);
    assert_eq!(attempts(&f), 2);
}

#[test]
fn a_task_that_changes_nothing_completes_without_a_commit() {
    let f = Fixture::with_plan(&plan(&[("1", "run: 'true'"), ("2", "run: echo b > b.txt")]));
    f.orch(["run"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "Add the plan"]);
    assert_eq!(f.status("1")["state"], "completed");
}

#[test]
fn a_report_task_stores_its_text_and_lands_nothing() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "kind: report\nrun: mkdir -p .orch && echo 'all is well' > .orch/report.md",
    )]));
    f.orch(["run"]).exits(0);
    assert_eq!(f.subjects("main")[0], "Add the plan");
    f.orch(["show", "1"]).exits(0).says("all is well");
}

#[test]
fn a_report_at_the_end_of_a_plan_is_not_made_again_by_the_next_run() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        (
            "2",
            "kind: report\nrun: mkdir -p .orch && echo 'all is well' > .orch/report.md",
        ),
    ]));
    f.orch(["run"]).exits(0);
    f.orch(["run"]).exits(0);
    let started = f
        .records()
        .iter()
        .filter(|r| r["record"]["kind"] == "attempt_started")
        .count();
    assert_eq!(started, 2, "one attempt a task, in both runs together");
}

#[test]
fn a_write_outside_the_declared_files_is_out_of_scope() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "files: ['src/**']\nmax_attempts: 1\nrun: echo x > elsewhere.txt",
    )]));
    f.orch(["run"]).exits(1).says("elsewhere.txt");
    assert_eq!(f.subjects("orch/plan")[0], "Add the plan");
}

#[test]
fn a_dry_run_changes_nothing_at_all() {
    let f = Fixture::with_plan(&two());
    f.write(".claude/plans/.stop", "");
    let listing = |f: &Fixture| {
        let mut found = Vec::new();
        let mut open = vec![f.root().to_owned()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).expect("a directory") {
                let entry = entry.expect("an entry");
                let meta = entry.metadata().expect("metadata");
                if meta.is_dir() {
                    open.push(entry.path());
                }
                found.push((entry.path(), meta.modified().expect("a time"), meta.len()));
            }
        }
        found.sort();
        found
    };
    let before = listing(&f);
    f.orch(["run", "--dry-run"])
        .exits(0)
        .says("Task 1")
        .says(".stop");
    assert_eq!(listing(&f), before);
}

#[test]
fn a_stop_file_at_the_start_refuses_to_run_and_stays() {
    let f = Fixture::with_plan(&two());
    f.write(".claude/plans/.stop", "");
    f.orch(["run"]).exits(3).says(".stop").says("--clear-stop");
    assert!(f.repo().join(".claude/plans/.stop").exists());
    f.orch(["run", "--clear-stop"]).exits(0);
    assert!(!f.repo().join(".claude/plans/.stop").exists());
}

#[test]
fn touching_the_stop_file_lets_the_running_task_land_and_starts_no_other() {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: touch \"$REPO/.claude/plans/.stop\"; echo a > a.txt",
        ),
        ("2", "run: echo b > b.txt"),
    ]));
    let output = f
        .command(["run"])
        .env("REPO", f.repo())
        .output()
        .expect("orch");
    crate::fixture::Ran::of(output)
        .exits(3)
        .says("hint: orch run --clear-stop");
    assert_eq!(f.subjects("orch/plan")[0], "1: Task 1");
    f.orch(["run", "--clear-stop"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
}

#[test]
fn resume_from_leaves_earlier_tasks_out_and_resets_the_named_one() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "status: completed\nrun: echo b > b.txt"),
        ("3", "status: completed\nrun: echo c > c.txt"),
    ]));
    f.orch(["run", "--resume-from", "2"]).exits(0).says("1");
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "Add the plan"]);
}

#[test]
fn a_single_task_is_judged_alone() {
    let f = Fixture::with_plan(&two());
    f.orch(["run", "--single-task"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["1: Task 1", "Add the plan"]);
}

#[test]
fn live_landings_appear_in_the_checkout_task_by_task() {
    let f = Fixture::with_plan(&two());
    f.write("mine.txt", "not committed\n");
    f.orch(["run", "--live"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
    assert_eq!(f.read("b.txt"), "a\n");
    assert_eq!(f.git(["status", "--porcelain"]), "?? mine.txt\n");
    assert_eq!(f.git(["branch", "--list", "orch/*"]), "");
}

#[test]
fn a_named_branch_gets_the_commits_and_the_checkout_stays_as_it_is() {
    let f = Fixture::with_plan(&two());
    f.git(["branch", "release/1.0"]);
    f.orch(["run", "--branch", "release/1.0"]).exits(0);
    assert_eq!(f.subjects("release/1.0")[0], "2: Task 2");
    assert_eq!(f.subjects("main")[0], "Add the plan");
    assert!(!f.repo().join("a.txt").exists());
}

#[test]
fn a_dirty_file_in_the_way_keeps_the_branch_for_the_person_to_merge() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo theirs > README.md")]));
    f.write("README.md", "mine, not committed\n");
    f.orch(["run"])
        .exits(0)
        .says("git merge --ff-only orch/plan");
    assert_eq!(f.read("README.md"), "mine, not committed\n");
    assert_eq!(f.subjects("orch/plan")[0], "1: Task 1");
    assert_eq!(f.subjects("main")[0], "Add the plan");
}

#[test]
fn an_untracked_plan_gets_its_status_in_place() {
    let f = Fixture::new();
    f.write("plan.yaml", &two());
    f.orch(["run", "--plan", "plan.yaml"]).exits(0);
    assert!(f.read("plan.yaml").contains("status: completed"));
    assert_eq!(
        f.git(["status", "--porcelain"]),
        "?? plan.yaml\n",
        "it stays untracked"
    );
    assert_eq!(f.subjects("main")[0], "2: Task 2");
}

#[test]
fn what_orch_writes_into_an_untracked_plan_is_nobodys_edit() {
    let f = Fixture::new();
    f.write("plan.yaml", &two());
    f.orch(["run", "--plan", "plan.yaml"]).exits(0);
    let records = f.records();
    let accepted = records
        .iter()
        .filter(|r| r["record"]["kind"] == "plan_accepted");
    assert_eq!(accepted.count(), 0);
}

#[test]
fn an_agent_can_extend_the_plan_and_the_run_goes_on_with_the_new_task() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "run: |\n  cat >> .orch/plan.yaml <<'END'\n        - id: '2'\n          name: Added\n          run: echo never > never.txt\n  END\n  echo a > a.txt",
    )]));
    // `run:` is a key of power: an agent cannot give it to a new task.
    f.orch(["run"]).exits(1).says("run");
    assert_eq!(f.subjects("orch/plan")[0], "Add the plan");
}

#[test]
fn conflicting_changes_are_retried_on_the_new_tip_without_spending_an_attempt() {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            &format!(
                "depends_on: []\nrun: echo one > shared.txt; {}; touch \"$GATE/1\"",
                waits("2")
            ),
        ),
        (
            "2",
            &format!(
                "depends_on: []\nrun: echo two-$(cat shared.txt) > shared.txt; {}",
                gated("2", "1", "true")
            ),
        ),
    ]));
    f.orch(["run", "-j", "2"]).exits(0);
    assert_eq!(f.subjects("main").len(), 4);
    let spent: Vec<_> = ["1", "2"]
        .iter()
        .map(|t| f.status(t)["attempts_spent"].clone())
        .collect();
    assert_eq!(spent, [0, 0], "the conflict cost nothing");
}

#[test]
fn a_second_orch_on_the_same_repository_is_told_who_runs() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &format!("run: {}", gated("up", "go", "echo a > a.txt")),
    )]));
    let first = f.live(["run"]);
    f.await_gate("up");
    f.orch(["run"]).exits(7).says(&first.pid().to_string());
    f.open("go");
    first.ended().exits(0);
}

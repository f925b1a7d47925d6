//! What has landed is judged as a whole when the plan is through.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::fixture::{Fixture, Live, Ran, gated};
use crate::runs::plan;

/// Red while `bad` is in `a.txt`; each run leaves a line.
const SMOKE: &str = r#"smoke: [{name: paths, run: 'echo ran >> "$GATE/log"; ! grep -q bad a.txt'}]
"#;

fn fixture(settings: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write("orch.yaml", settings);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Smoke"]);
    f
}

fn ran(f: &Fixture) -> usize {
    let log = std::fs::read_to_string(f.gate().join("log")).unwrap_or_default();
    log.lines().count()
}

fn smoked(f: &Fixture) -> Vec<serde_json::Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records.filter(|r| r["kind"] == "smoked").collect()
}

#[test]
fn smoke_judges_the_target_once_when_every_task_is_settled() {
    let f = fixture(
        SMOKE,
        &[("1", "run: echo a > a.txt"), ("2", "run: echo b > b.txt")],
    );
    f.orch(["run"]).exits(0).says("paths passed");
    assert_eq!(ran(&f), 1);
    let records = smoked(&f);
    assert_eq!(records.len(), 1);
    assert_eq!(
        records[0]["result"]["tree"].as_str().expect("a tree"),
        f.git(["rev-parse", "main^{tree}"]).trim()
    );
    f.assert_tidy();
}

#[test]
fn red_smoke_fails_the_run_everywhere_it_is_told_and_a_mended_target_is_asked_again() {
    let f = fixture(SMOKE, &[("1", "run: echo bad > a.txt")]);
    f.orch(["run"])
        .exits(1)
        .says("smoke commands are red on what has landed")
        .says("asks the smoke commands again");
    assert_eq!(f.read("a.txt"), "bad\n", "what has landed stays");
    f.orch(["status"])
        .exits(0)
        .says("smoke commands are red on what has landed");
    f.orch(["report"])
        .exits(0)
        .says("When the plan was through");
    f.orch(["report", "--format", "html"])
        .exits(0)
        .says("When the plan was through");
    f.orch(["run"]).exits(1);
    assert_eq!(ran(&f), 2, "it is asked in an empty slot at once");
    f.orch(["run", "--skip-smoke"])
        .exits(0)
        .says("smoke commands are left out: --skip-smoke");
    assert_eq!(ran(&f), 2);
    f.assert_tidy();
}

#[test]
fn a_task_that_is_added_mends_red_smoke() {
    let f = fixture(SMOKE, &[("1", "run: echo bad > a.txt")]);
    f.orch(["run"]).exits(1);
    f.write(
        ".claude/plans/plan.yaml",
        &plan(&[
            ("1", "run: echo bad > a.txt"),
            ("2", "run: echo good > a.txt"),
        ]),
    );
    f.orch(["run"]).exits(0).says("paths passed");
    assert_eq!(ran(&f), 2);
}

fn smoke_is_asked_again_after(end: impl FnOnce(Live)) {
    let f = fixture(
        &format!(
            "smoke: 'echo ran >> \"$GATE/log\"; {}'\n",
            gated("up", "go", "true")
        ),
        &[("1", "run: echo a > a.txt")],
    );
    let run = f.live(["run"]);
    f.await_gate("up");
    end(run);
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(ran(&f), 2);
    assert_eq!(f.count("landed", "1"), 1);
    assert_eq!(f.count("attempt_started", "1"), 1);
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn an_orch_killed_during_smoke_asks_again() {
    smoke_is_asked_again_after(Live::killed);
}

#[test]
fn a_stop_ends_smoke_and_the_next_run_asks_again() {
    smoke_is_asked_again_after(|run| {
        run.signal(Signal::INT);
        run.ended().exits(3);
    });
}

#[test]
fn an_orch_killed_once_smoke_has_passed_does_not_ask_again() {
    let f = fixture(SMOKE, &[("1", "run: echo a > a.txt")]);
    let mut run = f.command(["run"]);
    let status = run
        .env("ORCH_CRASH_AT", "after-smoked:1")
        .status()
        .expect("orch");
    assert!(!status.success());
    f.orch(["run"]).exits(0);
    assert_eq!(ran(&f), 1);
}

#[test]
fn a_plan_may_bring_smoke_of_its_own_and_an_agent_may_not() {
    let text = plan(&[(
        "1",
        "max_attempts: 1\nrun: sed -i 's/echo SMOK[E]D/true/' .orch/plan.yaml; echo a > a.txt",
    )]);
    let own = |text: &str| {
        text.replacen(
            "runner: command}",
            "runner: command, smoke: ['echo SMOKED; false']}",
            1,
        )
    };
    let f = Fixture::with_plan(&own(&text));
    f.orch(["run"]).exits(1).says("plan edit invalid");
    let f = Fixture::with_plan(&own(&plan(&[("1", "run: echo a > a.txt")])));
    f.orch(["run"]).exits(1).says("smoke commands are red");
}

#[test]
fn the_spec_of_claude_plan_orchestrator_is_smoke_unless_a_person_says_otherwise() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.write("tests/SMOKE01-critical-paths.spec.ts", "spec\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Smoke"]);
    let bin = f.gate().join("bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    let npx = bin.join("npx");
    std::fs::write(&npx, "#!/bin/sh\necho \"$@\" >> \"$GATE/log\"\nexit 1\n").expect("npx");
    std::fs::set_permissions(&npx, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut path = bin.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").expect("a path"));
    let run = || {
        let mut orch = f.command(["run"]);
        Ran::of(orch.env("PATH", &path).output().expect("orch"))
    };
    run().exits(1).says("`SMOKE01` failed");
    let log = std::fs::read_to_string(f.gate().join("log")).expect("npx ran");
    assert!(
        log.starts_with("playwright test tests/SMOKE01-critical-paths.spec.ts"),
        "{log}"
    );
    f.write("orch.yaml", "smoke: ['true']\n");
    run().exits(0);
    assert_eq!(ran(&f), 1);
}

#[test]
fn a_plan_that_says_there_is_no_smoke_has_none_whatever_the_repository_brings() {
    let f = fixture("smoke: []\n", &[("1", "run: echo a > a.txt")]);
    f.write("tests/SMOKE01-critical-paths.spec.ts", "throw 1\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "A spec"]);
    f.orch(["run"]).exits(0);
    assert_eq!(smoked(&f).len(), 0);
    f.assert_tidy();
}

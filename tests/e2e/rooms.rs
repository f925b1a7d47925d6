//! Where gates run: what a command finds there, what it leaves for the next one, and what is kept of it.

use serde_json::Value;

use crate::fixture::Fixture;
use crate::runs::plan;

/// A repository with settings, and tasks by commands.
fn with(settings: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write(".gitignore", "cache/\n");
    f.write("orch.yaml", settings);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add settings"]);
    f
}

fn of_kind(f: &Fixture, kind: &str) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records.filter(|r| r["kind"] == kind).collect()
}

fn log(f: &Fixture, name: &str) -> String {
    std::fs::read_to_string(f.gate().join(name)).unwrap_or_default()
}

#[test]
fn a_gate_has_ports_its_own_variables_and_no_agent_s_place() {
    let f = with(
        "verify: [{name: look, run: 'echo \"$ORCH_GATE $WORD $ORCH_PORT_0 $ORCH_PORT_9\" >> \"$GATE/log\"; pwd >> \"$GATE/where\"', env: {WORD: own}}]\n",
        &[("1", "run: pwd >> \"$GATE/agent\"; touch a")],
    );
    f.orch(["run"]).exits(0);
    let log_of = log(&f, "log");
    let words: Vec<&str> = log_of.lines().next().expect("a line").split(' ').collect();
    assert_eq!(words[..2], ["1", "own"]);
    let ports: Vec<u16> = words[2..]
        .iter()
        .map(|p| p.parse().expect("a port"))
        .collect();
    assert_eq!(ports[1], ports[0] + 9);
    let agent = log(&f, "agent");
    assert!(log(&f, "where").lines().all(|place| place != agent.trim()));
    assert!(!log(&f, "where").contains(&*f.repo().to_string_lossy()));
}

#[test]
fn a_record_holds_the_environment_the_command_and_the_time() {
    let f = with(
        "verify:\n  commands: [{name: t, run: 'true'}]\n  env_probe: [echo tools 1.0]\n",
        &[("1", "run: touch a"), ("2", "run: echo x > Cargo.lock")],
    );
    f.orch(["run"]).exits(0);
    let records = of_kind(&f, "verified");
    let environments: Vec<&Value> = records
        .iter()
        .map(|r| &r["result"]["environment"])
        .collect();
    for environment in &environments {
        assert_eq!(environment["probes"]["echo tools 1.0"], "tools 1.0");
        assert!(
            environment["at"].as_i64().is_some_and(|at| at > 0),
            "{environment}"
        );
    }
    assert_ne!(environments[0]["locks"], environments[1]["locks"]);
    let gate = &records[0]["result"]["gates"][0];
    assert_eq!(
        gate["argv"]
            .as_array()
            .and_then(|a| a.last())
            .expect("argv"),
        "true"
    );
    assert_eq!(gate["command"].as_str().map(str::len), Some(64));
    assert_eq!(gate["exit"], 0);
}

#[test]
fn a_hermetic_record_does_not_count_in_another_environment() {
    let f = with(
        "verify:\n  commands: [{name: t, run: 'echo ran >> \"$GATE/log\"'}]\n  cache: hermetic\n  env_probe: ['cat \"$GATE/version\"']\n",
        &[("1", "run: touch a")],
    );
    std::fs::write(f.gate().join("version"), "1").expect("a file");
    f.orch(["run"]).exits(0);
    assert_eq!(log(&f, "log").lines().count(), 2);
    f.git(["reset", "-q", "--hard", "main~1"]);
    f.git(["update-ref", "-d", "refs/heads/orch/plan"]);
    std::fs::write(f.gate().join("version"), "2").expect("a file");
    f.orch(["run"]).exits(0);
    assert_eq!(log(&f, "log").lines().count(), 4, "asked again");
}

#[test]
fn a_long_output_is_kept_whole_and_its_ends_are_told_to_the_next_attempt() {
    let f = with(
        "verify: [{name: t, run: 'test ! -e a.txt || ! grep -q bad a.txt || { seq 1 5000; exit 1; }'}]\n",
        &[(
            "1",
            "run: if [ \"$ORCH_ATTEMPT\" = 1 ]; then echo bad > a.txt; else echo good > a.txt; fi",
        )],
    );
    f.orch(["run"]).exits(0);
    let runs = f.repo().join(".git/orch/runs");
    let run = std::fs::read_dir(runs)
        .expect("runs")
        .next()
        .expect("a run");
    let run = run.expect("an entry").path();
    let prompt = std::fs::read_to_string(run.join("1/2/prompt.md")).expect("a prompt");
    for line in ["\n2\n", "\n4999\n5000", "bytes left out"] {
        assert!(prompt.contains(line), "{line:?} in {prompt}");
    }
    assert!(!prompt.contains("\n2500\n"));
    let orders = std::fs::read_dir(run.join("verify")).expect("verify");
    let whole = orders.map(|order| order.expect("an entry").path().join("0/stdout"));
    let kept = whole.filter_map(|path| std::fs::read_to_string(path).ok());
    assert!(kept.into_iter().any(|text| text.lines().count() == 5_000));
}

#[test]
fn a_gate_that_does_not_end_in_its_time_has_failed() {
    let f = with(
        "verify: [{name: t, run: 'test ! -e a || while :; do sleep 0.05; done', timeout: 1s}]\n",
        &[("1", "run: touch a\nmax_attempts: 1")],
    );
    f.orch(["run"]).exits(1).says("it did not end within 1 s");
    f.assert_tidy();
}

#[test]
fn the_build_command_of_the_seeds_settings_is_a_gate_before_its_test_command() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    f.write(
        ".claude/orchestrator-config.yaml",
        "build_command: echo build >> \"$GATE/log\"\ntest_command: echo test >> \"$GATE/log\"\n",
    );
    f.orch(["run"]).exits(0);
    assert_eq!(log(&f, "log"), "build\ntest\nbuild\ntest\n");
    assert_eq!(f.status("1")["verified"], true);
}

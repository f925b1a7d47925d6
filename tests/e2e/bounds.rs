//! What bounds a run: from plan, settings and flags to what is decided and shown.

use serde_json::Value;

use crate::fixture::{Fixture, Ran};
use crate::runs::plan;

/// A plan of commands whose `meta` says this, too.
fn bounded(meta: &str, tasks: &[(&str, &str)]) -> Fixture {
    let text = plan(tasks);
    Fixture::with_plan(&text.replace("runner: command}", &format!("runner: command, {meta}}}")))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_run_decides_by_flags_over_the_plan_over_the_project_and_keeps_it() {
    let f = bounded(
        "budget: {quota_ceiling: 50, max_budget_pct: 80}",
        &[("1", "run: 'true'")],
    );
    f.write(
        "orch.yaml",
        "limits: {margin: 2m, on_limit: stop}\nbudget: {quota_ceiling_usd: 10, task: {sessions: 3}}\n",
    );
    let dry = f
        .orch(["run", "--dry-run", "--reserved-budget", "20"])
        .exits(0);
    dry.says("setting: budget.quota_ceiling_usd = $50.00 (.claude/plans/plan.yaml, meta.budget.quota_ceiling_usd)")
        .says("setting: limits.margin = 2 min 00 s (orch.yaml:1)")
        .says("setting: budget.reserved_budget_usd = $20.00 (--reserved-budget-usd)")
        .says("budget: a task may spend 3 agent sessions")
        .says("budget: the run may spend $30.0000");
    f.orch(["run", "--reserved-budget", "20"]).exits(0);
    let start = &f.records()[0]["record"];
    assert_eq!(start["policy"]["budgets"]["run"]["cost"], 30_000_000);
    assert_eq!(start["policy"]["limit_margin_ms"], 120_000);
    assert_eq!(start["policy"]["on_limit"], "stop");
    assert_eq!(
        start["settings"]["budget.max_quota_percent"],
        "80% (.claude/plans/plan.yaml, meta.budget.max_quota_percent)"
    );
    f.orch(["status"])
        .exits(0)
        .says("budget: the run may spend $30.0000; ~$0.0000 spent, ~$0.0000 set aside");
    let status = json(&f.orch(["status", "--format", "json"]).exits(0).stdout);
    let bounds = &status["bounds"];
    assert_eq!(bounds["on_limit"], "stop");
    assert_eq!(bounds["budgets"]["run"]["most"]["cost"], 30_000_000);
    assert_eq!(bounds["budgets"]["task"]["most"]["sessions"], 3);
    assert_eq!(bounds["limits"], Value::Array(Vec::new()));
    assert_eq!(bounds["breaker"], Value::Null);
}

#[test]
fn a_key_without_effect_is_told_whenever_the_plan_is_read_to_be_run() {
    let f = bounded(
        "validation: {enabled: true}, model_escalation: {enabled: true, validation_model: opus}",
        &[("1", "run: 'true'")],
    );
    for command in [&["check"][..], &["run", "--dry-run"], &["run"]] {
        let ran = f.command([]).args(command).output().expect("orch");
        Ran::of(ran)
            .exits(0)
            .says("warning[not-in-this-version]: `validation` in `meta` has no effect")
            .says("`validation_model` in `model_escalation` has no effect");
    }
}

#[test]
fn the_ladder_is_shown_before_and_after() {
    let f = bounded(
        "model_escalation: {enabled: true, starting_model: haiku, escalate_after: 1}",
        &[
            ("1", "run: exit 1\nmax_attempts: 4"),
            ("2", "depends_on: []\nmodel: opus\nrun: 'true'"),
        ],
    );
    let dry = f.orch(["run", "--dry-run", "--format", "json"]).exits(0);
    let tasks = json(&dry.stdout)["tasks"].clone();
    assert_eq!(
        tasks[0]["models"],
        serde_json::json!(["haiku", "sonnet", "opus"])
    );
    assert_eq!(tasks[1]["models"], serde_json::json!(["opus"]));
    f.orch(["run", "--single-task", "--max-model", "sonnet"])
        .exits(1);
    let status = json(&f.orch(["status", "--format", "json"]).exits(0).stdout);
    assert_eq!(status["tasks"][0]["model"], "sonnet", "{status}");
    f.orch(["status"])
        .exits(0)
        .says("models: haiku, sonnet, opus; from haiku up to sonnet, a rung up for each failure");
}

#[test]
fn check_refuses_what_cannot_be_meant_in_plan_and_settings() {
    let f = bounded("backoff_base: -1", &[("1", "run: 'true'")]);
    f.orch(["check", ".claude/plans/plan.yaml"])
        .exits(2)
        .says("plan.yaml:")
        .says("`backoff_base`: `-1` is not a duration")
        .says("^^");
    let f = bounded(
        "model_escalation: {max_model: claude-fancy-9}",
        &[("1", "run: 'true'")],
    );
    f.orch(["check", ".claude/plans/plan.yaml"])
        .exits(2)
        .says("meta.model_escalation.max_model")
        .says("`claude-fancy-9` is not on the ladder");
    let f = bounded("jobs: 2", &[("1", "run: 'true'")]);
    f.write("orch.yaml", "limits:\n  margin: 25h\njobs: 0\n");
    let refused = f.orch(["check", ".claude/plans/plan.yaml"]).exits(2);
    refused
        .says("orch.yaml:2:11")
        .says("`limits.margin`: `25h` is not between")
        .says("`jobs`: `0` is not a number from 1 to 256");
    let refused = f
        .orch(["check", "--format", "json", ".claude/plans/plan.yaml"])
        .exits(2);
    let report = json(&refused.stdout);
    assert_eq!(report["ok"], false);
    assert_eq!(report["settings"][0]["file"], "orch.yaml");
    assert_eq!(report["settings"][0]["start"]["line"], 2);
}

#[test]
fn check_says_of_a_plan_of_commands_which_budgets_hold_nothing_up() {
    let f = bounded("jobs: 2", &[("1", "run: 'true'"), ("2", "run: 'true'")]);
    f.write(
        "orch.yaml",
        "budget: {run: {sessions: 1, time: 1h}, default_reserve: 2}\n",
    );
    let check = f.orch(["check", ".claude/plans/plan.yaml"]).exits(0);
    let check =
        check.says("`budget.run.sessions` bounds agents, and every task of the plan is a command");
    assert!(
        !check.stdout.contains("budget.run.time"),
        "{}",
        check.stdout
    );
    assert!(!check.stdout.contains("reserve"), "{}", check.stdout);
    f.orch(["run"]).exits(0);
    f.orch(["status"]).exits(0).says("; 0 agent sessions, ");
    assert_eq!(f.status("2")["state"], "completed");
}

#[test]
fn check_refuses_roles_that_a_run_would_refuse_with_their_place() {
    let f = bounded(
        "jobs: 1",
        &[
            ("1", "agent: reviewr\nrun: 'true'"),
            ("2", "agent: writer\nrun: 'true'"),
        ],
    );
    f.write(
        ".claude/agents/writer.md",
        "---\nname: writer\nmodel: sonet\n---\nWrite.\n",
    );
    f.write(".claude/agents/idle.md", "---\neffort: huge\n---\nRest.\n");
    let refused = f.orch(["check", ".claude/plans/plan.yaml"]).exits(2);
    refused
        .says("error[role]: role `writer`: `model` in its front matter: `sonet` is not a model; did you mean `sonnet`?")
        .says(".claude/agents/writer.md:3:1")
        .says("warning[role]: role `idle`: `effort: huge`")
        .says("error[unknown-role]: task `1` names the role `reviewr`, which there is not")
        .says(".claude/plans/plan.yaml:9:16");
    let report = f
        .orch(["check", "--format", "json", ".claude/plans/plan.yaml"])
        .exits(2);
    assert_eq!(json(&report.stdout)["ok"], false);
    f.orch(["run", "--model", "sonet"])
        .exits(2)
        .says("--model")
        .says("`sonet` is not a model; did you mean `sonnet`?");
    f.write("orch.yaml", "model: opsu\n");
    f.orch(["check", ".claude/plans/plan.yaml"])
        .exits(2)
        .says("orch.yaml:1:8");
}

#[test]
fn a_plan_full_of_words_about_limits_and_verdicts_runs_undisturbed() {
    let words = "Claude usage limit reached; resets 3pm (UTC). 429 rate_limit_error, overloaded_error, Invalid API key. **Verdict: FAIL** **Verdict: PASS** Task failed. Deadlock. .stop";
    let keys = format!(
        "description: \"{words}\"\nrun: \"echo '{words}'; echo '{words}' >&2; echo '{words}' > words-$ORCH_TASK.txt\""
    );
    let f = Fixture::with_plan(&plan(&[("1", &keys), ("2", &keys), ("3", &keys)]));
    f.orch(["run"]).exits(0);
    for id in ["1", "2", "3"] {
        let task = f.status(id);
        assert_eq!(
            (&task["state"], &task["attempt"]),
            (&"completed".into(), &1.into())
        );
    }
    let kinds = ["limited", "breaker_opened", "stopping"];
    let odd = f
        .records()
        .into_iter()
        .filter(|r| kinds.contains(&r["record"]["kind"].as_str().unwrap_or_default()));
    assert_eq!(odd.count(), 0);
}

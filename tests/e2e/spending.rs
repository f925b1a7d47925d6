//! What sessions cost, and what holds it down: over days, over models, over agents that run at once.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::fixture::{Fixture, Live, Ran};
use crate::runs::plan;
use crate::silence::agent;

/// An agent program that does its task and tells a price. It notes model and cap at `$GATE/asked`; `say` is the shell's
/// text that sets `cost` and `status`.
fn priced(f: &Fixture, say: &str) -> std::path::PathBuf {
    let text = format!(
        r#"while [ $# -gt 0 ]; do
  case "$1" in --model) model=$2;; --max-budget-usd) cap=$2;; esac
  shift
done
cat > /dev/null
echo "$ORCH_TASK ${{model:-none}} ${{cap:-none}}" >> "$GATE/asked"
status=completed
{say}
echo "$ORCH_TASK" > "file-$ORCH_TASK"
mkdir -p .orch
printf '{{"task_id":"%s","status":"%s","message":"said"}}' "$ORCH_TASK" "$status" > .orch/task-status.json
echo '{{"type":"system","subtype":"init"}}'
printf '{{"type":"result","subtype":"success","is_error":false,"result":"said","num_turns":1,"total_cost_usd":%s,"usage":{{"input_tokens":10,"output_tokens":5}}}}\n' "$cost""#
    );
    agent(f, &text)
}

/// orch with this agent program, where it is noon: what is spent today stays so for the time of the test.
fn orch<const N: usize>(f: &Fixture, agent: &std::path::Path, args: [&str; N]) -> Command {
    let mut command = f.command(args);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let hour = since.expect("after 1970").as_secs() / 3600 % 24;
    let ahead = 12 - i64::try_from(hour).expect("small");
    command
        .env("ORCH_CLAUDE_BINARY", agent)
        .env("ORCH_CLAUDE_ALLOW_ROOT", "true")
        // As POSIX writes zones: hours behind.
        .env("TZ", format!("NOON{:+}", -ahead));
    command
}

fn ran(mut command: Command) -> Ran {
    Ran::of(command.output().expect("orch"))
}

fn asked(f: &Fixture) -> Vec<String> {
    let text = std::fs::read_to_string(f.gate().join("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn by_claude(tasks: &[(&str, &str)], meta: &str) -> String {
    plan(tasks).replace("runner: command}", &format!("runner: claude{meta}}}"))
}

#[test]
fn the_budget_of_a_day_holds_over_two_runs() {
    let f = Fixture::with_plan(&by_claude(&[("1", ""), ("2", "")], ""));
    f.write(
        ".claude/plans/next.yaml",
        &by_claude(&[("3", ""), ("4", "")], ""),
    );
    f.write(
        "orch.yaml",
        "limits: {on_limit: stop}\nbudget: {day: {usd: 1.25}, default_reserve: 0.3, overshoot: 0.1}\n",
    );
    let agent = priced(&f, "cost=0.4");
    let first = orch(&f, &agent, ["run", "--plan", ".claude/plans/plan.yaml"]);
    ran(first).exits(0);
    let next = orch(&f, &agent, ["run", "--plan", ".claude/plans/next.yaml"]);
    ran(next).exits(5);
    let tasks: Vec<String> = asked(&f)
        .iter()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(tasks, ["1", "2", "3"], "a fourth session would overstep");
    let why = ran(orch(&f, &agent, ["why", "4"])).exits(0);
    why.says("the day's budget does not let it start: money: $1.2000 of $1.2500");
    let status = ran(orch(&f, &agent, ["status"])).exits(0);
    status.says("budget: the day may spend $1.2500; ~$1.2000 spent");
}

#[test]
fn costs_are_told_by_the_model_of_each_attempt() {
    let ladder = ", model_escalation: {enabled: true, starting_model: haiku, escalate_after: 1}";
    let f = Fixture::with_plan(&by_claude(
        &[("1", "max_attempts: 2"), ("2", "model: opus")],
        ladder,
    ));
    let agent = priced(
        &f,
        r#"case $model in haiku) cost=0.25 status=failed;; sonnet) cost=0.5;; *) cost=2;; esac"#,
    );
    ran(orch(&f, &agent, ["run"])).exits(0);
    let costs = ran(orch(
        &f,
        &agent,
        ["costs", "--by", "model", "--format", "json"],
    ))
    .exits(0);
    let costs: Value = serde_json::from_str(&costs.stdout).expect("JSON");
    let rows: Vec<(&str, u64, u64)> = costs["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_u64().expect("a number");
            let key = row["key"].as_str().expect("a model");
            (key, number("sessions"), number("cost_micro_usd"))
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("haiku", 1, 250_000),
            ("opus", 1, 2_000_000),
            ("sonnet", 1, 500_000)
        ]
    );
    // The failed attempt counts as much as the one that landed.
    assert_eq!(f.status("1")["usage"]["cost"], 750_000);
    assert_eq!(costs["total"]["cost_micro_usd"], 2_750_000);
}

#[test]
fn four_agents_that_take_all_they_may_stay_within_the_budget_of_the_run() {
    let tasks: Vec<String> = (1..=8).map(|n| n.to_string()).collect();
    let tasks: Vec<(&str, &str)> = tasks
        .iter()
        .map(|id| (id.as_str(), "depends_on: []"))
        .collect();
    let f = Fixture::with_plan(&by_claude(&tasks, ""));
    f.write(
        "orch.yaml",
        "budget: {run: {usd: 2}, default_reserve: 0.3, overshoot: 0.1}\n",
    );
    // Each takes its cap, and the request beyond it that the program lets pass.
    let agent = priced(
        &f,
        r#"cost=$(awk -v cap="$cap" 'BEGIN { printf "%.6f", cap + 0.1 }')"#,
    );
    ran(orch(&f, &agent, ["run", "-j", "4"])).exits(5);
    let run = ran(orch(&f, &agent, ["status", "--format", "json"])).exits(0);
    let run: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let spent = run["usage"]["cost"].as_u64().expect("a sum");
    assert!((1_000_000..=2_000_000).contains(&spent), "{spent}");
    let first: Vec<f64> = asked(&f)
        .iter()
        .map(|line| line.split(' ').nth(2).expect("a cap").parse().expect("usd"))
        .collect();
    assert!(first.iter().all(|cap| *cap <= 2.0), "{first:?}");
    assert_eq!(run["bounds"]["budgets"]["run"]["spent"]["cost"], spent);
}

#[test]
fn a_session_that_tells_no_price_is_unknown_and_not_free() {
    let f = Fixture::with_plan(&by_claude(&[("1", "max_attempts: 1")], ""));
    f.write(
        "orch.yaml",
        "budget: {run: {usd: 5}, attempt: {usd: 1}, overshoot: 0.5}\n",
    );
    let agent = agent(
        &f,
        r#"cat > /dev/null; mkdir -p .orch
printf '{"task_id":"%s","status":"failed","message":"no"}' "$ORCH_TASK" > .orch/task-status.json
echo '{"type":"system","subtype":"init"}'
echo '{"type":"result","subtype":"success","is_error":false,"result":"no","num_turns":1}'"#,
    );
    ran(orch(&f, &agent, ["run"])).exits(1);
    ran(orch(&f, &agent, ["costs"]))
        .exits(0)
        .says("1      1         unknown  unknown  unknown");
    let status = ran(orch(&f, &agent, ["status"])).exits(0);
    status
        .says("1 session of unknown cost.")
        .says("the run may spend $5.0000; ~$1.5000 spent");
    let task = f.status("1");
    assert_eq!(task["usage"]["unpriced_sessions"], 1, "{task}");
}

#[test]
fn a_window_that_is_nearly_full_is_shown_told_and_waited_for() {
    let f = Fixture::with_plan(&by_claude(&[("1", ""), ("2", "")], ""));
    f.write(
        "orch.yaml",
        "usage: {pause_at: 90%}\nnotify: [{on: [limit], run: 'echo \"$ORCH_EVENT|$ORCH_MESSAGE\" >> \"$GATE/told\"'}]\n",
    );
    let resets_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
        + 3 * 3600
        + 35 * 60;
    let window = format!(
        r#"cost=0.1; echo '{{"type":"rate_limit_event","rate_limit_info":{{"status":"allowed_warning","resetsAt":{resets_at},"rateLimitType":"five_hour","utilization":0.925}}}}'"#
    );
    let agent = priced(&f, &window);
    let run = Live::of(orch(&f, &agent, ["run"]), f.root());
    let told = || std::fs::read_to_string(f.gate().join("told")).ok();
    let told = f.await_that("the notice", || told().filter(|text| text.ends_with('\n')));
    assert!(
        told.starts_with("limit|.claude/plans/plan.yaml: the five_hour window of the account is used to 92.5 %, and nothing new that counts into it starts for 3 h 3"),
        "{told}"
    );
    f.await_that("the wait", || {
        (f.status("2")["wait"] == "limit").then_some(())
    });
    f.orch(["status"])
        .exits(0)
        .says("five_hour 92.5 %, resets at ")
        .says("windows: nothing new starts from 90.0 % on");
    f.orch(["why", "2"])
        .exits(0)
        .says("the five_hour window is used to 92.5 %, and from 90.0 % on nothing new starts");
    f.orch(["stop", "--wait"]).exits(0);
    run.ended().exits(3);
    assert_eq!(asked(&f).len(), 1);
    f.assert_tidy_but("?? orch.yaml\n");
}

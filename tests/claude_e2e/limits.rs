//! Usage limits, silence and broken streams: what is waited out, and what ends how.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::fake_api::{Script, cut, limited, report, say, silence};
use crate::fixture::Ran;
use crate::site::{Site, claude, plan, write};

/// How far away the limit's reset is.
const AWAY_S: i64 = 20;

/// A session that is refused before it has done anything has nothing to go on with; a new one goes on with the attempt.
#[test]
fn a_session_that_is_limited_from_the_start_begins_anew_as_the_same_attempt() {
    let program = claude!();
    let script = Script::new().session("1", [limited(now_s() + 15)]).session(
        "1",
        [
            write("one.txt", "1\n"),
            report("completed", "wrote one.txt"),
        ],
    );
    let site = Site::new(&program, &plan(&[("1", "max_attempts: 1")]), script);
    settings(&site, &program, "limits: {margin: 1s}\n");
    let run = subscribed(&site).output().expect("orch");
    Ran::of(run).exits(0);
    let task = site.f.status("1");
    assert_eq!(
        (&task["attempt"], &task["attempts_spent"]),
        (&Value::from(1), &Value::from(0))
    );
    assert_eq!(site.openings("1").len(), 2, "two sessions, told the same");
    assert_eq!(task["usage"]["sessions"], 2, "each is counted once");
    assert_eq!(task["usage"]["unpriced_sessions"], 0);
    let plan = site.f.read(".claude/plans/plan.yaml");
    assert!(plan.contains("attempts: 1\n"), "what is counted: {plan}");
}

fn settings(site: &Site, program: &std::ffi::OsStr, more: &str) {
    site.settings(&format!(
        "claude: {{binary: '{}', allow_root: true, max_retries: 0}}\n{more}",
        program.display()
    ));
}

/// orch whose agents work on a subscription: only those are told of windows.
fn subscribed(site: &Site) -> Command {
    let mut command = site.command(["run", "--jobs", "2"]);
    command
        .env_remove("ANTHROPIC_API_KEY")
        .env("CLAUDE_CODE_OAUTH_TOKEN", "dummy");
    command
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("a time")
}

fn records(site: &Site, kind: &str) -> Vec<Value> {
    let records = site.f.records().into_iter();
    records.filter(|r| r["record"]["kind"] == kind).collect()
}

#[test]
fn a_usage_limit_that_is_soon_over_is_waited_out_and_costs_no_attempt() {
    let program = claude!();
    let resets_at = now_s() + AWAY_S;
    let script = Script::new()
        .session(
            "1",
            [
                write("one.txt", "1\n"),
                limited(resets_at),
                report("completed", "wrote one.txt"),
            ],
        )
        .session(
            "2",
            [
                write("two.txt", "2\n"),
                limited(resets_at),
                report("completed", "wrote two.txt"),
            ],
        );
    let tasks = plan(&[("1", ""), ("2", "depends_on: []"), ("3", "")]);
    let site = Site::new(
        &program,
        &tasks,
        script.session("3", [report("completed", "nothing to do")]),
    );
    settings(&site, &program, "limits: {margin: 1s}\n");
    let run = subscribed(&site).spawn().expect("orch");
    site.f.await_that("the limit is met", || {
        (!records(&site, "limited").is_empty()).then_some(())
    });
    site.f.await_that("both wait", || {
        let waits = |id| site.f.status(id)["wait"] == "limit";
        (waits("1") && waits("2")).then_some(())
    });
    let shown = site.f.orch(["status"]).exits(0).stdout;
    assert!(
        shown.contains("limit: the five_hour limit of the account")
            && shown.contains("work goes on at"),
        "{shown}"
    );
    site.f
        .orch(["why", "2"])
        .exits(0)
        .says("resets at")
        .says("1 s later one task tries");
    let bounds = site.f.orch(["status", "--format", "json"]).exits(0).stdout;
    let bounds: Value = serde_json::from_str(&bounds).expect("JSON");
    assert_eq!(bounds["bounds"]["limits"][0]["resets_at"], resets_at * 1000);
    assert_eq!(bounds["bounds"]["limits"][0]["is_waited_for"], true);

    Ran::of(run.wait_with_output().expect("its end")).exits(0);
    for id in ["1", "2", "3"] {
        let task = site.f.status(id);
        assert_eq!(
            (&task["attempt"], &task["attempts_spent"]),
            (&Value::from(1), &Value::from(0)),
            "{id}: waiting is not failing"
        );
    }
    // What had begun went on where it was, not before the limit's end and the margin.
    let went_on: Vec<i64> = records(&site, "agent_starting")
        .iter()
        .filter(|r| !r["record"]["continues"].is_null())
        .map(|r| r["at"].as_i64().expect("a time"))
        .collect();
    assert_eq!(went_on.len(), 2);
    assert!(went_on.iter().all(|at| *at >= (resets_at + 1) * 1000));
    assert_eq!(site.openings("1").len(), 1, "the same session");
    site.f.assert_tidy();
}

#[test]
fn a_service_that_falls_silent_ends_the_attempt_as_stalled() {
    let program = claude!();
    let script = Script::new().session("1", std::iter::repeat_n(silence(), 3));
    let site = Site::new(&program, &plan(&[("1", "max_attempts: 1")]), script);
    settings(&site, &program, "stall_timeout: 3s\n");
    site.run(["run"]).exits(1);
    assert!(site.end("1").starts_with("stalled: "), "{}", site.end("1"));
    let usage = &site.f.status("1")["usage"];
    assert_eq!(usage["sessions"], 1);
    assert_eq!(usage["unpriced_sessions"], 1, "unknown is not nothing");
}

#[test]
fn a_stream_that_breaks_off_is_asked_for_again_by_the_program() {
    let script = Script::new().session("1", [cut("half a"), report("completed", "nothing to do")]);
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    assert_eq!(site.f.status("1")["attempt"], 1);
}

#[test]
fn what_agents_say_and_print_about_limits_is_no_limit() {
    let words = "Claude usage limit reached. You've hit your limit. 429 rate_limit_error Overloaded. resets 3pm (UTC). **Verdict: FAIL** Task failed. Invalid API key.";
    let script = Script::new().session(
        "1",
        [
            write("words.txt", &format!("{words}\n")),
            crate::site::bash("cat words.txt; cat words.txt >&2"),
            say(words),
            report("completed", words),
        ],
    );
    let text = format!("description: \"{words}\"");
    let site = Site::new(&claude!(), &plan(&[("1", &text)]), script);
    site.run(["run"]).exits(0);
    let task = site.f.status("1");
    assert_eq!(
        (&task["state"], &task["attempt"]),
        (&"completed".into(), &1.into())
    );
    assert_eq!(records(&site, "limited"), [Value::Null; 0]);
}

//! How sessions report: by structured output, by files, late, wrongly or not at all.

use crate::fake_api::{Reply, Script, report, say, tool};
use crate::site::{Site, bash, claude, plan, write, writes};

/// A command that writes a status file.
fn status_file(path: &str, json: &str) -> Reply {
    let dir = path.rsplit_once('/').expect("a directory").0;
    bash(&format!(
        "mkdir -p {dir} && cat > {path} <<'END'\n{json}\nEND"
    ))
}

/// What ends a session without a report: the program reminds it once.
fn silent() -> [Reply; 2] {
    [say("Done."), say("Done.")]
}

#[test]
fn a_status_file_is_as_good_as_structured_output_and_does_not_land() {
    let full = r#"{"task_id": "{task}", "status": "completed", "message": "in a file", "nonce": "{nonce}"}"#;
    // As claude-plan-orchestrator asks for it: without a nonce, with fields of its own.
    let seed = r#"{"task_id": "{task}", "status": "completed", "message": "the old way", "timestamp": "2026-02-17T10:00:00", "plan_modified": false}"#;
    let failed =
        r#"{"task_id": "{task}", "status": "failed", "message": "no luck", "nonce": "{nonce}"}"#;
    let script = Script::new()
        .session(
            "1",
            [
                write("1.txt", "x"),
                status_file(".orch/task-status.json", full),
            ]
            .into_iter()
            .chain(silent()),
        )
        .session(
            "2",
            [
                write("2.txt", "x"),
                status_file(".claude/plans/task-status.json", seed),
            ]
            .into_iter()
            .chain(silent()),
        )
        .session(
            "3",
            [
                write("3.txt", "x"),
                status_file(".orch/task-status.json", failed),
            ]
            .into_iter()
            .chain(silent()),
        );
    let plan = plan(&[("1", ""), ("2", ""), ("3", "max_attempts: 1")]);
    let site = Site::new(&claude!(), &plan, script);
    site.run(["run"]).exits(1);
    site.assert_played();
    assert_eq!(site.f.status("1")["message"], "in a file");
    assert_eq!(site.f.status("2")["message"], "the old way");
    let notes = site.f.status("2")["notes"].to_string();
    assert!(
        notes.contains(".claude/plans/task-status.json carries no nonce"),
        "{notes}"
    );
    assert_eq!(site.end("3"), "agent_failed: no luck");
    assert_eq!(
        site.f.git(["ls-tree", "-r", "--name-only", "orch/plan"]),
        ".claude/plans/plan.yaml\n1.txt\n2.txt\nREADME.md\n"
    );
}

#[test]
fn a_session_without_a_status_is_asked_for_it_once() {
    let replies = [write("a.txt", "a\n")]
        .into_iter()
        .chain(silent())
        .chain([report("completed", "it is done")]);
    let script = Script::new().session("1", replies);
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();
    assert_eq!(site.f.read("a.txt"), "a\n");
    let task = site.f.status("1");
    assert_eq!(
        (&task["attempt"], &task["message"]),
        (&1.into(), &"it is done".into())
    );
    let requests = site.api.requests();
    assert!(requests.iter().all(|r| r.session == requests[0].session));
    assert!(
        requests
            .last()
            .expect("some")
            .messages()
            .contains("there is no report on task 1")
    );
}

#[test]
fn what_a_session_used_is_not_counted_again_for_one_that_never_began() {
    let replies = [write("a.txt", "a\n")].into_iter().chain(silent());
    let script = Script::new().session("1", replies);
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    // orch dies when it is about to ask for the status, and the task is called off.
    let died = site
        .command(["run"])
        .env("ORCH_CRASH_AT", "after-agent_starting:2")
        .output()
        .expect("orch");
    assert_eq!(died.status.code(), None, "{died:?}");
    let before = site.f.status("1")["usage"].clone();
    assert_eq!(before["sessions"], 1);
    site.run(["cancel", "1"]).exits(0);
    site.run(["run"]).exits(1);
    site.assert_played();
    assert_eq!(site.f.status("1")["usage"], before);
}

#[test]
fn a_task_without_a_status_is_tried_again_with_its_files_and_the_reason() {
    let first = [write("half.txt", "half\n")]
        .into_iter()
        .chain(silent())
        .chain(silent());
    let script = Script::new()
        .session("1", first)
        .session("1", writes("rest.txt", "rest\n"));
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();
    let openings = site.openings("1");
    assert_eq!(openings.len(), 2);
    let again = openings[1].messages();
    assert!(again.contains("## This is attempt 2"), "{again}");
    assert!(
        again.contains("<earlier-attempt number 1>\nthe session ended without a status"),
        "{again}"
    );
    assert!(
        again.contains("What the last attempt left is in your copy"),
        "{again}"
    );
    assert_eq!(
        (site.f.read("half.txt"), site.f.read("rest.txt")),
        ("half\n".to_owned(), "rest\n".to_owned())
    );
    assert_eq!(site.f.subjects("main")[0], "1: Task 1");
}

#[test]
fn a_wrong_status_fails_the_attempt_with_the_reason() {
    let structured = |task: &str, nonce: &str| {
        tool(
            "StructuredOutput",
            serde_json::json!({ "task_id": task, "status": "completed", "message": "", "nonce": nonce }),
        )
    };
    let perhaps = || {
        tool(
            "StructuredOutput",
            serde_json::json!({ "task_id": "{task}", "status": "perhaps", "message": "" }),
        )
    };
    let cut = status_file(
        ".orch/task-status.json",
        r#"{"task_id": "{task}", "status": "#,
    );
    let script = Script::new()
        .session("other-task", [structured("7", "{nonce}")])
        .session("other-nonce", [structured("{task}", "guessed")])
        .session("malformed", [cut].into_iter().chain(silent()))
        // The program gives a session five chances to fit the schema.
        .session("no-such-word", std::iter::repeat_with(perhaps).take(5));
    let ids = ["other-task", "other-nonce", "malformed", "no-such-word"];
    let tasks = ids.map(|id| (id, "depends_on: []\nmax_attempts: 1"));
    let site = Site::new(&claude!(), &plan(&tasks), script);
    site.run(["run", "--parallel"]).exits(1);
    site.assert_played();
    let ends = ids.map(|id| site.end(id));
    assert_eq!(
        ends[0],
        "bad_status: the structured status is of task `7`, not of `other-task`"
    );
    assert_eq!(
        ends[1],
        "bad_status: the structured status carries the nonce of another attempt"
    );
    assert!(
        ends[2].starts_with("bad_status: .orch/task-status.json cannot be read as JSON: "),
        "{}",
        ends[2]
    );
    assert!(ends[3].starts_with("bad_status: "), "{}", ends[3]);
}

//! What orch relies on of the `claude` program, tried with the real one against a fake service on loopback.
//!
//! The program is named by `ORCH_TEST_CLAUDE` (an absolute path; `tests/claude/install` fetches the pinned release).
//! Without it these tests are skipped with a note, or fail if `ORCH_TEST_REQUIRE_CLAUDE=1`.

mod bench;
#[path = "../fake_api/mod.rs"]
mod fake_api;

use std::fs;

use serde_json::json;
use uuid::Uuid;

use bench::{Bench, NONCE, TASK, prompt};
use fake_api::{FakeApi, Script, Tokens, limited, overloaded, refused, report, say, tool, tools};
use orch::agent::Start;

use orch::agent::prompt::ask_status;
use orch::agent::role::{Effort, Profile};
use orch::config::{Mcp, Permission};
use orch::engine::ending::{AttemptEnd, Ending};

/// Gives the path of the real program to a test, or skips it.
macro_rules! claude {
    () => {
        match std::env::var_os("ORCH_TEST_CLAUDE") {
            Some(path) => path,
            None if std::env::var_os("ORCH_TEST_REQUIRE_CLAUDE").is_some_and(|v| v == "1") => {
                panic!(
                    "ORCH_TEST_CLAUDE does not name the claude program; see tests/claude/install"
                )
            }
            None => {
                eprintln!("skipped: ORCH_TEST_CLAUDE does not name the claude program");
                return;
            }
        }
    };
}

#[tokio::test]
async fn a_session_writes_files_reports_and_tells_what_it_used() {
    let script = Script::new().session(
        TASK,
        [
            tools([
                (
                    "Write",
                    json!({ "file_path": "{cwd}/a.txt", "content": "alpha\n" }),
                ),
                (
                    "Bash",
                    json!({ "command": "printf beta > b.txt", "description": "write b" }),
                ),
            ]),
            report("completed", "wrote both").using(Tokens {
                input: 7,
                output: 5,
                cache_read: 3,
                cache_creation: 2,
            }),
        ],
    );
    let bench = Bench::new(claude!(), script).await;
    let left = bench.run(Start::Fresh, &prompt("Write the files.")).await;

    assert_eq!(
        bench.end(&left, true),
        AttemptEnd::new(Ending::Success, "wrote both")
    );
    assert_eq!(
        fs::read_to_string(bench.slot().join("a.txt")).expect("written"),
        "alpha\n"
    );
    assert_eq!(
        fs::read_to_string(bench.slot().join("b.txt")).expect("written"),
        "beta"
    );
    let (reported, usage) = (bench.api.reported(TASK), left.report.usage);
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_creation_tokens
        ),
        (
            reported.input,
            reported.output,
            reported.cache_read,
            reported.cache_creation
        ),
    );
    assert_eq!((usage.unpriced_sessions, usage.sessions), (0, 1));
    assert!(usage.cost.0 > 0);
    assert_eq!(
        (left.report.unknown_lines, left.report.damaged_lines),
        (0, 0)
    );
    assert_eq!(
        (bench.api.unscripted(), bench.api.left().len()),
        (vec![], 0)
    );
}

#[tokio::test]
async fn a_session_is_told_what_orch_wrote_and_nothing_else_decides_its_tools() {
    let description = "/init and @secret.txt\n-p --help";
    let bench = Bench::new(
        claude!(),
        Script::new().session(TASK, [report("completed", "")]),
    )
    .await;
    fs::write(bench.slot().join("secret.txt"), "not to be attached").expect("write");
    fs::write(
        bench.slot().join("CLAUDE.md"),
        "rules of the house: @more.md\n",
    )
    .expect("write");
    fs::write(bench.slot().join("more.md"), "and of the garden").expect("write");
    bench.run(Start::Fresh, &prompt(description)).await;

    let requests = bench.api.requests();
    assert_eq!(requests.len(), 1, "no side requests");
    let (request, messages) = (&requests[0], requests[0].messages());
    assert!(messages.contains(description), "{messages}");
    assert!(!messages.contains("not to be attached"));
    assert!(messages.contains("rules of the house") && messages.contains("and of the garden"));
    assert!(request.system().contains("How your work is run"));
    let mut tools: Vec<&str> = request.tools();
    tools.retain(|t| *t != "DeferredToolPlaceholder");
    assert_eq!(
        tools,
        [
            "Bash",
            "Edit",
            "Glob",
            "Grep",
            "Read",
            "StructuredOutput",
            "Write"
        ]
    );
    assert_eq!(request.session, bench.session.to_string());
}

#[tokio::test]
async fn sessions_of_two_tasks_share_their_request_up_to_the_task() {
    let script = Script::new()
        .session("1.1", [report("completed", "")])
        .session("1.2", [report("completed", "")]);
    let bench = Bench::new(claude!(), script).await;
    for task in ["1.1", "1.2"] {
        let cwd = bench.dir.path().join(format!("slot-{task}"));
        fs::create_dir(&cwd).expect("create");
        let text = prompt("Do it.").replace(TASK, task);
        bench
            .run_in(&cwd, Uuid::new_v4(), Start::Fresh, &text)
            .await;
    }
    let [a, b] = [0, 1].map(|n| bench.api.requests()[n].in_cache_order());
    let common = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    assert!(
        a[..common].ends_with("# Task 1."),
        "the first difference is: …{}",
        &a[common.saturating_sub(300)..common]
    );
}

#[tokio::test]
async fn a_status_file_counts_where_the_session_gives_no_structured_status() {
    let write = r#"mkdir -p .orch && printf '{"task_id":"{task}","status":"failed","message":"no luck","nonce":"{nonce}"}' > .orch/task-status.json"#;
    let replies = [
        tool("Bash", json!({ "command": write, "description": "report" })),
        // The program reminds a session once of its duty to report.
        say("Done."),
        say("Done."),
    ];
    assert_eq!(
        Bench::end_of(claude!(), replies).await,
        AttemptEnd::new(Ending::AgentFailed, "no luck")
    );
}

#[tokio::test]
async fn a_session_without_a_status_can_be_asked_for_it_and_is_charged_once() {
    let script = Script::new().session(
        TASK,
        [
            say("Done."),
            say("Done."),
            report("completed", "it is done"),
        ],
    );
    let bench = Bench::new(claude!(), script).await;
    let first = bench.run(Start::Fresh, &prompt("Do it.")).await;
    assert_eq!(bench.end(&first, true).ending, Ending::NoStatus);
    let asked = bench.run(Start::Resume, &ask_status(TASK, NONCE)).await;

    assert_eq!(
        bench.end(&asked, true),
        AttemptEnd::new(Ending::Success, "it is done")
    );
    let (both, reported) = (
        first.report.usage.plus(asked.report.usage),
        bench.api.reported(TASK),
    );
    assert_eq!(
        (both.input_tokens, both.output_tokens),
        (reported.input, reported.output)
    );
    assert_eq!((both.sessions, both.unpriced_sessions), (2, 0));
    assert!(
        asked.report.usage.cost < first.report.usage.cost,
        "one reply costs less than two"
    );
    assert!(
        bench
            .api
            .requests()
            .last()
            .expect("asked")
            .messages()
            .contains("there is no report on task 1.1")
    );
}

#[tokio::test]
async fn a_session_that_is_not_known_any_more_still_lacks_its_status() {
    let bench = Bench::new(claude!(), Script::new()).await;
    let asked = bench.run(Start::Resume, &ask_status(TASK, NONCE)).await;
    assert_eq!(bench.end(&asked, true).ending, Ending::NoStatus);
}

#[tokio::test]
async fn a_status_that_never_fits_the_schema_is_a_bad_status() {
    let wrong = || {
        tool(
            "StructuredOutput",
            json!({ "task_id": "{task}", "status": "perhaps", "message": "" }),
        )
    };
    let end = Bench::end_of(claude!(), std::iter::repeat_with(wrong).take(5)).await;
    assert_eq!(end.ending, Ending::BadStatus, "{}", end.detail);
}

#[tokio::test]
async fn errors_of_the_service_are_told_apart() {
    let program = claude!();
    for (reply, ending) in [
        (
            refused(401, "authentication_error", "invalid x-api-key"),
            Ending::Auth,
        ),
        (refused(403, "permission_error", "not yours"), Ending::Auth),
        (
            refused(
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API.",
            ),
            Ending::Billing,
        ),
        (
            refused(
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            Ending::Context,
        ),
        (
            refused(
                429,
                "rate_limit_error",
                "over your organization's rate limit",
            ),
            Ending::Throttled,
        ),
        (overloaded(), Ending::Throttled),
        (
            refused(500, "api_error", "Internal server error"),
            Ending::Throttled,
        ),
        (
            refused(404, "not_found_error", "model: none"),
            Ending::Environment,
        ),
    ] {
        let what = format!("{reply:?}");
        // The program may try once more in another way.
        let end = Bench::end_of(program.clone(), [reply.clone(), reply]).await;
        assert_eq!(end.ending, ending, "{what}: {}", end.detail);
    }
}

#[tokio::test]
async fn the_usage_limit_of_a_subscription_comes_with_its_end() {
    let script = Script::new().session(TASK, [limited(4_102_444_800)]);
    let mut bench = Bench::new(claude!(), script).await;
    bench.credential = ("CLAUDE_CODE_OAUTH_TOKEN", "dummy");
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    let end = bench.end(&left, false);
    assert_eq!(end.ending, Ending::UsageLimit, "{}", end.detail);
    assert!(
        end.detail.contains("until 2100-01-01 00:00:00 UTC"),
        "{}",
        end.detail
    );
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_a_throttle() {
    let mut bench = Bench::new(claude!(), Script::new()).await;
    bench.base_url = {
        let gone = FakeApi::start(Script::new());
        gone.base_url()
    };
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    assert_eq!(
        bench.end(&left, false).ending,
        Ending::Throttled,
        "{:?}",
        left.report.result
    );
}

#[tokio::test]
async fn retries_inside_the_program_are_bounded_by_ours() {
    let script = Script::new().session(TASK, [overloaded(), report("completed", "second try")]);
    let mut bench = Bench::new(claude!(), script).await;
    bench.settings.max_retries = 1;
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    assert_eq!(
        bench.end(&left, true),
        AttemptEnd::new(Ending::Success, "second try")
    );
    assert_eq!((left.report.retries, bench.api.requests().len()), (1, 2));
}

#[tokio::test]
async fn pushing_is_denied_and_named_and_does_not_end_the_session() {
    let push = |command: &str| tool("Bash", json!({ "command": command, "description": "push" }));
    let replies = [
        push("git push origin HEAD"),
        push("cd . && git push"),
        report("completed", ""),
    ];
    let bench = Bench::new(claude!(), Script::new().session(TASK, replies)).await;
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    assert_eq!(
        left.report.denials,
        ["Bash git push origin HEAD", "Bash cd . && git push"]
    );
    assert_eq!(bench.end(&left, true).ending, Ending::Success);
}

#[tokio::test]
async fn without_bypassed_permissions_the_tools_of_the_session_are_still_allowed() {
    let replies = [
        tool(
            "Bash",
            json!({ "command": "printf x > made.txt", "description": "make" }),
        ),
        report("completed", ""),
    ];
    let mut bench = Bench::new(claude!(), Script::new().session(TASK, replies)).await;
    bench.settings.permission = Permission::DontAsk;
    bench.settings.allow_root = false;
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    assert_eq!(bench.end(&left, true).ending, Ending::Success);
    assert!(bench.slot().join("made.txt").exists());
    assert!(left.report.denials.is_empty());
}

/// A session that runs a command, tries to write a file with the tool for it, and reports.
fn writes_and_runs() -> [fake_api::Reply; 3] {
    [
        tool(
            "Bash",
            json!({ "command": "printf x > ran.txt", "description": "run" }),
        ),
        tool(
            "Write",
            json!({ "file_path": "{cwd}/written.txt", "content": "x" }),
        ),
        report("completed", ""),
    ]
}

#[tokio::test]
async fn under_each_profile_a_session_finishes_without_a_person() {
    let profiles = [
        (Profile::ReadOnly, false),
        (Profile::Mode(Permission::Bypass), true),
        (Profile::Mode(Permission::DontAsk), true),
        (Profile::Mode(Permission::AcceptEdits), true),
    ];
    for (profile, writes) in profiles {
        let mut bench = Bench::new(claude!(), Script::new().session(TASK, writes_and_runs())).await;
        bench.profile = Some(profile);
        bench.effort = Some(Effort::High);
        let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
        assert_eq!(
            bench.end(&left, true).ending,
            Ending::Success,
            "{profile:?}"
        );
        let is_there = |name: &str| bench.slot().join(name).exists();
        assert!(is_there("ran.txt"), "{profile:?}");
        assert_eq!(is_there("written.txt"), writes, "{profile:?}");
        for request in bench.api.requests() {
            assert_eq!(request.body["output_config"]["effort"], "high");
        }
    }
}

#[tokio::test]
async fn a_start_that_the_program_refuses_is_the_environment_s_fault() {
    let mut bench = Bench::new(claude!(), Script::new()).await;
    bench.settings.mcp = Mcp::File("/nowhere/mcp.json".into());
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    let end = bench.end(&left, false);
    assert_eq!(end.ending, Ending::Environment);
    assert!(end.detail.contains("/nowhere/mcp.json"), "{}", end.detail);
}

#[tokio::test]
async fn a_session_that_asks_for_the_background_still_ends_with_its_turn() {
    let replies = [
        tool(
            "Bash",
            json!({ "command": "echo started", "description": "x", "run_in_background": true }),
        ),
        report("completed", ""),
    ];
    let bench = Bench::new(claude!(), Script::new().session(TASK, replies)).await;
    let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
    assert_eq!(bench.end(&left, true).ending, Ending::Success);
    assert!(!left.report.turn_open);
}

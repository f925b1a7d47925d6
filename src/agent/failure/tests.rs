//! Each way in which a session can end is told apart from the others.

use super::super::Start;
use super::super::status::Status;
use super::super::stream::SessionReader;
use super::super::stream::tests::recorded;
use super::*;
use crate::process::TreeUsage;

const EXITED_0: AgentEnd = ended(Cause::Exited, Exit::Code(0));
const EXITED_1: AgentEnd = ended(Cause::Exited, Exit::Code(1));

const fn ended(cause: Cause, exit: Exit) -> AgentEnd {
    AgentEnd::Ended(AgentRun {
        cause,
        exit,
        wall_ms: 0,
        usage: TreeUsage {
            user_ms: 0,
            system_ms: 0,
            max_rss_kib: 0,
        },
        stdout_bytes: 0,
        stderr_bytes: 0,
        swept: 0,
        survivors: 0,
    })
}

fn evidence<'a>(exit: &'a AgentEnd, status: &'a Finding) -> Evidence<'a> {
    Evidence {
        exit: Some(exit),
        ended_for: None,
        stderr: "",
        status,
        changed: true,
    }
}

fn said(said: Said) -> Finding {
    Finding::Status(Status {
        said,
        message: "words".to_owned(),
    })
}

fn ending_of(name: &str) -> Ending {
    of_session(&evidence(&EXITED_1, &Finding::None), &recorded(name)).ending
}

#[test]
fn recorded_sessions_end_as_what_they_were() {
    for (name, ending) in [
        ("no-status", Ending::NoStatus),
        ("schema-violated", Ending::BadStatus),
        ("unauthorized-401", Ending::Auth),
        ("forbidden-403", Ending::Auth),
        ("not-logged-in", Ending::Auth),
        ("throttled-429", Ending::Throttled),
        ("throttled-429-v197", Ending::Throttled),
        ("overloaded-529", Ending::Throttled),
        ("server-error-500", Ending::Throttled),
        ("connection-dropped", Ending::Throttled),
        ("connection-dropped-v197", Ending::Throttled),
        ("five-hour-limit", Ending::UsageLimit),
        ("opus-limit", Ending::UsageLimit),
        ("fable-limit-v197", Ending::UsageLimit),
        ("weekly-limit-v197", Ending::UsageLimit),
        ("limit-without-reset-v197", Ending::UsageLimit),
        ("out-of-credits", Ending::UsageLimit),
        ("on-paid-credits", Ending::NoStatus),
        ("near-the-limit", Ending::NoStatus),
        ("no-credit-v197", Ending::Billing),
        ("prompt-too-long", Ending::Context),
        ("request-too-large-v197", Ending::Context),
        ("context-full-v197", Ending::Context),
        ("refused", Ending::Refused),
        ("refused-v197", Ending::Refused),
        ("unknown-model-v197", Ending::Environment),
        ("bad-request-400", Ending::Refused),
        ("out-of-turns", Ending::Turns),
        ("out-of-budget", Ending::Budget),
        ("killed-in-a-tool", Ending::Crashed),
        ("interrupted-in-a-tool", Ending::Interrupted),
        ("interrupted-at-the-service", Ending::Crashed),
    ] {
        assert_eq!(ending_of(name), ending, "{name}");
    }
}

#[test]
fn a_limit_is_told_with_its_end() {
    let end = of_session(
        &evidence(&EXITED_1, &Finding::None),
        &recorded("five-hour-limit"),
    );
    assert_eq!(
        end.detail,
        "You've hit your 5-hour limit · resets 6:40am (UTC) (until 2026-11-21 06:40:27 UTC)"
    );
}

fn wall(text: &str) -> Wall {
    let at = chrono::DateTime::parse_from_rfc3339(text).expect("a time");
    Wall(at.timestamp_millis())
}

fn account(window: &str) -> LimitScope {
    LimitScope::Account {
        window: window.to_owned(),
    }
}

#[test]
fn a_limit_of_a_window_is_told_from_one_of_a_model() {
    let now = wall("2026-11-21T05:00:00Z");
    for (name, scope, end) in [
        (
            "five-hour-limit",
            account("five_hour"),
            Some("2026-11-21T06:40:27Z"),
        ),
        ("opus-limit", model("opus"), Some("2026-11-23T12:13:48Z")),
        (
            "fable-limit-v197",
            model("fable"),
            Some("2026-11-21T06:41:48Z"),
        ),
        (
            "out-of-credits",
            account("overage"),
            Some("2026-11-21T06:41:19Z"),
        ),
        ("limit-without-reset-v197", account("five_hour"), None),
    ] {
        let hit = limit_hit(&recorded(name), now, &chrono::Utc);
        assert_eq!((hit.scope, hit.resets_at), (scope, end.map(wall)), "{name}");
    }
}

#[test]
fn a_reset_that_has_passed_by_its_field_is_not_tomorrow_by_its_text() {
    let late = wall("2026-11-21T07:00:00Z");
    let hit = limit_hit(&recorded("five-hour-limit"), late, &chrono::Utc);
    assert_eq!((hit.scope, hit.resets_at), (account("five_hour"), None));
}

#[test]
fn messages_seen_in_public_are_known_with_their_scope_and_end() {
    #[derive(serde::Deserialize)]
    struct Case {
        message: String,
        now: String,
        ending: Ending,
        scope: Option<LimitScope>,
        resets_at: Option<String>,
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/limit-messages.json"
    );
    let text = std::fs::read_to_string(path).expect("the messages");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("cases");
    assert!(cases.len() > 15);
    for case in cases {
        let mut reader = SessionReader::new(Start::Fresh);
        let line = serde_json::json!({ "type": "result", "subtype": "success", "is_error": true, "api_error_status": 429, "result": case.message });
        reader.line(line.to_string().as_bytes());
        let session = reader.finish();
        let end = of_session(&evidence(&EXITED_1, &Finding::None), &session);
        assert_eq!(end.ending, case.ending, "{}", case.message);
        let Some(scope) = case.scope else { continue };
        let hit = limit_hit(&session, wall(&case.now), &chrono_tz::Europe::Berlin);
        let resets_at = case.resets_at.as_deref().map(wall);
        assert_eq!(
            (hit.scope, hit.resets_at),
            (scope, resets_at),
            "{}",
            case.message
        );
    }
}

#[test]
fn a_session_that_was_cut_at_a_limit_has_hit_it() {
    let mut reader = SessionReader::new(Start::Fresh);
    reader.line(br#"{"type":"system","subtype":"init"}"#);
    reader.line(br#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","rateLimitType":"seven_day","resetsAt":1795243227,"isUsingOverage":false}}"#);
    let killed = ended(Cause::Exited, Exit::Signal(9));
    let end = of_session(&evidence(&killed, &Finding::None), &reader.finish());
    assert_eq!(end.ending, Ending::UsageLimit);
}

#[test]
fn a_request_that_the_service_rejects_for_an_unknown_reason_is_refused() {
    for status in [400, 404, 409, 422] {
        let mut reader = SessionReader::new(Start::Fresh);
        let line = serde_json::json!({ "type": "result", "subtype": "success", "is_error": true, "api_error_status": status, "result": "API Error: odd" });
        reader.line(line.to_string().as_bytes());
        let end = of_session(&evidence(&EXITED_1, &Finding::None), &reader.finish());
        assert_eq!(
            end,
            AttemptEnd::new(Ending::Refused, "API Error: odd"),
            "{status}"
        );
    }
}

#[test]
fn an_agent_that_somebody_else_asked_to_end_was_interrupted() {
    for exit in [
        Exit::Signal(15),
        Exit::Code(143),
        Exit::Code(129),
        Exit::Signal(2),
    ] {
        let exit = ended(Cause::Exited, exit);
        let end = of_session(
            &evidence(&exit, &Finding::None),
            &recorded("killed-in-a-tool"),
        );
        assert_eq!(end.ending, Ending::Interrupted);
    }
}

#[test]
fn texts_of_older_releases_and_rarer_cases_are_known() {
    for (text, ending) in [
        (
            "Claude AI usage limit reached|1795246391",
            Ending::UsageLimit,
        ),
        ("Session limit reached ∙ resets 7:33am", Ending::UsageLimit),
        (
            "You\u{2019}ve hit your limit · resets 1pm (Europe/Lisbon)",
            Ending::UsageLimit,
        ),
        (
            "Opus weekly limit reached ∙ resets Oct 31, 9am",
            Ending::UsageLimit,
        ),
        ("Spending cap reached resets 7:33am", Ending::UsageLimit),
        (
            "You've hit your org's monthly spend limit · ask your admin",
            Ending::UsageLimit,
        ),
        (
            "API Error: Server is temporarily limiting requests (not your usage limit) · x",
            Ending::Throttled,
        ),
        (
            "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)",
            Ending::Throttled,
        ),
        (
            "Request timed out. Check your network, or set API_TIMEOUT_MS above 4000",
            Ending::Throttled,
        ),
        (
            "Your org is out of usage · add funds to continue",
            Ending::Billing,
        ),
        ("OAuth token revoked · Please run /login", Ending::Auth),
        (
            "Your ANTHROPIC_API_KEY belongs to a disabled organization · Update it",
            Ending::Auth,
        ),
    ] {
        assert_eq!(texts::ending(text), Some(ending), "{text}");
    }
    assert_eq!(texts::ending("API Error: 400 messages: malformed"), None);
}

#[test]
fn what_the_model_says_about_limits_decides_nothing() {
    let mut reader = SessionReader::new(Start::Fresh);
    reader.line(br#"{"type":"system","subtype":"init"}"#);
    reader.line(br#"{"type":"assistant","message":{"id":"a","content":[{"type":"text","text":"You've hit your usage limit"}]}}"#);
    reader.line(br#"{"type":"result","is_error":false,"result":"You've hit your usage limit. Not logged in."}"#);
    let end = of_session(
        &evidence(&EXITED_0, &said(Said::Completed)),
        &reader.finish(),
    );
    assert_eq!(end, AttemptEnd::new(Ending::Success, "words"));
}

#[test]
fn a_rejected_limit_without_a_window_is_a_throttle() {
    let mut reader = SessionReader::new(Start::Fresh);
    reader.line(br#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","isUsingOverage":false}}"#);
    reader.line(br#"{"type":"result","is_error":true,"api_error_status":429,"result":"API Error: Server is temporarily limiting requests (not your usage limit)"}"#);
    assert_eq!(
        of_session(&evidence(&EXITED_1, &Finding::None), &reader.finish()).ending,
        Ending::Throttled
    );
}

#[test]
fn the_shim_s_reasons_come_before_anything_that_was_printed() {
    for (cause, ending) in [
        (Cause::Timeout, Ending::Timeout),
        (Cause::OutputFlood, Ending::OutputFlood),
        (Cause::Unsupervised, Ending::Interrupted),
        (Cause::Ended, Ending::Interrupted),
        (Cause::EndedFromBelow, Ending::AgentFailed),
    ] {
        let exit = ended(cause, Exit::Code(143));
        assert_eq!(
            of_session(
                &evidence(&exit, &said(Said::Completed)),
                &recorded("completed")
            )
            .ending,
            ending
        );
        assert_eq!(
            of_command(&evidence(&exit, &Finding::None), "").ending,
            ending
        );
    }
    let not_started = AgentEnd::NotStarted {
        error: "no such file".to_owned(),
    };
    assert_eq!(
        of_session(
            &evidence(&not_started, &Finding::None),
            &SessionReport::default()
        )
        .ending,
        Ending::Environment
    );
}

#[test]
fn an_agent_that_orch_ended_by_itself_ended_for_that_reason() {
    let stalled = AttemptEnd::new(Ending::Stalled, "silent");
    let with = |cause: Cause| {
        let exit = ended(cause, Exit::Code(143));
        of_session(
            &Evidence {
                ended_for: Some(&stalled),
                ..evidence(&exit, &Finding::None)
            },
            &recorded("killed-in-a-tool"),
        )
        .ending
    };
    assert_eq!(with(Cause::Ended), Ending::Stalled);
    assert_eq!(with(Cause::Timeout), Ending::Timeout);
    // It ended by itself before orch reached it.
    assert_eq!(with(Cause::Exited), Ending::Interrupted);
}

#[test]
fn a_good_session_is_judged_by_its_status_and_changes() {
    let with = |status: Finding, changed: bool| {
        of_session(
            &Evidence {
                changed,
                ..evidence(&EXITED_0, &status)
            },
            &recorded("completed"),
        )
        .ending
    };
    assert_eq!(with(said(Said::Completed), true), Ending::Success);
    assert_eq!(with(said(Said::Completed), false), Ending::NoChange);
    assert_eq!(with(said(Said::Failed), true), Ending::AgentFailed);
    assert_eq!(with(Finding::Bad("x".to_owned()), true), Ending::BadStatus);
    assert_eq!(with(Finding::None, true), Ending::NoStatus);
}

#[test]
fn denials_explain_a_session_that_did_nothing_and_do_not_hide_one_that_did() {
    let report = recorded("bash-denied");
    let with = |status: Finding, changed: bool| {
        of_session(
            &Evidence {
                changed,
                ..evidence(&EXITED_0, &status)
            },
            &report,
        )
    };
    assert_eq!(with(Finding::None, false).ending, Ending::Denied);
    assert_eq!(with(Finding::None, true).ending, Ending::NoStatus);
    assert_eq!(with(said(Said::Completed), true).ending, Ending::Success);
    assert!(
        with(said(Said::Failed), false)
            .detail
            .contains("denied: Bash")
    );
}

#[test]
fn a_program_that_refuses_to_start_is_the_environment_s_fault() {
    for stderr in [
        "error: unknown option '--nope'\n(Did you mean --name?)\n",
        "Error: Append system prompt file not found: /x\n",
        "--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons\n",
    ] {
        let end = of_session(
            &Evidence {
                stderr,
                ..evidence(&EXITED_1, &Finding::None)
            },
            &SessionReport::default(),
        );
        assert_eq!(end.ending, Ending::Environment, "{stderr}");
        assert!(
            end.detail.contains(stderr.lines().next().expect("a line")),
            "{}",
            end.detail
        );
    }
}

#[test]
fn a_session_that_cannot_be_resumed_still_lacks_its_status() {
    let mut reader = SessionReader::new(Start::Fresh);
    reader.line(br#"{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":0,"errors":["No conversation found with session ID: x"]}"#);
    assert_eq!(
        of_session(&evidence(&EXITED_1, &Finding::None), &reader.finish()).ending,
        Ending::NoStatus
    );
    let stderr = "No conversation found with session ID: x";
    let end = of_session(
        &Evidence {
            stderr,
            ..evidence(&EXITED_1, &Finding::None)
        },
        &SessionReport::default(),
    );
    assert_eq!(end.ending, Ending::NoStatus);
}

#[test]
fn a_crash_is_told_with_exit_retries_and_the_last_words() {
    let killed = ended(Cause::Exited, Exit::Signal(9));
    let end = of_session(
        &Evidence {
            stderr: "boom\n",
            ..evidence(&killed, &Finding::None)
        },
        &recorded("killed-in-a-tool"),
    );
    assert_eq!(
        end.detail,
        "the agent was killed by signal 9 (not by orch; perhaps the system was out of memory): boom"
    );
    let gone = of_session(
        &Evidence {
            exit: None,
            ..evidence(&EXITED_0, &Finding::None)
        },
        &SessionReport::default(),
    );
    assert_eq!(gone.ending, Ending::Crashed);
}

#[test]
fn a_turn_left_open_after_a_result_is_a_crash() {
    let mut reader = SessionReader::new(Start::Fresh);
    reader.line(br#"{"type":"result","is_error":false,"result":"early"}"#);
    reader.line(br#"{"type":"system","subtype":"init"}"#);
    assert_eq!(
        of_session(
            &evidence(&EXITED_0, &said(Said::Completed)),
            &reader.finish()
        )
        .ending,
        Ending::Crashed
    );
}

#[test]
fn a_command_is_judged_by_its_exit_code_and_a_status_file_that_disagrees() {
    let of = |exit: &AgentEnd, status: &Finding, changed: bool| {
        of_command(
            &Evidence {
                changed,
                ..evidence(exit, status)
            },
            "out\n",
        )
    };
    assert_eq!(of(&EXITED_0, &Finding::None, true).ending, Ending::Success);
    assert_eq!(
        of(&EXITED_0, &Finding::None, false).ending,
        Ending::NoChange
    );
    assert_eq!(
        of(&EXITED_0, &said(Said::Failed), true).ending,
        Ending::AgentFailed
    );
    let failed = of(&EXITED_1, &said(Said::Completed), true);
    assert_eq!(
        failed,
        AttemptEnd::new(
            Ending::AgentFailed,
            "the command ended with exit code 1: out"
        )
    );
    let killed = ended(Cause::Exited, Exit::Signal(11));
    assert_eq!(of(&killed, &Finding::None, true).ending, Ending::Crashed);
}

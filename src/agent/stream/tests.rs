//! Promises about reading streams, tried on recorded ones (`tests/fixtures/streams`).

use std::path::Path;

use super::*;
use crate::engine::usage::MicroUsd;

/// The session id of all fixtures.
const SESSION: &str = "11111111-2222-4333-8444-555555555555";

pub(in crate::agent) fn recorded(name: &str) -> SessionReport {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/streams")
        .join(name)
        .with_extension("jsonl");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    read(&text)
}

fn read(text: &[u8]) -> SessionReport {
    let mut reader = SessionReader::new(Start::Fresh);
    text.split(|b| *b == b'\n')
        .for_each(|line| reader.line(line));
    reader.finish()
}

#[test]
fn every_recorded_line_is_understood() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/streams");
    let mut count = 0;
    for entry in dir.read_dir().expect("fixtures") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            let report = recorded(path.file_stem().and_then(|s| s.to_str()).expect("a name"));
            assert_eq!(
                (report.damaged_lines, report.unknown_lines),
                (0, 0),
                "{}",
                path.display()
            );
            assert!(
                report.init.is_some_and(|i| i.version.is_some()),
                "{}",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count > 30, "only {count} fixtures");
}

#[test]
fn a_completed_session_tells_its_model_text_and_use() {
    let report = recorded("completed");
    let result = report.result.as_ref().expect("a result");
    assert_eq!(
        report.init.as_ref().and_then(|i| i.model.as_deref()),
        Some("claude-opus-5-5")
    );
    assert_eq!(result.text.as_deref(), Some("All done: created hello.txt"));
    assert!(!result.is_error && report.denials.is_empty() && report.api_error.is_none());
    assert_eq!(report.tool_calls, 4);
    let expected = Usage {
        input_tokens: 0,
        output_tokens: 194,
        cache_read_tokens: 42_157,
        cache_creation_tokens: 14_313,
        cost: MicroUsd(83_876),
        unpriced_sessions: 0,
        sessions: 1,
        turns: 5,
        api_ms: 110,
        first_prompt_tokens: 13_941,
        first_cached_tokens: 0,
    };
    assert_eq!(report.usage, expected);
}

#[test]
fn the_structured_status_is_taken_from_our_own_session_only() {
    let report = recorded("structured");
    let ours = report
        .structured_output(SESSION.parse().expect("a uuid"))
        .expect("a status");
    assert_eq!(ours["status"], "done");
    assert_eq!(report.structured_output(Uuid::nil()), None);
}

#[test]
fn denied_tools_are_named_once() {
    let report = recorded("bash-denied");
    assert_eq!(report.denials.len(), 1);
    assert!(
        report.denials[0].starts_with("Bash cat hello.txt && mkdir"),
        "{:?}",
        report.denials
    );
}

#[test]
fn a_killed_session_has_no_price_and_an_open_tool() {
    let report = recorded("killed-in-a-tool");
    assert_eq!(
        (report.usage.unpriced_sessions, report.usage.sessions),
        (1, 1)
    );
    assert!(report.turn_open && report.result.is_none());
    let nothing = read(b"");
    assert_eq!(
        nothing.usage.unpriced_sessions, 0,
        "a program that never began cost nothing"
    );
}

#[test]
fn limits_are_read_with_their_window_and_end() {
    let hit = recorded("five-hour-limit").limit.expect("a limit");
    assert_eq!(
        (
            hit.status,
            hit.kind.as_deref(),
            hit.resets_at,
            hit.using_overage
        ),
        (
            LimitStatus::Rejected,
            Some("five_hour"),
            Some(1_795_243_227),
            false
        )
    );
    assert_eq!(
        recorded("near-the-limit").limit.expect("a limit").status,
        LimitStatus::Warning
    );
    assert!(
        recorded("on-paid-credits")
            .limit
            .expect("a limit")
            .using_overage
    );
    assert_eq!(
        recorded("limit-without-reset-v197")
            .limit
            .expect("a limit")
            .resets_at,
        None
    );
}

#[test]
fn retries_of_the_service_are_counted_with_their_last_cause() {
    let report = recorded("overloaded-529");
    assert_eq!(report.retries, 2);
    assert_eq!(report.last_retry.and_then(|r| r.status), Some(529));
}

#[test]
fn the_last_result_counts_and_what_it_used_is_of_the_whole_process() {
    let text = br#"
{"type":"system","subtype":"init","session_id":"s"}
{"type":"result","subtype":"success","is_error":false,"result":"one","num_turns":2,"total_cost_usd":0.5,"usage":{"input_tokens":7},"modelUsage":{"m":{"inputTokens":7,"outputTokens":1}}}
{"type":"system","subtype":"init","session_id":"s"}
{"result":"two","num_turns":3,"usage":{"input_tokens":5},"total_cost_usd":0.75,"modelUsage":{"m":{"inputTokens":9,"outputTokens":2},"n":{"inputTokens":3}},"is_error":false,"type":"result"}
"#;
    let report = read(text);
    assert_eq!(
        report.result.expect("a result").text.as_deref(),
        Some("two")
    );
    let usage = report.usage;
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.turns,
            usage.cost
        ),
        (12, 2, 5, MicroUsd(750_000))
    );
    assert!(!report.turn_open);
}

#[test]
fn a_resumed_process_is_not_charged_for_what_came_before_it() {
    let read_resumed = |line: &[u8]| {
        let mut reader = SessionReader::new(Start::Resume);
        reader.line(line);
        reader.finish().usage
    };
    let with_difference = read_resumed(
        br#"{"type":"result","is_error":false,"total_cost_usd":0.9,"duration_api_ms":80,"usage":{"input_tokens":5},
        "modelUsage":{"m":{"inputTokens":25,"costUSD":0.9}},
        "model_usage_since_last_result":{"m":{"inputTokens":5,"costUSD":0.2}}}"#,
    );
    assert_eq!(
        (with_difference.input_tokens, with_difference.cost),
        (5, MicroUsd(200_000))
    );
    assert_eq!(
        (with_difference.unpriced_sessions, with_difference.api_ms),
        (0, 0)
    );
    let without = read_resumed(
        br#"{"type":"result","is_error":false,"total_cost_usd":0.9,"usage":{"input_tokens":5},"modelUsage":{"m":{"inputTokens":25}}}"#,
    );
    assert_eq!(
        (without.input_tokens, without.unpriced_sessions),
        (5, 1),
        "the price is unknown, not doubled"
    );
}

#[test]
fn a_turn_that_began_after_the_last_result_leaves_the_price_unknown() {
    let text = br#"{"type":"system","subtype":"init"}
{"type":"result","is_error":false,"total_cost_usd":0.5}
{"type":"system","subtype":"init"}"#;
    let report = read(text);
    assert!(report.turn_open);
    assert_eq!(
        (report.usage.cost, report.usage.unpriced_sessions),
        (MicroUsd(500_000), 1)
    );
}

#[test]
fn unknown_and_damaged_lines_are_counted_and_do_no_harm() {
    let text = b"{\"type\":\"novelty\"}\n[]\n{\"type\":\nplain\n{}\n\xff\n\n{\"type\":\"result\",\"is_error\":false,\"num_turns\":\"three\",\"usage\":null}\n";
    let report = read(text);
    assert_eq!((report.unknown_lines, report.damaged_lines), (1, 5));
    assert!(
        report.result.is_some_and(|r| !r.is_error && r.turns == 0),
        "a field of an odd type is unknown, not fatal"
    );
}

#[test]
fn a_result_that_does_not_say_how_it_ended_is_no_success() {
    assert!(
        read(br#"{"type":"result","result":"ok"}"#)
            .result
            .expect("a result")
            .is_error
    );
}

#[test]
fn a_running_session_shows_its_last_tool_with_its_argument_on_one_line() {
    let mut reader = SessionReader::new(Start::Fresh);
    reader.line(br#"{"type":"system","subtype":"init","cwd":"/slot"}"#);
    reader.line(br#"{"type":"assistant","message":{"id":"m1","usage":{"input_tokens":7,"output_tokens":2},"content":[{"type":"tool_use","id":"t1","name":"Write","input":{"content":"x","file_path":"/slot/src/a.rs"}}]}}"#);
    assert_eq!(
        reader.live(),
        Live {
            last_tool: Some("Write src/a.rs".to_owned()),
            open_tools: 1,
            used: Usage {
                input_tokens: 7,
                output_tokens: 2,
                ..Usage::default()
            },
            answered: true,
            windows: Vec::new(),
        }
    );
    reader.line(
        br#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1"}]}}"#,
    );
    let long = serde_json::json!({"type":"assistant","message":{"id":"m2","content":[
        {"type":"tool_use","id":"t2","name":"Bash","input":{"command":format!("printf '\u{1b}[31m'\n{}", "y".repeat(300))}}]}});
    reader.line(long.to_string().as_bytes());
    let live = reader.live();
    let shown = live.last_tool.expect("a tool");
    assert!(
        shown.starts_with("Bash printf ' [31m' yyy") && shown.ends_with('…'),
        "{shown}"
    );
    assert_eq!(
        (shown.chars().count(), live.open_tools),
        (TOOL_CHARS_MAX + 1, 1)
    );
}

#[test]
fn an_answer_after_an_error_takes_the_error_back() {
    let text = br#"{"type":"assistant","message":{"id":"a","content":[{"type":"text","text":"API Error: 529"}]},"error":"server_error"}
{"type":"assistant","message":{"id":"b","content":[{"type":"text","text":"fine"}]}}"#;
    assert_eq!(read(text).api_error, None);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_stumble(bytes: Vec<u8>, key in "type|subtype|message|usage", value in "\\PC*") {
        read(&bytes);
        read(serde_json::json!({ "type": "result", key.as_str(): value }).to_string().as_bytes());
        read(serde_json::json!({ "type": "assistant", "message": { "content": [{ "type": value, "id": key }] } }).to_string().as_bytes());
    }
}

#[test]
fn a_session_that_was_killed_used_what_its_answers_say() {
    let mut reader = SessionReader::new(Start::Fresh);
    for line in [
        r#"{"type":"system","subtype":"init"}"#,
        r#"{"type":"assistant","message":{"id":"a","usage":{"input_tokens":10,"cache_read_input_tokens":70,"cache_creation_input_tokens":20,"output_tokens":1}}}"#,
        // The same answer's second block.
        r#"{"type":"assistant","message":{"id":"a","usage":{"input_tokens":10,"cache_read_input_tokens":70,"cache_creation_input_tokens":20,"output_tokens":5}}}"#,
        r#"{"type":"assistant","message":{"id":"s","usage":{"input_tokens":3,"output_tokens":1}},"parent_tool_use_id":"t"}"#,
        r#"{"type":"assistant","message":{"id":"b","usage":{"input_tokens":2,"cache_read_input_tokens":90,"output_tokens":1}}}"#,
    ] {
        reader.line(line.as_bytes());
    }
    let usage = reader.finish().usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (15, 7),
        "each answer once, a subagent's too"
    );
    assert_eq!(
        (usage.cache_read_tokens, usage.cache_creation_tokens),
        (160, 20)
    );
    assert_eq!((usage.sessions, usage.unpriced_sessions), (1, 1));
    assert_eq!(
        (usage.first_prompt_tokens, usage.first_cached_tokens),
        (100, 70)
    );
}

#[test]
fn answers_before_a_result_are_counted_by_the_result_alone() {
    let mut reader = SessionReader::new(Start::Fresh);
    for line in [
        r#"{"type":"system","subtype":"init"}"#,
        r#"{"type":"assistant","message":{"id":"a","usage":{"input_tokens":10,"output_tokens":1}}}"#,
        r#"{"type":"result","is_error":false,"total_cost_usd":0.5,"usage":{"input_tokens":10,"output_tokens":40}}"#,
        r#"{"type":"system","subtype":"init"}"#,
        r#"{"type":"assistant","message":{"id":"b","usage":{"input_tokens":7,"output_tokens":1}}}"#,
    ] {
        reader.line(line.as_bytes());
    }
    let usage = reader.finish().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (17, 41));
    assert_eq!(usage.cost, MicroUsd(500_000), "what is known of it");
    assert_eq!(usage.unpriced_sessions, 1, "the second turn has no price");
}

#[test]
fn the_windows_of_an_account_are_read_however_they_are_listed() {
    let window = |name: &str| {
        let limit = recorded(name).limit.expect("a limit");
        let window = limit.windows.first().cloned().expect("a window");
        (window.kind, window.utilisation, window.resets_at.is_some())
    };
    assert_eq!(
        window("near-the-limit"),
        ("five_hour".to_owned(), 920, true)
    );
    assert_eq!(
        window("five-hour-limit"),
        ("five_hour".to_owned(), 1000, true)
    );
}

//! Agents that say nothing any more, and machines that would fall asleep.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::fixture::{Fixture, Live, Ran, waits};
use crate::runs::plan;

/// Writes a program into a directory of the fixture and gives its path.
fn program(f: &Fixture, name: &str, text: &str) -> std::path::PathBuf {
    let dir = f.root().join("bin");
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

/// An agent program that says its version and then does what `text` says.
fn agent(f: &Fixture, text: &str) -> std::path::PathBuf {
    let version = r#"[ "$1" = --version ] && { echo "2.1.329 (Claude Code)"; exit 0; }"#;
    program(f, "claude", &format!("{version}\n{text}"))
}

fn with_agent(f: &Fixture, agent: &Path, key: &str, value: &str) -> Ran {
    let mut command = f.command(["run", "--runner", "claude"]);
    command
        .env("ORCH_CLAUDE_BINARY", agent)
        .env("ORCH_CLAUDE_ALLOW_ROOT", "true")
        .env(key, value);
    Ran::of(command.output().expect("orch"))
}

fn one_attempt() -> String {
    plan(&[("1", "runner: claude\nmax_attempts: 1")])
}

#[test]
fn an_agent_program_that_never_says_anything_is_ended() {
    let f = Fixture::with_plan(&one_attempt());
    let agent = agent(&f, &waits("never"));
    with_agent(&f, &agent, "ORCH_START_TIMEOUT", "1s").exits(1);
    let end = &f.status("1")["last_end"];
    assert_eq!(end["ending"], "no_first_event", "{end}");
    f.assert_tidy();
}

#[test]
fn a_session_that_falls_silent_is_ended() {
    let f = Fixture::with_plan(&one_attempt());
    let agent = agent(
        &f,
        &format!(
            "echo '{{\"type\":\"system\",\"subtype\":\"init\"}}'; {}",
            waits("never")
        ),
    );
    with_agent(&f, &agent, "ORCH_STALL_TIMEOUT", "1s").exits(1);
    let end = &f.status("1")["last_end"];
    assert_eq!(end["ending"], "stalled", "{end}");
    let usage = &f.status("1")["usage"];
    assert_eq!(usage["unpriced_sessions"], 1, "what it cost is not known");
    f.assert_tidy();
}

#[test]
fn a_session_is_not_silent_while_its_tool_runs() {
    let f = Fixture::with_plan(&one_attempt());
    // The tool is called, its silence lasts longer than the limit, and only then the session fails by itself.
    let agent = agent(
        &f,
        r#"echo '{"type":"system","subtype":"init"}'
echo '{"type":"assistant","message":{"id":"a","content":[{"type":"tool_use","id":"t","name":"Bash","input":{}}]}}'
sleep 2.5
echo '{"type":"result","subtype":"success","is_error":true,"api_error_status":400,"result":"API Error: odd"}'
exit 1"#,
    );
    with_agent(&f, &agent, "ORCH_STALL_TIMEOUT", "1s").exits(1);
    let end = &f.status("1")["last_end"];
    assert_eq!(end["ending"], "refused", "{end}");
}

#[test]
fn a_command_may_be_silent_as_long_as_it_likes() {
    let f = Fixture::with_plan(&plan(&[("1", "run: sleep 2.5; echo a > a.txt")]));
    let mut command = f.command(["run"]);
    command
        .env("ORCH_STALL_TIMEOUT", "1s")
        .env("ORCH_START_TIMEOUT", "1s");
    Ran::of(command.output().expect("orch")).exits(0);
}

/// orch, with an inhibitor that says when it holds and when it lets go.
fn inhibited(f: &Fixture, args: [&str; 2]) -> Command {
    program(
        f,
        "systemd-inhibit",
        r#"echo "$@" > "$GATE/held.new"; mv "$GATE/held.new" "$GATE/held"; cat; touch "$GATE/released""#,
    );
    let mut command = f.command(args);
    let path = std::env::var("PATH").expect("a PATH");
    command.env("PATH", format!("{}:{path}", f.root().join("bin").display()));
    command
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_keeps_the_machine_awake_for_as_long_as_it_lives() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &format!("run: \"{}\"", waits("go").replace('"', "\\\"")),
    )]));
    let live = Live::of(inhibited(&f, ["run", "--verbose"]), f.root());
    f.await_gate("held");
    let held = std::fs::read_to_string(f.gate().join("held")).expect("text");
    assert!(
        held.contains("--what=idle:sleep") && held.contains("--who=orch"),
        "{held}"
    );
    live.killed();
    f.await_gate("released");
    f.open("go");
    // Not again, if a person says so.
    std::fs::remove_file(f.gate().join("held")).expect("a gate");
    let allowed = inhibited(&f, ["run", "--allow-sleep"]).output();
    Ran::of(allowed.expect("orch")).exits(0);
    assert!(!f.gate().join("held").exists());
}

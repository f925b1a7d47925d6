//! Agents that say nothing any more, and machines that would fall asleep.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::fixture::{Fixture, Live, Ran, gated, waits};
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
pub(crate) fn agent(f: &Fixture, text: &str) -> std::path::PathBuf {
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

/// The words of an agent for a session that begins, and for one that says something.
const BEGINS: &str = r#"echo '{"type":"system","subtype":"init"}'"#;
const SPEAKS: &str = r#"echo '{"type":"system","subtype":"status"}'"#;

/// Two tasks at once under a limit of a second for silence. The one is silent from `up` on, and goes on once the other,
/// which fell silent after that, has been ended for it: however long it took, it was longer than the limit.
fn silent_for_longer_than_another(plan: &str, agent_text: &str) -> (Fixture, Ran) {
    let f = Fixture::with_plan(plan);
    let agent = agent(&f, agent_text);
    let mut command = f.command(["run", "--runner", "claude", "-j", "2"]);
    command
        .env("ORCH_CLAUDE_BINARY", agent)
        .env("ORCH_CLAUDE_ALLOW_ROOT", "true")
        .env("ORCH_STALL_TIMEOUT", "1s");
    let run = Live::of(command, f.root());
    f.await_that("the end of the other", || {
        let records = f.records();
        let ends = records
            .iter()
            .filter(|r| r["record"]["kind"] == "collected");
        let mut endings = ends.map(|r| &r["record"]["end"]["ending"]);
        endings.any(|ending| ending == "stalled").then_some(())
    });
    f.open("go");
    (f, run.ended())
}

#[test]
fn a_session_is_not_silent_while_its_tool_runs() {
    // Whoever comes first calls the tool, and fails by itself in the end.
    let tool = r#"echo '{"type":"assistant","message":{"id":"a","content":[{"type":"tool_use","id":"t","name":"Bash","input":{}}]}}'"#;
    let fails = r#"echo '{"type":"result","subtype":"success","is_error":true,"api_error_status":400,"result":"API Error: odd"}'"#;
    let text = format!(
        "{BEGINS}\nif mkdir \"$GATE/first\"; then {tool}; touch \"$GATE/up\"; {}; {fails}; exit 1; fi\n{}; {SPEAKS}; {}",
        waits("go"),
        waits("up"),
        waits("never")
    );
    let task = "depends_on: []\nrunner: claude\nmax_attempts: 1";
    let (f, ran) = silent_for_longer_than_another(&plan(&[("1", task), ("2", task)]), &text);
    ran.exits(1);
    let mut endings = ["1", "2"].map(|id| f.status(id)["last_end"]["ending"].to_string());
    endings.sort();
    assert_eq!(endings, ["\"refused\"", "\"stalled\""]);
}

#[test]
fn a_command_may_be_silent_as_long_as_it_likes() {
    let silent = gated("up", "go", "echo a > a.txt");
    let text = format!("{BEGINS}\n{}; {SPEAKS}; {}", waits("up"), waits("never"));
    let (f, ran) = silent_for_longer_than_another(
        &plan(&[
            (
                "1",
                &format!("depends_on: []\nrunner: command\nrun: '{silent}'"),
            ),
            ("2", "depends_on: []\nrunner: claude\nmax_attempts: 1"),
        ]),
        &text,
    );
    ran.exits(1);
    assert_eq!(f.status("1")["state"], "completed");
    assert_eq!(f.status("2")["last_end"]["ending"], "stalled");
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

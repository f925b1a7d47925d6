//! People who do not watch are told what they must know.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::Value;

use crate::fixture::{Fixture, Live};
use crate::runs::plan;

const TELLS: &str = r#"notify:
  - on: [run_ended, task_failed]
    run: cat > "$GATE/told-$ORCH_EVENT_ID.json"; echo "$ORCH_EVENT|$ORCH_TASK|$ORCH_OUTCOME|$ORCH_EXIT_CODE|$ORCH_MESSAGE" >> "$GATE/told"
"#;

fn fixture(settings: &str, tasks: &[(&str, &str)]) -> Fixture {
    let f = Fixture::with_plan(&plan(tasks));
    f.write("orch.yaml", settings);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Notify"]);
    f
}

fn told(f: &Fixture) -> Vec<String> {
    let text = std::fs::read_to_string(f.gate().join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_command_is_told_of_a_failed_task_and_of_the_end_of_the_run() {
    let f = fixture(
        TELLS,
        &[("1", "run: 'echo token-abc >&2; exit 1'\nmax_attempts: 1")],
    );
    f.orch(["run"]).exits(1);
    assert_eq!(
        told(&f),
        [
            "task_failed|1|||.claude/plans/plan.yaml: task 1 failed after attempt 1: agent says failed",
            "run_ended||failed|1|.claude/plans/plan.yaml: the run ended: failed (exit code 1)",
        ]
    );
    // The id is the place of the record, and nothing that a program printed gets out.
    let failed = f
        .records()
        .into_iter()
        .find(|r| r["record"]["kind"] == "collected")
        .expect("the record");
    let id = format!(
        "{}-{}",
        failed["run"].as_str().expect("a run"),
        failed["seq"]
    );
    let json = std::fs::read_to_string(f.gate().join(format!("told-{id}.json"))).expect("JSON");
    let notice: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&notice["id"], &notice["kind"], &notice["task"]),
        (
            &Value::from(id),
            &Value::from("task_failed"),
            &Value::from("1")
        )
    );
    assert!(!json.contains("token-abc"), "{json}");
}

#[test]
fn nothing_is_told_in_a_dry_run_or_a_rehearsal() {
    let f = fixture(TELLS, &[("1", "run: 'true'")]);
    f.orch(["run", "--dry-run"]).exits(0);
    f.orch(["run", "--rehearse"]).exits(0);
    assert_eq!(told(&f), [""; 0]);
}

#[test]
fn what_a_killed_orch_could_not_tell_is_told_by_the_next_one_once() {
    let f = fixture(TELLS, &[("1", "run: 'true'")]);
    let mut command = f.command(["run"]);
    // Killed after the record is kept, before anybody was told.
    command.env("ORCH_CRASH_AT", "after-run_ended:1");
    Live::of(command, f.root()).ended().exits(-1);
    assert_eq!(told(&f), [""; 0]);
    f.orch(["run"]).exits(0);
    let once = told(&f);
    assert_eq!(once.len(), 2, "the old end and the new one: {once:?}");
    f.orch(["run"]).exits(0);
    assert_eq!(told(&f).len(), 3, "each end once");
}

#[test]
fn a_webhook_gets_the_notice_as_json_and_its_address_is_kept_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            let lower = line.to_ascii_lowercase();
            if let Some(n) = lower.strip_prefix("content-length:") {
                length = n.trim().parse().expect("a length");
            }
            head += &line;
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
            .expect("an answer");
        tell.send((head, String::from_utf8(body).expect("text")))
            .expect("the test waits");
    });
    let settings =
        format!("notify: [{{on: [run_ended], webhook: 'http://{address}/hook/s3cret'}}]\n");
    let f = fixture(&settings, &[("1", "run: 'true'")]);
    f.orch(["run"]).exits(0);
    let (head, body) = told.recv().expect("a request");
    assert!(head.starts_with("POST /hook/s3cret "), "{head}");
    let notice: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (&notice["kind"], &notice["outcome"]),
        (&Value::from("run_ended"), &Value::from("completed"))
    );
    let id = notice["id"].as_str().expect("an id");
    assert!(
        head.to_ascii_lowercase()
            .contains(&format!("idempotency-key: {id}").to_ascii_lowercase()),
        "{head}"
    );
    assert!(!f.records_so_far().contains("s3cret"), "the ledger");
    f.orch(["run", "--dry-run"])
        .exits(0)
        .says(&format!("webhook at {address}"));
}

#[test]
fn one_who_cannot_be_told_neither_stops_nor_fails_the_run() {
    let f = fixture(
        "notify:\n  - {on: run_ended, run: 'echo no >&2; exit 3'}\n  - {on: run_ended, run: 'touch \"$GATE/other\"'}\n",
        &[("1", "run: 'echo a > a.txt'")],
    );
    f.orch(["run"]).exits(0);
    assert!(
        f.gate().join("other").exists(),
        "others are told all the same"
    );
    let log = f.await_that("a log", || {
        let runs = f.repo().join(".git/orch/runs");
        let run = std::fs::read_dir(runs).ok()?.next()?.ok()?.path();
        std::fs::read_to_string(run.join("log/orch.jsonl")).ok()
    });
    assert!(
        log.contains("not delivered") && log.contains("exit status: 3"),
        "{log}"
    );
}

#[test]
fn entries_that_cannot_be_used_are_refused_with_their_place() {
    for (entry, says) in [
        (
            "{on: [nothing], run: x}",
            "`nothing` is not one of limit, breaker, gate, task_failed, task_done, run_ended",
        ),
        ("{on: [run_ended]}", "it does not say how"),
        ("{webhook: 'ftp://x'}", "not an http or https address"),
        ("{run: a, desktop: true}", "told in two ways"),
        ("{email: '-x@y'}", "is not a mail address"),
        (
            "{mail: a}",
            "`mail` is not one of on, run, webhook, desktop, email",
        ),
    ] {
        let f = fixture(&format!("notify:\n  - {entry}\n"), &[("1", "run: 'true'")]);
        f.orch(["run", "--dry-run"])
            .exits(2)
            .says("orch.yaml:2")
            .says(says);
    }
}

#[test]
fn the_address_of_a_plan_gets_mail_through_sendmail() {
    use std::os::unix::fs::PermissionsExt as _;
    let text = plan(&[("1", "run: 'true'")]).replace(
        "meta: {",
        "meta: {notification_email: ada@example.invalid, ",
    );
    let f = Fixture::with_plan(&text);
    let bin = f.root().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    let sendmail = bin.join("sendmail");
    std::fs::write(
        &sendmail,
        "#!/bin/sh\necho \"$@\" > \"$GATE/to\"\ncat > \"$GATE/mail\"\n",
    )
    .expect("a program");
    std::fs::set_permissions(&sendmail, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = std::env::var("PATH").expect("a PATH");
    let mut command = f.command(["run"]);
    command.env("PATH", format!("{}:{path}", bin.display()));
    crate::fixture::Ran::of(command.output().expect("orch")).exits(0);
    let read = |name: &str| std::fs::read_to_string(f.gate().join(name)).expect(name);
    assert_eq!(read("to"), "-i -- ada@example.invalid\n");
    let mail = read("mail");
    assert!(
        mail.starts_with("To: ada@example.invalid\nSubject: orch: run_ended\nMessage-ID: <"),
        "{mail}"
    );
    assert!(mail.contains("the run ended: completed"), "{mail}");
    let twice = text.replace("ada@example.invalid", "'two words'");
    let f = Fixture::with_plan(&twice);
    f.orch(["check", ".claude/plans/plan.yaml"])
        .exits(2)
        .says("is not a mail address");
}

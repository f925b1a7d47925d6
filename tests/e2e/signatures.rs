//! Approvals that count only with a signature. Without `ssh-keygen` there are none, and these tests say that they were
//! passed over.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::fixture::Fixture;
use crate::runs::plan;

/// Who may sign, as it lies in the repository.
const SIGNERS: &str = ".allowed_signers";

/// Whether there is a program to sign with.
#[expect(clippy::print_stdout, reason = "who runs the tests is told")]
fn can_sign() -> bool {
    let program = Command::new("ssh-keygen")
        .arg("-?")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if program.is_err() {
        println!("passed over: there is no ssh-keygen");
    }
    program.is_ok()
}

/// A new key of that name, and the line of an allowed-signers file that allows it.
fn key(f: &Fixture, name: &str) -> (PathBuf, String) {
    let path = f.root().join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.expect("ssh-keygen").success());
    let public = std::fs::read_to_string(path.with_extension("pub")).expect("a key");
    let line = format!("{name}@example.invalid namespaces=\"orch-approval\" {public}");
    (path, line)
}

/// A plan in a repository where Ada may sign, and signs.
fn signed(tasks: &[(&str, &str)]) -> Option<Fixture> {
    if !can_sign() {
        return None;
    }
    let f = Fixture::with_plan(&plan(tasks));
    let (ada, line) = key(&f, "ada");
    f.write(SIGNERS, &line);
    f.write("orch.yaml", "approvals: {signed: true}\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Say who may sign"]);
    f.git(["config", "gpg.ssh.allowedSignersFile", SIGNERS]);
    sign_with(&f, &ada);
    Some(f)
}

fn sign_with(f: &Fixture, key: &std::path::Path) {
    f.git_all(&["config", "user.signingKey", &key.display().to_string()]);
}

fn gated() -> Option<Fixture> {
    signed(&[("1", "gate: approval\nrun: echo a > a.txt")])
}

/// Puts a value where approvals have something in the ledger, as nobody may.
pub(crate) fn plant(f: &Fixture, kind: &str, place: &str, value: &str) {
    let ledger =
        rusqlite::Connection::open(f.repo().join(".git/orch/ledger.db")).expect("a ledger");
    ledger
        .execute_batch("DROP TRIGGER IF EXISTS records_never_change")
        .expect("no trigger");
    let changed = ledger
        .execute(
            "UPDATE records SET body = json_set(body, ?1, json(?2)) WHERE json_extract(body, '$.kind') = ?3",
            [place, value, kind],
        )
        .expect("a record");
    assert!(changed > 0, "no record of {kind}");
}

#[test]
fn only_a_signed_approval_counts_where_that_is_asked_for_and_the_audit_proves_it() {
    let Some(f) = gated() else { return };
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"])
        .exits(1)
        .says("`orch approve 1 --signed`");
    f.orch(["approve", "1", "--signed", "--note", "fine"])
        .exits(0);
    f.orch(["report"]).exits(0).says("signed");
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
    // Of another approval it says nothing.
    plant(&f, "approval_asked", "$.shown.change.sha256", "\"00\"");
    f.orch(["audit"])
        .exits(1)
        .says("its signature does not hold for what was asked");
}

#[test]
fn what_the_audit_finds_unsigned_is_told() {
    let Some(f) = gated() else { return };
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1", "--signed"]).exits(0);
    f.orch(["run"]).exits(0);
    plant(&f, "controlled", "$.control.verb.signature", "null");
    f.orch(["audit"])
        .exits(1)
        .says("approvals were to be signed, and this one is not");
}

#[test]
fn a_live_run_takes_signed_approvals_of_those_who_may_sign_and_of_nobody_else() {
    let Some(f) = gated() else { return };
    let run = f.live(["run", "--wait"]);
    run.await_says("1  waits for approval");
    let (eve, _) = key(&f, "eve");
    sign_with(&f, &eve);
    f.orch(["approve", "1", "--signed"])
        .exits(1)
        .says("its key is nobody's who may sign");
    f.orch(["approve", "1"]).exits(1).says("--signed");
    sign_with(&f, &f.root().join("ada"));
    f.orch(["approve", "1", "--signed"]).exits(0);
    run.ended().exits(0);
    f.assert_tidy();
}

#[test]
fn a_start_is_approved_with_a_signature_too() {
    let Some(f) = signed(&[("1", "gate: {when: before}\nrun: echo a > a.txt")]) else {
        return;
    };
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"]).exits(1).says("--signed");
    f.orch(["approve", "1", "--signed"]).exits(0);
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_signature_that_does_not_hold_any_more_lands_nothing_and_is_asked_again() {
    let Some(f) = gated() else { return };
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1", "--signed"]).exits(0);
    plant(
        &f,
        "controlled",
        "$.control.verb.signature",
        "\"no signature\"",
    );
    f.orch(["run"])
        .exits(4)
        .says("the signature does not hold for what is asked");
    assert_eq!(f.subjects("orch/plan")[0], "Say who may sign");
    f.orch(["approve", "1", "--signed"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\n");
}

#[test]
fn an_agent_cannot_say_who_may_sign() {
    let add =
        format!("max_attempts: 1\ndepends_on: []\nrun: cp \"$EVE\" {SIGNERS}; echo b > b.txt");
    let Some(f) = signed(&[("1", "gate: approval\nrun: echo a > a.txt"), ("2", &add)]) else {
        return;
    };
    let (eve, line) = key(&f, "eve");
    let allowed = f.root().join("eve.allowed");
    std::fs::write(&allowed, line).expect("a file");
    f.orch_with("EVE", &allowed, ["run"])
        .exits(4)
        .says("it changed protected paths");
    sign_with(&f, &eve);
    f.orch(["approve", "1", "--signed"])
        .exits(1)
        .says("nobody's who may sign");
    f.orch(["audit"]).exits(0);
}

#[test]
fn nothing_starts_where_approvals_are_to_be_signed_and_nobody_is_known_who_may() {
    let f = Fixture::with_plan(&plan(&[("1", "gate: approval\nrun: echo a > a.txt")]));
    f.write("orch.yaml", "approvals: {signed: true}\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Ask for signatures"]);
    f.orch(["run"])
        .exits(2)
        .says("git config gpg.ssh.allowedSignersFile");
}

#[test]
fn the_signature_of_a_start_is_checked_again_when_the_attempt_begins() {
    let Some(f) = signed(&[("1", "gate: {when: before}\nrun: echo a > a.txt")]) else {
        return;
    };
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1", "--signed"]).exits(0);
    plant(&f, "controlled", "$.control.verb.signature", "\"forged\"");
    f.orch(["run"])
        .exits(4)
        .says("the approval of its start does not hold");
    assert_eq!(f.count("agent_starting", "1"), 0, "no agent was paid");
    assert_eq!(f.status("1")["attempts_spent"], 0);
    f.orch(["approve", "1", "--signed"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\n");
    f.orch(["audit"])
        .exits(1)
        .says("its signature does not hold for what was asked");
}

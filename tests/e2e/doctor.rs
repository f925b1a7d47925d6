//! `orch doctor` on real trouble: what it names, what it repairs, and that it only looks otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::fixture::{Fixture, gated, lives};
use crate::runs::plan;

/// The findings of a repository, with their texts.
fn findings(f: &Fixture) -> BTreeMap<String, Value> {
    let ran = f.orch(["doctor", "--format", "json"]);
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let findings = report["findings"].as_array().expect("findings").clone();
    let problems = findings.iter().filter(|f| f["severity"] == "problem");
    assert_eq!(report["healthy"], problems.count() == 0);
    assert_eq!(ran.code, i32::from(report["healthy"] == false));
    findings
        .into_iter()
        .map(|finding| (finding["id"].as_str().expect("a word").to_owned(), finding))
        .collect()
}

fn words(f: &Fixture) -> Vec<String> {
    findings(f).into_keys().collect()
}

/// Every file below a directory with its bytes, sockets and the like by name alone.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                all.insert(entry.path(), fs::read(entry.path()).expect("a file"));
            } else {
                all.insert(entry.path(), Vec::new());
            }
        }
    }
    all
}

#[test]
fn a_healthy_repository_is_said_to_be_and_looking_writes_nothing() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    // Without claude, and without a task for it, that is a note.
    assert_eq!(words(&f), ["claude-not-needed"]);
    assert!(!f.repo().join(".git/orch").exists(), "nothing was made");
    f.orch(["run"]).exits(0);
    let before = snapshot(f.root());
    f.orch(["doctor"]).exits(0).says("healthy, 1 note");
    assert_eq!(words(&f), ["claude-not-needed"]);
    assert!(snapshot(f.root()) == before, "a file changed");
}

#[test]
fn outside_of_a_repository_there_is_nothing_to_look_at() {
    let f = Fixture::new();
    let mut command = f.command(["doctor"]);
    let output = command.current_dir(f.gate()).output().expect("orch");
    assert_eq!(output.status.code(), Some(8));
}

#[test]
fn a_repository_that_orch_cannot_use_is_named_with_the_way_out() {
    let f = Fixture::new();
    f.git(["config", "extensions.partialClone", "origin"]);
    f.git(["config", "core.repositoryFormatVersion", "1"]);
    let found = findings(&f);
    let what = found["repository-unusable"]["what"].as_str().expect("text");
    assert!(what.contains("partial clone"), "{what}");
}

#[test]
fn a_killed_run_and_its_agent_are_named_and_the_next_run_goes_on() {
    let run = gated("up", "go", "echo a > a.txt");
    let f = Fixture::with_plan(&plan(&[("1", &format!("run: '{run}'"))]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    assert_eq!(words(&f), ["claude-not-needed"], "while an orch lives");
    f.orch(["doctor", "--fix-safe"]).exits(7);
    orch.killed();
    let found = findings(&f);
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        ["agent-unattended", "claude-not-needed", "run-interrupted"]
    );
    let next = found["run-interrupted"]["next"][0].as_str().expect("text");
    assert!(next.starts_with("orch run --plan "), "{next}");
    // What recovery follows is not ended by a repair.
    f.orch(["doctor", "--fix-safe"]).exits(1);
    assert!(words(&f).contains(&"agent-unattended".to_owned()));
    f.open("go");
    f.orch(["run"]).exits(0);
    assert_eq!(f.attempts(), 1);
    assert_eq!(words(&f), ["claude-not-needed"]);
    f.assert_tidy();
}

#[test]
fn a_process_of_an_attempt_that_is_over_is_named_and_ended() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    let run = f.records()[0]["run"].as_str().expect("a run").to_owned();
    let mut left = std::process::Command::new("cat")
        .env("ORCH_MARK", format!("{run}/1/1/2"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let pid = i32::try_from(left.id()).expect("a pid");
    // Until it has become `cat`, it is this process by another number.
    let to = left.stdin.as_mut().expect("piped");
    to.write_all(b"?").expect("written");
    let from = left.stdout.as_mut().expect("piped");
    from.read_exact(&mut [0]).expect("an echo");
    let found = findings(&f);
    assert_eq!(found["process-orphan"]["fixable"], true);
    f.orch(["doctor", "--fix-safe"])
        .exits(0)
        .says(&format!("ended process {pid} (cat) of task 1"));
    left.wait().expect("its end");
    assert!(!lives(pid));
}

#[test]
fn a_hook_that_outlived_its_orch_is_named_and_ended() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.write(
        "orch.yaml",
        "hooks: {after_run: 'touch \"$GATE/began\"; exec sleep 600'}\n",
    );
    let orch = f.live(["run"]);
    f.await_gate("began");
    assert!(
        !words(&f).contains(&"errand-orphan".to_owned()),
        "waited for"
    );
    orch.killed();
    let found = findings(&f);
    let orphan = &found["errand-orphan"];
    assert_eq!(orphan["fixable"], true);
    assert!(orphan.to_string().contains("hook"), "{orphan}");
    f.orch(["doctor", "--fix-safe"])
        .exits(0)
        .says("ended process");
    assert_eq!(words(&f), ["claude-not-needed"]);
}

/// The file of a loose object.
fn object(f: &Fixture, id: &str) -> PathBuf {
    let (directory, name) = id.trim().split_at(2);
    f.repo().join(".git/objects").join(directory).join(name)
}

#[test]
fn an_object_that_is_cut_off_is_named_before_anything_reads_it() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    let id = f.git(["rev-parse", "main^{tree}"]);
    let object = object(&f, &id);
    let whole = fs::read(&object).expect("a loose object");
    fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("writable");
    fs::write(&object, &whole[..whole.len() / 2]).expect("cut");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let file = fs::File::options().write(true).open(&object).expect("it");
    file.set_modified(long_ago).expect("a time");
    assert!(findings(&f).contains_key("object-damaged"));
    f.orch(["run"])
        .exits(8)
        .says("reading it does not end")
        .says(&id[2..8]);
    fs::write(&object, whole).expect("mended");
    assert!(!findings(&f).contains_key("object-damaged"));
}

#[test]
fn a_checkout_that_stands_on_a_commit_that_is_cut_off_is_named_at_once() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    let id = f.git(["rev-parse", "main"]);
    let object = object(&f, &id);
    let whole = fs::read(&object).expect("a loose object");
    fs::remove_file(&object).expect("removed");
    fs::write(&object, &whole[..whole.len() / 2]).expect("cut");
    for command in ["doctor", "run"] {
        f.orch([command]).says("cut off");
    }
}

#[test]
fn an_object_that_was_set_aside_is_named_as_long_as_a_ref_needs_it() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.write("d/x.txt", "x\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "A directory"]);
    let id = f.git(["rev-parse", "main:d"]);
    let id = id.trim();
    let object = f.repo().join(".git/objects").join(&id[..2]).join(&id[2..]);
    let whole = fs::read(&object).expect("a loose object");
    fs::remove_file(&object).expect("removed");
    fs::write(&object, "").expect("empty");
    // The first orch here knows of no boot before this one.
    f.orch(["run"]).exits(8);
    assert!(!object.exists(), "it was set aside");
    assert!(findings(&f).contains_key("object-damaged"));
    fs::write(&object, whole).expect("mended");
    assert!(!findings(&f).contains_key("object-damaged"));
}

#[test]
fn a_lock_of_git_is_judged_by_its_owner_and_not_by_its_age() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    let lock = f.repo().join(".git/index.lock");
    fs::write(&lock, b"").expect("a lock");
    assert!(findings(&f).contains_key("git-lock-stale"));
    // A commit whose editor is open holds the lock, and no file.
    fs::remove_file(&lock).expect("removed");
    f.write("README.md", "changed\n");
    let editor = format!(
        "touch {0}/editing; while [ ! -e {0}/written ]; do sleep 0.02; done; echo Done >",
        f.gate().display()
    );
    let script = f.root().join("editor");
    fs::write(&script, format!("#!/bin/sh\n{editor} \"$1\"\n")).expect("a script");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
    let mut git = std::process::Command::new("git");
    let mut git = git
        .current_dir(f.repo())
        .args(["commit", "-qa"])
        .env("GIT_EDITOR", &script)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", f.root().join("home"))
        .spawn()
        .expect("git");
    f.await_gate("editing");
    let found = findings(&f);
    assert!(lock.exists());
    assert!(found.contains_key("git-lock-held"), "{found:?}");
    assert!(!found.contains_key("git-lock-stale"), "{found:?}");
    f.open("written");
    assert!(git.wait().expect("git").success());
    assert_eq!(words(&f), ["claude-not-needed"]);
}

#[test]
fn an_update_of_a_checkout_that_was_cut_off_is_finished_by_a_safe_repair() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    // The target has moved, its checkout has not been brought along.
    f.command(["run", "--live"])
        .env("ORCH_CRASH_AT", "branch-moved:1")
        .output()
        .expect("orch");
    assert_eq!(
        words(&f),
        [
            "checkout-unfinished",
            "claude-not-needed",
            "run-interrupted"
        ],
        "orch's own lock is known"
    );
    f.orch(["doctor", "--fix-safe"])
        .exits(1)
        .says("finished the update of");
    assert_eq!(words(&f), ["claude-not-needed", "run-interrupted"]);
    assert_eq!(f.read("a.txt"), "a\n");
    f.orch(["run", "--live"]).exits(0);
    f.assert_tidy();
}

#[test]
fn trouble_with_plan_settings_and_identity_is_named_all_at_once() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    f.write("package-lock.json", "{}\n");
    f.write(".claude/plans/broken.yaml", "tasks: [\n");
    f.git(["config", "--unset", "user.email"]);
    let text = f.read(".claude/plans/plan.yaml");
    f.write(
        ".claude/plans/plan.yaml",
        &text.replace("'1'", "'9'").replace("\"1\"", "\"9\""),
    );
    let found = words(&f);
    for id in [
        "identity-missing",
        "plan-invalid",
        "setup-missing",
        "task-vanished",
    ] {
        assert!(found.contains(&id.to_owned()), "{id}: {found:?}");
    }
    f.write("orch.yaml", "jobs: many\n");
    assert!(words(&f).contains(&"settings-invalid".to_owned()));
}

#[test]
fn a_copied_repository_is_not_taken_for_the_one_it_came_from() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    let copy = f.root().join("copy");
    let copied = std::process::Command::new("cp")
        .args(["-r", "repo", "copy"])
        .current_dir(f.root())
        .status();
    assert!(copied.expect("cp").success());
    let output = f.command(["doctor"]).current_dir(copy).output();
    let output = output.expect("orch");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("problem ledger-copied"), "{text}");
}

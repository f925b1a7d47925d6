//! Disks that are full or cannot be written: nothing is lost, the run ends with 8 or waits, names what is wrong, and goes
//! on when it is mended.
//!
//! A small disk of one's own takes a mount, and a mount takes a namespace: each test starts itself again in one, as any
//! user may with `unshare -rm`. Where that is forbidden (some containers), it says so and is passed over.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::fixture::{Fixture, Ran};
use crate::runs::plan;

/// Set in the namespace.
const INSIDE: &str = "ORCH_TEST_INSIDE";

/// Runs `test`, which is the body of the test function called `name`, where it may mount.
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn with_mounts(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let unshare = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--"]);
        command.arg(program);
        command
    };
    if !unshare(Path::new("true"))
        .status()
        .is_ok_and(|s| s.success())
    {
        eprintln!("{name}: passed over, because `unshare --user --mount` is not possible here");
        return;
    }
    let this = std::env::current_exe().expect("this program");
    let name = format!("disks::{name}");
    let output = unshare(&this)
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare");
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

fn mount(args: &[&str], at: &Path) {
    let status = Command::new("mount").args(args).arg(at).status();
    assert!(status.expect("mount").success(), "mount {args:?} {at:?}");
}

/// Puts a small disk where `dir` is, with what `dir` held.
fn on_small_disk(dir: &Path, size: &str) {
    let aside = dir.with_extension("aside");
    let copy = |from: &Path, to: &Path| {
        let status = Command::new("cp")
            .arg("-a")
            .arg(from.join("."))
            .arg(to)
            .status();
        assert!(status.expect("cp").success());
    };
    std::fs::create_dir_all(dir).expect("a directory");
    std::fs::create_dir(&aside).expect("a directory");
    copy(dir, &aside);
    mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], dir);
    copy(&aside, dir);
    std::fs::remove_dir_all(&aside).expect("removed");
}

/// The shell's words for filling the disk that `file` lies on to its last byte, once.
const FILL: &str = "if [ ! -e \"$GATE/filled\" ]; then touch \"$GATE/filled\"; dd if=/dev/zero of=\"$FILL\" bs=64k 2> /dev/null; dd if=/dev/zero of=\"$FILL.rest\" bs=512 2> /dev/null; fi; true";

/// Three tasks, of which the second fills the disk.
fn filling() -> Fixture {
    let fill = serde_json::to_string(&format!("echo b > b.txt; {FILL}")).expect("text");
    Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", &format!("run: {fill}")),
        ("3", "run: cat a.txt b.txt > c.txt"),
    ]))
}

/// A run that meets the full disk: it ends as a broken surrounding, or waits for it and is stopped.
fn until_it_gives_up_or_waits(f: &Fixture, filling: &Path) -> Ran {
    let mut command = f.command(["run"]);
    command
        .env("FILL", filling)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut run = command.spawn().expect("orch");
    let waits = |f: &Fixture| {
        let records = f.records();
        records
            .iter()
            .any(|r| r["record"]["kind"] == "breaker_opened")
    };
    let waited = f.await_that("it gives up or waits", || match run.try_wait() {
        Ok(Some(_)) => Some(false),
        Ok(None) => waits(f).then_some(true),
        Err(e) => panic!("{e}"),
    });
    if waited {
        f.orch(["stop"]).exits(0);
    }
    let ran = Ran::of(run.wait_with_output().expect("its end"));
    ran.exits(if waited { 3 } else { 8 })
}

/// The run that fills the disk at `dir`, then the one after the filling was removed.
fn fill_and_free(f: &Fixture, dir: &Path) {
    f.write("mine.txt", "untracked\n");
    f.write("README.md", "mine, not committed\n");
    let filling = dir.join("filling");
    let ran = until_it_gives_up_or_waits(f, &filling);
    // SQLite, the system and git each have words of their own.
    let words = ["no space left", "No space left", "Out of diskspace"];
    assert!(
        words.iter().any(|words| ran.stderr.contains(words)),
        "{}",
        ran.stderr
    );
    for file in [filling.clone(), dir.join("filling.rest")] {
        std::fs::remove_file(file).expect("removed");
    }
    f.orch_with("FILL", &filling, ["run"]).exits(0);
    assert_eq!(
        f.subjects("main")[..3],
        ["3: Task 3", "2: Task 2", "1: Task 1"]
    );
    assert_eq!(f.read("c.txt"), "a\nb\n");
    assert_eq!(f.count("landed", "2"), 1);
    assert_eq!(
        f.status("2")["attempts_spent"],
        0,
        "a full disk costs no attempt"
    );
    f.git(["fsck", "--strict"]);
    assert_eq!(f.read("mine.txt"), "untracked\n");
    assert_eq!(f.read("README.md"), "mine, not committed\n");
    f.assert_tidy_but(" M README.md\n?? mine.txt\n");
}

#[test]
fn a_full_disk_under_the_ledger_and_the_log_is_named_and_the_next_run_goes_on() {
    with_mounts(
        "a_full_disk_under_the_ledger_and_the_log_is_named_and_the_next_run_goes_on",
        || {
            let f = filling();
            let dir = f.repo().join(".git/orch");
            on_small_disk(&dir, "4m");
            fill_and_free(&f, &dir);
        },
    );
}

#[test]
fn a_full_disk_under_the_objects_is_named_and_the_next_run_goes_on() {
    with_mounts(
        "a_full_disk_under_the_objects_is_named_and_the_next_run_goes_on",
        || {
            let f = filling();
            let dir = f.repo().join(".git/objects");
            on_small_disk(&dir, "4m");
            fill_and_free(&f, &dir);
        },
    );
}

#[test]
fn a_full_disk_under_the_whole_repository_is_named_and_the_next_run_goes_on() {
    with_mounts(
        "a_full_disk_under_the_whole_repository_is_named_and_the_next_run_goes_on",
        || {
            let f = filling();
            let dir = f.repo();
            on_small_disk(&dir, "6m");
            // Where nobody looks for changes.
            let dir = dir.join(".git");
            fill_and_free(&f, &dir);
        },
    );
}

#[test]
fn a_full_disk_under_the_slots_is_named_and_the_next_run_goes_on() {
    with_mounts(
        "a_full_disk_under_the_slots_is_named_and_the_next_run_goes_on",
        || {
            let f = filling();
            let dir = f.root().join("state");
            on_small_disk(&dir, "4m");
            f.orch(["doctor"]).exits(1).says("problem disk-low");
            fill_and_free(&f, &dir);
        },
    );
}

/// Makes what lies at `dir` read-only.
fn lock_up(dir: &Path) {
    let shown = dir.to_str().expect("a path");
    mount(&["--bind", shown], dir);
    mount(&["-o", "remount,bind,ro"], dir);
}

fn unlock(dir: &Path) {
    let status = Command::new("umount").arg(dir).status();
    assert!(status.expect("umount").success());
}

#[test]
fn what_cannot_be_written_is_named_before_anything_runs() {
    with_mounts(
        "what_cannot_be_written_is_named_before_anything_runs",
        || {
            let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
            for (place, says) in [
                (f.repo().join(".git"), "Read-only file system"),
                (f.root().join("state"), "Read-only file system"),
            ] {
                lock_up(&place);
                f.orch(["run"])
                    .exits(8)
                    .says(says)
                    .says(place.to_str().expect("a path"));
                unlock(&place);
            }
            // A ledger that has become read-only can still be read.
            f.orch(["run"]).exits(0);
            lock_up(&f.repo().join(".git"));
            f.orch(["status"]).exits(0);
            f.orch(["show", "1"]).exits(0);
            f.orch(["audit"]).exits(0);
            f.orch(["doctor"])
                .exits(1)
                .says("problem state-not-writable");
            unlock(&f.repo().join(".git"));
            f.assert_tidy();
        },
    );
}

#[test]
fn a_checkout_that_cannot_be_written_keeps_its_files_and_the_work_stays_on_the_run_branch() {
    with_mounts(
        "a_checkout_that_cannot_be_written_keeps_its_files_and_the_work_stays_on_the_run_branch",
        || {
            let f = Fixture::with_plan(&plan(&[("1", "run: echo a > docs/a.txt")]));
            f.write("docs/b.txt", "b\n");
            f.git(["add", "-A"]);
            f.git(["commit", "-qm", "Docs"]);
            let docs = f.repo().join("docs");
            lock_up(&docs);
            f.orch(["run"])
                .exits(0)
                .says("docs cannot be written: Read-only file system")
                .says("git merge --ff-only orch/plan");
            assert_eq!(f.subjects("main")[0], "Docs");
            assert_eq!(f.git(["status", "--porcelain"]), "");
            f.orch(["run", "--branch", "main"])
                .exits(4)
                .says("docs cannot be written");
            unlock(&docs);
            f.git(["merge", "-q", "--ff-only", "orch/plan"]);
            assert_eq!(f.subjects("orch/plan")[0], "1: Task 1");
            f.assert_tidy();
        },
    );
}

#[test]
fn a_full_disk_under_the_checkout_holds_its_index_until_the_next_run_has_finished_the_update() {
    with_mounts(
        "a_full_disk_under_the_checkout_holds_its_index_until_the_next_run_has_finished_the_update",
        || {
            let f = Fixture::with_plan(&plan(&[(
                "1",
                "run: head -c 300000 /dev/urandom | base64 > docs/a.txt; echo b > b.txt",
            )]));
            f.write("docs/b.txt", "b\n");
            f.git(["add", "-A"]);
            f.git(["commit", "-qm", "Docs"]);
            let docs = f.repo().join("docs");
            on_small_disk(&docs, "200k");
            f.orch(["run"]).exits(0).says("is not up to date yet");
            assert_eq!(
                f.subjects("main")[0],
                "1: Task 1",
                "what landed is not lost"
            );
            let mut commit = Command::new("git");
            commit
                .current_dir(f.repo())
                .args(["commit", "-aqm", "Undo it"]);
            assert!(
                !commit.status().expect("git").success(),
                "the inverse cannot be committed"
            );
            unlock(&docs);
            f.orch(["run"]).exits(0);
            assert_eq!(f.git(["status", "--porcelain"]), "");
            f.assert_tidy();
        },
    );
}

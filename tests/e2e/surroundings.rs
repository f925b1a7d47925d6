//! Repositories as people have them: what is refused before anything is made, branches and worktrees, commits as the
//! repository wants them, dirty checkouts, and targets that move.

use std::path::Path;

use crate::fixture::{Fixture, Live, Ran, gated, waits};
use crate::runs::plan;

const ONE: (&str, &str) = ("1", "run: echo a > a.txt");
const TWO: (&str, &str) = ("2", "run: echo b > b.txt");

/// orch run in a directory that is not the fixture's repository.
fn run_in(f: &Fixture, dir: &Path) -> Ran {
    let output = f
        .command(["run", "--plan", "plan.yaml"])
        .current_dir(dir)
        .output();
    Ran::of(output.expect("orch"))
}

/// Every file below a directory.
fn listing(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn what_cannot_be_worked_with_is_refused_by_name_and_left_as_it_is() {
    let f = Fixture::new();
    let other = |name: &str, git: &[&str]| {
        let dir = f.root().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        for command in git {
            let mut args = vec!["-C", dir.to_str().expect("a path")];
            args.extend(command.split(' '));
            f.git_all(&args);
        }
        std::fs::write(dir.join("plan.yaml"), plan(&[ONE])).expect("a plan");
        dir
    };
    let commit = "-c user.name=A -c user.email=a@example.invalid commit -q --allow-empty -m Start";
    for (name, git, says, hint) in [
        (
            "none",
            &[][..],
            "is not inside a git repository",
            "git init",
        ),
        (
            "unborn",
            &["init -q"],
            "has no commit yet",
            "git commit --allow-empty",
        ),
        (
            "bare",
            &["init -q --bare"],
            "is a bare repository",
            "git worktree add",
        ),
        (
            "partial",
            &["init -q", commit, "config remote.origin.promisor true"],
            "is a partial clone",
            "full clone",
        ),
        (
            "reftable",
            &["init -q --ref-format=reftable", commit],
            "refstorage",
            "--ref-format=files",
        ),
        (
            "nobody",
            &["init -q", commit],
            "does not know your",
            "git config --global user.name 'Your Name'",
        ),
        (
            "nowhere",
            &["init -q", commit],
            "does not know your",
            "git config --global user.email you@example.com",
        ),
    ] {
        let dir = other(name, git);
        let before = listing(&dir);
        run_in(&f, &dir).exits(8).says(says).says(hint);
        assert_eq!(listing(&dir), before, "{name}");
    }
}

#[test]
fn a_repository_of_another_user_is_refused_with_gits_own_way_out() {
    const SOMEBODY: Option<u32> = Some(54_321);
    let f = Fixture::with_plan(&plan(&[ONE]));
    let given = [f.repo(), f.repo().join(".git")]
        .iter()
        .all(|path| std::os::unix::fs::chown(path, SOMEBODY, None).is_ok());
    if !given {
        // Only root can give a repository away.
        return;
    }
    f.orch(["run"])
        .exits(8)
        .says("belongs to another user")
        .says("git config --global --add safe.directory");
    assert!(!f.repo().join(".git/orch").exists());
}

#[test]
fn a_detached_head_gets_a_run_branch_and_the_command_and_no_live_landing() {
    let f = Fixture::with_plan(&plan(&[ONE]));
    f.git(["switch", "-q", "--detach"]);
    f.orch(["run", "--live"])
        .exits(8)
        .says("HEAD is detached")
        .says("git switch -c NAME");
    assert!(!f.repo().join(".git/orch").exists(), "nothing was made");
    f.orch(["run"])
        .exits(0)
        .says("git merge --ff-only orch/plan");
    assert_eq!(f.subjects("orch/plan")[0], "1: Task 1");
    assert_eq!(f.subjects("HEAD")[0], "Add the plan");
    f.git(["merge", "-q", "--ff-only", "orch/plan"]);
    f.assert_tidy();
}

#[test]
fn a_run_on_a_release_branch_publishes_to_it() {
    let f = Fixture::with_plan(&plan(&[ONE]));
    f.git(["switch", "-qc", "release/1.0"]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.subjects("release/1.0")[0], "1: Task 1");
    assert_eq!(f.subjects("main")[0], "Add the plan");
    f.assert_tidy();
}

#[test]
fn a_linked_worktree_gets_the_commits_of_a_run_that_was_started_there() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &format!("run: {}", gated("up", "go", "echo a > a.txt")),
    )]));
    let linked = f.root().join("linked");
    f.git(["worktree", "add", "-q", "-b", "feature", "../linked"]);
    let mut first = f.command(["run"]);
    first.current_dir(&linked);
    let first = Live::of(first, f.root());
    f.await_gate("up");
    // The main worktree is another one of the same repository.
    f.orch(["run"]).exits(7).says(&first.pid().to_string());
    f.open("go");
    first.ended().exits(0);
    assert_eq!(f.subjects("feature")[0], "1: Task 1");
    assert_eq!(f.subjects("main")[0], "Add the plan");
    assert_eq!(f.git(["-C", "../linked", "status", "--porcelain"]), "");
    assert_eq!(f.git(["status", "--porcelain"]), "");
    assert!(linked.join("a.txt").exists() && !f.repo().join("a.txt").exists());
}

#[test]
fn a_diverged_run_branch_is_refused_with_the_ways_out() {
    let f = Fixture::with_plan(&plan(&[ONE]));
    f.git(["switch", "-qc", "orch/plan"]);
    f.git(["commit", "-q", "--allow-empty", "-m", "Theirs"]);
    f.git(["switch", "-q", "main"]);
    f.git(["commit", "-q", "--allow-empty", "-m", "Mine"]);
    f.orch(["run"])
        .exits(8)
        .says("have diverged")
        .says("git merge orch/plan")
        .says("git switch orch/plan")
        .says("git branch -m orch/plan orch/plan-old");
    f.git(["branch", "-m", "orch/plan", "orch/plan-old"]);
    f.orch(["run"]).exits(0);
}

#[test]
fn a_branch_in_the_way_of_the_run_branch_is_refused_by_name() {
    let f = Fixture::with_plan(&plan(&[ONE]));
    f.git(["branch", "orch"]);
    f.orch(["run"])
        .exits(8)
        .says("cannot exist beside the branch `orch`")
        .says("git branch -m orch orch-old");
    f.orch(["run", "--branch", "main"]).exits(0);
}

#[test]
fn commits_are_signed_and_signed_off_as_the_repository_wants_and_no_hook_runs() {
    let f = Fixture::with_plan(&plan(&[ONE, TWO]));
    let (key, trap) = (f.root().join("key"), f.root().join("ran"));
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.expect("ssh-keygen").success());
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("a key");
    let allowed = f.root().join("allowed");
    std::fs::write(&allowed, format!("ada@example.invalid {public}")).expect("a file");
    f.git(["config", "commit.gpgsign", "true"]);
    f.git(["config", "gpg.format", "ssh"]);
    f.git(["config", "user.signingkey", "/nowhere/key"]);
    f.orch(["run"]).exits(8).says("signing does not work");
    assert_eq!(
        f.git(["branch", "--list", "orch/*"]),
        "",
        "before anything ran"
    );

    f.git(["config", "user.signingkey", key.to_str().expect("a path")]);
    f.git([
        "config",
        "gpg.ssh.allowedSignersFile",
        allowed.to_str().expect("a path"),
    ]);
    for hook in [
        "pre-commit",
        "commit-msg",
        "post-commit",
        "post-merge",
        "post-checkout",
        "reference-transaction",
    ] {
        let path = f.repo().join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(
            &path,
            format!("#!/bin/sh\ntouch {}\nexit 1\n", trap.display()),
        )
        .expect("a hook");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("executable");
    }
    let ran = Ran::of(
        f.command(["run"])
            .env("ORCH_COMMIT_SIGN_OFF", "true")
            .output()
            .expect("orch"),
    )
    .exits(0);
    assert_eq!(
        ran.stderr.matches("hooks of this repository").count(),
        1,
        "{}",
        ran.stderr
    );
    assert!(!trap.exists());
    for commit in ["main", "main~1"] {
        f.git(["verify-commit", commit]);
        assert_eq!(
            f.git(["log", "-1", "--format=%an <%ae> %cn <%ce>", commit]),
            "Ada <ada@example.invalid> Ada <ada@example.invalid>\n"
        );
        let trailers = f.git([
            "log",
            "-1",
            "--format=%(trailers:key=Signed-off-by,valueonly)",
            commit,
        ]);
        assert_eq!(trailers.trim(), "Ada <ada@example.invalid>");
    }
}

#[test]
fn uncommitted_work_is_not_shown_to_agents_not_committed_and_not_touched() {
    for live in [false, true] {
        let f = Fixture::with_plan(&plan(&[(
            "1",
            "run: ls > ls.txt; cat README.md notes.txt > seen.txt; true",
        )]));
        f.write("README.md", "mine, not committed\n");
        f.write("notes.txt", "mine, staged\n");
        f.git(["add", "notes.txt"]);
        f.write("todo.txt", "mine, untracked\n");
        let dirt = f.git(["status", "--porcelain"]);
        let staged = f.git(["diff", "--cached"]);
        match live {
            true => f.orch(["run", "--live"]).exits(0),
            false => f.orch(["run"]).exits(0),
        };
        assert_eq!(f.read("seen.txt"), "# scratch\n");
        assert_eq!(f.read("ls.txt"), "README.md\nls.txt\n");
        assert_eq!(
            f.git(["diff", "--name-only", "HEAD~1", "HEAD"]),
            ".claude/plans/plan.yaml\nls.txt\nseen.txt\n"
        );
        assert_eq!(f.git(["status", "--porcelain"]), dirt);
        assert_eq!(f.git(["diff", "--cached"]), staged);
        assert_eq!(f.read("README.md"), "mine, not committed\n");
        assert_eq!(f.read("todo.txt"), "mine, untracked\n");
    }
}

#[test]
fn a_dirty_file_in_the_way_of_a_live_landing_is_waited_for_and_nothing_is_done_twice() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo theirs > README.md"),
        ("2", "depends_on: []\nrun: echo b > b.txt"),
        ("3", "depends_on: ['1']\nrun: echo c > c.txt"),
    ]));
    f.write("README.md", "mine, not committed\n");
    f.orch(["run", "--live"])
        .exits(4)
        .says("uncommitted changes in")
        .says("README.md")
        .says("stash");
    assert_eq!(f.read("README.md"), "mine, not committed\n");
    assert_eq!(f.status("1")["state"], "waiting");
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "Add the plan"]);
    f.orch(["why", "1"]).exits(0).says("README.md");
    // Still in the way.
    f.orch(["run", "--live"]).exits(4).says("README.md");
    f.git(["checkout", "README.md"]);
    f.orch(["run", "--live"]).exits(0);
    assert_eq!(f.read("README.md"), "theirs\n");
    assert_eq!(
        f.subjects("main")[..3],
        ["3: Task 3", "1: Task 1", "2: Task 2"]
    );
    assert_eq!(f.attempts(), 3, "the work of task 1 was kept");
    f.assert_tidy();
}

#[test]
fn a_live_landing_goes_on_by_itself_when_the_file_is_out_of_the_way() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo theirs > README.md"),
        (
            "2",
            &format!("depends_on: []\nrun: {}; echo b > b.txt", waits("go")),
        ),
    ]));
    f.write("README.md", "mine, not committed\n");
    let run = f.live(["run", "--live", "-j", "2"]);
    f.await_that("the file in the way", || {
        f.records_so_far().contains("in_the_way").then_some(())
    });
    f.git(["checkout", "README.md"]);
    f.await_that("the landing", || {
        (f.subjects("main")[0] == "1: Task 1").then_some(())
    });
    f.open("go");
    run.ended().exits(0);
}

#[test]
fn a_commit_on_the_live_branch_meanwhile_is_built_upon() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "run: echo a > a.txt; cd \"$REPO\" && echo p > p.txt && git add p.txt && git commit -qm Meanwhile",
    )]));
    f.orch_with("REPO", &f.repo(), ["run", "--live"]).exits(0);
    assert_eq!(
        f.subjects("main")[..3],
        ["1: Task 1", "Meanwhile", "Add the plan"]
    );
    assert_eq!(f.read("p.txt"), "p\n");
    f.assert_tidy();
}

/// A task that commits something onto the run branch, as a person could, besides its own work.
const MEDDLES: &str = "run: |\n  echo b > b.txt\n  cd \"$REPO\"\n  c=$(git commit-tree -p orch/plan -m Meanwhile \"orch/plan^{tree}\")\n  git update-ref refs/heads/orch/plan $c";

#[test]
fn a_commit_on_the_run_branch_meanwhile_is_built_upon() {
    let f = Fixture::with_plan(&plan(&[ONE, ("2", MEDDLES)]));
    f.orch_with("REPO", &f.repo(), ["run"]).exits(0);
    assert_eq!(
        f.subjects("main")[..3],
        ["2: Task 2", "Meanwhile", "1: Task 1"]
    );
    f.assert_tidy();
}

#[test]
fn a_rewritten_target_parks_the_run_and_nothing_is_redone() {
    let f = Fixture::with_plan(&plan(&[
        ONE,
        (
            "2",
            "run: echo b > b.txt; git -C \"$REPO\" update-ref refs/heads/orch/plan main",
        ),
        ("3", "run: echo c > c.txt"),
    ]));
    let ran = f
        .orch_with("REPO", &f.repo(), ["run"])
        .exits(4)
        .says("git branch -f orch/plan ")
        .says("git switch orch/plan && git merge ")
        .says("orch retry");
    assert_eq!(
        f.subjects("orch/plan")[0],
        "Add the plan",
        "nothing was forced"
    );
    assert_eq!(f.attempts(), 2);
    // The first way out.
    let (_, rest) = ran
        .stderr
        .split_once("git branch -f orch/plan ")
        .expect("a way out");
    let landed = rest.split(' ').next().expect("a commit");
    f.git(["branch", "-f", "orch/plan", landed]);
    f.orch(["run"]).exits(0);
    assert_eq!(
        f.subjects("main")[..3],
        ["3: Task 3", "2: Task 2", "1: Task 1"]
    );
    assert_eq!(f.attempts(), 3);
    f.assert_tidy();
}

#[test]
fn a_reset_live_branch_parks_the_run_too() {
    let f = Fixture::with_plan(&plan(&[
        ONE,
        (
            "2",
            "run: echo b > b.txt; git -C \"$REPO\" reset -q --hard HEAD~1",
        ),
    ]));
    f.orch_with("REPO", &f.repo(), ["run", "--live"])
        .exits(4)
        .says("merge");
    assert_eq!(f.subjects("main")[0], "Add the plan");
    assert_eq!(f.git(["status", "--porcelain"]), "");
}

#[test]
fn a_completed_plan_has_nothing_to_do_until_a_task_is_added() {
    let f = Fixture::with_plan(&plan(&[ONE]));
    f.orch(["run"]).exits(0);
    let main = f.git(["rev-parse", "main"]);
    f.orch(["run"]).exits(0);
    assert_eq!((f.attempts(), f.git(["rev-parse", "main"])), (1, main));
    let text = f.read(".claude/plans/plan.yaml");
    f.write(
        ".claude/plans/plan.yaml",
        &format!("{text}      - id: '2'\n        name: Task 2\n        run: echo b > b.txt\n"),
    );
    f.git(["commit", "-qam", "Add a task"]);
    f.orch(["run"]).exits(0);
    assert_eq!(
        f.subjects("main")[..3],
        ["2: Task 2", "Add a task", "1: Task 1"]
    );
    f.assert_tidy();
}

#[test]
fn what_landed_counts_although_the_run_branch_was_not_merged() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo theirs > README.md")]));
    f.write("README.md", "mine\n");
    f.orch(["run"])
        .exits(0)
        .says("git merge --ff-only orch/plan");
    assert!(!f.read(".claude/plans/plan.yaml").contains("completed"));
    let tip = f.git(["rev-parse", "orch/plan"]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.git(["rev-parse", "orch/plan"]), tip);
    // A task that a person adds to the unmerged copy is the only one that is done.
    let text = f.read(".claude/plans/plan.yaml");
    f.write(
        ".claude/plans/plan.yaml",
        &format!("{text}      - id: '2'\n        name: Task 2\n        run: echo b > b.txt\n"),
    );
    f.orch(["run"]).exits(0);
    assert_eq!(f.subjects("orch/plan")[..2], ["2: Task 2", "1: Task 1"]);
    assert_eq!(f.read("README.md"), "mine\n");
}

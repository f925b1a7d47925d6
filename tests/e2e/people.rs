//! What people do in the repository while a run works in it: one test for each row of "What people do meanwhile" in
//! `docs/recovery.md` that is not in `surroundings`.

use crate::fixture::{Fixture, Ran, gated, waits};
use crate::runs::plan;

const ONE: (&str, &str) = ("1", "run: echo a > a.txt");

/// A task that waits at the gate `go`, then writes a file.
fn waiting_task() -> String {
    plan(&[(
        "1",
        &format!("run: '{}'", gated("up", "go", "echo a > a.txt")),
    )])
}

#[test]
fn what_keeps_a_run_from_starting_is_named_in_the_documented_order_and_nothing_is_made() {
    let f = Fixture::with_plan(&waiting_task());
    f.write(".claude/plans/.stop", "");
    f.orch(["run"]).exits(3).says("--clear-stop");
    assert!(!f.repo().join(".git/orch").exists(), "nothing was made");
    f.git(["switch", "-qc", "orch/plan"]);
    f.git(["commit", "-q", "--allow-empty", "-m", "Theirs"]);
    f.git(["switch", "-q", "main"]);
    f.git(["commit", "-q", "--allow-empty", "-m", "Mine"]);
    f.orch(["run"]).exits(8).says("have diverged");
    assert!(!f.repo().join(".git/orch").exists(), "nothing was made");
    f.git(["branch", "-q", "-D", "orch/plan"]);
    let orch = f.live(["run", "--clear-stop"]);
    f.await_gate("up");
    f.write(".claude/plans/.stop", "");
    f.git(["commit", "-q", "--allow-empty", "-m", "Mine, too"]);
    f.orch(["run"]).exits(7).says(&orch.pid().to_string());
    f.open("go");
    orch.ended().exits(0);
    f.git(["reset", "-q", "--hard", "orch/plan"]);
    std::fs::remove_file(f.repo().join(".claude/plans/.stop")).expect("a file");
    f.assert_tidy();
}

#[test]
fn a_stop_file_is_heard_at_once_in_a_directory_that_is_made_during_the_run() {
    let f = Fixture::new();
    f.write(
        "plan.yaml",
        &plan(&[
            (
                "1",
                &format!("run: '{}'", gated("up", "go", "echo a > a.txt")),
            ),
            ("2", "run: echo b > b.txt"),
        ]),
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add the plan"]);
    let orch = f.live(["run", "--plan", "plan.yaml"]);
    f.await_gate("up");
    f.write(".claude/plans/.stop", "");
    // Nothing else happens that could make orch look.
    orch.await_says("asked by the stop file");
    f.open("go");
    orch.ended().exits(3);
    std::fs::remove_dir_all(f.repo().join(".claude")).expect("removed");
    f.orch(["run", "--plan", "plan.yaml"]).exits(0);
    f.assert_tidy();
}

#[test]
fn nothing_starts_on_a_rewritten_target_and_no_attempt_is_spent_for_it() {
    let second = "if [ -e \"$GATE/again\" ]; then echo b > b.txt; else touch \"$GATE/again\"; git -C \"$REPO\" update-ref refs/heads/orch/plan main; exit 1; fi";
    let f = Fixture::with_plan(&plan(&[ONE, ("2", &format!("run: '{}'", second))]));
    let ran = f
        .orch_with("REPO", &f.repo(), ["run"])
        .exits(4)
        .says("git branch -f orch/plan ");
    assert_eq!(f.count("agent_starting", "2"), 1, "{}", ran.stderr);
    assert_eq!(f.status("2")["attempts_spent"], 1);
    let (_, rest) = ran
        .stderr
        .split_once("git branch -f orch/plan ")
        .expect("a way out");
    let landed = rest.split(' ').next().expect("a commit");
    f.git(["branch", "-f", "orch/plan", landed]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
    f.assert_tidy();
}

#[test]
fn a_stale_index_lock_is_waited_for_with_its_name_until_the_run_ends_and_nothing_is_lost() {
    let f = Fixture::with_plan(&plan(&[ONE]));
    let lock = f.repo().join(".git/index.lock");
    std::fs::write(&lock, "").expect("a lock");
    f.orch(["run", "--live"])
        .exits(4)
        .says("index.lock` exists")
        .says("if none runs, `rm ");
    f.orch(["why", "1"]).exits(0).says("index.lock` exists");
    assert_eq!(f.status("1")["state"], "waiting");
    assert!(lock.exists(), "it is not ours");
    std::fs::remove_file(&lock).expect("removed");
    f.orch(["run", "--live"]).exits(0);
    assert_eq!(f.attempts(), 1, "its work was kept");
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

#[test]
fn a_locked_target_is_waited_for_with_its_name_and_landed_on_when_the_lock_goes() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "run: echo a > a.txt; touch \"$REPO/.git/refs/heads/orch/plan.lock\"",
    )]));
    f.orch_with("REPO", &f.repo(), ["run"])
        .exits(4)
        .says("remove `refs/heads/orch/plan.lock`");
    f.orch(["why", "1"])
        .exits(0)
        .says("is locked by another process");
    let lock = f.repo().join(".git/refs/heads/orch/plan.lock");
    std::fs::remove_file(&lock).expect("removed");
    f.orch(["run"]).exits(0);
    assert_eq!(f.attempts(), 1);
    f.assert_tidy();
}

#[test]
fn a_lock_that_goes_soon_only_delays_a_landing() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "run: echo a > a.txt; touch \"$REPO/.git/index.lock\" \"$REPO/.git/packed-refs.lock\"",
    )]));
    let mut command = f.command(["run", "--live"]);
    command.env("REPO", f.repo());
    let orch = crate::fixture::Live::of(command, f.root());
    orch.await_says("could not land yet");
    for lock in ["index.lock", "packed-refs.lock"] {
        std::fs::remove_file(f.repo().join(".git").join(lock)).expect("removed");
    }
    orch.ended().exits(0);
    assert_eq!(f.attempts(), 1);
    f.assert_tidy();
}

#[test]
fn a_packed_refs_lock_that_somebody_left_keeps_no_run_from_its_end() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "run: echo a > a.txt; git -C \"$REPO\" pack-refs --all; touch \"$REPO/.git/packed-refs.lock\"",
    )]));
    f.orch_with("REPO", &f.repo(), ["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\n", "the checkout has it");
    std::fs::remove_file(f.repo().join(".git/packed-refs.lock")).expect("removed");
    f.assert_tidy();
}

#[test]
fn a_ledger_that_another_program_locks_is_waited_for_and_named_and_the_next_run_goes_on() {
    let f = Fixture::with_plan(&waiting_task());
    let orch = f.live(["run"]);
    f.await_gate("up");
    let db = rusqlite::Connection::open(f.repo().join(".git/orch/ledger.db")).expect("a ledger");
    db.execute_batch("BEGIN IMMEDIATE").expect("locked");
    f.open("go");
    orch.ended()
        .exits(8)
        .says("is kept locked by another program")
        .says("picked up by the next `orch run`");
    db.execute_batch("ROLLBACK").expect("unlocked");
    drop(db);
    f.orch(["run"]).exits(0);
    assert_eq!(f.attempts(), 1);
    f.assert_tidy();
}

#[test]
fn a_person_may_leave_the_live_branch_stash_and_come_back_while_it_is_landed_on() {
    let f = Fixture::with_plan(&waiting_task());
    f.write("README.md", "mine, not committed\n");
    let orch = f.live(["run", "--live"]);
    f.await_gate("up");
    f.git(["stash", "-q"]);
    f.git(["switch", "-qc", "elsewhere"]);
    f.open("go");
    orch.ended().exits(0).says("HEAD went from");
    assert!(!f.repo().join("a.txt").exists(), "it landed on main alone");
    f.git(["switch", "-q", "main"]);
    assert_eq!(f.read("a.txt"), "a\n");
    f.git(["stash", "pop", "-q"]);
    assert_eq!(f.read("README.md"), "mine, not committed\n");
    f.assert_tidy_but(" M README.md\n");
}

#[test]
fn a_rebase_of_the_persons_own_branch_leaves_it_to_them_to_bring_the_work_in() {
    let f = Fixture::with_plan(&waiting_task());
    f.git(["commit", "-q", "--allow-empty", "-m", "Mine"]);
    let orch = f.live(["run"]);
    f.await_gate("up");
    let reword = "git commit -q --amend --allow-empty -m Reworded";
    f.git(["rebase", "-q", "--exec", reword, "HEAD~1"]);
    let main = f.git(["rev-parse", "main"]);
    f.open("go");
    orch.ended()
        .exits(0)
        .says("`main` has moved since the run started")
        .says("git switch main && git merge orch/plan");
    assert_eq!(f.git(["rev-parse", "main"]), main);
    f.git(["merge", "-q", "--no-edit", "orch/plan"]);
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

#[test]
fn a_rebase_of_the_live_branch_is_not_disturbed_and_one_that_took_landed_work_away_parks_the_run() {
    let f = Fixture::with_plan(&plan(&[
        ONE,
        (
            "2",
            &format!("run: '{}'", gated("up", "go", "echo b > b.txt")),
        ),
    ]));
    let orch = f.live(["run", "--live"]);
    f.await_gate("up");
    // A rebase that waits for the person in the middle.
    let mut rebase = std::process::Command::new("git");
    rebase
        .current_dir(f.repo())
        .args([
            "rebase",
            "-q",
            "--force-rebase",
            "--exec",
            "false",
            "HEAD~1",
        ])
        .stderr(std::process::Stdio::null());
    let identity = [
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.invalid"),
    ];
    assert!(!rebase.envs(identity).status().expect("git").success());
    f.open("go");
    orch.ended().exits(4).says("a rebase is under way");
    f.orch(["why", "2"])
        .exits(0)
        .says("finish or abort the rebase");
    f.git(["rebase", "--quit"]);
    f.git(["commit", "-q", "--amend", "-m", "Task 1, reworded"]);
    f.git(["checkout", "-q", "-B", "main"]);
    // Task 1's commit was made again: what landed is not there any more.
    f.orch(["run", "--live"]).exits(4).says("merge");
    assert_eq!(f.attempts(), 2, "nothing is done again");
    let tip = f.status("1")["commit"]
        .as_str()
        .expect("a commit")
        .to_owned();
    f.git(["reset", "-q", "--hard", &tip]);
    f.orch(["run", "--live"]).exits(0);
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
    assert_eq!(f.attempts(), 2);
    f.assert_tidy();
}

#[test]
fn a_collection_of_garbage_during_a_run_takes_nothing_of_it() {
    let gc =
        "git -C \"$REPO\" reflog expire --expire=now --all; git -C \"$REPO\" gc -q --prune=now";
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            &format!(
                "depends_on: []\nrun: 'echo a > a.txt; touch \"$GATE/a\"; {}; {gc}; echo a >> a.txt'",
                waits("b")
            ),
        ),
        (
            "2",
            &format!(
                "depends_on: []\nmax_attempts: 2\nrun: 'touch \"$GATE/b\"; {}; echo b >> b.txt; if [ $ORCH_ATTEMPT_NUMBER = 1 ]; then {gc}; exit 1; fi'",
                waits("a")
            ),
        ),
        (
            "3",
            &format!("depends_on: ['1', '2']\nrun: '{gc}; cat a.txt b.txt > c.txt; {gc}'"),
        ),
    ]));
    f.orch_with("REPO", &f.repo(), ["run", "-j", "2"]).exits(0);
    assert_eq!(
        f.read("c.txt"),
        "a\na\nb\nb\n",
        "and what a failed attempt left was there for the next one"
    );
    f.git(["gc", "-q", "--prune=now"]);
    f.git(["fsck", "--strict"]);
    f.assert_tidy();
}

#[test]
fn a_cleaned_checkout_does_not_stop_a_run_whose_plan_was_not_committed() {
    let f = Fixture::new();
    let text = plan(&[
        (
            "1",
            &format!("run: '{}'", gated("up", "go", "echo a > a.txt")),
        ),
        ("2", "run: echo b > b.txt"),
    ]);
    f.write("plans/plan.yaml", &text);
    let orch = f.live(["run", "--plan", "plans/plan.yaml"]);
    f.await_gate("up");
    f.git(["clean", "-qfdx"]);
    assert!(!f.repo().join("plans").exists());
    f.open("go");
    let ran = orch.ended().exits(0);
    assert!(
        ran.stderr
            .contains("the plan's status fields could not be written"),
        "{}",
        ran.stderr
    );
    assert_eq!(f.subjects("main")[..2], ["2: Task 2", "1: Task 1"]);
    f.assert_tidy();
}

#[test]
fn a_linked_worktree_that_has_the_target_checked_out_is_brought_along() {
    let f = Fixture::with_plan(&plan(&[ONE, ("2", "run: echo theirs > README.md")]));
    f.git(["worktree", "add", "-q", "-b", "feature", "../linked"]);
    let linked = f.root().join("linked");
    std::fs::write(linked.join("mine.txt"), "mine\n").expect("a file");
    std::fs::write(linked.join("README.md"), "mine\n").expect("a file");
    f.orch(["run", "--branch", "feature"])
        .exits(4)
        .says("README.md");
    assert_eq!(
        std::fs::read_to_string(linked.join("a.txt")).expect("a file"),
        "a\n"
    );
    f.git(["-C", "../linked", "checkout", "-q", "README.md"]);
    f.orch(["run", "--branch", "feature"]).exits(0);
    assert_eq!(
        f.git(["-C", "../linked", "status", "--porcelain"]),
        "?? mine.txt\n"
    );
    assert_eq!(f.attempts(), 2);
    f.orch(["audit"]).exits(0);
}

/// orch run in another directory, as a person who went there would.
fn orch_in(f: &Fixture, dir: &std::path::Path, args: &[&str]) -> Ran {
    let output = f.command([]).args(args).current_dir(dir).output();
    Ran::of(output.expect("orch"))
}

#[test]
fn a_copy_of_a_repository_in_use_is_refused_and_the_run_in_the_original_goes_on() {
    let f = Fixture::with_plan(&waiting_task());
    let orch = f.live(["run"]);
    f.await_gate("up");
    let copy = f.root().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(f.repo())
        .arg(&copy)
        .status();
    assert!(copied.expect("cp").success());
    orch_in(&f, &copy, &["run"])
        .exits(8)
        .says("was copied or moved here")
        .says("--adopt-ledger");
    orch_in(&f, &copy, &["status"]).exits(0);
    f.open("go");
    orch.ended().exits(0);
    std::fs::remove_dir_all(&copy).expect("removed");
    f.assert_tidy();
}

#[test]
fn a_repository_that_is_moved_during_a_run_is_worked_on_where_it_went_and_no_attempt_is_spent() {
    let f = Fixture::with_plan(&plan(&[
        ONE,
        (
            "2",
            &format!(
                "max_attempts: 1\nrun: '{}'",
                gated("up", "go", "echo b > b.txt")
            ),
        ),
        ("3", "run: cat a.txt b.txt > c.txt"),
    ]));
    let moved = f.root().join("moved");
    let orch = f.live(["run"]);
    f.await_gate("up");
    std::fs::rename(f.repo(), &moved).expect("moved");
    f.open("go");
    orch.ended().exits(8);
    orch_in(&f, &moved, &["run"]).exits(0);
    orch_in(&f, &moved, &["audit"]).exits(0);
    std::fs::rename(&moved, f.repo()).expect("moved back");
    assert_eq!(
        f.subjects("main")[..3],
        ["3: Task 3", "2: Task 2", "1: Task 1"]
    );
    assert_eq!(f.attempts(), 3);
    assert_eq!(f.read("c.txt"), "a\nb\n");
    f.assert_tidy();
}

#[test]
fn an_agent_whose_repository_was_moved_is_followed_there() {
    let f = Fixture::with_plan(&waiting_task());
    let moved = f.root().join("moved");
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    std::fs::rename(f.repo(), &moved).expect("moved");
    let mut command = f.command(["run"]);
    command.current_dir(&moved);
    let next = crate::fixture::Live::of(command, f.root());
    next.await_says("goes on");
    f.open("go");
    next.ended().exits(0);
    std::fs::rename(&moved, f.repo()).expect("moved back");
    assert_eq!(f.attempts(), 1);
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

//! What was in a slot and is kept nowhere else is saved before the slot is used again, and comes back.

use std::path::PathBuf;

use serde_json::Value;

use crate::fixture::{Fixture, waits};
use crate::runs::plan;

/// The working tree of the first slot.
fn slot(f: &Fixture) -> PathBuf {
    let slots = f.root().join("state/orch/slots");
    let mut keys = std::fs::read_dir(slots).expect("slots");
    let key = keys.next().expect("a repository").expect("an entry");
    key.path().join("agent-1/tree")
}

fn saved(f: &Fixture) -> Vec<Value> {
    let ran = f.orch(["salvage", "list", "--format", "json"]).exits(0);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn id(saved: &Value) -> &str {
    saved["id"].as_str().expect("an id")
}

fn salvage_refs(f: &Fixture) -> usize {
    let refs = f.git(["for-each-ref", "--format=%(refname)", "refs/orch/salvage"]);
    refs.lines().count()
}

#[test]
fn an_ordinary_run_saves_nothing() {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: 'echo a > a.txt; git add -A; git commit -qm mine'",
        ),
        (
            "2",
            "run: 'echo b >> a.txt; echo b > .env; git stash -q; git stash pop -q'",
        ),
        (
            "3",
            "run: 'rm README.md; touch c.txt; mkdir -p d; echo {} > d/x'",
        ),
        ("4", "max_attempts: 1\nrun: echo d > d.txt; exit 3"),
    ]));
    f.orch(["run"]).exits(1);
    f.orch(["run"]).exits(1);
    f.orch(["salvage", "list"])
        .exits(0)
        .says("nothing was saved");
    assert_eq!(salvage_refs(&f), 0);
    f.assert_tidy();
}

/// A run in which the agent of the first task left work in its stash and on a branch.
fn with_hidden_work() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: 'echo idea > idea.txt; git add -A; git stash -q; git switch -qc side; echo s > side.txt; git add -A; git commit -qm Side; git switch -q --detach main; echo a > a.txt'",
        ),
        ("2", "run: echo b > b.txt"),
    ]));
    f.orch(["run"]).exits(0).says("orch salvage show");
    f
}

#[test]
fn what_an_agent_stashed_or_committed_elsewhere_is_saved_and_comes_back() {
    let f = with_hidden_work();
    let all = saved(&f);
    assert_eq!(all.len(), 2, "{all:?}");
    for one in &all {
        assert_eq!(one["task"], "1");
        assert_eq!(one["of"], "commits");
        let commit = one["commit"].as_str().expect("a commit");
        f.git(["cat-file", "-e", commit]);
    }
    let side = all
        .iter()
        .find(|one| {
            let shown = f.orch(["salvage", "show", id(one)]).exits(0);
            shown.stdout.contains("side.txt")
        })
        .expect("the branch");
    f.orch(["salvage", "show", &id(side)[..4], "--patch"])
        .exits(0)
        .says("+s")
        .says("Side");
    f.orch(["salvage", "restore", id(side)])
        .exits(0)
        .says("git cherry-pick");
    let branch = format!("salvage/{}", id(side));
    assert_eq!(f.git(["show", &format!("{branch}:side.txt")]), "s\n");
    f.orch(["salvage", "restore", id(side)])
        .exits(1)
        .says("stays where it is");
    let dir = f.root().join("found");
    let to = dir.to_str().expect("UTF-8");
    f.orch(["salvage", "restore", id(side), "--to", to])
        .exits(0);
    assert!(dir.join("side.txt").is_file());
    f.orch(["salvage", "restore", id(side), "--to", to])
        .exits(1)
        .says("not empty");
    f.orch(["salvage", "show", "0000000"]).exits(1);
    f.orch(["salvage", "show", "0"]).exits(2);
    assert_eq!(f.git(["branch", "--show-current"]), "main\n");
    f.assert_tidy();
}

#[test]
fn saved_work_that_lost_its_ref_is_found_by_the_audit() {
    let f = with_hidden_work();
    f.orch(["audit"]).exits(0).says("2 saved");
    let refs = f.git(["for-each-ref", "--format=%(refname)", "refs/orch/salvage"]);
    f.git(["update-ref", "-d", refs.lines().next().expect("a ref")]);
    f.orch(["audit"]).exits(1).says("salvage");
}

#[test]
fn what_a_person_left_in_a_slot_is_saved_by_the_next_run() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    f.orch(["run"]).exits(0);
    std::fs::write(slot(&f).join("README.md"), "looked around\n").expect("a file");
    f.write("other.yaml", &plan(&[("1", "run: echo o > o.txt")]));
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Another plan"]);
    f.orch(["run", "--plan", "other.yaml"]).exits(0);
    let all = saved(&f);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["of"], "files");
    let commit = all[0]["commit"].as_str().expect("a commit");
    assert_eq!(
        f.git(["show", &format!("{commit}:README.md")]),
        "looked around\n"
    );
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn what_a_set_up_had_changed_when_orch_died_is_saved_before_it_runs_again() {
    let f = Fixture::with_plan(&plan(&[("1", "max_attempts: 1\nrun: echo a > a.txt")]));
    let setup = format!(
        "[ -e $GATE/again ] || echo changed >> README.md; touch $GATE/up; {}",
        waits("again")
    );
    f.write("orch.yaml", &format!("setup:\n  run:\n    - '{setup}'\n"));
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    let next = f.live(["run"]);
    f.await_that("what was saved", || (salvage_refs(&f) == 1).then_some(()));
    f.open("again");
    next.ended().exits(0).says("orch salvage show");
    let all = saved(&f);
    assert_eq!(all.len(), 1, "{all:?}");
    f.orch(["salvage", "show", id(&all[0]), "--patch"])
        .exits(0)
        .says("+changed");
    assert_eq!(f.read("README.md"), "# scratch\n");
    assert_eq!(f.count("attempt_started", "1"), 1);
    f.assert_tidy();
}

#[test]
fn a_slot_whose_commits_cannot_be_read_is_kept_whole_and_the_run_goes_on() {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "run: 'echo a > a.txt; d=$(git rev-parse --git-common-dir)/objects/00; mkdir -p $d; echo broken > $d/00000000000000000000000000000000000000'",
        ),
        ("2", "run: echo b > b.txt"),
    ]));
    f.orch(["run"]).exits(0).says("kept whole in");
    let slots = slot(&f);
    let slots = slots.ancestors().nth(2).expect("slots");
    let aside: Vec<_> = std::fs::read_dir(slots)
        .expect("slots")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name.starts_with("aside-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(f.subjects("main")[0], "2: Task 2");
    f.assert_tidy();
}

//! The branch a run lands on.

use orch::git::target::{Origin, TargetError, live_branch, named_branch, prepare_run_branch};

use crate::repo::{Repo, branch, run};

#[test]
fn a_run_branch_is_made_at_head_continued_and_moved_up() {
    let repo = Repo::new();
    let (name, start) = (branch("orch/p"), repo.head());
    let prepare = || prepare_run_branch(&repo.found, &name, &repo.head()).unwrap();
    let made = prepare();
    assert_eq!((made.tip, made.origin), (start.clone(), Origin::Created));

    let landed = repo.commit_on(&start, &[("x", Some("x"))]);
    repo.git(&["update-ref", name.as_str(), landed.as_str()]);
    let continued = prepare();
    assert_eq!(
        (continued.tip, continued.origin),
        (landed.clone(), Origin::Continued)
    );

    repo.git(&["merge", "-q", "--ff-only", "orch/p"]);
    repo.write("b", "more\n");
    let head = repo.commit_all("mine");
    let moved = prepare();
    assert_eq!(
        (moved.tip, moved.origin),
        (head.clone(), Origin::MovedUp { from: landed })
    );
    assert_eq!(repo.id(name.as_str()), head);
}

#[test]
fn a_diverged_run_branch_is_refused_with_the_ways_out() {
    let repo = Repo::new();
    let name = branch("orch/p");
    let other = repo.commit_on(&repo.head(), &[("x", Some("x"))]);
    repo.git(&["update-ref", name.as_str(), other.as_str()]);
    repo.write("b", "mine\n");
    let head = repo.commit_all("mine");
    let error = prepare_run_branch(&repo.found, &name, &head).unwrap_err();
    assert!(matches!(error, TargetError::Diverged { .. }), "{error}");
    let hints = error.hints().join("\n");
    for way in [
        "git merge orch/p",
        "git switch orch/p",
        "git branch -m orch/p orch/p-old",
    ] {
        assert!(hints.contains(way), "{hints}");
    }
    assert_eq!(repo.id(name.as_str()), other);
}

#[test]
fn a_branch_in_the_way_of_the_run_branch_is_named() {
    let repo = Repo::new();
    repo.git(&["branch", "orch"]);
    let error = prepare_run_branch(&repo.found, &branch("orch/p"), &repo.head()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the branch `orch/p` cannot exist beside the branch `orch`"
    );

    repo.git(&["branch", "x/p/q"]);
    let error = prepare_run_branch(&repo.found, &branch("x/p"), &repo.head()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the branch `x/p` cannot exist beside the branch `x/p/q`"
    );
}

#[test]
fn a_run_branch_checked_out_elsewhere_is_moved_up_with_its_files() {
    let repo = Repo::new();
    let elsewhere = repo.beside("elsewhere");
    repo.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "orch/p",
        elsewhere.to_str().unwrap(),
    ]);
    repo.write("b", "more\n");
    let head = repo.commit_all("mine");
    prepare_run_branch(&repo.found, &branch("orch/p"), &head).unwrap();
    assert_eq!(run(&elsewhere, &["status", "--porcelain"]), "");
    assert_eq!(
        std::fs::read_to_string(elsewhere.join("b")).unwrap(),
        "more\n"
    );

    repo.write("b", "again\n");
    let head = repo.commit_all("again");
    crate::repo::write(&elsewhere.join("b"), "edited\n");
    let error = prepare_run_branch(&repo.found, &branch("orch/p"), &head).unwrap_err();
    assert!(matches!(error, TargetError::NotReady { .. }) && !error.hints().is_empty());
}

#[test]
fn a_branch_by_name_must_exist_and_be_a_plain_branch() {
    let repo = Repo::new();
    repo.git(&["branch", "release/1.0"]);
    repo.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    for name in ["release/1.0", "refs/heads/release/1.0"] {
        let target = named_branch(&repo.found, name).unwrap();
        assert_eq!(
            (target.name, target.tip),
            (branch("release/1.0"), repo.head())
        );
    }
    let error = |name| named_branch(&repo.found, name).unwrap_err();
    assert!(matches!(error("nosuch"), TargetError::NoSuchBranch(_)));
    for name in ["-x", "a..b", "HEAD", "a b"] {
        assert!(matches!(error(name), TargetError::InvalidName(_)), "{name}");
    }
    assert!(
        error("alias")
            .to_string()
            .contains("symbolic ref to `refs/heads/main`")
    );
}

#[test]
fn the_live_branch_is_the_one_checked_out_and_a_detached_head_has_none() {
    let repo = Repo::new();
    repo.git(&["switch", "-q", "-c", "größe/x"]);
    assert_eq!(live_branch(&repo.found).unwrap().name, branch("größe/x"));
    repo.git(&["switch", "-q", "--detach"]);
    let error = live_branch(&repo.found).unwrap_err();
    assert!(matches!(error, TargetError::DetachedHead(_)));
    assert_eq!(error.hints(), ["`git switch -c NAME` makes a branch here"]);
}

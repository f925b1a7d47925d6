//! Landing on a target, free or checked out.

use std::path::Path;

use orch::git::land::{
    LandError, LandOrder, Landed, PlanCopy, Recovery, Refusal, land, recover_checkouts,
};
use orch::git::program::Git;
use orch::git::repository::Repository;
use orch::ids::ObjectId;

use crate::repo::{Repo, branch, run, task, try_run, write, write_script};

/// A landing of `commit` onto `onto` on the given branch.
struct Try<'a> {
    target: &'a str,
    commit: &'a ObjectId,
    onto: &'a ObjectId,
    last_landed: Option<&'a ObjectId>,
    plan: Option<&'a PlanCopy>,
}

impl<'a> Try<'a> {
    fn new(target: &'a str, commit: &'a ObjectId, onto: &'a ObjectId) -> Self {
        Self {
            target,
            commit,
            onto,
            last_landed: None,
            plan: None,
        }
    }

    fn on(&self, repo: &Repository) -> Landed {
        self.tried(repo).unwrap()
    }

    fn tried(&self, repo: &Repository) -> Result<Landed, LandError> {
        let order = LandOrder {
            target: &branch(self.target),
            commit: self.commit,
            onto: self.onto,
            last_landed: self.last_landed,
            task: &task("1.1"),
            plan: self.plan,
        };
        land(repo, &order)
    }
}

/// The files kept in the only checkout that was brought along.
fn kept(landed: Landed) -> Vec<String> {
    match landed {
        Landed::Done { checkouts } => {
            let mut checkouts = checkouts.into_iter();
            let kept = checkouts.next().unwrap().kept.unwrap();
            assert!(checkouts.next().is_none());
            kept
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(landed: Landed) -> Refusal {
    match landed {
        Landed::NotReady(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn is_done(landed: &Landed) -> bool {
    matches!(landed, Landed::Done { .. })
}

#[test]
fn a_landing_moves_the_ref_once_and_says_so_in_its_reflog() {
    let repo = Repo::new();
    let onto = repo.head();
    repo.git(&["branch", "orch/p"]);
    repo.git(&["pack-refs", "--all"]);
    let commit = repo.commit_on(&onto, &[("x", Some("x"))]);
    let attempt = Try::new("orch/p", &commit, &onto);
    assert!(is_done(&attempt.on(&repo.found)));
    assert!(
        is_done(&attempt.on(&repo.found)),
        "doing it again changes nothing"
    );
    assert_eq!(repo.id("orch/p"), commit);
    let log = repo.git(&["reflog", "--format=%gs", "orch/p"]);
    assert_eq!(
        log.lines().filter(|line| *line == "orch: land 1.1").count(),
        1,
        "{log}"
    );
    repo.assert_clean_at(&onto);
}

#[test]
fn a_target_that_moved_on_is_told_from_one_that_was_rewritten() {
    let repo = Repo::new();
    let start = repo.head();
    let landed = repo.commit_on(&start, &[("x", Some("x"))]);
    let commit = repo.commit_on(&landed, &[("y", Some("y"))]);
    let theirs = repo.commit_on(&landed, &[("z", Some("z"))]);
    let rewritten = repo.commit_on(&start, &[("z", Some("z"))]);
    let attempt = |last_landed| Try {
        last_landed,
        ..Try::new("orch/p", &commit, &landed)
    };
    let stands_at =
        |id: &ObjectId| drop(repo.git(&["update-ref", "refs/heads/orch/p", id.as_str()]));

    stands_at(&theirs);
    let outcome = attempt(Some(&landed)).on(&repo.found);
    assert!(
        matches!(&outcome, Landed::TipMoved { found } if *found == theirs),
        "{outcome:?}"
    );
    stands_at(&rewritten);
    let outcome = attempt(Some(&landed)).on(&repo.found);
    assert!(matches!(&outcome, Landed::Rewritten { found } if *found == Some(rewritten.clone())));
    let outcome = attempt(None).on(&repo.found);
    assert!(
        matches!(&outcome, Landed::TipMoved { found } if *found == rewritten),
        "{outcome:?}"
    );
    repo.git(&["update-ref", "-d", "refs/heads/orch/p"]);
    let outcome = attempt(Some(&landed)).on(&repo.found);
    assert!(
        matches!(outcome, Landed::Rewritten { found: None }),
        "{outcome:?}"
    );
    stands_at(&repo.commit_on(&commit, &[("more", Some(""))]));
    assert!(
        is_done(&attempt(Some(&landed)).on(&repo.found)),
        "it was landed before"
    );
}

#[test]
fn a_symbolic_target_is_refused_by_name() {
    let repo = Repo::new();
    repo.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    let commit = repo.commit_on(&repo.head(), &[("x", Some("x"))]);
    let onto = repo.head();
    let tried = Try::new("alias", &commit, &onto).tried(&repo.found);
    let error = tried.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("symbolic ref to `refs/heads/main`"),
        "{error}"
    );
}

#[test]
fn a_ref_locked_by_another_process_is_named_and_stays_locked() {
    let repo = Repo::new();
    let lock = repo.found.git_dir().join("refs/heads/main.lock");
    write(&lock, "");
    let commit = repo.commit_on(&repo.head(), &[("x", Some("x"))]);
    let onto = repo.head();
    let tried = Try::new("main", &commit, &onto).tried(&repo.found);
    let error = tried.unwrap_err();
    assert!(
        error.to_string().contains("refs/heads/main.lock"),
        "{error}"
    );
    assert!(lock.exists());
    repo.assert_clean_at(&onto);
}

#[test]
fn a_checked_out_target_takes_its_files_along_and_leaves_other_changes_alone() {
    let repo = Repo::new();
    repo.write("staged", "s\n");
    repo.git(&["add", "staged"]);
    repo.write("b", "edited\n");
    repo.write("untracked", "u\n");
    let before = repo.status();
    let onto = repo.head();
    let commit = repo.commit_on(
        &onto,
        &[("a", Some("landed\n")), ("d/c", None), ("e/f", Some("f\n"))],
    );
    assert!(kept(Try::new("main", &commit, &onto).on(&repo.found)).is_empty());
    assert_eq!(repo.head(), commit);
    assert_eq!(
        (repo.read("a"), repo.read("e/f")),
        ("landed\n".to_owned(), "f\n".to_owned())
    );
    assert!(!repo.path.join("d").exists());
    assert_eq!(repo.status(), before);
    repo.assert_nothing_left();
    assert_eq!(
        repo.git(&["log", "-1", "-g", "--format=%gs", "HEAD"]),
        "orch: land 1.1"
    );
}

#[test]
fn every_worktree_with_the_target_counts_and_all_or_none_is_brought_along() {
    let repo = Repo::new();
    let (one, two) = (repo.beside("one"), repo.beside("two words"));
    repo.git(&["worktree", "add", "-q", "-b", "t", one.to_str().unwrap()]);
    repo.git(&["worktree", "add", "-q", "-f", two.to_str().unwrap(), "t"]);
    let onto = repo.head();
    let commit = repo.commit_on(&onto, &[("a", Some("landed\n"))]);
    write(&two.join("a"), "edited\n");
    let refused = refusal(Try::new("t", &commit, &onto).on(&repo.found));
    let dirty = Refusal::Dirty {
        worktree: two.clone(),
        files: vec!["a".to_owned()],
    };
    assert_eq!(refused, dirty);
    assert_eq!(
        (repo.id("t"), run(&one, &["status", "--porcelain"])),
        (onto.clone(), String::new())
    );
    run(&two, &["checkout", "a"]);
    let Landed::Done { checkouts } = Try::new("t", &commit, &onto).on(&repo.found) else {
        panic!("nothing is in the way");
    };
    assert_eq!(checkouts.len(), 2);
    for worktree in [&one, &two] {
        assert_eq!(run(worktree, &["status", "--porcelain"]), "");
        assert_eq!(
            std::fs::read_to_string(worktree.join("a")).unwrap(),
            "landed\n"
        );
    }
    repo.assert_clean_at(&onto);
}

/// Tries to land a change of `a`, a new `n/new` and a new `.env`, and expects a refusal that touches nothing.
fn refused_after(prepare: impl FnOnce(&Repo)) -> Refusal {
    let repo = Repo::new();
    repo.write(".gitignore", ".env\nignored\n");
    let onto = repo.commit_all("ignore");
    let files = [
        ("a", Some("landed\n")),
        ("n/new", Some("n\n")),
        (".env", Some("e\n")),
    ];
    let commit = repo.commit_on(&onto, &files);
    prepare(&repo);
    let state = || {
        let index = std::fs::read(repo.found.git_dir().join("index")).unwrap();
        (
            index,
            repo.git(&["status", "--porcelain", "--ignored"]),
            repo.head(),
        )
    };
    repo.git(&["status"]);
    let before = state();
    let refused = refusal(Try::new("main", &commit, &onto).on(&repo.found));
    assert!(state() == before, "something was touched");
    assert!(!repo.found.git_dir().join("orch-landing").exists());
    refused
}

fn dirty(refusal: Refusal) -> Vec<String> {
    match refusal {
        Refusal::Dirty { files, .. } => files,
        other => panic!("{other:?}"),
    }
}

#[test]
fn uncommitted_work_in_the_way_of_a_landing_is_named_and_kept() {
    let edited = |repo: &Repo| repo.write("a", "edited\n");
    let staged = |repo: &Repo| {
        repo.write("a", "staged\n");
        repo.git(&["add", "a"]);
        repo.write("a", "1\n2\n3\n");
    };
    let removed = |repo: &Repo| std::fs::remove_file(repo.path.join("a")).unwrap();
    let hidden = |repo: &Repo| {
        repo.git(&["update-index", "--skip-worktree", "a"]);
        repo.write("a", "hidden\n");
    };
    assert_eq!(dirty(refused_after(edited)), ["a"]);
    assert_eq!(dirty(refused_after(staged)), ["a"]);
    assert_eq!(dirty(refused_after(removed)), ["a"]);
    assert!(matches!(
        refused_after(hidden),
        Refusal::Dirty { .. } | Refusal::Git { .. }
    ));
    assert_eq!(
        dirty(refused_after(|repo| repo.write("n/new", "mine\n"))),
        ["n/new"]
    );
    assert_eq!(
        dirty(refused_after(|repo| repo.write("n", "mine\n"))),
        ["n"]
    );
    assert_eq!(
        dirty(refused_after(|repo| repo.write(".env", "KEY\n"))),
        [".env"]
    );
    assert_eq!(
        dirty(refused_after(|repo| repo.write("n/new/ignored", "mine\n"))),
        ["n/new/ignored"]
    );
}

#[test]
fn a_person_in_the_middle_of_something_is_not_disturbed() {
    let merging = refused_after(|repo| {
        let theirs = repo.commit_on(&repo.head(), &[("b", Some("theirs\n"))]);
        repo.git(&["merge", "-q", "--no-commit", "--no-ff", theirs.as_str()]);
    });
    assert!(
        matches!(merging, Refusal::Underway { what: "merge", .. }),
        "{merging}"
    );
    let rebasing = refused_after(|repo| {
        let other = repo.commit_on(&repo.head(), &[("b", Some("theirs\n"))]);
        repo.git(&["update-ref", "refs/heads/other", other.as_str()]);
        let stopped = try_run(
            &repo.path,
            &["rebase", "-q", "--exec", "false", "--no-ff", "HEAD~1"],
        );
        assert!(!stopped.status.success());
    });
    assert!(
        matches!(rebasing, Refusal::Underway { what: "rebase", .. }),
        "{rebasing}"
    );
}

#[test]
fn a_lock_that_is_not_ours_is_respected_and_named() {
    let refused = refused_after(|repo| write(&repo.found.git_dir().join("index.lock"), "someone"));
    assert!(refused.to_string().contains("index.lock"), "{refused}");
    assert!(refused.hints()[0].contains("index.lock"));
}

#[test]
fn nobody_can_commit_while_a_landing_is_under_way() {
    let repo = Repo::new();
    // The filter runs while git writes the file, in the midst of the update.
    let script = repo.beside("smudge");
    let said = repo.beside("said");
    write_script(
        &script,
        &format!(
            "cat; unset GIT_INDEX_FILE; git commit --allow-empty -m intruder >'{0}' 2>&1 || echo failed >>'{0}'",
            said.display()
        ),
    );
    repo.git(&["config", "filter.probe.smudge", script.to_str().unwrap()]);
    repo.write(".gitattributes", "*.probe filter=probe\n");
    let onto = repo.commit_all("attributes");
    let commit = repo.commit_on(&onto, &[("x.probe", Some("x\n"))]);
    assert!(kept(Try::new("main", &commit, &onto).on(&repo.found)).is_empty());
    let said = std::fs::read_to_string(&said).unwrap();
    assert!(
        said.contains("index.lock") && said.ends_with("failed\n"),
        "{said}"
    );
    repo.assert_clean_at(&commit);
}

/// A repository whose plan is tracked, and a landing that settles a task in it.
fn with_plan() -> (Repo, ObjectId, ObjectId) {
    let repo = Repo::new();
    repo.write("plan.yaml", "status: pending\n# end\n");
    let onto = repo.commit_all("plan");
    let files = [
        ("plan.yaml", Some("status: completed\n# end\n")),
        ("a", Some("landed\n")),
    ];
    let commit = repo.commit_on(&onto, &files);
    (repo, onto, commit)
}

fn copy(repo: &Repo, expected: &str, new: &str) -> PlanCopy {
    PlanCopy {
        worktree: repo.path.clone(),
        path: "plan.yaml".into(),
        expected: expected.into(),
        new: new.into(),
    }
}

#[test]
fn a_person_s_edit_of_the_plan_is_kept_with_the_landed_fields_in_it() {
    let (repo, onto, commit) = with_plan();
    for staged in [false, true] {
        repo.git(&["update-ref", "refs/heads/main", onto.as_str()]);
        repo.git(&["reset", "-q", "--hard"]);
        repo.write("plan.yaml", "status: pending\n# my note\n# end\n");
        if staged {
            repo.git(&["add", "plan.yaml"]);
        }
        let plan = copy(
            &repo,
            "status: pending\n# my note\n# end\n",
            "status: completed\n# my note\n# end\n",
        );
        let attempt = Try {
            plan: Some(&plan),
            ..Try::new("main", &commit, &onto)
        };
        assert!(kept(attempt.on(&repo.found)).is_empty());
        assert_eq!(
            repo.read("plan.yaml"),
            "status: completed\n# my note\n# end\n"
        );
        assert_eq!(repo.status(), " M plan.yaml");
        assert_eq!(
            repo.git(&["show", ":plan.yaml"]),
            "status: completed\n# end"
        );
        repo.assert_nothing_left();
    }
}

#[test]
fn an_untouched_plan_is_checked_out_like_any_file() {
    let (repo, onto, commit) = with_plan();
    let same = copy(
        &repo,
        "status: pending\n# end\n",
        "status: completed\n# end\n",
    );
    let attempt = Try {
        plan: Some(&same),
        ..Try::new("main", &commit, &onto)
    };
    assert!(kept(attempt.on(&repo.found)).is_empty());
    repo.assert_clean_at(&commit);
}

#[test]
fn a_plan_that_changed_since_it_was_read_is_not_written() {
    let (repo, onto, commit) = with_plan();
    repo.write("plan.yaml", "newer edit\n");
    let stale = copy(&repo, "older edit\n", "older edit, completed\n");
    let attempt = Try {
        plan: Some(&stale),
        ..Try::new("main", &commit, &onto)
    };
    let refused = refusal(attempt.on(&repo.found));
    assert_eq!(refused, Refusal::PlanChanged(repo.path.join("plan.yaml")));
    repo.write("plan.yaml", "staged alone\n");
    repo.git(&["add", "plan.yaml"]);
    repo.write("plan.yaml", "older edit\n");
    assert_eq!(dirty(refusal(attempt.on(&repo.found))), ["plan.yaml"]);
    assert_eq!(
        (repo.read("plan.yaml"), repo.head()),
        ("older edit\n".to_owned(), onto)
    );
}

#[test]
fn a_missing_worktree_is_passed_over_unless_it_is_locked_to_be_kept() {
    let repo = Repo::new();
    let gone = repo.beside("gone");
    repo.git(&["worktree", "add", "-q", "-b", "t", gone.to_str().unwrap()]);
    std::fs::remove_dir_all(&gone).unwrap();
    let onto = repo.head();
    let commit = repo.commit_on(&onto, &[("a", Some("landed\n"))]);
    repo.git(&["worktree", "lock", gone.to_str().unwrap()]);
    assert_eq!(
        refusal(Try::new("t", &commit, &onto).on(&repo.found)),
        Refusal::Away(gone.clone())
    );
    repo.git(&["worktree", "unlock", gone.to_str().unwrap()]);
    assert!(is_done(&Try::new("t", &commit, &onto).on(&repo.found)));
    assert_eq!(repo.id("t"), commit);
}

/// Names the repository, the commit and its parent for [`land_and_be_killed`].
const VICTIM: &str = "ORCH_TEST_VICTIM";

#[test]
#[ignore = "is run, and killed, by the test below"]
fn land_and_be_killed() {
    let Ok(order) = std::env::var(VICTIM) else {
        return;
    };
    let [path, commit, onto] = order.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let repo = Repository::discover(&Git::find().unwrap(), Path::new(path)).unwrap();
    std::fs::write(
        repo.git_dir().join("victim"),
        std::process::id().to_string(),
    )
    .unwrap();
    Try::new("main", &ObjectId::new(commit), &ObjectId::new(onto)).on(&repo);
}

#[test]
fn a_landing_killed_between_two_files_is_ended_by_the_next_orch() {
    let repo = Repo::new();
    let script = repo.beside("smudge");
    write_script(&script, "cat; kill -9 \"$(cat \"$GIT_DIR/victim\")\"");
    repo.git(&["config", "filter.kill.smudge", script.to_str().unwrap()]);
    repo.write(".gitattributes", "*.kill filter=kill\n");
    let onto = repo.commit_all("attributes");
    let files = [
        ("a", Some("landed\n")),
        ("b.kill", Some("b\n")),
        ("c", Some("c\n")),
    ];
    let commit = repo.commit_on(&onto, &files);
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "landing::land_and_be_killed", "--ignored"])
        .env(VICTIM, format!("{}\n{commit}\n{onto}", repo.path.display()))
        .status()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    let blocked = try_run(&repo.path, &["commit", "--allow-empty", "-m", "inverse"]);
    assert!(!blocked.status.success(), "the lock stays");
    repo.git(&["config", "--unset", "filter.kill.smudge"]);
    let recovered = recover_checkouts(&repo.found).unwrap();
    let [one] = &recovered[..] else {
        panic!("{recovered:?}");
    };
    assert_eq!(one.how, Recovery::Finished { kept: Vec::new() });
    repo.assert_clean_at(&commit);
}

#[test]
fn recovery_finds_nothing_where_nothing_was_left() {
    let repo = Repo::new();
    let onto = repo.head();
    let commit = repo.commit_on(&onto, &[("a", Some("landed\n"))]);
    kept(Try::new("main", &commit, &onto).on(&repo.found));
    assert_eq!(recover_checkouts(&repo.found).unwrap(), []);
}

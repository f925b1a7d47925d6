//! The end of a run brought to the person's branch and checkout.

use std::os::unix::fs::{PermissionsExt, symlink};

use orch::git::publish::{PublishOrder, Published, Unpublished, publish};
use orch::ids::ObjectId;

use crate::repo::{Repo, branch, run};

fn publish_main(repo: &Repo, from: &ObjectId, to: &ObjectId) -> Published {
    let order = PublishOrder {
        branch: &branch("main"),
        from,
        source: &branch("orch/p"),
        to,
        plan: None,
    };
    publish(&repo.found, &order).unwrap()
}

fn assert_published(published: &Published) {
    let Published::Done { checkouts } = published else {
        panic!("{published:?}");
    };
    assert!(
        checkouts
            .iter()
            .all(|brought| brought.kept.as_ref().is_ok_and(Vec::is_empty))
    );
}

fn refused(published: Published) -> (Unpublished, String) {
    match published {
        Published::Refused { why, command } => (why, command),
        other => panic!("{other:?}"),
    }
}

/// Commits what `change` does in a second worktree, where git itself makes links, modes and odd names.
fn commit_elsewhere(repo: &Repo, change: impl FnOnce(&std::path::Path)) -> ObjectId {
    let elsewhere = repo.beside("elsewhere");
    repo.git(&[
        "worktree",
        "add",
        "-q",
        "--detach",
        elsewhere.to_str().unwrap(),
    ]);
    change(&elsewhere);
    run(&elsewhere, &["add", "-A"]);
    run(&elsewhere, &["commit", "-q", "-m", "elsewhere"]);
    ObjectId::new(run(&elsewhere, &["rev-parse", "HEAD"]))
}

#[test]
fn a_clean_checkout_is_brought_to_the_runs_end_whatever_it_holds() {
    let repo = Repo::new();
    repo.write("link-to-file", "a file\n");
    repo.write("file-to-directory", "f\n");
    repo.write("directory-to-file/x", "x\n");
    repo.write("script", "#!/bin/sh\n");
    let from = repo.commit_all("more");
    let to = commit_elsewhere(&repo, |at| {
        let path = |name: &str| at.join(name);
        std::fs::remove_file(path("link-to-file")).unwrap();
        symlink("a", path("link-to-file")).unwrap();
        std::fs::remove_file(path("file-to-directory")).unwrap();
        crate::repo::write(&path("file-to-directory/x/y"), "y\n");
        std::fs::remove_dir_all(path("directory-to-file")).unwrap();
        crate::repo::write(&path("directory-to-file"), "f\n");
        std::fs::set_permissions(path("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
        crate::repo::write(&path("new\nline \"quoted\" größe -x"), "odd\n");
        std::fs::rename(path("b"), path("d/b")).unwrap();
    });
    assert_published(&publish_main(&repo, &from, &to));
    repo.assert_clean_at(&to);
    assert!(repo.path.join("link-to-file").is_symlink());
    assert_eq!(repo.read("new\nline \"quoted\" größe -x"), "odd\n");
    assert!(matches!(
        publish_main(&repo, &from, &to),
        Published::NothingToDo
    ));
}

#[test]
fn hooks_are_not_run() {
    let repo = Repo::new();
    let ran = repo.beside("ran");
    for hook in [
        "post-checkout",
        "post-merge",
        "post-index-change",
        "reference-transaction",
    ] {
        let script = format!("echo {hook} >>'{}'", ran.display());
        crate::repo::write_script(&repo.found.git_dir().join("hooks").join(hook), &script);
    }
    let from = repo.head();
    let to = repo.commit_on(&from, &[("a", Some("new\n"))]);
    std::fs::remove_file(&ran).ok();
    let order = PublishOrder {
        branch: &branch("main"),
        from: &from,
        source: &branch("orch/p"),
        to: &to,
        plan: None,
    };
    assert_published(&publish(&repo.found, &order).unwrap());
    assert!(!ran.exists(), "{}", std::fs::read_to_string(&ran).unwrap());
}

#[test]
fn what_cannot_be_published_is_left_with_the_one_command() {
    let repo = Repo::new();
    let from = repo.head();
    let to = repo.commit_on(&from, &[("a", Some("new\n"))]);

    repo.write("a", "edited\n");
    let (why, command) = refused(publish_main(&repo, &from, &to));
    assert!(matches!(why, Unpublished::Checkout(_)), "{why}");
    assert_eq!(command, "git merge --ff-only orch/p");
    repo.git(&["checkout", "-q", "a"]);

    repo.git(&["switch", "-q", "-c", "other"]);
    let (why, command) = refused(publish_main(&repo, &from, &to));
    assert_eq!(why, Unpublished::NotCheckedOut(branch("main")));
    assert_eq!(command, "git switch main && git merge --ff-only orch/p");
    repo.git(&["switch", "-q", "main"]);

    repo.write("b", "mine\n");
    let mine = repo.commit_all("mine");
    let (why, command) = refused(publish_main(&repo, &from, &to));
    assert_eq!(why, Unpublished::Moved(branch("main")));
    assert_eq!(command, "git switch main && git merge orch/p");
    repo.assert_clean_at(&mine);
}

#[test]
fn line_ends_and_filters_of_the_user_hold_in_what_is_checked_out() {
    let repo = Repo::new();
    repo.git(&["config", "filter.upper.smudge", "tr a-z A-Z"]);
    repo.git(&["config", "filter.upper.clean", "tr A-Z a-z"]);
    repo.write(".gitattributes", "*.bat text eol=crlf\n*.up filter=upper\n");
    let from = repo.commit_all("attributes");
    let to = repo.commit_on(&from, &[("x.bat", Some("1\n2\n")), ("x.up", Some("abc\n"))]);
    assert_published(&publish_main(&repo, &from, &to));
    assert_eq!(
        (repo.read("x.bat"), repo.read("x.up")),
        ("1\r\n2\r\n".to_owned(), "ABC\n".to_owned())
    );
    repo.assert_clean_at(&to);
}

#[test]
fn a_sparse_checkout_stays_sparse() {
    let repo = Repo::new();
    repo.git(&["sparse-checkout", "set", "--no-cone", "/a", "/in/"]);
    let from = repo.head();
    let files = [
        ("d/c", Some("changed\n")),
        ("out/new", Some("o\n")),
        ("in/new", Some("i\n")),
        ("b", None),
    ];
    let to = repo.commit_on(&from, &files);
    assert_published(&publish_main(&repo, &from, &to));
    assert!(repo.path.join("in/new").exists());
    assert!(!repo.path.join("d").exists() && !repo.path.join("out").exists());
    repo.assert_clean_at(&to);
}

#[test]
fn a_submodule_moves_in_the_index_as_a_merge_by_hand_would() {
    let repo = Repo::new();
    let from = repo.head();
    let inner = from.as_str();
    let to = commit_elsewhere(&repo, |at| {
        run(
            at,
            &[
                "update-index",
                "--add",
                "--cacheinfo",
                &format!("160000,{inner},sub"),
            ],
        );
        std::fs::create_dir(at.join("sub")).unwrap();
    });
    assert!(repo.files_of(&to).contains_key("sub"));
    assert_published(&publish_main(&repo, &from, &to));
    repo.assert_clean_at(&to);
}

#[test]
fn a_linked_worktree_is_published_to_like_the_main_one() {
    let repo = Repo::new();
    let linked = repo.beside("linked");
    repo.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "feature/x",
        linked.to_str().unwrap(),
    ]);
    let from = repo.head();
    let to = repo.commit_on(&from, &[("a", Some("new\n"))]);
    let order = PublishOrder {
        branch: &branch("feature/x"),
        from: &from,
        source: &branch("orch/p"),
        to: &to,
        plan: None,
    };
    assert_published(&publish(&repo.seen_from(&linked), &order).unwrap());
    assert_eq!(
        run(&linked, &["status", "--porcelain", "--branch"]),
        "## feature/x"
    );
    assert_eq!(std::fs::read_to_string(linked.join("a")).unwrap(), "new\n");
    repo.assert_clean_at(&from);
}

//! What an agent does in its slot reaches nothing of the user's, and nothing of the next attempt's.

use std::fs;
use std::os::unix::fs::symlink;

use crate::scene::{Scene, read, write};

#[test]
fn an_agent_finds_an_ordinary_repository_with_a_detached_head_at_the_base() {
    let scene = Scene::new();
    scene.git(&["tag", "v1"]);
    scene.git(&["tag", "-a", "-m", "two", "v2"]);
    let slot = scene.prepared();
    let agent = |args: &[&str]| scene.git_in(&slot.tree(), args);
    assert_eq!(agent(&["rev-parse", "HEAD"]), scene.tip().as_str());
    assert_eq!(agent(&["rev-parse", "--abbrev-ref", "HEAD"]), "HEAD");
    write(&slot.tree().join(".orch/plan.yaml"), "for the agent");
    assert_eq!(agent(&["status", "--porcelain"]), "");
    assert_eq!(agent(&["log", "-1", "--format=%s", "main"]), "Start");
    assert_eq!(agent(&["tag"]), "v1\nv2");
    assert_eq!(agent(&["cat-file", "-t", "v2"]), "tag");
    assert_eq!(agent(&["remote"]), "");
    assert_eq!(agent(&["fsck", "--connectivity-only"]), "");
    let opened = git2::Repository::open(slot.tree()).expect("libgit2 opens it");
    assert!(opened.is_worktree() && !opened.is_bare());
}

#[test]
fn whatever_an_agent_does_with_git_the_users_refs_and_settings_stay() {
    let scene = Scene::new();
    scene.git(&["branch", "other"]);
    scene.git(&["remote", "add", "origin", "../elsewhere"]);
    let before = scene.private_state();
    let slot = scene.prepared();
    let agent = |args: &[&str]| scene.git_in(&slot.tree(), args);
    write(&slot.tree().join("a.txt"), "changed\n");
    agent(&["stash"]);
    write(&slot.tree().join("a.txt"), "changed again\n");
    agent(&["commit", "-qam", "mine"]);
    agent(&["update-ref", "refs/heads/main", "HEAD"]);
    agent(&["branch", "-D", "other"]);
    agent(&["branch", "made"]);
    agent(&["tag", "made"]);
    agent(&["config", "core.autocrlf", "true"]);
    agent(&["gc", "-q", "--prune=now"]);
    for push in [&["push"][..], &["push", "origin", "main"]] {
        assert!(scene.try_git_in(&slot.tree(), push).is_err(), "{push:?}");
    }
    assert_eq!(scene.private_state(), before);
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn nothing_in_the_private_git_directory_outlives_an_attempt() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let agent = |tree: &std::path::Path, args: &[&str]| scene.git_in(tree, args);
    let tree = slot.tree();
    write(&tree.join("a.txt"), "changed\n");
    agent(&tree, &["commit", "-qam", "mine"]);
    agent(&tree, &["switch", "-qc", "mine"]);
    agent(&tree, &["config", "alias.st", "status"]);
    write(&tree.join("a.txt"), "stashed\n");
    agent(&tree, &["stash"]);
    let git = agent(&tree, &["rev-parse", "--git-common-dir"]);
    let git = std::path::Path::new(&git);
    write(&git.join("info/exclude"), "*.rs\n");
    write(&git.join("hooks/pre-commit"), "#!/bin/sh\nfalse\n");
    write(&git.join("worktrees/tree/MERGE_HEAD"), "0\n");
    scene.prepare(&mut slot);
    assert_eq!(agent(&tree, &["branch", "--list", "mine"]), "");
    assert_eq!(agent(&tree, &["stash", "list"]), "");
    assert!(scene.try_git_in(&tree, &["config", "alias.st"]).is_err());
    assert_eq!(
        agent(&tree, &["status", "--short", "--branch"]),
        "## HEAD (no branch)"
    );
    assert_eq!(read(&slot, "a.txt"), "a\n");
    assert!(!git.join("hooks").exists());
}

#[test]
fn hooks_of_the_user_and_of_the_agent_never_run() {
    let scene = Scene::new();
    let trap = scene.path().join("ran");
    let hook = format!("#!/bin/sh\ntouch {}\n", trap.display());
    for name in [
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "pre-commit",
    ] {
        let path = scene.user().join(".git/hooks").join(name);
        write(&path, &hook);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("executable");
    }
    let mut slot = scene.prepared();
    write(&slot.tree().join("new.txt"), "new\n");
    scene.git_in(&slot.tree(), &["add", "new.txt"]);
    scene.git_in(&slot.tree(), &["commit", "-qm", "mine"]);
    scene.collect(&mut slot);
    scene.prepare(&mut slot);
    assert!(!trap.exists());
}

#[test]
fn a_users_settings_for_files_hold_for_the_agent_and_signing_does_not() {
    let scene = Scene::new();
    scene.git(&["config", "commit.gpgsign", "true"]);
    scene.git(&["config", "core.autocrlf", "input"]);
    scene.git(&["config", "filter.x y.clean", "sed 's/\"/\\\\/'"]);
    let slot = scene.prepared();
    let agent = |args: &[&str]| scene.git_in(&slot.tree(), args);
    assert_eq!(agent(&["config", "user.email"]), "ada@example.com");
    assert_eq!(agent(&["config", "core.autocrlf"]), "input");
    assert_eq!(agent(&["config", "filter.x y.clean"]), "sed 's/\"/\\\\/'");
    agent(&["commit", "-q", "--allow-empty", "-m", "unsigned"]);
    assert_eq!(agent(&["log", "-1", "--format=%an %G?"]), "Ada N");
}

#[test]
fn a_slot_that_an_agent_tore_down_is_built_again() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let tree = slot.tree();
    let home = tree.parent().expect("the slot's directory").to_owned();
    let outside = scene.path().join("outside");
    write(&outside.join("precious.txt"), "precious\n");
    let tearings: [&dyn Fn(); 6] = [
        &|| fs::remove_file(tree.join(".git")).expect("removed"),
        &|| {
            fs::remove_file(tree.join(".git")).expect("removed");
            scene.git_in(&tree, &["init", "-q"]);
        },
        &|| {
            fs::remove_dir_all(home.join("git")).expect("removed");
            symlink(&outside, home.join("git")).expect("linked");
        },
        &|| {
            fs::remove_dir_all(&tree).expect("removed");
            symlink(&outside, &tree).expect("linked");
        },
        &|| {
            fs::remove_dir_all(tree.join("src")).expect("removed");
            symlink(&outside, tree.join("src")).expect("linked");
        },
        &|| fs::remove_dir_all(&home).expect("removed"),
    ];
    for (number, tear) in tearings.iter().enumerate() {
        tear();
        scene.prepare(&mut slot);
        assert_eq!(read(&slot, "src/lib.txt"), "lib\n", "{number}");
        let status = scene.git_in(&tree, &["status", "--porcelain"]);
        assert_eq!(status, "", "{number}");
        assert_eq!(
            fs::read_dir(&outside).expect("there").count(),
            1,
            "{number}"
        );
    }
}

#[test]
fn a_directory_that_is_no_slot_is_not_touched() {
    let scene = Scene::new();
    let slot = scene.prepared();
    let home = slot
        .tree()
        .parent()
        .expect("the slot's directory")
        .to_owned();
    drop(slot);
    fs::remove_dir_all(home.join("orch")).expect("removed");
    let repo = scene.repository();
    let refused = orch::git::slot::Slot::open(&repo, &scene.slots_root(), orch::ids::SlotId(1));
    let error = refused.expect_err("not a slot any more").to_string();
    assert!(
        error.contains("is not a slot of this repository"),
        "{error}"
    );
    assert!(home.join("tree/a.txt").exists());
}

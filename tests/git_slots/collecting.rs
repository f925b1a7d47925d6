//! What is read from the files that an agent left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use orch::git::collect::{Change, ChangeKind, collect};
use orch::git::durable::is_missing;
use orch::git::left_out::{Limits, Reason, save};
use orch::git::slot::error::SlotError;

use crate::scene::{Scene, latin1_name, left_out, write};

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo runs").success());
}

#[test]
fn a_slot_that_nobody_touched_gives_the_tree_of_the_base() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let collected = scene.collect(&mut slot);
    let base = scene.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(collected.tree.as_str(), base);
    assert!(collected.changes.is_empty() && collected.left_out.is_empty());
}

#[test]
fn every_kind_of_change_is_told_apart() {
    let scene = Scene::new();
    scene.write("old.txt", "one\ntwo\nthree\nfour\n");
    scene.write("run.sh", "true\n");
    scene.write("link", "was a file\n");
    scene.write("gone.txt", "gone\n");
    scene.commit("More");
    let mut slot = scene.prepared();
    let tree = slot.tree();
    write(&tree.join("a.txt"), "changed\n");
    write(&tree.join("added.txt"), "added\n");
    fs::create_dir(tree.join("dir")).expect("created");
    fs::rename(tree.join("old.txt"), tree.join("dir/new.txt")).expect("moved");
    fs::set_permissions(tree.join("run.sh"), PermissionsExt::from_mode(0o755)).expect("set");
    fs::remove_file(tree.join("link")).expect("removed");
    symlink("a.txt", tree.join("link")).expect("linked");
    fs::remove_file(tree.join("gone.txt")).expect("removed");
    let collected = scene.collect(&mut slot);
    let from = PathBuf::from("old.txt");
    let expected = [
        ("a.txt", ChangeKind::Modified),
        ("added.txt", ChangeKind::Added),
        ("dir/new.txt", ChangeKind::Renamed { from }),
        ("gone.txt", ChangeKind::Deleted),
        ("link", ChangeKind::TypeChanged),
        ("run.sh", ChangeKind::Modified),
    ]
    .map(|(path, kind)| Change {
        path: path.into(),
        kind,
    });
    assert_eq!(collected.changes, expected);
    let modes = scene.git(&["ls-tree", collected.tree.as_str(), "link", "run.sh"]);
    assert!(
        modes.starts_with("120000 blob ") && modes.contains("\n100755 blob "),
        "{modes}"
    );
}

#[test]
fn files_count_and_not_what_the_agent_told_its_git() {
    let scene = Scene::new();
    scene.write("b.txt", "b\n");
    scene.commit("More");
    let mut slot = scene.prepared();
    let tree = slot.tree();
    let agent = |args: &[&str]| scene.git_in(&tree, args);
    agent(&["update-index", "--skip-worktree", "a.txt"]);
    agent(&["update-index", "--assume-unchanged", "b.txt"]);
    write(&tree.join("a.txt"), "hidden by skip-worktree\n");
    write(&tree.join("b.txt"), "hidden by assume-unchanged\n");
    let git = agent(&["rev-parse", "--git-common-dir"]);
    write(&Path::new(&git).join("info/exclude"), "excluded.txt\n");
    write(&tree.join("excluded.txt"), "hidden by info/exclude\n");
    agent(&["config", "core.excludesFile", "/dev/stdin"]);
    agent(&["config", "filter.evil.clean", "touch evil"]);
    write(&tree.join(".gitattributes"), "* filter=evil\n");
    agent(&["checkout", "-q", "--orphan", "elsewhere"]);
    write(&tree.join("committed.txt"), "committed\n");
    agent(&["add", "-f", "committed.txt"]);
    agent(&["commit", "-qm", "mine"]);
    let blob = agent(&["rev-parse", "HEAD:committed.txt"]);
    let other = agent(&["rev-parse", "main:.gitignore"]);
    agent(&["replace", &blob, &other]);
    // The agent's own `git add` ran its filter.
    fs::remove_file(tree.join("evil")).expect("it ran");
    let collected = scene.collect(&mut slot).tree;
    assert_eq!(
        scene.content(&collected, "a.txt"),
        "hidden by skip-worktree"
    );
    assert_eq!(
        scene.content(&collected, "b.txt"),
        "hidden by assume-unchanged"
    );
    assert_eq!(
        scene.content(&collected, "excluded.txt"),
        "hidden by info/exclude"
    );
    assert_eq!(scene.content(&collected, "committed.txt"), "committed");
    assert!(!tree.join("evil").exists());
}

#[test]
fn odd_names_pass_unharmed() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let names = [
        " a b ",
        "quo\"te'",
        "new\nline",
        "größe-日本",
        ":(top)x",
        "-n",
        "*",
        "back\\slash",
        "#x",
    ];
    let mut expected: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    expected.push(latin1_name().into());
    for name in &expected {
        write(&slot.tree().join("odd").join(name), "odd\n");
    }
    let collected = scene.collect(&mut slot);
    let mut added: Vec<PathBuf> = collected
        .changes
        .iter()
        .map(|change| change.path.strip_prefix("odd").expect("in odd/").to_owned())
        .collect();
    added.sort();
    expected.sort();
    assert_eq!(added, expected);
    scene.prepare(&mut slot);
    assert!(!slot.tree().join("odd").exists());
}

#[test]
fn large_files_secrets_and_repositories_are_left_out_by_name_and_saved_aside() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let tree = slot.tree();
    write(&tree.join("big.bin"), vec![0; 5 << 20]);
    write(&tree.join("bigger.bin"), vec![0; (5 << 20) + 1]);
    write(&tree.join(".env"), "TOKEN=1");
    write(&tree.join(".env.example"), "TOKEN=");
    write(&tree.join("deploy/id_ed25519"), "key");
    write(&tree.join("tls/cert.pem"), "-----BEGIN CERTIFICATE-----");
    write(&tree.join("tls/key.pem"), "-----BEGIN PRIVATE KEY-----");
    write(&tree.join("nested/file.txt"), "nested\n");
    scene.git_in(&tree.join("nested"), &["init", "-q"]);
    write(&tree.join(".orch/status.json"), "{}");
    let collected = scene.collect(&mut slot);
    assert_eq!(
        left_out(&collected),
        [
            (".env", Reason::Secret),
            ("bigger.bin", Reason::TooLarge),
            ("deploy/id_ed25519", Reason::Secret),
            ("nested", Reason::NestedRepository),
            ("tls/key.pem", Reason::Secret),
        ]
    );
    assert_eq!(
        scene.paths(&collected.tree),
        ".env.example\n.gitignore\na.txt\nbig.bin\nsrc/lib.txt\ntls/cert.pem"
    );
    let dest = scene.path().join("kept");
    save(&tree, &collected.left_out, &dest).expect("saved");
    let kept = |path: &str| fs::read_to_string(dest.join("files").join(path)).expect("kept");
    assert_eq!(kept(".env"), "TOKEN=1");
    assert_eq!(kept("nested/file.txt"), "nested\n");
    assert_eq!(kept("nested/.git/HEAD").get(..5), Some("ref: "));
    let manifest = fs::read(dest.join("manifest.json")).expect("written");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["left_out"][0]["why"], "secret");
    assert_eq!(manifest["left_out"][1]["bytes_saved"], (5 << 20) + 1);
}

#[test]
fn of_too_many_new_files_the_least_part_that_is_enough_is_left_out_whole() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let tree = slot.tree();
    for number in 0..20 {
        write(
            &tree.join(format!("web/node_modules/m/{number}.js")),
            [b'x'; 100],
        );
        write(&tree.join(format!("target/debug/{number}.o")), [b'x'; 200]);
    }
    write(&tree.join("src/new.txt"), "new\n");
    write(&tree.join("web/src/app.js"), "app\n");
    write(&tree.join("web/node_modules/m/.env"), "TOKEN=1");
    let limits = Limits {
        file_bytes: 1000,
        total_bytes: 1000,
    };
    let collected = collect(&mut slot, &scene.tip(), limits).expect("collected");
    let expected = [
        ("target", Reason::TooMuch),
        ("web/node_modules", Reason::TooMuch),
    ];
    assert_eq!(left_out(&collected), expected);
    assert_eq!(
        scene.paths(&collected.tree),
        ".gitignore\na.txt\nsrc/lib.txt\nsrc/new.txt\nweb/src/app.js"
    );
    save(&tree, &collected.left_out, &scene.path().join("kept")).expect("saved");
}

#[test]
fn what_git_cannot_hold_is_named_and_the_rest_is_taken() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let tree = slot.tree();
    fs::remove_file(tree.join("a.txt")).expect("removed");
    make_pipe(&tree.join("a.txt"));
    write(&tree.join("sub/.GIT/config"), "[core]\n");
    write(&tree.join("new.txt"), "new\n");
    let collected = scene.collect(&mut slot);
    assert_eq!(
        left_out(&collected),
        [
            ("a.txt", Reason::NoFile),
            ("sub/.GIT/config", Reason::Refused)
        ]
    );
    assert_eq!(scene.content(&collected.tree, "a.txt"), "a");
    assert_eq!(scene.content(&collected.tree, "new.txt"), "new");
    scene.prepare(&mut slot);
    assert_eq!(crate::scene::read(&slot, "a.txt"), "a\n");
}

#[test]
fn named_pipes_and_sockets_are_named_and_the_next_attempt_does_not_find_them() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let tree = slot.tree();
    for dir in ["new/deep", "only", "cache", "nested/.git"] {
        fs::create_dir_all(tree.join(dir)).expect("created");
    }
    write(&tree.join("new/file.txt"), "new\n");
    let pipes = ["pipe", "src/.npmrc", "new/deep/pipe", "only/pipe"];
    for pipe in pipes.iter().chain(&["cache/pipe", "nested/pipe"]) {
        make_pipe(&tree.join(pipe));
    }
    let socket = tree.join("src/socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let collected = scene.collect(&mut slot);
    let left = left_out(&collected);
    for path in pipes.iter().chain(&["src/socket"]) {
        assert!(left.contains(&(*path, Reason::NoFile)), "{path}: {left:?}");
    }
    assert_eq!(left.len(), pipes.len() + 1, "{left:?}");
    assert_eq!(scene.content(&collected.tree, "new/file.txt"), "new");
    save(&tree, &collected.left_out, &scene.path().join("kept")).expect("named, not opened");
    scene.prepare(&mut slot);
    for path in pipes.iter().chain(&["src/socket", "new", "only", "nested"]) {
        let found = tree.join(path).symlink_metadata();
        assert!(found.is_err(), "{path} is still there");
    }
    assert!(tree.join("cache/pipe").exists(), "what is ignored stays");
}

#[test]
fn a_directory_in_place_of_a_link_and_the_other_way_round_are_collected_as_they_are() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let tree = slot.tree();
    let outside = scene.path().join("outside");
    write(&outside.join("lib.txt"), "not the agent's\n");
    fs::remove_dir_all(tree.join("src")).expect("removed");
    symlink(&outside, tree.join("src")).expect("linked");
    fs::remove_file(tree.join("a.txt")).expect("removed");
    write(&tree.join("a.txt/b"), "now a directory\n");
    let collected = scene.collect(&mut slot);
    assert_eq!(scene.paths(&collected.tree), ".gitignore\na.txt/b\nsrc");
    scene.prepare(&mut slot);
    assert_eq!(crate::scene::read(&slot, "src/lib.txt"), "lib\n");
    assert!(outside.join("lib.txt").exists());
}

#[test]
fn a_slot_without_a_git_file_is_collected_and_one_without_a_tree_is_an_error() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join("new.txt"), "new\n");
    fs::remove_file(slot.tree().join(".git")).expect("removed");
    fs::remove_dir_all(slot.tree().join("../git")).expect("removed");
    fs::remove_file(slot.tree().join("../orch/index")).expect("removed");
    let collected = scene.collect(&mut slot);
    assert_eq!(collected.changes.len(), 1, "{collected:?}");
    fs::remove_dir_all(slot.tree()).expect("removed");
    let gone = collect(&mut slot, &scene.tip(), Limits::default());
    assert!(matches!(gone, Err(SlotError::Gone(_))));
}

#[test]
fn a_required_filter_that_fails_fails_the_collection() {
    let scene = Scene::new();
    scene.git(&["config", "filter.broken.clean", "false"]);
    scene.git(&["config", "filter.broken.required", "true"]);
    let mut slot = scene.prepared();
    write(&slot.tree().join(".gitattributes"), "*.x filter=broken\n");
    write(&slot.tree().join("new.x"), "new\n");
    let error = collect(&mut slot, &scene.tip(), Limits::default()).expect_err("refused");
    assert!(
        error.to_string().contains("clean filter 'broken' failed"),
        "{error}"
    );
}

#[test]
fn objects_that_a_collection_of_garbage_took_are_stored_again_once_the_index_is_forgotten() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let new = slot.tree().join("new.txt");
    write(&new, "only here\n");
    // Git stores files anew whose time does not tell whether they changed since.
    let file = fs::File::options().write(true).open(&new).expect("a file");
    file.set_modified(std::time::UNIX_EPOCH).expect("a time");
    let first = scene.collect(&mut slot);
    scene.git(&["prune", "--expire=now"]);
    let blob = format!("{}:new.txt", first.tree);
    write(&slot.tree().join("other.txt"), "makes the tree anew\n");
    let error = collect(&mut slot, &scene.tip(), Limits::default()).expect_err("it is gone");
    let SlotError::Libgit2 { cause, .. } = error else {
        panic!("{error}");
    };
    assert!(is_missing(&cause), "{cause}");
    fs::remove_file(slot.tree().join("other.txt")).expect("removed");
    slot.forget_index().expect("removed");
    let second = scene.collect(&mut slot);
    assert_eq!(second, first);
    assert_eq!(scene.git(&["cat-file", "-p", &blob]), "only here");
}

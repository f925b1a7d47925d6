//! How a slot is brought to its start.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use orch::git::slot::error::SlotError;
use orch::git::slot::{Filled, Start};
use orch::ids::ObjectId;

use crate::scene::{Scene, left_out, read, write};

#[test]
fn a_warm_slot_keeps_ignored_files_and_loses_all_others() {
    let scene = Scene::new();
    let mut slot = scene.slot(1);
    assert_eq!(scene.prepare(&mut slot), Filled::New);
    let tree = slot.tree();
    write(&tree.join("cache/built"), "slow to build");
    write(&tree.join("new/dir/file.txt"), "collected");
    write(&tree.join("credentials.json"), "left out");
    write(&tree.join(".orch/plan.yaml"), "exchanged");
    fs::remove_file(tree.join("a.txt")).expect("removed");
    scene.collect(&mut slot);
    write(&tree.join("late.txt"), "never collected");
    scene.write("b.txt", "b\n");
    scene.commit("Next");
    assert_eq!(scene.prepare(&mut slot), Filled::Warm);
    let mut names: Vec<_> = fs::read_dir(&tree)
        .expect("listed")
        .map(|entry| entry.expect("listed").file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [".git", ".gitignore", "a.txt", "b.txt", "cache", "src"]
    );
    assert_eq!(read(&slot, "cache/built"), "slow to build");
}

#[test]
fn a_slot_is_open_to_its_owner_alone() {
    let scene = Scene::new();
    let slot = scene.prepared();
    let dir = slot.tree().parent().expect("a slot").to_owned();
    let mode = fs::metadata(dir).expect("there").permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn what_an_agents_own_ignore_rules_hid_does_not_reach_the_next_attempt() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join(".gitignore"), "*.hidden\n");
    write(&slot.tree().join("x.hidden"), "");
    assert_eq!(scene.collect(&mut slot).changes.len(), 1);
    scene.prepare(&mut slot);
    assert!(!slot.tree().join("x.hidden").exists());
    assert!(scene.collect(&mut slot).changes.is_empty());
}

#[test]
fn an_attempt_can_start_from_the_files_of_an_earlier_one() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join("a.txt"), "tried\n");
    write(&slot.tree().join("new.txt"), "new\n");
    fs::remove_file(slot.tree().join("src/lib.txt")).expect("removed");
    let earlier = scene.collect(&mut slot);
    let mut other = scene.slot(2);
    let start = Start::Files(&earlier.tree);
    other.prepare(&scene.tip(), start, &[]).expect("prepared");
    let agent = |args: &[&str]| scene.git_in(&other.tree(), args);
    assert_eq!(agent(&["rev-parse", "HEAD"]), scene.tip().as_str());
    assert_eq!(
        agent(&["status", "-s"]),
        " M a.txt\n D src/lib.txt\n?? new.txt"
    );
    assert_eq!(scene.collect(&mut other), earlier);
}

#[test]
fn a_base_that_the_repository_does_not_hold_is_refused_and_the_slot_stays() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join("kept.txt"), "kept");
    let missing = ObjectId::new("1234567890123456789012345678901234567890");
    let error = slot
        .prepare(&missing, Start::Base, &[])
        .expect_err("not there");
    assert!(matches!(error, SlotError::Missing(id) if id == missing));
    assert_eq!(read(&slot, "kept.txt"), "kept");
}

#[test]
fn included_files_are_copied_fresh_for_each_attempt_and_never_collected() {
    let scene = Scene::new();
    scene.write(".gitignore", ".env\nlocal/\n");
    scene.commit("Ignore");
    scene.write(".env", "TOKEN=1");
    scene.write("local/x.json", "{}");
    let included = [".env", "local/x.json", "gone.json"].map(PathBuf::from);
    let mut slot = scene.slot(1);
    let outside = scene.path().join("outside");
    fs::create_dir(&outside).expect("created");
    for _ in 0..2 {
        slot.prepare(&scene.tip(), Start::Base, &included)
            .expect("prepared");
        assert_eq!(read(&slot, ".env"), "TOKEN=1");
        assert_eq!(read(&slot, "local/x.json"), "{}");
        // What the agent leaves in their place is not followed, and not written through.
        write(&slot.tree().join(".env"), "TOKEN=changed");
        fs::remove_dir_all(slot.tree().join("local")).expect("removed");
        symlink(&outside, slot.tree().join("local")).expect("linked");
    }
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
    slot.prepare(&scene.tip(), Start::Base, &included)
        .expect("prepared");
    write(&slot.tree().join(".gitignore"), "");
    let collected = scene.collect(&mut slot);
    assert_eq!(collected.changes.len(), 1, "{collected:?}");
    assert!(left_out(&collected).is_empty(), "{collected:?}");
}

#[test]
fn two_slots_are_prepared_and_collected_at_the_same_time() {
    let scene = Scene::new();
    let (scene, tip) = (&scene, scene.tip());
    let trees: Vec<ObjectId> = std::thread::scope(|scope| {
        let workers = [1, 2, 3].map(|number| {
            let (mut slot, tip) = (scene.slot(number), &tip);
            scope.spawn(move || {
                let mut last = None;
                for round in 0..5 {
                    slot.prepare(tip, Start::Base, &[]).expect("prepared");
                    let text = format!("slot {number} round {round}");
                    write(&slot.tree().join("a.txt"), text);
                    last = Some(scene.collect(&mut slot).tree);
                }
                last.expect("five rounds")
            })
        });
        workers
            .map(|worker| worker.join().expect("no panic"))
            .into()
    });
    for (tree, number) in trees.iter().zip(1..) {
        assert_eq!(
            scene.content(tree, "a.txt"),
            format!("slot {number} round 4")
        );
    }
}

#[test]
fn filters_of_the_user_run_both_ways() {
    let scene = Scene::new();
    scene.git(&["config", "filter.upper.clean", "tr A-Z a-z"]);
    scene.git(&["config", "filter.upper.smudge", "tr a-z A-Z"]);
    scene.write(".gitattributes", "*.up filter=upper\n");
    scene.write("x.up", "STORED LOW\n");
    scene.commit("Filter");
    let mut slot = scene.prepared();
    assert_eq!(read(&slot, "x.up"), "STORED LOW\n");
    assert!(scene.collect(&mut slot).changes.is_empty());
    write(&slot.tree().join("y.up"), "ALSO LOW\n");
    let collected = scene.collect(&mut slot);
    assert_eq!(scene.content(&collected.tree, "y.up"), "also low");
    assert_eq!(
        scene.git_in(&slot.tree(), &["status", "--short"]),
        "?? y.up"
    );
}

#[test]
fn line_endings_follow_the_rules_of_the_repository() {
    let scene = Scene::new();
    scene.write(".gitattributes", "*.bat text eol=crlf\n*.raw -text\n");
    scene.write("run.bat", "one\r\ntwo\r\n");
    scene.commit("Rules");
    let mut slot = scene.prepared();
    assert_eq!(read(&slot, "run.bat"), "one\r\ntwo\r\n");
    write(&slot.tree().join("new.bat"), "three\r\n");
    write(&slot.tree().join("new.raw"), "four\r\n");
    let tree = scene.collect(&mut slot).tree;
    let size = |path: &str| scene.git(&["cat-file", "-s", &format!("{tree}:{path}")]);
    assert_eq!(
        (size("new.bat"), size("new.raw")),
        ("6".to_owned(), "6".to_owned())
    );
    assert_eq!(scene.content(&tree, "new.bat"), "three");
}

#[test]
fn a_sparse_checkout_holds_in_slots_and_loses_nothing() {
    let scene = Scene::new();
    scene.write("docs/big.txt", "big\n");
    scene.commit("Docs");
    scene.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "src"]);
    let mut slot = scene.prepared();
    assert!(!slot.tree().join("docs").exists());
    assert_eq!(scene.git_in(&slot.tree(), &["status", "--porcelain"]), "");
    write(&slot.tree().join("src/new.txt"), "in the cone\n");
    write(&slot.tree().join("other/new.txt"), "outside the cone\n");
    let collected = scene.collect(&mut slot);
    assert_eq!(
        scene.paths(&collected.tree),
        ".gitignore\na.txt\ndocs/big.txt\nother/new.txt\nsrc/lib.txt\nsrc/new.txt"
    );
    scene.prepare(&mut slot);
    assert!(!slot.tree().join("other").exists());
    assert!(!slot.tree().join("docs").exists());
}

#[test]
fn a_submodule_stays_as_the_base_has_it() {
    let scene = Scene::new();
    let commit = |dir: &Path, message: &str| {
        let mut args = vec!["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q"];
        args.extend(["--allow-empty", "-m", message]);
        scene.git_in(dir, &args);
    };
    let module = scene.path().join("module");
    fs::create_dir(&module).expect("created");
    scene.git_in(&module, &["init", "-q"]);
    commit(&module, "x");
    let add = "-c protocol.file.allow=always submodule add -q ../module vendor/module";
    scene.git(&add.split(' ').collect::<Vec<_>>());
    scene.commit("Submodule");
    let mut slot = scene.prepared();
    let dir = slot.tree().join("vendor/module");
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 0);
    assert!(scene.collect(&mut slot).changes.is_empty());
    write(&dir.join("stray.txt"), "invisible to git\n");
    let collected = scene.collect(&mut slot);
    assert!(collected.changes.is_empty());
    assert_eq!(collected.left_out[0].path, Path::new("vendor/module"));
    scene.prepare(&mut slot);
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 0);
    scene.git_in(&dir, &["init", "-q"]);
    commit(&dir, "other");
    let collected = scene.collect(&mut slot);
    assert!(collected.changes.is_empty(), "{collected:?}");
    assert_eq!(collected.left_out[0].path, Path::new("vendor/module"));
}

#[test]
fn a_slot_that_cannot_be_brought_over_is_filled_from_nothing() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join("../orch/index"), "not an index");
    write(&slot.tree().join("locked/x"), "");
    fs::set_permissions(slot.tree().join("locked"), PermissionsExt::from_mode(0o000)).expect("set");
    let filled = scene.prepare(&mut slot);
    assert!(
        matches!(filled, Filled::Rebuilt { ref why } if why.contains("read-tree")),
        "{filled:?}"
    );
    assert_eq!(read(&slot, "a.txt"), "a\n");
    assert!(!slot.tree().join("locked").exists());
}

#[test]
fn an_ignored_file_or_directory_in_the_way_of_a_tracked_one_gives_way() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join("cache/x"), "built");
    write(&slot.tree().join("src/cache/y"), "built");
    scene.write("cache/x", "tracked\n");
    scene.write("src/cache", "tracked too\n");
    scene.git(&["add", "-f", "cache/x"]);
    scene.commit("Track");
    assert_eq!(scene.prepare(&mut slot), Filled::Warm);
    assert_eq!(read(&slot, "cache/x"), "tracked\n");
    assert_eq!(read(&slot, "src/cache"), "tracked too\n");
}

#[test]
fn a_lock_that_an_ended_git_left_is_no_obstacle() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    let lock = slot.tree().join("../orch/index.lock");
    write(&lock, "");
    scene.collect(&mut slot);
    write(&lock, "");
    assert_eq!(scene.prepare(&mut slot), Filled::Warm);
}

#[test]
fn a_slot_works_beside_a_linked_worktree_as_beside_the_main_one() {
    let scene = Scene::new();
    scene.git(&["worktree", "add", "-q", "../second", "-b", "second"]);
    let second = scene.path().join("second");
    let repo =
        orch::git::repository::Repository::discover(scene.program(), &second).expect("usable");
    let mut slot = orch::git::slot::Slot::open(&repo, &scene.slots_root(), orch::ids::SlotId(1))
        .expect("opens");
    slot.prepare(&scene.tip(), Start::Base, &[])
        .expect("prepared");
    write(&slot.tree().join("a.txt"), "from the slot\n");
    let tree = scene.collect(&mut slot).tree;
    assert_eq!(scene.content(&tree, "a.txt"), "from the slot");
    assert_eq!(scene.git_in(&second, &["status", "--porcelain"]), "");
}

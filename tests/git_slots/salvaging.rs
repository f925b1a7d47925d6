//! What a slot holds that is kept nowhere else is saved before the slot is used again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use orch::engine::salvage::{Salvage, SalvageOf, SalvagePlace};
use orch::git::collect::Collected;
use orch::git::program::Git;
use orch::git::repository::Repository;
use orch::git::salvage::{self, SalvageError, Surroundings, kept_below, restore};
use orch::git::slot::{Slot, Start, Tenant};
use orch::ids::{ObjectId, RunId, SlotId, TaskId, Ticket};

use crate::scene::{Scene, read, write};

fn run() -> RunId {
    RunId::parse("r1").expect("an id")
}

fn task() -> TaskId {
    TaskId::parse("1.1").expect("an id")
}

fn attempts(scene: &Scene) -> PathBuf {
    scene.path().join("runs/r1/1.1")
}

/// A slot in which attempt 2 of task 1.1 may have worked.
fn let_slot(scene: &Scene) -> Slot {
    let mut slot = scene.slot(1);
    prepare(scene, &mut slot);
    slot
}

fn prepare(scene: &Scene, slot: &mut Slot) {
    let ticket = Ticket {
        task: task(),
        attempt: 2,
        epoch: 0,
    };
    let tenant = Tenant::new(run(), ticket, scene.tip(), scene.tip());
    slot.note(&tenant).expect("noted");
    scene.prepare(slot);
    slot.note_working(tenant).expect("noted");
}

/// Reads the files, as the end of an attempt does, and keeps them.
fn keep(scene: &Scene, slot: &mut Slot) -> Collected {
    let collected = scene.collect(slot);
    slot.note_kept(&collected.tree, &collected.left_out)
        .expect("noted");
    collected
}

fn save(scene: &Scene, slot: &mut Slot) -> Vec<Salvage> {
    try_save(scene, slot).expect("saved")
}

fn try_save(scene: &Scene, slot: &mut Slot) -> Result<Vec<Salvage>, SalvageError> {
    let identity = scene.repository().identity().expect("an identity");
    let base = scene.tip();
    let around = Surroundings {
        identity: &identity,
        base: &base,
        attempt_dir: &|run, task, attempt| {
            let runs = scene.path().join("runs").join(run.as_str());
            runs.join(task.as_str()).join(attempt.to_string())
        },
    };
    let mut saved = Vec::new();
    salvage::save(slot, &around, &mut saved).map(|()| saved)
}

fn agent(scene: &Scene, slot: &Slot, args: &[&str]) -> String {
    let named = [
        "-c",
        "user.name=Agent",
        "-c",
        "user.email=agent@example.com",
    ];
    scene.git_in(&slot.tree(), &[&named, args].concat())
}

fn salvage_refs(scene: &Scene) -> Vec<String> {
    let refs = scene.git(&["for-each-ref", "--format=%(refname)", "refs/orch/salvage"]);
    refs.lines().map(str::to_owned).collect()
}

#[test]
fn to_know_that_nothing_is_to_be_saved_no_program_is_started() {
    let scene = Scene::new();
    let program = scene.path().join("git");
    let log = scene.path().join("log");
    fs::write(
        &program,
        format!("#!/bin/sh\necho >> '{}'\nexec git \"$@\"\n", log.display()),
    )
    .expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    let git = Git::at(&program)
        .expect("git")
        .with_env("HOME", scene.path())
        .with_env("GIT_CONFIG_GLOBAL", "/dev/null")
        .with_env("GIT_CONFIG_NOSYSTEM", "1");
    let repo = Repository::discover(&git, &scene.user()).expect("a usable repository");
    let mut slot = Slot::open(&repo, &scene.slots_root(), SlotId(1)).expect("the slot opens");
    prepare(&scene, &mut slot);
    write(&slot.tree().join("a.txt"), "changed\n");
    write(&slot.tree().join("new.txt"), "new\n");
    write(&slot.tree().join(".env"), "KEY=1\n");
    write(&slot.tree().join(".orch/task-status.json"), "{}");
    agent(&scene, &slot, &["add", "a.txt", "new.txt"]);
    agent(&scene, &slot, &["commit", "-qm", "mine"]);
    keep(&scene, &mut slot);
    let started = || fs::read_to_string(&log).expect("a log").lines().count();
    let before = started();
    assert_eq!(save(&scene, &mut slot), []);
    assert_eq!(started(), before);
    assert_eq!(salvage_refs(&scene), Vec::<String>::new());
}

#[test]
fn files_that_nobody_collected_become_a_commit_on_their_base() {
    let scene = Scene::new();
    let base = scene.tip();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "half done\n");
    write(&slot.tree().join("new.txt"), "new\n");
    write(&slot.tree().join(".orch/plan.yaml"), "exchanged");
    scene.commit("Meanwhile");
    let saved = save(&scene, &mut slot);
    let [salvage] = saved.as_slice() else {
        panic!("{saved:?}");
    };
    assert_eq!((salvage.attempt, salvage.number), (2, 1));
    assert_eq!(salvage.of, SalvageOf::Files);
    let name = "refs/orch/salvage/r1/1.1/1";
    assert_eq!(scene.git(&["rev-parse", name]), salvage.commit.as_str());
    assert_eq!(
        scene.git(&["rev-parse", &format!("{name}^")]),
        base.as_str()
    );
    assert_eq!(
        scene.git(&["diff", "--name-status", base.as_str(), name]),
        "M\ta.txt\nA\tnew.txt"
    );
    prepare(&scene, &mut slot);
    assert_eq!(save(&scene, &mut slot), [], "the next one has left nothing");
}

#[test]
fn what_came_after_the_collection_is_saved_too() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "collected\n");
    keep(&scene, &mut slot);
    write(&slot.tree().join("late.txt"), "late\n");
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1);
    assert_eq!(scene.content(&saved[0].commit, "late.txt"), "late");
    assert_eq!(scene.content(&saved[0].commit, "a.txt"), "collected");
}

#[test]
fn a_person_who_only_deletes_a_file_of_a_kept_slot_has_that_saved() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("new.txt"), "collected\n");
    keep(&scene, &mut slot);
    fs::remove_file(slot.tree().join("src/lib.txt")).expect("removed");
    assert_eq!(save(&scene, &mut slot).len(), 1);
}

#[test]
fn a_slot_that_was_only_being_filled_holds_nothing_to_save() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    let tenant = slot.tenant().expect("readable").expect("a tenant");
    slot.note(&Tenant::new(
        tenant.run,
        tenant.ticket,
        scene.tip(),
        scene.tip(),
    ))
    .expect("noted");
    write(&slot.tree().join("a.txt"), "half a checkout");
    assert_eq!(save(&scene, &mut slot), []);
}

#[test]
fn commits_that_no_ref_reaches_are_saved_wherever_the_agent_had_them() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    let git = |args: &[&str]| agent(&scene, &slot, args);
    let commit_file = |name: &str| {
        write(&slot.tree().join(name), name);
        git(&["add", "-A"]);
        git(&["commit", "-qm", name]);
        ObjectId::new(git(&["rev-parse", "HEAD"]))
    };
    git(&["switch", "-qc", "side"]);
    let branch = commit_file("branch.txt");
    git(&["switch", "-q", "--detach", "main"]);
    let reset = commit_file("reset.txt");
    git(&["reset", "-q", "--hard", "main"]);
    let detached = commit_file("detached.txt");
    git(&["reset", "-q", "--hard", "main"]);
    write(&slot.tree().join("a.txt"), "stashed\n");
    git(&["stash", "-q"]);
    let stash = ObjectId::new(git(&["rev-parse", "stash@{0}"]));
    git(&["stash", "drop", "-q"]);
    git(&["reflog", "expire", "--expire=now", "--all"]);
    keep(&scene, &mut slot);
    let mut saved: Vec<_> = save(&scene, &mut slot)
        .into_iter()
        .map(|salvage| (salvage.commit, salvage.of, salvage.place))
        .collect();
    saved.sort_by(|a, b| a.0.cmp(&b.0));
    let mut wanted: Vec<_> = [branch, reset, detached, stash.clone()]
        .map(|id| (id, SalvageOf::Commits, SalvagePlace::Repository))
        .into();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(saved, wanted);
    prepare(&scene, &mut slot);
    assert_eq!(scene.content(&stash, "a.txt"), "stashed");
    assert_eq!(scene.git(&["fsck", "--no-dangling"]), "");
    assert_eq!(salvage_refs(&scene).len(), 4);
}

#[test]
fn commits_that_lead_to_what_was_collected_are_not_saved_and_undone_ones_are() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    for text in ["first try\n", "second try\n"] {
        write(&slot.tree().join("a.txt"), text);
        agent(&scene, &slot, &["commit", "-qam", text]);
    }
    keep(&scene, &mut slot);
    assert_eq!(save(&scene, &mut slot), []);
    prepare(&scene, &mut slot);
    write(&slot.tree().join("a.txt"), "tried\n");
    agent(&scene, &slot, &["commit", "-qam", "try"]);
    agent(&scene, &slot, &["revert", "--no-edit", "HEAD"]);
    keep(&scene, &mut slot);
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1, "all that is left of it");
    let tried = ObjectId::new(format!("{}^", saved[0].commit));
    assert_eq!(scene.content(&tried, "a.txt"), "tried");
}

#[test]
fn a_history_with_a_secret_in_it_stays_out_of_the_repository() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join(".env"), "TOKEN=hush\n");
    write(&slot.tree().join("b.txt"), "work\n");
    agent(&scene, &slot, &["add", "-A"]);
    agent(&scene, &slot, &["commit", "-qm", "all"]);
    let secret = agent(&scene, &slot, &["rev-parse", "HEAD:.env"]);
    agent(&scene, &slot, &["reset", "-q", "--hard", "main"]);
    keep(&scene, &mut slot);
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0].place, SalvagePlace::RunDirectory);
    assert_eq!(salvage_refs(&scene), Vec::<String>::new());
    prepare(&scene, &mut slot);
    assert!(
        scene
            .try_git_in(&scene.user(), &["cat-file", "-e", &secret])
            .is_err()
    );
    let kept = kept_below(&attempts(&scene)).expect("readable");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].salvage, saved[0]);
    let repo = scene.repository();
    assert!(restore::branch(&repo, &kept[0], "found").expect("asked for"));
    assert_eq!(scene.git(&["show", "found:.env"]), "TOKEN=hush");
    assert_eq!(scene.git(&["show", "found:b.txt"]), "work");
}

#[test]
fn files_that_do_not_go_into_git_are_kept_beside_what_was_saved() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join(".env"), "TOKEN=1\n");
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1);
    assert_eq!(
        scene.paths(&saved[0].commit),
        ".gitignore\na.txt\nsrc/lib.txt"
    );
    let kept = kept_below(&attempts(&scene)).expect("readable");
    let file = kept[0].files().join(".env");
    assert_eq!(fs::read_to_string(file).expect("kept"), "TOKEN=1\n");
    assert!(
        scene
            .git(&["log", "-1", "--format=%B", saved[0].commit.as_str()])
            .contains(".env")
    );
}

#[test]
fn saving_again_after_a_crash_saves_nothing_twice() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "stashed\n");
    agent(&scene, &slot, &["stash", "-q"]);
    write(&slot.tree().join("b.txt"), "left\n");
    let first = save(&scene, &mut slot);
    assert_eq!(first.len(), 2);
    assert_eq!(
        save(&scene, &mut slot),
        first[..1],
        "commits are reached now"
    );
    scene.git(&["update-ref", "-d", "refs/orch/salvage/r1/1.1/1"]);
    scene.git(&["update-ref", "-d", "refs/orch/salvage/r1/1.1/2"]);
    assert_eq!(
        save(&scene, &mut slot),
        first,
        "as if it had died before the refs"
    );
    assert_eq!(salvage_refs(&scene).len(), 2);
    assert_eq!(kept_below(&attempts(&scene)).expect("readable").len(), 2);
}

#[test]
fn a_repository_that_the_agent_made_in_place_of_its_own_is_read_too() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    fs::remove_file(slot.tree().join(".git")).expect("removed");
    let git = |args: &[&str]| agent(&scene, &slot, args);
    git(&["init", "-q", "-b", "main"]);
    write(&slot.tree().join("own.txt"), "own\n");
    git(&["add", "-A"]);
    git(&["commit", "-qm", "own"]);
    fs::remove_file(slot.tree().join("own.txt")).expect("removed");
    keep(&scene, &mut slot);
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1);
    prepare(&scene, &mut slot);
    assert_eq!(scene.content(&saved[0].commit, "own.txt"), "own");
    assert_eq!(read(&slot, "a.txt"), "a\n");
}

#[test]
fn commits_outlive_a_working_tree_that_the_agent_removed() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "committed\n");
    agent(&scene, &slot, &["commit", "-qam", "mine"]);
    agent(&scene, &slot, &["gc", "-q"]);
    fs::remove_dir_all(slot.tree()).expect("removed");
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1);
    prepare(&scene, &mut slot);
    assert_eq!(scene.content(&saved[0].commit, "a.txt"), "committed");
}

#[test]
fn an_object_store_that_cannot_be_read_is_an_error_and_no_loss() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "committed\n");
    agent(&scene, &slot, &["commit", "-qam", "mine"]);
    let objects = slot.tree().with_file_name("git").join("objects").join("00");
    write(&objects.join("0".repeat(38)), "no object");
    keep(&scene, &mut slot);
    let error = try_save(&scene, &mut slot).expect_err("not readable");
    assert!(matches!(error, SalvageError::Unreadable { .. }), "{error}");
    assert!(objects.is_dir());
}

#[test]
fn a_slot_of_which_nothing_is_known_is_saved_unless_orch_has_named_its_files() {
    let scene = Scene::new();
    let mut slot = scene.prepared();
    write(&slot.tree().join("a.txt"), "whose?\n");
    let collected = scene.collect(&mut slot);
    let commit = scene.git(&[
        "commit-tree",
        "-m",
        "candidate",
        "-p",
        "HEAD",
        collected.tree.as_str(),
    ]);
    let name = "refs/orch/candidate/r0/1/1";
    scene.git(&["update-ref", name, &commit]);
    assert_eq!(save(&scene, &mut slot), []);
    scene.git(&["update-ref", "-d", name]);
    let saved = save(&scene, &mut slot);
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0].run.as_str(), "unknown");
}

#[test]
fn an_attempt_that_started_from_files_and_changed_nothing_left_nothing() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "tried\n");
    let earlier = keep(&scene, &mut slot).tree;
    let ticket = slot.tenant().expect("readable").expect("one").ticket;
    let tenant = Tenant::new(run(), ticket, scene.tip(), earlier.clone());
    slot.note(&tenant).expect("noted");
    slot.prepare(&scene.tip(), Start::Files(&earlier), &[])
        .expect("prepared");
    slot.note_working(tenant).expect("noted");
    assert_eq!(save(&scene, &mut slot), []);
}

#[test]
fn saved_files_come_back_into_an_empty_directory_and_over_nothing() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("deep/new.txt"), "new\n");
    write(&slot.tree().join("deep/.env"), "TOKEN=1\n");
    save(&scene, &mut slot);
    let kept = kept_below(&attempts(&scene)).expect("readable");
    let (repo, dir) = (scene.repository(), scene.path().join("back"));
    restore::files(&repo, &kept[0], &dir).expect("restored");
    let back = |path: &str| fs::read_to_string(dir.join(path)).expect("restored");
    assert_eq!(back("deep/new.txt"), "new\n");
    assert_eq!(back("deep/.env"), "TOKEN=1\n");
    assert_eq!(back("a.txt"), "a\n");
    write(&dir.join("a.txt"), "mine\n");
    let error = restore::files(&repo, &kept[0], &dir).expect_err("in the way");
    assert!(matches!(error, SalvageError::InTheWay(_)), "{error}");
    assert_eq!(back("a.txt"), "mine\n");
    assert!(scene.git(&["status", "--porcelain"]).is_empty());
}

#[test]
fn a_branch_for_saved_work_is_made_and_never_moved() {
    let scene = Scene::new();
    let mut slot = let_slot(&scene);
    write(&slot.tree().join("a.txt"), "left\n");
    let saved = save(&scene, &mut slot);
    let kept = kept_below(&attempts(&scene)).expect("readable");
    let repo = scene.repository();
    assert!(!restore::branch(&repo, &kept[0], "main").expect("readable"));
    assert!(restore::branch(&repo, &kept[0], "back").expect("made"));
    assert_eq!(scene.git(&["rev-parse", "back"]), saved[0].commit.as_str());
    let error = restore::branch(&repo, &kept[0], "no good..name").expect_err("no name");
    assert!(matches!(error, SalvageError::BranchName(_)), "{error}");
}

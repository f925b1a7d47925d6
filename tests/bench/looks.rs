//! What orch looks at in the user's repository around each attempt, and in a slot before it is used again, beside what
//! git takes to say the same.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orch::git::collect::collect;
use orch::git::left_out::Limits;
use orch::git::program::Git;
use orch::git::repository::Repository;
use orch::git::salvage::{self, Surroundings};
use orch::git::slot::{Slot, Start, Tenant};
use orch::git::snapshot::Observer;
use orch::ids::{RunId, SlotId, TaskId, Ticket};

use super::{Scene, median, ms, quotient, row};

const TIMES: usize = 15;

/// Repositories of so many files.
const SIZES: [usize; 3] = [300, 3_000, 30_000];

pub(super) fn looks() {
    for files in SIZES {
        let scene = Scene::new("");
        scene.sh(&format!(
            "for i in $(seq 1 {}); do mkdir -p more/$((i / 100)); echo $i > more/$((i / 100))/$i; done; \
             git add -A; git commit -qm More; for i in $(seq 1 50); do git branch b$i; done",
            files - super::FILES + 1
        ));
        let git = Git::find().expect("git");
        let repo = Repository::discover(&git, &scene.repo()).expect("a repository");
        around_an_attempt(&scene, &repo, files);
        before_a_slot_is_used_again(&scene, &repo, files);
    }
}

/// Looks before and after, while nothing changes; the second time what the first has found is known.
fn around_an_attempt(scene: &Scene, repo: &Repository, files: usize) {
    let observer = Observer::new(repo);
    let look = || {
        let before = observer.look().expect("a look");
        let changes = observer.changes_since(&before, |_| None).expect("a look");
        assert_eq!(changes, Vec::<String>::new());
    };
    let by_hand = || {
        for _ in 0..2 {
            scene.sh("git status --porcelain > /dev/null; git for-each-ref > /dev/null");
        }
    };
    compare(
        &format!("{files} files: looks around an attempt"),
        look,
        by_hand,
    );
}

/// A slot in which an attempt has changed nothing that is not kept elsewhere.
fn before_a_slot_is_used_again(scene: &Scene, repo: &Repository, files: usize) {
    let slots = scene.repo().with_file_name("state");
    let mut slot = Slot::open(repo, &slots, SlotId(1)).expect("a slot");
    let base = repo.head().expect("HEAD").commit().clone();
    let ticket = Ticket {
        task: TaskId::parse("1").expect("an id"),
        attempt: 1,
        epoch: 1,
    };
    let run = RunId::parse("r1").expect("an id");
    let tenant = Tenant::new(run, ticket, base.clone(), base.clone());
    slot.note(&tenant).expect("noted");
    slot.prepare(&base, Start::Base, &[]).expect("prepared");
    slot.note_working(tenant).expect("noted");
    let left = collect(&mut slot, &base, Limits::default()).expect("collected");
    slot.note_kept(&left.tree, &left.left_out).expect("noted");
    let identity = repo.identity().expect("an identity");
    let nowhere = |_: &RunId, _: &TaskId, _: u32| PathBuf::new();
    let around = Surroundings {
        identity: &identity,
        base: &base,
        attempt_dir: &nowhere,
    };
    let tree = slot.tree();
    let scan = || {
        let mut saved = Vec::new();
        salvage::save(&mut slot, &around, &mut saved).expect("a scan");
        assert!(saved.is_empty());
    };
    compare(
        &format!("{files} files: a slot looked through"),
        scan,
        || status_in(scene, &tree),
    );
}

fn status_in(scene: &Scene, tree: &Path) {
    scene.sh(&format!(
        "git -C {0} status --porcelain > /dev/null; git -C {0} reflog > /dev/null",
        tree.display()
    ));
}

/// Both in turns, so that whatever else the machine does hits both.
fn compare(what: &str, mut orch: impl FnMut(), by_hand: impl Fn()) {
    let timed = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let turns: Vec<(Duration, Duration)> = (0..TIMES)
        .map(|_| (timed(&mut orch), timed(&mut || by_hand())))
        .collect();
    let (orch, by_hand) = (
        median(turns.iter().map(|turn| turn.0)),
        median(turns.iter().map(|turn| turn.1)),
    );
    let ratio = format!("{:.2}", quotient(orch, by_hand));
    row(what, &ms(orch), &format!("git {}", ms(by_hand)), &ratio);
}

//! The table of `hold`, row by row: what a dead orch leaves, and what the next one makes of it.

use super::*;

struct Scene {
    _dir: tempfile::TempDir,
    path: PathBuf,
    repo: Repository,
    from: ObjectId,
    to: ObjectId,
    plan: PlanCopy,
}

const BRANCH: &str = "refs/heads/main";

fn git(dir: &Path, args: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "commit.gpgSign=false",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim_end()
        .to_owned()
}

impl Scene {
    /// A checkout of `from`, whose plan a person has edited, and the commit `to` that changes some files.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().canonicalize().expect("it exists");
        git(&path, &["init", "-q", "-b", "main"]);
        let write = |name: &str, text: &str| fs::write(path.join(name), text).expect("written");
        let commit = || {
            git(&path, &["add", "-A"]);
            git(&path, &["commit", "-q", "-m", "c"]);
            ObjectId::new(git(&path, &["rev-parse", "HEAD"]))
        };
        for name in ["changed", "removed", "becomes-directory", "plan"] {
            write(name, "old\n");
        }
        fs::create_dir(path.join("becomes-file")).expect("made");
        write("becomes-file/x", "old\n");
        let from = commit();
        for name in ["removed", "becomes-directory"] {
            fs::remove_file(path.join(name)).expect("removed");
        }
        fs::create_dir(path.join("becomes-directory")).expect("made");
        fs::remove_dir_all(path.join("becomes-file")).expect("removed");
        for name in [
            "changed",
            "added",
            "becomes-file",
            "becomes-directory/file",
            "plan",
        ] {
            write(name, "new\n");
        }
        let to = commit();
        git(&path, &["reset", "-q", "--hard", from.as_str()]);
        write("plan", "old, edited\n");
        let program = super::super::program::Git::find().expect("git is installed");
        Self {
            repo: Repository::discover(&program, &path).expect("usable"),
            plan: PlanCopy {
                worktree: path.clone(),
                path: "plan".into(),
                expected: b"old, edited\n".to_vec(),
                new: b"new, edited\n".to_vec(),
            },
            _dir: dir,
            path,
            from,
            to,
        }
    }

    fn worktree(&self) -> Worktree {
        self.repo.worktrees().expect("readable").remove(0)
    }

    fn acquire(&self) -> Acquired {
        let step = Step {
            branch: &RefName::new(BRANCH),
            from: &self.from,
            to: &self.to,
            plan: Some(&self.plan),
        };
        acquire(&self.repo, &self.worktree(), &step).expect("possible")
    }

    /// Takes the worktree and dies, after the branch has moved or before.
    fn die_holding(&self, moved: bool) {
        let Acquired::Held(mut hold) = self.acquire() else {
            panic!("nothing is in the way");
        };
        hold.branch_moves();
        if moved {
            git(&self.path, &["update-ref", BRANCH, self.to.as_str()]);
        }
    }

    fn recover(&self) -> Option<Recovery> {
        let recovered = recover(&self.repo, &self.worktree()).expect("possible");
        assert!(
            !self.places().directory.exists()
                || matches!(&recovered, Some(r) if r.how == Recovery::StillRunning)
        );
        recovered.map(|recovered| recovered.how)
    }

    fn places(&self) -> Places {
        Places::of(&self.worktree())
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name)).ok()
    }

    /// Everything as the commit has it, but for the edit in the plan.
    fn assert_brought_along(&self) {
        assert_eq!(git(&self.path, &["status", "--porcelain"]), " M plan");
        assert_eq!(git(&self.path, &["rev-parse", "HEAD"]), self.to.as_str());
        assert_eq!(self.read("plan").as_deref(), Some("new, edited\n"));
        assert!(!self.places().git_lock.exists());
    }

    fn assert_untouched(&self) {
        assert_eq!(git(&self.path, &["status", "--porcelain"]), " M plan");
        assert_eq!(git(&self.path, &["rev-parse", "HEAD"]), self.from.as_str());
        assert_eq!(self.read("plan").as_deref(), Some("old, edited\n"));
        assert!(!self.places().git_lock.exists());
    }
}

fn finished(kept: &[&str]) -> Option<Recovery> {
    Some(Recovery::Finished {
        kept: kept.iter().map(|&name| name.to_owned()).collect(),
    })
}

#[test]
fn a_held_worktree_has_the_index_to_come_in_gits_lock_and_can_be_let_go() {
    let scene = Scene::new();
    let held = scene.acquire();
    let lock = scene.places().git_lock;
    let listed = std::process::Command::new("git")
        .args(["ls-files"])
        .env("GIT_INDEX_FILE", &lock)
        .current_dir(&scene.path)
        .output()
        .expect("git runs");
    assert_eq!(
        listed.stdout,
        b"added\nbecomes-directory/file\nbecomes-file\nchanged\nplan\n"
    );
    assert!(matches!(
        scene.acquire(),
        Acquired::Refused(Refusal::Unfinished(_))
    ));
    drop(held);
    scene.assert_untouched();
    assert_eq!(scene.recover(), None);
}

#[test]
fn what_a_person_stages_between_the_look_and_the_lock_is_kept() {
    let scene = Scene::new();
    fs::write(scene.path.join("mine"), "mine\n").expect("written");
    // The look compares a file that was touched, which runs the filter, in which a person's git finishes.
    let meddle = format!(
        "test -e .git/meddled || {{ touch .git/meddled; env -i PATH=\"$PATH\" git -C '{}' add mine; }}; cat",
        scene.path.display()
    );
    git(&scene.path, &["config", "filter.meddle.clean", &meddle]);
    fs::write(
        scene.path.join(".git/info/attributes"),
        "changed filter=meddle\n",
    )
    .expect("written");
    let touched = File::options()
        .write(true)
        .open(scene.path.join("changed"))
        .expect("there");
    touched
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("touched");
    let Acquired::Held(mut hold) = scene.acquire() else {
        panic!("nothing is in the way");
    };
    assert!(scene.path.join(".git/meddled").exists(), "somebody worked");
    hold.branch_moves();
    git(&scene.path, &["update-ref", BRANCH, scene.to.as_str()]);
    hold.finish(&scene.repo).expect("finished");
    let staged = git(&scene.path, &["diff", "--cached", "--name-only"]);
    assert_eq!(staged, "mine");
}

#[test]
fn dead_before_the_lock() {
    let scene = Scene::new();
    let places = scene.places();
    fs::create_dir(&places.directory).expect("made");
    assert_eq!(scene.recover(), None);
    fs::create_dir(&places.directory).expect("made");
    fs::write(&places.notes, "{\"torn").expect("written");
    fs::write(&places.git_lock, "somebody else's").expect("written");
    assert_eq!(scene.recover(), None);
    fs::remove_file(&places.git_lock).expect("it is still there");
    scene.assert_untouched();
}

#[test]
fn dead_before_the_branch_moved() {
    let scene = Scene::new();
    scene.die_holding(false);
    assert_eq!(scene.recover(), Some(Recovery::NotBegun));
    scene.assert_untouched();
}

#[test]
fn dead_before_the_first_file() {
    let scene = Scene::new();
    scene.die_holding(true);
    assert_eq!(scene.recover(), finished(&[]));
    scene.assert_brought_along();
    assert_eq!(scene.recover(), None);
}

#[test]
fn dead_between_two_files() {
    let scene = Scene::new();
    scene.die_holding(true);
    fs::remove_file(scene.path.join("changed")).expect("removed");
    fs::remove_file(scene.path.join("becomes-directory")).expect("removed");
    fs::write(scene.path.join("added"), "new\n").expect("written");
    fs::write(scene.places().directory.join("index.lock"), "torn").expect("written");
    assert_eq!(scene.recover(), finished(&[]));
    scene.assert_brought_along();
}

#[test]
fn what_is_neither_old_nor_new_is_kept_and_told() {
    let scene = Scene::new();
    scene.die_holding(true);
    for (name, text) in [
        ("changed", "mine\n"),
        ("added", "mine too\n"),
        ("plan", "edited again\n"),
    ] {
        fs::write(scene.path.join(name), text).expect("written");
    }
    assert_eq!(scene.recover(), finished(&["added", "changed", "plan"]));
    assert_eq!(
        git(&scene.path, &["status", "--porcelain"]),
        " M added\n M changed\n M plan"
    );
    assert_eq!(scene.read("changed").as_deref(), Some("mine\n"));
    assert_eq!(scene.read("plan").as_deref(), Some("edited again\n"));
    assert_eq!(scene.read("removed"), None);
}

#[test]
fn what_a_person_put_where_files_and_directories_change_places_is_kept() {
    let scene = Scene::new();
    scene.die_holding(true);
    fs::write(scene.path.join("becomes-directory"), "mine\n").expect("written");
    fs::write(scene.path.join("becomes-file/mine"), "mine\n").expect("written");
    let kept = [
        "becomes-directory",
        "becomes-directory/file",
        "becomes-file",
    ];
    assert_eq!(scene.recover(), finished(&kept));
    assert_eq!(scene.read("becomes-directory").as_deref(), Some("mine\n"));
    assert_eq!(scene.read("becomes-file/mine").as_deref(), Some("mine\n"));
    assert_eq!(
        (
            scene.read("changed").as_deref(),
            scene.read("becomes-file/x")
        ),
        (Some("new\n"), None)
    );
}

#[test]
fn dead_after_the_last_file() {
    let scene = Scene::new();
    scene.die_holding(true);
    let places = scene.places();
    let copy = |from: &Path, to: &Path| assert!(fs::copy(from, to).expect("copied") > 0);
    let kept = scene.path.join(".git/kept");
    fs::create_dir(&kept).expect("made");
    for file in fs::read_dir(&places.directory).expect("readable") {
        let file = file.expect("readable");
        copy(&file.path(), &kept.join(file.file_name()));
    }
    assert_eq!(scene.recover(), finished(&[]));
    fs::rename(&kept, &places.directory).expect("moved");
    fs::hard_link(&places.new_index, &places.git_lock).expect("linked");
    copy(&places.git_index, &places.index);
    assert_eq!(scene.recover(), finished(&[]));
    scene.assert_brought_along();
}

#[test]
fn dead_in_tidying_up() {
    let scene = Scene::new();
    scene.die_holding(true);
    let places = scene.places();
    fs::remove_file(&places.git_lock).expect("removed");
    fs::remove_file(&places.index).expect("removed");
    assert_eq!(scene.recover(), None);
    assert_eq!(
        scene.read("changed").as_deref(),
        Some("old\n"),
        "nothing more is done"
    );
}

#[test]
fn a_person_who_removed_the_lock_is_told_and_keeps_the_files() {
    let scene = Scene::new();
    scene.die_holding(true);
    fs::remove_file(scene.places().git_lock).expect("removed");
    assert_eq!(scene.recover(), Some(Recovery::Disturbed));
    assert_eq!(scene.read("changed").as_deref(), Some("old\n"));
}

#[test]
fn a_git_that_still_works_there_is_waited_for() {
    let scene = Scene::new();
    scene.die_holding(true);
    let file = File::open(scene.places().notes).expect("there");
    file.lock().expect("free");
    assert_eq!(scene.recover(), Some(Recovery::StillRunning));
    drop(file);
    assert_eq!(scene.recover(), finished(&[]));
    scene.assert_brought_along();
}

#[test]
fn notes_of_a_newer_orch_are_left_alone() {
    let scene = Scene::new();
    scene.die_holding(true);
    let notes = scene.places().notes;
    let text = fs::read_to_string(&notes).expect("there");
    fs::write(&notes, text.replace("\"version\":1", "\"version\":2")).expect("written");
    let error = recover(&scene.repo, &scene.worktree()).expect_err("not understood");
    assert!(error.to_string().contains("newer orch"), "{error}");
    assert!(scene.places().git_lock.exists());
}

#[test]
fn a_file_changed_under_the_update_is_kept() {
    let scene = Scene::new();
    let Acquired::Held(mut hold) = scene.acquire() else {
        panic!("nothing is in the way");
    };
    hold.branch_moves();
    git(&scene.path, &["update-ref", BRANCH, scene.to.as_str()]);
    fs::write(scene.path.join("changed"), "mine\n").expect("written");
    let kept = hold.finish(&scene.repo).expect("possible");
    assert_eq!(super::super::update::shown(&kept), ["changed"]);
    assert_eq!(
        git(&scene.path, &["status", "--porcelain"]),
        " M changed\n M plan"
    );
    assert_eq!(scene.read("plan").as_deref(), Some("new, edited\n"));
    assert!(!scene.places().directory.exists());
}

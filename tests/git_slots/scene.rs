//! A scratch repository of a user, and slots of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use orch::git::collect::{Collected, collect};
use orch::git::left_out::{Limits, Reason};
use orch::git::program::Git;
use orch::git::repository::Repository;
use orch::git::slot::{Filled, Slot, Start};
use orch::ids::{ObjectId, SlotId};

pub(crate) struct Scene {
    dir: tempfile::TempDir,
    git: Git,
}

impl Scene {
    /// A directory in which nothing is yet.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let git = Git::find()
            .expect("git is installed")
            .with_env("HOME", dir.path())
            .with_env("GIT_CONFIG_GLOBAL", "/dev/null")
            .with_env("GIT_CONFIG_NOSYSTEM", "1");
        Self { dir, git }
    }

    /// A repository with one commit: `a.txt`, `src/lib.txt`, and a `.gitignore` of `cache/`.
    pub(crate) fn new() -> Self {
        let scene = Self::empty();
        fs::create_dir(scene.user()).expect("created");
        scene.git(&["init", "-q", "-b", "main"]);
        scene.git(&["config", "user.name", "Ada"]);
        scene.git(&["config", "user.email", "ada@example.com"]);
        scene.write("a.txt", "a\n");
        scene.write("src/lib.txt", "lib\n");
        scene.write(".gitignore", "cache/\n");
        scene.commit("Start");
        scene
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn program(&self) -> &Git {
        &self.git
    }

    /// The user's checkout.
    pub(crate) fn user(&self) -> PathBuf {
        self.dir.path().join("user")
    }

    /// Runs git in the user's checkout; what it printed.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.user(), args)
    }

    pub(crate) fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let done = self.try_git_in(dir, args);
        done.unwrap_or_else(|complaint| panic!("git {args:?}: {complaint}"))
    }

    /// Runs git as a person or an agent would, with nothing of orch's around it.
    pub(crate) fn try_git_in(&self, dir: &Path, args: &[&str]) -> Result<String, String> {
        let output = Command::new("git")
            .args(args)
            .current_dir(dir)
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout).trim_end().to_owned())
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Writes a file in the user's checkout.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.user().join(path), content);
    }

    /// Commits everything in the user's checkout.
    pub(crate) fn commit(&self, message: &str) -> ObjectId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.tip()
    }

    pub(crate) fn tip(&self) -> ObjectId {
        ObjectId::new(self.git(&["rev-parse", "HEAD"]))
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository::discover(&self.git, &self.user()).expect("a usable repository")
    }

    pub(crate) fn slots_root(&self) -> PathBuf {
        self.dir.path().join("slots")
    }

    /// Opens slot `number`.
    pub(crate) fn slot(&self, number: u32) -> Slot {
        Slot::open(&self.repository(), &self.slots_root(), SlotId(number)).expect("the slot opens")
    }

    /// Opens slot 1 and brings it to the tip.
    pub(crate) fn prepared(&self) -> Slot {
        let mut slot = self.slot(1);
        self.prepare(&mut slot);
        slot
    }

    pub(crate) fn prepare(&self, slot: &mut Slot) -> Filled {
        slot.prepare(&self.tip(), Start::Base, &[])
            .expect("the slot can be prepared")
    }

    pub(crate) fn collect(&self, slot: &mut Slot) -> Collected {
        collect(slot, &self.tip(), Limits::default()).expect("the slot can be collected")
    }

    /// The paths of a tree, in order, one a line.
    pub(crate) fn paths(&self, tree: &ObjectId) -> String {
        self.git(&["ls-tree", "-r", "--name-only", tree.as_str()])
    }

    /// What a tree holds at `path`.
    pub(crate) fn content(&self, tree: &ObjectId, path: &str) -> String {
        self.git(&["cat-file", "blob", &format!("{tree}:{path}")])
    }

    /// The user's refs, stash and configuration: what no agent may change.
    pub(crate) fn private_state(&self) -> [String; 3] {
        [
            self.git(&["for-each-ref"]),
            self.git(&["reflog", "--all"]),
            fs::read_to_string(self.user().join(".git/config")).expect("readable"),
        ]
    }
}

/// Writes a file, and the directories above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("created");
    fs::write(path, content).expect("written");
}

/// What a slot holds at `path`.
pub(crate) fn read(slot: &Slot, path: &str) -> String {
    fs::read_to_string(slot.tree().join(path)).expect("readable")
}

/// Why something was left out, by path.
pub(crate) fn left_out(collected: &Collected) -> Vec<(&str, Reason)> {
    let all = collected.left_out.iter();
    all.map(|left| (left.path.to_str().expect("UTF-8"), left.why))
        .collect()
}

/// A file name that is not UTF-8.
pub(crate) fn latin1_name() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9.txt")
}

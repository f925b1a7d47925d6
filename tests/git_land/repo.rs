//! A scratch repository with settings of its own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use orch::git::commit::{CommitSpec, Signing, make_commit};
use orch::git::program::Git;
use orch::git::repository::{Identity, Repository};
use orch::git::tree::tree_with_file;
use orch::ids::{ObjectId, RefName, RunId, TaskId};

/// A repository with one commit on `main`, and the directory around it.
pub(crate) struct Repo {
    dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) found: Repository,
    pub(crate) git: Git,
}

impl Repo {
    /// With the files `a`, `b` and `d/c` in its first commit.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("repo");
        std::fs::create_dir(&path).unwrap();
        run(&path, &["init", "-q", "-b", "main"]);
        // The library's own git reads the configuration of whoever runs the tests; these settings override it.
        for (key, value) in [
            ("user.name", "Test"),
            ("user.email", "test@example.org"),
            ("commit.gpgSign", "false"),
            ("core.autocrlf", "false"),
            ("core.excludesFile", "/dev/null"),
            ("core.attributesFile", "/dev/null"),
        ] {
            run(&path, &["config", key, value]);
        }
        for (file, text) in [("a", "1\n2\n3\n"), ("b", "b\n"), ("d/c", "c\n")] {
            write(&path.join(file), text);
        }
        run(&path, &["add", "-A"]);
        run(&path, &["commit", "-q", "-m", "start"]);
        let git = Git::find().unwrap();
        Self {
            found: Repository::discover(&git, &path).unwrap(),
            dir,
            path,
            git,
        }
    }

    /// The same repository, as an orch started in another worktree sees it.
    pub(crate) fn seen_from(&self, worktree: &Path) -> Repository {
        Repository::discover(&self.git, worktree).unwrap()
    }

    /// A path beside the repository.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn opened(&self) -> git2::Repository {
        self.found.open().unwrap()
    }

    /// Runs git in the checkout; panics with its complaint if it fails.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        run(&self.path, args)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        write(&self.path.join(file), text);
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path.join(file)).unwrap()
    }

    pub(crate) fn id(&self, revision: &str) -> ObjectId {
        ObjectId::new(self.git(&["rev-parse", "--verify", revision]))
    }

    pub(crate) fn head(&self) -> ObjectId {
        self.id("HEAD")
    }

    /// `git status`, one line a file; empty if the checkout is clean.
    pub(crate) fn status(&self) -> String {
        self.git(&["status", "--porcelain", "--untracked-files=all"])
    }

    /// Commits what lies in the checkout.
    pub(crate) fn commit_all(&self, message: &str) -> ObjectId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.head()
    }

    /// A commit on `parent` made without touching the checkout: files with their new text, or none to remove them.
    pub(crate) fn commit_on(&self, parent: &ObjectId, files: &[(&str, Option<&str>)]) -> ObjectId {
        let opened = self.opened();
        let mut tree = parent.clone();
        for (file, text) in files {
            let content = text.map(str::as_bytes);
            tree = tree_with_file(&opened, &tree, Path::new(file), content).unwrap();
        }
        let who = who();
        let spec = CommitSpec {
            tree: &tree,
            parents: std::slice::from_ref(parent),
            message: "made\n",
            author: &who,
            committer: &who,
            at: git2::Time::new(1_000_000, 60),
            signing: Signing::Off,
        };
        make_commit(&self.git, &opened, spec).unwrap()
    }

    /// What a checkout of the commit has: each file's mode and text, by name.
    pub(crate) fn files_of(&self, commit: &ObjectId) -> BTreeMap<String, String> {
        let listed = self.git(&["ls-tree", "-r", "-z", commit.as_str()]);
        let lines = listed.split('\0').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (entry, name) = line.split_once('\t').unwrap();
                (name.to_owned(), entry.to_owned())
            })
            .collect()
    }

    /// Panics unless the checkout is exactly the commit, with nothing of orch's left behind, and with stat data so
    /// fresh that git need not look into a file.
    pub(crate) fn assert_clean_at(&self, commit: &ObjectId) {
        assert_eq!(self.head(), *commit);
        assert_eq!(self.git(&["diff-files", "--name-only"]), "");
        assert_eq!(self.status(), "");
        self.assert_nothing_left();
    }

    pub(crate) fn assert_nothing_left(&self) {
        let git_dir = self.found.git_dir();
        assert!(!git_dir.join("index.lock").exists());
        assert!(!git_dir.join("orch-landing").exists());
    }
}

pub(crate) fn write(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// An executable shell script.
pub(crate) fn write_script(file: &Path, text: &str) {
    write(file, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs git in `dir` as a person would, with no settings but the repository's.
pub(crate) fn try_run(dir: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_DATE", "@1000000 +0000")
        .env("GIT_COMMITTER_DATE", "@1000000 +0000")
        .output()
        .unwrap()
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> String {
    let output = try_run(dir, args);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {complaint}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

pub(crate) fn who() -> Identity {
    Identity {
        name: "Test".to_owned(),
        email: "test@example.org".to_owned(),
    }
}

pub(crate) fn task(id: &str) -> TaskId {
    TaskId::parse(id).unwrap()
}

pub(crate) fn run_id() -> RunId {
    RunId::parse("20000101-000000-0000").unwrap()
}

pub(crate) fn branch(name: &str) -> RefName {
    RefName::new(format!("refs/heads/{name}"))
}

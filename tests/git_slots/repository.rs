//! Which repositories can be used, and what is said about the others.

use std::fs;

use orch::git::program::Git;
use orch::git::repository::{Head, Identity, Repository, RepositoryError};
use orch::ids::RefName;

use crate::scene::{Scene, write};

fn refusal(scene: &Scene) -> RepositoryError {
    Repository::discover(scene.program(), &scene.user()).expect_err("not usable")
}

#[test]
fn a_repository_is_found_from_below_and_described() {
    let scene = Scene::new();
    let found = Repository::discover(scene.program(), &scene.user().join("src")).expect("found");
    let user = fs::canonicalize(scene.user()).expect("there");
    assert_eq!(found.worktree(), user);
    assert_eq!(found.common_dir(), user.join(".git"));
    let main = RefName::new("refs/heads/main");
    assert_eq!(
        found.head().expect("readable"),
        Head::Branch(main, scene.tip())
    );
    scene.git(&["checkout", "-q", "--detach"]);
    assert_eq!(found.head().expect("readable"), Head::Detached(scene.tip()));
}

#[test]
fn all_worktrees_are_listed_with_their_branches_also_a_missing_one() {
    let scene = Scene::new();
    scene.git(&["worktree", "add", "-q", "../second", "-b", "release/1.0"]);
    scene.git(&["worktree", "add", "-q", "--detach", "../third"]);
    fs::remove_dir_all(scene.path().join("third")).expect("removed");
    let second = scene.path().join("second");
    let repo = Repository::discover(scene.program(), &second).expect("usable");
    assert!(repo.git_dir().ends_with(".git/worktrees/second"));
    let seen: Vec<_> = repo
        .worktrees()
        .expect("readable")
        .into_iter()
        .map(|tree| {
            let name = tree.path.file_name().expect("named").to_owned();
            (name, tree.branch.map(|branch| branch.short().to_owned()))
        })
        .collect();
    let expected = [
        ("user", Some("main")),
        ("second", Some("release/1.0")),
        ("third", None),
    ];
    let expected = expected.map(|(name, branch)| (name.into(), branch.map(str::to_owned)));
    assert_eq!(seen, expected);
}

#[test]
fn no_repository_a_bare_one_and_one_without_commits_are_told_apart() {
    let scene = Scene::empty();
    fs::create_dir(scene.user()).expect("created");
    assert!(matches!(
        refusal(&scene),
        RepositoryError::NotARepository(_)
    ));
    scene.git(&["init", "-q"]);
    assert!(matches!(refusal(&scene), RepositoryError::Unborn(_)));
    fs::remove_dir_all(scene.user().join(".git")).expect("removed");
    scene.git(&["init", "-q", "--bare"]);
    assert!(matches!(refusal(&scene), RepositoryError::Bare(_)));
}

#[test]
fn storage_that_libgit2_cannot_read_is_refused_by_name() {
    let scene = Scene::new();
    scene.git(&["config", "remote.origin.promisor", "true"]);
    assert!(matches!(refusal(&scene), RepositoryError::PartialClone(_)));
    scene.git(&["config", "--unset", "remote.origin.promisor"]);
    scene.git(&["config", "core.repositoryformatversion", "1"]);
    scene.git(&["config", "extensions.somethingNew", "1"]);
    let error = refusal(&scene);
    assert!(
        matches!(error, RepositoryError::Extension { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("somethingnew"), "{error}");
}

#[test]
fn a_reftable_repository_is_refused_by_name() {
    let scene = Scene::empty();
    fs::create_dir(scene.user()).expect("created");
    if scene.program().version() < orch::git::program::Version(2, 45) {
        return;
    }
    scene.git(&["init", "-q", "--ref-format=reftable"]);
    assert!(
        refusal(&scene)
            .to_string()
            .contains("refstorage = reftable")
    );
}

#[test]
fn who_commits_is_what_git_would_say_and_never_a_guess() {
    let scene = Scene::new();
    let named = |name: &str, email: &str| Identity {
        name: name.to_owned(),
        email: email.to_owned(),
    };
    let identity = scene.repository().identity().expect("set");
    assert_eq!(identity, named("Ada", "ada@example.com"));
    let with_env = scene.program().clone().with_env("GIT_AUTHOR_NAME", "Grace");
    let repo = Repository::discover(&with_env, &scene.user()).expect("usable");
    assert_eq!(
        repo.identity().expect("set"),
        named("Grace", "ada@example.com")
    );
    scene.git(&["config", "--unset", "user.email"]);
    let error = scene.repository().identity().expect_err("no address");
    assert!(
        matches!(error, RepositoryError::NoIdentity("e-mail address")),
        "{error}"
    );
    assert_eq!(error.hints().len(), 2);
    scene.git(&["config", "--unset", "user.name"]);
    scene.git(&["config", "user.email", "ada@example.com"]);
    let error = scene.repository().identity().expect_err("no name");
    assert!(
        matches!(error, RepositoryError::NoIdentity("name")),
        "{error}"
    );
}

#[test]
fn a_repository_of_another_user_is_refused_with_gits_own_hint() {
    let scene = Scene::new();
    // git's own switch to pretend that the owner is somebody else.
    let git: Git = scene
        .program()
        .clone()
        .with_env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
    let error = Repository::discover(&git, &scene.user()).expect_err("not trusted");
    assert!(
        matches!(error, RepositoryError::DubiousOwnership(_)),
        "{error}"
    );
    let user = fs::canonicalize(scene.user()).expect("there");
    let hint = format!(
        "git config --global --add safe.directory {}",
        user.display()
    );
    assert_eq!(error.hints(), [hint]);
}

#[test]
fn settings_are_those_of_the_person_and_not_those_orch_runs_git_with() {
    let scene = Scene::new();
    scene.git(&["config", "core.hooksPath", ".husky"]);
    let repo = scene.repository();
    assert_eq!(repo.settings().last("core.hookspath"), Some(&b".husky"[..]));
    assert_eq!(repo.settings().last("gc.auto"), None);
}

#[test]
fn only_ignored_files_that_the_include_list_names_are_included() {
    let scene = Scene::new();
    scene.write(".gitignore", "cache/\n.env\nlocal/\n");
    scene.write(
        ".worktreeinclude",
        "# for tests\n.env\nlocal/*.json\nuntracked.txt\n",
    );
    scene.commit("Ignore");
    for path in [
        ".env",
        "local/a b.json",
        "local/no.txt",
        "untracked.txt",
        "cache/x",
    ] {
        write(&scene.user().join(path), "x");
    }
    let included = orch::git::include::included_files(&scene.repository()).expect("listed");
    assert_eq!(
        included,
        [".env", "local/a b.json"].map(std::path::PathBuf::from)
    );
}

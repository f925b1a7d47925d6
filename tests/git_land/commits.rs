//! Commits and trees made in the object store, the refs that keep them, and their way to disk.

use std::path::Path;

use orch::git::commit::{CommitSpec, Signing, make_commit, try_signing};
use orch::git::durable::{flush_commits, flush_ref};
use orch::git::pins::{candidate_ref, drop_pins, name_candidate, pin, pins};
use orch::git::tree::{file_in, tree_with_file};
use orch::ids::ObjectId;

use crate::repo::{Repo, branch, run_id, task, who, write_script};

fn spec<'a>(repo: &'a Spec, message: &'a str, signing: Signing) -> CommitSpec<'a> {
    CommitSpec {
        tree: &repo.tree,
        parents: &repo.parents,
        message,
        author: &repo.who,
        committer: &repo.who,
        at: git2::Time::new(1_700_000_000, -330),
        signing,
    }
}

struct Spec {
    tree: ObjectId,
    parents: Vec<ObjectId>,
    who: orch::git::repository::Identity,
}

impl Spec {
    fn of(repo: &Repo) -> Self {
        Self {
            tree: repo.id("HEAD^{tree}"),
            parents: vec![repo.head()],
            who: who(),
        }
    }
}

#[test]
fn the_same_parts_give_the_same_commit_and_no_ref_moves() {
    let repo = Repo::new();
    let (opened, parts) = (repo.opened(), Spec::of(&repo));
    let refs = repo.git(&["for-each-ref"]);
    let make = || {
        make_commit(
            &repo.git,
            &opened,
            spec(&parts, "größe\0\n\nbody\n", Signing::Off),
        )
    };
    let commit = make().unwrap();
    assert_eq!(commit, make().unwrap());
    let shown = repo.git(&["log", "-1", "--format=%B|%an|%ai|%P", commit.as_str()]);
    let parent = repo.head();
    assert_eq!(
        shown,
        format!("größe\n\nbody\n|Test|2023-11-14 16:43:20 -0530|{parent}")
    );
    assert_eq!(
        (repo.git(&["for-each-ref"]), repo.status()),
        (refs, String::new())
    );
}

/// Stands in for gpg: signs without a look at the content, as git's own protocol asks.
fn use_signing_script(repo: &Repo, script: &str) {
    let file = repo.beside("sign");
    write_script(&file, script);
    repo.git(&["config", "gpg.program", file.to_str().unwrap()]);
    repo.git(&["config", "commit.gpgSign", "true"]);
}

#[test]
fn a_commit_is_signed_by_the_users_program_and_is_otherwise_the_same() {
    let repo = Repo::new();
    use_signing_script(
        &repo,
        "cat >/dev/null; echo '[GNUPG:] SIG_CREATED ' >&2; printf '%s\\n' '-----BEGIN PGP SIGNATURE-----' x '-----END PGP SIGNATURE-----'",
    );
    let (opened, parts) = (repo.opened(), Spec::of(&repo));
    assert_eq!(Signing::configured(&opened).unwrap(), Signing::On);
    try_signing(&repo.git, &opened, &who()).unwrap();
    let make = |signing| {
        let id = make_commit(&repo.git, &opened, spec(&parts, "s\n\nb: c\n", signing)).unwrap();
        repo.git(&["cat-file", "commit", id.as_str()])
    };
    let (signed, plain) = (make(Signing::On), make(Signing::Off));
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n x\n -----END PGP SIGNATURE-----\n";
    assert!(signed.contains(signature), "{signed}");
    assert_eq!(signed.replace(signature, ""), plain);
}

#[test]
fn a_signature_that_cannot_be_made_is_told_with_gits_complaint() {
    let repo = Repo::new();
    use_signing_script(&repo, "echo 'no secret key' >&2; exit 2");
    let error = try_signing(&repo.git, &repo.opened(), &who()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("gpg failed to sign"), "{cause}");
}

#[test]
fn a_file_in_a_tree_is_replaced_with_its_mode_kept() {
    let repo = Repo::new();
    let opened = repo.opened();
    repo.git(&["update-index", "--chmod=+x", "d/c"]);
    repo.git(&["commit", "-q", "-m", "x"]);
    let head = repo.head();
    let put = |path: &str, text: &str| {
        let tree = tree_with_file(&opened, &head, Path::new(path), Some(text.as_bytes())).unwrap();
        assert_eq!(
            file_in(&opened, &tree, Path::new(path)).unwrap().unwrap(),
            text.as_bytes()
        );
        repo.files_of(&tree)[path]
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(put("d/c", "new"), "100755");
    assert_eq!(put("d/e/f", "new"), "100644");
    assert_eq!(file_in(&opened, &head, Path::new("d")).unwrap(), None);
}

#[test]
fn a_file_taken_out_of_a_tree_takes_empty_directories_along() {
    let repo = Repo::new();
    let opened = repo.opened();
    let without =
        |tree: &ObjectId, path: &str| tree_with_file(&opened, tree, Path::new(path), None).unwrap();
    let tree = without(&repo.head(), "d/c");
    assert_eq!(repo.git(&["ls-tree", "--name-only", tree.as_str()]), "a\nb");
    assert_eq!(without(&tree, "no/such/file"), tree);
    assert_eq!(repo.files_of(&without(&without(&tree, "a"), "b")).len(), 0);
}

#[test]
fn only_files_can_be_put_into_a_tree_and_only_inside_it() {
    let repo = Repo::new();
    for path in ["d", "a/x", "../x", "/x", ""] {
        let put = tree_with_file(&repo.opened(), &repo.head(), Path::new(path), Some(b"x"));
        assert!(put.is_err(), "{path:?}");
    }
}

#[test]
fn what_is_pinned_outlives_a_prune_until_the_run_ends() {
    let repo = Repo::new();
    let opened = repo.opened();
    let made = repo.commit_on(&repo.head(), &[("x", Some("x"))]);
    let named = repo.commit_on(&repo.head(), &[("y", Some("y"))]);
    let lost = repo.commit_on(&repo.head(), &[("z", Some("z"))]);
    pin(&opened, &run_id(), "landing-1.1", &made).unwrap();
    let name = candidate_ref(&run_id(), &task("1.1"), 1);
    name_candidate(&opened, &name, &named).unwrap();
    name_candidate(&opened, &name, &named).unwrap();
    repo.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(repo.git(&["cat-file", "-t", made.as_str()]), "commit");
    assert!(
        repo.opened()
            .find_commit(git2::Oid::from_str(lost.as_str()).unwrap())
            .is_err()
    );
    assert_eq!(
        pins(&opened, &run_id()).unwrap(),
        [("landing-1.1".to_owned(), made)]
    );
    drop_pins(&opened, &run_id()).unwrap();
    assert_eq!(pins(&opened, &run_id()).unwrap(), []);
    assert_eq!(
        repo.id("refs/orch/candidate/20000101-000000-0000/1.1/1"),
        named
    );
}

#[test]
fn a_commit_and_its_ref_are_brought_to_disk_loose_or_packed() {
    let repo = Repo::new();
    let opened = repo.opened();
    let many: Vec<String> = (0..300).map(|n| format!("many/{n}")).collect();
    let few = repo.commit_on(&repo.head(), &[("x/y/z", Some("few"))]);
    let files: Vec<_> = many
        .iter()
        .map(|name| (name.as_str(), Some(name.as_str())))
        .collect();
    let lot = repo.commit_on(&few, &files);
    repo.git(&["update-ref", "refs/heads/lot", lot.as_str()]);
    for commit in [&few, &lot, &repo.head()] {
        flush_commits(&opened, &[commit]).unwrap();
    }
    flush_ref(&opened, &branch("lot")).unwrap();
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["gc", "-q"]);
    flush_commits(&opened, &[&lot]).unwrap();
    flush_ref(&opened, &branch("lot")).unwrap();
    let missing = ObjectId::new("1".repeat(40));
    assert!(flush_commits(&opened, &[&missing]).is_err());
}

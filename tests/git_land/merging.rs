//! Merges in memory, held against `git merge-tree`.

use std::collections::BTreeMap;
use std::path::Path;

use orch::git::merge::{Known, Merge, merge};
use orch::git::program::Git;
use orch::git::tree::file_in;
use orch::ids::ObjectId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::repo::{Repo, try_run, write_script};

/// How many random merges are tried: git takes some milliseconds for each.
const CASES: u32 = 200;

/// A merge of which it does not matter what both sides look like between marks.
fn unmarked(merge: Merge) -> Merge {
    match merge {
        Merge::Conflict { files, .. } => Merge::Conflict {
            files,
            marked: None,
        },
        other => other,
    }
}

fn merged(repo: &Repo, base: &ObjectId, tip: &ObjectId, candidate: &ObjectId) -> Merge {
    let merge = merge(
        &repo.git,
        &repo.opened(),
        base,
        tip,
        candidate,
        None,
        &|_| None,
    )
    .unwrap();
    unmarked(merge)
}

#[test]
fn changes_of_different_files_merge_without_the_program() {
    let repo = Repo::new();
    let script = repo.beside("git-that-only-knows-its-version");
    write_script(
        &script,
        "test $# = 1 || echo \"$*\" | grep -q version && echo git version 2.40.0",
    );
    let no_git = Git::at(&script).unwrap();
    let base = repo.head();
    let tip = repo.commit_on(&base, &[("a", Some("tip")), ("new/tip", Some("t"))]);
    let candidate = repo.commit_on(&base, &[("d/c", None), ("b", Some("candidate"))]);
    let clean = merge(
        &no_git,
        &repo.opened(),
        &base,
        &tip,
        &candidate,
        None,
        &|_| None,
    )
    .unwrap();
    let Merge::Clean { tree } = clean else {
        panic!("{clean:?}");
    };
    let both = repo.commit_on(&tip, &[("d/c", None), ("b", Some("candidate"))]);
    assert_eq!(tree, repo.id(&format!("{both}^{{tree}}")));
}

#[test]
fn an_unmoved_tip_takes_the_candidate_as_it_is_and_a_tip_that_has_it_all_stays() {
    let repo = Repo::new();
    let base = repo.head();
    let next = repo.commit_on(&base, &[("a", Some("next"))]);
    let tree = |of: &ObjectId| Merge::Clean {
        tree: repo.id(&format!("{of}^{{tree}}")),
    };
    assert_eq!(merged(&repo, &base, &base, &next), tree(&next));
    assert_eq!(merged(&repo, &base, &next, &next), tree(&next));
    assert_eq!(merged(&repo, &base, &next, &base), tree(&next));
}

#[test]
fn files_in_conflict_are_named_whatever_their_names() {
    let repo = Repo::new();
    let odd = "d/new\nline \"quoted\" größe";
    let base = repo.commit_on(&repo.head(), &[(odd, Some("0\n"))]);
    let tip = repo.commit_on(&base, &[(odd, Some("1\n")), ("a", None)]);
    let candidate = repo.commit_on(&base, &[(odd, Some("2\n")), ("a", Some("2\n"))]);
    let files = ["a", odd].map(str::to_owned).to_vec();
    assert_eq!(
        merged(&repo, &base, &tip, &candidate),
        Merge::Conflict {
            files,
            marked: None
        }
    );
}

#[test]
fn a_new_file_in_a_directory_that_the_other_side_renamed_is_no_clean_merge() {
    let repo = Repo::new();
    let lines = |n: u32| Some((0..n).map(|i| format!("{i}\n")).collect::<String>());
    let (f, g) = (lines(20), lines(30));
    let base = repo.commit_on(
        &repo.head(),
        &[("old/f", f.as_deref()), ("old/g", g.as_deref())],
    );
    let tip = repo.commit_on(
        &base,
        &[
            ("old/f", None),
            ("old/g", None),
            ("new/f", f.as_deref()),
            ("new/g", g.as_deref()),
        ],
    );
    let candidate = repo.commit_on(&base, &[("old/h", Some("h"))]);
    let Merge::Conflict { files, .. } = merged(&repo, &base, &tip, &candidate) else {
        panic!("git calls this a conflict");
    };
    assert!(files.contains(&"new/h".to_owned()), "{files:?}");
}

/// Merges with the union of both sides' lines in these files.
fn united(
    repo: &Repo,
    base: &ObjectId,
    tip: &ObjectId,
    candidate: &ObjectId,
    files: &[&str],
) -> Merge {
    let known = |file: &str| files.contains(&file).then_some(Known::Union);
    let merge = merge(
        &repo.git,
        &repo.opened(),
        base,
        tip,
        candidate,
        None,
        &known,
    )
    .unwrap();
    unmarked(merge)
}

#[test]
fn a_file_with_a_known_answer_gets_the_lines_of_both_sides() {
    let repo = Repo::new();
    let base = repo.commit_on(
        &repo.head(),
        &[("news", Some("old\n")), ("d/news", Some("x"))],
    );
    let tip = repo.commit_on(
        &base,
        &[
            ("news", Some("tip\nold\n")),
            ("d/news", Some("tip")),
            ("a", Some("tip\n")),
        ],
    );
    let candidate = repo.commit_on(
        &base,
        &[
            ("news", Some("candidate\nold\n")),
            ("d/news", Some("candidate")),
            ("b", Some("candidate\n")),
        ],
    );
    let merge = united(&repo, &base, &tip, &candidate, &["news", "d/news"]);
    let Merge::Answered {
        tree,
        united: files,
        ..
    } = merge
    else {
        panic!("{merge:?}");
    };
    assert_eq!(files, ["d/news", "news"]);
    let opened = repo.opened();
    let text = |file: &str| {
        let bytes = file_in(&opened, &tree, Path::new(file)).unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(text("news"), "tip\ncandidate\nold\n");
    assert_eq!(
        text("d/news").lines().collect::<Vec<_>>(),
        ["tip", "candidate"]
    );
    assert_eq!(
        text("a"),
        "tip\n",
        "what did not conflict is merged as ever"
    );
    assert_eq!(text("b"), "candidate\n");
}

#[test]
fn a_file_that_both_sides_add_gets_the_lines_of_both() {
    let repo = Repo::new();
    let base = repo.head();
    let tip = repo.commit_on(&base, &[("news", Some("tip\n"))]);
    let candidate = repo.commit_on(&base, &[("news", Some("candidate\n"))]);
    let merge = united(&repo, &base, &tip, &candidate, &["news"]);
    let Merge::Answered { tree, .. } = merge else {
        panic!("{merge:?}");
    };
    let text = file_in(&repo.opened(), &tree, Path::new("news")).unwrap();
    assert_eq!(text.unwrap(), b"tip\ncandidate\n");
}

#[test]
fn one_conflict_without_a_known_answer_leaves_all_of_them() {
    let repo = Repo::new();
    let files = |of: &'static str| [("news", Some(of)), ("other", Some(of))];
    let base = repo.commit_on(&repo.head(), &files("0\n"));
    let tip = repo.commit_on(&base, &files("1\n"));
    let candidate = repo.commit_on(&base, &files("2\n"));
    let files = ["news", "other"].map(str::to_owned).to_vec();
    assert_eq!(
        united(&repo, &base, &tip, &candidate, &["news"]),
        Merge::Conflict {
            files,
            marked: None
        }
    );
}

#[test]
fn deleted_and_binary_files_and_those_that_are_links_have_no_union() {
    let repo = Repo::new();
    let cases = [
        (Some("0\n"), Some("1\n"), None),
        (Some("0\n"), None, Some("2\n")),
        (Some("\0"), Some("\0one"), Some("\0two")),
        (None, Some("1\n"), Some("\0")),
    ];
    for (base, tip, candidate) in cases {
        let base = repo.commit_on(&repo.head(), &[("news", base)]);
        let tip = repo.commit_on(&base, &[("news", tip)]);
        let candidate = repo.commit_on(&base, &[("news", candidate)]);
        let files = vec!["news".to_owned()];
        assert_eq!(
            united(&repo, &base, &tip, &candidate, &["news"]),
            Merge::Conflict {
                files,
                marked: None
            }
        );
    }
    let link = |parent: &ObjectId, to: &str| {
        repo.git(&["checkout", "-q", "--detach", parent.as_str()]);
        let path = repo.path.join("news");
        if path.is_symlink() {
            std::fs::remove_file(&path).unwrap();
        }
        std::os::unix::fs::symlink(to, path).unwrap();
        repo.commit_all("A link")
    };
    let base = link(&repo.head(), "0");
    let [tip, candidate] = [link(&base, "1"), link(&base, "2")];
    let files = vec!["news".to_owned()];
    assert_eq!(
        united(&repo, &base, &tip, &candidate, &["news"]),
        Merge::Conflict {
            files,
            marked: None
        }
    );
}

#[test]
fn a_merge_that_git_dies_of_is_a_conflict() {
    let repo = Repo::new();
    let base = repo.commit_on(&repo.head(), &[("d/e/a", Some("same\n"))]);
    let tip = repo.commit_on(&base, &[("d/e/a", None), ("d/e", Some("same\n"))]);
    let moved = [
        ("d/e/a", None),
        ("f/e/a", Some("same\n")),
        ("d/c", None),
        ("f/c", Some("c\n")),
    ];
    let candidate = repo.commit_on(&base, &moved);
    let Merge::Conflict { files, .. } = merged(&repo, &base, &tip, &candidate) else {
        panic!("it cannot be clean: `d/e` is a file and a directory");
    };
    assert!(
        files.iter().any(|file| file.starts_with("d/e")),
        "{files:?}"
    );
}

#[test]
fn a_merge_driver_of_the_user_decides() {
    let repo = Repo::new();
    repo.git(&["config", "merge.mine.driver", "true"]);
    let base = repo.commit_on(&repo.head(), &[(".gitattributes", Some("a merge=mine\n"))]);
    let tip = repo.commit_on(&base, &[("a", Some("tip\n"))]);
    let candidate = repo.commit_on(&base, &[("a", Some("candidate\n"))]);
    let tree = repo.id(&format!("{tip}^{{tree}}"));
    assert_eq!(
        merged(&repo, &base, &tip, &candidate),
        Merge::Clean { tree }
    );
}

#[test]
fn attributes_come_from_the_tip_and_not_from_what_lies_in_the_checkout() {
    let repo = Repo::new();
    repo.write(".gitattributes", "a -merge\n");
    let base = repo.head();
    let tip = repo.commit_on(&base, &[("a", Some("0\n1\n2\n3\n"))]);
    let candidate = repo.commit_on(&base, &[("a", Some("1\n2\n3\n4\n"))]);
    assert!(matches!(
        merged(&repo, &base, &tip, &candidate),
        Merge::Clean { .. }
    ));
}

#[test]
fn the_plan_takes_no_part() {
    let repo = Repo::new();
    let (plan, opened) = (Path::new("plans/p.yaml"), repo.opened());
    let with = |parent: &ObjectId, text: Option<&str>, a: &str| {
        repo.commit_on(parent, &[("plans/p.yaml", text), ("a", Some(a))])
    };
    let base = with(&repo.head(), Some("base"), "1\n2\n3\n");
    let plan_of_merge = |tip: Option<&str>, candidate: Option<&str>| {
        let tip = with(&base, tip, "0\n1\n2\n3\n");
        let candidate = with(&base, candidate, "1\n2\n3\n4\n");
        let merge = merge(
            &repo.git,
            &opened,
            &base,
            &tip,
            &candidate,
            Some(plan),
            &|_| None,
        )
        .unwrap();
        let Merge::Clean { tree } = merge else {
            panic!("{merge:?}");
        };
        assert_eq!(
            file_in(&opened, &tree, Path::new("a")).unwrap().unwrap(),
            b"0\n1\n2\n3\n4\n"
        );
        file_in(&opened, &tree, plan).unwrap()
    };
    assert_eq!(
        plan_of_merge(Some("tip"), Some("candidate")).unwrap(),
        b"tip"
    );
    assert_eq!(plan_of_merge(Some("tip"), None).unwrap(), b"tip");
    assert_eq!(plan_of_merge(None, Some("candidate")), None);
    let only = repo.commit_on(&base, &[("plans/p.yaml", Some("edited"))]);
    let unmoved = merge(&repo.git, &opened, &base, &base, &only, Some(plan), &|_| {
        None
    })
    .unwrap();
    let tree = repo.id(&format!("{base}^{{tree}}"));
    assert_eq!(unmoved, Merge::Clean { tree });
}

/// Files by path: whether executable, and the text.
type Files = BTreeMap<String, (bool, String)>;

#[derive(Debug, Clone)]
enum Edit {
    Write(usize, usize),
    Remove(usize),
    RemoveDirectory(usize),
    Move(usize, usize),
    MoveDirectory(usize, usize),
    SetExecutable(usize, bool),
}

const PATHS: [&str; 14] = [
    "a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b", "f/a", "f/b", "f/g/a", "f/g/h/a", "z",
    "ü",
];
const DIRECTORIES: [&str; 5] = ["d", "d/e", "f", "f/g", "n"];

/// Texts that share most of their lines, so that renames are found and contents can merge.
fn text(kind: usize) -> String {
    let line = |n: usize| match (kind, n) {
        (1, 2) | (2, 17) | (3, 2 | 17) => format!("changed by {kind}\n"),
        (4, _) => format!("another {n}\n"),
        _ => format!("line {n}\n"),
    };
    (0..20).map(line).collect()
}

fn put(files: &mut Files, path: &str, file: (bool, String)) {
    files.retain(|other, _| {
        !other.starts_with(&format!("{path}/")) && !path.starts_with(&format!("{other}/"))
    });
    files.insert(path.to_owned(), file);
}

fn apply(files: &mut Files, edit: &Edit) {
    let take = |files: &mut Files, directory: &str| -> Vec<(String, (bool, String))> {
        let prefix = format!("{directory}/");
        let names: Vec<_> = files
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect();
        let named = |name: String| {
            files
                .remove(&name)
                .map(|file| (name[prefix.len()..].to_owned(), file))
        };
        names.into_iter().filter_map(named).collect()
    };
    match *edit {
        Edit::Write(path, kind) => put(files, PATHS[path], (false, text(kind))),
        Edit::Remove(path) => drop(files.remove(PATHS[path])),
        Edit::RemoveDirectory(directory) => drop(take(files, DIRECTORIES[directory])),
        Edit::Move(from, to) => {
            if let Some(file) = files.remove(PATHS[from]) {
                put(files, PATHS[to], file);
            }
        }
        Edit::MoveDirectory(from, to) => {
            for (name, file) in take(files, DIRECTORIES[from]) {
                put(files, &format!("{}/{name}", DIRECTORIES[to]), file);
            }
        }
        Edit::SetExecutable(path, on) => {
            if let Some(file) = files.get_mut(PATHS[path]) {
                file.0 = on;
            }
        }
    }
}

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let (path, directory) = (0..PATHS.len(), 0..DIRECTORIES.len());
    let edit = prop_oneof![
        6 => (path.clone(), 0..5usize).prop_map(|(path, kind)| Edit::Write(path, kind)),
        3 => path.clone().prop_map(Edit::Remove),
        1 => directory.clone().prop_map(Edit::RemoveDirectory),
        1 => (path.clone(), path.clone()).prop_map(|(from, to)| Edit::Move(from, to)),
        1 => (directory.clone(), directory).prop_map(|(from, to)| Edit::MoveDirectory(from, to)),
        1 => (path, any::<bool>()).prop_map(|(path, on)| Edit::SetExecutable(path, on)),
    ];
    prop::collection::vec(edit, 0..=most)
}

fn commit(opened: &git2::Repository, files: &Files, parents: &[&git2::Commit<'_>]) -> git2::Oid {
    let mut index = git2::Index::new().unwrap();
    for (path, (executable, text)) in files {
        let entry = git2::IndexEntry {
            ctime: git2::IndexTime::new(0, 0),
            mtime: git2::IndexTime::new(0, 0),
            dev: 0,
            ino: 0,
            mode: if *executable { 0o100_755 } else { 0o100_644 },
            uid: 0,
            gid: 0,
            file_size: 0,
            id: opened.blob(text.as_bytes()).unwrap(),
            flags: 0,
            flags_extended: 0,
            path: path.clone().into_bytes(),
        };
        index.add(&entry).unwrap();
    }
    let tree = opened
        .find_tree(index.write_tree_to(opened).unwrap())
        .unwrap();
    let who = git2::Signature::new("t", "t@t", &git2::Time::new(0, 0)).unwrap();
    opened
        .commit(None, &who, &who, "m", &tree, parents)
        .unwrap()
}

#[test]
fn random_merges_agree_with_git() {
    let repo = Repo::new();
    let opened = repo.opened();
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let sides = (edits(20), edits(4), edits(4));
    let outcome = TestRunner::new(config).run(&sides, |(base, ours, theirs)| {
        let edited = |from: &Files, edits: &[Edit]| {
            let mut files = from.clone();
            edits.iter().for_each(|edit| apply(&mut files, edit));
            files
        };
        let base_files = edited(&Files::new(), &base);
        let base = commit(&opened, &base_files, &[]);
        let parent = opened.find_commit(base).unwrap();
        let side = |edits: &[Edit]| commit(&opened, &edited(&base_files, edits), &[&parent]);
        let [base, tip, candidate] =
            [base, side(&ours), side(&theirs)].map(|id| ObjectId::new(id.to_string()));
        let args = [
            "merge-tree",
            "--write-tree",
            "-z",
            "--name-only",
            "--no-messages",
        ];
        let asked = try_run(
            &repo.path,
            &[&args[..], &[tip.as_str(), candidate.as_str()]].concat(),
        );
        let answer = String::from_utf8(asked.stdout).unwrap();
        let mut answer = answer.split('\0').filter(|field| !field.is_empty());
        let tree = answer.next().map(ObjectId::new);
        match merged(&repo, &base, &tip, &candidate) {
            Merge::Clean { tree: ours } => {
                prop_assert_eq!(asked.status.code(), Some(0));
                prop_assert_eq!(Some(ours), tree);
            }
            Merge::Answered { .. } => prop_assert!(false, "no answer is known"),
            Merge::Conflict { files, .. } => {
                // git dies of some merges, which are no clean ones then.
                prop_assert!(matches!(asked.status.code(), Some(1) | None));
                prop_assert!(!files.is_empty());
                for file in answer {
                    let file = file.split('~').next().unwrap();
                    prop_assert!(
                        files.iter().any(|named| named == file),
                        "{file} is not in {files:?}"
                    );
                }
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

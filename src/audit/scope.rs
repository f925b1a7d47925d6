//! Whether each candidate that landed stayed within what people's texts let its task change, by the rules that stand in
//! its record and the two trees in git. The names of what is protected come from `verify`; the difference is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{
    DiffFindOptions, DiffOptions, ErrorCode, FileMode, ObjectType, Repository, Tree, TreeWalkMode,
    TreeWalkResult,
};

use super::{Case, Report, find};
use crate::engine::event::PlanRevision;
use crate::engine::record::Record;
use crate::engine::scope::Scope;
use crate::ids::{ObjectId, TaskId};
use crate::plan::graph::When;
use crate::verify::protect::{Entry, Moved, Protection, Trees};
use crate::verify::scope::Scope as Files;

/// Most files among which renames are looked for: the search grows with the square.
const RENAMES_MAX: usize = 200;

/// What a candidate was judged by, as its record says.
#[derive(Clone, Copy)]
struct Judged<'a> {
    candidate: &'a ObjectId,
    scope: &'a Scope,
}

impl Report {
    /// Judges the candidates of all landings again, and what of the landing commits is not theirs.
    pub(super) fn scope(&mut self, repo: &Repository, case: &Case<'_>) -> Result<(), git2::Error> {
        let mut plans = BTreeSet::new();
        let mut asked: BTreeSet<&TaskId> = BTreeSet::new();
        let mut files: BTreeMap<&TaskId, BTreeSet<&[String]>> = BTreeMap::new();
        let mut judged: BTreeMap<(&TaskId, u32), Judged<'_>> = BTreeMap::new();
        for revision in case.records.iter().filter_map(|s| revision(&s.record)) {
            for node in &revision.graph.nodes {
                files.entry(&node.id).or_default().insert(&node.files);
            }
        }
        for stamped in case.records {
            if let Some(revision) = revision(&stamped.record) {
                let nodes = revision.graph.nodes.iter();
                let after = nodes.filter(|n| n.approval == Some(When::After));
                asked.extend(after.map(|n| &n.id));
            }
            match &stamped.record {
                Record::RunStarted(start) | Record::RunResumed { start } => {
                    plans.insert(PathBuf::from(&start.plan));
                }
                Record::Collected {
                    ticket,
                    candidate: Some(candidate),
                    scope: Some(scope),
                    ..
                } => {
                    let of = Judged { candidate, scope };
                    judged.insert((&ticket.task, ticket.attempt), of);
                }
                Record::Landed { ticket, commit, .. } => {
                    let key = (&ticket.task, ticket.attempt);
                    let Some(of) = judged.get(&key) else { continue };
                    let (task, rules) = (&ticket.task, &of.scope.rules);
                    let mut wrong = Vec::new();
                    if rules.asks && !asked.contains(task) {
                        wrong.push(
                            "its record says that a person is asked, and no plan does".to_owned(),
                        );
                    }
                    if files
                        .get(task)
                        .is_some_and(|any| !any.contains(&rules.files[..]))
                    {
                        wrong.push("its record has other `files` than any plan".to_owned());
                    }
                    for message in wrong {
                        self.find("scope", Some(task), Some(of.candidate), message);
                    }
                    self.stayed_within(repo, task, [of.candidate, commit], of.scope, &plans)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn stayed_within(
        &mut self,
        repo: &Repository,
        task: &TaskId,
        [candidate, landed]: [&ObjectId; 2],
        scope: &Scope,
        plans: &BTreeSet<PathBuf>,
    ) -> Result<(), git2::Error> {
        // A commit that is gone is told elsewhere.
        let (Ok(made), Ok(came)) = (find(repo, candidate), find(repo, landed)) else {
            return Ok(());
        };
        let (base, new) = (made.parent(0)?.tree()?, made.tree()?);
        let changes = moved(repo, &base, &new, plans)?;
        for message in outside(repo, scope, &changes, [&base, &new])? {
            self.find("scope", Some(task), Some(candidate), message);
        }
        let own: BTreeSet<&PathBuf> = changes.iter().flat_map(paths_of).collect();
        let (base, new) = (came.parent(0)?.tree()?, came.tree()?);
        let mut others = moved(repo, &base, &new, plans)?;
        // A merge carries a change along where the target has moved its file.
        others.retain(|moved| !paths_of(moved).all(|path| own.contains(path)));
        for message in outside(repo, scope, &others, [&base, &new])? {
            let message = format!("{message}, and its attempt did not change it");
            self.find("scope", Some(task), Some(landed), message);
        }
        Ok(())
    }
}

fn revision(record: &Record) -> Option<&PlanRevision> {
    match record {
        Record::RunStarted(start) | Record::RunResumed { start } => Some(&start.revision),
        Record::PlanAccepted { revision } => Some(revision),
        _ => None,
    }
}

/// Which of the changes between two trees people's texts do not let a task make, a sentence each.
fn outside(
    repo: &Repository,
    scope: &Scope,
    moved: &[Moved],
    [base, new]: [&Tree<'_>; 2],
) -> Result<Vec<String>, git2::Error> {
    let mut wrong = Vec::new();
    if moved.is_empty() {
        return Ok(wrong);
    }
    match Files::new(&scope.rules.files) {
        Ok(files) => {
            let paths: Vec<PathBuf> = moved.iter().filter_map(path_of).collect();
            let outside = files.outside(&paths).into_iter();
            wrong.extend(outside.map(|path| format!("`{}` is outside of `files`", path.display())));
        }
        Err(error) => wrong.push(error.to_string()),
    }
    let links = links(repo, base, new)?;
    let trees = Trees {
        base: &|path: &Path| entry(repo, base, path),
        new: &|path: &Path| entry(repo, new, path),
        files: &|| files(base),
        links: &links,
    };
    match Protection::new(&scope.rules) {
        Ok(protection) => {
            let touched = protection.touched(moved, &trees)?;
            let not_allowed = touched
                .into_iter()
                .filter(|t| !t.allowed && !scope.rules.asks);
            wrong.extend(not_allowed.map(|t| format!("`{}` {}", t.path.display(), t.why)));
        }
        Err(error) => wrong.push(error.to_string()),
    }
    Ok(wrong)
}

fn paths_of(moved: &Moved) -> impl Iterator<Item = &PathBuf> {
    moved.from.iter().chain(&moved.to)
}

fn path_of(moved: &Moved) -> Option<PathBuf> {
    moved.to.clone().or(moved.from.clone())
}

/// What differs between two trees, plans of the run aside.
fn moved(
    repo: &Repository,
    base: &Tree<'_>,
    new: &Tree<'_>,
    plans: &BTreeSet<PathBuf>,
) -> Result<Vec<Moved>, git2::Error> {
    let mut options = DiffOptions::new();
    options.include_typechange(true);
    let mut diff = repo.diff_tree_to_tree(Some(base), Some(new), Some(&mut options))?;
    // A test that moved and changed is the same test.
    let mut similar = DiffFindOptions::new();
    diff.find_similar(Some(similar.renames(true).rename_limit(RENAMES_MAX)))?;
    let path = |file: git2::DiffFile<'_>| {
        let path = file.path_bytes().filter(|_| file.exists());
        path.map(|path| Path::new(OsStr::from_bytes(path)).to_owned())
    };
    let moved = diff.deltas().map(|delta| Moved {
        from: path(delta.old_file()),
        to: path(delta.new_file()),
    });
    Ok(moved
        .filter(|moved| path_of(moved).is_some_and(|path| !plans.contains(&path)))
        .collect())
}

fn entry(repo: &Repository, tree: &Tree<'_>, path: &Path) -> Result<Option<Entry>, git2::Error> {
    let found = match tree.get_path(path) {
        Ok(found) => found,
        Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mode = found.filemode();
    let bytes = || {
        repo.find_blob(found.id())
            .map(|blob| blob.content().to_owned())
    };
    Ok(Some(if mode == i32::from(FileMode::Tree) {
        Entry::Directory
    } else if mode == i32::from(FileMode::Commit) {
        Entry::Submodule
    } else if mode == i32::from(FileMode::Link) {
        Entry::Link(bytes()?)
    } else {
        Entry::File {
            bytes: bytes()?,
            executable: mode == i32::from(FileMode::BlobExecutable),
        }
    }))
}

/// The paths of all files of a tree.
fn files(tree: &Tree<'_>) -> Result<Vec<PathBuf>, git2::Error> {
    let mut found = Vec::new();
    tree.walk(TreeWalkMode::PreOrder, |directory, entry| {
        if entry.kind() == Some(ObjectType::Blob) {
            let name = Path::new(OsStr::from_bytes(entry.name_bytes()));
            found.push(Path::new(directory).join(name));
        }
        TreeWalkResult::Ok
    })?;
    Ok(found)
}

/// The symbolic links of both trees.
fn links(
    repo: &Repository,
    base: &Tree<'_>,
    new: &Tree<'_>,
) -> Result<BTreeMap<PathBuf, Vec<u8>>, git2::Error> {
    let mut links = BTreeMap::new();
    for tree in [base, new] {
        let mut found = Vec::new();
        tree.walk(TreeWalkMode::PreOrder, |directory, entry| {
            if entry.filemode() == i32::from(FileMode::Link) {
                let name = Path::new(OsStr::from_bytes(entry.name_bytes()));
                found.push((Path::new(directory).join(name), entry.id()));
            }
            TreeWalkResult::Ok
        })?;
        for (path, id) in found {
            links.insert(path, repo.find_blob(id)?.content().to_owned());
        }
    }
    Ok(links)
}

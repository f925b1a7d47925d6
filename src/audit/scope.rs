//! Whether each candidate that landed stayed within what people's texts let its task change, by the rules that stand in
//! its record and the two trees in git. The names of what is protected come from `verify`; the difference is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use git2::{DiffFindOptions, DiffOptions, Error, Oid, Repository};

use super::trees::{Change, Kind, Trees};
use super::{Case, Report, find};
use crate::engine::event::PlanRevision;
use crate::engine::record::{Record, Stamped};
use crate::engine::scope::{Rules, Scope};
use crate::ids::{ObjectId, TaskId};
use crate::plan::graph::When;
use crate::verify::protect::{Entry, Moved, Protection, Trees as BothTrees};
use crate::verify::scope::{BadGlob, Scope as Files};

/// Most files among which renames are looked for: the search grows with the square.
const RENAMES_MAX: usize = 200;
/// How many sets of rules are kept ready: most tasks of a run have the same ones.
const RULES_KEPT: usize = 8;

/// What a candidate was judged by, as its record says.
#[derive(Clone, Copy)]
struct Judged<'a> {
    candidate: &'a ObjectId,
    scope: &'a Scope,
}

/// The records of a run, read from the first one on, with what any plan of the run says.
pub(super) struct Reading<'a> {
    repo: &'a Repository,
    trees: &'a Trees<'a>,
    files: BTreeMap<&'a TaskId, BTreeSet<&'a [String]>>,
    asked: BTreeSet<&'a TaskId>,
    plans: BTreeSet<PathBuf>,
    judged: BTreeMap<(&'a TaskId, u32), Judged<'a>>,
    /// The rules that were needed last.
    ready: Vec<(Rules, Rc<Protection>)>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(repo: &'a Repository, trees: &'a Trees<'a>, case: &Case<'a>) -> Self {
        let mut files: BTreeMap<&TaskId, BTreeSet<&[String]>> = BTreeMap::new();
        for revision in case.records.iter().filter_map(|s| revision(&s.record)) {
            for node in &revision.graph.nodes {
                files.entry(&node.id).or_default().insert(&node.files);
            }
        }
        Self {
            repo,
            trees,
            files,
            asked: BTreeSet::new(),
            plans: BTreeSet::new(),
            judged: BTreeMap::new(),
            ready: Vec::new(),
        }
    }

    /// Judges the candidate of a landing again, and what of the landing commit is not its.
    pub(super) fn follow(&mut self, report: &mut Report, stamped: &'a Stamped) {
        if let Some(revision) = revision(&stamped.record) {
            let nodes = revision.graph.nodes.iter();
            let after = nodes.filter(|n| n.approval == Some(When::After));
            self.asked.extend(after.map(|n| &n.id));
        }
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.plans.insert(PathBuf::from(&start.plan));
            }
            Record::Collected {
                ticket,
                candidate: Some(candidate),
                scope: Some(scope),
                ..
            } => {
                let of = Judged { candidate, scope };
                self.judged.insert((&ticket.task, ticket.attempt), of);
            }
            Record::Landed { ticket, commit, .. } => {
                let key = (&ticket.task, ticket.attempt);
                if let Some(of) = self.judged.get(&key).copied() {
                    self.landed(report, &ticket.task, of, commit);
                }
            }
            _ => {}
        }
    }

    fn landed(&mut self, report: &mut Report, task: &TaskId, of: Judged<'_>, commit: &ObjectId) {
        let rules = &of.scope.rules;
        let mut wrong = Vec::new();
        if rules.asks && !self.asked.contains(task) {
            wrong.push("its record says that a person is asked, and no plan does".to_owned());
        }
        let of_plans = self.files.get(task);
        if of_plans.is_some_and(|any| !any.contains(&rules.files[..])) {
            wrong.push("its record has other `files` than any plan".to_owned());
        }
        for message in wrong {
            report.find("scope", Some(task), Some(of.candidate), message);
        }
        // A commit that is gone is told elsewhere.
        let commits = [of.candidate, commit].map(|id| find(self.repo, id));
        let [Ok(made), Ok(came)] = commits else {
            return;
        };
        if let Err(error) = self.stayed_within(report, task, rules, [&made, &came]) {
            let message = format!("what it changes cannot be read: {error}");
            report.find("scope", Some(task), Some(commit), message);
        }
    }

    fn stayed_within(
        &mut self,
        report: &mut Report,
        task: &TaskId,
        rules: &Rules,
        [made, came]: [&git2::Commit<'_>; 2],
    ) -> Result<(), Error> {
        let sides = [made.parent(0)?.tree_id(), made.tree_id()];
        let changes = self.moved(sides)?;
        for message in self.outside(rules, &changes, sides)? {
            let candidate = super::object_id(made.id());
            report.find("scope", Some(task), Some(&candidate), message);
        }
        let own: BTreeSet<&PathBuf> = changes.iter().flat_map(paths_of).collect();
        let sides = [came.parent(0)?.tree_id(), came.tree_id()];
        let mut others = self.moved(sides)?;
        // A merge carries a change along where the target has moved its file.
        others.retain(|moved| !paths_of(moved).all(|path| own.contains(path)));
        for message in self.outside(rules, &others, sides)? {
            let landed = super::object_id(came.id());
            let message = format!("{message}, and its attempt did not change it");
            report.find("scope", Some(task), Some(&landed), message);
        }
        Ok(())
    }

    /// Which of the changes between two trees people's texts do not let a task make, a sentence each.
    fn outside(
        &mut self,
        rules: &Rules,
        moved: &[Moved],
        [base, new]: [Oid; 2],
    ) -> Result<Vec<String>, Error> {
        let mut wrong = Vec::new();
        if moved.is_empty() {
            return Ok(wrong);
        }
        match Files::new(&rules.files) {
            Ok(files) => {
                let paths: Vec<PathBuf> = moved.iter().filter_map(path_of).collect();
                let outside = files.outside(&paths).into_iter();
                wrong.extend(
                    outside.map(|path| format!("`{}` is outside of `files`", path.display())),
                );
            }
            Err(error) => wrong.push(error.to_string()),
        }
        let trees = self.trees;
        let links = trees.links([base, new])?;
        let both = BothTrees {
            base: &|path: &Path| entry(trees, base, path),
            new: &|path: &Path| entry(trees, new, path),
            files: &|| trees.files(base),
            links: &links,
        };
        match self.protection(rules) {
            Ok(protection) => {
                let touched = protection.touched(moved, &both)?;
                let not_allowed = touched.into_iter().filter(|t| !t.allowed && !rules.asks);
                wrong.extend(not_allowed.map(|t| format!("`{}` {}", t.path.display(), t.why)));
            }
            Err(error) => wrong.push(error.to_string()),
        }
        Ok(wrong)
    }

    /// What rules protect; making that out of their globs takes longer than using it.
    fn protection(&mut self, rules: &Rules) -> Result<Rc<Protection>, BadGlob> {
        // Neither says what is protected.
        let key = Rules {
            files: Vec::new(),
            asks: false,
            ..rules.clone()
        };
        if let Some(at) = self.ready.iter().position(|(ready, _)| *ready == key) {
            return Ok(Rc::clone(&self.ready[at].1));
        }
        let protection = Rc::new(Protection::new(rules)?);
        if self.ready.len() == RULES_KEPT {
            self.ready.remove(0);
        }
        self.ready.push((key, Rc::clone(&protection)));
        Ok(protection)
    }

    /// What differs between two trees, plans of the run aside.
    fn moved(&self, [base, new]: [Oid; 2]) -> Result<Vec<Moved>, Error> {
        let changes = self.trees.changes(base, new)?;
        let mut moved = match may_rename(&changes) {
            false => changes.iter().map(in_its_place).collect(),
            true => renamed(self.repo, base, new)?,
        };
        moved.retain(|moved| path_of(moved).is_some_and(|path| !self.plans.contains(&path)));
        Ok(moved)
    }
}

fn revision(record: &Record) -> Option<&PlanRevision> {
    match record {
        Record::RunStarted(start) | Record::RunResumed { start } => Some(&start.revision),
        Record::PlanAccepted { revision } => Some(revision),
        _ => None,
    }
}

fn paths_of(moved: &Moved) -> impl Iterator<Item = &PathBuf> {
    moved.from.iter().chain(&moved.to)
}

fn path_of(moved: &Moved) -> Option<PathBuf> {
    moved.to.clone().or(moved.from.clone())
}

/// A rename is a file that went and one that came.
pub(super) fn may_rename(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.old.is_none())
        && changes.iter().any(|change| change.new.is_none())
}

fn in_its_place(change: &Change) -> Moved {
    let path = Path::new(OsStr::from_bytes(&change.path)).to_owned();
    Moved {
        from: change.old.as_ref().map(|_| path.clone()),
        to: change.new.as_ref().map(|_| path),
    }
}

/// What differs between two trees, where libgit2 tells renames: a test that moved and changed is the same test.
fn renamed(repo: &Repository, base: Oid, new: Oid) -> Result<Vec<Moved>, Error> {
    let (base, new) = (repo.find_tree(base)?, repo.find_tree(new)?);
    let mut options = DiffOptions::new();
    options.include_typechange(true);
    let mut diff = repo.diff_tree_to_tree(Some(&base), Some(&new), Some(&mut options))?;
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
    Ok(moved.collect())
}

fn entry(trees: &Trees<'_>, tree: Oid, path: &Path) -> Result<Option<Entry>, Error> {
    let Some(leaf) = trees.at(tree, path)? else {
        return Ok(None);
    };
    Ok(Some(match leaf.kind() {
        Kind::Directory => Entry::Directory,
        Kind::Submodule => Entry::Submodule,
        Kind::Link => Entry::Link(trees.content(leaf.id)?),
        Kind::File { executable } => Entry::File {
            bytes: trees.content(leaf.id)?,
            executable,
        },
    }))
}

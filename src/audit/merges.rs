//! Whether each landed commit is the plain merge of its candidate with the tip it was built on, and whether what differs
//! from that is explained by a record of a conflict that was settled.
//!
//! What the plain merge is, git itself is asked, with its objects in a scratch place; where no file was changed on both
//! sides there is only one answer, and nobody is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{Commit, Diff, Error, Oid, Repository, Signature, Time};

use super::scope::may_rename;
use super::trees::{Change, Trees};
use super::{Report, find};
use crate::engine::conflict::Answered;
use crate::engine::record::{Record, Stamped};
use crate::git::program::{Git, Version};
use crate::ids::{ObjectId, TaskId};

/// The first git that takes attributes from a tree instead of from whatever lies in the working copy.
const ATTR_SOURCE_SINCE: Version = Version(2, 41);

/// Most paths that one finding names.
const NAMED_MAX: usize = 10;

/// What git makes of a merge.
pub(super) struct Plain {
    /// The paths at which `landed` has something else.
    other: BTreeSet<Vec<u8>>,
    /// The paths in conflict.
    conflicts: BTreeSet<Vec<u8>>,
}

/// What was landed, and from what: trees.
pub(super) struct Landing {
    base: Oid,
    tip: Oid,
    candidate: Oid,
    landed: Oid,
}

/// The records of a run, read from the first one on.
pub(super) struct Reading<'a> {
    repo: &'a Repository,
    trees: &'a Trees<'a>,
    plans: BTreeSet<Vec<u8>>,
    candidates: BTreeMap<(&'a TaskId, u32), &'a ObjectId>,
    answered: BTreeMap<&'a ObjectId, &'a [Answered]>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(repo: &'a Repository, trees: &'a Trees<'a>) -> Self {
        Self {
            repo,
            trees,
            plans: BTreeSet::new(),
            candidates: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Makes the merge of a landing again.
    pub(super) fn follow(&mut self, report: &mut Report, stamped: &'a Stamped) {
        match &stamped.record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.plans.insert(start.plan.clone().into_bytes());
            }
            Record::Collected {
                ticket,
                candidate: Some(candidate),
                ..
            } => {
                let key = (&ticket.task, ticket.attempt);
                self.candidates.insert(key, candidate);
            }
            Record::ConflictsAnswered {
                commit, answers, ..
            } => {
                self.answered.insert(commit, answers);
            }
            Record::Landed { ticket, commit, .. } => {
                let answers = self.answered.get(commit).copied().unwrap_or_default();
                // A candidate whose record is lost, or that is gone, is told elsewhere.
                if let Some(candidate) = self.candidates.get(&(&ticket.task, ticket.attempt))
                    && let (Ok(candidate), Ok(landed)) =
                        (find(self.repo, candidate), find(self.repo, commit))
                {
                    let plain = Landing::of(&candidate, &landed)
                        .and_then(|landing| landing.plain(self.repo, self.trees, &self.plans));
                    let plain = plain.map_err(|e| e.to_string()).flatten();
                    let files = answers.iter().map(|a| a.file.clone().into_bytes());
                    report.explained(&ticket.task, commit, &plain, &files.collect());
                }
            }
            _ => {}
        }
    }
}

impl Report {
    /// Every file in conflict is on record as settled, and nothing but these files differs from the plain merge.
    pub(super) fn explained(
        &mut self,
        task: &TaskId,
        commit: &ObjectId,
        plain: &Result<Plain, String>,
        files: &BTreeSet<Vec<u8>>,
    ) {
        let message = match plain {
            Err(why) => format!("what git makes of its merge cannot be told: {why}"),
            Ok(plain) if plain.conflicts != *files => format!(
                "git leaves conflicts in {}, and the record of what was settled names {}",
                named(&plain.conflicts),
                named(files)
            ),
            Ok(plain) => {
                let other: BTreeSet<Vec<u8>> = plain.other.difference(files).cloned().collect();
                if other.is_empty() {
                    return;
                }
                format!(
                    "it is not the merge of its candidate with what it was built on, in {}, and no record says why",
                    named(&other)
                )
            }
        };
        self.find("merge", Some(task), Some(commit), message);
    }
}

fn named(paths: &BTreeSet<Vec<u8>>) -> String {
    if paths.is_empty() {
        return "nothing".to_owned();
    }
    let more = paths.len().saturating_sub(NAMED_MAX);
    let words = paths.iter().take(NAMED_MAX);
    let words: Vec<String> = words
        .map(|path| format!("`{}`", String::from_utf8_lossy(path)))
        .collect();
    match more {
        0 => words.join(", "),
        more => format!("{} and {more} more", words.join(", ")),
    }
}

impl Landing {
    pub(super) fn of(candidate: &Commit<'_>, landed: &Commit<'_>) -> Result<Self, Error> {
        Ok(Self {
            base: candidate.parent(0)?.tree_id(),
            tip: landed.parent(0)?.tree_id(),
            candidate: candidate.tree_id(),
            landed: landed.tree_id(),
        })
    }

    /// What differs from the plain merge, plans of the run aside; or why that cannot be told.
    pub(super) fn plain(
        &self,
        repo: &Repository,
        trees: &Trees<'_>,
        plans: &BTreeSet<Vec<u8>>,
    ) -> Result<Result<Plain, String>, Error> {
        let mut plain = match self.apart(trees)? {
            Some(plain) => plain,
            None => match self.by_git(repo)? {
                Ok(plain) => plain,
                Err(why) => return Ok(Err(why)),
            },
        };
        plain.other.retain(|path| !plans.contains(path));
        Ok(Ok(plain))
    }

    /// Where no file was changed on both sides and none can have been renamed.
    fn apart(&self, trees: &Trees<'_>) -> Result<Option<Plain>, Error> {
        let paths = |changes: &[Change]| -> BTreeSet<Vec<u8>> {
            changes.iter().map(|change| change.path.clone()).collect()
        };
        // It lands as it is.
        if self.base == self.tip {
            return Ok(Some(Plain {
                other: paths(&trees.changes(self.candidate, self.landed)?),
                conflicts: BTreeSet::new(),
            }));
        }
        let theirs = trees.changes(self.base, self.tip)?;
        let ours = trees.changes(self.base, self.candidate)?;
        let (moved_on, changed) = (paths(&theirs), paths(&ours));
        let meets = |path: &Vec<u8>| {
            let mut above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let below = [path, &b"/"[..]].concat();
            moved_on.contains(path)
                || above.any(|(end, _)| moved_on.contains(&path[..end]))
                || (moved_on.range(below.clone()..).next()).is_some_and(|p| p.starts_with(&below))
        };
        if may_rename(&theirs) || may_rename(&ours) || changed.iter().any(meets) {
            return Ok(None);
        }
        // Each side's files as that side has them.
        let against_tip = paths(&trees.changes(self.tip, self.landed)?);
        let mut other: BTreeSet<Vec<u8>> = against_tip.difference(&changed).cloned().collect();
        for path in changed {
            let place = Path::new(OsStr::from_bytes(&path));
            if trees.at(self.candidate, place)? != trees.at(self.landed, place)? {
                other.insert(path);
            }
        }
        Ok(Some(Plain {
            other,
            conflicts: BTreeSet::new(),
        }))
    }

    /// Asks git, which writes what it makes into a scratch place.
    fn by_git(&self, repo: &Repository) -> Result<Result<Plain, String>, Error> {
        let scratch = match tempfile::tempdir() {
            Ok(scratch) => scratch,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let beside = Repository::init_bare(scratch.path())?;
        let objects = repo.commondir().join("objects");
        beside
            .odb()?
            .add_disk_alternate(&objects.to_string_lossy())?;
        let nobody = Signature::new("audit", "audit@localhost", &Time::new(0, 0))?;
        let commit = |tree: Oid, parents: &[&Commit<'_>]| {
            let tree = beside.find_tree(tree)?;
            beside.commit(None, &nobody, &nobody, "merge input\n", &tree, parents)
        };
        let base = beside.find_commit(commit(self.base, &[])?)?;
        let sides = [
            commit(self.tip, &[&base])?,
            commit(self.candidate, &[&base])?,
        ];
        let asked = asked(repo, scratch.path().join("objects"), objects, sides);
        let (tree, conflicts) = match asked {
            Ok(answer) => answer,
            Err(why) => return Ok(Err(why)),
        };
        let (made, landed) = (beside.find_tree(tree)?, beside.find_tree(self.landed)?);
        let diff = beside.diff_tree_to_tree(Some(&made), Some(&landed), None)?;
        Ok(Ok(Plain {
            other: paths(&diff),
            conflicts,
        }))
    }
}

/// The tree that git makes of two commits, and the paths that it leaves in conflict.
fn asked(
    repo: &Repository,
    scratch: PathBuf,
    objects: PathBuf,
    [ours, theirs]: [Oid; 2],
) -> Result<(Oid, BTreeSet<Vec<u8>>), String> {
    let git = Git::find().map_err(|error| error.to_string())?;
    let mut command = git
        .command(repo.commondir())
        .env("GIT_DIR", repo.commondir())
        .env("GIT_OBJECT_DIRECTORY", scratch)
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects);
    if git.version() >= ATTR_SOURCE_SINCE {
        command = command.arg(format!("--attr-source={ours}"));
    }
    let output = command
        .args([
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            "-z",
        ])
        .args([ours.to_string(), theirs.to_string()])
        .output()
        .map_err(|error| error.to_string())?;
    if !matches!(output.code, Some(0 | 1)) {
        return Err(output.stderr);
    }
    let mut fields = output.stdout.split(|&byte| byte == 0);
    let tree = fields.next().and_then(|id| std::str::from_utf8(id).ok());
    let tree = tree.and_then(|id| Oid::from_str(id.trim()).ok());
    let tree = tree.ok_or("`git merge-tree` answers something else than a tree")?;
    let conflicts = fields.filter(|path| !path.is_empty());
    Ok((tree, conflicts.map(<[u8]>::to_vec).collect()))
}

/// Both sides of every change.
fn paths(diff: &Diff<'_>) -> BTreeSet<Vec<u8>> {
    let files = diff
        .deltas()
        .flat_map(|delta| [delta.old_file(), delta.new_file()]);
    files
        .filter_map(|file| file.path_bytes().map(<[u8]>::to_vec))
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::engine::conflict::By;
    use crate::engine::ending::{AttemptEnd, Ending};
    use crate::engine::event::Collected;
    use crate::engine::next::Next;
    use crate::engine::usage::Usage;
    use crate::ids::{RunId, Ticket};
    use crate::time::Wall;

    /// A repository, and a commit with these files on a parent.
    struct Scene {
        _tmp: tempfile::TempDir,
        repo: Repository,
    }

    impl Scene {
        fn new() -> Self {
            let tmp = tempfile::tempdir().unwrap();
            let repo = Repository::init(tmp.path()).unwrap();
            Self { _tmp: tmp, repo }
        }

        fn commit(&self, parent: Option<Oid>, files: &[(&str, &str)]) -> Oid {
            let mut builder = self.repo.treebuilder(None).unwrap();
            for (name, text) in files {
                let blob = self.repo.blob(text.as_bytes()).unwrap();
                builder.insert(name, blob, 0o100_644).unwrap();
            }
            let tree = self.repo.find_tree(builder.write().unwrap()).unwrap();
            let who = Signature::new("a", "a@b", &Time::new(0, 0)).unwrap();
            let parent = parent.map(|id| self.repo.find_commit(id).unwrap());
            let parents: Vec<&Commit<'_>> = parent.iter().collect();
            self.repo
                .commit(None, &who, &who, "x", &tree, &parents)
                .unwrap()
        }

        /// What is found of a landing of `candidate` as `landed`, with files that a record calls answered.
        fn found(&self, candidate: Oid, landed: Oid, answered: &[&str]) -> Vec<String> {
            let run = RunId::parse("20261121-063312-k3f9").unwrap();
            let ticket = Ticket {
                task: TaskId::parse("1").unwrap(),
                attempt: 1,
                epoch: 4,
            };
            let id = |oid: Oid| ObjectId::new(oid.to_string());
            let answers = answered.iter().map(|file| Answered {
                file: (*file).to_owned(),
                by: By::Union,
            });
            let end = AttemptEnd::new(Ending::Success, "");
            let left = Collected {
                candidate: Some(id(candidate)),
                ..Collected::nothing(end, Usage::default())
            };
            let records = [
                Record::collected(ticket.clone(), left, Next::Land),
                Record::ConflictsAnswered {
                    ticket: ticket.clone(),
                    commit: id(landed),
                    onto: id(landed),
                    answers: answers.collect(),
                },
                Record::Landed {
                    ticket,
                    commit: id(landed),
                    verified: true,
                    generation: 1,
                },
            ];
            let records: Vec<Stamped> = records
                .into_iter()
                .map(|record| Stamped {
                    seq: 1,
                    run: run.clone(),
                    at: Wall(0),
                    record,
                })
                .collect();
            let mut report = Report::default();
            let trees = Trees::of(&self.repo).unwrap();
            let mut merges = Reading::of(&self.repo, &trees);
            for stamped in &records {
                merges.follow(&mut report, stamped);
            }
            report.findings.into_iter().map(|f| f.message).collect()
        }
    }

    const NONE: Vec<String> = Vec::new();

    #[test]
    fn a_landing_that_is_the_plain_merge_is_sound_and_one_with_more_in_it_is_not() {
        let scene = Scene::new();
        let base = scene.commit(None, &[("a", "1\n2\n3\n4\n5\n"), ("b", "b\n")]);
        for (ours, both) in [
            (
                &[("a", "1\n2\n3\n4\n5\n"), ("b", "ours\n")],
                "theirs\n2\n3\n4\n5\n",
            ),
            (
                &[("a", "1\n2\n3\n4\nours\n"), ("b", "b\n")],
                "theirs\n2\n3\n4\nours\n",
            ),
        ] {
            let tip = scene.commit(Some(base), &[("a", "theirs\n2\n3\n4\n5\n"), ("b", "b\n")]);
            let candidate = scene.commit(Some(base), ours);
            let merged = [("a", both), ours[1]];
            let landed = scene.commit(Some(tip), &merged);
            assert_eq!(scene.found(candidate, landed, &[]), NONE);
            let more = scene.commit(Some(tip), &[merged[0], merged[1], ("c", "hidden\n")]);
            let found = scene.found(candidate, more, &[]);
            assert!(
                found[0].contains("in `c`, and no record says why"),
                "{found:?}"
            );
            // A side that was dropped is no merge either.
            let dropped = scene.commit(Some(tip), ours);
            assert_eq!(scene.found(candidate, dropped, &[]).len(), 1);
            // On the tip that it was made on, it lands as it is.
            let as_it_is = scene.commit(Some(base), ours);
            assert_eq!(scene.found(candidate, as_it_is, &[]), NONE);
            let altered = scene.commit(Some(base), &[("a", "else"), ours[1]]);
            assert_eq!(scene.found(candidate, altered, &[]).len(), 1);
        }
    }

    #[test]
    fn a_settled_conflict_needs_a_record_that_names_its_files_and_explains_no_others() {
        let scene = Scene::new();
        let base = scene.commit(None, &[("a", "1\n"), ("b", "b\n")]);
        let tip = scene.commit(Some(base), &[("a", "1\ntheirs\n"), ("b", "b\n")]);
        let candidate = scene.commit(Some(base), &[("a", "1\nours\n"), ("b", "b\n")]);
        let landed = scene.commit(Some(tip), &[("a", "1\ntheirs\nours\n"), ("b", "b\n")]);
        assert_eq!(scene.found(candidate, landed, &["a"]), NONE);
        for answered in [&[][..], &["b"], &["a", "b"]] {
            let found = scene.found(candidate, landed, answered);
            assert!(
                found[0].contains("git leaves conflicts in `a`"),
                "{found:?}"
            );
        }
        let more = scene.commit(Some(tip), &[("a", "1\ntheirs\nours\n"), ("b", "else\n")]);
        let found = scene.found(candidate, more, &["a"]);
        assert!(
            found[0].contains("in `b`, and no record says why"),
            "{found:?}"
        );
    }
}

//! Three-way merges in memory: what lands of a candidate when the tip has moved since its base.
//!
//! The answer is always git's own. Where no file was changed on both sides and no file can have been renamed, there
//! is only one answer, and it is put together here; everything else (contents, renames, merge drivers, attributes) is
//! `git merge-tree`'s. libgit2's merge is not used: it knows no merge drivers and no directory renames, and its line
//! diff is another one. What git leaves in conflict, a person may have settled beforehand for some files, see `union`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};

use super::program::{Git, GitError, Version};
use super::tree::{Entry, entry_at, object_id, tree_of, with_entry};
use super::union::{UnionError, Unmerged, Version as FileVersion, tips_file, union};
use crate::ids::ObjectId;

/// The first git that takes attributes from a tree instead of from whatever lies in the working copy.
const ATTR_SOURCE_SINCE: Version = Version(2, 41);

/// What came of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// It fits. The merged tree; equal to the tip's if the tip has it all.
    Clean {
        /// The tree.
        tree: ObjectId,
    },
    /// It fits with what was said beforehand about every file in conflict. Paths are relative to the top of the
    /// repository, and sorted.
    Answered {
        /// The tree: the tip's version of each file that is to be made anew.
        tree: ObjectId,
        /// Files in which the lines of both sides stand.
        united: Vec<String>,
        /// Files that are to be made anew from the tree.
        to_make: Vec<String>,
    },
    /// It does not fit; the files in conflict, sorted.
    Conflict {
        /// Paths relative to the top of the repository.
        files: Vec<String>,
        /// The tree with both sides between marks in these files, if they are all text that both sides have.
        marked: Option<ObjectId>,
    },
}

/// What was said beforehand about conflicts in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The lines of both sides are right.
    Union,
    /// It can be made anew from the other files, whatever either side made of it.
    Remade,
}

/// Why no answer was found.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The object store refused.
    #[error("cannot merge {candidate} onto {tip}")]
    Objects {
        /// The commit to be merged.
        candidate: ObjectId,
        /// The commit merged onto.
        tip: ObjectId,
        /// The refusal.
        #[source]
        cause: git2::Error,
    },
    /// `git merge-tree` could not be asked.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file's lines could not be put together.
    #[error("cannot take the lines of both sides in `{file}`")]
    Union {
        /// Its path.
        file: String,
        /// Why.
        #[source]
        cause: UnionError,
    },
}

/// Merges what `candidate` changed since `base` into `tip`. All three are commits (or trees).
///
/// The file at `apart` (the plan) takes no part: the result has the tip's version of it, or none if the tip has none.
/// If git leaves conflicts, and all of them are about contents of files of which `known` knows what is right, that is
/// done; else the conflicts stay, all of them.
///
/// # Errors
/// If an object cannot be read or written, or git cannot be run.
pub fn merge(
    git: &Git,
    repo: &Repository,
    base: &ObjectId,
    tip: &ObjectId,
    candidate: &ObjectId,
    apart: Option<&Path>,
    known: &dyn Fn(&str) -> Option<Known>,
) -> Result<Merge, MergeError> {
    let objects = |cause| MergeError::Objects {
        candidate: candidate.clone(),
        tip: tip.clone(),
        cause,
    };
    let sides = Sides::read(repo, [base, tip, candidate], apart).map_err(objects)?;
    match sides.merge_apart_changes(repo).map_err(objects)? {
        Some(tree) => Ok(Merge::Clean {
            tree: object_id(tree),
        }),
        None => {
            let [ours, theirs] = sides.as_commits(repo).map_err(objects)?;
            match merge_by_git(git, repo, ours, theirs)? {
                Some(Answer::Clean(tree)) => Ok(Merge::Clean {
                    tree: object_id(tree),
                }),
                Some(Answer::Conflict(conflict)) => {
                    let answered = conflict.answered(git, repo, known, objects)?;
                    Ok(answered.unwrap_or_else(|| Merge::Conflict {
                        marked: conflict.marked().map(object_id),
                        files: conflict.files,
                    }))
                }
                None => Ok(Merge::Conflict {
                    files: sides.files_of_candidate(repo).map_err(objects)?,
                    marked: None,
                }),
            }
        }
    }
}

/// The three trees of a merge.
struct Sides<'r> {
    base: Tree<'r>,
    tip: Tree<'r>,
    candidate: Tree<'r>,
}

impl<'r> Sides<'r> {
    /// The file at `apart` stands in all three as it stands in the tip, so that no side changes it.
    fn read(
        repo: &'r Repository,
        ids: [&ObjectId; 3],
        apart: Option<&Path>,
    ) -> Result<Self, git2::Error> {
        let [base, tip, candidate] = ids.map(|id| tree_of(repo, id));
        let tip = tip?;
        let of_tip = match apart {
            Some(path) => Some((path, entry_at(&tip, path)?)),
            None => None,
        };
        let like_tip = |tree: Tree<'r>| match of_tip {
            Some((path, entry)) if entry_at(&tree, path)? != entry => {
                repo.find_tree(with_entry(repo, &tree, path, entry)?)
            }
            _ => Ok(tree),
        };
        Ok(Self {
            base: like_tip(base?)?,
            candidate: like_tip(candidate?)?,
            tip,
        })
    }

    /// The merged tree, if there can be only one answer: one side changed nothing, or no file was changed on both and
    /// none can have been renamed.
    fn merge_apart_changes(&self, repo: &Repository) -> Result<Option<Oid>, git2::Error> {
        if self.tip.id() == self.base.id() {
            return Ok(Some(self.candidate.id()));
        }
        if self.candidate.id() == self.base.id() || self.candidate.id() == self.tip.id() {
            return Ok(Some(self.tip.id()));
        }
        if may_rename(repo, &self.base, &self.tip)?
            || may_rename(repo, &self.base, &self.candidate)?
        {
            return Ok(None);
        }
        let trees = [Some(&self.base), Some(&self.tip), Some(&self.candidate)];
        match merge_entries(repo, trees)? {
            Merged::Tree(Some(tree)) => Ok(Some(tree)),
            Merged::Tree(None) => repo.treebuilder(None)?.write().map(Some),
            Merged::NeedsGit => Ok(None),
        }
    }

    /// What the candidate changed.
    fn files_of_candidate(&self, repo: &Repository) -> Result<Vec<String>, git2::Error> {
        let diff = repo.diff_tree_to_tree(Some(&self.base), Some(&self.candidate), None)?;
        let path = |delta: git2::DiffDelta<'_>| {
            let path = delta
                .new_file()
                .path_bytes()
                .or(delta.old_file().path_bytes());
            path.map(|path| String::from_utf8_lossy(path).into_owned())
        };
        let files: BTreeSet<String> = diff.deltas().filter_map(path).collect();
        Ok(files.into_iter().collect())
    }

    /// The tip and the candidate as commits whose merge base is the base: git before 2.40 finds the base by itself.
    fn as_commits(&self, repo: &Repository) -> Result<[Oid; 2], git2::Error> {
        let orch = git2::Signature::new("orch", "orch@localhost", &git2::Time::new(0, 0))?;
        let commit = |tree, parents: &[&git2::Commit<'_>]| {
            repo.commit(None, &orch, &orch, "merge input\n", tree, parents)
        };
        let base = repo.find_commit(commit(&self.base, &[])?)?;
        Ok([
            commit(&self.tip, &[&base])?,
            commit(&self.candidate, &[&base])?,
        ])
    }
}

/// A rename is a file that went and one that came.
fn may_rename(repo: &Repository, old: &Tree<'_>, new: &Tree<'_>) -> Result<bool, git2::Error> {
    let diff = repo.diff_tree_to_tree(Some(old), Some(new), None)?;
    let has = |status| diff.deltas().any(|delta| delta.status() == status);
    Ok(has(git2::Delta::Added) && has(git2::Delta::Deleted))
}

enum Merged {
    /// None for a tree with nothing in it.
    Tree(Option<Oid>),
    /// Something was changed on both sides.
    NeedsGit,
}

/// Merges directory by directory, the base first; what is equal on two sides is not looked into. Depth is bounded by
/// git's own limit on paths.
fn merge_entries(repo: &Repository, trees: [Option<&Tree<'_>>; 3]) -> Result<Merged, git2::Error> {
    let mut result = repo.treebuilder(trees[1])?;
    let names: BTreeSet<Vec<u8>> = trees
        .into_iter()
        .flatten()
        .flat_map(|tree| tree.iter().map(|entry| entry.name_bytes().to_owned()))
        .collect();
    for name in names {
        let [base, tip, candidate] = trees.map(|tree| entry_named(tree, &name));
        let [b, t, c] = [&base, &tip, &candidate].map(|e| e.as_ref().map(Entry::of));
        let merged = if t == c || b == c {
            continue;
        } else if b == t {
            c
        } else {
            let entries = [base.as_ref(), tip.as_ref(), candidate.as_ref()];
            match merge_directories(repo, entries)? {
                Merged::Tree(id) => id.map(Entry::directory),
                Merged::NeedsGit => return Ok(Merged::NeedsGit),
            }
        };
        match merged {
            Some(Entry { id, mode }) => drop(result.insert(&name, id, mode)?),
            None if t.is_some() => result.remove(&name)?,
            None => {}
        }
    }
    Ok(Merged::Tree(if result.is_empty() {
        None
    } else {
        Some(result.write()?)
    }))
}

fn merge_directories(
    repo: &Repository,
    entries: [Option<&TreeEntry<'_>>; 3],
) -> Result<Merged, git2::Error> {
    let is_directory = |entry: &&TreeEntry<'_>| entry.kind() == Some(ObjectType::Tree);
    if !entries.iter().flatten().all(is_directory) {
        return Ok(Merged::NeedsGit);
    }
    let read = |entry: Option<&TreeEntry<'_>>| entry.map(|e| repo.find_tree(e.id())).transpose();
    let [base, tip, candidate] = entries.map(read);
    let (base, tip, candidate) = (base?, tip?, candidate?);
    merge_entries(repo, [base.as_ref(), tip.as_ref(), candidate.as_ref()])
}

fn entry_named(tree: Option<&Tree<'_>>, name: &[u8]) -> Option<TreeEntry<'static>> {
    tree?.get_name_bytes(name).map(|entry| entry.to_owned())
}

/// What git says of a merge.
enum Answer {
    Clean(Oid),
    Conflict(Conflict),
}

/// What git could not merge.
struct Conflict {
    /// The tree, with marks of conflict in its files.
    tree: Oid,
    /// Every path that is in conflict in any way, sorted.
    files: Vec<String>,
    unmerged: Unmerged,
    /// Whether no more is wrong than contents, of text or not.
    is_of_contents: bool,
    /// Whether a file is no text.
    is_binary: bool,
}

impl Conflict {
    /// Whether every file in conflict is one that both sides have, and nothing else is wrong.
    fn is_of_files(&self) -> bool {
        let unmerged = self.unmerged.keys().map(Vec::as_slice);
        self.is_of_contents && unmerged.eq(self.files.iter().map(String::as_bytes))
    }

    /// The tree with marks, if both sides of every conflict stand between them.
    fn marked(&self) -> Option<Oid> {
        let on_both_sides = |versions| tips_file(versions).is_some();
        let is_marked =
            self.is_of_files() && !self.is_binary && self.unmerged.values().all(on_both_sides);
        is_marked.then_some(self.tree)
    }

    /// The tree with what is known to be right in every file in conflict, if that is known of all of them.
    fn answered(
        &self,
        git: &Git,
        repo: &Repository,
        known: &dyn Fn(&str) -> Option<Known>,
        objects: impl Fn(git2::Error) -> MergeError,
    ) -> Result<Option<Merge>, MergeError> {
        let answers: Option<Vec<Known>> = self.files.iter().map(|file| known(file)).collect();
        let Some(answers) = answers.filter(|_| self.is_of_files()) else {
            return Ok(None);
        };
        let mut tree = self.tree;
        let (mut united, mut to_make) = (Vec::new(), Vec::new());
        for ((file, versions), answer) in self.files.iter().zip(self.unmerged.values()).zip(answers)
        {
            let failed = |cause| MergeError::Union {
                file: file.clone(),
                cause,
            };
            let found = match answer {
                Known::Union => union(git, repo, versions).map_err(failed)?,
                Known::Remade => tips_file(versions),
            };
            let Some(id) = found else {
                return Ok(None);
            };
            match answer {
                Known::Union => united.push(file.clone()),
                Known::Remade => to_make.push(file.clone()),
            }
            let found = repo.find_tree(tree).map_err(&objects)?;
            let path = Path::new(file);
            let Some(Entry { mode, .. }) = entry_at(&found, path).map_err(&objects)? else {
                return Ok(None);
            };
            tree = with_entry(repo, &found, path, Some(Entry { id, mode })).map_err(&objects)?;
        }
        Ok(Some(Merge::Answered {
            tree: object_id(tree),
            united,
            to_make,
        }))
    }
}

/// Asks git, outside any working copy: with the attributes of `ours`, where git can take them from there. None if git
/// died of it: its merge has assertions that fail on some files that became directories on one side and were moved on
/// the other (seen with 2.47).
fn merge_by_git(
    git: &Git,
    repo: &Repository,
    ours: Oid,
    theirs: Oid,
) -> Result<Option<Answer>, MergeError> {
    let mut command = git
        .command(repo.commondir())
        .env("GIT_DIR", repo.commondir());
    if git.version() >= ATTR_SOURCE_SINCE {
        command = command.arg(format!("--attr-source={ours}"));
    }
    let output = command
        .args(["merge-tree", "--write-tree", "-z"])
        .args([ours.to_string(), theirs.to_string()])
        .output()?;
    let unexpected = || GitError::unexpected("git merge-tree", &output.stdout);
    match output.code {
        Some(0) => {
            let tree = output.stdout.split(|&b| b == 0).next().unwrap_or_default();
            Ok(Some(Answer::Clean(oid(tree).ok_or_else(unexpected)?)))
        }
        Some(1) => Ok(Some(Answer::Conflict(
            read_conflict(&output.stdout, [ours, theirs]).ok_or_else(unexpected)?,
        ))),
        None => Ok(None),
        code => Err(MergeError::Git(GitError::Failed {
            command: "git merge-tree".to_owned(),
            code,
            stderr: output.stderr,
        })),
    }
}

/// Reads the output of `merge-tree -z`: a tree, the versions left unmerged (`mode id stage<TAB>path`), an empty field,
/// then messages (count of paths, the paths, kind, text). A conflict about whole directories leaves no file unmerged and
/// is only told in the messages. Where a file and a directory want one name, git calls the file `name~commit`. None if
/// it reads otherwise.
fn read_conflict(output: &[u8], commits: [Oid; 2]) -> Option<Conflict> {
    let mut fields = output.strip_suffix(b"\0")?.split(|&b| b == 0);
    let tree = oid(fields.next()?)?;
    let mut unmerged: Unmerged = BTreeMap::new();
    for field in fields.by_ref().take_while(|field| !field.is_empty()) {
        let (path, stage, version) = read_version(field)?;
        let versions = unmerged.entry(path).or_default();
        *versions.get_mut(stage.checked_sub(1)?)? = Some(version);
    }
    let mut paths: BTreeSet<&[u8]> = unmerged.keys().map(Vec::as_slice).collect();
    let (mut is_of_contents, mut is_binary) = (true, false);
    while let Some(count) = fields.next() {
        let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
        let named: Vec<&[u8]> = fields.by_ref().take(count).collect();
        let (kind, _text) = (fields.next()?, fields.next()?);
        if kind.starts_with(b"CONFLICT") {
            paths.extend(named);
            is_binary |= kind == b"CONFLICT (binary)";
            is_of_contents &= [&b"CONFLICT (contents)"[..], b"CONFLICT (binary)"].contains(&kind);
        }
    }
    let suffixes = commits.map(|commit| format!("~{commit}"));
    let own_name = |path: &[u8]| {
        let path = String::from_utf8_lossy(path).into_owned();
        let at = suffixes.iter().find_map(|suffix| path.rfind(suffix));
        path[..at.unwrap_or(path.len())].to_owned()
    };
    let files: BTreeSet<String> = paths.into_iter().map(own_name).collect();
    Some(Conflict {
        tree,
        files: files.into_iter().collect(),
        unmerged,
        is_of_contents,
        is_binary,
    })
}

/// Path, stage and version of a file left unmerged.
fn read_version(field: &[u8]) -> Option<(Vec<u8>, usize, FileVersion)> {
    let tab = field.iter().position(|&b| b == b'\t')?;
    let mut words = std::str::from_utf8(&field[..tab]).ok()?.split(' ');
    let (mode, id, stage) = (words.next()?, words.next()?, words.next()?);
    let version = FileVersion {
        mode: mode.to_owned(),
        id: Oid::from_str(id).ok()?,
    };
    Some((field[tab + 1..].to_vec(), stage.parse().ok()?, version))
}

fn oid(text: &[u8]) -> Option<Oid> {
    Oid::from_str(std::str::from_utf8(text).ok()?).ok()
}

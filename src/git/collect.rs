//! Reading the files that an agent left into a tree.
//!
//! Only files count: what the agent committed, staged, stashed, excluded or configured in its own git directory is not
//! looked at. Objects go straight into the user's object store.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::include::names;
use super::left_out::{LeftOut, Limits, Reason, is_secret};
use super::program::GitOutput;
use super::repository::as_path;
use super::slot::error::SlotError;
use super::slot::{EXCHANGE_DIR, Slot, files};
use crate::ids::ObjectId;

/// Most files among which renames are looked for: the search grows with the square.
const RENAMES_MAX: usize = 200;

/// What an attempt left, in git's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The tree of the files; that of the base if nothing changed.
    pub tree: ObjectId,
    /// How it differs from the base, by path.
    pub changes: Vec<Change>,
    /// What is not in it.
    pub left_out: Vec<LeftOut>,
}

/// One file that differs from the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it is (was, if deleted), relative to the top.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

impl Change {
    /// The paths it is about: where the file is, and where it was if it was renamed.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let from = match &self.kind {
            ChangeKind::Renamed { from } => Some(from.as_path()),
            ChangeKind::Added
            | ChangeKind::Modified
            | ChangeKind::Deleted
            | ChangeKind::TypeChanged => None,
        };
        std::iter::once(self.path.as_path()).chain(from)
    }
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or its executable bit changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It became another kind of thing: a file a symbolic link, for example.
    TypeChanged,
    /// It was at `from`, with the same or similar content.
    Renamed {
        /// Where it was.
        from: PathBuf,
    },
}

/// Reads the files of `slot`, whose attempt started on `base`, into a tree. No process of the attempt may live any more.
///
/// # Errors
/// If the working tree is gone, or git cannot read it (a required filter fails, for example).
pub fn collect(slot: &mut Slot, base: &ObjectId, limits: Limits) -> Result<Collected, SlotError> {
    let tree = slot.tree();
    if !std::fs::symlink_metadata(&tree).is_ok_and(|found| found.is_dir()) {
        return Err(SlotError::Gone(tree));
    }
    slot.unlock_index()?;
    if !slot.index().is_file() {
        slot.git()?.args(["read-tree", base.as_str()]).run()?;
    }
    let mut survey = Survey::of(slot, limits)?;
    for path in slot.special_files()? {
        survey.leave_out(path, Reason::NoFile);
    }
    let refused = add(slot, &survey)?;
    survey.left_out.extend(refused);
    for path in slot.submodules(base)? {
        if holds_stray_files(&tree.join(&path))? {
            survey.leave_out(path, Reason::Submodule);
        }
    }
    let opened = slot.repository().open()?;
    let mut collected =
        compare(&opened, &slot.index(), base).map_err(|cause| slot.libgit2(cause))?;
    collected.left_out.extend(survey.left_out);
    collected.left_out.sort_by(|a, b| a.path.cmp(&b.path));
    collected.left_out.dedup_by(|a, b| a.path == b.path);
    collected.changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(collected)
}

/// The untracked files of a slot, judged.
#[derive(Debug, Default)]
struct Survey {
    taken: Vec<Untracked>,
    left_out: Vec<LeftOut>,
    /// Files that orch put there.
    own: Vec<PathBuf>,
}

#[derive(Debug)]
struct Untracked {
    path: PathBuf,
    bytes: u64,
}

impl Survey {
    fn of(slot: &Slot, limits: Limits) -> Result<Self, SlotError> {
        let listed = list_untracked(slot, &[])?;
        let included: HashSet<PathBuf> = slot.noted_included()?.into_iter().collect();
        let mut survey = Self::default();
        for name in listed
            .stdout
            .split(|byte| *byte == 0)
            .filter(|n| !n.is_empty())
        {
            let path = as_path(name.strip_suffix(b"/").unwrap_or(name)).to_owned();
            if name.ends_with(b"/") {
                survey.leave_out(path, Reason::NestedRepository);
            } else if included.contains(&path) {
                survey.own.push(path);
            } else if !path.starts_with(EXCHANGE_DIR) {
                survey.judge(slot, path, limits)?;
            }
        }
        for dir in unreadable_dirs(&listed.stderr) {
            survey.leave_out(dir, Reason::Unreadable);
        }
        if survey.bytes() > limits.total_bytes {
            survey.drop_largest(slot, limits)?;
        }
        Ok(survey)
    }

    fn leave_out(&mut self, path: PathBuf, why: Reason) {
        self.left_out.push(LeftOut { path, why });
    }

    fn bytes(&self) -> u64 {
        self.taken.iter().map(|file| file.bytes).sum()
    }

    fn judge(&mut self, slot: &Slot, path: PathBuf, limits: Limits) -> Result<(), SlotError> {
        let full = slot.tree().join(&path);
        let found = std::fs::symlink_metadata(&full)
            .map_err(|cause| SlotError::io("look at", &full, cause))?;
        // A symbolic link is put into git as what it says, not as what it points to.
        let bytes = if found.is_file() { found.len() } else { 0 };
        let secret = match path.file_name() {
            Some(name) if found.is_file() => is_secret(name, &full),
            _ => Ok(false),
        };
        match secret {
            Ok(true) => self.leave_out(path, Reason::Secret),
            Ok(false) if bytes > limits.file_bytes => self.leave_out(path, Reason::TooLarge),
            Ok(false) => self.taken.push(Untracked { path, bytes }),
            Err(_) => self.leave_out(path, Reason::Refused),
        }
        Ok(())
    }

    /// Leaves out untracked directories (or files) until the rest is within the limit: the largest whole, and of the
    /// last one only the smallest part that is enough, so that `frontend/node_modules` goes and `frontend/src` stays.
    fn drop_largest(&mut self, slot: &Slot, limits: Limits) -> Result<(), SlotError> {
        let listed = list_untracked(slot, &["--directory", "--no-empty-directory"])?;
        let tops: HashSet<&Path> = names(&listed.stdout).collect();
        let mut parts: HashMap<&Path, Parts<'_>> = HashMap::new();
        for file in &self.taken {
            let mut above: Vec<&Path> = file.path.ancestors().collect();
            let top = above
                .iter()
                .rposition(|dir| tops.contains(dir))
                .unwrap_or(0);
            above.truncate(top + 1);
            let group = parts.entry(above[top]).or_default();
            for part in above {
                *group.entry(part).or_default() += file.bytes;
            }
        }
        let mut excess = self.bytes().saturating_sub(limits.total_bytes);
        let mut groups: Vec<(u64, &Path)> = parts.iter().map(|(top, g)| (g[top], *top)).collect();
        groups.sort();
        let mut dropped = Vec::new();
        for (bytes, top) in groups.into_iter().rev() {
            if excess <= bytes {
                let enough = parts[top].iter().filter(|(_, bytes)| **bytes >= excess);
                let least = enough.min_by_key(|(part, bytes)| (**bytes, part.components().count()));
                dropped.extend(least.map(|(part, _)| part.to_path_buf()));
                break;
            }
            dropped.push(top.to_owned());
            excess -= bytes;
        }
        for part in dropped {
            self.taken.retain(|file| !file.path.starts_with(&part));
            self.left_out.retain(|left| !left.path.starts_with(&part));
            self.leave_out(part, Reason::TooMuch);
        }
        Ok(())
    }
}

/// An untracked directory and all directories and files in it, with their bytes.
type Parts<'a> = HashMap<&'a Path, u64>;

fn list_untracked(slot: &Slot, how: &[&str]) -> Result<GitOutput, SlotError> {
    let command = slot
        .git()?
        .args(["ls-files", "-z", "--others", "--exclude-standard"]);
    Ok(command.args(how.iter().copied()).output()?.success()?)
}

/// The directories that git warned it could not look into.
fn unreadable_dirs(complaints: &str) -> impl Iterator<Item = PathBuf> {
    complaints.lines().filter_map(|line| {
        let (_, rest) = line.split_once("could not open directory '")?;
        let (dir, _) = rest.rsplit_once("': ")?;
        Some(PathBuf::from(dir.trim_end_matches('/')))
    })
}

/// Whether an unpopulated submodule directory holds files, which git does not see.
fn holds_stray_files(dir: &Path) -> Result<bool, SlotError> {
    if std::fs::symlink_metadata(dir.join(".git")).is_ok() {
        return Ok(false);
    }
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(SlotError::io("list", dir, e)),
    }
}

/// Brings orch's index up to the files, without those left out; what git refused on the way.
fn add(slot: &Slot, survey: &Survey) -> Result<Vec<LeftOut>, SlotError> {
    let mut specs = b":/".to_vec();
    let left_out = survey.left_out.iter().map(|left| left.path.as_path());
    let own = survey.own.iter().map(PathBuf::as_path);
    for path in left_out.chain(own).chain([Path::new(EXCHANGE_DIR)]) {
        specs.extend(b"\0:(exclude,top,literal)");
        specs.extend(path.as_os_str().as_encoded_bytes());
    }
    files::write(&slot.pathspecs(), &specs)?;
    let mut from_file = OsString::from("--pathspec-from-file=");
    from_file.push(slot.pathspecs());
    let add = |how: &[&str]| -> Result<GitOutput, SlotError> {
        let command = slot.git()?.args(["add", "--all", "--sparse"]);
        let command = command.args(how.iter().copied()).arg(&from_file);
        Ok(command.arg("--pathspec-file-nul").output()?)
    };
    if add(&[])?.code == Some(0) {
        return Ok(Vec::new());
    }
    let again = add(&["--ignore-errors"])?;
    // Exit code 1 means that some were refused and all others taken.
    if again.code != Some(1) {
        again.success()?;
    }
    refused(slot, survey)
}

/// What orch's index should hold and does not: new files that are not in it, and tracked ones that still differ.
fn refused(slot: &Slot, survey: &Survey) -> Result<Vec<LeftOut>, SlotError> {
    let index = git2::Index::open(&slot.index()).map_err(|cause| slot.libgit2(cause))?;
    let new = survey.taken.iter().map(|file| file.path.as_path());
    let new = new.filter(|path| index.get_path(path, 0).is_none());
    let command = slot.git()?.args(["diff-files", "-z", "--name-only"]);
    let differing = command.arg("--ignore-submodules=all").run()?;
    let differing = names(&differing).filter(|path| !path.starts_with(EXCHANGE_DIR));
    let refused = new.chain(differing).map(|path| LeftOut {
        path: path.to_owned(),
        why: Reason::Refused,
    });
    Ok(refused.collect())
}

/// The tree of orch's index, and how it differs from the base. Submodules stay as the base has them, unless they were
/// deleted: a commit made inside of one exists nowhere else.
fn compare(
    opened: &git2::Repository,
    index: &Path,
    base: &ObjectId,
) -> Result<Collected, git2::Error> {
    let base = opened.revparse_single(base.as_str())?.peel_to_tree()?;
    let mut index = git2::Index::open(index)?;
    let mut written = index.write_tree_to(opened)?;
    let mut options = git2::DiffOptions::new();
    options.include_typechange(true).ignore_submodules(false);
    let mut diff_to = |tree| -> Result<git2::Diff<'_>, git2::Error> {
        let tree = opened.find_tree(tree)?;
        opened.diff_tree_to_tree(Some(&base), Some(&tree), Some(&mut options))
    };
    let mut diff = diff_to(written)?;
    let stray: Vec<LeftOut> = diff
        .deltas()
        .filter_map(|delta| stray_submodule(&delta))
        .collect();
    if !stray.is_empty() {
        for delta in diff
            .deltas()
            .filter(|delta| stray_submodule(delta).is_some())
        {
            put_back(&mut index, &delta)?;
        }
        written = index.write_tree_to(opened)?;
        diff = diff_to(written)?;
    }
    let mut similar = git2::DiffFindOptions::new();
    diff.find_similar(Some(similar.renames(true).rename_limit(RENAMES_MAX)))?;
    Ok(Collected {
        tree: ObjectId::new(written.to_string()),
        changes: diff.deltas().filter_map(|delta| change(&delta)).collect(),
        left_out: stray,
    })
}

/// A submodule that is new, or stands at another commit than in the base.
fn stray_submodule(delta: &git2::DiffDelta<'_>) -> Option<LeftOut> {
    let (old, new) = (delta.old_file(), delta.new_file());
    if new.mode() != git2::FileMode::Commit {
        return None;
    }
    let why = match old.mode() {
        git2::FileMode::Commit => Reason::Submodule,
        _ => Reason::NestedRepository,
    };
    let path = as_path(new.path_bytes()?).to_owned();
    Some(LeftOut { path, why })
}

/// Gives `index` the entry that the base has, or none.
fn put_back(index: &mut git2::Index, delta: &git2::DiffDelta<'_>) -> Result<(), git2::Error> {
    let (old, new) = (delta.old_file(), delta.new_file());
    let path = new.path_bytes().unwrap_or_default();
    if !old.exists() {
        return index.remove_path(as_path(path));
    }
    index.add(&git2::IndexEntry {
        ctime: git2::IndexTime::new(0, 0),
        mtime: git2::IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: u32::from(old.mode()),
        uid: 0,
        gid: 0,
        file_size: 0,
        id: old.id(),
        flags: 0,
        flags_extended: 0,
        path: path.to_vec(),
    })
}

fn change(delta: &git2::DiffDelta<'_>) -> Option<Change> {
    let path_of = |file: git2::DiffFile<'_>| file.path_bytes().map(|path| as_path(path).to_owned());
    let (from, path) = (path_of(delta.old_file()), path_of(delta.new_file()));
    let kind = match delta.status() {
        git2::Delta::Added => ChangeKind::Added,
        git2::Delta::Deleted => ChangeKind::Deleted,
        git2::Delta::Typechange => ChangeKind::TypeChanged,
        git2::Delta::Renamed => ChangeKind::Renamed {
            from: from.clone()?,
        },
        _ => ChangeKind::Modified,
    };
    Some(Change {
        path: path.or(from)?,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_git_could_not_open_are_read_from_its_warnings() {
        let complaints =
            "warning: could not open directory 'it's: here/': Permission denied\nwarning: other\n";
        let dirs: Vec<PathBuf> = unreadable_dirs(complaints).collect();
        assert_eq!(dirs, [PathBuf::from("it's: here")]);
    }
}

//! What is taken of a session that was to resolve a conflict: changes of the files in conflict and no others, with no mark
//! left, and neither side thrown away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use git2::Repository;

use super::{PATHS_SHOWN, Work};
use crate::driver::attempt::Contest;
use crate::driver::site::Site;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::git::tree::{Content, content_at, paths_between, same_file};
use crate::ids::ObjectId;

/// How the lines begin between which git puts what both sides have, and the one that stands between them.
const MARKS: [&[u8]; 4] = [b"<<<<<<<", b"=======", b"|||||||", b">>>>>>>"];

impl Work {
    /// Why the conflict is not resolved, although the session says that it is done.
    pub(in crate::driver::executor::collect) fn unresolved(
        &self,
        site: &Site,
        contest: &Contest,
    ) -> anyhow::Result<Option<AttemptEnd>> {
        let repo = site.repo.open()?;
        if let Some(end) = self.beyond(&repo, contest)? {
            return Ok(Some(end));
        }
        let why = self.unfit(&repo, contest)?;
        Ok(why.map(|why| AttemptEnd::new(Ending::Conflict, why)))
    }

    /// A change of anything but the files in conflict.
    fn beyond(
        &self,
        repo: &Repository,
        contest: &Contest,
    ) -> Result<Option<AttemptEnd>, git2::Error> {
        let allowed: BTreeSet<PathBuf> = contest.files.iter().map(PathBuf::from).collect();
        let changed = paths_between(repo, &contest.marked, &self.tree)?;
        let mut beyond: Vec<String> = changed
            .difference(&allowed)
            .map(|path| format!("`{}`", path.display()))
            .collect();
        if !matches!(self.plan, Ok(None)) {
            beyond.push("the plan".to_owned());
        }
        if beyond.is_empty() {
            return Ok(None);
        }
        let more = beyond.len().saturating_sub(PATHS_SHOWN);
        beyond.truncate(PATHS_SHOWN);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Ok(Some(AttemptEnd::new(
            Ending::OutOfScope,
            format!(
                "whoever resolves a conflict may change {} and nothing else, and changed {}{more}",
                contest.files.join(", "),
                beyond.join(", ")
            ),
        )))
    }

    /// A file in conflict that is not what both sides could have written.
    fn unfit(&self, repo: &Repository, contest: &Contest) -> anyhow::Result<Option<String>> {
        for file in &contest.files {
            let path = Path::new(file);
            let [left, marked, mine, theirs] =
                [&self.tree, &contest.marked, &contest.candidate, &self.base]
                    .map(|tree| bytes_at(repo, tree, path));
            let Some(left) = left? else {
                return Ok(Some(format!("no file is left at `{file}`")));
            };
            let [marked, mine, theirs] = [marked?, mine?, theirs?].map(Option::unwrap_or_default);
            let (marked, mine, theirs) = (marks(&marked), marks(&mine), marks(&theirs));
            let is_left = |line: &&[u8]| {
                !mine.contains(line)
                    && !theirs.contains(line)
                    && (marked.contains(line) || !is_rule(line))
            };
            if marks(&left).iter().any(is_left) {
                return Ok(Some(format!("marks of the conflict are left in `{file}`")));
            }
            if same_file(repo, &contest.candidate, &self.tree, path)? {
                return Ok(Some(format!(
                    "`{file}` is as the task left it, and what landed meanwhile is thrown away"
                )));
            }
            if same_file(repo, &self.base, &self.tree, path)? {
                return Ok(Some(format!(
                    "`{file}` is as it landed, and what the task did there is thrown away"
                )));
            }
        }
        Ok(None)
    }
}

fn bytes_at(repo: &Repository, tree: &ObjectId, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(match content_at(repo, tree, path)? {
        Some(Content::File { bytes, .. }) => Some(bytes),
        Some(Content::Link(_) | Content::Submodule | Content::Directory) | None => None,
    })
}

/// The lines that may be marks.
fn marks(text: &[u8]) -> BTreeSet<&[u8]> {
    let is_mark = |line: &&[u8]| MARKS.iter().any(|mark| line.starts_with(mark));
    text.split(|&byte| byte == b'\n').filter(is_mark).collect()
}

/// Whether a line may as well be drawn under a heading.
fn is_rule(line: &[u8]) -> bool {
    line.trim_ascii_end().iter().all(|&byte| byte == b'=')
}

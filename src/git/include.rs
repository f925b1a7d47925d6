//! `.worktreeinclude`: the person's list of ignored files, such as `.env`, that every slot needs a copy of.
//!
//! Its lines are patterns as in `.gitignore`. Only files that git ignores are copied; a tracked or merely untracked one
//! is never shown to an agent this way.

use std::path::{Path, PathBuf};

use super::repository::{Repository, as_path};
use super::slot::error::SlotError;

/// The name of the list, at the top of the user's checkout.
pub const INCLUDE_FILE: &str = ".worktreeinclude";

/// Most files that are copied in: they are copied again for every attempt.
const FILES_MAX: usize = 10_000;

/// The files that the list names now, relative to the top of the user's checkout. Looks through all of the checkout,
/// ignored directories too, so ask once a run.
///
/// # Errors
/// If the list cannot be read by git, or names too many files.
pub fn included_files(repo: &Repository) -> Result<Vec<PathBuf>, SlotError> {
    let list = repo.worktree().join(INCLUDE_FILE);
    if !list.is_file() {
        return Ok(Vec::new());
    }
    let mut exclude_from = std::ffi::OsString::from("--exclude-from=");
    exclude_from.push(&list);
    let named = repo
        .git()
        .args(["ls-files", "-z", "--others", "--ignored"])
        .arg(exclude_from)
        .read_only()
        .run()?;
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let checked = repo
        .git()
        .args(["check-ignore", "-z", "--stdin"])
        .read_only()
        .input(named)
        .output()?;
    let ignored: Vec<PathBuf> = names(&checked.stdout).map(Path::to_owned).collect();
    match checked.code {
        // Exit code 1 means that none is ignored.
        Some(0 | 1) if ignored.len() <= FILES_MAX => Ok(ignored),
        Some(0 | 1) => Err(SlotError::Include(format!(
            "it names {} files, more than {FILES_MAX}",
            ignored.len()
        ))),
        _ => Err(SlotError::Include(checked.stderr)),
    }
}

/// The paths in a list whose items end with NUL.
pub(super) fn names(list: &[u8]) -> impl Iterator<Item = &Path> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(as_path)
}

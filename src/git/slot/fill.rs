//! Bringing the files of a slot to a commit, and copying in what is not tracked.

use std::path::PathBuf;

use super::error::SlotError;
use super::{EXCHANGE_DIR, Filled, Slot, files};
use crate::git::repository::as_path;
use crate::ids::ObjectId;

/// The mode of a submodule in a tree.
const GITLINK: u32 = 0o160_000;

impl Slot {
    /// Makes the working tree and orch's index those of `commit`. Ignored files stay where they are.
    pub(super) fn fill(&self, commit: &ObjectId) -> Result<Filled, SlotError> {
        let tree = self.tree();
        let is_new = !std::fs::symlink_metadata(&tree).is_ok_and(|found| found.is_dir());
        files::real_dir(&tree)?;
        let why = match self.check_out(commit) {
            Ok(()) if is_new => return Ok(Filled::New),
            Ok(()) => {
                self.remove_special_files()?;
                return Ok(Filled::Warm);
            }
            Err(error) if is_new => return Err(error),
            Err(error) => error.to_string(),
        };
        files::remove(&tree)?;
        files::remove(&self.index())?;
        files::real_dir(&tree)?;
        self.check_out(commit)?;
        Ok(Filled::Rebuilt { why })
    }

    fn check_out(&self, commit: &ObjectId) -> Result<(), SlotError> {
        files::remove(&self.tree().join(EXCHANGE_DIR))?;
        self.git()?
            .args(["read-tree", "--reset", "-u", commit.as_str()])
            .run()?;
        // The last collection put what was not ignored then into the index, and so it is gone; but what an agent's own
        // `.gitignore` hid, and what was left out, is still there.
        self.git()?.args(["clean", "-ffdq"]).run()?;
        self.empty_submodules(commit)
    }

    /// Empties the directories of submodules that are not populated: neither checkout nor clean look into them.
    fn empty_submodules(&self, commit: &ObjectId) -> Result<(), SlotError> {
        for path in self.submodules(commit)? {
            let dir = self.tree().join(path);
            let populated = std::fs::symlink_metadata(dir.join(".git")).is_ok();
            if !populated && std::fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
                files::clear(&dir, None)?;
            }
        }
        Ok(())
    }

    /// Where orch's index has submodules. It is read only if `commit` has a `.gitmodules`: without one, git can do
    /// nothing with a submodule either.
    pub(crate) fn submodules(&self, commit: &ObjectId) -> Result<Vec<PathBuf>, SlotError> {
        let libgit2 = |cause| self.libgit2(cause);
        let opened = self.repo.open()?;
        let found = opened
            .revparse_single(&format!("{commit}:.gitmodules"))
            .map(drop);
        match found {
            Err(e) if e.code() == git2::ErrorCode::NotFound => return Ok(Vec::new()),
            result => result.map_err(libgit2)?,
        }
        let index = git2::Index::open(&self.index()).map_err(libgit2)?;
        Ok(index
            .iter()
            .filter(|entry| entry.mode == GITLINK)
            .map(|entry| as_path(&entry.path).to_owned())
            .collect())
    }

    /// Copies the files `included` from the user's checkout, and writes down which they are.
    pub(super) fn include(&self, included: &[PathBuf]) -> Result<(), SlotError> {
        let (from, tree) = (self.repo.worktree(), self.tree());
        let mut list = Vec::new();
        for path in included {
            files::real_parents(&tree, path)?;
            files::copy_if_there(&from.join(path), &tree.join(path))?;
            list.extend_from_slice(path.as_os_str().as_encoded_bytes());
            list.push(0);
        }
        files::write(&self.included_list(), &list)
    }
}

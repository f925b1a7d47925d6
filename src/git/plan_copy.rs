//! The person's copy of a tracked plan, which is written even while the person edits it.

use std::fs::{self, File};
use std::path::PathBuf;

use super::checkout::{CheckoutError, is_absent, remove_if_there};
use crate::crash::{point, synced};

/// The person's copy of a tracked plan, when its branch moves: the new text is the
/// person's own with orch's fields in it, and is written only if the copy still is what that text was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanCopy {
    /// The worktree it lies in.
    pub worktree: PathBuf,
    /// Its path in there.
    pub path: PathBuf,
    /// The bytes the new text was made of.
    pub expected: Vec<u8>,
    /// The new text.
    pub new: Vec<u8>,
}

impl PlanCopy {
    pub(super) fn file(&self) -> PathBuf {
        self.worktree.join(&self.path)
    }

    pub(super) fn on_disk(&self) -> Result<Option<Vec<u8>>, CheckoutError> {
        let file = self.file();
        match fs::symlink_metadata(&file) {
            Ok(found) if found.is_file() => {
                fs::read(&file).map(Some).map_err(CheckoutError::io(&file))
            }
            Ok(_) => Ok(None),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(CheckoutError::io(&file)(e)),
        }
    }

    /// Writes the new text over the expected one; whether the copy now has it.
    pub(super) fn write(&self) -> Result<bool, CheckoutError> {
        let file = self.file();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let new = file.with_file_name(format!(".{name}.orch-new"));
        remove_if_there(&new)?;
        let found = self.on_disk()?;
        if found.as_ref() != Some(&self.expected) {
            return Ok(found.as_ref() == Some(&self.new));
        }
        let write = || {
            fs::write(&new, &self.new)?;
            fs::set_permissions(&new, fs::metadata(&file)?.permissions())?;
            File::open(&new)?.sync_all()?;
            point("plan-copy-made");
            fs::rename(&new, &file)?;
            synced("plan copy", [file.as_path()]);
            point("plan-copy-written");
            Ok(())
        };
        write().map_err(CheckoutError::io(&file))?;
        Ok(true)
    }
}

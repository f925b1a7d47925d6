//! Files and directories where an agent may have put anything: nothing here follows a symbolic link.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::SlotError;

/// Removes what is at `path`, with all below it; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), SlotError> {
    let io = |cause| SlotError::io("remove", path, cause);
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
    };
    if !kind.is_dir() {
        return fs::remove_file(path).map_err(io);
    }
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path).map_err(io)
        }
        result => result.map_err(io),
    }
}

/// Removes everything in `dir` but the entry `kept`.
pub(crate) fn clear(dir: &Path, kept: Option<&str>) -> Result<(), SlotError> {
    let io = |cause| SlotError::io("list", dir, cause);
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if kept.is_none_or(|kept| entry.file_name() != kept) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes sure that `path` is a directory and no link to one, in place of whatever else is there. Its parent must
/// exist.
pub(crate) fn real_dir(path: &Path) -> Result<(), SlotError> {
    let io = |cause| SlotError::io("create the directory", path, cause);
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path).map_err(io)?,
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(io(e)),
    }
    fs::create_dir(path).map_err(io)
}

/// Makes sure that all directories on the way from `root` to `root/relative` are real ones.
pub(crate) fn real_parents(root: &Path, relative: &Path) -> Result<(), SlotError> {
    let mut dir = root.to_owned();
    for component in relative.parent().into_iter().flat_map(Path::components) {
        dir.push(component);
        real_dir(&dir)?;
    }
    Ok(())
}

/// Writes `bytes` into a new file at `path`, in place of whatever is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), SlotError> {
    remove(path)?;
    fs::write(path, bytes).map_err(|cause| SlotError::io("write", path, cause))
}

/// Puts `bytes` at `path` in one step: whoever looks, also after a crash, finds the old file or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SlotError> {
    let new = path.with_extension("new");
    write(&new, bytes)?;
    fs::rename(&new, path).map_err(|cause| SlotError::io("write", path, cause))
}

/// Copies the file or symbolic link `from` to `to`, in place of whatever is there; nothing there leaves nothing here.
pub(crate) fn copy_if_there(from: &Path, to: &Path) -> Result<(), SlotError> {
    remove(to)?;
    let copied = match fs::symlink_metadata(from) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => Err(e),
        Ok(found) if found.is_symlink() => {
            fs::read_link(from).and_then(|target| std::os::unix::fs::symlink(target, to))
        }
        Ok(_) => fs::copy(from, to).map(drop),
    };
    copied.map_err(|cause| SlotError::io("copy", from, cause))
}

/// Gives the owner back all rights on `dir` and the directories below it. The system's limit on the length of a path
/// limits the depth.
fn open_up(dir: &Path) -> Result<(), SlotError> {
    let io = |cause| SlotError::io("open up", dir, cause);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io)?;
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

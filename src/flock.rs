//! Locks on files, which end with their holder, however that ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Takes the lock of an open file; `false` if somebody else holds it.
///
/// # Errors
/// If the system refuses.
pub fn take(file: &File) -> io::Result<bool> {
    answer(file.try_lock())
}

/// Whether anybody holds the lock of the file `path`; `false` if there is no such file. Takes it for an instant, shared,
/// if nobody does.
///
/// # Errors
/// If the file is there and cannot be opened, or the system refuses.
pub fn is_held(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => answer(file.try_lock_shared()).map(|is_free| !is_free),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn answer(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

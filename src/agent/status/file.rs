//! Status and report files in a slot: written by an agent, so read with suspicion.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde_json::Value;

use super::{FILES, REPORT_FILE, tolerant};

/// A status is a few lines; a larger file is something else.
const STATUS_BYTES_MAX: u64 = 64 * 1024;
/// A report is read by people; a larger one is a dump.
const REPORT_BYTES_MAX: u64 = 1024 * 1024;

/// A status file as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusFile {
    /// Which of [`FILES`].
    pub path: &'static str,
    /// What it holds.
    pub value: Value,
    /// What was overlooked to read it.
    pub oddities: Vec<&'static str>,
}

/// Why a file that is there cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A link, a directory, a pipe.
    #[error("{0} is not a regular file")]
    NotRegular(&'static str),
    /// Too large.
    #[error("{path} is larger than {} KiB", limit / 1024)]
    TooLarge {
        /// Which.
        path: &'static str,
        /// In bytes.
        limit: u64,
    },
    /// Not JSON, or not text.
    #[error("{path} cannot be read as {what}: {why}")]
    Malformed {
        /// Which.
        path: &'static str,
        /// What it should be.
        what: &'static str,
        /// In the parser's words.
        why: String,
    },
    /// The disk refused.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// Which.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Removes what earlier attempts or the base left at the places of status and report files. Only names are removed;
/// links are not followed.
///
/// # Errors
/// If one is there and stays.
pub fn clear(tree: &Path) -> io::Result<()> {
    for path in FILES.iter().chain([&REPORT_FILE]) {
        let Some((dir, name)) = open_parent(tree, path)? else {
            continue;
        };
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads the first of [`FILES`] that is there.
///
/// # Errors
/// If that one is not a small regular file of JSON, reached without links.
pub fn read(tree: &Path) -> Result<Option<StatusFile>, FileError> {
    for path in FILES {
        if let Some(text) = read_text(tree, path, STATUS_BYTES_MAX)? {
            let (value, oddities) = tolerant::parse(&text).map_err(|e| FileError::Malformed {
                path,
                what: "JSON",
                why: e.to_string(),
            })?;
            return Ok(Some(StatusFile {
                path,
                value,
                oddities,
            }));
        }
    }
    Ok(None)
}

/// Reads the text that a report task left in [`REPORT_FILE`], if it did and it is not blank.
///
/// # Errors
/// If it is there and not a regular file of text of at most 1 MiB, reached without links.
pub fn read_report(tree: &Path) -> Result<Option<String>, FileError> {
    let text = read_text(tree, REPORT_FILE, REPORT_BYTES_MAX)?;
    Ok(text.filter(|t| !t.trim().is_empty()))
}

fn read_text(tree: &Path, path: &'static str, limit: u64) -> Result<Option<String>, FileError> {
    let io = |source: io::Error| match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => FileError::NotRegular(path),
        _ => FileError::Io { path, source },
    };
    let Some((dir, name)) = open_parent(tree, path).map_err(io)? else {
        return Ok(None);
    };
    // NONBLOCK: opening a pipe must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io(error.into())),
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| io(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotRegular(path));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path, limit });
    }
    let text = String::from_utf8(bytes).map_err(|e| FileError::Malformed {
        path,
        what: "text",
        why: e.to_string(),
    })?;
    Ok(Some(text))
}

/// Opens the directory of `path` below `tree` without following a link on the way; `None` if it is not there, or
/// something else is (a repository may have `tmp` as a link to somewhere: nothing of ours lies behind it).
fn open_parent<'a>(
    tree: &Path,
    path: &'a str,
) -> io::Result<Option<(rustix::fd::OwnedFd, &'a str)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(tree, flags, Mode::empty())?;
    let (parents, name) = path
        .rsplit_once('/')
        .expect("all these files lie in a directory");
    for parent in parents.split('/') {
        dir = match rustix::fs::openat(&dir, parent, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(Some((dir, name)))
}

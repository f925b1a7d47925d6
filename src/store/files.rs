//! Files that change in one step or not at all, and reads of files that others wrote.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;

use crate::crash::synced;

/// How much of two files is compared at a time.
const COMPARED_BYTES: usize = 32 << 10;

/// Why a file could not be read or written; every variant names it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link, directory, pipe or device, where only a regular file will do.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// What was found.
        path: PathBuf,
    },
    /// More bytes than the reader accepts.
    #[error("{} is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many bytes would have been accepted.
        max: u64,
    },
    /// The disk or the quota is full; the file is as it was.
    #[error("no space left to write {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// A read-only file system or missing permission; the file is as it was.
    #[error("{} cannot be written: {source}", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Which of the two.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file stored under the hash of its content has another content.
    #[error("{} was changed: its content no longer has the hash in its name", path.display())]
    HashMismatch {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    fn reading(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { path },
            // O_NOFOLLOW on a symbolic link, and opening a socket.
            _ if [rustix::io::Errno::LOOP, rustix::io::Errno::NXIO]
                .iter()
                .any(|e| source.raw_os_error() == Some(e.raw_os_error())) =>
            {
                Self::NotRegular { path }
            }
            _ => Self::Io {
                doing: "read",
                path,
                source,
            },
        }
    }

    pub(super) fn writing(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io {
                doing: "write",
                path,
                source,
            },
        }
    }
}

/// Puts `bytes` at `path` in one step: whoever looks, also after a crash, finds the old file or the new one, whole.
///
/// The permissions of a file that is there are kept. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// If any step fails; the file at `path` is then as it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, bytes, Outlives::PowerFailure)
}

/// As [`write_atomic`], without waiting for the disk: for what is of use only to processes that live now. After a loss
/// of power the file may be empty or gone.
///
/// # Errors
/// If any step fails; the file at `path` is then as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, bytes, Outlives::Processes)
}

/// What a written file must outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlives {
    Processes,
    PowerFailure,
}

fn put(path: &Path, bytes: &[u8], outlives: Outlives) -> Result<(), FileError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let temp = temp_beside(dir, path);
    let written = write_then_rename(&temp, path, bytes, outlives).and_then(|()| match outlives {
        Outlives::PowerFailure => {
            File::open(dir)?.sync_all()?;
            synced("file", [path]);
            Ok(())
        }
        Outlives::Processes => Ok(()),
    });
    written.map_err(|source| {
        // Best effort: the temporary file may never have been made, and its name says what it is.
        drop(std::fs::remove_file(&temp));
        FileError::writing(path, source)
    })
}

/// A name in the same directory (a rename must not cross file systems) that no other writer uses.
fn temp_beside(dir: &Path, path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{n}.tmp", std::process::id()));
    dir.join(name)
}

fn write_then_rename(temp: &Path, path: &Path, bytes: &[u8], outlives: Outlives) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(temp)?;
    match std::fs::symlink_metadata(path) {
        Ok(old) if old.is_file() => file.set_permissions(old.permissions())?,
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    file.write_all(bytes)?;
    if outlives == Outlives::PowerFailure {
        file.sync_all()?;
    }
    std::fs::rename(temp, path)
}

/// Reads a regular file of at most `max` bytes. A symbolic link as the last component is refused; a pipe or device does
/// not block.
///
/// # Errors
/// As [`FileError`] says; a file that grows while it is read counts as too large once it passes `max`.
pub fn read_limited(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| FileError::reading(path, e))?;
    if bytes.len() as u64 > max {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

/// Reads a file as [`read_limited`], unless it holds the same as `other`.
///
/// # Errors
/// As [`read_limited`].
pub fn read_if_other(
    path: &Path,
    max: u64,
    other: impl io::Read,
) -> Result<Option<Vec<u8>>, FileError> {
    let file = open_regular(path)?;
    match same_bytes(file, other).map_err(|e| FileError::reading(path, e))? {
        true => Ok(None),
        false => read_limited(path, max).map(Some),
    }
}

/// Whether two readers give the same bytes, of which little is in memory at a time.
///
/// # Errors
/// If one of them cannot be read.
pub fn same_bytes(mut a: impl io::Read, mut b: impl io::Read) -> io::Result<bool> {
    let mut buffer = vec![0; COMPARED_BYTES];
    let mut expected = Vec::with_capacity(COMPARED_BYTES);
    loop {
        let read = a.read(&mut buffer)?;
        expected.clear();
        // At the end of the one, the other must be at its end, too.
        let wanted = read.max(1) as u64;
        b.by_ref().take(wanted).read_to_end(&mut expected)?;
        if expected != buffer[..read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// The paths in a directory, sorted; none if it is not there or is a file.
///
/// # Errors
/// If it cannot be read.
pub fn entries_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(e),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn open_regular(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|e| FileError::reading(path, e))?;
    let found = file.metadata().map_err(|e| FileError::reading(path, e))?;
    if !found.is_file() {
        return Err(FileError::NotRegular {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.yaml");
        for write in [write_atomic, write_whole] {
            write(&path, b"old and longer").unwrap();
            write(&path, b"new").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
        }
        assert_eq!(names(dir.path()), ["plan.yaml"]);
    }

    #[test]
    fn replacing_a_file_keeps_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_atomic(&path, b"1").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
        write_atomic(&path, b"2").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o751);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_state_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let error = FileError::writing(Path::new("/x/exit.json"), full);
        assert!(matches!(error, FileError::Full { .. }));
        assert_eq!(error.to_string(), "no space left to write /x/exit.json");
    }

    #[test]
    fn a_file_is_the_same_only_to_its_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy");
        let long = "x".repeat(3 * COMPARED_BYTES);
        for (left, right, same) in [
            ("", "", true),
            (long.as_str(), long.as_str(), true),
            (long.as_str(), &long[1..], false),
            (&long[1..], long.as_str(), false),
            ("", "x", false),
            ("xy", "xz", false),
        ] {
            std::fs::write(&path, left).unwrap();
            let read = read_if_other(&path, u64::MAX, right.as_bytes()).unwrap();
            assert_eq!(read.as_deref(), (!same).then_some(left.as_bytes()));
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_if_other(&link, u64::MAX, &b""[..]).is_err());
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        assert!(matches!(
            read_limited(&path, 4),
            Err(FileError::Missing { .. })
        ));
        std::fs::write(&path, b"1234").unwrap();
        assert_eq!(read_limited(&path, 4).unwrap(), b"1234");
        assert!(matches!(
            read_limited(&path, 3),
            Err(FileError::TooLarge { max: 3, .. })
        ));
    }

    #[test]
    fn a_link_a_directory_and_a_pipe_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), b"x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        for path in [at("link"), at("pipe"), dir.path().to_owned()] {
            let read = read_limited(&path, 9);
            assert!(
                matches!(read, Err(FileError::NotRegular { .. })),
                "{read:?}"
            );
        }
    }
}

//! What an agent left that is not put into git: which files, why, and where their bytes are kept.
//!
//! Only untracked files are judged; what is tracked is the repository's already.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::slot::error::SlotError;
use super::slot::files;

/// Largest untracked file that is put into git.
const FILE_BYTES_MAX: u64 = 5 << 20;

/// Most bytes of untracked files that are put into git at once.
const TOTAL_BYTES_MAX: u64 = 50 << 20;

/// Most bytes that are saved aside of one attempt. Beyond this, the manifest says what is lost.
const SAVED_BYTES_MAX: u64 = 1 << 30;

/// How far into a file a private key or token is looked for.
const LOOK_BYTES: u64 = 64 << 10;

/// File names that hold secrets by convention.
const SECRET_NAMES: [&str; 10] = [
    ".env",
    ".git-credentials",
    ".netrc",
    ".pypirc",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "secrets.json",
];

/// Endings of key stores.
const SECRET_ENDINGS: [&str; 5] = [".jks", ".keystore", ".kdbx", ".p12", ".pfx"];

/// Endings of `.env.` files that are made to be shared.
const SHARED_ENV_ENDINGS: [&str; 5] = [".example", ".sample", ".template", ".dist", ".defaults"];

/// How much of what is untracked may go into git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes.
    pub file_bytes: u64,
    /// All files together, in bytes.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: FILE_BYTES_MAX,
            total_bytes: TOTAL_BYTES_MAX,
        }
    }
}

/// A file or directory that is not in the candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is, relative to the top of the slot's tree.
    pub path: PathBuf,
    /// Why it was left out.
    pub why: Reason,
}

/// Why something is not in the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is larger than one file may be.
    TooLarge,
    /// Together with the others it is more than may go into git; the largest directories go first.
    TooMuch,
    /// Its name or content says that it is a secret.
    Secret,
    /// It is a repository of its own.
    NestedRepository,
    /// It belongs to a submodule, which stays as the base has it.
    Submodule,
    /// It is a directory that cannot be read.
    Unreadable,
    /// git cannot take it: not readable, or a name that is forbidden in a tree.
    Refused,
    /// It is a named pipe, a socket or a device, of which nothing can be kept.
    NoFile,
}

impl Reason {
    /// In words, after the path: "`x` is ...".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::TooLarge => "too large to go into git unasked",
            Self::TooMuch => "part of more new files than may go into git unasked",
            Self::Secret => "a secret, by its name or content",
            Self::NestedRepository => "a repository of its own",
            Self::Submodule => "part of a submodule, which stays as it was",
            Self::Unreadable => "a directory that cannot be read",
            Self::Refused => "nothing that git can hold",
            Self::NoFile => "a named pipe, a socket or a device",
        }
    }
}

/// Whether a new file called `name` and lying at `path` looks like a secret.
///
/// # Errors
/// If it has to be looked into and cannot be read.
pub(super) fn is_secret(name: &OsStr, path: &Path) -> std::io::Result<bool> {
    is_secret_holding(name, |wanted| contains(path, wanted))
}

/// The same for a file whose content is not at a path: `holds` says whether its beginning holds some bytes.
pub(super) fn is_secret_holding<E>(
    name: &OsStr,
    holds: impl Fn(&[u8]) -> Result<bool, E>,
) -> Result<bool, E> {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if SECRET_NAMES.contains(&name.as_str()) || ends_with(&SECRET_ENDINGS) {
        return Ok(true);
    }
    if name.starts_with(".env.") {
        return Ok(!ends_with(&SHARED_ENV_ENDINGS));
    }
    if ends_with(&[".pem", ".key"]) {
        return holds(b"PRIVATE KEY");
    }
    if name == ".npmrc" {
        return holds(b"_auth");
    }
    Ok(false)
}

fn contains(path: &Path, wanted: &[u8]) -> std::io::Result<bool> {
    let mut start = Vec::new();
    fs::File::open(path)?
        .take(LOOK_BYTES)
        .read_to_end(&mut start)?;
    Ok(begins_with(&start, wanted))
}

/// Whether the part of a file that is looked into holds `wanted`.
pub(super) fn begins_with(content: &[u8], wanted: &[u8]) -> bool {
    let looked_into =
        usize::try_from(LOOK_BYTES).map_or(content, |end| content.get(..end).unwrap_or(content));
    looked_into
        .windows(wanted.len())
        .any(|window| window == wanted)
}

/// The list of what was saved, `manifest.json`.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    version: u32,
    left_out: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// As close as can be, where the name is not UTF-8.
    path: Cow<'a, str>,
    why: Reason,
    bytes_saved: u64,
    /// Files that could not be read, are no regular files, or for which there was no room.
    files_lost: u64,
}

/// What came of saving one file or directory.
#[derive(Debug, Default)]
struct Saved {
    bytes: u64,
    files_lost: u64,
}

/// Copies what was left out of `tree` to `dest/files/`, with `dest/manifest.json` beside it. `dest` is made if it is
/// not there; of more than 1 GiB, the manifest counts what was not copied.
///
/// # Errors
/// If something cannot be written.
pub fn save(tree: &Path, left_out: &[LeftOut], dest: &Path) -> Result<(), SlotError> {
    let root = dest.join("files");
    fs::create_dir_all(&root).map_err(|cause| SlotError::io("create", &root, cause))?;
    let mut room = SAVED_BYTES_MAX;
    let mut manifest = Manifest {
        version: 1,
        left_out: Vec::new(),
    };
    for LeftOut { path, why } in left_out {
        files::real_parents(&root, path)?;
        let saved = save_one(&tree.join(path), &root.join(path), room)?;
        room -= saved.bytes;
        manifest.left_out.push(Entry {
            path: path.to_string_lossy(),
            why: *why,
            bytes_saved: saved.bytes,
            files_lost: saved.files_lost,
        });
    }
    let path = dest.join("manifest.json");
    let text = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from);
    text.and_then(|text| fs::write(&path, text))
        .map_err(|cause| SlotError::io("write", &path, cause))
}

/// Copies what lies below `files` to the same places below `dir`, where nothing may lie at any of them; nothing where
/// nothing was left out.
///
/// # Errors
/// If something cannot be written.
pub(super) fn put_back(files: &Path, dir: &Path) -> Result<(), SlotError> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let from = files.join(&below);
        let io = |cause| SlotError::io("list", &from, cause);
        let entries = match fs::read_dir(&from) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io(e)),
        };
        for entry in entries {
            let entry = entry.map_err(io)?;
            let path = below.join(entry.file_name());
            let to = dir.join(&path);
            let is_dir = entry.file_type().map_err(io)?.is_dir();
            if is_dir && to.is_dir() && !to.is_symlink() {
                waiting.push(path);
            } else {
                save_one(&entry.path(), &to, u64::MAX)?;
            }
        }
    }
    Ok(())
}

fn save_one(from: &Path, to: &Path, room: u64) -> Result<Saved, SlotError> {
    let mut saved = Saved::default();
    let mut waiting = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        let cannot_write = |cause| SlotError::io("write", &to, cause);
        let Ok(found) = fs::symlink_metadata(&from) else {
            saved.files_lost += 1;
            continue;
        };
        if found.is_dir() {
            fs::create_dir(&to).map_err(cannot_write)?;
            match fs::read_dir(&from).and_then(Iterator::collect::<std::io::Result<Vec<_>>>) {
                Ok(entries) => {
                    waiting.extend(entries.iter().map(|e| (e.path(), to.join(e.file_name()))));
                }
                Err(_) => saved.files_lost += 1,
            }
        } else if found.is_symlink() {
            match fs::read_link(&from) {
                Ok(target) => std::os::unix::fs::symlink(target, &to).map_err(cannot_write)?,
                Err(_) => saved.files_lost += 1,
            }
        } else if found.is_file() && saved.bytes + found.len() <= room {
            let Ok(mut source) = fs::File::open(&from) else {
                saved.files_lost += 1;
                continue;
            };
            let create = fs::File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&to);
            let mut dest = create.map_err(cannot_write)?;
            saved.bytes += std::io::copy(&mut source, &mut dest).map_err(cannot_write)?;
        } else {
            saved.files_lost += 1;
        }
    }
    Ok(saved)
}

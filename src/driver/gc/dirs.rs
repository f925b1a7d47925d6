//! Directories of runs, and files that were not finished. What is removed with all below it is looked through first:
//! another file system inside, or anything that is no plain directory of orch's making, keeps it where it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::{Gc, Item, Kind, Run, Standing, Verdict, What};
use crate::ids::RunId;

/// What a block of `stat` is.
const BLOCK_BYTES: u64 = 512;

pub(super) fn survey(gc: &Gc, runs: &BTreeMap<RunId, Run>) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut unfinished = unfinished_files(gc.state.path(), false)?;
    for path in entries(&gc.state.runs())? {
        let name = path.file_name().and_then(|name| name.to_str());
        let run = name.and_then(|name| RunId::parse(name).ok());
        let Some(run) = run else { continue };
        let verdict = match runs.get(&run).map(|run| &run.standing) {
            None => Verdict::Stays("the ledger does not know its run".to_owned()),
            Some(Standing::Open(why)) => Verdict::Stays((*why).to_owned()),
            Some(Standing::Completed) => {
                Verdict::Stays("its run is among those that are kept".to_owned())
            }
            Some(Standing::Old(why)) => Verdict::Goes(why.clone()),
        };
        let verdict = match (verdict, sound(&path)?) {
            (Verdict::Goes(_), Some(why)) => Verdict::Stays(why),
            (verdict, _) => verdict,
        };
        if matches!(verdict, Verdict::Stays(_)) {
            unfinished.extend(unfinished_files(&path, true)?);
        }
        let bytes = disk_bytes(&path)?;
        let what = What::RunDirectory(run, path.clone());
        let mut item = Item::new(
            Kind::RunDirectory,
            path.display().to_string(),
            verdict,
            what,
        );
        item.bytes = Some(bytes);
        items.push(item);
    }
    items.extend(unfinished);
    Ok(items)
}

fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    };
    match list() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        listed => {
            let mut listed = listed.with_context(|| format!("cannot list {}", dir.display()))?;
            listed.sort();
            Ok(listed)
        }
    }
}

/// The files `.<name>.<pid>-<n>.tmp` of processes that no longer live.
fn unfinished_files(dir: &Path, with_subdirectories: bool) -> anyhow::Result<Vec<Item>> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for path in entries(&dir)? {
            let kind = fs::symlink_metadata(&path)
                .with_context(|| format!("cannot look at {}", path.display()))?
                .file_type();
            if kind.is_dir() && with_subdirectories {
                waiting.push(path);
            } else if kind.is_file()
                && let Some(pid) = writer(&path)
                && !Path::new(&format!("/proc/{pid}")).exists()
            {
                let why = format!("process {pid}, which was writing it, has ended");
                let name = path.display().to_string();
                let what = What::File(path);
                found.push(Item::new(
                    Kind::TemporaryFile,
                    name,
                    Verdict::Goes(why),
                    what,
                ));
            }
        }
    }
    Ok(found)
}

/// The process that an unfinished file names.
fn writer(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let (_, number) = name
        .strip_prefix('.')?
        .strip_suffix(".tmp")?
        .rsplit_once('.')?;
    let (pid, count) = number.split_once('-')?;
    count.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Why a directory is not removed with all below it: it is a link, a mount point, or holds one. Links inside are removed
/// as links.
pub(super) fn sound(dir: &Path) -> anyhow::Result<Option<String>> {
    let look = |path: &Path| {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        statx(CWD, path, flags, StatxFlags::BASIC_STATS)
            .with_context(|| format!("cannot look at {}", path.display()))
    };
    let top =
        fs::symlink_metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    if !top.is_dir() {
        return Ok(Some(format!("{} is no directory", dir.display())));
    }
    let device = look(dir)?;
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let found = look(&path)?;
        let is_mount = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        let is_elsewhere = (found.stx_dev_major, found.stx_dev_minor)
            != (device.stx_dev_major, device.stx_dev_minor);
        if is_mount || is_elsewhere {
            return Ok(Some(format!("{} is a mount point", path.display())));
        }
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if is_dir {
            waiting.extend(entries(&path)?);
        }
    }
    Ok(None)
}

/// Removes the directory of a run, looked through once more; why it stays, if it does.
pub(super) fn remove(dir: &Path) -> anyhow::Result<Option<String>> {
    if let Some(why) = sound(dir)? {
        return Ok(Some(why));
    }
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(None)
}

/// What a file, or a directory with all below it, takes on the disk; nothing, if it is not there. Links are not
/// followed.
///
/// # Errors
/// If something cannot be looked at.
pub fn disk_bytes(path: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        match fs::symlink_metadata(&path) {
            Ok(found) => {
                bytes += found.blocks() * BLOCK_BYTES;
                if found.is_dir() {
                    waiting.extend(entries(&path)?);
                }
            }
            // A run that lives makes and removes files.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("cannot look at {}", path.display())),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_files_name_their_writer() {
        let writer = |name: &str| writer(Path::new(name));
        assert_eq!(writer("runs/r/.exit.json.4711-3.tmp"), Some(4711));
        for other in [
            "exit.json",
            "x.4711-3.tmp",
            ".notes.tmp",
            ".a.b-c.tmp",
            ".x.12-.tmp",
        ] {
            assert_eq!(writer(other), None, "{other}");
        }
    }

    #[test]
    fn a_link_is_no_directory_to_remove_and_links_inside_are_fine() {
        let tmp = tempfile::tempdir().expect("a directory");
        let (dir, link) = (tmp.path().join("dir"), tmp.path().join("link"));
        fs::create_dir(&dir).expect("made");
        fs::write(tmp.path().join("outside"), "x").expect("written");
        std::os::unix::fs::symlink("../outside", dir.join("inner")).expect("linked");
        std::os::unix::fs::symlink(&dir, &link).expect("linked");
        assert!(sound(&link).expect("readable").is_some());
        assert_eq!(remove(&dir).expect("removed"), None);
        assert!(!dir.exists() && tmp.path().join("outside").exists());
    }

    #[test]
    fn another_file_system_is_not_sound() {
        assert!(sound(Path::new("/proc")).expect("readable").is_some());
    }
}

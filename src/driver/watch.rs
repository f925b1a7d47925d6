//! Sees when a person touches `.stop` or edits the plan, without polling: a watch on the directories they lie in.
//!
//! It only says "look again"; what has changed is read by the loop. A directory that is not there yet, or was replaced by
//! another one (`git clean`, a checkout), is waited for in the nearest directory above it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Wakes the loop when something in the watched directories changes.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    files: Vec<PathBuf>,
    /// The directories that are watched, each with what tells it from one that takes its place.
    watched: BTreeMap<PathBuf, Identity>,
}

/// Device, inode, and birth where the file system tells it: inodes are used again.
type Identity = (u64, u64, Option<SystemTime>);

impl Watch {
    /// Watches for `files`. Where watching fails (no inotify watches left), the files are still looked at with every
    /// event of the run, and the log says so.
    pub fn over(files: &[PathBuf]) -> Self {
        let (send, changes) = mpsc::channel(1);
        // The names of the directories, too: they may come and go.
        let names: BTreeSet<OsString> = files
            .iter()
            .flat_map(|file| file.ancestors())
            .filter_map(Path::file_name)
            .map(OsString::from)
            .collect();
        let notice = move |event: notify::Result<notify::Event>| {
            let concerned = match &event {
                Ok(event) => {
                    let named =
                        |path: &PathBuf| path.file_name().is_some_and(|n| names.contains(n));
                    !event.kind.is_access() && event.paths.iter().any(named)
                }
                Err(_) => true,
            };
            // A full channel already says "look again".
            if concerned && let Err(mpsc::error::TrySendError::Closed(())) = send.try_send(()) {
                tracing::trace!("the run is over; a change was not looked at");
            }
        };
        let watcher = notify::recommended_watcher(notice);
        let mut watch = Self {
            changes,
            watcher: watcher.inspect_err(unwatched).ok(),
            files: files.to_vec(),
            watched: BTreeMap::new(),
        };
        watch.follow_directories();
        watch
    }

    /// Resolves when something may have changed; never, when nothing is watched.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.follow_directories();
    }

    /// Watches the directories that exist now. What appears in one between its making and its watch is seen by the look
    /// that follows; a directory that appears below it is found here, by looking until nothing new is there.
    fn follow_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        loop {
            let nearest = |file: &PathBuf| {
                let mut above = file.ancestors().skip(1);
                above.find_map(|dir| Some((dir.to_owned(), identity(dir)?)))
            };
            let wanted: BTreeMap<PathBuf, Identity> =
                self.files.iter().filter_map(nearest).collect();
            if wanted == self.watched {
                return;
            }
            for (gone, _) in self
                .watched
                .iter()
                .filter(|(dir, id)| wanted.get(*dir) != Some(id))
            {
                // A directory that was removed has taken its watch with it.
                if let Err(error) = watcher.unwatch(gone) {
                    tracing::debug!(%error, "a watch had ended");
                }
            }
            for (dir, _) in wanted
                .iter()
                .filter(|(dir, id)| self.watched.get(*dir) != Some(id))
            {
                if let Err(error) = watcher.watch(dir, RecursiveMode::NonRecursive) {
                    unwatched(&error);
                }
            }
            self.watched = wanted;
        }
    }
}

fn unwatched(error: &notify::Error) {
    tracing::warn!(%error, "cannot watch for .stop and plan edits; they are seen later");
}

fn identity(dir: &Path) -> Option<Identity> {
    let found = std::fs::metadata(dir).ok().filter(|found| found.is_dir())?;
    Some((found.dev(), found.ino(), found.created().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_seen_in_directories_that_are_made_later_or_made_again() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("a/b/.stop");
        let dir = file.parent().expect("a parent");
        let mut watch = Watch::over(std::slice::from_ref(&file));
        for _ in 0..2 {
            std::fs::create_dir_all(dir).expect("made");
            watch.changed().await;
            while watch.watched.keys().all(|watched| watched != dir) {
                watch.changed().await;
            }
            // What is still under way of the directories' own making.
            while watch.changes.try_recv().is_ok() {}
            std::fs::write(&file, "").expect("written");
            watch.changed().await;
            std::fs::remove_dir_all(root.path().join("a")).expect("removed");
            watch.changed().await;
            while watch.watched.keys().any(|watched| watched == dir) {
                watch.changed().await;
            }
        }
    }
}

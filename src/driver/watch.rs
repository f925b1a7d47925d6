//! Sees when a person touches `.stop` or edits the plan, without polling: a watch on the directories they lie in.
//!
//! It only says "look again"; what has changed is read by the loop.

use std::path::{Path, PathBuf};

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Wakes the loop when something in the watched directories changes.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches the directories of `files`, those that exist. Where watching fails (no inotify watches left), the files
    /// are still looked at with every event of the run, and the log says so.
    pub fn over(files: &[PathBuf]) -> Self {
        let (send, changes) = mpsc::channel(1);
        let names: Vec<PathBuf> = files.to_vec();
        let notice = move |event: notify::Result<notify::Event>| {
            let concerned = match &event {
                Ok(event) => {
                    !event.kind.is_access()
                        && event
                            .paths
                            .iter()
                            .any(|p| names.iter().any(|n| same_name(n, p)))
                }
                Err(_) => true,
            };
            // A full channel already says "look again".
            if concerned && let Err(mpsc::error::TrySendError::Closed(())) = send.try_send(()) {
                tracing::trace!("the run is over; a change was not looked at");
            }
        };
        let watcher = notify::recommended_watcher(notice).and_then(|mut watcher| {
            let mut directories: Vec<&Path> = files
                .iter()
                .filter_map(|f| f.parent())
                .filter(|d| d.is_dir())
                .collect();
            directories.sort_unstable();
            directories.dedup();
            for directory in directories {
                watcher.watch(directory, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "cannot watch for .stop and plan edits; they are seen later"))
            .ok();
        Self {
            changes,
            _watcher: watcher,
        }
    }

    /// Resolves when something may have changed; never, when nothing is watched.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

fn same_name(a: &Path, b: &Path) -> bool {
    a.file_name() == b.file_name()
}

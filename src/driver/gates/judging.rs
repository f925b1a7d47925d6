//! Which landing commits are being judged: whoever judges what is built on one waits for what is said of it. And which
//! records keep what was said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::lock;
use crate::engine::record::Record;
use crate::engine::verification::Verification;
use crate::ids::ObjectId;

/// What a record says that gates said of a tree.
pub(super) fn said_in(record: &Record) -> Option<&Verification> {
    match record {
        Record::Verified { result, .. } | Record::Baselined { result } => Some(result),
        Record::Smoked(smoke) => Some(&smoke.result),
        _ => None,
    }
}

/// The commits, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Judging {
    /// How many times each is being judged.
    commits: Mutex<HashMap<ObjectId, usize>>,
    /// Told when one is no longer judged, or a job is to end.
    changed: Notify,
}

/// A commit that is being judged, as long as this lives.
#[derive(Debug)]
pub(in crate::driver) struct UnderJudgement {
    judging: Arc<Judging>,
    commit: ObjectId,
}

impl Judging {
    pub(super) fn has(&self, commit: &ObjectId) -> bool {
        lock(&self.commits).contains_key(commit)
    }

    /// Comes about with the next [`Self::wake`] after this call.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

impl UnderJudgement {
    pub(super) fn begin(judging: &Arc<Judging>, commit: &ObjectId) -> Self {
        *lock(&judging.commits).entry(commit.clone()).or_default() += 1;
        Self {
            judging: Arc::clone(judging),
            commit: commit.clone(),
        }
    }
}

impl Drop for UnderJudgement {
    fn drop(&mut self) {
        let mut commits = lock(&self.judging.commits);
        if let Some(times) = commits.get_mut(&self.commit) {
            *times -= 1;
            if *times == 0 {
                commits.remove(&self.commit);
            }
        }
        drop(commits);
        self.judging.wake();
    }
}

//! What happens to the user's repository and checkout while agents run: looked at before each attempt and after it. What
//! changed meanwhile is told with the attempts that ran, never undone, and never laid at somebody's door: a person works
//! there, too. What orch itself does there is not told.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::git::Repository;
use crate::git::snapshot::{Observer, Snapshot};
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::store::{AttemptDir, FileError, read_limited, write_whole};

/// Largest snapshot that is read back: one line for each ref.
const SNAPSHOT_BYTES_MAX: u64 = 64 << 20;

/// The look before an attempt, kept beside it, so that an orch that takes over the attempt can compare.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Before {
    /// It was looked at.
    Seen(Snapshot),
    /// It could not be looked at, for this reason.
    Unseen(String),
}

/// An attempt, whichever of its orders is in force.
type Attempt = (TaskId, u32);

/// Watches over one repository during a run.
#[derive(Debug)]
pub struct Guard {
    observer: Observer,
    /// Held while orch itself changes a branch and its checkouts, so that nobody looks at half of it.
    steady: Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where each commit that orch moved a branch to had moved it from.
    steps: HashMap<ObjectId, ObjectId>,
    running: BTreeSet<Attempt>,
    /// With whom each running attempt has shared its time.
    beside: HashMap<Attempt, BTreeSet<Attempt>>,
}

impl Guard {
    /// For the worktree in which orch was started.
    pub fn new(repo: &Repository) -> Self {
        Self {
            observer: Observer::new(repo),
            steady: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// To be held while orch changes branches and checkouts.
    pub fn steady(&self) -> MutexGuard<'_, ()> {
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that orch moves, or has moved, a branch from one commit to another.
    pub fn steps(&self, from: &ObjectId, to: &ObjectId) {
        self.known().steps.insert(to.clone(), from.clone());
    }

    /// Takes note that attempts, whose beginning an earlier orch saw, run beside each other.
    pub fn resume<'t>(&self, tickets: impl Iterator<Item = &'t Ticket>) {
        tickets.for_each(|ticket| self.known().enters(attempt(ticket)));
    }

    /// Looks before an attempt begins.
    ///
    /// # Errors
    /// If the look cannot be kept.
    pub fn begins(&self, ticket: &Ticket, dir: &AttemptDir) -> anyhow::Result<()> {
        self.known().enters(attempt(ticket));
        let seen = {
            let _steady = self.steady();
            self.observer.look()
        };
        let before = match seen {
            Ok(snapshot) => Before::Seen(snapshot),
            Err(error) => Before::Unseen(format!("{:#}", anyhow::Error::new(error))),
        };
        let text = serde_json::to_vec(&before).context("a snapshot is plain data")?;
        Ok(write_whole(&dir.before(), &text)?)
    }

    /// Looks after an attempt has ended; what has changed since it began, in a sentence each.
    pub fn ends(&self, ticket: &Ticket, dir: &AttemptDir) -> Vec<String> {
        let attempt = attempt(ticket);
        let ran = {
            let mut known = self.known();
            known.running.remove(&attempt);
            let beside = known.beside.remove(&attempt).unwrap_or_default();
            while_they_ran(&attempt, &beside)
        };
        match self.changes_since(dir) {
            Ok(changes) if changes.is_empty() => Vec::new(),
            Ok(changes) => vec![format!(
                "{ran}, this changed in your repository: {}",
                changes.join("; ")
            )],
            Err(error) => vec![format!(
                "{ran}, what changed in your repository is not known: {error:#}"
            )],
        }
    }

    fn changes_since(&self, dir: &AttemptDir) -> anyhow::Result<Vec<String>> {
        let text = match read_limited(&dir.before(), SNAPSHOT_BYTES_MAX) {
            Err(FileError::Missing { .. }) => anyhow::bail!("nobody looked before"),
            text => text?,
        };
        let before = match serde_json::from_slice(&text).context("the look before is damaged")? {
            Before::Seen(snapshot) => snapshot,
            Before::Unseen(why) => anyhow::bail!(why),
        };
        let _steady = self.steady();
        let own_step = |to: &ObjectId| self.known().steps.get(to).cloned();
        Ok(self.observer.changes_since(&before, own_step)?)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whatever panicked, each change of it is a single call.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn enters(&mut self, attempt: Attempt) {
        for other in self.running.clone() {
            if other != attempt {
                let theirs = self.beside.entry(other.clone()).or_default();
                theirs.insert(attempt.clone());
                self.beside
                    .entry(attempt.clone())
                    .or_default()
                    .insert(other);
            }
        }
        self.running.insert(attempt);
    }
}

fn attempt(ticket: &Ticket) -> Attempt {
    (ticket.task.clone(), ticket.attempt)
}

fn while_they_ran(attempt: &Attempt, beside: &BTreeSet<Attempt>) -> String {
    let named: Vec<String> = std::iter::once(attempt)
        .chain(beside)
        .map(|(task, number)| format!("attempt {number} of task {task}"))
        .collect();
    format!("while {} ran", named.join(" and "))
}

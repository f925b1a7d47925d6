//! Telling people who do not watch: what a record means to them, and bringing it to where they are.
//!
//! A notice comes of one record and has its id: the run and the record's place, the same whenever it is made again. It
//! says which plan, which task and what happened, in words of orch's own: what agents and programs said stays where it
//! is, since nobody knows what is in it. Notices are delivered at least once ([`marks`]); delivering never delays a run,
//! and one that fails is only logged ([`deliver`]).

mod deliver;
mod left;
mod marks;
mod news;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::config::notify::{Occasion, Subscription};
use crate::engine::outcome::Outcome;
use crate::engine::record::{Record, Stamped};
use crate::ids::{RunId, TaskId};
use crate::store::{LedgerError, Reader, StateDir};
use crate::time::Wall;
use deliver::Courier;
use marks::Marks;
use news::{Happening, News};

/// Runs that are looked through for notices that nobody got.
const RUNS_MAX: u32 = 5;

/// Older news are none.
const AGE_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Notices that wait for delivery. More than this in one run is noise; what does not fit is told by the next start.
const QUEUE_MAX: usize = 1024;

/// Something that a person wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The same whenever this notice is made: whoever got it already can pass it over.
    pub id: String,
    /// What kind of thing happened.
    pub kind: &'static str,
    /// The run.
    pub run: RunId,
    /// The plan, as people call it.
    pub plan: String,
    /// The task, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// How the run ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When, in milliseconds since 1970.
    pub at: Wall,
    /// One sentence. Also what chat services show of a webhook.
    pub text: String,
    #[serde(skip)]
    occasion: Occasion,
    #[serde(skip)]
    seq: u64,
}

impl Notice {
    /// The notice of the next record of a run, if it is one.
    fn of(news: &mut News, stamped: &Stamped, plan: &str) -> Option<Self> {
        let Happening {
            occasion,
            task,
            outcome,
            text,
        } = news.of(stamped)?;
        let about = task.as_ref().map_or_else(
            || format!("{plan}: {text}"),
            |task| format!("{plan}: task {task} {text}"),
        );
        Some(Self {
            id: format!("{}-{}", stamped.run, stamped.seq),
            kind: occasion.as_str(),
            run: stamped.run.clone(),
            plan: plan.to_owned(),
            task,
            outcome,
            at: stamped.at,
            text: about,
            occasion,
            seq: stamped.seq,
        })
    }
}

/// Takes records, and has what they mean delivered.
#[derive(Debug)]
pub struct Notifier(Option<Post>);

#[derive(Debug)]
struct Post {
    plan: String,
    news: News,
    notices: mpsc::Sender<Notice>,
    lost: Arc<AtomicBool>,
    done: oneshot::Receiver<()>,
    /// Set when nothing more comes: then what fails is not tried again.
    closing: oneshot::Sender<()>,
}

impl Notifier {
    /// One that tells nobody.
    pub fn silent() -> Self {
        Self(None)
    }

    /// One that tells the subscribers of what happens in `run` of `plan`, and of what earlier runs could not tell.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn start(
        subscriptions: Vec<Subscription>,
        state: &StateDir,
        reader: &Reader,
        run: &RunId,
        plan: &str,
        directory: PathBuf,
        now: Wall,
    ) -> Result<Self, LedgerError> {
        if subscriptions.is_empty() {
            return Ok(Self::silent());
        }
        let missed = missed(&subscriptions, state, reader, now)?;
        let mut news = News::default();
        for earlier in reader.records(run)? {
            news.of(&earlier);
        }
        let (notices, queue) = mpsc::channel(QUEUE_MAX);
        let (closing, closed) = oneshot::channel();
        let (finished, done) = oneshot::channel();
        let lost = Arc::new(AtomicBool::new(false));
        let courier = Courier {
            lost: Arc::clone(&lost),
            subscriptions,
            state: state.clone(),
            directory,
        };
        // Before the first record that could mean something.
        courier.begin(run);
        let run = run.clone();
        // A thread of its own: whatever a webhook or a command does, no thread of the run waits for it.
        let spawned = std::thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || {
                courier.work(&run, missed, queue, closed);
                // Whoever waited may have gone.
                finished.send(()).ok();
            });
        Ok(match spawned {
            Ok(_) => Self(Some(Post {
                plan: plan.to_owned(),
                news,
                notices,
                lost,
                done,
                closing,
            })),
            Err(error) => {
                tracing::warn!(%error, "nobody is notified");
                Self::silent()
            }
        })
    }

    /// Has delivered what new records mean to people.
    pub fn records(&mut self, stamped: &[Stamped]) {
        let Some(post) = &mut self.0 else { return };
        for stamped in stamped {
            let Some(notice) = Notice::of(&mut post.news, stamped, &post.plan) else {
                continue;
            };
            if let Err(error) = post.notices.try_send(notice) {
                tracing::warn!(%error, "a notice is left to the next start");
                post.lost.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Waits until all is delivered or has failed. What is not delivered when the caller stops waiting is left to the
    /// next start.
    pub async fn finish(self) {
        let Some(post) = self.0 else { return };
        drop(post.notices);
        drop(post.closing);
        if post.done.await.is_err() {
            tracing::error!("the notifier panicked");
        }
    }
}

/// What the latest runs had to tell and could not: their orch was killed, or nobody could be reached.
fn missed(
    subscriptions: &[Subscription],
    state: &StateDir,
    reader: &Reader,
    now: Wall,
) -> Result<Vec<Notice>, LedgerError> {
    let mut missed = Vec::new();
    for run in reader.runs(RUNS_MAX)? {
        let path = state.run(&run.run).notices();
        let marks = match Marks::read(&path) {
            Ok(Some(marks)) => marks,
            // It had nobody to tell.
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot see who was told of what");
                continue;
            }
        };
        if marks.is_settled() && run.end.is_some() {
            continue;
        }
        let records = reader.records(&run.run)?;
        let plan = match records.first().map(|first| &first.record) {
            Some(Record::RunStarted(start)) => start.plan.clone(),
            _ => run.plan_path,
        };
        let mut news = News::default();
        for stamped in records {
            let notice = Notice::of(&mut news, &stamped, &plan).filter(|notice| {
                let wanted =
                    |s: &Subscription| s.on.contains(&notice.occasion) && !marks.has(&notice.id, s);
                now.ms_since(notice.at) <= AGE_MAX_MS
                    && !marks.is_settled_up_to(notice.seq)
                    && subscriptions.iter().any(wanted)
            });
            missed.extend(notice);
        }
    }
    missed.sort_by_key(|notice| notice.seq);
    Ok(missed)
}

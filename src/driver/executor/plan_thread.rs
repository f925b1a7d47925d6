//! The one thread on which landings are built and made, one after the other as the engine orders them.
//!
//! Each of them holds the whole text of a tracked plan several times. An allocator keeps for each thread what that took,
//! so that among tokio's blocking threads it would be kept as often as there are of these.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;

use anyhow::Context;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Takes work and does it in order.
#[derive(Debug, Clone)]
pub(super) struct PlanThread(mpsc::Sender<Job>);

impl PlanThread {
    /// Starts the thread. It ends when nobody can give it work any more.
    pub(super) fn start() -> anyhow::Result<Self> {
        let (send, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("landings".to_owned())
            .spawn(move || jobs.into_iter().for_each(|job| job()))
            .context("cannot start a thread")?;
        Ok(Self(send))
    }

    /// Does blocking work there. A panic in it panics here, and becomes the action's one event.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (send, done) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let job = move || {
            // Nothing that the work had is looked at after a panic. Whoever waited for it may have gone.
            if send.send(catch_unwind(AssertUnwindSafe(work))).is_err() {
                tracing::debug!("nobody waited for the end of a landing");
            }
        };
        self.0
            .send(Box::new(job))
            .expect("the thread lives as long as this");
        match done
            .await
            .expect("every job is done, and panics are caught")
        {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

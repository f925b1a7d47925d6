//! `LookForEvidence`: one look whether what a task needs from outside is there.

use std::sync::Arc;

use anyhow::Context as _;

use crate::driver::evidence;
use crate::driver::site::Site;
use crate::engine::event::Event;
use crate::ids::TaskId;
use crate::process::Errands;

/// A look that cannot be taken has found nothing; what was in the way is what it says.
pub(super) async fn look(site: Arc<Site>, task: TaskId) -> Event {
    let plan = site.plan.current();
    let external = plan.task(&task).and_then(|task| task.external.as_deref());
    let (found, said) = match external {
        None => (
            false,
            "the plan no longer says what the evidence is".to_owned(),
        ),
        Some(external) => {
            let env = [
                ("ORCH_RUN".to_owned(), site.run.to_string()),
                ("ORCH_TASK".to_owned(), task.to_string()),
            ];
            let errand = || {
                let errands = Errands::noted_in(site.state.errands());
                let errand = errands.begin(&format!("{}-look-{task}", site.run))?;
                errand.context("an earlier orch still looks for it")
            };
            let looked = evidence::look(external, site.repo.worktree(), &env, errand).await;
            looked.unwrap_or_else(|error| (false, format!("{error:#}")))
        }
    };
    Event::EvidenceLooked { task, found, said }
}

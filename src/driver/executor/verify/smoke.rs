//! The smoke commands on the target as it stands, when the plan is through: those that a person gave, else the spec that
//! plans of claude-plan-orchestrator bring. Once a run they are worth a slot that nobody has left anything in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Among, Said, asked, concluded, target};
use crate::config::Origin;
use crate::driver::executor::blocking;
use crate::driver::gates::{Gates, Job};
use crate::driver::site::Site;
use crate::engine::event::Event;
use crate::engine::verification::{Environment, Smoke, Verdict, Verification};
use crate::git::tree::file_in;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::checks::{FailOn, VerifyCommand};
use crate::time::Wall;

/// The spec of critical paths that projects of claude-plan-orchestrator have.
const SPEC: &str = "tests/SMOKE01-critical-paths.spec.ts";

/// How it is run there. The server is Playwright's to start, from the checkout that is judged: one that happens to listen
/// on the project's port serves other files.
const SPEC_RUN: &str = "npx playwright test tests/SMOKE01-critical-paths.spec.ts --reporter=list --timeout=30000 --project=chromium";

/// The longest that it may take there.
const SPEC_MAX: Duration = Duration::from_secs(180);

/// Under what the gates' rooms know it. No attempt of a task has the number 0.
pub(in crate::driver) fn smoke_job() -> Job {
    Some(Ticket {
        task: TaskId::parse("smoke").expect("a word is an id"),
        attempt: 0,
        epoch: 0,
    })
}

/// Judges the target. It can be ended from now on.
pub(in crate::driver::executor) fn smoke(
    site: Arc<Site>,
    gates: Gates,
    tip: ObjectId,
    at: Wall,
) -> impl Future<Output = Event> + Send {
    gates.begin(&smoke_job());
    judged(site, gates, tip, at)
}

async fn judged(site: Arc<Site>, gates: Gates, tip: ObjectId, at: Wall) -> Event {
    let owner = Arc::clone(&site);
    let wanted = blocking(move || -> anyhow::Result<_> {
        let commit = target(&owner)?;
        let commands = commands(&owner, &commit)?;
        Ok((commit, commands))
    });
    let (commit, result) = match wanted.await {
        Ok((_, commands)) if commands.is_empty() => return Event::Smoked(None),
        Ok((commit, commands)) => {
            let mut said = Said::default();
            let about = (&commit, smoke_job(), Among::Nothing);
            let halted = asked(&site, &gates, about, &commands, &mut said)
                .await
                .err();
            let result = concluded(&site, &commit, said, halted, at);
            (commit, result)
        }
        Err(error) => {
            let result = Verification {
                tree: ObjectId::new(""),
                gates: Vec::new(),
                environment: Environment::default(),
                verdict: Verdict::Broken(format!("{error:#}")),
            };
            (tip.clone(), result)
        }
    };
    gates.note(&result, false);
    Event::Smoked(Some(Box::new(Smoke {
        tip,
        commit,
        result,
    })))
}

/// What judges a commit of this site. Every failure counts: there is nothing to compare it with.
fn commands(site: &Site, commit: &ObjectId) -> anyhow::Result<Vec<VerifyCommand>> {
    let given = &site.settings.smoke.value;
    // An empty list says that there are none.
    if site.settings.smoke.origin != Origin::Default {
        let any = |command: &VerifyCommand| VerifyCommand {
            fail_on: FailOn::Any,
            ..command.clone()
        };
        return Ok(given.iter().map(any).collect());
    }
    let repo = site.repo.open()?;
    if file_in(&repo, commit, Path::new(SPEC))?.is_none() {
        return Ok(Vec::new());
    }
    Ok(vec![VerifyCommand {
        name: "SMOKE01".to_owned(),
        timeout: Some(SPEC_MAX),
        ..VerifyCommand::plain(SPEC_RUN)
    }])
}

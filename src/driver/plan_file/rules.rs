//! What a text must be to be the plan of a run: it checks, its roles are there, and where the run asks for gates each task
//! that may still change something has one.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{self, Diagnostic};
use crate::driver::how;
use crate::plan::checks::Checks;
use crate::plan::edit::LastWritten;
use crate::plan::{self, Checked, Plan, Strictness, Task};

/// What a text must be to hold in a run.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is done about unknown keys.
    pub strictness: Strictness,
    /// The roles there are; tasks may name no others.
    pub roles: BTreeSet<String>,
    /// What the settings check every task by, where the run asks for a required verify command of each.
    pub asks_for_gates: Option<Checks>,
}

/// A plan that cannot be used, with what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{shown} does not check: {}", first_error(.diagnostics))]
pub struct Unusable {
    pub(super) shown: String,
    /// Everything wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

fn first_error(diagnostics: &[Diagnostic]) -> &str {
    diagnostic::first_error(diagnostics).map_or("no reason given", |d| &d.message)
}

impl Rules {
    /// Checks a text, its roles included. It may be one side of the plan, the target's without what a person has not
    /// committed: whether its tasks have gates is asked of the whole.
    pub(super) fn check(&self, shown: &str, bytes: &[u8]) -> Checked {
        self.with_roles(plan::check(shown, bytes, self.strictness))
    }

    /// The plan of a text that may be one side of the whole.
    pub(super) fn side(&self, shown: &str, text: &str) -> Result<Arc<Plan>, Unusable> {
        usable(shown, self.check(shown, text.as_bytes()))
    }

    /// The plan of the whole text.
    pub(super) fn whole(&self, shown: &str, text: &str) -> Result<Arc<Plan>, Unusable> {
        usable(shown, self.with_gates(self.check(shown, text.as_bytes())))
    }

    /// The plan of the whole text, and what those who write it need to know of it.
    pub(super) fn whole_to_write(
        &self,
        shown: &str,
        text: &str,
    ) -> Result<(Arc<Plan>, LastWritten), Unusable> {
        let (checked, written) = plan::check_to_write(shown, text.as_bytes(), self.strictness);
        let checked = self.with_gates(self.with_roles(checked));
        Ok((usable(shown, checked)?, written))
    }

    /// Refuses a plan that names roles which there are not.
    fn with_roles(&self, checked: Checked) -> Checked {
        without(checked, |plan| self.unknown_roles(plan))
    }

    /// Refuses a plan with tasks that would land unverified, where a person wants none to.
    fn with_gates(&self, checked: Checked) -> Checked {
        match &self.asks_for_gates {
            Some(settings) => without(checked, |plan| unjudged(plan, settings)),
            None => checked,
        }
    }

    fn unknown_roles(&self, plan: &Plan) -> Vec<Diagnostic> {
        let unknown = |task: &Task| {
            let role = task
                .agent
                .as_ref()
                .filter(|role| !self.roles.contains(&***role))?;
            let message = format!(
                "task {} names the role `{role}`, which there is not",
                task.id
            );
            Some(Diagnostic::error("unknown-role", message).at(task.span.clone()))
        };
        plan.tasks.iter().filter_map(unknown).collect()
    }
}

fn unjudged(plan: &Plan, settings: &Checks) -> Vec<Diagnostic> {
    let unjudged = |task: &Task| {
        let why = how::unjudged(task, plan, settings)?;
        let message = match why {
            how::Unjudged::Ungated => format!(
                "no required verify command judges task {}, and this run asks for one, which may be its own, its \
                 section's or the plan's",
                task.id
            ),
            how::Unjudged::InVain => format!(
                "the required verify commands of task {} cannot fail, and this run asks for one that can",
                task.id
            ),
        };
        Some(Diagnostic::error("unjudged", message).at(task.span.clone()))
    };
    let open = plan.tasks.iter().filter(|task| task.declared.is_open());
    open.filter_map(unjudged).collect()
}

/// No plan, if there is something wrong with it.
fn without(mut checked: Checked, wrong: impl FnOnce(&Plan) -> Vec<Diagnostic>) -> Checked {
    let wrong = checked.plan.as_ref().map(wrong).unwrap_or_default();
    if !wrong.is_empty() {
        checked.plan = None;
        // Before the warnings: the first one is what people are told.
        checked.diagnostics.splice(0..0, wrong);
    }
    checked
}

fn usable(shown: &str, checked: Checked) -> Result<Arc<Plan>, Unusable> {
    checked.plan.map(Arc::new).ok_or_else(|| Unusable {
        shown: shown.to_owned(),
        diagnostics: checked.diagnostics,
    })
}

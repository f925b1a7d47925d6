//! What a plan lets tasks write and protection will refuse: told before a night is spent on it.

use crate::config::{Problems, Settings};
use crate::diagnostic::Diagnostic;
use crate::driver::how;
use crate::engine::scope::Rules;
use crate::plan::checks::Allowed;
use crate::plan::graph::{Gates, When};
use crate::plan::{Plan, Runner, Task};
use crate::verify::protect::Protection;

/// A path that `files` of a task names, that is protected, and that nothing allows.
struct Named<'p> {
    task: &'p Task,
    path: &'p str,
    why: String,
}

/// Warnings of `orch check`, each at the path in the plan's text.
pub(super) fn warnings(name: &str, plan: &Plan, settings: &Settings) -> Option<Problems> {
    let diagnostics: Vec<Diagnostic> = named(plan, settings)
        .into_iter()
        .map(|named| {
            let text = plan.source(named.task);
            let at = text.find(named.path).map_or(0, |at| at) + named.task.span.start;
            let message = format!(
                "`files` of task `{}` names `{}`, which {}: a change of it will be refused",
                named.task.id, named.path, named.why
            );
            Diagnostic::warning("protected-files", message)
                .at(at..at + named.path.len())
                .help(format!(
                    "write `allow_protected: [{}]` if it may change",
                    named.path
                ))
        })
        .collect();
    (!diagnostics.is_empty()).then(|| Problems {
        name: name.to_owned(),
        text: plan.text.to_string(),
        diagnostics,
    })
}

/// Lines of a dry run: what is allowed, and what will be refused.
pub(super) fn lines(plan: &Plan, settings: &Settings, force: Option<Runner>) -> Vec<String> {
    let mut lines = Vec::new();
    for task in plan.tasks.iter().filter(|task| task.declared.is_open()) {
        let checks = how::checks(task, plan, settings, force);
        match &checks.allow_protected {
            Allowed::None => {}
            Allowed::Globs(globs) => lines.push(format!(
                "task {} may change protected paths: {}",
                task.id,
                globs.join(", ")
            )),
            Allowed::All => lines.push(format!("task {} may change every protected path", task.id)),
        }
    }
    for named in named(plan, settings) {
        lines.push(format!(
            "warning: task {} may write `{}`, which {}; without `allow_protected` a change of it is refused",
            named.task.id, named.path, named.why
        ));
    }
    lines
}

fn named<'p>(plan: &'p Plan, settings: &Settings) -> Vec<Named<'p>> {
    let mut found = Vec::new();
    for task in plan.tasks.iter().filter(|task| task.declared.is_open()) {
        let asks = task
            .approval
            .as_ref()
            .is_some_and(|a| a.when == When::After);
        if task.files.is_empty() || asks {
            continue;
        }
        let checks = how::checks(task, plan, settings, None);
        let rules = Rules {
            protect: checks.protect.clone(),
            unprotect: checks.unprotect.clone(),
            allow_protected: checks.allow_protected.clone(),
            gated: checks.gates() != Gates::None,
            ..Rules::default()
        };
        // Globs that cannot be read are told where they stand.
        let Ok(protection) = Protection::new(&rules) else {
            continue;
        };
        for glob in &task.files {
            let path = glob.trim_end_matches("/**").trim_end_matches('/');
            let is_plain = !path.contains(['*', '?', '[', '{']);
            if let Some(why) = protection.by_name(path.as_ref()).filter(|_| is_plain) {
                found.push(Named { task, path, why });
            }
        }
    }
    found
}

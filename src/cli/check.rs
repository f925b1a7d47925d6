//! `orch check [PLAN]`: everything that is wrong with a plan, and with the settings that it would run with here.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use crate::config::Problems;
use crate::diagnostic::{self, Diagnostic, Located, has_errors};
use crate::error::{OrKind, Result};
use crate::plan::syntax::SOURCE_BYTES_MAX;
use crate::plan::{self, Checked, Plan, Strictness};

/// Version of the JSON form.
const FORMAT_VERSION: u32 = 1;

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people: each problem with its line and a caret, then a count.
    #[default]
    Text,
    /// For programs: one object with all problems.
    Json,
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    file: &'a str,
    ok: bool,
    tasks: Option<usize>,
    diagnostics: Vec<Located<'a>>,
    /// What is wrong with the settings, each under the name of its file, variable or key.
    settings: Vec<Located<'a>>,
}

/// Reads and checks a plan file; what is wrong with its text is in the result.
///
/// # Errors
/// A usage error if the file cannot be read.
pub fn read(path: &Path, strictness: Strictness) -> Result<Checked> {
    let open = || -> std::io::Result<Vec<u8>> {
        // One byte more than a plan may have is enough to see that it has too many.
        let mut file = File::open(path)?.take(SOURCE_BYTES_MAX as u64 + 1);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let name = path.display().to_string();
    let bytes = open()
        .with_context(|| format!("cannot read the plan `{name}`"))
        .or_usage()?;
    Ok(plan::check(&name, &bytes, strictness))
}

/// Prints what is wrong with a plan, and with `settings` for it, and says whether it can be run.
///
/// # Errors
/// A usage error if the file cannot be read; an environment error if nothing can be printed.
pub fn check(
    path: &Path,
    strictness: Strictness,
    format: CheckFormat,
    color: bool,
    settings: impl FnOnce(Option<(&str, &Plan)>) -> Result<Vec<Problems>>,
    out: &mut dyn Write,
) -> Result<bool> {
    let checked = read(path, strictness)?;
    let plan = checked.plan.as_ref();
    let wrong = settings(plan.map(|plan| (checked.name.as_str(), plan)))?;
    match format {
        CheckFormat::Text => text(&checked, &wrong, color, out).or_environment()?,
        CheckFormat::Json => json(&checked, &wrong, out).or_environment()?,
    }
    let is_fatal = |problems: &Problems| has_errors(&problems.diagnostics);
    let ok = plan.is_some() && !wrong.iter().any(is_fatal);
    // The process ends here, and taking apart what a long plan is made of would be a part of the wait.
    std::mem::forget(checked);
    Ok(ok)
}

fn text(
    checked: &Checked,
    settings: &[Problems],
    color: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    write!(out, "{}", checked.render(color))?;
    for problems in settings {
        write!(out, "{}", problems.render(color))?;
    }
    // What the settings and roles say about a plan stands under its name, too.
    let of_plan = settings.iter().filter(|p| p.name == checked.name);
    let all: Vec<Diagnostic> = (checked.diagnostics.iter())
        .chain(of_plan.flat_map(|p| &p.diagnostics))
        .cloned()
        .collect();
    let tally = diagnostic::tally(&all);
    match &checked.plan {
        Some(plan) => {
            let count = |n: usize, word: &str| match n {
                1 => format!("1 {word}"),
                _ => format!("{n} {word}s"),
            };
            let tasks = count(plan.tasks.len(), "task");
            let sections = count(plan.sections.len(), "section");
            writeln!(out, "{}: {tasks} in {sections}, {tally}", checked.name)?;
        }
        None => writeln!(out, "{}: {tally}", checked.name)?,
    }
    for problems in settings.iter().filter(|p| p.name != checked.name) {
        writeln!(
            out,
            "{}: {}",
            problems.name,
            diagnostic::tally(&problems.diagnostics)
        )?;
    }
    Ok(())
}

fn json(checked: &Checked, settings: &[Problems], out: &mut dyn Write) -> std::io::Result<()> {
    let report = Report {
        version: FORMAT_VERSION,
        file: &checked.name,
        ok: checked.plan.is_some() && !settings.iter().any(|p| has_errors(&p.diagnostics)),
        tasks: checked.plan.as_ref().map(|plan| plan.tasks.len()),
        diagnostics: checked.located(),
        settings: settings.iter().flat_map(Problems::located).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

//! `orch audit`: what the independent checker finds, for people and scripts.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::args::{AuditArgs, Format, RunChoice};
use super::locate;
use super::out::Out;
use crate::audit::{self, Case, Report};
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::ids::RunId;

/// `orch audit`.
pub(super) fn audit(args: &AuditArgs, out: &mut Out<'_>) -> Result<u8> {
    let report = match &args.what {
        Some(range) if RunId::parse(range).is_err() || !is_run(range)? => of_range(range)?,
        run => of_run(run.as_deref())?,
    };
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&report).or_bug()? + "\n",
        Format::Text => text(&report, out),
    };
    out.print(&text)?;
    Ok(if report.findings.is_empty() {
        0
    } else {
        ErrorKind::Negative.exit_code()
    })
}

fn is_run(name: &str) -> Result<bool> {
    let known = locate::run(&RunChoice {
        plan: None,
        run: Some(name.to_owned()),
    });
    match known {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Negative => Ok(false),
        Err(error) => Err(error),
    }
}

fn of_run(run: Option<&str>) -> Result<Report> {
    let chosen = locate::run(&RunChoice {
        plan: None,
        run: run.map(str::to_owned),
    })?;
    let records = chosen.reader.records(&chosen.run.run).or_environment()?;
    let repo = git2::Repository::discover(".").or_environment()?;
    let discards = chosen
        .reader
        .records_of_kind("discarded")
        .or_environment()?;
    let said_before = audit::said_before(&records, |kind| chosen.reader.records_of_kind(kind))
        .or_environment()?;
    let case = Case {
        run: &chosen.run.run,
        plan: &chosen.run.plan_id,
        target: &chosen.run.target,
        records: &records,
        discards: &discards,
        said_before: &said_before,
    };
    audit::run(&repo, &case).or_environment()
}

fn of_range(range: &str) -> Result<Report> {
    let chosen = locate::run(&RunChoice {
        plan: None,
        run: None,
    })?;
    let repo = git2::Repository::discover(".").or_environment()?;
    let mut landed = BTreeMap::new();
    for run in chosen.reader.runs(locate::RUNS_MAX).or_environment()? {
        let records = chosen.reader.records(&run.run).or_environment()?;
        landed.insert(run.run, audit::landed_commits(&records));
    }
    let report = audit::range(&repo, range, |run, commit| {
        landed.get(run).map(|commits| commits.contains(commit))
    });
    report.map_err(|e| {
        Error::new(
            ErrorKind::Usage,
            anyhow!(
                "`{range}` is neither a run nor a range of commits: {}",
                e.message()
            ),
        )
        .hint("orch audit                    checks the latest run")
        .hint("orch audit main~10..main      checks commits")
    })
}

fn text(report: &Report, out: &Out<'_>) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let task = finding
            .task
            .as_ref()
            .map(|t| format!(" task {t}"))
            .unwrap_or_default();
        let commit = finding
            .commit
            .as_ref()
            .map(|c| format!(" {}", c.short()))
            .unwrap_or_default();
        text.push_str(&format!(
            "{}{task}{commit}: {}\n",
            out.paint.bad(finding.law),
            finding.message
        ));
    }
    text.push_str(&format!(
        "{} landed commits ({} unverified{}), {} candidates{}, {} commits by others: {}\n",
        report.landed,
        report.unverified,
        match report.unproven {
            0 => String::new(),
            n => format!(", {n} known from the history alone, their records being lost"),
        },
        report.candidates,
        match report.salvaged {
            0 => String::new(),
            n => format!(", {n} saved"),
        },
        report.others,
        match report.findings.len() {
            0 => out.paint.good("no contradiction"),
            n => out.paint.bad(&format!("{n} contradictions")),
        }
    ));
    text
}

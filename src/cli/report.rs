//! `orch report`: the account of a run, to be handed on.

use std::collections::BTreeMap;

use super::args::{ReportArgs, ReportFormat};
use super::locate;
use super::out::Out;
use crate::error::{OrKind, Result};
use crate::plan::{self, Strictness};
use crate::report::account::Account;
use crate::store::{FileError, read_limited};

/// Longest stored report that is taken in.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// `orch report`.
pub(super) fn report(args: &ReportArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice())?;
    let engine = locate::engine(&chosen)?;
    let records = chosen.reader.records(&chosen.run.run).or_environment()?;
    let dir = chosen.state.run(&chosen.run.run);
    let text = match dir.read_plan(engine.run().revision) {
        Ok(text) => Some(text),
        // The run's directory was removed; the ledger still knows what became of the tasks.
        Err(FileError::Missing { .. }) => None,
        Err(error) => return Err(error).or_environment(),
    };
    let plan =
        text.and_then(|text| plan::check(&chosen.run.plan_path, &text, Strictness::AsWritten).plan);
    let mut reports = BTreeMap::new();
    for view in engine.tasks().filter(|view| view.report.is_some()) {
        let task = &view.node.id;
        let path = dir.attempt(task, view.attempt.max(1)).report();
        let text = read_limited(&path, REPORT_BYTES_MAX).or_environment()?;
        reports.insert(task.clone(), String::from_utf8_lossy(&text).into_owned());
    }
    let account = Account::new(
        &engine,
        &records,
        plan.as_ref(),
        &reports,
        chosen.is_live()?,
    );
    let text = match args.format {
        ReportFormat::Md => account.markdown().or_bug()?,
        ReportFormat::Html => account.html().or_bug()?,
        ReportFormat::Json => serde_json::to_string_pretty(&account).or_bug()? + "\n",
    };
    out.print(&text).map(|()| 0)
}

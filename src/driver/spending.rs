//! What the ledger tells a run that starts about spending: what attempts usually take here, and what was spent today.

use crate::engine::budget::{Amount, Learned};
use crate::engine::history::History;
use crate::engine::policy::Budgets;
use crate::error::{OrKind, Result};
use crate::ids::RunId;
use crate::store::{Reader, RunSummary};

/// Runs that may have spent something today: more than anybody starts in a day.
const RUNS_MAX: u32 = 10_000;

/// The newest runs that are learned from.
const RUNS_LEARNED: usize = 20;

/// What earlier attempts spent by agent and model, and what all runs of the repository were charged since the day began.
/// Nothing is read where nothing is bounded.
///
/// # Errors
/// If the ledger cannot be read.
pub(super) fn earlier(
    reader: &Reader,
    run: &RunId,
    budgets: &Budgets,
) -> Result<(Vec<Learned>, Amount)> {
    let mut history = History::since(budgets.day_begins);
    if budgets.are_free() {
        return Ok((history.learned(), history.today()));
    }
    let is_of_today = |other: &RunSummary| {
        other.run == *run || other.end.is_none_or(|end| end.at >= budgets.day_begins)
    };
    let runs = reader.runs(RUNS_MAX).or_environment()?;
    for (place, other) in runs.iter().enumerate() {
        if place < RUNS_LEARNED || is_of_today(other) {
            let records = reader.records(&other.run).or_environment()?;
            history.hear(&records, other.run == *run);
        }
    }
    Ok((history.learned(), history.today()))
}

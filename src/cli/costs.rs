//! `orch costs`: what sessions cost, added up.

use super::args::{CostsArgs, CostsBy, CostsFormat};
use super::locate;
use super::out::Out;
use crate::driver::attempt::Sheet;
use crate::error::{OrKind, Result};
use crate::report::costs::{By, Costs, Doer, Session, sessions};

/// Runs that are added up together: more than a project has.
const RUNS_MAX: u32 = 100_000;

/// `orch costs`.
pub(super) fn costs(args: &CostsArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let all = args.choice.plan.is_none()
        && args.choice.run.is_none()
        && matches!(args.by, CostsBy::Day | CostsBy::Run);
    let runs = if all {
        let runs = chosen.reader.runs(RUNS_MAX).or_environment()?;
        runs.into_iter().map(|run| run.run).collect()
    } else {
        vec![chosen.run.run.clone()]
    };
    let (mut ended, mut under_way) = (Vec::new(), 0);
    for run in runs {
        let records = chosen.reader.records(&run).or_environment()?;
        let (of_run, live) = sessions(&records);
        ended.extend(of_run);
        under_way += live;
    }
    let by = match args.by {
        CostsBy::Task => By::Task,
        CostsBy::Agent => By::Agent,
        CostsBy::Model => By::Model,
        CostsBy::Day => By::Day,
        CostsBy::Run => By::Run,
    };
    let state = &chosen.state;
    let doer = |session: &Session| {
        let dir = state
            .run(&session.run)
            .attempt(&session.ticket.task, session.ticket.attempt);
        match Sheet::find(&dir) {
            Ok(sheet) => sheet.map(|sheet| Doer {
                agent: sheet.how.role,
                model: sheet.how.model,
            }),
            Err(error) => {
                tracing::warn!(%error, "who did attempt {} is not known", session.ticket);
                None
            }
        }
    };
    let costs = Costs::of(&ended, by, under_way, doer);
    let text = match args.format {
        CostsFormat::Text => costs.text(out.paint),
        CostsFormat::Csv => costs.csv(),
        CostsFormat::Json => serde_json::to_string_pretty(&costs).or_bug()? + "\n",
    };
    out.print(&text).map(|()| 0)
}

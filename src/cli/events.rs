//! `orch events`: the records of the ledger as NDJSON, what every other reader is made of.

use std::time::Duration;

use super::args::EventsArgs;
use super::locate;
use super::out::Out;
use crate::driver::watch::Watch;
use crate::engine::record::Record;
use crate::error::{OrKind, Result};
use crate::report::ndjson;
use crate::store::{Reader, StateDir};

/// Records read at once: bounds memory on ledgers of any size.
const PAGE: u32 = 1_000;
/// How long `--follow` trusts the file watch before it looks by itself, and whether an orch still lives.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);

/// `orch events`.
pub(super) fn events(args: &EventsArgs, out: &mut Out<'_>) -> Result<u8> {
    let state = locate::place()?.state;
    let mut since = args.since;
    let mut ended = print_new(&state, &mut since, out)?;
    if !args.follow {
        return Ok(0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment()?;
    runtime.block_on(async {
        let ledger = state.ledger();
        let mut watch = Watch::over(&[ledger.with_extension("db-wal"), ledger]);
        while !ended {
            let alive = state.live_orch().or_environment()?.is_some();
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep(LOOK_ANYWAY), if alive => {}
                () = std::future::ready(()), if !alive => { print_new(&state, &mut since, out)?; break; }
            }
            ended = print_new(&state, &mut since, out)?;
        }
        Ok(0)
    })
}

/// Prints what is newer than `since`, and says whether the last of it ends a run.
fn print_new(state: &StateDir, since: &mut u64, out: &mut Out<'_>) -> Result<bool> {
    let Some(reader) = Reader::open(state).or_environment()? else {
        return Ok(false);
    };
    let mut ended = false;
    loop {
        let page = reader.records_since(*since, PAGE).or_environment()?;
        let Some(last) = page.last() else {
            return Ok(ended);
        };
        *since = last.seq;
        ended = matches!(last.record, Record::RunEnded { .. });
        out.print(&ndjson::lines(&page).or_bug()?)?;
    }
}

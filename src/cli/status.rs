//! `orch status`: the tasks of a run as a table or as JSON.

use super::args::{Format, StatusArgs};
use super::locate;
use super::out::Out;
use crate::error::{OrKind, Result};
use crate::report::summary::{self, Shown};

/// `orch status`.
pub(super) fn status(args: &StatusArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let engine = locate::engine(&chosen)?;
    let live = chosen.is_live()?;
    let text = match args.format {
        Format::Text => summary::text(&engine, Shown::All, live, out.paint),
        Format::Json => {
            serde_json::to_string_pretty(&summary::json(&engine, live)).or_bug()? + "\n"
        }
    };
    out.print(&text).map(|()| 0)
}

//! `orch why`: one line on why a task is where it is.

use super::args::TaskArgs;
use super::locate;
use super::out::Out;
use crate::error::Result;
use crate::report::paint::in_one_line;

/// `orch why`.
pub(super) fn why(args: &TaskArgs, out: &mut Out<'_>) -> Result<u8> {
    let chosen = locate::run(&args.choice)?;
    let engine = locate::engine(&chosen)?;
    let task = locate::task(&engine, &args.task)?;
    out.print(&(in_one_line(&engine.why(&task).join("; ")) + "\n"))?;
    Ok(0)
}

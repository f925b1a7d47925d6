//! `orch gc`: what orch made and nobody needs any more, shown with the proof for each thing, and removed.

use std::time::Instant;

use serde_json::json;

use super::args::{Format, GcArgs};
use super::out::Out;
use super::{asked, du, locate, site};
use crate::driver::gc::{Gc, Item};
use crate::driver::now;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::store::{Holder, Ledger, LockError, Reader};

/// `orch gc`.
pub(super) fn gc(args: &GcArgs, out: &mut Out<'_>) -> Result<u8> {
    let repo = locate::repository()?;
    let state = locate::place()?.state;
    let settings = asked::settings_of(repo.worktree(), out)?;
    let at = now(Instant::now()).wall;
    let gc = Gc {
        reader: Reader::open(&state).or_environment()?,
        slots: site::slots_dir(&settings)?,
        keep_runs: settings.gc_keep_runs.value,
        keep_days: settings.gc_keep_days.value,
        now: at,
        repo,
        state,
    };
    if args.dry_run {
        let items = gc.survey(args.slots).or_environment()?;
        return print(&items, args, out);
    }
    let holder = Holder::of_this_process("none (orch gc)".to_owned(), at, None);
    let lock = gc.state.lock(&holder).map_err(|e| match e {
        LockError::Held { .. } => Error::new(ErrorKind::Busy, e)
            .hint("orch gc --dry-run             shows what would go, also while a run lives"),
        LockError::Io { .. } => Error::new(ErrorKind::Environment, e),
    })?;
    let mut items = gc.survey(args.slots).or_environment()?;
    if items.iter().any(|item| item.goes) {
        let identity = gc.repo.identity().map_err(locate::explain)?;
        let mut ledger = Ledger::open(lock).or_environment()?;
        gc.carry_out(&mut ledger, &identity, &mut items)
            .or_environment()?;
    }
    print(&items, args, out)
}

fn print(items: &[Item], args: &GcArgs, out: &mut Out<'_>) -> Result<u8> {
    let text = match args.format {
        Format::Json => {
            let value = json!({"dry_run": args.dry_run, "items": items});
            serde_json::to_string_pretty(&value).or_bug()? + "\n"
        }
        Format::Text => text(items, args, out),
    };
    out.print(&text).map(|()| 0)
}

fn text(items: &[Item], args: &GcArgs, out: &Out<'_>) -> String {
    let verb = match args.dry_run {
        true => "would go",
        false => "gone",
    };
    let mut text = String::new();
    for item in items.iter().filter(|item| item.goes || args.why) {
        let (word, why) = match item.goes {
            true => (out.paint.bad(verb), &item.why),
            false => (out.paint.good("stays"), &item.why),
        };
        text.push_str(&format!("{word}  {} {}", item.kind.in_words(), item.name));
        if let Some(bytes) = item.bytes {
            text.push_str(&format!(" ({})", du::for_people(bytes)));
        }
        text.push('\n');
        if args.why {
            text.push_str(&format!("      {why}\n"));
        }
    }
    let (going, staying): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.goes);
    let bytes = going.iter().filter_map(|item| item.bytes).sum();
    text.push_str(&format!(
        "{} {verb}, {} on the disk; {} stay{}\n",
        going.len(),
        du::for_people(bytes),
        staying.len(),
        if args.why || staying.is_empty() {
            ""
        } else {
            ", --why says why"
        }
    ));
    text
}

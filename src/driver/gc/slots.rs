//! Slots: those of this repository in which nobody works and of which no run waits for what they hold. What no ref
//! reaches is saved before they go.

use std::path::Path;

use anyhow::Context;

use super::dirs::{disk_bytes, sound};
use super::{Gc, Item, Kind, Verdict, What};
use crate::driver::begin::taken_slots;
use crate::engine::record::Record;
use crate::git::repository::Identity;
use crate::git::salvage::{self, Surroundings};
use crate::git::slot::{LodgingKind, Slot, Tenant, lodgings, lodgings_dir};
use crate::ids::{RunId, SlotId};
use crate::process::{self, Marker};
use crate::store::Ledger;

pub(super) fn survey(gc: &Gc) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    for lodging in lodgings(&gc.repo, &gc.slots)? {
        let (path, is_ours) = (lodging.path, lodging.kind != LodgingKind::Foreign);
        let stays = |why: &str| (Verdict::Stays(why.to_owned()), What::Nothing);
        let (verdict, what) = match lodging.kind {
            LodgingKind::Slot(slot, tenant) => {
                let verdict = match needed(gc, slot, tenant.as_ref(), &path)? {
                    Some(why) => Verdict::Stays(why),
                    None => Verdict::Goes(
                        "nobody works in it, and what no ref reaches is saved first".to_owned(),
                    ),
                };
                (verdict, What::Slot(slot, path.clone()))
            }
            LodgingKind::Aside => stays("it was kept whole because it could not be read; for you"),
            LodgingKind::Gate => stays("landing commits are judged in it; it is kept warm"),
            LodgingKind::Foreign => stays("it does not bear the mark of a slot of this repository"),
        };
        let mut item = Item::new(Kind::Slot, path.display().to_string(), verdict, what);
        if is_ours {
            item.bytes = Some(disk_bytes(&path)?);
        }
        items.push(item);
    }
    Ok(items)
}

/// Why a slot stays.
fn needed(
    gc: &Gc,
    slot: SlotId,
    tenant: Option<&Tenant>,
    path: &Path,
) -> anyhow::Result<Option<String>> {
    if let Some(reader) = &gc.reader {
        // No run has this id, so that every run counts.
        let nobody = RunId::parse("none").expect("letters can be an id");
        let taken = taken_slots(reader, &gc.state, &nobody).map_err(|e| anyhow::anyhow!("{e}"))?;
        if taken.contains(&slot) {
            return Ok(Some(
                "a run left work in it that is not collected; its next start does".to_owned(),
            ));
        }
    }
    let marked = match tenant {
        Some(tenant) => process::alive(&Marker::new(tenant.run.clone(), tenant.ticket.clone()))?,
        None => Vec::new(),
    };
    let inside = process::working_in(path)?;
    if let Some(process) = marked.first().or(inside.first()) {
        let (pid, comm) = (process.pid, &process.comm);
        return Ok(Some(format!("process {pid} ({comm}) works in it")));
    }
    let modules = path.join("git/worktrees/tree/modules");
    if modules.exists() {
        return Ok(Some(
            "it holds repositories of submodules, whose commits may be nowhere else".to_owned(),
        ));
    }
    sound(path)
}

/// Saves what a slot holds, and removes it; why it stays, if it does.
pub(super) fn remove(
    gc: &Gc,
    ledger: &mut Ledger,
    identity: &Identity,
    id: SlotId,
    path: &Path,
) -> anyhow::Result<Option<String>> {
    let mut slot = Slot::open(&gc.repo, &gc.slots, id)?;
    if let Some(why) = needed(gc, id, slot.tenant()?.as_ref(), path)? {
        return Ok(Some(why));
    }
    let head = gc.repo.head()?;
    let around = Surroundings {
        identity,
        base: head.commit(),
        attempt_dir: &|run, task, attempt| {
            let attempt = gc.state.run(run).attempt(task, attempt);
            attempt.path().to_owned()
        },
    };
    let mut saved = Vec::new();
    let done = salvage::save(&mut slot, &around, &mut saved);
    let reader = ledger.reader();
    for salvage in saved {
        // A slot of which nothing was known belongs to no run.
        if reader.run(&salvage.run)?.is_some() {
            let run = salvage.run.clone();
            ledger.append(&run, gc.now, vec![Record::Salvaged { salvage }])?;
        }
    }
    if let Err(error) = done {
        let error = anyhow::Error::from(error);
        return Ok(Some(format!(
            "not everything in it can be saved: {error:#}"
        )));
    }
    slot.remove()?;
    Ok(None)
}

/// Removes the directory of the slots once it is empty.
pub(super) fn remove_empty(gc: &Gc) -> anyhow::Result<()> {
    let dir = lodgings_dir(&gc.repo, &gc.slots);
    match std::fs::remove_dir(&dir) {
        Err(e)
            if !matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

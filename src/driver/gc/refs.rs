//! Refs below `refs/orch/`: which run each belongs to, and whether it still needs it.

use std::collections::BTreeMap;

use super::{Gc, Item, Kind, Run, Standing, Verdict, What};
use crate::engine::record::Record;
use crate::git::refs;
use crate::ids::{ObjectId, RefName, RunId};

/// A ref of orch's own, by its name.
struct Named<'a> {
    kind: Kind,
    run: RunId,
    task: &'a str,
    number: &'a str,
}

impl<'a> Named<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.strip_prefix("refs/orch/")?.splitn(4, '/');
        let kind = match parts.next()? {
            "pin" => Kind::Pin,
            "candidate" => Kind::Candidate,
            "salvage" => Kind::Salvage,
            _ => return None,
        };
        let run = RunId::parse(parts.next()?).ok()?;
        let task = parts.next()?;
        let number = parts.next().unwrap_or_default();
        Some(Self {
            kind,
            run,
            task,
            number,
        })
    }
}

pub(super) fn survey(gc: &Gc, runs: &BTreeMap<RunId, Run>) -> anyhow::Result<Vec<Item>> {
    let repo = gc.repo.open()?;
    let mut items = Vec::new();
    for reference in repo.references_glob("refs/orch/*")? {
        let reference = reference?;
        let (Ok(name), Some(target)) = (reference.name(), reference.target()) else {
            continue;
        };
        let Some(named) = Named::parse(name) else {
            continue;
        };
        let at = ObjectId::new(target.to_string());
        let verdict = match runs.get(&named.run) {
            None => Verdict::Stays("the ledger does not know its run".to_owned()),
            Some(run) => judge(&repo, &named, &at, run)?,
        };
        let what = What::Ref(named.run.clone(), RefName::new(name), at);
        items.push(Item::new(named.kind, name, verdict, what));
    }
    Ok(items)
}

fn judge(
    repo: &git2::Repository,
    named: &Named<'_>,
    at: &ObjectId,
    run: &Run,
) -> anyhow::Result<Verdict> {
    if let Standing::Open(why) = run.standing {
        return Ok(Verdict::Stays(why.to_owned()));
    }
    if named.kind == Kind::Pin {
        let why = "its run completed: nothing is under way that needs it";
        return Ok(Verdict::Goes(why.to_owned()));
    }
    if named.kind == Kind::Candidate {
        if !is_recorded(named, at, run) {
            let why = "the ledger knows no such candidate";
            return Ok(Verdict::Stays(why.to_owned()));
        }
        if let Some(landing) = landing(named, run) {
            let target = &run.summary.target;
            let holds = match refs::tip(repo, target)? {
                Some(tip) => refs::contains(repo, &tip, &landing)?,
                None => false,
            };
            let landed = format!("it landed as {}", landing.short());
            return Ok(match holds {
                true => Verdict::Goes(format!("{landed}, which {} holds", target.short())),
                false => Verdict::Stays(format!("{landed}, which {} lacks", target.short())),
            });
        }
    }
    Ok(match &run.standing {
        Standing::Old(why) => Verdict::Goes(why.clone()),
        Standing::Completed | Standing::Open(_) => Verdict::Stays(
            "it is in no landed commit, and its run is among those that are kept".to_owned(),
        ),
    })
}

/// Whether the run's records name this commit as this candidate.
fn is_recorded(named: &Named<'_>, at: &ObjectId, run: &Run) -> bool {
    run.records.iter().any(|stamped| match &stamped.record {
        Record::Collected {
            ticket,
            candidate: Some(candidate),
            ..
        } => {
            candidate == at
                && ticket.task.as_str() == named.task
                && ticket.attempt.to_string() == named.number
        }
        _ => false,
    })
}

/// The commit as which this attempt landed.
fn landing(named: &Named<'_>, run: &Run) -> Option<ObjectId> {
    run.records
        .iter()
        .find_map(|stamped| match &stamped.record {
            Record::Landed { ticket, commit, .. }
                if ticket.task.as_str() == named.task
                    && ticket.attempt.to_string() == named.number =>
            {
                Some(commit.clone())
            }
            _ => None,
        })
}

/// Removes a ref that still is what was judged; why it stays, if it is not.
pub(super) fn remove(
    repo: &git2::Repository,
    name: &RefName,
    at: &ObjectId,
) -> anyhow::Result<Option<String>> {
    match refs::tip(repo, name)? {
        None => Ok(None),
        Some(found) if found == *at => {
            repo.find_reference(name.as_str())?.delete()?;
            Ok(None)
        }
        Some(found) => Ok(Some(format!("it moved to {} meanwhile", found.short()))),
    }
}

//! By what a task and its landing commit are checked: the plan as it stands, or what the attempt's sheet remembers.

use crate::driver::attempt::{Opponent, Sheet};
use crate::driver::how;
use crate::driver::site::Site;
use crate::ids::Ticket;
use crate::plan::checks::{Checks, VerifyCommand};

/// What a task is checked by, as the plan stands; by its attempt's sheet, where the plan no longer has it.
pub(in crate::driver::executor) fn checks(site: &Site, ticket: &Ticket) -> anyhow::Result<Checks> {
    let plan = site.plan.current();
    match plan.task(&ticket.task) {
        Some(task) => Ok(how::checks(task, &plan, &site.settings, site.force)),
        None => Ok(Sheet::load(&site.attempt_dir(ticket))?.checks),
    }
}

/// What a landing commit is checked by: as its task is, and where it came of a conflict that was resolved, by the gates
/// and outputs of the tasks with whose work that was.
pub(in crate::driver::executor) fn landing_checks(
    site: &Site,
    ticket: &Ticket,
) -> anyhow::Result<Checks> {
    let checks = checks(site, ticket)?;
    let sheet = Sheet::find(&site.attempt_dir(ticket))?;
    let contest = sheet.and_then(|sheet| sheet.contest);
    let with = contest.map_or_else(Vec::new, |contest| contest.with);
    Ok(joined_checks(site, checks, with))
}

/// The checks of a task, and the gates and outputs of those with whose work a conflict was resolved.
pub(in crate::driver::executor) fn joined_checks(
    site: &Site,
    mut checks: Checks,
    with: Vec<Opponent>,
) -> Checks {
    let plan = site.plan.current();
    for Opponent {
        task: id,
        checks: then,
        ..
    } in with
    {
        let theirs = match plan.task(&id) {
            Some(task) => how::checks(task, &plan, &site.settings, site.force),
            None => then,
        };
        for command in theirs.verify {
            let is_known = checks.verify.iter().any(|own| {
                own.hash() == command.hash()
                    && own.fail_on == command.fail_on
                    && own.required >= command.required
            });
            if !is_known {
                let name = format!("{} (of {id})", command.name);
                checks.verify.push(VerifyCommand { name, ..command });
            }
        }
        checks.outputs.extend(theirs.outputs);
    }
    checks
}

//! `orch doctor`: what is unhealthy here, for people and scripts; the safe repairs; a ledger made anew.

use std::path::PathBuf;
use std::time::Instant;

use super::args::{DoctorArgs, Format};
use super::out::Out;
use super::{asked, locate, site};
use crate::doctor::facts::{Facts, Trouble};
use crate::doctor::{self, Account, Fate, Finding, Rebuilt, Repair, Severity, Surroundings};
use crate::driver::now;
use crate::error::{Error, ErrorKind, OrKind, Result};
use crate::git::repository::RepositoryError;
use crate::git::{Git, Repository};
use crate::report::paint::Paint;
use crate::store::{Holder, LockError, OrchLock, StateDir};

/// `orch doctor`.
pub(super) fn doctor(args: &DoctorArgs, out: &mut Out<'_>) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment()?;
    let here = std::env::current_dir().or_environment()?;
    let found = Git::find()
        .map_err(RepositoryError::from)
        .and_then(|git| Repository::discover(&git, &here));
    let repo = match found {
        Ok(repo) => repo,
        // Nothing is unhealthy about a directory in which orch has no business.
        Err(error @ RepositoryError::NotARepository(_)) => return Err(locate::explain(error)),
        Err(error) => {
            if args.fix_safe || args.rebuild_ledger {
                return Err(locate::explain(error));
            }
            let around = surroundings(None, out);
            let around = around.as_surroundings();
            let facts = runtime.block_on(doctor::gather_without_repository(&error, around));
            return tell(&facts, &[], args, out);
        }
    };
    if args.rebuild_ledger {
        return rebuild(&repo, args, out);
    }
    let kept = surroundings(Some(&repo), out);
    let look = || runtime.block_on(doctor::gather(&repo, kept.as_surroundings()));
    let mut facts = look();
    let mut repairs = Vec::new();
    if args.fix_safe {
        let lock = lock(&repo)?;
        // What was seen before the lock was taken may have been the work of an orch that lived then.
        facts = look();
        facts.live = None;
        repairs = doctor::fix_safe(&repo, &facts, &lock)?;
        drop(lock);
        facts = look();
    }
    tell(&facts, &repairs, args, out)
}

/// What is handed on of the command line's world.
struct Kept {
    settings: Result<crate::config::Settings>,
    slots: Option<PathBuf>,
    path_var: Option<std::ffi::OsString>,
    hooks: Vec<String>,
}

impl Kept {
    fn as_surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            now: now(Instant::now()).wall,
            settings: self.settings.as_ref().map_err(|error| Trouble {
                what: error.to_string(),
                hints: Vec::new(),
            }),
            slots: self.slots.clone(),
            path_var: self.path_var.as_deref(),
            hooks: self.hooks.clone(),
        }
    }
}

fn surroundings(repo: Option<&Repository>, out: &Out<'_>) -> Kept {
    let root = match repo {
        Some(repo) => repo.worktree().to_owned(),
        None => PathBuf::from("."),
    };
    let settings = asked::settings_of(&root, out);
    let slots = match &settings {
        Ok(settings) => settings.slots_dir.value.clone(),
        Err(_) => None,
    };
    Kept {
        slots: slots.or_else(|| site::user_state_dir().ok().map(|dir| dir.join("slots"))),
        settings,
        path_var: std::env::var_os("PATH"),
        hooks: repo.map_or_else(Vec::new, |repo| {
            let hooks = site::active_hooks(repo);
            hooks.into_iter().map(str::to_owned).collect()
        }),
    }
}

fn lock(repo: &Repository) -> Result<OrchLock> {
    let started = now(Instant::now()).wall;
    let holder = Holder::of_this_process("orch doctor".to_owned(), started, None);
    let state = StateDir::of_repository(repo.common_dir());
    state.lock(&holder).map_err(|error| match error {
        LockError::Held { .. } => Error::new(ErrorKind::Busy, error)
            .hint("orch stop --wait              halts it; then again"),
        LockError::Io { .. } => Error::new(ErrorKind::Environment, error),
    })
}

fn rebuild(repo: &Repository, args: &DoctorArgs, out: &mut Out<'_>) -> Result<u8> {
    let lock = lock(repo)?;
    let rebuilt = doctor::rebuild(repo, lock, now(Instant::now()).wall)?;
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&rebuilt).or_bug()? + "\n",
        Format::Text => rebuilt_text(&rebuilt, out),
    };
    out.print(&text)?;
    Ok(0)
}

fn rebuilt_text(rebuilt: &Rebuilt, out: &Out<'_>) -> String {
    let Rebuilt::Anew {
        set_aside,
        runs,
        ended,
    } = rebuilt
    else {
        return "nothing is wrong with the ledger; it is as it was\n".to_owned();
    };
    let mut text = format!("the damaged ledger lies in {}\n", set_aside.display());
    for account in runs {
        text.push_str(&account_text(account, out));
    }
    if !ended.is_empty() {
        text.push_str(&format!("ended processes: {}\n", ended.join(", ")));
    }
    text.push_str(
        "\nNext:\n  orch audit      what can still be proved\n  orch run        goes on\n",
    );
    text
}

fn account_text(account: &Account, out: &Out<'_>) -> String {
    let fate = match account.fate {
        Fate::Whole => out.paint.good("whole"),
        Fate::Closed => out
            .paint
            .bad("closed; what is left begins anew in the next run"),
        Fate::Unknown => out.paint.bad("not known well enough to be kept"),
    };
    let mut text = format!(
        "run {}: {} records saved, {fate}\n",
        account.run, account.records
    );
    for (task, commit) in &account.found {
        let commit = commit.short();
        text.push_str(&format!(
            "  found in the history: {task} landed as {commit}\n"
        ));
    }
    for lost in &account.lost {
        text.push_str(&format!("  not known: {lost}\n"));
    }
    text
}

#[derive(serde::Serialize)]
struct Report<'a> {
    healthy: bool,
    findings: &'a [Finding],
    repairs: &'a [Repair],
}

fn tell(facts: &Facts, repairs: &[Repair], args: &DoctorArgs, out: &mut Out<'_>) -> Result<u8> {
    let findings = doctor::judge(facts);
    let healthy = findings.iter().all(|f| f.severity < Severity::Problem);
    let text = match args.format {
        Format::Json => {
            let report = Report {
                healthy,
                findings: &findings,
                repairs,
            };
            serde_json::to_string_pretty(&report).or_bug()? + "\n"
        }
        Format::Text => text(&findings, repairs, out.paint),
    };
    out.print(&text)?;
    Ok(match healthy {
        true => 0,
        false => ErrorKind::Negative.exit_code(),
    })
}

fn text(findings: &[Finding], repairs: &[Repair], paint: Paint) -> String {
    let mut text = String::new();
    for repair in repairs {
        text.push_str(&format!("{} {}\n", paint.good("repaired:"), repair.what));
    }
    for finding in findings {
        let severity = match finding.severity {
            Severity::Problem => paint.bad("problem"),
            Severity::Note => paint.dim("note"),
        };
        text.push_str(&format!(
            "{severity} {}: {}\n  {}\n",
            finding.id.id(),
            finding.what,
            finding.means
        ));
        for next in &finding.next {
            text.push_str(&format!("  next: {next}\n"));
        }
    }
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    text.push_str(&match (count(Severity::Problem), count(Severity::Note)) {
        (0, 0) => format!("{}\n", paint.good("healthy")),
        (0, notes) => format!("{}, {}\n", paint.good("healthy"), plural(notes, "note")),
        (problems, notes) => format!(
            "{}, {}\n",
            paint.bad(&plural(problems, "problem")),
            plural(notes, "note")
        ),
    });
    text
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::LedgerFacts;

    #[test]
    fn findings_are_shown_with_what_they_mean_and_what_to_do() {
        let facts = Facts {
            ledger: LedgerFacts::Lost {
                evidence: "refs/orch/candidate/20261121-063312-k3f9/1/1".to_owned(),
            },
            hooks: vec!["pre-commit".to_owned()],
            unfinished_checkouts: vec!["/src/shop".into()],
            ..Facts::default()
        };
        let repairs = [Repair {
            what: "ended process 41 (make) of task 1".to_owned(),
        }];
        let shown = text(&doctor::judge(&facts), &repairs, Paint::new(false));
        insta::assert_snapshot!(shown, @r"
        repaired: ended process 41 (make) of task 1
        problem ledger-lost: the ledger tells of no run, and refs/orch/candidate/20261121-063312-k3f9/1/1 does
          no run begins: what has landed could be landed again
          next: orch doctor --rebuild-ledger
        problem checkout-unfinished: orch died while it updated /src/shop
          git refuses commits there until the update is finished
          next: orch doctor --fix-safe
          next: orch run                      finishes it as well
        note hooks-not-run: hooks of this repository: pre-commit
          they do not run for landed commits
          next: what they check belongs into the tasks, or into what runs after a landing
        2 problems, 1 note
        ");
        insta::assert_snapshot!(text(&[], &[], Paint::new(false)), @"healthy");
    }
}

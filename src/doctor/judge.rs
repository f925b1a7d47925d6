//! What the facts mean: one function from facts to findings, which touches nothing.

use std::collections::BTreeSet;

use super::facts::{ClaudeFacts, Facts, LedgerFacts, RunFacts, Trouble};
use super::finding::{Check, Finding};
use crate::engine::outcome::Outcome;
use crate::ids::RunId;
use crate::process::LeftErrand;

/// Less free space than this is too little to begin: a slot of a middling repository and the objects of some tasks.
pub(super) const DISK_FREE_MIN: u64 = 512 << 20;
/// Fewer files than this cannot hold a slot.
pub(super) const FILES_FREE_MIN: u64 = 10_000;
/// How far a record may lie in the future before the clock is said to have been set back: more than a clock is corrected
/// by while it is watched.
pub(super) const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// Names that are listed in one finding.
const NAMED_MAX: usize = 5;

/// Judges; the worst first, else in the order of [`Check`].
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.surroundings(facts);
    findings.ledger(facts);
    findings.runs(facts);
    findings.processes(facts);
    findings.errands(facts);
    findings.left_behind(facts);
    findings.plans(facts);
    findings.claude(facts);
    let mut all = findings.0;
    all.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.id));
    all
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, id: Check, what: impl Into<String>, means: &str, next: &[&str]) {
        self.0.push(Finding {
            id,
            severity: id.severity(),
            what: what.into(),
            means: means.to_owned(),
            next: next.iter().map(|&n| n.to_owned()).collect(),
            fixable: false,
        });
    }

    fn trouble(&mut self, id: Check, trouble: &Trouble, means: &str) {
        let next: Vec<&str> = trouble.hints.iter().map(String::as_str).collect();
        self.add(id, &trouble.what, means, &next);
    }

    fn fixable(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.fixable = true;
            last.next.insert(0, "orch doctor --fix-safe".to_owned());
        }
    }

    fn surroundings(&mut self, facts: &Facts) {
        if let Some(trouble) = &facts.unusable {
            let means = "no run can begin here, and nothing of the repository was looked at";
            self.trouble(Check::RepositoryUnusable, trouble, means);
        }
        for trouble in &facts.not_examined {
            let means = "whether it is healthy is not known";
            self.trouble(Check::NotExamined, trouble, means);
        }
        if let Some(why) = &facts.state_not_writable {
            let means = "no run can begin: its records could not be kept";
            self.add(Check::StateNotWritable, why, means, &[]);
        }
        for disk in &facts.disks {
            let few_files = disk.free_files.filter(|files| *files < FILES_FREE_MIN);
            let what = match (disk.free_bytes < DISK_FREE_MIN, few_files) {
                (true, _) => format!("{} MiB are free", disk.free_bytes >> 20),
                (false, Some(files)) => format!("{files} files can still be made"),
                (false, None) => continue,
            };
            self.add(
                Check::DiskLow,
                format!("{what} for {} in {}", disk.of, disk.path.display()),
                "a run that meets a full disk stops there",
                &["make room on that file system"],
            );
        }
        if let Some(trouble) = &facts.identity {
            let means = "no run can begin: its commits would have no author";
            self.trouble(Check::IdentityMissing, trouble, means);
        }
        if let Some(trouble) = &facts.settings {
            let means = "no run can begin; the lines above say what is wrong with them";
            self.trouble(Check::SettingsInvalid, trouble, means);
        }
        if !facts.hooks.is_empty() {
            self.add(
                Check::HooksNotRun,
                format!("hooks of this repository: {}", facts.hooks.join(", ")),
                "they do not run for landed commits",
                &["what they check belongs into the tasks, or into what runs after a landing"],
            );
        }
        if !facts.has_setup && !facts.lock_files.is_empty() && facts.settings.is_none() {
            self.add(
                Check::SetupMissing,
                format!(
                    "{} without `setup` in the settings",
                    facts.lock_files.join(", ")
                ),
                "agents find a checkout in which dependencies are not installed",
                &["add `setup.run` to orch.yaml; `orch init` in an empty directory shows the form"],
            );
        }
    }

    fn ledger(&mut self, facts: &Facts) {
        const REBUILD: &str = "orch doctor --rebuild-ledger";
        match &facts.ledger {
            LedgerFacts::None => {}
            LedgerFacts::Lost { evidence } => self.add(
                Check::LedgerLost,
                format!("the ledger tells of no run, and {evidence} does"),
                "no run begins: what has landed could be landed again",
                &[REBUILD],
            ),
            LedgerFacts::Damaged { detail } => self.add(
                Check::LedgerDamaged,
                format!("the ledger is damaged: {detail}"),
                "no run begins; the file is left alone until it is set aside",
                &[REBUILD],
            ),
            LedgerFacts::Unreadable(trouble) => {
                let means = "nothing of the runs was looked at";
                self.trouble(Check::LedgerUnreadable, trouble, means);
            }
            LedgerFacts::Sound {
                newer,
                is_original,
                newest,
            } => {
                if let Some(format) = newer {
                    self.add(
                        Check::LedgerNewer,
                        format!("the ledger is of format {format}, which a newer orch wrote"),
                        "this orch only reads it, and leaves out what it does not know",
                        &["install the newer orch"],
                    );
                }
                if !is_original {
                    self.add(
                        Check::LedgerCopied,
                        "the ledger was copied or moved here from another place",
                        "the runs it tells of may be going on where it came from, so none goes on here",
                        &["orch run --adopt-ledger       if no orch works where it came from"],
                    );
                }
                let ahead = newest.map_or(0, |at| at.0.saturating_sub(facts.now.0));
                if ahead > CLOCK_TOLERANCE_MS {
                    self.add(
                        Check::ClockSetBack,
                        format!("the newest record lies {} s in the future", ahead / 1_000),
                        "the clock was set back: times in the ledger mislead, waits end early",
                        &["set the clock of this machine"],
                    );
                }
            }
        }
    }

    fn runs(&mut self, facts: &Facts) {
        // Of each plan only the newest run goes on.
        let mut plans = BTreeSet::new();
        for run in &facts.runs {
            let is_newest = plans.insert(&run.plan);
            self.run(facts, run, is_newest);
        }
    }

    fn run(&mut self, facts: &Facts, run: &RunFacts, is_newest: bool) {
        let id = &run.run;
        if run.lost_records {
            self.add(
                Check::RecordsLost,
                format!("records of run {id} were lost with a damaged ledger"),
                "what it landed counts; its other tasks begin anew in the next run",
                &[&format!("orch audit {id}")],
            );
        }
        let under_way = match &run.under_way {
            Ok(under_way) => under_way.len(),
            Err(why) => {
                self.add(
                    Check::RecordsContradict,
                    format!("run {id}: {why}"),
                    "the ledger is damaged in a way that SQLite does not see, or orch has a bug",
                    &["orch doctor --rebuild-ledger"],
                );
                return;
            }
        };
        if !run.contradictions.is_empty() {
            self.add(
                Check::AuditContradicts,
                format!("run {id}: {}", few(&run.contradictions)),
                "ledger and history disagree about what landed",
                &[&format!("orch audit {id}")],
            );
        }
        if run.ended.is_none() && is_newest && !is_live(facts, id) {
            let tasks = match under_way {
                0 => "nothing was under way".to_owned(),
                1 => "1 task was under way".to_owned(),
                n => format!("{n} tasks were under way"),
            };
            self.add(
                Check::RunInterrupted,
                format!("run {id} has not ended, and no orch works on it; {tasks}"),
                "it was killed, or the machine went down; nothing is lost",
                &[&format!("orch run --plan {}", quoted(&run.plan_path))],
            );
        }
    }

    fn processes(&mut self, facts: &Facts) {
        let (mut unattended, mut orphans) = (Vec::new(), Vec::new());
        for process in &facts.processes {
            let words = format!(
                "{} ({}, task {} of run {})",
                process.pid, process.comm, process.task, process.run
            );
            if is_live(facts, &process.run) {
                continue;
            }
            match is_over(facts, process) {
                Some(true) => orphans.push(words),
                Some(false) => unattended.push(words),
                // What cannot be told is left alone; the reason is a finding of its own.
                None => {}
            }
        }
        if !unattended.is_empty() {
            self.add(
                Check::AgentUnattended,
                format!("processes of an interrupted run work on: {}", few(&unattended)),
                "the next `orch run` follows them; without one, their shims end them after `unsupervised_max`",
                &[],
            );
        }
        if !orphans.is_empty() {
            self.add(
                Check::ProcessOrphan,
                format!("processes of attempts that are over: {}", few(&orphans)),
                "what they write counts for nothing, and they may use a slot that others get",
                &[],
            );
            self.fixable();
        }
    }

    fn errands(&mut self, facts: &Facts) {
        let left = facts.errands.iter();
        let left: Vec<String> = left
            .map(|left| {
                let LeftErrand { name, process } = left;
                format!("{} ({}, {name})", process.pid, process.comm)
            })
            .collect();
        if !left.is_empty() {
            self.add(
                Check::ErrandOrphan,
                format!(
                    "commands of an orch that is gone work on (hooks, notices, looks for evidence): {}",
                    few(&left)
                ),
                "the next `orch run` ends them before anything else, and runs again what was not through",
                &[],
            );
            self.fixable();
        }
    }

    fn left_behind(&mut self, facts: &Facts) {
        if facts.live.is_none() {
            for worktree in &facts.unfinished_checkouts {
                self.add(
                    Check::CheckoutUnfinished,
                    format!("orch died while it updated {}", worktree.display()),
                    "git refuses commits there until the update is finished",
                    &["orch run                      finishes it as well"],
                );
                self.fixable();
            }
        }
        for lock in facts.locks.iter().filter(|lock| !lock.is_orchs) {
            let path = lock.path.display();
            if lock.owners.is_empty() {
                self.add(
                    Check::GitLockStale,
                    format!("{path} is left, and no git of this machine works here"),
                    "git refuses to write until it is gone; a git on another machine or in a container may own it",
                    &[&format!("rm {}           if there is none", quoted(&path.to_string()))],
                );
            } else {
                let owners: Vec<String> = lock
                    .owners
                    .iter()
                    .map(|(pid, name)| format!("{pid} ({name})"))
                    .collect();
                self.add(
                    Check::GitLockHeld,
                    format!("{path} is held, it seems by {}", few(&owners)),
                    "a landing waits for it",
                    &[],
                );
            }
        }
        if let Some(first) = facts.damaged_objects.first() {
            let more = match facts.damaged_objects.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.add(
                Check::ObjectDamaged,
                format!("{}{more} is cut off or empty, as after a loss of power", first.display()),
                "whoever reads it fails or never ends; commits were not looked at for that reason",
                &["git fsck --full                 names what refers to it; then fetch or write it again"],
            );
        }
        for slot in &facts.orphan_slots {
            self.add(
                Check::SlotOrphan,
                format!("{} is a slot of a repository that is gone", slot.display()),
                "it only takes room; it is there again when the repository comes back",
                &[],
            );
        }
        self.refs(facts);
    }

    fn refs(&mut self, facts: &Facts) {
        let is_read = matches!(facts.ledger, LedgerFacts::Sound { newer: None, .. });
        for refs in facts.refs.iter().filter(|_| is_read) {
            let known = facts.runs.iter().find(|run| run.run == refs.run);
            match known {
                None => self.add(
                    Check::RefOrphan,
                    format!(
                        "{} refs of run {}, which the ledger does not know",
                        refs.all, refs.run
                    ),
                    "they keep what agents left from being pruned",
                    &[&format!("git for-each-ref 'refs/orch/*/{}'", refs.run)],
                ),
                Some(run) if refs.pins > 0 && run.ended == Some(Outcome::Completed) => {
                    self.add(
                        Check::PinsLeft,
                        format!("{} pins of run {}, which completed", refs.pins, refs.run),
                        "they keep objects that nothing needs",
                        &[],
                    );
                    self.fixable();
                }
                Some(_) => {}
            }
        }
    }

    fn plans(&mut self, facts: &Facts) {
        for plan in &facts.plans {
            let path = plan.path.display().to_string();
            if plan.errors > 0 {
                let errors = match plan.errors {
                    1 => "an error".to_owned(),
                    n => format!("{n} errors"),
                };
                self.add(
                    Check::PlanInvalid,
                    format!("{path} has {errors}"),
                    "a run of it does not begin, and a live one goes on by the text before",
                    &[&format!("orch check {}", quoted(&path))],
                );
                continue;
            }
            let newest = facts
                .runs
                .iter()
                .find(|run| Some(&run.plan) == plan.id.as_ref());
            let vanished: Vec<String> = newest
                .iter()
                .flat_map(|run| run.landed.difference(&plan.tasks))
                .map(ToString::to_string)
                .collect();
            if !vanished.is_empty() {
                self.add(
                    Check::TaskVanished,
                    format!("{path} no longer has tasks that landed: {}", few(&vanished)),
                    "their commits stay; a task that comes back under such an id counts as done",
                    &["give new tasks new ids"],
                );
            }
        }
    }

    fn claude(&mut self, facts: &Facts) {
        let is_needed = facts.plans.iter().any(|plan| plan.needs_claude);
        match &facts.claude {
            ClaudeFacts::Missing(trouble) if is_needed => {
                let means = "a plan has tasks that it is to do";
                self.trouble(Check::ClaudeMissing, trouble, means);
            }
            ClaudeFacts::Missing(trouble) => {
                let means = "no plan here has tasks for it";
                self.trouble(Check::ClaudeNotNeeded, trouble, means);
            }
            ClaudeFacts::Found { version } if !is_tested(version) => self.add(
                Check::ClaudeUntested,
                format!("claude says it is {version}"),
                "orch was tried with releases 2.1.197 to 2.1.329; others may say things that it does not understand",
                &[],
            ),
            ClaudeFacts::Found { .. } | ClaudeFacts::NotAsked => {}
        }
    }
}

fn is_live(facts: &Facts, run: &RunId) -> bool {
    match &facts.live {
        Some(crate::store::HeldBy::Known(holder)) => holder.run.as_ref() == Some(run),
        // Whose it is cannot be told: nothing is said against it.
        Some(crate::store::HeldBy::Unreadable) => true,
        None => false,
    }
}

/// Whether the attempt that a process works for is over; none if that cannot be told.
pub(super) fn is_over(facts: &Facts, process: &super::facts::ProcessFacts) -> Option<bool> {
    let run = facts.runs.iter().find(|run| run.run == process.run)?;
    let under_way = run.under_way.as_ref().ok()?;
    let is_under_way = under_way
        .iter()
        .any(|(task, attempt)| *task == process.task && *attempt == process.attempt);
    Some(!is_under_way)
}

/// Whether the release is one of the series, and between the two, that orch was tried with.
fn is_tested(version: &str) -> bool {
    let number = version.split_whitespace().next().unwrap_or_default();
    let parts: Vec<u32> = number.split('.').map_while(|p| p.parse().ok()).collect();
    matches!(parts.as_slice(), [2, 1, patch] if (197..=329).contains(patch))
}

fn few(all: &[String]) -> String {
    let shown = all.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
    match all.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests;

//! What a gate says of a tree, given what it did there and what it did on the base.

use std::collections::BTreeSet;

use crate::engine::verification::{Counts, GateResult};
use crate::plan::checks::FailOn;

/// Exit codes by which a shell says that it could not start a command.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Failures that are named in one sentence.
const NAMED_MAX: usize = 10;

/// What a command did on one tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its exit code; none if a signal or orch ended it.
    pub exit: Option<i32>,
    /// What its output counts, where the output is known.
    pub counts: Option<Counts>,
    /// The single failures that its output names.
    pub failures: BTreeSet<String>,
    /// Why it has failed whatever it says itself: a time limit, tracked files that it changed.
    pub fault: Option<String>,
    /// What ended it in place of itself, or kept it from being looked at afterwards: a signal, a shim that was killed.
    pub broke: Option<String>,
    /// Why its report, or its output though its form is known, cannot be read.
    pub unreadable: Option<String>,
}

impl Facts {
    /// Whether it ended well by itself.
    pub fn is_green(&self) -> bool {
        self.exit == Some(0) && self.fault.is_none() && self.broke.is_none()
    }

    /// Whether it has said nothing: either the place was at fault, or the tree that it judged.
    pub fn is_silent(&self) -> bool {
        let is_unstarted = self.exit.is_none_or(|code| NOT_STARTED.contains(&code));
        self.fault.is_none() && (self.broke.is_some() || is_unstarted)
    }
}

/// A judgement, with a sentence where the result alone does not say it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What the gate says.
    pub result: GateResult,
    /// The failures that count.
    pub new: BTreeSet<String>,
    /// For people and the next attempt; may be empty.
    pub detail: String,
}

impl Judged {
    fn of(result: GateResult, detail: impl Into<String>) -> Self {
        Self {
            result,
            new: BTreeSet::new(),
            detail: detail.into(),
        }
    }
}

/// Judges what a command did on the candidate's tree. `base` is what it did on the tree that the candidate was built on,
/// if that is known; `may_drop` says whether a person allowed tests to go.
pub fn judge(fail_on: FailOn, now: &Facts, base: Option<&Facts>, may_drop: bool) -> Judged {
    if let Some(fault) = &now.fault {
        return Judged::of(GateResult::Failed, fault.clone());
    }
    if let Some(why) = &now.broke {
        return broken_off(why, base);
    }
    match now.exit {
        Some(0) => match &now.unreadable {
            None => passing(now, base, may_drop),
            Some(why) => unreadable(why, base),
        },
        Some(code) if NOT_STARTED.contains(&code) => match base {
            // There it could be started, so that it is the candidate that takes it away.
            Some(base) if base.exit != Some(code) => failing(now),
            Some(_) | None => Judged::of(
                GateResult::Broken,
                format!("the shell could not start it (exit code {code})"),
            ),
        },
        None => broken_off("it has no exit code", base),
        Some(_) => match (fail_on, base) {
            (FailOn::New, Some(base)) => against(now, base, may_drop),
            (FailOn::New, None) | (FailOn::Any, _) => failing(now),
        },
    }
}

/// What ended it is the candidate's doing only where the base comes to its end.
fn broken_off(why: &str, base: Option<&Facts>) -> Judged {
    match base.is_some_and(|base| !base.is_silent()) {
        true => Judged::of(
            GateResult::Failed,
            format!("{why}; on the base it comes to its end"),
        ),
        false => Judged::of(GateResult::Broken, why),
    }
}

fn passing(now: &Facts, base: Option<&Facts>, may_drop: bool) -> Judged {
    let known = base.map(|base| &base.failures);
    let hidden: BTreeSet<String> = now
        .failures
        .iter()
        .filter(|name| known.is_none_or(|known| !known.contains(*name)))
        .cloned()
        .collect();
    if !hidden.is_empty() {
        return Judged {
            result: GateResult::Failed,
            detail: format!("it ended with 0 and names failures: {}", some_of(&hidden)),
            new: hidden,
        };
    }
    fewer(now, base, may_drop).unwrap_or_else(|| Judged::of(GateResult::Passed, ""))
}

/// A command that calls itself green and leaves nothing that shows it: whoever took the report away is to blame.
fn unreadable(why: &str, base: Option<&Facts>) -> Judged {
    match base.is_some_and(|base| base.unreadable.is_none()) {
        true => Judged::of(
            GateResult::Failed,
            format!("it ended with 0, and {why}; on the base its report could be read"),
        ),
        false => Judged::of(GateResult::Broken, format!("it ended with 0, and {why}")),
    }
}

fn failing(now: &Facts) -> Judged {
    let mut code = now
        .exit
        .map_or_else(String::new, |code| format!("exit code {code}"));
    if let Some(why) = &now.unreadable {
        code.push_str("; ");
        code.push_str(why);
    }
    let detail = match now.failures.is_empty() {
        true => code,
        false => format!("{code}; failed: {}", some_of(&now.failures)),
    };
    Judged {
        result: GateResult::Failed,
        new: now.failures.clone(),
        detail,
    }
}

/// What it says that the shell cannot start a command which a task is to make pass: its program may be for the task to
/// bring, or to make executable. `None` if something else kept it from speaking.
pub fn unattained(now: &Facts) -> Option<Judged> {
    let code = now.exit.filter(|code| NOT_STARTED.contains(code))?;
    (now.fault.is_none() && now.broke.is_none()).then(|| {
        Judged::of(
            GateResult::Failed,
            format!("the shell could not start it (exit code {code})"),
        )
    })
}

fn against(now: &Facts, base: &Facts, may_drop: bool) -> Judged {
    if base.exit == Some(0) || base.fault.is_some() || now.unreadable.is_some() {
        return failing(now);
    }
    if let Some(why) = not_all_named(now) {
        return Judged {
            detail: why,
            ..failing(now)
        };
    }
    match (now.failures.is_empty(), base.failures.is_empty()) {
        (true, true) if now.exit == base.exit && now.counts.is_none() => Judged::of(
            GateResult::PreExisting,
            "the same exit code as on the base; its output names no single failures",
        ),
        (true, _) | (false, true) => failing(now),
        (false, false) => {
            let new: BTreeSet<String> = now.failures.difference(&base.failures).cloned().collect();
            if new.is_empty() && !ends_alike(now, base) {
                let [now_code, before] = [now.exit, base.exit].map(Option::unwrap_or_default);
                return Judged::of(
                    GateResult::Failed,
                    format!(
                        "it names no new failures, and ended with {now_code}, on the base with {before}"
                    ),
                );
            }
            if new.is_empty() {
                return fewer(now, Some(base), may_drop).unwrap_or_else(|| {
                    Judged::of(
                        GateResult::PreExisting,
                        format!(
                            "{} failures, all of them on the base, too",
                            now.failures.len()
                        ),
                    )
                });
            }
            Judged {
                result: GateResult::Failed,
                detail: format!("new failures: {}", some_of(&new)),
                new,
            }
        }
    }
}

/// Whether a failure may hide behind those that are named.
fn not_all_named(now: &Facts) -> Option<String> {
    let failed = now.counts?.failed;
    let named = now.failures.len() as u64;
    (failed > named).then(|| format!("{failed} tests failed, and its output names {named} of them"))
}

/// The same exit code; of runners that end with the number of failures, that number.
fn ends_alike(now: &Facts, base: &Facts) -> bool {
    let is_number = |facts: &Facts| {
        facts.exit.and_then(|code| usize::try_from(code).ok()) == Some(facts.failures.len())
    };
    now.exit == base.exit || (is_number(now) && is_number(base))
}

/// Whether fewer tests ran than on the base: what is no longer run can no longer fail.
fn fewer(now: &Facts, base: Option<&Facts>, may_drop: bool) -> Option<Judged> {
    let before = base?.counts?.executed();
    let after = now.counts.map(Counts::executed);
    let detail = match after {
        _ if may_drop || before == 0 => return None,
        Some(after) if after >= before => return None,
        Some(after) => format!("{after} tests were executed, and {before} on the base"),
        None => format!("its output tells of no tests, and on the base {before} were executed"),
    };
    Some(Judged::of(GateResult::Fewer, detail))
}

/// Some names, for a sentence.
pub fn some_of(names: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(exit: i32, passed: u64, failures: &[&str]) -> Facts {
        Facts {
            exit: Some(exit),
            counts: Some(Counts {
                passed,
                failed: failures.len() as u64,
                skipped: 0,
            }),
            failures: failures.iter().map(|f| (*f).to_owned()).collect(),
            ..Facts::default()
        }
    }

    fn silent(exit: i32) -> Facts {
        Facts {
            exit: Some(exit),
            ..Facts::default()
        }
    }

    #[test]
    fn a_failure_counts_unless_only_new_ones_do_and_the_base_has_it() {
        use FailOn::{Any, New};
        use GateResult::{Broken, Failed, Fewer, Passed, PreExisting};
        let green = ran(0, 3, &[]);
        let red = ran(1, 2, &["a"]);
        let killed = Facts {
            broke: Some("signal 9 ended it".to_owned()),
            ..Facts::default()
        };
        for (fail_on, now, base, expected) in [
            (Any, &green, Some(&green), Passed),
            (Any, &red, Some(&green), Failed),
            (Any, &red, Some(&red), Failed),
            (New, &red, Some(&red), PreExisting),
            (New, &red, None, Failed),
            (New, &red, Some(&green), Failed),
            (New, &ran(1, 2, &["b"]), Some(&red), Failed),
            (New, &ran(1, 1, &["a", "b"]), Some(&red), Failed),
            (New, &ran(1, 1, &["a"]), Some(&red), Fewer),
            (Any, &ran(0, 2, &[]), Some(&green), Fewer),
            (Any, &silent(0), Some(&green), Fewer),
            (Any, &ran(0, 4, &[]), Some(&green), Passed),
            (Any, &silent(0), Some(&silent(0)), Passed),
            (Any, &silent(0), None, Passed),
            (Any, &ran(0, 2, &["a"]), Some(&green), Failed),
            (New, &silent(1), Some(&silent(1)), PreExisting),
            (New, &silent(2), Some(&silent(1)), Failed),
            (New, &silent(1), Some(&red), Failed),
            (Any, &silent(127), None, Broken),
            (Any, &silent(127), Some(&silent(127)), Broken),
            (Any, &silent(127), Some(&green), Failed),
            (Any, &killed, None, Broken),
            (Any, &killed, Some(&killed), Broken),
            (Any, &killed, Some(&green), Failed),
            (New, &killed, Some(&red), Failed),
            (Any, &Facts::default(), Some(&silent(127)), Broken),
            (New, &ran(2, 2, &["a"]), Some(&red), Failed),
            (
                New,
                &ran(1, 3, &["a"]),
                Some(&ran(2, 2, &["a", "b"])),
                PreExisting,
            ),
        ] {
            let judged = judge(fail_on, now, base, false);
            assert_eq!(
                judged.result, expected,
                "{fail_on:?} {now:?} after {base:?}"
            );
        }
    }

    #[test]
    fn tests_may_go_where_a_person_allows_it() {
        let (before, after) = (ran(0, 3, &[]), ran(0, 2, &[]));
        let judged = judge(FailOn::Any, &after, Some(&before), true);
        assert_eq!(judged.result, GateResult::Passed);
    }

    #[test]
    fn what_cannot_be_read_is_neither_green_nor_as_on_the_base() {
        use GateResult::{Broken, Failed};
        let lost = |exit| Facts {
            unreadable: Some("`report.xml` is empty".to_owned()),
            ..silent(exit)
        };
        for (fail_on, now, base, expected) in [
            (FailOn::Any, lost(0), None, Broken),
            (FailOn::Any, lost(0), Some(lost(0)), Broken),
            (FailOn::Any, lost(0), Some(ran(0, 3, &[])), Failed),
            (FailOn::New, lost(1), Some(lost(1)), Failed),
            (FailOn::New, lost(1), Some(ran(1, 2, &["a"])), Failed),
            (FailOn::Any, lost(1), None, Failed),
        ] {
            let judged = judge(fail_on, &now, base.as_ref(), false);
            assert_eq!(
                judged.result, expected,
                "{fail_on:?} {now:?} after {base:?}"
            );
            assert!(judged.detail.contains("is empty"), "{judged:?}");
        }
    }

    #[test]
    fn failures_that_are_counted_and_not_named_may_be_new() {
        let mut now = ran(1, 2, &["a"]);
        now.counts = now.counts.map(|counts| Counts {
            failed: 2,
            ..counts
        });
        let judged = judge(FailOn::New, &now, Some(&ran(1, 2, &["a"])), false);
        assert_eq!(judged.result, GateResult::Failed);
        assert!(judged.detail.contains("names 1 of them"), "{judged:?}");
    }

    #[test]
    fn a_fault_is_a_failure_whatever_the_exit_code_says() {
        let mut now = ran(0, 3, &[]);
        now.fault = Some("it changed `a.rs`".to_owned());
        let judged = judge(FailOn::New, &now, Some(&ran(0, 3, &[])), false);
        assert_eq!(judged.result, GateResult::Failed);
        assert!(judged.detail.contains("a.rs"));
    }
}

//! pytest: the line of totals, and the short summary's `FAILED` and `ERROR`.

use super::{Told, number_before};
use crate::engine::verification::Counts;

pub(super) fn read(output: &str) -> Option<Told> {
    let totals = output.lines().rev().find(|line| is_totals(line))?;
    let number = |words: &[&str]| {
        words
            .iter()
            .filter_map(|word| number_before(totals, word))
            .sum::<u64>()
    };
    let mut told = Told {
        counts: Some(Counts {
            passed: number(&["passed", "xfailed", "xpassed"]),
            failed: number(&["failed", "error", "errors"]),
            skipped: number(&["skipped"]),
        }),
        ..Told::default()
    };
    let summary = output
        .rsplit_once("short test summary info")
        .map_or("", |(_, summary)| summary);
    for line in summary.lines() {
        let named = ["FAILED ", "ERROR "]
            .iter()
            .find_map(|w| line.strip_prefix(w));
        if let Some(name) = named {
            told.fail(nodeid(name));
        }
    }
    Some(told)
}

/// `tests/a.py::test_b[1 - 2]` of `tests/a.py::test_b[1 - 2] - AssertionError`.
fn nodeid(line: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in line.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 && line[at..].starts_with(" - ") => return &line[..at],
            _ => {}
        }
    }
    line
}

/// `=== 1 failed, 2 passed in 0.12s ===`, with or without its frame.
fn is_totals(line: &str) -> bool {
    let line = line.trim_matches(|c| c == '=' || c == ' ');
    let Some((counts, took)) = line.rsplit_once(" in ") else {
        return false;
    };
    let words = [
        "passed", "failed", "error", "errors", "skipped", "xfailed", "xpassed",
    ];
    let counted = words
        .iter()
        .any(|word| number_before(counts, word).is_some());
    let is_time = took
        .split_whitespace()
        .next()
        .and_then(|t| t.strip_suffix('s'));
    // `test result: ok. 2 passed; 0 failed; finished in 0.00s` is of another runner.
    let is_own = !counts.contains(';');
    is_own
        && (counted || counts == "no tests ran")
        && is_time.is_some_and(|t| t.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_the_short_summary_are_read() {
        let told = read(
            "collected 4 items\n\ntests/test_a.py .F.s                     [100%]\n\n=== FAILURES ===\n    def test_b():\nE       assert 1 == 2\n\n\
             === short test summary info ===\nFAILED tests/test_a.py::test_b - assert 1 == 2\n=== 1 failed, 2 passed, 1 skipped in 0.12s ===\n",
        )
        .expect("a report");
        assert_eq!(
            told.counts,
            Some(Counts {
                passed: 2,
                failed: 1,
                skipped: 1
            })
        );
        assert_eq!(
            told.failures.into_iter().collect::<Vec<_>>(),
            ["tests/test_a.py::test_b"]
        );
    }

    #[test]
    fn the_quiet_form_and_the_empty_one_are_known() {
        let quiet = read(".....\n5 passed in 1.20s\n").expect("a report");
        assert_eq!(quiet.counts.map(Counts::executed), Some(5));
        let empty = read("\nno tests ran in 0.00s\n").expect("a report");
        assert_eq!(empty.counts.map(Counts::executed), Some(0));
        let long = read("=== 2 passed, 1 error in 75.10s (0:01:15) ===\n").expect("a report");
        assert_eq!(long.counts.map(Counts::executed), Some(3));
    }

    #[test]
    fn prose_with_numbers_is_no_report() {
        assert_eq!(
            read("the check passed in 3 places\n2 files changed in src\n"),
            None
        );
    }
}

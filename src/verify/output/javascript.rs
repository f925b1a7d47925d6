//! jest and vitest.

use super::{Told, number_before};
use crate::engine::verification::Counts;

/// What jest prints before it says everything again.
const AGAIN: &str = "Summary of all failing tests";

/// `FAIL file`, below it `  ● suite › test`, and a line `Tests:`.
pub(super) fn jest(output: &str) -> Option<Told> {
    let totals = output.lines().rev().find_map(|line| {
        let totals = line.strip_prefix("Tests:")?;
        totals.ends_with(" total").then_some(totals)
    })?;
    let number = |word| number_before(totals, word).unwrap_or(0);
    let mut told = Told {
        counts: Some(Counts {
            passed: number("passed"),
            failed: number("failed"),
            skipped: number("skipped") + number("todo"),
        }),
        ..Told::default()
    };
    let mut file = "";
    for line in output.lines().take_while(|line| line.trim() != AGAIN) {
        let failing = line.strip_prefix("FAIL ");
        if let Some(of) = failing.or_else(|| line.strip_prefix("PASS ")) {
            // `FAIL project src/a.test.js (5.2 s)`
            file = of.split(" (").next().unwrap_or(of).trim();
        } else if let Some(name) = line.strip_prefix("  ● ")
            && name != "Console"
        {
            told.fail(&format!("{file} › {name}"));
        } else if let Some(threshold) = line.strip_prefix("Jest: ") {
            // The measured value moves; which threshold is missed does not.
            told.fail_once(threshold.split(" not met").next().unwrap_or(threshold));
        }
    }
    Some(told)
}

/// ` FAIL  file > suite > test`, and lines `Test Files` and `Tests`.
pub(super) fn vitest(output: &str) -> Option<Told> {
    let total = |label: &str| {
        output.lines().rev().find_map(|line| {
            let totals = line.trim_start().strip_prefix(label)?.trim();
            (totals.ends_with(')') || totals == "no tests").then_some(totals)
        })
    };
    total("Test Files ")?;
    let totals = total("Tests ")?;
    let number = |word| number_before(totals, word).unwrap_or(0);
    let mut told = Told {
        counts: Some(Counts {
            passed: number("passed"),
            failed: number("failed"),
            skipped: number("skipped") + number("todo"),
        }),
        ..Told::default()
    };
    for line in output.lines() {
        if let Some(name) = line.strip_prefix(" FAIL  ") {
            // A file that could not be loaded is named twice: ` FAIL  a.test.ts [ a.test.ts ]`.
            told.fail(name.split(" [ ").next().unwrap_or(name));
        }
    }
    // Errors outside of any test have no names.
    let errors = output.lines().rev().find_map(|line| {
        let rest = line.strip_prefix("     Errors  ")?;
        number_before(rest, "error").or_else(|| number_before(rest, "errors"))
    });
    for _ in 0..errors.unwrap_or(0) {
        told.fail("an error outside of any test");
    }
    Some(told)
}

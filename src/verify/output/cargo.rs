//! `cargo test` and `cargo nextest run`.

use super::{Told, number_before};
use crate::engine::verification::Counts;

pub(super) fn read(output: &str) -> Option<Told> {
    libtest(output).or_else(|| nextest(output))
}

/// `test a::b ... FAILED`, and a `test result:` line for each target.
fn libtest(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut counts = Counts::default();
    let mut summaries = 0;
    for line in output.lines() {
        if let Some(summary) = line.strip_prefix("test result: ") {
            summaries += 1;
            counts.passed += number_before(summary, "passed")?;
            counts.failed += number_before(summary, "failed")?;
            counts.skipped += number_before(summary, "ignored").unwrap_or(0);
        } else if let Some(test) = line.strip_prefix("test ")
            && let Some((name, "FAILED")) = test.rsplit_once(" ... ")
        {
            told.failures.insert(name.to_owned());
        } else if let Some(file) = line.strip_prefix("error: could not compile ") {
            told.failures.insert(format!("could not compile {file}"));
        }
    }
    told.counts = Some(counts);
    (summaries > 0).then_some(told)
}

/// `        FAIL [   0.004s] crate::target name` and a `Summary` line.
fn nextest(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut summary = None;
    for line in output.lines().map(str::trim_start) {
        if let Some(found) = line.strip_prefix("Summary [") {
            summary = found.split_once(']').map(|(_, counts)| counts);
        }
        let status = ["FAIL [", "TIMEOUT [", "SIGSEGV [", "SIGABRT ["];
        let failed = status.iter().find_map(|word| line.strip_prefix(word));
        if let Some((_, name)) = failed.and_then(|rest| rest.split_once(']')) {
            // `( 3/12)` counts what has run so far.
            let name = name.trim();
            let name = name
                .strip_prefix('(')
                .and_then(|n| n.split_once(')'))
                .map_or(name, |(_, name)| name.trim());
            told.failures.insert(name.to_owned());
        }
    }
    let summary = summary?;
    told.counts = Some(Counts {
        passed: number_before(summary, "passed").unwrap_or(0),
        failed: number_before(summary, "failed").unwrap_or(0)
            + number_before(summary, "timed").unwrap_or(0),
        skipped: number_before(summary, "skipped").unwrap_or(0),
    });
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_of_cargo_test_add_up() {
        let told = read(
            "\nrunning 3 tests\ntest a::adds ... ok\ntest a::subtracts ... FAILED\ntest slow ... ignored\n\nfailures:\n\n---- a::subtracts stdout ----\n\
             thread panicked\n\nfailures:\n    a::subtracts\n\ntest result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n\
             running 2 tests\ntest x ... ok\ntest y ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        )
        .expect("a report");
        assert_eq!(
            told.counts,
            Some(Counts {
                passed: 3,
                failed: 1,
                skipped: 1
            })
        );
        assert_eq!(
            told.failures.into_iter().collect::<Vec<_>>(),
            ["a::subtracts"]
        );
    }

    #[test]
    fn nextest_names_each_failure_once() {
        let told = read(
            "    Starting 3 tests across 1 binary\n        PASS [   0.003s] (1/3) mine a::adds\n        FAIL [   0.004s] (2/3) mine a::subtracts\n\
             ------------\n     Summary [   0.011s] 3 tests run: 2 passed, 1 failed, 4 skipped\n        FAIL [   0.004s] (2/3) mine a::subtracts\nerror: test run failed\n",
        )
        .expect("a report");
        assert_eq!(
            told.counts,
            Some(Counts {
                passed: 2,
                failed: 1,
                skipped: 4
            })
        );
        assert_eq!(
            told.failures.into_iter().collect::<Vec<_>>(),
            ["mine a::subtracts"]
        );
    }

    #[test]
    fn a_build_that_fails_counts_no_tests() {
        assert_eq!(
            read("error[E0308]: mismatched types\nerror: could not compile `a`\n"),
            None
        );
    }
}

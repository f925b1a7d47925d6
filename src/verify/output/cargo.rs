//! `cargo test` and `cargo nextest run`.

use super::{Told, number_before};
use crate::engine::verification::Counts;

/// `test a::b ... FAILED`, and a `test result:` line for each test program. Tests of one name in several programs are
/// numbered: which program is meant stands in another stream.
pub(super) fn libtest(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut counts = Counts::default();
    let [mut begun, mut ended] = [0, 0];
    // What the program that runs now has named so far, line by line, and in its list at the end.
    let [mut lines, mut list]: [Vec<&str>; 2] = [Vec::new(), Vec::new()];
    let mut in_list = false;
    for line in output.lines() {
        if is_beginning(line) {
            begun += 1;
            lines.clear();
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            ended += 1;
            counts.passed += number_before(summary, "passed")?;
            counts.failed += number_before(summary, "failed")?;
            counts.skipped += number_before(summary, "ignored").unwrap_or(0);
            // Output of a test may stand in the middle of its line; the list is whole.
            let named = if list.len() >= lines.len() {
                &list
            } else {
                &lines
            };
            for name in named {
                told.fail(name);
            }
            lines.clear();
            list.clear();
            in_list = false;
        } else if let Some(test) = line.strip_prefix("test ")
            && let Some((name, "FAILED")) = test.rsplit_once(" ... ")
        {
            lines.push(name);
        } else if line == "failures:" {
            list.clear();
            in_list = true;
        } else if let Some(name) = line.strip_prefix("    ").filter(|_| in_list) {
            list.push(name);
        } else if let Some(file) = line.strip_prefix("error: could not compile ") {
            let target = file.split(" due to ").next().unwrap_or(file);
            told.fail_once(&format!("could not compile {target}"));
        } else if let Some(program) = killed(line) {
            told.fail_once(&format!("{program} was killed"));
        }
    }
    if begun + ended == 0 {
        return None;
    }
    // `exit(0)` in a test ends its program well, and what it did not run goes unseen.
    for _ in ended..begun {
        told.fail("a test program ended before its tests did");
    }
    told.counts = Some(counts);
    Some(told)
}

/// `running 3 tests`
fn is_beginning(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words[..], ["running", n, "test" | "tests"] if n.parse::<u64>().is_ok())
}

/// The program in ``process didn't exit successfully: `target/debug/deps/app-71ce70` (signal: 6, ...)``.
fn killed(line: &str) -> Option<&str> {
    let rest = line
        .trim_start()
        .strip_prefix("process didn't exit successfully: `")?;
    let (program, how) = rest.rsplit_once('`')?;
    how.trim_start().starts_with("(signal").then_some(())?;
    let name = program.split(' ').next()?.rsplit('/').next()?;
    Some(name.rsplit_once('-').map_or(name, |(name, _)| name))
}

/// `        FAIL [   0.004s] crate::target name` and a `Summary` line.
pub(super) fn nextest(output: &str) -> Option<Told> {
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
        let told = libtest(
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
        let told = nextest(
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
            libtest("error[E0308]: mismatched types\nerror: could not compile `a`\n"),
            None
        );
    }
}

//! jest, vitest, mocha and node's own test runner.

use serde::Deserialize;

use super::{Told, number_before};
use crate::engine::verification::Counts;

/// Lines of an output that may begin a report of JSON.
const TRIES_MAX: usize = 50;

/// What jest prints before it says everything again.
const AGAIN: &str = "Summary of all failing tests";

/// `FAIL file`, below it `  ● suite › test`, and a line `Tests:`; once for each workspace.
pub(super) fn jest(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut file = "";
    let mut is_again = false;
    for line in output.lines() {
        if line.trim() == AGAIN {
            is_again = true;
        } else if let Some(totals) = line
            .strip_prefix("Tests:")
            .filter(|t| t.ends_with(" total"))
        {
            let number = |word| number_before(totals, word).unwrap_or(0);
            told.count(
                number("passed"),
                number("failed"),
                number("skipped") + number("todo"),
            );
            is_again = false;
        } else if is_again {
            continue;
        } else if let Some(of) = line
            .strip_prefix("FAIL ")
            .or_else(|| line.strip_prefix("PASS "))
        {
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
    told.counts.is_some().then_some(told)
}

/// `  2 passing (87ms)`, `  1 pending`, `  3 failing`, and below them `  1) suite`, its suites and its own name in lines
/// of their own: what most reporters of mocha print at the end.
pub(super) fn mocha(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let number = |line: &str, word: &str| -> Option<u64> {
        let (number, rest) = line.strip_prefix("  ")?.split_once(' ')?;
        let is_alone = rest == word || (word == "passing" && rest.starts_with("passing ("));
        number.parse().ok().filter(|_| is_alone)
    };
    let mut expected = None;
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(passed) = number(line, "passing").filter(|_| line.ends_with(')')) {
            told.count(passed, 0, 0);
            expected = None;
        } else if told.counts.is_none() {
            continue;
        } else if let Some(skipped) = number(line, "pending") {
            told.count(0, 0, skipped);
        } else if let Some(failed) = number(line, "failing") {
            told.count(0, failed, 0);
            expected = Some(1);
        } else if let Some(next) = expected
            && let Some(first) = line.strip_prefix(&format!("  {next}) "))
        {
            let mut name = first.to_owned();
            for level in 1.. {
                let indent = " ".repeat(5 + 2 * level);
                let title = lines.peek().and_then(|line| line.strip_prefix(&indent));
                let Some(title) = title.filter(|title| !title.starts_with(' ')) else {
                    break;
                };
                name = format!("{name} › {title}");
                lines.next();
            }
            told.fail(name.strip_suffix(':').unwrap_or(&name));
            expected = Some(next + 1);
        }
    }
    told.counts.is_some().then_some(told)
}

/// `✖ test (1.2ms)`, in its suites by depth, and lines `ℹ pass`: node's own test runner.
pub(super) fn node(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut is_again = false;
    for line in output.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        let named = |mark: &str| text.strip_prefix(mark).map(str::trim);
        if let Some(total) = named("ℹ ") {
            let Some((word, number)) = total.split_once(' ') else {
                continue;
            };
            let number = number.trim().parse().unwrap_or(0);
            match word {
                "tests" => above.clear(),
                "pass" => told.count(number, 0, 0),
                "fail" | "cancelled" => told.count(0, number, 0),
                "skipped" | "todo" => told.count(0, 0, number),
                _ => {}
            }
        } else if text == "✖ failing tests:" {
            is_again = true;
        } else if let Some(suite) = named("▶ ") {
            is_again = false;
            above.retain(|(of, _)| *of < depth);
            above.push((depth, without_time(suite)));
        } else if let Some(name) = named("✖ ").filter(|_| !is_again) {
            // One that is not expected to pass yet ends with a word for that.
            let is_expected = name.ends_with(concat!("# TO", "DO"));
            if let Some(name) = name
                .contains("ms)")
                .then(|| without_time(name))
                .filter(|_| !is_expected)
            {
                let suites = above
                    .iter()
                    .filter(|(of, _)| *of < depth)
                    .map(|(_, suite)| *suite);
                let path: Vec<&str> = suites.chain([name]).collect();
                told.fail(&path.join(" › "));
            }
        } else if text.starts_with("✔ ") && is_again {
            is_again = false;
        }
    }
    told.counts.is_some().then_some(told)
}

/// `a test (1.2ms)`
fn without_time(name: &str) -> &str {
    match name.rsplit_once(" (") {
        Some((name, time)) if time.contains("ms)") => name,
        _ => name,
    }
}

/// What jest and vitest write with `--json` or `--reporter=json`, and mocha with `--reporter json`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Report {
    Jest(JestReport),
    Mocha(MochaReport),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JestReport {
    num_total_tests: u64,
    test_results: Vec<JestFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JestFile {
    name: String,
    status: String,
    assertion_results: Vec<JestTest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JestTest {
    #[serde(default)]
    ancestor_titles: Vec<String>,
    title: String,
    status: String,
}

#[derive(Debug, Deserialize)]
struct MochaReport {
    stats: MochaStats,
    failures: Vec<MochaTest>,
}

#[derive(Debug, Deserialize)]
struct MochaStats {
    passes: u64,
    pending: u64,
    failures: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MochaTest {
    full_title: String,
    #[serde(default)]
    file: Option<String>,
}

/// Reads such a report; none if it is another kind of JSON.
pub(super) fn json(text: &str) -> Option<Told> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Report>();
    let report = values.next()?.ok()?;
    let mut told = Told::default();
    match report {
        Report::Jest(report) => of_jest(&report, &mut told),
        Report::Mocha(report) => {
            told.count(
                report.stats.passes,
                report.stats.failures,
                report.stats.pending,
            );
            for test in report.failures {
                match test.file {
                    Some(file) => told.fail(&format!("{file} › {}", test.full_title)),
                    None => told.fail(&test.full_title),
                }
            }
        }
    }
    Some(told)
}

fn of_jest(report: &JestReport, told: &mut Told) {
    told.count(0, 0, 0);
    let mut seen = 0;
    for file in &report.test_results {
        for test in &file.assertion_results {
            seen += 1;
            match test.status.as_str() {
                "passed" => told.count(1, 0, 0),
                "failed" => {
                    told.count(0, 1, 0);
                    let path: Vec<&str> = [file.name.as_str()]
                        .into_iter()
                        .chain(test.ancestor_titles.iter().map(String::as_str))
                        .chain([test.title.as_str()])
                        .collect();
                    told.fail(&path.join(" › "));
                }
                _ => told.count(0, 0, 1),
            }
        }
        let names_none = !file
            .assertion_results
            .iter()
            .any(|test| test.status == "failed");
        if file.status == "failed" && names_none {
            told.fail(&format!("{} › Test suite failed to run", file.name));
        }
    }
    if seen < report.num_total_tests {
        told.unreadable = Some(format!(
            "it names {seen} of {} tests",
            report.num_total_tests
        ));
    }
}

/// The same among what a command printed: it begins a line.
pub(super) fn json_printed(output: &str) -> Option<Told> {
    let mut told: Option<Told> = None;
    let mut at = 0;
    let mut tries = 0;
    for line in output.split_inclusive('\n') {
        if line.starts_with('{') && tries < TRIES_MAX {
            tries += 1;
            if let Some(found) = json(&output[at..]) {
                told.get_or_insert_with(Told::default).add(found);
            }
        }
        at += line.len();
    }
    told
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

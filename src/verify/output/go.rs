//! `go test`, plain, `-v` and `-json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Told;
use crate::engine::verification::Counts;

/// An event of `go test -json`. Events of other actions are not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: Option<String>,
    #[serde(default)]
    test: Option<String>,
}

pub(super) fn read(output: &str) -> Option<Told> {
    json(output).or_else(|| plain(output))
}

/// The events, one a line; `None` if no line is one. Lines that are no events stand between them: what a build that
/// fails prints.
pub(super) fn json(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut counts = Counts::default();
    // Whether a test of a package has failed, and which tests have begun and not ended.
    let mut packages: BTreeMap<String, bool> = BTreeMap::new();
    let mut begun: Vec<(String, String)> = Vec::new();
    let mut is_known = false;
    for line in output.lines() {
        if !line.starts_with('{') {
            if let Some((package, why)) = unbuilt(line) {
                told.fail_once(&format!("{package} {why}"));
            }
            continue;
        }
        let event: Event = match serde_json::from_str(line) {
            Ok(event) => event,
            Err(_) if is_known => {
                return Some(Told::unreadable("a line of `go test -json` cannot be read"));
            }
            Err(_) => return None,
        };
        let Event {
            action,
            package: Some(package),
            test,
        } = event
        else {
            continue;
        };
        is_known = true;
        let has_failed = packages.entry(package.clone()).or_default();
        match (action.as_str(), test) {
            ("run", Some(test)) => begun.push((package, test)),
            (end @ ("pass" | "fail" | "skip"), Some(test)) => {
                begun.retain(|(p, t)| (p, t) != (&package, &test));
                match end {
                    "pass" => counts.passed += 1,
                    "skip" => counts.skipped += 1,
                    _ => {
                        counts.failed += 1;
                        *has_failed = true;
                        told.fail(&format!("{package} {test}"));
                    }
                }
            }
            // A package that fails without a failing test: it does not build, or its process ended early.
            ("fail", None) if !*has_failed => told.fail_once(&package),
            _ => {}
        }
    }
    for (package, test) in begun {
        counts.failed += 1;
        told.fail(&format!("{package} {test}"));
    }
    told.counts = Some(counts);
    is_known.then_some(told)
}

/// `--- FAIL: TestA (0.00s)`, and a line for each package after its tests. Without `-v` only packages are counted: the
/// tests of one that passes are not named.
fn plain(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let [mut tests, mut packages] = [Counts::default(); 2];
    let mut failing: Vec<&str> = Vec::new();
    let mut is_verbose = false;
    let mut seen = 0;
    for line in output.lines() {
        is_verbose |= line.starts_with("=== RUN ");
        let result = line.trim_start().strip_prefix("--- ").and_then(|rest| {
            let (word, rest) = rest.split_once(": ")?;
            Some((word, rest.rsplit_once(" (")?.0))
        });
        match result {
            Some(("PASS", _)) => tests.passed += 1,
            Some(("SKIP", _)) => tests.skipped += 1,
            Some(("FAIL", name)) => {
                tests.failed += 1;
                failing.push(name);
            }
            _ => {}
        }
        if let Some((package, why)) = unbuilt(line) {
            seen += 1;
            packages.failed += 1;
            told.fail_once(&format!("{package} {why}"));
        } else if let Some(package) = line.strip_prefix("FAIL\t").and_then(first_word) {
            seen += 1;
            packages.failed += 1;
            if failing.is_empty() {
                told.fail_once(package);
            }
            for name in failing.drain(..) {
                told.fail(&format!("{package} {name}"));
            }
        } else if line.strip_prefix("ok  \t").is_some() {
            seen += 1;
            packages.passed += 1;
        } else if line.starts_with("?   \t") && line.ends_with("[no test files]") {
            packages.skipped += 1;
            seen += 1;
        }
    }
    // Of a single package that is tested in its own directory, the last line is all there is.
    for name in failing {
        told.fail(name);
    }
    told.counts = Some(if is_verbose { tests } else { packages });
    (seen > 0).then_some(told)
}

/// `FAIL\tpackage [build failed]`.
fn unbuilt(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("FAIL")?;
    let rest = rest.trim_start_matches(['\t', ' ']);
    let (package, why) = rest.split_once(" [")?;
    matches!(why, "build failed]" | "setup failed]")
        .then_some((package, &rest[package.len() + 1..]))
}

fn first_word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

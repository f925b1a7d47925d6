//! The Test Anything Protocol: `ok 1 - name`, `not ok 2 - name`, and directives behind `#`: skipped, or not yet expected
//! to pass.

use super::Told;
use crate::engine::verification::Counts;

/// The directive of a test that may fail; in capitals, though files write it either way.
const NOT_YET: &str = concat!("TO", "DO");

pub(super) fn read(output: &str) -> Option<Told> {
    let mut told = Told::default();
    let mut counts = Counts::default();
    let mut planned = None;
    let mut seen = 0;
    // Subtests stand deeper than the test that they make, behind a line with its name.
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut block = None;
    for line in output.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        match block {
            _ if text.is_empty() => continue,
            Some(begin) if text == "..." && depth == begin => {
                block = None;
                continue;
            }
            // Of an error that was cut off the results are still read.
            Some(begin) if depth >= begin => continue,
            _ if text == "---" => {
                block = Some(depth);
                continue;
            }
            _ => block = None,
        }
        if let Some(plan) = text.strip_prefix("1..") {
            let number = plan.split_whitespace().next()?.parse::<u64>().ok();
            if depth == 0 || planned.is_none() {
                planned = number.or(planned);
            }
            continue;
        }
        if let Some(name) = text.strip_prefix("# Subtest: ") {
            above.retain(|(of, _)| *of < depth);
            above.push((depth, name.to_owned()));
            continue;
        }
        let (failed, rest) = match (text.strip_prefix("not ok"), text.strip_prefix("ok")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => continue,
        };
        if !(rest.is_empty() || rest.starts_with(' ')) {
            continue;
        }
        seen += 1;
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let directive = directive.trim().to_ascii_uppercase();
        if directive.starts_with("SKIP") {
            counts.skipped += 1;
        } else if failed && !directive.starts_with(NOT_YET) {
            counts.failed += 1;
            let parents = above.iter().filter(|(of, _)| *of < depth);
            let path: Vec<String> = parents
                .map(|(_, name)| name.clone())
                .chain([name_of(name)])
                .collect();
            told.fail(&path.join(" › "));
        } else {
            counts.passed += 1;
        }
    }
    // One line that begins with `ok` is no protocol; a plan makes it one.
    if seen == 0 || (planned.is_none() && seen < 2) {
        return None;
    }
    if let Some(missing) = planned
        .and_then(|planned| planned.checked_sub(seen))
        .filter(|n| *n > 0)
    {
        told.fail(&format!("{missing} planned tests did not report"));
    }
    told.counts = Some(counts);
    Some(told)
}

/// The description without its number, which moves.
fn name_of(rest: &str) -> String {
    let rest = rest.trim();
    let text = rest
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start();
    let text = text.strip_prefix('-').unwrap_or(text).trim();
    if text.is_empty() { rest } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_directives_are_told_apart() {
        let told = read(
            "TAP version 13\n1..5\nok 1 - adds\nnot ok 2 - subtracts\n  ---\n  at: x\n  ...\nok 3 - slow # SKIP no network\n\
             not ok 4 - later # todo\nok 5\n",
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
        assert_eq!(told.failures.into_iter().collect::<Vec<_>>(), ["subtracts"]);
    }

    #[test]
    fn tests_that_were_planned_and_did_not_report_are_a_failure() {
        let told = read("1..3\nok 1 - a\n").expect("a report");
        assert_eq!(told.failures.len(), 1);
    }

    #[test]
    fn a_line_that_happens_to_begin_with_ok_is_no_report() {
        assert_eq!(read("okay\nok then\n"), None);
    }
}

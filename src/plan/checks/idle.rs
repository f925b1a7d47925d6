//! Shell texts that end well whatever happens in them: a gate made of one vouches for nothing.

/// Programs that end well whatever they are fed.
const FILTERS: [&str; 15] = [
    "awk", "cat", "column", "cut", "head", "less", "more", "nl", "sed", "sort", "tail", "tee",
    "tr", "ts", "uniq",
];

/// Why a shell text ends well whatever happens in it, as far as its last command tells.
pub(super) fn cannot_fail(run: &str) -> Option<&'static str> {
    let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    // A line that ends with one of these goes on in the next.
    let joined = ["\\\n", "|\n", "&&\n"]
        .iter()
        .fold(run.to_owned(), |text, end| {
            text.replace(end, &format!("{} ", end.trim_end_matches(['\n', '\\'])))
        });
    let last = joined.lines().rfind(code)?.trim();
    let last = last.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    if last.ends_with('&') && !last.ends_with("&&") {
        return Some("it runs in the background, and nobody waits for it");
    }
    let ends = |joint: &str| {
        let command = last.rsplit_once(joint).map(|(_, command)| command.trim());
        command.is_some_and(is_idle)
    };
    if ends("||") {
        return Some("what follows `||` always succeeds");
    }
    let is_one = !last.contains([';', '&', '|']);
    if ends(";") || (is_one && is_idle(last)) {
        return Some("its last command always succeeds");
    }
    let piped = last
        .rsplit_once('|')
        .filter(|(before, _)| !before.ends_with('|'));
    let filter = piped.and_then(|(_, command)| command.split_whitespace().next());
    let sets_pipefail = run.contains("pipefail");
    (filter.is_some_and(|word| FILTERS.contains(&word)) && !sets_pipefail)
        .then_some("its exit code is that of the last command of the pipe")
}

fn is_idle(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    matches!(
        words.as_slice(),
        ["true" | ":" | "/bin/true" | "/usr/bin/true"]
            | ["exit" | "return", "0"]
            | ["echo" | "printf", ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_cannot_fail_are_told_from_those_that_can() {
        for (run, flagged) in [
            ("cargo test || true", true),
            ("cargo test; true", true),
            ("cargo test ; exit 0", true),
            ("cargo test || :", true),
            ("cargo test || echo red", true),
            ("make check &", true),
            ("true", true),
            ("npm test | tee log", true),
            ("npm test\nexit 0\n", true),
            ("npm test 2>&1 |\n  sed 's/x/y/'", true),
            ("npm test \\\n  || true", true),
            ("set -o pipefail; npm test | tee log", false),
            ("npm test | grep -q passed", false),
            ("cargo test", false),
            ("cargo test && true", false),
            ("test -e a || exit 1", false),
            ("a; b", false),
            ("cargo test # || true?", false),
            ("echo start; cargo test", false),
        ] {
            assert_eq!(cannot_fail(run).is_some(), flagged, "{run}");
        }
    }
}

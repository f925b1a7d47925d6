//! Shell texts that end well whatever happens in them: a gate made of one vouches for nothing.

/// Programs that end well whatever they are fed.
const FILTERS: [&str; 15] = [
    "awk", "cat", "column", "cut", "head", "less", "more", "nl", "sed", "sort", "tail", "tee",
    "tr", "ts", "uniq",
];

/// Why a shell text ends well whatever happens in it, as far as its last command tells.
pub(crate) fn cannot_fail(run: &str) -> Option<&'static str> {
    // A line that ends with one of these goes on in the next.
    let joined = ["\\\n", "|\n", "&&\n"]
        .iter()
        .fold(run.to_owned(), |text, end| {
            text.replace(end, &format!("{} ", end.trim_end_matches(['\n', '\\'])))
        });
    let lines: Vec<&str> = joined
        .lines()
        .map(|line| without_comment(line).trim())
        .filter(|line| !line.is_empty())
        .collect();
    if lines.iter().any(|line| traps_its_end(line)) {
        return Some("it sets its own exit code when it ends (`trap`)");
    }
    let last = lines.last()?;
    let last = last.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    // `(a || true)`, `{ a; true; }`, `sh -c 'a || true'`: what they hold decides.
    if let Some(inner) = inside(last) {
        return cannot_fail(inner);
    }
    if last.ends_with('&') && !last.ends_with("&&") {
        return Some("it runs in the background, and nobody waits for it");
    }
    let after = |joint: &str| last.rsplit_once(joint).map(|(_, command)| command.trim());
    if after("||").is_some_and(is_idle) {
        return Some("what follows `||` always succeeds");
    }
    let is_one = !last.contains([';', '&', '|']);
    // `set -e` ends a text of several commands at the first that fails.
    let is_strict = lines
        .iter()
        .any(|line| line.split([';', '&']).any(sets_errexit));
    let is_last = after(";").is_some_and(is_idle) || (is_one && is_idle(last));
    let is_only = lines.len() == 1 && is_one;
    if is_last && (!is_strict || is_only) {
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

/// A line up to the `#` that begins a comment.
fn without_comment(line: &str) -> &str {
    match line.trim_start().starts_with('#') {
        true => "",
        false => line.split(" #").next().unwrap_or(line),
    }
}

/// `trap 'exit 0' EXIT`
fn traps_its_end(line: &str) -> bool {
    let text = line.replace(['\'', '"'], " ");
    let words: Vec<&str> = text
        .split([' ', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    let is_trap = |words: &[&str]| matches!(words, ["trap", rest @ ..] if rest.starts_with(&["exit", "0"]) && rest.iter().any(|w| matches!(*w, "EXIT" | "0" | "ERR")));
    (0..words.len()).any(|at| is_trap(&words[at..]))
}

/// `set -e`, `set -euo pipefail`; `set +e` takes it back.
fn sets_errexit(command: &str) -> bool {
    let mut words = command.split_whitespace();
    words.next() == Some("set")
        && words.any(|word| {
            word == "errexit"
                || (word.starts_with('-') && !word.starts_with("--") && word.contains('e'))
        })
}

/// What stands in the brackets, or in the quotes of `sh -c`, that a text consists of.
fn inside(text: &str) -> Option<&str> {
    for (open, close) in [('(', ')'), ('{', '}')] {
        let inner = text
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close));
        if let Some(inner) = inner.filter(|inner| !inner.contains([open, close])) {
            return Some(inner);
        }
    }
    let (program, rest) = text.split_once(' ')?;
    let is_shell = matches!(
        program.rsplit('/').next(),
        Some("sh" | "bash" | "dash" | "zsh")
    );
    let (option, rest) = rest.trim_start().split_once(' ')?;
    let takes_text = option.starts_with('-') && option.ends_with('c');
    let quote = rest
        .trim_start()
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))?;
    let inner = rest.trim().strip_prefix(quote)?.strip_suffix(quote)?;
    (is_shell && takes_text && !inner.contains(quote)).then_some(inner)
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
            ("(cargo test || true)", true),
            ("{ cargo test; true; }", true),
            ("sh -c 'cargo test || true'", true),
            ("bash -lc \"cargo test\"", false),
            ("(cd a; cargo test)", false),
            ("set +e\ncargo test\nexit 0", true),
            ("set +e; cargo test; echo done", true),
            ("set -e; cargo test; echo done", false),
            ("set -euo pipefail\ncargo test\necho done", false),
            ("set -e; cargo test || true", true),
            ("trap 'exit 0' EXIT; cargo test", true),
            ("trap 'rm -f x' EXIT; cargo test", false),
            ("cargo test || true # for now", true),
        ] {
            assert_eq!(cannot_fail(run).is_some(), flagged, "{run}");
        }
    }
}

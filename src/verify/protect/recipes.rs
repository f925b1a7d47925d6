//! Files of recipes, those of make and just: which of their lines run when targets are asked for. A Makefile also says
//! how the product is started and deployed, and none of that judges anything.

use std::collections::BTreeMap;

/// How often variables are looked for in what variables say.
const EXPANSIONS_MAX: usize = 3;

/// What is run for a target.
#[derive(Debug, Default)]
struct Rule {
    names: Vec<String>,
    needs: Vec<String>,
    lines: Vec<String>,
}

/// The lines that a shell runs when `wanted` is asked for; nothing wanted means the first target. All lines, where a
/// target cannot be found: then the text is more than can be read here.
pub(super) fn lines(text: &str, wanted: &[String]) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let (rules, variables) = read(&joined);
    let is_plain = |rule: &&Rule| rule.names.iter().all(|name| !name.starts_with('.'));
    let wanted: Vec<&str> = match wanted {
        [] => {
            let first = rules.iter().find(is_plain);
            first
                .into_iter()
                .flat_map(|rule| rule.names.iter().map(String::as_str))
                .collect()
        }
        wanted => wanted.iter().map(String::as_str).collect(),
    };
    let has = |name: &str| {
        rules
            .iter()
            .any(|rule| rule.names.iter().any(|n| n == name))
    };
    let is_known = wanted.iter().all(|name| has(name));
    let mut reached: Vec<&str> = wanted;
    let mut at = 0;
    while let Some(name) = reached.get(at).copied() {
        at += 1;
        let named = rules
            .iter()
            .filter(|rule| rule.names.iter().any(|n| n == name));
        for need in named.flat_map(|rule| &rule.needs) {
            if !reached.contains(&need.as_str()) {
                reached.push(need);
            }
        }
    }
    let runs = |rule: &&Rule| {
        let is_made_up = |name: &String| name.contains(['%', '$']);
        let is_reached = |name: &String| reached.contains(&name.as_str());
        !is_known
            || rule
                .names
                .iter()
                .any(|name| is_made_up(name) || is_reached(name))
    };
    let lines = rules.iter().filter(runs).flat_map(|rule| &rule.lines);
    lines.map(|line| expanded(line, &variables)).collect()
}

/// The files that it takes in: `include` of make, `import` and `mod` of just.
pub(super) fn included(text: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let unquoted = |word: &str| word.trim_matches(['\'', '"']).to_owned();
        match words.next() {
            Some("include" | "-include" | "sinclude" | "import" | "import?") => {
                files.extend(
                    words
                        .take_while(|word| !word.starts_with('#'))
                        .map(unquoted),
                );
            }
            Some("mod" | "mod?") => match (words.next(), words.next()) {
                (Some(_), Some(path)) => files.push(unquoted(path)),
                (Some(name), None) => {
                    files.extend(
                        ["{}.just", "{}/mod.just", "{}/justfile"].map(|p| p.replace("{}", name)),
                    );
                }
                (None, _) => {}
            },
            Some(_) | None => {}
        }
    }
    files
}

fn read(text: &str) -> (Vec<Rule>, BTreeMap<String, String>) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut variables = BTreeMap::from([("MAKE".to_owned(), "make".to_owned())]);
    let mut is_in_rule = false;
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(rule) = rules.last_mut().filter(|_| is_in_rule) {
                let line = line.trim_start().trim_start_matches(['@', '-', '+']);
                rule.lines.push(line.to_owned());
            }
        } else if let Some((name, value)) = assignment(line) {
            variables.insert(name.to_owned(), value.to_owned());
        } else if let Some((names, rest)) = line.split_once(':') {
            let (needs, own) = rest.split_once(';').unwrap_or((rest, ""));
            let words = |text: &str| -> Vec<String> {
                let words = text.split(|c: char| c.is_whitespace() || "()|&:".contains(c));
                words
                    .filter(|word| !word.is_empty())
                    .map(|word| word.trim_start_matches('@').to_owned())
                    .collect()
            };
            is_in_rule = true;
            rules.push(Rule {
                names: words(names),
                needs: words(needs),
                lines: Some(own.trim())
                    .filter(|own| !own.is_empty())
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
            });
        }
    }
    (rules, variables)
}

/// `X = a`, `X := a`, `export X ?= a`; not `test: a`, nor `test filter='':`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end_matches([':', '?', '+', '!', ' ', '\t']);
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "_-.".contains(c));
    is_name.then(|| (name, value.trim()))
}

fn expanded(line: &str, variables: &BTreeMap<String, String>) -> String {
    let mut line = line.to_owned();
    for _ in 0..EXPANSIONS_MAX {
        for (name, value) in variables {
            for reference in [
                format!("$({name})"),
                format!("${{{name}}}"),
                format!("{{{{{name}}}}}"),
                format!("{{{{ {name} }}}}"),
            ] {
                if line.contains(&reference) && line.len() < 10_000 {
                    line = line.replace(&reference, value);
                }
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_runs(text: &str, wanted: &[&str], expected: &[&str]) {
        let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
        assert_eq!(lines(text, &wanted), expected);
    }

    const MAKEFILE: &str = "PY := python3\nRUN = $(PY) ci/run.py\nall: build\nbuild:\n\tcc a.c\n.PHONY: test serve\ntest: build lint\n\t@$(RUN) \\\n\t  --fast\nlint: ; sh lint.sh\nserve:\n\tpython3 app.py\n%.o: %.c\n\tcc -c $<\n";

    #[test]
    fn only_what_a_target_needs_is_run() {
        assert_runs(
            MAKEFILE,
            &["test"],
            &[
                "cc a.c",
                "python3 ci/run.py  \t  --fast",
                "sh lint.sh",
                "cc -c $<",
            ],
        );
        assert_runs(MAKEFILE, &["serve"], &["python3 app.py", "cc -c $<"]);
        assert_runs(MAKEFILE, &[], &["cc a.c", "cc -c $<"]);
    }

    #[test]
    fn of_a_target_that_is_not_there_every_line_counts() {
        assert_eq!(lines(MAKEFILE, &["other".to_owned()]).len(), 5);
    }

    #[test]
    fn recipes_of_just_have_parameters_and_dependencies() {
        let text = "set dotenv-load\nimport 'ci.just'\nmod web\npy := 'python3'\n\n[group('x')]\n@test filter='': (lint \"a\") build\n    ./scripts/test.sh {{filter}}\nlint what:\n    {{ py }} lint.py\nbuild:\n    cc a.c\nrun:\n    node server.js\n";
        assert_runs(
            text,
            &["test"],
            &[
                "./scripts/test.sh {{filter}}",
                "'python3' lint.py",
                "cc a.c",
            ],
        );
        assert_eq!(
            included(text),
            ["ci.just", "web.just", "web/mod.just", "web/justfile"]
        );
        assert_eq!(included("-include a.mk b.inc # c\n"), ["a.mk", "b.inc"]);
    }
}

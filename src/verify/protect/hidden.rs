//! What a change of a `.gitignore` hides: a test that git ignores is in no candidate, and so it is never run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{Protection, Trees};

/// Where tests lie, and what they are called, in projects that have none yet.
const USUAL: [&str; 12] = [
    "tests/name.py",
    "tests/name.rs",
    "tests/name.js",
    "tests/name.ts",
    "test/name.js",
    "__tests__/name.js",
    "spec/name_spec.rb",
    "test_name.py",
    "name_test.go",
    "name.test.ts",
    "name.test.js",
    "name.spec.ts",
];

impl Protection {
    /// The tests of the base, with what sets them up.
    pub(super) fn tests_among<E>(&self, trees: &Trees<'_, E>) -> Result<Vec<PathBuf>, E> {
        let is_setup = |path: &Path| path.file_name().is_some_and(|name| name == "conftest.py");
        let mut tests = (trees.files)()?;
        tests.retain(|path| self.is_test(path) || is_setup(path));
        Ok(tests)
    }
}

/// A path of tests that the ignore file at `path` hides from now on, if there is one among `tests`, or, at the top, among
/// the usual ones.
pub(super) fn tests(
    path: &Path,
    [base, new]: [Option<&[u8]>; 2],
    tests: &[PathBuf],
) -> Option<PathBuf> {
    let (before, after) = (Patterns::of(base), Patterns::of(new));
    let may_hide_all = !after.unread.is_subset(&before.unread);
    let directory = path.parent().unwrap_or(Path::new(""));
    let is_hidden = |test: &Path| may_hide_all || after.hide(test) && !before.hide(test);
    let below = tests.iter().filter_map(|test| {
        let rest = test.strip_prefix(directory).ok()?;
        is_hidden(rest).then(|| test.clone())
    });
    let usual = USUAL
        .iter()
        .map(Path::new)
        .filter(|test| directory.as_os_str().is_empty() && is_hidden(test))
        .map(Path::to_owned);
    below.chain(usual).next()
}

/// The patterns of a file, as if it lay at the top.
struct Patterns {
    rules: Gitignore,
    /// Lines of which only git knows what they hide.
    unread: BTreeSet<String>,
}

impl Patterns {
    fn of(text: Option<&[u8]>) -> Self {
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        let mut rules = GitignoreBuilder::new("");
        let mut unread: BTreeSet<String> = text
            .lines()
            .filter(|line| rules.add_line(None, line).is_err())
            .map(str::to_owned)
            .collect();
        let rules = rules.build().unwrap_or_else(|_| {
            unread.extend(text.lines().map(str::to_owned));
            Gitignore::empty()
        });
        Self { rules, unread }
    }

    fn hide(&self, test: &Path) -> bool {
        let found = self.rules.matched_path_or_any_parents(test, false);
        found.is_ignore()
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn hidden(path: &str, base: &str, new: &str) -> Option<String> {
        let there = ["tests/a.t", "src/deep/b_test.go", "tests/out/c.t"].map(PathBuf::from);
        let texts = [Some(base.as_bytes()), Some(new.as_bytes())];
        let found = tests(Path::new(path), texts, &there)?;
        Some(found.display().to_string())
    }

    #[test]
    fn rules_that_hide_tests_are_told_from_those_that_hide_what_builds_leave() {
        for (path, new, expected) in [
            (".gitignore", "target/\n*.log\n.venv\n/dist\n", None),
            (
                ".gitignore",
                "test-results/\ncoverage\n*.pyc\n*.snap.new\n",
                None,
            ),
            (".gitignore", "tests/\n", Some("tests/a.t")),
            (
                ".gitignore",
                "/tests/*\n!/tests/a.t\n",
                Some("tests/out/c.t"),
            ),
            (".gitignore", "*_test.go\n", Some("src/deep/b_test.go")),
            (".gitignore", "*\n!*.rs\n", Some("tests/a.t")),
            (".gitignore", "*.spec.ts\n", Some("name.spec.ts")),
            (".gitignore", "test_*\n", Some("test_name.py")),
            ("tests/.gitignore", "*\n", Some("tests/a.t")),
            ("tests/out/.gitignore", "*.t\n", Some("tests/out/c.t")),
            ("tests/fresh/.gitignore", "*\n!.gitignore\n", None),
            ("build/.gitignore", "*\n", None),
        ] {
            assert_eq!(hidden(path, "", new).as_deref(), expected, "{path}: {new}");
        }
        assert_eq!(hidden(".gitignore", "tests/\n", "tests/\n*.log\n"), None);
        assert_eq!(hidden(".gitignore", "tests/\n", ""), None);
    }

    #[test]
    fn a_line_that_cannot_be_read_may_hide_any_test_unless_it_was_there() {
        assert!(hidden(".gitignore", "", "{a\n").is_some());
        assert_eq!(hidden(".gitignore", "{a\n", "{a\n*.log\n"), None);
    }
}

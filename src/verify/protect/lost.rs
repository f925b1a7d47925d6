//! Whether a file of tests still tests what it did: told from its text, without knowing any language whole.

use std::collections::BTreeSet;

/// Words with which a test begins, in one language or another; the name follows.
const TEST_WORDS: [&str; 17] = [
    "async def test",
    "def test",
    "fn ",
    "func Test",
    "func Fuzz",
    "public function test",
    "function test",
    "it(",
    "it.each(",
    "test(",
    "test.each(",
    "specify(",
    "@test ",
    "TEST(",
    "TEST_F(",
    "test \"",
    "it \"",
];

/// Words on the line before a test, in languages where its own line does not tell.
const TEST_MARKS: [&str; 8] = [
    "#[test]",
    "::test]",
    "::test(",
    "#[rstest",
    "#[test_case",
    "@Test",
    "@ParameterizedTest",
    "[Fact]",
];

/// Words that check something.
const CHECKS: [&str; 8] = [
    "assert", "expect", "should", "require.", "t.Error", "t.Fatal", "t.Fail", "is_err",
];

/// Words that leave a test, or all others, out.
const SKIPS: [&str; 20] = [
    "#[ignore",
    "mark.skip",
    "mark.xfail",
    "unittest.skip",
    "pytest.skip(",
    "skipTest(",
    "t.Skip",
    "it.skip",
    "it.only",
    "it.todo",
    "test.skip",
    "test.only",
    "test.fixme",
    "describe.skip",
    "describe.only",
    "xit(",
    "xdescribe(",
    "xtest(",
    "@Disabled",
    "@Ignore",
];

/// Words that end a test program well, before its tests are through.
const EXITS: [&str; 6] = [
    "os._exit(",
    "os.Exit(0)",
    "process.exit(0)",
    "process::exit(0)",
    "pytest.exit(",
    "Runtime.getRuntime().halt(",
];

/// What a text of tests holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    tests: Vec<String>,
    checks: usize,
    skips: usize,
    exits: usize,
}

impl Content {
    fn of(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut content = Self::default();
        // In Go the tests run when it says so.
        if text.contains("func TestMain(") && !text.contains(".Run(") {
            content.exits += 1;
        }
        let mut is_marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("//") || (line.starts_with('#') && !line.starts_with("#[")) {
                continue;
            }
            content.checks += CHECKS
                .iter()
                .map(|word| line.matches(word).count())
                .sum::<usize>();
            content.skips += SKIPS
                .iter()
                .map(|word| line.matches(word).count())
                .sum::<usize>();
            content.exits += EXITS
                .iter()
                .map(|word| line.matches(word).count())
                .sum::<usize>();
            let marks = TEST_MARKS.iter().any(|mark| line.contains(mark));
            let begins = TEST_WORDS
                .iter()
                .find_map(|word| line.strip_prefix(word).map(|rest| (*word, rest)));
            match begins {
                Some(("fn ", _)) if !is_marked && !marks => {}
                Some((_, rest)) => content.tests.push(name(rest)),
                // Where the mark is all that can be known.
                None if marks && line.starts_with(['@', '[']) => content.tests.push(String::new()),
                None => {}
            }
            // Attributes may stand between the mark and the test.
            is_marked = marks || (is_marked && line.starts_with("#["));
        }
        content
    }
}

/// The word, or the quoted text, that a text begins with.
fn name(rest: &str) -> String {
    let rest = rest.trim_start_matches(['_', '(', ' ']);
    let end = match rest.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => rest[1..].find(quote).map(|at| at + 1),
        _ => rest.find(|c: char| !(c.is_alphanumeric() || c == '_')),
    };
    rest[..end.unwrap_or(rest.len())]
        .trim_start_matches(['"', '\'', '`'])
        .to_owned()
}

/// Why a changed file of tests does not test what it did, if that can be told.
pub(super) fn emptied(before: &[u8], after: &[u8]) -> Option<&'static str> {
    let is_blank = |text: &[u8]| text.iter().all(u8::is_ascii_whitespace);
    if is_blank(before) {
        return None;
    }
    if is_blank(after) {
        return Some("is a test that was emptied");
    }
    let (before, after) = (Content::of(before), Content::of(after));
    let more_tests = after.tests.len().saturating_sub(before.tests.len());
    if !before.tests.is_empty() && after.tests.is_empty() {
        Some("is a test that was emptied")
    } else if before.checks > 0 && after.checks == 0 {
        Some("is a test in which nothing is checked any more")
    } else if after.skips > before.skips + more_tests {
        Some("is a test of which more is skipped than before")
    } else {
        None
    }
}

/// Whether a new or changed file of tests ends its program well before the other tests are through, and did not before.
pub(super) fn ends_early(before: &[u8], after: &[u8]) -> bool {
    Content::of(after).exits > Content::of(before).exits
}

/// The names of the tests of a text.
pub(super) fn names(text: &[u8]) -> BTreeSet<String> {
    Content::of(text).tests.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_check_nothing_any_more_are_told_from_tests_that_changed() {
        let rust = "#[test]\nfn adds() {\n    assert_eq!(add(1, 1), 2);\n}\n";
        let python = "import pytest\n\ndef test_adds():\n    assert add(1, 1) == 2\n";
        let script = "it('adds', () => {\n  expect(add(1, 1)).toBe(2);\n});\n";
        let shell = "grep -q right value.txt\n";
        for (before, after, offends) in [
            (
                rust,
                "#[test]\nfn adds() {\n    assert_eq!(add(1, 2), 3);\n}\n",
                false,
            ),
            (
                rust,
                "#[test]\nfn sums() {\n    assert_eq!(sum(1, 1), 2);\n}\n",
                false,
            ),
            (rust, "#[test]\nfn adds() {}\n", true),
            (
                rust,
                "fn adds() {\n    assert_eq!(add(1, 1), 2);\n}\n",
                true,
            ),
            (
                rust,
                "// #[test]\n// fn adds() {\n//     assert_eq!(add(1, 1), 2);\n// }\n",
                true,
            ),
            (
                rust,
                "#[test]\n#[ignore]\nfn adds() {\n    assert_eq!(add(1, 1), 2);\n}\n",
                true,
            ),
            (rust, "\n", true),
            (
                python,
                "import pytest\n\ndef test_adds():\n    pass\n",
                true,
            ),
            (
                python,
                "import pytest\n\n@pytest.mark.skip\ndef test_adds():\n    assert add(1, 1) == 2\n",
                true,
            ),
            (
                python,
                "def test_adds():\n    assert add(1, 1) == 2\n\n\ndef test_more():\n    assert 1\n",
                false,
            ),
            (
                python,
                "def test_adds():\n    assert add(1, 1) == 2\n\n\n@pytest.mark.skipif(W, reason='x')\ndef test_more():\n    assert 1\n",
                false,
            ),
            (
                script,
                "it.skip('adds', () => {\n  expect(add(1, 1)).toBe(2);\n});\n",
                true,
            ),
            (script, "it('adds', () => {});\n", true),
            (
                script,
                "it('adds well', () => {\n  expect(add(1, 1)).toBe(2);\n});\n",
                false,
            ),
            (shell, "grep -q left value.txt\n", false),
            (shell, "", true),
            ("", "", false),
        ] {
            let found = emptied(before.as_bytes(), after.as_bytes());
            assert_eq!(found.is_some(), offends, "{after}: {found:?}");
        }
    }

    #[test]
    fn a_test_that_ends_its_program_well_is_told_from_one_that_runs_the_others() {
        for (before, after, offends) in [
            ("", "func TestMain(m *testing.M) {}\n", true),
            (
                "",
                "func TestMain(m *testing.M) { os.Exit(m.Run()) }\n",
                false,
            ),
            ("", "afterAll(() => process.exit(0));\n", true),
            ("process.exit(0)\n", "// now\nprocess.exit(0)\n", false),
            ("", "import os\nos._exit(0)\n", true),
            (
                "",
                "#[test]\nfn a() {\n    std::process::exit(0);\n}\n",
                true,
            ),
            (
                "",
                "def test_ends():\n    with raises(SystemExit):\n        main()\n",
                false,
            ),
        ] {
            assert_eq!(
                ends_early(before.as_bytes(), after.as_bytes()),
                offends,
                "{after}"
            );
        }
    }

    #[test]
    fn tests_are_known_by_their_names() {
        let text = "#[tokio::test]\nasync fn no() {}\n#[test]\n#[should_panic]\nfn one() {}\nfn helper() {}\n";
        assert_eq!(names(text.as_bytes()), BTreeSet::from(["one".to_owned()]));
        let text = "def test_two(x):\n  it(\"three words\", f)\nfunc TestFour(t *testing.T) {\n";
        let found: Vec<String> = names(text.as_bytes()).into_iter().collect();
        assert_eq!(found, ["Four", "three words", "two"]);
    }
}

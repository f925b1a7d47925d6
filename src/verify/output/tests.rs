//! Outputs of real programs (`tests/fixtures/outputs`), each with what it must be read as.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/outputs/", $name))
    };
}

/// Where the fixtures were made.
const ROOTS: [&str; 2] = ["/srv/app", "/srv/app/js"];

fn counted(passed: u64, failed: u64, skipped: u64) -> Option<Counts> {
    Some(Counts {
        passed,
        failed,
        skipped,
    })
}

#[track_caller]
fn assert_told(told: &Told, counts: Option<Counts>, failures: &[&str]) {
    assert_eq!(told.unreadable, None);
    assert_eq!(told.counts, counts);
    let mut sorted = failures.to_vec();
    sorted.sort_unstable();
    assert_eq!(told.failures.iter().collect::<Vec<_>>(), sorted);
}

#[track_caller]
fn assert_printed(output: &str, counts: Option<Counts>, failures: &[&str]) {
    assert_told(&read(output, ROOTS[1], false), counts, failures);
}

#[track_caller]
fn assert_reported(text: &str, counts: Option<Counts>, failures: &[&str]) {
    assert_told(&report(text.as_bytes(), ROOTS[1], false), counts, failures);
}

#[test]
fn cargo_test_names_failures_crashes_and_programs_that_end_too_early() {
    assert_printed(
        fixture!("cargo-test.txt"),
        counted(1, 2, 0),
        &[
            "tests::works",
            "works",
            "gone was killed",
            "a test program ended before its tests did",
            "a test program ended before its tests did (2)",
        ],
    );
}

#[test]
fn pytest_names_tests_by_their_whole_id_and_no_line_of_a_log() {
    assert_printed(
        fixture!("pytest.txt"),
        counted(2, 3, 1),
        &[
            "tests/test_math.py::test_subtracts",
            "tests/test_math.py::test_texts[a - b]",
            "tests/test_math.py::test_with_fixture",
        ],
    );
}

#[test]
fn go_test_names_tests_with_their_package_and_packages_that_do_not_build() {
    let failures = [
        "example.com/app/bad [build failed]",
        "example.com/app/calc TestSub",
        "example.com/app/calc TestSub/small",
    ];
    assert_printed(fixture!("go-plain.txt"), counted(1, 2, 1), &failures);
    assert_printed(fixture!("go-verbose.txt"), counted(3, 2, 1), &failures);
    assert_printed(fixture!("go-json.txt"), counted(3, 2, 1), &failures);
    assert_reported(
        fixture!("go-json.txt").split_once('\n').expect("lines").1,
        counted(3, 2, 1),
        &failures[1..],
    );
    let panic = ["example.com/app/boom TestBoom"];
    assert_printed(fixture!("go-panic.txt"), counted(1, 1, 0), &panic);
    assert_printed(fixture!("go-panic-json.txt"), counted(1, 1, 0), &panic);
}

#[test]
fn a_test_of_go_that_never_ends_has_failed() {
    let cut: Vec<&str> = fixture!("go-panic-json.txt").lines().take(6).collect();
    assert_printed(
        &cut.join("\n"),
        counted(1, 1, 0),
        &["example.com/app/boom TestBoom"],
    );
}

#[test]
fn jest_and_vitest_name_tests_with_their_file_and_files_that_cannot_be_loaded() {
    assert_printed(
        fixture!("jest.txt"),
        counted(2, 3, 1),
        &[
            "src/broken.test.js › Test suite failed to run",
            "src/math.test.js › math › subtracts",
            "src/math.test.js › math › twice",
            "src/math.test.js › math › twice (2)",
        ],
    );
    assert_printed(
        fixture!("vitest.txt"),
        counted(2, 1, 1),
        &["src/broken.test.ts", "src/math.test.ts > math > subtracts"],
    );
}

#[test]
fn mocha_names_tests_with_their_suites_whatever_reporter_tells_it() {
    let hook = "\"before all\" hook: opens a database for \"never runs\"";
    assert_printed(
        fixture!("mocha.txt"),
        counted(2, 3, 2),
        &[
            "math › subtracts",
            "math › more › says 1) and 2 passing",
            &format!("math › hooked › {hook}"),
        ],
    );
    let failures = [
        "test/math.js › math subtracts",
        "test/math.js › math more says 1) and 2 passing",
        &format!("test/math.js › math hooked {hook}"),
    ];
    assert_printed(fixture!("mocha-json.txt"), counted(2, 3, 2), &failures);
    assert_reported(fixture!("mocha-json.txt"), counted(2, 3, 2), &failures);
}

#[test]
fn nodes_own_test_runner_names_tests_with_their_suites_in_both_its_forms() {
    assert_printed(
        fixture!("node-spec.txt"),
        counted(2, 5, 2),
        &[
            "nt/broken.test.js",
            "subtracts",
            "suite › inner bad",
            "suite",
            "parent › child # with hash",
            "parent",
        ],
    );
    assert_printed(
        fixture!("node-tap.txt"),
        counted(3, 6, 1),
        &[
            "nt/broken.test.js",
            "subtracts",
            "suite › inner bad",
            "suite",
            "parent › child \\# with hash",
            "parent",
        ],
    );
}

#[test]
fn the_json_of_jest_is_read_as_a_report_and_among_what_was_printed() {
    let failures = [
        "src/broken.test.js › Test suite failed to run",
        "src/math.test.js › math › subtracts",
        "src/math.test.js › math › twice",
        "src/math.test.js › math › twice (2)",
    ];
    let text = fixture!("jest-json.txt");
    assert_reported(text, counted(2, 3, 2), &failures);
    assert_printed(
        &format!("> app@1.0.0 test\n{{ noise\n{text}"),
        counted(2, 3, 2),
        &failures,
    );
    let cut = text.replace("\"numTotalTests\":7", "\"numTotalTests\":9");
    assert!(report(cut.as_bytes(), "", true).unreadable.is_some());
}

#[test]
fn workspaces_that_one_command_runs_add_up() {
    let twice = fixture!("jest.txt").repeat(2);
    assert_eq!(read(&twice, "", false).counts, counted(4, 6, 2));
    let twice = fixture!("mocha.txt").repeat(2);
    assert_eq!(read(&twice, "", false).counts, counted(4, 6, 4));
}

#[test]
fn junit_reports_name_what_failed_whoever_wrote_them() {
    assert_reported(
        fixture!("jest-junit.xml"),
        counted(2, 3, 1),
        &["math subtracts", "math twice", "math twice (2)"],
    );
    assert_reported(
        fixture!("pytest-junit.xml"),
        counted(2, 3, 1),
        &[
            "tests.test_math › test_subtracts",
            "tests.test_math › test_texts[a - b]",
            "tests.test_math › test_with_fixture",
        ],
    );
    assert_reported(
        "<testsuite name=\"db\" tests=\"1\" errors=\"1\" failures=\"0\"><testcase name=\"a\"/></testsuite>",
        counted(1, 0, 0),
        &["db: an error outside of its tests"],
    );
}

#[test]
fn findings_are_named_by_file_and_message_and_errors_before_warnings() {
    let unused = "'one' is assigned a value but never used.";
    let too = "'two' is assigned a value but never used.";
    assert_printed(
        fixture!("eslint-unix.txt"),
        None,
        &[
            &format!("src/a.js: {unused} [Error/no-unused-vars]"),
            &format!("src/a.js: {too} [Error/no-unused-vars]"),
            "src/b.js: Parsing error: Unexpected token ( [Error]",
        ],
    );
    assert_printed(
        fixture!("eslint-compact.txt"),
        None,
        &[
            &format!("src/a.js: {unused} (no-unused-vars)"),
            &format!("src/a.js: {too} (no-unused-vars)"),
            "src/b.js: Parsing error: Unexpected token (",
        ],
    );
    assert_printed(
        fixture!("gcc.txt"),
        None,
        &[
            "a.c: error: expected ‘;’ before ‘}’ token",
            "a.c: error: ‘x’ undeclared (first use in this function)",
        ],
    );
    assert_printed(
        fixture!("mypy.txt"),
        None,
        &[
            "a.py: error: Incompatible return value type (got \"int\", expected \"str\")  [return-value]",
        ],
    );
    assert_printed(
        fixture!("flake8.txt"),
        None,
        &[
            "a.py: E302 expected 2 blank lines, found 0",
            "a.py: F401 'os' imported but unused",
        ],
    );
}

#[test]
fn findings_below_the_name_of_their_file_and_above_their_place_are_named() {
    assert_printed(
        fixture!("eslint-stylish.txt"),
        None,
        &[
            "src/a.js: 'one' is assigned a value but never used no-unused-vars",
            "src/a.js: 'two' is assigned a value but never used no-unused-vars",
            "src/a.js: 'three' is not defined no-undef",
            "src/b.js: Parsing error: Unexpected token (",
        ],
    );
    assert_printed(
        fixture!("ruff.txt"),
        None,
        &[
            "a.py: F401 `os` imported but unused",
            "a.py: F401 `sys` imported but unused",
            "a.py: F821 Undefined name `undefined_name`",
            "a.py: I001 Import block is un-sorted or un-formatted",
        ],
    );
}

#[test]
fn totals_are_read_in_every_form_that_a_runner_gives_them() {
    let long = format!("{}1 failed, 3 passed in 0.12s\n", "noise\n".repeat(1_000));
    for (output, counts) in [
        ("===== 4 passed in 0.10s =====\n", counted(4, 0, 0)),
        ("1 failed, 3 passed in 0.12s\n", counted(3, 1, 0)),
        ("=== 1 failed, 3 passed in 0.12s ===\n", counted(3, 1, 0)),
        ("3 passed, 2 errors in 0.4s\n", counted(3, 2, 0)),
        (long.as_str(), counted(3, 1, 0)),
        (
            "running 12 tests\ntest result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            counted(12, 0, 0),
        ),
        (
            "running 12 tests\ntest result: FAILED. 11 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            counted(11, 1, 0),
        ),
        ("ok  \texample.com/x\t0.01s\n", counted(1, 0, 0)),
    ] {
        assert_eq!(read(output, "", false).counts, counts, "{output}");
    }
}

#[test]
fn clippy_is_read_in_both_its_forms() {
    assert_printed(
        fixture!("clippy-short.txt"),
        None,
        &["src/lib.rs: error[E0308]: mismatched types: expected `u32`, found `&str`"],
    );
    assert_printed(
        fixture!("clippy.txt"),
        None,
        &["src/lib.rs: mismatched types"],
    );
    assert_printed(
        fixture!("clippy-denied.txt"),
        None,
        &[
            "src/lib.rs: unneeded `return` statement",
            "src/lib.rs: unused variable: `unused`",
            "src/lib.rs: unused variable: `unused` (2)",
        ],
    );
}

#[test]
fn warnings_of_a_linter_that_passes_are_no_failures_and_of_one_that_fails_they_are() {
    let output = "src/a.c:2:9: warning: unused variable `x`\n";
    assert_eq!(read(output, "", true), Told::default());
    assert_printed(output, None, &["src/a.c: warning: unused variable `x`"]);
}

#[test]
fn sarif_names_errors_by_file_and_rule() {
    let named = [
        "src/a.js: no-unused-vars: 'one' is assigned a value but never used.",
        "src/a.js: no-unused-vars: 'two' is assigned a value but never used.",
        "src/b.js: Parsing error: Unexpected token (",
    ];
    assert_reported(fixture!("eslint.sarif"), None, &named);
    assert_printed(fixture!("eslint.sarif"), None, &named);
    let one = |result: &str| {
        format!(
            "{{\"version\": \"2.1.0\", \"$schema\": \"sarif-2.1.0\", \"runs\": [{{\"results\": [{result}]}}]}}"
        )
    };
    let warning = one("{\"ruleId\": \"r\", \"message\": {\"text\": \"m\"}}");
    assert_reported(&warning, None, &["r: m"]);
    assert_told(&report(warning.as_bytes(), "", true), None, &[]);
    let suppressed = one("{\"ruleId\": \"r\", \"level\": \"error\", \"suppressions\": [{}]}");
    assert_reported(&suppressed, None, &[]);
}

#[test]
fn a_report_that_cannot_be_read_is_unreadable_and_not_empty() {
    let whole = fixture!("jest-junit.xml");
    let cut = &whole[..whole.len() / 2];
    for text in [
        cut,
        "",
        "<html><body/></html>",
        "{\"runs\": [",
        "{\"runs\": [{\"invocations\": [{\"executionSuccessful\": false}], \"results\": []}]}",
        "all is well",
    ] {
        let told = report(text.as_bytes(), "", true);
        assert!(told.unreadable.is_some(), "{text}: {told:?}");
        assert_eq!((told.counts, told.failures.len()), (None, 0));
    }
    assert!(
        report(b"<testsuite>\xff</testsuite>", "", true)
            .unreadable
            .is_some()
    );
    let cut = &fixture!("go-panic-json.txt")[..1_000];
    assert!(read(cut, "", false).unreadable.is_some());
    let flood: String = (0..3_000)
        .map(|n| format!("a.py:{n}: E{n} bad\n"))
        .collect();
    assert!(read(&flood, "", false).unreadable.is_some());
}

#[test]
fn runners_that_one_command_runs_add_up() {
    let both = [fixture!("pytest.txt"), fixture!("jest.txt")].concat();
    let told = read(&both, "", false);
    assert_eq!(told.counts, counted(4, 6, 2));
    assert_eq!(told.failures.len(), 7);
    let reports = [fixture!("jest-junit.xml"), fixture!("jest-junit.xml")];
    let told = together(reports.map(|text| report(text.as_bytes(), "", false)));
    assert_eq!(told.counts, counted(4, 6, 2));
    assert_eq!(told.failures.len(), 6, "the second ones are numbered");
}

#[test]
fn the_same_file_has_one_name_wherever_its_tree_lies() {
    let [one, other] = ["/slots/gate-1/tree", "/slots/gate-2/tree"].map(|root| {
        read(
            &format!("{root}/src/a.js:1:7: bad [Error/x]\n"),
            root,
            false,
        )
    });
    assert_eq!(one, other);
    assert_told(&one, None, &["src/a.js: bad [Error/x]"]);
}

#[test]
fn colours_do_not_hide_what_is_said() {
    assert_eq!(
        without_colours("\u{1b}[31mnot ok\u{1b}[0m 1\r\n"),
        "not ok 1\n"
    );
    assert_eq!(without_colours("a\u{1b}"), "a");
}

#[test]
fn an_output_of_no_known_form_tells_nothing() {
    for output in [
        "make: Nothing to be done for 'all'.\n",
        "",
        "12:30:01 done: 3 files\n",
    ] {
        assert_eq!(read(output, "", false), Told::default(), "{output}");
    }
}

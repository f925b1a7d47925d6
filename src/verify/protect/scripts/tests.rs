//! What commands are seen to run.

use super::*;

fn files(command: &str, tree: &[(&str, &str)]) -> Vec<String> {
    let read = |path: &Path| -> Result<Option<Vec<u8>>, ()> {
        let found = tree.iter().find(|(name, _)| Path::new(name) == path);
        Ok(found.map(|(_, text)| text.as_bytes().to_vec()))
    };
    let commands = [("`test`".to_owned(), command.to_owned())];
    let found = run_by(&commands, &read).expect("readable");
    found
        .keys()
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn what_a_command_runs_is_told_from_what_it_looks_at() {
    let tree = [
        ("check.sh", "true"),
        ("ci/run", "true"),
        ("app.py", "x"),
        ("tests/test_a.py", "x"),
        ("jest.ci.js", "x"),
        ("value.txt", "x"),
        ("mk/test.mk", "x"),
    ];
    for (command, expected) in [
        ("sh check.sh", vec!["check.sh"]),
        ("./check.sh --fast && cargo test", vec!["check.sh"]),
        ("CI=1 timeout -k 5 60 bash -eu ./check.sh", vec!["check.sh"]),
        ("cd ci && ./run", vec!["ci/run"]),
        ("if ! ci/run; then exit 1; fi", vec!["ci/run"]),
        ("python app.py --selftest", vec!["app.py"]),
        ("npx jest --config jest.ci.js", vec!["jest.ci.js"]),
        ("jest --config=jest.ci.js", vec!["jest.ci.js"]),
        ("make -f mk/test.mk", vec!["mk/test.mk"]),
        ("pytest tests/test_a.py", vec![]),
        ("grep -q right value.txt > out/log", vec![]),
        ("bash -lc 'ci/run fast'", vec!["ci/run"]),
        ("node app.py & sh check.sh", vec!["check.sh"]),
        ("node app.py & wait $!", vec!["app.py"]),
        ("sh check.sh > log 2>&1", vec!["check.sh"]),
        (
            "python -m tests.test_a",
            vec!["tests/test_a/__main__.py", "tests/test_a.py"],
        ),
        ("BASH_ENV=ci/run bash -c true", vec!["ci/run"]),
        (
            "NODE_OPTIONS=--require=./jest.ci.js node -e 1",
            vec!["jest.ci.js"],
        ),
        (". ./ci/env.sh || true", vec!["ci/env.sh"]),
        (
            "docker compose run tests",
            vec![
                "Dockerfile",
                "compose.yaml",
                "compose.yml",
                "docker-compose.override.yaml",
                "docker-compose.override.yml",
                "docker-compose.yaml",
                "docker-compose.yml",
            ],
        ),
        ("grep -q right value.txt", vec![]),
        ("test -f value.txt", vec![]),
        ("cat value.txt | sh -c 'read x'", vec![]),
        ("cargo test # check.sh", vec![]),
        ("/bin/sh ../check.sh", vec![]),
    ] {
        assert_eq!(files(command, &tree), expected, "{command}");
    }
}

#[test]
fn scripts_are_followed_into_what_they_run() {
    let tree = [
        (
            "ci/run.sh",
            "#!/bin/sh\nhere=$(dirname \"$0\")\n. ./tests/helper.sh\nsh \"$here/lib.sh\"\npython3 tools/lint.py\n",
        ),
        ("ci/lib.sh", "./ci/deep\n"),
        ("ci/deep", "#!/usr/bin/env bash\nexit 0\n"),
        ("tests/helper.sh", ":\n"),
        ("tools/lint.py", "./ci/never\n"),
        ("ci/never", "x"),
    ];
    assert_eq!(
        files("sh ci/run.sh", &tree),
        [
            "ci/deep",
            "ci/lib.sh",
            "ci/run.sh",
            "tests/helper.sh",
            "tools/lint.py"
        ]
    );
}

#[test]
fn scripts_of_package_json_and_recipes_are_followed() {
    let tree = [
        (
            "package.json",
            r#"{"scripts": {"test": "node scripts/test.js", "pretest": "sh prepare.sh", "x": "sh x.sh"}}"#,
        ),
        ("scripts/test.js", "x"),
        ("prepare.sh", "true"),
        ("x.sh", "true"),
        (
            "web/package.json",
            r#"{"scripts": {"check": "./check.sh"}}"#,
        ),
        ("web/check.sh", "true"),
        ("Makefile", "test: all\n\t@sh make-test.sh\n"),
        ("make-test.sh", "true"),
    ];
    assert_eq!(files("npm test", &tree), ["prepare.sh", "scripts/test.js"]);
    assert_eq!(files("cd web && pnpm run check", &tree), ["web/check.sh"]);
    assert_eq!(files("make test", &tree), ["make-test.sh"]);
    assert_eq!(files("npm --prefix web run check", &tree), ["web/check.sh"]);
    assert_eq!(
        files("run-s check test", &tree),
        ["prepare.sh", "scripts/test.js"]
    );
}

#[test]
fn of_recipes_those_count_that_are_asked_for() {
    let tree = [
        (
            "Makefile",
            "include rules.inc\ntest: lint\n\t$(MAKE) -C web check\nrun:\n\tpython3 app.py\n",
        ),
        ("rules.inc", "lint:\n\tsh lint.sh\n"),
        ("lint.sh", "true"),
        ("app.py", "x"),
        ("web/Makefile", "check:\n\t./check.sh\n"),
        ("web/check.sh", "true"),
        ("justfile", "import 'ci.just'\nserve:\n  python3 app.py\n"),
        ("ci.just", "test:\n  ./lint.sh\n"),
    ];
    assert_eq!(
        files("make test", &tree),
        ["lint.sh", "rules.inc", "web/check.sh"]
    );
    assert_eq!(files("make run", &tree), ["app.py", "rules.inc"]);
    assert_eq!(files("just test", &tree), ["ci.just", "lint.sh"]);
    assert_eq!(files("just serve", &tree), ["app.py", "ci.just"]);
}

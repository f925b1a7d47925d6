//! What is protected, on pairs of small trees.

use std::collections::BTreeMap;

use super::*;

fn rules(allow: Allowed) -> Rules {
    Rules {
        protect: vec!["db/migrations".to_owned()],
        unprotect: vec!["legacy/**".to_owned()],
        allow_protected: allow,
        gated: true,
        run: BTreeMap::from([("ci/check.sh".to_owned(), "`tests`".to_owned())]),
        ..Rules::default()
    }
}

fn file(text: &str) -> Entry {
    Entry::File {
        bytes: text.as_bytes().to_vec(),
        executable: false,
    }
}

fn script(text: &str) -> Entry {
    Entry::File {
        bytes: text.as_bytes().to_vec(),
        executable: true,
    }
}

fn link(to: &str) -> Entry {
    Entry::Link(to.as_bytes().to_vec())
}

type Side<'a> = &'a [(&'a str, Entry)];

/// What the rules say of the difference between two trees; `renames` are told as such.
fn touched(rules: &Rules, base: Side<'_>, new: Side<'_>, renames: &[(&str, &str)]) -> Vec<Touched> {
    let map = |files: Side<'_>| -> BTreeMap<PathBuf, Entry> {
        let owned = files
            .iter()
            .map(|(path, entry)| (PathBuf::from(path), entry.clone()));
        owned.collect()
    };
    let (base, new) = (map(base), map(new));
    let mut links = BTreeMap::new();
    for (path, entry) in base.iter().chain(&new) {
        if let Entry::Link(target) = entry {
            links.insert(path.clone(), target.clone());
        }
    }
    let mut changes: Vec<Moved> = renames
        .iter()
        .map(|(from, to)| Moved {
            from: Some(PathBuf::from(from)),
            to: Some(PathBuf::from(to)),
        })
        .collect();
    let paths: BTreeSet<&PathBuf> = base.keys().chain(new.keys()).collect();
    for path in paths {
        let is_told = renames
            .iter()
            .any(|(a, b)| path == Path::new(a) || path == Path::new(b));
        if base.get(path) != new.get(path) && !is_told {
            changes.push(Moved {
                from: base.contains_key(path).then(|| path.clone()),
                to: new.contains_key(path).then(|| path.clone()),
            });
        }
    }
    let look = |files: &BTreeMap<PathBuf, Entry>, path: &Path| -> Result<Option<Entry>, ()> {
        let is_directory = files
            .keys()
            .any(|file| file.starts_with(path) && file != path);
        Ok(files
            .get(path)
            .cloned()
            .or(is_directory.then_some(Entry::Directory)))
    };
    let trees = Trees {
        base: &|path: &Path| look(&base, path),
        new: &|path: &Path| look(&new, path),
        files: &|| Ok(base.keys().cloned().collect()),
        links: &links,
    };
    let protection = Protection::new(rules).expect("good globs");
    protection.touched(&changes, &trees).expect("readable")
}

fn whys(base: Side<'_>, new: Side<'_>) -> Vec<String> {
    let found = touched(&rules(Allowed::None), base, new, &[]);
    let told = found
        .iter()
        .map(|t| format!("{} {}", t.path.display(), t.why));
    told.collect()
}

#[test]
fn a_fixture_may_come_unless_a_test_that_is_there_asks_for_its_name() {
    let setup = "import pytest\n";
    let with = |name: &str| format!("{setup}\n@pytest.fixture\ndef {name}():\n    return 1\n");
    let base = [
        ("tests/conftest.py", file(setup)),
        (
            "tests/test_a.py",
            file("def test_a(client):\n    assert client\n"),
        ),
    ];
    let changed = |name: &str| {
        let mut new = base.clone();
        new[0].1 = file(&with(name));
        whys(&base, &new)
    };
    assert_eq!(changed("fresh"), [""; 0]);
    assert_eq!(
        changed("client"),
        ["tests/conftest.py decides which checks run and how"]
    );
}

#[test]
fn an_ignore_file_must_hide_no_tests() {
    let base = [
        ("tests/a.py", file("def test_a():\n    assert 1\n")),
        (".gitignore", file("*.log\n")),
    ];
    let mut new = base.clone();
    new[1].1 = file("*.log\ndist/\n");
    assert_eq!(whys(&base, &new), [""; 0]);
    new[1].1 = file("*.log\ntests/*\n");
    assert_eq!(
        whys(&base, &new),
        [".gitignore hides tests from git, such as `tests/a.py`"]
    );
}

#[test]
fn what_decides_about_checks_agents_and_orch_is_protected() {
    for path in [
        ".claude/agents/coder.md",
        "CLAUDE.md",
        "docs/AGENTS.md",
        "sub/.mcp.json",
        "orch.yaml",
        ".github/workflows/ci.yml",
        "Makefile",
        "MAKEFILE",
        "ma\u{212a}efile",
        "Make\u{200c}file",
        "crates/a/build.rs",
        ".cargo/config.toml",
        "web/jest.config.js",
        "tests/conftest.py",
        "sitecustomize.py",
        ".gitattributes",
        "db/migrations/1.sql",
        "ci/check.sh",
    ] {
        let (base, new) = ([(path, file("a"))], [(path, file("b"))]);
        assert_eq!(whys(&base, &new).len(), 1, "{path}");
        assert_eq!(whys(&base, &[]).len(), 1, "{path} that went");
        let allowed = touched(&rules(Allowed::All), &base, &new, &[]);
        assert!(allowed.iter().all(|t| t.allowed), "{path}");
    }
    for path in [
        "src/a.rs",
        "README.md",
        "docs/check.sh",
        "src/makefiles.rs",
        "legacy/Makefile",
        "src/claude.md.rs",
        "src/config.ts",
        "tasks.py",
        "build/real.in",
        "workspace/a.txt",
        "Cargo.lock",
    ] {
        assert!(
            whys(&[(path, file("a"))], &[(path, file("b"))]).is_empty(),
            "{path}"
        );
    }
}

#[test]
fn without_gates_there_is_nothing_that_a_makefile_could_decide() {
    let none = Rules::default();
    for (path, offends) in [
        ("Makefile", false),
        ("tests/a.rs", false),
        ("orch.yaml", true),
    ] {
        let found = touched(&none, &[(path, file("a"))], &[], &[]);
        assert_eq!(!found.is_empty(), offends, "{path}");
    }
}

#[test]
fn a_file_in_a_directory_that_was_not_there_decides_about_nothing_old() {
    let base = [("src/a.js", file("a"))];
    for (path, offends) in [
        ("packages/new/package.json", false),
        ("packages/new/jest.config.js", false),
        ("packages/new/tests/conftest.py", false),
        ("packages/new/CLAUDE.md", true),
        ("src/jest.config.js", true),
        ("jest.config.js", true),
        (".cargo/config.toml", true),
    ] {
        let text = r#"{"scripts": {"test": "true"}}"#;
        let new = [base[0].clone(), (path, file(text))];
        assert_eq!(!whys(&base, &new).is_empty(), offends, "{path}");
    }
}

#[test]
fn both_sides_of_a_rename_count() {
    for (from, to) in [("x.txt", "Makefile"), ("Makefile", "x.txt")] {
        let (base, new) = ([(from, file("a"))], [(to, file("a"))]);
        let found = touched(&rules(Allowed::None), &base, &new, &[(from, to)]);
        assert_eq!(found.len(), 1, "{from} to {to}");
        assert_eq!(found[0].path, Path::new("Makefile"));
    }
}

#[test]
fn links_that_lead_out_and_submodules_are_refused() {
    for (entry, offends) in [
        (link("/etc/passwd"), true),
        (link("../../x"), true),
        (link("../.git/config"), true),
        (link("../.GIT/config"), true),
        (link("../b.txt"), false),
        (link("b.txt"), false),
        (Entry::Submodule, true),
    ] {
        let found = whys(&[], &[("docs/a", entry.clone())]);
        assert_eq!(!found.is_empty(), offends, "{entry:?}");
    }
    assert_eq!(whys(&[("a", Entry::Submodule)], &[]), ["a is a submodule"]);
}

#[test]
fn what_a_protected_name_stands_for_over_links_is_protected() {
    let base = [
        ("Makefile", link("build/real.in")),
        ("build/real.in", file("all:")),
        ("ci", link("tools/ci")),
        ("tools/ci/check.sh", file("exit 1")),
    ];
    let mut new = base.clone();
    new[1].1 = file("none:");
    assert_eq!(
        whys(&base, &new),
        [
            "build/real.in is what the link `Makefile` stands for, which decides which checks run and how"
        ]
    );
    let mut new = base.clone();
    new[3].1 = file("exit 0");
    assert_eq!(
        whys(&base, &new),
        ["tools/ci/check.sh is what the link `ci` stands for, which is run by `tests`"]
    );
}

#[test]
fn plans_of_others_are_protected_and_other_yaml_is_not() {
    let plan = "meta: {name: A}\nsections: []\n";
    assert_eq!(
        whys(&[("next.yaml", file(plan))], &[("next.yaml", file("x"))]),
        ["next.yaml is a plan"]
    );
    assert!(whys(&[("a.yaml", file("a: 1"))], &[("a.yaml", file(plan))]).is_empty());
}

#[test]
fn tests_may_grow_and_move_and_not_go() {
    let text = "#[test]\nfn a() {}\n#[test]\nfn b() {}\n";
    let base = [("tests/a.rs", file(text))];
    let parts = [
        ("tests/x.rs", file("#[test]\nfn a() {}\n")),
        ("tests/y.rs", file("#[test]\nfn b() {}\n")),
    ];
    for (new, offends) in [
        (vec![], true),
        (vec![("tests/b.rs", file(text))], false),
        (vec![("src/b.rs", file(text))], true),
        (parts.to_vec(), false),
        (parts[..1].to_vec(), true),
        (vec![("tests/a.rs", file("\n"))], true),
        (vec![("tests/a.rs", file("fn a() {}\n"))], true),
        (vec![("tests/a.rs", link("b.rs"))], true),
        (
            vec![("tests/a.rs", file("#[test]\nfn other() {}\n"))],
            false,
        ),
    ] {
        let found = whys(&base, &new);
        assert_eq!(!found.is_empty(), offends, "{new:?}: {found:?}");
        let allow = Allowed::Globs(vec!["tests/**".to_owned()]);
        let found = touched(&rules(allow), &base, &new, &[]);
        assert!(found.iter().all(|t| t.allowed), "{new:?}");
    }
    let (base, new) = ([("tests/a.sh", script("x"))], [("tests/a.sh", file("x"))]);
    assert_eq!(
        whys(&base, &new),
        ["tests/a.sh is a test that can no longer be run"]
    );
    assert!(whys(&[("tests/a.snap", file("x"))], &[]).is_empty());
}

#[test]
fn bad_globs_are_named() {
    let bad = Rules {
        protect: vec!["src/[a".to_owned()],
        ..Rules::default()
    };
    assert_eq!(
        Protection::new(&bad).expect_err("a bad glob").glob,
        "src/[a"
    );
}

#[test]
fn what_ordinary_tasks_change_in_many_projects_is_not_refused() {
    let package = "{\"name\": \"a\", \"type\": \"module\", \"scripts\": {\"test\": \"vitest run\"}, \"dependencies\": {\"zod\": \"^3\"}, \"devDependencies\": {\"vitest\": \"^1\"}}";
    let with = |from: &str, to: &str| package.replacen(from, to, 1);
    let cargo = "[package]\nname = \"a\"\nversion = \"0.1.0\"\n[dependencies]\nserde = \"1\"\n";
    let python = "[project]\nname = \"a\"\nversion = \"1\"\ndependencies = [\"httpx\"]\n[tool.pytest.ini_options]\ntestpaths = [\"tests\"]\n";
    let cases: &[(&str, &str, String)] = &[
        ("package.json", package, with("\"^3\"", "\"^4\", \"hono\": \"^4\"")),
        ("package.json", package, with("\"^1\"", "\"^2\", \"msw\": \"^2\"")),
        ("package.json", package, with("\"vitest run\"", "\"vitest run\", \"dev\": \"vite\"")),
        ("package.json", package, with("\"type\"", "\"bin\": \"cli.js\", \"exports\": \"./a.js\", \"type\"")),
        ("Cargo.toml", cargo, cargo.replace("\"1\"", "{ version = \"1\", features = [\"derive\"] }")),
        ("Cargo.toml", cargo, format!("{cargo}[features]\nfast = []\n[[bin]]\nname = \"b\"\npath = \"src/b.rs\"\n")),
        ("Cargo.toml", cargo, format!("{cargo}[dev-dependencies]\nproptest = \"1\"\n[profile.release]\nlto = true\n")),
        ("Cargo.toml", cargo, format!("{cargo}[workspace]\nmembers = [\"more\"]\n")),
        ("pyproject.toml", python, python.replace("\"httpx\"", "\"httpx>=0.27\", \"typer\"")),
        ("pyproject.toml", python, format!("{python}[project.scripts]\na = \"a:main\"\n[dependency-groups]\ndev = [\"pytest\"]\n")),
        ("requirements.txt", "httpx==0.27\n", "httpx==0.28\ntyper\n".to_owned()),
        ("go.mod", "module a\n\ngo 1.22\n", "module a\n\ngo 1.22\n\nrequire example.com/b v1.0.0\n".to_owned()),
        ("go.sum", "", "example.com/b v1.0.0 h1:x\n".to_owned()),
        ("pnpm-lock.yaml", "a: 1\n", "a: 2\n".to_owned()),
        ("tsconfig.json", "{\"compilerOptions\": {\"strict\": true}, \"include\": [\"src\"]}", "{\"compilerOptions\": {\"strict\": true, \"paths\": {\"@/*\": [\"./src/*\"]}}, \"include\": [\"src\", \"tests\"]}".to_owned()),
        ("tests/conftest.py", "import pytest\n", "import json\nimport pytest\n\n@pytest.fixture\ndef order():\n    return json.loads(\"{}\")\n".to_owned()),
        ("CMakeLists.txt", "project(a C)\nadd_library(a a.c)\n", "project(a C)\nadd_library(a a.c b.c)\n".to_owned()),
        ("build.gradle.kts", "dependencies {\n    implementation(\"a:b:1\")\n}\n", "dependencies {\n    implementation(\"a:b:2\")\n    testImplementation(\"c:d:1\")\n}\n".to_owned()),
        (".gitignore", "target\n", "target\n.env\ncoverage/\n*.sqlite\n.idea/\n".to_owned()),
        ("Dockerfile", "FROM a\n", "FROM a\nRUN b\n".to_owned()),
        ("compose.yaml", "services: {}\n", "services: {db: {image: postgres}}\n".to_owned()),
        ("src/settings.py", "DEBUG = False\n", "DEBUG = False\nPAGE = 10\n".to_owned()),
        ("migrations/0002_add.py", "", "class Migration:\n    pass\n".to_owned()),
        (".env.example", "", "PORT=1\n".to_owned()),
        ("tests/test_a.py", "def test_a():\n    assert 1\n", "def test_a():\n    assert 1\n\ndef test_b():\n    assert 2\n".to_owned()),
        ("docs/api.yaml", "openapi: 3\n", "openapi: 3\npaths: {}\n".to_owned()),
    ];
    let refused: Vec<String> = cases
        .iter()
        .flat_map(|(path, before, after)| {
            let base = (!before.is_empty()).then(|| (*path, file(before)));
            let base: Vec<(&str, Entry)> = base.into_iter().collect();
            whys(&base, &[(*path, file(after))])
        })
        .collect();
    assert_eq!(refused, [""; 0]);
}

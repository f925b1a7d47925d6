//! Verify commands proposed to people: found in what a repository says about itself. Nothing here is run, and nothing
//! that is proposed judges anything until a person has it in `orch.yaml` or a plan.

use std::path::Path;

use anyhow::Context;

use crate::error::{OrKind, Result};
use crate::plan::checks::cannot_fail;

/// Longest manifest that is looked into.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Scripts of a `package.json` that judge a tree, in the order in which they are best run.
const SCRIPTS: [&str; 5] = ["lint", "typecheck", "type-check", "check", "test"];

/// Files that come with one usual command.
const MARKS: [(&str, &str); 4] = [
    (".rspec", "bundle exec rspec"),
    ("mvnw", "./mvnw --batch-mode verify"),
    ("gradlew", "./gradlew check"),
    ("mix.exs", "mix test"),
];

/// What `npm init` writes for want of a test.
const NO_TEST: &str = "no test specified";

/// Targets of make, and recipes of just, that judge a tree.
const TARGETS: [&str; 2] = ["check", "test"];

/// A command that seems to judge the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) name: String,
    pub(super) run: String,
    /// The file that speaks for it.
    pub(super) because: String,
}

/// What seems to judge the repository at `root`: first what its languages have; what make and just have only beside it,
/// for they mostly call the same.
pub(super) struct Found {
    pub(super) main: Vec<Proposal>,
    pub(super) beside: Vec<Proposal>,
}

/// Looks for commands.
///
/// # Errors
/// If a file that is there cannot be read.
pub(super) fn found(root: &Path) -> Result<Found> {
    let look = Look { root };
    let mut main = look.cargo()?;
    main.extend(look.scripts()?);
    main.extend(look.pytest()?);
    main.extend(look.go()?);
    main.extend(look.by_marks());
    let mut beside = look.make()?;
    beside.extend(look.just()?);
    if main.is_empty() {
        std::mem::swap(&mut main, &mut beside);
    }
    name_apart(&mut main);
    Ok(Found { main, beside })
}

/// What seems to judge the projects in `places`, directories below `root`: for where nothing speaks for all of it.
///
/// # Errors
/// If a file that is there cannot be read.
pub(super) fn found_in(root: &Path, places: &[String]) -> Result<Vec<Proposal>> {
    let mut all = Vec::new();
    for place in places {
        let main = found(&root.join(place))?.main;
        all.extend(main.into_iter().map(|proposal| Proposal {
            name: format!("{place}-{}", proposal.name),
            run: format!("cd {place} && {}", proposal.run),
            because: format!("{place}/{}", proposal.because),
        }));
    }
    Ok(all)
}

/// Two commands of one list have two names.
fn name_apart(proposals: &mut [Proposal]) {
    for ix in 1..proposals.len() {
        let (before, rest) = proposals.split_at_mut(ix);
        if before.iter().any(|p| p.name == rest[0].name) {
            rest[0].name.clone_from(&rest[0].run);
        }
    }
}

struct Look<'a> {
    root: &'a Path,
}

impl Look<'_> {
    fn has(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }

    /// The text of a file, where it is there and not too long to be a manifest.
    fn text(&self, path: &str) -> Result<Option<String>> {
        let path = self.root.join(path);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= MANIFEST_BYTES_MAX => {}
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(e)
                    .with_context(|| format!("cannot read {}", path.display()))
                    .or_environment();
            }
        }
        let bytes = std::fs::read(&path)
            .with_context(|| format!("cannot read {}", path.display()))
            .or_environment()?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn cargo(&self) -> Result<Vec<Proposal>> {
        let Some(manifest) = self.text("Cargo.toml")? else {
            return Ok(Vec::new());
        };
        let is_workspace = manifest.lines().any(|line| line.trim() == "[workspace]");
        let run = match is_workspace {
            true => "cargo test --workspace",
            false => "cargo test",
        };
        Ok(vec![proposal("test", run, "Cargo.toml")])
    }

    fn scripts(&self) -> Result<Vec<Proposal>> {
        let Some(manifest) = self.text("package.json")? else {
            return Ok(Vec::new());
        };
        // Whatever is wrong with it is npm's to say.
        let Ok(manifest) = serde_json::from_str::<serde_json::Value>(&manifest) else {
            return Ok(Vec::new());
        };
        let program = self.package_manager(manifest["packageManager"].as_str());
        let is_usable = |script: &&str| {
            let text = manifest["scripts"][*script].as_str().unwrap_or_default();
            !text.trim().is_empty() && !text.contains(NO_TEST) && cannot_fail(text).is_none()
        };
        let mut scripts: Vec<&str> = SCRIPTS.into_iter().filter(is_usable).collect();
        if scripts.is_empty() {
            scripts.extend(Some("build").filter(is_usable));
        }
        let of = |script| proposal(script, &format!("{program} run {script}"), "package.json");
        Ok(scripts.into_iter().map(of).collect())
    }

    /// The program that the lock file is of, else the one that the manifest names.
    fn package_manager(&self, named: Option<&str>) -> &'static str {
        let programs = ["pnpm", "yarn", "bun", "npm"];
        let of_lock = |locks: &[&str]| locks.iter().any(|lock| self.has(lock));
        let locked = match () {
            () if of_lock(&["pnpm-lock.yaml"]) => Some("pnpm"),
            () if of_lock(&["yarn.lock"]) => Some("yarn"),
            () if of_lock(&["bun.lock", "bun.lockb"]) => Some("bun"),
            () if of_lock(&["package-lock.json"]) => Some("npm"),
            () => None,
        };
        let named = named.and_then(|named| {
            let word = named.split('@').next()?;
            programs.into_iter().find(|program| *program == word)
        });
        locked.or(named).unwrap_or("npm")
    }

    fn pytest(&self) -> Result<Vec<Proposal>> {
        let files = [
            ("pytest.ini", ""),
            ("pyproject.toml", "[tool.pytest"),
            ("setup.cfg", "[tool:pytest]"),
            ("tox.ini", "[pytest]"),
            ("conftest.py", ""),
            ("tests/conftest.py", ""),
            ("pyproject.toml", "\"pytest"),
            ("pyproject.toml", "\npytest"),
            ("requirements.txt", "pytest"),
            ("requirements-dev.txt", "pytest"),
        ];
        let mut because = None;
        for (file, mark) in files {
            if self.text(file)?.is_some_and(|text| text.contains(mark)) {
                because = because.or(Some(file));
            }
        }
        let Some(because) = because else {
            return Ok(Vec::new());
        };
        let run = match () {
            () if self.has("uv.lock") => "uv run pytest",
            () if self.has("poetry.lock") => "poetry run pytest",
            // As the proposed `setup` installs it.
            () if self.has("requirements.txt") => ".venv/bin/python -m pytest",
            () => "python3 -m pytest",
        };
        Ok(vec![proposal("test", run, because)])
    }

    fn go(&self) -> Result<Vec<Proposal>> {
        let is_there = self.has("go.mod");
        // With `-v`, single tests are counted.
        Ok(is_there
            .then(|| proposal("test", "go test -v ./...", "go.mod"))
            .into_iter()
            .collect())
    }

    /// Ecosystems in which a file that is there says it all.
    fn by_marks(&self) -> Vec<Proposal> {
        MARKS
            .into_iter()
            .filter(|(mark, _)| self.has(mark))
            .map(|(mark, run)| proposal("test", run, mark))
            .collect()
    }

    fn make(&self) -> Result<Vec<Proposal>> {
        for file in ["GNUmakefile", "makefile", "Makefile"] {
            if let Some(text) = self.text(file)? {
                return Ok(targets(&text, "make", file));
            }
        }
        Ok(Vec::new())
    }

    fn just(&self) -> Result<Vec<Proposal>> {
        for file in ["justfile", "Justfile", ".justfile"] {
            if let Some(text) = self.text(file)? {
                return Ok(targets(&text, "just", file));
            }
        }
        Ok(Vec::new())
    }
}

fn proposal(name: &str, run: &str, because: &str) -> Proposal {
    Proposal {
        name: name.to_owned(),
        run: run.to_owned(),
        because: because.to_owned(),
    }
}

/// `check: a b`, `@test:` and `test filter='':` at the beginning of lines; not `test := 1`.
fn targets(text: &str, program: &str, because: &str) -> Vec<Proposal> {
    let has = |target: &&str| {
        text.lines().any(|line| {
            let head = line.trim_start_matches('@').split_once(':');
            head.is_some_and(|(head, rest)| {
                !rest.starts_with('=') && head.split_whitespace().next() == Some(*target)
            }) && !line.starts_with(char::is_whitespace)
        })
    };
    let found = TARGETS.into_iter().filter(has);
    found
        .map(|target| proposal(target, &format!("{program} {target}"), because))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn runs(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a scratch directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, text).expect("a file");
        }
        let found = found(dir.path()).expect("readable");
        let runs = found.main.into_iter().map(|proposal| proposal.run);
        runs.collect()
    }

    #[test]
    fn a_script_that_cannot_fail_is_not_proposed() {
        let scripts = r#"{"scripts": {"lint": "eslint . || true", "test": "vitest run"}}"#;
        assert_eq!(runs(&[("package.json", scripts)]), ["npm run test"]);
    }

    #[test]
    fn each_kind_of_project_has_its_commands() {
        let scripts = r#"{"scripts": {"lint": "eslint .", "test": "vitest run", "dev": "vite"}}"#;
        let unset = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1", "build": "tsc"}}"#;
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 21] = [
            (&[], &[]),
            (&[("Cargo.toml", "[package]\n")], &["cargo test"]),
            (
                &[("Cargo.toml", "[workspace]\n")],
                &["cargo test --workspace"],
            ),
            (
                &[("package.json", scripts)],
                &["npm run lint", "npm run test"],
            ),
            (
                &[("package.json", scripts), ("pnpm-lock.yaml", "")],
                &["pnpm run lint", "pnpm run test"],
            ),
            (
                &[("package.json", scripts), ("yarn.lock", "")],
                &["yarn run lint", "yarn run test"],
            ),
            (&[("package.json", unset)], &["npm run build"]),
            (&[("package.json", "{")], &[]),
            (
                &[(
                    "package.json",
                    r#"{"packageManager": "pnpm@9.1.0", "scripts": {"test": "x"}}"#,
                )],
                &["pnpm run test"],
            ),
            (
                &[("pyproject.toml", "[tool.pytest.ini_options]\n")],
                &["python3 -m pytest"],
            ),
            (
                &[("tests/conftest.py", ""), ("uv.lock", "")],
                &["uv run pytest"],
            ),
            (&[("pyproject.toml", "[project]\n")], &[]),
            (
                &[("requirements.txt", "flask\npytest==8\n")],
                &[".venv/bin/python -m pytest"],
            ),
            (
                &[
                    (
                        "pyproject.toml",
                        "[tool.poetry.group.dev.dependencies]\npytest = \"8\"\n",
                    ),
                    ("poetry.lock", ""),
                ],
                &["poetry run pytest"],
            ),
            (&[(".rspec", "")], &["bundle exec rspec"]),
            (&[("mvnw", "")], &["./mvnw --batch-mode verify"]),
            (&[("go.mod", "module a\n")], &["go test -v ./..."]),
            (
                &[("Makefile", "CC := cc\ntest: all\n\tsh t.sh\n")],
                &["make test"],
            ),
            (&[("justfile", "test := 'a'\n")], &[]),
            (&[("justfile", "@test filter='':\n  x\n")], &["just test"]),
            (
                &[("justfile", "check:\n  x\ntest:\n  y\n")],
                &["just check", "just test"],
            ),
        ];
        for (files, expected) in cases {
            assert_eq!(runs(files), expected, "{files:?}");
        }
    }

    #[test]
    fn make_stands_beside_what_the_language_has() {
        let files = [
            ("Cargo.toml", "[package]\n"),
            ("Makefile", "test:\n\tcargo test\n"),
        ];
        assert_eq!(runs(&files), ["cargo test"]);
    }

    #[test]
    fn two_languages_have_two_names() {
        let mut proposals = [
            proposal("test", "cargo test", "Cargo.toml"),
            proposal("test", "go test ./...", "go.mod"),
        ];
        name_apart(&mut proposals);
        assert_eq!(proposals[1].name, "go test ./...");
    }
}

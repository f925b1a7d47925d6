//! Which files of the repository commands run: the scripts of gates, what these scripts run in turn, and the
//! configuration that is handed to them by name.
//!
//! Read from the texts as a person would, without being a shell: a word in the place of a command, or of the script of
//! an interpreter. What a script makes up while it runs is not seen.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// How far scripts are followed into scripts.
const DEPTH_MAX: usize = 5;

/// Most files that are followed; one gate does not have more.
const FILES_MAX: usize = 200;

/// Programs whose first argument that is no option is the script they run.
const INTERPRETERS: [&str; 24] = [
    "sh", "bash", "dash", "zsh", "ksh", "fish", ".", "source", "python", "python3", "python2",
    "node", "nodejs", "deno", "bun", "tsx", "ts-node", "ruby", "perl", "php", "lua", "pwsh",
    "Rscript", "bats",
];

/// Programs that run the rest of their words.
const PREFIXES: [&str; 18] = [
    "env", "exec", "time", "nice", "ionice", "command", "sudo", "xargs", "nohup", "setsid",
    "stdbuf", "if", "then", "else", "do", "while", "until", "!",
];

/// Programs whose `-c` or `-f` names a file by which they work.
const CONFIGURED: [&str; 20] = [
    "make",
    "gmake",
    "just",
    "task",
    "pytest",
    "py.test",
    "jest",
    "vitest",
    "playwright",
    "eslint",
    "mypy",
    "ruff",
    "tox",
    "nox",
    "ninja",
    "rake",
    "docker",
    "docker-compose",
    "mocha",
    "tsc",
];

/// Programs that run the scripts of `package.json` by name.
const PACKAGE_MANAGERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];

/// Gives the content of a file of the tree whose scripts count.
pub type ReadFile<'a, E> = dyn Fn(&Path) -> Result<Option<Vec<u8>>, E> + 'a;

/// What is run, and who runs it.
pub type RunBy = BTreeMap<PathBuf, String>;

/// The files that the commands, given as (how people call it, text), run.
///
/// # Errors
/// Those of reading.
pub fn run_by<E>(commands: &[(String, String)], read: &ReadFile<'_, E>) -> Result<RunBy, E> {
    let mut found = RunBy::new();
    let mut open: Vec<(String, Text, usize)> = commands
        .iter()
        .map(|(by, text)| (by.clone(), Text::of_command(text), 0))
        .collect();
    while let Some((by, text, depth)) = open.pop() {
        for path in text.files() {
            if found.len() >= FILES_MAX || found.contains_key(&path) {
                continue;
            }
            let Some(bytes) = read(&path)? else { continue };
            found.insert(path.clone(), by.clone());
            if depth < DEPTH_MAX
                && let Some(script) = Text::of_script(&path, &bytes)
            {
                open.push((format!("`{}`", path.display()), script, depth + 1));
            }
        }
        for (directory, script) in text.package_scripts() {
            let manifest = directory.join("package.json");
            if depth >= DEPTH_MAX {
                continue;
            }
            let Some(bytes) = read(&manifest)? else {
                continue;
            };
            for text in scripts_of(&bytes, &script) {
                let by = format!("the script `{script}` of `{}`", manifest.display());
                let text = Text {
                    directory: directory.clone(),
                    ..Text::of_command(&text)
                };
                open.push((by, text, depth + 1));
            }
        }
        if depth < DEPTH_MAX
            && let Some(bytes) = text.makefile(read)?
        {
            open.push((
                "the Makefile".to_owned(),
                Text::of_command(&recipes(&bytes)),
                depth + 1,
            ));
        }
    }
    Ok(found)
}

/// A text in the language of shells.
struct Text {
    text: String,
    /// Where it runs, from the top of the repository.
    directory: PathBuf,
    /// Where the script lies whose text it is.
    beside: Option<PathBuf>,
}

impl Text {
    fn of_command(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            directory: PathBuf::new(),
            beside: None,
        }
    }

    /// The text of a file, if it is a shell script.
    fn of_script(path: &Path, bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let is_named = path.extension().is_none_or(|ext| {
            ext.to_str()
                .is_some_and(|e| matches!(e, "sh" | "bash" | "zsh" | "ksh"))
        });
        let first = text.lines().next().unwrap_or_default();
        let is_shell = match first.strip_prefix("#!") {
            Some(program) => program.contains("sh"),
            None => is_named && !text.contains('\0'),
        };
        is_shell.then(|| Self {
            text: text.into_owned(),
            directory: PathBuf::new(),
            beside: path.parent().map(Path::to_owned),
        })
    }

    /// The commands of the text, each as its words, with the directory they run in.
    fn commands(&self) -> Vec<(PathBuf, Vec<String>)> {
        let mut commands = Vec::new();
        let mut directory = self.directory.clone();
        for part in self
            .text
            .split([';', '|', '&', '\n', '(', ')', '{', '}', '`'])
        {
            let words: Vec<String> = part
                .split_whitespace()
                .take_while(|word| !word.starts_with('#'))
                .map(|word| word.replace(['"', '\''], ""))
                .filter(|word| !word.is_empty())
                .collect();
            let words = command_of(words);
            if let [cd, to, ..] = words.as_slice()
                && cd == "cd"
            {
                directory = directory.join(to);
            } else if !words.is_empty() {
                commands.push((directory.clone(), words));
            }
        }
        commands
    }

    /// Files that it runs or hands over as configuration, as far as its words tell.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for (directory, words) in self.commands() {
            for word in run_words(&words) {
                files.extend(self.places(&directory, word));
            }
        }
        files
    }

    /// Where a word may lie: from where the text runs, and from where its file lies.
    fn places(&self, directory: &Path, word: &str) -> Vec<PathBuf> {
        let (word, is_made_up) = match word.rfind('$') {
            // `$here/lib.sh`, `${0%/*}/lib.sh`: beside the script, most likely.
            Some(at) => match word[at..].find('/') {
                Some(slash) => (&word[at + slash + 1..], true),
                None => return Vec::new(),
            },
            None => (word, false),
        };
        let mut starts = vec![directory.to_owned(), PathBuf::new()];
        if is_made_up {
            starts.extend(self.beside.clone());
        }
        let mut places: Vec<PathBuf> = starts
            .iter()
            .filter_map(|start| plain(&start.join(word)))
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        places.dedup();
        places
    }

    /// The scripts of `package.json` that it runs, with the manifest's directory.
    fn package_scripts(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        for (directory, words) in self.commands() {
            let Some((program, rest)) = words.split_first() else {
                continue;
            };
            if !PACKAGE_MANAGERS.contains(&program.as_str()) {
                continue;
            }
            let mut rest = rest.iter().filter(|word| !word.starts_with('-'));
            let script = rest.find(|word| !matches!(word.as_str(), "run" | "run-script"));
            let script = script.map(|word| if word == "t" { "test" } else { word.as_str() });
            if let (Some(directory), Some(script)) = (plain(&directory), script) {
                found.push((directory, script.to_owned()));
            }
        }
        found
    }

    /// The Makefile of the top directory, if it runs `make`.
    fn makefile<E>(&self, read: &ReadFile<'_, E>) -> Result<Option<Vec<u8>>, E> {
        let makes = |(_, words): &(PathBuf, Vec<String>)| {
            words
                .first()
                .is_some_and(|word| matches!(word.as_str(), "make" | "gmake"))
        };
        if self.commands().iter().any(makes) {
            for name in ["GNUmakefile", "makefile", "Makefile"] {
                if let Some(bytes) = read(Path::new(name))? {
                    return Ok(Some(bytes));
                }
            }
        }
        Ok(None)
    }
}

/// The words from the command on: without assignments and what only runs the rest.
fn command_of(mut words: Vec<String>) -> Vec<String> {
    let is_assignment = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    loop {
        match words.first().map(String::as_str) {
            Some(word) if is_assignment(word) || PREFIXES.contains(&word) => drop(words.remove(0)),
            // Its options, and its times.
            Some("timeout") => {
                let is_own =
                    |word: &String| word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
                let own = words.iter().skip(1).take_while(|word| is_own(word)).count();
                words.drain(..=own);
            }
            _ => return words,
        }
    }
}

/// The words of a command that name what is run, or by what it works.
fn run_words(words: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    let Some((program, rest)) = words.split_first() else {
        return found;
    };
    let base = program.rsplit('/').next().unwrap_or(program);
    if program.contains('/') {
        found.push(program.as_str());
    }
    let is_interpreter = INTERPRETERS.contains(&base);
    // `python -m pytest`, `sh -c '...'`: what follows is no file.
    let takes_text = rest
        .iter()
        .any(|word| matches!(word.as_str(), "-m" | "-c" | "-e"));
    if is_interpreter && !takes_text {
        let script = rest
            .iter()
            .find(|word| !word.starts_with('-') && *word != "run");
        found.extend(script.map(String::as_str));
    }
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let is_short = matches!(word.as_str(), "-c" | "-f") && CONFIGURED.contains(&base);
        let is_long = matches!(
            word.as_str(),
            "--config"
                | "--config-file"
                | "--configfile"
                | "--rcfile"
                | "--makefile"
                | "--justfile"
                | "--require"
        );
        if is_short || is_long {
            found.extend(words.next().map(String::as_str));
        } else if let Some((option, value)) = word.split_once('=')
            && (option.starts_with("--config") || matches!(option, "--rcfile" | "--require"))
        {
            found.push(value);
        }
    }
    found
}

/// The texts of a script of `package.json`, with those around it.
fn scripts_of(manifest: &[u8], script: &str) -> Vec<String> {
    let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(manifest) else {
        return Vec::new();
    };
    [
        script.to_owned(),
        format!("pre{script}"),
        format!("post{script}"),
    ]
    .iter()
    .filter_map(|name| Some(manifest.get("scripts")?.get(name)?.as_str()?.to_owned()))
    .collect()
}

/// The lines of a Makefile that a shell runs.
fn recipes(makefile: &[u8]) -> String {
    let text = String::from_utf8_lossy(makefile);
    let recipes = text.lines().filter_map(|line| line.strip_prefix('\t'));
    recipes
        .map(|line| line.trim_start_matches(['@', '-', '+']))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A path from the top of the repository, without `.` and `..`; none if it leads out.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
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
            ("python -m pytest tests/test_a.py", vec![]),
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
    }
}

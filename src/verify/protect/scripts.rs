//! Which files of the repository commands run: the scripts of gates, what these scripts run in turn, and the
//! configuration that is handed to them by name.
//!
//! Read from the texts as a person would, without being a shell: a word in the place of a command, or of the script of
//! an interpreter. What a script makes up while it runs is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::recipes;

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

/// Shells, which take a text with `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "fish"];

/// Programs that run what files of these names say, in the directory where they are called.
const BY_NAME: [(&str, &[&str]); 4] = [
    ("docker", &COMPOSE),
    ("docker-compose", &COMPOSE),
    ("podman", &COMPOSE),
    ("tox", &["tox.ini"]),
];

const COMPOSE: [&str; 7] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
    "Dockerfile",
];

/// Programs that run recipes by name, and where these stand.
const RECIPES: [(&str, &[&str]); 4] = [
    ("make", &["GNUmakefile", "makefile", "Makefile"]),
    ("gmake", &["GNUmakefile", "makefile", "Makefile"]),
    ("bmake", &["makefile", "Makefile"]),
    ("just", &["justfile", "Justfile", ".justfile"]),
];

/// Variables of which programs make what they run, or by what they work.
const TELLING: [&str; 8] = [
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "PYTEST_ADDOPTS",
    "PYTHONSTARTUP",
    "RUBYOPT",
    "PERL5OPT",
    "MAKEFILES",
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

/// Options behind which a file stands that is run, or says how.
const HANDED: [&str; 15] = [
    "--config",
    "--config-file",
    "--configfile",
    "--rcfile",
    "--makefile",
    "--justfile",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "--test-reporter",
    "--env-file",
    "-exec",
    "-toolexec",
    "-vettool",
];

/// Programs that run the scripts of `package.json` by name.
const PACKAGE_MANAGERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];

/// Programs that run several of these scripts.
const SEVERAL: [&str; 4] = ["npm-run-all", "run-s", "run-p", "concurrently"];

/// Their options that name the directory of the manifest.
const ELSEWHERE: [&str; 4] = ["--prefix", "-C", "--cwd", "--dir"];

/// Gives the content of a file of the tree whose scripts count.
pub type ReadFile<'a, E> = dyn Fn(&Path) -> Result<Option<Vec<u8>>, E> + 'a;

/// What is run, and who runs it.
pub type RunBy = BTreeMap<PathBuf, String>;

/// The files that the commands, given as (how people call it, text), run. Those that are named and not there count, too:
/// whoever adds one says what is run.
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
        for places in text.files() {
            let mut is_there = false;
            for path in &places {
                if found.contains_key(path) {
                    is_there = true;
                    continue;
                }
                if found.len() >= FILES_MAX {
                    continue;
                }
                let Some(bytes) = read(path)? else { continue };
                is_there = true;
                found.insert(path.clone(), by.clone());
                if depth < DEPTH_MAX
                    && let Some(script) = Text::of_script(path, &bytes)
                {
                    open.push((format!("`{}`", path.display()), script, depth + 1));
                }
            }
            if let Some(path) = places
                .first()
                .filter(|_| !is_there && found.len() < FILES_MAX)
            {
                found.entry(path.clone()).or_insert_with(|| by.clone());
            }
        }
        if depth >= DEPTH_MAX {
            continue;
        }
        for (directory, script) in text.package_scripts() {
            let manifest = directory.join("package.json");
            let Some(bytes) = read(&manifest)? else {
                continue;
            };
            for text in scripts_of(&bytes, &script) {
                let by = format!("the script `{script}` of `{}`", manifest.display());
                open.push((by, Text::of_line(&text, &directory), depth + 1));
            }
        }
        for call in text.recipes() {
            for (by, line) in call.lines(read, &mut found)? {
                open.push((by, Text::of_line(&line, &call.directory), depth + 1));
            }
        }
    }
    Ok(found)
}

/// A call of a program that runs recipes.
struct Call {
    directory: PathBuf,
    /// Where the recipes may stand, the first that is there.
    files: Vec<PathBuf>,
    targets: Vec<String>,
}

impl Call {
    fn of(directory: &Path, words: &[String], names: &[&str]) -> Self {
        let mut call = Self {
            directory: directory.to_owned(),
            files: Vec::new(),
            targets: Vec::new(),
        };
        let mut given = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-C" | "--directory" | "-d" | "--working-directory" => {
                    let to = words.next().map_or("", String::as_str);
                    call.directory = call.directory.join(to);
                }
                "-f" | "--file" | "--makefile" | "--justfile" => given = words.next(),
                word if word.starts_with(['-', '>', '<']) || word.contains('=') => {}
                // `-j 4`, `2>&1`
                word if word.starts_with(|c: char| c.is_ascii_digit()) => {}
                word => call.targets.push(word.to_owned()),
            }
        }
        let places = match given {
            Some(file) => vec![call.directory.join(file)],
            None => names.iter().map(|name| call.directory.join(name)).collect(),
        };
        call.files = places.iter().filter_map(|place| plain(place)).collect();
        call
    }

    /// What a shell runs, and by which file. Files that it takes in are found, too.
    fn lines<E>(
        &self,
        read: &ReadFile<'_, E>,
        found: &mut RunBy,
    ) -> Result<Vec<(String, String)>, E> {
        for file in &self.files {
            let Some(bytes) = read(file)? else { continue };
            let by = match file.file_name().and_then(|name| name.to_str()) {
                Some("GNUmakefile" | "makefile" | "Makefile") => "the Makefile".to_owned(),
                _ => format!("`{}`", file.display()),
            };
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            let mut at = 0;
            let mut seen = BTreeSet::from([file.clone()]);
            // What is taken in may take in more; each is looked at once.
            loop {
                let names = recipes::included(&text[at..]);
                at = text.len();
                for name in names {
                    let beside = file.parent().unwrap_or(Path::new(""));
                    let Some(path) = plain(&beside.join(&name)).filter(|_| !name.contains('$'))
                    else {
                        continue;
                    };
                    if seen.len() >= FILES_MAX || !seen.insert(path.clone()) {
                        continue;
                    }
                    if let Some(bytes) = read(&path)? {
                        text.push('\n');
                        text.push_str(&String::from_utf8_lossy(&bytes));
                    }
                    found.entry(path).or_insert_with(|| by.clone());
                }
                if at == text.len() {
                    break;
                }
            }
            let lines = recipes::lines(&text, &self.targets);
            return Ok(lines.into_iter().map(|line| (by.clone(), line)).collect());
        }
        Ok(Vec::new())
    }
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

    fn of_line(text: &str, directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ..Self::of_command(text)
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

    /// The commands of the text, each as its words, with the directory they run in. What is left running beside the
    /// others judges nothing, unless it is waited for: it is what the others look at.
    fn commands(&self) -> Vec<(PathBuf, Vec<String>)> {
        let mut commands = Vec::new();
        let mut directory = self.directory.clone();
        let waits = self.text.split_whitespace().any(|word| word == "wait");
        for (part, is_left) in parts(&self.text) {
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
            } else if !words.is_empty() && (waits || !is_left) {
                commands.push((directory.clone(), words));
            }
        }
        commands
    }

    /// Files that it runs or hands over as configuration, as far as its words tell: of each the places where it may be.
    fn files(&self) -> Vec<Vec<PathBuf>> {
        let mut files = Vec::new();
        for (directory, words) in self.commands() {
            for word in run_words(&words) {
                files.push(self.places(&directory, &word));
            }
            let program = words.first().map_or("", |word| base_of(word));
            let by_name = BY_NAME.iter().filter(|(name, _)| *name == program);
            for name in by_name.flat_map(|(_, names)| *names) {
                files.push(self.places(&directory, name));
            }
        }
        files.extend(self.set_files());
        files
    }

    /// Files in variables that say what programs run.
    fn set_files(&self) -> Vec<Vec<PathBuf>> {
        let mut files = Vec::new();
        for word in self.text.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let name = name.trim_start_matches(['"', '\'']);
            if TELLING.contains(&name)
                || name.ends_with("_CONFIG")
                || name.ends_with("_CONFIG_FILE")
            {
                let values = value
                    .split(['=', ',', ':'])
                    .map(|value| value.replace(['"', '\''], ""));
                let values = values.filter(|value| value.contains(['/', '.']));
                files.extend(values.map(|value| self.places(&self.directory, &value)));
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
            let Some(script) = script_called(program, rest) else {
                continue;
            };
            let directory = match rest
                .iter()
                .position(|word| ELSEWHERE.contains(&word.as_str()))
            {
                Some(at) => directory.join(rest.get(at + 1).map_or("", String::as_str)),
                None => directory,
            };
            if let Some(directory) = plain(&directory) {
                found.extend(script.into_iter().map(|script| (directory.clone(), script)));
            }
        }
        found
    }

    /// Its calls of programs that run recipes.
    fn recipes(&self) -> Vec<Call> {
        let called = |(directory, words): (PathBuf, Vec<String>)| {
            let (program, rest) = words.split_first()?;
            let (_, names) = RECIPES.iter().find(|(name, _)| *name == base_of(program))?;
            Some(Call::of(&directory, rest, names))
        };
        self.commands().into_iter().filter_map(called).collect()
    }
}

/// The scripts that a package manager, or a program that runs several of them, is called for.
fn script_called(program: &str, rest: &[String]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        if ELSEWHERE.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') && !matches!(word.as_str(), "run" | "run-script") {
            names.push(word.strip_prefix("npm:").unwrap_or(word).to_owned());
        }
    }
    if SEVERAL.contains(&program) {
        return Some(names);
    }
    let first = names.into_iter().next();
    let name = |name: String| if name == "t" { "test".to_owned() } else { name };
    PACKAGE_MANAGERS
        .contains(&program)
        .then(|| first.map(name).into_iter().collect())
}

/// A text at the joints of shells, each part with whether it is left running.
fn parts(text: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, found) in text.match_indices([';', '|', '&', '\n', '(', ')', '{', '}', '`']) {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let is_redirection = found == "&" && (before.ends_with('>') || after.starts_with('>'));
        if is_redirection {
            continue;
        }
        let is_left = found == "&" && !before.ends_with('&') && !after.starts_with('&');
        parts.push((&text[begin..at], is_left));
        begin = at + 1;
    }
    parts.push((&text[begin..], false));
    parts
}

fn base_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
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
fn run_words(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let Some((program, rest)) = words.split_first() else {
        return found;
    };
    let base = base_of(program);
    if program.contains('/') {
        found.push(program.clone());
    }
    let text_of =
        |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    if SHELLS.contains(&base)
        && let Some(at) = rest.iter().position(text_of)
    {
        found.extend(run_words(&command_of(rest[at + 1..].to_vec())));
        return found;
    }
    let module = rest.iter().position(|word| word == "-m");
    if base.starts_with("python")
        && let Some(module) = module.and_then(|at| rest.get(at + 1))
    {
        let path = module.replace('.', "/");
        found.extend([format!("{path}.py"), format!("{path}/__main__.py")]);
    }
    // `python -m pytest`, `perl -e '...'`: what follows is no file.
    let takes_text = rest
        .iter()
        .any(|word| matches!(word.as_str(), "-m" | "-c" | "-e"));
    if INTERPRETERS.contains(&base) && !takes_text {
        let script = rest
            .iter()
            .find(|word| !word.starts_with('-') && *word != "run");
        found.extend(script.cloned());
    }
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let is_short = matches!(word.as_str(), "-c" | "-f") && CONFIGURED.contains(&base)
            || word == "-r" && base.starts_with("node");
        if is_short || HANDED.contains(&word.as_str()) {
            found.extend(words.next().cloned());
        } else if let Some((option, value)) = word.split_once('=')
            && (option.starts_with("--config") || HANDED.contains(&option))
        {
            found.push(value.to_owned());
        }
    }
    found.retain(|word| !word.is_empty());
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
mod tests;

//! Where dependencies come from. A task may add one, or ask for another version; that one which is there comes from
//! elsewhere (a directory of the repository, somebody's fork, another name) can put anything in the place of the library
//! that runs the tests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::keys::values;

/// Dependencies by name, each with the places that it comes from; the registry is the empty text.
type Origins = BTreeMap<String, BTreeSet<String>>;

/// Tables of dependencies in `package.json`.
const OF_PACKAGE: [&str; 4] = [
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
];

/// In `Cargo.toml`.
const OF_CARGO: [&str; 7] = [
    "dependencies",
    "dev-dependencies",
    "build-dependencies",
    "workspace/dependencies",
    "target/*/dependencies",
    "target/*/dev-dependencies",
    "target/*/build-dependencies",
];

/// In `pyproject.toml`.
const OF_PYPROJECT: [&str; 4] = [
    "tool/poetry/dependencies",
    "tool/poetry/dev-dependencies",
    "tool/poetry/group/*/dependencies",
    "tool/uv/sources",
];

/// Lists of requirements in `pyproject.toml`.
const OF_PROJECT: [&str; 5] = [
    "project/dependencies",
    "project/optional-dependencies/*",
    "dependency-groups/*",
    "tool/uv/dev-dependencies",
    "tool/pdm/dev-dependencies/*",
];

/// Keys of a dependency that say where it comes from.
const PLACES: [&str; 9] = [
    "path",
    "git",
    "url",
    "file",
    "registry",
    "registry-index",
    "package",
    "source",
    "index",
];

/// Options of pip that say where packages come from, or what holds for all of them.
const PIP_OPTIONS: [&str; 9] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--no-index",
    "--trusted-host",
    "-c",
    "--constraint",
];

/// The dependency of a manifest, as data, that was there and comes from elsewhere now.
pub(super) fn moved(name: &str, before: &Value, after: &Value) -> Option<String> {
    let (tables, lists): (&[&str], &[&str]) = match name {
        "package.json" => (&OF_PACKAGE, &[]),
        "deno.json" => (&["imports"], &[]),
        "Cargo.toml" => (&OF_CARGO, &[]),
        "pyproject.toml" => (&OF_PYPROJECT, &OF_PROJECT),
        _ => return None,
    };
    let origins = |manifest: &Value| -> Origins {
        let mut origins = Origins::new();
        for entry in tables.iter().flat_map(|path| values(manifest, path)) {
            for (name, value) in entry.as_object().into_iter().flatten() {
                origins.entry(plain(name)).or_default().insert(of(value));
            }
        }
        for entry in lists.iter().flat_map(|path| values(manifest, path)) {
            for text in entry
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if let Some((name, origin)) = requirement(text) {
                    origins.entry(name).or_default().insert(origin);
                }
            }
        }
        origins
    };
    elsewhere(&origins(before), &origins(after))
}

/// Whether a list of requirements, or a `go.mod`, is changed in where its dependencies come from. None if it is neither.
pub(super) fn changed(name: &str, base: Option<&[u8]>, new: Option<&[u8]>) -> Option<String> {
    let is_pip = name.ends_with(".txt")
        && ["requirements", "constraints"]
            .iter()
            .any(|word| name.contains(word));
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (base, new) = (text(base), text(new));
    match name {
        "go.mod" => go(&base, &new),
        _ if is_pip => pip(&base, &new),
        _ => None,
    }
}

/// One that was there and comes from a place now where it did not.
fn elsewhere(before: &Origins, after: &Origins) -> Option<String> {
    let moved = after.iter().find(|(name, now)| {
        let was = before.get(*name);
        was.is_some_and(|was| {
            now.iter()
                .any(|place| !place.is_empty() && !was.contains(place))
        })
    });
    moved.map(|(name, _)| format!("where `{name}` comes from"))
}

/// Where a dependency comes from, whatever its version.
fn of(value: &Value) -> String {
    match value {
        Value::String(text) => origin(text),
        Value::Object(keys) => PLACES
            .iter()
            .filter_map(|key| Some(format!("{key}={};", keys.get(*key)?)))
            .collect(),
        // Poetry and uv have one entry for each system.
        Value::Array(items) => items.iter().map(of).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// Where `^1.2`, `npm:other@1`, `workspace:*`, `file:../a` or `github:a/b#v1` leads.
fn origin(text: &str) -> String {
    let text = text.trim();
    if text.starts_with("catalog:") || !text.contains([':', '/']) {
        return String::new();
    }
    if text.starts_with("workspace:") {
        return "workspace".to_owned();
    }
    let text = text.split('#').next().unwrap_or_default();
    let registry = ["npm:", "jsr:"].iter().any(|kind| text.starts_with(kind));
    match text.rsplit_once('@') {
        Some((name, _)) if registry && !name.ends_with([':', '/']) => name.to_owned(),
        _ => text.to_owned(),
    }
}

/// Name and origin of a requirement as Python writes it: `pytest[x]>=8; python_version > "3"`, `pytest @ file:///a`.
fn requirement(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest.trim_start(),
        None => rest,
    };
    let place = rest.strip_prefix('@').map(|place| {
        let place = place.split(';').next().unwrap_or_default();
        place.trim().to_owned()
    });
    (!name.is_empty()).then(|| (plain(name), place.unwrap_or_default()))
}

/// A name as registries compare it.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

fn pip(base: &str, new: &str) -> Option<String> {
    let read = |text: &str| {
        let mut origins = Origins::new();
        let (mut options, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            let word = line.split([' ', '=']).next().unwrap_or_default();
            match requirement(line) {
                _ if line.is_empty() || line.starts_with('#') => {}
                _ if PIP_OPTIONS.contains(&word) => {
                    options.insert(line.to_owned());
                }
                Some((name, origin)) if !line.starts_with(['.', '-', '/']) && !is_place(line) => {
                    origins.entry(name).or_default().insert(origin);
                }
                _ => {
                    paths.insert(line.to_owned());
                }
            }
        }
        (origins, options, paths)
    };
    let ((had, options, paths), (has, options_now, paths_now)) = (read(base), read(new));
    if options != options_now {
        return Some("where packages come from".to_owned());
    }
    // A place names no package: it may be one that went.
    let gone = had.keys().find(|name| !has.contains_key(*name));
    match gone {
        Some(name) if paths_now.difference(&paths).next().is_some() => {
            Some(format!("where `{name}` comes from"))
        }
        _ => elsewhere(&had, &has),
    }
}

/// Whether a line of requirements is a path or an address in place of a name.
fn is_place(line: &str) -> bool {
    let word = line.split([' ', ';', '@']).next().unwrap_or_default();
    word.contains('/') || word.contains(':') || word.ends_with(".whl")
}

fn go(base: &str, new: &str) -> Option<String> {
    let (had, has) = (directives(base), directives(new));
    let required: BTreeSet<&str> = had
        .iter()
        .filter(|line| line.first().is_some_and(|word| word == "require"))
        .filter_map(|line| line.get(1).map(String::as_str))
        .collect();
    let replaced = |lines: &[Vec<String>]| -> BTreeSet<Vec<String>> {
        let replaces = |line: &&Vec<String>| line.first().is_some_and(|word| word == "replace");
        lines.iter().filter(replaces).cloned().collect()
    };
    let (had, has) = (replaced(&had), replaced(&has));
    let moved = had.symmetric_difference(&has).find(|line| {
        let module = line.get(1).map_or("", String::as_str);
        // What was replaced already, or is required, is a module that the tests may use.
        required.contains(module)
            || had
                .iter()
                .any(|line| line.get(1).is_some_and(|m| m == module))
    })?;
    Some(format!(
        "where `{}` comes from",
        moved.get(1).map_or("", String::as_str)
    ))
}

/// The directives of a `go.mod`, one for each line of a block, without comments.
fn directives(text: &str) -> Vec<Vec<String>> {
    let mut block: Option<String> = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '`']).to_owned())
            .collect();
        match (words.as_slice(), &block) {
            ([], _) => {}
            ([end], Some(_)) if end == ")" => block = None,
            ([name, open], None) if open == "(" => block = Some(name.clone()),
            (words, Some(name)) => {
                found.push(
                    std::iter::once(name.clone())
                        .chain(words.iter().cloned())
                        .collect(),
                );
            }
            (words, None) => found.push(words.to_vec()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_judged(name: &str, base: &str, cases: &[(&str, &str, bool)]) {
        for (from, to, offends) in cases {
            assert!(base.contains(from), "{from}");
            let new = base.replacen(from, to, 1);
            let [was, is] = [base, &new].map(|text| Some(text.as_bytes()));
            let found =
                changed(name, was, is).or_else(|| super::super::manifest::changed(name, was, is));
            assert_eq!(found.is_some(), *offends, "{name}: {new}: {found:?}");
        }
    }

    #[test]
    fn a_package_that_is_there_comes_from_where_it_did() {
        let base = r#"{"dependencies": {"a": "^1", "own": "workspace:*", "fork": "github:x/fork#v1"}, "devDependencies": {"jest": "29"}}"#;
        assert_judged(
            "package.json",
            base,
            &[
                ("\"29\"", "\"30\"", false),
                ("\"29\"", "\"catalog:\"", false),
                ("workspace:*", "workspace:^", false),
                ("#v1", "#v2", false),
                (
                    "\"a\": \"^1\"",
                    "\"a\": \"^1\", \"b\": \"file:../b\"",
                    false,
                ),
                ("\"29\"", "\"file:./fake\"", true),
                ("\"29\"", "\"npm:not-jest@29\"", true),
                ("\"29\"", "\"./fake\"", true),
                ("\"a\": \"^1\"", "\"jest\": \"link:../fake\"", true),
                ("github:x/fork", "github:y/fork", true),
                (
                    "{\"dep",
                    "{\"overrides\": {\"jest\": \"file:x\"}, \"dep",
                    true,
                ),
                ("{\"dep", "{\"resolutions\": {\"jest\": \"1\"}, \"dep", true),
                ("{\"dep", "{\"pnpm\": {\"overrides\": {}}, \"dep", true),
            ],
        );
        assert_judged(
            "deno.json",
            r#"{"imports": {"@std/assert": "jsr:@std/assert@1.0", "chai": "npm:chai@4"}}"#,
            &[
                ("@1.0", "@1.1", false),
                ("chai@4", "chai@5", false),
                ("jsr:@std/assert@1.0", "./fake.ts", true),
                ("npm:chai", "npm:not-chai", true),
            ],
        );
    }

    #[test]
    fn a_crate_that_is_there_comes_from_where_it_did() {
        assert_judged(
            "Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nserde = \"1\"\nown = { path = \"../own\" }\n[dev-dependencies]\nproptest = \"1\"\n",
            &[
                (
                    "serde = \"1\"",
                    "serde = { version = \"2\", features = [\"derive\"] }",
                    false,
                ),
                (
                    "serde = \"1\"",
                    "serde.workspace = true\nnew = { path = \"../new\" }",
                    false,
                ),
                ("{ path = \"../own\" }", "{ workspace = true }", false),
                ("proptest = \"1\"", "proptest = { path = \"fake\" }", true),
                (
                    "proptest = \"1\"",
                    "proptest = { package = \"none\", version = \"1\" }",
                    true,
                ),
                ("../own", "../other", true),
                (
                    "[package]",
                    "[patch.crates-io]\nproptest = { path = \"fake\" }\n[package]",
                    true,
                ),
            ],
        );
    }

    #[test]
    fn a_python_package_that_is_there_comes_from_where_it_did() {
        assert_judged(
            "pyproject.toml",
            "[project]\nname = \"a\"\ndependencies = [\"httpx>=0.27\"]\n[dependency-groups]\ndev = [\"pytest[x] >= 8\"]\n[tool.uv]\npackage = true\n",
            &[
                ("httpx>=0.27", "httpx>=0.28\", \"new @ file:///new", false),
                (">= 8", ">= 9; python_version > '3.9'", false),
                (
                    "[tool.uv]",
                    "[tool.uv.sources]\nown = { workspace = true }\n[tool.uv]",
                    false,
                ),
                ("pytest[x] >= 8", "pytest @ file:///fake", true),
                (
                    "[tool.uv]",
                    "[tool.uv.sources]\npytest = { path = \"fake\" }\n[tool.uv]",
                    true,
                ),
                (
                    "package = true",
                    "override-dependencies = [\"pytest==1\"]",
                    true,
                ),
                (
                    "package = true",
                    "constraint-dependencies = [\"pytest==1\"]",
                    true,
                ),
                ("package = true", "index-url = \"http://x\"", true),
            ],
        );
        assert_judged(
            "requirements-dev.txt",
            "# all\nhttpx==0.27\npytest[x]>=8  # tests\n-e .\n",
            &[
                ("0.27", "0.28\nmore>=1", false),
                ("httpx==0.27\n", "", false),
                ("-e .", "-e .\n-e ./libs/new", false),
                ("pytest[x]>=8", "pytest @ file:///fake", true),
                ("pytest[x]>=8", "./fake", true),
                ("# all", "--index-url http://x", true),
                ("# all", "-c constraints.txt", true),
            ],
        );
    }

    #[test]
    fn a_module_of_go_that_is_required_is_not_replaced() {
        assert_judged(
            "go.mod",
            "module a\n\ngo 1.22\n\nrequire (\n\tgithub.com/stretchr/testify v1.9.0 // indirect\n)\nrequire own v0.0.0\nreplace own => ../own\n",
            &[
                ("v1.9.0", "v1.10.0\n\tmore v1.0.0", false),
                (
                    "go 1.22",
                    "go 1.23\nrequire new v0.0.0\nreplace new => ../new",
                    false,
                ),
                (
                    "go 1.22",
                    "go 1.22\nreplace (\n\tgithub.com/stretchr/testify => ./fake\n)",
                    true,
                ),
                ("../own", "../other", true),
            ],
        );
    }
}

//! Rust sources as text: which paths they name. A reading of the grammar good enough for formatted code.

use std::collections::BTreeSet;
use std::path::Path;

/// The repository.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One file.
pub(crate) struct Source {
    /// From the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A text file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every Rust file below a directory of the repository, by path.
pub(crate) fn all(below: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(Path::new(ROOT).join(below)).expect("a directory") {
        let entry = entry.expect("an entry");
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources.extend(all(&path));
        } else if path.ends_with(".rs") {
            sources.push(Source {
                text: read(&path),
                path,
            });
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!sources.is_empty() || below != "src", "no sources found");
    sources
}

impl Source {
    /// The top module it belongs to; none for the root of the library.
    pub(crate) fn module(&self) -> Option<String> {
        let path = self.path.strip_prefix("src/")?.trim_end_matches(".rs");
        let module = path.split('/').next()?;
        (module != "lib").then(|| module.to_owned())
    }

    /// How many modules deep its items are: `src/git/slot.rs` is `git::slot`, 2.
    pub(crate) fn depth(&self) -> usize {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        match path {
            "src/lib" | "src/main" => 0,
            _ => path.split('/').count() - 1,
        }
    }

    /// The modules down to its own: `git`, `slot` for `src/git/slot.rs`.
    pub(crate) fn module_path(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let names = path
            .split('/')
            .filter(|name| !matches!(*name, "mod" | "lib"));
        names.map(str::to_owned).collect()
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Without comments.
    pub(crate) fn code(&self) -> String {
        let lines = self.text.lines();
        let code = lines.map(|l| l.split_once("//").map_or(l, |(code, _)| code));
        code.collect::<Vec<_>>().join("\n")
    }

    /// The code without the tests at its end.
    pub(crate) fn outside_tests(&self) -> String {
        let code = self.code();
        match code.split_once("\n#[cfg(test)]\nmod tests {") {
            Some((code, _)) => code.to_owned(),
            None => code,
        }
    }

    /// What follows `root::` anywhere in the code.
    pub(crate) fn paths_below(&self, root: &str) -> BTreeSet<String> {
        paths_below(root, &self.code())
    }
}

/// The identifiers and keywords of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The first names behind `root::`, those of `root::{a::b, c}` included.
pub(crate) fn paths_below(root: &str, code: &str) -> BTreeSet<String> {
    let first = |path: &str| words(path.trim_start()).next().unwrap_or("").to_owned();
    let mut found = BTreeSet::new();
    for (at, matched) in code.match_indices(&format!("{root}::")) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + matched.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(items(group).into_iter().map(first)),
            None => drop(found.insert(first(rest))),
        }
    }
    found.remove("");
    found
}

/// Every path in the code that has more than one name, name by name; those of `a::{b::c, d}` one by one.
pub(crate) fn paths(code: &str) -> Vec<Vec<String>> {
    let is_in_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let name = rest[..at].trim_end_matches(is_in_name).len();
        let (paths, length) = paths_at(&rest[name..]);
        found.extend(paths);
        rest = &rest[(name + length).max(at + 2)..];
    }
    found
}

/// The paths with which a text begins, and how long they are in it.
fn paths_at(text: &str) -> (Vec<Vec<String>>, usize) {
    let name = words(text).next().unwrap_or("");
    let Some(behind) = text[name.len()..].strip_prefix("::") else {
        return (vec![vec![name.to_owned()]], name.len());
    };
    let (tails, length) = match behind.strip_prefix('{') {
        Some(group) => {
            let items = items(group);
            let length = items.iter().map(|item| item.len() + 1).sum::<usize>() + 1;
            let tails = items.iter().flat_map(|item| paths_at(item.trim_start()).0);
            (tails.collect(), length)
        }
        None => paths_at(behind),
    };
    let begun = |tail: Vec<String>| [vec![name.to_owned()], tail].concat();
    let paths = tails.into_iter().map(begun).collect();
    (paths, name.len() + 2 + length)
}

/// The items of a `{...}` group, from behind its opening brace.
fn items(group: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let code = "use crate::{ids::{RunId, TaskId},\n    time,\n};\nfn f() -> crate::git::Repo { my_crate::not() }";
    let found = paths_below("crate", code);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["git", "ids", "time"]
    );
}

#[test]
fn paths_are_taken_apart() {
    let code = "use crate::{ids::{RunId, TaskId}, time};\nfn f() -> super::Repo { g(self::h::<u8>(), time) }";
    let found: Vec<String> = paths(code).iter().map(|path| path.join(" ")).collect();
    let named = [
        "crate ids RunId",
        "crate ids TaskId",
        "crate time",
        "super Repo",
        "self h ",
    ];
    assert_eq!(found, named);
}

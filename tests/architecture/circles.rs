//! Files that import one another in a circle: none of them can be understood, tried or moved without the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::nothing;
use crate::source::{self, Source};

/// Files by the modules that they hold.
type Files = BTreeMap<Vec<String>, String>;

/// The files that a file imports. Those of the modules around it do not count: a part may speak of its whole.
fn imports(source: &Source, files: &Files) -> BTreeSet<String> {
    let own = source.module_path();
    let file_of = |path: Vec<String>| {
        let mut whole = own.clone();
        for name in path {
            match name.as_str() {
                "crate" => whole.clear(),
                "super" => drop(whole.pop()),
                "self" => {}
                _ => whole.push(name),
            }
        }
        let mut modules = (1..=whole.len()).rev().map(|n| &whole[..n]);
        let (module, file) = modules.find_map(|module| files.get_key_value(module))?;
        (!own.starts_with(module)).then(|| file.clone())
    };
    let paths = source::paths(&source.outside_tests());
    paths.into_iter().filter_map(file_of).collect()
}

/// Everything that a file cannot be understood without.
fn reached<'a>(
    file: &'a str,
    imports: &'a BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![file];
    while let Some(file) = waiting.pop() {
        let new = imports[file]
            .iter()
            .filter(|next| reached.insert(next.as_str()));
        waiting.extend(new.map(String::as_str));
    }
    reached
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let sources = source::all("src").into_iter().filter(|s| !s.is_test());
    let sources: Vec<Source> = sources.collect();
    let of = |s: &Source| (s.module_path(), s.path.clone());
    let files: Files = sources.iter().map(of).collect();
    let of = |s: &Source| (s.path.clone(), imports(s, &files));
    let all: BTreeMap<String, BTreeSet<String>> = sources.iter().map(of).collect();
    let mut wrong = Vec::new();
    for (file, imported) in &all {
        let back = imported
            .iter()
            .filter(|next| reached(next, &all).contains(file.as_str()));
        wrong.extend(back.map(|next| format!("{file} imports {next}")));
    }
    nothing(wrong);
}

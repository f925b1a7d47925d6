//! What a candidate must not change unless a person allows it: whatever decides which tests run and how, what agents and
//! orch are told, and tests themselves, by being taken away or emptied.
//!
//! Judged on the real difference between two trees: both sides of renames, modes, symbolic links on either side, and
//! submodules. Names are compared as a file system does that tells no case apart and overlooks invisible characters:
//! there such a file would be run all the same.

mod build_files;
mod defaults;
mod hidden;
mod keys;
mod links;
mod lost;
mod manifest;
mod recipes;
pub mod scripts;
mod setups;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::scope::BadGlob;
use crate::engine::scope::Rules;
use crate::plan::checks::Allowed;
use defaults::{ALWAYS, Group, IN_ANY_PLACE, NO_TESTS, TESTS, WITH_GATES};
pub use links::followed;
use links::{LINKS_DEEP, leads_out, resolved};

/// A protected path that a candidate changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Which.
    pub path: PathBuf,
    /// What it is, to follow the path in a sentence.
    pub why: String,
    /// Whether a person's text allows it.
    pub allowed: bool,
}

/// What stands at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Whether it can be run.
        executable: bool,
    },
    /// A symbolic link, to this text.
    Link(Vec<u8>),
    /// A commit of another repository.
    Submodule,
    /// A directory.
    Directory,
}

/// Something that differs between two trees: where it was, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// In the base; none if it is new.
    pub from: Option<PathBuf>,
    /// In the candidate; none if it is gone.
    pub to: Option<PathBuf>,
}

/// Two trees that can be looked into. Errors are those of whoever reads them.
#[expect(missing_debug_implementations, reason = "closures have none")]
pub struct Trees<'a, E> {
    /// What stands at a path of the base.
    pub base: &'a dyn Fn(&Path) -> Result<Option<Entry>, E>,
    /// And of the candidate.
    pub new: &'a dyn Fn(&Path) -> Result<Option<Entry>, E>,
    /// The paths of all files of the base.
    pub files: &'a dyn Fn() -> Result<Vec<PathBuf>, E>,
    /// The symbolic links of both, with what they say.
    pub links: &'a BTreeMap<PathBuf, Vec<u8>>,
}

/// The rules of a task.
#[derive(Debug)]
pub struct Protection {
    own: GlobSet,
    always: Vec<(GlobSet, &'static str)>,
    gates: Option<Vec<(GlobSet, &'static str)>>,
    any_place: Vec<(GlobSet, &'static str)>,
    run: BTreeMap<String, String>,
    tests: GlobSet,
    no_tests: GlobSet,
    unprotected: GlobSet,
    allowed: Permit,
}

#[derive(Debug)]
enum Permit {
    All,
    Globs(GlobSet),
}

/// A changed path under the names that it has: its own, and those that links give it.
struct Names {
    own: String,
    behind: Vec<(String, PathBuf)>,
}

impl Protection {
    /// The rules that texts of people make.
    ///
    /// # Errors
    /// The first glob that cannot be read.
    pub fn new(rules: &Rules) -> Result<Self, BadGlob> {
        let groups = |groups: &[Group]| -> Result<Vec<_>, BadGlob> {
            let set = |group: &Group| Ok((exact(group.patterns)?, group.why));
            groups.iter().map(set).collect()
        };
        let texts = |list: &[String]| globs(list.iter().map(String::as_str));
        Ok(Self {
            own: texts(&rules.protect)?,
            always: groups(ALWAYS)?,
            gates: rules.gated.then(|| groups(WITH_GATES)).transpose()?,
            any_place: groups(IN_ANY_PLACE)?,
            run: rules
                .run
                .iter()
                .map(|(path, by)| (fold(path), by.clone()))
                .collect(),
            tests: exact(TESTS)?,
            no_tests: exact(NO_TESTS)?,
            unprotected: texts(&rules.unprotect)?,
            allowed: match &rules.allow_protected {
                Allowed::None => Permit::Globs(GlobSet::empty()),
                Allowed::Globs(list) => Permit::Globs(texts(list)?),
                Allowed::All => Permit::All,
            },
        })
    }

    /// Whether a path is one of tests.
    pub fn is_test(&self, path: &Path) -> bool {
        let name = fold(&path.to_string_lossy());
        self.tests.is_match(&name) && !self.no_tests.is_match(&name)
    }

    /// Whether a person allows that a protected path changes.
    pub fn allows(&self, path: &Path) -> bool {
        match &self.allowed {
            Permit::All => true,
            Permit::Globs(globs) => globs.is_match(fold(&path.to_string_lossy())),
        }
    }

    /// Whether a path is protected by its name alone, whatever changes in it; for telling people beforehand.
    pub fn by_name(&self, path: &Path) -> Option<String> {
        let names = Names {
            own: fold(&path.to_string_lossy()),
            behind: Vec::new(),
        };
        let own = self.own.is_match(&names.own);
        own.then(|| "is protected by `protect`".to_owned())
            .or_else(|| self.told(&names))
            .or_else(|| self.gate_file(&names))
            .filter(|_| !self.allows(path))
    }

    /// The protected paths among what differs, and whether a person allows each.
    ///
    /// # Errors
    /// Those of reading.
    pub fn touched<E>(&self, changes: &[Moved], trees: &Trees<'_, E>) -> Result<Vec<Touched>, E> {
        let paths: BTreeSet<&Path> = changes
            .iter()
            .flat_map(|change| change.from.iter().chain(&change.to))
            .map(PathBuf::as_path)
            .collect();
        let mut touched: BTreeMap<PathBuf, String> = BTreeMap::new();
        for path in paths {
            if let Some(why) = self.why(path, trees)? {
                touched.insert(path.to_owned(), why);
            }
        }
        if self.gates.is_some() {
            for (path, why) in self.lost_tests(changes, trees)? {
                touched.entry(path).or_insert(why);
            }
            for path in self.ending_early(changes, trees)? {
                let why = "is a test that ends its program well before the others are through";
                touched.entry(path).or_insert_with(|| why.to_owned());
            }
        }
        let told = touched.into_iter().map(|(path, why)| Touched {
            allowed: self.allows(&path),
            path,
            why,
        });
        Ok(told.collect())
    }

    fn why<E>(&self, path: &Path, trees: &Trees<'_, E>) -> Result<Option<String>, E> {
        let names = Names::of(path, trees.links);
        if names.any(|name| self.own.is_match(name)).is_some() {
            return Ok(Some("is protected by `protect`".to_owned()));
        }
        if self.unprotected.is_match(&names.own) {
            return Ok(None);
        }
        let (base, new) = ((trees.base)(path)?, (trees.new)(path)?);
        if base == Some(Entry::Submodule) || new == Some(Entry::Submodule) {
            return Ok(Some("is a submodule".to_owned()));
        }
        if let Some(Entry::Link(target)) = &new
            && leads_out(path, target)
        {
            return Ok(Some(
                "is a link that leads out of the repository".to_owned(),
            ));
        }
        if path.components().any(is_git_elsewhere) {
            return Ok(Some(
                "is git's own directory on some file systems".to_owned(),
            ));
        }
        if let Some(why) = self.told(&names) {
            return Ok(Some(why));
        }
        if is_plan(path, bytes(base.as_ref())) {
            return Ok(Some("is a plan".to_owned()));
        }
        if self.gates.is_none() {
            return Ok(None);
        }
        let found = |names: &Names| {
            self.any_place.iter().find_map(|(globs, why)| {
                let name = names.any(|name| globs.is_match(name))?;
                Some(names.said(name, why))
            })
        };
        if let Some(why) = found(&names) {
            return Ok(Some(why));
        }
        if base.is_none() && hooks_into_tests(path, bytes(new.as_ref())) {
            return Ok(Some("changes how all tests are run".to_owned()));
        }
        // What lies in a directory that was not there decides about nothing that was.
        let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let in_new_place = match directory {
            Some(dir) => base.is_none() && (trees.base)(dir)?.is_none() && !is_hidden(dir),
            None => false,
        };
        if in_new_place {
            return Ok(names
                .any(|name| self.run.contains_key(name))
                .map(|name| format!("is run by {}", self.run[name])));
        }
        let name = path.file_name().map(|name| fold(&name.to_string_lossy()));
        let name = name.unwrap_or_default();
        let (was, is) = (bytes(base.as_ref()), bytes(new.as_ref()));
        let is_run = names.any(|name| self.run.contains_key(name)).is_some();
        let of_build = build_files::changed(&name, was, is).filter(|_| !is_run);
        if of_build == Some(false) || (!is_run && self.only_grows(&name, was, is, trees)?) {
            return Ok(None);
        }
        if let Some(why) = self.gate_file(&names) {
            return Ok(Some(why));
        }
        if of_build == Some(true) {
            return Ok(Some(
                "is a build file, changed in more than its sources and dependencies".to_owned(),
            ));
        }
        if name == ".gitignore"
            && let Some(test) = hidden::tests(path, [was, is], &self.tests_among(trees)?)
        {
            return Ok(Some(format!(
                "hides tests from git, such as `{}`",
                test.display()
            )));
        }
        let part = manifest::changed(&name, was, is).or_else(|| sources::changed(&name, was, is));
        Ok(part.map(|part| format!("changes {part}, which decides which checks run and how")))
    }

    /// Why something is protected in every task.
    fn told(&self, names: &Names) -> Option<String> {
        if self.unprotected.is_match(&names.own) {
            return None;
        }
        self.always.iter().find_map(|(globs, why)| {
            let name = names.any(|name| globs.is_match(name))?;
            Some(names.said(name, why))
        })
    }

    /// Why something is protected where gates judge.
    fn gate_file(&self, names: &Names) -> Option<String> {
        if self.unprotected.is_match(&names.own) {
            return None;
        }
        if let Some(name) = names.any(|name| self.run.contains_key(name)) {
            return Some(names.said(name, &format!("is run by {}", self.run[name])));
        }
        self.gates.as_ref()?.iter().find_map(|(globs, why)| {
            let name = names.any(|name| globs.is_match(name))?;
            Some(names.said(name, why))
        })
    }

    /// Tests that keep others from being run.
    fn ending_early<E>(&self, changes: &[Moved], trees: &Trees<'_, E>) -> Result<Vec<PathBuf>, E> {
        let mut found = Vec::new();
        for change in changes {
            let Some(to) = change.to.as_deref().filter(|to| self.is_test(to)) else {
                continue;
            };
            let before = match &change.from {
                Some(from) => (trees.base)(from)?,
                None => None,
            };
            if let Some(Entry::File { bytes: after, .. }) = (trees.new)(to)?
                && !self.unprotected.is_match(fold(&to.to_string_lossy()))
                && lost::ends_early(bytes(before.as_ref()).unwrap_or_default(), &after)
            {
                found.push(to.to_owned());
            }
        }
        Ok(found)
    }

    /// Tests that are gone, or check less than they did.
    fn lost_tests<E>(
        &self,
        changes: &[Moved],
        trees: &Trees<'_, E>,
    ) -> Result<Vec<(PathBuf, String)>, E> {
        let arrived = Arrived::of(self, changes, trees)?;
        let mut lost = Vec::new();
        for change in changes {
            let Some(from) = change.from.as_deref().filter(|from| self.is_test(from)) else {
                continue;
            };
            let name = fold(&from.to_string_lossy());
            if self.unprotected.is_match(&name) {
                continue;
            }
            let Some(Entry::File {
                bytes: before,
                executable: ran,
            }) = (trees.base)(from)?
            else {
                continue;
            };
            let to = change.to.as_deref().filter(|to| self.is_test(to));
            let after = match to {
                Some(to) => (trees.new)(to)?,
                None => None,
            };
            let why = match after {
                Some(Entry::File { executable, .. }) if ran && !executable => {
                    Some("is a test that can no longer be run")
                }
                Some(Entry::File { bytes: after, .. }) => lost::emptied(&before, &after),
                _ if arrived.holds(&before) => None,
                _ => Some("is a test that was taken away"),
            };
            lost.extend(why.map(|why| (from.to_owned(), why.to_owned())));
        }
        Ok(lost)
    }
}

/// The tests that a candidate brings.
struct Arrived {
    whole: BTreeSet<Vec<u8>>,
    names: BTreeSet<String>,
}

impl Arrived {
    fn of<E>(rules: &Protection, changes: &[Moved], trees: &Trees<'_, E>) -> Result<Self, E> {
        let mut arrived = Self {
            whole: BTreeSet::new(),
            names: BTreeSet::new(),
        };
        for to in changes.iter().filter_map(|change| change.to.as_deref()) {
            if rules.is_test(to)
                && let Some(Entry::File { bytes, .. }) = (trees.new)(to)?
            {
                arrived.names.extend(lost::names(&bytes));
                arrived.whole.insert(bytes);
            }
        }
        Ok(arrived)
    }

    /// Whether a file of tests is there in another place, or each of its tests by name.
    fn holds(&self, before: &[u8]) -> bool {
        let names = lost::names(before);
        self.whole.contains(before)
            || (!names.is_empty() && names.iter().all(|name| self.names.contains(name)))
    }
}

impl Names {
    fn of(path: &Path, links: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut behind: Vec<(String, PathBuf)> = Vec::new();
        let mut open = vec![path.to_owned()];
        for _ in 0..LINKS_DEEP {
            let mut next = Vec::new();
            for place in &open {
                for (link, target) in links {
                    let Some(rest) = resolved(link, target)
                        .filter(|target| !target.as_os_str().is_empty())
                        .and_then(|target| place.strip_prefix(target).ok().map(Path::to_owned))
                    else {
                        continue;
                    };
                    let name = match rest.as_os_str().is_empty() {
                        true => link.clone(),
                        false => link.join(rest),
                    };
                    behind.push((fold(&name.to_string_lossy()), link.clone()));
                    next.push(name);
                }
            }
            if next.is_empty() {
                break;
            }
            open = next;
        }
        Self {
            own: fold(&path.to_string_lossy()),
            behind,
        }
    }

    /// The first name of which something holds.
    fn any(&self, holds: impl Fn(&str) -> bool) -> Option<&str> {
        let behind = self.behind.iter().map(|(name, _)| name.as_str());
        std::iter::once(self.own.as_str())
            .chain(behind)
            .find(|name| holds(name))
    }

    /// What is said of one of the names.
    fn said(&self, name: &str, why: &str) -> String {
        match self.behind.iter().find(|(behind, _)| behind == name) {
            Some((_, link)) if name != self.own => {
                format!(
                    "is what the link `{}` stands for, which {why}",
                    link.display()
                )
            }
            _ => why.to_owned(),
        }
    }
}

fn bytes(entry: Option<&Entry>) -> Option<&[u8]> {
    match entry {
        Some(Entry::File { bytes, .. }) => Some(bytes),
        Some(Entry::Link(_) | Entry::Submodule | Entry::Directory) | None => None,
    }
}

/// Whether a new file of pytest's set-up reaches beyond the directory that it lies in: its hooks are asked about every
/// test of the session.
fn hooks_into_tests(path: &Path, new: Option<&[u8]>) -> bool {
    let is_setup = path
        .file_name()
        .is_some_and(|name| fold(&name.to_string_lossy()) == "conftest.py");
    let text = new.filter(|_| is_setup).map(String::from_utf8_lossy);
    text.is_some_and(|text| {
        let marks = [
            "def pytest_",
            "pytest_plugins",
            "hookimpl",
            "import _pytest",
            "from _pytest",
        ];
        marks.iter().any(|mark| text.contains(mark))
    })
}

/// Whether a file is a plan of somebody.
fn is_plan(path: &Path, base: Option<&[u8]>) -> bool {
    let is_yaml = path
        .extension()
        .is_some_and(|ext| ext == "yaml" || ext == "yml");
    let text = base.filter(|_| is_yaml).map(String::from_utf8_lossy);
    text.is_some_and(|text| {
        let has = |key: &str| text.lines().any(|line| line.starts_with(key));
        has("meta:") && has("sections:")
    })
}

/// Whether a name stands for `.git` where case or invisible characters make no difference, or names have short forms.
fn is_git_elsewhere(part: Component<'_>) -> bool {
    matches!(
        fold(&part.as_os_str().to_string_lossy()).as_str(),
        ".git" | "git~1"
    )
}

fn is_hidden(directory: &Path) -> bool {
    directory
        .components()
        .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// A name as the most forgiving file system has it.
fn fold(name: &str) -> String {
    let is_seen = |c: &char| !matches!(*c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    name.chars()
        .filter(is_seen)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Globs as people read them: a path stands for the file, or the directory with all that is in it.
fn globs<'g>(list: impl IntoIterator<Item = &'g str>) -> Result<GlobSet, BadGlob> {
    let both = list.into_iter().flat_map(|glob| {
        let path = glob.strip_prefix("./").unwrap_or(glob);
        let path = path.trim_end_matches("/**").trim_end_matches('/');
        [(glob, path.to_owned()), (glob, format!("{path}/**"))]
    });
    built(both)
}

/// Globs that match what they say; `x/**` matches `x`, too.
fn exact(list: &[&'static str]) -> Result<GlobSet, BadGlob> {
    let itself = list.iter().filter_map(|glob| glob.strip_suffix("/**"));
    let all = list.iter().copied().chain(itself);
    built(all.map(|glob| (glob, glob.to_owned())))
}

/// A set of globs, each with the text by which people know it.
fn built<'g>(list: impl IntoIterator<Item = (&'g str, String)>) -> Result<GlobSet, BadGlob> {
    let mut set = GlobSetBuilder::new();
    for (glob, pattern) in list {
        let bad = |e: globset::Error| BadGlob {
            glob: glob.to_owned(),
            why: e.kind().to_string(),
        };
        let folded = fold(&pattern);
        set.add(
            GlobBuilder::new(&folded)
                .literal_separator(true)
                .build()
                .map_err(bad)?,
        );
    }
    set.build().map_err(|e| BadGlob {
        glob: e.glob().unwrap_or_default().to_owned(),
        why: e.kind().to_string(),
    })
}

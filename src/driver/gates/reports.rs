//! Report files that a verify command leaves in the gate slot: cleared away before it runs, read after it.
//!
//! Ignored files stay from gate to gate. A report of an earlier tree must not speak for this one.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::store::read_limited;
use crate::verify::output::{self, Told};

/// Reports of one command that are read.
const FILES_MAX: usize = 5_000;

/// Longest report.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Characters that make a part of a path a pattern.
const PATTERN: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// Removes what the globs match.
pub(super) fn clear(tree: &Path, globs: &[String]) -> anyhow::Result<()> {
    for path in found(tree, globs)? {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// What the reports tell, as one. A glob without a file, and a file that cannot be read, make all of it unreadable.
pub(super) fn read(tree: &Path, globs: &[String], passed: bool) -> anyhow::Result<Told> {
    let root = tree.to_string_lossy();
    let mut all = Vec::new();
    for glob in globs {
        let paths = found(tree, std::slice::from_ref(glob))?;
        let missing = match paths.len() {
            0 => Some(format!("there is no report `{glob}`")),
            n if n > FILES_MAX => Some(format!("`{glob}` matches more than {FILES_MAX} files")),
            _ => None,
        };
        if let Some(why) = missing {
            return Ok(unreadable(why));
        }
        for path in paths {
            let name = path
                .strip_prefix(tree)
                .unwrap_or(&path)
                .display()
                .to_string();
            let length = fs::metadata(&path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .len();
            if length > FILE_BYTES_MAX {
                let why = format!("`{name}` is longer than {} MiB", FILE_BYTES_MAX >> 20);
                return Ok(unreadable(why));
            }
            let bytes = read_limited(&path, FILE_BYTES_MAX)?;
            let mut told = output::report(&bytes, &root, passed);
            told.unreadable = told
                .unreadable
                .map(|why| format!("`{name}` cannot be read: {why}"));
            all.push(told);
        }
    }
    Ok(output::together(all))
}

fn unreadable(why: String) -> Told {
    Told {
        unreadable: Some(why),
        ..Told::default()
    }
}

/// Plain files that a glob matches, sorted. Links are not followed: a report is what the command wrote here.
fn found(tree: &Path, globs: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for glob in globs {
        let pattern = one(glob)?;
        let mut open: Vec<PathBuf> = beginning(tree, glob).into_iter().collect();
        while let Some(path) = open.pop() {
            let kind = match fs::symlink_metadata(&path) {
                Ok(found) => found.file_type(),
                Err(e)
                    if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::NotADirectory =>
                {
                    continue;
                }
                Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
            };
            let relative = path.strip_prefix(tree).unwrap_or(&path);
            if kind.is_dir() && relative.file_name() != Some(OsStr::new(".git")) {
                let entries = fs::read_dir(&path)
                    .with_context(|| format!("cannot list {}", path.display()))?;
                for entry in entries {
                    let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
                    open.push(entry.path());
                }
            } else if kind.is_file() && pattern.is_match(relative) {
                files.push(path);
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn one(glob: &str) -> anyhow::Result<GlobSet> {
    let path = glob.strip_prefix("./").unwrap_or(glob);
    let built = GlobBuilder::new(path).literal_separator(true).build();
    let glob = built.with_context(|| format!("`{glob}` in `reports` is no glob"))?;
    Ok(GlobSetBuilder::new().add(glob).build()?)
}

/// The directory before the first pattern: others need not be looked into. None if a link stands in the way, which
/// might lead out of the tree.
fn beginning(tree: &Path, glob: &str) -> Option<PathBuf> {
    let path = glob.strip_prefix("./").unwrap_or(glob);
    let mut start = tree.to_owned();
    for part in path.split('/').take_while(|part| !part.contains(PATTERN)) {
        if fs::symlink_metadata(&start).is_ok_and(|found| found.is_symlink()) {
            return None;
        }
        start.push(part);
    }
    Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEN: &str = "<testsuite name=\"s\"><testcase name=\"a\"/></testsuite>";

    fn globs(globs: &[&str]) -> Vec<String> {
        globs.iter().map(|glob| (*glob).to_owned()).collect()
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a scratch directory");
        for path in [
            "a/target/reports/one.xml",
            "b/target/reports/two.xml",
            "b/other.xml",
            ".git/x.xml",
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, GREEN).expect("a file");
        }
        dir
    }

    #[test]
    fn reports_are_found_by_their_globs_and_add_up() {
        let dir = tree();
        for (patterns, passed) in [
            (&["a/target/reports/one.xml"][..], 1),
            (&["*/target/reports/*.xml"], 2),
            (&["**/*.xml"], 3),
            (&["./b/*.xml", "a/**/one.xml"], 2),
        ] {
            let told = read(dir.path(), &globs(patterns), true).expect("readable");
            assert_eq!(told.unreadable, None, "{patterns:?}");
            assert_eq!(
                told.counts.map(|counts| counts.passed),
                Some(passed),
                "{patterns:?}"
            );
        }
    }

    #[test]
    fn a_glob_that_matches_nothing_is_unreadable_also_beside_others() {
        let dir = tree();
        let told = read(dir.path(), &globs(&["**/*.xml", "c/*.xml"]), true).expect("readable");
        assert_eq!(
            told.unreadable.as_deref(),
            Some("there is no report `c/*.xml`")
        );
    }

    #[test]
    fn what_an_earlier_tree_left_is_cleared_and_nothing_else() {
        let dir = tree();
        let patterns = globs(&["*/target/reports/*.xml"]);
        clear(dir.path(), &patterns).expect("cleared");
        assert!(
            read(dir.path(), &patterns, true)
                .expect("readable")
                .unreadable
                .is_some()
        );
        assert!(dir.path().join("b/other.xml").exists());
    }

    #[test]
    fn links_are_no_reports_and_lead_nowhere() {
        let dir = tree();
        let outside = tree();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).expect("a link");
        for glob in ["out/b/other.xml", "out/**/*.xml"] {
            clear(dir.path(), &globs(&[glob])).expect("nothing to clear");
        }
        assert!(outside.path().join("b/other.xml").exists());
        std::os::unix::fs::symlink("other.xml", dir.path().join("b/link.xml")).expect("a link");
        let told = read(dir.path(), &globs(&["b/link.xml"]), true).expect("readable");
        assert!(told.unreadable.is_some());
    }
}

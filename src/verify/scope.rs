//! Whether what a candidate changed lies within the task's `files:`.
//!
//! Globs are relative to the repository: `*` stays within a directory, `**` does not, and a path of a directory means
//! everything in it.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Where a task may write.
#[derive(Debug, Clone)]
pub struct Scope {
    /// None: anywhere.
    globs: Option<GlobSet>,
}

/// A glob that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{glob}` is not a glob of paths: {why}")]
pub struct BadGlob {
    /// As it was written.
    pub glob: String,
    /// What is wrong with it.
    pub why: String,
}

impl Scope {
    /// The scope of a task's `files:`; none of them means anywhere.
    ///
    /// # Errors
    /// The first glob that cannot be read.
    pub fn new<S: AsRef<str>>(files: &[S]) -> Result<Self, BadGlob> {
        if files.is_empty() {
            return Ok(Self { globs: None });
        }
        let mut set = GlobSetBuilder::new();
        for glob in files.iter().map(AsRef::as_ref) {
            let bad = |why: String| BadGlob {
                glob: glob.to_owned(),
                why,
            };
            let path = match glob {
                // The repository itself.
                "." | "./" => "**",
                glob => glob
                    .strip_prefix("./")
                    .unwrap_or(glob)
                    .trim_end_matches('/'),
            };
            if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..")
            {
                return Err(bad("it is not a path in the repository".to_owned()));
            }
            for pattern in [path, &format!("{path}/**")] {
                let glob = GlobBuilder::new(pattern).literal_separator(true).build();
                set.add(glob.map_err(|e| bad(e.kind().to_string()))?);
            }
        }
        let globs = set.build().map_err(|e| BadGlob {
            glob: e.glob().unwrap_or_default().to_owned(),
            why: e.kind().to_string(),
        })?;
        Ok(Self { globs: Some(globs) })
    }

    /// Whether a path, relative to the repository, may be written.
    pub fn contains(&self, path: &Path) -> bool {
        self.globs.as_ref().is_none_or(|globs| globs.is_match(path))
    }

    /// The paths among `changed` that may not be written.
    pub fn outside<'a>(&self, changed: impl IntoIterator<Item = &'a PathBuf>) -> Vec<&'a Path> {
        changed
            .into_iter()
            .map(PathBuf::as_path)
            .filter(|path| !self.contains(path))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_hold_as_people_read_them() {
        for (glob, path, inside) in [
            ("docs", "docs/a/b.md", true),
            ("docs/", "docs/a.md", true),
            ("docs", "docsite/a.md", false),
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/a/b.rs", false),
            ("src/**/*.rs", "src/a/b.rs", true),
            ("src/**/*.rs", "src/b.rs", true),
            ("./a.txt", "a.txt", true),
            (".", "src/a.rs", true),
            ("./", "a.txt", true),
            ("*.md", "docs/a.md", false),
            ("**/*.md", "docs/a.md", true),
            ("src/{a,b}.rs", "src/b.rs", true),
            (".github/**", ".github/workflows/ci.yml", true),
            ("a b/ü*", "a b/über.txt", true),
        ] {
            let scope = Scope::new(&[glob]).expect(glob);
            assert_eq!(scope.contains(Path::new(path)), inside, "{glob} and {path}");
        }
    }

    #[test]
    fn no_files_mean_anywhere() {
        let anywhere = Scope::new::<&str>(&[]).expect("nothing to read");
        assert!(
            anywhere
                .outside(&[PathBuf::from("x"), PathBuf::from("y/z")])
                .is_empty()
        );
    }

    #[test]
    fn what_lies_outside_is_named() {
        let scope = Scope::new(&["src", "Cargo.toml"]).expect("globs");
        let changed = ["src/a.rs", "Cargo.lock", "Cargo.toml", "tests/a.rs"].map(PathBuf::from);
        assert_eq!(
            scope.outside(&changed),
            [Path::new("Cargo.lock"), Path::new("tests/a.rs")]
        );
    }

    #[test]
    fn a_glob_that_leads_out_or_cannot_be_read_is_refused_by_its_text() {
        for glob in ["", "/etc", "../x", "a/../../b", "src/[a"] {
            assert_eq!(Scope::new(&[glob]).expect_err(glob).glob, glob);
        }
    }
}

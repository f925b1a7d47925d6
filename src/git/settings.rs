//! git's configuration as data: every setting of every file that git reads, in its order.
//!
//! Which of them a slot needs is decided in `slot`.

use std::path::Path;

use super::program::{Git, GitError};

/// All settings in force, read once; a key may occur several times, and the last one wins where git wants one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

/// One line of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    /// `section.subsection.name`; section and name in lower case.
    key: Vec<u8>,
    /// None for a bare name, which means true.
    value: Option<Vec<u8>>,
}

impl Settings {
    /// Reads what git finds from `dir`, with includes resolved.
    pub(super) fn read(git: &Git, dir: &Path) -> Result<Self, GitError> {
        let command = git
            .command(dir)
            .args(["config", "--list", "-z"])
            .without_settings()
            .read_only();
        Ok(Self::parse(&command.run()?))
    }

    /// Reads `key LF value NUL` and `key NUL`, which is what `git config --list -z` prints.
    fn parse(printed: &[u8]) -> Self {
        let entries = printed.split(|byte| *byte == 0).filter(|e| !e.is_empty());
        let settings = entries.map(|entry| match entry.iter().position(|byte| *byte == b'\n') {
            Some(at) => Setting {
                key: entry[..at].to_vec(),
                value: Some(entry[at + 1..].to_vec()),
            },
            None => Setting {
                key: entry.to_vec(),
                value: None,
            },
        });
        Self(settings.collect())
    }

    /// The value in force of `key` (section and name in lower case); `true` for a bare name.
    pub fn last(&self, key: &str) -> Option<&[u8]> {
        let found = self
            .0
            .iter()
            .rfind(|setting| setting.key == key.as_bytes())?;
        Some(found.value_in_force())
    }

    /// All settings, key and value, in git's order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.below("")
    }

    /// All settings whose key starts with `prefix`, with what follows it.
    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().filter_map(move |setting| {
            let rest = setting.key.strip_prefix(prefix.as_bytes())?;
            Some((rest, setting.value_in_force()))
        })
    }
}

impl Setting {
    fn value_in_force(&self) -> &[u8] {
        self.value.as_deref().unwrap_or(b"true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_wins_and_a_bare_name_is_true() {
        let read = Settings::parse(
            b"core.eol\nlf\0core.eol\ncrlf\0commit.gpgsign\0a.B c.d\nx\ny\0core.bare\nfalse\0n.n\n1\0",
        );
        assert_eq!(read.last("core.eol"), Some(&b"crlf"[..]));
        assert_eq!(read.last("a.B c.d"), Some(&b"x\ny"[..]));
        assert_eq!(read.last("commit.gpgsign"), Some(&b"true"[..]));
        assert_eq!(read.last("no.such"), None);
        let below: Vec<_> = read.below("core.").map(|(key, _)| key).collect();
        assert_eq!(below, [&b"eol"[..], b"eol", b"bare"]);
    }
}

//! The private git directory of a slot: what the agent's git sees instead of the user's.
//!
//! It is written anew for every attempt, so that nothing an agent did to it (refs, stashes, configuration, hooks,
//! excludes, half a rebase) reaches the next one. Its files are those of gitrepository-layout(5): a bare repository
//! that borrows the user's objects, and one linked worktree. They are written by hand because libgit2 registers a
//! worktree only together with a new branch and a checkout of its own, without filters.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::error::SlotError;
use super::{EXCHANGE_DIR, files};
use crate::git::repository::{Repository, RepositoryError};
use crate::ids::ObjectId;

/// The name of the linked worktree in the private git directory.
const WORKTREE: &str = "tree";

/// Where git keeps the git directories of submodules. They stay from attempt to attempt, as other caches do.
const SUBMODULES: &str = "modules";

/// Settings of the user that decide what files look like, how they compare and merge, and who signs: all below these
/// sections.
const COPIED_SECTIONS: [&str; 9] = [
    "filter.",
    "diff.",
    "merge.",
    "lfs.",
    "user.",
    "author.",
    "committer.",
    "i18n.",
    "submodule.",
];

/// The same, one by one.
const COPIED_KEYS: [&str; 13] = [
    "core.attributesfile",
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.eol",
    "core.excludesfile",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.safecrlf",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
    "core.whitespace",
];

/// What orch sets: no hooks, no background work that outlives the agent, no prompt for a signing key.
const OWN_SETTINGS: &str = "\
[core]
\trepositoryformatversion = 0
\tbare = true
\tlogAllRefUpdates = true
\thooksPath = /dev/null
\tfsmonitor = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[commit]
\tgpgSign = false
[tag]
\tgpgSign = false
";

/// The private git directory at `dir`, whose linked worktree is the directory `tree`.
#[derive(Debug)]
pub(super) struct PrivateGit<'a> {
    /// Where it lies.
    pub(super) dir: &'a Path,
    /// The working tree.
    pub(super) tree: &'a Path,
}

impl PrivateGit<'_> {
    /// The agent's own index.
    pub(super) fn index(&self) -> PathBuf {
        self.admin_dir().join("index")
    }

    fn admin_dir(&self) -> PathBuf {
        self.dir.join("worktrees").join(WORKTREE)
    }

    /// Writes it all anew, with a detached HEAD at `base`. The index is the caller's to write.
    pub(super) fn reset(&self, repo: &Repository, base: &ObjectId) -> Result<(), SlotError> {
        let admin_dir = self.admin_dir();
        let worktrees = self.dir.join("worktrees");
        for (dir, kept) in [
            (self.dir, "worktrees"),
            (&worktrees, WORKTREE),
            (&admin_dir, SUBMODULES),
        ] {
            files::real_dir(dir)?;
            files::clear(dir, Some(kept))?;
        }
        for dir in ["objects", "objects/info", "refs", "refs/heads", "info"] {
            files::real_dir(&self.dir.join(dir))?;
        }
        let head = format!("{base}\n");
        files::write(&self.dir.join("HEAD"), head.as_bytes())?;
        files::write(&self.dir.join("config"), &configuration(repo)?)?;
        files::write(&self.dir.join("packed-refs"), &packed_refs(repo)?)?;
        let objects = repo.common_dir().join("objects");
        files::write(&self.dir.join("objects/info/alternates"), &line(&objects))?;
        for file in ["shallow", "info/attributes"] {
            if let Some(bytes) = read_if_there(&repo.common_dir().join(file))? {
                files::write(&self.dir.join(file), &bytes)?;
            }
        }
        let mut excluded =
            read_if_there(&repo.common_dir().join("info/exclude"))?.unwrap_or_default();
        excluded.extend(format!("\n/{EXCHANGE_DIR}/\n").bytes());
        files::write(&self.dir.join("info/exclude"), &excluded)?;
        self.write_worktree(repo, &head)
    }

    fn write_worktree(&self, repo: &Repository, head: &str) -> Result<(), SlotError> {
        let admin_dir = self.admin_dir();
        let link = self.tree.join(".git");
        files::write(&admin_dir.join("HEAD"), head.as_bytes())?;
        files::write(&admin_dir.join("commondir"), b"../..\n")?;
        files::write(&admin_dir.join("gitdir"), &line(&link))?;
        let sparse = Path::new("info/sparse-checkout");
        if let Some(rules) = read_if_there(&repo.git_dir().join(sparse))? {
            files::real_parents(&admin_dir, sparse)?;
            files::write(&admin_dir.join(sparse), &rules)?;
        }
        let mut gitdir = b"gitdir: ".to_vec();
        gitdir.extend(line(&admin_dir));
        files::write(&link, &gitdir)
    }
}

fn line(path: &Path) -> Vec<u8> {
    let mut line = path.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    line
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, SlotError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SlotError::io("read", path, e)),
    }
}

/// The user's settings that matter in a working tree, then orch's own.
fn configuration(repo: &Repository) -> Result<Vec<u8>, SlotError> {
    let mut text = Vec::new();
    for (key, value) in repo.settings().all() {
        let copied = COPIED_SECTIONS
            .iter()
            .any(|s| key.starts_with(s.as_bytes()))
            || COPIED_KEYS.iter().any(|k| key == k.as_bytes());
        if copied {
            write_setting(&mut text, key, value);
        }
    }
    text.extend_from_slice(OWN_SETTINGS.as_bytes());
    Ok(text)
}

/// Writes `section.subsection.name` and its value as git-config(1) reads them.
fn write_setting(text: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let quoted = |bytes: &[u8], out: &mut Vec<u8>| {
        out.push(b'"');
        for &byte in bytes {
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                b'\n' => out.extend(b"\\n"),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    };
    let (Some(first), Some(last)) = (find(key, b'.'), key.iter().rposition(|b| *b == b'.')) else {
        return;
    };
    text.push(b'[');
    text.extend_from_slice(&key[..first]);
    if first < last {
        text.push(b' ');
        quoted(&key[first + 1..last], text);
    }
    text.extend(b"]\n\t");
    text.extend_from_slice(&key[last + 1..]);
    text.extend(b" = ");
    quoted(value, text);
    text.push(b'\n');
}

fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// The user's branches and tags as they are now, in the format of `packed-refs`.
fn packed_refs(repo: &Repository) -> Result<Vec<u8>, SlotError> {
    let unreadable = |cause| {
        SlotError::Repository(RepositoryError::Libgit2 {
            path: repo.common_dir().to_owned(),
            cause,
        })
    };
    let opened = repo.open()?;
    let mut refs = Vec::new();
    for glob in ["refs/heads/*", "refs/tags/*"] {
        for reference in opened.references_glob(glob).map_err(unreadable)? {
            let reference = reference.map_err(unreadable)?;
            if let Some(target) = reference.target() {
                refs.push((reference.name_bytes().to_vec(), target));
            }
        }
    }
    refs.sort();
    let mut text = b"# pack-refs with: sorted \n".to_vec();
    for (name, target) in refs {
        write!(text, "{target} ")
            .map_err(|cause| SlotError::io("write", repo.common_dir(), cause))?;
        text.extend(name);
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::write_setting;

    #[test]
    fn settings_are_written_so_that_git_reads_them_back() {
        let mut text = Vec::new();
        write_setting(&mut text, b"core.eol", b"lf");
        write_setting(
            &mut text,
            b"filter.a \"b\".c.clean",
            b"tr 'a' \"b\" \\ # x\ny",
        );
        assert_eq!(
            String::from_utf8_lossy(&text),
            "[core]\n\teol = \"lf\"\n[filter \"a \\\"b\\\".c\"]\n\tclean = \"tr 'a' \\\"b\\\" \\\\ # x\\ny\"\n"
        );
    }
}

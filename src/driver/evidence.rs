//! Evidence from outside that a task needs before it starts: whether it is there, and how its files reach the slot.
//!
//! Files are those of the person's checkout, committed or not. An agent gets copies that it cannot write to, below the
//! exchange directory, which is never collected.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use globset::{GlobBuilder, GlobMatcher};

use crate::git::slot::EXCHANGE_DIR;
use crate::plan::consent::{External, Source};
use crate::process::Errand;

/// Where evidence lies in a slot.
pub(super) const EVIDENCE_DIR: &str = ".orch/evidence";

/// The longest that one look by a command may take.
const LOOK_MAX: Duration = Duration::from_secs(600);

/// Files that one task may be shown.
const FILES_MAX: usize = 1_000;

/// All of them together.
const BYTES_MAX: u64 = 64 << 20;

/// How much of a command's output is told.
const SAID_CHARS_MAX: usize = 200;

/// Looks once. Whether the evidence is there, and a line about it. `errand` notes a command that looks.
///
/// # Errors
/// If it cannot be told.
pub(super) async fn look(
    external: &External,
    worktree: &Path,
    env: &[(String, String)],
    errand: impl FnOnce() -> anyhow::Result<Errand>,
) -> anyhow::Result<(bool, String)> {
    match &external.source {
        Source::Run(run) => look_by_command(run, worktree, env, errand()?).await,
        Source::Files(globs) => {
            let (globs, worktree) = (globs.clone(), worktree.to_owned());
            let found = tokio::task::spawn_blocking(move || files(&globs, &worktree));
            Ok(match found.await.context("the look was cut off")?? {
                Ok(files) => (true, format!("{} files", files.len())),
                Err(missing) => (false, format!("nothing matches {missing}")),
            })
        }
    }
}

async fn look_by_command(
    run: &str,
    worktree: &Path,
    env: &[(String, String)],
    errand: Errand,
) -> anyhow::Result<(bool, String)> {
    let (name, mark) = errand.variable();
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", run])
        .current_dir(worktree)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .env(name, mark)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let Ok(ended) = tokio::time::timeout(LOOK_MAX, command.output()).await else {
        tokio::task::spawn_blocking(move || errand.end().and_then(|()| errand.done())).await??;
        return Ok((false, format!("`{run}` took longer than 10 min")));
    };
    errand.done()?;
    let output = ended.with_context(|| format!("cannot run `{run}`"))?;
    let printed = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    let printed = String::from_utf8_lossy(&printed);
    let last = printed.trim().lines().last();
    let said = match last.filter(|line| !line.is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("`{run}` ended with {}", output.status),
    };
    let said = said.chars().take(SAID_CHARS_MAX).collect();
    Ok((output.status.success(), said))
}

/// Copies the files into a slot, read-only.
///
/// # Errors
/// If one cannot be copied, or all of them are too much.
pub(super) fn show(globs: &[String], worktree: &Path, tree: &Path) -> anyhow::Result<()> {
    let files = match files(globs, worktree)? {
        Ok(files) => files,
        Err(missing) => bail!("the evidence is gone: nothing matches {missing}"),
    };
    debug_assert!(EVIDENCE_DIR.starts_with(EXCHANGE_DIR));
    let mut left = BYTES_MAX;
    for file in files {
        let (from, to) = (worktree.join(&file), tree.join(EVIDENCE_DIR).join(&file));
        let shown = || format!("cannot show {}", from.display());
        let length = from.metadata().with_context(shown)?.len();
        left = left
            .checked_sub(length)
            .with_context(|| format!("the evidence is larger than {} MiB", BYTES_MAX >> 20))?;
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).with_context(shown)?;
        }
        std::fs::copy(&from, &to).with_context(shown)?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o444))
            .with_context(shown)?;
    }
    Ok(())
}

/// The files of the worktree that the globs match, or the first glob that matches none.
fn files(globs: &[String], worktree: &Path) -> anyhow::Result<Result<Vec<PathBuf>, String>> {
    let mut found = Vec::new();
    for glob in globs {
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .with_context(|| format!("`{glob}` is no glob"))?
            .compile_matcher();
        let before = found.len();
        below(worktree, &fixed_part(glob), &matcher, &mut found)?;
        if found.len() == before {
            return Ok(Err(format!("`{glob}`")));
        }
    }
    found.sort();
    found.dedup();
    Ok(Ok(found))
}

/// The directory, or the file, above which a glob matches nothing.
fn fixed_part(glob: &str) -> PathBuf {
    let is_fixed = |part: &&str| !part.contains(['*', '?', '[', '{', '\\']);
    glob.split('/').take_while(is_fixed).collect()
}

fn below(
    worktree: &Path,
    relative: &Path,
    matcher: &GlobMatcher,
    found: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let path = worktree.join(relative);
    let cannot = || format!("cannot look into {}", path.display());
    let kind = match path.symlink_metadata() {
        Ok(kind) => kind,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(cannot),
    };
    if kind.is_file() && matcher.is_match(relative) {
        if found.len() == FILES_MAX {
            bail!("more than {FILES_MAX} files match as evidence");
        }
        found.push(relative.to_owned());
    }
    if kind.is_dir() && path.file_name().is_none_or(|name| name != ".git") {
        for entry in std::fs::read_dir(&path).with_context(cannot)? {
            let name = entry.with_context(cannot)?.file_name();
            below(worktree, &relative.join(name), matcher, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn files_are_evidence_once_each_glob_matches_and_are_shown_read_only() {
        let (worktree, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let globs = ["docs/ok.md".to_owned(), "out/**/*.pdf".to_owned()];
        std::fs::create_dir_all(worktree.path().join("out/deep")).unwrap();
        std::fs::create_dir_all(worktree.path().join("docs")).unwrap();
        std::fs::write(worktree.path().join("docs/ok.md"), "yes").unwrap();
        let missing = files(&globs, worktree.path()).unwrap().unwrap_err();
        assert_eq!(missing, "`out/**/*.pdf`");
        std::fs::write(worktree.path().join("out/deep/a.pdf"), "pdf").unwrap();
        show(&globs, worktree.path(), tree.path()).unwrap();
        let shown = tree.path().join(".orch/evidence/out/deep/a.pdf");
        assert_eq!(std::fs::read_to_string(&shown).unwrap(), "pdf");
        assert_eq!(
            shown.metadata().unwrap().permissions().mode() & 0o777,
            0o444
        );
    }
}

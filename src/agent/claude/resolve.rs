//! Which `claude` a run uses: found once, asked once for its version, and the same for all tasks.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::ClaudeError;

/// The name looked up in `PATH` when settings name no program.
const NAME: &str = "claude";
/// The program answers in 12 ms; one behind a package runner on a busy machine may need seconds.
const VERSION_WAIT: Duration = Duration::from_secs(20);
/// A version is one short line.
const VERSION_BYTES_MAX: u64 = 4096;

/// The program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Absolute. Links are not followed: version switchers look at the name they are called by.
    pub path: PathBuf,
    /// The first line it printed to `--version`.
    pub version: String,
}

/// Finds the program (`configured`, else `claude` in `path_var`) and asks for its version.
///
/// A `configured` text without a slash is looked up in `path_var` too.
///
/// # Errors
/// If there is none, it cannot be run, or it does not tell a version within 20 seconds.
pub async fn resolve(
    configured: Option<&Path>,
    path_var: Option<&OsStr>,
) -> Result<Resolved, ClaudeError> {
    let path = locate(configured.unwrap_or(Path::new(NAME)), path_var)?;
    let version = ask_version(&path)
        .await
        .map_err(|what| ClaudeError::NoVersion {
            program: path.clone(),
            what,
        })?;
    Ok(Resolved { path, version })
}

fn locate(program: &Path, path_var: Option<&OsStr>) -> Result<PathBuf, ClaudeError> {
    let not_found = || ClaudeError::NotFound(program.display().to_string());
    if program.components().count() > 1 {
        let path = std::path::absolute(program).map_err(|_| not_found())?;
        return match path.metadata() {
            Err(_) => Err(not_found()),
            Ok(_) if is_executable(&path) => Ok(path),
            Ok(_) => Err(ClaudeError::NotExecutable(path)),
        };
    }
    path_var
        .into_iter()
        .flat_map(std::env::split_paths)
        .filter_map(|dir| std::path::absolute(dir.join(program)).ok())
        .find(|path| is_executable(path))
        .ok_or_else(not_found)
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

async fn ask_version(program: &Path) -> Result<String, String> {
    let mut child = tokio::process::Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("does not start: {e}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let answer = async {
        let mut text = Vec::new();
        stdout
            .take(VERSION_BYTES_MAX)
            .read_to_end(&mut text)
            .await?;
        Ok::<_, std::io::Error>((text, child.wait().await?))
    };
    let (text, exit) = tokio::time::timeout(VERSION_WAIT, answer)
        .await
        .map_err(|_| format!("did not answer within {} s", VERSION_WAIT.as_secs()))?
        .map_err(|e| format!("could not be read: {e}"))?;
    let text = String::from_utf8_lossy(&text);
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() && exit.success() => Ok(line.to_owned()),
        _ => Err(format!("told no version ({exit})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by a process of its own: while this one holds a file open for writing, a neighbouring test may fork, and
    /// the program could not be started until that fork has ended (ETXTBSY).
    fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
        let path = dir.join(name);
        let written = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#,
            ])
            .args([path.as_os_str(), OsStr::new(body)])
            .status()
            .expect("a shell");
        assert!(written.success());
        path
    }

    #[tokio::test]
    async fn the_first_program_in_path_is_found_and_tells_its_version() {
        let (empty, dir) = (
            tempfile::tempdir().expect("tempdir"),
            tempfile::tempdir().expect("tempdir"),
        );
        let program = script(dir.path(), "claude", "echo '9.8.7 (Test)'");
        let path_var = std::env::join_paths([empty.path(), dir.path()]).expect("no colon");
        let found = resolve(None, Some(&path_var)).await.expect("found");
        assert_eq!(
            found,
            Resolved {
                path: program,
                version: "9.8.7 (Test)".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn a_missing_program_comes_with_the_way_to_get_it() {
        let error = resolve(None, None).await.expect_err("nothing to find");
        assert!(matches!(&error, ClaudeError::NotFound(name) if name == "claude"));
        assert!(error.hints()[0].contains("npm install"));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_run_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "text").expect("write");
        let error = resolve(Some(&plain), None)
            .await
            .expect_err("not executable");
        assert!(matches!(error, ClaudeError::NotExecutable(_)));
        let error = resolve(Some(&dir.path().join("none")), None)
            .await
            .expect_err("missing");
        assert!(matches!(error, ClaudeError::NotFound(_)));
    }

    #[tokio::test]
    async fn a_program_that_fails_or_says_nothing_is_no_claude() {
        let dir = tempfile::tempdir().expect("tempdir");
        for body in ["exit 3", "true", "echo 1.0; exit 1"] {
            let program = script(dir.path(), "odd", body);
            let error = resolve(Some(&program), None).await.expect_err("no version");
            assert!(matches!(error, ClaudeError::NoVersion { .. }), "{body}");
        }
    }
}

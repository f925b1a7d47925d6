//! Signatures of texts, made and checked as git makes and checks those of commits with `gpg.format = ssh`: by `ssh-keygen
//! -Y`, with the key of `user.signingKey` and the people of an allowed-signers file. No cryptography is done here.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

use super::settings::Settings;
use crate::time::Wall;

/// What the signatures are for: one that was made for something else, as for a commit, is none.
pub const NAMESPACE: &str = "orch-approval";

/// The program, where `gpg.ssh.program` names no other.
pub const PROGRAM: &str = "ssh-keygen";

/// Why nothing can be said of a signature, or none can be made.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// `user.signingKey` is not set.
    #[error("there is no key to sign with: `user.signingKey` is not set")]
    NoKey,
    /// The program cannot be started.
    #[error("cannot run `{program}`, which comes with OpenSSH")]
    Program {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The program did not sign.
    #[error("`{program}` did not sign: {said}")]
    NotSigned {
        /// Its name.
        program: String,
        /// What it said.
        said: String,
    },
    /// Files for the program cannot be written.
    #[error("cannot write a file for `ssh-keygen`")]
    Io(#[from] io::Error),
}

/// The program that git is told to use.
pub fn program(settings: &Settings) -> String {
    text(settings, "gpg.ssh.program").unwrap_or_else(|| PROGRAM.to_owned())
}

/// The allowed-signers file that git is told to use. A relative path starts at the top of the worktree.
pub fn allowed_signers_file(settings: &Settings, worktree: &Path) -> Option<PathBuf> {
    let file = text(settings, "gpg.ssh.allowedsignersfile")?;
    Some(worktree.join(expanded(&file)))
}

/// Signs a text with the key that git signs with. The program may ask for a passphrase.
///
/// # Errors
/// If there is no key, or the program does not sign.
pub fn sign(settings: &Settings, words: &str) -> Result<String, SignatureError> {
    let program = program(settings);
    let key = text(settings, "user.signingkey").ok_or(SignatureError::NoKey)?;
    let literal = key
        .strip_prefix("key::")
        .or_else(|| key.starts_with("ssh-").then_some(&*key));
    let mut command = Command::new(&program);
    command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]);
    // Kept until the program has read it.
    let _public = match literal {
        Some(public) => {
            let file = file_with(&format!("{public}\n"))?;
            // The private half is the agent's.
            command.arg(file.path()).arg("-U");
            Some(file)
        }
        None => {
            command.arg(expanded(&key));
            None
        }
    };
    let ended = fed(&program, &mut command, words)?;
    match ended.status.success() {
        true => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
        false => Err(SignatureError::NotSigned {
            program,
            said: said(&ended),
        }),
    }
}

/// Who of the people in `signers`, an allowed-signers file's text, signed a text, at a time if one is given; or why
/// nobody did.
///
/// # Errors
/// If that cannot be told.
pub fn signer(
    program: &str,
    signers: &str,
    text: &str,
    signature: &str,
    at: Option<Wall>,
) -> Result<Result<String, String>, SignatureError> {
    let (signers, signature) = (file_with(signers)?, file_with(signature)?);
    let time = at
        .and_then(|at| chrono::DateTime::from_timestamp_millis(at.0))
        .map(|at| {
            let local = at.with_timezone(&chrono::Local);
            format!("-Overify-time={}", local.format("%Y%m%d%H%M%S"))
        });
    let ask = |what: &str| {
        let mut command = Command::new(program);
        command.args(["-Y", what]).args(&time);
        command.arg("-f").arg(signers.path());
        command.arg("-s").arg(signature.path());
        command
    };
    let found = fed(program, &mut ask("find-principals"), "")?;
    let people = String::from_utf8_lossy(&found.stdout).into_owned();
    let Some(person) = people.lines().next().filter(|_| found.status.success()) else {
        return Ok(Err("its key is nobody's who may sign".to_owned()));
    };
    let mut verify = ask("verify");
    verify.args(["-n", NAMESPACE, "-I", person]);
    let verified = fed(program, &mut verify, text)?;
    Ok(match verified.status.success() {
        true => Ok(person.to_owned()),
        false => Err(said(&verified)),
    })
}

/// Runs a command with a text on its standard input.
fn fed(program: &str, command: &mut Command, text: &str) -> Result<Output, SignatureError> {
    let cannot = |cause| SignatureError::Program {
        program: program.to_owned(),
        cause,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(text.as_bytes()) {
            // It says itself why it did not want to hear it.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(cannot(error)),
            Ok(()) | Err(_) => {}
        }
    }
    child.wait_with_output().map_err(cannot)
}

/// Its complaints on one line.
fn said(ended: &Output) -> String {
    let words = [&ended.stderr, &ended.stdout].map(|words| String::from_utf8_lossy(words));
    let lines = words.iter().flat_map(|words| words.lines());
    let lines: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("; ")
}

fn file_with(text: &str) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

fn text(settings: &Settings, key: &str) -> Option<String> {
    let value = settings.last(key).filter(|value| !value.is_empty())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// A path as git reads it from its configuration.
fn expanded(path: &str) -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        (Some(_), None) | (None, _) => PathBuf::from(OsStr::new(path)),
    }
}

//! The `git` program: found once, started in a clean environment, watched while it runs.
//!
//! What a command means belongs to the modules that give it; here is only how git is started and heard.

mod child;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use child::{Heard, Running, STDOUT_BYTES_MAX};

/// The oldest git that will do: `merge-tree --write-tree` came with it.
const VERSION_MIN: Version = Version(2, 38);

/// How long one git command may take. The longest is the first checkout of a large repository with LFS downloads.
const TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// Variables of the caller that choose a configuration, an identity, or how filters reach the network. All other
/// `GIT_*` variables would point git at another repository, index or object store, or change what it prints.
const KEPT_VARIABLES: [&str; 8] = [
    "GIT_CONFIG_",
    "GIT_AUTHOR_",
    "GIT_COMMITTER_",
    "GIT_EXEC_PATH",
    "GIT_LFS_",
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_ASKPASS",
];

/// Settings of every command: nothing else is started, before, beside or after it.
const SAFE_SETTINGS: [&str; 4] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// A git version, major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// Why a git command gave no result.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` in `PATH`.
    #[error("the `git` program was not found in PATH")]
    NotFound,
    /// What calls itself git is too old.
    #[error("{} is git {}.{}, but {}.{} or newer is needed", program.display(), found.0, found.1, VERSION_MIN.0, VERSION_MIN.1)]
    TooOld {
        /// The program that was found.
        program: PathBuf,
        /// Its version.
        found: Version,
    },
    /// What calls itself git does not answer like git.
    #[error("`{} --version` says {answer:?}, which is not a git version", program.display())]
    NotGit {
        /// The program that was found.
        program: PathBuf,
        /// What it said.
        answer: String,
    },
    /// The operating system refused to start or hear it.
    #[error("cannot run `{command}`")]
    Io {
        /// The command line.
        command: String,
        /// The refusal.
        #[source]
        cause: std::io::Error,
    },
    /// It said no.
    #[error("`{command}` failed with {}: {}", exit_in_words(*code), stderr.trim_end())]
    Failed {
        /// The command line.
        command: String,
        /// The exit code; none if a signal ended it.
        code: Option<i32>,
        /// Its complaints.
        stderr: String,
    },
    /// It took longer than an hour, and was ended.
    #[error("`{command}` did not end within {} minutes", TIME_MAX.as_secs() / 60)]
    TimedOut {
        /// The command line.
        command: String,
    },
    /// It printed more than is accepted, and was ended.
    #[error("`{command}` printed more than {} MiB", STDOUT_BYTES_MAX >> 20)]
    Flood {
        /// The command line.
        command: String,
    },
    /// It ended well, but what it printed is not what was asked for.
    #[error("`{command}` printed something unexpected: {found:?}")]
    Unexpected {
        /// The command line.
        command: String,
        /// The start of what it printed.
        found: String,
    },
}

fn exit_in_words(code: Option<i32>) -> String {
    code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"))
}

/// The git program of this machine, judged usable. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    program: Arc<Path>,
    scrubbed: Arc<[OsString]>,
    env: Vec<(OsString, OsString)>,
    version: Version,
}

impl Git {
    /// Finds `git` in `PATH` and asks for its version. Relative entries of `PATH` are passed over: what lies in the
    /// current directory is not a program to trust.
    ///
    /// # Errors
    /// If there is none, or it is too old.
    pub fn find() -> Result<Self, GitError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("git"))
            .find(|file| is_executable(file))
            .ok_or(GitError::NotFound)?;
        Self::at(&program)
    }

    /// Uses the git at the absolute path `program`.
    ///
    /// # Errors
    /// If it is not a git, or too old.
    pub fn at(program: &Path) -> Result<Self, GitError> {
        let mut git = Self {
            program: program.into(),
            scrubbed: std::env::vars_os()
                .map(|(name, _)| name)
                .filter(|name| is_scrubbed(name))
                .collect(),
            env: Vec::new(),
            version: Version(0, 0),
        };
        let answer = git.command(Path::new("/")).arg("--version").run()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let program = program.to_owned();
        match parse_version(&answer) {
            None => Err(GitError::NotGit { program, answer }),
            Some(found) if found < VERSION_MIN => Err(GitError::TooOld { program, found }),
            Some(found) => {
                git.version = found;
                Ok(git)
            }
        }
    }

    /// The same program with one more environment variable for all its commands, `HOME` for example.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A command that runs in `dir` and finds its repository from there, as git does.
    pub fn command(&self, dir: &Path) -> GitCommand<'_> {
        GitCommand {
            git: self,
            dir: dir.to_owned(),
            config: SAFE_SETTINGS.map(OsString::from).into(),
            args: Vec::new(),
            env: Vec::new(),
            input: Input::Bytes(Vec::new()),
        }
    }
}

/// Whether the environment variable `name` would point git at another repository, index or object store, or change
/// what it prints. No git of orch's, and no agent, may inherit it.
pub fn is_scrubbed(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"GIT_")
        && !KEPT_VARIABLES
            .iter()
            .any(|kept| name.as_encoded_bytes().starts_with(kept.as_bytes()))
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Reads `git version 2.47.3 (Apple Git-154)`.
fn parse_version(answer: &str) -> Option<Version> {
    let mut numbers = answer.strip_prefix("git version ")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.trim_end().parse().ok()?;
    Some(Version(major, minor))
}

/// One git command, built up and then run to its end.
///
/// It runs in a process group of its own, so that a Ctrl-C meant for orch does not tear a checkout apart; in the C
/// locale, so that messages can be read; with hooks, prompts, background maintenance and file system monitors off. It
/// inherits no descriptor but the lock given with [`GitCommand::holding`].
#[derive(Debug)]
pub struct GitCommand<'a> {
    git: &'a Git,
    dir: PathBuf,
    config: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    input: Input,
}

#[derive(Debug)]
enum Input {
    Bytes(Vec<u8>),
    Held(File),
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct GitOutput {
    command: String,
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about; the first 64 KiB.
    pub stderr: String,
}

impl GitOutput {
    /// The same, if it succeeded.
    ///
    /// # Errors
    /// If it said no.
    pub fn success(self) -> Result<Self, GitError> {
        match self.code {
            Some(0) => Ok(self),
            code => Err(GitError::Failed {
                command: self.command,
                code,
                stderr: self.stderr,
            }),
        }
    }
}

impl GitCommand<'_> {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets `name=value` in the configuration of this command alone.
    #[must_use]
    pub fn config(mut self, setting: impl Into<OsString>) -> Self {
        self.config.push(setting.into());
        self
    }

    /// Leaves the configuration as it is, so that a command can tell what it is.
    pub(super) fn without_settings(mut self) -> Self {
        self.config.clear();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Only looks: takes no optional locks, so that it can neither disturb nor be disturbed.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.env("GIT_OPTIONAL_LOCKS", "0")
    }

    /// Gives it `bytes` on standard input; nothing, otherwise.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Lets it hold `lock`, a file on which this process has an advisory lock, for as long as it runs (as its standard
    /// input, which such a command does not read). So the lock outlives a killed orch until its git has ended too.
    #[must_use]
    pub fn holding(mut self, lock: File) -> Self {
        self.input = Input::Held(lock);
        self
    }

    /// Runs it; what it printed, if it succeeded.
    ///
    /// # Errors
    /// If it could not be run, or said no.
    pub fn run(self) -> Result<Vec<u8>, GitError> {
        Ok(self.output()?.success()?.stdout)
    }

    /// Runs it; the one line it printed, if it succeeded.
    ///
    /// # Errors
    /// If it could not be run, said no, or printed something that is not one line of UTF-8.
    pub fn line(self) -> Result<String, GitError> {
        let command = self.in_words();
        let stdout = self.run()?;
        match std::str::from_utf8(&stdout).map(|text| text.strip_suffix('\n').unwrap_or(text)) {
            Ok(line) if !line.contains('\n') => Ok(line.to_owned()),
            _ => Err(GitError::unexpected(command, &stdout)),
        }
    }

    /// Runs it, whatever its exit code means.
    ///
    /// # Errors
    /// If it could not be run to its end.
    pub fn output(self) -> Result<GitOutput, GitError> {
        let command = self.in_words();
        let io = |cause| GitError::Io {
            command: command.clone(),
            cause,
        };
        let (input, stdin) = match self.input {
            Input::Bytes(ref bytes) if bytes.is_empty() => (Vec::new(), Stdio::null()),
            Input::Bytes(ref bytes) => (bytes.clone(), Stdio::piped()),
            Input::Held(ref file) => (Vec::new(), file.try_clone().map_err(io)?.into()),
        };
        let mut running = Running(self.prepared().stdin(stdin).spawn().map_err(io)?);
        let deadline = Instant::now() + TIME_MAX;
        match running.hear(&input, deadline).map_err(io)? {
            Heard::All { stdout, stderr } => {
                let Some(status) = running.wait_until(deadline).map_err(io)? else {
                    return Err(GitError::TimedOut { command });
                };
                Ok(GitOutput {
                    command,
                    code: status.code(),
                    stdout,
                    stderr: String::from_utf8_lossy(&stderr).into_owned(),
                })
            }
            Heard::TooMuch => Err(GitError::Flood { command }),
            Heard::TooLate => Err(GitError::TimedOut { command }),
        }
    }

    fn prepared(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&*self.git.program);
        for name in self.git.scrubbed.iter() {
            command.env_remove(name);
        }
        command
            .current_dir(&self.dir)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(self.git.env.iter().map(|(name, value)| (name, value)))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .args(
                self.config
                    .iter()
                    .flat_map(|setting| [OsStr::new("-c"), setting]),
            )
            .args(&self.args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }

    fn in_words(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy());
        args.fold("git".to_owned(), |line, arg| line + " " + &arg)
    }
}

impl GitError {
    /// `command` printed `stdout`, which cannot be read.
    pub(super) fn unexpected(command: impl Into<String>, stdout: &[u8]) -> Self {
        const SHOWN_BYTES: usize = 200;
        let shown = &stdout[..stdout.len().min(SHOWN_BYTES)];
        Self::Unexpected {
            command: command.into(),
            found: String::from_utf8_lossy(shown).into_owned(),
        }
    }
}

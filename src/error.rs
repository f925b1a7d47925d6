//! Errors as people and scripts meet them: a kind (the exit code), the chain of causes, and the next command to type.
//!
//! Modules raise typed errors of their own where a caller branches on them; commands wrap them here.

use std::fmt;

/// What kind of trouble ended a command; decides its exit code (`docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage, or a plan or settings file that does not check.
    Usage,
    /// The repository, the machine or a needed program is not usable as it is.
    Environment,
    /// Another orch holds this repository.
    Busy,
    /// Something that cannot happen did: a bug in orch.
    Bug,
    /// The command ran, and its answer is no (`orch check` on a warning under `--strict`, a task that does not exist).
    Negative,
}

impl ErrorKind {
    /// The process exit code of this kind; stable.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Environment => 8,
            Self::Busy => 7,
            Self::Bug => 70,
            Self::Negative => 1,
        }
    }
}

/// A failed command: kind, cause chain, and what to do next.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    cause: anyhow::Error,
    hints: Vec<String>,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` because of `cause`.
    pub fn new(kind: ErrorKind, cause: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            cause: cause.into(),
            hints: Vec::new(),
        }
    }

    /// Wrong usage or invalid input, told in `message`.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Usage, anyhow::anyhow!("{message}"))
    }

    /// A surrounding that cannot be used, told in `message`.
    pub fn environment(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Environment, anyhow::anyhow!("{message}"))
    }

    /// Adds one thing to do next: a command or an edit.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Decides the exit code.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The operating system's error at the root of it, if there is one.
    pub fn root_io(&self) -> Option<&std::io::Error> {
        self.cause.chain().find_map(|cause| cause.downcast_ref())
    }

    /// The message, its causes one a line, then the hints.
    pub fn render(&self) -> String {
        let mut out = format!("error: {}\n", self.cause);
        for cause in self.cause.chain().skip(1) {
            out.extend(["  caused by: ", &cause.to_string(), "\n"]);
        }
        if self.kind == ErrorKind::Bug {
            out += "  this is a bug in orch; the state on disk is kept as it is\n";
        }
        if !self.hints.is_empty() {
            out.push('\n');
        }
        for hint in &self.hints {
            out.extend(["hint: ", hint, "\n"]);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

/// Gives a fallible call its kind: `load(path).or_environment()?`.
pub trait OrKind<T> {
    /// Failure means the surroundings are not usable.
    ///
    /// # Errors
    /// The same failure, with its kind.
    fn or_environment(self) -> Result<T>;
    /// Failure means the input was wrong.
    ///
    /// # Errors
    /// The same failure, with its kind.
    fn or_usage(self) -> Result<T>;
    /// Failure means orch is wrong.
    ///
    /// # Errors
    /// The same failure, with its kind.
    fn or_bug(self) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrKind<T> for std::result::Result<T, E> {
    fn or_environment(self) -> Result<T> {
        self.map_err(|e| Error::new(ErrorKind::Environment, e))
    }

    fn or_usage(self) -> Result<T> {
        self.map_err(|e| Error::new(ErrorKind::Usage, e))
    }

    fn or_bug(self) -> Result<T> {
        self.map_err(|e| Error::new(ErrorKind::Bug, e))
    }
}

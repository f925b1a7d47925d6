//! The user's repository: found, judged usable, and described by its paths and settings.
//!
//! Nothing here writes to it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable::cut_off;
use super::program::{Git, GitCommand, GitError};
use super::settings::Settings;
use crate::ids::{ObjectId, RefName};

/// Repository extensions that both git and libgit2 understand, with the value that is understood where there is one.
const KNOWN_EXTENSIONS: [(&str, Option<&str>); 6] = [
    ("noop", None),
    ("objectformat", Some("sha1")),
    ("preciousobjects", None),
    ("refstorage", Some("files")),
    ("relativeworktrees", None),
    ("worktreeconfig", None),
];

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none here.
    #[error("{} is not inside a git repository", .0.display())]
    NotARepository(PathBuf),
    /// It has no working tree.
    #[error("{} is a bare repository", .0.display())]
    Bare(PathBuf),
    /// Nothing was ever committed on the current branch.
    #[error("{} has no commit yet", .0.display())]
    Unborn(PathBuf),
    /// Its objects are fetched on demand, which libgit2 cannot do.
    #[error("{} is a partial clone, whose missing objects orch cannot fetch", .0.display())]
    PartialClone(PathBuf),
    /// It is stored in a way that libgit2 cannot read: reftable, SHA-256, or something newer.
    #[error("{} uses the repository extension `{extension}`, which orch cannot read", path.display())]
    Extension {
        /// The repository.
        path: PathBuf,
        /// The extension, with its value.
        extension: String,
    },
    /// It belongs to another user, and git does not trust it.
    #[error("git does not trust {}, because it belongs to another user", .0.display())]
    DubiousOwnership(PathBuf),
    /// Its path cannot be written into the files by which git finds objects and worktrees.
    #[error("the path of the repository, {0:?}, holds a line break")]
    LineBreak(PathBuf),
    /// Commits cannot be signed with a name.
    #[error("git does not know your {0}, which commits need")]
    NoIdentity(&'static str),
    /// The git program failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// libgit2 failed.
    #[error("cannot read the repository {}", path.display())]
    Libgit2 {
        /// The repository.
        path: PathBuf,
        /// What libgit2 says.
        #[source]
        cause: git2::Error,
    },
    /// A file of the repository cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl RepositoryError {
    /// What a person can do about it: commands to type, one a line.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::NotARepository(_) => &["git init && git add -A && git commit -m 'Start'"],
            Self::Bare(_) => &["start orch in a worktree of it: git worktree add ../work"],
            Self::Unborn(_) => &["git commit --allow-empty -m 'Start'"],
            Self::PartialClone(_) => &["make a full clone and start orch there"],
            Self::Extension { extension, .. } if extension.starts_with("refstorage") => {
                &["make a clone in the default format: git clone --ref-format=files . ../files"]
            }
            Self::Extension { extension, .. } if extension.starts_with("objectformat") => {
                &["git init ../sha1 && git fast-export --all | git -C ../sha1 fast-import"]
            }
            Self::Extension { .. } => &[],
            Self::NoIdentity(_) => &[
                "git config --global user.name 'Your Name'",
                "git config --global user.email you@example.com",
            ],
            Self::DubiousOwnership(path) => {
                let path = path.to_string_lossy();
                let path = shlex::try_quote(&path).unwrap_or_else(|_| path.clone());
                return vec![format!("git config --global --add safe.directory {path}")];
            }
            Self::Git(GitError::NotFound | GitError::TooOld { .. }) => {
                &["install git 2.38 or newer"]
            }
            Self::LineBreak(_) | Self::Git(_) | Self::Libgit2 { .. } | Self::Io { .. } => &[],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}

/// The user's repository, seen from the worktree in which orch was started. Cheap to clone; holds no open file.
///
/// git2 handles are not kept: each blocking job opens its own with [`Repository::open`].
#[derive(Debug, Clone)]
pub struct Repository(Arc<Found>);

#[derive(Debug)]
struct Found {
    git: Git,
    worktree: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    settings: Settings,
}

/// What a worktree has checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A branch, and its tip.
    Branch(RefName, ObjectId),
    /// A commit.
    Detached(ObjectId),
}

impl Head {
    /// The commit.
    pub fn commit(&self) -> &ObjectId {
        match self {
            Self::Branch(_, commit) | Self::Detached(commit) => commit,
        }
    }
}

/// A worktree of the repository, which may be missing from disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Its files.
    pub path: PathBuf,
    /// Its own git directory, with HEAD and index.
    pub git_dir: PathBuf,
    /// The branch that it has checked out.
    pub branch: Option<RefName>,
}

/// A name and an address to sign commits with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

impl Repository {
    /// Finds the repository that holds `start`, and judges whether orch can work with it.
    ///
    /// # Errors
    /// Says by name why it is not usable: none here, bare, without a commit, partial, in a foreign format, not trusted.
    pub fn discover(git: &Git, start: &Path) -> Result<Self, RepositoryError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| RepositoryError::Io { path, cause }
        };
        let start = std::fs::canonicalize(start).map_err(io(start))?;
        let bare = git
            .command(&start)
            .args(["rev-parse", "--is-bare-repository"])
            .read_only()
            .line()
            .map_err(|error| refusal(error, &start))?;
        let settings = Settings::read(git, &start)?;
        judge_storage(&settings, &start)?;
        if bare == "true" {
            return Err(RepositoryError::Bare(start));
        }
        let libgit2 = |cause: git2::Error| match cause.code() {
            git2::ErrorCode::Owner => RepositoryError::DubiousOwnership(start.clone()),
            _ => RepositoryError::Libgit2 {
                path: start.clone(),
                cause,
            },
        };
        let opened = git2::Repository::discover(&start).map_err(libgit2)?;
        let Some(worktree) = opened.workdir() else {
            return Err(RepositoryError::Bare(start));
        };
        let canonical = |path: &Path| std::fs::canonicalize(path).map_err(io(path));
        let found = Found {
            git: git.clone(),
            worktree: canonical(worktree)?,
            git_dir: canonical(opened.path())?,
            common_dir: canonical(opened.commondir())?,
            settings,
        };
        for path in [&found.worktree, &found.common_dir] {
            if path.as_os_str().as_encoded_bytes().contains(&b'\n') {
                return Err(RepositoryError::LineBreak(path.clone()));
            }
        }
        let found = Self(Arc::new(found));
        found.head()?;
        Ok(found)
    }

    /// The top directory of the worktree in which orch was started.
    pub fn worktree(&self) -> &Path {
        &self.0.worktree
    }

    /// The git directory of that worktree: the common one for the main worktree, else one below `worktrees/` in it.
    pub fn git_dir(&self) -> &Path {
        &self.0.git_dir
    }

    /// The git directory that all worktrees of the repository share.
    pub fn common_dir(&self) -> &Path {
        &self.0.common_dir
    }

    /// The configuration as it was when the repository was found, from all of its files.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Opens it with libgit2, for one job on one thread.
    ///
    /// # Errors
    /// If it cannot be read any more.
    pub fn open(&self) -> Result<git2::Repository, RepositoryError> {
        git2::Repository::open(&self.0.worktree).map_err(|cause| self.unreadable(cause))
    }

    /// The git program.
    pub fn program(&self) -> &Git {
        &self.0.git
    }

    /// A git command that runs in the worktree in which orch was started, with its git directory.
    pub fn git(&self) -> GitCommand<'_> {
        self.0
            .git
            .command(&self.0.worktree)
            .env("GIT_DIR", &self.0.git_dir)
    }

    /// A git command whose files are those of the directory `tree` and whose index is the file `index`, while
    /// configuration, filters, attributes and objects are the user's.
    pub(super) fn git_over(&self, tree: &Path, index: &Path) -> GitCommand<'_> {
        self.0
            .git
            .command(tree)
            .env("GIT_DIR", &self.0.git_dir)
            .env("GIT_WORK_TREE", tree)
            .env("GIT_INDEX_FILE", index)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
    }

    /// What the worktree in which orch was started has checked out now.
    ///
    /// # Errors
    /// If there is no commit, or it cannot be read.
    pub fn head(&self) -> Result<Head, RepositoryError> {
        let opened = self.open()?;
        let head = opened.head().map_err(|cause| match cause.code() {
            git2::ErrorCode::UnbornBranch => RepositoryError::Unborn(self.0.worktree.clone()),
            _ => self.unreadable(cause),
        })?;
        if let Some(file) = head.target().and_then(|id| cut_off(&opened, id)) {
            let what = format!("the commit it stands on is cut off: {}", file.display());
            return Err(self.unreadable(git2::Error::from_str(&what)));
        }
        let commit = head
            .peel_to_commit()
            .map_err(|cause| self.unreadable(cause))?;
        let commit = ObjectId::new(commit.id().to_string());
        if !head.is_branch() {
            return Ok(Head::Detached(commit));
        }
        let name = String::from_utf8_lossy(head.name_bytes()).into_owned();
        Ok(Head::Branch(RefName::new(name), commit))
    }

    /// The name and address git would sign a commit with, from environment and configuration; never guessed from the
    /// machine's names.
    ///
    /// # Errors
    /// If one of them is nowhere set.
    pub fn identity(&self) -> Result<Identity, RepositoryError> {
        let command = self
            .git()
            .config("user.useConfigOnly=true")
            .args(["var", "GIT_AUTHOR_IDENT"]);
        let line = command.line().map_err(|error| match error {
            GitError::Failed { ref stderr, .. } if stderr.contains("no email was given") => {
                RepositoryError::NoIdentity("e-mail address")
            }
            GitError::Failed { ref stderr, .. } if stderr.contains("name") => {
                RepositoryError::NoIdentity("name")
            }
            other => other.into(),
        })?;
        let unreadable = || GitError::unexpected("git var GIT_AUTHOR_IDENT", line.as_bytes());
        let (name, rest) = line.split_once(" <").ok_or_else(unreadable)?;
        let (email, _) = rest.split_once('>').ok_or_else(unreadable)?;
        Ok(Identity {
            name: name.to_owned(),
            email: email.to_owned(),
        })
    }

    /// All worktrees of the repository, the main one first. Read from their files, so that one whose directory is
    /// missing (another disk, for example) is listed too.
    ///
    /// # Errors
    /// If one of their files cannot be read.
    pub fn worktrees(&self) -> Result<Vec<Worktree>, RepositoryError> {
        let common_dir = &self.0.common_dir;
        let main = git2::Repository::open(common_dir).map_err(|cause| self.unreadable(cause))?;
        let mut all = Vec::new();
        if let Some(path) = main.workdir() {
            all.push(Worktree {
                path: path.to_owned(),
                git_dir: common_dir.clone(),
                branch: branch_of(common_dir)?,
            });
        }
        let linked = main.worktrees().map_err(|cause| self.unreadable(cause))?;
        for name in linked.iter_bytes() {
            let git_dir = common_dir.join("worktrees").join(as_path(name));
            let link = read(&git_dir.join("gitdir"))?;
            let link = git_dir.join(as_path(link.trim_ascii_end()));
            all.push(Worktree {
                path: link.parent().unwrap_or(&link).to_owned(),
                branch: branch_of(&git_dir)?,
                git_dir,
            });
        }
        Ok(all)
    }

    fn unreadable(&self, cause: git2::Error) -> RepositoryError {
        match cause.code() {
            git2::ErrorCode::Owner => RepositoryError::DubiousOwnership(self.0.worktree.clone()),
            _ => RepositoryError::Libgit2 {
                path: self.0.worktree.clone(),
                cause,
            },
        }
    }
}

/// What git's refusal to look at the repository around `start` means.
fn refusal(error: GitError, start: &Path) -> RepositoryError {
    let GitError::Failed { ref stderr, .. } = error else {
        return error.into();
    };
    if stderr.contains("not a git repository") {
        return RepositoryError::NotARepository(start.to_owned());
    }
    if let Some((_, rest)) = stderr.split_once("dubious ownership in repository at '") {
        let path = rest.split('\'').next().unwrap_or(rest);
        return RepositoryError::DubiousOwnership(PathBuf::from(path));
    }
    if stderr.contains("extension") || stderr.contains("expected git repo version") {
        return RepositoryError::Extension {
            path: start.to_owned(),
            extension: stderr.trim().replace('\n', " "),
        };
    }
    error.into()
}

/// Refuses the forms of storage that libgit2 cannot read.
fn judge_storage(settings: &Settings, start: &Path) -> Result<(), RepositoryError> {
    for (key, value) in settings.below("extensions.") {
        let value = String::from_utf8_lossy(value);
        let extension = String::from_utf8_lossy(key).into_owned();
        if extension == "partialclone" {
            return Err(RepositoryError::PartialClone(start.to_owned()));
        }
        let known = KNOWN_EXTENSIONS.iter().any(|(name, needed)| {
            *name == extension && needed.is_none_or(|needed| needed == value)
        });
        if !known {
            return Err(RepositoryError::Extension {
                path: start.to_owned(),
                extension: format!("{extension} = {value}"),
            });
        }
    }
    let promised =
        |key: &[u8]| key.ends_with(b".promisor") || key.ends_with(b".partialclonefilter");
    if settings.below("remote.").any(|(key, _)| promised(key)) {
        return Err(RepositoryError::PartialClone(start.to_owned()));
    }
    Ok(())
}

/// The branch that the HEAD file in `git_dir` names.
fn branch_of(git_dir: &Path) -> Result<Option<RefName>, RepositoryError> {
    let head = read(&git_dir.join("HEAD"))?;
    let name = head.trim_ascii_end().strip_prefix(b"ref: ");
    Ok(name.map(|name| RefName::new(String::from_utf8_lossy(name))))
}

fn read(path: &Path) -> Result<Vec<u8>, RepositoryError> {
    std::fs::read(path).map_err(|cause| RepositoryError::Io {
        path: path.to_owned(),
        cause,
    })
}

/// A path as git gives it.
pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

//! Roles: who an agent is, which tools it has, which model answers. A file of the repository, else a built-in text.
//!
//! Roles are read once, at the start of a run; what an agent changes in them holds for later runs.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use crate::config::Permission;
use crate::plan::bounds;

#[cfg(test)]
mod tests;

/// The role of tasks that name none.
pub const DEFAULT: &str = "coder";

/// The word for [`Profile::ReadOnly`].
const READ_ONLY: &str = "read-only";

/// Tools that write files.
pub const WRITERS: [&str; 3] = ["Edit", "NotebookEdit", "Write"];

/// A role is a page or two; it is part of the prompt of every session.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The built-in roles, by name. A file of the same name takes their place.
const BUILT_IN: [(&str, &str); 11] = [
    ("code-reviewer", include_str!("roles/code-reviewer.md")),
    ("coder", include_str!("roles/coder.md")),
    ("issue-verifier", include_str!("roles/issue-verifier.md")),
    ("merge-resolver", include_str!("roles/merge-resolver.md")),
    ("planner", include_str!("roles/planner.md")),
    ("qa-auditor", include_str!("roles/qa-auditor.md")),
    ("spec-verifier", include_str!("roles/spec-verifier.md")),
    (
        "systems-designer",
        include_str!("roles/systems-designer.md"),
    ),
    ("ux-designer", include_str!("roles/ux-designer.md")),
    ("ux-reviewer", include_str!("roles/ux-reviewer.md")),
    ("validator", include_str!("roles/validator.md")),
];

/// Who an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// As tasks name it.
    pub name: String,
    /// One line for people; may be empty.
    pub description: String,
    /// The tools its sessions have; none: the settings say.
    pub tools: Option<Vec<String>>,
    /// The model that answers; none: the plan, the command line or the program say.
    pub model: Option<String>,
    /// What its sessions may do without being asked; none: the settings say.
    pub profile: Option<Profile>,
    /// How hard the model thinks; none: the program's default.
    pub effort: Option<Effort>,
    /// What its sessions are told.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
}

/// What sessions of a role may do without being asked. Each is a whole set of flags under which nobody is ever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Look and run commands; the tools that write files do not exist, and what changes all the same is an error.
    ReadOnly,
    /// As the program's mode of this name.
    Mode(Permission),
}

/// How hard a model thinks, in the agent program's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Least.
    Low,
    /// The program's usual one.
    Medium,
    /// More.
    High,
    /// Still more.
    XHigh,
    /// Most.
    Max,
}

impl Profile {
    /// As role files spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => READ_ONLY,
            Self::Mode(permission) => permission.as_str(),
        }
    }
}

impl Effort {
    const WORDS: [(&'static str, Self); 5] = [
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("xhigh", Self::XHigh),
        ("max", Self::Max),
    ];

    /// As role files and the agent program spell it.
    pub fn as_str(self) -> &'static str {
        let (word, _) = Self::WORDS
            .iter()
            .find(|(_, effort)| *effort == self)
            .expect("every effort has a word");
        word
    }
}

/// Where a role comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Part of orch.
    BuiltIn,
    /// A file of the repository.
    File(PathBuf),
}

/// Why a role cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Neither a file nor a built-in role.
    #[error("there is no role `{name}`: neither {} nor built in", path.display())]
    NotFound {
        /// As asked for.
        name: String,
        /// The file that would be it.
        path: PathBuf,
    },
    /// A name that cannot be a file's.
    #[error("`{0}` cannot be the name of a role: letters, digits, `-`, `_` and inner dots only")]
    BadName(String),
    /// The file is there and cannot be read.
    #[error("cannot read role `{name}` from {}", path.display())]
    Io {
        /// Which role.
        name: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file's text is not a role.
    #[error("role `{name}`: {what}")]
    Invalid {
        /// Which role.
        name: String,
        /// The key of its front matter that is wrong, if it is one.
        key: Option<&'static str>,
        /// What is wrong, with the line where it is known.
        what: String,
    },
}

/// The role `name`: `<name>.md` in `agents_dir`, else the built-in one.
///
/// # Errors
/// If there is none, or the file is not a role.
pub fn load(agents_dir: &Path, name: &str) -> Result<Role, RoleError> {
    if !is_usable(name) {
        return Err(RoleError::BadName(name.to_owned()));
    }
    let path = agents_dir.join(format!("{name}.md"));
    match read(&path) {
        Ok(text) => parse(name, &text, Source::File(path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            built_in(name).ok_or_else(|| RoleError::NotFound {
                name: name.to_owned(),
                path,
            })
        }
        Err(source) => Err(RoleError::Io {
            name: name.to_owned(),
            path,
            source,
        }),
    }
}

/// The built-in role `name`.
pub fn built_in(name: &str) -> Option<Role> {
    let (name, text) = BUILT_IN.iter().find(|(n, _)| *n == name)?;
    Some(parse(name, text, Source::BuiltIn).expect("a test reads every built-in role"))
}

/// Every role that a task could name, by name: the files of `agents_dir`, and the built-in ones they leave standing. A
/// directory that is not there has no files.
///
/// # Errors
/// If the directory cannot be read. A file that is not a role has its error in its place.
pub fn list(agents_dir: &Path) -> io::Result<Vec<(String, Result<Role, RoleError>)>> {
    let mut names: Vec<String> = BUILT_IN
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    match fs::read_dir(agents_dir) {
        Ok(entries) => {
            for entry in entries {
                let file = PathBuf::from(entry?.file_name());
                if file.extension().is_some_and(|e| e == "md") {
                    names.extend(file.file_stem().and_then(|s| s.to_str()).map(str::to_owned));
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    names.sort();
    names.dedup();
    Ok(names
        .into_iter()
        .map(|name| (name.clone(), load(agents_dir, &name)))
        .collect())
}

fn is_usable(name: &str) -> bool {
    !name.starts_with('.')
        && !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!(
            "larger than {} KiB",
            FILE_BYTES_MAX / 1024
        ))),
        false => Ok(text),
    }
}

/// Reads a role file: a front matter between two lines of `---` with `name`, `description`, `tools`, `model`,
/// `permission` and `effort`, then the text. Other keys belong to the agent program. A text that does not begin with `---` has no front matter.
fn parse(name: &str, file: &str, source: Source) -> Result<Role, RoleError> {
    let wrong = |key, what| RoleError::Invalid {
        name: name.to_owned(),
        key,
        what,
    };
    let invalid = |what: String| wrong(None, what);
    let file = file.strip_prefix('\u{feff}').unwrap_or(file);
    let (front, text) = split(file).map_err(|what| invalid(what.to_owned()))?;
    let front = match front {
        None => Front::default(),
        Some(yaml) => Front::parse(yaml).map_err(|(key, what)| wrong(key, what))?,
    };
    if let Some(other) = front.name.filter(|n| n != name) {
        return Err(wrong(
            Some("name"),
            format!("its front matter calls it `{other}`; name and file name must agree"),
        ));
    }
    if text.trim().is_empty() {
        return Err(invalid("it has no text".to_owned()));
    }
    Ok(Role {
        name: name.to_owned(),
        description: front.description.unwrap_or_default(),
        tools: front.tools,
        model: front.model,
        profile: front.profile,
        effort: front.effort,
        text: text.trim().to_owned(),
        source,
    })
}

/// The front matter, if there is one, and the text.
fn split(file: &str) -> Result<(Option<&str>, &str), &'static str> {
    let is_rule = |line: &str| line.trim_end() == "---";
    let start = file.trim_start_matches(['\n', '\r']);
    let Some(first) = start.split_inclusive('\n').next().filter(|l| is_rule(l)) else {
        return Ok((None, file));
    };
    let body = &start[first.len()..];
    let mut end = 0;
    for line in body.split_inclusive('\n') {
        if is_rule(line) {
            return Ok((Some(&body[..end]), &body[end + line.len()..]));
        }
        end += line.len();
    }
    Err("its front matter is not closed by a line `---`")
}

#[derive(Default)]
struct Front {
    name: Option<String>,
    description: Option<String>,
    tools: Option<Vec<String>>,
    model: Option<String>,
    profile: Option<Profile>,
    effort: Option<Effort>,
}

/// What is wrong with a front matter, and with which key of it.
type Wrong = (Option<&'static str>, String);

impl Front {
    fn parse(yaml: &str) -> Result<Self, Wrong> {
        let value: Value = serde_yaml::from_str(yaml).map_err(|e| {
            // The parser counts from the line after `---`; people count from the top of the file.
            let line = e.location().map_or(1, |l| l.line() + 1);
            (None, format!("line {line} of its front matter is not YAML: {e}; a value with `: ` or `#` needs quotes"))
        })?;
        if !matches!(value, Value::Mapping(_) | Value::Null) {
            let what = "its front matter is not a list of `key: value`";
            return Err((None, what.to_owned()));
        }
        let of = |key: &'static str| move |what: String| (Some(key), what);
        let tools = tools(&value).map_err(of("tools"))?;
        let profile = profile(&value).map_err(of("permission"))?;
        let writes = |tools: &Vec<String>| {
            tools
                .iter()
                .find(|t| WRITERS.contains(&t.as_str()))
                .cloned()
        };
        if profile == Some(Profile::ReadOnly)
            && let Some(tool) = tools.as_ref().and_then(writes)
        {
            let what = format!("a `{READ_ONLY}` role has no tool `{tool}`");
            return Err((Some("tools"), what));
        }
        let description = string(&value, "description").map_err(of("description"))?;
        Ok(Self {
            name: string(&value, "name").map_err(of("name"))?,
            description: description.map(|d| d.split_whitespace().collect::<Vec<_>>().join(" ")),
            tools,
            model: model(&value).map_err(of("model"))?,
            profile,
            effort: effort(&value).map_err(of("effort"))?,
        })
    }
}

/// `inherit` is the agent program's word for "whatever the others use".
fn model(front: &Value) -> Result<Option<String>, String> {
    let named = string(front, "model")?;
    if let Some(model) = &named {
        bounds::model(model).map_err(|wrong| format!("`model` in its front matter: {wrong}"))?;
    }
    Ok(named.filter(|model| model != "inherit"))
}

fn string(front: &Value, key: &str) -> Result<Option<String>, String> {
    match front.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) if s.trim().is_empty() => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.trim().to_owned())),
        Some(_) => Err(format!("`{key}` in its front matter is not a text")),
    }
}

fn profile(front: &Value) -> Result<Option<Profile>, String> {
    let Some(word) = string(front, "permission")? else {
        return Ok(None);
    };
    if word == READ_ONLY {
        return Ok(Some(Profile::ReadOnly));
    }
    let known = Permission::WORDS.iter().find(|(w, _)| *w == word);
    known
        .map(|(_, permission)| Some(Profile::Mode(*permission)))
        .ok_or_else(|| {
            let words: Vec<&str> = Permission::WORDS.iter().map(|(word, _)| *word).collect();
            format!(
                "`permission: {word}` in its front matter is none of {READ_ONLY}, {}",
                words.join(", ")
            )
        })
}

fn effort(front: &Value) -> Result<Option<Effort>, String> {
    let Some(word) = string(front, "effort")? else {
        return Ok(None);
    };
    let known = Effort::WORDS.iter().find(|(w, _)| *w == word);
    known.map(|(_, effort)| Some(*effort)).ok_or_else(|| {
        let words = Effort::WORDS.map(|(word, _)| word).join(", ");
        format!("`effort: {word}` in its front matter is none of {words}")
    })
}

/// `[Read, Grep]` and `Read, Grep` alike.
fn tools(front: &Value) -> Result<Option<Vec<String>>, String> {
    let names: Vec<&str> = match front.get("tools") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(s)) => s
            .split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .collect(),
        Some(Value::Sequence(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::trim))
            .collect::<Option<_>>()
            .ok_or("`tools` in its front matter holds something that is not a text")?,
        Some(_) => return Err("`tools` in its front matter is not a list".to_owned()),
    };
    let is_tool = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    match names.iter().find(|name| !is_tool(name)) {
        Some(odd) => Err(format!("`{odd}` in its `tools` is not the name of a tool")),
        None if names.is_empty() => {
            Err("its `tools` is empty; leave the key out for the usual ones".to_owned())
        }
        None => Ok(Some(names.into_iter().map(str::to_owned).collect())),
    }
}

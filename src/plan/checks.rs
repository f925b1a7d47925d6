//! What a task's work is checked by before it may land: verify commands, protected paths, outputs, limits. As data, and
//! how it is read; what it means is decided in `verify` and in the driver.
//!
//! All of it gives power over what lands, so it comes from a person's text only (`diff::permit`).

mod idle;
mod schema;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::TIMEOUT_MAX;
use super::graph::Gates;
use super::keys;
use super::paths::{globs, plain_path_problem};
use super::reader::{Fields, Reader, Spanned, quote};
use super::syntax::{Node, NodeKind};
use crate::diagnostic::Diagnostic;
use crate::digest::sha256_hex;
pub(crate) use idle::cannot_fail;
pub use schema::Schema;

/// Longest name that is made of a command's text.
const NAME_CHARS_MAX: usize = 60;

/// Most verify commands of one list: each is run for every landing.
const COMMANDS_MAX: usize = 64;

/// Most files, and lines, that a limit can allow.
const LIMIT_MAX: u32 = 1_000_000_000;

/// A command that judges a landing commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyCommand {
    /// Unique among the commands of a task: one of the same name nearer to the task takes its place.
    pub name: String,
    /// The shell's text.
    pub run: String,
    /// Its longest time, if the text says so.
    pub timeout: Option<Duration>,
    /// Whether nothing lands unless it passes.
    pub required: bool,
    /// Which failures count.
    pub fail_on: FailOn,
    /// Variables beside the inherited ones.
    pub env: BTreeMap<String, String>,
    /// Globs of the files that tell what it did, in place of its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
    /// Whether it was written at the task that it judges: then it says what this task must achieve, and may be red before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_goal: bool,
}

/// Which failures of a command count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailOn {
    /// All of them; the command must pass on the base, too, unless it is the task's own.
    #[default]
    Any,
    /// Those that the base does not have.
    New,
}

/// A file that a task must leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where, relative to the repository.
    pub path: String,
    /// What must hold for it. An output without a word about its content must exist.
    pub wants: Vec<Want>,
}

/// One condition on an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Whether it is there.
    Exists(bool),
    /// A text that it holds.
    Contains(String),
    /// A text that it does not hold.
    NotContains(String),
    /// It is JSON that fits a schema.
    JsonSchema(Schema),
}

/// How much a candidate may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeLimits {
    /// Files.
    pub files: Option<u32>,
    /// Lines, added and removed ones together.
    pub lines: Option<u32>,
}

/// Which protected paths a task may change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// None.
    #[default]
    None,
    /// Those that a glob matches.
    Globs(Vec<String>),
    /// All.
    All,
}

/// What one level of a plan (`meta`, a section, a task), or several of them, ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checks {
    /// Commands that judge the landing commit, in order.
    pub verify: Vec<VerifyCommand>,
    /// Globs of paths that must not change, beside the default ones.
    pub protect: Vec<String>,
    /// Globs of paths that are not protected although they are by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unprotect: Vec<String>,
    /// The exceptions.
    pub allow_protected: Allowed,
    /// Files that must be left.
    pub outputs: Vec<Output>,
    /// How much may change.
    pub limits: ChangeLimits,
    /// Whether the candidate's tests must fail without its other files, if the text says so.
    #[serde(default)]
    pub red_green: Option<bool>,
}

impl VerifyCommand {
    /// A required command, named by its own text.
    pub fn plain(run: &str) -> Self {
        Self {
            name: name_of(run),
            run: run.to_owned(),
            timeout: None,
            required: true,
            fail_on: FailOn::Any,
            env: BTreeMap::new(),
            reports: Vec::new(),
            is_goal: false,
        }
    }

    /// Whether the target must pass it before a task is begun.
    pub fn must_pass_before(&self) -> bool {
        self.fail_on == FailOn::Any && !self.is_goal
    }

    /// SHA-256 of what is run and read, in hexadecimal: two commands with the same hash say the same of the same tree.
    pub fn hash(&self) -> String {
        let bytes = match self.reports.is_empty() {
            true => serde_json::to_vec(&("orch command 1", &self.run, &self.env)),
            false => serde_json::to_vec(&("orch command 2", &self.run, &self.env, &self.reports)),
        };
        sha256_hex(&bytes.expect("texts are JSON"))
    }
}

impl Checks {
    /// What levels ask for together, the nearest to the task first.
    pub(super) fn of_levels(levels: [Option<&Self>; 3]) -> Self {
        let levels = levels.into_iter().flatten().cloned();
        levels
            .reduce(|near, far| near.over(&far))
            .unwrap_or_default()
    }

    /// These checks over those of a level farther from the task. Commands of a name take the place of the farther one's;
    /// protections and exceptions add up; of limits the nearer one holds.
    #[must_use]
    pub fn over(mut self, farther: &Self) -> Self {
        let taken = |command: &&VerifyCommand| self.verify.iter().all(|c| c.name != command.name);
        let mut verify: Vec<VerifyCommand> = farther.verify.iter().filter(taken).cloned().collect();
        verify.append(&mut self.verify);
        let mut protect = farther.protect.clone();
        protect.append(&mut self.protect);
        Self {
            verify,
            protect,
            unprotect: self
                .unprotect
                .into_iter()
                .chain(farther.unprotect.iter().cloned())
                .collect(),
            allow_protected: self.allow_protected.and(&farther.allow_protected),
            outputs: self.outputs,
            limits: ChangeLimits {
                files: self.limits.files.or(farther.limits.files),
                lines: self.limits.lines.or(farther.limits.lines),
            },
            red_green: self.red_green.or(farther.red_green),
        }
    }

    /// These checks as what a task itself asks for.
    #[must_use]
    pub(super) fn of_task(mut self: Box<Self>) -> Box<Self> {
        for command in &mut self.verify {
            command.is_goal = true;
        }
        self
    }

    /// Whether the tests of a candidate must fail without its other files.
    pub fn wants_red(&self) -> bool {
        self.red_green == Some(true)
    }

    /// Whether they judge a landing commit.
    pub fn gates(&self) -> Gates {
        if self.verify.iter().any(|command| command.required) {
            Gates::Required
        } else if !self.verify.is_empty() || !self.outputs.is_empty() {
            Gates::Optional
        } else {
            Gates::None
        }
    }
}

impl Allowed {
    fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, other) => other.clone(),
            (globs, Self::None) => globs,
            (Self::Globs(mut mine), Self::Globs(theirs)) => {
                mine.extend(theirs.iter().cloned());
                Self::Globs(mine)
            }
        }
    }
}

/// The checks that a mapping asks for; `None` if it has none of their keys.
pub(super) fn read<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<Box<Checks>> {
    let keys = [
        "verify",
        "protect",
        "allow_protected",
        "outputs",
        "limits",
        "red_green",
    ];
    keys.iter().find_map(|key| fields.get(key))?;
    let verify = match fields.get("verify") {
        Some(node) => commands(reader, node),
        None => Vec::new(),
    };
    let red_green = reader.word(fields, "red_green", &[("true", true), ("false", false)]);
    Some(Box::new(Checks {
        verify,
        protect: globs(reader, fields, "protect"),
        unprotect: Vec::new(),
        allow_protected: allowed(reader, fields),
        outputs: outputs(reader, fields),
        limits: limits(reader, fields),
        red_green,
    }))
}

/// The commands of `smoke`, which are written as those of `verify` are; an empty list says that there are none.
pub(super) fn read_smoke<'t>(
    reader: &mut Reader<'t>,
    fields: &Fields<'t>,
) -> Option<Vec<VerifyCommand>> {
    fields.get("smoke").map(|node| commands(reader, node))
}

/// Verify commands of a settings file; the first problem in words.
pub(crate) fn of_settings(node: &Node<'_>) -> Result<Vec<VerifyCommand>, String> {
    let mut reader = Reader::new("", node, true);
    let commands = commands(&mut reader, node);
    reader.problems.first_error().map_or(Ok(commands), Err)
}

/// What a person should know of verify commands of a settings file that can be used: those that cannot fail.
pub(crate) fn warnings_of_settings(node: &Node<'_>) -> Vec<Diagnostic> {
    let mut reader = Reader::new("", node, true);
    commands(&mut reader, node);
    let mut found = reader.problems.into_diagnostics();
    found.retain(|d| d.severity == crate::diagnostic::Severity::Warning);
    found
}

/// A list of commands; one text stands for a list of one.
fn commands<'t>(reader: &mut Reader<'t>, node: &'t Node<'t>) -> Vec<VerifyCommand> {
    let node = reader.resolve(node);
    let items = match &node.kind {
        NodeKind::Sequence { items, .. } => &items[..],
        NodeKind::Scalar { .. } => std::slice::from_ref(node),
        NodeKind::Mapping { .. } | NodeKind::Alias { .. } => {
            reader.wrong_type(node, "`verify`", "a command, or a list of them");
            return Vec::new();
        }
    };
    if let Some(item) = items.get(COMMANDS_MAX) {
        let message = format!("there are more than {COMMANDS_MAX} verify commands");
        reader.push(Diagnostic::error("too-many-commands", message).at(item.span()));
        return Vec::new();
    }
    let mut commands: Vec<VerifyCommand> = Vec::with_capacity(items.len());
    for item in items {
        let Some((command, span)) = command(reader, item) else {
            continue;
        };
        if commands.iter().any(|known| known.name == command.name) {
            let message = format!("two verify commands are called {}", quote(&command.name));
            reader.push(
                Diagnostic::error("duplicate-name", message)
                    .at(span)
                    .help("give one of them another `name`"),
            );
            continue;
        }
        commands.push(command);
    }
    commands
}

fn command<'t>(
    reader: &mut Reader<'t>,
    node: &'t Node<'t>,
) -> Option<(VerifyCommand, std::ops::Range<usize>)> {
    let node = reader.resolve(node);
    if let Some(text) = node.as_scalar() {
        let run = Spanned {
            text,
            span: node.span(),
        };
        check_run(reader, &run).then_some(())?;
        return Some((VerifyCommand::plain(text), run.span));
    }
    let fields = reader.fields(node, &keys::VERIFY, "a verify command")?;
    let Some(run) = reader.text(&fields, "run") else {
        if fields.get("run").is_none() {
            reader.push(
                Diagnostic::error("missing-run", "a verify command needs `run`, the command")
                    .at(fields.head())
                    .help("write for example `verify: [{name: test, run: cargo test}]`"),
            );
        }
        return None;
    };
    check_run(reader, &run).then_some(())?;
    let switch = [("true", true), ("false", false)];
    let name = reader.text(&fields, "name").map(|name| name.text);
    let command = VerifyCommand {
        name: name_of(name.filter(|n| !n.trim().is_empty()).unwrap_or(run.text)),
        run: run.text.to_owned(),
        timeout: reader.duration(&fields, "timeout", Duration::from_secs(1)..=TIMEOUT_MAX),
        required: reader.word(&fields, "required", &switch).unwrap_or(true),
        fail_on: reader
            .word(
                &fields,
                "fail_on",
                &[("any", FailOn::Any), ("new", FailOn::New)],
            )
            .unwrap_or_default(),
        env: environment(reader, &fields),
        reports: globs(reader, &fields, "reports"),
        is_goal: false,
    };
    Some((command, run.span))
}

/// Whether a command can be run. One that cannot fail is, and is flagged.
fn check_run(reader: &mut Reader<'_>, run: &Spanned<'_>) -> bool {
    if run.text.trim().is_empty() || run.text.contains('\0') {
        reader.push(Diagnostic::error("missing-run", "the command is blank").at(run.span.clone()));
        return false;
    }
    if let Some(why) = cannot_fail(run.text) {
        reader.push(
            Diagnostic::warning("cannot-fail", format!("this command cannot fail: {why}"))
                .at(run.span.clone())
                .help("a verify command that always passes vouches for nothing"),
        );
    }
    true
}

fn environment<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Some(node) = fields.get("env") else {
        return env;
    };
    let Some(variables) = reader.any_fields(node, "`env`") else {
        return env;
    };
    for (name, key, value) in variables.iter() {
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match value.as_scalar() {
            _ if !is_name || name.starts_with("ORCH_") => reader.push(
                Diagnostic::error(
                    "unusable-name",
                    format!("{} cannot be set as a variable", quote(name)),
                )
                .at(key.span()),
            ),
            Some(text) => drop(env.insert(name.to_owned(), text.to_owned())),
            None => reader.wrong_type(value, "the value of a variable", "a text"),
        }
    }
    env
}

fn allowed<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Allowed {
    match fields.get("allow_protected").and_then(Node::as_scalar) {
        Some("true") => Allowed::All,
        Some("false") => Allowed::None,
        Some(_) | None => match globs(reader, fields, "allow_protected") {
            globs if globs.is_empty() => Allowed::None,
            globs => Allowed::Globs(globs),
        },
    }
}

fn limits<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> ChangeLimits {
    let Some(node) = fields.get("limits") else {
        return ChangeLimits::default();
    };
    let Some(fields) = reader.fields(node, &keys::LIMITS, "`limits`") else {
        return ChangeLimits::default();
    };
    ChangeLimits {
        files: reader.count(&fields, "files", 0..=LIMIT_MAX),
        lines: reader.count(&fields, "lines", 0..=LIMIT_MAX),
    }
}

fn outputs<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Vec<Output> {
    let items = reader
        .items(fields, "outputs", "outputs")
        .unwrap_or_default();
    items
        .iter()
        .filter_map(|item| output(reader, item))
        .collect()
}

fn output<'t>(reader: &mut Reader<'t>, node: &'t Node<'t>) -> Option<Output> {
    let node = reader.resolve(node);
    if let Some(text) = node.as_scalar() {
        let span = node.span();
        return Some(Output {
            path: path(reader, &Spanned { text, span })?,
            wants: vec![Want::Exists(true)],
        });
    }
    let fields = reader.fields(node, &keys::OUTPUT, "an output")?;
    let Some(at) = reader.text(&fields, "path") else {
        let problem = Diagnostic::error("missing-path", "an output needs `path`");
        reader.push(problem.at(fields.head()));
        return None;
    };
    let path_of_output = path(reader, &at)?;
    let mut wants = Vec::new();
    let switch = [("true", true), ("false", false)];
    wants.extend(reader.word(&fields, "exists", &switch).map(Want::Exists));
    for (key, want) in [
        ("contains", Want::Contains as fn(String) -> Want),
        ("not_contains", Want::NotContains),
    ] {
        let texts = match fields.get(key).and_then(Node::as_scalar) {
            Some(text) => vec![text.to_owned()],
            None => reader
                .texts(&fields, key, "texts")
                .unwrap_or_default()
                .into_iter()
                .map(|text| text.text.to_owned())
                .collect(),
        };
        wants.extend(texts.into_iter().map(want));
    }
    wants.extend(schema::read(reader, &fields).map(Want::JsonSchema));
    if wants.is_empty() {
        wants.push(Want::Exists(true));
    }
    Some(Output {
        path: path_of_output,
        wants,
    })
}

fn path(reader: &mut Reader<'_>, path: &Spanned<'_>) -> Option<String> {
    let text = path.text.strip_prefix("./").unwrap_or(path.text);
    match plain_path_problem(text) {
        None => Some(text.to_owned()),
        Some(problem) => {
            let message = format!("{} {problem}", quote(path.text));
            reader.push(Diagnostic::error("unusable-path", message).at(path.span.clone()));
            None
        }
    }
}

/// A name made of a text: its first line, not too long.
fn name_of(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    match line.chars().count() > NAME_CHARS_MAX {
        true => line.chars().take(NAME_CHARS_MAX - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearer_level_takes_the_place_of_commands_by_name_and_adds_to_the_rest() {
        let level = |runs: &[(&str, &str)]| Checks {
            verify: runs
                .iter()
                .map(|(name, run)| VerifyCommand {
                    name: (*name).to_owned(),
                    ..VerifyCommand::plain(run)
                })
                .collect(),
            protect: runs.iter().map(|(name, _)| (*name).to_owned()).collect(),
            ..Checks::default()
        };
        let far = level(&[("lint", "a"), ("test", "b")]);
        let near = level(&[("test", "c"), ("more", "d")]).over(&far);
        let runs: Vec<&str> = near.verify.iter().map(|c| c.run.as_str()).collect();
        assert_eq!(runs, ["a", "c", "d"]);
        assert_eq!(near.protect, ["lint", "test", "test", "more"]);
        assert_eq!(near.gates(), Gates::Required);
    }

    #[test]
    fn what_is_run_makes_the_hash_and_not_how_it_is_called() {
        let mut command = VerifyCommand::plain("make test");
        let hash = command.hash();
        command.name = "another".to_owned();
        command.fail_on = FailOn::New;
        assert_eq!(command.hash(), hash);
        command.env.insert("CI".to_owned(), "1".to_owned());
        assert_ne!(command.hash(), hash);
    }
}

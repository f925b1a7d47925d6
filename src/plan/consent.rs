//! What a task waits for besides other tasks: the approval of a person, and evidence from outside. As data, and how it is
//! read.
//!
//! Both decide what lands, so they come from a person's text only (`diff::permit`).

use std::time::Duration;

use serde::Serialize;

use super::bounds::TIMEOUT_MAX;
use super::graph::When;
use super::keys;
use super::paths::check_globs;
use super::reader::{Fields, Reader, quote};
use super::syntax::{Node, NodeKind};
use crate::diagnostic::Diagnostic;

/// How often evidence is looked for, if the text does not say.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The longest time between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(24 * 3600);

/// A level of a plan about approvals: what it says holds for its tasks unless a nearer one says something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Nobody is asked, whatever a farther level says.
    Open,
    /// A person is asked.
    Approval(Approval),
}

/// A person must say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Why, for the person who is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to look at, in the words of whoever wrote the plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// To what.
    pub when: When,
}

/// Evidence from outside that must be there before the task starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// What is looked for.
    pub source: Source,
    /// How often.
    pub every: Duration,
    /// How long; as long as the run goes on if none.
    pub timeout: Option<Duration>,
}

/// What evidence is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command that succeeds once it is there.
    Run(String),
    /// Files of the person's checkout, as globs; each must match. They are shown to the agent, read-only.
    Files(Vec<String>),
}

impl Gate {
    /// Whom it asks.
    pub fn approval(&self) -> Option<&Approval> {
        match self {
            Self::Open => None,
            Self::Approval(approval) => Some(approval),
        }
    }
}

impl Approval {
    /// What `gate: approval` stands for.
    fn plain() -> Self {
        Self {
            reason: None,
            evidence: Vec::new(),
            when: When::default(),
        }
    }

    /// The value of `gate` that says the same, as YAML on one line.
    pub(super) fn yaml(&self) -> String {
        if *self == Self::plain() {
            return "approval".to_owned();
        }
        // JSON is YAML.
        serde_json::to_string(self).expect("texts are JSON")
    }
}

/// `gate` of the plan, a section or a task: a word, or a mapping.
pub(super) fn gate<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<Gate> {
    let node = fields.get("gate")?;
    match node.as_scalar() {
        Some("approval") => return Some(Gate::Approval(Approval::plain())),
        Some("none") => return Some(Gate::Open),
        Some(word) => {
            reader.push(
                Diagnostic::error("unknown-gate", format!("{} is no gate", quote(word)))
                    .at(node.span())
                    .help("write `gate: approval`, `gate: none`, or a mapping with `reason`, `evidence`, `when`"),
            );
            return None;
        }
        None => {}
    }
    let gate = reader.fields(node, &keys::GATE, "`gate`")?;
    let whens = [("before", When::Before), ("after", When::After)];
    Some(Gate::Approval(Approval {
        reason: reader.owned(&gate, "reason"),
        evidence: lines(reader, &gate, "evidence"),
        when: reader.word(&gate, "when", &whens).unwrap_or_default(),
    }))
}

/// One text, or a list of them.
fn lines<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>, key: &str) -> Vec<String> {
    match fields.get(key).map(|node| &node.kind) {
        Some(NodeKind::Scalar { .. }) => reader.owned(fields, key).into_iter().collect(),
        Some(_) => {
            let texts = reader.texts(fields, key, "texts").unwrap_or_default();
            texts.into_iter().map(|text| text.text.to_owned()).collect()
        }
        None => Vec::new(),
    }
}

/// `external` of a task.
pub(super) fn external<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<External> {
    let node = fields.get("external")?;
    let external = reader.fields(node, &keys::EXTERNAL, "`external`")?;
    let run = reader.text(&external, "run");
    let files = reader.texts(&external, "files", "globs");
    let source = match (run, files) {
        (Some(run), None) if !run.text.trim().is_empty() => Source::Run(run.text.to_owned()),
        (None, Some(files)) if !files.is_empty() => {
            check_globs(reader, &files);
            Source::Files(files.into_iter().map(|glob| glob.text.to_owned()).collect())
        }
        _ => {
            reader.push(
                Diagnostic::error("no-evidence", "`external` needs either `run` or `files`")
                    .at(fields_head(&external, node))
                    .help("`run` is a command that succeeds once the evidence is there, `files` a list of globs"),
            );
            return None;
        }
    };
    let second = Duration::from_secs(1);
    Some(External {
        source,
        every: reader
            .duration(&external, "every", second..=LOOK_EVERY_MAX)
            .unwrap_or(LOOK_EVERY),
        timeout: reader.duration(&external, "timeout", second..=TIMEOUT_MAX),
    })
}

fn fields_head(fields: &Fields<'_>, node: &Node) -> std::ops::Range<usize> {
    match fields.iter().next() {
        Some(_) => fields.head(),
        None => node.span(),
    }
}

//! What gates said of a tree: the record that vouches for a landing, and what the engine needs to know of it.
//!
//! A verdict is bound to a tree, not to a commit: two commits with the same tree are the same to every gate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ObjectId;
use crate::time::Wall;

/// What the gates said of one tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The tree that was checked out, and that nothing changed meanwhile.
    pub tree: ObjectId,
    /// What each gate said, in order. After a failure the rest is not run.
    pub gates: Vec<GateRecord>,
    /// Where they ran.
    #[serde(default)]
    pub environment: Environment,
    /// What follows for the candidate.
    pub verdict: Verdict,
}

/// What the smoke commands said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smoke {
    /// The last landing commit of the run: the occasion.
    pub tip: ObjectId,
    /// The commit that was judged: where the target stood, at `tip` or beyond it.
    pub commit: ObjectId,
    /// What they said of its tree.
    pub result: Verification,
}

/// What follows from the gates of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "detail")]
pub enum Verdict {
    /// Nothing speaks against the landing.
    Passed,
    /// The candidate is red; what a person and the next attempt should know of it.
    Failed(String),
    /// The gates could not be asked: neither passed nor failed.
    Broken(String),
    /// orch ended them.
    Interrupted,
}

/// What one gate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The command's name.
    pub name: String,
    /// SHA-256 of the command and its variables.
    pub command: String,
    /// What was started.
    pub argv: Vec<String>,
    /// Whether nothing lands without it.
    pub required: bool,
    /// What it said.
    pub result: GateResult,
    /// Its exit code; none if a signal or orch ended it.
    pub exit: Option<i32>,
    /// How long it took.
    pub ms: u64,
    /// What its output counts, where the output is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The single failures that its output names, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Whether an earlier record for the same tree was taken instead of running it.
    #[serde(default)]
    pub reused: bool,
    /// One line for people, where the result alone does not say it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// On which files it was asked.
    #[serde(default, skip_serializing_if = "On::is_landing")]
    pub on: On,
    /// Whether its slot had held nothing but these files since it was empty: then what it says owes nothing to what others
    /// have left. Where that is not known, it is not said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Whether it is what the task itself asks for, which may be red before the task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goal: bool,
}

/// On which files a gate was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Those of the landing commit, or of the untouched target.
    #[default]
    Landing,
    /// Those of the landing commit, with the base's at the protected paths that it changes.
    BaseFiles,
    /// Those of the base, with the candidate's tests.
    NewTests,
}

impl On {
    /// For records, which leave out what goes without saying.
    pub fn is_landing(&self) -> bool {
        *self == Self::Landing
    }

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Landing => "on the landing commit",
            Self::BaseFiles => "with the base's gate files",
            Self::NewTests => "on the base with the new tests",
        }
    }
}

/// What a gate said of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateResult {
    /// It passed.
    Passed,
    /// It failed, with failures that count.
    Failed,
    /// It failed with nothing but what fails on the base, too.
    PreExisting,
    /// It failed, and on the same tree again it did not.
    Flaky,
    /// It passed, and executed fewer tests than on the base.
    Fewer,
    /// It could not be run, or its end says nothing about the tree.
    Broken,
}

/// How many tests an output tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// That passed.
    pub passed: u64,
    /// That failed.
    pub failed: u64,
    /// That were not run.
    pub skipped: u64,
}

impl Counts {
    /// Tests that were run.
    pub fn executed(self) -> u64 {
        self.passed + self.failed
    }

    /// `1 test`, `12 tests`.
    pub fn in_words(self) -> String {
        match self.executed() {
            1 => "1 test".to_owned(),
            n => format!("{n} tests"),
        }
    }
}

/// Where gates ran, as far as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Environment {
    /// What the commands of `verify.env_probe` printed.
    pub probes: BTreeMap<String, String>,
    /// SHA-256 over the lock files of the tree.
    pub locks: String,
    /// When.
    pub at: Wall,
}

impl GateResult {
    /// Whether a required gate lets the tree land.
    pub fn lets_land(self) -> bool {
        match self {
            Self::Passed | Self::PreExisting | Self::Flaky => true,
            Self::Failed | Self::Fewer | Self::Broken => false,
        }
    }

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::PreExisting => "failed as on the base",
            Self::Flaky => "flaky",
            Self::Fewer => "ran fewer tests than on the base",
            Self::Broken => "could not be run",
        }
    }
}

impl GateRecord {
    /// What it said of the untouched target, in words.
    pub fn said_beforehand(&self) -> String {
        let said = self.result.in_words();
        match self.goal && !self.result.lets_land() {
            true => format!("{said}, which its task is to change"),
            false => said.to_owned(),
        }
    }
}

impl Verification {
    /// Whether a required gate vouches for the tree, and no required one speaks against it.
    pub fn vouches(&self) -> bool {
        let mut required = self.gates.iter().filter(|gate| gate.required);
        let is_asked = |gate: &GateRecord| gate.required && gate.on == On::Landing;
        self.verdict == Verdict::Passed
            && self.gates.iter().any(is_asked)
            && required.all(|gate| gate.result.lets_land())
    }
}

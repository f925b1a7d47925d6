//! What a candidate was judged by before anything of it ran, and the protected paths that it changes all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::checks::Allowed;

/// By what a candidate was judged before anything of it ran: all of it texts of people, and the base's own files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// Globs of paths that may change; none of them means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Globs of paths that must not, beside the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
    /// Globs of paths that are protected by default, and here are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unprotect: Vec<String>,
    /// The task's exceptions.
    #[serde(default)]
    pub allow_protected: Allowed,
    /// Whether a person is asked before it lands, and shown what is protected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// Whether gates judge, so that what decides about them is protected.
    #[serde(default)]
    pub gated: bool,
    /// The files that gates run, and what runs each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub run: BTreeMap<String, String>,
}

/// How a candidate stands to what its task may change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scope {
    /// The rules, all of them texts of people and the base's own files.
    pub rules: Rules,
    /// Protected paths that it changes, as a person's text allows, or as a person is asked to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
}

/// A protected path that may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Which.
    pub path: String,
    /// What it is, to follow the path in a sentence.
    pub why: String,
}

//! How a task is done, as far as the engine goes by it: what the shell makes of plan, roles and settings.

use serde::{Deserialize, Serialize};

/// Who does a task, and on whose account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The runner and the account it works on, in words: `claude (API key)`. Tasks with the same one share its limits.
    pub entitlement: String,
    /// The role.
    pub agent: String,
    /// The model asked for; the agent program's own choice if none.
    pub model: Option<String>,
    /// Whether its sessions cost money and tokens.
    pub metered: bool,
}

/// Whether a model goes by a name: its own, or that of its family (`claude-opus-4-1` is an `opus`).
pub(super) fn is_called(model: &str, name: &str) -> bool {
    let is_part = |part: &str| part.eq_ignore_ascii_case(name);
    model.eq_ignore_ascii_case(name) || model.split(['-', '/', ':', '[', '@', '.']).any(is_part)
}

//! How a task is done, as far as the engine goes by it: what the shell makes of plan, roles and settings.

use serde::{Deserialize, Serialize};

/// Who does a task, and on whose account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
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
    /// Whether it is a shell command, which is no session of an agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_command: bool,
}

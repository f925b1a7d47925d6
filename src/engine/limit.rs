//! Usage limits as data: what an attempt ran into, and how full the windows of an account are.
//!
//! `agent` reads both from what an agent program reports; what follows is decided in `limiter`.

use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// A usage limit that the service enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// Whose limit it is.
    pub scope: LimitScope,
    /// When the service says that work may go on; unknown if it did not say, or not readably.
    pub resets_at: Option<Wall>,
}

/// What a limit counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum LimitScope {
    /// A window of the account, whatever the model.
    Account {
        /// As the service calls it: `five_hour`, `seven_day`.
        window: String,
    },
    /// One model, or one family of models; the others go on.
    Model {
        /// As the service calls it: `opus`.
        model: String,
    },
    /// The organisation behind the account.
    Organisation,
    /// The service did not say.
    Unknown,
}

/// How full a window is, as the service reports it with its answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageWindow {
    /// As the service calls it: `five_hour`, `seven_day`, `seven_day_opus`.
    pub kind: String,
    /// In thousandths: 1000 is full.
    pub utilisation: u32,
    /// When it is empty again, if the service said so.
    pub resets_at: Option<Wall>,
}

impl LimitScope {
    /// The model, if the limit is one of a model.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Model { model } => Some(model),
            Self::Account { .. } | Self::Organisation | Self::Unknown => None,
        }
    }

    /// In words, for people: "the five_hour limit of the account".
    pub fn in_words(&self) -> String {
        match self {
            Self::Account { window } => format!("the {window} limit of the account"),
            Self::Model { model } => format!("the limit of the model {model}"),
            Self::Organisation => "the limit of the organisation".to_owned(),
            Self::Unknown => "a usage limit".to_owned(),
        }
    }
}

//! What can be typed to add up costs.

use clap::{Args, ValueEnum};

use super::RunChoice;

/// `orch costs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch costs\n  orch costs --by agent\n  orch costs --by day --format csv > costs.csv\n  orch costs --by task --format json | jq '.rows[] | select(.unpriced_sessions > 0) | .key'\n\nDays and runs are those of the whole repository, unless a run is chosen."
)]
pub struct CostsArgs {
    /// What a row stands for.
    #[arg(long, value_enum, default_value_t = CostsBy::Task)]
    pub by: CostsBy,
    /// How to print.
    #[arg(long, value_enum, default_value_t = CostsFormat::Text)]
    pub format: CostsFormat,
    /// Which run; by default the latest.
    #[command(flatten)]
    pub choice: RunChoice,
}

/// What a row of `orch costs` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CostsBy {
    /// A task.
    Task,
    /// A role.
    Agent,
    /// The model that was asked for.
    Model,
    /// A day.
    Day,
    /// A run.
    Run,
}

/// How `orch costs` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CostsFormat {
    /// For people.
    Text,
    /// For scripts.
    Json,
    /// For tables of others.
    Csv,
}

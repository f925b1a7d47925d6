//! What is typed to the commands that read a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Format;

/// Which run a reader is about.
#[derive(Debug, Clone, Args)]
pub struct RunChoice {
    /// The latest run of this plan.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// This run; by default the latest.
    #[arg(long, value_name = "RUN", conflicts_with = "plan")]
    pub run: Option<String>,
}

/// `orch status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch status\n  orch status --plan plan.yaml\n  orch status --format json | jq '.tasks[] | select(.state == \"failed\") | .id'"
)]
pub struct StatusArgs {
    /// Which run; by default the latest.
    #[command(flatten)]
    pub choice: RunChoice,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch logs 2.1\n  orch logs 2.1 -f\n  orch logs 2.1 --attempt 1 --raw | jq .type"
)]
pub struct LogsArgs {
    /// The task.
    pub task: String,
    /// Which attempt; by default the latest.
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Go on printing while the agent works.
    #[arg(short, long)]
    pub follow: bool,
    /// The session's stream as the agent program wrote it.
    #[arg(long)]
    pub raw: bool,
    /// Which run; by default the latest.
    #[command(flatten)]
    pub choice: RunChoice,
}

/// `orch events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch events --since 0\n  orch events --since 120 --follow | jq -c '{seq, kind: .record.kind}'"
)]
pub struct EventsArgs {
    /// Records after this sequence number.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub since: u64,
    /// Go on printing as records are added, until the run ends.
    #[arg(long)]
    pub follow: bool,
}

/// `orch why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  orch why 2.1\n  orch why 2.1 --plan plan.yaml")]
pub struct TaskArgs {
    /// The task.
    pub task: String,
    /// Which run; by default the latest.
    #[command(flatten)]
    pub choice: RunChoice,
}

/// `orch show`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch show 2.1\n  orch show 2.1 --format json | jq -r .candidate"
)]
pub struct ShowArgs {
    /// The task.
    pub task: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Which run; by default the latest.
    #[command(flatten)]
    pub choice: RunChoice,
}

/// `orch gates`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch gates                    what waits for a person or for evidence\n  orch gates 2.1                the difference and the records of task 2.1\n  orch gates --format json | jq -r '.[].task'"
)]
pub struct GatesArgs {
    /// A task: shows what would land, and what the verify commands said of it.
    pub task: Option<String>,
    /// The run; by default the latest.
    #[command(flatten)]
    pub choice: RunChoice,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch report                                   the latest run, as Markdown\n  orch report --format html > report.html       one page that needs nothing else\n  orch report 20261121-063312-k3f9 --format json"
)]
pub struct ReportArgs {
    /// A run; by default the latest.
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = ReportFormat::Md)]
    pub format: ReportFormat,
}

impl ReportArgs {
    /// The run as other readers name it.
    pub fn choice(&self) -> RunChoice {
        RunChoice {
            plan: None,
            run: self.run.clone(),
        }
    }
}

/// What an account of a run is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Markdown.
    Md,
    /// One page of HTML that loads nothing.
    Html,
    /// For scripts.
    Json,
}

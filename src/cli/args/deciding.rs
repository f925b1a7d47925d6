//! What can be typed to decide about tasks of a run.

use clap::{Args, ValueEnum};

use super::Format;

/// Why, and how the answer is printed: what every decision about a run has.
#[derive(Debug, Args)]
pub struct Deciding {
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How to print whether the run follows.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch cancel`, `skip`, `hold`, `release`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch skip 2.1 --note 'not needed any more'\n  orch cancel 2.1 --note 'goes the wrong way'\n  orch hold 3 && orch release 3 --format json\n\nA live run follows at once; else the next `orch run` goes on from there."
)]
pub struct ControlArgs {
    /// The task.
    pub task: String,
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// `orch done`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch done 2.1 --note 'merged by hand'\n  orch done 2.1 --commit main~2"
)]
pub struct DoneArgs {
    /// The task.
    pub task: String,
    /// The commit that did it; kept with the decision.
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// `orch pause` and `orch resume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch pause --note 'the demo begins'\n  orch resume\n\nA paused run starts nothing new; what runs finishes and lands. A pause outlives orch: a run that\nhas stopped can be paused and let go on, too, and a later `orch run` keeps to it."
)]
pub struct PauseArgs {
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// `orch priority`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch priority 2.1 10\n  orch priority 2.1 -5 --note 'can wait'"
)]
pub struct PriorityArgs {
    /// The task.
    pub task: String,
    /// Higher starts first; 0 is the middle.
    #[arg(allow_negative_numbers = true)]
    pub value: i64,
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// `orch jobs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  orch jobs 6\n  orch jobs 1 --note 'the laptop is needed'")]
pub struct JobsArgs {
    /// How many; agents that run already go on.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    pub count: u32,
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// `orch approve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch gates 2.1\n  orch approve 2.1 --note 'looked at the migration'\n  orch approve 2.1 --commit 3f1c9a52b0      only if that is still what would land\n  orch approve 2.1 --signed                 with the key that git signs with"
)]
pub struct ApproveArgs {
    /// The task.
    pub task: String,
    /// What is approved: the candidate or the landing commit that `orch gates` shows; by default what is asked for now.
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
    /// Sign it with the key of `user.signingKey`; `approvals.signed: true` asks for that.
    #[arg(long)]
    pub signed: bool,
    /// Who decides; by default the user of this machine.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// `orch reject`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch reject 2.1 --note 'the migration cannot be undone; add the way back'\n\nThe next attempt starts from what was made, with the note as evidence. A task that was not to start is cancelled."
)]
pub struct RejectArgs {
    /// The task.
    pub task: String,
    /// Who decides; by default the user of this machine.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why, which the next attempt is told, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

/// From where a task is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RetryStart {
    /// The target's tip.
    Fresh,
    /// What its last attempt left.
    Candidate,
}

/// `orch retry`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch retry 2.1 --note 'the fixture is there now'\n  orch retry 2.1 --from fresh\n  orch retry --failed && orch run"
)]
pub struct RetryArgs {
    /// The task.
    #[arg(required_unless_present = "failed", conflicts_with = "failed")]
    pub task: Option<String>,
    /// Every failed task.
    #[arg(long)]
    pub failed: bool,
    /// Where its next attempt starts; by default as the end of the last one asks for.
    #[arg(long, value_enum, conflicts_with = "failed")]
    pub from: Option<RetryStart>,
    /// Why, and how to print.
    #[command(flatten)]
    pub deciding: Deciding,
}

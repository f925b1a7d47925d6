//! What can be typed: argument structs by theme, with their help texts. What the words mean is decided in the file of
//! each command.

mod costs;
mod deciding;
mod reading;

use std::path::PathBuf;

pub use costs::{CostsArgs, CostsBy, CostsFormat};
pub use deciding::{
    ApproveArgs, ControlArgs, Deciding, DoneArgs, JobsArgs, PauseArgs, PriorityArgs, RejectArgs,
    RetryArgs, RetryStart,
};
pub use reading::{
    EventsArgs, GatesArgs, LogsArgs, ReportArgs, ReportFormat, RunChoice, ShowArgs, StatusArgs,
    TaskArgs,
};

use super::bounds::BoundArgs;
use super::check::CheckFormat;
use super::graph::GraphFormat;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs a YAML plan with coding agents: one fresh session per task, landed exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "orch",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Start here:\n  orch demo                        watch a small plan run, without key or cost\n  orch init                        write a first plan for this repository\n  orch run --plan plan.yaml        run it\n\nExit codes of a run:\n  0 all completed, 1 a task failed, 2 usage or invalid plan, 3 stopped,\n  4 waiting for a person, 5 a limit or budget, 6 stuck, 7 another orch runs here,\n  8 environment not usable, 70 bug in orch, 130 ended at once"
)]
pub struct Cli {
    /// Run as if started in DIR.
    #[arg(
        short = 'C',
        long = "directory",
        value_name = "DIR",
        global = true,
        display_order = 900
    )]
    pub directory: Option<PathBuf>,
    /// Colour: always, never, or auto (on a terminal, unless NO_COLOR is set).
    #[arg(
        long,
        value_enum,
        default_value_t = ColorChoice::Auto,
        value_name = "WHEN",
        global = true,
        display_order = 900,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: ColorChoice,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first plan and settings for this repository
    Init(InitArgs),
    /// Find every problem of a plan, with its place
    Check(CheckArgs),
    /// Show the order of a plan's tasks: levels, edges, critical path
    Graph(GraphArgs),
    /// Work through a plan; goes on where an earlier run stopped or died
    Run(Box<RunArgs>),
    /// Show the tasks of a run: state, attempt, since, reason, cost
    Status(StatusArgs),
    /// Print what an agent did and said
    Logs(LogsArgs),
    /// Print the records of the ledger as NDJSON
    Events(EventsArgs),
    /// Explain in one line why a task is where it is
    Why(TaskArgs),
    /// Show everything known about a task
    Show(ShowArgs),
    /// Prove from ledger and git what orch promises of landed commits
    Audit(AuditArgs),
    /// Write the account of a run: asked, done, verified, decided, spent
    Report(ReportArgs),
    /// Remove what orch made and nobody needs any more, with a proof for each thing
    Gc(GcArgs),
    /// Show what orch takes on the disk
    Du(DuArgs),
    /// Look at work that was saved from slots, and bring it back
    Salvage(SalvageArgs),
    /// Name everything unhealthy here, with the next command; repair what is safe
    Doctor(DoctorArgs),
    /// Show what waits for approval or for evidence, and what would land
    Gates(GatesArgs),
    /// Say yes to a start or a landing that the plan asks a person about
    Approve(ApproveArgs),
    /// Say no to it; the next attempt is told why
    Reject(RejectArgs),
    /// Halt the live run: running tasks finish and land, no new one starts
    Stop(StopArgs),
    /// End what runs for a task and settle it as cancelled
    Cancel(ControlArgs),
    /// Give a settled task fresh attempts, or try a waiting one now
    Retry(RetryArgs),
    /// Settle a task as skipped; those that need it go on
    Skip(ControlArgs),
    /// Settle a task as done outside orch; those that need it go on
    Done(DoneArgs),
    /// Start nothing new until resumed; what runs finishes and lands
    Pause(PauseArgs),
    /// Let a paused run go on
    Resume(PauseArgs),
    /// Do not start a task until it is released
    Hold(ControlArgs),
    /// Let a held task start
    Release(ControlArgs),
    /// Change when a task starts among those that are ready
    Priority(PriorityArgs),
    /// Change how many agents may run at once
    Jobs(JobsArgs),
    /// Add up what sessions cost
    Costs(CostsArgs),
    /// Show the roles that tasks can name
    Agents(AgentsArgs),
    /// Run the built-in example in a scratch repository, without key or cost
    Demo(DemoArgs),
    /// Print a completion script
    #[command(
        after_help = "Examples:\n  orch completions bash > ~/.local/share/bash-completion/completions/orch\n  orch completions fish > ~/.config/fish/completions/orch.fish\n  orch completions zsh > DIR/_orch     DIR is one of $fpath"
    )]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// `orch init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  orch init\n  orch init --plan plans/search.yaml")]
pub struct InitArgs {
    /// Where to write the plan; by default .claude/plans/plan.yaml at the top of the repository.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

/// `orch check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch check                    the only plan of .claude/plans\n  orch check plan.yaml\n  orch check --strict --format json plan.yaml\n\nExit codes: 0 the plan can run, 2 it cannot"
)]
pub struct CheckArgs {
    /// The plan; by default the only one of `.claude/plans`.
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    /// Take unknown keys as errors.
    #[arg(long)]
    pub strict: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
}

/// `orch graph`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch graph                    the only plan of .claude/plans\n  orch graph --format mermaid plan.yaml\n  orch graph --format dot plan.yaml | dot -Tsvg > plan.svg"
)]
pub struct GraphArgs {
    /// The plan; by default the only one of `.claude/plans`.
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = GraphFormat::Ascii)]
    pub format: GraphFormat,
}

/// For people or for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// `orch run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch run --plan plan.yaml --dry-run     what would happen, without doing anything\n  orch run --plan plan.yaml               one task after the other, on branch orch/plan\n  orch run --plan plan.yaml --parallel    up to four at once\n  orch run --resume-from 2.1              from task 2.1 on\n  orch run --rehearse                     the whole plan in a throwaway clone, without agents\n  orch run --require-verify               nothing lands that no command has tested\n  orch run --quota-ceiling-usd 20 --max-quota-percent 90\n                                          at most 18 dollars\n  orch run --max-duration 8h --on-limit stop\n                                          at most a night, and no waiting for usage limits\n  orch run --pause-at 90%                  leaves a tenth of the account's usage window alone\n  orch run --starting-model haiku --escalate-after-failures 1 --max-model opus\n                                          a better model after each failure that one could mend\n\nHalt it: Ctrl-C, `orch stop`, or touch .stop beside the plan. Run it again to go on."
)]
pub struct RunArgs {
    /// The plan; without it, the only plan of .claude/plans.
    #[arg(long, value_name = "FILE", help_heading = "What")]
    pub plan: Option<PathBuf>,
    /// Work on one task only: the one of --resume-from, else the next that is ready.
    #[arg(long, help_heading = "What")]
    pub single_task: bool,
    /// Start at this task: it is reset, open tasks before it are left out, completed ones after it stay.
    #[arg(long, value_name = "TASK", help_heading = "What")]
    pub resume_from: Option<String>,
    /// With --resume-from: do completed tasks after it again, too.
    #[arg(long, requires = "resume_from", help_heading = "What")]
    pub redo: bool,
    /// Take unknown keys of the plan as errors.
    #[arg(long, help_heading = "What")]
    pub strict: bool,

    /// Print the schedule and change nothing.
    #[arg(long, help_heading = "How")]
    pub dry_run: bool,
    /// Run the plan in a throwaway clone with the rehearsal runner: no agent, no cost.
    #[arg(long, conflicts_with_all = ["runner", "branch", "live"], help_heading = "How")]
    pub rehearse: bool,
    /// What --rehearse starts in its clone.
    #[arg(long, hide = true, conflicts_with = "runner")]
    pub every_task_rehearsed: bool,
    /// How many agents may run at once.
    #[arg(short, long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "How")]
    pub jobs: Option<u32>,
    /// As --jobs, with 4 if nothing else says how many.
    #[arg(long, help_heading = "How")]
    pub parallel: bool,
    /// Which runner does tasks that name none.
    #[arg(long, value_enum, help_heading = "How")]
    pub runner: Option<RunnerName>,
    /// The model of tasks whose role and text name none.
    #[arg(long, value_name = "MODEL", help_heading = "How")]
    pub model: Option<String>,
    /// Refuse to start unless every task that changes something has a required verify command.
    #[arg(long, help_heading = "How")]
    pub require_verify: bool,
    /// What bounds the run.
    #[command(flatten)]
    pub bounds: BoundArgs,
    /// Leave out the smoke commands, which judge what has landed when the plan is through.
    #[arg(long, help_heading = "How")]
    pub skip_smoke: bool,

    /// Land on this existing branch, task by task, instead of on orch/<plan>.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "live",
        help_heading = "Where"
    )]
    pub branch: Option<String>,
    /// Land on the branch you are on, task by task, and keep its files up to date.
    #[arg(long, help_heading = "Where")]
    pub live: bool,

    /// Let the machine fall asleep while the run goes on.
    #[arg(long, help_heading = "Other")]
    pub allow_sleep: bool,
    /// Stay for approvals and evidence when nothing else is left to do, instead of ending with 4.
    #[arg(long, help_heading = "Other")]
    pub wait: bool,

    /// Remove a .stop file that is in the way, then run.
    #[arg(long, help_heading = "Other")]
    pub clear_stop: bool,
    /// Take over a ledger that was copied or restored together with the repository.
    #[arg(long, help_heading = "Other")]
    pub adopt_ledger: bool,
    /// Say more: also the log of orch itself, on stderr.
    #[arg(short, long, help_heading = "Other")]
    pub verbose: bool,
    /// How to print: lines for people, or each record as a line of JSON.
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Other")]
    pub format: Format,
}

/// The runners that can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RunnerName {
    /// The Claude Code program.
    Claude,
    /// The task's `run:` through a shell.
    Command,
    /// The task's `rehearse:` block; no agent, no cost.
    Rehearsal,
}

/// `orch audit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch audit                    the latest run\n  orch audit 20261121-063312-k3f9\n  orch audit main~10..main\n\nExit codes: 0 nothing contradicts, 1 something does"
)]
pub struct AuditArgs {
    /// A run, or a range of commits; by default the latest run.
    #[arg(value_name = "RANGE|RUN")]
    pub what: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Goes: pins and landed candidates of completed runs, and what else completed runs left once they are older\nthan gc.keep_days and not among the newest gc.keep_runs. Stays: whatever cannot be proven unneeded.\n\nExamples:\n  orch gc --dry-run --why           what would go and what stays, with the reasons\n  orch gc\n  orch gc --slots                   the working trees of agents, too; what they hold is saved first\n\nExit codes: 0 done, 7 a run lives here"
)]
pub struct GcArgs {
    /// Change nothing; show what would go.
    #[arg(long)]
    pub dry_run: bool,
    /// Say why each thing goes or stays.
    #[arg(long)]
    pub why: bool,
    /// Remove slots in which nobody works, too.
    #[arg(long)]
    pub slots: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch du`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  orch du\n  orch du --format json | jq .bytes")]
pub struct DuArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch salvage`.
#[derive(Debug, Args)]
#[command(
    after_help = "What an attempt left in its slot and nobody collected, and commits that an agent made beside its\nresult, are saved before the slot is used again.\n\nExamples:\n  orch salvage list\n  orch salvage show 5d0c1f3\n  orch salvage restore 5d0c1f3 --to ../found"
)]
pub struct SalvageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SalvageCommand,
}

/// `orch salvage ...`.
#[derive(Debug, Subcommand)]
pub enum SalvageCommand {
    /// List everything that was saved, oldest first
    #[command(
        after_help = "Examples:\n  orch salvage list\n  orch salvage list --format json | jq -r '.[].id'"
    )]
    List {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show what one of them holds
    #[command(after_help = "Examples:\n  orch salvage show 5d0c\n  orch salvage show 5d0c --patch")]
    Show {
        /// Its id, or the first digits of it.
        id: String,
        /// Which files it changes, and how much; this is the default.
        #[arg(long, conflicts_with = "patch")]
        stat: bool,
        /// The changes line by line.
        #[arg(long)]
        patch: bool,
    },
    /// Bring it back, into an empty directory or under a new branch; nothing is overwritten
    #[command(
        after_help = "Examples:\n  orch salvage restore 5d0c                       as branch salvage/5d0c1f3\n  orch salvage restore 5d0c --branch found\n  orch salvage restore 5d0c --to ../found         its files, those kept out of git included"
    )]
    Restore {
        /// Its id, or the first digits of it.
        id: String,
        /// Write its files into this directory, which must be empty or not there.
        #[arg(long, value_name = "DIR", conflicts_with = "branch")]
        to: Option<PathBuf>,
        /// Make this branch at it; by default `salvage/<id>`.
        #[arg(long, value_name = "NAME")]
        branch: Option<String>,
    },
}

/// `orch doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  orch doctor\n  orch doctor --format json | jq -r '.findings[] | select(.severity == \"problem\") | .id'\n  orch doctor --fix-safe\n  orch doctor --rebuild-ledger    after the ledger was damaged or lost\n\nExit codes: 0 healthy (there may be notes), 1 problems were found, 7 another orch works here,\n8 nothing can be looked at"
)]
pub struct DoctorArgs {
    /// Repair what cannot lose anything: what a start or an end of a run would do anyway.
    #[arg(long)]
    pub fix_safe: bool,
    /// Set a damaged or emptied ledger aside, and make a new one of what can still be told.
    #[arg(long, conflicts_with = "fix_safe")]
    pub rebuild_ledger: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `orch stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "Leaves no file: the request is for the live run only. To keep later runs from starting, touch .stop\nbeside the plan.\n\nExamples:\n  orch stop\n  orch stop --wait --note 'the machine is needed'"
)]
pub struct StopArgs {
    /// Return when the run has ended.
    #[arg(long)]
    pub wait: bool,
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// `orch agents`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  orch agents list\n  orch agents show coder")]
pub struct AgentsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AgentsCommand,
}

/// `orch agents ...`.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// List the roles, built in and of this repository
    #[command(after_help = "Examples:\n  orch agents list\n  orch agents list --format json")]
    List {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show one role: its front matter and what its sessions are told
    #[command(after_help = "Examples:\n  orch agents show coder")]
    Show {
        /// The role, as tasks name it.
        role: String,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

/// `orch demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  orch demo\n  orch demo --into ../orch-demo --jobs 1")]
pub struct DemoArgs {
    /// Where to make the scratch repository; by default a new temporary directory, which is kept.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// How many tasks at once.
    #[arg(short, long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub jobs: u32,
}

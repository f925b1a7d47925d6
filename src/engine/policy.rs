//! What can be tuned, as resolved from settings, plan and command line. A run carries its policy in the ledger, so that
//! a replay knows by which numbers it was decided.
//!
//! The fixed rows, what follows which way to end, are in `table`.

use serde::{Deserialize, Serialize};

use super::usage::MicroUsd;
use crate::time::Wall;

/// Uncounted ends in a row, per task; from the next one on they are counted, so that an attempt that takes its machine
/// down with it cannot go on for ever.
pub const STREAK_MAX: u32 = 3;

/// Conflicts that cost no attempt, per task: whoever loses a race to the target twice has only been unlucky.
pub const CONFLICTS_MAX: u32 = 2;

/// Landing tries at once while the target keeps moving; later ones wait first.
pub const MISSES_AT_ONCE_MAX: u32 = 5;

/// Landing tries that git or the disk may refuse, each after a pause; one more stops the run.
pub const TROUBLES_MAX: u32 = 3;

/// Earlier ends that are kept for the next attempt's prompt; older ones no longer help.
pub const EVIDENCE_MAX: usize = 8;

/// The numbers that a run decides by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// What happens at a limit or a spent budget.
    pub on_limit: OnLimit,
    /// How long after a limit's reset work goes on: clocks differ.
    pub limit_margin_ms: u64,
    /// The longest that one limit is waited for.
    pub limit_wait_max_ms: u64,
    /// How full a reported window may be, in thousandths, before nothing new starts; no rule if none.
    pub pause_at: Option<u32>,
    /// The longest first back-off; each further one in a row doubles. The pause itself is a random part of it.
    pub backoff_base_ms: u64,
    /// The longest back-off.
    pub backoff_max_ms: u64,
    /// Failures in a row, of at least two tasks, that open the breaker.
    pub breaker_threshold: u32,
    /// How long an open breaker waits before its probe.
    pub breaker_reset_ms: u64,
    /// How many times the breaker may open again after a failed probe before the run ends.
    pub breaker_reopenings: u32,
    /// Which model an attempt gets.
    pub ladder: Ladder,
    /// What may be spent.
    pub budgets: Budgets,
    /// The longest that a run may go on after it was started or continued.
    pub max_duration_ms: Option<u64>,
    /// How many landing commits are verified at once; with more than one, those behind the first are built on each other.
    pub gate_slots: u32,
    /// Whether approvals count only with a signature.
    pub signed_approvals: bool,
}

/// What happens at a limit or a spent budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Wait as long as waiting helps.
    #[default]
    Wait,
    /// End the run as soon as nothing else can go on.
    Stop,
}

/// The model ladder: attempts after failures that a better model could mend get a better model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ladder {
    /// Whether it is used at all.
    pub enabled: bool,
    /// The models, the least first.
    pub models: Vec<String>,
    /// The model of first attempts whose task and role name none.
    pub starting: Option<String>,
    /// Failures on one rung before the next one is tried.
    pub escalate_after: u32,
    /// The highest rung; the top of the ladder if none.
    pub max: Option<String>,
}

/// What may be spent on each level; a level without a number is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budgets {
    /// By one attempt.
    pub attempt: Allowance,
    /// By all attempts of a task.
    pub task: Allowance,
    /// By the run.
    pub run: Allowance,
    /// By all runs of this repository in a day.
    pub day: Allowance,
    /// Reserved for an attempt of which nothing is known.
    pub default_reserve: MicroUsd,
    /// What an agent program may spend beyond its cap, because it looks only between requests.
    pub overshoot: MicroUsd,
    /// When the day began that `day` counts from; each further one begins 24 hours later.
    pub day_begins: Wall,
}

/// The most that one level may spend. What is not said is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<MicroUsd>,
    /// Tokens in and out, cached ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Agent processes; a command is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// Time in which agents and commands run, added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_limit: OnLimit::Wait,
            limit_margin_ms: 60_000,
            limit_wait_max_ms: 7 * 24 * 3_600_000,
            pause_at: None,
            backoff_base_ms: 1_000,
            backoff_max_ms: 60_000,
            breaker_threshold: 3,
            breaker_reset_ms: 300_000,
            breaker_reopenings: 3,
            ladder: Ladder::default(),
            budgets: Budgets::default(),
            max_duration_ms: None,
            gate_slots: 1,
            signed_approvals: false,
        }
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            enabled: false,
            models: ["haiku", "sonnet", "opus"].map(str::to_owned).into(),
            starting: None,
            escalate_after: 2,
            max: None,
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            attempt: Allowance::default(),
            task: Allowance::default(),
            run: Allowance::default(),
            day: Allowance::default(),
            default_reserve: MicroUsd(1_000_000),
            overshoot: MicroUsd(500_000),
            day_begins: Wall(0),
        }
    }
}

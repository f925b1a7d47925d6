//! The bounds of a run as they are typed: time, usage limits, money, and the model ladder.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::engine::policy::{Allowance, Budgets, Ladder, OnLimit, Policy};
use crate::engine::usage::MicroUsd;
use crate::time::parse_duration;

/// Largest sum of money, in millionths of a US dollar.
const MICRO_USD_MAX: u64 = 1_000_000_000_000;

/// Most failures on one rung of the ladder.
const FAILURES_MAX: i64 = 100;

/// What bounds a run.
#[derive(Debug, Clone, Args)]
pub struct BoundArgs {
    /// At a usage limit or a spent budget of the day: wait for its end, or stop with exit code 5.
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Bounds")]
    pub on_limit: Option<OnLimitName>,
    /// End agents, keep their work and stop with exit code 5 after this long: `90m`, `8h`.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Bounds")]
    pub max_duration: Option<Duration>,
    /// Start nothing new while a usage window is reported to be this full: `90%`.
    #[arg(long, value_name = "PERCENT", value_parser = per_mille, help_heading = "Bounds")]
    pub pause_at: Option<u32>,
    /// What the run may cost in US dollars; 0 is no bound.
    #[arg(long, visible_alias = "quota-ceiling", value_name = "USD", value_parser = micro_usd, help_heading = "Bounds")]
    pub quota_ceiling_usd: Option<u64>,
    /// Which part of the ceiling may be spent.
    #[arg(long, visible_alias = "max-budget-pct", value_name = "PERCENT", value_parser = per_mille, requires = "quota_ceiling_usd", help_heading = "Bounds")]
    pub max_quota_percent: Option<u32>,
    /// What of the ceiling is left alone, in US dollars.
    #[arg(long, visible_alias = "reserved-budget", value_name = "USD", value_parser = micro_usd, requires = "quota_ceiling_usd", help_heading = "Bounds")]
    pub reserved_budget_usd: Option<u64>,
    /// Climb the model ladder haiku, sonnet, opus after failures, from this model on.
    #[arg(long, value_name = "MODEL", value_parser = model, help_heading = "Bounds")]
    pub starting_model: Option<String>,
    /// Climb the ladder after so many failures on a rung that a better model could mend.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=FAILURES_MAX), help_heading = "Bounds")]
    pub escalate_after_failures: Option<u32>,
    /// Climb the ladder up to this model.
    #[arg(long, value_name = "MODEL", value_parser = model, help_heading = "Bounds")]
    pub max_model: Option<String>,
}

/// What happens at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnLimitName {
    /// Wait.
    Wait,
    /// Stop.
    Stop,
}

impl BoundArgs {
    /// The policy of a run within these bounds.
    pub(super) fn policy(&self) -> Policy {
        let defaults = Policy::default();
        let is_climbing = self.starting_model.is_some()
            || self.escalate_after_failures.is_some()
            || self.max_model.is_some();
        let ladder = Ladder {
            enabled: is_climbing,
            starting: self.starting_model.clone(),
            escalate_after: self
                .escalate_after_failures
                .unwrap_or(defaults.ladder.escalate_after),
            max: self.max_model.clone(),
            models: defaults.ladder.models,
        };
        let budgets = Budgets {
            run: Allowance {
                cost: self.ceiling(),
                ..Allowance::default()
            },
            ..defaults.budgets
        };
        Policy {
            on_limit: match self.on_limit {
                Some(OnLimitName::Stop) => OnLimit::Stop,
                Some(OnLimitName::Wait) | None => OnLimit::Wait,
            },
            pause_at: self.pause_at,
            max_duration_ms: self
                .max_duration
                .map(|most| u64::try_from(most.as_millis()).unwrap_or(u64::MAX)),
            ladder,
            budgets,
            ..Policy::default()
        }
    }

    /// The lesser of the part that may be spent and of what is not left alone.
    fn ceiling(&self) -> Option<MicroUsd> {
        let ceiling = self.quota_ceiling_usd.filter(|ceiling| *ceiling > 0)?;
        let part = u64::from(self.max_quota_percent.unwrap_or(1000));
        let allowed = ceiling / 1000 * part + ceiling % 1000 * part / 1000;
        let reserved = self.reserved_budget_usd.unwrap_or_default();
        Some(MicroUsd(allowed.min(ceiling.saturating_sub(reserved))))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("a run that may take no time does nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// A sum of money in US dollars, `12`, `12.5` or `$0.25`, in millionths.
fn micro_usd(text: &str) -> Result<u64, String> {
    decimal(text.strip_prefix('$').unwrap_or(text), 6)
        .filter(|micro| *micro <= MICRO_USD_MAX)
        .ok_or_else(|| {
            let most = MICRO_USD_MAX / 1_000_000;
            format!("it is not a sum of money from 0 to {most} US dollars")
        })
}

/// A part of a whole, `90`, `90%` or `87.5`, in thousandths.
fn per_mille(text: &str) -> Result<u32, String> {
    decimal(text.strip_suffix('%').unwrap_or(text), 1)
        .and_then(|thousandths| u32::try_from(thousandths).ok())
        .filter(|thousandths| *thousandths <= 1000)
        .ok_or_else(|| "it is not a percentage from 0 to 100".to_owned())
}

/// A model's name goes onto a command line.
fn model(text: &str) -> Result<String, String> {
    let usable = !text.is_empty()
        && !text.starts_with('-')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    match usable {
        true => Ok(text.to_owned()),
        false => Err("it cannot be the name of a model".to_owned()),
    }
}

/// A number without a sign, times ten to the power of `places`; more places than that must be zeros.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let (part, rest) = part.split_at(part.len().min(places));
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_and_percentages_are_read_to_the_last_digit_or_not_at_all() {
        assert_eq!(micro_usd("100.0"), Ok(100_000_000));
        assert_eq!(micro_usd("$0.25"), Ok(250_000));
        assert_eq!(per_mille("90"), Ok(900));
        assert_eq!(per_mille("87.5%"), Ok(875));
        for bad in ["-1", "1e3", ".5", "", "1.0000001", "9999999999"] {
            assert!(micro_usd(bad).is_err(), "{bad}");
        }
        for bad in ["100.1", "-5", "101%", "half", ""] {
            assert!(per_mille(bad).is_err(), "{bad}");
        }
    }
}

//! The bounds of a run as they are typed, and the policy that settings make: time, usage limits, retries, money, and the
//! model ladder.

use std::time::Duration;

use chrono::{Local, NaiveTime};
use clap::{Args, ValueEnum};

use crate::config::{self, Origin, PerMille, Problems, Setting, Settings, Usd};
use crate::diagnostic::Diagnostic;
use crate::driver::how;
use crate::engine::policy::{Allowance, Budgets, Ladder, OnLimit, Policy};
use crate::engine::usage::MicroUsd;
use crate::plan::{Plan, Runner, bounds};
use crate::time::{Wall, parse_duration};

/// The model of first attempts, where the ladder is climbed and nobody says which.
const STARTING_MODEL: &str = "sonnet";

/// What bounds a run.
#[derive(Debug, Clone, Args)]
pub struct BoundArgs {
    /// At a usage limit or a spent budget of the day: wait for its end, or stop with exit code 5.
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Bounds")]
    pub on_limit: Option<OnLimitName>,
    /// End agents, keep their work and stop with exit code 5 after this long: `90m`, `8h`.
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true, help_heading = "Bounds")]
    pub max_duration: Option<String>,
    /// Start nothing new while a usage window is reported to be this full: `90%`.
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true, help_heading = "Bounds")]
    pub pause_at: Option<String>,
    /// What the run may cost in US dollars; 0 is no bound.
    #[arg(long, visible_alias = "quota-ceiling", value_name = "USD", value_parser = usd, allow_negative_numbers = true, help_heading = "Bounds")]
    pub quota_ceiling_usd: Option<String>,
    /// Which part of the ceiling may be spent.
    #[arg(long, visible_alias = "max-budget-pct", value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true, help_heading = "Bounds")]
    pub max_quota_percent: Option<String>,
    /// What of the ceiling is left alone, in US dollars.
    #[arg(long, visible_alias = "reserved-budget", value_name = "USD", value_parser = usd, allow_negative_numbers = true, help_heading = "Bounds")]
    pub reserved_budget_usd: Option<String>,
    /// Climb the model ladder haiku, sonnet, opus after failures, from this model on.
    #[arg(long, value_name = "MODEL", value_parser = model, help_heading = "Bounds")]
    pub starting_model: Option<String>,
    /// Climb the ladder after so many failures on a rung that a better model could mend.
    #[arg(long, value_name = "N", value_parser = failures, allow_negative_numbers = true, help_heading = "Bounds")]
    pub escalate_after_failures: Option<String>,
    /// Climb the ladder up to this model.
    #[arg(long, value_name = "MODEL", value_parser = model, help_heading = "Bounds")]
    pub max_model: Option<String>,
}

/// Budgets that hold nothing up, since every task of the plan is a command.
pub(super) fn warnings(plan: &Plan, settings: &Settings) -> Vec<Problems> {
    let bounds_agents = |key: &str| {
        ["usd", "tokens", "sessions"]
            .iter()
            .any(|what| key.ends_with(what))
            && !key.ends_with("reserved_budget_usd")
    };
    let rows = settings.rows().into_iter();
    let mut given = rows
        .filter(|(key, _, origin)| {
            key.starts_with("budget.") && bounds_agents(key) && **origin != Origin::Default
        })
        .peekable();
    let runner = |task| how::of(task, plan, settings, &how::Roles::new(), None).runner;
    let is_agents = |task| runner(task) != Runner::Command;
    // Mostly nothing is given, and a plan can be long.
    if given.peek().is_none() || plan.tasks.iter().any(is_agents) {
        return Vec::new();
    }
    given
        .map(|(key, _, origin)| Problems {
            name: origin.to_string(),
            text: String::new(),
            diagnostics: vec![Diagnostic::warning(
                "no-effect",
                format!(
                    "`{key}` bounds agents, and every task of the plan is a command, which has no session and \
                     spends neither tokens nor dollars"
                ),
            )],
        })
        .collect()
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
    /// What was typed: the flag, the setting that it gives, the value. A flag of the ladder asks for the ladder.
    pub(super) fn given(&self) -> Vec<(&'static str, &'static str, &str)> {
        let on_limit = self.on_limit.map(|what| match what {
            OnLimitName::Wait => "wait",
            OnLimitName::Stop => "stop",
        });
        let ladder = [
            (
                "--starting-model",
                "model_escalation.starting_model",
                &self.starting_model,
            ),
            (
                "--escalate-after-failures",
                "model_escalation.escalate_after",
                &self.escalate_after_failures,
            ),
            ("--max-model", "model_escalation.max_model", &self.max_model),
        ];
        let others = [
            ("--max-duration", "max_duration", &self.max_duration),
            ("--pause-at", "usage.pause_at", &self.pause_at),
            (
                "--quota-ceiling-usd",
                "budget.quota_ceiling_usd",
                &self.quota_ceiling_usd,
            ),
            (
                "--max-quota-percent",
                "budget.max_quota_percent",
                &self.max_quota_percent,
            ),
            (
                "--reserved-budget-usd",
                "budget.reserved_budget_usd",
                &self.reserved_budget_usd,
            ),
        ];
        let typed = ladder.iter().chain(&others);
        let mut given: Vec<_> = typed
            .filter_map(|(flag, key, value)| Some((*flag, *key, value.as_deref()?)))
            .collect();
        given.extend(on_limit.map(|what| ("--on-limit", "limits.on_limit", what)));
        let climbs = ladder.iter().find(|(_, _, value)| value.is_some());
        given.extend(climbs.map(|(flag, ..)| (*flag, "model_escalation.enabled", "true")));
        given
    }
}

/// The policy of a run with these settings that begins now.
pub(super) fn policy(settings: &Settings) -> Policy {
    let defaults = Policy::default();
    Policy {
        on_limit: match settings.limits_on_limit.value {
            config::OnLimit::Wait => OnLimit::Wait,
            config::OnLimit::Stop => OnLimit::Stop,
        },
        limit_margin_ms: ms(settings.limits_margin.value),
        pause_at: settings.usage_pause_at.value.map(|PerMille(n)| n),
        backoff_base_ms: ms(settings.backoff_base.value),
        backoff_max_ms: ms(settings.backoff_max.value),
        breaker_threshold: settings.circuit_breaker_threshold.value,
        breaker_reset_ms: ms(settings.circuit_breaker_reset_timeout.value),
        ladder: ladder(settings),
        budgets: budgets(settings),
        max_duration_ms: settings.max_duration.value.map(ms),
        ..defaults
    }
}

fn ladder(settings: &Settings) -> Ladder {
    let models = settings.model_escalation_ladder.value.clone();
    // A model that is asked for in general is asked for by every task.
    let usual = models
        .iter()
        .find(|model| *model == STARTING_MODEL)
        .or(models.first())
        .cloned();
    Ladder {
        enabled: settings.model_escalation_enabled.value,
        starting: settings
            .model_escalation_starting_model
            .value
            .clone()
            .or(usual),
        escalate_after: settings.model_escalation_escalate_after.value,
        max: settings.model_escalation_max_model.value.clone(),
        models,
    }
}

fn budgets(settings: &Settings) -> Budgets {
    fn cost(setting: &Setting<Option<Usd>>) -> Option<MicroUsd> {
        setting.value.map(|Usd(micro)| MicroUsd(micro))
    }
    let time = |setting: &Setting<Option<Duration>>| setting.value.map(ms);
    let of_run = [cost(&settings.budget_run_usd), ceiling(settings)];
    Budgets {
        attempt: Allowance {
            cost: cost(&settings.budget_attempt_usd),
            tokens: settings.budget_attempt_tokens.value,
            sessions: settings.budget_attempt_sessions.value,
            wall_ms: None,
        },
        task: Allowance {
            cost: cost(&settings.budget_task_usd),
            tokens: settings.budget_task_tokens.value,
            sessions: settings.budget_task_sessions.value,
            wall_ms: time(&settings.budget_task_time),
        },
        run: Allowance {
            cost: of_run.into_iter().flatten().min(),
            tokens: settings.budget_run_tokens.value,
            sessions: settings.budget_run_sessions.value,
            wall_ms: time(&settings.budget_run_time),
        },
        day: Allowance {
            cost: cost(&settings.budget_day_usd),
            tokens: settings.budget_day_tokens.value,
            sessions: settings.budget_day_sessions.value,
            wall_ms: time(&settings.budget_day_time),
        },
        default_reserve: MicroUsd(settings.budget_default_reserve.value.0),
        overshoot: MicroUsd(settings.budget_overshoot.value.0),
        day_begins: midnight(),
    }
}

/// The lesser of the part that may be spent and of what is not left alone.
fn ceiling(settings: &Settings) -> Option<MicroUsd> {
    let Usd(ceiling) = settings.budget_quota_ceiling_usd.value;
    let PerMille(part) = settings.budget_max_quota_percent.value;
    let Usd(reserved) = settings.budget_reserved_budget_usd.value;
    let part = u64::from(part);
    let allowed = ceiling / 1000 * part + ceiling % 1000 * part / 1000;
    (ceiling > 0).then(|| MicroUsd(allowed.min(ceiling.saturating_sub(reserved))))
}

/// When today began where the person is.
fn midnight() -> Wall {
    let now = Local::now();
    let since = now.time().signed_duration_since(NaiveTime::MIN);
    // Where clocks are set at midnight, there may be none of that name.
    let named = now
        .date_naive()
        .and_time(NaiveTime::MIN)
        .and_local_timezone(Local);
    Wall(named.earliest().unwrap_or(now - since).timestamp_millis())
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn duration(text: &str) -> Result<String, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("a run that may take no time does nothing".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn usd(text: &str) -> Result<String, String> {
    bounds::usd(text).map(|_| text.to_owned())
}

fn percent(text: &str) -> Result<String, String> {
    bounds::percent(text).map(|_| text.to_owned())
}

fn failures(text: &str) -> Result<String, String> {
    bounds::failures(text).map(|_| text.to_owned())
}

fn model(text: &str) -> Result<String, String> {
    bounds::model(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn of(project: &str) -> Policy {
        let resolved = config::resolve(&config::Sources {
            project: Some(config::Layer {
                name: "orch.yaml",
                text: project,
            }),
            ..config::Sources::default()
        });
        policy(&resolved.unwrap().settings)
    }

    #[test]
    fn without_settings_the_policy_is_the_default_one() {
        let mut found = of("");
        found.budgets.day_begins = Wall(0);
        found.ladder.starting = None;
        assert_eq!(found, Policy::default());
    }

    #[test]
    fn a_run_may_spend_the_lesser_of_the_part_and_of_what_is_not_left_alone() {
        let may_spend = |budget: &str| of(&format!("budget: {{{budget}}}")).budgets.run.cost;
        let usd = |usd: u64| Some(MicroUsd(usd * 1_000_000));
        assert_eq!(may_spend("quota_ceiling_usd: 0"), None);
        assert_eq!(may_spend("quota_ceiling: 100"), usd(100));
        for (percent, reserved, expected) in [(90, 5, 90), (100, 5, 95), (90, 20, 80), (0, 1, 0)] {
            let budget = format!(
                "quota_ceiling_usd: 100, max_quota_percent: {percent}, reserved_budget_usd: {reserved}"
            );
            assert_eq!(may_spend(&budget), usd(expected), "{budget}");
        }
        assert_eq!(may_spend("quota_ceiling_usd: 100, run: {usd: 30}"), usd(30));
    }

    #[test]
    fn the_ladder_begins_with_sonnet_or_else_at_its_foot() {
        let starts = |text: &str| of(text).ladder.model(None, 0);
        assert_eq!(starts(""), None);
        assert_eq!(
            starts("model_escalation: {enabled: true}").as_deref(),
            Some("sonnet")
        );
        let others = "model_escalation: {enabled: true, ladder: [a-1, b-2]}";
        assert_eq!(starts(others).as_deref(), Some("a-1"));
        assert_eq!(of(others).ladder.model(None, 2).as_deref(), Some("b-2"));
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Cases {
        ladders: Vec<Case>,
        ceilings: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        says: String,
        meta: String,
        #[serde(default)]
        flags: Vec<String>,
        declares: Option<String>,
        #[serde(default)]
        failures: u32,
        model: Option<String>,
        may_spend: Option<String>,
    }

    impl Case {
        fn policy(&self) -> Policy {
            #[derive(clap::Parser)]
            struct Typed {
                #[command(flatten)]
                bounds: BoundArgs,
            }
            let typed = std::iter::once("run").chain(self.flags.iter().map(String::as_str));
            let typed = <Typed as clap::Parser>::try_parse_from(typed).unwrap();
            let text = format!(
                "meta: {{{}}}\nsections:\n- {{id: s, name: S, tasks: [{{id: a, name: A}}]}}\n",
                self.meta
            );
            let checked =
                crate::plan::check("plan", text.as_bytes(), crate::plan::Strictness::AsWritten);
            let plan = checked.plan.unwrap();
            let resolved = config::resolve(&config::Sources {
                flags: config::Flags {
                    others: &typed.bounds.given(),
                    ..config::Flags::default()
                },
                plan: Some(config::PlanLayer::of("plan", &plan)),
                ..config::Sources::default()
            });
            policy(&resolved.unwrap().settings)
        }
    }

    #[test]
    fn plans_of_the_seed_climb_and_spend_as_they_say() {
        let text = include_str!("../../tests/fixtures/ladders-and-ceilings.yaml");
        let cases: Cases = serde_yaml::from_str(text).unwrap();
        assert!(cases.ladders.len() > 10 && cases.ceilings.len() > 5);
        for case in cases.ladders {
            let ladder = case.policy().ladder;
            let model = ladder.model(case.declares.as_deref(), case.failures);
            assert_eq!(model, case.model, "{}", case.says);
        }
        for case in cases.ceilings {
            let most = case.policy().budgets.run.cost;
            let written = case
                .may_spend
                .map(|usd| MicroUsd(bounds::usd(&usd).unwrap()));
            assert_eq!(most, written, "{}", case.says);
        }
    }

    #[test]
    fn the_day_begins_at_midnight() {
        let begins = of("").budgets.day_begins;
        let now = Local::now().timestamp_millis();
        assert!((0..=25 * 3_600_000).contains(&(now - begins.0)));
    }
}

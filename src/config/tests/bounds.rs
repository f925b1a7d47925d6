//! What bounds a run: who decides, which words mean the same, what is refused.

use super::*;
use crate::plan::{self, Strictness};

const PLAN: &str = "plan.yaml";

/// A plan with this `meta`.
fn plan(meta: &str) -> Plan {
    let text =
        format!("meta:\n{meta}sections:\n  - {{id: s, name: S, tasks: [{{id: t, name: T}}]}}\n");
    let checked = plan::check(PLAN, text.as_bytes(), Strictness::AsWritten);
    assert_eq!(checked.diagnostics, [], "{meta}");
    checked.plan.unwrap()
}

fn rows(sources: &Sources<'_>, keys: &[&str]) -> Vec<String> {
    let settings = settings(sources);
    let rows = settings.rows().into_iter();
    rows.filter(|(key, ..)| keys.contains(key))
        .map(|(key, value, origin)| format!("{key} = {value} ({origin})"))
        .collect()
}

#[test]
fn flag_over_plan_over_project_over_default_and_each_value_knows() {
    let plan = plan(
        "  circuit_breaker_threshold: 5\n  budget: {quota_ceiling_usd: 50, max_quota_percent: 80, task: {usd: 3}}\n  model_escalation: {enabled: true, starting_model: haiku}\n",
    );
    let sources = Sources {
        flags: Flags {
            others: &[
                ("--max-quota-percent", "budget.max_quota_percent", "75"),
                ("--quota-ceiling-usd", "budget.quota_ceiling_usd", "25"),
            ],
            ..Flags::default()
        },
        plan: Some(PlanLayer::of(PLAN, &plan)),
        ..own(
            "budget:\n  quota_ceiling_usd: 10\n  task: {usd: 4, sessions: 9}\nmodel_escalation: {max_model: sonnet}\n",
        )
    };
    let keys = [
        "circuit_breaker_threshold",
        "model_escalation.enabled",
        "model_escalation.starting_model",
        "model_escalation.max_model",
        "budget.quota_ceiling_usd",
        "budget.max_quota_percent",
        "budget.reserved_budget_usd",
        "budget.task.usd",
        "budget.task.sessions",
    ];
    assert_eq!(
        rows(&sources, &keys),
        [
            "circuit_breaker_threshold = 5 (plan.yaml, meta.circuit_breaker_threshold)",
            "model_escalation.enabled = true (plan.yaml, meta.model_escalation.enabled)",
            "model_escalation.starting_model = haiku (plan.yaml, meta.model_escalation.starting_model)",
            "model_escalation.max_model = sonnet (orch.yaml:4)",
            "budget.quota_ceiling_usd = $25.00 (--quota-ceiling-usd)",
            "budget.max_quota_percent = 75% (--max-quota-percent)",
            "budget.reserved_budget_usd = $0.00 (default)",
            "budget.task.usd = $3.00 (plan.yaml, meta.budget.task.usd)",
            "budget.task.sessions = 9 (orch.yaml:3)",
        ]
    );
}

#[test]
fn both_spellings_say_the_same_in_plans_and_in_settings() {
    let keys = [
        "budget.quota_ceiling_usd",
        "budget.max_quota_percent",
        "budget.reserved_budget_usd",
    ];
    let values = |sources: &Sources<'_>| {
        let rows = rows(sources, &keys).into_iter();
        rows.map(|row| row.split(" (").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [
        "budget.quota_ceiling_usd = $100.00",
        "budget.max_quota_percent = 90%",
        "budget.reserved_budget_usd = $5.00",
    ];
    for (ceiling, percent, reserved) in [
        (
            "quota_ceiling_usd",
            "max_quota_percent",
            "reserved_budget_usd",
        ),
        ("quota_ceiling", "max_budget_pct", "reserved_budget"),
    ] {
        let budget = format!("budget: {{{ceiling}: 100, {percent}: 90, {reserved}: 5}}\n");
        assert_eq!(values(&own(&budget)), expected);
        let plan = plan(&format!("  {budget}"));
        let sources = Sources {
            plan: Some(PlanLayer::of(PLAN, &plan)),
            ..Sources::default()
        };
        assert_eq!(values(&sources), expected);
    }
    let later = plan("  budget_limit_usd: 100\n");
    let sources = Sources {
        plan: Some(PlanLayer::of(PLAN, &later)),
        ..Sources::default()
    };
    assert_eq!(values(&sources)[0], expected[0]);
    assert_eq!(
        wrongs(&own("budget: {quota_ceiling: 1, quota_ceiling_usd: 1}\n")),
        ["duplicate-key: `budget.quota_ceiling_usd` stands here twice"]
    );
}

#[test]
fn bounds_that_cannot_be_meant_are_refused_with_their_place() {
    for text in [
        "limits: {margin: 25h}",
        "limits: {margin: -1}",
        "limits: {on_limit: die}",
        "usage: {pause_at: 101%}",
        "usage: {pause_at: -5}",
        "max_duration: 0",
        "backoff_base: 2d",
        "circuit_breaker_threshold: -3",
        "circuit_breaker_threshold: 101",
        "circuit_breaker_reset_timeout: 25h",
        "model: sonet",
        "model_escalation: {starting_model: gpt4}",
        "model_escalation: {escalate_after: 0}",
        "model_escalation: {enabled: maybe}",
        "model_escalation: {ladder: []}",
        "model_escalation: {ladder: [opus, opus]}",
        "model_escalation: {ladder: [opsu]}",
        "budget: {quota_ceiling_usd: -1}",
        "budget: {max_quota_percent: 120}",
        "budget: {task: {usd: 0}}",
        "budget: {run: {tokens: 0}}",
        "budget: {day: {sessions: 1.5}}",
        "budget: {day: {time: soon}}",
    ] {
        let problems = resolve(&own(text)).unwrap_err();
        let d = &problems[0].diagnostics[0];
        assert_eq!(d.code, "wrong-value", "{text}: {}", d.message);
        assert!(d.span.is_some(), "{text}");
    }
    for text in [
        "budget: {task: {money: 1}}",
        "budget: {attempt: {time: 1h}}",
        "limits: {wait: true}",
    ] {
        assert!(wrongs(&own(text))[0].starts_with("unknown-key"), "{text}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_by_name() {
    for (text, says) in [
        (
            "model_escalation: {max_model: claude-fancy-9}",
            "contradiction: `model_escalation.max_model`: `claude-fancy-9` is not on the ladder haiku, sonnet, opus (default)",
        ),
        (
            "model_escalation: {starting_model: opus, max_model: haiku}",
            "contradiction: `model_escalation.starting_model` stands above `model_escalation.max_model`",
        ),
        (
            "backoff_base: 5m",
            "contradiction: `backoff_base` is longer than `backoff_max` (default)",
        ),
        (
            "budget: {quota_ceiling_usd: 5, reserved_budget_usd: 5}",
            "contradiction: `budget.reserved_budget_usd` leaves nothing of `budget.quota_ceiling_usd`",
        ),
    ] {
        let problems = resolve(&own(text)).unwrap_err();
        assert_eq!(problems[0].name, "orch.yaml:1", "{text}");
        assert_eq!(wrongs(&own(text)), [says]);
    }
}

#[test]
fn a_part_of_no_ceiling_is_a_warning_in_files_and_refused_on_the_command_line() {
    let text = "budget: {max_quota_percent: 90}";
    let warning = "no-effect: `budget.max_quota_percent` is a part of `budget.quota_ceiling_usd`, which is not given";
    assert_eq!(wrongs(&own(text)), [warning]);
    assert!(!is_refused(&own(text)));
    assert!(is_refused(&Sources {
        flags: Flags {
            others: &[("--max-quota-percent", "budget.max_quota_percent", "90")],
            ..Flags::default()
        },
        ..Sources::default()
    }));
}

//! What bounds a run, as people and scripts see it: usage limits and windows, the breaker, budgets, the model ladder.

use serde_json::{Value, json};

use super::paint::Paint;
use crate::engine::Engine;
use crate::engine::budget::Amount;
use crate::engine::limit::UsageWindow;
use crate::engine::policy::{Allowance, OnLimit};
use crate::engine::usage::MicroUsd;
use crate::engine::view::{LimitView, RunView};
use crate::time::{Wall, for_people};

/// Lines, each under its word; nothing where nothing is bounded.
pub fn text(engine: &Engine, paint: Paint) -> String {
    let run = engine.run();
    let mut lines: Vec<(&str, String)> = Vec::new();
    lines.extend(run.breaker.map(|(cause, until)| {
        let probe = run.breaker_probe.map_or_else(
            || format!("one task tries at {}", clock(until)),
            |task| format!("{task} tries"),
        );
        ("breaker", format!("open, {probe}: {cause}"))
    }));
    let aside = format!("{} set aside", amounts(run.reserved, of_run(&run)));
    lines.extend(budget("run", of_run(&run), run.charged, Some(&aside)));
    lines.extend(budget("day", of_day(&run), run.charged_today, None));
    let ladder = &run.policy.ladder;
    if ladder.enabled {
        lines.push(("models", ladder.in_words()));
    }
    limits(&run, paint) + &joined(lines, paint)
}

/// The lines on limits and windows alone.
pub fn limits(run: &RunView<'_>, paint: Paint) -> String {
    let limits = run.limits.iter();
    let mut lines: Vec<_> = limits
        .map(|limit| ("limit", limit_in_words(limit)))
        .collect();
    for (entitlement, seen, windows) in &run.windows {
        let windows: Vec<String> = windows.iter().map(window_in_words).collect();
        let (windows, seen) = (windows.join(", "), clock(*seen));
        lines.push((
            "windows",
            format!("{entitlement}: {windows} (reported at {seen})"),
        ));
    }
    if let Some(most) = run.policy.pause_at.filter(|_| !run.windows.is_empty()) {
        let most = percent(most);
        lines.push(("windows", format!("nothing new starts from {most} on")));
    }
    joined(lines, paint)
}

fn joined(lines: Vec<(&str, String)>, paint: Paint) -> String {
    let line = |(word, line): (&str, String)| format!("{}: {line}\n", paint.bold(word));
    lines.into_iter().map(line).collect()
}

fn of_run<'a>(run: &'a RunView<'_>) -> &'a Allowance {
    &run.policy.budgets.run
}

fn of_day<'a>(run: &'a RunView<'_>) -> &'a Allowance {
    &run.policy.budgets.day
}

fn limit_in_words(limit: &LimitView<'_>) -> String {
    let whose = format!("{} of {}", limit.hit.scope.in_words(), limit.entitlement);
    let resets = limit.hit.resets_at.map_or_else(
        || "its reset is not known".to_owned(),
        |at| format!("it resets at {}", clock(at)),
    );
    let then = match (limit.probe, limit.is_waited_for) {
        (Some(task), _) => format!("{task} tries whether it is over"),
        (None, true) => format!("work goes on at {}", clock(limit.until)),
        (None, false) => "it is not waited for".to_owned(),
    };
    format!("{whose} is reached; {resets}; {then}")
}

fn window_in_words(window: &UsageWindow) -> String {
    let resets = window
        .resets_at
        .map(|at| format!(", resets at {}", clock(at)));
    format!(
        "{} {}{}",
        window.kind,
        percent(window.utilisation),
        resets.unwrap_or_default()
    )
}

fn budget(
    whose: &str,
    allowance: &Allowance,
    spent: Amount,
    more: Option<&str>,
) -> Option<(&'static str, String)> {
    if allowance.is_free() {
        return None;
    }
    let most = ceilings(allowance);
    let spent = amounts(spent, allowance);
    let more = more.map_or_else(String::new, |more| format!(", {more}"));
    Some((
        "budget",
        format!("the {whose} may spend {most}; {spent} spent{more}"),
    ))
}

/// The bounded ones of some amounts.
fn amounts(amount: Amount, allowance: &Allowance) -> String {
    let parts = [
        allowance.cost.map(|_| format!("~{}", amount.cost)),
        allowance
            .tokens
            .map(|_| format!("{} tokens", amount.tokens)),
        allowance
            .sessions
            .map(|_| format!("{} agent sessions", amount.sessions)),
        allowance.wall_ms.map(|_| for_people(amount.wall_ms)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The most of each.
pub fn ceilings(allowance: &Allowance) -> String {
    let most = Amount {
        cost: allowance.cost.unwrap_or(MicroUsd(0)),
        tokens: allowance.tokens.unwrap_or(0),
        sessions: allowance.sessions.unwrap_or(0),
        wall_ms: allowance.wall_ms.unwrap_or(0),
    };
    amounts(most, allowance).replace('~', "")
}

fn percent(thousandths: u32) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

fn clock(at: Wall) -> String {
    at.to_utc().map_or_else(
        || "an unknown time".to_owned(),
        |at| {
            at.with_timezone(&chrono::Local)
                .format("%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// The same for scripts, to stand beside what else is said of a run. Shares in thousandths.
pub fn json(engine: &Engine) -> Value {
    let run = engine.run();
    let policy = run.policy;
    let windows = run.windows.iter().flat_map(|(entitlement, seen, windows)| {
        windows.iter().map(move |window| {
            json!({
                "entitlement": entitlement,
                "window": window.kind,
                "utilisation": window.utilisation,
                "resets_at": window.resets_at,
                "seen": seen,
            })
        })
    });
    let level = |allowance: &Allowance, spent: Option<Amount>, reserved: Option<Amount>| json!({"most": allowance, "spent": spent, "reserved": reserved});
    json!({
        "on_limit": match policy.on_limit {
            OnLimit::Wait => "wait",
            OnLimit::Stop => "stop",
        },
        "limits": run.limits.iter().map(|limit| json!({
            "entitlement": limit.entitlement,
            "scope": limit.hit.scope,
            "resets_at": limit.hit.resets_at,
            "until": limit.until,
            "is_waited_for": limit.is_waited_for,
            "probe": limit.probe,
        })).collect::<Vec<_>>(),
        "windows": windows.collect::<Vec<_>>(),
        "pause_at": policy.pause_at,
        "breaker": run.breaker.map(|(cause, until)| json!({
            "cause": cause,
            "until": until,
            "probe": run.breaker_probe,
        })),
        "budgets": {
            "attempt": level(&policy.budgets.attempt, None, None),
            "task": level(&policy.budgets.task, None, None),
            "run": level(of_run(&run), Some(run.charged), Some(run.reserved)),
            "day": level(of_day(&run), Some(run.charged_today), None),
        },
        "ladder": policy.ladder,
        "paused": run.paused,
    })
}

//! What values say together that each may say alone.

use super::{Origin, Problems, Setting, Settings};
use crate::diagnostic::Diagnostic;
use crate::plan::bounds::is_called;

/// Notes what does not go together, under the name of the place that said it.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problems>) {
    let mut note = |origin: &Origin, diagnostic: Diagnostic| {
        problems.push(Problems {
            name: origin.to_string(),
            text: String::new(),
            diagnostics: vec![diagnostic],
        });
    };
    let wrong = |message: String| Diagnostic::error("contradiction", message);
    ladder(settings, |origin, message| note(origin, wrong(message)));
    let (base, max) = (&settings.backoff_base, &settings.backoff_max);
    if base.value > max.value {
        let nearer = said_last(base, max);
        note(
            nearer,
            wrong(format!(
                "`backoff_base` is longer than `backoff_max` ({})",
                said_first(base, max)
            )),
        );
    }
    let ceiling = &settings.budget_quota_ceiling_usd;
    let percent = &settings.budget_max_quota_percent.origin;
    let reserved = &settings.budget_reserved_budget_usd;
    if ceiling.value.0 == 0 {
        for (key, origin) in [
            ("budget.max_quota_percent", percent),
            ("budget.reserved_budget_usd", &reserved.origin),
        ] {
            let message =
                format!("`{key}` is a part of `budget.quota_ceiling_usd`, which is not given");
            match origin {
                Origin::Default => {}
                // Whoever types a bound must not believe in one that is none.
                Origin::Flag(_) => note(origin, wrong(message)),
                Origin::File { .. } | Origin::Plan { .. } | Origin::Environment(_) => {
                    note(origin, Diagnostic::warning("no-effect", message));
                }
            }
        }
    } else if reserved.value >= ceiling.value {
        note(
            said_last(reserved, ceiling),
            wrong(
                "`budget.reserved_budget_usd` leaves nothing of `budget.quota_ceiling_usd`"
                    .to_owned(),
            ),
        );
    }
}

fn ladder(settings: &Settings, mut note: impl FnMut(&Origin, String)) {
    let ladder = &settings.model_escalation_ladder;
    let rung = |model: &str| ladder.value.iter().position(|rung| is_called(model, rung));
    let words = [
        ("starting_model", &settings.model_escalation_starting_model),
        ("max_model", &settings.model_escalation_max_model),
    ];
    let mut rungs = Vec::new();
    for (key, setting) in words {
        let Some(model) = setting.value.as_deref() else {
            continue;
        };
        match rung(model) {
            Some(rung) => rungs.push((rung, setting)),
            None => note(
                &setting.origin,
                format!(
                    "`model_escalation.{key}`: `{model}` is not on the ladder {} ({})",
                    ladder.value.join(", "),
                    ladder.origin
                ),
            ),
        }
    }
    if let [(start, starting), (top, max)] = rungs[..]
        && start > top
    {
        note(
            said_last(starting, max),
            "`model_escalation.starting_model` stands above `model_escalation.max_model`"
                .to_owned(),
        );
    }
}

/// The place that is to be named for two values: where one was written at all.
fn said_last<'s, A, B>(one: &'s Setting<A>, other: &'s Setting<B>) -> &'s Origin {
    match one.origin {
        Origin::Default => &other.origin,
        Origin::File { .. } | Origin::Plan { .. } | Origin::Environment(_) | Origin::Flag(_) => {
            &one.origin
        }
    }
}

fn said_first<'s, A, B>(one: &'s Setting<A>, other: &'s Setting<B>) -> &'s Origin {
    match one.origin {
        Origin::Default => &one.origin,
        Origin::File { .. } | Origin::Plan { .. } | Origin::Environment(_) | Origin::Flag(_) => {
            &other.origin
        }
    }
}

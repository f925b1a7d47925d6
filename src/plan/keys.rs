//! The words of the plan format: which keys exist at which level, and what is said about every other key.
//!
//! A key is added here and read in `read`; `docs/plan-format.md` has a line for each.

use Class::{Kept, Read, Unbuilt};

/// Words that later versions give a meaning, at every level but the innermost: refused, so that no plan relies on them
/// being ignored.
pub(super) const RESERVED: [&str; 12] = [
    "review",
    "candidates",
    "models",
    "env",
    "include",
    "vars",
    "matrix",
    "when",
    "foreach",
    "repos",
    "executor",
    "secrets",
];

/// Keys that later versions of claude-plan-orchestrator renamed, with the word that this format has.
const RENAMED: [(&str, &str); 2] = [
    ("dependencies", "depends_on"),
    ("exclusive_resource", "exclusive_resources"),
];

/// What is done with a known key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It is read.
    Read,
    /// It is left alone: a note for people, or written by a run of claude-plan-orchestrator.
    Kept,
    /// claude-plan-orchestrator has the feature, this version does not: a warning says so.
    Unbuilt,
}

/// A kind of mapping in a plan, with its keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Where it is, to follow "unknown key `x`".
    pub(super) place: &'static str,
    /// Whether reserved words are refused here.
    has_reserved: bool,
    keys: &'static [(&'static str, Class)],
}

impl Level {
    /// The keys that are read here, where they are few: inside of a mapping that does one thing.
    pub(super) fn few(&self) -> Option<String> {
        let read = self.keys.iter().filter(|(_, class)| *class == Read);
        let words: Vec<String> = read.map(|(key, _)| format!("`{key}`")).collect();
        (!self.has_reserved).then(|| words.join(", "))
    }
}

/// The document itself.
pub(super) const TOP: Level = Level {
    place: "at the top level",
    has_reserved: true,
    keys: &[("orch", Read), ("meta", Read), ("sections", Read)],
};

/// `meta`.
pub(super) const META: Level = Level {
    place: "in `meta`",
    has_reserved: true,
    keys: &[
        ("name", Read),
        ("description", Read),
        ("plan_doc", Read),
        ("max_attempts_default", Read),
        ("jobs", Read),
        ("runner", Read),
        ("schedule", Read),
        ("id", Read),
        ("verify", Read),
        ("protect", Read),
        ("allow_protected", Read),
        ("limits", Read),
        ("red_green", Read),
        ("gate", Read),
        ("merge", Read),
        ("merge_resolver", Read),
        ("notification_email", Read),
        ("validation", Unbuilt),
        ("model_escalation", Read),
        ("budget", Read),
        ("hooks", Read),
        ("smoke", Read),
        ("budget_limit_usd", Read),
        ("circuit_breaker_threshold", Read),
        ("circuit_breaker_reset_timeout", Read),
        ("backoff_base", Read),
        ("backoff_max", Read),
        ("judge_model", Unbuilt),
        ("step_notifications", Unbuilt),
        ("created", Kept),
        ("status", Kept),
        ("pause_reason", Kept),
        ("source_item", Kept),
        ("requirements_path", Kept),
    ],
};

/// An item of `sections`.
pub(super) const SECTION: Level = Level {
    place: "in a section",
    has_reserved: true,
    keys: &[
        ("id", Read),
        ("name", Read),
        ("status", Read),
        ("tasks", Read),
        ("verify", Read),
        ("protect", Read),
        ("allow_protected", Read),
        ("limits", Read),
        ("red_green", Read),
        ("gate", Read),
        ("description", Kept),
    ],
};

/// An item of `tasks`.
pub(super) const TASK: Level = Level {
    place: "in a task",
    has_reserved: true,
    keys: &[
        ("id", Read),
        ("name", Read),
        ("status", Read),
        ("description", Read),
        ("depends_on", Read),
        ("parallel_group", Read),
        ("exclusive_resources", Read),
        ("agent", Read),
        ("max_attempts", Read),
        ("model", Read),
        ("files", Read),
        ("runner", Read),
        ("run", Read),
        ("timeout", Read),
        ("kind", Read),
        ("retry", Read),
        ("priority", Read),
        ("labels", Read),
        ("rehearse", Read),
        ("verify", Read),
        ("protect", Read),
        ("allow_protected", Read),
        ("limits", Read),
        ("red_green", Read),
        ("outputs", Read),
        ("gate", Read),
        ("external", Read),
        ("attempts", Kept),
        ("last_attempt", Kept),
        ("model_used", Kept),
        ("completed_at", Kept),
        ("result_message", Kept),
        ("last_error", Kept),
        ("validation_findings", Kept),
        ("validation_attempts", Kept),
        ("execution_mode", Kept),
        ("team_roles", Kept),
    ],
};

/// `retry` of a task.
pub(super) const RETRY: Level = Level {
    place: "in `retry`",
    has_reserved: false,
    keys: &[("max", Read), ("from", Read)],
};

/// `rehearse` of a task.
pub(super) const REHEARSE: Level = Level {
    place: "in `rehearse`",
    has_reserved: false,
    keys: &[
        ("write", Read),
        ("append", Read),
        ("delete", Read),
        ("answer", Read),
        ("status", Read),
        ("fail_times", Read),
        ("takes", Read),
        ("costs", Read),
        ("add_tasks", Read),
    ],
};

/// An item of `verify`.
pub(super) const VERIFY: Level = Level {
    place: "in a verify command",
    has_reserved: false,
    keys: &[
        ("name", Read),
        ("run", Read),
        ("timeout", Read),
        ("required", Read),
        ("fail_on", Read),
        ("env", Read),
        ("reports", Read),
    ],
};

/// An item of `outputs`.
pub(super) const OUTPUT: Level = Level {
    place: "in an output",
    has_reserved: false,
    keys: &[
        ("path", Read),
        ("exists", Read),
        ("contains", Read),
        ("not_contains", Read),
        ("json_schema", Read),
    ],
};

/// `limits`.
pub(super) const LIMITS: Level = Level {
    place: "in `limits`",
    has_reserved: false,
    keys: &[("files", Read), ("lines", Read)],
};

/// `model_escalation` of `meta`.
pub(super) const MODEL_ESCALATION: Level = Level {
    place: "in `model_escalation`",
    has_reserved: false,
    keys: &[
        ("enabled", Read),
        ("starting_model", Read),
        ("escalate_after", Read),
        ("max_model", Read),
        ("validation_model", Unbuilt),
    ],
};

/// `budget` of `meta`.
pub(super) const BUDGET: Level = Level {
    place: "in `budget`",
    has_reserved: false,
    keys: &[
        ("quota_ceiling_usd", Read),
        ("max_quota_percent", Read),
        ("reserved_budget_usd", Read),
        ("default_reserve", Read),
        ("overshoot", Read),
        ("attempt", Read),
        ("task", Read),
        ("run", Read),
        ("day", Read),
        ("quota_ceiling", Read),
        ("max_budget_pct", Read),
        ("reserved_budget", Read),
    ],
};

/// `task`, `run` and `day` of `budget`.
pub(super) const ALLOWANCE: Level = Level {
    place: "in a level of `budget`",
    has_reserved: false,
    keys: &[
        ("usd", Read),
        ("tokens", Read),
        ("sessions", Read),
        ("time", Read),
    ],
};

/// `attempt` of `budget`; its time is `timeout`.
pub(super) const ATTEMPT_ALLOWANCE: Level = Level {
    place: "in `budget.attempt`",
    has_reserved: false,
    keys: &[("usd", Read), ("tokens", Read), ("sessions", Read)],
};

/// `gate`, as a mapping.
pub(super) const GATE: Level = Level {
    place: "in `gate`",
    has_reserved: false,
    keys: &[("reason", Read), ("evidence", Read), ("when", Read)],
};

/// `external` of a task.
pub(super) const EXTERNAL: Level = Level {
    place: "in `external`",
    has_reserved: false,
    keys: &[
        ("run", Read),
        ("files", Read),
        ("every", Read),
        ("timeout", Read),
    ],
};

/// `hooks` of `meta`.
pub(super) const HOOKS: Level = Level {
    place: "in `hooks`",
    has_reserved: false,
    keys: &[
        ("before_run", Read),
        ("after_task", Read),
        ("after_run", Read),
    ],
};

const LEVELS: [&Level; 16] = [
    &TOP,
    &META,
    &SECTION,
    &TASK,
    &RETRY,
    &REHEARSE,
    &VERIFY,
    &OUTPUT,
    &LIMITS,
    &MODEL_ESCALATION,
    &BUDGET,
    &ALLOWANCE,
    &ATTEMPT_ALLOWANCE,
    &GATE,
    &EXTERNAL,
    &HOOKS,
];

/// What a key is at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// One of the format.
    Known(Class),
    /// `x-...`: free for people and other tools.
    Free,
    /// Reserved for a later version.
    Reserved,
    /// Most likely this key was meant.
    Misspelt(&'static str),
    /// Known at another place only.
    Misplaced(&'static str),
    /// Nothing of the kind.
    Unknown,
}

impl Level {
    /// What `key` is here.
    pub(super) fn classify(&self, key: &str) -> Key {
        if let Some((_, class)) = self.keys.iter().find(|(known, _)| *known == key) {
            return Key::Known(*class);
        }
        if key.starts_with("x-") {
            return Key::Free;
        }
        if self.has_reserved && RESERVED.contains(&key) {
            return Key::Reserved;
        }
        let known = || self.keys.iter().map(|(known, _)| *known);
        let renamed = RENAMED.into_iter().filter(|(former, _)| *former == key);
        if let Some(meant) = renamed
            .map(|(_, word)| word)
            .find(|word| known().any(|k| k == *word))
            .or_else(|| nearest(key, known()))
        {
            return Key::Misspelt(meant);
        }
        let others = LEVELS.into_iter().filter(|level| *level != self);
        others
            .filter(|level| {
                level
                    .keys
                    .iter()
                    .any(|(k, class)| *k == key && *class == Read)
            })
            .map(|level| Key::Misplaced(level.place))
            .next()
            .unwrap_or(Key::Unknown)
    }
}

/// The word that was most likely meant: at most two letters added, dropped, changed or swapped, but one only in words of
/// up to four letters, and none in single letters, where so many changes make any word of any other; or the same word in
/// other case.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let scored = known.filter_map(|k| {
        if k.eq_ignore_ascii_case(word) {
            return Some((0, k));
        }
        let allowed = match k.len().min(word.len()) {
            // Of one letter, one change makes any other.
            0 | 1 if k.len() == word.len() => 0,
            _ if k.len() <= 4 => 1,
            _ => 2,
        };
        let distance = edit_distance(word, k, allowed)?;
        Some((distance, k))
    });
    scored.min_by_key(|(distance, _)| *distance).map(|(_, k)| k)
}

/// Letters to add, drop, change, or swap with their neighbour to make one word of the other; `None` above `max`.
fn edit_distance(a: &str, b: &str, max: usize) -> Option<usize> {
    // Bytes bound characters from above by 4: no need to read a megabyte to know that it is no key.
    if a.len() > 4 * (b.len() + max) {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > max {
        return None;
    }
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|distance| *distance <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_told_from_other_words() {
        for (level, key, expected) in [
            (&TASK, "depend_on", Key::Misspelt("depends_on")),
            (&TASK, "dependencies", Key::Misspelt("depends_on")),
            (
                &TASK,
                "exclusive_resource",
                Key::Misspelt("exclusive_resources"),
            ),
            (&TASK, "nmae", Key::Misspelt("name")),
            (&TASK, "ID", Key::Misspelt("id")),
            (&TASK, "Status", Key::Misspelt("status")),
            (&TASK, "timeuot", Key::Misspelt("timeout")),
            (&TASK, "due", Key::Unknown),
            (&TASK, "note", Key::Unknown),
            (&TASK, "x-anything", Key::Free),
            (&TASK, "review", Key::Reserved),
            (&TASK, "verfy", Key::Misspelt("verify")),
            (&META, "secrets", Key::Reserved),
            (&TASK, "jobs", Key::Misplaced("in `meta`")),
            (&TOP, "tasks", Key::Misplaced("in a section")),
            (&TASK, "attempts", Key::Known(Kept)),
            (&META, "validation", Key::Known(Unbuilt)),
            (&META, "budget", Key::Known(Read)),
        ] {
            assert_eq!(level.classify(key), expected, "{key} {}", level.place);
        }
    }

    #[test]
    fn no_known_key_is_reserved_where_words_are() {
        for level in LEVELS.into_iter().filter(|level| level.has_reserved) {
            assert!(level.keys.iter().all(|(key, _)| !RESERVED.contains(key)));
        }
    }

    #[test]
    fn the_documentation_has_every_key() {
        let page = include_str!("../../docs/plan-format.md");
        for level in LEVELS {
            for (key, _) in level.keys {
                assert!(page.contains(&format!("`{key}`")), "{key} {}", level.place);
            }
        }
        for key in RESERVED {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }
}

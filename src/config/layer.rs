//! One layer at a time: texts, variables, flags and plan become partial settings, and what is wrong with them is noted.

use std::collections::BTreeMap;
use std::path::Path;

use super::read::{Given, Raw};
use super::{Flags, KEYS, Key, Layer, Origin, Partial, PlanLayer, Problems, Setting};
use crate::diagnostic::{Diagnostic, Lines, Severity};
use crate::plan::bounds::canonical;
use crate::plan::checks;
use crate::plan::nearest;
use crate::plan::syntax::{self, Node, NodeKind};

/// Words that later versions give a meaning: refused, so that nobody relies on a gate or a limit that does not exist.
pub(super) const RESERVED: [&str; 16] = [
    "allow_protected",
    "env",
    "executor",
    "external",
    "gate",
    "gates",
    "include",
    "landing",
    "models",
    "outputs",
    "repos",
    "review",
    "sandbox",
    "secrets",
    "validation",
    "vars",
];

/// The keys of `.claude/orchestrator-config.yaml`, a format of others: what it says beyond them is not ours to refuse.
const SEED_KEYS: [&str; 5] = [
    "build_command",
    "test_command",
    "dev_server_command",
    "dev_server_port",
    "agents_dir",
];

/// Whose format a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerKind {
    /// Ours.
    Own,
    /// That of claude-plan-orchestrator.
    Seed,
}

/// Reads a settings file.
pub(super) fn of_file(
    layer: Layer<'_>,
    kind: LayerKind,
    home: Option<&Path>,
    problems: &mut Vec<Problems>,
) -> Partial {
    let mut reader = FileReader {
        name: layer.name,
        lines: Lines::new(layer.text),
        kind,
        home,
        partial: Partial::default(),
        diagnostics: Vec::new(),
    };
    match syntax::parse(layer.text) {
        Ok(document) => {
            if let Some(root) = &document.root {
                reader.mapping(root, None);
            }
        }
        Err(error) => reader
            .diagnostics
            .push(Diagnostic::error("yaml", error.message).at(error.span)),
    }
    if !reader.diagnostics.is_empty() {
        problems.push(Problems {
            name: layer.name.to_owned(),
            text: layer.text.to_owned(),
            diagnostics: reader.diagnostics,
        });
    }
    reader.partial
}

/// Keys that stand for one of the keys below them, where their value is no mapping.
const ALONE: [(&str, &str); 2] = [("verify", "verify.commands"), ("protect", "protect.add")];

/// Reads `ORCH_<KEY>` for every key; empty variables say nothing. Other `ORCH_*` variables belong to somebody else, but
/// one that looks like a key misspelt gets a warning.
pub(super) fn of_environment(
    vars: &BTreeMap<String, String>,
    home: Option<&Path>,
    problems: &mut Vec<Problems>,
) -> Partial {
    let mut names: Vec<(String, &Key)> = KEYS.iter().map(|key| (variable(key.name), key)).collect();
    for (alone, whole) in ALONE {
        let key = KEYS.iter().find(|key| key.name == whole);
        names.extend(key.map(|key| (variable(alone), key)));
    }
    let mut partial = Partial::default();
    let set_ones = vars
        .iter()
        .filter(|(name, text)| name.starts_with("ORCH_") && !text.is_empty());
    for (name, text) in set_ones {
        if let Some((_, key)) = names.iter().find(|(known, _)| known == name) {
            let origin = Origin::Environment(name.clone());
            set_text(key, text, home, origin, &mut partial, problems);
        } else if let Some(meant) = nearest(name, names.iter().map(|(known, _)| known.as_str())) {
            let warning =
                Diagnostic::warning("misspelt-key", format!("`{name}` is not a setting of orch"))
                    .help(format!("`{meant}` is"));
            problems.push(without_text(name, warning));
        }
    }
    partial
}

/// Reads the command line.
pub(super) fn of_flags(
    flags: &Flags<'_>,
    home: Option<&Path>,
    problems: &mut Vec<Problems>,
) -> Partial {
    let jobs = flags.jobs.map(|n| n.to_string());
    let given = [
        ("--jobs", "jobs", jobs.as_deref()),
        ("--runner", "runner", flags.runner),
        ("--model", "model", flags.model),
        (
            "--require-verify",
            "verify.require",
            flags.require_verify.then_some("true"),
        ),
    ];
    let mut partial = Partial::default();
    let others = flags
        .others
        .iter()
        .map(|(flag, name, text)| (*flag, *name, Some(*text)));
    for (flag, name, text) in given.into_iter().chain(others) {
        let key = KEYS.iter().find(|key| key.name == name);
        if let (Some(key), Some(text)) = (key, text) {
            set_text(key, text, home, Origin::Flag(flag), &mut partial, problems);
        }
    }
    partial
}

/// Takes what a checked plan says.
pub(super) fn of_plan(
    plan: PlanLayer<'_>,
    home: Option<&Path>,
    problems: &mut Vec<Problems>,
) -> Partial {
    fn setting<T>(name: &str, key: &'static str, value: Option<T>) -> Option<Setting<T>> {
        let origin = |name: &str| Origin::Plan {
            name: name.to_owned(),
            key,
        };
        value.map(|value| Setting {
            value,
            origin: origin(name),
        })
    }
    let mut partial = Partial {
        jobs: setting(plan.name, "meta.jobs", plan.jobs),
        runner: setting(plan.name, "meta.runner", plan.runner),
        max_attempts: setting(plan.name, "meta.max_attempts_default", plan.max_attempts),
        merge: setting(plan.name, "meta.merge", plan.merge.map(<[_]>::to_vec)),
        smoke: setting(plan.name, "meta.smoke", plan.smoke.map(<[_]>::to_vec)),
        ..Partial::default()
    };
    for bound in plan.bounds {
        let name = bound.key.strip_prefix("meta.").unwrap_or(bound.key);
        if let Some(key) = KEYS.iter().find(|key| key.name == name) {
            let origin = Origin::Plan {
                name: plan.name.to_owned(),
                key: bound.key,
            };
            set_text(key, &bound.text, home, origin, &mut partial, problems);
        }
    }
    partial
}

/// The environment variable of a key: `claude.allow_root` is `ORCH_CLAUDE_ALLOW_ROOT`.
fn variable(key: &str) -> String {
    format!("ORCH_{}", key.replace('.', "_").to_ascii_uppercase())
}

fn set_text(
    key: &Key,
    text: &str,
    home: Option<&Path>,
    origin: Origin,
    partial: &mut Partial,
    problems: &mut Vec<Problems>,
) {
    let given = Given {
        raw: Raw::Text(text),
        home,
    };
    let name = origin.to_string();
    if let Err(wrong) = (key.set)(partial, &given, origin) {
        problems.push(without_text(&name, Diagnostic::error("wrong-value", wrong)));
    }
}

fn without_text(name: &str, diagnostic: Diagnostic) -> Problems {
    Problems {
        name: name.to_owned(),
        text: String::new(),
        diagnostics: vec![diagnostic],
    }
}

/// The keys whose values are verify commands.
const GATES: [&str; 4] = ["verify.commands", "smoke", "build_command", "test_command"];

struct FileReader<'a> {
    name: &'a str,
    lines: Lines<'a>,
    kind: LayerKind,
    home: Option<&'a Path>,
    partial: Partial,
    diagnostics: Vec<Diagnostic>,
}

impl FileReader<'_> {
    /// Reads the entries of the whole file, or of the mapping below the key `group`.
    fn mapping(&mut self, node: &Node<'_>, group: Option<&'static str>) {
        let NodeKind::Mapping { entries, .. } = &node.kind else {
            // A group of which every entry is commented out says nothing.
            if !is_null(node) {
                let what = group.map_or("the file".to_owned(), |g| format!("`{g}`"));
                let message = format!("{what} must be a mapping: lines of `key: value`");
                self.error("wrong-value", message, node);
            }
            return;
        };
        let mut seen: BTreeMap<String, &Node<'_>> = BTreeMap::new();
        for (key, value) in entries {
            let Some(word) = key.as_scalar() else {
                self.error("unknown-key", "a key must be a word", key);
                continue;
            };
            let name = group.map_or(word.to_owned(), |group| format!("{group}.{word}"));
            let name = match self.kind {
                LayerKind::Own => canonical(&name).to_owned(),
                LayerKind::Seed => name,
            };
            if let Some(first) = seen.insert(name.clone(), key) {
                self.diagnostics.push(
                    Diagnostic::error("duplicate-key", format!("`{name}` stands here twice"))
                        .at(key.span())
                        .related(first.span(), "first here"),
                );
                continue;
            }
            self.entry(name, word, key, value, group);
        }
    }

    fn entry(
        &mut self,
        mut name: String,
        word: &str,
        key: &Node<'_>,
        value: &Node<'_>,
        group: Option<&'static str>,
    ) {
        let is_alone = !matches!(value.kind, NodeKind::Mapping { .. });
        if let Some((_, whole)) = ALONE.iter().find(|(alone, _)| is_alone && *alone == name) {
            name = (*whole).to_owned();
        }
        let known = KEYS
            .iter()
            .find(|key| key.name == name)
            .filter(|key| self.knows(key.name));
        if let Some(known) = known {
            self.set(known, value);
        } else if let Some(inner) = self.groups().into_iter().find(|inner| *inner == name) {
            self.mapping(value, Some(inner));
        } else if !word.starts_with("x-") {
            self.unknown(word, key, group);
        }
    }

    fn set(&mut self, key: &Key, value: &Node<'_>) {
        if is_null(value) {
            return;
        }
        let given = Given {
            raw: Raw::Node(value),
            home: self.home,
        };
        let origin = Origin::File {
            name: self.name.to_owned(),
            line: self.lines.position(value.span().start).line,
        };
        if let Err(wrong) = (key.set)(&mut self.partial, &given, origin) {
            self.error("wrong-value", format!("`{}`: {wrong}", key.name), value);
        } else if GATES.contains(&key.name) {
            self.diagnostics.extend(checks::warnings_of_settings(value));
        }
    }

    fn unknown(&mut self, word: &str, key: &Node<'_>, group: Option<&'static str>) {
        let place = group.map_or(String::new(), |group| format!(" in `{group}`"));
        if self.kind == LayerKind::Own && group.is_none() && RESERVED.contains(&word) {
            let message = format!("`{word}` is not in this version of orch");
            let help = "remove it: orch would not do what it asks for";
            self.diagnostics.push(
                Diagnostic::error("reserved-key", message)
                    .at(key.span())
                    .help(help),
            );
            return;
        }
        let prefix = group.map_or(String::new(), |group| format!("{group}."));
        let here: Vec<&str> = KEYS
            .iter()
            .map(|key| key.name)
            .filter(|name| self.knows(name))
            .chain(self.groups())
            .filter_map(|name| name.strip_prefix(&prefix))
            .filter(|rest| !rest.contains('.'))
            .collect();
        let mut diagnostic = match nearest(word, here.iter().copied()) {
            Some(meant) => {
                Diagnostic::error("misspelt-key", format!("unknown key `{word}`{place}"))
                    .help(format!("did you mean `{meant}`?"))
            }
            None => Diagnostic::error("unknown-key", format!("unknown key `{word}`{place}"))
                .help(format!("known here: {}", here.join(", "))),
        };
        if self.kind == LayerKind::Seed {
            diagnostic.severity = Severity::Warning;
        }
        self.diagnostics.push(diagnostic.at(key.span()));
    }

    /// Whether the file's format has the key.
    fn knows(&self, name: &str) -> bool {
        self.kind == LayerKind::Own || SEED_KEYS.contains(&name)
    }

    /// The keys whose values are mappings.
    fn groups(&self) -> Vec<&'static str> {
        let mut groups = Vec::new();
        for key in KEYS.iter().filter(|key| self.knows(key.name)) {
            for (dot, _) in key.name.match_indices('.') {
                let group = &key.name[..dot];
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        groups
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, node: &Node<'_>) {
        self.diagnostics
            .push(Diagnostic::error(code, message).at(node.span()));
    }
}

/// Nothing written, or YAML's words for nothing.
fn is_null(node: &Node<'_>) -> bool {
    match &node.kind {
        NodeKind::Scalar {
            value,
            style: syntax::ScalarStyle::Plain,
        } => matches!(value.as_ref(), "" | "~" | "null" | "Null" | "NULL"),
        _ => false,
    }
}

//! Random edits by agents that load, change and dump the whole plan: applied to the person's text they must mean what
//! was meant, and leave that text's layout alone.

use orch::ids::TaskId;
use orch::plan::diff::{Gated, apply, difference, permit};
use orch::plan::edit::{TaskChange, write_statuses};
use orch::plan::graph::Declared;
use serde_yaml::{Mapping, Value};

use super::random::{Random, documents, lost_lines, random_plan, value};

/// Documents of the ordinary test run; `ORCH_PLAN_EDIT_DOCUMENTS` sets another number, as for `random`.
const DOCUMENTS: u64 = 400;

const TEXTS: [&str; 14] = [
    "word",
    "several words, and a comma",
    "key: value # no comment",
    "- dash",
    "two\nlines\n",
    "two\n\n  indented: lines",
    " leading\nand trailing \n",
    "\nfirst empty\n\n\n",
    "yes",
    "1.10",
    "it's \"quoted\" \\ and {braced}, [too]",
    "修复 🐛 é",
    "tab\tbell\u{7}\u{2028}\u{feff}",
    "",
];

fn text(random: &mut Random) -> Value {
    random.pick(&TEXTS).into()
}

fn texts(random: &mut Random) -> Value {
    let count = random.below(4);
    (0..count)
        .map(|_| text(random))
        .collect::<Vec<Value>>()
        .into()
}

fn new_task(random: &mut Random, id: String) -> Value {
    let mut task = Mapping::new();
    task.insert("id".into(), id.into());
    task.insert("name".into(), text(random));
    if random.chance(50) {
        task.insert("description".into(), text(random));
    }
    if random.chance(50) {
        task.insert("depends_on".into(), texts(random));
    }
    if random.chance(20) {
        task.insert("x-deep".into(), deep(random, 3));
    }
    task.into()
}

fn deep(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 3 } else { 5 }) {
        0 => text(random),
        1 => (random.below(2000) as u64).into(),
        2 => random.chance(50).into(),
        3 => {
            let count = random.below(4);
            (0..count)
                .map(|_| deep(random, depth - 1))
                .collect::<Vec<_>>()
                .into()
        }
        _ => {
            let mut mapping = Mapping::new();
            for key in ["a", "b: c", "2"].iter().take(random.below(4)) {
                mapping.insert((*key).into(), deep(random, depth - 1));
            }
            mapping.into()
        }
    }
}

/// Changes a plan in ways that an agent may.
fn edit(random: &mut Random, plan: &mut Value) {
    let sections = plan["sections"].as_sequence_mut().expect("sections");
    let mut added = 0;
    for section in sections.iter_mut() {
        let section = section.as_mapping_mut().expect("a mapping");
        let tasks = section.entry("tasks".into()).or_insert(Value::Null);
        if tasks.is_null() {
            *tasks = Value::Sequence(Vec::new());
        }
        let tasks = tasks.as_sequence_mut().expect("a list");
        for task in tasks.iter_mut() {
            if random.chance(40) {
                change(random, task.as_mapping_mut().expect("a mapping"));
            }
        }
        for _ in 0..random.below(3) {
            let at = random.below(tasks.len() + 1);
            tasks.insert(at, new_task(random, format!("n{added}")));
            added += 1;
        }
    }
    if random.chance(20) {
        let mut section = Mapping::new();
        section.insert("id".into(), "new".into());
        section.insert("name".into(), text(random));
        let task = new_task(random, "in-new".to_owned());
        section.insert("tasks".into(), vec![task].into());
        let at = random.below(sections.len() + 1);
        sections.insert(at, section.into());
    }
}

fn change(random: &mut Random, task: &mut Mapping) {
    for key in ["name", "description", "labels", "depends_on"] {
        match random.below(8) {
            0 if matches!(key, "labels" | "depends_on") => task.insert(key.into(), texts(random)),
            0 | 1 => task.insert(key.into(), text(random)),
            2 => task.remove(key),
            _ => continue,
        };
    }
    let status = task.get("status").filter(|status| !status.is_null());
    if random.chance(20) && status.is_none_or(|status| status == "pending") {
        task.insert("status".into(), "skipped".into());
    }
}

/// What is left when all that makes no difference is gone: nulls, and the status of sections.
fn bare(value: Value) -> Value {
    match value {
        Value::Mapping(mapping) => {
            let is_section = mapping.contains_key("tasks");
            let entries = mapping.into_iter().filter(|(key, value)| {
                let says_nothing = value.is_null() || is_empty_list(key, value);
                !says_nothing && (key != "status" || !is_section)
            });
            entries
                .map(|(key, value)| (key, bare(value)))
                .collect::<Mapping>()
                .into()
        }
        Value::Sequence(items) => items.into_iter().map(bare).collect::<Vec<_>>().into(),
        other => other,
    }
}

fn is_empty_list(key: &Value, value: &Value) -> bool {
    key == "tasks" && value.as_sequence().is_some_and(Vec::is_empty)
}

#[test]
fn random_rewrites_reach_the_text_and_leave_its_layout() {
    let this_task = TaskId::parse("somebody").expect("an id");
    for seed in 0..documents(DOCUMENTS) {
        let mut random = Random::new(seed);
        let base = random_plan(&mut random).text;
        let mut meant = value(&base);
        edit(&mut random, &mut meant);
        let edited = serde_yaml::to_string(&meant).expect("a value");
        let change = difference(&base, &edited).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let permitted = permit(change, &this_task, |_| false, &Gated::default())
            .unwrap_or_else(|why| panic!("seed {seed}: {why:?}\n{base}\n{edited}"));
        let applied = apply(&base, &permitted)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{base}\n{edited}"));
        assert_eq!(applied.dropped, [""; 0], "seed {seed}");
        assert_eq!(
            bare(value(&applied.text)),
            bare(meant),
            "seed {seed}:\n{base}\n=>\n{}",
            applied.text
        );
        // A changed field may have been a text or list of some lines.
        let lost = lost_lines(&base, &applied.text);
        let changes = permitted.changes().len();
        assert!(
            lost <= 9 * changes,
            "seed {seed}: {lost} lines lost:\n{base}\n=>\n{}",
            applied.text
        );
        again_on_a_tip_that_moved_on(seed, &mut random, &base, &permitted);
    }
}

/// The same edit on the text in which tasks have settled meanwhile: both changes stand.
fn again_on_a_tip_that_moved_on(
    seed: u64,
    random: &mut Random,
    base: &str,
    permitted: &orch::plan::diff::Permitted,
) {
    let task = format!("t{}", random.below(12));
    let settled = TaskChange {
        task: TaskId::parse(&task).expect("an id"),
        status: Declared::Completed,
        attempts: Some(7),
    };
    let tip = write_statuses(base, std::slice::from_ref(&settled)).expect("a plan");
    let applied = apply(&tip.text, permitted).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    let again = write_statuses(&applied.text, &[settled]).expect("a plan");
    assert_eq!(
        again.text, applied.text,
        "seed {seed}: {task} is settled no more"
    );
}

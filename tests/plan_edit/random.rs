//! Random plans in random layouts: whatever is written into them, both a reader of values and a reader of lines must
//! find exactly that.

#![expect(
    clippy::format_push_string,
    reason = "a generator is read more often than it allocates"
)]

use orch::ids::TaskId;
use orch::plan::edit::{LastWritten, TaskChange, write_statuses};
use orch::plan::graph::Declared;
use serde_yaml::Value;

/// Documents of the ordinary test run. For all: `ORCH_PLAN_EDIT_DOCUMENTS=100000 cargo test --release --test plan_edit`.
const DOCUMENTS: u64 = 2_500;

/// A small generator (SplitMix64), so that a seed names a document for ever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Whether something of this probability, in percent, happens.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const WORDS: [&str; 4] = ["pending", "completed", "failed", "skipped"];

/// A plan with ids `t0`, `t1`, ... and nothing else in common.
pub(crate) struct Plan {
    pub(crate) text: String,
    tasks: usize,
}

pub(crate) fn random_plan(random: &mut Random) -> Plan {
    let mut out = String::new();
    if random.chance(30) {
        out.push_str("# a plan\n");
    }
    if random.chance(20) {
        out.push_str("---\n");
    }
    if random.chance(70) {
        out.push_str(random.pick(&[
            "meta:\n  name: x\n  description: |\n    status: pending\n\n    - id: t0\n",
            "meta: {name: 'x', description: \"- id: t0\"}\n\n",
            "# status: pending\nmeta:\n    name: x # y\n",
        ]));
    }
    out.push_str(random.pick(&["sections:\n", "sections: # all\n", "\"sections\" :\n"]));
    let outer = random.pick(&["", "  ", "    "]);
    let mut tasks = 0;
    for section in 0..=random.below(3) {
        let count = random.below(5);
        let style = random.below(10);
        let inner = format!("{outer}  ");
        let dash = format!(
            "{outer}-{}",
            random
                .pick(&[" ", " ", "\n"])
                .replace('\n', &format!("\n{inner}"))
        );
        out.push_str(&format!("{dash}id: s{section}\n"));
        if random.chance(60) {
            out.push_str(&format!("{inner}status: {}\n", scalar(random, WORDS[0])));
        }
        noise(random, &mut out, &inner);
        if style == 0 {
            let items: Vec<String> = (0..count)
                .map(|_| flow_task(random, &mut tasks, ""))
                .collect();
            out.push_str(&format!("{inner}tasks: [{}]\n", items.join(", ")));
        } else if count == 0 {
            out.push_str(&format!(
                "{inner}tasks:{}\n",
                random.pick(&["", " []", " ~", " # none"])
            ));
        } else {
            out.push_str(&format!("{inner}tasks:\n"));
            let indent = format!("{inner}{}", random.pick(&["", "  ", "   "]));
            for _ in 0..count {
                if random.chance(25) {
                    let gap = format!("{indent}  ");
                    out.push_str(&format!(
                        "{indent}- {}\n",
                        flow_task(random, &mut tasks, &gap)
                    ));
                } else {
                    block_task(random, &mut out, &indent, &mut tasks);
                }
            }
        }
    }
    if random.chance(20) {
        out.push_str("x-after:\n  - id: t0\n    status: pending\n");
    }
    let mut text = match random.below(10) {
        0..4 => out,
        4..6 => out.replace('\n', "\r\n"),
        6..8 => out.trim_end_matches('\n').to_owned(),
        8 => format!("\u{feff}{out}"),
        _ => out.trim_end().replace('\n', "\r\n"),
    };
    if random.chance(5) {
        text.push_str("\n# end");
    }
    Plan { text, tasks }
}

/// A word in any style that fits on the line of its key.
fn scalar(random: &mut Random, word: &str) -> String {
    match random.below(9) {
        0 => format!("'{word}'"),
        1 => format!("\"{word}\""),
        2 => format!("!!str {word}"),
        3 => format!("{word}   # {word}"),
        4 => format!("  {word}\t"),
        5 => format!(
            "\"{}\\x{:02x}{}\"",
            &word[..1],
            word.as_bytes()[1],
            &word[2..]
        ),
        _ => word.to_owned(),
    }
}

fn noise(random: &mut Random, out: &mut String, indent: &str) {
    if random.chance(15) {
        out.push_str(random.pick(&["\n", "\n\n", "# status: pending\n", "   # x: {\n"]));
    }
    if random.chance(10) {
        out.push_str(&format!("{indent}# é 🐛 ]}} - status:\n"));
    }
}

fn block_task(random: &mut Random, out: &mut String, indent: &str, tasks: &mut usize) {
    let id = format!("t{}", *tasks);
    *tasks += 1;
    let pad = random.pick(&["  ", "  ", "   "]);
    let inner = format!("{indent}{pad}");
    let mut fields = vec![format!("id: {}", quote(random, &id))];
    if random.chance(70) {
        let word = random.pick(&WORDS);
        fields.push(match random.below(12) {
            0 => "status:".to_owned(),
            1 => format!("status:\n{inner}  {word}"),
            2 => format!("status: >-\n{inner}  {word}"),
            3 => format!("status: &{id} {word}"),
            4 => format!("\"status\": {word}"),
            5 => format!("'status'   :   {word}"),
            6 => "status: ~ # none".to_owned(),
            _ => format!("status: {}", scalar(random, word)),
        });
    }
    if random.chance(50) {
        fields.push(match random.below(6) {
            0 => "attempts:".to_owned(),
            1 => "attempts: !!int 2".to_owned(),
            2 => format!("attempts: # n\n{inner}  1"),
            3 => "attempts: &n 1".to_owned(),
            _ => format!("attempts: {}", random.below(4)),
        });
    }
    if random.chance(70) {
        fields.push(description(random, &inner));
    }
    if random.chance(50) {
        fields.push(
            random
                .pick(&[
                    "depends_on: []",
                    "depends_on: [t0, \"t1\"] # status: pending",
                    "depends_on:\n@  - t0 # x\n@  - t1",
                    "depends_on:\n@- t0",
                    "depends_on: [\n@   t0,\n@   t1\n@ ]",
                    "x-deep: {status: pending, a: [{status: pending}]}",
                    "x-deep:\n@  status: pending\n@  attempts: 7",
                    "x-empty:",
                    "? x-key\n@: x-value",
                ])
                .replace('@', &inner),
        );
    }
    let first = random.below(fields.len());
    fields.swap(0, first);
    if fields[0].starts_with('?') {
        fields.rotate_left(1);
    }
    for (i, field) in fields.iter().enumerate() {
        if i == 0 {
            out.push_str(&format!("{indent}-{}", &pad[1..]));
        } else {
            out.push_str(&inner);
        }
        out.push_str(field);
        out.push('\n');
        if random.chance(8) && !field.contains("|+") {
            noise(random, out, &inner);
        }
    }
}

fn quote(random: &mut Random, id: &str) -> String {
    match random.below(4) {
        0 => format!("'{id}'"),
        1 => format!("\"{id}\""),
        _ => id.to_owned(),
    }
}

fn description(random: &mut Random, inner: &str) -> String {
    random
        .pick(&[
            "description: a, b - c",
            "description: 'status: pending'",
            "description: \"a\n@  status: x\n\n@  b\"",
            "description: |\n@  status: pending\n@   attempts: 0\n\n@  - id: t0",
            "description: |-\n@    a\n@    # no comment\n@    b: c",
            "description: |2\n@   a\n@  b",
            "description: >+\n@  a\n@  b\n\n",
            "description: |+\n@  a\n\n",
            "description: plain\n@  on two lines",
            "description: &d >\n@  folded\n\n@  text",
            "description: 修复 🐛 é",
        ])
        .replace('@', inner)
}

fn flow_task(random: &mut Random, tasks: &mut usize, indent: &str) -> String {
    let id = format!("t{}", *tasks);
    *tasks += 1;
    let word = random.pick(&WORDS);
    let mut fields = vec![format!("id: {}", quote(random, &id))];
    if random.chance(70) {
        fields.push(match random.below(8) {
            0 => format!("\"status\":\"{word}\""),
            1 => "status: ".to_owned(),
            2 => "status".to_owned(),
            3 => format!("status: !!str '{word}'"),
            4 => format!("? status : {word}"),
            _ => format!("status: {word}"),
        });
    }
    if random.chance(50) {
        fields.push(
            random
                .pick(&["attempts: 1", "\"attempts\":0", "attempts: ", "attempts"])
                .to_owned(),
        );
    }
    if random.chance(50) {
        fields.push(
            random
                .pick(&[
                    "name: \"}, status: x\"",
                    "depends_on: [t0, {a: b}]",
                    "x-y: {status: pending}",
                    "name: 'a''b'",
                ])
                .to_owned(),
        );
    }
    let first = random.below(fields.len());
    fields.swap(0, first);
    let separator = match indent {
        "" => random.pick(&[", ", ",", " , "]).to_owned(),
        _ => random
            .pick(&[", ", ",\n@", ", # x, y: z\n@", "\n@, "])
            .replace('@', indent),
    };
    let tail = if random.chance(20) { "," } else { "" };
    format!("{{{}{tail}}}", fields.join(&separator))
}

/// The plan's value after `changes`, by the plain meaning of the words.
fn expected(mut plan: Value, changes: &[TaskChange]) -> Value {
    for section in plan["sections"].as_sequence_mut().expect("sections") {
        let mut concerned = false;
        let mut statuses = Vec::new();
        let tasks = section.get_mut("tasks").and_then(Value::as_sequence_mut);
        for task in tasks.into_iter().flatten() {
            let change = changes
                .iter()
                .find(|c| task["id"].as_str() == Some(c.task.as_str()));
            if let Some(change) = change {
                concerned = true;
                set(
                    task,
                    "status",
                    change.status.as_str().into(),
                    &"pending".into(),
                );
                if let Some(attempts) = change.attempts {
                    set(task, "attempts", attempts.into(), &0.into());
                }
            }
            let status = task.get("status").and_then(Value::as_str);
            statuses.push(status.unwrap_or("pending").to_owned());
        }
        if concerned {
            let all = |words: &[&str]| statuses.iter().all(|s| words.contains(&s.as_str()));
            let derived = if all(&["completed", "skipped"]) {
                "completed"
            } else if statuses.iter().any(|s| s == "failed") {
                "failed"
            } else if all(&["pending"]) {
                "pending"
            } else {
                "in_progress"
            };
            set(section, "status", derived.into(), &"pending".into());
        }
    }
    plan
}

/// Sets a field, unless it is absent and the value is what absence means.
fn set(mapping: &mut Value, key: &str, value: Value, default: &Value) {
    let says = mapping.get(key).filter(|value| !value.is_null());
    if *says.unwrap_or(default) != value {
        let mapping = mapping.as_mapping_mut().expect("a mapping");
        mapping.insert(key.into(), value);
    }
}

pub(crate) fn value(text: &str) -> Value {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// How many lines of `old` are not in the longest common subsequence with `new`.
pub(crate) fn lost_lines(old: &str, new: &str) -> usize {
    let old: Vec<&str> = old.split('\n').collect();
    let mut common = vec![0; old.len() + 1];
    for line in new.split('\n') {
        let mut diagonal = 0;
        for (i, other) in old.iter().enumerate() {
            let above = common[i + 1];
            common[i + 1] = if line == *other {
                diagonal + 1
            } else {
                above.max(common[i])
            };
            diagonal = above;
        }
    }
    old.len() - common[old.len()]
}

/// How many documents the environment asks for.
pub(crate) fn documents(default: u64) -> u64 {
    match std::env::var("ORCH_PLAN_EDIT_DOCUMENTS") {
        Ok(number) => number
            .parse()
            .expect("ORCH_PLAN_EDIT_DOCUMENTS is a number"),
        Err(_) => default,
    }
}

/// What a landing may write into a plan of so many tasks.
fn random_changes(random: &mut Random, tasks: usize) -> Vec<TaskChange> {
    let statuses = [
        Declared::Completed,
        Declared::Failed,
        Declared::Skipped,
        Declared::Pending,
    ];
    let mut changes: Vec<TaskChange> = Vec::new();
    for _ in 0..=random.below(3) {
        let change = TaskChange {
            task: TaskId::parse(&format!("t{}", random.below(tasks))).expect("an id"),
            status: random.pick(&statuses),
            attempts: random.chance(70).then_some(random.below(5) as u32),
        };
        changes.retain(|c| c.task != change.task);
        changes.push(change);
    }
    changes
}

#[test]
fn random_documents_change_in_the_written_fields_only() {
    for seed in 0..documents(DOCUMENTS) {
        let mut random = Random::new(seed);
        let plan = random_plan(&mut random);
        if plan.tasks == 0 {
            continue;
        }
        let changes = random_changes(&mut random, plan.tasks);
        let written = write_statuses(&plan.text, &changes)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", plan.text));
        assert_eq!(
            value(&written.text),
            expected(value(&plan.text), &changes),
            "seed {seed}:\n{}\n=>\n{}",
            plan.text,
            written.text
        );
        // Two fields a task and one a section; a folded status had a second line.
        let lost = lost_lines(&plan.text, &written.text);
        assert!(
            lost <= 4 * changes.len() + 3,
            "seed {seed}: {lost} lines lost:\n{:?}\n=>\n{:?}",
            plan.text,
            written.text
        );
        // What is kept of one write must not show in the next.
        let mut last = LastWritten::default();
        let mut text = plan.text;
        for _ in 0..3 {
            let changes = random_changes(&mut random, plan.tasks);
            let written = last.write_statuses(&text, &changes);
            let written = written.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
            let afresh = write_statuses(&text, &changes).expect("as before");
            assert_eq!(written, afresh, "seed {seed}:\n{text}");
            text = written.text;
        }
    }
}

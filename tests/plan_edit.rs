//! Edits of a plan's text change what they should and no other byte, in every style and file form.

#[path = "plan_edit/random.rs"]
mod random;
#[path = "plan_edit/rewrites.rs"]
mod rewrites;

use orch::ids::TaskId;
use orch::plan::edit::{EditError, TaskChange, write_statuses};
use orch::plan::graph::Declared;

/// Tasks of each document: more than any plan that a person wrote.
const TASKS: usize = 500;

fn id(text: &str) -> TaskId {
    TaskId::parse(text).expect("a usable id")
}

fn change(task: &str, status: Declared, attempts: Option<u32>) -> TaskChange {
    TaskChange {
        task: id(task),
        status,
        attempts,
    }
}

/// The ways to write a task; each gives the text of task `i` with that status and these attempts.
type Style = fn(usize, &str, u32) -> String;

const STYLES: [(&str, Style); 16] = [
    ("plain", |i, s, n| {
        format!("    - id: t{i}\n      name: n\n      status: {s}\n      attempts: {n}\n")
    }),
    ("single quotes", |i, s, n| {
        format!("    - id: 't{i}'\n      status: '{s}'   # why\n      attempts: {n}   # times\n")
    }),
    ("double quotes", |i, s, n| {
        format!("    - status: \"{s}\"\n      id: \"t{i}\"\n      attempts: {n}\n\n")
    }),
    ("flow on one line", |i, s, n| {
        format!("    - {{id: t{i}, name: \"a, b}}\", status: {s}, attempts: {n}}} # tail\n")
    }),
    ("flow as JSON", |i, s, n| {
        format!("    - {{\"id\":\"t{i}\",\"status\":\"{s}\",\"attempts\":{n}}}\n")
    }),
    ("flow on several lines", |i, s, n| {
        format!(
            "    - {{\n        id: t{i}, # status: pending\n        status: {s},\n        attempts: {n}\n      }}\n"
        )
    }),
    ("a literal text that looks like fields", |i, s, n| {
        format!(
            "    - description: |\n        status: pending\n        attempts: 0\n      id: t{i}\n      status: {s}\n      attempts: {n}\n"
        )
    }),
    ("a literal text with an indentation indicator", |i, s, n| {
        format!(
            "    - id: t{i}\n      attempts: {n}\n      status: {s}\n      description: |2-\n         status: pending\n        attempts: 0\n"
        )
    }),
    ("a folded text that looks like fields", |i, s, n| {
        format!(
            "    - id: t{i}\n      attempts: {n}\n      status: {s}\n      description: >-\n        status: pending\n\n        attempts: 0\n\n"
        )
    }),
    ("an anchored value", |i, s, n| {
        format!("    - id: t{i}\n      status: &s{i} {s}\n      attempts: &a{i} {n}\n")
    }),
    ("a tagged value", |i, s, n| {
        format!("    - id: t{i}\n      status: !!str {s}\n      attempts: !!int {n}\n")
    }),
    ("quoted keys", |i, s, n| {
        format!("    - \"id\": t{i}\n      'status' : {s}\n      \"attempts\" : {n}\n")
    }),
    ("a value on the next line", |i, s, n| {
        format!(
            "    - id: t{i}\n      status:\n        # below\n        {s}\n      attempts:\n        {n}\n"
        )
    }),
    ("a value in a block scalar", |i, s, n| {
        let s = if s == "pending" {
            format!(">-\n        {s}")
        } else {
            s.to_owned()
        };
        format!("    - id: t{i}\n      status: {s}\n      attempts: {n}\n")
    }),
    ("extra blanks", |i, s, n| {
        format!("    -   id:   t{i}  \n        status:   {s}  \t \n        attempts:\t{n}\t# x\n")
    }),
    ("names of any script", |i, s, n| {
        format!(
            "    - id: t{i}\n      name: 修复 🐛 é # 注释\n      status: {s} # 状态 🐛\n      attempts: {n}\n"
        )
    }),
];

/// A way to store a text.
type Form = fn(String) -> String;

const FORMS: [(&str, Form); 4] = [
    ("LF", |text| text),
    ("CRLF", |text| text.replace('\n', "\r\n")),
    ("byte order mark", |text| format!("\u{feff}{text}")),
    ("no final newline", |text| text.trim_end().to_owned()),
];

/// A plan whose last section has a settled task and then tasks in `style`, of which every `step`th is completed.
fn document(style: Style, step: Option<usize>) -> String {
    let tasks: String = (0..TASKS)
        .map(|i| match step {
            Some(step) if i % step == 0 => style(i, "completed", 2),
            _ => style(i, "pending", 0),
        })
        .collect();
    let status = match step {
        Some(1) => "completed",
        _ => "in_progress",
    };
    format!(
        "# plan\nmeta: {{name: x}}\nsections:\n  - id: other\n    tasks: []\n  - id: s\n    status: {status}\n    \
         tasks:\n    - {{id: settled, status: skipped}}\n{tasks}"
    )
}

#[test]
fn a_written_status_changes_no_other_byte_in_any_style_and_file_form() {
    for (style_name, style) in STYLES {
        for (form_name, form) in FORMS {
            let text = form(document(style, None));
            for step in [1, 25] {
                let changes: Vec<TaskChange> = (0..TASKS)
                    .step_by(step)
                    .map(|i| change(&format!("t{i}"), Declared::Completed, Some(2)))
                    .collect();
                let written = write_statuses(&text, &changes).expect(style_name);
                assert!(
                    written.text == form(document(style, Some(step))),
                    "{style_name}, {form_name}, every {step}th:\n{}",
                    &written.text[..500]
                );
                assert_eq!(written.missing, []);
            }
        }
    }
}

/// A plan of one section with this text as its tasks.
fn plan(tasks: &str) -> String {
    format!("sections:\n- id: s\n  tasks:\n{tasks}")
}

fn written(text: &str, changes: &[TaskChange]) -> String {
    write_statuses(text, changes)
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
        .text
}

#[test]
fn a_missing_field_is_added_behind_the_first_entry_that_ends_its_line() {
    let changes = [change("a", Declared::Failed, Some(3))];
    for (tasks, expected) in [
        (
            "  - id: a\n    name: n\n",
            "  - id: a\n    status: failed\n    attempts: 3\n    name: n\n",
        ),
        (
            "  - id: a # c\n",
            "  - id: a # c\n    status: failed\n    attempts: 3\n",
        ),
        (
            "  - id: a",
            "  - id: a\n    status: failed\n    attempts: 3",
        ),
        (
            "  - description: |\n      x\n    id: a\n",
            "  - description: |\n      x\n    id: a\n    status: failed\n    attempts: 3\n",
        ),
        (
            "  - id:\n      a\n    description: |+\n      x\n\n",
            "  - status: failed\n    attempts: 3\n    id:\n      a\n    description: |+\n      x\n\n",
        ),
        (
            "  - id: a\n    description: |\n      x",
            "  - id: a\n    status: failed\n    attempts: 3\n    description: |\n      x",
        ),
        (
            "  - {id: a}\n",
            "  - {id: a, status: failed, attempts: 3}\n",
        ),
        (
            "  - {id: a, }\n",
            "  - {id: a, status: failed, attempts: 3, }\n",
        ),
        (
            "  - {\"id\": \"a\"}\n",
            "  - {\"id\": \"a\", \"status\": failed, \"attempts\": 3}\n",
        ),
        (
            "   [{id: a}, {id: b}]\n",
            "   [{id: a, status: failed, attempts: 3}, {id: b}]\n",
        ),
        (
            "  -\n     id: a\n",
            "  -\n     id: a\n     status: failed\n     attempts: 3\n",
        ),
        (
            "  - !!map\n    id: a\n",
            "  - !!map\n    id: a\n    status: failed\n    attempts: 3\n",
        ),
    ] {
        // The section has no status either, and gets one at the same kind of place.
        let head = plan("").replace("- id: s\n", "- id: s\n  status: failed\n");
        assert_eq!(written(&plan(tasks), &changes), head + expected, "{tasks}");
    }
}

#[test]
fn an_empty_value_is_filled_where_it_would_stand() {
    let changes = [change("a", Declared::Completed, Some(1))];
    for (task, expected) in [
        (
            "- id: a\n  status:\n  attempts:\n",
            "- id: a\n  status: completed\n  attempts: 1\n",
        ),
        (
            "- id: a\n  status: # c\n  attempts: ~\n",
            "- id: a\n  status: completed # c\n  attempts: 1\n",
        ),
        (
            "- id: a\n  status: &s\n  attempts: ~\n",
            "- id: a\n  status: &s completed\n  attempts: 1\n",
        ),
        (
            "- {id: a, status: , attempts: }\n",
            "- {id: a, status: completed , attempts: 1 }\n",
        ),
        (
            "- {id: a, status, attempts}\n",
            "- {id: a, status: completed, attempts: 1}\n",
        ),
        (
            "- {id: a, \"status\":, attempts: '0'}\n",
            "- {id: a, \"status\": completed, attempts: 1}\n",
        ),
        (
            "- id: a\n  attempts: 1\n  status:",
            "- id: a\n  attempts: 1\n  status: completed",
        ),
    ] {
        let head = "sections:\n- status: completed\n  id: s\n  tasks:\n  ";
        let text = format!(
            "{}{}",
            head.replace("completed", "pending"),
            task.replace('\n', "\n  ")
        );
        let expected = format!("{head}{}", expected.replace('\n', "\n  "));
        assert_eq!(written(&text, &changes), expected);
    }
}

#[test]
fn aliases_of_a_written_value_keep_their_meaning() {
    let text =
        plan("  - {id: a, status: &p pending}\n  - {id: b, status: *p}\n  - {id: c, status: *p}\n");
    assert_eq!(
        written(&text, &[change("a", Declared::Completed, None)]),
        "sections:\n- id: s\n  status: in_progress\n  tasks:\n  - {id: a, status: completed}\n  \
         - {id: b, status: &p pending}\n  - {id: c, status: *p}\n"
    );
    assert_eq!(
        written(
            &text,
            &[
                change("a", Declared::Skipped, None),
                change("b", Declared::Failed, None)
            ]
        ),
        "sections:\n- id: s\n  status: failed\n  tasks:\n  - {id: a, status: skipped}\n  \
         - {id: b, status: failed}\n  - {id: c, status: &p pending}\n"
    );
    assert_eq!(
        written(&text, &[change("c", Declared::Failed, None)]),
        "sections:\n- id: s\n  status: failed\n  tasks:\n  - {id: a, status: &p pending}\n  \
         - {id: b, status: *p}\n  - {id: c, status: failed}\n"
    );
}

#[test]
fn the_status_of_a_section_follows_from_its_tasks_and_is_written_only_where_it_changes() {
    use Declared::{Completed, Failed, Pending, Skipped};
    for (before, statuses, expected) in [
        ("", [Completed, Skipped], "  status: completed\n"),
        ("", [Completed, Pending], "  status: in_progress\n"),
        ("", [Failed, Completed], "  status: failed\n"),
        ("", [Pending, Pending], ""),
        (
            "  status: completed\n",
            [Pending, Pending],
            "  status: pending\n",
        ),
        (
            "  status: in_progress\n",
            [Completed, Pending],
            "  status: in_progress\n",
        ),
        ("  status: ~\n", [Pending, Pending], "  status: ~\n"),
    ] {
        let text = |status: &str| {
            format!(
                "sections:\n- id: s\n{status}  tasks: [{{id: a, status: x}}, {{id: b, status: x}}]\n"
            )
        };
        let changes = [
            change("a", statuses[0], None),
            change("b", statuses[1], None),
        ];
        let new = written(&text(before), &changes);
        let [a, b] = statuses.map(Declared::as_str);
        let expected = text(expected).replacen("status: x", &format!("status: {a}"), 1);
        assert_eq!(
            new,
            expected.replacen("status: x", &format!("status: {b}"), 1)
        );
    }
}

#[test]
fn a_text_that_says_it_already_stays_byte_for_byte() {
    let text = plan("  - {id: a, status: 'completed', attempts: 2}\n  - {id: b}\n")
        .replace("- id: s\n", "- id: s\n  status: in_progress\n");
    let changes = [
        change("a", Declared::Completed, Some(2)),
        change("b", Declared::Pending, Some(0)),
    ];
    assert_eq!(written(&text, &changes), text);
    assert_eq!(written(&text, &[]), text);
}

#[test]
fn numeric_ids_are_told_apart_by_their_text_and_unknown_ones_reported() {
    let text = plan("  - id: 1.1\n    status: pending\n  - id: 1.10\n    status: pending\n");
    let changes = [
        change("1.10", Declared::Completed, None),
        change("1.100", Declared::Completed, None),
    ];
    let edit = write_statuses(&text, &changes).expect("a plan");
    assert!(
        edit.text
            .ends_with("  - id: 1.1\n    status: pending\n  - id: 1.10\n    status: completed\n")
    );
    assert_eq!(edit.missing, [id("1.100")]);
}

#[test]
fn what_is_not_edited_is_refused_by_name() {
    let changes = [change("a", Declared::Completed, None)];
    for (text, named) in [
        (plan("  - &t {id: a}\n  - *t\n"), "a task is the alias `*t`"),
        (
            format!(
                "x-d: &d {{status: pending}}\n{}",
                plan("  - {id: a, <<: *d}\n")
            ),
            "merge key",
        ),
        (
            plan("  - {id: a}\n  - {id: a}\n"),
            "task `a` stands here a second time",
        ),
        (plan("  - [id, a]\n"), "a task is not a mapping"),
        ("a: 1\n".to_owned(), "no `sections`"),
        (
            plan("  - {id: a, status: [pending]}\n"),
            "a collection where a word belongs",
        ),
        (plan("  - ? id\n    : a\n"), "marked by `?`"),
        (plan("  - [id: a]\n"), "a task is not a mapping"),
        (plan("   [id: a]\n"), "without braces"),
        (plan("  - {id: a\n"), "unclosed bracket"),
    ] {
        let error = write_statuses(&text, &changes)
            .expect_err(&text)
            .to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn an_edit_that_would_change_more_is_not_made() {
    let text = format!("{}x-copy: *t\n", plan("  - &t {id: a, status: pending}\n"));
    let error = write_statuses(&text, &[change("a", Declared::Completed, None)]);
    assert!(matches!(error, Err(EditError::Unproven(_))), "{error:?}");
}

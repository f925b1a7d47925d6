//! What an agent's rewrite of the plan comes to in a person's text.

use super::*;

const BASE: &str = "\
# The plan.
meta:
  name: demo   # shown
sections:
  - id: one
    name: One
    status: in_progress
    tasks:
      - id: 1.1
        name: 'First'
        status: completed
      # the second
      - id: \"1.10\"
        name: Second
        description: |
          Do it.
        depends_on: [1.1]
        model: opus
        status: pending
      - id: 1.2
        name: Third
  - id: two
    name: Two
    tasks: []
";

/// The base as a script writes it that loads and dumps it, changed by `edit`.
fn rewritten(edit: impl Fn(&mut serde_yaml::Value)) -> String {
    let text = BASE
        .replace("id: 1.", "id: '1.")
        .replace("'1.1\n", "'1.1'\n");
    let text = text
        .replace("'1.2\n", "'1.2'\n")
        .replace("[1.1]", "['1.1']");
    let mut value = serde_yaml::from_str(&text).expect("well-formed");
    edit(&mut value);
    serde_yaml::to_string(&value).expect("a value")
}

fn task(yaml: &str) -> serde_yaml::Value {
    serde_yaml::from_str(yaml).expect("well-formed")
}

fn tasks(plan: &mut serde_yaml::Value, section: usize) -> &mut Vec<serde_yaml::Value> {
    let tasks = &mut plan["sections"][section]["tasks"];
    tasks.as_sequence_mut().expect("a list")
}

fn id(text: &str) -> TaskId {
    TaskId::parse(text).expect("an id")
}

/// Judges an edit made by task 1.1; 1.1 has started.
fn judged(edited: &str) -> Result<Permitted, Vec<String>> {
    let edit = difference(BASE, edited).expect("two plans");
    permit(
        edit,
        &id("1.1"),
        |task| task.as_str() == "1.1",
        &Gated::default(),
    )
}

fn applied(text: &str, edited: &str) -> Applied {
    let permitted = judged(edited).expect("permitted");
    apply(text, &permitted).expect("applicable")
}

#[test]
fn a_rewrite_of_the_whole_file_that_changes_nothing_is_no_edit() {
    let edited = rewritten(|_| {});
    assert_ne!(edited, BASE);
    let edit = difference(BASE, &edited).expect("two plans");
    assert!(edit.is_empty(), "{edit:?}");
    let with_nulls = BASE.replace("model: opus", "model: \"opus\"\n        labels: ~");
    assert!(difference(BASE, &with_nulls).expect("two plans").is_empty());
}

#[test]
fn ids_that_a_script_took_for_numbers_are_not_the_same_ids() {
    let edited = BASE.replace("\"1.10\"", "1.1");
    let refused = difference(BASE, &edited).expect_err("two tasks 1.1");
    assert!(
        refused
            .to_string()
            .contains("task `1.1` stands here a second time")
    );
}

#[test]
fn added_and_changed_tasks_come_into_the_text_as_it_stands() {
    let edited = rewritten(|plan| {
        let tasks = tasks(plan, 0);
        tasks[1]["description"] = "Do it.\nThen check.\n".into();
        tasks[1]["depends_on"] = task("['1.1', new]");
        tasks[2]["status"] = "skipped".into();
        tasks.insert(
            1,
            task("{id: new, name: 'New: one', description: \"a\\nb\", agent: coder}"),
        );
        tasks.insert(2, task("{id: newer, name: Newer, depends_on: [new]}"));
        self::tasks(plan, 1).push(task("{id: '2.1', name: In the empty section}"));
    });
    let expected = BASE
        .replace(
            "      # the second\n",
            "      - id: new\n        name: \"New: one\"\n        description: |-\n          a\n          b\n        \
             agent: coder\n      - id: newer\n        name: Newer\n        depends_on: [new]\n      # the second\n",
        )
        .replace("          Do it.\n", "          Do it.\n          Then check.\n")
        .replace("depends_on: [1.1]", "depends_on: [\"1.1\", new]")
        .replace("id: 1.2\n", "id: 1.2\n        status: skipped\n")
        .replace("tasks: []\n", "tasks:\n      - id: \"2.1\"\n        name: In the empty section\n");
    let edit = applied(BASE, &edited);
    assert_eq!(edit.text, expected);
    assert_eq!(edit.dropped, [""; 0]);
}

#[test]
fn an_added_section_comes_behind_the_one_it_followed() {
    let edited = rewritten(|plan| {
        let sections = plan["sections"].as_sequence_mut().expect("a list");
        sections.insert(
            1,
            task("{id: mid, name: Mid, status: pending, tasks: [{id: m, name: M}]}"),
        );
    });
    let added = "  - id: mid\n    name: Mid\n    status: pending\n    tasks:\n      - id: m\n        name: M\n  - id: two\n";
    assert_eq!(
        applied(BASE, &edited).text,
        BASE.replace("  - id: two\n", added)
    );
}

#[test]
fn a_section_that_gets_a_task_is_no_longer_completed() {
    let base = BASE
        .replace("pending", "skipped")
        .replace("name: Third", "status: skipped");
    let base = base.replace("in_progress", "completed");
    let edited = base.replace("    tasks: []\n", "    tasks: [{id: x, name: X}]\n");
    let edited = edited.replace("      # the second\n", "      - {id: y, name: Y}\n");
    let edit = difference(&base, &edited).expect("two plans");
    let permitted = permit(edit, &id("1.1"), |_| true, &Gated::default()).expect("permitted");
    let text = apply(&base, &permitted).expect("applicable").text;
    assert!(text.contains("status: in_progress\n    tasks:"), "{text}");
    assert_eq!(text.matches("status: in_progress").count(), 1);
}

#[test]
fn a_flow_list_stays_one() {
    let base = "sections: [{id: s, name: S, tasks: [{id: a}]}]\n";
    let edited = "sections:\n- id: s\n  name: S\n  tasks:\n  - id: a\n  - id: b\n    name: 'B, or not'\n    description: |\n      x\n      y\n";
    let edit = difference(base, edited).expect("two plans");
    let permitted = permit(edit, &id("a"), |_| false, &Gated::default()).expect("permitted");
    assert_eq!(
        apply(base, &permitted).expect("applicable").text,
        "sections: [{id: s, name: S, tasks: [{id: a}, {id: b, name: \"B, or not\", description: \"x\\ny\\n\"}]}]\n"
    );
}

#[test]
fn a_task_may_follow_a_text_without_final_newline() {
    for (header, expected) in [("|", "|-"), ("|+", "|-"), (">2-", ">2-"), ("|2", "|-2")] {
        let base =
            format!("sections:\n- id: s\n  tasks:\n  - id: a\n    description: {header}\n      x");
        let edited = format!("{base}\n  - {{id: b}}").replace(header, "\"x\" #");
        let edited = edited.replace("#\n      x", "#");
        let edit = difference(&base, &edited).expect("two plans");
        let permitted = permit(edit, &id("a"), |_| false, &Gated::default()).expect("permitted");
        let text = apply(&base, &permitted).expect("applicable").text;
        assert_eq!(
            text,
            format!("{}\n  - id: b", base.replace(header, expected))
        );
    }
}

#[test]
fn items_keep_the_distance_of_their_list() {
    let base =
        "sections:\r\n- id: s\r\n  tasks:\r\n  - id: a\r\n\r\n  - id: b # last\r\n\r\n# end\r\n";
    let edited =
        "sections: [{id: s, tasks: [{id: o}, {id: a}, {id: m}, {id: mm}, {id: b}, {id: z}]}]";
    let edit = difference(base, edited).expect("two plans");
    let permitted = permit(edit, &id("a"), |_| false, &Gated::default()).expect("permitted");
    assert_eq!(
        apply(base, &permitted).expect("applicable").text,
        "sections:\n- id: s\n  tasks:\n  - id: o\n\n  - id: a\n\n  - id: m\n\n  - id: mm\n\n  - id: b # last\n\n  - id: z\n\n# end\n"
            .replace('\n', "\r\n")
    );
}

#[test]
fn the_edit_of_a_person_wins_over_that_of_an_agent() {
    let edited = rewritten(|plan| {
        let tasks = tasks(plan, 0);
        tasks[1]["name"] = "Agent's".into();
        tasks[1]["labels"] = task("[a]");
        tasks[2]["status"] = "skipped".into();
        tasks.push(task("{id: new, name: New}"));
        tasks.push(task("{id: newer, name: Newer}"));
    });
    let tip = BASE.replace("name: Second", "name: Person's").replace(
        "      - id: 1.2\n        name: Third\n",
        "      - id: new\n        name: There\n",
    );
    let edit = applied(&tip, &edited);
    assert_eq!(
        edit.text,
        tip.replace("id: \"1.10\"\n", "id: \"1.10\"\n        labels: [a]\n")
            .replace(
                "        name: There\n",
                "        name: There\n      - id: newer\n        name: Newer\n"
            )
    );
    assert_eq!(
        edit.dropped,
        [
            "`name` of task `1.10` was changed meanwhile",
            "`status` of task `1.2`: the task is gone",
            "task `new` is there already",
        ]
    );
    let without_section = "sections: [{id: other, tasks: [{id: a}]}]\n";
    assert_eq!(applied(without_section, &edited).text, without_section);
}

#[test]
fn what_gives_power_is_refused_by_name() {
    type Edit = fn(&mut serde_yaml::Value);
    let cases: [(Edit, &str); 19] = [
        (
            |p| p["meta"]["jobs"] = 9.into(),
            "`meta.jobs` may only be changed by a person",
        ),
        (
            |p| p["meta"]["merge"]["src/main.rs"] = "union".into(),
            "`meta.merge` may only be changed by a person",
        ),
        (
            |p| p["meta"]["merge_resolver"] = true.into(),
            "`meta.merge_resolver` may only be changed by a person",
        ),
        (
            |p| p["orch"] = 1.into(),
            "`orch` may only be changed by a person",
        ),
        (
            |p| p["sections"][0]["name"] = "x".into(),
            "`name` of section `one` may only",
        ),
        (
            |p| p["sections"].as_sequence_mut().expect("list").reverse(),
            "sections may not change places",
        ),
        (
            |p| drop(p["sections"].as_sequence_mut().expect("list").pop()),
            "section `two` may not be removed",
        ),
        (
            |p| drop(tasks(p, 0).remove(1)),
            "task `1.10` may not be removed; set `status: skipped`",
        ),
        (
            |p| tasks(p, 0).swap(0, 1),
            "the tasks of section `one` may not change places",
        ),
        (
            |p| {
                let task = tasks(p, 0).remove(1);
                tasks(p, 1).push(task);
            },
            "task `1.10` may not move",
        ),
        (
            |p| tasks(p, 0)[0]["name"] = "x".into(),
            "which may not change itself",
        ),
        (
            |p| tasks(p, 0)[1]["model"] = "x".into(),
            "`model` of task `1.10` may only be changed by a person",
        ),
        (
            |p| tasks(p, 0)[1]["run"] = "x".into(),
            "`run` of task `1.10` may only",
        ),
        (
            |p| tasks(p, 0)[1]["files"] = task("[a]"),
            "`files` of task `1.10` may only",
        ),
        (
            |p| tasks(p, 0)[1]["status"] = "completed".into(),
            "may only be changed from pending to skipped",
        ),
        (
            |p| tasks(p, 0).push(task("{id: n, name: n, run: make}")),
            "`run` of the added task `n` may only be set",
        ),
        (
            |p| tasks(p, 0).push(task("{id: n, name: n, status: completed}")),
            "must be pending",
        ),
        (
            |p| tasks(p, 0).push(task("{id: a b, name: n}")),
            "`a b` cannot be an id",
        ),
        (
            |p| {
                p["sections"]
                    .as_sequence_mut()
                    .expect("list")
                    .push(task("{id: s, env: {}, tasks: [{id: n, timeout: 1}]}"));
            },
            "`env` of the added section `s` may only be set",
        ),
    ];
    for (edit, named) in cases {
        let refused = judged(&rewritten(edit)).expect_err(named);
        assert!(
            refused.iter().any(|why| why.contains(named)),
            "{named}: {refused:?}"
        );
    }
    let started = difference(BASE, &rewritten(|p| tasks(p, 0)[1]["name"] = "x".into()));
    let refused = permit(
        started.expect("two plans"),
        &id("1.1"),
        |_| true,
        &Gated::default(),
    );
    assert!(refused.expect_err("it has started")[0].contains("the task has started"));
}

#[test]
fn an_edit_adds_no_flood_of_tasks() {
    let flood = |count| {
        let edited = rewritten(|plan| {
            for i in 0..count {
                tasks(plan, 1).push(task(&format!("{{id: n{i}, name: n}}")));
            }
        });
        judged(&edited)
    };
    assert!(flood(ADDED_TASKS_MAX).is_ok());
    assert!(flood(ADDED_TASKS_MAX + 1).is_err());
}

#[test]
fn fields_that_orch_writes_are_ignored_whoever_writes_them() {
    let edited = rewritten(|plan| {
        plan["sections"][0]["status"] = "completed".into();
        let tasks = tasks(plan, 0);
        tasks[0]["status"] = "failed".into();
        tasks[0]["completed_at"] = "now".into();
        tasks[1]["attempts"] = 3.into();
        tasks[2]["status"] = "pending".into();
    });
    let permitted = judged(&edited).expect("permitted");
    assert!(permitted.is_empty());
    assert_eq!(permitted.ignored().len(), 5, "{permitted:?}");
    assert_eq!(apply(BASE, &permitted).expect("applicable").text, BASE);
}

#[test]
fn an_unreadable_edit_names_the_side() {
    let error = difference(BASE, "sections: [")
        .expect_err("unclosed")
        .to_string();
    assert!(error.starts_with("the edited plan: "), "{error}");
    assert!(matches!(difference("", BASE), Err(DiffError::Base(_))));
}

#[test]
fn nothing_may_be_written_in_several_ways_even_among_texts() {
    let base = BASE.replace("depends_on: [1.1]", "depends_on: [{1.1: }]");
    let edited = base.replace("[{1.1: }]", "[{1.1: null}]");
    assert!(difference(&base, &edited).expect("two plans").is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_comparison_panic(
        start in 0..BASE.len(),
        text in "([a-z0-9:\\-?|>&*!#'\"{}\\[\\], \n\u{feff}]|: |- |\n  |\n- |id: |tasks:\n){0,12}"
    ) {
        let mut edited = BASE.to_owned();
        edited.insert_str(start, &text);
        if let Ok(edit) = difference(BASE, &edited)
            && let Ok(permitted) = permit(edit, &id("1.1"), |_| false, &Gated::default())
        {
            let applied = apply(BASE, &permitted).expect("applicable");
            let rest = difference(&applied.text, &edited).expect("two plans");
            let of_orch = permit(rest, &id("1.1"), |_| false, &Gated::default()).expect("nothing to refuse");
            assert!(of_orch.is_empty(), "{edited}\n=>\n{}", applied.text);
        }
    }
}

#[test]
fn what_is_added_asks_the_person_whom_the_task_asks_that_adds_it() {
    let plan = |gates: [&str; 3]| {
        let [task, section, meta] = gates.map(|gate| match gate {
            "" => String::new(),
            gate => format!(", gate: {gate}"),
        });
        format!(
            "meta: {{name: n{meta}}}\nsections:\n- {{id: a, name: A, tasks: [{{id: '1', name: One{task}}}]}}\n- {{id: b, name: B{section}, tasks: [{{id: '2', name: Two, external: {{run: x}}}}]}}\n"
        )
    };
    let add = |gates: [&str; 3]| {
        let base = plan(gates);
        let mut edited: serde_yaml::Value = serde_yaml::from_str(&base).expect("well-formed");
        tasks(&mut edited, 1).push(task("{id: '3', name: Three}"));
        let new = task("{id: c, name: C, tasks: [{id: '4', name: Four}]}");
        let sections = edited["sections"].as_sequence_mut().expect("a list");
        sections.push(new);
        let edited = serde_yaml::to_string(&edited).expect("a value");
        let whole = |text: &str| {
            let checked =
                crate::plan::check("p", text.as_bytes(), crate::plan::Strictness::AsWritten);
            checked.plan.expect("a plan")
        };
        let gated = Gated::of(&whole(&base));
        let edit = difference(&base, &edited).expect("two plans");
        let edit = permit(edit, &id("1"), |_| false, &gated).expect("permitted");
        let plan = whole(&apply(&base, &edit).expect("applicable").text);
        ["3", "4"].map(|added| {
            let added = plan.task(&id(added)).expect("added").approval.clone();
            added.map(|approval| (approval.when, approval.reason))
        })
    };
    use crate::plan::graph::When::{After, Before};
    let none = || None;
    let asks = |when| Some((when, None));
    let money = || Some((Before, Some("money: \"1\"".to_owned())));
    for (gates, [third, fourth]) in [
        (["", "", ""], [none(), none()]),
        (["approval", "", ""], [asks(After), asks(After)]),
        (["'none'", "approval", ""], [asks(After), none()]),
        (
            ["{when: before}", "approval", ""],
            [asks(After), asks(Before)],
        ),
        (["", "", "{when: before}"], [asks(Before), asks(Before)]),
        (["", "none", "approval"], [asks(After), asks(After)]),
        (["none", "none", "approval"], [none(), asks(After)]),
        (
            ["{reason: 'money: \"1\"', when: before}", "", ""],
            [money(), money()],
        ),
    ] {
        assert_eq!(add(gates), [third, fourth], "{gates:?}");
    }
    let base = plan(["", "approval", ""]);
    let edited = base.replace("name: Two", "name: Two, status: skipped");
    let gated = crate::plan::check("p", base.as_bytes(), crate::plan::Strictness::AsWritten);
    let gated = Gated::of(&gated.plan.expect("a plan"));
    let edit = difference(&base, &edited).expect("two plans");
    let refused = permit(edit, &id("1"), |_| false, &gated).expect_err("a person's");
    assert!(
        refused[0].contains("for whom the task waits"),
        "{refused:?}"
    );
}

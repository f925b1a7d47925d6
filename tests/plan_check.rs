//! What checking says about plans: every message as people see it, and what a good plan is read as.

use orch::diagnostic::Severity;
use orch::plan::graph::{Declared, RetryFrom, TaskKind};
use orch::plan::{Checked, Plan, RehearsedStatus, Runner, Strictness, Task, check};

fn checked(text: &str) -> Checked {
    check("plan.yaml", text.as_bytes(), Strictness::AsWritten)
}

/// The messages about a text.
fn messages(text: &str) -> String {
    checked(text).render(false)
}

/// The plan of a text in which nothing is wrong.
fn plan(text: &str) -> Plan {
    let checked = checked(text);
    assert!(checked.diagnostics.is_empty(), "{}", checked.render(false));
    checked.plan.expect("a plan without problems")
}

/// A plan of one section with these tasks, written from column 0.
fn tasks(tasks: &str) -> String {
    let indented: String = tasks
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    format!("sections:\n  - id: s\n    name: S\n    tasks:\n{indented}")
}

fn codes(checked: &Checked) -> Vec<&'static str> {
    checked.diagnostics.iter().map(|d| d.code).collect()
}

#[test]
fn ids_that_are_missing_blank_unusable_or_used_twice() {
    let shown = messages(&tasks(
        r#"- name: no id
- id: ~
  name: null id
- id: "~"
  name: tilde
- id: ""
  name: empty
- id: a/b
  name: slash
- id: ..
  name: dots
- id: "1.1"
  name: first
- id: 1.1
  name: second
- [a, list]
- id: [a]
  name: list id
"#,
    ));
    insta::assert_snapshot!(shown);
}

#[test]
fn names_that_are_missing() {
    let shown = messages(
        "meta:\nsections:\n  - id: s\n    tasks:\n      - id: a\n      - {id: b, name: ~}\n      - {id: c, name: '  '}\n  - name: no id\n",
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn dependencies_that_lead_nowhere_or_in_circles() {
    let shown = messages(&tasks(
        r#"- {id: a, name: a, depends_on: [c]}
- {id: b, name: b, depends_on: [a]}
- {id: c, name: c, depends_on: [b, b]}
- {id: api-client, name: d}
- {id: ui, name: d, depends_on: [api-cleint, e, "api_client"]}
- {id: e, name: e, depends_on: [e]}
- {id: 1.10, name: f}
- {id: 1.2, name: f, depends_on: [1.1, 1.3]}
- {id: g, name: g, depends_on: "a, b"}
- {id: h, name: h, depends_on: {a: b}}
- {id: i, name: i, depends_on: [[a], ~, ""]}
- {id: j, name: j, depends_on: }
"#,
    ));
    insta::assert_snapshot!(shown);
}

#[test]
fn a_long_cycle_is_shortened() {
    let many: String = (0..50)
        .map(|n| format!("- {{id: t{n}, name: n, depends_on: [t{}]}}\n", (n + 1) % 50))
        .collect();
    let checked = checked(&tasks(&many));
    insta::assert_snapshot!(checked.diagnostics[0].message);
    assert_eq!(codes(&checked), ["cycle"]);
}

#[test]
fn keys_that_are_misspelt_reserved_unknown_or_misplaced() {
    let shown = messages(
        r#"version: 2
x-note: mine
metas: {}
meta:
  jbos: 2
  owner: me
  include: other.yaml
  budget: {max_quota_percent: 90}
  validation: {enabled: false}
  model_escalation:
    enabled: true
sections:
  - id: s
    name: S
    agent: coder
    tasks:
      - id: a
        nmae: A
        name: A
        dependencies: []
        exclusive_resource: [db]
        verify: [make]
        x-owner: me
        stage: late
        retry: {maxx: 1, verify: 2}
        rehearse: {wirte: {}, speed: 1}
"#,
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn a_plan_of_format_1_has_no_unknown_keys() {
    let text = |head: &str| format!("{head}{}", tasks("- {id: a, name: a, stage: late}"));
    let severity = |text: &str, strictness| {
        let checked = check("p", text.as_bytes(), strictness);
        assert_eq!(codes(&checked), ["unknown-key"]);
        checked.diagnostics[0].severity
    };
    assert_eq!(
        severity(&text(""), Strictness::AsWritten),
        Severity::Warning
    );
    assert_eq!(severity(&text(""), Strictness::Strict), Severity::Error);
    assert_eq!(
        severity(&text("orch: 1\n"), Strictness::AsWritten),
        Severity::Error
    );
    let shown = messages(&text("orch: 2\n"));
    insta::assert_snapshot!(shown);
}

#[test]
fn values_of_the_wrong_kind() {
    let shown = messages(
        r#"meta:
  name: [a]
  max_attempts_default: 0
  jobs: many
  runner: codex
  schedule: strict
  id: a b
sections:
  - id: s
    name: S
    status: done
    tasks:
      - id: a
        name: {a: b}
        status: Completed
        description: [x]
        max_attempts: "3"
        priority: high
        timeout: 0
        exclusive_resources: db
        files: src/a, src/b
        kind: chnage
        labels: {a: b}
        agent: ../coder
        runner: claud
        retry: 3
      - id: b
        name: B
        status: verified
        timeout: 10x
        files: ["/etc/**", "../x", "a[", "!b", ".git/config"]
        retry: {max: -1, from: tip}
        max_attempts: 2
        rehearse:
          write: {a: [b], ../x: y, dir/: z}
          append: text
          delete: a
          takes: 3d
          costs: $1
          fail_times: often
          status: ok
          add_tasks: [{id: c}]
      - id: c
        name: C
        timeout: 8d
        rehearse: fast
  - tasks
"#,
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn bounds_that_cannot_be_meant() {
    let shown = messages(
        r#"meta:
  backoff_base: -5
  backoff_max: 25h
  circuit_breaker_threshold: many
  circuit_breaker_reset_timeout: 2d
  model_escalation:
    enabled: maybe
    starting_model: sonet
    escalate_after: 0
    max_model: gpt4
    validation_model: sonnet
    top_model: opus
  budget:
    max_quota_percent: 120
    quota_ceiling_usd: -1
    quota_ceiling: 5
    reserved_budget: 2
    reserved_budget_usd: 2
    default_reserve: cheap
    attempt: {time: 1h}
    task: {usd: 0, tokens: 1.5}
    run: {usd: [5]}
    day: 10
sections:
  - id: s
    name: S
    tasks:
      - {id: a, name: a, model: Opus}
"#,
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn commands_and_runners_that_do_not_fit() {
    let shown = messages(&tasks(
        r#"- {id: a, name: a, run: make}
- {id: b, name: b, runner: claude, run: make}
- {id: c, name: c, runner: command}
- {id: d, name: d, runner: command, run: " "}
- {id: e, name: e, runner: command, run: make}
"#,
    ));
    insta::assert_snapshot!(shown);
}

#[test]
fn the_runner_of_the_plan_counts_for_its_tasks() {
    let plan = plan(&format!(
        "meta: {{runner: command}}\n{}",
        tasks("- {id: a, name: a, run: make}")
    ));
    assert_eq!(plan.meta.runner, Some(Runner::Command));
    assert_eq!(plan.tasks[0].runner, None);
}

#[test]
fn sections_and_groups_that_mislead() {
    let shown = messages(
        r#"sections:
  - id: s
    name: S
    status: completed
    tasks:
      - {id: a, name: a, parallel_group: g, status: completed}
      - {id: b, name: b}
      - {id: c, name: c, parallel_group: g}
      - {id: d, name: d, parallel_group: h}
  - id: s
    name: T
    tasks:
      - {id: e, name: e, parallel_group: h}
      - {id: f, name: f}
"#,
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn texts_that_are_no_plan() {
    let bytes: [&[u8]; 13] = [
        b"",
        b"# nothing\n",
        b"- a\n",
        b"meta: {}\n",
        b"sections: {}\n",
        b"sections: []\n",
        b"a: [1\n",
        b"sections: []\n---\nsections: []\n",
        b"sections: []\nname: gr\xfc\xdfe\n",
        b"sections: []\x00\n",
        b"\xff\xfes\x00",
        b"sections: []\nsections: []\n",
        b"base: &b {id: x}\nsections:\n  - <<: *b\n    name: !!python/name:os.system x\n",
    ];
    let shown: Vec<String> = bytes
        .iter()
        .map(|bytes| check("plan.yaml", bytes, Strictness::AsWritten).render(false))
        .collect();
    let shown = shown.join("--------\n");
    insta::assert_snapshot!(shown);
}

#[test]
fn the_json_form_has_lines_and_columns() {
    let text = tasks("- {id: a, name: größe, depends_on: [x]}\n- {id: a, name: b}");
    let checked = checked(&text);
    insta::assert_json_snapshot!(checked.located());
}

#[test]
fn a_plan_of_claude_plan_orchestrator_is_read_without_a_word() {
    let plan = plan(
        r#"meta:
  name: Sample
  description: d
  plan_doc: docs/p.md
  created: 2026-02-01
  max_attempts_default: 5
  notification_email: ""
  status: paused_quota
  pause_reason: quota
  source_item: docs/x.md
sections:
- id: phase-1
  name: First
  status: in_progress
  tasks:
  - id: 1.10
    name: Ten
    status: completed
    attempts: 2
    last_attempt: '2026-02-01T10:00:00'
    completed_at: '2026-02-01T10:05:00'
    result_message: ok
    model_used: opus
  - id: '1.2'
    name: Review
    agent: code-reviewer
    status: in_progress
    description: null
    depends_on: [1.10]
    exclusive_resources: [db]
    validation_findings: x
    validation_attempts: 1
    last_error: x
    execution_mode: agent_team
    team_roles: [a, b]
    max_attempts: 1
    model: opus
    parallel_group: g
- id: 2
  name: Empty
  tasks:
"#,
    );
    let ids: Vec<&str> = plan.tasks.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["1.10", "1.2"]);
    assert_eq!(plan.tasks[0].declared, Declared::Completed);
    assert_eq!(plan.tasks[1].declared, Declared::Pending);
    assert_eq!(plan.tasks[1].kind, TaskKind::Report);
    assert_eq!(plan.tasks[1].description, None);
    assert_eq!(plan.graph.nodes[0].max_attempts, 5);
    assert_eq!(plan.graph.nodes[1].max_attempts, 1);
    assert_eq!(plan.graph.nodes[1].needs[0].on.as_str(), "1.10");
    assert!(!plan.graph.nodes[1].needs[0].implied);
    assert_eq!(plan.sections[1].tasks, 2..2);
    assert_eq!(plan.id_or("plans/x.yaml".as_ref()).as_str(), "plans/x.yaml");
}

#[test]
fn every_key_is_read() {
    let plan = plan(
        r#"orch: 1
meta: {id: p, jobs: 3, schedule: explicit, runner: claude}
sections:
  - id: s
    name: S
    tasks:
      - id: a
        name: A
        files: [src/**]
        timeout: 1h30m
        kind: report
        retry: {max: 2, from: base}
        priority: -3
        labels: [x, y]
        rehearse:
          write: {a/b.txt: "x"}
          append: {c: ""}
          delete: [d]
          answer: done
          status: none
          fail_times: 2
          takes: 300ms
          costs: 0.25
          add_tasks:
          - id: 1.10
            name: Added # with its comment
            description: |
              two
                lines
"#,
    );
    let task: &Task = &plan.tasks[0];
    assert_eq!(task.timeout.map(|t| t.as_secs()), Some(5400));
    assert_eq!(task.kind, TaskKind::Report);
    assert_eq!(
        (task.max_attempts, task.retry_from),
        (Some(3), Some(RetryFrom::Base))
    );
    assert_eq!(task.priority, -3);
    assert_eq!(*task.labels, ["x", "y"]);
    assert!(plan.source(task).starts_with("id: a\n"));
    assert!(plan.source(task).trim_end().ends_with("lines"));
    let rehearse = task.rehearse.as_ref().expect("it has one");
    assert_eq!(rehearse.write["a/b.txt"], "x");
    assert_eq!(rehearse.status, RehearsedStatus::None);
    assert_eq!(
        (rehearse.fail_times, rehearse.costs_micro_usd),
        (2, 250_000)
    );
    assert_eq!(rehearse.takes.as_millis(), 300);
    assert_eq!(
        rehearse.add_tasks,
        "- id: 1.10\n  name: Added # with its comment\n  description: |\n    two\n      lines\n"
    );
    assert_eq!(plan.slug("file"), "p");
}

#[test]
fn the_examples_of_the_documentation_are_plans() {
    let page = include_str!("../docs/plan-format.md");
    let mut blocks = page.split("```yaml\n").skip(1);
    let mut block = || {
        let text = blocks.next().and_then(|rest| rest.split("```").next());
        text.expect("an example")
    };
    assert_eq!(plan(block()).tasks.len(), 4);
    let keys = block().replace('\n', "\n  ");
    assert_eq!(
        plan(&tasks(&format!("- id: '1'\n  name: One\n  {keys}\n")))
            .tasks
            .len(),
        1
    );
    assert_eq!(plan(&tasks(block())).tasks.len(), 2);
    let rehearsed = plan(&tasks(block()));
    let added = &rehearsed.tasks[0]
        .rehearse
        .as_ref()
        .expect("a block")
        .add_tasks;
    assert_eq!(plan(&tasks(added)).tasks[0].id.as_str(), "2.2");
}

#[test]
fn a_task_is_the_same_task_until_it_asks_for_something_else() {
    let hash = |rest: &str| {
        let text = tasks(&format!("- {{id: a, name: a{rest}}}"));
        plan(&text).graph.nodes[0].spec_hash.clone()
    };
    let same = hash("");
    for scheduling in [
        ", status: completed, attempts: 3",
        ", priority: 4, timeout: 5m, max_attempts: 1, parallel_group: g",
        ", kind: change, description: ~",
    ] {
        assert_eq!(hash(scheduling), same, "{scheduling}");
    }
    for other in [
        ", description: x",
        ", kind: report",
        ", agent: coder",
        ", files: [a]",
    ] {
        assert_ne!(hash(other), same, "{other}");
    }
}

#[test]
fn aliases_stand_for_whole_values() {
    let plan = plan(&tasks(
        "- {id: a, name: &n Anna}\n- {id: b, name: *n, depends_on: &d [a]}\n- {id: c, name: c, depends_on: *d}",
    ));
    assert_eq!(&*plan.tasks[1].name, "Anna");
    let on = plan.tasks[2].depends_on.as_deref().expect("it has some");
    assert_eq!(on[0].as_str(), "a");
}

#[test]
fn a_byte_order_mark_and_crlf_change_nothing_but_the_bytes() {
    let text = tasks("- {id: a, name: a}\n- {id: b, name: b, depends_on: [x]}");
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let place = |text: &str| {
        let checked = checked(text);
        let located = checked.located();
        assert_eq!(codes(&checked), ["unknown-task"]);
        located[0].start.map(|p| (p.line, p.column))
    };
    assert_eq!(place(&windows), place(&text));
}

#[test]
fn a_json_schema_is_judged_where_it_is_written() {
    let output = |schema: &str| {
        let task =
            format!("- {{id: a, name: A, outputs: [{{path: o.json, json_schema: {schema}}}]}}");
        tasks(&task)
    };
    for good in [
        "schemas/o.json",
        "{type: object, required: [a], properties: {a: {minimum: 1.5, const: \"1\"}}}",
        "{$ref: '#/$defs/x', $defs: {x: {type: integer}}}",
    ] {
        plan(&output(good));
    }
    for (bad, code) in [
        ("{type: objekt}", "json-schema"),
        ("{minimum: many}", "json-schema"),
        ("{$ref: 'https://example.org/x.json'}", "json-schema"),
        ("[]", "json-schema"),
        ("../o.json", "unusable-path"),
    ] {
        assert_eq!(codes(&checked(&output(bad))), [code], "{bad}");
    }
}

#[test]
fn the_nearest_gate_holds() {
    let text = "meta: {gate: {when: before}}
sections:
  - {id: s, name: S, tasks: [{id: a, name: A}, {id: b, name: B, gate: none}]}
  - {id: t, name: T, gate: approval, tasks: [{id: c, name: C}, {id: d, name: D, gate: {reason: why}}]}
";
    let plan = plan(text);
    let asked = |at: usize| {
        let approval = plan.tasks[at].approval.as_deref()?;
        Some((approval.when, approval.reason.as_deref()))
    };
    use orch::plan::graph::When::{After, Before};
    assert_eq!(asked(0), Some((Before, None)));
    assert_eq!(asked(1), None);
    assert_eq!(asked(2), Some((After, None)));
    assert_eq!(asked(3), Some((After, Some("why"))));
    let codes = codes(&checked(&tasks("- {id: a, name: A, gate: maybe}")));
    assert_eq!(codes, ["unknown-gate"]);
}

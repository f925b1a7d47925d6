//! Plans written for claude-plan-orchestrator, and what sessions are charged.

use serde_json::Value;

use crate::fake_api::{Script, Tokens, report, say};
use crate::site::{Site, claude, plan, tokens, write, writes};

const SEED_PLAN: &str = "\
# Greetings, phase by phase

meta:
  name: Greeting feature
  description: A greeting and a farewell for the front door
  plan_doc: docs/plans/greeting.md
  created: '2026-02-17'
  max_attempts_default: 3
  circuit_breaker_threshold: 3
  circuit_breaker_reset_timeout: 300
  backoff_base: 5
  validation:
    enabled: true
    run_after: [coder]
    validators: [validator]

sections:
- id: phase-1
  name: Phase 1 - Foundation
  status: pending
  tasks:
  - id: 1.1
    name: Lay the base
    agent: coder
    status: pending   # first of all
    description: >
      Create base.txt.
      It holds one line.

- id: phase-2
  name: 'Phase 2 - Words'
  status: pending
  tasks:
  - id: 1.9
    name: Say hello
    agent: coder
    status: pending
    depends_on: [1.1]
    parallel_group: words
    description: Create hello.txt.
  - id: 1.10
    name: Say goodbye
    agent: coder
    status: pending
    depends_on:
    - 1.1
    parallel_group: words
    exclusive_resources: [bell]
    description: Create bye.txt.

- id: phase-3
  name: Phase 3 - Review
  status: pending
  tasks:
  - id: '3.1'
    name: Review the words
    agent: code-reviewer
    status: pending
    depends_on: [1.9, 1.10]
    description: Is anything missing?
  - id: '3.2'
    name: Add what is missing
    status: pending
    depends_on: ['3.1']
    description: Follow the review.
";

#[test]
fn a_plan_for_claude_plan_orchestrator_runs_unchanged() {
    let script = Script::new()
        .session("1.1", writes("base.txt", "base\n"))
        .session(
            "1.9",
            [
                write("hello.txt", "hello\n").meeting("words", 2),
                report("completed", "said hello"),
            ],
        )
        .session(
            "1.10",
            [
                write("bye.txt", "bye\n").meeting("words", 2),
                report("completed", "said goodbye"),
            ],
        )
        .session("3.1", [report("completed", "A bow is missing.")])
        .session("3.2", writes("bow.txt", "bow\n"));
    let site = Site::new(&claude!(), SEED_PLAN, script);
    let ran = site.run(["run", "--parallel"]).exits(0).says("validation");
    site.assert_played();

    let f = &site.f;
    let mut words = f.subjects("main");
    words[1..3].sort();
    assert_eq!(
        words,
        [
            "3.2: Add what is missing",
            "1.10: Say goodbye",
            "1.9: Say hello",
            "1.1: Lay the base",
            "Add the plan",
            "Begin"
        ],
        "{ran:?}"
    );
    assert_eq!(
        ["base.txt", "hello.txt", "bye.txt", "bow.txt"].map(|path| f.read(path)),
        ["base\n", "hello\n", "bye\n", "bow\n"]
    );
    f.orch(["show", "3.1"]).exits(0).says("A bow is missing.");

    let text = f.read(".claude/plans/plan.yaml");
    let kept: Vec<&str> = text
        .lines()
        .filter(|l| !l.trim_start().starts_with("attempts: "))
        .collect();
    let wanted = SEED_PLAN.replace("status: pending", "status: completed");
    assert_eq!(kept, wanted.lines().collect::<Vec<_>>());

    f.assert_tidy();
    assert_eq!(
        f.git([
            "for-each-ref",
            "--format=%(refname)",
            "refs/heads",
            "refs/tags",
            "refs/stash"
        ]),
        "refs/heads/main\nrefs/heads/orch/plan\n"
    );
}

#[test]
fn the_ledger_charges_what_the_service_reported_and_a_resumed_session_once() {
    let each = Tokens {
        input: 700,
        output: 50,
        cache_read: 30_000,
        cache_creation: 2_000,
    };
    let script = Script::new()
        .session("1", [report("completed", "nothing to do").using(each)])
        .session(
            "2",
            [
                say("Done.").using(each),
                // The program reminds a session once of its duty to report.
                say("Done.").using(each),
                report("completed", "nothing to do").using(each),
            ],
        );
    let site = Site::new(&claude!(), &plan(&[("1", ""), ("2", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();

    let ran = site.f.orch(["status", "--format", "json"]).exits(0);
    let status: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let [one, two] = [0, 1].map(|n| &status["tasks"][n]["usage"]);
    let (reported_1, reported_2) = (site.api.reported("1"), site.api.reported("2"));
    assert_eq!((tokens(one), tokens(two)), (reported_1, reported_2));
    assert_eq!(tokens(&status["usage"]), reported_1.plus(reported_2));

    let cost = |usage: &Value| usage["cost"].as_u64().expect("a cost");
    assert!(cost(one) > 0);
    // Each of the three replies costs the same; each session's price is rounded.
    assert!(cost(two).abs_diff(3 * cost(one)) <= 3, "{one} {two}");
    assert_eq!(cost(&status["usage"]), cost(one) + cost(two));
    assert_eq!(
        (
            &one["sessions"],
            &two["sessions"],
            &status["usage"]["unpriced_sessions"]
        ),
        (&1.into(), &2.into(), &0.into())
    );
}

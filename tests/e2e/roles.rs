//! Roles: who a task is done by, and what that allows.

use crate::fixture::Fixture;
use crate::runs::plan;

/// A task that writes a file, played.
fn writing(keys: &str) -> String {
    plan(&[(
        "1",
        &format!("runner: rehearsal\nmax_attempts: 1\n{keys}\nrehearse:\n  write: {{a.txt: x}}"),
    )])
}

#[test]
fn what_a_read_only_role_changes_all_the_same_is_refused_by_name() {
    let f = Fixture::with_plan(&writing("agent: code-reviewer\nkind: change"));
    f.orch(["run"])
        .exits(1)
        .says("the role `code-reviewer` is read-only, and changed `a.txt`");
    f.assert_tidy();
}

#[test]
fn a_role_of_the_project_takes_the_place_of_a_built_in_one() {
    let f = Fixture::with_plan(&writing("agent: code-reviewer\nkind: change"));
    f.write(
        ".claude/agents/code-reviewer.md",
        "You review, and mend what you find.\n",
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Our own reviewer"]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "x");
    f.assert_tidy();
}

#[test]
fn a_role_cannot_ask_for_more_than_the_settings_give() {
    let f = Fixture::with_plan(&writing("agent: bold"));
    f.write(
        ".claude/agents/bold.md",
        "---\npermission: bypass\n---\nYou are bold.\n",
    );
    f.write("orch.yaml", "claude: {permission: dont-ask}\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "A bold role"]);
    f.orch(["run"])
        .exits(2)
        .says("role `bold` asks for `permission: bypass`, and `claude.permission` is dont-ask");
}

#[test]
fn a_guessed_role_is_shown_as_one_and_a_task_with_a_command_has_none() {
    let f = Fixture::new();
    f.write(
        "plan.yaml",
        "sections:\n  - id: s\n    name: S\n    tasks:\n      - {id: '1', name: Run QA audit}\n      - {id: '2', name: Code review, runner: command, run: 'true'}\n",
    );
    let ran = f
        .orch([
            "run",
            "--plan",
            "plan.yaml",
            "--dry-run",
            "--format",
            "json",
        ])
        .exits(0);
    let schedule: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let roles: Vec<_> = schedule["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .map(|task| (task["agent"].as_str(), task["agent_inferred"].as_bool()))
        .collect();
    assert_eq!(
        roles,
        [
            (Some("qa-auditor"), Some(true)),
            (Some("coder"), Some(false))
        ]
    );
    f.orch(["run", "--plan", "plan.yaml", "--dry-run"])
        .exits(0)
        .says("(qa-auditor)");
}

#[test]
fn the_list_has_every_built_in_role_and_those_of_the_project() {
    let f = Fixture::new();
    f.write(
        ".claude/agents/taster.md",
        "---\nname: taster\ndescription: Tastes tea.\ntools: [Read]\npermission: read-only\neffort: low\n---\nYou taste.\n",
    );
    let ran = f.orch(["agents", "list", "--format", "json"]).exits(0);
    let roles: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let roles = roles.as_array().expect("a list");
    let names: Vec<_> = roles.iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "code-reviewer",
            "coder",
            "issue-verifier",
            "merge-resolver",
            "planner",
            "qa-auditor",
            "spec-verifier",
            "systems-designer",
            "taster",
            "ux-designer",
            "ux-reviewer",
            "validator"
        ]
    );
    assert_eq!(roles[8]["permission"], "read-only");
    assert_eq!(roles[8]["effort"], "low");
    f.orch(["agents", "list"]).exits(0).says("Tastes tea.");
}

#[test]
fn a_role_counts_as_it_was_when_the_run_began() {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "runner: command\nrun: echo 'You mend what you find.' > \"$GATE/../repo/.claude/agents/code-reviewer.md\"; touch one",
        ),
        (
            "2",
            "runner: rehearsal\nmax_attempts: 1\nagent: code-reviewer\nkind: change\nrehearse:\n  write: {a.txt: x}",
        ),
    ]));
    f.write(
        ".claude/agents/code-reviewer.md",
        "---\npermission: read-only\n---\nYou review.\n",
    );
    f.orch(["run"])
        .exits(1)
        .says("the role `code-reviewer` is read-only, and changed `a.txt`");
}

#[test]
fn a_role_can_be_shown_and_an_unknown_one_is_refused_with_the_way_on() {
    let f = Fixture::new();
    f.orch(["agents", "show", "validator"])
        .exits(0)
        .says("permission  read-only")
        .says("VERDICT: PASS");
    f.orch(["agents", "show", "nobody"])
        .exits(2)
        .says("there is no role `nobody`")
        .says("orch agents list");
}

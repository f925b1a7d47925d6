//! A session that did neither side resolves a conflict: both tasks' gates judge what comes of it, and where it does not get
//! there, the task is done again.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Fixture, Live, Ran, waits};
use crate::runs::plan;

/// An agent program: what it does, and how it ends.
const AGENT: &str = r##"#!/bin/sh
[ "$1" = --version ] && { echo "2.1.329 (Claude Code)"; exit 0; }
prompt=$(cat)
nonce=$(printf '%s\n' "$prompt" | sed -n 's/.*nonce `\([^`]*\)`.*/\1/p' | tail -n 1)
echo '{"type":"system","subtype":"init"}'
status=completed
WORK
mkdir -p .orch
printf '{"task_id":"%s","status":"%s","message":"did it","nonce":"%s"}' "$ORCH_TASK" "$status" "$nonce" > .orch/task-status.json
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","num_turns":1,"total_cost_usd":0.01,"usage":{"input_tokens":1,"output_tokens":1}}'
"##;

/// It works on a task by adding the task's word to the list, and resolves a conflict as `RESOLVE` says.
const WORK: &str = r##"case "$prompt" in
"# A conflict:"*)
  printf '%s\n' "$prompt" > "$GATE/told"
  RESOLVE
  ;;
*)
  echo "word $ORCH_TASK" >> list
  touch "$GATE/up-$ORCH_TASK"
  if [ "$ORCH_TASK" = 1 ]; then BEGUN; else FREE; fi
  ;;
esac"##;

impl Fixture {
    /// An agent program that does `work`; the variables by which orch finds it.
    pub(crate) fn agent_program(&self, work: &str) -> [(&'static str, String); 2] {
        let path = self.root().join("claude");
        std::fs::write(&path, AGENT.replace("WORK", work)).expect("a program");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let path = path.into_os_string().into_string().expect("text");
        [
            ("ORCH_CLAUDE_BINARY", path),
            ("ORCH_CLAUDE_ALLOW_ROOT", "true".to_owned()),
        ]
    }
}

/// Brings both words together.
const BOTH: &str = "printf 'base\\nword 1\\nword 2\\n' > list";

/// Two tasks that begin on the same tip and add a line at the same place, of which the first one lands first.
struct Scene {
    f: Fixture,
    work: String,
}

fn scene(resolve: &str, settings: &str) -> Scene {
    let keys = |word: &str| {
        format!(
            "runner: claude\ndepends_on: []\nmax_attempts: 1\nverify: [{{name: has-{word}, run: 'grep -q \"word {word}\" list || ! grep -q else list'}}]"
        )
    };
    let (one, two) = (keys("1"), keys("2"));
    let f = Fixture::with_plan(&plan(&[("1", &one), ("2", &two)]));
    f.write("list", "base\n");
    f.write("orch.yaml", settings);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a list"]);
    let work = WORK.replace("RESOLVE", resolve);
    let work = work.replace("BEGUN", &waits("up-2"));
    let work = work.replace("FREE", &waits("go"));
    Scene { f, work }
}

impl Scene {
    fn command(&self) -> Command {
        let mut command = self.f.command(["run", "-j", "2"]);
        command.envs(self.f.agent_program(&self.work));
        command
    }
}

impl std::ops::Deref for Scene {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.f
    }
}

/// The run, in which the second task ends after the first one has landed.
fn begun(f: &Scene) -> Live {
    let run = Live::of(f.command(), f.root());
    f.await_gate("up-2");
    f.await_that("the landing of the first", || {
        (f.count("landed", "1") == 1).then_some(())
    });
    f.open("go");
    run
}

fn run(f: &Scene) -> Ran {
    begun(f).ended()
}

fn records(f: &Fixture, kind: &str) -> Vec<Value> {
    let records = f.records().into_iter().map(|r| r["record"].clone());
    records.filter(|r| r["kind"] == kind).collect()
}

/// A run in which a session resolved a conflict.
pub(crate) fn resolved() -> Fixture {
    let scene = scene(BOTH, "");
    run(&scene).exits(0);
    scene.f
}

/// How the resolving attempt ended.
fn ends_of_the_second(f: &Fixture) -> Vec<Value> {
    let of_it = |r: &&Value| r["ticket"]["task"] == "2" && r["ticket"]["attempt"] == 2;
    let collected = records(f, "collected");
    let not_landable = records(f, "not_landable");
    let ends = collected.iter().chain(&not_landable).filter(of_it);
    ends.map(|r| r["end"].clone()).collect()
}

#[test]
fn a_session_that_did_neither_side_resolves_a_conflict_and_both_gates_judge_it() {
    let f = scene(BOTH, "");
    run(&f)
        .exits(0)
        .says("attempt 2 resolves conflicts with 1 in list");
    assert_eq!(f.git(["show", "main:list"]), "base\nword 1\nword 2\n");
    assert_eq!(f.count("attempt_started", "2"), 2);
    let resolving = records(&f, "resolving");
    assert_eq!(resolving.len(), 1);
    assert_eq!(
        resolving[0]["resolving"]["files"],
        serde_json::json!(["list"])
    );
    assert_eq!(resolving[0]["resolving"]["with"], serde_json::json!(["1"]));
    let verified = records(&f, "verified");
    let last = verified.last().expect("a verdict");
    let gates: Vec<&Value> = last["result"]["gates"]
        .as_array()
        .expect("gates")
        .iter()
        .map(|gate| &gate["name"])
        .collect();
    assert_eq!(gates, ["has-2", "has-1 (of 1)"]);
    let told = std::fs::read_to_string(f.gate().join("told")).expect("a prompt");
    for part in [
        "# A conflict: task 2 with 1",
        "- `list`",
        "## Task 2: Task 2",
        "+word 2",
        "## Task 1: Task 1",
        "+word 1",
        "by: `grep -q \"word 2\" list || ! grep -q else list`, `grep -q \"word 1\" list ||",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let status = f.status("2");
    assert_eq!(status["resolving"]["files"], serde_json::json!(["list"]));
    assert_eq!(status["resolving"]["with"], serde_json::json!(["1"]));
    assert_eq!(f.status("1")["resolving"], Value::Null);
    let usage = &f.status("2")["usage"];
    assert_eq!(usage["sessions"], 2, "what the session cost is the task's");
    let merged = "--format=%(trailers:key=Orch-Merged,valueonly)";
    assert_eq!(
        f.git(["log", "-1", merged, "main"]).trim(),
        "session (list)"
    );
    f.orch(["report"])
        .exits(0)
        .says("resolving conflicts with 1 in list");
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_session_that_does_not_get_there_costs_no_attempt_and_the_task_is_done_again() {
    for (resolve, ending, why) in [
        (
            "true",
            "conflict",
            "marks of the conflict are left in `list`",
        ),
        (
            "printf 'base\\nword 2\\n' > list",
            "conflict",
            "what landed meanwhile is thrown away",
        ),
        (
            "printf 'base\\nword 1\\n' > list",
            "conflict",
            "what the task did there is thrown away",
        ),
        ("rm list", "conflict", "no file is left at `list`"),
        (
            "printf 'base\\nword 1\\nword 2\\n' > list; touch more",
            "out_of_scope",
            "may change list and nothing else, and changed `more`",
        ),
        ("status=failed", "agent_failed", "did it"),
        (
            "printf 'base\\nword 2\\nelse\\n' > list",
            "verify_failed",
            "has-1 (of 1)",
        ),
    ] {
        let f = scene(resolve, "");
        run(&f).exits(0);
        assert_eq!(
            f.git(["show", "main:list"]),
            "base\nword 1\nword 2\n",
            "{resolve}"
        );
        assert_eq!(f.count("attempt_started", "2"), 3, "{resolve}");
        assert_eq!(records(&f, "resolving").len(), 1, "{resolve}");
        let ends = ends_of_the_second(&f);
        let end = ends.last().expect("an end");
        assert_eq!(end["ending"], ending, "{resolve}: {end}");
        assert!(
            end["detail"].as_str().expect("words").contains(why),
            "{end}"
        );
        f.orch(["audit"]).exits(0);
        f.assert_tidy();
    }
}

#[test]
fn a_session_that_outlives_a_killed_orch_is_followed_and_lands_once() {
    let resolve = format!("touch \"$GATE/resolving\"; {}; {BOTH}", waits("resolved"));
    let f = scene(&resolve, "");
    let orch = begun(&f);
    f.await_gate("resolving");
    f.orch(["why", "2"])
        .exits(0)
        .says("attempt 2 resolves conflicts with 1 in list");
    orch.killed();
    f.open("resolved");
    Live::of(f.command(), f.root()).ended().exits(0);
    assert_eq!(f.git(["show", "main:list"]), "base\nword 1\nword 2\n");
    assert_eq!(f.count("attempt_started", "2"), 2);
    assert_eq!(f.count("landed", "2"), 1);
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn nobody_is_asked_where_a_person_does_not_want_it_or_nothing_would_judge_it() {
    let unwanted = scene("exit 1", "merge_resolver: false\n");
    let path = ".claude/plans/plan.yaml";
    let unwanted_by_the_plan = scene("exit 1", "");
    let text = unwanted_by_the_plan.read(path).replacen(
        "runner: command}",
        "runner: command, merge_resolver: false}",
        1,
    );
    unwanted_by_the_plan.write(path, &text);
    unwanted_by_the_plan.git(["commit", "-qam", "Ask nobody"]);
    let unjudged = scene("exit 1", "");
    let text = unjudged
        .read(path)
        .replace("name: has-1,", "name: has-1, required: false,");
    unjudged.write(path, &text);
    unjudged.git(["commit", "-qam", "Ask for less"]);
    for f in [unwanted, unwanted_by_the_plan, unjudged] {
        run(&f).exits(0);
        assert_eq!(f.git(["show", "main:list"]), "base\nword 1\nword 2\n");
        assert_eq!(records(&f, "resolving"), Vec::<Value>::new());
        assert_eq!(f.count("attempt_started", "2"), 2);
        f.orch(["audit"]).exits(0);
    }
}

#[test]
fn a_session_that_is_stopped_has_said_nothing_and_another_one_is_asked() {
    let waits = waits("resolved");
    let resolve = format!("touch \"$GATE/resolving\"; echo half > list; {waits}; {BOTH}");
    let f = scene(&resolve, "");
    let orch = begun(&f);
    f.await_gate("resolving");
    orch.signal(Signal::INT);
    orch.await_says("finishing 1 task, ");
    orch.signal(Signal::INT);
    orch.ended().exits(3);
    f.open("resolved");
    Live::of(f.command(), f.root()).ended().exits(0);
    assert_eq!(f.git(["show", "main:list"]), "base\nword 1\nword 2\n");
    let resolving = records(&f, "resolving");
    let of = |n: usize| &resolving[n]["resolving"]["candidate"];
    assert_eq!(resolving.len(), 2);
    assert_eq!(
        of(0),
        of(1),
        "the work of the task itself, not what was half resolved"
    );
    let path = f.read(".claude/plans/plan.yaml");
    let written = path.lines().filter(|line| line.contains("attempts:"));
    assert_eq!(
        written.filter(|line| !line.ends_with(": 1")).count(),
        0,
        "{path}"
    );
    assert_eq!(f.status("2")["usage"]["sessions"], 3);
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_cancelled_session_leaves_the_target_as_it_was() {
    let resolve = format!("touch \"$GATE/resolving\"; {}", waits("never"));
    let f = scene(&resolve, "");
    let orch = begun(&f);
    f.await_gate("resolving");
    f.orch(["cancel", "2"]).exits(0);
    orch.ended().exits(1);
    assert_eq!(f.git(["show", "main:list"]), "base\nword 1\n");
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_session_is_asked_where_the_known_answer_failed_and_is_told_so() {
    let f = scene(BOTH, "merge: {list: 'run: echo no such tool; exit 3'}\n");
    run(&f).exits(0);
    assert_eq!(f.git(["show", "main:list"]), "base\nword 1\nword 2\n");
    assert_eq!(records(&f, "resolving").len(), 1);
    let told = std::fs::read_to_string(f.gate().join("told")).expect("a prompt");
    for part in [
        "A person says of `list`: it is made anew by `echo no such tool; exit 3`.",
        "the answer that was given to that failed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_plan_edit_lands_with_the_work_whose_conflict_was_resolved() {
    let more = "      - id: more\n        name: More\n        depends_on: [\"2\"]\n";
    let mut f = scene(BOTH, "");
    let edit = format!("else [ \"$ORCH_TASK\" = 2 ] && printf '{more}' >> .orch/plan.yaml;");
    f.work = f.work.replace("else ", &edit);
    let path = ".claude/plans/plan.yaml";
    f.write(
        path,
        &f.read(path).replace("runner: command", "runner: claude"),
    );
    f.git(["commit", "-qam", "Let agents do all of it"]);
    run(&f).exits(0);
    let list = "base\nword 1\nword 2\nword more\n";
    assert_eq!(f.git(["show", "main:list"]), list);
    assert_eq!(f.count("resolving", "2"), 1);
    assert!(f.read(path).contains("name: More"));
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

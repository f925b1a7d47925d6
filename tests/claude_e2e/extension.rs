//! Sessions that edit the plan.

use crate::fake_api::{Reply, Script, report, tool};
use crate::site::{Site, claude, plan, write, writes};

/// Calls that read the plan copy and add a task with `keys` at its end, after a first task without keys.
fn adds(id: &str, keys: &str) -> [Reply; 2] {
    let file = "{cwd}/.orch/plan.yaml";
    let last = "        name: Task 1\n";
    let added = format!("{last}      - id: '{id}'\n        name: Added\n        {keys}\n");
    [
        tool("Read", serde_json::json!({ "file_path": file })),
        tool(
            "Edit",
            serde_json::json!({ "file_path": file, "old_string": last, "new_string": added }),
        ),
    ]
}

#[test]
fn a_session_extends_the_plan_and_the_run_goes_on_with_the_new_task() {
    let first = adds("2", "description: What was found on the way.")
        .into_iter()
        .chain(writes("one.txt", "one\n"));
    let script = Script::new()
        .session("1", first)
        .session("2", writes("two.txt", "two\n"));
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();
    let f = &site.f;
    assert_eq!(f.subjects("main")[..2], ["2: Added", "1: Task 1"]);
    assert_eq!(f.read("two.txt"), "two\n");
    let of_first = f.git(["show", "HEAD~:.claude/plans/plan.yaml"]);
    assert!(
        of_first.contains("name: Added\n"),
        "it lands with the task that added it: {of_first}"
    );
    assert!(
        site.openings("2")[0]
            .messages()
            .contains("What was found on the way.")
    );
    f.assert_tidy();
}

#[test]
fn a_task_with_a_key_of_power_is_refused_and_the_reason_told_to_the_next_attempt() {
    let first = adds("2", "run: echo owned > owned.txt").into_iter().chain([
        write("one.txt", "one\n"),
        report("completed", "extended the plan"),
    ]);
    let script = Script::new()
        .session("1", first)
        .session("1", writes("other.txt", "other\n"));
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();
    let again = site.openings("1")[1].messages();
    let (_, evidence) = again
        .split_once("<earlier-attempt number 1>")
        .expect("evidence");
    assert!(
        evidence.contains("the edit of the plan is refused") && evidence.contains("run"),
        "{evidence}"
    );
    assert!(again.contains("You start from a clean copy"), "{again}");
    assert!(!site.f.read(".claude/plans/plan.yaml").contains("Added"));
    assert_eq!(
        site.f.git(["ls-tree", "-r", "--name-only", "main"]),
        ".claude/plans/plan.yaml\nREADME.md\nother.txt\n"
    );
}

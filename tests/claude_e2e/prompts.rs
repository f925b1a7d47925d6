//! What sessions are told.

use crate::fake_api::{Script, report};
use crate::site::{Site, claude, plan, writes};

#[test]
fn sessions_of_one_role_share_their_request_up_to_the_task() {
    let both = |path: &str| writes(path, "x\n");
    let [write_b, report_b] = both("b.txt");
    let [write_c, report_c] = both("c.txt");
    let script = Script::new()
        .session("1", both("a.txt"))
        .session("2", [write_b.meeting("slots", 2), report_b])
        .session("3", [write_c.meeting("slots", 2), report_c]);
    let tasks = [
        ("1", ""),
        ("2", "depends_on: ['1']"),
        ("3", "depends_on: ['1']"),
    ];
    let site = Site::new(&claude!(), &plan(&tasks), script);
    site.run(["run", "--parallel"]).exits(0);
    site.assert_played();
    let [first, second, third] = ["1", "2", "3"].map(|id| site.openings(id)[0].in_cache_order());
    // The second and the third ran at once, in two slots, after the first had changed the plan.
    for (a, b) in [(&first, &second), (&first, &third), (&second, &third)] {
        let common = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
        let shared = String::from_utf8_lossy(&a.as_bytes()[..common]);
        assert!(
            shared.ends_with("# Task "),
            "the first difference is: …{}",
            &shared[shared.len().saturating_sub(300)..]
        );
    }
}

#[test]
fn results_of_dependencies_and_words_of_failed_attempts_stand_in_later_prompts() {
    let script = Script::new()
        .session("1", [report("completed", "The base is called Otto.")])
        .session("2", [report("failed", "Otto does not answer.")])
        .session("2", writes("b.txt", "b\n"));
    let site = Site::new(&claude!(), &plan(&[("1", ""), ("2", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();
    let openings = site
        .openings("2")
        .iter()
        .map(|r| r.messages())
        .collect::<Vec<_>>();
    for prompt in &openings {
        assert!(
            prompt.contains("<result-of-dependency task 1>\nThe base is called Otto.\n"),
            "{prompt}"
        );
    }
    assert!(!openings[0].contains("earlier-attempt number"));
    assert!(
        openings[1].contains("<earlier-attempt number 1>\nOtto does not answer.\n"),
        "{}",
        openings[1]
    );
}

#[test]
fn a_reading_role_reports_and_has_no_tools_to_write() {
    let script = Script::new()
        .session("1", [report("completed", "Two doubts: none, none.")])
        .session("2", writes("b.txt", "b\n"));
    let site = Site::new(
        &claude!(),
        &plan(&[("1", "agent: code-reviewer"), ("2", "")]),
        script,
    );
    site.run(["run"]).exits(0);
    site.assert_played();
    assert_eq!(
        site.f.subjects("main"),
        ["2: Task 2", "Add the plan", "Begin"]
    );
    assert_eq!(site.f.status("1")["how"], "report");
    site.f
        .orch(["show", "1"])
        .exits(0)
        .says("Two doubts: none, none.");
    let [reviewer, coder] = ["1", "2"].map(|id| site.openings(id).remove(0));
    assert!(reviewer.messages().contains("This task asks for a report"));
    assert!(
        ["Write", "Edit"]
            .iter()
            .all(|t| !reviewer.tools().contains(t)),
        "{:?}",
        reviewer.tools()
    );
    assert!(
        ["Write", "Edit"].iter().all(|t| coder.tools().contains(t)),
        "{:?}",
        coder.tools()
    );
    assert!(coder.messages().contains("Two doubts: none, none."));
}

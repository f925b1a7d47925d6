//! A session that brings together what two tasks did to the same lines.

use crate::fake_api::{Script, report, tool};
use crate::fixture::{Live, waits};
use crate::site::{Site, bash, claude, plan, write};

#[test]
fn a_session_of_its_own_resolves_a_conflict_and_lands_it() {
    let keys = |word: &str| {
        format!(
            "depends_on: []\nmax_attempts: 1\nverify: [{{name: has-{word}, run: grep -q {word} list.txt}}]"
        )
    };
    let first = format!(
        "{}\nrunner: command\nrun: '{}; echo one > list.txt'",
        keys("one"),
        waits("up")
    );
    let mine = [
        write("list.txt", "two\n"),
        bash(&format!("touch \"$GATE/up\"; {}", waits("go"))),
        report("completed", "wrote two"),
    ];
    let theirs = [
        tool("Read", serde_json::json!({ "file_path": "{cwd}/list.txt" })),
        write("list.txt", "one\ntwo\n"),
        report("completed", "list.txt: both lines"),
    ];
    let script = Script::new().session("2", mine).session("2", theirs);
    let tasks = plan(&[("1", &first), ("2", &keys("two"))]);
    let site = Site::new(&claude!(), &tasks, script);
    let f = &site.f;
    let list = "neither\n";
    f.write("list.txt", list);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Begin a list"]);
    let run = Live::of(site.command(["run", "--jobs", "2"]), f.root());
    f.await_that("the landing of the first", || {
        (f.count("landed", "1") == 1).then_some(())
    });
    f.open("go");
    run.ended().exits(0);
    site.assert_played();
    assert_eq!(f.git(["show", "main:list.txt"]), "one\ntwo\n");
    let openings = site.openings("2");
    assert_eq!(openings.len(), 2, "nobody's session goes on");
    let told = openings[1].messages();
    for part in ["# A conflict: task 2 with 1", "+one", "+two"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let task = f.status("2");
    assert_eq!(task["usage"]["sessions"], 2);
    assert_eq!(task["attempts_spent"], 0);
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

//! What tool calls of sessions do to files and to git.

use crate::fake_api::{Script, report, tools};
use crate::site::{Site, bash, claude, plan, write};

#[test]
fn exactly_the_files_that_tool_calls_leave_land() {
    let calls = tools([
        (
            "Write",
            serde_json::json!({ "file_path": "{cwd}/new/a.txt", "content": "a\n" }),
        ),
        (
            "Bash",
            serde_json::json!({ "command": "rm old.txt; printf 'b\\n' > 'b b.txt'; chmod +x 'b b.txt'; ln -s README.md link", "description": "work" }),
        ),
        (
            "Read",
            serde_json::json!({ "file_path": "{cwd}/README.md" }),
        ),
    ]);
    let edit = tools([(
        "Edit",
        serde_json::json!({ "file_path": "{cwd}/README.md", "old_string": "scratch", "new_string": "edited" }),
    )]);
    let script = Script::new().session("1", [calls, edit, report("completed", "all done")]);
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.f.write("old.txt", "old\n");
    site.f.git(["add", "-A"]);
    site.f.git(["commit", "-qm", "Add a file"]);
    site.run(["run"]).exits(0);
    site.assert_played();
    let raw = [
        "diff-tree",
        "-r",
        "--no-renames",
        "--abbrev=1",
        "HEAD~",
        "HEAD",
        "--",
        ".",
        ":!.claude",
    ];
    let changes: Vec<String> = site
        .f
        .git(raw)
        .lines()
        .map(|line| {
            // `:<mode> <mode> <id> <id> <what>\t<path>`, as git-diff-tree(1) has it.
            let fields: Vec<&str> = line.split_whitespace().collect();
            format!("{} {} {}", fields[1], fields[4], fields[5..].join(" "))
        })
        .collect();
    assert_eq!(
        changes,
        [
            "100644 M README.md",
            "100755 A b b.txt",
            "120000 A link",
            "100644 A new/a.txt",
            "000000 D old.txt",
        ]
    );
    assert_eq!(site.f.read("README.md"), "# edited\n");
    site.f.assert_tidy();
}

#[test]
fn git_commands_of_an_agent_reach_nothing_outside_its_slot() {
    let script = Script::new().session(
        "1",
        [
            bash("echo one > one.txt && git add -A && git commit -qm 'My own commit' && git tag mine"),
            bash("git switch -qc elsewhere && git branch -f main HEAD && git update-ref refs/heads/orch/plan HEAD"),
            bash("echo junk > README.md && git stash -q && git gc -q --prune=now"),
            bash("git -C . push --all; git -C . push origin HEAD; true"),
            bash("git push origin HEAD"),
            write("two.txt", "two\n"),
            report("completed", "all done"),
        ],
    );
    let site = Site::new(&claude!(), &plan(&[("1", "")]), script);
    site.run(["run"]).exits(0);
    site.assert_played();
    let f = &site.f;
    assert_eq!(f.subjects("main"), ["1: Task 1", "Add the plan", "Begin"]);
    assert_eq!(
        f.git([
            "diff",
            "--name-only",
            "HEAD~",
            "HEAD",
            "--",
            ".",
            ":!.claude"
        ]),
        "one.txt\ntwo.txt\n"
    );
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
    assert_eq!(f.git(["stash", "list"]), "");
    f.git(["fsck", "--strict"]);
    // Pushing is denied by rule; what was denied is told.
    f.orch(["show", "1"])
        .exits(0)
        .says("denied: Bash git push origin HEAD");
    f.assert_tidy();
}

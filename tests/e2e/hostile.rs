//! Agents that behave badly: what they do stays in their slot or ends with them, and what they do to the user's repository
//! is told by name and not undone.

use serde_json::Value;

use crate::fixture::{Fixture, gated, lives};
use crate::runs::plan;

/// The sentences of `orch status --format json` about the repository, of all tasks.
fn told(f: &Fixture) -> Vec<String> {
    let ran = f.orch(["status", "--format", "json"]).exits(0);
    let status: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let tasks = status["tasks"].as_array().expect("tasks");
    let told = tasks
        .iter()
        .flat_map(|task| task["meanwhile"].as_array().expect("a list"));
    told.map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

/// `run: TEXT`, whatever the text contains.
fn runs(text: &str) -> String {
    format!("run: {}", serde_json::to_string(text).expect("text"))
}

#[test]
fn an_agent_that_floods_its_output_is_ended_and_the_task_goes_on() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &runs(
            "echo a > a.txt; if [ ! -e \"$GATE/once\" ]; then touch \"$GATE/once\"; exec yes; fi",
        ),
    )]));
    f.write("orch.yaml", "output_max: 64KiB\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(0);
    let ends = f.records();
    let flood = ends
        .iter()
        .find(|r| r["record"]["kind"] == "collected")
        .expect("an end");
    assert_eq!(flood["record"]["end"]["ending"], "output_flood", "{flood}");
    assert_eq!(f.count("attempt_started", "1"), 2);
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

/// A plan whose agents are killed soon after they were told to end.
fn soon_killed(plan: &str) -> Fixture {
    let f = Fixture::with_plan(plan);
    f.write("orch.yaml", "kill_grace: 100ms\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f
}

#[test]
fn daemons_that_an_agent_leaves_end_before_its_work_is_read() {
    let daemon = "trap \"\" TERM HUP INT; echo $$ >> \"$GATE/pids\"; while :; do sleep 1; echo late >> late.txt; done";
    let text = format!(
        "D='{daemon}'
        nohup sh -c \"$D\" > /dev/null 2>&1 &
        (setsid sh -c \"$D\" > /dev/null 2>&1 < /dev/null &)
        setsid --fork sh -c \"$D\"
        while [ \"$(grep -c . \"$GATE/pids\")\" -lt 3 ]; do sleep 0.02; done
        echo a > a.txt"
    );
    let f = soon_killed(&plan(&[("1", &runs(&text)), ("2", "run: ls > ls.txt")]));
    f.orch(["run"]).exits(0);
    let pids = std::fs::read_to_string(f.gate().join("pids")).expect("pids");
    for pid in pids.lines().map(|pid| pid.parse().expect("a pid")) {
        assert!(!lives(pid), "{pid}");
    }
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

#[test]
fn an_agent_that_ignores_being_told_to_end_is_killed_at_its_time_limit() {
    let text = "trap '' TERM INT HUP; echo half > half.txt; if [ ! -e \"$GATE/once\" ]; then touch \"$GATE/once\"; while :; do sleep 1; done; fi";
    let f = soon_killed(&plan(&[("1", &format!("timeout: 1s\n{}", runs(text)))]));
    f.orch(["run"]).exits(0).says("time");
    assert_eq!(f.count("attempt_started", "1"), 2);
    assert_eq!(f.read("half.txt"), "half\n");
    f.assert_tidy();
}

#[test]
fn whatever_an_agent_leaves_of_its_git_directory_its_files_land_and_the_slot_works_again() {
    let git = "\"$(git rev-parse --git-common-dir)\"";
    let tasks = [
        format!("rm -rf {git}"),
        format!("d={git}; rm -rf \"$d\" .git; echo gone > \"$d\""),
        format!("rm -rf {git}/objects {git}/refs; mkdir {git}/refs"),
        format!("chmod -R a-w {git}"),
        "git commit -qam one --allow-empty; git rebase -q --root --force-rebase; true".to_owned(),
        "git switch -qc x; git commit -q --allow-empty -m x; echo 2 > README.md; git commit -qam y; git switch -q -; echo 3 > README.md; git commit -qam z; git rebase x; true".to_owned(),
        "git bisect start -q; git bisect bad; git worktree add -q ../other; rm -rf ../other; true".to_owned(),
        format!("git config core.worktree /nowhere; git config core.bare true; echo garbage > {git}/HEAD"),
        format!("ln -s \"$REPO/.git/objects\" x; rm x; rm -rf {git}; ln -s \"$REPO/.git\" {git} 2>/dev/null || true"),
    ];
    let tasks: Vec<(String, String)> = (1..)
        .zip(tasks)
        .map(|(n, text)| {
            let work = format!("mkdir -p files; echo {n} > files/{n}.txt");
            (n.to_string(), runs(&format!("{work}; {text}; {work}")))
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = tasks
        .iter()
        .map(|(id, keys)| (id.as_str(), keys.as_str()))
        .collect();
    let f = Fixture::with_plan(&plan(&borrowed));
    let before = (
        f.git(["for-each-ref", "refs/heads/main"]).len(),
        std::fs::read(f.repo().join(".git/config")).expect("a config"),
    );
    f.orch_with("REPO", &f.repo(), ["run"]).exits(0);
    for (id, _) in &tasks {
        assert_eq!(f.read(&format!("files/{id}.txt")), format!("{id}\n"));
    }
    assert_eq!(f.subjects("main").len(), tasks.len() + 2);
    let after = (
        f.git(["for-each-ref", "refs/heads/main"]).len(),
        std::fs::read(f.repo().join(".git/config")).expect("a config"),
    );
    assert_eq!(after, before);
    assert_eq!(told(&f), Vec::<String>::new());
    f.git(["fsck", "--strict"]);
    f.assert_tidy();
}

#[test]
fn what_an_agent_does_to_the_users_repository_is_told_by_name_with_the_attempt_and_not_undone() {
    let at = "cd \"$REPO\"; ";
    let deeds = [
        ("git branch mine", "`refs/heads/mine` was made at "),
        ("git tag -d v1", "`refs/tags/v1` was deleted, it stood at "),
        (
            "git update-ref refs/heads/other other~1",
            "`refs/heads/other` went from ",
        ),
        ("git config user.name Eve", "`.git/config` was changed"),
        (
            "mkdir -p .git/hooks; printf '#!/bin/sh\\n' > .git/hooks/post-commit",
            "the hook `.git/hooks/post-commit` was made",
        ),
        (
            "chmod +x .git/hooks/pre-push",
            "the hook `.git/hooks/pre-push` was changed",
        ),
        (
            "echo '*.txt' >> .git/info/exclude",
            "`.git/info/exclude` was changed",
        ),
        (
            "echo more >> README.md",
            "files of the checkout that were clean are changed: `README.md`",
        ),
        ("rm docs/a.md", "changed: `docs/a.md`"),
        (
            "echo staged > docs/b.md; git add docs/b.md; git checkout-index -f docs/b.md",
            "changed: `docs/b.md`",
        ),
        (
            "echo x > docs/c.md; git stash push -q docs/c.md",
            "`refs/stash` was made at ",
        ),
    ];
    let tasks: Vec<(String, String)> = (1..)
        .zip(deeds)
        .map(|(n, (deed, _))| {
            let text = format!("echo {n} > {n}.txt; {at}{deed}");
            (n.to_string(), runs(&text))
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = tasks
        .iter()
        .map(|(id, keys)| (id.as_str(), keys.as_str()))
        .collect();
    let f = Fixture::with_plan(&plan(&borrowed));
    for file in ["docs/a.md", "docs/b.md", "docs/c.md", "docs/mine.md"] {
        f.write(file, "text\n");
    }
    f.write(".git/hooks/pre-push", "#!/bin/sh\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Files"]);
    f.git(["tag", "v1"]);
    f.git(["branch", "other"]);
    f.write("docs/mine.md", "a person works on it\n");
    f.write("new.txt", "and on this\n");
    let ran = f.orch_with("REPO", &f.repo(), ["run"]).exits(0);
    let told = told(&f);
    assert_eq!(told.len(), deeds.len(), "{told:#?}");
    for ((n, (_, words)), sentence) in (1..).zip(deeds).zip(&told) {
        let start = format!("while attempt 1 of task {n} ran, this changed in your repository: ");
        assert!(sentence.starts_with(&start), "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
        assert!(!sentence.contains("; "), "nothing else: {sentence}");
        assert!(ran.stderr.contains(sentence), "{}", ran.stderr);
        assert!(ran.stdout.contains(sentence), "{}", ran.stdout);
        f.orch(["show", &n.to_string()]).exits(0).says(sentence);
    }
    // Nothing of it is undone.
    assert_eq!(f.git(["branch", "--list", "mine"]), "  mine\n");
    assert_eq!(f.git(["tag"]), "");
    assert_eq!(f.git(["config", "user.name"]), "Eve\n");
    assert_eq!(f.read("README.md"), "# scratch\nmore\n");
    assert!(!f.repo().join("docs/a.md").exists());
    assert_eq!(f.read("docs/mine.md"), "a person works on it\n");
    assert_eq!(f.read("new.txt"), "and on this\n");
    f.git(["stash", "drop", "-q"]);
    f.git(["restore", "--staged", "."]);
    std::fs::remove_file(f.repo().join(".git/info/exclude")).expect("a file");
    f.assert_tidy_but(" M README.md\n D docs/a.md\n M docs/b.md\n M docs/mine.md\n?? new.txt\n");
}

#[test]
fn all_attempts_that_ran_at_the_time_are_named_and_those_that_began_later_are_not() {
    let deed = format!(
        "touch \"$GATE/up-1\"; {}; git -C \"$REPO\" branch mine; touch \"$GATE/done\"; echo a > a.txt",
        crate::fixture::waits("up-2")
    );
    let witness = gated("up-2", "done", "echo b > b.txt");
    let f = Fixture::with_plan(&plan(&[
        ("1", &format!("depends_on: []\n{}", runs(&deed))),
        ("2", &format!("depends_on: []\n{}", runs(&witness))),
        ("3", "depends_on: ['1', '2']\nrun: echo c > c.txt"),
    ]));
    f.orch_with("REPO", &f.repo(), ["run", "-j", "2"]).exits(0);
    let told = told(&f);
    let [first, second] = told.as_slice() else {
        panic!("{told:#?}");
    };
    assert!(
        first.starts_with("while attempt 1 of task 1 and attempt 1 of task 2 ran, "),
        "{first}"
    );
    assert!(
        second.starts_with("while attempt 1 of task 2 and attempt 1 of task 1 ran, "),
        "{second}"
    );
    f.assert_tidy();
}

#[test]
fn what_was_done_while_no_orch_lived_is_told_by_the_next_one() {
    let text = gated(
        "up",
        "go",
        "git -C \"$REPO\" branch mine; echo a > a.txt; touch \"$GATE/done\"",
    );
    let f = Fixture::with_plan(&plan(&[("1", &runs(&text))]));
    let mut command = f.command(["run"]);
    command.env("REPO", f.repo());
    let orch = crate::fixture::Live::of(command, f.root());
    f.await_gate("up");
    orch.killed();
    f.open("go");
    f.await_gate("done");
    f.orch(["run"]).exits(0).says("`refs/heads/mine` was made");
    f.assert_tidy();
}

#[test]
fn an_agent_that_leaves_the_users_branch_is_told_and_the_way_back_is_printed() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        &runs("echo a > a.txt; git -C \"$REPO\" switch -qc elsewhere"),
    )]));
    f.orch_with("REPO", &f.repo(), ["run"])
        .exits(0)
        .says("HEAD went from `refs/heads/main` to `refs/heads/elsewhere`")
        .says("git switch main && git merge --ff-only orch/plan");
    assert_eq!(f.git(["branch", "--show-current"]), "elsewhere\n");
    f.assert_tidy();
}

#[test]
fn what_orch_and_its_agents_do_in_their_own_places_is_not_told_as_a_change() {
    for live in [false, true] {
        let f = Fixture::with_plan(&plan(&[
            (
                "1",
                &format!(
                    "depends_on: []\n{}",
                    runs("echo a > README.md; git commit -qam mine; git stash; git tag t")
                ),
            ),
            ("2", "depends_on: []\nrun: echo b > b.txt; rm docs.md"),
            (
                "3",
                "depends_on: []\nrun: mkdir d; echo c > d/c.txt; cat b.txt > seen.txt; true",
            ),
            (
                "4",
                &format!(
                    "depends_on: []\n{}",
                    runs(&gated("up", "go", "echo d > d.txt"))
                ),
            ),
            ("5", "depends_on: ['1', '2', '3']\nrun: echo e > docs.md"),
        ]));
        f.write("docs.md", "text\n");
        f.git(["add", "-A"]);
        f.git(["commit", "-qm", "Files"]);
        f.write("notes.txt", "untracked\n");
        let orch = match live {
            true => f.live(["run", "--live", "-j", "3"]),
            false => f.live(["run", "-j", "3"]),
        };
        f.await_gate("up");
        f.await_that("the landing of task 5", || {
            (f.count("landed", "5") == 1).then_some(())
        });
        // The one that is left is taken over by another orch, which lands, too.
        orch.killed();
        f.open("go");
        match live {
            true => f.orch(["run", "--live"]).exits(0),
            false => f.orch(["run"]).exits(0),
        };
        assert_eq!(told(&f), Vec::<String>::new());
        f.assert_tidy_but("?? notes.txt\n");
    }
}

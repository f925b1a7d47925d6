//! Slots: what an agent finds there, what of it lands, and what cannot get out.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use crate::fixture::{Fixture, Ran, gated};
use crate::runs::plan;

/// A plan whose one task runs a script, of which each line ends the script if it fails.
fn script(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("  {}", line.trim()))
        .collect();
    plan(&[(
        "1",
        &format!("max_attempts: 1\nrun: |\n  set -e\n{}", lines.join("\n")),
    )])
}

#[test]
fn setup_runs_once_a_slot_and_again_when_a_file_it_depends_on_changed() {
    let tasks = [
        ("1", "run: test -e made/x && echo a > a.txt"),
        ("2", "run: echo 2 > lock.txt"),
        ("3", "run: test -e made/x && echo c > c.txt"),
    ];
    let f = Fixture::with_plan(&plan(&tasks));
    f.write("orch.yaml", "setup:\n  run: ['mkdir -p made && touch made/x && echo once >> \"$LOG\"']\n  when_changed: [lock.txt]\n");
    f.write(".gitignore", "made/\n");
    f.write("lock.txt", "1\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    let log = f.root().join("log");
    let times = || {
        std::fs::read_to_string(&log)
            .expect("a log")
            .lines()
            .count()
    };
    f.orch_with("LOG", &log, ["run"]).exits(0);
    assert_eq!(times(), 2, "in the new slot, and after lock.txt changed");
    let text = f.read(".claude/plans/plan.yaml");
    f.write(".claude/plans/plan.yaml", &format!("{text}      - id: '4'\n        name: Task 4\n        run: test -e made/x && echo d > d.txt\n"));
    f.git(["commit", "-qam", "Add a task"]);
    f.orch_with("LOG", &log, ["run"]).exits(0);
    assert_eq!(times(), 2, "the slot was still warm in the next run");
    assert_eq!(f.git(["ls-files", "made"]), "");
    f.assert_tidy();
}

#[test]
fn a_setup_that_fails_is_the_environments_fault_and_costs_no_attempt() {
    let f = Fixture::with_plan(&plan(&[("1", "max_attempts: 1\nrun: echo a > a.txt")]));
    f.write(
        "orch.yaml",
        "setup: {run: ['echo no compiler >&2; test -e \"$FLAG\"']}\n",
    );
    let ran = f.orch(["run"]).exits(8).says("test -e \"$FLAG\"");
    let (_, rest) = ran.stderr.split_once("its output is in ").expect("a place");
    let dir = rest
        .split_whitespace()
        .next()
        .expect("a path")
        .trim_end_matches([';', ',', '.']);
    assert_eq!(
        std::fs::read_to_string(std::path::Path::new(dir).join("stderr")).expect("a log"),
        "no compiler\n"
    );
    let flag = f.root().join("flag");
    std::fs::write(&flag, "").expect("a file");
    f.orch_with("FLAG", &flag, ["run"]).exits(0);
    assert_eq!(f.subjects("main")[0], "1: Task 1");
}

#[test]
fn included_files_are_there_and_never_land() {
    let f = Fixture::with_plan(&script(
        "cat settings.local > seen.txt\nrm .gitignore\necho changed >> settings.local",
    ));
    f.write(".gitignore", "settings.local\nother.local\n");
    f.write(".worktreeinclude", "settings.local\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Ignore"]);
    f.write("settings.local", "port: 1\n");
    f.write("other.local", "not asked for\n");
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("seen.txt"), "port: 1\n");
    assert_eq!(f.read("settings.local"), "port: 1\n");
    assert_eq!(
        f.git([
            "log",
            "--all",
            "--format=%h",
            "--",
            "settings.local",
            "other.local"
        ]),
        ""
    );
}

#[test]
fn parallel_tasks_get_ten_free_ports_each() {
    // Whoever has it, it is not free.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 20_003));
    let task = |n: u32, other: u32| {
        format!(
            "depends_on: []\nrun: env | sed -n 's/^ORCH_PORT_.=//p' > ports{n}.txt; {}",
            gated(&n.to_string(), &other.to_string(), "true")
        )
    };
    let f = Fixture::with_plan(&plan(&[("1", &task(1, 2)), ("2", &task(2, 1))]));
    f.orch(["run", "-j", "2"]).exits(0);
    let text = f.read("ports1.txt") + &f.read("ports2.txt");
    let ports: BTreeSet<u16> = text.lines().map(|l| l.parse().expect("a port")).collect();
    assert_eq!(ports.len(), 20);
    assert!(!ports.contains(&20_003));
    drop(taken);
}

#[test]
fn names_modes_links_renames_and_deletions_land_exactly() {
    let f = Fixture::with_plan(&script(
        "printf x > 'two words.txt'
        printf x > \"it's \\\"quoted\\\".txt\"
        printf x > \"$(printf 'line\\nbreak')\"
        printf x > größe-日本.txt
        printf x > ./-dash
        mkdir -p 'deep/a b' && printf x > 'deep/a b/[x]*.txt'
        printf '#!/bin/sh\\n' > run.sh && chmod +x run.sh
        ln -s 'two words.txt' link
        ln -s nowhere dangling
        git mv old.txt new.txt
        rm gone.txt
        rm file && mkdir file && printf x > file/inside",
    ));
    for name in ["old.txt", "gone.txt", "file"] {
        f.write(name, "some lines\nof text\n");
    }
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Files"]);
    f.orch(["run"]).exits(0);
    let tree = f.git(["ls-tree", "-r", "-z", "main"]);
    let entries = tree.split('\0').filter_map(|line| line.split_once('\t'));
    let found: BTreeSet<String> = entries
        .map(|(entry, path)| format!("{} {path}", &entry[..6]))
        .collect();
    let wanted = [
        "100644 .claude/plans/plan.yaml",
        "100644 README.md",
        "100644 two words.txt",
        "100644 it's \"quoted\".txt",
        "100644 line\nbreak",
        "100644 größe-日本.txt",
        "100644 -dash",
        "100644 deep/a b/[x]*.txt",
        "100755 run.sh",
        "120000 link",
        "120000 dangling",
        "100644 new.txt",
        "100644 file/inside",
    ];
    assert_eq!(found, wanted.map(str::to_owned).into_iter().collect());
    let mode = std::fs::metadata(f.repo().join("run.sh"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111);
    f.assert_tidy();
}

#[test]
fn a_change_that_lies_in_a_repository_of_its_own_is_not_done() {
    let f = Fixture::with_plan(&script("mkdir app && git init -q app && echo x > app/file"));
    f.orch(["run"])
        .exits(1)
        .says("nothing of it can land, as all of it lies in a git repository of its own: `app`");
    assert_eq!(f.status("1")["state"], "failed");
    f.assert_tidy();
}

#[test]
fn what_does_not_belong_into_git_is_named_and_kept() {
    let f = Fixture::with_plan(&script(
        "head -c 6000000 /dev/zero > big.bin
        echo KEY=1 > .env
        mkdir nested && git init -q nested && echo x > nested/file
        echo stray > sub/stray.txt
        echo ok > ok.txt",
    ));
    let other = f.root().join("other");
    let other = other.to_str().expect("a path");
    f.git(["init", "-q", other]);
    f.git([
        "-C",
        other,
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.invalid",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "Start",
    ]);
    f.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        other,
        "sub",
    ]);
    f.git(["commit", "-qm", "Add a submodule"]);
    let submodule = f.git(["rev-parse", "main:sub"]);
    f.orch(["run"]).exits(0);
    assert_eq!(
        f.git(["diff", "--name-only", "HEAD~1", "HEAD"]),
        ".claude/plans/plan.yaml\nok.txt\n"
    );
    assert_eq!(f.git(["rev-parse", "main:sub"]), submodule);
    let shown = f
        .orch(["show", "1"])
        .exits(0)
        .says("`big.bin`")
        .says("`.env`")
        .says("`nested`")
        .says("`sub`");
    let (_, rest) = shown.stdout.split_once("kept in   ").expect("a place");
    let kept = std::path::Path::new(rest.lines().next().expect("a path")).join("left-out/files");
    assert_eq!(
        std::fs::metadata(kept.join("big.bin"))
            .expect("a file")
            .len(),
        6_000_000
    );
    for (name, text) in [
        (".env", "KEY=1\n"),
        ("nested/file", "x\n"),
        ("sub/stray.txt", "stray\n"),
    ] {
        assert_eq!(std::fs::read_to_string(kept.join(name)).expect(name), text);
    }
    f.assert_tidy();
}

#[test]
fn whatever_an_agent_does_to_its_git_its_files_land_and_the_users_git_stays() {
    let common = "\"$(git rev-parse --git-common-dir)\"";
    let tasks = [
        "git add -A; git commit -qm mine; git switch -qc evil; git tag bad; git branch -f main evil",
        "git stash -qu; git stash apply -q; git push origin HEAD; git push; true",
        "git checkout -q --orphan none; git rm -rqf --cached .; git update-ref -d refs/heads/main; git gc -q --prune=now; true",
        &format!(
            "mkdir -p {common}/hooks; printf '#!/bin/sh\\ntouch \"$REPO/pwned\"\\n' > {common}/hooks/post-checkout; chmod +x {common}/hooks/post-checkout; git config core.hooksPath hooks; git config core.fsmonitor 'touch pwned'; git config filter.evil.clean 'touch pwned; cat'; echo '*.txt filter=evil' >> {common}/info/attributes"
        ),
        &format!(
            "printf '*.txt\\nfiles/\\n' >> {common}/info/exclude; git update-index --skip-worktree README.md; git update-index --assume-unchanged README.md; echo 5 > README.md"
        ),
        "echo x > .git/index.lock 2>/dev/null; touch \"$(git rev-parse --git-dir)/index.lock\"",
        "rm -rf .git; git init -q; git add -A; git commit -qm mine; true",
    ];
    let tasks: Vec<(String, String)> = (1..)
        .zip(tasks)
        .map(|(n, text)| {
            let run = format!("mkdir -p files; echo {n} > files/{n}.txt; {text}");
            (
                n.to_string(),
                format!("run: {}", serde_json::to_string(&run).expect("text")),
            )
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = tasks
        .iter()
        .map(|(id, keys)| (id.as_str(), keys.as_str()))
        .collect();
    let f = Fixture::with_plan(&plan(&borrowed));
    f.write("README.md", "stashed by the person\n");
    f.git(["stash", "-q"]);
    f.git(["branch", "other"]);
    let users = || {
        let refs = f.git([
            "for-each-ref",
            "--format=%(refname) %(objectname)",
            "refs/tags",
            "refs/stash",
            "refs/heads/other",
        ]);
        let config = std::fs::read(f.repo().join(".git/config")).expect("a config");
        let exclude = std::fs::read(f.repo().join(".git/info/exclude")).expect("excludes");
        let stash = f.git(["stash", "list"]);
        let hooks = std::fs::read_dir(f.repo().join(".git/hooks")).map_or(0, Iterator::count);
        (refs, config, exclude, stash, hooks)
    };
    let before = users();
    f.orch_with("REPO", &f.repo(), ["run"]).exits(0);
    assert_eq!(users(), before);
    for (id, _) in &tasks {
        assert_eq!(f.read(&format!("files/{id}.txt")), format!("{id}\n"));
    }
    assert_eq!(f.read("README.md"), "5\n");
    assert_eq!(f.subjects("main").len(), tasks.len() + 2);
    assert_eq!(
        f.git(["branch", "--format=%(refname:short)"]),
        "main\norch/plan\nother\n"
    );
    assert_eq!(f.git(["ls-files", "pwned"]), "");
    f.assert_tidy();
}

#[test]
fn an_agent_that_removes_its_slot_fails_by_name_and_the_next_attempt_has_a_new_one() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "run: if [ -e \"$FLAG\" ]; then echo a > a.txt; else touch \"$FLAG\"; d=$PWD; cd /; rm -rf \"$d\"; fi",
    )]));
    f.orch_with("FLAG", &f.root().join("flag"), ["run"])
        .exits(0)
        .says("is gone");
    assert_eq!(f.subjects("main")[0], "1: Task 1");
    assert_eq!(f.status("1")["attempts_spent"], 1);
    f.assert_tidy();
}

#[test]
fn slots_lie_where_the_settings_say_or_the_run_ends_by_name() {
    let f = Fixture::with_plan(&plan(&[("1", "run: pwd > where.txt")]));
    let elsewhere = f.root().join("else where");
    std::fs::write(&elsewhere, "a file in the way").expect("a file");
    f.write(
        "orch.yaml",
        &format!("slots_dir: '{}'\n", elsewhere.display()),
    );
    f.orch(["run"]).exits(8).says("else where");
    std::fs::remove_file(&elsewhere).expect("a file");
    f.orch(["run"]).exits(0);
    assert!(
        f.read("where.txt")
            .starts_with(elsewhere.to_str().expect("a path"))
    );
    assert!(!f.root().join("state/orch/slots").exists());
    drop(Ran::of(f.command(["status"]).output().expect("orch")).exits(0));
}

#[test]
fn a_slot_that_cannot_be_read_is_kept_whole_and_stops_the_run() {
    let f = Fixture::with_plan(&script(
        "echo \"*.x filter=must\" > .gitattributes\necho work > a.x",
    ));
    f.git(["config", "filter.must.clean", "false"]);
    f.git(["config", "filter.must.required", "true"]);
    let ran = f.orch(["run"]).exits(8).says("its slot is kept whole in ");
    let (_, rest) = ran
        .stderr
        .split_once("its slot is kept whole in ")
        .expect("a place");
    let kept = rest
        .split_whitespace()
        .next()
        .expect("a path")
        .trim_end_matches(':');
    assert_eq!(
        std::fs::read_to_string(std::path::Path::new(kept).join("tree/a.x")).expect("the work"),
        "work\n"
    );
    f.git(["config", "filter.must.clean", "cat"]);
    f.git(["config", "filter.must.smudge", "cat"]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.git(["show", "main:a.x"]), "work\n");
    f.assert_tidy();
}

#[test]
fn something_else_in_place_of_the_plan_copy_fails_the_attempt_by_name() {
    let f = Fixture::with_plan(&script(
        "rm .orch/plan.yaml\nmkdir .orch/plan.yaml\necho a > a.txt",
    ));
    f.orch(["run"])
        .exits(1)
        .says("plan edit invalid")
        .says("not a regular file");
    f.assert_tidy();
}

#[test]
fn a_checkout_that_git_cannot_fill_stays_locked_is_told_and_the_next_run_finishes_it() {
    let f = Fixture::with_plan(&script(
        "echo \"*.x filter=must\" > .gitattributes\necho work > a.x",
    ));
    f.git(["config", "filter.must.clean", "cat"]);
    f.git(["config", "filter.must.required", "true"]);
    f.orch(["run"])
        .exits(0)
        .says("is not up to date yet")
        .says("`orch run` finishes it");
    f.git(["config", "filter.must.smudge", "cat"]);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.x"), "work\n");
    f.assert_tidy();
}

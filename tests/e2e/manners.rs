//! How the program behaves in a shell: first files, colour, pipes, directories, completions.

use std::io::{BufRead, BufReader};

use crate::fixture::{Fixture, Ran};
use crate::runs::plan;

#[test]
fn init_proposes_a_setup_for_each_lock_file() {
    for (lock, command) in [
        ("Cargo.lock", "cargo fetch --locked"),
        ("package-lock.json", "npm ci"),
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
        ("uv.lock", "uv sync --locked"),
        ("go.sum", "go mod download"),
    ] {
        let f = Fixture::new();
        f.write(lock, "");
        f.orch(["init"]).exits(0).says(lock);
        let settings = f.read("orch.yaml");
        assert!(settings.contains(&format!("- {command}\n")), "{settings}");
        assert!(settings.contains(&format!("- {lock}\n")), "{settings}");
    }
}

#[test]
fn init_proposes_gates_that_the_repository_speaks_for() {
    for (manifest, text, gate) in [
        (
            "Cargo.toml",
            "[package]\n",
            "  - {name: test, run: cargo test}\n",
        ),
        (
            "package.json",
            r#"{"scripts": {"test": "jest"}}"#,
            "  - {name: test, run: npm run test}\n",
        ),
        (
            "pytest.ini",
            "[pytest]\n",
            "  - {name: test, run: python3 -m pytest}\n",
        ),
        (
            "go.mod",
            "module a\n",
            "  - {name: test, run: go test -v ./...}\n",
        ),
        (
            "Makefile",
            "test:\n\ttrue\n",
            "  - {name: test, run: make test}\n",
        ),
        (
            "justfile",
            "test:\n  true\n",
            "  - {name: test, run: just test}\n",
        ),
    ] {
        let f = Fixture::new();
        f.write(manifest, text);
        f.orch(["init"]).exits(0).says("proposed as a gate");
        let settings = f.read("orch.yaml");
        assert!(
            settings.contains(&format!("\nverify:\n{gate}")),
            "{settings}"
        );
        f.orch(["run", "--dry-run", "--require-verify"]).exits(0);
    }
}

#[test]
fn a_run_without_gates_is_told_which_commands_could_judge_it() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a"), ("2", "run: touch b")]));
    f.write("Makefile", "check:\n\ttrue\ntest:\n\ttrue\n");
    f.orch(["run"])
        .exits(0)
        .says("note: no required verify command judges `1`, `2`: what they change lands unverified")
        .says("hint: Makefile speaks for a gate; write into orch.yaml: verify: [make check, make test]")
        .says("2 landed unverified (no required verify command)");
    assert_eq!(f.status("1")["verified"], false);
    f.orch(["status"]).exits(0).says("landed, unverified");
    assert!(
        f.git(["log", "-1", "--format=%B"])
            .contains("Orch-Verified: no (no required verify command)")
    );
}

#[test]
fn a_gate_that_cannot_fail_is_flagged_by_check_and_at_the_start() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a\nverify: make test || true")]));
    let flag = "this command cannot fail: what follows `||` always succeeds";
    f.orch(["check", ".claude/plans/plan.yaml"])
        .exits(0)
        .says(flag);
    f.orch(["run", "--dry-run"]).exits(0).says(flag);

    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    for settings in [
        "verify: [{name: t, run: 'make test; exit 0'}]\n",
        "verify: {commands: [make test | tail]}\n",
        "test_command: make test || true\n",
    ] {
        f.write("orch.yaml", settings);
        f.orch(["run", "--dry-run"])
            .exits(0)
            .says("this command cannot fail");
    }
}

#[test]
fn what_init_wrote_checks_and_can_be_run() {
    let f = Fixture::new();
    f.orch(["init"]).exits(0);
    f.orch(["check", "--strict", ".claude/plans/plan.yaml"])
        .exits(0)
        .says("no problems");
    let ran = f.orch(["run", "--dry-run", "--parallel"]).exits(0);
    assert_eq!(ran.stderr, "", "no warning about the settings");
    assert!(ran.stdout.contains("4 at once"), "{}", ran.stdout);
}

#[test]
fn init_finds_the_projects_of_a_repository_that_holds_several() {
    let f = Fixture::new();
    f.write("web/package.json", r#"{"scripts": {"test": "jest"}}"#);
    f.write("web/yarn.lock", "");
    f.write("web/.yarnrc.yml", "");
    f.write("api/go.mod", "module api\n");
    f.write("api/go.sum", "");
    f.write("docs/requirements.txt", "sphinx\n");
    f.orch(["init"])
        .exits(0)
        .says("with a setup for api/go.sum, web/yarn.lock")
        .says("proposed as a gate: `cd web && yarn run test` (web/package.json)");
    let settings = f.read("orch.yaml");
    for line in [
        "    - cd api && go mod download\n    - cd web && yarn install --immutable\n",
        "    - api/go.sum\n    - web/yarn.lock\n",
        "  - {name: api-test, run: cd api && go test -v ./...}\n",
        "  - {name: web-test, run: cd web && yarn run test}\n",
    ] {
        assert!(settings.contains(line), "{settings}");
    }
    assert!(!settings.contains("docs/requirements"), "{settings}");
    let ran = f.orch(["run", "--dry-run", "--require-verify"]).exits(0);
    assert_eq!(ran.stderr, "", "no warning about the settings");
}

#[test]
fn init_below_the_top_writes_the_plan_that_run_finds() {
    let f = Fixture::new();
    f.write("below/file", "");
    f.orch(["-C", "below", "init"]).exits(0);
    assert!(f.read(".claude/plans/plan.yaml").contains("orch: 1"));
    f.orch(["-C", "below", "run", "--dry-run"]).exits(0);
    f.orch(["-C", "below", "init", "--plan", "own.yaml"])
        .exits(0)
        .says("wrote own.yaml");
    assert!(f.read("below/own.yaml").contains("orch: 1"));
}

#[test]
fn init_leaves_what_is_there() {
    let f = Fixture::new();
    f.write("orch.yaml", "jobs: 7\n");
    f.orch(["init"]).exits(0).says("left orch.yaml as it is");
    assert_eq!(f.read("orch.yaml"), "jobs: 7\n");

    f.write(".claude/plans/plan.yaml", "mine\n");
    f.orch(["init"]).exits(2).says("is there already");
    assert_eq!(f.read(".claude/plans/plan.yaml"), "mine\n");
}

#[test]
fn completions_know_the_commands_in_every_shell() {
    let f = Fixture::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = f.orch(["completions", shell]).exits(0).stdout;
        for word in ["resume-from", "completions", "dry-run"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
}

#[test]
fn colour_only_where_it_is_asked_for() {
    let f = Fixture::new();
    f.write("plan.yaml", "sections: 3\n");
    let is_coloured = |args: &[&str], no_color: &str| {
        let output = f
            .command([])
            .args(args)
            .args(["check", "plan.yaml"])
            .env("NO_COLOR", no_color)
            .output();
        let ran = Ran::of(output.expect("orch")).exits(2);
        (ran.stdout + &ran.stderr).contains('\u{1b}')
    };
    assert!(!is_coloured(&[], ""), "no terminal, no colour");
    assert!(is_coloured(&["--color", "always"], ""));
    assert!(
        is_coloured(&["--color", "always"], "1"),
        "what was typed holds"
    );
    assert!(!is_coloured(&["--color", "never"], ""));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let tasks: Vec<(String, &str)> = (0..400).map(|n| (n.to_string(), "run: 'true'")).collect();
    let tasks: Vec<(&str, &str)> = tasks
        .iter()
        .map(|(id, keys)| (id.as_str(), *keys))
        .collect();
    let f = Fixture::new();
    // Its graph is longer than a pipe holds, so that writing on is noticed.
    f.write("plan.yaml", &plan(&tasks));
    let mut child = f.start(["graph", "--format", "json", "plan.yaml"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    let ran = Ran::of(child.wait_with_output().expect("orch")).exits(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn without_a_plan_the_only_one_is_taken_and_several_are_listed() {
    let f = Fixture::new();
    for command in ["check", "graph", "run"] {
        f.orch([command]).exits(2).says("orch init");
    }
    f.orch(["init"]).exits(0);
    f.orch(["check"]).exits(0).says(".claude/plans/plan.yaml: ");
    f.orch(["graph"]).exits(0).says("critical path");
    f.orch(["run", "--dry-run", "--runner", "rehearsal"])
        .exits(0);
    f.write(".claude/plans/other.yaml", "sections: []\n");
    for command in ["check", "graph", "run"] {
        f.orch([command])
            .exits(2)
            .says("holds 2; name one of them")
            .says("hint: .claude/plans/other.yaml");
    }
    f.orch(["run", "--plan", "."])
        .exits(2)
        .says("cannot read the plan `.`");
}

#[test]
fn another_directory_can_be_named() {
    let f = Fixture::with_plan(&plan(&[("1", "run: echo a > a.txt")]));
    let repo = f.repo();
    let output = f
        .command([])
        .current_dir(f.root())
        .arg("-C")
        .arg(&repo)
        .args(["run", "--plan", ".claude/plans/plan.yaml"])
        .output();
    Ran::of(output.expect("orch")).exits(0);
    assert_eq!(f.subjects("main")[0], "1: Task 1");
    f.orch(["-C", "nowhere", "status"]).exits(2).says("nowhere");
}

#[test]
fn a_misspelt_command_is_answered_with_the_right_one() {
    let f = Fixture::new();
    f.orch(["staus"]).exits(2).says("status");
    f.orch([]).exits(2).says("orch demo");
}

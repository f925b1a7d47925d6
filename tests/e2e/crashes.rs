//! orch is killed, with or without its shims, at every place between two records; the next run loses and doubles
//! nothing, and charges no attempt for it.
//!
//! The exact places come from a hook of debug builds (`ORCH_CRASH_AT`, see `src/driver/crash.rs`). The whole matrix,
//! every occurrence of every record: `cargo test --test e2e crashes -- --ignored`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixture::{Fixture, Live, await_that, gated, lives};
use crate::runs::plan;

/// One task with one attempt that tells its process id and waits at the gate `go`.
fn gated_task() -> Fixture {
    let run = gated("up", "go", "echo $$ > pid.txt");
    Fixture::with_plan(&plan(&[(
        "1",
        &format!("max_attempts: 1\nrun: 'echo $$ > \"$GATE/pid\"; {run}'"),
    )]))
}

fn agent(f: &Fixture) -> i32 {
    let text = std::fs::read_to_string(f.gate().join("pid")).expect("a pid");
    text.trim().parse().expect("a number")
}

/// The files called `name` in the directories of attempts.
fn of_attempts(f: &Fixture, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![f.repo().join(".git/orch/runs")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|n| n == name) {
                found.push(path);
            }
        }
    }
    found
}

fn assert_landed_once(f: &Fixture) {
    assert_eq!(f.subjects("main")[..2], ["1: Task 1", "Add the plan"]);
    assert_eq!(f.count("landed", "1"), 1);
    assert_eq!(f.attempts_written(), ["1"], "only the one that succeeded");
    f.assert_tidy();
}

#[test]
fn an_agent_that_outlived_orch_is_followed_and_not_started_again() {
    let f = gated_task();
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    assert!(lives(agent(&f)), "the agent runs on");
    let next = f.live(["run"]);
    next.await_says("goes on");
    f.open("go");
    next.ended().exits(0);
    assert_eq!(f.read("pid.txt").trim(), agent(&f).to_string());
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_landed_once(&f);
}

#[test]
fn an_agent_that_ended_while_there_was_no_orch_is_collected() {
    let f = gated_task();
    let orch = f.live(["run"]);
    f.await_gate("up");
    orch.killed();
    f.open("go");
    await_that("the report of the shim", || {
        of_attempts(&f, "exit.json").pop()
    });
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_landed_once(&f);
}

#[test]
fn an_agent_that_died_with_orch_and_its_shim_is_swept_and_started_again_for_nothing() {
    let run = format!(
        "setsid sh -c \"echo \\$\\$ > $GATE/left; cd /; exec sleep 1000\" & {}",
        gated("up", "go", "echo a > a.txt")
    );
    let f = Fixture::with_plan(&plan(&[("1", &format!("max_attempts: 1\nrun: '{run}'"))]));
    let orch = f.live(["run"]);
    f.await_gate("up");
    let left: i32 = await_that("a left-over", || {
        std::fs::read_to_string(f.gate().join("left"))
            .ok()?
            .trim()
            .parse()
            .ok()
    });
    orch.killed();
    let shim = of_attempts(&f, "shim.pid").pop().expect("a shim");
    let shim: Value = serde_json::from_slice(&std::fs::read(shim).expect("a file")).expect("JSON");
    let shim = shim["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let shim = shim.and_then(Pid::from_raw).expect("a pid");
    kill_process(shim, Signal::KILL).expect("a signal");
    assert!(
        lives(left),
        "what the agent started is not the shim's child"
    );
    f.open("go");
    f.orch(["run"]).exits(0);
    assert!(!lives(left), "nothing of the lost attempt lives");
    assert_eq!(f.count("attempt_started", "1"), 2);
    assert_landed_once(&f);
}

#[test]
fn a_set_up_that_outlived_orch_is_ended_and_run_again() {
    let f = Fixture::with_plan(&plan(&[("1", "max_attempts: 1\nrun: echo a > a.txt")]));
    let setup = format!(
        "echo $$ > \"$GATE/pid\"; {}",
        gated("setting-up", "set-up", "true")
    );
    f.write("orch.yaml", &format!("setup:\n  run:\n    - '{setup}'\n"));
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add the plan"]);
    let orch = f.live(["run"]);
    f.await_gate("setting-up");
    orch.killed();
    let first = agent(&f);
    let next = f.live(["run"]);
    await_that("another set-up", || {
        (agent_of(&f) != Some(first)).then_some(())
    });
    assert!(!lives(first), "the first one is ended");
    f.open("set-up");
    next.ended().exits(0);
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_landed_once(&f);
}

fn agent_of(f: &Fixture) -> Option<i32> {
    std::fs::read_to_string(f.gate().join("pid"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[test]
fn a_checkout_that_was_being_published_to_is_brought_to_its_end() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "max_attempts: 1\nrun: 'echo \"*.slow filter=slow\" > .gitattributes; for i in a b c d; do echo $i > $i.slow; done'",
    )]));
    let gate = f.gate();
    // Files come into the checkout one by one; from the second on each waits.
    let smudge = format!(
        "n=$(ls '{0}' | wc -l); touch '{0}'/$n; [ $n -lt 1 ] || while [ ! -e '{0}'/go ]; do [ -d '{0}' ] || exit 9; sleep 0.02; done; cat",
        gate.display()
    );
    f.git(["config", "filter.slow.smudge", &smudge]);
    f.git(["config", "filter.slow.clean", "cat"]);
    f.git(["config", "filter.slow.required", "true"]);
    let orch = f.live(["run"]);
    f.await_gate("1");
    orch.killed();
    f.open("go");
    f.orch(["run"]).exits(0);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(f.read(&format!("{name}.slow")), format!("{name}\n"));
    }
    assert_landed_once(&f);
}

/// A plan's shape: what is run, and with which arguments.
struct Shape {
    plan: String,
    args: &'static [&'static str],
}

impl Shape {
    fn sequence() -> Self {
        Self {
            plan: plan(&[
                ("1", "max_attempts: 1\nrun: echo a > a.txt"),
                ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
            ]),
            args: &["run"],
        }
    }

    fn live() -> Self {
        Self {
            args: &["run", "--live"],
            ..Self::sequence()
        }
    }

    /// Both start on the same tip and write the same file; the lines are sorted, so that their order does not tell.
    fn conflict() -> Self {
        let task = |mine: u32, other: u32| {
            let meet = gated(&mine.to_string(), &other.to_string(), "true");
            format!(
                "depends_on: []\nmax_attempts: 1\nrun: '{meet}; touch both; (cat both; echo {mine}) | sort > new; mv new both'"
            )
        };
        Self {
            plan: plan(&[("1", &task(1, 2)), ("2", &task(2, 1))]),
            args: &["run", "-j", "2"],
        }
    }

    fn extension() -> Self {
        let plan = "orch: 1
meta: {name: Scratch, runner: rehearsal}
sections:
  - id: s
    name: Work
    tasks:
      - id: '1'
        name: Task 1
        max_attempts: 1
        rehearse:
          write: {a.txt: 'a'}
          add_tasks:
            - id: '2'
              name: Task 2
              depends_on: ['1']
";
        Self {
            plan: plan.to_owned(),
            args: &["run"],
        }
    }

    /// A repository with the plan, a file that a person has changed and one that git does not know.
    fn fixture(&self) -> Fixture {
        let f = Fixture::with_plan(&self.plan);
        f.write("notes.txt", "committed\n");
        f.git(["add", "-A"]);
        f.git(["commit", "-qm", "Add notes"]);
        f.write("notes.txt", "changed, not committed\n");
        f.write("mine.txt", "unknown to git\n");
        f
    }

    fn run(&self, f: &Fixture, crash_at: Option<&str>) -> crate::fixture::Ran {
        let mut command = f.command([]);
        command.args(self.args);
        command.envs(crash_at.map(|at| ("ORCH_CRASH_AT", at)));
        Live::of(command, f.root()).ended()
    }

    /// The whole tree of the branch, and how often each kind of record was kept.
    fn undisturbed(&self) -> (String, BTreeMap<String, usize>) {
        let f = self.fixture();
        self.run(&f, None).exits(0);
        let mut kinds = BTreeMap::new();
        for record in f.records() {
            let kind = record["record"]["kind"]
                .as_str()
                .expect("a kind")
                .to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        (assert_whole(&f), kinds)
    }

    /// Kills orch before and after records, up to `occurrences` of each kind.
    fn survives(&self, occurrences: usize) {
        let (tree, kinds) = self.undisturbed();
        for (kind, count) in kinds {
            for n in 1..=count.min(occurrences) {
                for side in ["before", "after"] {
                    let at = format!("{kind}:{n}:{side}");
                    let f = self.fixture();
                    let crashed = self.run(&f, Some(&at));
                    assert_eq!(crashed.code, -1, "{at} is not reached: {crashed:?}");
                    let next = self.run(&f, None);
                    assert_eq!(next.code, 0, "after {at}: {next:?}");
                    assert_eq!(assert_whole(&f), tree, "after {at}");
                }
            }
        }
    }
}

/// Asserts that each task landed once and nothing is left over or touched; the branch's tree.
fn assert_whole(f: &Fixture) -> String {
    let trailers = f.git([
        "log",
        "--format=%(trailers:key=Orch-Task,valueonly,separator=)",
        "main",
    ]);
    let mut tasks: Vec<&str> = trailers.lines().filter(|l| !l.is_empty()).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, ["1", "2"], "each task landed once");
    for task in tasks {
        assert_eq!(f.count("landed", task), 1, "one receipt for task {task}");
    }
    assert_eq!(f.read("notes.txt"), "changed, not committed\n");
    assert_eq!(f.read("mine.txt"), "unknown to git\n");
    f.git(["fsck", "--no-dangling"]);
    f.assert_tidy_but(" M notes.txt\n?? mine.txt\n");
    f.git(["rev-parse", "main^{tree}"])
}

#[test]
fn a_sequence_survives_a_kill_beside_every_kind_of_record() {
    Shape::sequence().survives(1);
}

#[test]
fn a_conflict_survives_a_kill_beside_every_kind_of_record() {
    Shape::conflict().survives(1);
}

#[test]
fn an_extension_of_the_plan_survives_a_kill_beside_every_kind_of_record() {
    Shape::extension().survives(1);
}

#[test]
fn landings_into_the_checkout_survive_a_kill_beside_every_kind_of_record() {
    Shape::live().survives(1);
}

#[test]
#[ignore = "takes minutes; run by `cargo test --test e2e crashes -- --ignored`"]
fn every_shape_survives_a_kill_beside_every_single_record() {
    for shape in [
        Shape::sequence(),
        Shape::live(),
        Shape::conflict(),
        Shape::extension(),
    ] {
        shape.survives(usize::MAX);
    }
}

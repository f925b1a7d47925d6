//! Candidates that would be green if gates could be fooled: none of them lands, and each is refused for a reason that
//! names what it did. Ordinary work beside them lands.

mod list;

use std::collections::BTreeMap;

use crate::fixture::Fixture;
use list::{Candidate, HARMLESS, HOSTILE, LOOSENING};

/// A repository with tests whose output is known, and a gate that is easy to fool from a checkout.
fn guarded(tasks: &[(&str, &str, &str)], keys: &str) -> Fixture {
    let mut plan = format!(
        "orch: 1\nmeta:\n  name: Candidates\n  runner: command\n  schedule: explicit\n  max_attempts_default: 1\n  verify: [{{name: tests, run: sh ci/run.sh}}]\n{keys}sections:\n  - id: s\n    name: Work\n    tasks:\n"
    );
    for (id, run, more) in tasks {
        let own = format!("sed -i 's/name: Task {id}$/&\\n        KEY/' .orch/plan.yaml");
        let other = "sed -i 's/name: Task last$/&\\n        KEY/' .orch/plan.yaml";
        let run = match (run.strip_prefix("ADD "), run.strip_prefix("OTHER ")) {
            (Some(key), _) => own.replace("KEY", key),
            (_, Some(key)) => other.replace("KEY", key),
            _ => run.replace("WRONG", "echo wrong > value.txt"),
        };
        let run = serde_json::to_string(&run).expect("a text is JSON");
        plan.push_str(&format!(
            "      - id: {id}\n        name: Task {id}\n        run: {run}\n{more}"
        ));
    }
    let f = Fixture::with_plan(&plan);
    f.write(
        "ci/run.sh",
        "test -e skip.green && exit 0\ntest -e red.green && exit 4\ntest -e node_modules/check && exit 0\ntest -e ci/local.sh && . ./ci/local.sh\n. ./ci/lib.sh\n. ./tests/helper.sh\nsh probes/probe.sh || exit 3\n\
         n=0; red=0\nfor t in tests/*.t; do\n  n=$((n+1))\n  if sh \"$t\"; then echo \"ok $n - $t\"; else echo \"not ok $n - $t\"; red=1; fi\ndone\necho \"1..$n\"\nexit $red\n",
    );
    f.write("ci/lib.sh", ":\n");
    f.write("tools/real/probe.sh", "test -e value.txt\n");
    std::os::unix::fs::symlink("tools/real", f.repo().join("probes")).expect("a link");
    f.write("tests/helper.sh", ":\n");
    f.write(
        "tests/a.t",
        "grep -q right value.txt || { echo 'value.txt is not right' >&2; exit 1; }\n",
    );
    f.write("tests/b.t", "test -e value.txt\n");
    f.write("tests/c.t", "test -e README.md\n");
    f.write(
        "tests/test_value.py",
        "def test_value():\n    assert open(\"value.txt\").read()\n",
    );
    f.write("value.txt", "right\n");
    f.write(".gitignore", "*.green\nnode_modules/\n");
    f.write(
        "package.json",
        "{\"scripts\": {\"test\": \"jest\"}, \"dependencies\": {\"left\": \"1\"}}\n",
    );
    f.write(
        "Cargo.toml",
        "[package]\nname = \"a\"\nedition = \"2024\"\n",
    );
    f.write(
        "plans/next.yaml",
        "meta: {name: Next}\nsections: []\n# exit 1\n",
    );
    f.git(["add", "-A"]);
    f.git(["update-index", "--chmod=+x", "tests/c.t"]);
    f.git(["commit", "-qm", "Add tests"]);
    f.git(["reset", "-q", "--hard"]);
    f
}

/// What the records tell: why attempts at tasks ended badly, and which tasks landed, and as what.
struct Told {
    ends: BTreeMap<String, String>,
    landed: BTreeMap<String, bool>,
}

impl Told {
    fn of(f: &Fixture) -> Self {
        let mut told = Self {
            ends: BTreeMap::new(),
            landed: BTreeMap::new(),
        };
        for stamped in f.records() {
            let record = &stamped["record"];
            let task = record["ticket"]["task"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            match (record["kind"].as_str(), &record["end"]["detail"]) {
                (Some("landed"), _) => {
                    told.landed.insert(task, record["verified"] == true);
                }
                (_, serde_json::Value::String(detail)) => {
                    told.ends.insert(task, detail.clone());
                }
                _ => {}
            }
        }
        told
    }

    /// Why a task has not landed as verified, if it has not.
    fn not_verified(&self, task: &str) -> Option<String> {
        let verified = self.landed.get(task) == Some(&true);
        (!verified).then(|| format!("{task}: {:?}", self.ends.get(task)))
    }
}

/// Runs hostile candidates, each a task with one attempt, and gives what is wrong: those that landed, or were refused
/// for another reason than the one that is expected.
fn refused(candidates: &[Candidate], jobs: &str) -> Vec<String> {
    let mut tasks: Vec<Candidate> = candidates
        .iter()
        .map(|(id, run, _)| (*id, *run, ""))
        .collect();
    // Somebody else's task, which never starts.
    tasks.push(("last", "true", "        depends_on: [plain]\n"));
    tasks.push(("plain", "exit 1", "        priority: -10\n"));
    let f = guarded(&tasks, "");
    let before = f.git(["rev-parse", "main"]);
    f.orch(["run", "-j", jobs]).exits(1);
    let told = Told::of(&f);
    let mut wrong = Vec::new();
    for (id, _, reason) in candidates {
        match told.ends.get(*id) {
            _ if told.landed.contains_key(*id) => wrong.push(format!("{id} landed")),
            Some(why) if why.contains(reason) => {}
            why => wrong.push(format!("{id} is refused for another reason: {why:?}")),
        }
    }
    assert_eq!(f.git(["rev-parse", "main"]), before);
    assert_eq!(f.git(["rev-parse", "orch/plan"]), before);
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
    wrong
}

#[test]
fn no_hostile_candidate_lands_and_each_is_told_why() {
    assert_eq!(refused(&HOSTILE, "4"), Vec::<String>::new());
}

#[test]
fn no_edit_of_the_plan_loosens_what_judges_a_candidate() {
    assert_eq!(refused(&LOOSENING, "1"), Vec::<String>::new());
}

#[test]
fn ordinary_work_lands_beside_them() {
    let tasks: Vec<Candidate> = HARMLESS.iter().map(|(id, run)| (*id, *run, "")).collect();
    let f = guarded(&tasks, "");
    f.orch(["run"]);
    let told = Told::of(&f);
    let not_landed: Vec<String> = HARMLESS
        .iter()
        .filter_map(|(id, _)| told.not_verified(id))
        .collect();
    assert_eq!(not_landed, Vec::<String>::new());
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_person_allows_what_else_is_refused() {
    let f = guarded(
        &[
            ("a", "rm tests/b.t", "        allow_protected: [tests]\n"),
            ("b", "touch Makefile", "        allow_protected: true\n"),
            ("c", "touch docs/x", ""),
            (
                "d",
                "mkdir -p legacy; touch legacy/x; echo > GNUmakefile",
                "",
            ),
        ],
        "  protect: [docs]\n",
    );
    f.write("docs/y", "");
    f.write("orch.yaml", "protect: {remove: [GNUmakefile]}\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    for task in ["a", "b", "d"] {
        assert_eq!(told.not_verified(task), None);
    }
    assert!(
        told.ends["c"].contains("`docs/x` is protected by `protect`"),
        "{}",
        told.ends["c"]
    );
    f.orch(["audit"]).exits(0);
    f.assert_tidy();
}

#[test]
fn a_candidate_that_changes_too_much_is_refused() {
    let f = guarded(
        &[
            ("files", "touch x y z", "        limits: {files: 2}\n"),
            ("lines", "seq 30 > x", "        limits: {lines: 20}\n"),
            (
                "within",
                "seq 15 > x; touch y",
                "        limits: {lines: 20}\n",
            ),
        ],
        "  limits: {files: 5}\n",
    );
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    for (task, why) in [
        ("files", "3 files are changed, and 2 is the task's limit"),
        ("lines", "30 lines are changed, and 20 is the task's limit"),
    ] {
        assert!(told.ends[task].contains(why), "{}", told.ends[task]);
    }
    assert_eq!(told.not_verified("within"), None);
    f.assert_tidy();
}

#[test]
fn red_green_wants_a_test_that_fails_without_the_change() {
    let key = "        red_green: true\n";
    let f = guarded(
        &[
            (
                "good",
                "echo right two > value.txt; echo 'grep -q two value.txt' > tests/n.t",
                key,
            ),
            ("idle", "echo x > x; echo true > tests/o.t", key),
            ("none", "echo y > y", key),
            ("unasked", "echo z > z", ""),
        ],
        "",
    );
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    for (task, why) in [
        (
            "idle",
            "no required gate fails on the base with the candidate's tests",
        ),
        ("none", "no file of tests was added or changed"),
    ] {
        assert!(told.ends[task].contains(why), "{}", told.ends[task]);
    }
    for task in ["good", "unasked"] {
        assert_eq!(told.not_verified(task), None);
    }
    let on = |on: &str| {
        f.records_so_far()
            .matches(&format!("\"on\":\"{on}\""))
            .count()
    };
    assert_eq!(on("new_tests"), 2);
    f.assert_tidy();
}

#[test]
fn where_protected_paths_may_change_the_gates_run_with_those_of_the_base_as_well() {
    let hollow = "echo 'echo ok 1; echo ok 2; echo ok 3; echo 1..3' > ci/run.sh; WRONG";
    let honest = "echo '# a word' >> ci/run.sh";
    let tasks: [Candidate; 2] = [
        ("hollow", hollow, "        allow_protected: [ci]\n"),
        ("honest", honest, "        allow_protected: [ci]\n"),
    ];
    // Shown, it decides nothing; required, it does.
    let f = guarded(&tasks[..1], "");
    f.orch(["run"])
        .exits(0)
        .says("tests (with the base's gate files) failed");
    assert_eq!(Told::of(&f).not_verified("hollow"), None);
    f.assert_tidy();
    let f = guarded(&tasks, "");
    f.write("orch.yaml", "verify: {require_base_files: true}\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    let why = "with the base's own gate files `tests` failed";
    assert!(told.ends["hollow"].contains(why), "{}", told.ends["hollow"]);
    assert_eq!(told.not_verified("honest"), None);
    f.assert_tidy();
}

#[test]
fn a_person_who_is_asked_is_shown_what_is_protected_and_decides() {
    let gate = "        gate: approval\n";
    let f = guarded(
        &[(
            "a",
            "echo ': more' >> ci/lib.sh; sed -i '1i : more' ci/run.sh",
            gate,
        )],
        "",
    );
    f.orch(["run"]).exits(4);
    f.orch(["gates", "a"])
        .exits(0)
        .says("protected")
        .says("`ci/run.sh` is run by the gate `tests`");
    f.orch(["approve", "a", "--note", "as agreed"]).exits(0);
    f.orch(["run"]).exits(0);
    assert!(Told::of(&f).landed.contains_key("a"));
    f.assert_tidy();
}

#[test]
fn what_will_be_refused_is_told_before_a_night_is_spent_on_it() {
    let f = guarded(
        &[
            ("a", "touch Makefile", "        files: [Makefile, src]\n"),
            (
                "b",
                "touch Makefile",
                "        files: [Makefile]\n        allow_protected: [Makefile]\n",
            ),
        ],
        "",
    );
    f.orch(["check", ".claude/plans/plan.yaml"])
        .exits(0)
        .says("`files` of task `a` names `Makefile`, which decides which checks run and how");
    f.orch(["run", "--dry-run"])
        .exits(0)
        .says("task b may change protected paths: Makefile")
        .says("warning: task a may write `Makefile`");
    f.write("bad.yaml", "sections:\n  - {id: s, name: S, tasks: [{id: '1', name: A, protect: ['src/[a'], limits: {files: x}}]}\n");
    f.orch(["check", "bad.yaml"]).exits(2).says("unusable-glob");
}

#[test]
fn what_a_candidate_does_to_its_gate_counts_against_it_and_stops_no_run() {
    // Up from the test to what supervises the gate; `last` is the shell that the gate is.
    let above = "p=$PPID; last=$p; until grep -q __shim /proc/$p/cmdline; do [ \"$p\" -gt 1 ] || exit 1; last=$p; \
         read -r a b c p rest < /proc/$p/stat; done";
    let on = "; on the base it comes to its end";
    let deeds = [
        (
            "shell-killed",
            format!("{above}; kill -9 $last"),
            "signal 9 ended it",
        ),
        (
            "shim-killed",
            format!("{above}; kill -9 $p; sleep 60"),
            "what supervises it was ended from outside 3 times in a row",
        ),
        (
            "shim-told-to-end",
            format!("{above}; kill $p; sleep 60"),
            "what supervises it was ended from outside 3 times in a row",
        ),
        ("place-gone", "rm -rf \"$PWD\"".to_owned(), ""),
    ];
    let runs: Vec<String> = deeds
        .iter()
        .map(|(_, deed, _)| format!("cat > tests/0.t <<'END'\n{deed}\nEND\n"))
        .collect();
    let mut tasks: Vec<(&str, &str, &str)> = deeds
        .iter()
        .zip(&runs)
        .map(|((id, _, _), run)| (*id, run.as_str(), ""))
        .collect();
    tasks.push(("plain", "echo right and more > value.txt", ""));
    let f = guarded(&tasks, "");
    f.write("orch.yaml", "kill_grace: 100ms\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    for (id, _, why) in &deeds {
        assert!(!told.landed.contains_key(*id), "{id} landed");
        let end = &told.ends[*id];
        assert!(end.contains(why), "{id}: {end}");
        assert!(*id == "place-gone" || end.contains(on), "{id}: {end}");
    }
    assert_eq!(told.not_verified("plain"), None);
    f.assert_tidy();
}

#[test]
fn a_signal_that_ends_a_gate_once_is_chance_and_costs_nothing() {
    let f = guarded(&[("a", "touch new.txt", "")], "");
    f.write(
        "orch.yaml",
        "verify:\n  - name: other\n    run: 'if [ -e new.txt ] && [ ! -e \"$GATE/once\" ]; then touch \"$GATE/once\"; kill -9 $$; fi'\n",
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(0);
    assert!(f.gate().join("once").exists());
    assert_eq!(f.count("attempt_started", "a"), 1);
    assert_eq!(Told::of(&f).not_verified("a"), None);
    f.assert_tidy();
}

#[test]
fn a_set_up_that_a_candidate_breaks_counts_against_it_and_stops_no_run() {
    let f = guarded(&[("a", "touch broken", ""), ("b", "touch fine", "")], "");
    f.write(
        "orch.yaml",
        "setup: {run: [test ! -e broken], when_changed: [broken, fine]}\nverify: {env_probe: [echo one]}\n",
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    let why = "on the tip it was built on the set-up succeeds, here not";
    assert!(told.ends["a"].contains(why), "{}", told.ends["a"]);
    assert_eq!(told.not_verified("b"), None);
    f.assert_tidy();
}

#[test]
fn a_set_up_that_fails_on_files_of_two_commits_stops_no_run() {
    let change = "echo 2 > version.txt; echo '# 2' > ci/lib.sh";
    let f = guarded(
        &[("a", change, "        allow_protected: [ci/lib.sh]\n")],
        "",
    );
    f.write("version.txt", "1\n");
    f.write("ci/lib.sh", "# 1\n");
    f.write(
        "orch.yaml",
        "setup: {run: ['test \"$(cat ci/lib.sh)\" = \"# $(cat version.txt)\"'], when_changed: [version.txt, ci/lib.sh]}\n",
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"])
        .exits(0)
        .says("tests (with the base's gate files) could not be run");
    assert_eq!(Told::of(&f).not_verified("a"), None);
    f.assert_tidy();
}

#[test]
fn what_tests_of_one_candidate_leave_is_not_blamed_on_another() {
    let f = guarded(
        &[
            (
                "a",
                "echo wrong > value.txt; echo 'touch red.green' > tests/0.t",
                "        priority: 10\n",
            ),
            ("b", "touch fine", ""),
            ("c", "echo wrong > value.txt", "        depends_on: [b]\n"),
        ],
        "",
    );
    f.orch(["run"]).exits(1);
    let told = Told::of(&f);
    assert!(
        told.ends["a"].contains("value.txt is not right"),
        "{}",
        told.ends["a"]
    );
    assert_eq!(told.not_verified("b"), None);
    assert_eq!(f.count("attempt_started", "b"), 1);
    assert!(
        told.ends["c"].contains("value.txt is not right"),
        "{}",
        told.ends["c"]
    );
    f.assert_tidy();
}

//! What waits for a person's yes or for evidence from outside, and what becomes of it.

use std::process::Stdio;

use crate::fixture::{Fixture, Ran};
use crate::runs::plan;

/// Task `1` needs approval of what it makes; `2` needs `1`, `3` needs nothing.
fn gated() -> Fixture {
    Fixture::with_plan(&plan(&[
        (
            "1",
            "gate: {reason: it moves money, evidence: the diff}\nrun: echo a > a.txt",
        ),
        ("2", "run: cat a.txt > b.txt"),
        ("3", "depends_on: []\nrun: echo c > c.txt"),
    ]))
}

#[test]
fn what_needs_approval_waits_with_its_difference_while_the_rest_goes_on() {
    let f = gated();
    f.orch(["run"]).exits(4).says("1  waits for approval");
    assert_eq!(f.subjects("orch/plan")[0], "3: Task 3");
    f.orch(["gates"]).exits(0).says("it moves money");
    f.orch(["gates", "1"])
        .exits(0)
        .says("+a")
        .says("look at    the diff");
    f.orch(["why", "1"]).exits(0).says("orch approve 1");
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1", "--note", "fine", "--by", "Grace"])
        .exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("b.txt"), "a\n");
    f.orch(["report"]).exits(0).says("Grace").says("approve 1");
    f.orch(["gates"]).exits(0).says("nothing waits");
    f.assert_tidy();
}

#[test]
fn an_approval_is_bound_to_what_was_shown() {
    let f = gated();
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1", "--commit", "main"])
        .exits(1)
        .says("what is to be approved now is");
    f.orch(["approve", "3"])
        .exits(1)
        .says("it needs no approval");
    let shown = f.orch(["gates", "--format", "json"]).exits(0).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let commit = shown[0]["commit"].as_str().expect("a commit").to_owned();
    let approve = f
        .command([])
        .args(["approve", "1", "--commit", &commit])
        .output();
    Ran::of(approve.expect("orch")).exits(0);
    f.orch(["approve", "1"])
        .exits(1)
        .says("it is approved already");
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

/// Somebody commits to the target.
fn commit_meanwhile(f: &Fixture, path: &str, text: &str) {
    f.git(["checkout", "-q", "orch/plan"]);
    f.write(path, text);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Meanwhile"]);
    f.git(["checkout", "-q", "main"]);
}

#[test]
fn an_approval_is_asked_again_when_a_file_of_the_change_changed_on_the_target() {
    let long = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    let f = Fixture::with_plan(&plan(&[("1", "gate: approval\nrun: echo end >> long.txt")]));
    f.write("long.txt", long);
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "A long file"]);
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"]).exits(0);
    commit_meanwhile(&f, "long.txt", &long.replace('1', "one"));
    f.orch(["run"])
        .exits(4)
        .says("what was approved is not what it would be now");
    f.orch(["gates", "1"]).exits(0).says("+end");
    f.orch(["approve", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    let landed = f.git(["show", "orch/plan:long.txt"]);
    assert!(landed.starts_with("one\n") && landed.trim_end().ends_with("end"));
    f.assert_tidy();
}

#[test]
fn what_is_made_anew_after_a_conflict_is_asked_again() {
    let f = gated();
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"]).exits(0);
    commit_meanwhile(&f, "a.txt", "b\n");
    f.orch(["run"]).exits(4).says("conflicts");
    f.orch(["gates", "1"]).exits(0).says("-b");
}

#[test]
fn an_approval_carries_over_when_only_other_files_changed_on_the_target() {
    let f = gated();
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"]).exits(0);
    commit_meanwhile(&f, "other.txt", "x\n");
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\n");
}

#[test]
fn what_is_rejected_does_not_land_and_the_next_attempt_is_told_why() {
    let run = "run: if [ \"$ORCH_ATTEMPT\" = 1 ]; then echo a > a.txt; else echo b > a.txt; fi";
    let f = Fixture::with_plan(&plan(&[("1", &format!("gate: approval\n{run}"))]));
    f.orch(["run"]).exits(4);
    f.orch(["reject", "1", "--note", "a is the wrong letter"])
        .exits(0);
    f.orch(["run"]).exits(4);
    f.orch(["gates", "1"]).exits(0).says("+b");
    f.orch(["show", "1"]).exits(0).says("a is the wrong letter");
    f.orch(["approve", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "b\n");
    f.assert_tidy();
}

#[test]
fn whoever_waits_is_told_of_a_start_to_approve_as_soon_as_its_turn_has_come() {
    let f = Fixture::with_plan(&plan(&[
        ("1", "run: echo a > a.txt"),
        ("2", "gate: {when: before}\nrun: echo b > b.txt"),
    ]));
    let run = f.live(["run", "--wait"]);
    run.await_says("2  waits for your approval of its start");
    assert!(matches!(f.status("1")["state"].as_str(), Some("completed")));
    f.orch(["approve", "2"]).exits(0);
    run.ended().exits(0);
    assert_eq!(f.read("b.txt"), "b\n");
    f.assert_tidy();
}

#[test]
fn a_task_whose_start_is_to_be_approved_pays_no_agent_before() {
    let f = Fixture::with_plan(&plan(&[("1", "gate: {when: before}\nrun: echo a > a.txt")]));
    f.orch(["run"]).exits(4);
    assert_eq!(f.count("attempt_started", "1"), 0);
    f.orch(["approve", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

#[test]
fn a_run_that_stays_goes_on_with_the_approval_from_another_terminal() {
    let f = gated();
    let run = f.live(["run", "--wait"]);
    run.await_says("1  waits for approval");
    f.orch(["gates"]).exits(0).says("it moves money");
    f.orch(["approve", "1"])
        .exits(0)
        .says("the live run follows");
    run.ended().exits(0);
    assert_eq!(f.read("b.txt"), "a\n");
    f.assert_tidy();
}

#[test]
fn evidence_is_looked_for_before_an_agent_is_paid_and_shown_to_it_read_only() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "external: {files: ['signed/*.txt']}\nrun: cat .orch/evidence/signed/ok.txt > a.txt; echo x >> .orch/evidence/signed/ok.txt || true",
    )]));
    f.orch(["run"])
        .exits(4)
        .says("nothing matches `signed/*.txt`");
    assert_eq!(f.count("attempt_started", "1"), 0);
    f.orch(["gates"]).exits(0).says("evidence");
    f.write(".git/info/exclude", "signed/\n");
    f.write("signed/ok.txt", "yes\n");
    f.orch(["run"]).exits(0);
    assert_eq!(f.read("a.txt"), "yes\n");
    let prompt = crate::gates::glob(&f, "1/1/prompt.md");
    assert!(
        prompt.contains("below `.orch/evidence/`: `signed/*.txt`"),
        "{prompt}"
    );
    f.assert_tidy();
}

#[test]
fn a_command_that_looks_for_evidence_is_asked_again_until_it_succeeds() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "external: {run: 'test -e \"$GATE/there\" || { echo not yet; touch \"$GATE/looked\"; exit 1; }', every: 1s}\nrun: echo a > a.txt",
    )]));
    let mut run = f
        .command(["run", "--wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("orch");
    f.await_that("it looks", || {
        f.gate().join("looked").exists().then_some(())
    });
    f.open("there");
    assert!(run.wait().expect("its end").success());
    assert_eq!(f.read("a.txt"), "a\n");
    f.assert_tidy();
}

#[test]
fn a_command_that_finds_no_evidence_and_says_nothing_is_named_with_its_exit_code() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "external: {run: 'test -e there'}\nrun: echo a > a.txt",
    )]));
    f.orch(["run"])
        .exits(4)
        .says("`test -e there` ended with exit status: 1");
    assert_eq!(f.attempts(), 0);
}

#[test]
fn a_run_that_is_killed_while_it_waits_for_a_person_still_waits_and_takes_the_answer() {
    let f = gated();
    let orch = f.live(["run", "--wait"]);
    orch.await_says("1  waits for approval");
    orch.killed();
    f.orch(["gates", "1"]).exits(0).says("+a");
    f.orch(["run"]).exits(4).says("1  still waits for approval");
    f.orch(["approve", "1"])
        .exits(0)
        .says("the next `orch run` goes on from there");
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("attempt_started", "1"), 1);
    assert_eq!(f.count("landed", "1"), 1);
    f.assert_tidy();
}

#[test]
fn an_agent_approves_nothing_however_it_detaches() {
    let ask = "env -i setsid \"$ORCH\" -C \"$REPO\" approve 1 --by Grace > \"$GATE/said\" 2>&1";
    let f = Fixture::with_plan(&plan(&[
        ("1", "gate: approval\nrun: echo a > a.txt"),
        (
            "2",
            &format!(
                "depends_on: []\nrun: ({ask}; touch \"$GATE/asked\") & {}; echo b > b.txt",
                crate::fixture::waits("asked")
            ),
        ),
    ]));
    let mut command = f.command(["run"]);
    command
        .env("ORCH", env!("CARGO_BIN_EXE_orch"))
        .env("REPO", f.repo());
    Ran::of(command.output().expect("orch")).exits(4);
    let said = std::fs::read_to_string(f.gate().join("said")).expect("an answer");
    assert!(said.contains("such decisions come from people"), "{said}");
    f.orch(["report"]).exits(0).says("the agent of 2");
    assert_eq!(f.subjects("orch/plan")[0], "2: Task 2");
    f.assert_tidy();
}

#[test]
fn an_agent_that_gives_itself_a_gate_or_takes_one_away_has_its_edit_refused() {
    for edit in [
        "s/gat[e]: approval/max_attempts: 3/",
        "s/name: Task [3]/&\\n        gate: approval/",
    ] {
        let run = format!("run: |\n  sed -i '{edit}' .orch/plan.yaml\n  echo x > x.txt");
        let f = Fixture::with_plan(&plan(&[
            ("1", &format!("max_attempts: 1\n{run}")),
            ("2", "gate: approval\nrun: echo b > b.txt"),
            ("3", "run: echo c > c.txt"),
        ]));
        f.orch(["run"]).exits(1).says("plan edit invalid");
        assert!(!f.repo().join("x.txt").exists());
    }
}

#[test]
fn the_audit_says_where_an_approval_is_missing() {
    let f = gated();
    f.orch(["run"]).exits(4);
    f.orch(["approve", "1"]).exits(0);
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    let ledger =
        rusqlite::Connection::open(f.repo().join(".git/orch/ledger.db")).expect("a ledger");
    let trigger = "DROP TRIGGER records_never_change";
    ledger.execute_batch(trigger).expect("no trigger");
    // The decision is made a refused one, as if nobody had said yes.
    let changed = ledger
        .execute(
            "UPDATE records SET body = json_set(body, '$.refused', 'no') WHERE body LIKE '%\"approve\"%'",
            [],
        )
        .expect("a record");
    assert_eq!(changed, 1);
    f.orch(["audit"])
        .exits(1)
        .says("its landing needs approval, and no record of one precedes it");
}

#[test]
fn what_an_agent_adds_whose_work_needs_approval_needs_it_too() {
    let f = Fixture::with_plan(
        "orch: 1
meta: {name: Scratch, runner: rehearsal}
sections:
  - id: s
    name: Work
    tasks:
      - id: '1'
        name: Task 1
        gate: {reason: it moves money}
        rehearse:
          write: {a.txt: 'a'}
          add_tasks:
            - id: '2'
              name: Task 2
",
    );
    f.orch(["run"]).exits(4);
    f.orch(["gates", "1"]).exits(0).says("+          reason: ");
    f.orch(["approve", "1"]).exits(0);
    f.orch(["run"]).exits(4).says("2  waits for approval");
    f.orch(["gates"]).exits(0).says("it moves money");
    assert_eq!(f.count("landed", "2"), 0);
    f.orch(["approve", "2"]).exits(0);
    f.orch(["run"]).exits(0);
    assert_eq!(f.count("landed", "2"), 1);
    f.assert_tidy();
}

#[test]
fn the_gate_of_a_section_holds_for_its_tasks_but_those_that_say_otherwise() {
    let f = Fixture::with_plan(
        "orch: 1
meta: {name: Scratch, runner: command}
sections:
  - id: s
    name: Work
    gate: {when: before}
    tasks:
      - {id: '1', name: One, gate: none, run: echo a > a.txt}
      - {id: '2', name: Two, run: echo b > b.txt}
",
    );
    f.orch(["run"])
        .exits(4)
        .says("2: its start is to be approved");
    assert_eq!(f.count("landed", "1"), 1);
    assert_eq!(f.count("attempt_started", "2"), 0);
    f.orch(["approve", "2"]).exits(0);
    f.orch(["run"]).exits(0);
    f.assert_tidy();
}

//! Each finding, from the facts that mean it and from no others.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use super::*;
use crate::doctor::facts::{Disk, LockFacts, PlanFacts, ProcessFacts, RefFacts};
use crate::doctor::finding::Severity;
use crate::ids::{PlanId, TaskId};
use crate::store::{HeldBy, Holder};
use crate::time::Wall;

const NOW: Wall = Wall(1_790_000_000_000);

fn run_id() -> RunId {
    RunId::parse("20261121-063312-k3f9").unwrap()
}

fn task(id: &str) -> TaskId {
    TaskId::parse(id).unwrap()
}

fn trouble(what: &str, hint: &str) -> Trouble {
    Trouble {
        what: what.to_owned(),
        hints: vec![hint.to_owned()],
    }
}

fn run() -> RunFacts {
    RunFacts {
        run: run_id(),
        plan: PlanId::from_path(std::path::Path::new("plan.yaml")),
        plan_path: "/src/shop/plan.yaml".to_owned(),
        ended: Some(Outcome::Completed),
        lost_records: false,
        under_way: Ok(Vec::new()),
        landed: BTreeSet::from([task("1")]),
        contradictions: Vec::new(),
    }
}

fn process() -> ProcessFacts {
    ProcessFacts {
        pid: 41,
        comm: "make".to_owned(),
        run: run_id(),
        task: task("1"),
        attempt: 2,
    }
}

fn plan() -> PlanFacts {
    PlanFacts {
        path: PathBuf::from("plan.yaml"),
        id: Some(PlanId::from_path(std::path::Path::new("plan.yaml"))),
        errors: 0,
        tasks: BTreeSet::from([task("1"), task("2")]),
        needs_claude: true,
    }
}

fn lock(owners: &[(i32, &str)]) -> LockFacts {
    LockFacts {
        path: PathBuf::from("/src/shop/.git/index.lock"),
        is_orchs: false,
        owners: owners
            .iter()
            .map(|(pid, name)| (*pid, (*name).to_owned()))
            .collect(),
    }
}

fn disk(free_bytes: u64, free_files: Option<u64>) -> Disk {
    Disk {
        of: "slots",
        path: PathBuf::from("/slots"),
        free_bytes,
        free_files,
    }
}

fn sound(newest: i64) -> LedgerFacts {
    LedgerFacts::Sound {
        newer: None,
        is_original: true,
        newest: Some(Wall(NOW.0 + newest)),
    }
}

fn healthy() -> Facts {
    Facts {
        now: NOW,
        ledger: sound(CLOCK_TOLERANCE_MS),
        runs: vec![run()],
        disks: vec![
            disk(DISK_FREE_MIN, Some(FILES_FREE_MIN)),
            disk(u64::MAX, None),
        ],
        plans: vec![plan()],
        claude: ClaudeFacts::Found {
            version: "2.1.329 (Claude Code)".to_owned(),
        },
        lock_files: vec!["package-lock.json".to_owned()],
        has_setup: true,
        refs: vec![RefFacts {
            run: run_id(),
            pins: 0,
            all: 3,
        }],
        ..Facts::default()
    }
}

/// Healthy facts with one change, and what that means.
fn with(change: impl FnOnce(&mut Facts)) -> Vec<Check> {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts).into_iter().map(|f| f.id).collect()
}

fn live() -> Option<HeldBy> {
    Some(HeldBy::Known(Holder {
        pid: 1,
        plan: "plan.yaml".to_owned(),
        started: NOW,
        run: Some(run_id()),
        start_time: None,
    }))
}

#[test]
fn healthy_facts_have_no_findings() {
    assert_eq!(judge(&healthy()), []);
}

#[test]
fn every_fact_about_the_surroundings_is_one_finding() {
    assert_eq!(
        with(|f| f.unusable = Some(trouble("bare", "git worktree add ../work"))),
        [Check::RepositoryUnusable]
    );
    assert_eq!(
        with(|f| f.not_examined.push(trouble("refs", ""))),
        [Check::NotExamined]
    );
    assert_eq!(
        with(|f| f.state_not_writable = Some("read-only".to_owned())),
        [Check::StateNotWritable]
    );
    assert_eq!(
        with(|f| f.disks.push(disk(DISK_FREE_MIN - 1, None))),
        [Check::DiskLow]
    );
    assert_eq!(
        with(|f| f.disks.push(disk(u64::MAX, Some(FILES_FREE_MIN - 1)))),
        [Check::DiskLow]
    );
    assert_eq!(
        with(|f| f.identity = Some(trouble("no name", "git config"))),
        [Check::IdentityMissing]
    );
    assert_eq!(
        with(|f| f.settings = Some(trouble("bad", ""))),
        [Check::SettingsInvalid]
    );
    assert_eq!(
        with(|f| f.hooks.push("pre-commit".to_owned())),
        [Check::HooksNotRun]
    );
    assert_eq!(with(|f| f.has_setup = false), [Check::SetupMissing]);
}

#[test]
fn every_state_of_a_ledger_is_one_finding() {
    let of = |ledger| with(|f| f.ledger = ledger);
    let evidence = "refs/orch/candidate/r/1/1".to_owned();
    assert_eq!(of(LedgerFacts::Lost { evidence }), [Check::LedgerLost]);
    let detail = "page 3".to_owned();
    assert_eq!(of(LedgerFacts::Damaged { detail }), [Check::LedgerDamaged]);
    assert_eq!(
        of(LedgerFacts::Unreadable(trouble("locked", ""))),
        [Check::LedgerUnreadable]
    );
    assert_eq!(of(LedgerFacts::None), []);
    assert_eq!(of(sound(CLOCK_TOLERANCE_MS + 1)), [Check::ClockSetBack]);
    assert_eq!(of(sound(-1_000_000)), []);
    let all_at_once = LedgerFacts::Sound {
        newer: Some(9),
        is_original: false,
        newest: None,
    };
    assert_eq!(of(all_at_once), [Check::LedgerNewer, Check::LedgerCopied]);
}

#[test]
fn a_run_that_has_not_ended_is_interrupted_unless_an_orch_works_on_it() {
    let open = |f: &mut Facts| f.runs[0].ended = None;
    assert_eq!(with(open), [Check::RunInterrupted]);
    assert_eq!(
        with(|f| {
            open(f);
            f.live = live();
        }),
        []
    );
    assert_eq!(
        with(|f| {
            open(f);
            f.live = Some(HeldBy::Unreadable);
        }),
        []
    );
    // A later run of the plan has taken its place.
    assert_eq!(
        with(|f| {
            let older = RunFacts {
                run: RunId::parse("20251121-063312-aaaa").unwrap(),
                ended: None,
                ..run()
            };
            f.runs.push(older);
        }),
        []
    );
}

#[test]
fn records_that_contradict_each_other_or_the_history_are_found() {
    assert_eq!(
        with(|f| f.runs[0].under_way = Err("not possible".to_owned())),
        [Check::RecordsContradict]
    );
    assert_eq!(
        with(|f| f.runs[0].contradictions.push("no receipt".to_owned())),
        [Check::AuditContradicts]
    );
    assert_eq!(
        with(|f| f.runs[0].lost_records = true),
        [Check::RecordsLost]
    );
}

#[test]
fn a_process_is_an_orphan_only_if_its_attempt_is_known_to_be_over() {
    let orphan = |f: &mut Facts| f.processes.push(process());
    assert_eq!(with(orphan), [Check::ProcessOrphan]);
    assert_eq!(
        with(|f| {
            orphan(f);
            f.runs[0].ended = None;
            f.runs[0].under_way = Ok(vec![(task("1"), 2)]);
        }),
        [Check::RunInterrupted, Check::AgentUnattended]
    );
    // An earlier attempt of the same task is over.
    assert_eq!(
        with(|f| {
            orphan(f);
            f.runs[0].ended = None;
            f.runs[0].under_way = Ok(vec![(task("1"), 3)]);
        }),
        [Check::RunInterrupted, Check::ProcessOrphan]
    );
    assert_eq!(
        with(|f| {
            orphan(f);
            f.live = live();
        }),
        []
    );
    assert_eq!(
        with(|f| {
            orphan(f);
            f.runs[0].under_way = Err("not possible".to_owned());
        }),
        [Check::RecordsContradict],
        "what cannot be told is left alone"
    );
}

#[test]
fn a_lock_of_git_is_stale_only_if_nobody_can_own_it() {
    assert_eq!(with(|f| f.locks.push(lock(&[]))), [Check::GitLockStale]);
    assert_eq!(
        with(|f| f.locks.push(lock(&[(7, "git")]))),
        [Check::GitLockHeld]
    );
    let ours = LockFacts {
        is_orchs: true,
        ..lock(&[])
    };
    let unfinished = |f: &mut Facts| {
        f.locks.push(ours);
        f.unfinished_checkouts.push(PathBuf::from("/src/shop"));
    };
    assert_eq!(with(unfinished), [Check::CheckoutUnfinished]);
    assert_eq!(
        with(|f| {
            f.unfinished_checkouts.push(PathBuf::from("/src/shop"));
            f.live = live();
        }),
        []
    );
}

#[test]
fn what_runs_left_behind_is_found() {
    assert_eq!(
        with(|f| f.orphan_slots.push(PathBuf::from("/slots/gone/agent-1"))),
        [Check::SlotOrphan]
    );
    assert_eq!(
        with(|f| f.damaged_objects.push(PathBuf::from("objects/aa/bb"))),
        [Check::ObjectDamaged]
    );
    assert_eq!(with(|f| f.refs[0].pins = 1), [Check::PinsLeft]);
    assert_eq!(
        with(|f| {
            f.refs[0].pins = 1;
            f.runs[0].ended = Some(Outcome::Failed);
        }),
        [],
        "a run that goes on needs its pins"
    );
    assert_eq!(with(|f| f.runs.clear()), [Check::RefOrphan]);
    assert_eq!(
        with(|f| {
            f.runs.clear();
            f.ledger = LedgerFacts::None;
        }),
        [],
        "without a ledger nothing is known about refs"
    );
}

#[test]
fn plans_that_do_not_check_or_lost_a_task_are_found() {
    assert_eq!(with(|f| f.plans[0].errors = 2), [Check::PlanInvalid]);
    assert_eq!(
        with(|f| {
            f.plans[0].tasks.remove(&task("1"));
        }),
        [Check::TaskVanished]
    );
}

#[test]
fn a_missing_or_untried_claude_is_as_bad_as_the_plans_make_it() {
    let missing = |f: &mut Facts| f.claude = ClaudeFacts::Missing(trouble("none", "npm install"));
    assert_eq!(with(missing), [Check::ClaudeMissing]);
    assert_eq!(
        with(|f| {
            missing(f);
            f.plans[0].needs_claude = false;
        }),
        [Check::ClaudeNotNeeded]
    );
    for (version, tested) in [
        ("2.1.197 (Claude Code)", true),
        ("2.1.250", true),
        ("2.1.330 (Claude Code)", false),
        ("2.2.200", false),
        ("1.0.60", false),
        ("something", false),
    ] {
        let version = version.to_owned();
        let found = with(|f| f.claude = ClaudeFacts::Found { version });
        assert_eq!(found.is_empty(), tested, "{found:?}");
    }
}

#[test]
fn the_worst_comes_first_and_words_are_used_once() {
    let mut facts = healthy();
    facts.has_setup = false;
    facts.runs[0].ended = None;
    facts.ledger = sound(CLOCK_TOLERANCE_MS + 1);
    let severities: Vec<Severity> = judge(&facts).iter().map(|f| f.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b));
    let words: BTreeSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(words.len(), Check::ALL.len());
}

//! The promises of the ledger, against real files: here the runs that the tests live through.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;

use super::*;
use crate::engine::budget::{Amount, Grant};
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::event::{Author, Collected, Control, PlanRevision, Verb};
use crate::engine::next::{Charge, Continuation, Next};
use crate::engine::outcome::Outcome;
use crate::engine::policy::Policy;
use crate::engine::record::{FORMAT, Record, Settlement, Stamped};
use crate::engine::start::{RunStart, Selection};
use crate::engine::usage::{MicroUsd, Usage};
use crate::ids::{ObjectId, PlanId, RefName, RunId, SlotId, TaskId, Ticket};
use crate::plan::graph::{Declared, Node, TaskKind};
use crate::store::{RunEnd, SessionPart};
use crate::time::Wall;

mod appending;
mod damaged;
mod opening;
mod reading;

const AT: Wall = Wall(1_790_000_000_000);

fn lock(dir: &Path) -> OrchLock {
    let holder = Holder::of_this_process("plan.yaml".to_owned(), AT, None);
    StateDir::of_repository(dir).lock(&holder).unwrap()
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(lock(dir)).unwrap()
}

fn reader(dir: &Path) -> Reader {
    Reader::open(&StateDir::of_repository(dir))
        .unwrap()
        .unwrap()
}

fn run(name: &str) -> RunId {
    RunId::parse(name).unwrap()
}

fn task(name: &str) -> TaskId {
    TaskId::parse(name).unwrap()
}

fn new_run(name: &str) -> NewRun {
    NewRun {
        run: run(name),
        plan_id: PlanId::parse("shop").unwrap(),
        plan_path: "plans/shop.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/shop"),
        repository: "/src/shop/.git".to_owned(),
    }
}

fn ticket(name: &str, attempt: u32) -> Ticket {
    Ticket {
        task: task(name),
        attempt,
        epoch: 1,
    }
}

fn revision(tasks: &[(&str, &str)]) -> PlanRevision {
    let node = |&(id, spec_hash): &(&str, &str)| Node {
        id: task(id),
        name: format!("Task {id}").into(),
        needs: Vec::new(),
        priority: 0,
        resources: Vec::new(),
        files: Vec::new(),
        max_attempts: 3,
        retry_from: None,
        kind: TaskKind::Change,
        declared: Declared::Pending,
        spec_hash: spec_hash.to_owned(),
        gates: crate::plan::graph::Gates::None,
        approval: None,
        evidence: None,
    };
    PlanRevision {
        text_sha256: "00".repeat(32),
        by: Author::Orch,
        graph: tasks.iter().map(node).collect(),
        profiles: std::sync::Arc::default(),
        checked: std::sync::Arc::default(),
    }
}

fn run_start(tasks: &[(&str, &str)]) -> RunStart {
    RunStart {
        format: FORMAT,
        orch: "0.1.0".to_owned(),
        plan: "plans/shop.yaml".to_owned(),
        target: RefName::new("refs/heads/orch/shop"),
        jobs: 2,
        selection: Selection::All,
        settings: BTreeMap::new(),
        revision: revision(tasks),
        landed_before: Vec::new(),
        policy: Policy::default(),
        waits: false,
        baseline: false,
        smoke: false,
        learned: Vec::new(),
        signers: None,
        spent_today: Amount::default(),
    }
}

fn started(name: &str, attempt: u32) -> Record {
    Record::AttemptStarted {
        ticket: ticket(name, attempt),
        slot: SlotId(1),
        model: None,
        grant: Grant::default(),
    }
}

fn agent_starting(name: &str, attempt: u32, asks_status: bool) -> Record {
    Record::AgentStarting {
        ticket: ticket(name, attempt),
        base: ObjectId::new("b".repeat(40)),
        asks_status,
        continues: None,
    }
}

fn continuing(name: &str, attempt: u32) -> Record {
    Record::AgentStarting {
        ticket: ticket(name, attempt),
        base: ObjectId::new("b".repeat(40)),
        asks_status: false,
        continues: Some(Continuation {
            number: 1,
            grant: Grant::default(),
        }),
    }
}

fn collected(name: &str, attempt: u32, cost: u64, next: Next) -> Record {
    let usage = Usage {
        output_tokens: 7,
        cost: MicroUsd(cost),
        sessions: 1,
        ..Usage::default()
    };
    let left = Collected {
        candidate: Some(ObjectId::new("c".repeat(40))),
        message: Some("ok".to_owned()),
        ..Collected::nothing(AttemptEnd::new(Ending::Success, "done"), usage)
    };
    Record::collected(ticket(name, attempt), left, next)
}

fn landed(name: &str, attempt: u32) -> Record {
    Record::Landed {
        ticket: ticket(name, attempt),
        commit: ObjectId::new("d".repeat(40)),
        verified: false,
        generation: 1,
    }
}

/// A run in which one task lands, is reopened and lands again, with a session asked for its status.
fn lived_run() -> Vec<Record> {
    vec![
        Record::RunStarted(run_start(&[("a", "spec-1")]).into()),
        started("a", 1),
        agent_starting("a", 1, false),
        collected("a", 1, 100, Next::AskStatus),
        agent_starting("a", 1, true),
        collected("a", 1, 5, Next::Land),
        Record::PlanAccepted {
            revision: revision(&[("a", "spec-2"), ("b", "spec-b")]),
        },
        landed("a", 1),
        Record::Reopened {
            task: task("a"),
            from: None,
        },
        started("a", 2),
        landed("a", 2),
        Record::RunEnded {
            outcome: Outcome::Completed,
        },
    ]
}

/// A run of `attempts` small attempts, five records each.
fn long_run(attempts: u32) -> Vec<Record> {
    let mut records = vec![Record::RunStarted(run_start(&[("a", "spec")]).into())];
    for attempt in 1..=attempts {
        records.extend([
            started("a", attempt),
            agent_starting("a", attempt, false),
            Record::AgentEnded {
                ticket: ticket("a", attempt),
                ended_by_orch: None,
            },
            collected("a", attempt, 1, Next::Land),
            Record::Building {
                ticket: ticket("a", attempt),
                behind: None,
            },
        ]);
    }
    records
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Does to the file what no orch would.
fn tamper(ledger: &Ledger, sql: &str) {
    ledger.conn.execute_batch(sql).unwrap();
}

/// The rows of a query, columns joined by `|`, NULL as nothing.
fn query_lines(ledger: &Ledger, sql: &str) -> Vec<String> {
    let mut statement = ledger.conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let cell = |row: &rusqlite::Row<'_>, i| match row.get_ref(i).unwrap() {
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        other => other.as_str().unwrap().to_owned(),
    };
    let line = |row: &rusqlite::Row<'_>| {
        let cells: Vec<String> = (0..columns).map(|i| cell(row, i)).collect();
        Ok(cells.join("|"))
    };
    let lines = statement.query_map([], line).unwrap();
    lines.map(Result::unwrap).collect()
}

/// Everything that is derived from records.
fn dump(ledger: &Ledger) -> Vec<String> {
    ["runs", "specs", "attempts", "usage", "landings"]
        .iter()
        .flat_map(|table| query_lines(ledger, &format!("SELECT * FROM {table}")))
        .collect()
}

//! SIGKILLs from outside, at any moment, on orch, on shims, on both: no hook says where.
//!
//! The ordinary test makes a handful. `ORCH_KILLS=1000 cargo test --test e2e kills -- --ignored --nocapture` makes so
//! many and prints the table of `docs/reliability.md`; `ORCH_KILLS_SHAPES=approved,crowned` tries only some shapes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixture::{Fixture, Live};
use crate::shapes::{Shape, adopted, alive, files_below, passings};
use crate::tally::{Tally, tried};

/// Kills in one run, at most. Few enough for agents that die with their shim: at the fourth time in a row that counts.
const KILLS_MAX: u64 = 5;
/// Kills of shims in one run, at most.
const SHIM_KILLS_MAX: usize = 2;
/// About how many places are passed between two kills.
const STRIDE: u64 = 40;

/// xorshift64*: as random as it must be.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }
}

/// Whom a kill hits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Orch,
    Shims,
    Both,
}

/// One run of a random shape, with random kills until it is done.
fn storm(seed: u64) -> Tally {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let wanted = std::env::var("ORCH_KILLS_SHAPES").unwrap_or_default();
    let mut shapes = Shape::all();
    shapes.push(Shape::slow());
    shapes.retain(|shape| wanted.is_empty() || wanted.split(',').any(|name| name == shape.name));
    let shapes_count = u64::try_from(shapes.len()).expect("small");
    let shape = shapes.swap_remove(usize::try_from(random.below(shapes_count)).expect("small"));
    let (expected, _) = shape.undisturbed();
    let f = shape.fixture();
    // What kills the shims of several tasks is the test, and not a broken world.
    f.write_settings("circuit_breaker_threshold: 0\n");
    let after = format!("the kills of seed {seed}");
    let mut tally = Tally {
        cases: 1,
        ..Tally::default()
    };
    let (mut outlived, mut killed) = (BTreeSet::new(), BTreeSet::new());
    let mut live = start(&shape, &f);
    let mut done = false;
    for _ in 0..=random.below(KILLS_MAX) {
        if await_moment(&shape, &f, &mut live, &mut random) {
            done = true;
            break;
        }
        let victim = match random.below(10) {
            0..6 => Victim::Orch,
            6..8 => Victim::Shims,
            _ => Victim::Both,
        };
        let victim = if killed.len() < SHIM_KILLS_MAX {
            victim
        } else {
            Victim::Orch
        };
        if victim != Victim::Shims {
            live.signal(Signal::KILL);
            tally.kills += 1;
        }
        if victim != Victim::Orch {
            let hit = kill_shims(&f);
            tally.kills += hit.len();
            killed.extend(hit);
        }
        if victim != Victim::Shims {
            let ran = live.ended();
            // It may have been done at that very moment.
            assert!(
                [-1, 0].contains(&ran.code) || shape.goes_on_after(ran.code),
                "{}: {after}: {ran:?}",
                shape.name
            );
            outlived.extend(alive(&f));
            tally.starts += 1;
            live = start(&shape, &f);
        }
    }
    let ran = match shape.is_started_again() {
        // So far nobody has said yes, or go on.
        true => {
            if live.has_not_ended() {
                live.signal(Signal::KILL);
            }
            live.ended();
            shape.played(&f, |_| ())
        }
        false => live.ended(),
    };
    assert_eq!(
        ran.code, 0,
        "{}: {after} (done: {done}): {ran:?}",
        shape.name
    );
    assert_eq!(
        shape.assert_whole(&f, &after),
        expected,
        "{}: {after}",
        shape.name
    );
    let outlived: Vec<_> = outlived.difference(&killed).cloned().collect();
    tally.alive = outlived.len();
    tally.adopted = adopted(&f, &outlived);
    tally
}

fn start(shape: &Shape, f: &Fixture) -> Live {
    let mut command = shape.command(f);
    command.env("ORCH_CRASH_DIR", f.root().join("passings"));
    Live::of(command, f.root())
}

/// Waits until some more places are passed, and a moment longer; whether orch has ended. One that stays until a person
/// answers is answered, or hit while it waits.
fn await_moment(shape: &Shape, f: &Fixture, live: &mut Live, random: &mut Random) -> bool {
    let passed = |f: &Fixture| passings(f).values().map(|n| u64::from(*n)).sum::<u64>();
    let enough = passed(f) + random.below(STRIDE);
    while passed(f) < enough {
        if !live.has_not_ended() {
            return true;
        }
        if shape.waits_for_answer(live) {
            if random.below(2) == 0 {
                shape.approve(f, |_| ());
            }
            break;
        }
    }
    let until = Instant::now() + Duration::from_micros(random.below(3_000));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    !live.has_not_ended()
}

/// Kills the shims that live; which attempts they belong to.
fn kill_shims(f: &Fixture) -> Vec<(String, u64)> {
    let runs = f.repo().join(".git/orch/runs");
    let mut hit = Vec::new();
    for (task, attempt) in alive(f) {
        let place = PathBuf::from(&task).join(attempt.to_string());
        let is_wanted = |path: &Path| {
            path.ends_with("shim.pid") && path.parent().is_some_and(|dir| dir.ends_with(&place))
        };
        for file in files_below(&runs, is_wanted) {
            // It may be written at this moment.
            let Ok(shim) = serde_json::from_slice::<Value>(&std::fs::read(file).expect("a file"))
            else {
                continue;
            };
            let pid = shim["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            if kill_process(pid.and_then(Pid::from_raw).expect("a pid"), Signal::KILL).is_ok() {
                hit.push((task.clone(), attempt));
            }
        }
    }
    hit
}

#[test]
fn kills_at_any_moment_lose_and_double_nothing() {
    let seeds: Vec<u64> = (1..=6).collect();
    tried(&seeds, |seed| format!("seed {seed}"), |seed| storm(*seed)).assert_clean();
}

#[test]
#[ignore = "takes minutes; see the head of this file"]
#[expect(clippy::print_stderr, reason = "the table is what it is run for")]
fn a_thousand_kills_lose_and_double_nothing() {
    let wanted = std::env::var("ORCH_KILLS").map_or(1_000, |n| n.parse().expect("a number"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut first = now.expect("after 1970").as_secs();
    let mut total = Tally::default();
    while total.kills < wanted {
        let seeds: Vec<u64> = (first..first + 60).collect();
        total.add(tried(
            &seeds,
            |seed| format!("seed {seed}"),
            |seed| storm(*seed),
        ));
        first += 60;
        eprintln!("{}", total.row("random"));
    }
    total.assert_clean();
}

//! Usage limits: who stops, who tries first, who goes on where it was.

use super::*;
use crate::engine::action::ExecuteMode;
use crate::engine::limit::{LimitHit, LimitScope, UsageWindow};
use crate::engine::policy::OnLimit;
use crate::engine::view::Wait;

const MINUTE: u64 = 60_000;

fn hit(resets_at: Option<Wall>) -> LimitHit {
    LimitHit {
        scope: LimitScope::Account {
            window: "five_hour".to_owned(),
        },
        resets_at,
    }
}

/// A run of independent tasks on one account, with so many jobs.
fn on_one_account(names: &[&str], jobs: u32, policy: Policy) -> Bench {
    let nodes = names.iter().map(|name| task(name, &[])).collect();
    Bench::start(&RunStart {
        jobs,
        policy,
        ..asks_for(nodes)
    })
}

impl Bench {
    /// The agent of a task runs into a limit.
    fn is_cut(&mut self, name: &str, resets_at: Option<Wall>, can_continue: bool) {
        self.executed(name);
        self.collected(name, Ending::UsageLimit, |left| {
            left.limit = Some(hit(resets_at));
            left.can_continue = can_continue;
        });
    }

    fn goes_on(&mut self, name: &str) -> (Ticket, ExecuteMode) {
        self.take(name, |order| match order {
            Action::Execute { mode, .. } => Some(*mode),
            _ => None,
        })
    }

    fn waits(&self, name: &str) -> Option<(Wait, Option<u64>)> {
        match self.state(name) {
            TaskState::Waiting { reason, until } => {
                Some((reason, until.map(|until| until.ms_since(self.now.wall))))
            }
            _ => None,
        }
    }

    fn counts(&self, name: &str) -> (u32, u32) {
        let view = self.engine.view(&id(name)).expect("a known task");
        (view.attempt, view.spent)
    }
}

#[test]
fn a_cut_session_goes_on_in_its_slot_and_costs_no_attempt() {
    let mut bench = on_one_account(&["a", "b", "c"], 2, Policy::default());
    bench.prepared("a");
    bench.prepared("b");
    let resets_at = bench.now.wall.plus_ms(20_000);
    bench.is_cut("a", Some(resets_at), true);
    assert_eq!(bench.running(), ["a", "b"], "c does not start in a's place");
    let limit = Some((Wait::Limit, Some(80_000)));
    assert_eq!((bench.waits("a"), bench.waits("c")), (limit, limit));
    assert_eq!(bench.engine.next_wake(), Some(resets_at.plus_ms(MINUTE)));
    bench.pass(79_999);
    assert!(
        bench
            .orders
            .iter()
            .all(|order| order.task() != Some(&id("a")))
    );
    bench.pass(1);
    let (ticket, mode) = bench.goes_on("a");
    assert_eq!(mode, ExecuteMode::Continue { number: 1 });
    assert_eq!(ticket.attempt, 1);
    assert!(
        bench.why("c").contains("a tries whether"),
        "{}",
        bench.why("c")
    );
    bench.hear(Event::Executed { ticket });
    bench.collected("a", Ending::Success, |_| {});
    assert_eq!(bench.counts("a"), (1, 0));
    bench.pass(30_000);
    assert_eq!(bench.running(), ["b", "c"]);
}

#[test]
fn an_answer_to_the_probe_lets_the_others_follow_spread_over_half_a_minute() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut bench = on_one_account(&names, 6, Policy::default());
    for name in names {
        bench.prepared(name);
    }
    let resets_at = bench.now.wall.plus_ms(MINUTE);
    for name in names {
        bench.is_cut(name, Some(resets_at), false);
    }
    bench.pass(2 * MINUTE);
    assert_eq!(bench.running(), ["a"], "one tries");
    bench.prepared("a");
    let (ticket, _) = bench.goes_on("a");
    bench.hear(Event::Observed {
        ticket,
        windows: Vec::new(),
    });
    let mut times = Vec::new();
    while let Some(wake) = bench.engine.next_wake() {
        times.push(wake);
        bench.pass(wake.ms_since(bench.now.wall));
    }
    assert_eq!(bench.running().len(), 6);
    times.dedup();
    assert!(times.len() > 2, "{times:?} is no spread");
    assert!(names.iter().all(|name| bench.counts(name).1 == 0));
}

#[test]
fn without_a_reset_the_probes_come_less_and_less_often_and_end_after_seven_days() {
    let mut bench = on_one_account(&["a"], 1, Policy::default());
    let mut waits = Vec::new();
    let began = bench.now.wall;
    loop {
        bench.prepared("a");
        bench.is_cut("a", None, false);
        let Some(wake) = bench.engine.next_wake() else {
            break;
        };
        waits.push(wake.ms_since(bench.now.wall) / MINUTE);
        bench.pass(wake.ms_since(bench.now.wall));
    }
    assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    let days = bench.now.wall.ms_since(began) / (24 * 60 * MINUTE);
    assert_eq!(days, 6, "the next probe would come on the eighth day");
    assert_eq!(bench.counts("a").1, 0);
    assert_eq!(bench.finish(), Outcome::LimitReached);
}

#[test]
fn a_service_that_refuses_again_and_again_is_not_asked_every_other_moment() {
    let mut bench = on_one_account(&["a"], 1, Policy::default());
    for least in [61, 61, 120, 240] {
        bench.prepared("a");
        let resets_at = bench.now.wall.plus_ms(1_000);
        bench.is_cut("a", Some(resets_at), false);
        let wake = bench.engine.next_wake().expect("it waits");
        assert_eq!(wake.ms_since(bench.now.wall), least * 1_000);
        bench.pass(wake.ms_since(bench.now.wall));
    }
}

#[test]
fn a_limit_of_one_model_lets_the_others_go_on() {
    let nodes = || vec![task("a", &[]), task("b", &["a"]), task("c", &["a"])];
    let mut start = asks_for(nodes());
    for (name, model) in [("a", "haiku"), ("b", "opus"), ("c", "claude-sonnet-4-5")] {
        let profile = Profile {
            model: Some(model.to_owned()),
            ..Profile::default()
        };
        std::sync::Arc::make_mut(&mut start.revision.profiles).insert(id(name), profile.into());
    }
    let mut bench = Bench::start(&start);
    bench.prepared("a");
    bench.executed("a");
    let resets_at = Some(bench.now.wall.plus_ms(MINUTE));
    bench.collected("a", Ending::Success, |left| {
        let scope = LimitScope::Model {
            model: "opus".to_owned(),
        };
        left.limit = Some(LimitHit { scope, resets_at });
    });
    bench.lands("a");
    assert_eq!(bench.running(), ["c"]);
    assert_eq!(bench.waits("b"), Some((Wait::Limit, Some(2 * MINUTE))));
}

#[test]
fn who_does_not_wait_for_limits_ends_with_the_work_that_can_be_done_and_comes_back_after_the_reset()
{
    let policy = Policy {
        on_limit: OnLimit::Stop,
        ..Policy::default()
    };
    let start = || RunStart {
        policy: policy.clone(),
        ..asks_for(vec![task("a", &[]), task("b", &[])])
    };
    let mut bench = Bench::start(&start());
    bench.prepared("a");
    bench.prepared("b");
    let resets_at = bench.now.wall.plus_ms(5 * MINUTE);
    bench.is_cut("a", Some(resets_at), true);
    bench.executed("b");
    bench.collected("b", Ending::Success, |_| {});
    bench.lands("b");
    assert_eq!(bench.finish(), Outcome::LimitReached);
    assert!(bench.why("a").contains("the run has ended"));
    bench.resume(&start());
    assert_eq!(bench.finish(), Outcome::LimitReached, "before the reset");
    bench.now.wall = resets_at.plus_ms(MINUTE);
    bench.resume(&start());
    assert_eq!(bench.running(), ["a"]);
    assert_eq!(
        bench.counts("a"),
        (2, 0),
        "its slot was given up with the run"
    );
}

#[test]
fn a_wait_survives_orch_and_so_does_the_parked_session() {
    let nodes = || vec![task("a", &[])];
    let mut bench = Bench::of(nodes());
    bench.prepared("a");
    let resets_at = bench.now.wall.plus_ms(MINUTE);
    bench.is_cut("a", Some(resets_at), true);
    bench.now.wall = bench.now.wall.plus_ms(90_000);
    bench.resume(&asks_for(nodes()));
    assert_eq!(bench.waits("a"), Some((Wait::Limit, Some(30_000))));
    bench.pass(30_000);
    let (ticket, mode) = bench.goes_on("a");
    assert_eq!(
        (ticket.attempt, mode),
        (1, ExecuteMode::Continue { number: 1 })
    );
}

#[test]
fn a_retry_tries_a_limit_at_once() {
    let mut bench = on_one_account(&["a"], 1, Policy::default());
    bench.prepared("a");
    bench.is_cut("a", None, false);
    let retry = Verb::Retry {
        task: id("a"),
        from: None,
    };
    assert_eq!(bench.ask(retry), None);
    assert_eq!(bench.running(), ["a"]);
}

#[test]
fn of_several_that_wait_for_a_limit_the_one_tries_that_a_person_wants_tried() {
    let mut bench = on_one_account(&["a", "b"], 2, Policy::default());
    for name in ["a", "b"] {
        bench.prepared(name);
    }
    bench.is_cut("a", None, false);
    bench.is_cut("b", None, false);
    let retry = Verb::Retry {
        task: id("b"),
        from: None,
    };
    assert_eq!(bench.ask(retry), None);
    assert_eq!(bench.running(), ["b"]);
    assert_eq!(bench.waits("a"), Some((Wait::Limit, None)));
    bench.prepared("b");
    bench.is_cut("b", None, false);
    bench.pass(2 * MINUTE);
    assert_eq!(bench.running(), ["a"], "the next trial is anybody's");
}

#[test]
fn a_window_that_is_nearly_full_lets_nothing_new_start_until_it_is_empty() {
    let policy = Policy {
        pause_at: Some(900),
        ..Policy::default()
    };
    let mut bench = on_one_account(&["a", "b"], 1, policy);
    bench.prepared("a");
    let (ticket, _) = bench.goes_on("a");
    let resets_at = Some(bench.now.wall.plus_ms(10 * MINUTE));
    bench.hear(Event::Observed {
        ticket: ticket.clone(),
        windows: vec![UsageWindow {
            kind: "five_hour".to_owned(),
            utilisation: 912,
            resets_at,
        }],
    });
    bench.hear(Event::Executed { ticket });
    bench.collected("a", Ending::Success, |_| {});
    bench.lands("a");
    assert_eq!(bench.waits("b"), Some((Wait::Limit, Some(11 * MINUTE))));
    assert!(bench.why("b").contains("91.2 %"), "{}", bench.why("b"));
    bench.pass(11 * MINUTE);
    assert_eq!(bench.running(), ["b"]);
}

#[test]
fn a_night_of_three_windows_ends_with_every_task_done_at_its_first_attempt() {
    let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
    let nodes = names.iter().map(|name| task(name, &[])).collect();
    let start = RunStart {
        jobs: 4,
        ..asks_for(nodes)
    };
    let mut bench = Bench::start(&start);
    let night = Night {
        window_ms: 160 * MINUTE,
        served: 20,
    };
    night.passes(&mut bench);
    for name in &names {
        assert_eq!(bench.counts(name), (1, 0), "{name}");
    }
    assert_eq!(bench.finish(), Outcome::Completed);
}

/// An account that serves so many sessions in each window.
struct Night {
    window_ms: u64,
    served: usize,
}

impl Night {
    /// Plays agents of ten minutes each until nothing is under way and nothing will wake the engine.
    fn passes(&self, bench: &mut Bench) {
        let began = bench.now.wall;
        let mut left = self.served;
        let mut window = 0;
        loop {
            let now = bench.now.wall.ms_since(began) / self.window_ms;
            if now > window {
                (window, left) = (now, self.served);
            }
            let ends = began.plus_ms((window + 1) * self.window_ms);
            while let Some(name) = next_of(bench, |a| matches!(a, Action::Prepare { .. })) {
                bench.prepared(&name);
            }
            let Some(name) = next_of(bench, |a| matches!(a, Action::Execute { .. })) else {
                let Some(wake) = bench.engine.next_wake() else {
                    return;
                };
                bench.pass(wake.ms_since(bench.now.wall));
                continue;
            };
            if left == 0 {
                bench.is_cut(&name, Some(ends), true);
                continue;
            }
            left -= 1;
            bench.now.wall = bench.now.wall.plus_ms(150_000);
            bench.executed(&name);
            bench.collected(&name, Ending::Success, |_| {});
            bench.lands(&name);
        }
    }
}

fn next_of(bench: &Bench, is_it: impl Fn(&Action) -> bool) -> Option<String> {
    let order = bench.orders.iter().find(|order| is_it(order))?;
    order.task().map(ToString::to_string)
}

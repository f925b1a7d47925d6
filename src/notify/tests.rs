//! Who was told of what, as the marks of a run keep it, and what is worth telling.

use super::marks::{Marking, Marks};
use super::news::News;
use crate::config::notify::{Occasion, Subscription};
use crate::engine::ending::Ending;
use crate::engine::event::{Author, PlanRevision};
use crate::engine::limit::{LimitHit, LimitScope, UsageWindow};
use crate::engine::outcome::Outcome;
use crate::engine::policy::Policy;
use crate::engine::record::{Miss, Record, Stamped};
use crate::ids::{ObjectId, RunId, TaskId, Ticket};
use crate::time::Wall;

const MINUTE: i64 = 60_000;

fn at(minute: i64, record: Record) -> Stamped {
    Stamped {
        seq: 0,
        run: RunId::parse("20261121-063312-k3f9").expect("a run"),
        at: Wall(minute * MINUTE),
        record,
    }
}

/// A limit that is met, and how long it is waited for.
fn limited(minute: i64, model: Option<&str>, until: i64) -> Stamped {
    let scope = match model {
        Some(model) => LimitScope::Model {
            model: model.to_owned(),
        },
        None => LimitScope::Unknown,
    };
    let record = Record::Limited {
        entitlement: "claude (subscription)".to_owned(),
        hit: LimitHit {
            scope,
            resets_at: None,
        },
        until: Wall(until * MINUTE),
        probes: 0,
        asked: None,
    };
    at(minute, record)
}

fn told(news: &mut News, records: &[Stamped]) -> Vec<(Occasion, String)> {
    let happened = records.iter().filter_map(|stamped| news.of(stamped));
    happened.map(|h| (h.occasion, h.text)).collect()
}

fn waiting() -> News {
    News::that_waits()
}

#[test]
fn a_wait_of_over_ten_minutes_for_a_limit_is_told_once() {
    let mut news = waiting();
    let met = [
        limited(0, None, 9),
        limited(0, Some("opus"), 90),
        limited(1, Some("opus"), 90),
    ];
    assert_eq!(
        told(&mut news, &met),
        [(
            Occasion::Limit,
            "the limit of the model opus is reached, and work waits for 1 h 30 min, until 1970-01-01 01:30 UTC"
                .to_owned()
        )]
    );
    // Probe after probe adds up, too.
    assert_eq!(told(&mut news, &[limited(9, None, 11)]).len(), 1);
    assert_eq!(told(&mut news, &[limited(11, None, 15)]), []);
    let lifted = Record::LimitLifted {
        entitlement: "claude (subscription)".to_owned(),
        scope: LimitScope::Unknown,
    };
    assert_eq!(
        told(&mut news, &[at(15, lifted), limited(20, None, 40)]).len(),
        1
    );
    // Who does not wait hears of the end of the run alone.
    assert_eq!(told(&mut News::default(), &[limited(0, None, 90)]), []);
}

#[test]
fn a_window_that_is_too_full_for_over_ten_minutes_is_told_once() {
    let mut news = News::of_policy(Policy {
        pause_at: Some(900),
        ..Policy::default()
    });
    let reported = |minute, utilisation, resets: Option<i64>| {
        let windows = vec![
            UsageWindow {
                kind: "five_hour".to_owned(),
                utilisation,
                resets_at: resets.map(|minute| Wall(minute * MINUTE)),
            },
            UsageWindow {
                kind: "seven_day".to_owned(),
                utilisation: 100,
                resets_at: Some(Wall(9_000 * MINUTE)),
            },
        ];
        let ticket = Ticket {
            task: TaskId::parse("1").expect("a task"),
            attempt: 1,
            epoch: 1,
        };
        at(minute, Record::Observed { ticket, windows })
    };
    let full = [
        reported(0, 899, Some(300)),
        reported(1, 905, Some(300)),
        reported(2, 950, Some(300)),
        // Soon over: none of anybody's business.
        reported(310, 950, Some(315)),
    ];
    assert_eq!(
        told(&mut news, &full),
        [(
            Occasion::Limit,
            "the five_hour window of the account is used to 90.5 %, and nothing new that counts into it starts for 5 h 00 min, until 1970-01-01 05:01 UTC"
                .to_owned()
        )]
    );
    // Empty and full again, or a window of which nobody says when it resets: told anew.
    let again = [
        reported(320, 10, Some(600)),
        reported(330, 990, Some(600)),
        reported(400, 10, None),
        reported(401, 990, None),
        reported(402, 991, None),
    ];
    assert_eq!(told(&mut news, &again).len(), 2);
    // Without the bound nothing pauses.
    assert_eq!(told(&mut waiting(), &[reported(1, 1000, Some(300))]), []);
}

#[test]
fn a_full_window_is_told_of_only_while_something_is_left_to_start() {
    let text = "sections:\n- {id: s, name: S, tasks: [{id: 1, name: A}, {id: 2, name: B}]}\n";
    let plan = crate::plan::check("plan", text.as_bytes(), crate::plan::Strictness::AsWritten);
    let revision = PlanRevision {
        text_sha256: String::new(),
        by: Author::Orch,
        graph: plan.plan.expect("a plan").graph,
        profiles: std::sync::Arc::default(),
        checked: std::sync::Arc::default(),
    };
    let ticket = |task: &str| Ticket {
        task: TaskId::parse(task).expect("a task"),
        attempt: 1,
        epoch: 1,
    };
    let starts = |task| Record::AgentStarting {
        ticket: ticket(task),
        base: ObjectId::new("base"),
        asks_status: false,
        continues: None,
    };
    let full = || Record::Observed {
        ticket: ticket("2"),
        windows: vec![UsageWindow {
            kind: "five_hour".to_owned(),
            utilisation: 950,
            resets_at: Some(Wall(300 * MINUTE)),
        }],
    };
    let mut news = News::of_policy(Policy {
        pause_at: Some(900),
        ..Policy::default()
    });
    let records = [
        at(0, Record::PlanAccepted { revision }),
        at(1, starts("1")),
        at(2, starts("2")),
        at(3, full()),
    ];
    assert_eq!(told(&mut news, &records), [], "both run");
    let reopened = Record::Reopened {
        task: TaskId::parse("1").expect("a task"),
        from: None,
    };
    assert_eq!(told(&mut news, &[at(4, reopened), at(5, full())]).len(), 1);
}

#[test]
fn an_open_breaker_a_gate_and_the_end_are_told_without_words_of_others() {
    let opened = |failed_probes| Record::BreakerOpened {
        cause: "secret words of an agent".to_owned(),
        ending: Ending::Throttled,
        until: Wall(5 * MINUTE),
        failed_probes,
        asked: None,
    };
    let missed = Record::LandingMissed {
        ticket: Ticket {
            task: TaskId::parse("1").expect("a task"),
            attempt: 1,
            epoch: 1,
        },
        why: Miss::InTheWay("secret file".to_owned()),
        at: None,
    };
    let asked = Record::StartAsked {
        task: TaskId::parse("2").expect("a task"),
    };
    let records = [
        at(0, opened(0)),
        at(4, asked),
        at(5, opened(1)),
        at(6, missed.clone()),
        at(7, missed),
        at(8, Record::TargetRewritten { found: None }),
        at(
            9,
            Record::RunEnded {
                outcome: Outcome::WaitingForPerson,
            },
        ),
    ];
    let told = told(&mut waiting(), &records);
    let occasions: Vec<Occasion> = told.iter().map(|(occasion, _)| *occasion).collect();
    assert_eq!(
        occasions,
        [
            Occasion::Breaker,
            Occasion::Gate,
            Occasion::Gate,
            Occasion::Gate,
            Occasion::RunEnded
        ]
    );
    assert!(
        told.iter().all(|(_, text)| !text.contains("secret")),
        "{told:?}"
    );
}

#[test]
fn marks_tell_who_has_what_and_whether_all_was_delivered() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log/notices");
    let (ada, bob) = (
        Subscription::email("ada@example.invalid"),
        Subscription::email("bob@example.invalid"),
    );
    assert!(Marks::read(&path).expect("no file").is_none());
    let mut marking = Marking::open(&path).expect("a file");
    marking.begun().expect("a mark");
    marking.delivered("r-4", &ada).expect("a mark");
    let marks = Marks::read(&path).expect("a file").expect("marks");
    assert!(marks.has("r-4", &ada) && !marks.has("r-4", &bob) && !marks.has("r-5", &ada));
    assert!(!marks.is_settled() && !marks.is_settled_up_to(4));

    marking.settled(7).expect("a mark");
    let marks = Marks::read(&path).expect("a file").expect("marks");
    assert!(marks.is_settled() && marks.is_settled_up_to(7) && !marks.is_settled_up_to(8));

    // The run goes on, and may have more to tell.
    marking.begun().expect("a mark");
    let marks = Marks::read(&path).expect("a file").expect("marks");
    assert!(!marks.is_settled() && marks.is_settled_up_to(7));
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(!text.contains("ada"), "no address stands there: {text}");
}

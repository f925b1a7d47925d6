//! What came of trying many cases of one promise, some at the same time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// How many cases are tried at the same time: they wait for processes more than they compute.
const AT_ONCE: usize = 3;

/// What came of trying.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    pub(crate) kills: usize,
    pub(crate) starts: u32,
    pub(crate) alive: usize,
    pub(crate) adopted: usize,
    pub(crate) not_reached: Vec<String>,
    pub(crate) violations: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.kills += other.kills;
        self.starts += other.starts;
        self.alive += other.alive;
        self.adopted += other.adopted;
        self.not_reached.extend(other.not_reached);
        self.violations.extend(other.violations);
    }

    pub(crate) fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} | {} | {} | {} | {} of {} |",
            self.cases,
            self.kills,
            self.starts,
            self.violations.len(),
            self.adopted,
            self.alive
        )
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(
            self.violations.is_empty(),
            "{}",
            self.violations.join("\n\n")
        );
        assert_eq!(
            self.adopted, self.alive,
            "every agent that outlived orch is adopted"
        );
        // How two tasks overlap is not the same each time, and a session that is soon over may be seen only when it has
        // ended; a place that is never reached proves nothing, though.
        let missed = self
            .not_reached
            .iter()
            .filter(|at| !at.contains("-observed:"));
        assert!(
            missed.count() * 10 <= self.cases,
            "not reached: {:?}",
            self.not_reached
        );
    }
}

/// Tries cases, some at a time, and goes on after a violation.
pub(crate) fn tried<T: Sync>(
    cases: &[T],
    name: impl Fn(&T) -> String + Sync,
    case: impl Fn(&T) -> Tally + Sync,
) -> Tally {
    let next = Mutex::new(cases.iter());
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(one) = next.lock().expect("whole").next() else {
                        return;
                    };
                    let tally =
                        catch_unwind(AssertUnwindSafe(|| case(one))).unwrap_or_else(|why| {
                            let why = why
                                .downcast_ref::<String>()
                                .cloned()
                                .unwrap_or_else(|| "it panicked".to_owned());
                            Tally {
                                cases: 1,
                                violations: vec![format!("{}: {why}", name(one))],
                                ..Tally::default()
                            }
                        });
                    total.lock().expect("whole").add(tally);
                }
            });
        }
    });
    total.into_inner().expect("whole")
}

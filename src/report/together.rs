//! What a run finds settled when it begins: of one task or of thousands, so that it is told of all of them in one line.

use super::lines::{Line, Tone};
use crate::engine::record::{Record, Settlement, Stamped};
use crate::ids::TaskId;
use crate::time::Wall;

/// Tasks that a line names.
const NAMED_MAX: usize = 10;

/// Tasks that settled alike, one after the other.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) how: How,
    /// When the first of them did.
    pub(super) at: Wall,
    named: Vec<TaskId>,
    more: usize,
}

/// What is told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Believed,
    LandedBefore,
    LeftOut,
}

/// The task and how it settled, if that is told together.
pub(super) fn of(stamped: &Stamped) -> Option<(How, &TaskId)> {
    let Record::Settled { task, as_ } = &stamped.record else {
        return None;
    };
    let how = match as_ {
        Settlement::Believed => How::Believed,
        Settlement::LandedBefore { .. } => How::LandedBefore,
        Settlement::LeftOut => How::LeftOut,
        _ => return None,
    };
    Some((how, task))
}

impl Together {
    /// Of the first task.
    pub(super) fn begin(how: How, task: &TaskId, at: Wall) -> Self {
        Self {
            how,
            at,
            named: vec![task.clone()],
            more: 0,
        }
    }

    /// Of one more.
    pub(super) fn add(&mut self, task: &TaskId) {
        if self.named.len() < NAMED_MAX {
            self.named.push(task.clone());
        } else {
            self.more += 1;
        }
    }

    /// `1.1, 1.2 and 40 more are completed according to the plan; orch has no record of them`.
    pub(super) fn line(&self) -> Line {
        let names: Vec<&str> = self.named.iter().map(TaskId::as_str).collect();
        let (last, others) = names.split_last().expect("one began it");
        let tasks = match (self.more, others) {
            (0, []) => format!("{last} "),
            (0, _) => format!("{} and {last}", others.join(", ")),
            (more, _) => format!("{} and {more} more", names.join(", ")),
        };
        let is_one = self.more == 0 && others.is_empty();
        let words = match (self.how, is_one) {
            (How::Believed, true) => "is completed according to the plan; orch has no record of it",
            (How::Believed, false) => {
                "are completed according to the plan; orch has no record of them"
            }
            (How::LandedBefore, _) => "landed in an earlier run",
            (How::LeftOut, true) => "is left out of this run",
            (How::LeftOut, false) => "are left out of this run",
        };
        Line {
            tone: Tone::Dim,
            text: format!("{tasks} {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(how: How, tasks: usize) -> String {
        let ids: Vec<TaskId> = (1..=tasks)
            .map(|n| TaskId::parse(&n.to_string()).expect("an id"))
            .collect();
        let mut together = Together::begin(how, &ids[0], Wall(0));
        for id in &ids[1..] {
            together.add(id);
        }
        together.line().text
    }

    #[test]
    fn one_task_a_few_and_thousands_take_one_line() {
        assert_eq!(told(How::LandedBefore, 1), "1  landed in an earlier run");
        assert_eq!(told(How::LeftOut, 3), "1, 2 and 3 are left out of this run");
        assert_eq!(
            told(How::Believed, 9_990),
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 9980 more are completed according to the plan; orch has no record of them"
        );
    }
}

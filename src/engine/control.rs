//! What people decide during a run: which decision is possible in which state, and what follows from it.

use super::after;
use super::bars::Bar;
use super::event::{Author, Control, StopLevel, Verb};
use super::limiter::Stage;
use super::outcome::Outcome;
use super::phase::{Closing, Phase, Settled};
use super::record::Record;
use super::task::Task;
use super::turn::Turn;
use crate::ids::TaskId;
use crate::plan::graph::RetryFrom;

impl Turn<'_> {
    /// Follows or refuses a decision; either is kept.
    pub(super) fn control(&mut self, control: Control) -> bool {
        let (refused, consequences) = match self.consequences(&control) {
            Ok(records) => (None, records),
            Err(why) => (Some(why), Vec::new()),
        };
        self.record(Record::Controlled { control, refused });
        for record in consequences {
            self.record(record);
        }
        true
    }

    /// The records that follow a decision, or why it cannot be followed.
    fn consequences(&self, control: &Control) -> Result<Vec<Record>, String> {
        if let Author::Agent(task) = &control.by {
            return Err(format!(
                "the agent of task {task} asked for it; such decisions come from people"
            ));
        }
        match &control.verb {
            Verb::Stop { level } => self.stop(*level, control),
            Verb::Cancel { task } => self.settle(task, &Closing::Cancel),
            Verb::Skip { task } => self.settle(task, &Closing::Skip),
            Verb::MarkDone { task, commit } => {
                let commit = commit.clone();
                self.settle(task, &Closing::MarkDone { commit })
            }
            Verb::Pause => self.pause(true),
            Verb::Resume => self.pause(false),
            Verb::Hold { task } => {
                let task = self.unsettled(task)?;
                refuse_if(task.is_held(), "it is held already").map(|()| Vec::new())
            }
            Verb::Release { task } => {
                let task = self.known(task)?;
                refuse_if(!task.is_held(), "it is not held").map(|()| Vec::new())
            }
            Verb::Retry { task, from } => self.retry(task, *from),
            Verb::RetryFailed => self.retry_failed(),
            Verb::Approve {
                task,
                commit,
                signature,
            } => {
                let task = self.known(task)?;
                self.approve(task, commit.as_ref(), signature.as_deref())?;
                Ok(Vec::new())
            }
            Verb::Reject { task } => self.reject(self.known(task)?, control),
            Verb::Priority { task, .. } => self.unsettled(task).map(|_| Vec::new()),
            Verb::Jobs { count } => {
                refuse_if(*count == 0, "there is at least one job").map(|()| Vec::new())
            }
        }
    }

    fn stop(&self, level: StopLevel, control: &Control) -> Result<Vec<Record>, String> {
        refuse_if(
            !self.shell.attached || self.state.ended.is_some(),
            "the run is not going on",
        )?;
        refuse_if(
            level == StopLevel::Running,
            "a stopping run goes on when it is resumed",
        )?;
        refuse_if(level <= self.state.stop, "the run is stopping already")?;
        Ok(vec![Record::Stopping {
            level,
            by: control.by.clone(),
        }])
    }

    fn pause(&self, pause: bool) -> Result<Vec<Record>, String> {
        refuse_if(
            self.state.ended == Some(Outcome::Completed),
            "the run is completed",
        )?;
        // One that has stopped goes on with the next `orch run`, and may do so paused.
        refuse_if(
            pause && self.state.stop > StopLevel::Running && self.state.ended.is_none(),
            "the run is stopping",
        )?;
        refuse_if(pause && self.state.paused.is_some(), "it is paused already")?;
        refuse_if(!pause && self.state.paused.is_none(), "it is not paused")?;
        Ok(Vec::new())
    }

    fn settle(&self, id: &TaskId, closing: &Closing) -> Result<Vec<Record>, String> {
        let task = self.known(id)?;
        let now = Record::Settled {
            task: id.clone(),
            as_: closing.settlement(),
        };
        match &task.phase {
            Phase::Open { .. }
            | Phase::Parked { .. }
            | Phase::Queued { .. }
            | Phase::Judged { .. } => Ok(vec![now]),
            // Settled when what is under way has ended.
            Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Collecting { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. } => Ok(Vec::new()),
            Phase::Landing { .. } => Err("it is landing at this moment".to_owned()),
            Phase::Settled(settled) if settled.satisfies() || *closing == Closing::Cancel => {
                Err(format!("it is settled: {}", task.phase.in_words()))
            }
            Phase::Settled(_) => Ok(vec![now]),
        }
    }

    fn retry(&self, id: &TaskId, from: Option<RetryFrom>) -> Result<Vec<Record>, String> {
        let task = self.known(id)?;
        refuse_if(!task.in_plan, "it is no longer in the plan")?;
        refuse_if(
            from == Some(RetryFrom::Candidate) && task.past().candidate.is_none(),
            "no candidate of it is kept",
        )?;
        match &task.phase {
            Phase::Settled(_) => Ok(self.with_trial(id, self.reopen(task, from))),
            Phase::Open { pause: Some(_) } => {
                Ok(self.with_trial(id, Record::WaitEnded { task: id.clone() }))
            }
            Phase::Open { pause: None } | Phase::Parked { .. } => self.probe_now(id),
            Phase::Preparing { .. }
            | Phase::Executing { .. }
            | Phase::Collecting { .. }
            | Phase::Queued { .. }
            | Phase::Building { .. }
            | Phase::Verifying { .. }
            | Phase::Judged { .. }
            | Phase::Landing { .. } => Err(format!("it is {}", task.phase.in_words())),
        }
    }

    /// Whoever asks for a retry of a task that waits for a limit or the breaker wants it tried now.
    fn probe_now(&self, id: &TaskId) -> Result<Vec<Record>, String> {
        let (ix, _) = self.state.get(id).ok_or_else(|| self.no_such_task(id))?;
        let waits = self.shell.attached && self.state.waits_for_limits_alone(ix);
        let trial = if waits { self.trial(id) } else { Vec::new() };
        if !trial.is_empty() {
            return Ok(trial);
        }
        match self.state.bar(ix, self.now.wall).filter(|_| waits) {
            Some(Bar::Budget(refusal, _)) => Err(format!(
                "{} does not let it start: {}",
                refusal.level.in_words(),
                refusal.what
            )),
            Some(Bar::Limit(..) | Bar::Window(..) | Bar::Breaker(..)) | None => {
                Err("it is open and goes on with the run".to_owned())
            }
        }
    }

    /// What lets a task go on that a person wants tried, the breaker and limits included.
    fn with_trial(&self, id: &TaskId, first: Record) -> Vec<Record> {
        let trial = match self.shell.attached {
            true => self.trial(id),
            // The run that goes on later begins with a closed breaker.
            false => Vec::new(),
        };
        std::iter::once(first).chain(trial).collect()
    }

    /// Ends the waits of the breaker and of the limits that a task counts into, for this task first.
    fn trial(&self, id: &TaskId) -> Vec<Record> {
        let at = self.now.wall;
        let Some((ix, task)) = self.state.get(id) else {
            return Vec::new();
        };
        let breaker = &self.state.breaker;
        let waits = |probe: &Option<TaskId>, until| probe.is_none() && until > at;
        let open = breaker.open.as_ref();
        let open = open.filter(|open| waits(&open.probe, open.until));
        let breaker = open.map(|open| Record::BreakerOpened {
            cause: open.cause.clone(),
            ending: open.ending,
            until: at,
            failed_probes: breaker.failed_probes,
            asked: Some(id.clone()),
        });
        let model = self.state.next_model(ix);
        let asking = task.asking(&self.state.run, model.as_deref());
        let limits = self.state.limiter.limits.iter();
        let limits = limits
            .filter(|limit| limit.stage == Stage::Closed && limit.until > at)
            .filter(|limit| limit.concerns(&asking))
            .map(|limit| Record::Limited {
                entitlement: limit.entitlement.clone(),
                hit: limit.hit.clone(),
                until: at,
                probes: limit.probes,
                asked: Some(id.clone()),
            });
        breaker.into_iter().chain(limits).collect()
    }

    fn retry_failed(&self) -> Result<Vec<Record>, String> {
        let failed = |task: &&Task| {
            task.in_plan
                && matches!(
                    task.phase,
                    Phase::Settled(Settled::Failed | Settled::DeclaredFailed)
                )
        };
        let records: Vec<Record> = self
            .state
            .tasks
            .iter()
            .filter(failed)
            .map(|task| self.reopen(task, None))
            .collect();
        refuse_if(records.is_empty(), "no task has failed").map(|()| records)
    }

    pub(super) fn reopen(&self, task: &Task, from: Option<RetryFrom>) -> Record {
        Record::Reopened {
            task: task.node.id.clone(),
            from: Some(from.unwrap_or_else(|| after::restart(task))),
        }
    }

    fn known(&self, id: &TaskId) -> Result<&Task, String> {
        let (_, task) = self.state.get(id).ok_or_else(|| self.no_such_task(id))?;
        match &task.past().closing {
            Some(closing) => Err(format!("it is being {}", closing.in_words())),
            None => Ok(task),
        }
    }

    fn no_such_task(&self, id: &TaskId) -> String {
        let ids = self.state.tasks.iter().map(|task| task.node.id.as_str());
        match crate::plan::nearest(id.as_str(), ids) {
            Some(near) => format!("there is no task `{id}`; did you mean `{near}`?"),
            None => format!("there is no task `{id}`"),
        }
    }

    fn unsettled(&self, id: &TaskId) -> Result<&Task, String> {
        let task = self.known(id)?;
        if matches!(task.phase, Phase::Settled(_)) {
            return Err(format!("it is settled: {}", task.phase.in_words()));
        }
        Ok(task)
    }
}

fn refuse_if(refused: bool, why: &str) -> Result<(), String> {
    if refused { Err(why.to_owned()) } else { Ok(()) }
}

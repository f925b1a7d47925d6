//! The laws, checked on the records alone, with a book of their own that shares no code with the engine.

mod attempts;
mod questions;
mod queue;
mod resolving;

use std::collections::{BTreeMap, BTreeSet};

use orch::engine::ending::Ending;
use orch::engine::event::{Author, PlanRevision, StopLevel, Verb};
use orch::engine::next::{Charge, Next};
use orch::engine::outcome::Outcome;
use orch::engine::record::{Miss, Record, Settlement, Stamped};
use orch::engine::start::RunStart;
use orch::engine::verification::Verdict as GatesSay;
use orch::ids::{ObjectId, SlotId, TaskId, Ticket};
use orch::plan::graph::{Gates, Node};
use orch::time::Wall;

use crate::bounds::{Bounds, Verdict, law};
use crate::consents::Consents;
use crate::smokes::Smokes;
use queue::Queued;

const REWRITTEN: &str = "a rewritten target";

/// What the records say so far.
#[derive(Default)]
pub(crate) struct Laws {
    pub tasks: BTreeMap<TaskId, Entry>,
    pub jobs: u32,
    /// Why nothing new may start.
    barred: Option<&'static str>,
    pub ended: Option<Outcome>,
    /// Whether agents are to be ended.
    pub(crate) ends_agents: bool,
    /// Tasks of which recovery has not said yet what became of them.
    unanswered: BTreeSet<TaskId>,
    /// The task for which a person asked for a retry in the record before.
    hurried: Option<TaskId>,
    /// Whether the record before was a failure: the end may follow at once, with orders under way.
    just_failed: bool,
    /// Sessions whose usage was recorded.
    pub(crate) sessions: u32,
    /// Whether the gates have yet to be asked about the untouched target.
    awaits_baseline: bool,
    has_baseline: bool,
    /// What gates said of landing commits: passed, and with a required one among them.
    judged: BTreeMap<ObjectId, (bool, bool)>,
    /// How many landing commits may be verified at once.
    pub gate_slots: usize,
    /// The landing queue: the task, what it is built on if not on the target's tip, its commit, and whether its gates
    /// have yet to speak.
    queue: Vec<Queued>,
    awaiting: BTreeSet<TaskId>,
    /// Landing commits that were built behind others.
    pub stacked: BTreeSet<ObjectId>,
    /// Which landing commits were announced, for which task and which opening of it.
    pub intended: BTreeMap<ObjectId, (TaskId, u32)>,
    /// The landings that have their receipt, in order.
    pub landed: Vec<ObjectId>,
    pub bounds: Bounds,
    consents: Consents,
    pub smokes: Smokes,
    resolvers: resolving::Resolvers,
}

/// A task in the book.
pub(crate) struct Entry {
    node: Node,
    newest: Node,
    in_plan: bool,
    fresh: bool,
    generation: u32,
    attempt: u32,
    spent: u32,
    asked: bool,
    /// Whether its session was cut off and waits in the slot.
    parked: bool,
    pub slot: Option<SlotId>,
    /// From the start of an attempt until its work has landed or is given up.
    under_way: bool,
    on_the_way_in: bool,
    pub done: Done,
    held: bool,
    left_out: bool,
    pause: Option<(Wall, Wall)>,
    landed_in: Option<u32>,
    /// Whether its commit waits for a person to clear the way.
    in_the_way: bool,
    /// Uncounted ends in a row, and uncounted conflicts of this opening.
    streak: u32,
    conflicts: u32,
    /// What judges its commit, by the newest plan.
    gates: Gates,
    /// What runs for it is to end, because a person settles it.
    pub(crate) closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    No,
    Satisfied,
    Failed,
}

impl Laws {
    pub(crate) fn follow(&mut self, stamped: &Stamped) -> Verdict {
        let at = stamped.at;
        self.bounds.follow(stamped)?;
        self.consents.follow(stamped)?;
        self.smokes.follow(stamped)?;
        self.resolvers.follow(stamped)?;
        let hurried = self.hurried.take();
        let just_failed = std::mem::take(&mut self.just_failed);
        if let Record::Superseded { ticket }
        | Record::AgentEnded { ticket, .. }
        | Record::Landed { ticket, .. }
        | Record::LandingMissed { ticket, .. } = &stamped.record
        {
            self.unanswered.remove(&ticket.task);
        }
        match &stamped.record {
            Record::RunStarted(start) => {
                self.take_over(&start.revision);
                self.jobs = start.jobs;
                self.gate_slots = start.policy.gate_slots as usize;
                self.awaits_baseline = start.baseline;
            }
            Record::RunResumed { start } => self.resumed(start),
            Record::PlanAccepted { revision } => self.take_over(revision),
            Record::AttemptStarted { ticket, slot, .. } => {
                self.attempt_started(ticket, *slot, at)?;
            }
            Record::AgentStarting {
                ticket,
                asks_status,
                continues,
                ..
            } => self.agent_starting(ticket, *asks_status, continues.is_some())?,
            Record::SessionDropped { task } => {
                let entry = self.tasks.get_mut(task).expect("a known task");
                law(entry.parked, || format!("{task} is not parked"))?;
                entry.parked = false;
                entry.under_way = false;
                entry.slot = None;
            }
            Record::ApprovalLapsed { .. }
            | Record::EvidenceLooked { .. }
            | Record::Resolving { .. }
            | Record::StartAsked { .. }
            | Record::ConflictsAnswered { .. }
            | Record::Observed { .. }
            | Record::Limited { .. }
            | Record::LimitLifted { .. }
            | Record::BreakerOpened { .. }
            | Record::BreakerClosed
            | Record::Smoked(_) => {}
            Record::AgentEnded { ticket, .. } => {
                law(self.entry(ticket).slot.is_some(), || {
                    format!("{ticket} ends without a slot")
                })?;
            }
            Record::Collected {
                ticket,
                next,
                usage,
                ..
            } => {
                self.sessions += usage.sessions;
                let entry = self.entry(ticket);
                law(entry.slot.is_some(), || {
                    format!("{ticket} collected without a slot")
                })?;
                if *next == Next::AskStatus {
                    return Ok(());
                }
                if let Next::Continue { charge } = next {
                    entry.parked = true;
                    entry.streak += u32::from(*charge == Charge::Streak);
                    let streak = entry.streak;
                    return law(streak <= 3 && *charge != Charge::Attempt, || {
                        format!("{ticket} goes on after the {streak}th uncounted end")
                    });
                }
                entry.slot = None;
                self.ended_as(ticket, *next, at)?;
            }
            Record::NotLandable {
                ticket, next, end, ..
            } => {
                // A person said no to what waits for approval.
                let rejected = self.awaiting.remove(&ticket.task);
                let guess = !rejected && self.leave_queue(&ticket.task)?.behind.is_some();
                let blames = matches!(
                    end.ending,
                    Ending::VerifyFailed
                        | Ending::Conflict
                        | Ending::PlanEditInvalid
                        | Ending::NoChange
                );
                law(!(guess && blames), || {
                    format!(
                        "{ticket} ends as {:?} by what was said of it behind others",
                        end.ending
                    )
                })?;
                self.entry(ticket).on_the_way_in = false;
                self.ended_as(ticket, *next, at)?;
            }
            Record::Building { ticket, behind } => {
                law(self.barred != Some(REWRITTEN), || {
                    format!("{ticket} builds on a rewritten target")
                })?;
                self.awaiting.remove(&ticket.task);
                self.enter_queue(ticket, behind.as_ref())?;
                let entry = self.entry(ticket);
                entry.on_the_way_in = true;
                entry.in_the_way = false;
            }
            Record::Verifying {
                ticket,
                commit,
                onto,
                ..
            } => {
                let of = self.queued(&ticket.task)?;
                law(
                    of.behind.as_ref().is_none_or(|behind| behind == onto),
                    || format!("{ticket} is built on another commit than ordered"),
                )?;
                of.commit = Some(commit.clone());
                if of.behind.is_some() {
                    self.stacked.insert(commit.clone());
                }
                let entry = self.entry(ticket);
                law(entry.on_the_way_in, || {
                    format!("{ticket} is verified unbuilt")
                })?;
            }
            Record::ApprovalAsked { ticket, .. } => {
                let first = self.leave_queue(&ticket.task)?;
                law(self.awaiting.insert(first.task), || {
                    format!("{ticket} is asked for twice")
                })?;
                self.entry(ticket).on_the_way_in = false;
            }
            Record::Verified {
                ticket,
                commit,
                result,
            } => {
                law(self.tasks[&ticket.task].on_the_way_in, || {
                    format!("{ticket} was verified unbuilt")
                })?;
                let passed = result.verdict == GatesSay::Passed;
                let vouched = passed && result.gates.iter().any(|gate| gate.required);
                let of = self.queued(&ticket.task)?;
                of.unjudged = false;
                of.red = matches!(result.verdict, GatesSay::Failed(_));
                law(!self.judged.contains_key(commit), || {
                    format!("{commit} is judged twice")
                })?;
                self.judged.insert(commit.clone(), (passed, vouched));
            }
            Record::Baselined { result } => self.baselined(result)?,
            Record::LandingIntended {
                ticket,
                commit,
                onto,
            } => {
                let last = self.landed.last().cloned();
                let of = self.queued(&ticket.task)?;
                law(of.behind.is_none() || last.as_ref() == Some(onto), || {
                    format!("{ticket} lands before what it was built on")
                })?;
                of.commit = Some(commit.clone());
                of.unjudged = false;
                let first = &self.queue[0].task;
                law(*first == ticket.task, || {
                    format!("{ticket} lands before {first}")
                })?;
                let judged = self.judged.get(commit).copied();
                let fits = match self.tasks[&ticket.task].gates {
                    Gates::None => judged.is_none_or(|(passed, _)| passed),
                    Gates::Optional => judged.is_some_and(|(passed, _)| passed),
                    Gates::Required => judged == Some((true, true)),
                };
                law(fits, || {
                    format!("{ticket} lands {commit}, of which gates say {judged:?}")
                })?;
                let entry = self.entry(ticket);
                law(entry.on_the_way_in, || format!("{ticket} lands unbuilt"))?;
                let generation = entry.generation;
                self.intended
                    .insert(commit.clone(), (ticket.task.clone(), generation));
            }
            Record::LandingMissed { ticket, why, .. } => {
                let left = self.leave_queue(&ticket.task)?;
                let is_named = !left.red
                    || left.behind.is_some()
                    || matches!(why, Miss::TargetRewritten | Miss::Lost);
                law(is_named, || {
                    format!("{ticket} is red on the tip, and goes on as {why:?}")
                })?;
                let entry = self.entry(ticket);
                entry.on_the_way_in = false;
                entry.in_the_way = matches!(why, Miss::InTheWay(_));
            }
            Record::Landed {
                ticket,
                commit,
                verified,
                generation,
            } => {
                let opened = self.entry(ticket).generation + 1;
                law(*generation == opened, || {
                    format!("{ticket} lands as generation {generation} of {opened}")
                })?;
                let vouched = self.judged.get(commit).is_some_and(|(_, vouched)| *vouched);
                law(*verified == vouched, || {
                    format!("{ticket} landed as verified: {verified}, and gates say {vouched}")
                })?;
                let first = self.leave_queue(&ticket.task)?;
                law(first.commit.as_ref() == Some(commit), || {
                    format!("{ticket} lands another commit than was built")
                })?;
                self.landed(ticket, commit)?;
            }
            Record::Settled { task, as_ } => self.settled(task, as_),
            Record::Reopened { task, .. } => {
                let entry = self.tasks.get_mut(task).expect("a known task");
                law(!entry.under_way, || format!("{task} reopened under way"))?;
                entry.generation += 1;
                entry.spent = 0;
                entry.streak = 0;
                entry.conflicts = 0;
                entry.fresh = true;
                entry.done = Done::No;
                entry.pause = None;
                entry.node = entry.newest.clone();
            }
            Record::Superseded { .. } | Record::Salvaged { .. } | Record::Discarded { .. } => {}
            Record::WaitEnded { task } => {
                let entry = self.tasks.get_mut(task).expect("a known task");
                let (since, until) = entry.pause.take().ok_or("a wait ends that is none")?;
                let over = at >= until || at < since || hurried.as_ref() == Some(task);
                law(over, || format!("the wait of {task} ends early"))?;
            }
            Record::Controlled {
                control,
                refused: None,
            } => match &control.verb {
                Verb::Hold { task } => self.tasks.get_mut(task).expect("a known task").held = true,
                Verb::Release { task } => {
                    self.tasks.get_mut(task).expect("a known task").held = false;
                }
                Verb::Jobs { count } => self.jobs = *count,
                Verb::Cancel { task } | Verb::Skip { task } | Verb::MarkDone { task, .. } => {
                    let entry = self.tasks.get_mut(task).expect("a known task");
                    let runs = entry.slot.is_some() && !entry.parked;
                    entry.closing = runs || entry.on_the_way_in;
                }
                Verb::Retry { task, .. } => self.hurried = Some(task.clone()),
                Verb::Stop { .. }
                | Verb::RetryFailed
                | Verb::Approve { .. }
                | Verb::Reject { .. }
                | Verb::Priority { .. }
                | Verb::Pause
                | Verb::Resume => {}
            },
            Record::Controlled {
                refused: Some(_), ..
            } => {}
            Record::Stopping { level, by } => {
                law(*level > StopLevel::Running && *by != Author::Orch, || {
                    "an empty stop".to_owned()
                })?;
                self.barred.get_or_insert("a stop");
                self.ends_agents = *level == StopLevel::EndAgents;
            }
            Record::TargetRewritten { .. } => self.barred = Some(REWRITTEN),
            Record::RunFailed { outcome, .. } => {
                self.barred.get_or_insert("a failure");
                self.ends_agents |= *outcome == Outcome::LimitReached;
                self.just_failed = true;
            }
            Record::RunEnded { outcome } => self.run_ended(*outcome, just_failed)?,
            Record::LandingFound { .. } | Record::LedgerRebuilt { .. } => {
                law(false, || "no live run decides that".to_owned())?;
            }
        }
        Ok(())
    }

    /// A task that could start and does not, although nothing keeps it: `None` if there is none.
    pub(crate) fn idle(&self, at: Wall) -> Option<&TaskId> {
        let leased = self.running();
        if self.awaits_baseline
            || self.barred.is_some()
            || self.ended.is_some()
            || leased >= self.jobs as usize
        {
            return None;
        }
        let idle = |entry: &&Entry| {
            entry.pause.is_none()
                && self.is_startable(entry)
                && !self.clashes(entry)
                && self.bounds.is_free(&entry.node.id, at)
        };
        self.tasks.values().find(idle).map(|entry| &entry.node.id)
    }

    pub(crate) fn is_reopened(&self, task: &TaskId) -> bool {
        self.tasks[task].generation > 0
    }

    fn running(&self) -> usize {
        let runs = |entry: &&Entry| entry.slot.is_some() && !entry.parked;
        self.tasks.values().filter(runs).count()
    }

    fn entry(&mut self, ticket: &Ticket) -> &mut Entry {
        self.tasks.get_mut(&ticket.task).expect("a known task")
    }

    fn take_over(&mut self, revision: &PlanRevision) {
        for entry in self.tasks.values_mut() {
            entry.in_plan = false;
        }
        for node in &revision.graph.nodes {
            let entry = self.tasks.entry(node.id.clone()).or_insert_with(|| Entry {
                node: Node::clone(node),
                newest: Node::clone(node),
                in_plan: true,
                fresh: true,
                generation: 0,
                attempt: 0,
                spent: 0,
                asked: false,
                parked: false,
                slot: None,
                under_way: false,
                on_the_way_in: false,
                done: Done::No,
                held: false,
                left_out: false,
                pause: None,
                landed_in: None,
                in_the_way: false,
                streak: 0,
                conflicts: 0,
                closing: false,
                gates: node.gates,
            });
            entry.in_plan = true;
            entry.gates = node.gates;
            entry.newest = Node::clone(node);
            if entry.fresh {
                entry.node = Node::clone(node);
            }
        }
    }

    fn resumed(&mut self, start: &RunStart) {
        self.barred = None;
        let had_ended = self.ended.take().is_some();
        self.ends_agents = false;
        self.awaits_baseline = start.baseline && !self.has_baseline;
        self.jobs = start.jobs;
        self.gate_slots = start.policy.gate_slots as usize;
        // Those that were judged and had not landed are built anew.
        let judged = |of: &Queued| {
            let intended = of
                .commit
                .as_ref()
                .is_some_and(|c| self.intended.contains_key(c));
            !of.unjudged && !intended
        };
        for of in self.queue.extract_if(.., |of| judged(of)) {
            self.tasks
                .get_mut(&of.task)
                .expect("a known task")
                .on_the_way_in = false;
        }
        for (task, entry) in &mut self.tasks {
            entry.left_out = false;
            if entry.parked && had_ended {
                entry.parked = false;
                entry.under_way = false;
                entry.slot = None;
            }
            if (entry.slot.is_some() && !entry.parked) || entry.on_the_way_in {
                self.unanswered.insert(task.clone());
            }
            entry.in_the_way = false;
        }
        self.take_over(&start.revision);
    }

    fn ended_as(&mut self, ticket: &Ticket, next: Next, at: Wall) -> Verdict {
        let entry = self.entry(ticket);
        let charge = match next {
            Next::Land => return Ok(()),
            Next::Complete => {
                entry.done = Done::Satisfied;
                Charge::Nothing
            }
            Next::Retry {
                at: until, charge, ..
            } => {
                entry.pause = until.map(|until| (at, until));
                charge
            }
            Next::Fail { charge } => {
                entry.done = Done::Failed;
                law(charge == Charge::Attempt, || {
                    format!("{ticket} fails for nothing")
                })?;
                charge
            }
            Next::Nothing => Charge::Nothing,
            Next::AskStatus | Next::Continue { .. } => {
                return Err(format!("{ticket} is asked from the landing queue"));
            }
        };
        entry.under_way = false;
        entry.spent += u32::from(charge == Charge::Attempt);
        entry.conflicts += u32::from(charge == Charge::Conflict);
        entry.streak = match charge {
            Charge::Streak => entry.streak + 1,
            Charge::Nothing => entry.streak,
            Charge::Attempt | Charge::Conflict => 0,
        };
        let (streak, conflicts) = (entry.streak, entry.conflicts);
        law(streak <= 3 && conflicts <= 2, || {
            format!(
                "{ticket} is the {streak}th uncounted end in a row or the {conflicts}th conflict"
            )
        })?;
        let (spent, most) = (entry.spent, entry.node.max_attempts);
        law(spent <= most, || {
            format!("{ticket} spends {spent} of {most} attempts")
        })?;
        law(
            (entry.done == Done::Failed) == (spent == most)
                || entry.done == Done::Satisfied
                || charge != Charge::Attempt,
            || format!("{ticket} fails with {spent} of {most} attempts spent, or does not"),
        )
    }

    fn settled(&mut self, task: &TaskId, as_: &Settlement) {
        if *as_ != Settlement::LeftOut {
            self.queue.retain(|of| of.task != *task);
            self.awaiting.remove(task);
        }
        let entry = self.tasks.get_mut(task).expect("a known task");
        entry.closing &= *as_ == Settlement::LeftOut;
        entry.under_way &= *as_ == Settlement::LeftOut;
        entry.on_the_way_in &= *as_ == Settlement::LeftOut;
        if entry.parked && *as_ != Settlement::LeftOut {
            entry.parked = false;
            entry.slot = None;
        }
        entry.done = match as_ {
            Settlement::LeftOut => {
                entry.left_out = true;
                return;
            }
            Settlement::DeclaredFailed | Settlement::Cancelled | Settlement::Reverted { .. } => {
                Done::Failed
            }
            Settlement::Removed => {
                // If it comes back, it comes back as new, and waits for nothing.
                (entry.fresh, entry.pause) = (true, None);
                Done::No
            }
            Settlement::Believed
            | Settlement::LandedBefore { .. }
            | Settlement::MarkedDone { .. }
            | Settlement::Skipped => Done::Satisfied,
        };
    }
}

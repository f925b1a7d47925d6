//! One plain line for each record that a person wants to hear of.

use crate::engine::conflict;
use crate::engine::ending::{AttemptEnd, Ending, headline};
use crate::engine::event::{Author, Control, StopLevel, Verb};
use crate::engine::next::{Charge, Next};
use crate::engine::record::{Miss, Record, Settlement, Stamped};
use crate::engine::salvage::{Salvage, SalvageOf};
use crate::engine::table::Signal;
use crate::engine::verification::{GateRecord, Smoke, Verdict, Verification};
use crate::ids::TaskId;
use crate::time::{Wall, for_people};

/// What a line is about; decides its colour where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Work goes on.
    Plain,
    /// Something was achieved.
    Good,
    /// Something needs attention.
    Bad,
    /// Detail.
    Dim,
}

/// A line, without time and colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What it is about.
    pub(super) tone: Tone,
    /// `2.1  started, attempt 1`.
    pub(super) text: String,
}

impl Line {
    fn new(tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { tone, text }
    }
}

fn plain(text: impl Into<String>) -> Line {
    Line::new(Tone::Plain, text)
}

fn good(text: impl Into<String>) -> Line {
    Line::new(Tone::Good, text)
}

fn bad(text: impl Into<String>) -> Line {
    Line::new(Tone::Bad, text)
}

fn dim(text: impl Into<String>) -> Line {
    Line::new(Tone::Dim, text)
}

/// That a person is still asked for an approval.
pub(super) fn still_asked(task: &TaskId) -> Line {
    bad(format!(
        "{task}  still waits for approval: `orch gates {task}` shows it, `orch approve {task}` lets it go on"
    ))
}

/// The line of a record, if people hear of it at all. `name` gives a task's name.
pub(super) fn of(stamped: &Stamped, name: &dyn Fn(&TaskId) -> String) -> Option<Line> {
    let made = match &stamped.record {
        Record::RunStarted(start) => plain(format!(
            "run {} of {} onto {}",
            stamped.run,
            start.plan,
            start.target.short()
        )),
        Record::RunResumed { start } => plain(format!(
            "run {} of {} goes on, onto {}",
            stamped.run,
            start.plan,
            start.target.short()
        )),
        Record::PlanAccepted { revision } => match &revision.by {
            Author::Agent(task) => plain(format!(
                "{task}  extended the plan: {} tasks now",
                revision.graph.nodes.len()
            )),
            Author::Person(_) => plain(format!(
                "the plan was edited: {} tasks now",
                revision.graph.nodes.len()
            )),
            Author::Signal | Author::StopFile | Author::Orch => return None,
        },
        Record::AttemptStarted { ticket, .. } => plain(format!(
            "{}  {}: attempt {}",
            ticket.task,
            name(&ticket.task),
            ticket.attempt
        )),
        Record::AgentStarting {
            ticket,
            asks_status: true,
            ..
        } => dim(format!(
            "{}  left no status; its session is asked for it",
            ticket.task
        )),
        Record::Collected {
            ticket,
            end,
            told: left,
            next,
            ..
        } => {
            let notes = told(&left.notes, &left.meanwhile);
            return collected(&ticket.task, end, &notes, next, stamped.at);
        }
        Record::Verified { ticket, result, .. } => {
            let said = said(result, as_it_is)?;
            let how = match result.vouches() {
                true => "verified",
                false => "not required",
            };
            dim(format!("{}  {how}: {said}", ticket.task))
        }
        Record::StartAsked { task } => bad(format!(
            "{task}  waits for your approval of its start: `orch gates {task}` shows it, `orch approve {task}` lets it start"
        )),
        Record::ApprovalAsked { ticket, shown } => bad(format!(
            "{0}  waits for approval of {1}: `orch gates {0}` shows it, `orch approve {0}` lets it land",
            ticket.task,
            shown.commit.short()
        )),
        Record::ApprovalLapsed { task } => dim(format!(
            "{task}  what was approved is not what it would be now; it will be asked again"
        )),
        Record::EvidenceLooked {
            task, found: true, ..
        } => good(format!("{task}  the evidence it needs is there")),
        Record::EvidenceLooked { task, said, .. } => {
            dim(format!("{task}  waits for evidence: {said}"))
        }
        Record::Baselined { result } => dim(format!(
            "the gates on the untouched target: {}",
            said(result, GateRecord::said_beforehand)?
        )),
        Record::Smoked(smoke) => return smoked(smoke),
        Record::Resolving { ticket, resolving } => plain(format!(
            "{}  attempt {} resolves {}",
            ticket.task,
            ticket.attempt,
            resolving.in_words()
        )),
        Record::ConflictsAnswered {
            ticket, answers, ..
        } => dim(format!(
            "{}  conflicts were settled as you said: {}",
            ticket.task,
            conflict::in_words(answers)
        )),
        Record::NotLandable {
            ticket, end, next, ..
        } => bad(format!(
            "{}  cannot land: {}{}",
            ticket.task,
            headline(&end.detail),
            then(end.ending, next, stamped.at)
        )),
        Record::LandingMissed { ticket, why, .. } => missed(&ticket.task, why),
        Record::Landed {
            ticket,
            commit,
            verified,
            ..
        } => good(format!(
            "{}  landed as {}{}",
            ticket.task,
            commit.short(),
            if *verified { "" } else { ", unverified" }
        )),
        Record::Settled { task, as_ } => return settled(task, as_),
        Record::Salvaged { salvage } => dim(salvaged(salvage)),
        Record::Reopened { task, .. } => plain(format!("{task}  is open again")),
        Record::Controlled { control, refused } => return controlled(control, refused.as_deref()),
        Record::Stopping { level, by } => stopping(*level, by),
        Record::TargetRewritten { found } => bad(match found {
            Some(at) => format!(
                "the target was rewritten: it stands at {} and no longer holds what was landed",
                at.short()
            ),
            None => "the target is gone".to_owned(),
        }),
        Record::RunFailed { detail, .. } => {
            bad(format!("the run cannot go on: {}", headline(detail)))
        }
        Record::RunEnded { outcome } => plain(format!("run ended: {}", outcome.in_words())),
        Record::LandingFound { task, commit, .. } => plain(format!(
            "{task}  landed as {}: found in the history",
            commit.short()
        )),
        Record::LedgerRebuilt { lost } => bad(format!(
            "run over: the ledger was rebuilt without {}",
            lost.join(", ")
        )),
        Record::AgentStarting {
            ticket,
            continues: Some(_),
            ..
        } => plain(format!(
            "{}  goes on, attempt {}",
            ticket.task, ticket.attempt
        )),
        Record::SessionDropped { task } => dim(format!(
            "{task}  keeps what it made; its session does not go on, the next attempt starts from there and nothing is spent"
        )),
        Record::Limited {
            asked: Some(task), ..
        }
        | Record::BreakerOpened {
            asked: Some(task), ..
        } => plain(format!("{task}  is tried now, as a person asked")),
        Record::Limited {
            entitlement,
            hit,
            until,
            ..
        } => bad(format!(
            "{} of {entitlement} is reached; one task tries again {}",
            hit.scope.in_words(),
            clock(*until, stamped.at)
        )),
        Record::LimitLifted { entitlement, scope } => {
            good(format!("{} of {entitlement} is over", scope.in_words()))
        }
        Record::BreakerOpened { cause, until, .. } => bad(format!(
            "nothing new starts: {cause}; {}",
            match *until > stamped.at {
                true => tries_again(&clock(*until, stamped.at)),
                false => tries_again("now"),
            }
        )),
        Record::BreakerClosed => good("it works again; tasks start as before"),
        Record::AgentStarting {
            asks_status: false, ..
        }
        | Record::AgentEnded { .. }
        | Record::Observed { .. }
        | Record::Building { .. }
        | Record::Verifying { .. }
        | Record::LandingIntended { .. }
        | Record::Superseded { .. }
        | Record::WaitEnded { .. }
        | Record::Discarded { .. } => return None,
    };
    Some(made)
}

/// Why a candidate has not landed yet.
fn missed(task: &TaskId, why: &Miss) -> Line {
    match why {
        Miss::TipMoved => dim(format!(
            "{task}  the target moved meanwhile; landing again on its new tip"
        )),
        Miss::Lost => dim(format!(
            "{task}  had not landed when the last orch died; landing again"
        )),
        Miss::TargetRewritten => bad(format!("{task}  did not land: the target was rewritten")),
        Miss::InTheWay(what) => bad(format!("{task}  waits for you before it can land: {what}")),
        Miss::Trouble(detail) => bad(format!("{task}  could not land yet: {}", headline(detail))),
        Miss::GatesBroken(detail) => bad(format!(
            "{task}  could not be verified yet: {}",
            headline(detail)
        )),
        Miss::GatesEnded => dim(format!("{task}  is not verified: its gates were ended")),
        Miss::Unapproved(why) => bad(format!("{task}  did not land: {why}")),
        Miss::Unstacked => dim(format!(
            "{task}  is built anew: what it was built on does not land"
        )),
        Miss::Suspected(what) => dim(format!(
            "{task}  is tried alone: behind others, {}",
            headline(what)
        )),
        Miss::GatesChanged => dim(format!(
            "{task}  is verified again: the plan asks for other gates"
        )),
    }
}

fn stopping(level: StopLevel, by: &Author) -> Line {
    let who = match by {
        Author::Person(name) => format!("asked by {name}"),
        Author::Signal => "asked by a signal".to_owned(),
        Author::StopFile => "asked by the stop file".to_owned(),
        Author::Agent(_) | Author::Orch => "by orch".to_owned(),
    };
    match level {
        StopLevel::EndAgents => bad(format!(
            "stopping, {who}: agents are ended, their work is kept"
        )),
        StopLevel::Drain | StopLevel::Running => bad(format!(
            "stopping, {who}: running tasks finish, no new one starts"
        )),
    }
}

/// Notes as lines of their own below the line of their task.
fn told(notes: &[String], meanwhile: &[String]) -> String {
    notes
        .iter()
        .chain(meanwhile)
        .map(|n| format!("\n        note: {n}"))
        .collect()
}

/// What gates that passed have said; of others the records that follow tell.
fn said(result: &Verification, word: fn(&GateRecord) -> String) -> Option<String> {
    let has_said = result.verdict == Verdict::Passed && !result.gates.is_empty();
    has_said.then(|| in_words(&result.gates, word))
}

fn smoked(smoke: &Smoke) -> Option<Line> {
    let commit = smoke.commit.short();
    match &smoke.result.verdict {
        Verdict::Passed => {
            let said = in_words(&smoke.result.gates, as_it_is);
            Some(good(format!("smoke on {commit}: {said}")))
        }
        Verdict::Failed(why) => Some(bad(format!("smoke on {commit}: {why}"))),
        // What follows says it all.
        Verdict::Broken(_) | Verdict::Interrupted => None,
    }
}

fn as_it_is(gate: &GateRecord) -> String {
    gate.result.in_words().to_owned()
}

/// `test passed (12 tests, 3.4 s), lint passed (as recorded before)`.
fn in_words(gates: &[GateRecord], word: fn(&GateRecord) -> String) -> String {
    let gate = |gate: &GateRecord| {
        let mut facts = Vec::new();
        if let Some(counts) = gate.counts {
            facts.push(counts.in_words());
        }
        facts.push(match gate.reused {
            true => "as recorded before".to_owned(),
            false => for_people(gate.ms),
        });
        format!("{} {} ({})", gate.name, word(gate), facts.join(", "))
    };
    let gates: Vec<String> = gates.iter().map(gate).collect();
    gates.join(", ")
}

fn collected(task: &TaskId, end: &AttemptEnd, notes: &str, next: &Next, at: Wall) -> Option<Line> {
    let made = match next {
        Next::Land if notes.is_empty() => return None,
        Next::Land => dim(format!("{task}  is ready to land{notes}")),
        // `orch show` has all of a report.
        Next::Complete => good(match headline(&end.detail) {
            "" => format!("{task}  completed, no commit{notes}"),
            said => format!("{task}  completed, no commit: {said}{notes}"),
        }),
        Next::AskStatus if notes.is_empty() => return None,
        Next::AskStatus => dim(format!("{task}  ended without a status{notes}")),
        Next::Continue { .. } | Next::Retry { .. } | Next::Fail { .. } | Next::Nothing => {
            bad(format!(
                "{task}  {}: {}{}{notes}",
                end.ending.in_words(),
                headline(&end.detail),
                then(end.ending, next, at)
            ))
        }
    };
    Some(made)
}

/// `in 4 h 20 min (at 11-21 15:00:30)`.
fn clock(at: Wall, now: Wall) -> String {
    let local = at.to_utc().map(|at| {
        let local = at.with_timezone(&chrono::Local);
        local.format(" (at %m-%d %H:%M:%S)").to_string()
    });
    format!(
        "in {}{}",
        for_people(at.ms_since(now)),
        local.unwrap_or_default()
    )
}

/// What an open breaker waits for, and what a person can do meanwhile.
pub(super) fn tries_again(when: &str) -> String {
    format!(
        "one task tries again {when}; the wait costs no attempt; `orch retry TASK` ends it, `orch stop` ends the run"
    )
}

fn then(ending: Ending, next: &Next, now: Wall) -> String {
    match next {
        Next::Retry { at, charge, .. } => {
            let when = match at {
                Some(at) => format!("in {}", for_people(at.ms_since(now))),
                None if ending.row().breaker == Signal::Opens => {
                    "when that may have passed".to_owned()
                }
                None if ending == Ending::Interrupted => "when the run goes on".to_owned(),
                None => "now".to_owned(),
            };
            format!(
                "; tried again {when}{}",
                if *charge == Charge::Attempt {
                    ""
                } else {
                    " (costs no attempt)"
                }
            )
        }
        Next::Fail { .. } => "; no attempts left, the task has failed".to_owned(),
        Next::Continue { .. } => "; its session goes on later (costs no attempt)".to_owned(),
        Next::Land | Next::Complete | Next::AskStatus | Next::Nothing => String::new(),
    }
}

fn salvaged(salvage: &Salvage) -> String {
    let what = match salvage.of {
        SalvageOf::Files => "files that were not collected",
        SalvageOf::Commits => "commits that the agent made beside its result",
    };
    format!(
        "{}  attempt {} left {what}; they are saved: `orch salvage show {}`",
        salvage.task,
        salvage.attempt,
        salvage.id()
    )
}

fn settled(task: &TaskId, as_: &Settlement) -> Option<Line> {
    let (tone, words) = match as_ {
        Settlement::Believed | Settlement::LandedBefore { .. } | Settlement::LeftOut => {
            return None; // `together`
        }
        Settlement::MarkedDone { .. } => (Tone::Good, "is done, says a person"),
        Settlement::Skipped => (Tone::Dim, "is skipped"),
        Settlement::DeclaredFailed => (
            Tone::Bad,
            "has failed according to the plan; `orch retry` gives it fresh attempts",
        ),
        Settlement::Cancelled => (Tone::Bad, "is cancelled"),
        Settlement::Reverted { .. } => (Tone::Bad, "was undone on the target"),
        Settlement::Removed => (Tone::Dim, "is no longer in the plan"),
    };
    Some(Line::new(tone, format!("{task}  {words}")))
}

fn controlled(control: &Control, refused: Option<&str>) -> Option<Line> {
    let Some(why) = refused else {
        let by = match &control.by {
            Author::Person(name) => format!(" by {name}"),
            Author::Agent(_) | Author::Signal | Author::StopFile | Author::Orch => String::new(),
        };
        let said = match &control.note {
            Some(note) => format!("{by} ({note})"),
            None => by,
        };
        return match &control.verb {
            Verb::Pause => Some(bad(format!(
                "paused{said}: what runs goes on, nothing new starts until `orch resume`"
            ))),
            Verb::Resume => Some(good(format!("goes on after the pause{said}"))),
            Verb::Hold { task } => Some(bad(format!(
                "{task}  held{said}; `orch release {task}` lets it go on"
            ))),
            Verb::Release { task } => Some(good(format!("{task}  released{said}"))),
            // What the others change is told by the records that follow.
            _ => None,
        };
    };
    let what = verb_in_words(&control.verb);
    Some(bad(format!("`{what}` is refused: {why}")))
}

/// A decision as it is typed.
pub(super) fn verb_in_words(verb: &Verb) -> String {
    match verb {
        Verb::Stop { .. } => "stop".to_owned(),
        Verb::Cancel { task } => format!("cancel {task}"),
        Verb::Hold { task } => format!("hold {task}"),
        Verb::Release { task } => format!("release {task}"),
        Verb::Skip { task } => format!("skip {task}"),
        Verb::Retry { task, .. } => format!("retry {task}"),
        Verb::RetryFailed => "retry --failed".to_owned(),
        Verb::MarkDone { task, .. } => format!("done {task}"),
        Verb::Approve { task, .. } => format!("approve {task}"),
        Verb::Reject { task } => format!("reject {task}"),
        Verb::Priority { task, .. } => format!("priority {task}"),
        Verb::Jobs { .. } => "jobs".to_owned(),
        Verb::Pause => "pause".to_owned(),
        Verb::Resume => "resume".to_owned(),
    }
}

//! Why a task stands where it stands: the rule and its numbers, a line each.

use super::Engine;
use super::bars::Bar;
use super::blockage::Blockage;
use super::conflict;
use super::ending::headline;
use super::event::{Author, Decision, StopLevel};
use super::limiter::Stage;
use super::phase::{Phase, Settled};
use super::state::State;
use super::task::Task;
use super::topology::Ix;
use crate::ids::TaskId;
use crate::time::{Wall, for_people};

impl Engine {
    /// Why the task is not further than it is, the decisive reason first; empty if there is no such task.
    pub fn why(&self, id: &TaskId) -> Vec<String> {
        let Some((ix, task)) = self.state.get(id) else {
            return Vec::new();
        };
        let mut lines = match &task.phase {
            _ if task.lost => {
                vec!["recovery has not yet found out what became of its last order".to_owned()]
            }
            Phase::Open { .. } => why_not_started(&self.state, ix, self.heard),
            Phase::Parked { slot, .. } => {
                let mut lines = vec![format!(
                    "attempt {} was cut off and goes on in slot {slot}",
                    task.attempt
                )];
                lines.extend(held(task));
                lines.extend(run_reason(&self.state));
                lines.extend(why_barred(&self.state, ix, self.heard));
                lines
            }
            Phase::Preparing { slot } => {
                vec![format!("attempt {} prepares slot {slot}", task.attempt)]
            }
            Phase::Executing {
                slot, asked: false, ..
            } => match &task.past().resolving {
                None => vec![format!("attempt {} runs in slot {slot}", task.attempt)],
                Some(resolving) => vec![format!(
                    "attempt {} resolves {} in slot {slot}; their gates judge the result, too",
                    task.attempt,
                    resolving.in_words()
                )],
            },
            Phase::Executing {
                slot, asked: true, ..
            } => {
                vec![format!(
                    "attempt {} left no status and is asked for it in slot {slot}",
                    task.attempt
                )]
            }
            Phase::Collecting { .. } => {
                vec![format!("what attempt {} left is being read", task.attempt)]
            }
            Phase::Queued { .. } => why_not_landing(&self.state, ix),
            Phase::Building { .. } => {
                let on = behind(&self.state, ix).unwrap_or_else(|| "the target's tip".to_owned());
                vec![format!("its landing commit is being made on {on}")]
            }
            Phase::Verifying { commit, .. } => {
                let on = behind(&self.state, ix)
                    .map_or_else(String::new, |on| format!(", built on {on},"));
                let mut lines = vec![format!(
                    "the gates of its landing commit {}{on} are asked{}",
                    commit.short(),
                    answered(task)
                )];
                lines.extend(suspicion(task));
                lines
            }
            Phase::Judged { commit, .. } => {
                let on = behind(&self.state, ix);
                vec![format!(
                    "nothing speaks against its landing commit {}; it lands after {}",
                    commit.short(),
                    on.unwrap_or_else(|| "recovery".to_owned())
                )]
            }
            Phase::Landing { commit, .. } => {
                vec![format!("the target is being moved to {}", commit.short())]
            }
            Phase::Settled(settled) => {
                let mut lines = vec![why_settled(task, settled)];
                let landed = matches!(settled, Settled::Landed { .. });
                lines.extend(landed.then(|| smoke(&self.state)).flatten());
                lines
            }
        };
        if let Some(closing) = &task.past().closing {
            lines.insert(
                0,
                format!(
                    "it will be {} as soon as what is under way has ended",
                    closing.in_words()
                ),
            );
        }
        if let Some(end) = task
            .past()
            .last_end
            .as_ref()
            .filter(|_| task.is_open() && task.attempt > 0)
        {
            lines.push(format!(
                "attempt {} ended: {}: {}; {} of {} attempts are spent",
                task.attempt,
                end.ending.in_words(),
                headline(&end.detail),
                task.spent,
                task.node.max_attempts
            ));
        }
        if task.is_open() && !task.phase.is_under_way() {
            let why = self.state.why_model(ix);
            lines.extend(why.map(|why| format!("its next attempt gets {why}")));
            let most = &self.state.policy.budgets.task;
            if let Some(most) = most.cost {
                let spent = task.past().charged.cost;
                lines.push(format!("~{spent} of {most} are spent on it"));
            }
        }
        lines
    }
}

fn why_not_started(state: &State, ix: Ix, at: Wall) -> Vec<String> {
    let task = &state.tasks[ix];
    if task.left_out {
        return vec!["this run was asked for other tasks and leaves it out".to_owned()];
    }
    let mut lines = Vec::new();
    lines.extend(held(task));
    if let Some(chain) = chain(state, ix) {
        lines.push(chain);
        return lines;
    }
    for need in state
        .topology
        .needs(ix)
        .iter()
        .filter(|&&need| !state.is_met(need))
    {
        let words = need_in_words(state, ix, need.on);
        let on = &state.tasks[need.on];
        lines.push(match on.satisfies() {
            false => format!("needs {words}, which is {}", on.phase.in_words()),
            true => {
                format!("needs {words} with all that it needs, of which something is not settled")
            }
        });
    }
    lines.extend(why_no_consent(state, ix));
    if let Phase::Open { pause: Some(pause) } = task.phase {
        lines.push(match pause.until.to_utc() {
            Some(until) => format!(
                "waits until {} before its next attempt",
                until.format("%H:%M:%S UTC")
            ),
            None => "waits before its next attempt".to_owned(),
        });
    }
    let run = run_reason(state);
    // What kept it from starting is why the run ended, or stands beside that.
    if lines.is_empty() && (run.is_none() || state.ended.is_some()) && state.is_ready(ix) {
        lines.extend(why_barred(state, ix, at));
    }
    lines.extend(run);
    if lines.is_empty() {
        lines.push(why_not_scheduled(state, ix));
    }
    lines
}

fn held(task: &Task) -> Option<String> {
    let hold = task.held.as_ref()?;
    Some(format!(
        "{} holds it; `orch release {}` lets it go on",
        who(hold),
        task.node.id
    ))
}

/// Who decided, and their words: `Ann (wait for Bob)`.
fn who(decision: &Decision) -> String {
    let who = match &decision.by {
        Author::Person(name) => name.as_str(),
        Author::Agent(_) | Author::Signal | Author::StopFile | Author::Orch => "a person",
    };
    match &decision.note {
        Some(note) => format!("{who} ({note})"),
        None => who.to_owned(),
    }
}

/// The rule that bars a start, with its numbers, and what gets around it.
fn why_barred(state: &State, ix: Ix, at: Wall) -> Option<String> {
    let bar = state.bar(ix, at)?;
    let policy = &state.policy;
    let until = match bar.until() {
        Some(until) => format!("goes on at {}", clock(until)),
        None if bar.is_final() => "is not waited for".to_owned(),
        None => "goes on when what runs has ended".to_owned(),
    };
    Some(match bar {
        Bar::Limit(limit, _) => {
            let whose = format!("{} of {}", limit.hit.scope.in_words(), limit.entitlement);
            let resets = match limit.hit.resets_at {
                Some(resets_at) => format!(
                    "resets at {}, and {} later one task tries",
                    clock(resets_at),
                    for_people(policy.limit_margin_ms)
                ),
                None => format!(
                    "says no reset, so that one task tries now and then ({} did)",
                    limit.probes
                ),
            };
            match (&limit.stage, &limit.asked) {
                (Stage::Closed, Some(task)) => {
                    format!("{whose} is reached, and {task} is to try first, as a person asked")
                }
                (Stage::Closed, None) => {
                    format!(
                        "{whose} is reached; it {resets}; {until}; `orch retry TASK` ends the wait"
                    )
                }
                (Stage::Probing(task), _) => format!("{task} tries whether {whose} is over"),
                (Stage::Easing, _) => {
                    format!("{whose} is over; tasks that waited start one after the other; {until}")
                }
            }
        }
        Bar::Window(window, _) => format!(
            "the {} window is used to {}, and from {} on nothing new starts (--pause-at); {until}",
            window.kind,
            percent(window.utilisation),
            percent(policy.pause_at.unwrap_or_default()),
        ),
        Bar::Breaker(open, _) => match (&open.probe, &open.asked) {
            (None, Some(task)) => format!(
                "the breaker is open ({}), and {task} is to try first, as a person asked",
                open.cause
            ),
            (Some(task), _) => format!("the breaker is open ({}), and {task} tries", open.cause),
            (None, None) => format!(
                "the breaker is open ({}) for {}; {} of {} probes have failed; {until}; `orch retry TASK` ends the wait",
                open.cause,
                for_people(policy.breaker_reset_ms),
                state.breaker.failed_probes,
                policy.breaker_reopenings
            ),
        },
        Bar::Budget(refusal, _) => format!(
            "{} does not let it start: {}; {until}",
            refusal.level.in_words(),
            refusal.what
        ),
    })
}

fn percent(thousandths: u32) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

fn clock(at: Wall) -> String {
    at.to_utc().map_or_else(
        || "an unknown time".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// What keeps the whole run from starting anything.
fn run_reason(state: &State) -> Option<String> {
    match (&state.ended, &state.failed, state.stop) {
        (Some(outcome), _, _) => Some(format!(
            "the run has ended: {}; `orch run` goes on",
            outcome.in_words()
        )),
        (None, Some(failure), _) => Some(format!(
            "the run cannot go on: {}",
            headline(&failure.detail)
        )),
        (None, None, _) if state.parked => {
            Some("the target no longer contains what was landed; a person must look".to_owned())
        }
        (None, None, StopLevel::Drain | StopLevel::EndAgents) => {
            Some("the run is stopping; nothing new starts".to_owned())
        }
        (None, None, StopLevel::Running) => state
            .paused
            .as_ref()
            .map(|by| format!("{} paused the run; `orch resume` lets it go on", who(by))),
    }
}

/// What people or evidence still owe to a task whose turn it would be.
fn why_no_consent(state: &State, ix: Ix) -> Vec<String> {
    let task = &state.tasks[ix];
    let id = &task.node.id;
    let mut lines = Vec::new();
    if !state.awaits_consent(ix) {
        return lines;
    }
    if task.awaits_approval() {
        let what = match task.past().consent.asked() {
            Some(shown) => format!("{} is to be approved before it lands", shown.commit.short()),
            None => "its start is to be approved".to_owned(),
        };
        let signed = match state.policy.signed_approvals {
            true => " --signed",
            false => "",
        };
        lines.push(format!(
            "{what}: `orch gates {id}`, then `orch approve {id}{signed}` or `orch reject {id}`"
        ));
    }
    if task.awaits_evidence() {
        let said = match task.past().supply.said.as_str() {
            "" => String::new(),
            said => format!(", the last look said: {said}"),
        };
        lines.push(format!("the evidence it needs is not there{said}"));
    }
    lines
}

fn why_not_scheduled(state: &State, ix: Ix) -> String {
    if state.awaits_baseline {
        return "the gates are asked about the untouched target first".to_owned();
    }
    if let Some((other, conflict)) = state.clash(ix) {
        let other = &state.tasks[other];
        return format!(
            "{} is {} and {conflict}",
            other.node.id,
            other.phase.in_words()
        );
    }
    let running = state.running();
    if state.free_slot().is_none() {
        let ahead = (0..state.tasks.len())
            .filter(|&other| state.is_ready(other) && state.rank(other) < state.rank(ix))
            .count();
        return format!(
            "all {} slots are taken ({running} running), and {ahead} ready tasks go first (priority {}, {} tasks on its path)",
            state.jobs,
            state.tasks[ix].priority(),
            state.topology.remaining(ix)
        );
    }
    "nothing keeps it from starting".to_owned()
}

/// The task whose landing commit that of another is built on.
fn behind(state: &State, ix: Ix) -> Option<String> {
    let queue = state.queue();
    let at = queue.iter().position(|&other| other == ix)?;
    let before = &state.tasks[*queue.get(at.checked_sub(1)?)?];
    Some(format!(
        "{} (which is {})",
        before.node.id,
        before.phase.in_words()
    ))
}

fn suspicion(task: &Task) -> Option<String> {
    let what = task.past().suspected.as_deref()?.lines().next()?;
    Some(format!(
        "behind others that had not landed this was said of it, and it is tried alone: {what}"
    ))
}

fn why_not_landing(state: &State, ix: Ix) -> Vec<String> {
    let task = &state.tasks[ix];
    if task.awaits_approval() {
        return why_no_consent(state, ix);
    }
    let mut lines: Vec<String> = suspicion(task).into_iter().collect();
    if let Some(what) = task.phase.in_the_way() {
        lines.push(format!("its commit is ready, and cannot land: {what}"));
    } else if let Phase::Queued {
        pause: Some(pause), ..
    } = &task.phase
    {
        let when = pause
            .until
            .to_utc()
            .map(|until| until.format(" before %H:%M:%S UTC").to_string());
        lines.push(format!(
            "its landing did not come about ({} times the target moved, {} times git refused) and is not tried again{}",
            task.missed,
            task.troubles,
            when.unwrap_or_default()
        ));
    }
    if state.parked {
        lines.push("the target no longer contains what was landed; a person must look".to_owned());
    }
    let queue = state.queue();
    if let Some(&other) = queue.first() {
        let other = &state.tasks[other];
        let (id, stands) = (&other.node.id, other.phase.in_words());
        let place = state.queue_position(ix).unwrap_or_default();
        lines.push(match state.policy.gate_slots {
            1 => format!("{id} is {stands}; one task lands at a time, and this one is number {place}"),
            slots => format!(
                "{id} is {stands}; {} are on their way with {slots} gate slots, and this one is number {place}",
                queue.len()
            ),
        });
    }
    if lines.is_empty() {
        lines.push("its candidate is next to land".to_owned());
    }
    lines
}

/// What the smoke commands say of what has landed, this task's work with it.
fn smoke(state: &State) -> Option<String> {
    let (tip, red) = state.smoke_of_tip()?;
    Some(match red {
        Some(red) => red.to_owned(),
        None => format!(
            "the smoke commands passed on {}, the last landing",
            tip.short()
        ),
    })
}

/// What was done about conflicts of its landing commit.
fn answered(task: &Task) -> String {
    match task.past().answers.as_slice() {
        [] => String::new(),
        answers => format!(
            "; conflicts were settled as a person had said: {}",
            conflict::in_words(answers)
        ),
    }
}

fn why_settled(task: &Task, settled: &Settled) -> String {
    let words = task.phase.in_words();
    match (settled, &task.past().last_end) {
        (Settled::Landed { commit, verified }, _) => {
            let verified = if *verified { "verified" } else { "unverified" };
            format!(
                "it landed as {}, {verified}{}",
                commit.short(),
                answered(task)
            )
        }
        (Settled::LandedBefore { commit }, _) => {
            format!("an earlier run landed it as {}", commit.short())
        }
        (Settled::Failed, Some(end)) => format!(
            "it failed: {} of {} attempts are spent, the last one: {}: {}; `retry` gives it fresh ones",
            task.spent,
            task.node.max_attempts,
            end.ending.in_words(),
            headline(&end.detail)
        ),
        (Settled::DeclaredFailed, _) => {
            "it failed, says the plan; `retry` gives it fresh attempts".to_owned()
        }
        (Settled::MarkedDone { .. } | Settled::Skipped | Settled::Cancelled, _) => {
            let by = task.past().settled_by.as_ref().map(who);
            let by = by.map_or_else(|| ", says the plan".to_owned(), |who| format!(" by {who}"));
            format!("it is settled: {words}{by}")
        }
        (
            Settled::Failed
            | Settled::Unchanged
            | Settled::Believed
            | Settled::Removed
            | Settled::Reverted { .. },
            _,
        ) => format!("it is settled: {words}"),
    }
}

/// The way from a blocked task to what blocks it: `blocked: needs b (implied by document order) <- a, which is failed`.
fn chain(state: &State, ix: Ix) -> Option<String> {
    let chain = Blockage::of(state).chain(state, ix);
    let last = &state.tasks[*chain.last()?];
    let dependents = std::iter::once(&ix).chain(&chain);
    let words: Vec<String> = dependents
        .zip(&chain)
        .map(|(&of, &need)| need_in_words(state, of, need))
        .collect();
    Some(format!(
        "blocked: needs {}, which is {}",
        words.join(" <- "),
        last.phase.in_words()
    ))
}

fn need_in_words(state: &State, ix: Ix, need: Ix) -> String {
    let id = &state.tasks[need].node.id;
    let implied = state.tasks[ix]
        .node
        .needs
        .iter()
        .any(|edge| edge.on == *id && edge.implied);
    match implied {
        true => format!("{id} (implied by the order of the document)"),
        false => id.to_string(),
    }
}

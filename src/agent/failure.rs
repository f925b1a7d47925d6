//! Which of the ends an attempt had, told from what it left: exit, stream, status, changes.
//!
//! What the program states in fields comes first, the texts of its error records second; what the model said, or a tool
//! printed, never decides. What follows from an end is the engine's policy.

use chrono::TimeZone;

use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::limit::{LimitHit, LimitScope};
use crate::process::{AgentEnd, AgentRun, Cause, Exit};

use super::status::{Finding, Said};
use super::stream::{Limit, ResultLine, SessionReport};
use crate::time::Wall;

mod reset;
#[cfg(test)]
mod tests;
mod texts;

/// Longest quotation of a program in the sentence for people.
const QUOTE_CHARS_MAX: usize = 500;

/// SIGHUP, SIGINT, SIGTERM: by these people and machines ask programs to end.
const ENDING_SIGNALS: [i32; 3] = [1, 2, 15];

/// What an attempt left.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// How the process ended; none if its shim died without a report.
    pub exit: Option<&'a AgentEnd>,
    /// Why orch ended it, where that was by itself and not by order of a person.
    pub ended_for: Option<&'a AttemptEnd>,
    /// The end of what it wrote to standard error.
    pub stderr: &'a str,
    /// What was found of a status.
    pub status: &'a Finding,
    /// Whether it left what the task wants: a change of the repository, or the text of a report.
    pub changed: bool,
}

/// The usage limit that ended a session: whose it is, and when it ends. `written` is when the session ended, and `local`
/// the zone of its machine, for messages that name a time of day and no more.
pub fn limit_hit(session: &SessionReport, written: Wall, local: &impl TimeZone) -> LimitHit {
    let text = error_text(session, session.result.as_ref());
    let limit = session.limit.as_ref().filter(|limit| limit.is_hit());
    // What has passed by the field is over; its text, without a day, would mean tomorrow.
    let resets_at = match limit.and_then(|limit| limit.resets_at) {
        Some(epoch) => reset::from_epoch(epoch, written),
        None => reset::from_text(&text, written, local),
    };
    LimitHit {
        scope: limit
            .and_then(scope_of_window)
            .unwrap_or_else(|| texts::scope(&text)),
        resets_at,
    }
}

/// Whose limit a window is, by the program's name for it.
fn scope_of_window(limit: &Limit) -> Option<LimitScope> {
    let kind = limit.kind.as_deref()?;
    Some(match kind {
        "seven_day_opus" => model("opus"),
        "seven_day_sonnet" => model("sonnet"),
        "seven_day_overage_included" => model("fable"),
        _ => LimitScope::Account {
            window: kind.to_owned(),
        },
    })
}

fn model(name: &str) -> LimitScope {
    LimitScope::Model {
        model: name.to_owned(),
    }
}

/// How the attempt of an agent ended.
pub fn of_session(evidence: &Evidence<'_>, session: &SessionReport) -> AttemptEnd {
    if let Some(end) = of_process(evidence) {
        return end;
    }
    match &session.result {
        Some(result) if result.is_error => of_error(session, Some(result)),
        Some(_) if !session.turn_open => of_status(evidence, session),
        _ if session.api_error.is_some() => of_error(session, None),
        Some(_) | None => without_result(evidence, session),
    }
}

/// How the attempt of a command ended. A command has no protocol: exit code 0 counts as completed, unless it left a
/// status file that says otherwise. `output` is the end of its standard output.
pub fn of_command(evidence: &Evidence<'_>, output: &str) -> AttemptEnd {
    if let Some(end) = of_process(evidence) {
        return end;
    }
    let code = match evidence.exit {
        Some(AgentEnd::Ended(AgentRun {
            exit: Exit::Code(code),
            ..
        })) => *code,
        _ => return AttemptEnd::new(Ending::Crashed, exit_in_words(evidence)),
    };
    match (code, evidence.status) {
        (0, Finding::None) => settled(evidence.changed, ""),
        (0, _) => of_status(evidence, &SessionReport::default()),
        _ => {
            let words = [evidence.stderr, output]
                .into_iter()
                .map(str::trim)
                .find(|t| !t.is_empty());
            let tail = words
                .map(|t| format!(": {}", last_lines(t)))
                .unwrap_or_default();
            AttemptEnd::new(
                Ending::AgentFailed,
                format!("the command ended with exit code {code}{tail}"),
            )
        }
    }
}

/// Ends that the process tells by itself, whatever it printed.
fn of_process(evidence: &Evidence<'_>) -> Option<AttemptEnd> {
    let (ending, detail) = match evidence.exit? {
        AgentEnd::NotStarted { error } => (
            Ending::Environment,
            format!("the agent could not be started: {error}"),
        ),
        AgentEnd::Ended(AgentRun { cause, .. }) => match cause {
            Cause::Exited => return None,
            Cause::Timeout => (
                Ending::Timeout,
                "the attempt's time limit was reached".to_owned(),
            ),
            Cause::OutputFlood => (
                Ending::OutputFlood,
                "the agent wrote more output than the limit".to_owned(),
            ),
            Cause::Unsupervised => (
                Ending::Interrupted,
                "the agent ran too long without an orch to watch it".to_owned(),
            ),
            Cause::EndedFromBelow => (
                Ending::AgentFailed,
                "a process of the agent told the process that watches it to end".to_owned(),
            ),
            Cause::Ended => {
                return Some(evidence.ended_for.cloned().unwrap_or_else(|| {
                    AttemptEnd::new(Ending::Interrupted, "orch ended the agent")
                }));
            }
        },
    };
    Some(AttemptEnd::new(ending, detail))
}

/// The end of a session that says it went well.
fn of_status(evidence: &Evidence<'_>, session: &SessionReport) -> AttemptEnd {
    match evidence.status {
        Finding::Bad(why) => AttemptEnd::new(Ending::BadStatus, why.clone()),
        Finding::Status(status) => match status.said {
            Said::Completed => settled(evidence.changed, &status.message),
            Said::Failed => {
                let denied = denials(session)
                    .map(|d| format!(" ({d})"))
                    .unwrap_or_default();
                let message = if status.message.is_empty() {
                    "the agent gave no reason"
                } else {
                    &status.message
                };
                AttemptEnd::new(Ending::AgentFailed, format!("{message}{denied}"))
            }
        },
        Finding::None => match denials(session) {
            Some(denied) if !evidence.changed => AttemptEnd::new(Ending::Denied, denied),
            _ => AttemptEnd::new(Ending::NoStatus, "the session ended without a status"),
        },
    }
}

fn settled(changed: bool, message: &str) -> AttemptEnd {
    let ending = if changed {
        Ending::Success
    } else {
        Ending::NoChange
    };
    AttemptEnd::new(ending, message)
}

fn denials(session: &SessionReport) -> Option<String> {
    match session.denials.as_slice() {
        [] => None,
        [one] => Some(format!("denied: {one}")),
        [.., last] => Some(format!(
            "{} tool calls were denied, the last: {last}",
            session.denials.len()
        )),
    }
}

/// The end of a session whose last word is an error.
fn of_error(session: &SessionReport, result: Option<&ResultLine>) -> AttemptEnd {
    let text = error_text(session, result);
    if result.is_some_and(|r| {
        r.subtype == "error_during_execution" && r.errors.iter().any(|e| texts::is_lost_session(e))
    }) {
        return AttemptEnd::new(
            Ending::NoStatus,
            "the session could not be resumed to ask for its status",
        );
    }
    let ending = result
        .and_then(of_result_fields)
        .or_else(|| of_service_fields(session, result, &text))
        .or_else(|| texts::ending(&text))
        .or_else(|| of_rejection(session, result))
        .unwrap_or(Ending::Crashed);
    let mut detail = quoted(&text);
    if ending == Ending::UsageLimit
        && let Some(at) = session
            .limit
            .as_ref()
            .and_then(|l| chrono::DateTime::from_timestamp(l.resets_at?, 0))
    {
        detail = format!("{detail} (until {})", at.format("%Y-%m-%d %H:%M:%S UTC"));
    }
    AttemptEnd::new(ending, detail)
}

/// What the program says about the end of its turn.
fn of_result_fields(result: &ResultLine) -> Option<Ending> {
    let reason = result.terminal_reason.as_deref().unwrap_or("");
    Some(match (result.subtype.as_str(), reason) {
        ("error_max_turns", _) | (_, "max_turns") => Ending::Turns,
        ("error_max_budget_usd", _) | (_, "budget_exhausted") => Ending::Budget,
        ("error_max_structured_output_retries", _) | (_, "structured_output_retry_exhausted") => {
            Ending::BadStatus
        }
        // A context that is full again at once after it was compacted does not get better either.
        (_, "prompt_too_long" | "blocking_limit" | "rapid_refill_breaker") => Ending::Context,
        (_, "aborted_tools" | "aborted_streaming") => Ending::Interrupted,
        _ if result.stop_reason.as_deref() == Some("refusal") => Ending::Refused,
        _ => return None,
    })
}

/// What the program passes on of the service's answer. Releases before 2.1.329 tell less in fields, so for a rejected
/// request the text has to say whether it was the account's limit or the service's load.
fn of_service_fields(
    session: &SessionReport,
    result: Option<&ResultLine>,
    text: &str,
) -> Option<Ending> {
    let error = session.api_error.as_ref();
    let name = result
        .and_then(|r| r.api_error.as_deref())
        .or(error.and_then(|e| e.name.as_deref()));
    let class = error.map(|e| e.class.as_str());
    let limited = session.limit.as_ref().is_some_and(Limit::is_hit);
    match (name, class, service_status(session, result)) {
        (Some("usage_limit_reached"), ..) => Some(limit_or_billing(text)),
        (Some("connection_failed"), ..) => Some(Ending::Throttled),
        (_, _, Some(429)) | (_, Some("rate_limit"), _) if limited => Some(limit_or_billing(text)),
        (_, _, Some(429)) | (_, Some("rate_limit"), _) => {
            Some(texts::ending(text).unwrap_or(Ending::Throttled))
        }
        (_, Some("authentication_failed"), _) | (_, _, Some(401 | 403)) => Some(Ending::Auth),
        (_, Some("billing_error"), _) | (_, _, Some(402)) => Some(Ending::Billing),
        (_, Some("model_not_found"), _) => Some(Ending::Environment),
        (_, Some("max_output_tokens"), _) | (_, _, Some(413)) => Some(Ending::Context),
        (_, Some("server_error" | "overloaded"), _) | (_, _, Some(408 | 500..=599)) => {
            Some(Ending::Throttled)
        }
        _ => None,
    }
}

/// Some limits no waiting lifts: a person has to pay or to allow.
fn limit_or_billing(text: &str) -> Ending {
    match texts::ending(text) {
        Some(Ending::Billing) => Ending::Billing,
        _ => Ending::UsageLimit,
    }
}

/// What the service rejected for a reason that is not known here. It would reject it again, so the session is over; a
/// fresh one asks in other words.
fn of_rejection(session: &SessionReport, result: Option<&ResultLine>) -> Option<Ending> {
    service_status(session, result)
        .filter(|status| (400..500).contains(status))
        .map(|_| Ending::Refused)
}

fn service_status(session: &SessionReport, result: Option<&ResultLine>) -> Option<u16> {
    result
        .and_then(|r| r.api_error_status)
        .or(session.api_error.as_ref().and_then(|e| e.status))
}

fn error_text(session: &SessionReport, result: Option<&ResultLine>) -> String {
    let of_result = result.and_then(|r| {
        r.text
            .clone()
            .or_else(|| (!r.errors.is_empty()).then(|| r.errors.join("\n")))
    });
    of_result
        .or_else(|| session.api_error.as_ref().map(|e| e.text.clone()))
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| "the program gave no reason".to_owned())
}

/// The end of a session that never came to a result, or began a turn after its last one.
fn without_result(evidence: &Evidence<'_>, session: &SessionReport) -> AttemptEnd {
    let stderr = evidence.stderr.trim();
    if session.init.is_none() && texts::is_refused_start(stderr) {
        return AttemptEnd::new(
            Ending::Environment,
            format!("the agent program refused to start: {}", quoted(stderr)),
        );
    }
    if texts::is_lost_session(stderr) {
        return AttemptEnd::new(
            Ending::NoStatus,
            "the session could not be resumed to ask for its status",
        );
    }
    if session.limit.as_ref().is_some_and(Limit::is_hit) {
        return AttemptEnd::new(
            Ending::UsageLimit,
            format!("{}, at a usage limit", exit_in_words(evidence)),
        );
    }
    let mut detail = exit_in_words(evidence);
    if let Some(retry) = &session.last_retry {
        let status = retry
            .status
            .map_or("not reached".to_owned(), |s| format!("HTTP {s}"));
        detail = format!(
            "{detail}, after {} retries of the service ({status})",
            session.retries
        );
    }
    if !stderr.is_empty() {
        detail = format!("{detail}: {}", last_lines(stderr));
    }
    let ending = if is_asked_to_end(evidence) {
        Ending::Interrupted
    } else {
        Ending::Crashed
    };
    AttemptEnd::new(ending, detail)
}

/// Whether somebody other than orch asked the program to end: a shutdown of the machine, a `kill`. Programs that catch
/// the signal end with 128 and its number.
fn is_asked_to_end(evidence: &Evidence<'_>) -> bool {
    let Some(AgentEnd::Ended(run)) = evidence.exit else {
        return false;
    };
    match run.exit {
        Exit::Signal(n) => ENDING_SIGNALS.contains(&n),
        Exit::Code(code) => ENDING_SIGNALS.iter().any(|n| code == 128 + n),
    }
}

fn exit_in_words(evidence: &Evidence<'_>) -> String {
    match evidence.exit {
        None => "the agent is gone, and so is the process that watched it".to_owned(),
        Some(AgentEnd::Ended(AgentRun {
            exit: Exit::Signal(9),
            ..
        })) => {
            "the agent was killed by signal 9 (not by orch; perhaps the system was out of memory)"
                .to_owned()
        }
        Some(AgentEnd::Ended(AgentRun {
            exit: Exit::Signal(n),
            ..
        })) => format!("the agent was killed by signal {n}"),
        Some(AgentEnd::Ended(AgentRun {
            exit: Exit::Code(n),
            ..
        })) => format!("the agent ended without a result (exit code {n})"),
        Some(AgentEnd::NotStarted { error }) => format!("the agent could not be started: {error}"),
    }
}

/// The beginning of a program's text, on one line.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The end of a program's output: there stands why it ended.
fn last_lines(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().rev().nth(QUOTE_CHARS_MAX) {
        Some((at, _)) => format!("…{}", &text[at..].trim_start()),
        None => text.to_owned(),
    }
}

//! What sessions cost, added up: by task, agent, model, day or run.
//!
//! Every agent process is one session and is counted once, whatever became of it: failed, killed, resumed, asked again.
//! Prices are what the agent program says, an estimate by the price of the API (`~$`). A session that did not come to
//! tell its price is counted as such, never as free; what is known of its tokens is counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::paint::Paint;
use super::table;
use crate::engine::record::{Record, Stamped};
use crate::engine::usage::{MicroUsd, Usage};
use crate::ids::{RunId, TaskId, Ticket};
use crate::time::Wall;

/// What a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A task of a run.
    Task,
    /// A role.
    Agent,
    /// The model that was asked for.
    Model,
    /// A day of the calendar, where orch runs.
    Day,
    /// A run.
    Run,
}

/// One agent process that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub ticket: Ticket,
    /// When it had ended and was read.
    pub at: Wall,
    /// What it used.
    pub usage: Usage,
}

/// Who did an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doer {
    /// The role.
    pub agent: String,
    /// The model that was asked for; none left it to the agent program.
    pub model: Option<String>,
}

/// The sessions of a run's records, and how many are still under way.
pub fn sessions(records: &[Stamped]) -> (Vec<Session>, usize) {
    let mut ended = Vec::new();
    let mut under_way: BTreeMap<&TaskId, ()> = BTreeMap::new();
    for stamped in records {
        match &stamped.record {
            Record::AgentStarting { ticket, .. } => {
                under_way.insert(&ticket.task, ());
            }
            Record::Collected { ticket, usage, .. } => {
                under_way.remove(&ticket.task);
                if usage.sessions > 0 {
                    ended.push(Session {
                        run: stamped.run.clone(),
                        ticket: ticket.clone(),
                        at: stamped.at,
                        usage: **usage,
                    });
                }
            }
            _ => {}
        }
    }
    (ended, under_way.len())
}

/// Sums, a row each.
#[derive(Debug, Clone, Serialize)]
pub struct Costs {
    /// Version of this form.
    format: u32,
    /// What a row stands for.
    by: &'static str,
    rows: Vec<Row>,
    total: Row,
    /// Sessions that run now; nothing of theirs is counted yet.
    under_way: usize,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Row {
    key: String,
    sessions: u32,
    /// Sessions whose price nobody knows; the cost is what is known of the others.
    unpriced_sessions: u32,
    cost_micro_usd: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_creation_tokens: u64,
    /// The part of fresh sessions' first requests that was read from a cache, in thousandths; none if none told.
    first_turn_cache_share: Option<u64>,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Day => "day",
            Self::Run => "run",
        }
    }

    fn key(self, session: &Session, doer: Option<&Doer>) -> String {
        let unknown = || "unknown".to_owned();
        match self {
            Self::Task => session.ticket.task.to_string(),
            Self::Agent => doer.map_or_else(unknown, |d| d.agent.clone()),
            Self::Model => doer.map_or_else(unknown, |d| {
                d.model.clone().unwrap_or_else(|| "default".to_owned())
            }),
            Self::Day => session.at.to_utc().map_or_else(unknown, |at| {
                at.with_timezone(&chrono::Local)
                    .format("%Y-%m-%d")
                    .to_string()
            }),
            Self::Run => session.run.to_string(),
        }
    }
}

impl Costs {
    /// Adds sessions up. `doer` tells who did an attempt, if that is known.
    pub fn of(
        sessions: &[Session],
        by: By,
        under_way: usize,
        doer: impl Fn(&Session) -> Option<Doer>,
    ) -> Self {
        let mut sums: BTreeMap<String, Usage> = BTreeMap::new();
        let mut total = Usage::default();
        for session in sessions {
            let sum = sums
                .entry(by.key(session, doer(session).as_ref()))
                .or_default();
            *sum = sum.plus(session.usage);
            total = total.plus(session.usage);
        }
        Self {
            format: 1,
            by: by.word(),
            rows: sums.into_iter().map(|(key, sum)| row(key, sum)).collect(),
            total: row("total".to_owned(), total),
            under_way,
        }
    }

    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        if self.rows.is_empty() {
            return "no session has ended yet\n".to_owned();
        }
        let heads = [
            self.by,
            "sessions",
            "cost",
            "input",
            "output",
            "cache read",
            "cache write",
            "first turn cached",
        ];
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .chain([&self.total])
            .map(Row::cells)
            .collect();
        let mut text = table::render(&heads, &rows, paint);
        text.push_str(
            "\n~$ is an estimate by the prices of the API; a subscription is billed otherwise.\n",
        );
        if self.under_way > 0 {
            text.push_str(&format!(
                "{} under way: not counted yet.\n",
                match self.under_way {
                    1 => "1 session is".to_owned(),
                    n => format!("{n} sessions are"),
                }
            ));
        }
        text
    }

    /// For tables of others: a head, and a line for each row without the total.
    pub fn csv(&self) -> String {
        let mut text = format!(
            "{},sessions,unpriced_sessions,cost_micro_usd,input_tokens,output_tokens,cache_read_tokens,cache_creation_tokens,first_turn_cache_share\n",
            self.by
        );
        for row in &self.rows {
            let share = row.first_turn_cache_share.map(|n| n.to_string());
            text.push_str(&format!(
                "{},{},{},{},{},{},{},{},{}\n",
                quoted(&row.key),
                row.sessions,
                row.unpriced_sessions,
                row.cost_micro_usd,
                row.input_tokens,
                row.output_tokens,
                row.cache_read_tokens,
                row.cache_creation_tokens,
                share.unwrap_or_default(),
            ));
        }
        text
    }
}

fn row(key: String, sum: Usage) -> Row {
    let share = sum.first_cached_tokens.saturating_mul(1000);
    Row {
        key,
        sessions: sum.sessions,
        unpriced_sessions: sum.unpriced_sessions,
        cost_micro_usd: sum.cost.0,
        input_tokens: sum.input_tokens,
        output_tokens: sum.output_tokens,
        cache_read_tokens: sum.cache_read_tokens,
        cache_creation_tokens: sum.cache_creation_tokens,
        first_turn_cache_share: share.checked_div(sum.first_prompt_tokens),
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let known = MicroUsd(self.cost_micro_usd);
        let cost = match self.unpriced_sessions {
            0 => format!("~{known}"),
            n if n == self.sessions && known.0 == 0 => "unknown".to_owned(),
            n => format!("~{known} and {n} unknown"),
        };
        let share = self.first_turn_cache_share.map_or_else(
            || "unknown".to_owned(),
            |n| format!("{}.{} %", n / 10, n % 10),
        );
        let counts = [
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_creation_tokens,
        ];
        // A session that told no price told no tokens either, unless some were seen.
        let is_unknown = self.unpriced_sessions == self.sessions && counts == [0; 4];
        let tokens = counts.map(|n| match is_unknown {
            true => "unknown".to_owned(),
            false => n.to_string(),
        });
        let mut cells = vec![self.key.clone(), self.sessions.to_string(), cost];
        cells.extend(tokens);
        cells.push(share);
        cells
    }
}

/// A cell of CSV. A leading `=`, `+`, `-` or `@` would be a formula to a spreadsheet.
fn quoted(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(task: &str, usage: Usage) -> Session {
        Session {
            run: RunId::parse("20261121-063312-k3f9").expect("a run"),
            ticket: Ticket {
                task: TaskId::parse(task).expect("a task"),
                attempt: 1,
                epoch: 1,
            },
            at: Wall(1_795_243_227_000),
            usage,
        }
    }

    fn priced(micro: u64) -> Usage {
        Usage {
            sessions: 1,
            cost: MicroUsd(micro),
            input_tokens: 10,
            first_prompt_tokens: 1000,
            first_cached_tokens: 905,
            ..Usage::default()
        }
    }

    #[test]
    fn unknown_prices_are_told_and_never_added_as_nothing() {
        let sessions = [
            session("a", priced(1_500_000)),
            session("a", Usage::unknown_session()),
            session("b", Usage::unknown_session()),
        ];
        let costs = Costs::of(&sessions, By::Task, 1, |_| None);
        let text = costs.text(Paint::plain());
        let cost_of = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.unwrap_or_else(|| panic!("no {key} in {text}"))
        };
        assert!(cost_of("a ").contains("~$1.5000 and 1 unknown"), "{text}");
        assert!(cost_of("a ").contains("90.5 %"), "{text}");
        assert!(cost_of("b ").contains("unknown"), "{text}");
        assert!(
            cost_of("total").contains("~$1.5000 and 2 unknown"),
            "{text}"
        );
        assert!(text.contains("1 session is under way"), "{text}");
        assert_eq!(
            costs.csv().lines().nth(2),
            Some("b,1,1,0,0,0,0,0,"),
            "an unknown share is empty"
        );
    }

    #[test]
    fn who_did_an_attempt_may_be_unknown() {
        let sessions = [session("a", priced(1)), session("b", priced(2))];
        let doer = |s: &Session| {
            (s.ticket.task.as_str() == "a").then(|| Doer {
                agent: "coder".to_owned(),
                model: None,
            })
        };
        let keys = |by| {
            let costs = Costs::of(&sessions, by, 0, doer);
            costs.rows.into_iter().map(|r| r.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(By::Agent), ["coder", "unknown"]);
        assert_eq!(keys(By::Model), ["default", "unknown"]);
        assert_eq!(keys(By::Run).len(), 1);
    }

    #[test]
    fn keys_are_cells_and_not_formulas() {
        assert_eq!(quoted("=a,\"b\""), "\"'=a,\"\"b\"\"\"");
        assert_eq!(quoted("2.1"), "2.1");
    }
}

//! Reading a session's stream-json: one JSON object a line, whatever the order of keys.
//!
//! The reader is fed line by line as the output grows and keeps only what people, records and `failure` need. Nothing is decided
//! here. Lines of kinds that are not known are counted and passed over: the program adds some with every release.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::Start;
use crate::engine::limit::UsageWindow;
use crate::engine::usage::Usage;

mod line;
mod spent;
#[cfg(test)]
pub(in crate::agent) mod tests;

pub use line::{ApiError, Init, Limit, LimitStatus, ResultLine, RetryNote};
use line::{Block, Line};
use spent::{OpenTurn, Spent};

/// Open tool calls that are remembered; a model starts a handful at once.
const OPEN_TOOLS_MAX: usize = 1024;
/// Longest text of a tool call for people: what fits a line of a terminal.
const TOOL_CHARS_MAX: usize = 100;

/// Follows the output of one session.
#[derive(Debug)]
pub struct SessionReader {
    start: Start,
    report: SessionReport,
    spent: Spent,
    open_turn: OpenTurn,
    open_tools: BTreeSet<String>,
    last_message: Option<String>,
    last_tool: Option<String>,
    messages: u32,
}

/// What a session's output said so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionReport {
    /// How it began; none if the program never came that far.
    pub init: Option<Init>,
    /// The last result. One process can print several; only the last counts.
    pub result: Option<ResultLine>,
    /// Whether a turn began after the last result.
    pub turn_open: bool,
    /// Whether the service answered at least once.
    pub answered: bool,
    /// The last state of the account's limits.
    pub limit: Option<Limit>,
    /// The last error of the service that the program reported as such.
    pub api_error: Option<ApiError>,
    /// How often the program tried the service again, and with which HTTP status (none: not reached) the last time.
    pub retries: u32,
    /// See `retries`.
    pub last_retry: Option<RetryNote>,
    /// Tool calls, over all turns.
    pub tool_calls: u32,
    /// Tools that were denied, by name and argument.
    pub denials: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// Lines of kinds that are not known.
    pub unknown_lines: u32,
    /// Lines that are not JSON objects, or too long.
    pub damaged_lines: u32,
}

/// Signs of life of a running session, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// The last tool call with its most telling argument, on one line.
    pub last_tool: Option<String>,
    /// Tool calls that have not returned: while there are some, silence is not a stall.
    pub open_tools: u32,
    /// Tokens so far, and the price of turns that have ended.
    pub used: Usage,
    /// Whether the service has answered.
    pub answered: bool,
    /// How full the account's windows are, as far as it said.
    pub windows: Vec<UsageWindow>,
}

impl SessionReport {
    /// How full the account's windows were when last reported.
    pub fn windows(&self) -> Vec<UsageWindow> {
        let limit = self.limit.as_ref();
        limit.map_or_else(Vec::new, |limit| limit.windows.clone())
    }

    /// The structured status, if the session with this id gave one and ended well.
    pub fn structured_output(&self, session: Uuid) -> Option<&Value> {
        let result = self.result.as_ref().filter(|r| !r.is_error)?;
        let ours = result.session_id.as_deref()?.parse() == Ok(session);
        result.structured_output.as_ref().filter(|_| ours)
    }
}

impl SessionReader {
    /// A reader at the beginning of the output of a process that was started in this way.
    pub fn new(start: Start) -> Self {
        Self {
            start,
            report: SessionReport::default(),
            spent: Spent::default(),
            open_turn: OpenTurn::default(),
            open_tools: BTreeSet::new(),
            last_message: None,
            last_tool: None,
            messages: 0,
        }
    }

    /// Takes the next line of output, without its line feed.
    pub fn line(&mut self, bytes: &[u8]) {
        if bytes.trim_ascii().is_empty() {
            return;
        }
        match Line::parse(bytes) {
            None => self.report.damaged_lines += 1,
            Some(line) => self.take(line),
        }
    }

    /// Takes note of a line that was too long to be kept.
    pub fn line_too_long(&mut self) {
        self.report.damaged_lines += 1;
    }

    /// What is known while the session runs.
    pub fn live(&self) -> Live {
        Live {
            last_tool: self.last_tool.clone(),
            open_tools: u32::try_from(self.open_tools.len()).unwrap_or(u32::MAX),
            used: self.used().added_to(Usage::default()),
            answered: self.report.answered,
            windows: self.report.windows(),
        }
    }

    /// What has been read so far.
    pub fn report(&self) -> &SessionReport {
        &self.report
    }

    /// The end of the output.
    pub fn finish(mut self) -> SessionReport {
        // Each process is one session for the sums; without an `init` it never reached the service and cost nothing.
        let unpriced = match &self.report.result {
            Some(_) => self.report.turn_open || self.spent.cost.is_none(),
            None => self.report.init.is_some(),
        };
        self.report.usage = Usage {
            sessions: 1,
            unpriced_sessions: u32::from(unpriced),
            ..self.used().added_to(self.report.usage)
        };
        self.report
    }

    fn used(&self) -> Spent {
        self.spent.and_unpriced(self.open_turn.tokens())
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Init(init) => {
                self.report.turn_open = true;
                self.report.init.get_or_insert(init);
            }
            Line::Retry(note) => {
                self.report.retries += 1;
                self.report.last_retry = Some(note);
            }
            Line::Denied(what) => self.report.denials.push(what),
            Line::Assistant {
                message,
                tokens,
                main,
                blocks,
                error,
            } => {
                if let (Some(message), Some(tokens)) = (&message, tokens) {
                    self.open_turn.heard(message, tokens);
                }
                if main && message.is_some() && message != self.last_message {
                    if self.messages == 0
                        && self.start == Start::Fresh
                        && let Some(first) = tokens
                    {
                        self.report.usage.first_prompt_tokens = first.prompt();
                        self.report.usage.first_cached_tokens = first.cached();
                    }
                    self.messages += 1;
                    self.last_message = message;
                }
                self.report.answered |= error.is_none();
                if main {
                    // An answer after an error: the program got over it.
                    self.report.api_error = error;
                }
                blocks.into_iter().for_each(|b| self.block(b));
            }
            Line::User { blocks } => blocks.into_iter().for_each(|b| self.block(b)),
            Line::Limit(limit) => self.report.limit = Some(limit),
            Line::Result(result) => self.result(*result),
            Line::Other => {}
            Line::Unknown => self.report.unknown_lines += 1,
        }
    }

    fn block(&mut self, block: Block) {
        match block {
            Block::ToolUse { id, name, input } => {
                self.report.tool_calls += 1;
                let cwd = self.report.init.as_ref().and_then(|i| i.cwd.as_deref());
                self.last_tool = Some(tool_line(&name, &input, cwd));
                if self.open_tools.len() < OPEN_TOOLS_MAX {
                    self.open_tools.insert(id);
                }
            }
            Block::ToolResult { id } => {
                self.open_tools.remove(&id);
            }
        }
    }

    fn result(&mut self, result: ResultLine) {
        self.open_tools.clear();
        // The result tells of all of its turn, with the price.
        self.open_turn = OpenTurn::default();
        let resumed = self.start == Start::Resume;
        self.spent = self.spent.after(result.spent, resumed);
        let report = &mut self.report;
        report.turn_open = false;
        report.usage.turns = report.usage.turns.saturating_add(result.turns);
        // A resumed process goes on counting where its session's earlier one ended.
        if let Some(api_ms) = result.api_ms.filter(|_| !resumed) {
            report.usage.api_ms = api_ms;
        }
        // The result lists them all, also those announced one by one.
        if !result.denials.is_empty() {
            report.denials.clone_from(&result.denials);
        }
        report.result = Some(result);
    }
}

/// `Write src/lib.rs`, `Bash cargo test`: a tool call on one line without control characters.
fn tool_line(name: &str, input: &Value, cwd: Option<&str>) -> String {
    const TELLING: [&str; 7] = [
        "command",
        "file_path",
        "notebook_path",
        "path",
        "pattern",
        "url",
        "description",
    ];
    let argument = TELLING
        .iter()
        .find_map(|key| input.get(key)?.as_str())
        .unwrap_or("");
    let argument = cwd
        .and_then(|cwd| argument.strip_prefix(cwd)?.strip_prefix('/'))
        .unwrap_or(argument);
    let mut line: String = [name, " ", argument]
        .concat()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TOOL_CHARS_MAX + 1)
        .collect();
    if line.chars().count() > TOOL_CHARS_MAX {
        line.pop();
        line.push('…');
    }
    line.truncate(line.trim_end().len());
    line
}

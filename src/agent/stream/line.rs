//! One line of stream-json as a value. A field of an unexpected type is an unknown field, not a reason to lose the line.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::spent::{Tokens, Told};
use super::tool_line;
use crate::engine::limit::UsageWindow;
use crate::time::Wall;

/// A line by its kind.
pub(super) enum Line {
    Init(Init),
    Retry(RetryNote),
    Denied(String),
    Assistant {
        message: Option<String>,
        /// What the service said at the beginning of the answer: all of its input, and next to nothing of its output.
        tokens: Option<Tokens>,
        /// Not a subagent's.
        main: bool,
        blocks: Vec<Block>,
        error: Option<ApiError>,
    },
    User {
        blocks: Vec<Block>,
    },
    Limit(Limit),
    Result(Box<ResultLine>),
    /// Known, and of no interest.
    Other,
    Unknown,
}

/// A part of a message that matters here.
pub(super) enum Block {
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        id: String,
    },
}

/// How a session began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Init {
    /// The id it runs under.
    pub session_id: Option<String>,
    /// The model it asks.
    pub model: Option<String>,
    /// The program's version.
    pub version: Option<String>,
    /// Where it works.
    pub cwd: Option<String>,
    /// The permission mode in force.
    pub permission_mode: Option<String>,
    /// Where its credentials come from.
    pub api_key_source: Option<String>,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResultLine {
    /// `success` also stands on failed turns; see `is_error`.
    pub subtype: String,
    /// Whether the turn failed.
    pub is_error: bool,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// The final text, or the text of the error.
    pub text: Option<String>,
    /// What went wrong, on ends other than `success`.
    pub errors: Vec<String>,
    /// HTTP status of the service's error.
    pub api_error_status: Option<u16>,
    /// The program's name for the service's error, from 2.1.329 on.
    pub api_error: Option<String>,
    /// Why the turn ended, in the program's words.
    pub terminal_reason: Option<String>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// The validated status object.
    pub structured_output: Option<Value>,
    /// Turns of this turn's conversation as the program counts them.
    pub turns: u32,
    /// Time spent waiting for the service.
    pub api_ms: Option<u64>,
    /// Denied tool calls of the session.
    pub denials: Vec<String>,
    pub(super) spent: Told,
}

/// An error of the service that the program reported in the place of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiError {
    /// The class: `rate_limit`, `authentication_failed`, `billing_error`, ...
    pub class: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// The program's name for it, from 2.1.329 on.
    pub name: Option<String>,
    /// The text that stands where the answer would.
    pub text: String,
}

/// State of the account's usage limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Whether requests pass.
    pub status: LimitStatus,
    /// Which window: `five_hour`, `seven_day`, ... A rejection without one is a throttle of the service.
    pub kind: Option<String>,
    /// When the window ends, in seconds since 1970.
    pub resets_at: Option<i64>,
    /// Whether paid credits are used: then a rejection of the window does not end the session.
    pub using_overage: bool,
    /// The windows it tells of, each with how full it is.
    pub windows: Vec<UsageWindow>,
}

impl Limit {
    /// Whether it ended the session: a rejection by a window that no paid credits cover. One without a window is a
    /// throttle of the service.
    pub fn is_hit(&self) -> bool {
        self.status == LimitStatus::Rejected && self.kind.is_some() && !self.using_overage
    }
}

/// Whether requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitStatus {
    /// They do.
    Allowed,
    /// They do, and the limit is near.
    Warning,
    /// They do not.
    Rejected,
    /// A word that is not known.
    Unknown,
}

/// The program is about to ask the service again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryNote {
    /// HTTP status; none if the service was not reached.
    pub status: Option<u16>,
    /// The class of the error.
    pub class: String,
}

impl Line {
    /// `None` for what is not a JSON object with a `type`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        /// Enough to know the kind; the long rest is passed over without a copy.
        #[derive(Deserialize)]
        struct Head {
            r#type: String,
            #[serde(default)]
            subtype: Value,
        }
        let head: Head = serde_json::from_slice(bytes).ok()?;
        let kind = (head.r#type.as_str(), head.subtype.as_str().unwrap_or(""));
        let object = || serde_json::from_slice::<Map<String, Value>>(bytes).ok();
        Some(match kind {
            ("system", "init") => Self::Init(init(&object()?)),
            ("system", "api_retry") => Self::Retry(retry(&object()?)),
            ("system", "permission_denied") => Self::Denied(announced_denial(&object()?)),
            ("assistant", _) => assistant(object()?),
            ("user", _) => user(object()?),
            ("rate_limit_event", _) => Self::Limit(limit(&object()?)),
            ("result", _) => Self::Result(Box::new(result(object()?))),
            ("system" | "stream_event" | "control_response", _) => Self::Other,
            _ => Self::Unknown,
        })
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

fn http_status(object: &Map<String, Value>, key: &str) -> Option<u16> {
    object
        .get(key)?
        .as_u64()
        .and_then(|n| u16::try_from(n).ok())
}

fn init(o: &Map<String, Value>) -> Init {
    Init {
        session_id: text(o, "session_id"),
        model: text(o, "model"),
        version: text(o, "claude_code_version"),
        cwd: text(o, "cwd"),
        permission_mode: text(o, "permissionMode"),
        api_key_source: text(o, "apiKeySource"),
    }
}

fn retry(o: &Map<String, Value>) -> RetryNote {
    RetryNote {
        status: http_status(o, "error_status"),
        class: text(o, "error").unwrap_or_default(),
    }
}

fn announced_denial(o: &Map<String, Value>) -> String {
    let (tool, why) = (text(o, "tool_name"), text(o, "message"));
    let input = serde_json::json!({ "description": why });
    tool_line(tool.as_deref().unwrap_or("?"), &input, None)
}

fn limit(o: &Map<String, Value>) -> Limit {
    let empty = Map::new();
    let info = o
        .get("rate_limit_info")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    Limit {
        status: match info.get("status").and_then(Value::as_str) {
            Some("allowed") => LimitStatus::Allowed,
            Some("allowed_warning") => LimitStatus::Warning,
            Some("rejected") => LimitStatus::Rejected,
            _ => LimitStatus::Unknown,
        },
        kind: text(info, "rateLimitType"),
        resets_at: info.get("resetsAt").and_then(Value::as_i64),
        using_overage: info
            .get("isUsingOverage")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        windows: windows(info),
    }
}

/// All windows where the program lists them, from 2.1.329 on; else the one it speaks of, if it says how full it is.
fn windows(info: &Map<String, Value>) -> Vec<UsageWindow> {
    let named = info.get("unifiedWindows").and_then(Value::as_object);
    let listed: Vec<UsageWindow> = named
        .into_iter()
        .flatten()
        .filter_map(|(kind, window)| usage_window(kind, window.as_object()?))
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    text(info, "rateLimitType")
        .and_then(|kind| usage_window(&kind, info))
        .into_iter()
        .collect()
}

fn usage_window(kind: &str, window: &Map<String, Value>) -> Option<UsageWindow> {
    let share = window.get("utilization")?.as_f64()?;
    let thousandths = (share * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    let utilisation = (0.0..1e6)
        .contains(&thousandths)
        .then_some(thousandths as u32)?;
    Some(UsageWindow {
        kind: kind.to_owned(),
        utilisation,
        resets_at: window
            .get("resetsAt")
            .and_then(Value::as_i64)
            .and_then(|s| s.checked_mul(1000))
            .map(Wall),
    })
}

fn assistant(mut o: Map<String, Value>) -> Line {
    let main = o.get("parent_tool_use_id").is_none_or(Value::is_null);
    let content = content(&mut o);
    let class = text(&o, "error");
    let error = class.map(|class| ApiError {
        class,
        status: http_status(&o, "api_error_status"),
        name: text(&o, "api_error"),
        text: content
            .iter()
            .filter_map(|b| b.get("text")?.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
    });
    let message = o.get("message");
    Line::Assistant {
        message: message
            .and_then(|m| m.get("id")?.as_str())
            .map(str::to_owned),
        tokens: message
            .and_then(|m| m.get("usage"))
            .map(Tokens::of_turn)
            .filter(|_| error.is_none()),
        main,
        blocks: blocks(content),
        error,
    }
}

fn user(mut o: Map<String, Value>) -> Line {
    Line::User {
        blocks: blocks(content(&mut o)),
    }
}

/// The blocks of the line's message; a plain text has none.
fn content(o: &mut Map<String, Value>) -> Vec<Value> {
    match o
        .get_mut("message")
        .and_then(|m| m.get_mut("content"))
        .map(Value::take)
    {
        Some(Value::Array(blocks)) => blocks,
        _ => Vec::new(),
    }
}

fn blocks(content: Vec<Value>) -> Vec<Block> {
    content.into_iter().filter_map(block).collect()
}

fn block(mut value: Value) -> Option<Block> {
    let string = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    match string("type")?.as_str() {
        "tool_use" => Some(Block::ToolUse {
            id: string("id")?,
            name: string("name")?,
            input: value.get_mut("input").map(Value::take).unwrap_or_default(),
        }),
        "tool_result" => Some(Block::ToolResult {
            id: string("tool_use_id")?,
        }),
        _ => None,
    }
}

fn result(mut o: Map<String, Value>) -> ResultLine {
    let turns = o.get("num_turns").and_then(Value::as_u64).unwrap_or(0);
    ResultLine {
        subtype: text(&o, "subtype").unwrap_or_default(),
        // A result that does not say how it ended is no success.
        is_error: o.get("is_error").and_then(Value::as_bool).unwrap_or(true),
        session_id: text(&o, "session_id"),
        text: text(&o, "result"),
        errors: list(&o, "errors")
            .filter_map(|e| e.as_str().map(str::to_owned))
            .collect(),
        api_error_status: http_status(&o, "api_error_status"),
        api_error: text(&o, "api_error"),
        terminal_reason: text(&o, "terminal_reason"),
        stop_reason: text(&o, "stop_reason"),
        turns: u32::try_from(turns).unwrap_or(u32::MAX),
        api_ms: o.get("duration_api_ms").and_then(Value::as_u64),
        denials: list(&o, "permission_denials").map(denial).collect(),
        spent: Told::of(&o),
        structured_output: o.remove("structured_output").filter(|v| !v.is_null()),
    }
}

fn list<'a>(o: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    o.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn denial(value: &Value) -> String {
    let name = value
        .get("tool_name")
        .and_then(Value::as_str)
        .unwrap_or("?");
    tool_line(name, value.get("tool_input").unwrap_or(&Value::Null), None)
}

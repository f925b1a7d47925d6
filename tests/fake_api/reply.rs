//! What the fake answers: messages of texts and tool calls, or errors; as a stream or in one piece.

use std::fmt::Write as _;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// One reply of a script.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(super) body: Body,
    pub(super) meeting: Option<(String, usize)>,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Message(Message),
    /// The stream of a message that breaks off.
    Cut(Message),
    /// No answer, ever.
    Silence,
    Error {
        status: StatusCode,
        kind: &'static str,
        message: String,
        headers: Vec<(&'static str, String)>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) model: Value,
    pub(super) blocks: Vec<Value>,
    pub(super) tokens: Tokens,
}

/// Tokens by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_creation: u64,
}

impl Tokens {
    /// What a reply reports as used if its script says nothing else: four numbers that no mix-up keeps equal.
    const USUAL: Self = Self {
        input: 100,
        output: 20,
        cache_read: 1000,
        cache_creation: 300,
    };

    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            output: self.output + other.output,
            cache_read: self.cache_read + other.cache_read,
            cache_creation: self.cache_creation + other.cache_creation,
        }
    }
}

/// A text that ends the turn.
pub(crate) fn say(text: &str) -> Reply {
    Reply::message(vec![json!({ "type": "text", "text": text })])
}

/// A call of a tool. In the texts of `input`, `{cwd}`, `{task}` and `{nonce}` stand for what the prompt says.
pub(crate) fn tool(name: &str, input: Value) -> Reply {
    tools([(name, input)])
}

/// Calls of several tools at once; see [`tool`].
pub(crate) fn tools<'a>(calls: impl IntoIterator<Item = (&'a str, Value)>) -> Reply {
    let block =
        |(name, input): (&str, Value)| json!({ "type": "tool_use", "name": name, "input": input });
    Reply::message(calls.into_iter().map(block).collect())
}

/// The report of the task by structured output.
pub(crate) fn report(status: &str, message: &str) -> Reply {
    tool(
        "StructuredOutput",
        json!({ "task_id": "{task}", "status": status, "message": message, "nonce": "{nonce}" }),
    )
}

/// An error of the service.
pub(crate) fn refused(status: u16, kind: &'static str, message: &str) -> Reply {
    let status = StatusCode::from_u16(status).expect("an HTTP status");
    Reply {
        body: Body::Error {
            status,
            kind,
            message: message.to_owned(),
            headers: Vec::new(),
        },
        meeting: None,
    }
}

/// The service is overloaded.
pub(crate) fn overloaded() -> Reply {
    refused(529, "overloaded_error", "Overloaded")
}

/// The account's five-hour window is used up until `resets_at`, in seconds since 1970.
pub(crate) fn limited(resets_at: i64) -> Reply {
    let mut reply = refused(
        429,
        "rate_limit_error",
        "This request would exceed your account's rate limit.",
    );
    if let Body::Error { headers, .. } = &mut reply.body {
        headers.extend([
            ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
            ("anthropic-ratelimit-unified-reset", resets_at.to_string()),
            (
                "anthropic-ratelimit-unified-representative-claim",
                "five_hour".to_owned(),
            ),
        ]);
    }
    reply
}

/// A request that is never answered.
pub(crate) fn silence() -> Reply {
    Reply {
        body: Body::Silence,
        meeting: None,
    }
}

/// A text whose stream breaks off before its end.
pub(crate) fn cut(text: &str) -> Reply {
    let mut reply = say(text);
    if let Body::Message(message) = reply.body {
        reply.body = Body::Cut(message);
    }
    reply
}

impl Reply {
    fn message(blocks: Vec<Value>) -> Self {
        let message = Message {
            id: String::new(),
            model: Value::Null,
            blocks,
            tokens: Tokens::USUAL,
        };
        Self {
            body: Body::Message(message),
            meeting: None,
        }
    }

    /// The same, reporting `tokens` as used.
    #[must_use]
    pub(crate) fn using(mut self, tokens: Tokens) -> Self {
        if let Body::Message(message) = &mut self.body {
            message.tokens = tokens;
        }
        self
    }

    /// The same, held back until `size` replies of that name are asked for: proof that sessions run side by side.
    #[must_use]
    pub(crate) fn meeting(mut self, name: &str, size: usize) -> Self {
        self.meeting = Some((name.to_owned(), size));
        self
    }
}

impl Message {
    /// With what the prompt says in the place of its placeholders.
    pub(super) fn filled(mut self, prompt: &str, task: &str) -> Self {
        let between = |before: &str, after: &str| {
            let rest = prompt.rsplit_once(before).map_or("", |(_, rest)| rest);
            rest.split_once(after)
                .map_or("", |(value, _)| value)
                .to_owned()
        };
        let cwd = between("working directory: ", "\n");
        let nonce = between("nonce `", "`");
        for block in &mut self.blocks {
            fill(
                block,
                &[("{cwd}", &cwd), ("{nonce}", &nonce), ("{task}", task)],
            );
        }
        self
    }

    pub(super) fn into_response(self, streams: bool) -> Response {
        let calls_tools = self.blocks.iter().any(|b| b["type"] == "tool_use");
        let stop = if calls_tools { "tool_use" } else { "end_turn" };
        let Tokens {
            input,
            output,
            cache_read,
            cache_creation,
        } = self.tokens;
        let usage = |output: u64| {
            json!({
                "input_tokens": input, "output_tokens": output,
                "cache_read_input_tokens": cache_read, "cache_creation_input_tokens": cache_creation,
            })
        };
        let blocks: Vec<Value> = self
            .blocks
            .iter()
            .enumerate()
            .map(|(n, b)| with_id(b, &format!("{}_{n}", self.id)))
            .collect();
        let message = |content: &[Value], stop: Option<&str>, output: u64| {
            json!({
                "id": format!("msg_{}", self.id), "type": "message", "role": "assistant", "model": self.model,
                "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage(output),
            })
        };
        if !streams {
            return axum::Json(message(&blocks, Some(stop), output)).into_response();
        }
        let mut events = Events::default();
        events.add("message_start", json!({ "message": message(&[], None, 1) }));
        for (index, block) in blocks.iter().enumerate() {
            let (start, delta) = block_events(block);
            events.add(
                "content_block_start",
                json!({ "index": index, "content_block": start }),
            );
            events.add(
                "content_block_delta",
                json!({ "index": index, "delta": delta }),
            );
            events.add("content_block_stop", json!({ "index": index }));
        }
        let delta = json!({ "stop_reason": stop, "stop_sequence": null });
        events.add(
            "message_delta",
            json!({ "delta": delta, "usage": { "output_tokens": output } }),
        );
        events.add("message_stop", json!({}));
        ([(header::CONTENT_TYPE, "text/event-stream")], events.text).into_response()
    }

    /// The beginning of the stream, and then nothing more.
    pub(super) fn into_cut_response(self) -> Response {
        let mut events = Events::default();
        let message = json!({
            "id": format!("msg_{}", self.id), "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": self.tokens.input, "output_tokens": 1 },
        });
        events.add("message_start", json!({ "message": message }));
        let (start, _) = block_events(&self.blocks[0]);
        events.add(
            "content_block_start",
            json!({ "index": 0, "content_block": start }),
        );
        ([(header::CONTENT_TYPE, "text/event-stream")], events.text).into_response()
    }
}

/// Server-sent events, one after the other.
#[derive(Default)]
struct Events {
    text: String,
}

impl Events {
    fn add(&mut self, kind: &str, mut value: Value) {
        value["type"] = json!(kind);
        write!(self.text, "event: {kind}\ndata: {value}\n\n").expect("a String takes everything");
    }
}

fn with_id(block: &Value, id: &str) -> Value {
    let mut block = block.clone();
    if block["type"] == "tool_use" {
        block["id"] = json!(format!("toolu_{id}"));
    }
    block
}

/// A block's empty beginning, and all of the rest as one delta.
fn block_events(block: &Value) -> (Value, Value) {
    let mut start = block.clone();
    if block["type"] == "tool_use" {
        start["input"] = json!({});
        (
            start,
            json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() }),
        )
    } else {
        start["text"] = json!("");
        (
            start,
            json!({ "type": "text_delta", "text": block["text"] }),
        )
    }
}

fn fill(value: &mut Value, replacements: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (placeholder, with) in replacements {
                *text = text.replace(placeholder, with);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| fill(v, replacements)),
        Value::Object(fields) => fields.values_mut().for_each(|v| fill(v, replacements)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

//! A fake of the Messages API on loopback, scripted by task, for tests with the real `claude` program.
//!
//! A script gives each task a list of sessions, and each session a list of replies. A session is known by the header in
//! which the program tells its id, its task by the heading of the prompt that orch writes (`# Task <id>:`). A request
//! that no script foresees is answered with an error and remembered in [`FakeApi::unscripted`].
//!
//! The fake runs in a thread of its own, so that tests need no runtime, and answers only on 127.0.0.1.

#![allow(
    dead_code,
    reason = "each test crate that includes this module uses a part of it"
)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::{Barrier, oneshot};

mod reply;

use reply::{Body, Message};
#[allow(
    unused_imports,
    reason = "each test crate that includes this module uses a part of it"
)]
pub(crate) use reply::{
    Reply, Tokens, cut, limited, overloaded, refused, report, say, silence, tool, tools,
};

/// Longest wait of a reply for its partners; a test whose sessions do not run side by side fails after it.
const MEETING_WAIT: Duration = Duration::from_secs(60);

/// What sessions are answered, by task.
#[derive(Debug, Default)]
pub(crate) struct Script {
    tasks: BTreeMap<String, VecDeque<VecDeque<Reply>>>,
}

impl Script {
    /// A script without tasks.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The replies to the next session of `task`: the first call is about its first session, and so on.
    #[must_use]
    pub(crate) fn session(mut self, task: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let sessions = self.tasks.entry(task.to_owned()).or_default();
        sessions.push_back(replies.into_iter().collect());
        self
    }
}

/// A request as the program sent it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The session's id.
    pub(crate) session: String,
    /// The task, if its prompt names one of the script.
    pub(crate) task: Option<String>,
    /// Header names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: Value,
}

impl Request {
    /// The names of the tools offered to the model.
    pub(crate) fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().map_or(&[][..], Vec::as_slice);
        tools.iter().filter_map(|t| t["name"].as_str()).collect()
    }

    /// The system prompt's blocks, one after the other.
    pub(crate) fn system(&self) -> String {
        texts(&self.body["system"]).concat()
    }

    /// The texts of all messages, one after the other.
    pub(crate) fn messages(&self) -> String {
        let messages = self.body["messages"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        messages.iter().flat_map(|m| texts(&m["content"])).collect()
    }

    /// The request in the order in which a prompt cache reads it: tools, system, messages.
    pub(crate) fn in_cache_order(&self) -> String {
        ["tools", "system", "messages"]
            .map(|part| self.body[part].to_string())
            .concat()
    }
}

/// The running fake. Stops when dropped.
#[derive(Debug)]
pub(crate) struct FakeApi {
    address: SocketAddr,
    state: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Shared = Arc<Mutex<Played>>;

#[derive(Debug, Default)]
struct Played {
    script: Script,
    sessions: HashMap<String, Session>,
    requests: Vec<Request>,
    unscripted: Vec<String>,
    meetings: HashMap<String, Arc<Barrier>>,
}

#[derive(Debug)]
struct Session {
    task: String,
    replies: VecDeque<Reply>,
    reported: Tokens,
    count: usize,
}

impl FakeApi {
    /// Starts answering by `script`.
    pub(crate) fn start(script: Script) -> Self {
        let state: Shared = Arc::new(Mutex::new(Played {
            script,
            ..Played::default()
        }));
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a loopback port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("the starter waits");
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("the fake serves"),
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().expect("the fake starts");
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The value for `ANTHROPIC_BASE_URL`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.played().requests.clone()
    }

    /// What was asked without a reply in the script, a line each.
    pub(crate) fn unscripted(&self) -> Vec<String> {
        self.played().unscripted.clone()
    }

    /// What the fake reported as used, over all sessions of a task.
    pub(crate) fn reported(&self, task: &str) -> Tokens {
        let played = self.played();
        let sessions = played.sessions.values().filter(|s| s.task == task);
        sessions.fold(Tokens::default(), |sum, s| sum.plus(s.reported))
    }

    /// Tasks and the number of replies that the script still holds for them.
    pub(crate) fn left(&self) -> BTreeMap<String, usize> {
        let played = self.played();
        let waiting = played
            .script
            .tasks
            .iter()
            .map(|(t, s)| (t.clone(), s.iter().map(VecDeque::len).sum()));
        let begun = played
            .sessions
            .values()
            .map(|s| (s.task.clone(), s.replies.len()));
        let mut left = BTreeMap::new();
        for (task, count) in waiting.chain(begun).filter(|(_, count)| *count > 0) {
            *left.entry(task).or_default() += count;
        }
        left
    }

    fn played(&self) -> MutexGuard<'_, Played> {
        self.state.lock().expect("no handler panicked")
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(Err(panic)) = self.thread.take().map(std::thread::JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

async fn answer(
    State(state): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method != Method::POST || uri.path() != "/v1/messages" {
        return StatusCode::OK.into_response();
    }
    let body: Value = serde_json::from_slice(&body).expect("the program sends JSON");
    let streams = body["stream"] == true;
    let (reply, meeting) = state
        .lock()
        .expect("no handler panicked")
        .take(&headers, body);
    if let Some(meeting) = meeting {
        let met = tokio::time::timeout(MEETING_WAIT, meeting.wait()).await;
        if met.is_err() {
            return error(
                StatusCode::IM_A_TEAPOT,
                "invalid_request_error",
                "nobody else came to the meeting",
                &[],
            );
        }
    }
    match reply {
        Body::Error {
            status,
            kind,
            message,
            headers,
        } => error(status, kind, &message, &headers),
        Body::Message(message) => message.into_response(streams),
        Body::Cut(message) => message.into_cut_response(),
        Body::Silence => std::future::pending().await,
    }
}

fn error(
    status: StatusCode,
    kind: &str,
    message: &str,
    headers: &[(&'static str, String)],
) -> Response {
    let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    let mut response = (status, axum::Json(body)).into_response();
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(*name, value.parse().expect("a header value"));
    }
    response
}

impl Played {
    /// The next reply to the session that asks, and the meeting it waits for.
    fn take(&mut self, headers: &HeaderMap, body: Value) -> (Body, Option<Arc<Barrier>>) {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or("")
                .to_owned()
        };
        let session = text("x-claude-code-session-id");
        let mut request = Request {
            headers: headers
                .keys()
                .map(|k| (k.to_string(), text(k.as_str())))
                .collect(),
            session: session.clone(),
            task: None,
            body,
        };
        self.begin(&request);
        let playing = self.sessions.get_mut(&session);
        request.task = playing.as_ref().map(|s| s.task.clone());
        let prompt = request.messages();
        let next = playing.and_then(|s| s.replies.pop_front().map(|reply| (s, reply)));
        let Some((playing, reply)) = next else {
            let what = format!("session {session} of {:?} has no reply left", request.task);
            self.unscripted.push(what.clone());
            self.requests.push(request);
            let status = StatusCode::BAD_REQUEST;
            return (
                Body::Error {
                    status,
                    kind: "invalid_request_error",
                    message: what,
                    headers: Vec::new(),
                },
                None,
            );
        };
        playing.count += 1;
        let id = format!("{session}_{}", playing.count);
        let model = request.body["model"].clone();
        let body = match reply.body {
            Body::Message(message) => {
                playing.reported = playing.reported.plus(message.tokens);
                Body::Message(Message {
                    model,
                    id,
                    ..message.filled(&prompt, &playing.task)
                })
            }
            Body::Cut(message) => Body::Cut(Message {
                model,
                id,
                ..message
            }),
            other @ (Body::Error { .. } | Body::Silence) => other,
        };
        self.requests.push(request);
        let meeting = reply.meeting.map(|(name, size)| {
            let barrier = self
                .meetings
                .entry(name)
                .or_insert_with(|| Arc::new(Barrier::new(size)));
            Arc::clone(barrier)
        });
        (body, meeting)
    }

    /// Gives a session that is not known the next part of its task's script.
    fn begin(&mut self, request: &Request) {
        if self.sessions.contains_key(&request.session) {
            return;
        }
        let prompt = request.messages();
        let is_asked = |task: &&String| prompt.contains(&format!("# Task {task}: "));
        let Some(task) = self.script.tasks.keys().find(is_asked).cloned() else {
            return;
        };
        let next = self
            .script
            .tasks
            .get_mut(&task)
            .and_then(VecDeque::pop_front);
        if let Some(replies) = next {
            let session = Session {
                task,
                replies,
                reported: Tokens::default(),
                count: 0,
            };
            self.sessions.insert(request.session.clone(), session);
        }
    }
}

/// The texts of a content: a plain text, or the text blocks among others.
fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|b| b["text"].as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

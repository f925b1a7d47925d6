//! How other terminals reach a live run: a socket in the state directory, one request a connection, as a line of JSON.
//!
//! The answer line says whether the engine accepted the request; the connection then stays open until the run ends, so
//! that a client can wait for that. Only the same user can connect (the socket's mode). What the words mean is decided
//! in the engine.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::engine::event::{Author, Control};
use crate::ids::TaskId;

/// Longest request that is read; a note is the only free text in it.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub control: Control,
    /// For the engine's answer.
    pub answer: oneshot::Sender<Answer>,
}

/// Whether a request was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Why not, if it was not.
    pub refused: Option<String>,
}

/// The socket of a state directory, addressed through an open directory, because socket paths are limited to 107 bytes
/// and repositories are not.
#[derive(Debug)]
struct Address {
    path: PathBuf,
    _directory: OwnedFd,
}

impl Address {
    fn of(socket: &Path) -> anyhow::Result<Self> {
        let directory = socket.parent().context("a socket has a directory")?;
        let name = socket.file_name().context("a socket has a name")?;
        let fd = rustix::fs::open(
            directory,
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .with_context(|| format!("cannot open {}", directory.display()))?;
        let path = if cfg!(target_os = "linux") {
            PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())).join(name)
        } else {
            socket.to_owned()
        };
        Ok(Self {
            path,
            _directory: fd,
        })
    }
}

/// Listens on `socket` as long as the returned receiver lives. A left-over socket file is replaced: the caller holds
/// the lock of the state directory, so nobody listens on it.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(socket: &Path) -> anyhow::Result<mpsc::Receiver<Request>> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("cannot replace {}", socket.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let address = Address::of(socket)?;
    let listener = tokio::net::UnixListener::bind(&address.path)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", socket.display()))?;
    let (requests, receiver) = mpsc::channel(16);
    let state = socket
        .parent()
        .context("a socket has a directory")?
        .to_owned();
    tokio::spawn(async move {
        let _keep_open = address;
        loop {
            tokio::select! {
                () = requests.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => { tokio::spawn(serve(stream, requests.clone(), state.clone())); }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket failed; this run can be stopped by signal or .stop");
                        return;
                    }
                },
            }
        }
    });
    Ok(receiver)
}

/// Who it is that decides: the person that a request names, unless the process `pid` that brings it is an agent of the
/// runs of the state directory `state`, or was started by one. An agent that works on orch itself may well have runs of
/// its own.
///
/// # Errors
/// If the table of processes cannot be read; nothing is decided for whom nobody knows.
pub fn author(pid: rustix::process::Pid, state: &Path, named: Author) -> anyhow::Result<Author> {
    let above = crate::process::shims_above(pid).context("it is not known who asks")?;
    let Some(attempt) = above.iter().find_map(|dir| dir.strip_prefix(state).ok()) else {
        return Ok(named);
    };
    let parts: Vec<&str> = attempt.iter().filter_map(|part| part.to_str()).collect();
    let task = match parts[..] {
        // Gates, which run code of a candidate: <task>-<attempt>-<epoch>.
        ["runs", _, "verify", gate, ..] => gate.rsplitn(3, '-').nth(2),
        ["runs", _, task, ..] => Some(task),
        _ => None,
    };
    let task = task.and_then(|task| TaskId::parse(task).ok());
    let task = task
        .context("work of this repository's runs asks for it; such decisions come from people")?;
    Ok(Author::Agent(task))
}

async fn serve(stream: tokio::net::UnixStream, requests: mpsc::Sender<Request>, state: PathBuf) {
    if let Err(error) = answer(stream, requests, state).await {
        tracing::debug!(%error, "a control connection ended early");
    }
}

async fn answer(
    stream: tokio::net::UnixStream,
    requests: mpsc::Sender<Request>,
    state: PathBuf,
) -> anyhow::Result<()> {
    let asker = stream
        .peer_cred()?
        .pid()
        .and_then(rustix::process::Pid::from_raw);
    let asker = asker.context("it is not known who asks")?;
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX))
        .read_line(&mut line)
        .await?;
    let said = serde_json::from_str::<Control>(&line)
        .map_err(|error| format!("the request cannot be read: {error}"))
        .and_then(|control| {
            let by = author(asker, &state, control.by.clone()).map_err(|e| format!("{e:#}"))?;
            Ok(Control { by, ..control })
        });
    let answer = match said {
        Ok(control) => {
            let (send, receive) = oneshot::channel();
            requests
                .send(Request {
                    control,
                    answer: send,
                })
                .await?;
            receive.await?
        }
        Err(why) => Answer { refused: Some(why) },
    };
    write
        .write_all((serde_json::to_string(&answer)? + "\n").as_bytes())
        .await?;
    requests.closed().await;
    Ok(())
}

/// A request that a live run has answered.
#[derive(Debug)]
pub struct Asked {
    stream: BufReader<UnixStream>,
    /// The run's answer.
    pub answer: Answer,
}

/// Sends a request to the live run of a state directory. `None`: nobody listens.
///
/// # Errors
/// If a run listens but does not answer.
pub fn ask(socket: &Path, control: &Control) -> anyhow::Result<Option<Asked>> {
    if !socket.exists() {
        return Ok(None);
    }
    let address = Address::of(socket)?;
    let mut stream = match UnixStream::connect(&address.path) {
        Ok(stream) => stream,
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
            ) =>
        {
            return Ok(None);
        }
        Err(e) => {
            return Err(e).with_context(|| format!("cannot reach the run at {}", socket.display()));
        }
    };
    stream
        .write_all((serde_json::to_string(control)? + "\n").as_bytes())
        .context("the run does not listen")?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .context("the run does not answer")?;
    let answer = serde_json::from_str(&line).context("the run ended before it answered")?;
    Ok(Some(Asked { stream, answer }))
}

impl Asked {
    /// Returns when the run has ended.
    ///
    /// # Errors
    /// If the connection breaks in another way than by its end.
    pub fn wait_for_end(mut self) -> anyhow::Result<()> {
        let mut rest = String::new();
        while self
            .stream
            .read_line(&mut rest)
            .context("lost the connection to the run")?
            > 0
        {
            rest.clear();
        }
        Ok(())
    }
}

//! The agent processes of an attempt, one after the other, as their files tell of them: which there are, how each was
//! started, and what its stream says.

use std::io::ErrorKind;

use anyhow::Context as _;

use crate::agent::Start;
use crate::agent::stream::{SessionReader, SessionReport};
use crate::driver::site::Site;
use crate::ids::Ticket;
use crate::process::{Line, LineFollower};
use crate::store::{AttemptDir, SessionDir, SessionPart};

/// The directories of an attempt's agent processes, the last one first.
pub(super) fn all(site: &Site, ticket: &Ticket) -> Vec<SessionDir> {
    let dir = site.attempt_dir(ticket);
    let there = dir.sessions().into_iter();
    there.rev().filter(|d| d.path().exists()).collect()
}

/// The directory of the last agent process that was started, or is about to be.
pub(super) fn last(site: &Site, ticket: &Ticket) -> SessionDir {
    let work = site.attempt_dir(ticket).session(SessionPart::Work);
    all(site, ticket).into_iter().next().unwrap_or(work)
}

/// How the process of `part` was started, or is to be. A session that never got an answer has nothing to go on with, and
/// the program may not even know it: then the work begins in a new one.
pub(super) fn start_of(part: &SessionDir, dir: &AttemptDir) -> anyhow::Result<Start> {
    if *part == dir.session(SessionPart::AskStatus) {
        return Ok(Start::Resume);
    }
    let earlier = dir.sessions().into_iter().take_while(|other| other != part);
    for other in earlier {
        if read_stream(&other, Start::Fresh)?.answered {
            return Ok(Start::Resume);
        }
    }
    Ok(Start::Fresh)
}

/// Reads a whole stream.
pub(super) fn read_stream(part: &SessionDir, start: Start) -> anyhow::Result<SessionReport> {
    let path = part.stream();
    let unreadable = || format!("cannot read {}", path.display());
    let mut reader = SessionReader::new(start);
    let mut follower = match LineFollower::open(&path, 0) {
        Ok(follower) => follower,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(reader.finish()),
        Err(e) => return Err(e).with_context(unreadable),
    };
    loop {
        let lines = follower.read_new().with_context(unreadable)?;
        if lines.is_empty() {
            break;
        }
        lines.iter().for_each(|line| read_line(&mut reader, line));
    }
    if let Some(line) = follower.finish() {
        read_line(&mut reader, &line);
    }
    Ok(reader.finish())
}

/// Gives a line of a stream to its reader.
pub(super) fn read_line(reader: &mut SessionReader, line: &Line) {
    match line {
        Line::Text(bytes) => reader.line(bytes),
        Line::TooLong { .. } => reader.line_too_long(),
    }
}

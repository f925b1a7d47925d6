//! Which notices of a run have been delivered to whom: lines appended to a file of the run.
//!
//! A mark is written after the delivery, so that a notice is delivered again rather than never. The file is there from
//! the start of a run that has somebody to tell.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::config::notify::Subscription;
use crate::digest::sha256_hex;

/// The line with which an orch that delivers begins.
const OPEN: &str = "open";

/// The word of the line with which it ends if everything up to a record's place was delivered.
const THROUGH: &str = "through";

/// Characters by which a subscriber is known.
const NAME_CHARS: usize = 16;

/// The marks of one run.
#[derive(Debug, Default)]
pub(super) struct Marks {
    delivered: HashSet<(String, String)>,
    through: Option<u64>,
    is_open: bool,
}

impl Marks {
    /// Reads a run's marks; `None` if it had nobody to tell. A line that was cut off marks nothing.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut marks = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                None if line == OPEN => marks.is_open = true,
                Some((THROUGH, seq)) => {
                    marks.is_open = false;
                    marks.through = marks.through.max(seq.parse().ok());
                }
                Some((id, to)) => drop(marks.delivered.insert((id.to_owned(), to.to_owned()))),
                None => {}
            }
        }
        Ok(Some(marks))
    }

    pub(super) fn has(&self, id: &str, to: &Subscription) -> bool {
        self.delivered.contains(&(id.to_owned(), name_of(to)))
    }

    /// Whether the last orch of the run delivered everything.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_open
    }

    pub(super) fn is_settled_up_to(&self, seq: u64) -> bool {
        self.through.is_some_and(|through| seq <= through)
    }
}

/// Appends to the marks of a run.
#[derive(Debug)]
pub(super) struct Marking(File);

impl Marking {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(file))
    }

    /// Lasts through a loss of power from here on: without it the next start takes it that nobody was to be told.
    pub(super) fn begun(&mut self) -> io::Result<()> {
        writeln!(self.0, "{OPEN}")?;
        self.0.sync_all()
    }

    pub(super) fn delivered(&mut self, id: &str, to: &Subscription) -> io::Result<()> {
        writeln!(self.0, "{id} {}", name_of(to))
    }

    pub(super) fn settled(&mut self, seq: u64) -> io::Result<()> {
        writeln!(self.0, "{THROUGH} {seq}")
    }
}

/// A subscriber's name in the marks: it stays the same when others are added, and gives no address away.
pub(super) fn name_of(subscription: &Subscription) -> String {
    let told = format!("{:?}", subscription.by);
    sha256_hex(told.as_bytes())
        .chars()
        .take(NAME_CHARS)
        .collect()
}

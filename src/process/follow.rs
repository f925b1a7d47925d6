//! Reading a file while another process appends to it: every complete line once, none lost.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// The longest line that is delivered: agents put whole files into one line of output, and those that they read and
/// write are below their own 10 MB limit.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How many bytes of lines one call gathers before it returns, so that a long file is not held as a whole.
const BATCH_BYTES: usize = 4 << 20;

/// One line of a followed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, without the line feed.
    Text(Vec<u8>),
    /// It was longer than [`LINE_BYTES_MAX`] and was skipped.
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

/// Reads the lines of a growing file from an offset on.
#[derive(Debug)]
pub struct LineFollower {
    path: PathBuf,
    file: File,
    /// Where the first line starts that was not delivered.
    line_start: u64,
    /// How far the file was read.
    read_to: u64,
    /// The bytes of the unfinished line; empty while it is being skipped.
    partial: Vec<u8>,
    line_bytes_max: usize,
}

impl LineFollower {
    /// Follows `path` from `offset`, which is 0 or what [`LineFollower::offset`] gave earlier.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path, offset: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path)?,
            line_start: offset,
            read_to: offset,
            partial: Vec::new(),
            line_bytes_max: LINE_BYTES_MAX,
        })
    }

    /// Where to go on later: behind the last line that was delivered.
    pub fn offset(&self) -> u64 {
        self.line_start
    }

    /// How much was read, unfinished lines included.
    pub fn seen(&self) -> u64 {
        self.read_to
    }

    /// The lines that were completed since the last call, or the first few megabytes of them. None means that there is
    /// no further complete line now.
    ///
    /// # Errors
    /// If the file cannot be read, or was truncated.
    pub fn read_new(&mut self) -> io::Result<Vec<Line>> {
        let size = self.file.metadata()?.size();
        if size < self.read_to {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "`{}` was truncated from {} to {size} bytes while it was followed",
                    self.path.display(),
                    self.read_to
                ),
            ));
        }
        let mut lines = Vec::new();
        let mut gathered = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        while gathered < BATCH_BYTES {
            let n = match self.file.read_at(&mut chunk, self.read_to) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.read_to += n as u64;
            let before = lines.len();
            self.split(&chunk[..n], &mut lines);
            gathered += lines[before..].iter().map(Line::size).sum::<usize>();
        }
        Ok(lines)
    }

    /// The last line, if it has no line feed. To be called when nothing is appended any more and
    /// [`LineFollower::read_new`] has given everything before it.
    pub fn finish(self) -> Option<Line> {
        let bytes = self.read_to - self.line_start;
        if bytes == 0 {
            None
        } else if bytes > self.line_bytes_max as u64 {
            Some(Line::TooLong { bytes })
        } else {
            Some(Line::Text(self.partial))
        }
    }

    /// Takes over a chunk that was read up to `self.read_to`.
    fn split(&mut self, chunk: &[u8], lines: &mut Vec<Line>) {
        let mut at = self.read_to - chunk.len() as u64;
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            at += piece.len() as u64;
            let text = piece.strip_suffix(b"\n");
            let bytes = at - self.line_start - u64::from(text.is_some());
            if bytes > self.line_bytes_max as u64 {
                self.partial = Vec::new();
            } else {
                self.partial.extend_from_slice(text.unwrap_or(piece));
            }
            if text.is_some() {
                self.line_start = at;
                let text = std::mem::take(&mut self.partial);
                lines.push(if bytes > self.line_bytes_max as u64 {
                    Line::TooLong { bytes }
                } else {
                    Line::Text(text)
                });
            }
        }
    }
}

impl Line {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 1,
            Self::TooLong { .. } => 1,
        }
    }
}

/// Tells when a file grows, without asking again and again.
#[derive(Debug)]
pub struct Changes {
    events: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches `path` from now on: what was appended before must be read by the caller.
    ///
    /// # Errors
    /// If the file is not there or the user's watches are used up.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(path: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY)?;
        Ok(Self {
            events: register(events)?,
        })
    }

    /// Returns when the file was written to since the last call.
    ///
    /// # Errors
    /// If the watch cannot be read.
    pub async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            let drained = ready.try_io(|events| {
                let mut any = [0; 1024];
                File::from(events.get_ref().try_clone()?).read(&mut any)
            });
            match drained {
                Ok(read) => return read.map(drop),
                Err(_not_ready) => {}
            }
        }
    }
}

/// Puts a descriptor under the runtime's poll.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for the sake of types that do not keep their descriptor open; `OwnedFd` does"
)]
pub(super) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn follower(max: usize) -> (tempfile::NamedTempFile, LineFollower) {
        let file = tempfile::NamedTempFile::new().expect("made");
        let mut follower = LineFollower::open(file.path(), 0).expect("opened");
        follower.line_bytes_max = max;
        (file, follower)
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        let text = |line| match line {
            Line::Text(text) => String::from_utf8(text).expect("UTF-8"),
            Line::TooLong { bytes } => format!("<{bytes} bytes>"),
        };
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn a_line_is_delivered_when_it_is_complete_and_only_once() {
        let (mut file, mut follower) = follower(LINE_BYTES_MAX);
        write!(file, "one\ntw").expect("written");
        assert_eq!(texts(follower.read_new().expect("read")), ["one"]);
        assert_eq!(texts(follower.read_new().expect("read")), [""; 0]);
        write!(file, "o\n\nthr").expect("written");
        assert_eq!(texts(follower.read_new().expect("read")), ["two", ""]);
        assert_eq!(follower.finish(), Some(Line::Text(b"thr".to_vec())));
    }

    #[test]
    fn a_finished_file_has_no_last_line_left() {
        let (mut file, mut follower) = follower(LINE_BYTES_MAX);
        writeln!(file, "one").expect("written");
        assert_eq!(follower.read_new().expect("read").len(), 1);
        assert_eq!(follower.finish(), None);
    }

    #[test]
    fn following_goes_on_at_the_offset_of_an_earlier_follower() {
        let (mut file, mut follower) = follower(LINE_BYTES_MAX);
        write!(file, "one\ntw").expect("written");
        follower.read_new().expect("read");
        let offset = follower.offset();
        write!(file, "o\nthree\n").expect("written");
        let mut resumed = LineFollower::open(file.path(), offset).expect("opened");
        assert_eq!(texts(resumed.read_new().expect("read")), ["two", "three"]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_with_its_length_and_the_next_one_is_whole() {
        let (mut file, mut follower) = follower(8);
        write!(file, "12345678\n123456").expect("written");
        assert_eq!(texts(follower.read_new().expect("read")), ["12345678"]);
        write!(file, "789").expect("written");
        assert_eq!(texts(follower.read_new().expect("read")), [""; 0]);
        write!(file, "abc\nnext\n123456789").expect("written");
        assert_eq!(
            texts(follower.read_new().expect("read")),
            ["<12 bytes>", "next"]
        );
        assert_eq!(follower.finish(), Some(Line::TooLong { bytes: 9 }));
    }

    #[test]
    fn lines_over_many_chunks_are_whole_and_come_in_bounded_batches() {
        let (mut file, mut follower) = follower(LINE_BYTES_MAX);
        let long = "x".repeat(200_000);
        for n in 0..100 {
            writeln!(file, "{n} {long}").expect("written");
        }
        let mut all = Vec::new();
        loop {
            let batch = follower.read_new().expect("read");
            if batch.is_empty() {
                break;
            }
            let size: usize = batch.iter().map(Line::size).sum();
            assert!(size < BATCH_BYTES + long.len() + 10, "{size}");
            all.extend(texts(batch));
        }
        let expected: Vec<String> = (0..100).map(|n| format!("{n} {long}")).collect();
        assert!(all == expected);
    }

    #[test]
    fn a_truncated_file_is_an_error_not_silence() {
        let (mut file, mut follower) = follower(LINE_BYTES_MAX);
        writeln!(file, "one").expect("written");
        follower.read_new().expect("read");
        file.as_file().set_len(2).expect("truncated");
        let error = follower.read_new().expect_err("refused");
        assert!(error.to_string().contains("truncated"), "{error}");
    }

    #[tokio::test]
    async fn a_change_wakes_the_follower_and_silence_does_not() {
        let (mut file, mut follower) = follower(LINE_BYTES_MAX);
        let mut changes = Changes::watch(file.path()).expect("watched");
        let early = tokio::time::timeout(std::time::Duration::ZERO, changes.next()).await;
        assert!(early.is_err());
        writeln!(file, "one").expect("written");
        changes.next().await.expect("woken");
        assert_eq!(texts(follower.read_new().expect("read")), ["one"]);
    }
}

//! A started git process: its input written and its outputs read at the same time, under a deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// Most bytes a command may print: the names of a million files at 250 bytes each.
pub(super) const STDOUT_BYTES_MAX: usize = 256 << 20;

/// Bytes of complaints that are kept; what comes later is read and dropped.
const STDERR_BYTES_MAX: usize = 64 << 10;

/// Bytes taken from a pipe at once: what a Linux pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// A started git; if it is not waited for, its whole process group is ended.
pub(super) struct Running(pub(super) Child);

/// What came of listening to a git process.
pub(super) enum Heard {
    All { stdout: Vec<u8>, stderr: Vec<u8> },
    TooMuch,
    TooLate,
}

impl Running {
    /// Writes the input and reads both outputs until git has closed them.
    pub(super) fn hear(&mut self, input: &[u8], deadline: Instant) -> std::io::Result<Heard> {
        let mut stdin = Inlet::new(self.0.stdin.take(), input)?;
        let mut stdout = Outlet::new(self.0.stdout.take(), STDOUT_BYTES_MAX + 1)?;
        let mut stderr = Outlet::new(self.0.stderr.take(), STDERR_BYTES_MAX)?;
        while stdout.pipe.is_some() || stderr.pipe.is_some() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(Heard::TooLate);
            };
            let waited_for = [
                stdin.pipe.as_ref().map(|p| PollFd::new(p, PollFlags::OUT)),
                stdout.pipe.as_ref().map(|p| PollFd::new(p, PollFlags::IN)),
                stderr.pipe.as_ref().map(|p| PollFd::new(p, PollFlags::IN)),
            ];
            let mut waited_for: Vec<PollFd<'_>> = waited_for.into_iter().flatten().collect();
            match rustix::event::poll(&mut waited_for, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            stdin.write()?;
            stdout.read()?;
            stderr.read()?;
            if stdout.bytes.len() > STDOUT_BYTES_MAX {
                return Ok(Heard::TooMuch);
            }
        }
        Ok(Heard::All {
            stdout: stdout.bytes,
            stderr: stderr.bytes,
        })
    }

    /// Waits for the exit after both outputs were closed; none if the deadline passed.
    pub(super) fn wait_until(&mut self, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
        /// git exits within microseconds of closing its outputs; the pause doubles for one that lingers.
        const PAUSE_FIRST: Duration = Duration::from_micros(20);
        const PAUSE_MAX: Duration = Duration::from_millis(20);
        let mut pause = PAUSE_FIRST;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let group = rustix::process::Pid::from_child(&self.0);
        // Either may fail because git has just ended, which is what is wanted.
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.0.wait().ok();
    }
}

/// git's standard input: the pipe until all is written or git has closed it.
struct Inlet<'a> {
    pipe: Option<ChildStdin>,
    unwritten: &'a [u8],
}

impl<'a> Inlet<'a> {
    fn new(pipe: Option<ChildStdin>, unwritten: &'a [u8]) -> std::io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, unwritten })
    }

    fn write(&mut self) -> std::io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        match pipe.write(self.unwritten) {
            Ok(written) => self.unwritten = &self.unwritten[written..],
            Err(e) if e.kind() == ErrorKind::BrokenPipe => self.unwritten = &[],
            Err(e) if would_wait(&e) => {}
            Err(e) => return Err(e),
        }
        if self.unwritten.is_empty() {
            self.pipe = None;
        }
        Ok(())
    }
}

/// One output of git: the pipe until git has closed it, and the first `limit` bytes that came through.
struct Outlet<P> {
    pipe: Option<P>,
    bytes: Vec<u8>,
    limit: usize,
}

impl<P: Read + AsFd> Outlet<P> {
    fn new(pipe: Option<P>, limit: usize) -> std::io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            pipe,
            bytes: Vec::new(),
            limit,
        })
    }

    fn read(&mut self) -> std::io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut chunk = [0; CHUNK_BYTES];
        match pipe.read(&mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(read) => {
                let room = self.limit - self.bytes.len();
                self.bytes.extend_from_slice(&chunk[..read.min(room)]);
            }
            Err(e) if would_wait(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

fn would_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

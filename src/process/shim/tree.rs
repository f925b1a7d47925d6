//! The processes below the shim: waiting for signals about them, reaping them, ending them.
//!
//! As a subreaper the shim inherits every orphan below it, so "no children left" means that the whole tree is gone.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Caught};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, setsid, wait};

use super::super::launch::{Exit, wall_now};
use super::super::origin::is_below;
use super::super::table::{Delivery, Process, descendants};
use crate::time::Wall;

/// How long killed processes may take to vanish. What survives SIGKILL for longer is in uninterruptible sleep.
const KILL_MAX: Duration = Duration::from_secs(10);
/// How often the tree is searched again while it is killed: a process may have forked before it died.
const KILL_AGAIN: Duration = Duration::from_millis(50);

/// The tree and the signals about it.
pub(super) struct Tree {
    signals: SignalFd,
    agent: Option<Pid>,
    agent_ended: Option<Ended>,
    /// Processes other than the agent that were told to end, by pid and start time.
    told: HashSet<(Pid, u64)>,
}

/// The end of the agent's own process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) at: Wall,
    pub(super) instant: Instant,
}

/// What a wait brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// orch asks for the end, or a person or the system does.
    ToldToEnd,
    /// A process of the tree does.
    ToldFromBelow,
    /// A process ended, or the time is up.
    Otherwise,
}

impl Tree {
    /// Makes the calling process the root of a tree that is still empty: a session of its own, out of reach of the
    /// terminal, and the reaper of all descendants. From here on signals wait to be read instead of acting; those of
    /// terminals are read and forgotten.
    pub(super) fn new() -> io::Result<Self> {
        setsid()?;
        set_child_subreaper(Some(getpid()))?;
        let caught: SigSet = [
            Caught::SIGCHLD,
            Caught::SIGTERM,
            Caught::SIGINT,
            Caught::SIGHUP,
            Caught::SIGQUIT,
        ]
        .into_iter()
        .collect();
        caught.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            signals: SignalFd::with_flags(&caught, flags)?,
            agent: None,
            agent_ended: None,
            told: HashSet::new(),
        })
    }

    /// Says which child is the agent.
    pub(super) fn plant(&mut self, agent: Pid) {
        self.agent = Some(agent);
    }

    /// How the agent's own process ended, once it has.
    pub(super) fn agent_ended(&self) -> Option<Ended> {
        self.agent_ended
    }

    /// How many processes other than the agent were told to end.
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }

    /// Waits for a signal, at most until `deadline`, and reaps what has ended.
    pub(super) fn wait(&mut self, deadline: Instant) -> io::Result<Woken> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::new(&self.signals, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut woken = Woken::Otherwise;
        while let Some(signal) = self.signals.read_signal()? {
            if signal.ssi_signo == Caught::SIGTERM as u32 && woken != Woken::ToldToEnd {
                woken = match is_of_the_tree(signal.ssi_pid) {
                    true => Woken::ToldFromBelow,
                    false => Woken::ToldToEnd,
                };
            }
        }
        self.reap()?;
        Ok(woken)
    }

    /// Ends everything that is left: SIGTERM to all, SIGKILL after `grace` or when told to end meanwhile.
    pub(super) fn end(&mut self, grace: Duration) -> io::Result<()> {
        if self.reap()? == Children::None {
            return Ok(());
        }
        self.tell(Signal::TERM)?;
        let deadline = Instant::now() + grace;
        while self.reap()? == Children::Some && Instant::now() < deadline {
            if self.wait(deadline)? == Woken::ToldToEnd {
                break;
            }
        }
        let deadline = Instant::now() + KILL_MAX;
        while self.reap()? == Children::Some && Instant::now() < deadline {
            self.tell(Signal::KILL)?;
            self.wait(deadline.min(Instant::now() + KILL_AGAIN))?;
        }
        Ok(())
    }

    /// How many processes are left.
    pub(super) fn survivors(&mut self) -> io::Result<usize> {
        Ok(match self.reap()? {
            Children::None => 0,
            Children::Some => Self::living()?.len(),
        })
    }

    fn living() -> io::Result<Vec<Process>> {
        let mut living = descendants(Process::all()?, getpid());
        living.retain(|process| !process.is_dead);
        Ok(living)
    }

    /// Takes note of all children that have ended.
    pub(super) fn reap(&mut self) -> io::Result<Children> {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) => return Ok(Children::Some),
                Err(Errno::CHILD) => return Ok(Children::None),
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            if self.agent == Some(pid) && self.agent_ended.is_none() {
                let exit = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    // Only stops and continuations are neither, and those were not waited for.
                    (None, None) => continue,
                };
                self.agent_ended = Some(Ended {
                    exit,
                    at: wall_now(),
                    instant: Instant::now(),
                });
            }
        }
    }

    fn tell(&mut self, signal: Signal) -> io::Result<()> {
        for process in Self::living()? {
            let is_told = process.signal(signal)? == Delivery::Sent;
            if is_told && self.agent != Some(process.pid) {
                self.told.insert((process.pid, process.start_time));
            }
        }
        Ok(())
    }
}

/// Whether a process is one of the tree. It is looked up at once, since a `kill` is gone a moment after its signal; of one
/// that is gone nobody can tell, and it is taken for orch or a person, whose order is to be followed.
fn is_of_the_tree(pid: u32) -> bool {
    let sender = i32::try_from(pid).ok().and_then(Pid::from_raw);
    sender.is_some_and(|sender| is_below(sender, getpid()).is_ok_and(|below| below == Some(true)))
}

/// Whether anything is left below the shim, zombies included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Children {
    None,
    Some,
}

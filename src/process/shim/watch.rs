//! What a shim watches for while its agent runs: its end, and the limits it may hit.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use std::os::unix::fs::MetadataExt as _;

use super::super::launch::{Cause, ShimSpec};
use super::agent::Started;
use super::tree::{Tree, Woken};
use crate::flock::is_held;

/// How often the sizes of the output files are looked at: they lie on a local disk, which takes some hundred megabytes
/// meanwhile at worst.
const OUTPUT_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Looking whether orch lives takes its lock for an instant when it does not, which could hit an orch that is just
/// starting: so seldom, but often enough for the limit to mean what it says.
const SUPERVISION_CHECKS: u32 = 20;
const SUPERVISION_CHECK_EVERY_MAX: Duration = Duration::from_secs(30);

/// Waits until the agent has ended or must be ended.
///
/// `Instant` is CLOCK_MONOTONIC here, which stands still while the machine sleeps: an attempt is not over because a
/// laptop was closed.
pub(super) fn watch(
    spec: &ShimSpec,
    agent: &Started,
    tree: &mut Tree,
    begin: Instant,
) -> io::Result<Cause> {
    let timeout = begin + Duration::from_millis(spec.timeout_ms);
    let mut supervision = Supervision::new(spec, begin);
    let mut next_output_check = begin + OUTPUT_CHECK_EVERY;
    loop {
        if tree.agent_ended().is_some() {
            return Ok(Cause::Exited);
        }
        let now = Instant::now();
        if now >= timeout {
            return Ok(Cause::Timeout);
        }
        if now >= next_output_check {
            next_output_check = now + OUTPUT_CHECK_EVERY;
            let is_flooded =
                |file: &File| Ok::<_, io::Error>(file.metadata()?.size() > spec.output_bytes_max);
            if is_flooded(&agent.stdout)? || is_flooded(&agent.stderr)? {
                return Ok(Cause::OutputFlood);
            }
        }
        if supervision.is_lost(now) {
            return Ok(Cause::Unsupervised);
        }
        let next = timeout.min(next_output_check).min(supervision.next_check);
        let told = match tree.wait(next)? {
            Woken::ToldToEnd => Cause::Ended,
            Woken::ToldFromBelow => Cause::EndedFromBelow,
            Woken::Otherwise => continue,
        };
        // Both at once: then it ended by itself.
        tree.reap()?;
        return Ok(match tree.agent_ended() {
            Some(_) => Cause::Exited,
            None => told,
        });
    }
}

/// How long there has been no orch.
struct Supervision<'a> {
    orch_lock: &'a Path,
    max: Duration,
    every: Duration,
    next_check: Instant,
    last_seen: Instant,
}

impl<'a> Supervision<'a> {
    fn new(spec: &'a ShimSpec, begin: Instant) -> Self {
        let max = Duration::from_millis(spec.unsupervised_ms_max);
        let every = (max / SUPERVISION_CHECKS).min(SUPERVISION_CHECK_EVERY_MAX);
        Self {
            orch_lock: &spec.orch_lock,
            max,
            every,
            next_check: begin + every,
            last_seen: begin,
        }
    }

    fn is_lost(&mut self, now: Instant) -> bool {
        if now < self.next_check {
            return false;
        }
        self.next_check = now + self.every;
        // A lock that cannot be looked at is nobody's: an agent must not run for ever because of it.
        if is_held(self.orch_lock).unwrap_or(false) {
            self.last_seen = now;
        }
        now.duration_since(self.last_seen) >= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(100);
    const EVERY: Duration = Duration::from_secs(5);

    #[test]
    fn an_agent_is_given_up_when_no_orch_was_there_for_so_long_and_not_for_a_standstill() {
        let tmp = tempfile::tempdir().expect("a directory");
        let path = tmp.path().join("orch.lock");
        let lock = File::create(&path).expect("a file");
        let begin = Instant::now();
        let mut supervision = Supervision {
            orch_lock: &path,
            max: MAX,
            every: EVERY,
            next_check: begin + EVERY,
            last_seen: begin,
        };
        assert!(!supervision.is_lost(begin + MAX - EVERY));
        assert!(supervision.is_lost(begin + MAX));
        // Hours later there is an orch: whatever was between the looks, it is there now.
        lock.lock().expect("a lock");
        let hours = begin + Duration::from_secs(8 * 3_600);
        assert!(!supervision.is_lost(hours));
        lock.unlock().expect("unlocked");
        assert!(!supervision.is_lost(hours + MAX - EVERY));
        assert!(supervision.is_lost(hours + MAX));
    }
}

//! Whether an agent still gives signs of life. Pure: it is told what was seen, and when.
//!
//! A sign of life is anything that the session writes. While a tool call is open, silence is work; before the first
//! line it is a program that does not come up. Time is that of a clock which stands still in suspend, and a wake-up that
//! comes far too late says that this process stood still, and perhaps the agent with it: then the count begins anew.

use std::time::{Duration, Instant};

use crate::engine::ending::{AttemptEnd, Ending};
use crate::time::for_people;

/// A wake-up later than this is no longer a busy machine.
const OVERSLEPT: Duration = Duration::from_secs(30);

/// Counts the silence of one session.
#[derive(Debug)]
pub(super) struct Silence {
    start_max: Duration,
    stall_max: Duration,
    since: Instant,
    bytes: u64,
}

impl Silence {
    /// Of a session that is followed from `now` on.
    pub(super) fn new(start_max: Duration, stall_max: Duration, now: Instant) -> Self {
        Self {
            start_max,
            stall_max,
            since: now,
            bytes: 0,
        }
    }

    /// The session's output was this long when it was looked at.
    pub(super) fn looked(&mut self, bytes: u64, now: Instant) {
        if bytes > self.bytes {
            self.bytes = bytes;
            self.since = now;
        }
    }

    /// When it will have been silent for too long, if it stays so.
    pub(super) fn deadline(&self, open_tools: u32) -> Option<Instant> {
        let max = match (self.bytes, open_tools) {
            (0, _) => self.start_max,
            (_, 0) => self.stall_max,
            _ => return None,
        };
        self.since.checked_add(max)
    }

    /// How the attempt ends, if the session has been silent for too long.
    pub(super) fn verdict(&mut self, open_tools: u32, now: Instant) -> Option<AttemptEnd> {
        let late = now.checked_duration_since(self.deadline(open_tools)?)?;
        if late > OVERSLEPT {
            self.since = now;
            return None;
        }
        let shown = |max: Duration| for_people(u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
        Some(if self.bytes == 0 {
            let detail = format!(
                "the agent program said nothing within {} of its start",
                shown(self.start_max)
            );
            AttemptEnd::new(Ending::NoFirstEvent, detail)
        } else {
            let detail = format!(
                "the session was silent for {} while no tool was running",
                shown(self.stall_max)
            );
            AttemptEnd::new(Ending::Stalled, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(120);
    const STALL: Duration = Duration::from_secs(600);

    fn ending(silence: &mut Silence, open_tools: u32, now: Instant) -> Option<Ending> {
        silence.verdict(open_tools, now).map(|end| end.ending)
    }

    #[test]
    fn a_program_that_never_says_anything_has_no_first_event() {
        let begun = Instant::now();
        let mut silence = Silence::new(START, STALL, begun);
        assert_eq!(silence.deadline(0), Some(begun + START));
        assert_eq!(ending(&mut silence, 0, begun + START / 2), None);
        assert_eq!(
            ending(&mut silence, 0, begun + START),
            Some(Ending::NoFirstEvent)
        );
    }

    #[test]
    fn silence_counts_from_the_last_sign_of_life() {
        let begun = Instant::now();
        let mut silence = Silence::new(START, STALL, begun);
        silence.looked(10, begun + START);
        silence.looked(10, begun + STALL);
        assert_eq!(ending(&mut silence, 0, begun + STALL), None);
        assert_eq!(
            ending(&mut silence, 0, begun + START + STALL),
            Some(Ending::Stalled)
        );
    }

    #[test]
    fn a_tool_may_take_as_long_as_the_attempt() {
        let begun = Instant::now();
        let mut silence = Silence::new(START, STALL, begun);
        silence.looked(10, begun);
        assert_eq!(silence.deadline(1), None);
        assert_eq!(ending(&mut silence, 1, begun + 100 * STALL), None);
    }

    #[test]
    fn a_process_that_stood_still_itself_blames_nobody() {
        let begun = Instant::now();
        let mut silence = Silence::new(START, STALL, begun);
        silence.looked(10, begun);
        let woken = begun + 10 * STALL;
        assert_eq!(ending(&mut silence, 0, woken), None);
        assert_eq!(silence.deadline(0), Some(woken + STALL));
        assert_eq!(
            ending(&mut silence, 0, woken + STALL),
            Some(Ending::Stalled)
        );
    }
}

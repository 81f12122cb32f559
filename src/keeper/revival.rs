//! When the next supervisor process may start.

use nix::sys::signal::Signal;

use super::SHORTAGE;

const SECOND: u64 = 1_000_000_000;

/// This many crashes ...
const CRASHES: usize = 5;
/// ... in this time mean that starting it again at once does not help.
const WITHIN: u64 = 60 * SECOND;
/// Pause before each start while that is so.
const PAUSE: u64 = SECOND;

/// Pause after a start that the machine refused, doubled each time up to the longest.
const FIRST_RETRY: u64 = SECOND / 10;
const LAST_RETRY: u64 = 5 * SECOND;

/// Remembers crashes. At once is right as long as it works: nobody supervises meanwhile.
#[derive(Debug, Default)]
pub(super) struct Revival {
    /// Times of the last crashes, oldest first; 0: none yet.
    crashes: [u64; CRASHES],
    refusals: u32,
    not_before: u64,
    /// The wait status of the crash that was one too many.
    safe: Option<i32>,
}

impl Revival {
    /// A supervisor process ended. One that was killed (by a person, by the kernel for memory) did not crash: its successor
    /// starts at once.
    pub(super) fn ended(&mut self, now: u64, status: i32) {
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == i32::from(SHORTAGE) {
            return self.refused(now);
        }
        self.refusals = 0;
        if !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != Signal::SIGKILL as i32 {
            self.crashed(now, status);
        }
    }

    /// It crashed, or hung, which is as bad.
    pub(super) fn crashed(&mut self, now: u64, status: i32) {
        self.crashes.rotate_left(1);
        if let Some(last) = self.crashes.last_mut() {
            *last = now;
        }
        if self.is_crash_loop(now) {
            self.not_before = now + PAUSE;
            self.safe = Some(status);
        }
    }

    /// Whether it kept crashing, and how the last one ended: from then on one that adopts, reports and stops but starts
    /// nothing takes its place, until a program is put there that works.
    pub(super) fn safe(&self) -> Option<i32> {
        self.safe
    }

    /// A new program has taken over.
    pub(super) fn forget(&mut self) {
        *self = Revival::default();
    }

    fn is_crash_loop(&self, now: u64) -> bool {
        self.crashes.first().is_some_and(|first| *first != 0 && now.saturating_sub(*first) <= WITHIN)
    }

    /// A start failed: the machine is short of something.
    pub(super) fn refused(&mut self, now: u64) {
        let pause = FIRST_RETRY << self.refusals.min(10);
        self.not_before = now + pause.min(LAST_RETRY);
        self.refusals += 1;
    }

    /// Monotonic nanoseconds.
    pub(super) fn not_before(&self) -> u64 {
        self.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT_1: i32 = 1 << 8;
    const ABORTED: i32 = Signal::SIGABRT as i32;
    const KILLED: i32 = Signal::SIGKILL as i32;

    /// The pause after each of these deaths, in seconds, if the next start comes at once.
    fn pauses(deaths: &[(u64, i32)]) -> Vec<u64> {
        let mut revival = Revival::default();
        let pause = |(at, status): &(u64, i32)| {
            revival.ended(at * SECOND, *status);
            revival.not_before().saturating_sub(at * SECOND) / SECOND
        };
        deaths.iter().map(pause).collect()
    }

    #[test]
    fn the_fifth_crash_within_a_minute_brings_a_pause() {
        let deaths = [(1, EXIT_1), (2, ABORTED), (3, EXIT_1), (4, EXIT_1), (61, EXIT_1), (62, 0)];
        assert_eq!(pauses(&deaths), [0, 0, 0, 0, 1, 1]);
        let slower = [(1, EXIT_1), (2, EXIT_1), (3, EXIT_1), (4, EXIT_1), (62, EXIT_1)];
        assert_eq!(pauses(&slower), [0, 0, 0, 0, 0]);
    }

    #[test]
    fn crashes_lead_to_caution_until_a_program_works() {
        let mut revival = Revival::default();
        for at in 1..5 {
            revival.ended(at * SECOND, EXIT_1);
            assert_eq!(revival.safe(), None);
        }
        revival.crashed(5 * SECOND, KILLED);
        assert_eq!(revival.safe(), Some(KILLED));
        revival.ended(1000 * SECOND, 0);
        assert_eq!(revival.safe(), Some(KILLED));
        revival.forget();
        assert_eq!((revival.safe(), revival.not_before()), (None, 0));
    }

    #[test]
    fn being_killed_is_no_crash() {
        assert_eq!(pauses(&[(1, KILLED); 100]), [0; 100]);
    }

    #[test]
    fn a_shortage_is_no_crash_and_slows_the_next_start() {
        let short = i32::from(SHORTAGE) << 8;
        assert_eq!(pauses(&[(1, short), (2, short), (3, short), (4, short), (5, short)]), [0, 0, 0, 0, 1]);
        let mut revival = Revival::default();
        (1..100).for_each(|at| revival.ended(at * SECOND, short));
        assert_eq!(revival.safe(), None);
    }

    #[test]
    fn a_refused_start_is_tried_again_ever_more_slowly_up_to_a_bound() {
        let mut revival = Revival::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            revival.refused(0);
            pauses.push(revival.not_before());
        }
        assert_eq!(pauses[..3], [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]);
        assert_eq!(pauses[39], LAST_RETRY);
    }
}

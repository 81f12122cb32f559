//! The time as the rules count it: `CLOCK_MONOTONIC` without the time in which nothing of this project ran.
//!
//! A frozen control group, a stopped virtual machine or SIGSTOP to all of its processes lets the clock go on while no child
//! can do anything: a child that is starting would be found too late at the thaw. So the rules' clock stands still for that
//! long. It is noticed here alone: while anything has a deadline the clock is read at short intervals, and a reading that
//! comes much too late, without CPU time spent in between, tells of a pause. (A suspended machine's `CLOCK_MONOTONIC` stands
//! still by itself.) A child that is stopped alone is not told from one that hangs: its time counts.

use std::time::Duration;

use crate::os;

/// While anything has a deadline, the clock is read at least this often.
pub(super) const READ_EVERY: Duration = Duration::from_millis(250);
/// How much later a reading may come on a busy machine.
const DELAY: Duration = Duration::from_millis(750);

/// Notices pauses.
#[derive(Default)]
pub(super) struct Clock {
    /// The newest reading; `None`: nothing has a deadline, so the next reading may be any time away.
    last: Option<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    monotonic: Duration,
    /// CPU time of this process.
    busy: Duration,
}

impl Clock {
    /// Reads the clock; returns how long nothing ran since the last reading.
    pub(super) fn read(&mut self) -> Duration {
        let reading = Reading {
            monotonic: Duration::from_nanos(os::clock::monotonic_ns()),
            busy: Duration::from_nanos(os::clock::cpu_ns()),
        };
        let last = self.last.replace(reading);
        last.map_or(Duration::ZERO, |last| pause(last, reading))
    }

    /// Nothing has a deadline: the clock is not read for some time.
    pub(super) fn rest(&mut self) {
        self.last = None;
    }
}

fn pause(last: Reading, reading: Reading) -> Duration {
    let idle = reading
        .monotonic
        .saturating_sub(last.monotonic)
        .saturating_sub(reading.busy.saturating_sub(last.busy));
    if idle > READ_EVERY + DELAY { idle - READ_EVERY } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(gap: u64, busy: u64) -> u128 {
        let at = |monotonic, busy| Reading {
            monotonic: Duration::from_millis(monotonic),
            busy: Duration::from_millis(busy),
        };
        pause(at(5000, 300), at(5000 + gap, 300 + busy)).as_millis()
    }

    #[test]
    fn only_time_in_which_nothing_ran_is_a_pause() {
        assert_eq!([between(250, 0), between(900, 0), between(3000, 2500)], [0; 3]);
        assert_eq!([between(12_000, 0), between(12_000, 2000)], [11_750, 9750]);
    }

    #[test]
    fn a_clock_that_rested_has_seen_no_pause() {
        let mut clock = Clock::default();
        assert_eq!(clock.read(), Duration::ZERO);
        clock.last = Some(Reading { monotonic: Duration::ZERO, busy: Duration::ZERO });
        clock.rest();
        assert_eq!(clock.read(), Duration::ZERO);
    }
}

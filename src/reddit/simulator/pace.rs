//! Not faster than asked.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Gives out the moments at which actions may begin, evenly spaced. A moment nobody took is gone: after an outage the
/// crowd goes on at its pace instead of making up for it.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Option<Duration>,
    next: Cell<Instant>,
}

impl Pace {
    /// At most `rate` a second; `None`: no limit.
    pub(super) fn new(rate: Option<u32>, now: Instant) -> Pace {
        Pace { gap: rate.map(|rate| Duration::from_secs(1) / rate.max(1)), next: Cell::new(now) }
    }

    /// The moment of the next action, now or later; `None` when nothing limits it.
    pub(super) fn take(&self, now: Instant) -> Option<Instant> {
        let gap = self.gap?;
        let moment = self.next.get().max(now);
        self.next.set(moment + gap);
        Some(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_evenly_spaced_and_missed_ones_are_not_made_up_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let pace = Pace::new(Some(100), start);
        assert_eq!([pace.take(start), pace.take(start)], [Some(at(0)), Some(at(10))]);
        assert_eq!(pace.take(at(500)), Some(at(500)));
        assert_eq!(pace.take(at(500)), Some(at(510)));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        assert_eq!(Pace::new(None, start).take(start), None);
    }
}

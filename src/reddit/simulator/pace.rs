//! Not faster than asked, and not slower because the engine was.

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A moment that is longer ago than this is given up.
const LATEST: Duration = Duration::from_secs(60);

/// Gives out the moments at which actions are to begin, evenly spaced, each once. When nobody was free in time a moment
/// is given out late and stays what it was, so that an action is late by everything that kept it, and a slow engine does
/// not make itself look fast by being asked less (coordinated omission).
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u32>,
    begun: OnceCell<Instant>,
    given: Cell<u64>,
    missed: Cell<u64>,
    /// Whoever holds it waits for the next moment.
    gate: Mutex<Option<Alarm>>,
}

impl Pace {
    /// So many moments a second; `None`: any moment will do.
    pub(super) fn new(rate: Option<u32>) -> Pace {
        Pace {
            rate: rate.filter(|&rate| rate > 0),
            begun: OnceCell::new(),
            given: Cell::new(0),
            missed: Cell::new(0),
            gate: Mutex::new(None),
        }
    }

    /// Whether there is a rate.
    pub(super) fn is_set(&self) -> bool {
        self.rate.is_some()
    }

    /// Moments that were given up because they were a minute ago.
    pub(super) fn missed(&self) -> u64 {
        self.missed.get()
    }

    /// The time between two moments.
    pub(super) fn gap(&self) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs(1) / rate)
    }

    /// Waits for the next moment and returns it. Cancelled, it is as if nobody had waited.
    pub(super) async fn moment(&self) -> Instant {
        let Some(rate) = self.rate else { return Instant::now() };
        let mut gate = self.gate.lock().await;
        let moment = self.take(rate, Instant::now());
        let left = moment.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            if gate.is_none() {
                *gate = Alarm::new();
            }
            match gate.as_ref() {
                Some(alarm) => alarm.ring_after(left).await,
                None => tokio::time::sleep(left).await,
            }
        }
        self.given.set(self.given.get() + 1);
        moment
    }

    /// The next moment, skipping what is too long ago.
    fn take(&self, rate: u32, now: Instant) -> Instant {
        let begun = *self.begun.get_or_init(|| now);
        let moment = |number: u64| {
            let ns = u128::from(number) * 1_000_000_000 / u128::from(rate);
            begun + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
        };
        let next = moment(self.given.get());
        let late = now.saturating_duration_since(next);
        if late <= LATEST {
            return next;
        }
        let skipped = (late - LATEST).as_nanos() * u128::from(rate) / 1_000_000_000 + 1;
        let skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
        self.missed.set(self.missed.get() + skipped);
        self.given.set(self.given.get() + skipped);
        moment(self.given.get())
    }
}

/// A timer of the kernel: tokio's own rings in steps of a millisecond, which at some thousand actions a second is longer
/// than an answer takes.
#[derive(Debug)]
struct Alarm {
    timer: TimerFd,
    /// The same timer: it is read like a pipe, and says with eight bytes that it has rung.
    rung: Receiver,
}

impl Alarm {
    /// `None` where the kernel has no descriptor left.
    fn new() -> Option<Alarm> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).ok()?;
        let rung = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned().ok()?).ok()?;
        Some(Alarm { timer, rung })
    }

    /// Safe to cancel: the next setting takes the place of this one.
    async fn ring_after(&self, left: Duration) {
        let left = TimeSpec::nanoseconds(i64::try_from(left.as_nanos()).unwrap_or(i64::MAX).max(1));
        if self.timer.set(Expiration::OneShot(left), TimerSetTimeFlags::empty()).is_err() {
            return;
        }
        while self.rung.readable().await.is_ok() {
            // It may have been an earlier setting that made it readable.
            match self.rung.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn moments_are_evenly_spaced_and_late_ones_stay_what_they_were() {
        let start = Instant::now();
        let pace = Pace::new(Some(100));
        let take = |now| {
            let moment = pace.take(100, start + now) - start;
            pace.given.set(pace.given.get() + 1);
            moment
        };
        assert_eq!([take(ms(0)), take(ms(0)), take(ms(500)), take(ms(500))], [ms(0), ms(10), ms(20), ms(30)]);
        assert_eq!(pace.missed(), 0);
    }

    #[test]
    fn what_is_a_minute_ago_is_given_up_and_counted() {
        let start = Instant::now();
        let pace = Pace::new(Some(10));
        pace.take(10, start);
        let moment = pace.take(10, start + ms(100_050)) - start;
        assert_eq!((moment, pace.missed()), (ms(40_100), 401));
    }

    #[tokio::test]
    async fn moments_come_in_time() {
        let pace = Pace::new(Some(1000));
        let begun = Instant::now();
        let mut last = begun;
        for _ in 0..20 {
            last = pace.moment().await;
            assert!(Instant::now() >= last);
        }
        assert_eq!(last.duration_since(*pace.begun.get().unwrap()), ms(19));
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        assert!(Pace::new(None).moment().await <= Instant::now());
    }
}

//! Clock ticks since boot to points in time and lengths.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::Process;

/// What is needed to read ticks: their length, the moment of boot and how long ago that is. Taken once for a listing, so
/// that all its rows are measured against one "now".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks a second (`sysconf(_SC_CLK_TCK)`).
    ticks_per_second: u64,
    /// Boot in seconds since 1970, as the kernel rounds it (`btime` in `/proc/stat`).
    boot: u64,
    /// Time since boot, sleep included (`CLOCK_BOOTTIME`).
    uptime: Duration,
}

impl Clock {
    /// Reads the clock.
    ///
    /// # Errors
    /// The kernel does not tell the time since boot or the length of a tick; Linux does.
    pub fn now() -> io::Result<Clock> {
        let ticks = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let unknown = || io::Error::new(io::ErrorKind::Unsupported, "the length of a clock tick is unknown");
        Ok(Clock {
            ticks_per_second: ticks.filter(|&ticks| ticks > 0).ok_or_else(unknown)?,
            boot: sysinfo::System::boot_time(),
            uptime: clock_gettime(ClockId::CLOCK_BOOTTIME)?.into(),
        })
    }

    /// When the process started: boot time and its start ticks, the same at each reading. As in `ps(1)`, up to a second
    /// early, because the kernel tells its boot time in whole seconds.
    #[must_use]
    pub fn start_time(&self, process: &Process) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.boot) + self.length(process.start_ticks)
    }

    /// How long the process has existed, to a tick (10 ms).
    #[must_use]
    pub fn uptime(&self, process: &Process) -> Duration {
        self.uptime.saturating_sub(self.length(process.start_ticks))
    }

    /// CPU time over life time in percent, as the `%CPU` of `ps(1)`: an average over the whole life, over 100 with
    /// several threads.
    #[must_use]
    pub fn cpu_percent(&self, process: &Process) -> f64 {
        let life = self.uptime(process).as_secs_f64();
        if life > 0.0 { self.length(process.utime + process.stime).as_secs_f64() / life * 100.0 } else { 0.0 }
    }

    /// When the process started, as time since boot, to a tick.
    #[must_use]
    pub fn started(&self, process: &Process) -> Duration {
        self.length(process.start_ticks)
    }

    /// When this clock was read, as time since boot.
    #[must_use]
    pub fn since_boot(&self) -> Duration {
        self.uptime
    }

    fn length(&self, ticks: u64) -> Duration {
        let part = ticks % self.ticks_per_second * 1_000_000_000 / self.ticks_per_second;
        Duration::from_secs(ticks / self.ticks_per_second) + Duration::from_nanos(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_times() {
        let clock = Clock { ticks_per_second: 100, boot: 1_000, uptime: Duration::from_secs(60) };
        let mut row = Process::read(std::process::id().cast_signed()).unwrap();
        (row.start_ticks, row.utime, row.stime) = (5_050, 100, 90);
        assert_eq!(clock.start_time(&row), UNIX_EPOCH + Duration::from_millis(1_050_500));
        assert_eq!(clock.uptime(&row), Duration::from_millis(9_500));
        assert!((clock.cpu_percent(&row) - 20.0).abs() < 1e-9);
        row.start_ticks = 6_000;
        assert_eq!((clock.uptime(&row), clock.cpu_percent(&row)), (Duration::ZERO, 0.0));
    }

    #[test]
    fn our_own_start_lies_in_the_past_and_does_not_move() {
        let row = Process::read(std::process::id().cast_signed()).unwrap();
        let (one, two) = (Clock::now().unwrap(), Clock::now().unwrap());
        assert_eq!(one.start_time(&row), two.start_time(&row));
        assert!(one.start_time(&row) <= SystemTime::now());
        assert!(two.uptime(&row) >= one.uptime(&row));
    }
}

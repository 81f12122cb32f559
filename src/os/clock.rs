//! The one clock for delays: `CLOCK_MONOTONIC`, which no one can set.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since an arbitrary point, usually boot. Comparable between processes of one boot.
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of CPU time that this process has used.
pub fn cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: ClockId) -> u64 {
    // The call fails only for a clock that does not exist, and these do on every Linux.
    let Ok(now) = clock_gettime(clock) else { return 0 };
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}

/// Waits this many nanoseconds: only after a failure that nothing else paces.
pub fn pause(length_ns: u64) {
    std::thread::sleep(std::time::Duration::from_nanos(length_ns));
}

/// The same in milliseconds.
pub fn monotonic_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let first = monotonic_ns();
        assert!(first > 0);
        assert!(monotonic_ns() >= first);
        assert!(monotonic_ms() >= first / 1_000_000);
    }
}

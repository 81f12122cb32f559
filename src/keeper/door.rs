//! The control socket, seen from outside: somebody who knocks and is not let in means that the supervisor process hangs.
//!
//! The keeper holds the listening socket anyway. A connection that arrives wakes it; it does nothing then, since the
//! supervisor process was woken by the same, and looks again a second later. Only if somebody is still outside it asks.

const SECOND: u64 = 1_000_000_000;

/// How long somebody may wait outside before it means anything.
const WAIT: u64 = SECOND;

/// Whether somebody is known to have knocked. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Door {
    /// Nobody has; the next one wakes us.
    #[default]
    Watched,
    /// Somebody has; not watched until then.
    LookAt(u64),
}

impl Door {
    /// Somebody is outside.
    pub(super) fn knocked(&mut self, now: u64) {
        *self = Door::LookAt(now + WAIT);
    }

    /// When to look again; `None`: it is watched.
    pub(super) fn due(self) -> Option<u64> {
        match self {
            Door::Watched => None,
            Door::LookAt(at) => Some(at),
        }
    }
}

//! Points on the monotonic clock, as the rules see them.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on `CLOCK_MONOTONIC`, in milliseconds since the clock's own origin (boot of the machine).
///
/// The same machine gives the same moment to every process, so a state saved by one supervisor process means the same
/// to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// Time passed since `earlier`; zero if `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, length: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)))
    }
}

//! What time it is for an engine.

use std::time::{SystemTime, UNIX_EPOCH};

/// 1 January 2024, in ms since 1970.
const BEGINNING_MS: u64 = 1_704_067_200_000;

/// Where an engine takes the time from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The wall clock. It may jump; the model keeps the times of its records in order.
    #[default]
    Wall,
    /// Time passes with requests, a millisecond each, and stands still between them: the same requests make the same
    /// tables.
    Lockstep {
        /// Requests so far.
        requests: u64,
    },
}

impl Clock {
    /// ms since 1970, for a turn of so many requests.
    pub(super) fn now_ms(&mut self, turn: usize) -> u64 {
        match self {
            Clock::Wall => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
            }
            Clock::Lockstep { requests } => {
                *requests += turn as u64;
                BEGINNING_MS + *requests
            }
        }
    }
}

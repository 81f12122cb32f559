//! How fast connections are accepted.

use std::time::Duration;

use tokio::time::Instant;

/// Connections that are accepted within a window.
const ACCEPTED_AT_ONCE: u32 = 8;
const ACCEPT_WINDOW: Duration = Duration::from_millis(1);

/// Accepts at most [`ACCEPTED_AT_ONCE`] connections in a millisecond. Those that queued up while a supervisor held the socket
/// come one after the other then, not all at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    begun: Option<Instant>,
    accepted: u32,
}

impl Pace {
    /// Waits, if need be, until the next connection may be accepted.
    pub(super) async fn next(&mut self) {
        let recent = self.begun.is_some_and(|begun| begun.elapsed() < ACCEPT_WINDOW);
        if recent && self.accepted >= ACCEPTED_AT_ONCE {
            tokio::time::sleep(ACCEPT_WINDOW).await;
        }
        if !recent || self.accepted >= ACCEPTED_AT_ONCE {
            (self.begun, self.accepted) = (Some(Instant::now()), 0);
        }
        self.accepted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_that_queued_up_are_let_in_a_few_at_a_time() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let mut accepted = std::collections::BTreeMap::new();
        for _ in 0..200 {
            pace.next().await;
            *accepted.entry(begun.elapsed().as_millis()).or_insert(0) += 1;
        }
        assert!(accepted.values().all(|&count| count <= ACCEPTED_AT_ONCE), "{accepted:?}");
        // One that comes alone does not wait.
        tokio::time::advance(ACCEPT_WINDOW).await;
        let alone = Instant::now();
        pace.next().await;
        assert_eq!(alone.elapsed(), Duration::ZERO);
    }
}

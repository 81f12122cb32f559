//! One wish to stop, seen by every task of the client.

use std::cell::Cell;

use tokio::sync::Notify;

/// Not wanted at first, then wanted for ever.
#[derive(Debug, Default)]
pub(super) struct Stop {
    wanted: Cell<bool>,
    news: Notify,
}

impl Stop {
    pub(super) fn want(&self) {
        self.wanted.set(true);
        self.news.notify_waiters();
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Ends once it is wanted. Safe to cancel.
    pub(super) async fn wanted(&self) {
        // One thread: nothing can come between the look and the wait.
        if !self.is_wanted() {
            self.news.notified().await;
        }
    }
}

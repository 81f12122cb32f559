//! What an engine that runs says of itself, held against itself, its store and its clients.

use serde::{Deserialize, Serialize};

use super::{Violation, must};

/// What an engine found when it looked at itself, between two turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Records in its store since that was made; 0 without a store.
    pub position: u64,
    /// Equal for equal tables.
    pub fingerprint: u64,
    /// Requests that came to it since it started, the one for this included.
    pub requests: u64,
    /// Of these, those that it did or told what they asked for.
    pub done: u64,
    /// Of these, those that it refused with an [`Error`](crate::reddit::model::Error).
    pub refused: u64,
    /// Sessions that were opened since it started.
    pub opened: u64,
    /// Sessions that were closed since it started.
    pub closed: u64,
    /// Sessions that are open.
    pub sessions: u64,
    /// Users who are shown as online, counted one by one.
    pub online: u64,
}

/// What a client counted of one life of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Answers that it read.
    pub answered: u64,
    /// Requests that it sent and that the end of a connection left without an answer.
    pub lost: u64,
}

impl Examination {
    /// Judges what can be seen in it alone.
    ///
    /// # Errors
    /// I17 or I18.
    pub fn check(&self) -> Result<(), Violation> {
        let Examination { requests, done, refused, opened, closed, sessions, online, .. } = *self;
        must!(
            requests == done + refused + 1,
            "I17",
            "{requests} requests came, {done} were done, {refused} refused, and one is this"
        );
        must!(
            opened.checked_sub(closed) == Some(sessions),
            "I18",
            "{opened} sessions were opened and {closed} closed, {sessions} are open"
        );
        must!(online == sessions, "I18", "{online} users are online, {sessions} sessions are open");
        Ok(())
    }

    /// Holds it against what all clients of this life of the engine counted.
    ///
    /// # Errors
    /// I17.
    pub fn served(&self, clients: impl IntoIterator<Item = Counted>) -> Result<(), Violation> {
        let (mut answered, mut lost) = (0, 0);
        for client in clients {
            answered += client.answered;
            lost += client.lost;
        }
        // The request for this came from none of them.
        let served = self.requests.saturating_sub(1);
        must!(
            (answered..=answered + lost).contains(&served),
            "I17",
            "clients read {answered} answers and lost {lost}, the engine served {served}"
        );
        Ok(())
    }

    /// Holds it against the tables that its store has after as many records.
    ///
    /// # Errors
    /// I16.
    pub fn stored(&self, fingerprint: u64) -> Result<(), Violation> {
        must!(
            self.fingerprint == fingerprint,
            "I16",
            "after {} records the engine's tables have the fingerprint {:016x}, those of its store {fingerprint:016x}",
            self.position,
            self.fingerprint
        );
        Ok(())
    }
}

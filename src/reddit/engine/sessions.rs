//! Who is logged in. Sessions live as long as the engine; users and their secrets live in the model.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::reddit::model::{Error, UserId};
use crate::reddit::protocol::{Session, Token};

/// One session a user. Tokens are random, so that a token of an earlier engine is worth nothing.
#[derive(Debug)]
pub(super) struct Sessions {
    open: BTreeMap<UserId, Token>,
    tokens: ChaCha20Rng,
    opened: u64,
    closed: u64,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        Sessions { open: BTreeMap::new(), tokens: ChaCha20Rng::from_os_rng(), opened: 0, closed: 0 }
    }

    /// The user's session, a new one if there is none.
    pub(super) fn open(&mut self, user: UserId) -> Session {
        let token = *self.open.entry(user).or_insert_with(|| {
            self.opened += 1;
            Token(self.tokens.random())
        });
        Session { user, token }
    }

    /// Ends the session.
    pub(super) fn close(&mut self, session: Session) -> Result<(), Error> {
        let user = self.check(session)?;
        self.open.remove(&user);
        self.closed += 1;
        Ok(())
    }

    /// Who speaks.
    pub(super) fn check(&self, session: Session) -> Result<UserId, Error> {
        match self.open.get(&session.user) {
            Some(token) if *token == session.token => Ok(session.user),
            Some(_) | None => Err(Error::BadSession),
        }
    }

    /// Whether the user has a session.
    pub(super) fn is_online(&self, user: UserId) -> bool {
        self.open.contains_key(&user)
    }

    /// Users with a session.
    pub(super) fn count(&self) -> u64 {
        self.open.len() as u64
    }

    /// Sessions that were ever opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// Sessions that were closed.
    pub(super) fn closed(&self) -> u64 {
        self.closed
    }
}

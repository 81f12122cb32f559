//! Users: names, secrets, karma.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::error::{Error, Thing};
use super::id::UserId;
use super::key::PublicKey;
use super::text::Text;

/// What a user shows to log in: a random key that the client keeps, not a password that a person types. It is kept
/// as it is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// As it was typed.
    pub name: Text,
    /// Proves who it is.
    pub secret: Secret,
    /// What this user's posts are verified with, from the registration on and for good.
    pub key: Option<Box<PublicKey>>,
    /// ms since 1970.
    pub created_ms: u64,
    /// Others' upvotes minus others' downvotes on this user's posts.
    pub post_karma: i64,
    /// The same for this user's comments.
    pub comment_karma: i64,
}

/// What karma comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merit {
    Posts,
    Comments,
}

/// The table of `user_registry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<User>")]
pub struct Users {
    pub(super) list: Vec<User>,
    /// Names in lower case: two that differ only in case are one.
    pub(super) by_name: BTreeMap<Box<str>, UserId>,
}

impl Users {
    /// The user.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: UserId) -> Result<&User, Error> {
        id.index().and_then(|index| self.list.get(index)).ok_or(Error::NotFound(Thing::User))
    }

    /// The user of that name, in any case.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<UserId> {
        self.by_name.get(name.to_ascii_lowercase().as_str()).copied()
    }

    /// All of them, in order of registration.
    pub fn ids(&self) -> impl Iterator<Item = UserId> + use<> {
        (0..self.list.len()).map(UserId::at)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub(super) fn add(
        &mut self,
        name: Text,
        secret: Secret,
        key: Option<Box<PublicKey>>,
        created_ms: u64,
    ) -> UserId {
        let id = UserId::at(self.list.len());
        self.by_name.insert(name.to_ascii_lowercase().into(), id);
        self.list.push(User { name, secret, key, created_ms, post_karma: 0, comment_karma: 0 });
        id
    }

    pub(super) fn credit(&mut self, id: UserId, merit: Merit, change: i64) {
        let Some(user) = id.index().and_then(|index| self.list.get_mut(index)) else { return };
        match merit {
            Merit::Posts => user.post_karma += change,
            Merit::Comments => user.comment_karma += change,
        }
    }
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl From<Vec<User>> for Users {
    fn from(list: Vec<User>) -> Users {
        let name = |(index, user): (usize, &User)| (user.name.to_ascii_lowercase().into(), UserId::at(index));
        Users { by_name: list.iter().enumerate().map(name).collect(), list }
    }
}

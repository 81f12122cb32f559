//! `user_registry`: who exists, who is logged in.

use serde::{Deserialize, Serialize};

use super::{PublicKey, Secret, Session, Text, UserId};

/// What it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Become a user and log in. Asked again with the same name and secret it only logs in, so a client that does not
    /// know whether its first attempt arrived simply asks again.
    Register {
        /// 3 to 20 of `[A-Za-z0-9_-]`, unique in any case.
        name: Text,
        /// To log in with later.
        secret: Secret,
        /// Whoever gives one signs every post from then on. It cannot be given, changed or taken back later.
        key: Option<Box<PublicKey>>,
    },
    /// Log in. Logged in already, the same session comes back.
    Login {
        /// The user.
        name: Text,
        /// The secret of the registration.
        secret: Secret,
    },
    /// End the session.
    Logout {
        /// Which.
        session: Session,
    },
    /// Look at a user.
    Get {
        /// Which.
        user: UserId,
    },
    /// Look at the user of that name.
    GetByName {
        /// In any case.
        name: Text,
    },
    /// Ask for a user's public key; anybody may.
    GetPublicKey {
        /// Whose.
        user: UserId,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Register` and `Login`.
    LoggedIn(Session),
    /// To `Logout`.
    LoggedOut,
    /// To the looks.
    User(UserView),
    /// To `GetPublicKey`; `None`: the user has none.
    PublicKey(Option<Box<PublicKey>>),
}

/// A user as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The identity.
    pub id: UserId,
    /// As it was typed.
    pub name: Text,
    /// ms since 1970.
    pub created_ms: u64,
    /// Others' votes on this user's posts, summed.
    pub post_karma: i64,
    /// Others' votes on this user's comments, summed.
    pub comment_karma: i64,
    /// Logged in.
    pub online: bool,
    /// Subreddits joined.
    pub subreddits: u32,
}

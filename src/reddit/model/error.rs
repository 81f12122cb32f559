//! What can be wrong with a request: a closed list, each with a number that never changes.

use serde::{Deserialize, Serialize};

/// Why a request has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// A field breaks its rule.
    #[error("the {field} {flaw}")]
    BadRequest {
        /// Which.
        field: Field,
        /// How.
        flaw: Flaw,
    },
    /// A field is longer than allowed.
    #[error("the {field} is longer than {max} {}", .field.unit())]
    TooLong {
        /// Which.
        field: Field,
        /// Its limit.
        max: u32,
    },
    /// Somebody has that name already, in whatever case.
    #[error("the name is taken")]
    NameTaken,
    /// No such thing.
    #[error("no such {0}")]
    NotFound(Thing),
    /// Only members may do that.
    #[error("not a member of the subreddit")]
    NotMember,
    /// Joined before.
    #[error("already a member of the subreddit")]
    AlreadyMember,
    /// The session is over, or never was this user's.
    #[error("the session is not valid; log in again")]
    BadSession,
    /// Name and secret do not belong together.
    #[error("the secret is not that user's")]
    WrongSecret,
}

impl Error {
    /// The stable number.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Error::BadRequest { .. } => 1,
            Error::TooLong { .. } => 2,
            Error::NameTaken => 3,
            Error::NotFound(_) => 4,
            Error::NotMember => 5,
            Error::AlreadyMember => 6,
            Error::BadSession => 7,
            Error::WrongSecret => 8,
        }
    }
}

/// A field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// Of a user.
    Username,
    /// Of a subreddit.
    SubredditName,
    /// Of a subreddit.
    Description,
    /// Of a post.
    Title,
    /// Of a post.
    Body,
    /// Of a listing.
    Limit,
}

impl Field {
    /// What its length is counted in.
    fn unit(self) -> &'static str {
        match self {
            Field::Body => "bytes",
            Field::Limit => "entries",
            Field::Username | Field::SubredditName | Field::Description | Field::Title => "characters",
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Field::Username => "username",
            Field::SubredditName => "name of the subreddit",
            Field::Description => "description",
            Field::Title => "title",
            Field::Body => "body",
            Field::Limit => "limit",
        })
    }
}

/// How a field breaks its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Flaw {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// Fewer characters than the least.
    #[error("has fewer than {min} characters")]
    TooShort {
        /// The least.
        min: u32,
    },
    /// A character outside its alphabet.
    #[error("has a character that is not allowed")]
    Character,
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thing {
    /// `t2_`.
    User,
    /// `t5_`.
    Subreddit,
    /// `t3_`.
    Post,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Thing::User => "user",
            Thing::Subreddit => "subreddit",
            Thing::Post => "post",
        })
    }
}

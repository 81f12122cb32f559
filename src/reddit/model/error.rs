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
    /// The comment that is to be answered belongs to another post.
    #[error("the comment is not below that post")]
    ParentMismatch,
    /// As deep as a tree of comments may be.
    #[error("there are at most {max} levels of comments")]
    TooDeep {
        /// The limit.
        max: u8,
    },
    /// Only who wrote it may do that.
    #[error("not the author")]
    NotAuthor,
    /// The message is somebody else's.
    #[error("the message is neither from nor to this user")]
    NotParticipant,
    /// The disk of the engine's store is full: reading goes on, writing will once there is room.
    #[error("the store is full")]
    StoreFull,
    /// It was not made by this author over this post.
    #[error("the signature does not fit the post")]
    BadSignature,
    /// A signature of somebody who gave no key at the registration.
    #[error("this user has no public key, so nobody could verify a signature")]
    KeyMissing,
    /// Every post of a user with a key has a signature.
    #[error("this user has a public key, so every post must be signed")]
    Unsigned,
    /// More signatures wait to be verified than the engine keeps; nothing has happened.
    #[error("too many signatures wait to be verified; try again")]
    Overloaded,
    /// The engine's own user, or root, on its machine may ask for that.
    #[error("only the engine's own user, or root, on its own machine may ask for that")]
    NotPermitted,
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
            Error::ParentMismatch => 9,
            Error::TooDeep { .. } => 10,
            Error::NotAuthor => 11,
            Error::NotParticipant => 12,
            Error::StoreFull => 13,
            Error::BadSignature => 14,
            Error::KeyMissing => 15,
            Error::Unsigned => 16,
            Error::Overloaded => 17,
            Error::NotPermitted => 18,
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
    /// Of a comment.
    Comment,
    /// Of a message.
    Subject,
    /// Of a message.
    Message,
    /// Who a message is for.
    Recipient,
    /// The name of an operation.
    Operation,
    /// Of a user.
    PublicKey,
}

impl Field {
    /// What its length is counted in.
    fn unit(self) -> &'static str {
        match self {
            Field::Body => "bytes",
            Field::Limit => "entries",
            Field::Username
            | Field::SubredditName
            | Field::Description
            | Field::Title
            | Field::Comment
            | Field::Subject
            | Field::Message
            | Field::Recipient
            | Field::Operation
            | Field::PublicKey => "characters",
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
            Field::Comment => "comment",
            Field::Subject => "subject",
            Field::Message => "message",
            Field::Recipient => "recipient",
            Field::Operation => "name of the operation",
            Field::PublicKey => "public key",
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
    /// The sender.
    #[error("is the sender")]
    Oneself,
    /// Another user's operation has it.
    #[error("is another user's")]
    Reused,
    /// So old that nobody knows any more whether it was done.
    #[error(
        "is older than what is remembered: it may have been done, so look before you ask for it under another one"
    )]
    TooOld,
    /// Not of the kinds that are known.
    #[error(
        "is neither a point of P-256 nor an RSA key of 2048 bits with the exponent 65537, as SubjectPublicKeyInfo (DER)"
    )]
    NoKey,
    /// The registration had another one, or none.
    #[error("is not the one of the registration")]
    Another,
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
    /// `t1_`.
    Comment,
    /// `t4_`.
    Message,
    /// Of the one who asks.
    Mailbox,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Thing::User => "user",
            Thing::Subreddit => "subreddit",
            Thing::Post => "post",
            Thing::Comment => "comment",
            Thing::Message => "message",
            Thing::Mailbox => "mailbox",
        })
    }
}

//! What happened: the alphabet of the log.

use serde::{Deserialize, Serialize};

use super::id::{PostId, SubredditId, UserId};
use super::post::{Direction, Tally};
use super::text::Text;
use super::user::Secret;

/// One accepted command, complete: applying the same records in the same order to an empty model gives the same
/// model. Identities are not in it, they follow from the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A new user.
    UserRegistered {
        /// As it was typed.
        name: Text,
        /// What the user proves to be the user with.
        secret: Secret,
        /// ms since 1970.
        at_ms: u64,
    },
    /// A new subreddit; its creator is its first member.
    SubredditCreated {
        /// The first member.
        creator: UserId,
        /// As it was typed.
        name: Text,
        /// What it is about.
        description: Text,
        /// ms since 1970.
        at_ms: u64,
    },
    /// A new member.
    SubredditJoined {
        /// Who.
        user: UserId,
        /// Where.
        subreddit: SubredditId,
    },
    /// A member less.
    SubredditLeft {
        /// Who.
        user: UserId,
        /// Where.
        subreddit: SubredditId,
    },
    /// A new post, with its author's own upvote.
    PostCreated {
        /// A member at this moment.
        author: UserId,
        /// Where.
        subreddit: SubredditId,
        /// One line.
        title: Text,
        /// The text.
        body: Text,
        /// ms since 1970.
        at_ms: u64,
    },
    /// A vote that differs from the voter's last one on that post.
    PostVoted {
        /// Who.
        voter: UserId,
        /// On what.
        post: PostId,
        /// What it is from now on.
        direction: Direction,
    },
}

/// What applying a record did, as far as the one who asked wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The new user.
    UserRegistered(UserId),
    /// The new subreddit.
    SubredditCreated(SubredditId),
    /// Somebody joined or left.
    Membership {
        /// Members after it.
        members: u32,
    },
    /// The new post.
    PostCreated(PostId),
    /// The votes after it.
    Voted(Tally),
}

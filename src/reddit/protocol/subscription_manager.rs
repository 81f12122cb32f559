//! `subscription_manager`: being told, instead of asking.
//!
//! Who subscribes names a mailbox of its own node, and the engine casts [`News`] to it as things happen. News is a hint for
//! those who are there, and no queue: what happens while nobody listens is told to nobody, and is read from the lists
//! (`dm_manager`, `feed_generator`, threads) like everything else. A subscription ends with the session, with the mailbox,
//! with its node or the connection to it, and with a reader that is so slow that as much is under way to it as may be.
//! Asking again under the same name of a mailbox keeps one alive, and tells whether it was.

use serde::{Deserialize, Serialize};

use super::{CommentId, MessageId, PostId, Session, SubredditId, Text, UserId};

/// What it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// From now on tell a mailbox what concerns a user, in the place of what that mailbox was told of the user before. One
    /// user has at most eight subscriptions; the ninth ends the oldest.
    Subscribe {
        /// Who.
        session: Session,
        /// A name that a mailbox of the caller's node is registered under, for [`News`].
        mailbox: Text,
        /// What.
        wants: Wants,
    },
    /// Tell that mailbox nothing more of the user.
    Unsubscribe {
        /// Who.
        session: Session,
        /// Which was given.
        mailbox: Text,
    },
}

/// What somebody wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// Direct messages to the user.
    pub messages: bool,
    /// Comments on the user's posts, and answers to the user's comments.
    pub replies: bool,
    /// Others' posts in subreddits that the user has joined.
    pub feed: bool,
}

impl Wants {
    /// Everything.
    pub const ALL: Wants = Wants { messages: true, replies: true, feed: true };
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Subscribe`. `anew`: there was no such subscription any more, so something may have been missed.
    Subscribed {
        /// It is not the one that was there.
        anew: bool,
    },
    /// To `Unsubscribe`, whether there was one or not.
    Unsubscribed,
}

/// What is cast to the mailbox of a subscription. It leaves once what it tells is as durable as an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Whom it concerns.
    pub to: UserId,
    /// What happened.
    pub what: Happened,
}

/// What happened, with the beginning of its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happened {
    /// A direct message to the user.
    MessageArrived {
        /// Which.
        id: MessageId,
        /// The name of who wrote it.
        from: Text,
        /// One line.
        subject: Text,
        /// The beginning of its text.
        excerpt: Text,
    },
    /// A comment on a post or a comment of the user's.
    Replied {
        /// Which.
        id: CommentId,
        /// Below which post.
        post: PostId,
        /// Which comment of the user's it answers; `None`: the user's post itself.
        parent: Option<CommentId>,
        /// The name of who said it.
        from: Text,
        /// The beginning of its text.
        excerpt: Text,
    },
    /// A post in a subreddit of the user's.
    NewPost {
        /// Which.
        id: PostId,
        /// Where.
        subreddit: SubredditId,
        /// The name of that.
        subreddit_name: Text,
        /// The name of who posted it.
        from: Text,
        /// One line.
        title: Text,
    },
}

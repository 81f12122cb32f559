//! What happened: the alphabet of the log.

use serde::{Deserialize, Serialize};

use super::id::{CommentId, MessageId, PostId, SubredditId, UserId};
use super::key::{PublicKey, Signature};
use super::operation::OpId;
use super::text::Text;
use super::user::Secret;
use super::vote::{Direction, Tally};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name of the operation, if it has one: it is found under it when it is asked for again.
    pub op: Option<OpId>,
    /// What happened.
    pub record: Record,
}

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
        /// What the user's posts are verified with.
        key: Option<Box<PublicKey>>,
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
        /// The author's; exactly if the author has a key. It was verified before this was written.
        signature: Option<Box<Signature>>,
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
    /// A post that shows another one in another place.
    PostReposted {
        /// A member at this moment.
        author: UserId,
        /// Where.
        subreddit: SubredditId,
        /// What, which may be a repost itself.
        original: PostId,
        /// One line.
        title: Text,
        /// ms since 1970.
        at_ms: u64,
    },
    /// The author took a post back.
    PostDeleted {
        /// The author.
        author: UserId,
        /// Which.
        post: PostId,
    },
    /// A new comment, with its author's own upvote.
    CommentCreated {
        /// Who.
        author: UserId,
        /// Below which post.
        post: PostId,
        /// What it answers; `None`: the post itself.
        parent: Option<CommentId>,
        /// The text.
        body: Text,
        /// ms since 1970.
        at_ms: u64,
    },
    /// A vote that differs from the voter's last one on that comment.
    CommentVoted {
        /// Who.
        voter: UserId,
        /// On what.
        comment: CommentId,
        /// What it is from now on.
        direction: Direction,
    },
    /// The author took a comment back.
    CommentDeleted {
        /// The author.
        author: UserId,
        /// Which.
        comment: CommentId,
    },
    /// A new direct message.
    MessageSent {
        /// Who wrote it.
        from: UserId,
        /// Who it is for.
        to: UserId,
        /// One line.
        subject: Text,
        /// The text.
        body: Text,
        /// What it answers.
        reply_to: Option<MessageId>,
        /// ms since 1970.
        at_ms: u64,
    },
    /// A message that its receiver has marked.
    MessageRead {
        /// The receiver.
        reader: UserId,
        /// Which.
        message: MessageId,
    },
}

impl Record {
    /// Whose doing it was; `None` for a registration, before which there was nobody.
    #[must_use]
    pub fn actor(&self) -> Option<UserId> {
        match *self {
            Record::UserRegistered { .. } => None,
            Record::SubredditCreated { creator: user, .. }
            | Record::SubredditJoined { user, .. }
            | Record::SubredditLeft { user, .. }
            | Record::PostCreated { author: user, .. }
            | Record::PostVoted { voter: user, .. }
            | Record::PostReposted { author: user, .. }
            | Record::PostDeleted { author: user, .. }
            | Record::CommentCreated { author: user, .. }
            | Record::CommentVoted { voter: user, .. }
            | Record::CommentDeleted { author: user, .. }
            | Record::MessageSent { from: user, .. }
            | Record::MessageRead { reader: user, .. } => Some(user),
        }
    }

    /// When it happened, in ms since 1970, where that is kept.
    #[must_use]
    pub fn at_ms(&self) -> Option<u64> {
        match *self {
            Record::UserRegistered { at_ms, .. }
            | Record::SubredditCreated { at_ms, .. }
            | Record::PostCreated { at_ms, .. }
            | Record::PostReposted { at_ms, .. }
            | Record::CommentCreated { at_ms, .. }
            | Record::MessageSent { at_ms, .. } => Some(at_ms),
            Record::SubredditJoined { .. }
            | Record::SubredditLeft { .. }
            | Record::PostVoted { .. }
            | Record::PostDeleted { .. }
            | Record::CommentVoted { .. }
            | Record::CommentDeleted { .. }
            | Record::MessageRead { .. } => None,
        }
    }
}

/// What applying a record did, as far as the one who asked wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The votes on the post after it.
    PostVoted(Tally),
    /// The new comment.
    CommentCreated {
        /// Which.
        id: CommentId,
        /// 1 for an answer to the post itself.
        depth: u8,
    },
    /// The votes on the comment after it.
    CommentVoted(Tally),
    /// The new message.
    MessageSent {
        /// Which.
        id: MessageId,
        /// The message its thread began with.
        thread: MessageId,
    },
    /// The post is deleted.
    PostDeleted,
    /// The comment is deleted.
    CommentDeleted,
    /// The message is marked as read.
    MessageRead,
}

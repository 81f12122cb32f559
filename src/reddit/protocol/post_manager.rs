//! `post_manager`: posts and the votes on them.

use serde::{Deserialize, Serialize};

use super::{
    Direction, Packed, Page, PostId, PostView, Session, Signature, Sort, SubredditId, Tally, Text, Window,
};

/// What it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Post, as a member of the subreddit.
    Create {
        /// Who.
        session: Session,
        /// Where.
        subreddit: SubredditId,
        /// 1 to 300 characters.
        title: Text,
        /// At most 40,000 bytes.
        body: Text,
        /// Of a user with a key, and of no other.
        signature: Option<Box<Signature>>,
    },
    /// Show a post in another place, as a member there.
    Repost {
        /// Who.
        session: Session,
        /// Where.
        subreddit: SubredditId,
        /// What, which may be a repost itself.
        original: PostId,
        /// 1 to 300 characters; `None`: as the original.
        title: Option<Text>,
    },
    /// Take a post of one's own back. It is listed no more, its text is gone, what was said below it stays.
    Delete {
        /// Who.
        session: Session,
        /// Which.
        post: PostId,
    },
    /// Vote. The last vote of a user on a post is the one that counts.
    Vote {
        /// Who.
        session: Session,
        /// On what.
        post: PostId,
        /// Up, down, or withdrawn.
        direction: Direction,
    },
    /// Read one post.
    Get {
        /// Which.
        post: PostId,
    },
    /// Posts of one subreddit.
    List {
        /// Where.
        subreddit: SubredditId,
        /// In which order.
        sort: Sort,
        /// How far back.
        window: Window,
        /// Which part.
        page: Page<PostId>,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Create` and `Repost`.
    Created(PostId),
    /// To `Delete`.
    Deleted,
    /// To `Vote`: the votes after it.
    Voted(Tally),
    /// To `Get`, with its whole text.
    Post(PostView),
    /// To `List`: as many as asked for, where there are as many, with the beginnings of their texts.
    Posts(Packed<PostView>),
}

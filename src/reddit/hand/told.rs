//! What a verb came to, before anybody decides how it looks.

use crate::node::Identity;
use crate::reddit::model::{CommentId, MessageId, PostId, Tally, Text};
use crate::reddit::protocol::PostView;
use crate::reddit::protocol::comment_manager::CommentView;
use crate::reddit::protocol::dm_manager::MessageView;
use crate::reddit::protocol::subreddit_manager::SubredditView;
use crate::reddit::protocol::user_registry::UserView;

/// The answer to one verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The engine is there.
    Pong(Identity),
    /// Somebody is a user now.
    Registered(Text),
    User(UserView),
    /// A subreddit is open now.
    Created(SubredditView),
    Subreddits(Vec<SubredditView>),
    /// Somebody belongs to a subreddit now, or does no longer.
    Membership {
        subreddit: Text,
        member: Member,
        members: u32,
    },
    Posted(PostId),
    Posts(Vec<PostView>),
    Commented(CommentId),
    Voted(Tally),
    Deleted,
    Thread {
        post: PostView,
        comments: Vec<CommentView>,
    },
    Sent(MessageId),
    Read,
    Messages(Vec<MessageView>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Joined,
    Left,
}

//! What a verb came to, before anybody decides how it looks.

use super::failure::Failure;
use super::proof::{Post, Proof};
use crate::node::Identity;
use crate::reddit::model::{Algorithm, CommentId, MessageId, PostId, PublicKey, Tally, Text};
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
    Posts(Vec<Post>),
    Commented(CommentId),
    Voted(Tally),
    Deleted,
    Thread {
        post: Post,
        comments: Vec<CommentView>,
    },
    Sent(MessageId),
    Read,
    Messages(Vec<MessageView>),
    /// A private key is kept here for somebody.
    Imported {
        name: String,
        algorithm: Algorithm,
    },
    /// Somebody's public key.
    Key {
        name: Text,
        key: Box<PublicKey>,
    },
}

impl Told {
    /// Fails when posts in it are not certainly what their authors signed.
    pub(super) fn doubts(&self) -> Result<(), Failure> {
        let posts = match self {
            Told::Posts(posts) => &posts[..],
            Told::Thread { post, .. } => std::slice::from_ref(post),
            _ => &[],
        };
        match posts.iter().filter(|post| matches!(post.proof, Proof::Wrong(_))).count() {
            0 => Ok(()),
            doubtful => Err(Failure::Doubtful(doubtful)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Joined,
    Left,
}

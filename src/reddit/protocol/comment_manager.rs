//! `comment_manager`: comments, their trees, and the votes on them.

use serde::{Deserialize, Serialize};

use super::{CommentId, CommentSort, Direction, Packed, PostId, Session, Shown, Tally, Text, UserId};

/// What it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Say something about a post or a comment.
    Create {
        /// Who.
        session: Session,
        /// Below which post.
        post: PostId,
        /// Answering which comment; `None`: the post itself.
        parent: Option<CommentId>,
        /// 1 to 10,000 characters.
        body: Text,
    },
    /// Vote. The last vote of a user on a comment is the one that counts.
    Vote {
        /// Who.
        session: Session,
        /// On what.
        comment: CommentId,
        /// Up, down, or withdrawn.
        direction: Direction,
    },
    /// Take a comment of one's own back. Its text goes, its place in the tree and what was answered stay.
    Delete {
        /// Who.
        session: Session,
        /// Which.
        comment: CommentId,
    },
    /// Read one comment.
    Get {
        /// Which.
        comment: CommentId,
    },
    /// Read the comments below a post: those that rank highest among all whose parent is shown.
    Thread {
        /// Below which post.
        post: PostId,
        /// Only this comment and what is below it.
        root: Option<CommentId>,
        /// Which siblings go first.
        sort: CommentSort,
        /// How many, 1..=500; `None` is 200.
        limit: Option<u16>,
        /// How many levels, 1..=50; `None` is 10.
        levels: Option<u8>,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Create`.
    Created {
        /// Which it is.
        id: CommentId,
        /// 1 for an answer to the post itself.
        depth: u8,
    },
    /// To `Vote`: the votes after it.
    Voted(Tally),
    /// To `Delete`.
    Deleted,
    /// To `Get`.
    Comment(CommentView),
    /// To `Thread`: parents before their answers. Fewer than asked for when their texts are long.
    Thread(Packed<CommentView>),
}

/// A comment as it is shown, with texts of type `T`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct CommentView<T = Text> {
    /// Its identity.
    pub id: CommentId,
    /// Below which post.
    pub post: PostId,
    /// What it answers; `None`: the post itself.
    pub parent: Option<CommentId>,
    /// 1 for an answer to the post itself.
    pub depth: u8,
    /// Who wrote it.
    pub author: UserId,
    /// The name of that.
    pub author_name: T,
    /// The text; empty when it is deleted.
    pub body: T,
    /// ms since 1970.
    pub created_ms: u64,
    /// Its votes.
    pub tally: Tally,
    /// Comments below it, at every depth, shown or not.
    pub below: u32,
    /// Taken back by its author.
    pub deleted: bool,
}

impl Shown for CommentView {
    type Inside<'a> = CommentView<&'a str>;
}

impl From<CommentView<&str>> for CommentView {
    fn from(view: CommentView<&str>) -> CommentView {
        let CommentView { id, post, parent, depth, author, created_ms, tally, below, deleted, .. } = view;
        let (author_name, body) = (view.author_name.into(), view.body.into());
        CommentView { id, post, parent, depth, author, author_name, body, created_ms, tally, below, deleted }
    }
}

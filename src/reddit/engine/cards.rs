//! Posts and comments as lists show them, encoded as far as they never change.
//!
//! Front pages and threads show the same few things again and again, and most of what they show of one was settled when it
//! was written. It is put together and encoded once; with every page it is only copied, in front of what does change.

use serde::Serialize;

use crate::reddit::model::{
    Comment, CommentId, Error, Model, Origin, Post, PostId, Signature, SubredditId, Text, UserId,
};
use crate::reddit::protocol::{EXCERPT, packed};

/// Cards of a kind that are kept. Identities grow with time, so these are the cards of the newest, and here and there of
/// an older one that is still looked at.
const KEPT: usize = 1 << 14;

/// The first fields of a [`PostView`](crate::reddit::protocol::PostView).
#[derive(Debug, Serialize)]
struct PostCard<'a> {
    id: PostId,
    subreddit: SubredditId,
    subreddit_name: &'a str,
    author: UserId,
    author_name: &'a str,
    title: &'a str,
    body: &'a str,
    cut: bool,
    created_ms: u64,
    origin: Option<Origin>,
    signature: Option<&'a Signature>,
}

/// The first fields of a [`CommentView`](crate::reddit::protocol::comment_manager::CommentView).
#[derive(Debug, Serialize)]
struct CommentCard<'a> {
    id: CommentId,
    post: PostId,
    parent: Option<CommentId>,
    depth: u8,
    author: UserId,
    author_name: &'a str,
    body: &'a str,
    created_ms: u64,
}

/// The cards.
#[derive(Debug)]
pub(super) struct Cards {
    posts: Kept,
    comments: Kept,
}

/// At the place of its identity each thing has the only card that is kept there. 0 is nobody's.
#[derive(Debug)]
struct Kept(Vec<(u32, Vec<u8>)>);

impl Kept {
    fn new() -> Kept {
        Kept(vec![(0, Vec::new()); KEPT])
    }

    /// The card of `id`, made anew unless it is there and `settled`.
    fn of<C: Serialize>(
        &mut self,
        id: u32,
        settled: bool,
        make: impl FnOnce() -> Result<C, Error>,
    ) -> Result<&[u8], Error> {
        let (kept, bytes) = &mut self.0[id as usize % KEPT];
        if *kept != id || !settled {
            let card = make()?;
            bytes.clear();
            packed::append(bytes, &card);
            *kept = if settled { id } else { 0 };
        }
        Ok(bytes)
    }
}

impl Cards {
    pub(super) fn new() -> Cards {
        Cards { posts: Kept::new(), comments: Kept::new() }
    }

    /// The card of `post`, which has this identity.
    pub(super) fn of_post(&mut self, model: &Model, id: PostId, post: &Post) -> Result<&[u8], Error> {
        // A repost changes when its root is deleted.
        let settled = post.origin.is_none() && !post.deleted;
        self.posts.of(id.0, settled, || {
            let whole = body(model, post)?;
            let body = excerpt(whole);
            Ok(PostCard {
                id,
                subreddit: post.subreddit,
                subreddit_name: &model.subreddits().get(post.subreddit)?.name,
                author: post.author,
                author_name: &model.users().get(post.author)?.name,
                title: &post.title,
                body,
                cut: body.len() < whole.len(),
                created_ms: post.created_ms,
                origin: post.origin,
                signature: post.signature.as_deref(),
            })
        })
    }

    /// The card of `comment`, which has this identity.
    pub(super) fn of_comment(
        &mut self,
        model: &Model,
        id: CommentId,
        comment: &Comment,
    ) -> Result<&[u8], Error> {
        self.comments.of(id.0, !comment.deleted, || {
            Ok(CommentCard {
                id,
                post: comment.post,
                parent: comment.parent,
                depth: comment.depth,
                author: comment.author,
                author_name: &model.users().get(comment.author)?.name,
                body: &comment.body,
                created_ms: comment.created_ms,
            })
        })
    }
}

/// The text that a post shows: a repost that of its root.
pub(super) fn body<'a>(model: &'a Model, post: &'a Post) -> Result<&'a Text, Error> {
    match post.origin {
        Some(origin) if !post.deleted => Ok(&model.posts().get(origin.root)?.body),
        Some(_) | None => Ok(&post.body),
    }
}

/// The beginning of a text, whole characters.
pub(super) fn excerpt(text: &str) -> &str {
    let mut end = text.len().min(EXCERPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

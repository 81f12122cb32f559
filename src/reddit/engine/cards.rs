//! Posts as lists show them, encoded as far as they never change.
//!
//! Front pages show the same few posts again and again, and most of what they show of one was settled when it was posted.
//! It is put together and encoded once; with every page it is only copied, in front of what does change.

use serde::Serialize;

use crate::reddit::model::{Error, Model, Origin, Post, PostId, SubredditId, Text, UserId};
use crate::reddit::protocol::{EXCERPT, packed};

/// Cards that are kept. Identities grow with time, so these are the cards of the newest posts, and here and there of an
/// older one that is still looked at.
const KEPT: usize = 1 << 14;

/// The first fields of a [`PostView`](crate::reddit::protocol::PostView).
#[derive(Debug, Serialize)]
struct Card<'a> {
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
}

/// At the place of its identity each post has the only card that is kept there.
#[derive(Debug)]
pub(super) struct Cards(Vec<(PostId, Vec<u8>)>);

impl Cards {
    pub(super) fn new() -> Cards {
        Cards(vec![(PostId(0), Vec::new()); KEPT])
    }

    /// The card of `post`, which has this identity.
    pub(super) fn of(&mut self, model: &Model, id: PostId, post: &Post) -> Result<&[u8], Error> {
        let (kept, bytes) = &mut self.0[id.0 as usize % KEPT];
        // A repost changes when its root is deleted.
        let settled = post.origin.is_none() && !post.deleted;
        if *kept == id && settled {
            return Ok(bytes);
        }
        let whole = body(model, post)?;
        let body = excerpt(whole);
        let card = Card {
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
        };
        bytes.clear();
        packed::append(bytes, &card);
        *kept = if settled { id } else { PostId(0) };
        Ok(bytes)
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
fn excerpt(text: &str) -> &str {
    let mut end = text.len().min(EXCERPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

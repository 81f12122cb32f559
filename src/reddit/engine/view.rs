//! What the tables hold, as it is shown.

use super::cards::{self, Cards};
use crate::reddit::model::{
    CommentId, Error, Field, Flaw, LISTING_DEFAULT, LISTING_MAX, MessageId, Model, Post, PostId, SubredditId,
    UserId,
};
use crate::reddit::protocol::comment_manager::CommentView;
use crate::reddit::protocol::dm_manager::MessageView;
use crate::reddit::protocol::subreddit_manager::SubredditView;
use crate::reddit::protocol::user_registry::UserView;
use crate::reddit::protocol::{Packed, PostView, packed};

/// Bytes of a list whose texts are shown whole, so that a hundred long ones still fit into a frame.
const LIST_BYTES: usize = 256 << 10;

/// Room for an entry of a list; most are shorter.
pub(super) const ENTRY_BYTES: usize = 400;

/// How many entries of a listing are wanted.
pub(super) fn limit(asked: Option<u16>) -> Result<usize, Error> {
    within(asked, LISTING_DEFAULT, LISTING_MAX)
}

/// How many are wanted, at least 1 and at most `max`.
pub(super) fn within(asked: Option<u16>, default: u16, max: u16) -> Result<usize, Error> {
    match asked.unwrap_or(default) {
        0 => Err(Error::BadRequest { field: Field::Limit, flaw: Flaw::Empty }),
        limit if limit > max => Err(Error::TooLong { field: Field::Limit, max: max.into() }),
        limit => Ok(limit.into()),
    }
}

pub(super) fn user(model: &Model, id: UserId, online: bool) -> Result<UserView, Error> {
    let user = model.users().get(id)?;
    Ok(UserView {
        id,
        name: user.name.clone(),
        created_ms: user.created_ms,
        post_karma: user.post_karma,
        comment_karma: user.comment_karma,
        online,
        subreddits: model.subreddits().of(id).len() as u32,
    })
}

pub(super) fn subreddit(model: &Model, id: SubredditId) -> Result<SubredditView, Error> {
    let subreddit = model.subreddits().get(id)?;
    Ok(SubredditView {
        id,
        name: subreddit.name.clone(),
        description: subreddit.description.clone(),
        created_ms: subreddit.created_ms,
        members: subreddit.members(),
        posts: model.posts().count_in(id),
    })
}

/// A post with its whole text.
pub(super) fn post(model: &Model, id: PostId) -> Result<PostView, Error> {
    let post = model.posts().get(id)?;
    Ok(PostView {
        id,
        subreddit: post.subreddit,
        subreddit_name: model.subreddits().get(post.subreddit)?.name.clone(),
        author: post.author,
        author_name: model.users().get(post.author)?.name.clone(),
        title: post.title.clone(),
        body: cards::body(model, post)?.clone(),
        cut: false,
        created_ms: post.created_ms,
        origin: post.origin,
        signature: post.signature.clone(),
        tally: post.tally(),
        comments: post.comments,
        deleted: post.deleted,
    })
}

/// The posts in this order, with the beginnings of their texts.
pub(super) fn posts(
    model: &Model,
    cards: &mut Cards,
    ids: impl Iterator<Item = PostId>,
) -> Result<Packed<PostView>, Error> {
    let mut packed = Packed::with_room(ids.size_hint().0.max(1) * ENTRY_BYTES);
    for id in ids {
        let post = model.posts().get(id)?;
        packed.push_with(|bytes| append_post(bytes, model, cards, id, post))?;
    }
    Ok(packed)
}

/// Encodes a [`PostView`] with the beginning of its text.
pub(super) fn append_post(
    bytes: &mut Vec<u8>,
    model: &Model,
    cards: &mut Cards,
    id: PostId,
    post: &Post,
) -> Result<(), Error> {
    bytes.extend_from_slice(cards.of_post(model, id, post)?);
    packed::append(bytes, &(post.tally(), post.comments, post.deleted));
    Ok(())
}

pub(super) fn comment(model: &Model, id: CommentId) -> Result<CommentView, Error> {
    let comment = model.comments().get(id)?;
    Ok(CommentView {
        id,
        post: comment.post,
        parent: comment.parent,
        depth: comment.depth,
        author: comment.author,
        author_name: model.users().get(comment.author)?.name.clone(),
        body: comment.body.clone(),
        created_ms: comment.created_ms,
        tally: comment.tally(),
        below: comment.below,
        deleted: comment.deleted,
    })
}

fn message(model: &Model, id: MessageId) -> Result<MessageView<&str>, Error> {
    let message = model.messages().get(id)?;
    Ok(MessageView {
        id,
        from: message.from,
        from_name: &model.users().get(message.from)?.name,
        to: message.to,
        to_name: &model.users().get(message.to)?.name,
        subject: &message.subject,
        body: &message.body,
        reply_to: message.reply_to,
        thread: message.thread,
        created_ms: message.created_ms,
        read: message.read,
    })
}

/// The comments in this order, as many as fit into one reply.
pub(super) fn comments(
    model: &Model,
    cards: &mut Cards,
    ids: Vec<CommentId>,
) -> Result<Packed<CommentView>, Error> {
    fitting(ids.into_iter(), |packed, id| {
        let comment = model.comments().get(id)?;
        packed.push_with(|bytes| {
            bytes.extend_from_slice(cards.of_comment(model, id, comment)?);
            packed::append(bytes, &(comment.tally(), comment.below, comment.deleted));
            Ok(())
        })
    })
}

/// The messages in this order, as many as fit into one reply.
pub(super) fn messages(
    model: &Model,
    ids: impl Iterator<Item = MessageId>,
) -> Result<Packed<MessageView>, Error> {
    fitting(ids, |packed, id| {
        packed.push(&message(model, id)?);
        Ok(())
    })
}

/// As many as [`LIST_BYTES`] allows, at least one.
fn fitting<Id, V>(
    ids: impl Iterator<Item = Id>,
    mut push: impl FnMut(&mut Packed<V>, Id) -> Result<(), Error>,
) -> Result<Packed<V>, Error> {
    let mut packed = Packed::with_room(ids.size_hint().0.max(1) * ENTRY_BYTES);
    for id in ids {
        let before = packed.size();
        push(&mut packed, id)?;
        if packed.size() > LIST_BYTES && packed.len() > 1 {
            packed.take_back(before);
            break;
        }
    }
    Ok(packed)
}

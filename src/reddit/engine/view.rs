//! What the tables hold, as it is shown.

use crate::reddit::model::{
    CommentId, Error, Field, Flaw, LISTING_DEFAULT, LISTING_MAX, MessageId, Model, PostId, SubredditId,
    UserId,
};
use crate::reddit::protocol::PostView;
use crate::reddit::protocol::comment_manager::CommentView;
use crate::reddit::protocol::dm_manager::MessageView;
use crate::reddit::protocol::subreddit_manager::SubredditView;
use crate::reddit::protocol::user_registry::UserView;

/// Bytes of text in one listing, so that a hundred long posts still fit into a frame.
const LISTING_TEXT: usize = 256 << 10;

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

pub(super) fn post(model: &Model, id: PostId) -> Result<PostView, Error> {
    let post = model.posts().get(id)?;
    let body = match post.origin {
        Some(origin) if !post.deleted => &model.posts().get(origin.root)?.body,
        Some(_) | None => &post.body,
    };
    Ok(PostView {
        id,
        subreddit: post.subreddit,
        subreddit_name: model.subreddits().get(post.subreddit)?.name.clone(),
        author: post.author,
        author_name: model.users().get(post.author)?.name.clone(),
        title: post.title.clone(),
        body: body.clone(),
        created_ms: post.created_ms,
        tally: post.tally(),
        comments: post.comments,
        origin: post.origin,
        deleted: post.deleted,
    })
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

fn message(model: &Model, id: MessageId) -> Result<MessageView, Error> {
    let message = model.messages().get(id)?;
    Ok(MessageView {
        id,
        from: message.from,
        from_name: model.users().get(message.from)?.name.clone(),
        to: message.to,
        to_name: model.users().get(message.to)?.name.clone(),
        subject: message.subject.clone(),
        body: message.body.clone(),
        reply_to: message.reply_to,
        thread: message.thread,
        created_ms: message.created_ms,
        read: message.read,
    })
}

/// The posts in this order, as many as fit into one reply.
pub(super) fn posts(model: &Model, ids: impl IntoIterator<Item = PostId>) -> Result<Vec<PostView>, Error> {
    fitting(ids, |id| post(model, id), |view| view.title.len() + view.body.len())
}

/// The comments in this order, as many as fit into one reply.
pub(super) fn comments(
    model: &Model,
    ids: impl IntoIterator<Item = CommentId>,
) -> Result<Vec<CommentView>, Error> {
    fitting(ids, |id| comment(model, id), |view| view.body.len())
}

/// The messages in this order, as many as fit into one reply.
pub(super) fn messages(
    model: &Model,
    ids: impl IntoIterator<Item = MessageId>,
) -> Result<Vec<MessageView>, Error> {
    fitting(ids, |id| message(model, id), |view| view.subject.len() + view.body.len())
}

/// As many as [`LISTING_TEXT`] allows, at least one.
fn fitting<Id, View>(
    ids: impl IntoIterator<Item = Id>,
    view: impl Fn(Id) -> Result<View, Error>,
    length: impl Fn(&View) -> usize,
) -> Result<Vec<View>, Error> {
    let mut text = 0;
    let mut views = Vec::new();
    for id in ids {
        let view = view(id)?;
        text += length(&view);
        if text > LISTING_TEXT && !views.is_empty() {
            break;
        }
        views.push(view);
    }
    Ok(views)
}

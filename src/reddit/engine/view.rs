//! What the tables hold, as it is shown.

use crate::reddit::model::{
    Error, Field, Flaw, LISTING_DEFAULT, LISTING_MAX, Model, PostId, SubredditId, UserId,
};
use crate::reddit::protocol::PostView;
use crate::reddit::protocol::subreddit_manager::SubredditView;
use crate::reddit::protocol::user_registry::UserView;

/// Bytes of text in one listing, so that a hundred long posts still fit into a frame.
const LISTING_TEXT: usize = 256 << 10;

/// How many entries are wanted.
pub(super) fn limit(asked: Option<u16>) -> Result<usize, Error> {
    match asked {
        None => Ok(LISTING_DEFAULT.into()),
        Some(0) => Err(Error::BadRequest { field: Field::Limit, flaw: Flaw::Empty }),
        Some(limit) if limit > LISTING_MAX => {
            Err(Error::TooLong { field: Field::Limit, max: LISTING_MAX.into() })
        }
        Some(limit) => Ok(limit.into()),
    }
}

pub(super) fn user(model: &Model, id: UserId) -> Result<UserView, Error> {
    let user = model.users().get(id)?;
    Ok(UserView {
        id,
        name: user.name.clone(),
        created_ms: user.created_ms,
        post_karma: user.post_karma,
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
    Ok(PostView {
        id,
        subreddit: post.subreddit,
        subreddit_name: model.subreddits().get(post.subreddit)?.name.clone(),
        author: post.author,
        author_name: model.users().get(post.author)?.name.clone(),
        title: post.title.clone(),
        body: post.body.clone(),
        created_ms: post.created_ms,
        tally: post.tally,
    })
}

/// The posts in this order, as many as fit into one reply, at least one.
pub(super) fn posts(model: &Model, ids: impl IntoIterator<Item = PostId>) -> Result<Vec<PostView>, Error> {
    let mut text = 0;
    let mut views = Vec::new();
    for id in ids {
        let view = post(model, id)?;
        text += view.title.len() + view.body.len();
        if text > LISTING_TEXT && !views.is_empty() {
            break;
        }
        views.push(view);
    }
    Ok(views)
}

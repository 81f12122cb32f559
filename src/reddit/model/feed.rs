//! A user's front page: the posts of the subreddits the user has joined, merged.

use std::collections::BinaryHeap;

use super::error::Error;
use super::id::{PostId, UserId};
use super::rank::{Rank, Sort};
use super::{Model, SubredditId};

/// Hot posts of one subreddit that can enter a feed (`normalized_hot.py`).
const PER_SUBREDDIT: usize = 150;

/// Posts of one feed, over all its pages.
const LONGEST: usize = 1000;

/// Hot posts older than this are not shown: `HOT_PAGE_AGE`, 1000 days.
const HOT_AGE_MS: u64 = 1000 * 24 * 60 * 60 * 1000;

/// Where a post stands in the merged feed. For hot the first part is the rank relative to the hottest post of its
/// subreddit; ties go to the hotter, then to the newer post.
type Place = (Rank, Rank, PostId);

/// Up to `limit` posts of `user`'s feed behind the post `after`, at the present time `now_ms`. Hot is Reddit's
/// normalized hot: the best of each subreddit come first, however large the others are.
///
/// # Errors
/// [`Error::NotFound`] when the user or the post `after` does not exist.
pub fn feed(
    model: &Model,
    user: UserId,
    sort: Sort,
    after: Option<PostId>,
    limit: usize,
    now_ms: u64,
) -> Result<Vec<PostId>, Error> {
    model.users().get(user)?;
    let after = after.map(|post| place_of(model, post, sort)).transpose()?;
    let oldest_ms = match sort {
        Sort::Hot => now_ms.saturating_sub(HOT_AGE_MS),
        Sort::New | Sort::Top | Sort::Controversial => 0,
    };
    let mut sources: Vec<_> =
        model.subreddits().of(user).map(|subreddit| source(model, subreddit, sort, oldest_ms)).collect();
    let mut heads: BinaryHeap<(Place, usize)> =
        sources.iter_mut().enumerate().filter_map(|(index, source)| Some((source.next()?, index))).collect();
    let mut page = Vec::with_capacity(limit);
    for _ in 0..LONGEST {
        if page.len() == limit {
            break;
        }
        let Some((place, index)) = heads.pop() else { break };
        if let Some(next) = sources[index].next() {
            heads.push((next, index));
        }
        if after.is_none_or(|after| place < after) {
            page.push(place.2);
        }
    }
    Ok(page)
}

/// The posts of one subreddit that can enter, best first.
fn source(
    model: &Model,
    subreddit: SubredditId,
    sort: Sort,
    oldest_ms: u64,
) -> impl Iterator<Item = Place> + '_ {
    let divisor = divisor(model, subreddit, sort);
    let taken = match sort {
        Sort::Hot => PER_SUBREDDIT,
        Sort::New | Sort::Top | Sort::Controversial => LONGEST,
    };
    model
        .posts()
        .ranked(subreddit, sort, None)
        .take(taken)
        .filter(move |&(_, post)| model.posts().get(post).is_ok_and(|post| post.created_ms >= oldest_ms))
        .map(move |(rank, post)| place(rank, divisor, post))
}

fn place_of(model: &Model, id: PostId, sort: Sort) -> Result<Place, Error> {
    let post = model.posts().get(id)?;
    Ok(place(post.rank(sort), divisor(model, post.subreddit, sort), id))
}

fn place(rank: Rank, divisor: Option<Rank>, post: PostId) -> Place {
    match divisor {
        Some(hottest) => (rank.normalized(hottest), rank, post),
        None => (rank, rank, post),
    }
}

/// What hot ranks of a subreddit are divided by; the other orders are merged as they are.
fn divisor(model: &Model, subreddit: SubredditId, sort: Sort) -> Option<Rank> {
    match sort {
        Sort::Hot => model.posts().ranked(subreddit, sort, None).next().map(|(rank, _)| rank),
        Sort::New | Sort::Top | Sort::Controversial => None,
    }
}

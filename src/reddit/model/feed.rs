//! A user's front page: the posts of the subreddits the user has joined, merged.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::error::Error;
use super::id::{PostId, UserId};
use super::rank::{Rank, Sort, Window};
use super::{Model, SubredditId};

/// Hot posts of one subreddit that can enter a feed (`normalized_hot.py`).
pub const HOT_POSTS: usize = 150;

/// Posts of one feed, over all its pages.
pub(super) const LONGEST: usize = 1000;

/// Hot posts older than this are not shown: `HOT_PAGE_AGE`, 1000 days.
pub const HOT_AGE_MS: u64 = 1000 * 24 * 60 * 60 * 1000;

/// Where a post stands in the merged feed. For hot the first part is the rank relative to the hottest post of its
/// subreddit; ties go to the hotter, then to the newer post.
pub type Place = (Rank, Rank, PostId);

/// Which part of a list of posts is wanted, at which present time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// In which order.
    pub sort: Sort,
    /// How far back.
    pub window: Window,
    /// Behind this post.
    pub after: Option<PostId>,
    /// How many at most.
    pub limit: usize,
    /// ms since 1970.
    pub now_ms: u64,
}

/// A part of `user`'s feed. Hot is Reddit's normalized hot: the best of each subreddit come first, however large the
/// others are.
///
/// # Errors
/// [`Error::NotFound`] when the user or the post `after` does not exist.
pub fn feed(model: &Model, user: UserId, listing: Listing) -> Result<Vec<PostId>, Error> {
    let Listing { sort, window, after, limit, now_ms } = listing;
    model.users().get(user)?;
    let after = after.map(|post| place_of(model, post, sort)).transpose()?;
    let oldest_ms = match sort {
        Sort::Hot => window.since_ms(now_ms).max(now_ms.saturating_sub(HOT_AGE_MS)),
        Sort::New | Sort::Top | Sort::Controversial => window.since_ms(now_ms),
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
        let Some(mut head) = heads.peek_mut() else { break };
        let (place, index) = *head;
        // The next one of the same subreddit takes its place, which is less work than out and in again.
        match sources[index].next() {
            Some(next) => *head = (next, index),
            None => drop(PeekMut::pop(head)),
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
    let taken = match sort {
        Sort::Hot => HOT_POSTS,
        Sort::New | Sort::Top | Sort::Controversial => LONGEST,
    };
    // Hot looks at the hottest first and forgets the old among them; the other windows are narrow, and their posts are
    // the young ones.
    let since_ms = if sort == Sort::Hot { 0 } else { oldest_ms };
    let surely_young = Rank::hot_if_younger(oldest_ms);
    let mut hottest = None;
    model.posts().ranked_since(subreddit, sort, since_ms, None).take(taken).filter_map(move |(rank, post)| {
        // The first one that comes, whether it is shown or not.
        let divisor = *hottest.get_or_insert(rank);
        // Most hot ranks tell by themselves that their posts are young, which then need not be looked at here.
        let young = (sort == Sort::Hot && rank >= surely_young)
            || model.posts().get(post).is_ok_and(|post| post.created_ms >= oldest_ms);
        young.then(|| place(rank, Some(divisor).filter(|_| sort == Sort::Hot), post))
    })
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

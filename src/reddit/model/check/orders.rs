//! What is derived: listings, trees, feeds.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::comment::Siblings;
use super::super::feed::{HOT_AGE_MS, HOT_POSTS, LONGEST};
use super::super::{
    CommentId, CommentSort, Listing, Model, PostId, Rank, Sort, SubredditId, UserId, Window, feed,
};
use super::{Violation, must};

/// Users whose feed is compared with brute force; spread over all of them.
const SAMPLE: usize = 20;

pub(super) fn check(model: &Model) -> Result<(), Violation> {
    let orders = listings(model)?;
    trees(model)?;
    feeds(model, &orders)
}

/// The posts of each subreddit, the best first, in each order.
pub(super) type Listings = BTreeMap<SubredditId, [Vec<(Rank, PostId)>; Sort::ALL.len()]>;

/// I12 for posts.
pub(super) fn listings(model: &Model) -> Result<Listings, Violation> {
    let mut all = Listings::new();
    for (index, post) in model.posts.list.iter().enumerate().filter(|(_, post)| !post.deleted) {
        let orders = all.entry(post.subreddit).or_default();
        for sort in Sort::ALL {
            orders[sort as usize].push((post.rank(sort), PostId::at(index)));
        }
    }
    for orders in all.values_mut() {
        orders.iter_mut().for_each(|order| order.sort_unstable_by(|one, other| other.cmp(one)));
    }
    for (index, kept) in model.posts.orders.iter().enumerate() {
        let id = SubredditId::at(index);
        for sort in Sort::ALL {
            let computed = all.get(&id).map_or(&[][..], |orders| &orders[sort as usize]);
            let same = kept[sort as usize].iter().rev().eq(computed);
            must!(same, "I12", "{id} is not listed by {sort:?} as its posts rank");
        }
    }
    let beyond = all.keys().find(|id| id.index().is_none_or(|index| index >= model.posts.orders.len()));
    must!(beyond.is_none(), "I12", "{beyond:?} has posts and no listing");
    Ok(all)
}

/// I12 for comments.
fn trees(model: &Model) -> Result<(), Violation> {
    let comments = &model.comments;
    let mut replies = vec![Siblings::new(); comments.list.len()];
    let mut first: BTreeMap<usize, Siblings> = BTreeMap::new();
    for (index, comment) in comments.list.iter().enumerate() {
        let place = (comment.rank(CommentSort::Best), CommentId::at(index));
        match (comment.parent.and_then(|parent| parent.index()), comment.post.index()) {
            (Some(parent), _) if parent < replies.len() => replies[parent].insert(place),
            (_, Some(post)) => first.entry(post).or_default().insert(place),
            (_, None) => false,
        };
    }
    must!(replies == comments.replies, "I12", "answers to comments are not listed as they rank");
    for (index, kept) in comments.first.iter().enumerate() {
        let computed = first.remove(&index).unwrap_or_default();
        must!(*kept == computed, "I12", "answers to {} are not listed as they rank", PostId::at(index));
    }
    must!(first.is_empty(), "I12", "answers to {:?} are not listed", first.keys().next());
    Ok(())
}

/// I9.
pub(super) fn feeds(model: &Model, orders: &Listings) -> Result<(), Violation> {
    let users = model.users.count();
    let step = users.div_ceil(SAMPLE).max(1);
    for user in (0..users).step_by(step).map(UserId::at) {
        let joined: BTreeSet<SubredditId> = model.subreddits.of(user).collect();
        for sort in Sort::ALL {
            let shown = shown(model, user, sort)?;
            let mut seen = HashSet::new();
            for &post in &shown {
                must!(seen.insert(post), "I9", "{user} sees {post} twice by {sort:?}");
                let place = model.posts.get(post).map(|post| post.subreddit);
                must!(
                    place.is_ok_and(|place| joined.contains(&place)),
                    "I9",
                    "{user} sees {post}, which is in no joined subreddit"
                );
            }
            let expected = by_brute_force(model, &joined, sort, orders);
            must!(shown == expected, "I9", "the feed of {user} by {sort:?} is not what all posts make");
        }
    }
    Ok(())
}

fn shown(model: &Model, user: UserId, sort: Sort) -> Result<Vec<PostId>, Violation> {
    let listing = Listing { sort, window: Window::All, after: None, limit: LONGEST, now_ms: model.last_ms };
    feed(model, user, listing).map_err(|error| Violation::new("I9", format!("{user} has no feed: {error}")))
}

/// The feed's definition, word for word: the posts of joined subreddits, sorted.
fn by_brute_force(
    model: &Model,
    joined: &BTreeSet<SubredditId>,
    sort: Sort,
    orders: &Listings,
) -> Vec<PostId> {
    let mut places = Vec::new();
    for order in joined.iter().filter_map(|id| orders.get(id)).map(|orders| &orders[sort as usize]) {
        let hottest = order.first().map(|&(rank, _)| rank);
        let oldest_ms = if sort == Sort::Hot { model.last_ms.saturating_sub(HOT_AGE_MS) } else { 0 };
        let taken = if sort == Sort::Hot { HOT_POSTS } else { LONGEST };
        for &(rank, id) in order.iter().take(taken) {
            let young = model.posts.get(id).is_ok_and(|post| post.created_ms >= oldest_ms);
            let relative =
                hottest.filter(|_| sort == Sort::Hot).map_or(rank, |hottest| rank.normalized(hottest));
            places.extend(young.then_some((relative, rank, id)));
        }
    }
    places.sort_unstable_by(|one, other| other.cmp(one));
    places.into_iter().take(LONGEST).map(|(_, _, id)| id).collect()
}

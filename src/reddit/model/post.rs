//! Posts, the votes on them, and their order within each subreddit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::error::{Error, Thing};
use super::id::{PostId, SubredditId, UserId};
use super::rank::{self, Rank, Sort};
use super::text::Text;

/// What a voter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// -1.
    Down,
    /// 0: withdrawn, or never voted.
    None,
    /// 1.
    Up,
}

impl Direction {
    /// -1, 0 or 1.
    #[must_use]
    pub fn value(self) -> i64 {
        match self {
            Direction::Down => -1,
            Direction::None => 0,
            Direction::Up => 1,
        }
    }
}

/// The votes on one post, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Upvotes, the author's own included.
    pub ups: u32,
    /// Downvotes.
    pub downs: u32,
}

impl Tally {
    /// Upvotes minus downvotes.
    #[must_use]
    pub fn score(self) -> i64 {
        rank::score(self.ups, self.downs)
    }

    fn count(&mut self, direction: Direction) -> Option<&mut u32> {
        match direction {
            Direction::Up => Some(&mut self.ups),
            Direction::Down => Some(&mut self.downs),
            Direction::None => None,
        }
    }
}

/// One post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Where.
    pub subreddit: SubredditId,
    /// Who wrote it.
    pub author: UserId,
    /// One line.
    pub title: Text,
    /// The text.
    pub body: Text,
    /// ms since 1970.
    pub created_ms: u64,
    /// The votes, counted.
    pub tally: Tally,
    /// One vote a user; a withdrawn one is not kept.
    votes: BTreeMap<UserId, Direction>,
}

impl Post {
    /// What `user` voted.
    #[must_use]
    pub fn vote_of(&self, user: UserId) -> Direction {
        self.votes.get(&user).copied().unwrap_or(Direction::None)
    }

    /// Where it stands in the given order.
    #[must_use]
    pub fn rank(&self, sort: Sort) -> Rank {
        Rank::of(sort, self.tally.ups, self.tally.downs, self.created_ms)
    }
}

/// What a vote did.
pub(super) struct Vote {
    pub(super) author: UserId,
    /// New direction minus the old one.
    pub(super) change: i64,
    pub(super) tally: Tally,
}

/// The posts of one subreddit in each order, by [`Sort`]. A vote moves a post in O(log n); nothing is sorted later.
type Orders = [BTreeSet<(Rank, PostId)>; Sort::ALL.len()];

/// The table of `post_manager`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posts {
    list: Vec<Post>,
    /// By the index of the subreddit; those without a post may lie past its end.
    orders: Vec<Orders>,
    votes: u64,
}

impl Posts {
    /// The post.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: PostId) -> Result<&Post, Error> {
        id.index().and_then(|index| self.list.get(index)).ok_or(Error::NotFound(Thing::Post))
    }

    /// The posts of a subreddit in the given order, those behind the place `after` when there is one.
    pub fn ranked(
        &self,
        subreddit: SubredditId,
        sort: Sort,
        after: Option<(Rank, PostId)>,
    ) -> impl Iterator<Item = (Rank, PostId)> + '_ {
        const NONE: &BTreeSet<(Rank, PostId)> = &BTreeSet::new();
        let orders = subreddit.index().and_then(|index| self.orders.get(index));
        let order = orders.map_or(NONE, |orders| &orders[sort as usize]);
        let end = after.map_or(Bound::Unbounded, Bound::Excluded);
        order.range((Bound::Unbounded, end)).rev().copied()
    }

    /// How many posts a subreddit has.
    #[must_use]
    pub fn count_in(&self, subreddit: SubredditId) -> u32 {
        let orders = subreddit.index().and_then(|index| self.orders.get(index));
        orders.map_or(0, |orders| orders[Sort::New as usize].len() as u32)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many votes stand now, authors' own included.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.votes
    }

    pub(super) fn add(
        &mut self,
        author: UserId,
        subreddit: SubredditId,
        title: Text,
        body: Text,
        created_ms: u64,
    ) -> PostId {
        let id = PostId::at(self.list.len());
        let post = Post {
            subreddit,
            author,
            title,
            body,
            created_ms,
            tally: Tally { ups: 1, downs: 0 },
            votes: BTreeMap::from([(author, Direction::Up)]),
        };
        self.votes += 1;
        if let Some(index) = subreddit.index() {
            if self.orders.len() <= index {
                self.orders.resize_with(index + 1, Orders::default);
            }
            for sort in Sort::ALL {
                self.orders[index][sort as usize].insert((post.rank(sort), id));
            }
        }
        self.list.push(post);
        id
    }

    /// Replaces the voter's vote. The post must exist.
    pub(super) fn vote(&mut self, voter: UserId, id: PostId, direction: Direction) -> Vote {
        let index = id.index().expect("a vote is decided only on a post that exists");
        let post = &mut self.list[index];
        let before = Sort::ALL.map(|sort| post.rank(sort));
        let old = post.vote_of(voter);
        if let Some(count) = post.tally.count(old) {
            *count -= 1;
            self.votes -= 1;
            post.votes.remove(&voter);
        }
        if let Some(count) = post.tally.count(direction) {
            *count += 1;
            self.votes += 1;
            post.votes.insert(voter, direction);
        }
        if let Some(orders) = post.subreddit.index().and_then(|index| self.orders.get_mut(index)) {
            for sort in Sort::ALL {
                let (from, to) = (before[sort as usize], post.rank(sort));
                if from != to {
                    orders[sort as usize].remove(&(from, id));
                    orders[sort as usize].insert((to, id));
                }
            }
        }
        Vote { author: post.author, change: direction.value() - old.value(), tally: post.tally }
    }
}

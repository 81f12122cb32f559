//! Posts, and their order within each subreddit.

use std::collections::{BTreeSet, btree_set};

use serde::{Deserialize, Serialize, Serializer};

use super::error::{Error, Thing};
use super::id::{PostId, SubredditId, UserId};
use super::key::Signature;
use super::rank::{Rank, Sort};
use super::text::Text;
use super::vote::{Cast, Direction, Tally, Votes};

/// Where a repost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What was reposted, which may be a repost itself.
    pub of: PostId,
    /// The post at the beginning, whose text it shows.
    pub root: PostId,
}

/// One post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Where.
    pub subreddit: SubredditId,
    /// Who wrote it.
    pub author: UserId,
    /// One line; empty once it is deleted.
    pub title: Text,
    /// The text; empty in a repost, and once it is deleted.
    pub body: Text,
    /// ms since 1970.
    pub created_ms: u64,
    /// Set in a repost.
    pub origin: Option<Origin>,
    /// How many there are below it, deleted ones included.
    pub comments: u32,
    /// The author's, over this text; that of a user with a key has one until it is deleted. A repost has none: the text it
    /// shows is signed where it was written.
    pub signature: Option<Box<Signature>>,
    /// Its text is gone and it is listed nowhere; what was said below it stays.
    pub deleted: bool,
    pub(super) votes: Votes,
}

impl Post {
    /// What `user` voted.
    #[must_use]
    pub fn vote_of(&self, user: UserId) -> Direction {
        self.votes.of(user)
    }

    /// The votes, counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.votes.tally
    }

    /// Where it stands in the given order.
    #[must_use]
    pub fn rank(&self, sort: Sort) -> Rank {
        let Tally { ups, downs } = self.tally();
        Rank::of(sort, ups, downs, self.created_ms)
    }
}

/// What a post shows.
pub(super) enum Shown {
    Own { body: Text, signature: Option<Box<Signature>> },
    Others(Origin),
}

/// The posts of one subreddit in each order, by [`Sort`]. A vote moves a post in O(log n); nothing is sorted later.
pub(super) type Orders = [BTreeSet<(Rank, PostId)>; Sort::ALL.len()];

/// The table of `post_manager`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Post>")]
pub struct Posts {
    pub(super) list: Vec<Post>,
    /// By the index of the subreddit; those without a post may lie past its end.
    pub(super) orders: Vec<Orders>,
    pub(super) votes: u64,
}

impl Posts {
    /// The post, deleted or not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: PostId) -> Result<&Post, Error> {
        id.index().and_then(|index| self.list.get(index)).ok_or(Error::NotFound(Thing::Post))
    }

    /// The post, unless it is deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn present(&self, id: PostId) -> Result<&Post, Error> {
        self.get(id).and_then(|post| if post.deleted { Err(Error::NotFound(Thing::Post)) } else { Ok(post) })
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
        match after {
            None => Ranked::All(order.iter()),
            Some(after) => Ranked::Behind(order.range(..after)),
        }
    }

    /// The posts of a subreddit made at `since_ms` or later, in the given order, behind the place `after`.
    pub fn ranked_since(
        &self,
        subreddit: SubredditId,
        sort: Sort,
        since_ms: u64,
        after: Option<(Rank, PostId)>,
    ) -> impl Iterator<Item = (Rank, PostId)> + '_ {
        if since_ms == 0 {
            return Since::Ever(self.ranked(subreddit, sort, after));
        }
        // Whatever the window holds is at the young end of the order by age, so the rest is never looked at.
        let mut young: Vec<_> = self
            .ranked(subreddit, Sort::New, None)
            .filter_map(|(_, id)| Some((self.get(id).ok()?, id)))
            .take_while(|(post, _)| post.created_ms >= since_ms)
            .map(|(post, id)| (post.rank(sort), id))
            .filter(|&place| after.is_none_or(|after| place < after))
            .collect();
        young.sort_unstable_by(|one, other| other.cmp(one));
        Since::Lately(young.into_iter())
    }

    /// How many posts a subreddit shows.
    #[must_use]
    pub fn count_in(&self, subreddit: SubredditId) -> u32 {
        let orders = subreddit.index().and_then(|index| self.orders.get(index));
        orders.map_or(0, |orders| orders[Sort::New as usize].len() as u32)
    }

    /// How many there are, deleted ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many votes on posts stand now, authors' own included.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.votes
    }

    pub(super) fn add(
        &mut self,
        (author, subreddit): (UserId, SubredditId),
        title: Text,
        shown: Shown,
        created_ms: u64,
    ) -> PostId {
        let id = PostId::at(self.list.len());
        let votes = Votes::of_author(author);
        let (body, signature, origin) = match shown {
            Shown::Own { body, signature } => (body, signature, None),
            Shown::Others(origin) => (Text::default(), None, Some(origin)),
        };
        let post = Post {
            subreddit,
            author,
            title,
            body,
            created_ms,
            origin,
            comments: 0,
            signature,
            deleted: false,
            votes,
        };
        self.votes += 1;
        self.list_in_orders(id, &post);
        self.list.push(post);
        id
    }

    fn list_in_orders(&mut self, id: PostId, post: &Post) {
        let Some(index) = post.subreddit.index() else { return };
        if self.orders.len() <= index {
            self.orders.resize_with(index + 1, Orders::default);
        }
        for sort in Sort::ALL {
            self.orders[index][sort as usize].insert((post.rank(sort), id));
        }
    }

    /// Replaces the voter's vote. The post must be present.
    pub(super) fn vote(&mut self, voter: UserId, id: PostId, direction: Direction) -> Cast {
        let post = entry(&mut self.list, id);
        let before = Sort::ALL.map(|sort| post.rank(sort));
        let old = post.votes.cast(voter, direction);
        self.votes += u64::from(direction != Direction::None);
        self.votes -= u64::from(old != Direction::None);
        if let Some(orders) = post.subreddit.index().and_then(|index| self.orders.get_mut(index)) {
            for sort in Sort::ALL {
                let (from, to) = (before[sort as usize], post.rank(sort));
                if from != to {
                    orders[sort as usize].remove(&(from, id));
                    orders[sort as usize].insert((to, id));
                }
            }
        }
        Cast { author: post.author, change: direction.value() - old.value(), tally: post.tally() }
    }

    /// Counts one more comment. The post must exist.
    pub(super) fn commented(&mut self, id: PostId) {
        entry(&mut self.list, id).comments += 1;
    }

    /// Removes the text and takes the post out of every listing. The post must be present.
    pub(super) fn delete(&mut self, id: PostId) {
        let post = entry(&mut self.list, id);
        if let Some(orders) = post.subreddit.index().and_then(|index| self.orders.get_mut(index)) {
            for sort in Sort::ALL {
                orders[sort as usize].remove(&(post.rank(sort), id));
            }
        }
        post.deleted = true;
        post.title = Text::default();
        post.body = Text::default();
        post.signature = None;
    }
}

/// A part of one order, the best first.
enum Ranked<'a> {
    All(btree_set::Iter<'a, (Rank, PostId)>),
    Behind(btree_set::Range<'a, (Rank, PostId)>),
}

impl Iterator for Ranked<'_> {
    type Item = (Rank, PostId);

    fn next(&mut self) -> Option<(Rank, PostId)> {
        match self {
            Ranked::All(order) => order.next_back(),
            Ranked::Behind(order) => order.next_back(),
        }
        .copied()
    }
}

enum Since<I> {
    Ever(I),
    Lately(std::vec::IntoIter<(Rank, PostId)>),
}

impl<I: Iterator<Item = (Rank, PostId)>> Iterator for Since<I> {
    type Item = (Rank, PostId);

    fn next(&mut self) -> Option<(Rank, PostId)> {
        match self {
            Since::Ever(order) => order.next(),
            Since::Lately(posts) => posts.next(),
        }
    }
}

fn entry(list: &mut [Post], id: PostId) -> &mut Post {
    let index = id.index().expect("only what exists is decided on");
    &mut list[index]
}

impl Serialize for Posts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl From<Vec<Post>> for Posts {
    fn from(list: Vec<Post>) -> Posts {
        let votes = list.iter().map(|post| post.votes.by.len() as u64).sum();
        let subreddits =
            list.iter().filter_map(|post| post.subreddit.index()).max().map_or(0, |last| last + 1);
        let mut places: Vec<[Vec<(Rank, PostId)>; Sort::ALL.len()]> = Vec::new();
        places.resize_with(subreddits, Default::default);
        for (index, post) in list.iter().enumerate() {
            let Some(subreddit) = post.subreddit.index().filter(|_| !post.deleted) else { continue };
            for sort in Sort::ALL {
                places[subreddit][sort as usize].push((post.rank(sort), PostId::at(index)));
            }
        }
        // A set made of a whole list is sorted once, which is much faster than one insertion after the other.
        let orders = places.into_iter().map(|orders| orders.map(BTreeSet::from_iter)).collect();
        Posts { list, orders, votes }
    }
}

//! Comments: trees below posts, the best first at every level.

use std::cmp::Reverse;
use std::collections::{BTreeSet, btree_set};

use serde::{Deserialize, Serialize, Serializer};

use super::error::{Error, Thing};
use super::id::{CommentId, PostId, UserId};
use super::rank::{CommentSort, Rank};
use super::text::Text;
use super::vote::{Cast, Direction, Tally, Votes};

/// One comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Below which post.
    pub post: PostId,
    /// What it answers; `None`: the post itself.
    pub parent: Option<CommentId>,
    /// Who wrote it.
    pub author: UserId,
    /// The text; empty once it is deleted.
    pub body: Text,
    /// ms since 1970.
    pub created_ms: u64,
    /// 1 for an answer to the post, one more than the parent's otherwise.
    pub depth: u8,
    /// Comments below it, at every depth.
    pub below: u32,
    /// Its text is gone; its place in the tree stays.
    pub deleted: bool,
    pub(super) votes: Votes,
}

impl Comment {
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

    /// Where it stands among its siblings.
    #[must_use]
    pub fn rank(&self, sort: CommentSort) -> Rank {
        let Tally { ups, downs } = self.tally();
        Rank::of_comment(sort, ups, downs)
    }
}

/// Siblings, the best last. Only this order is kept ready, because it is the one people see unless they ask for
/// another.
pub(super) type Siblings = BTreeSet<(Rank, CommentId)>;

/// The table of `comment_manager`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Comment>")]
pub struct Comments {
    pub(super) list: Vec<Comment>,
    /// By the index of the parent, one for each comment.
    pub(super) replies: Vec<Siblings>,
    /// By the index of the post; posts without a comment may lie past its end.
    pub(super) first: Vec<Siblings>,
    pub(super) votes: u64,
}

impl Comments {
    /// The comment, deleted or not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: CommentId) -> Result<&Comment, Error> {
        id.index().and_then(|index| self.list.get(index)).ok_or(Error::NotFound(Thing::Comment))
    }

    /// The comment, unless it is deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn present(&self, id: CommentId) -> Result<&Comment, Error> {
        let gone = Err(Error::NotFound(Thing::Comment));
        self.get(id).and_then(|comment| if comment.deleted { gone } else { Ok(comment) })
    }

    /// The answers to a comment, or to the post where there is none, in the given order.
    pub(super) fn answers(&self, post: PostId, to: Option<CommentId>, sort: CommentSort) -> Answers<'_> {
        const NONE: &Siblings = &Siblings::new();
        let siblings = match to {
            Some(comment) => comment.index().and_then(|index| self.replies.get(index)),
            None => post.index().and_then(|index| self.first.get(index)),
        };
        let best = siblings.unwrap_or(NONE).iter();
        match sort {
            CommentSort::Best => Answers::Best(best),
            CommentSort::Top | CommentSort::New | CommentSort::Controversial | CommentSort::Old => {
                let place = |&(_, id): &(Rank, CommentId)| {
                    let rank = self.get(id).map_or(Rank(0), |comment| comment.rank(sort));
                    (rank, id)
                };
                let mut sorted: Vec<_> = best.map(place).collect();
                sorted.sort_unstable_by_key(|&place| Reverse(order(sort, place)));
                Answers::Sorted(sorted.into_iter())
            }
        }
    }

    /// How many there are, deleted ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many votes on comments stand now, authors' own included.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.votes
    }

    pub(super) fn add(
        &mut self,
        author: UserId,
        post: PostId,
        parent: Option<CommentId>,
        body: Text,
        created_ms: u64,
    ) -> (CommentId, u8) {
        let id = CommentId::at(self.list.len());
        let depth = parent.and_then(|parent| self.get(parent).ok()).map_or(1, |parent| parent.depth + 1);
        let votes = Votes::of_author(author);
        let comment =
            Comment { post, parent, author, body, created_ms, depth, below: 0, deleted: false, votes };
        let rank = comment.rank(CommentSort::Best);
        self.list.push(comment);
        self.replies.push(Siblings::new());
        self.votes += 1;
        if let Some(siblings) = self.siblings(post, parent) {
            siblings.insert((rank, id));
        }
        let mut above = parent;
        while let Some(ancestor) = above.and_then(|id| id.index()).and_then(|index| self.list.get_mut(index))
        {
            ancestor.below += 1;
            above = ancestor.parent;
        }
        (id, depth)
    }

    fn siblings(&mut self, post: PostId, parent: Option<CommentId>) -> Option<&mut Siblings> {
        if let Some(parent) = parent {
            return self.replies.get_mut(parent.index()?);
        }
        let index = post.index()?;
        if self.first.len() <= index {
            self.first.resize_with(index + 1, Siblings::new);
        }
        self.first.get_mut(index)
    }

    /// Replaces the voter's vote. The comment must be present.
    pub(super) fn vote(&mut self, voter: UserId, id: CommentId, direction: Direction) -> Cast {
        let comment = entry(&mut self.list, id);
        let before = comment.rank(CommentSort::Best);
        let old = comment.votes.cast(voter, direction);
        self.votes += u64::from(direction != Direction::None);
        self.votes -= u64::from(old != Direction::None);
        let after = comment.rank(CommentSort::Best);
        let (post, parent) = (comment.post, comment.parent);
        let cast =
            Cast { author: comment.author, change: direction.value() - old.value(), tally: comment.tally() };
        if before != after
            && let Some(siblings) = self.siblings(post, parent)
        {
            siblings.remove(&(before, id));
            siblings.insert((after, id));
        }
        cast
    }

    /// Removes the text; the place in the tree stays. The comment must be present.
    pub(super) fn delete(&mut self, id: CommentId) {
        let comment = entry(&mut self.list, id);
        comment.deleted = true;
        comment.body = Text::default();
    }
}

/// Siblings in one order.
pub(super) enum Answers<'a> {
    Best(btree_set::Iter<'a, (Rank, CommentId)>),
    Sorted(std::vec::IntoIter<(Rank, CommentId)>),
}

impl Iterator for Answers<'_> {
    type Item = (Rank, CommentId);

    fn next(&mut self) -> Option<(Rank, CommentId)> {
        match self {
            Answers::Best(siblings) => siblings.next_back().copied(),
            Answers::Sorted(siblings) => siblings.next(),
        }
    }
}

/// What siblings are compared by, larger first: the newer of two equal ones, but for the oldest first the older.
pub(super) fn order(sort: CommentSort, (rank, id): (Rank, CommentId)) -> (Rank, i64) {
    let age = i64::from(id.0);
    (rank, if sort == CommentSort::Old { -age } else { age })
}

fn entry(list: &mut [Comment], id: CommentId) -> &mut Comment {
    let index = id.index().expect("only what exists is decided on");
    &mut list[index]
}

impl Serialize for Comments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl From<Vec<Comment>> for Comments {
    fn from(list: Vec<Comment>) -> Comments {
        let votes = list.iter().map(|comment| comment.votes.by.len() as u64).sum();
        let mut comments =
            Comments { replies: vec![Siblings::new(); list.len()], list, first: Vec::new(), votes };
        for index in 0..comments.list.len() {
            let comment = &comments.list[index];
            let (post, parent) = (comment.post, comment.parent);
            let place = (comment.rank(CommentSort::Best), CommentId::at(index));
            if let Some(siblings) = comments.siblings(post, parent) {
                siblings.insert(place);
            }
        }
        comments
    }
}

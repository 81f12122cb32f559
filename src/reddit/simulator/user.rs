//! One simulated user: what it remembers, and how a wish becomes a request.

use super::plan::Intent;
use super::population::Shape;
use crate::reddit::model::{Direction, PostId, Secret, Text};
use crate::reddit::protocol::Session;

/// One user of the crowd.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: Text,
    pub(super) secret: Secret,
    /// `None` until the engine knows the user.
    pub(super) session: Option<Session>,
    /// Ranks of the subreddits the user belongs to.
    pub(super) joined: Vec<usize>,
    /// The posts of the last feed, best first.
    pub(super) seen: Vec<PostId>,
    /// Actions begun; the number of the next one in the plan.
    pub(super) actions: u32,
    /// An action of this user is under way; people do one thing at a time.
    pub(super) busy: bool,
}

/// A wish that can be carried out now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    ReadFeed,
    Vote { post: PostId, direction: Direction },
    Post { rank: usize, title: Text, body: Text },
    Join { rank: usize },
    Leave { rank: usize },
}

impl User {
    /// Somebody who belongs to the subreddits of these ranks.
    pub(super) fn new(name: Text, secret: Secret, joined: Vec<usize>) -> User {
        User { name, secret, session: None, joined, seen: Vec::new(), actions: 0, busy: false }
    }

    /// What the user does about a wish. Who has seen nothing reads the feed first; who belongs nowhere joins the most
    /// popular subreddit instead of posting.
    pub(super) fn resolve(&self, intent: Intent, shape: Shape) -> Action {
        match intent {
            Intent::ReadFeed => Action::ReadFeed,
            Intent::Vote { pick, direction } => match self.seen.get(rank_weighted(pick, self.seen.len())) {
                Some(&post) => Action::Vote { post, direction },
                None => Action::ReadFeed,
            },
            Intent::Post { pick, title, body } => match self.attracted(pick, shape) {
                Some(rank) => Action::Post { rank, title, body },
                None => Action::Join { rank: 0 },
            },
            Intent::Join { rank } => {
                let all = shape.subreddits as usize;
                let free = (rank..all).chain(0..rank).find(|rank| !self.joined.contains(rank));
                free.map_or(Action::ReadFeed, |rank| Action::Join { rank })
            }
            // The last one is kept: somebody who belongs nowhere has nothing to read.
            Intent::Leave { pick } if self.joined.len() > 1 => {
                Action::Leave { rank: self.joined[(pick * self.joined.len() as f64) as usize] }
            }
            Intent::Leave { .. } => Action::ReadFeed,
        }
    }

    /// One of the joined subreddits, the popular ones more often.
    fn attracted(&self, pick: f64, shape: Shape) -> Option<usize> {
        let total: f64 = self.joined.iter().map(|&rank| shape.attraction(rank)).sum();
        let mut rest = pick * total;
        for &rank in &self.joined {
            rest -= shape.attraction(rank);
            if rest < 0.0 {
                return Some(rank);
            }
        }
        // Rounding may leave a little of `rest` at the very end.
        self.joined.last().copied()
    }
}

/// A place in a list of `count`, the first ones more often: the place of rank r about 1/r times as often as the first.
fn rank_weighted(pick: f64, count: usize) -> usize {
    ((count as f64 + 1.0).powf(pick) - 1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { subreddits: 3, exponent: 1.0, joins: 1.0 };

    fn user(joined: &[usize], seen: &[u32]) -> User {
        let mut user = User::new("ada".into(), Secret([0; 16]), joined.to_vec());
        user.seen = seen.iter().copied().map(PostId).collect();
        user
    }

    #[test]
    fn votes_go_to_what_the_feed_showed_the_first_more_often() {
        let wish = |pick| Intent::Vote { pick, direction: Direction::Up };
        let reader = user(&[0], &[11, 12, 13]);
        let voted = |pick| match reader.resolve(wish(pick), SHAPE) {
            Action::Vote { post, .. } => post.0,
            other => panic!("{other:?}"),
        };
        // 4^pick - 1 reaches 1 at a half and 2 at 0.79.
        assert_eq!([voted(0.0), voted(0.49), voted(0.51), voted(0.8), voted(0.999)], [11, 11, 12, 13, 13]);
        assert_eq!(user(&[0], &[]).resolve(wish(0.5), SHAPE), Action::ReadFeed);
    }

    #[test]
    fn posts_go_where_the_user_belongs() {
        let wish = |pick| Intent::Post { pick, title: "t".into(), body: "".into() };
        for pick in [0.0, 0.3, 0.7, 0.999_999] {
            match user(&[1, 2], &[]).resolve(wish(pick), SHAPE) {
                Action::Post { rank, .. } => assert!([1, 2].contains(&rank)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(user(&[], &[]).resolve(wish(0.5), SHAPE), Action::Join { rank: 0 });
    }

    #[test]
    fn joining_takes_the_next_free_one_and_leaving_keeps_the_last() {
        let join = |joined: &[usize], rank| user(joined, &[]).resolve(Intent::Join { rank }, SHAPE);
        assert_eq!(join(&[2], 2), Action::Join { rank: 0 });
        assert_eq!(join(&[0, 1, 2], 1), Action::ReadFeed);
        let leave = |joined: &[usize]| user(joined, &[]).resolve(Intent::Leave { pick: 0.9 }, SHAPE);
        assert_eq!(leave(&[0, 1]), Action::Leave { rank: 1 });
        assert_eq!(leave(&[0]), Action::ReadFeed);
    }
}

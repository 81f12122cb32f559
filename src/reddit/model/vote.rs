//! Votes: one a user, on a post or on a comment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::UserId;
use super::rank;

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

/// The votes on one thing, counted.
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

/// The votes on one thing. A withdrawn vote is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Votes {
    pub(super) tally: Tally,
    pub(super) by: BTreeMap<UserId, Direction>,
}

impl Votes {
    /// As everything begins: with the author's own upvote.
    pub(super) fn of_author(author: UserId) -> Votes {
        Votes { tally: Tally { ups: 1, downs: 0 }, by: BTreeMap::from([(author, Direction::Up)]) }
    }

    pub(super) fn of(&self, user: UserId) -> Direction {
        self.by.get(&user).copied().unwrap_or(Direction::None)
    }

    /// Replaces the voter's vote and returns the old one.
    pub(super) fn cast(&mut self, voter: UserId, direction: Direction) -> Direction {
        let old = match direction {
            Direction::None => self.by.remove(&voter),
            Direction::Up | Direction::Down => self.by.insert(voter, direction),
        };
        let old = old.unwrap_or(Direction::None);
        if let Some(count) = self.tally.count(old) {
            *count -= 1;
        }
        if let Some(count) = self.tally.count(direction) {
            *count += 1;
        }
        old
    }
}

/// What a vote did.
pub(super) struct Cast {
    pub(super) author: UserId,
    /// New direction minus the old one.
    pub(super) change: i64,
    pub(super) tally: Tally,
}

//! Subreddits, and membership seen from both sides.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, Thing};
use super::id::{SubredditId, UserId};
use super::text::Text;

/// One subreddit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subreddit {
    /// As it was typed.
    pub name: Text,
    /// What it is about.
    pub description: Text,
    /// ms since 1970.
    pub created_ms: u64,
    members: BTreeSet<UserId>,
}

impl Subreddit {
    /// Whether `user` belongs to it now.
    #[must_use]
    pub fn has(&self, user: UserId) -> bool {
        self.members.contains(&user)
    }

    /// How many belong to it now.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members.len() as u32
    }
}

/// The table of `subreddit_manager`. Both directions of a membership change in one call, so they cannot diverge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subreddits {
    list: Vec<Subreddit>,
    /// Names in lower case.
    by_name: BTreeMap<Box<str>, SubredditId>,
    /// By the index of the user; users who never joined anything may lie past its end.
    of_user: Vec<BTreeSet<SubredditId>>,
}

impl Subreddits {
    /// The subreddit.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: SubredditId) -> Result<&Subreddit, Error> {
        id.index().and_then(|index| self.list.get(index)).ok_or(Error::NotFound(Thing::Subreddit))
    }

    /// The subreddit of that name, in any case.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<SubredditId> {
        self.by_name.get(name.to_ascii_lowercase().as_str()).copied()
    }

    /// What `user` has joined, in order of creation.
    pub fn of(&self, user: UserId) -> impl ExactSizeIterator<Item = SubredditId> + '_ {
        const NONE: &BTreeSet<SubredditId> = &BTreeSet::new();
        user.index().and_then(|index| self.of_user.get(index)).unwrap_or(NONE).iter().copied()
    }

    /// All of them after `after`, in order of creation.
    pub fn after(&self, after: Option<SubredditId>) -> impl Iterator<Item = SubredditId> + '_ {
        (after.map_or(0, |id| id.0 as usize)..self.list.len()).map(SubredditId::at)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub(super) fn add(&mut self, name: Text, description: Text, created_ms: u64) -> SubredditId {
        let id = SubredditId::at(self.list.len());
        self.by_name.insert(name.to_ascii_lowercase().into(), id);
        self.list.push(Subreddit { name, description, created_ms, members: BTreeSet::new() });
        id
    }

    /// Returns the members after it.
    pub(super) fn join(&mut self, user: UserId, id: SubredditId) -> u32 {
        let (Some(of_user), Some(subreddit)) = (user.index(), self.entry(id)) else { return 0 };
        subreddit.members.insert(user);
        let members = subreddit.members();
        if self.of_user.len() <= of_user {
            self.of_user.resize_with(of_user + 1, BTreeSet::new);
        }
        self.of_user[of_user].insert(id);
        members
    }

    /// Returns the members after it.
    pub(super) fn leave(&mut self, user: UserId, id: SubredditId) -> u32 {
        let (Some(of_user), Some(subreddit)) = (user.index(), self.entry(id)) else { return 0 };
        subreddit.members.remove(&user);
        let members = subreddit.members();
        if let Some(joined) = self.of_user.get_mut(of_user) {
            joined.remove(&id);
        }
        members
    }

    fn entry(&mut self, id: SubredditId) -> Option<&mut Subreddit> {
        id.index().and_then(|index| self.list.get_mut(index))
    }
}

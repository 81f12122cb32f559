//! Subreddits, and membership seen from both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize, Serializer};

use super::error::{Error, Thing};
use super::id::{SubredditId, UserId};
use super::text::Text;

/// One subreddit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subreddit {
    /// As it was typed.
    pub name: Text,
    /// What it is about.
    pub description: Text,
    /// ms since 1970.
    pub created_ms: u64,
    pub(super) members: BTreeSet<UserId>,
}

impl Subreddit {
    /// Whether `user` belongs to it now.
    #[must_use]
    pub fn has(&self, user: UserId) -> bool {
        self.members.contains(&user)
    }

    /// Who belongs to it now.
    pub fn all(&self) -> impl Iterator<Item = UserId> + '_ {
        self.members.iter().copied()
    }

    /// How many belong to it now.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members.len() as u32
    }
}

/// The table of `subreddit_manager`. Both directions of a membership change in one call, so they cannot diverge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Subreddit>")]
pub struct Subreddits {
    pub(super) list: Vec<Subreddit>,
    /// Names in lower case.
    pub(super) by_name: BTreeMap<Box<str>, SubredditId>,
    /// By the index of the user; users who never joined anything may lie past its end.
    pub(super) of_user: Vec<BTreeSet<SubredditId>>,
    /// By members.
    pub(super) by_size: BTreeSet<(u32, SubredditId)>,
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

    /// All of them, the largest first, those behind `after` where that is given.
    pub fn largest(&self, after: Option<SubredditId>) -> impl Iterator<Item = SubredditId> + '_ {
        let place = after.and_then(|id| Some((self.get(id).ok()?.members(), id)));
        let end = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_size.range((Bound::Unbounded, end)).rev().map(|&(_, id)| id)
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
        self.by_size.insert((0, id));
        id
    }

    /// Returns the members after it.
    pub(super) fn join(&mut self, user: UserId, id: SubredditId) -> u32 {
        let (Some(of_user), Some(subreddit)) = (user.index(), self.entry(id)) else { return 0 };
        let before = subreddit.members();
        subreddit.members.insert(user);
        let members = subreddit.members();
        self.resize(id, before, members);
        if self.of_user.len() <= of_user {
            self.of_user.resize_with(of_user + 1, BTreeSet::new);
        }
        self.of_user[of_user].insert(id);
        members
    }

    /// Returns the members after it.
    pub(super) fn leave(&mut self, user: UserId, id: SubredditId) -> u32 {
        let (Some(of_user), Some(subreddit)) = (user.index(), self.entry(id)) else { return 0 };
        let before = subreddit.members();
        subreddit.members.remove(&user);
        let members = subreddit.members();
        self.resize(id, before, members);
        if let Some(joined) = self.of_user.get_mut(of_user) {
            joined.remove(&id);
        }
        members
    }

    fn resize(&mut self, id: SubredditId, before: u32, after: u32) {
        self.by_size.remove(&(before, id));
        self.by_size.insert((after, id));
    }

    fn entry(&mut self, id: SubredditId) -> Option<&mut Subreddit> {
        id.index().and_then(|index| self.list.get_mut(index))
    }
}

impl Serialize for Subreddits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl From<Vec<Subreddit>> for Subreddits {
    fn from(list: Vec<Subreddit>) -> Subreddits {
        let mut subreddits = Subreddits::default();
        let users = list.iter().filter_map(|subreddit| subreddit.members.last()).map(|user| user.0 as usize);
        subreddits.of_user.resize_with(users.max().unwrap_or(0), BTreeSet::new);
        for (index, subreddit) in list.iter().enumerate() {
            let id = SubredditId::at(index);
            subreddits.by_name.insert(subreddit.name.to_ascii_lowercase().into(), id);
            subreddits.by_size.insert((subreddit.members(), id));
            for joined in subreddit.members.iter().filter_map(|user| user.index()) {
                subreddits.of_user[joined].insert(id);
            }
        }
        subreddits.list = list;
        subreddits
    }
}

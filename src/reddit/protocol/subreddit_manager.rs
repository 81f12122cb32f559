//! `subreddit_manager`: subreddits, and who belongs to them.

use serde::{Deserialize, Serialize};

use super::{Page, Session, SubredditId, Text};

/// What it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Open a subreddit; its creator is its first member.
    Create {
        /// Who.
        session: Session,
        /// `[A-Za-z0-9][A-Za-z0-9_]{2,20}`, unique in any case.
        name: Text,
        /// At most 500 characters.
        description: Text,
    },
    /// Become a member.
    Join {
        /// Who.
        session: Session,
        /// Where.
        subreddit: SubredditId,
    },
    /// Be a member no longer.
    Leave {
        /// Who.
        session: Session,
        /// Where.
        subreddit: SubredditId,
    },
    /// Look at a subreddit.
    Get {
        /// Which.
        subreddit: SubredditId,
    },
    /// Look at the subreddit of that name.
    GetByName {
        /// In any case.
        name: Text,
    },
    /// All of them.
    List {
        /// In which order.
        order: Order,
        /// Which part.
        page: Page<SubredditId>,
    },
    /// Those the user has joined.
    ListMine {
        /// Who.
        session: Session,
        /// Which part.
        page: Page<SubredditId>,
    },
}

/// Orders of subreddits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Oldest first.
    Creation,
    /// Most members first.
    Members,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Create` and the looks.
    Subreddit(SubredditView),
    /// To the lists.
    Subreddits(Vec<SubredditView>),
    /// To `Join` and `Leave`.
    Members {
        /// Members after it.
        count: u32,
    },
}

/// A subreddit as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubredditView {
    /// The identity.
    pub id: SubredditId,
    /// As it was typed.
    pub name: Text,
    /// What it is about.
    pub description: Text,
    /// ms since 1970.
    pub created_ms: u64,
    /// How many belong to it.
    pub members: u32,
    /// How many posts it has.
    pub posts: u32,
}

//! `feed_generator`: what a user sees first.

use serde::{Deserialize, Serialize};

use super::{Packed, Page, PostId, PostView, Session, Sort, Window};

/// What it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Posts of the subreddits the user has joined.
    Get {
        /// Who.
        session: Session,
        /// In which order; hot gives every subreddit its share.
        sort: Sort,
        /// How far back.
        window: Window,
        /// Which part.
        page: Page<PostId>,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// As many as asked for, where there are as many, with the beginnings of their texts.
    Posts(Packed<PostView>),
}

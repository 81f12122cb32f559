//! The actors by name.

use super::Request;

/// One of the engine's actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Users, sessions, karma.
    UserRegistry,
    /// Subreddits and membership.
    SubredditManager,
    /// Posts and votes.
    PostManager,
    /// Comments, their trees and votes.
    CommentManager,
    /// Direct messages.
    DmManager,
    /// Front pages.
    FeedGenerator,
    /// The engine as a whole.
    Engine,
    /// Who is told what happens.
    SubscriptionManager,
}

impl Actor {
    /// All of them, each at the place of its number.
    pub const ALL: [Actor; 8] = [
        Actor::UserRegistry,
        Actor::SubredditManager,
        Actor::PostManager,
        Actor::CommentManager,
        Actor::DmManager,
        Actor::FeedGenerator,
        Actor::Engine,
        Actor::SubscriptionManager,
    ];

    /// The name under which it is registered.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Actor::UserRegistry => "user_registry",
            Actor::SubredditManager => "subreddit_manager",
            Actor::PostManager => "post_manager",
            Actor::CommentManager => "comment_manager",
            Actor::DmManager => "dm_manager",
            Actor::FeedGenerator => "feed_generator",
            Actor::Engine => "engine",
            Actor::SubscriptionManager => "subscription_manager",
        }
    }
}

impl Request {
    /// Whom it is for.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Request::UserRegistry(_) => Actor::UserRegistry,
            Request::SubredditManager(_) => Actor::SubredditManager,
            Request::PostManager(_) => Actor::PostManager,
            Request::CommentManager(_) => Actor::CommentManager,
            Request::DmManager(_) => Actor::DmManager,
            Request::FeedGenerator(_) => Actor::FeedGenerator,
            Request::Engine(_) => Actor::Engine,
            Request::SubscriptionManager(_) => Actor::SubscriptionManager,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_actor_stands_at_the_place_of_its_number() {
        for (number, actor) in Actor::ALL.into_iter().enumerate() {
            assert_eq!(actor as usize, number);
        }
    }
}

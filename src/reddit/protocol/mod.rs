//! What can be asked of the engine, and what it answers.
//!
//! A request is addressed to an actor by its name, and that name is the outer variant of [`Request`]; each actor's
//! own alphabet is in the file of that name. Both sides encode with postcard, where a variant is its position: a new
//! variant goes to the end of its list, and every other change takes a new [`VERSION`].
//!
//! Requests of a user carry the [`Session`] that `user_registry` gave.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod feed_generator;
pub mod post_manager;
pub mod subreddit_manager;
pub mod user_registry;

pub use super::model::{Direction, Error, PostId, Secret, Sort, SubredditId, Tally, Text, UserId};

/// Sides with different versions refuse each other.
pub const VERSION: u16 = 1;

/// One request to one actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Users, sessions, karma.
    UserRegistry(user_registry::Request),
    /// Subreddits and membership.
    SubredditManager(subreddit_manager::Request),
    /// Posts and votes.
    PostManager(post_manager::Request),
    /// Front pages.
    FeedGenerator(feed_generator::Request),
    /// How it goes.
    Engine(EngineRequest),
}

/// The answer of the actor that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Of `user_registry`.
    UserRegistry(user_registry::Reply),
    /// Of `subreddit_manager`.
    SubredditManager(subreddit_manager::Reply),
    /// Of `post_manager`.
    PostManager(post_manager::Reply),
    /// Of `feed_generator`.
    FeedGenerator(feed_generator::Reply),
    /// Of the engine.
    Engine(Stats),
}

/// What comes back for every request.
pub type Answer = Result<Reply, Error>;

/// To the engine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineRequest {
    /// Its counters.
    Stats,
}

/// Counters of one engine's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Users that exist.
    pub users: u64,
    /// Subreddits that exist.
    pub subreddits: u64,
    /// Posts that exist.
    pub posts: u64,
    /// Votes that stand.
    pub votes: u64,
    /// Users with a session.
    pub sessions: u64,
    /// Requests answered since it started.
    pub requests: u64,
    /// Records applied since it started.
    pub records: u64,
    /// Turns taken since it started.
    pub turns: u64,
}

/// Proves that requests come from the one who logged in. Given by the engine, good for one engine's life.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub u64);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A user who is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    pub user: UserId,
    /// The proof.
    pub token: Token,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<Id> {
    /// Continue behind this entry.
    pub after: Option<Id>,
    /// How many, 1..=100; `None` is 25.
    pub limit: Option<u16>,
}

impl<Id> Page<Id> {
    /// The first 25.
    pub const FIRST: Page<Id> = Page { after: None, limit: None };
}

/// A post as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostView {
    /// Its identity.
    pub id: PostId,
    /// Where.
    pub subreddit: SubredditId,
    /// The name of that.
    pub subreddit_name: Text,
    /// Who wrote it.
    pub author: UserId,
    /// The name of that.
    pub author_name: Text,
    /// One line.
    pub title: Text,
    /// The text.
    pub body: Text,
    /// ms since 1970.
    pub created_ms: u64,
    /// Its votes.
    pub tally: Tally,
}

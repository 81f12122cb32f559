//! What can be asked of the engine, and what it answers.
//!
//! A request is addressed to an actor by its name, and that name is the outer variant of [`Request`]; each actor's
//! own alphabet is in the file of that name. Both sides encode with postcard, where a variant is its position: a new
//! variant goes to the end of its list, and every other change takes a new [`VERSION`].
//!
//! Requests of a user carry the [`Session`] that `user_registry` gave. Every request travels in an [`Envelope`]; one that
//! changes something has a name there ([`OpId`]), and when the answer does not come it is asked again under the same
//! name, at whatever engine: it is carried out once, and the answer is the first one. An engine remembers a bounded number of
//! streams of operations. What it no longer knows it refuses as too old: it may have been done, and only who asked can find out.
//! A client tells when a stream was begun ([`Stats::operations`]), so that a new stream is not taken for a forgotten one.

use std::fmt;

use serde::{Deserialize, Serialize};

mod actor;
pub mod comment_manager;
pub mod dm_manager;
pub mod feed_generator;
pub(in crate::reddit) mod packed;
pub mod post_manager;
pub mod subreddit_manager;
pub mod subscription_manager;
pub mod user_registry;

pub use actor::Actor;
pub use packed::{Packed, Shown};

pub use super::model::check::Examination;
pub use super::model::{
    Asked, CommentId, CommentSort, Direction, Error, Folder, MessageId, OpId, Origin, PostId, PublicKey,
    Secret, Signature, Sort, SubredditId, Tally, Text, UserId, Window,
};

/// Sides with different versions refuse each other.
pub const VERSION: u16 = 6;

/// Bytes of a text that a list shows at most.
pub const EXCERPT: usize = 100;

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Its name, if it is one that must not happen twice.
    pub op: Option<Asked>,
    /// What is asked.
    pub request: Request,
}

impl From<Request> for Envelope {
    fn from(request: Request) -> Envelope {
        Envelope { op: None, request }
    }
}

impl Request {
    /// This request under the name of an operation, of a stream that may have been begun at any time.
    #[must_use]
    pub fn once(self, op: OpId) -> Envelope {
        self.asked(Asked { op, since: 0 })
    }

    /// This request as that operation.
    #[must_use]
    pub fn asked(self, asked: Asked) -> Envelope {
        Envelope { op: Some(asked), request: self }
    }
}

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
    /// Comments, their trees and votes.
    CommentManager(comment_manager::Request),
    /// Direct messages.
    DmManager(dm_manager::Request),
    /// Being told.
    SubscriptionManager(subscription_manager::Request),
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
    /// Of `comment_manager`.
    CommentManager(comment_manager::Reply),
    /// Of `dm_manager`.
    DmManager(dm_manager::Reply),
    /// Of the engine.
    Examined(Examination),
    /// Of `subscription_manager`.
    SubscriptionManager(subscription_manager::Reply),
}

/// What comes back for every request.
pub type Answer = Result<Reply, Error>;

/// To the engine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineRequest {
    /// Its counters.
    Stats,
    /// A look at itself: the sum of its tables, which `reddit-engine stats` tells of a store, and what it counted. For the
    /// engine's own user and root on its machine. It takes the engine some time, in which it does nothing else: all who ask
    /// at once share one look, and of its time it gives looks a twentieth, so the answer may wait.
    Examine,
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
    /// Comments that exist.
    pub comments: u64,
    /// Votes that stand, on posts and comments.
    pub votes: u64,
    /// Direct messages that exist.
    pub messages: u64,
    /// Users with a session: those who are online.
    pub sessions: u64,
    /// Requests answered since it started.
    pub requests: u64,
    /// Messages to its actors that are no requests. Each was refused.
    pub misunderstood: u64,
    /// Records applied since it started.
    pub records: u64,
    /// Turns taken since it started.
    pub turns: u64,
    /// Operations that were asked for again and had been carried out.
    pub repeated: u64,
    /// Operations that were carried out since the tables were made: what a client gives as
    /// [`Asked::since`](crate::reddit::model::Asked) of the stream that it begins.
    pub operations: u64,
    /// Records in its store since that was made; 0 without a store.
    pub position: u64,
    /// Groups of records written into its store since it started.
    pub groups: u64,
    /// How many of these it waited for until they were on the disk.
    pub syncs: u64,
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

/// A post as it is shown, with texts of type `T`.
///
/// Alone ([`post_manager::Request::Get`]) it has its whole text. In a list it has its title and the beginning of the text,
/// at most [`EXCERPT`] bytes: a list is for choosing, as Reddit's front page shows titles and unfolds one post when it is
/// asked to, and so a hundred posts of any length fit into one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct PostView<T = Text> {
    /// Its identity.
    pub id: PostId,
    /// Where.
    pub subreddit: SubredditId,
    /// The name of that.
    pub subreddit_name: T,
    /// Who wrote it.
    pub author: UserId,
    /// The name of that.
    pub author_name: T,
    /// One line.
    pub title: T,
    /// The text, or its beginning.
    pub body: T,
    /// The text goes on.
    pub cut: bool,
    /// ms since 1970.
    pub created_ms: u64,
    /// Where it comes from, if it is a repost. Title and votes are its own, the text is that of the root.
    pub origin: Option<Origin>,
    /// The author's, over the whole text ([`Signed`](crate::reddit::model::Signed)). That of a repost is at its root.
    pub signature: Option<Box<Signature>>,
    /// Its votes.
    pub tally: Tally,
    /// Comments below it.
    pub comments: u32,
    /// Taken back by its author.
    pub deleted: bool,
}

impl Shown for PostView {
    type Inside<'a> = PostView<&'a str>;
}

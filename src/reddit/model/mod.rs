//! The domain: users, subreddits, posts, comments, votes, messages, rankings and feeds. Pure: no clock, no I/O, no randomness.
//!
//! Everything that ever happens to it is a [`Record`], and [`Model::apply`] is the only function that changes
//! anything: it is deterministic and cannot fail (an [`Entry`] is a record with the name of its operation). Live traffic uses it, replaying a log of records uses it, and a
//! checker uses it, so the three cannot disagree. What may fail comes before: [`Model::decide`] looks at a [`Command`]
//! and either refuses it or names the record that carries it out.
//!
//! Each table is written in its own file and owned by one actor of the engine: [`Users`] by `user_registry`,
//! [`Subreddits`] by `subreddit_manager`, [`Posts`] by `post_manager`, [`Comments`] by `comment_manager`, [`Messages`] by
//! `dm_manager`. What is kept is the tables; every index beside them follows from them and is not written down. Rules and formulae are Reddit's own, from its
//! published source (`r2/lib/db/_sorts.pyx`, `r2/models/vote.py`, `r2/lib/normalized_hot.py`, `validator.py`).

pub mod check;

mod comment;
mod decide;
mod error;
mod feed;
mod id;
mod key;
mod limits;
mod message;
mod operation;
mod post;
mod rank;
mod record;
mod subreddit;
mod text;
mod thread;
mod user;
mod vote;

#[cfg(test)]
mod tests;

pub use comment::{Comment, Comments};
pub use decide::{Command, Decision};
pub use error::{Error, Field, Flaw, Thing};
pub use feed::{HOT_AGE_MS, HOT_POSTS, Listing, Place, feed};
pub use id::{CommentId, MessageId, PostId, SubredditId, UserId};
pub use key::{Algorithm, Claim, PublicKey, Signature, Signed};
pub use limits::{LEVELS_DEFAULT, LISTING_DEFAULT, LISTING_MAX, THREAD_DEFAULT, THREAD_MAX};
pub use message::{Folder, Message, Messages};
pub use operation::{Asked, OpId, Operations, WINDOW};
pub use post::{Origin, Post, Posts};
pub use rank::{CommentSort, Rank, Sort, Window};
pub use record::{Effect, Entry, Record};
pub use subreddit::{Subreddit, Subreddits};
pub use text::Text;
pub use thread::{Part, thread};
pub use user::{Secret, User, Users};
pub use vote::{Direction, Tally};

use serde::{Deserialize, Serialize};

use post::Shown;
use user::Merit;

/// All tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    users: Users,
    subreddits: Subreddits,
    posts: Posts,
    comments: Comments,
    messages: Messages,
    operations: Operations,
    last_ms: u64,
}

impl Model {
    /// Who exists, and their karma.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Subreddits and who belongs to them.
    #[must_use]
    pub fn subreddits(&self) -> &Subreddits {
        &self.subreddits
    }

    /// Posts, their votes and their order.
    #[must_use]
    pub fn posts(&self) -> &Posts {
        &self.posts
    }

    /// Comments, their votes and their trees.
    #[must_use]
    pub fn comments(&self) -> &Comments {
        &self.comments
    }

    /// Direct messages.
    #[must_use]
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// What was done lately, by the names of the operations.
    #[must_use]
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The time of the newest record, in ms since 1970. Times in records never go back, whatever the clock does.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Carries out one line of the log and remembers its effect under the name of its operation.
    pub fn apply_entry(&mut self, entry: Entry) -> Effect {
        let by = entry.record.actor();
        let effect = self.apply(entry.record);
        if let Some(op) = entry.op {
            self.operations.remember(op, by, effect);
        }
        effect
    }

    /// Carries out one record that [`Model::decide`] made in this state. A record that touches several tables
    /// touches all of them here, in one step.
    pub fn apply(&mut self, record: Record) -> Effect {
        self.last_ms = record.at_ms().unwrap_or(self.last_ms);
        match record {
            Record::UserRegistered { name, secret, key, at_ms } => {
                Effect::UserRegistered(self.users.add(name, secret, key, at_ms))
            }
            Record::SubredditCreated { creator, name, description, at_ms } => {
                let subreddit = self.subreddits.add(name, description, at_ms);
                self.subreddits.join(creator, subreddit);
                Effect::SubredditCreated(subreddit)
            }
            Record::SubredditJoined { user, subreddit } => {
                Effect::Membership { members: self.subreddits.join(user, subreddit) }
            }
            Record::SubredditLeft { user, subreddit } => {
                Effect::Membership { members: self.subreddits.leave(user, subreddit) }
            }
            Record::PostCreated { author, subreddit, title, body, signature, at_ms } => {
                let shown = Shown::Own { body, signature };
                Effect::PostCreated(self.posts.add((author, subreddit), title, shown, at_ms))
            }
            Record::PostReposted { author, subreddit, original, title, at_ms } => {
                let above = self.posts.get(original).ok().and_then(|post| post.origin);
                let origin = Origin { of: original, root: above.map_or(original, |above| above.root) };
                let shown = Shown::Others(origin);
                Effect::PostCreated(self.posts.add((author, subreddit), title, shown, at_ms))
            }
            Record::PostVoted { voter, post, direction } => {
                let cast = self.posts.vote(voter, post, direction);
                self.credit(Merit::Posts, voter, &cast);
                Effect::PostVoted(cast.tally)
            }
            Record::PostDeleted { author: _, post } => {
                self.posts.delete(post);
                Effect::PostDeleted
            }
            Record::CommentCreated { author, post, parent, body, at_ms } => {
                self.posts.commented(post);
                let (id, depth) = self.comments.add(author, post, parent, body, at_ms);
                Effect::CommentCreated { id, depth }
            }
            Record::CommentVoted { voter, comment, direction } => {
                let cast = self.comments.vote(voter, comment, direction);
                self.credit(Merit::Comments, voter, &cast);
                Effect::CommentVoted(cast.tally)
            }
            Record::CommentDeleted { author: _, comment } => {
                self.comments.delete(comment);
                Effect::CommentDeleted
            }
            Record::MessageSent { from, to, subject, body, reply_to, at_ms } => {
                let (id, thread) = self.messages.add((from, to), (subject, body), reply_to, at_ms);
                Effect::MessageSent { id, thread }
            }
            Record::MessageRead { reader: _, message } => {
                self.messages.mark_read(message);
                Effect::MessageRead
            }
        }
    }

    /// Nobody earns karma from a vote of their own.
    fn credit(&mut self, merit: Merit, voter: UserId, cast: &vote::Cast) {
        if cast.author != voter {
            self.users.credit(cast.author, merit, cast.change);
        }
    }
}

//! The domain: users, subreddits, posts, votes, rankings and feeds. Pure: no clock, no I/O, no randomness.
//!
//! Everything that ever happens to it is a [`Record`], and [`Model::apply`] is the only function that changes
//! anything: it is deterministic and cannot fail. Live traffic uses it, replaying a log of records uses it, and a
//! checker uses it, so the three cannot disagree. What may fail comes before: [`Model::decide`] looks at a [`Command`]
//! and either refuses it or names the record that carries it out.
//!
//! Each table is written in its own file and owned by one actor of the engine: [`Users`] by `user_registry`,
//! [`Subreddits`] by `subreddit_manager`, [`Posts`] by `post_manager`. Rules and formulae are Reddit's own, from its
//! published source (`r2/lib/db/_sorts.pyx`, `r2/models/vote.py`, `r2/lib/normalized_hot.py`, `validator.py`).

mod decide;
mod error;
mod feed;
mod id;
mod limits;
mod post;
mod rank;
mod record;
mod subreddit;
mod text;
mod user;

#[cfg(test)]
mod tests;

pub use decide::{Command, Decision};
pub use error::{Error, Field, Flaw, Thing};
pub use feed::feed;
pub use id::{PostId, SubredditId, UserId};
pub use limits::{LISTING_DEFAULT, LISTING_MAX};
pub use post::{Direction, Post, Posts, Tally};
pub use rank::{Rank, Sort};
pub use record::{Effect, Record};
pub use subreddit::{Subreddit, Subreddits};
pub use text::Text;
pub use user::{Secret, User, Users};

/// All tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    users: Users,
    subreddits: Subreddits,
    posts: Posts,
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

    /// The time of the newest record, in ms since 1970. Times in records never go back, whatever the clock does.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Carries out one record that [`Model::decide`] made in this state. A record that touches several tables
    /// touches all of them here, in one step.
    pub fn apply(&mut self, record: Record) -> Effect {
        match record {
            Record::UserRegistered { name, secret, at_ms } => {
                self.last_ms = at_ms;
                Effect::UserRegistered(self.users.add(name, secret, at_ms))
            }
            Record::SubredditCreated { creator, name, description, at_ms } => {
                self.last_ms = at_ms;
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
            Record::PostCreated { author, subreddit, title, body, at_ms } => {
                self.last_ms = at_ms;
                Effect::PostCreated(self.posts.add(author, subreddit, title, body, at_ms))
            }
            Record::PostVoted { voter, post, direction } => {
                let vote = self.posts.vote(voter, post, direction);
                // Nobody earns karma from a vote of their own.
                if vote.author != voter {
                    self.users.credit(vote.author, vote.change);
                }
                Effect::Voted(vote.tally)
            }
        }
    }
}

//! Whether a command may happen, and what happens then.

use super::Model;
use super::error::Error;
use super::id::{PostId, SubredditId, UserId};
use super::limits;
use super::post::Direction;
use super::record::{Effect, Record};
use super::text::Text;
use super::user::Secret;

/// What somebody wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Become a user.
    Register {
        /// Free in any case.
        name: Text,
        /// To log in with later.
        secret: Secret,
    },
    /// Open a subreddit.
    CreateSubreddit {
        /// Who.
        creator: UserId,
        /// Free in any case.
        name: Text,
        /// What it is about.
        description: Text,
    },
    /// Become a member.
    Join {
        /// Who.
        user: UserId,
        /// Where.
        subreddit: SubredditId,
    },
    /// Be a member no longer.
    Leave {
        /// Who.
        user: UserId,
        /// Where.
        subreddit: SubredditId,
    },
    /// Post, as a member.
    Post {
        /// Who.
        author: UserId,
        /// Where.
        subreddit: SubredditId,
        /// One line.
        title: Text,
        /// The text.
        body: Text,
    },
    /// Vote; anybody may, on anything.
    Vote {
        /// Who.
        voter: UserId,
        /// On what.
        post: PostId,
        /// What it is to be.
        direction: Direction,
    },
}

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It happens by this record.
    Apply(Record),
    /// It is so already, as if it had happened: an identical vote.
    Unchanged(Effect),
}

impl Model {
    /// What `command` comes to at `now_ms`. This only looks: nothing has happened until the record is applied.
    ///
    /// # Errors
    /// Why it may not happen, for the one who asked.
    pub fn decide(&self, command: Command, now_ms: u64) -> Result<Decision, Error> {
        let at_ms = now_ms.max(self.last_ms);
        let record = match command {
            Command::Register { name, secret } => {
                limits::username(&name)?;
                match self.users.by_name(&name) {
                    Some(_) => return Err(Error::NameTaken),
                    None => Record::UserRegistered { name, secret, at_ms },
                }
            }
            Command::CreateSubreddit { creator, name, description } => {
                self.users.get(creator)?;
                limits::subreddit_name(&name)?;
                limits::description(&description)?;
                if self.subreddits.by_name(&name).is_some() {
                    return Err(Error::NameTaken);
                }
                Record::SubredditCreated { creator, name, description, at_ms }
            }
            Command::Join { user, subreddit } => match self.is_member(user, subreddit)? {
                Membership::Member => return Err(Error::AlreadyMember),
                Membership::Stranger => Record::SubredditJoined { user, subreddit },
            },
            Command::Leave { user, subreddit } => match self.is_member(user, subreddit)? {
                Membership::Member => Record::SubredditLeft { user, subreddit },
                Membership::Stranger => return Err(Error::NotMember),
            },
            Command::Post { author, subreddit, title, body } => {
                limits::title(&title)?;
                limits::body(&body)?;
                match self.is_member(author, subreddit)? {
                    Membership::Member => {}
                    Membership::Stranger => return Err(Error::NotMember),
                }
                Record::PostCreated { author, subreddit, title, body, at_ms }
            }
            Command::Vote { voter, post, direction } => {
                self.users.get(voter)?;
                let on = self.posts.get(post)?;
                if on.vote_of(voter) == direction {
                    return Ok(Decision::Unchanged(Effect::Voted(on.tally)));
                }
                Record::PostVoted { voter, post, direction }
            }
        };
        Ok(Decision::Apply(record))
    }

    fn is_member(&self, user: UserId, subreddit: SubredditId) -> Result<Membership, Error> {
        self.users.get(user)?;
        let member = self.subreddits.get(subreddit)?.has(user);
        Ok(if member { Membership::Member } else { Membership::Stranger })
    }
}

enum Membership {
    Member,
    Stranger,
}

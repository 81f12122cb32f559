//! Whether a command may happen, and what happens then.

use super::Model;
use super::error::{Error, Field, Flaw};
use super::id::{CommentId, MessageId, PostId, SubredditId, UserId};
use super::key::{PublicKey, Signature};
use super::limits;
use super::record::{Effect, Record};
use super::text::Text;
use super::user::Secret;
use super::vote::Direction;

/// What somebody wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Become a user.
    Register {
        /// Free in any case.
        name: Text,
        /// To log in with later.
        secret: Secret,
        /// To sign with from now on.
        key: Option<Box<PublicKey>>,
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
        /// Of a user with a key, and of no other. Whoever asks has verified it ([`Model::claim`]).
        signature: Option<Box<Signature>>,
    },
    /// Vote on a post; anybody may, on anything.
    VotePost {
        /// Who.
        voter: UserId,
        /// On what.
        post: PostId,
        /// What it is to be.
        direction: Direction,
    },
    /// Show a post in another place, as a member there.
    Repost {
        /// Who.
        author: UserId,
        /// Where.
        subreddit: SubredditId,
        /// What.
        original: PostId,
        /// One line; `None`: as the original.
        title: Option<Text>,
    },
    /// Take a post of one's own back.
    DeletePost {
        /// Who.
        author: UserId,
        /// Which.
        post: PostId,
    },
    /// Say something about a post or a comment; anybody may.
    Comment {
        /// Who.
        author: UserId,
        /// Below which post.
        post: PostId,
        /// Answering what; `None`: the post itself.
        parent: Option<CommentId>,
        /// The text.
        body: Text,
    },
    /// Vote on a comment.
    VoteComment {
        /// Who.
        voter: UserId,
        /// On what.
        comment: CommentId,
        /// What it is to be.
        direction: Direction,
    },
    /// Take a comment of one's own back.
    DeleteComment {
        /// Who.
        author: UserId,
        /// Which.
        comment: CommentId,
    },
    /// Write to another user.
    Send {
        /// Who.
        from: UserId,
        /// To whom.
        to: UserId,
        /// One line.
        subject: Text,
        /// The text.
        body: Text,
    },
    /// Answer a message.
    Reply {
        /// Who; one of the two whose message it is.
        from: UserId,
        /// Which.
        message: MessageId,
        /// The text.
        body: Text,
    },
    /// Mark a message as read.
    MarkRead {
        /// The one it is for.
        reader: UserId,
        /// Which.
        message: MessageId,
    },
}

impl Command {
    /// Who wants it; `None` before there is anybody.
    #[must_use]
    pub fn actor(&self) -> Option<UserId> {
        match *self {
            Command::Register { .. } => None,
            Command::CreateSubreddit { creator: user, .. }
            | Command::Join { user, .. }
            | Command::Leave { user, .. }
            | Command::Post { author: user, .. }
            | Command::VotePost { voter: user, .. }
            | Command::Repost { author: user, .. }
            | Command::DeletePost { author: user, .. }
            | Command::Comment { author: user, .. }
            | Command::VoteComment { voter: user, .. }
            | Command::DeleteComment { author: user, .. }
            | Command::Send { from: user, .. }
            | Command::Reply { from: user, .. }
            | Command::MarkRead { reader: user, .. } => Some(user),
        }
    }
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
        if let Some(user) = command.actor() {
            self.users.get(user)?;
        }
        let record = match command {
            Command::Register { name, secret, key } => {
                limits::username(&name)?;
                key.as_ref().map_or(Ok(()), |key| key.check().map(drop))?;
                match self.users.by_name(&name) {
                    Some(_) => return Err(Error::NameTaken),
                    None => Record::UserRegistered { name, secret, key, at_ms },
                }
            }
            Command::CreateSubreddit { creator, name, description } => {
                limits::subreddit_name(&name)?;
                limits::description(&description)?;
                if self.subreddits.by_name(&name).is_some() {
                    return Err(Error::NameTaken);
                }
                Record::SubredditCreated { creator, name, description, at_ms }
            }
            Command::Join { user, subreddit } => match self.membership(user, subreddit)? {
                Membership::Member => return Err(Error::AlreadyMember),
                Membership::Stranger => Record::SubredditJoined { user, subreddit },
            },
            Command::Leave { user, subreddit } => {
                self.member(user, subreddit)?;
                Record::SubredditLeft { user, subreddit }
            }
            Command::Post { author, subreddit, title, body, signature } => {
                limits::title(&title)?;
                limits::body(&body)?;
                self.member(author, subreddit)?;
                self.signs(author, signature.as_deref())?;
                Record::PostCreated { author, subreddit, title, body, signature, at_ms }
            }
            Command::VotePost { voter, post, direction } => {
                let on = self.posts.present(post)?;
                if on.vote_of(voter) == direction {
                    return Ok(Decision::Unchanged(Effect::PostVoted(on.tally())));
                }
                Record::PostVoted { voter, post, direction }
            }
            Command::Repost { author, subreddit, original, title } => {
                let shown = self.posts.present(original)?;
                self.member(author, subreddit)?;
                let title = title.unwrap_or_else(|| shown.title.clone());
                limits::title(&title)?;
                Record::PostReposted { author, subreddit, original, title, at_ms }
            }
            Command::DeletePost { author, post } => {
                written_by(author, self.posts.present(post)?.author)?;
                Record::PostDeleted { author, post }
            }
            Command::Comment { author, post, parent, body } => {
                limits::comment(&body)?;
                self.answerable(post, parent)?;
                Record::CommentCreated { author, post, parent, body, at_ms }
            }
            Command::VoteComment { voter, comment, direction } => {
                let on = self.comments.present(comment)?;
                if on.vote_of(voter) == direction {
                    return Ok(Decision::Unchanged(Effect::CommentVoted(on.tally())));
                }
                Record::CommentVoted { voter, comment, direction }
            }
            Command::DeleteComment { author, comment } => {
                written_by(author, self.comments.present(comment)?.author)?;
                Record::CommentDeleted { author, comment }
            }
            Command::Send { from, to, subject, body } => {
                self.users.get(to)?;
                limits::subject(&subject)?;
                limits::message(&body)?;
                if from == to {
                    return Err(Error::BadRequest { field: Field::Recipient, flaw: Flaw::Oneself });
                }
                Record::MessageSent { from, to, subject, body, reply_to: None, at_ms }
            }
            Command::Reply { from, message, body } => {
                limits::message(&body)?;
                let answered = self.messages.get(message)?;
                let (to, subject) = (answered.other(from)?, answered.subject.clone());
                Record::MessageSent { from, to, subject, body, reply_to: Some(message), at_ms }
            }
            Command::MarkRead { reader, message } => {
                let marked = self.messages.get(message)?;
                if marked.to != reader {
                    return Err(Error::NotParticipant);
                }
                if marked.read {
                    return Ok(Decision::Unchanged(Effect::MessageRead));
                }
                Record::MessageRead { reader, message }
            }
        };
        Ok(Decision::Apply(record))
    }

    fn member(&self, user: UserId, subreddit: SubredditId) -> Result<(), Error> {
        match self.membership(user, subreddit)? {
            Membership::Member => Ok(()),
            Membership::Stranger => Err(Error::NotMember),
        }
    }

    fn membership(&self, user: UserId, subreddit: SubredditId) -> Result<Membership, Error> {
        let member = self.subreddits.get(subreddit)?.has(user);
        Ok(if member { Membership::Member } else { Membership::Stranger })
    }
}

fn written_by(user: UserId, author: UserId) -> Result<(), Error> {
    if user == author { Ok(()) } else { Err(Error::NotAuthor) }
}

enum Membership {
    Member,
    Stranger,
}

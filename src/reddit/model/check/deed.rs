//! What somebody was told has been done, as a client writes it down and the checker looks for it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::super::{
    CommentId, Direction, Effect, MessageId, Model, OpId, PostId, Record, SubredditId, UserId,
};

/// One acknowledgement as a client wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The name of the operation.
    pub op: OpId,
    /// Who asked; `None` for a registration.
    pub by: Option<UserId>,
    /// What was asked.
    pub deed: Deed,
    /// What the engine said that it did.
    pub effect: Effect,
}

/// What somebody did, with sums in the place of texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are those of the records")]
pub enum Deed {
    /// Became a user.
    Register { name: Sum },
    /// Opened a subreddit.
    CreateSubreddit { text: Sum },
    /// Became a member.
    Join { subreddit: SubredditId },
    /// Left.
    Leave { subreddit: SubredditId },
    /// Posted.
    Post { subreddit: SubredditId, text: Sum },
    /// Showed a post in another place.
    Repost { subreddit: SubredditId, original: PostId, text: Sum },
    /// Voted on a post.
    VotePost { post: PostId, direction: Direction },
    /// Said something.
    Comment { post: PostId, parent: Option<CommentId>, text: Sum },
    /// Voted on a comment.
    VoteComment { comment: CommentId, direction: Direction },
    /// Wrote to somebody.
    Send { to: UserId, text: Sum },
    /// Answered a message; its subject and receiver follow from that.
    Answer { message: MessageId, text: Sum },
    /// Took a post back.
    DeletePost { post: PostId },
    /// Took a comment back.
    DeleteComment { comment: CommentId },
    /// Marked a message.
    MarkRead { message: MessageId },
}

/// A sum over texts, told from their order and borders too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum(u64);

impl Sum {
    /// Of these texts.
    #[must_use]
    pub fn of(texts: &[&str]) -> Sum {
        let mut sum = Xxh3::new();
        for text in texts {
            sum.update(&(text.len() as u64).to_le_bytes());
            sum.update(text.as_bytes());
        }
        Sum(sum.digest())
    }
}

impl Deed {
    /// What a line of the log says.
    #[must_use]
    pub fn of(record: &Record) -> Deed {
        match record {
            Record::UserRegistered { name, .. } => Deed::Register { name: Sum::of(&[name]) },
            Record::SubredditCreated { name, description, .. } => {
                Deed::CreateSubreddit { text: Sum::of(&[name, description]) }
            }
            &Record::SubredditJoined { subreddit, .. } => Deed::Join { subreddit },
            &Record::SubredditLeft { subreddit, .. } => Deed::Leave { subreddit },
            Record::PostCreated { subreddit, title, body, .. } => {
                Deed::Post { subreddit: *subreddit, text: Sum::of(&[title, body]) }
            }
            Record::PostReposted { subreddit, original, title, .. } => {
                Deed::Repost { subreddit: *subreddit, original: *original, text: Sum::of(&[title]) }
            }
            &Record::PostVoted { post, direction, .. } => Deed::VotePost { post, direction },
            &Record::PostDeleted { post, .. } => Deed::DeletePost { post },
            Record::CommentCreated { post, parent, body, .. } => {
                Deed::Comment { post: *post, parent: *parent, text: Sum::of(&[body]) }
            }
            &Record::CommentVoted { comment, direction, .. } => Deed::VoteComment { comment, direction },
            &Record::CommentDeleted { comment, .. } => Deed::DeleteComment { comment },
            Record::MessageSent { reply_to: Some(message), body, .. } => {
                Deed::Answer { message: *message, text: Sum::of(&[body]) }
            }
            Record::MessageSent { to, subject, body, .. } => {
                Deed::Send { to: *to, text: Sum::of(&[subject, body]) }
            }
            &Record::MessageRead { message, .. } => Deed::MarkRead { message },
        }
    }

    /// What stands until the same user says otherwise.
    pub(super) fn standing(&self) -> Option<Standing> {
        match *self {
            Deed::VotePost { post, .. } => Some(Standing::Post(post)),
            Deed::VoteComment { comment, .. } => Some(Standing::Comment(comment)),
            Deed::Join { subreddit } | Deed::Leave { subreddit } => Some(Standing::Member(subreddit)),
            _ => None,
        }
    }

    pub(super) fn is_vote(&self) -> bool {
        matches!(self, Deed::VotePost { .. } | Deed::VoteComment { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Post(PostId),
    Comment(CommentId),
    Member(SubredditId),
}

impl Acknowledged {
    /// Whether the tables show what came of it.
    pub(super) fn is_shown(&self, model: &Model) -> bool {
        let Some(by) = self.by else {
            return match (&self.deed, self.effect) {
                (Deed::Register { name }, Effect::UserRegistered(id)) => {
                    model.users.get(id).is_ok_and(|user| Sum::of(&[&user.name]) == *name)
                }
                _ => false,
            };
        };
        match (&self.deed, self.effect) {
            (Deed::CreateSubreddit { text }, Effect::SubredditCreated(id)) => {
                model.subreddits.get(id).is_ok_and(|made| Sum::of(&[&made.name, &made.description]) == *text)
            }
            (Deed::Join { subreddit }, _) => model.subreddits.get(*subreddit).is_ok_and(|one| one.has(by)),
            (Deed::Leave { subreddit }, _) => model.subreddits.get(*subreddit).is_ok_and(|one| !one.has(by)),
            (Deed::Post { subreddit, text }, Effect::PostCreated(id)) => {
                model.posts.get(id).is_ok_and(|post| {
                    (post.author, post.subreddit) == (by, *subreddit)
                        && (post.deleted || Sum::of(&[&post.title, &post.body]) == *text)
                })
            }
            (Deed::Repost { subreddit, original, text }, Effect::PostCreated(id)) => {
                model.posts.get(id).is_ok_and(|post| {
                    (post.author, post.subreddit) == (by, *subreddit)
                        && post.origin.is_some_and(|origin| origin.of == *original)
                        && (post.deleted || Sum::of(&[&post.title]) == *text)
                })
            }
            (Deed::VotePost { post, direction }, _) => {
                model.posts.get(*post).is_ok_and(|post| post.vote_of(by) == *direction)
            }
            (Deed::VoteComment { comment, direction }, _) => {
                model.comments.get(*comment).is_ok_and(|comment| comment.vote_of(by) == *direction)
            }
            (Deed::Comment { post, parent, text }, Effect::CommentCreated { id, .. }) => {
                model.comments.get(id).is_ok_and(|comment| {
                    (comment.author, comment.post, comment.parent) == (by, *post, *parent)
                        && (comment.deleted || Sum::of(&[&comment.body]) == *text)
                })
            }
            (Deed::Send { to, text }, Effect::MessageSent { id, .. }) => {
                model.messages.get(id).is_ok_and(|message| {
                    (message.from, message.to) == (by, *to)
                        && Sum::of(&[&message.subject, &message.body]) == *text
                })
            }
            (Deed::Answer { message, text }, Effect::MessageSent { id, .. }) => {
                model.messages.get(id).is_ok_and(|answer| {
                    (answer.from, answer.reply_to) == (by, Some(*message))
                        && Sum::of(&[&answer.body]) == *text
                })
            }
            (Deed::DeletePost { post }, Effect::PostDeleted) => {
                model.posts.get(*post).is_ok_and(|post| post.deleted)
            }
            (Deed::DeleteComment { comment }, Effect::CommentDeleted) => {
                model.comments.get(*comment).is_ok_and(|comment| comment.deleted)
            }
            (Deed::MarkRead { message }, Effect::MessageRead) => {
                model.messages.get(*message).is_ok_and(|message| message.read)
            }
            _ => false,
        }
    }
}

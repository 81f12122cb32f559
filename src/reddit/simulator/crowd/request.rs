//! Actions as requests, and what is learnt from their answers.

use std::io;

use super::Crowd;
use super::name_of;
use crate::reddit::model::check::{Acknowledged, Deed, Sum};
use crate::reddit::model::{CommentSort, Effect, Error, Folder, OpId, Sort, Text};
use crate::reddit::protocol::{
    Packed, Page, PostView, Reply, Request, Window, comment_manager, dm_manager, feed_generator,
    post_manager, subreddit_manager, user_registry,
};
use crate::reddit::simulator::user::{Action, SeenComment, SeenPost};

/// Comments of a thread that are read.
const THREAD: u16 = 50;

impl Crowd {
    /// The request that carries an action out; `None` while the user is not logged in.
    pub(super) fn request(&self, index: usize, action: &Action) -> Option<Request> {
        let user = &self.users.borrow()[index];
        if matches!(action, Action::Register) {
            let (name, secret, key) = (user.name.clone(), user.secret, self.signing.key(index));
            return Some(Request::UserRegistry(user_registry::Request::Register { name, secret, key }));
        }
        let session = user.session?;
        Some(match action.clone() {
            Action::Register => return None,
            Action::Create { rank } => Request::SubredditManager(subreddit_manager::Request::Create {
                session,
                name: self.topics.shape.subreddit_name(rank).into(),
                description: description(rank),
            }),
            Action::ReadFeed => Request::FeedGenerator(feed_generator::Request::Get {
                session,
                sort: Sort::Hot,
                window: Window::All,
                page: Page::FIRST,
            }),
            Action::ReadThread { post, .. } => Request::CommentManager(comment_manager::Request::Thread {
                post,
                root: None,
                sort: CommentSort::Best,
                limit: Some(THREAD),
                levels: None,
            }),
            Action::ReadMail => Request::DmManager(dm_manager::Request::List {
                session,
                folder: Folder::Inbox,
                page: Page::FIRST,
            }),
            Action::Vote { post, direction, .. } => {
                Request::PostManager(post_manager::Request::Vote { session, post, direction })
            }
            Action::VoteComment { comment, direction, .. } => {
                Request::CommentManager(comment_manager::Request::Vote { session, comment, direction })
            }
            Action::Post { rank, title, body } => {
                let subreddit = self.subreddit(rank)?;
                let place = self.topics.shape.subreddit_name(rank);
                let signature = self.signing.sign(index, (&user.name, &place), (&title, &body));
                let create = post_manager::Request::Create { session, subreddit, title, body, signature };
                Request::PostManager(create)
            }
            Action::Repost { rank, original, title } => {
                let subreddit = self.subreddit(rank)?;
                let title = Some(title);
                Request::PostManager(post_manager::Request::Repost { session, subreddit, original, title })
            }
            Action::Comment { post, parent, body } => {
                Request::CommentManager(comment_manager::Request::Create { session, post, parent, body })
            }
            Action::Send { to, subject, body } => {
                Request::DmManager(dm_manager::Request::Send { session, to, subject, body })
            }
            Action::Answer { message, body } => {
                Request::DmManager(dm_manager::Request::Reply { session, message, body })
            }
            Action::Join { rank } => {
                let subreddit = self.subreddit(rank)?;
                Request::SubredditManager(subreddit_manager::Request::Join { session, subreddit })
            }
            Action::Leave { rank } => {
                let subreddit = self.subreddit(rank)?;
                Request::SubredditManager(subreddit_manager::Request::Leave { session, subreddit })
            }
        })
    }

    /// Remembers what a reply says, and returns what it says was done. `None` when it is not the reply to this action.
    pub(super) fn learn(&self, index: usize, action: &Action, reply: &Reply) -> Option<Option<Effect>> {
        let effect = match (action, reply) {
            (Action::Register, Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => {
                self.users.borrow_mut()[index].session = Some(*session);
                Effect::UserRegistered(session.user)
            }
            (Action::Create { rank }, Reply::SubredditManager(subreddit_manager::Reply::Subreddit(view))) => {
                self.found(*rank, view.id);
                self.places.borrow_mut().opened.insert(*rank);
                // The one who opens it is its first member.
                self.joined(index, *rank);
                Effect::SubredditCreated(view.id)
            }
            (Action::ReadFeed, Reply::FeedGenerator(feed_generator::Reply::Posts(posts))) => {
                self.saw(index, posts);
                return Some(None);
            }
            (
                Action::ReadThread { place, .. },
                Reply::CommentManager(comment_manager::Reply::Thread(comments)),
            ) => {
                let seen = &mut self.users.borrow_mut()[index].seen.comments;
                seen.clear();
                seen.extend(comments.iter().filter(|comment| !comment.deleted).map(|comment| SeenComment {
                    id: comment.id,
                    post: comment.post,
                    place: *place,
                }));
                return Some(None);
            }
            (Action::ReadMail, Reply::DmManager(dm_manager::Reply::Messages(messages))) => {
                let seen = &mut self.users.borrow_mut()[index].seen.mail;
                seen.clear();
                seen.extend(messages.iter().map(|message| message.id));
                return Some(None);
            }
            (Action::Vote { .. }, Reply::PostManager(post_manager::Reply::Voted(tally))) => {
                Effect::PostVoted(*tally)
            }
            (Action::VoteComment { .. }, Reply::CommentManager(comment_manager::Reply::Voted(tally))) => {
                Effect::CommentVoted(*tally)
            }
            (
                Action::Post { .. } | Action::Repost { .. },
                Reply::PostManager(post_manager::Reply::Created(id)),
            ) => Effect::PostCreated(*id),
            (
                Action::Comment { .. },
                Reply::CommentManager(comment_manager::Reply::Created { id, depth }),
            ) => Effect::CommentCreated { id: *id, depth: *depth },
            (
                Action::Send { .. } | Action::Answer { .. },
                Reply::DmManager(dm_manager::Reply::Sent { id, thread }),
            ) => Effect::MessageSent { id: *id, thread: *thread },
            (Action::Join { rank }, Reply::SubredditManager(subreddit_manager::Reply::Members { count })) => {
                self.joined(index, *rank);
                Effect::Membership { members: *count }
            }
            (
                Action::Leave { rank },
                Reply::SubredditManager(subreddit_manager::Reply::Members { count }),
            ) => {
                self.left(index, *rank);
                Effect::Membership { members: *count }
            }
            _ => return None,
        };
        Some(Some(effect))
    }

    /// Remembers what a refusal says. A user may have come or gone by a write of an earlier life of this client.
    pub(super) fn refused(&self, index: usize, action: &Action, error: Error) {
        match (action, error) {
            // Asked for while everybody registers, when this is no news.
            (Action::Create { .. }, Error::NameTaken) => return,
            (Action::Join { rank }, Error::AlreadyMember) => {
                self.joined(index, *rank);
                if !self.is_enrolled() {
                    return;
                }
            }
            (
                Action::Leave { rank } | Action::Post { rank, .. } | Action::Repost { rank, .. },
                Error::NotMember,
            ) => self.left(index, *rank),
            _ => {}
        }
        self.complain(&format!("{}: {error}", name_of(action.kind())));
    }

    /// Writes down that this was acknowledged.
    pub(super) fn write_down(
        &self,
        index: usize,
        op: OpId,
        action: &Action,
        effect: Effect,
    ) -> io::Result<()> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let by = self.session(index).map(|session| session.user);
        let by = by.filter(|_| !matches!(action, Action::Register));
        match self.deed(index, action) {
            Some(deed) => ledger.write(&Acknowledged { op, by, deed, effect }),
            None => Ok(()),
        }
    }

    fn deed(&self, index: usize, action: &Action) -> Option<Deed> {
        Some(match *action {
            Action::ReadFeed | Action::ReadThread { .. } | Action::ReadMail => return None,
            Action::Register => Deed::Register { name: Sum::of(&[&self.users.borrow()[index].name]) },
            Action::Create { rank } => {
                let name = self.topics.shape.subreddit_name(rank);
                Deed::CreateSubreddit { text: Sum::of(&[&name, &description(rank)]) }
            }
            Action::Vote { post, direction, .. } => Deed::VotePost { post, direction },
            Action::VoteComment { comment, direction, .. } => Deed::VoteComment { comment, direction },
            Action::Post { rank, ref title, ref body } => {
                Deed::Post { subreddit: self.subreddit(rank)?, text: Sum::of(&[title, body]) }
            }
            Action::Repost { rank, original, ref title } => {
                Deed::Repost { subreddit: self.subreddit(rank)?, original, text: Sum::of(&[title]) }
            }
            Action::Comment { post, parent, ref body } => {
                Deed::Comment { post, parent, text: Sum::of(&[body]) }
            }
            Action::Send { to, ref subject, ref body } => Deed::Send { to, text: Sum::of(&[subject, body]) },
            Action::Answer { message, ref body } => Deed::Answer { message, text: Sum::of(&[body]) },
            Action::Join { rank } => Deed::Join { subreddit: self.subreddit(rank)? },
            Action::Leave { rank } => Deed::Leave { subreddit: self.subreddit(rank)? },
        })
    }

    fn saw(&self, index: usize, posts: &Packed<PostView>) {
        let places = &self.places.borrow().ranks;
        self.signing.read(posts);
        let seen = &mut self.users.borrow_mut()[index].seen.posts;
        seen.clear();
        seen.extend(posts.iter().map(|post| SeenPost {
            id: post.id,
            author: post.author,
            place: places.get(&post.subreddit).copied(),
        }));
    }

    pub(super) fn joined(&self, index: usize, rank: u16) {
        let joined = &mut self.users.borrow_mut()[index].joined;
        if !joined.contains(&rank) {
            joined.push(rank);
        }
    }

    fn left(&self, index: usize, rank: u16) {
        self.users.borrow_mut()[index].joined.retain(|&joined| joined != rank);
    }
}

fn description(rank: u16) -> Text {
    format!("everything about topic {}", rank + 1).into()
}

//! `subscription_manager`: who is told what happens, at once and without asking.
//!
//! It is not among the [`Actor`](super::actor)s that answer from the tables, because what it has to know is not in them: where a
//! request came from. So it is generic over that place, `T`, and pure: where a mailbox is and how something is sent to it
//! is the caller's.
//!
//! As long as nobody subscribes the engine notes nothing, which costs each command one look at an `Option`. Otherwise
//! what happens is noted while it is applied, and looked at once the turn is durable ([`Engine::settle`]): nobody is told
//! what may be lost. Subscriptions are found by user, and feeds by subreddit and then by user; a post in a
//! large subreddit costs as much as there are members of it who listen, not as there are members.

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use super::cards::excerpt;
use super::sessions::Sessions;
use crate::reddit::model::{
    CommentId, Effect, Error, MessageId, Model, PostId, Record, SubredditId, Thing, UserId,
};
use crate::reddit::protocol::subscription_manager::{Happened, News, Reply, Request, Wants};
use crate::reddit::protocol::{Answer, Reply as AnyReply, Session, Text};

#[cfg(test)]
mod tests;

/// Subscriptions of one user.
const MOST: usize = 8;

/// Turns between two looks for subscriptions that are over without having been told anything.
const SWEEP: u64 = 4096;

/// Something that somebody may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Joined(UserId, SubredditId),
    Left(UserId, SubredditId),
    Posted(PostId),
    Commented(CommentId),
    Sent(MessageId),
}

impl Note {
    /// What is noted of a record: begun before it is applied, and finished with what it did.
    pub(super) fn begin(record: &Record) -> impl FnOnce(Effect) -> Option<Note> + use<> {
        let (creator, membership) = match *record {
            Record::SubredditCreated { creator, .. } => (Some(creator), None),
            Record::SubredditJoined { user, subreddit } => (None, Some(Note::Joined(user, subreddit))),
            Record::SubredditLeft { user, subreddit } => (None, Some(Note::Left(user, subreddit))),
            _ => (None, None),
        };
        move |effect| match effect {
            Effect::SubredditCreated(id) => creator.map(|creator| Note::Joined(creator, id)),
            Effect::Membership { .. } => membership,
            Effect::PostCreated(id) => Some(Note::Posted(id)),
            Effect::CommentCreated { id, .. } => Some(Note::Commented(id)),
            Effect::MessageSent { id, .. } => Some(Note::Sent(id)),
            Effect::UserRegistered(_)
            | Effect::PostVoted(_)
            | Effect::PostDeleted
            | Effect::CommentVoted(_)
            | Effect::CommentDeleted
            | Effect::MessageRead => None,
        }
    }
}

/// The place of a subscription cannot be told anything any more, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// Everybody who wants to be told. `T` is where a mailbox is.
#[derive(Debug)]
pub struct Subscriptions<T> {
    of_user: BTreeMap<UserId, Vec<Subscription<T>>>,
    /// Users who want to be told of posts, by what they have joined.
    feeds: BTreeMap<SubredditId, BTreeSet<UserId>>,
    turns: u64,
}

#[derive(Debug)]
struct Subscription<T> {
    session: Session,
    mailbox: Text,
    place: T,
    wants: Wants,
}

impl<T> Default for Subscriptions<T> {
    fn default() -> Subscriptions<T> {
        Subscriptions { of_user: BTreeMap::new(), feeds: BTreeMap::new(), turns: 0 }
    }
}

impl<T: PartialEq> Subscriptions<T> {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.of_user.values().map(Vec::len).sum()
    }

    /// Adds one. `true` unless it only takes the place of one that leads to the same mailbox.
    fn add(&mut self, new: Subscription<T>, model: &Model) -> bool {
        let user = new.session.user;
        let list = self.of_user.entry(user).or_default();
        let same = list.iter().position(|old| old.mailbox == new.mailbox);
        let old = same.map(|at| list.remove(at));
        let anew = old.is_none_or(|old| old.session != new.session || old.place != new.place);
        if list.len() == MOST {
            list.remove(0);
        }
        list.push(new);
        self.index(user, model);
        anew
    }

    /// Keeps those of a user that `keep` says.
    fn retain(&mut self, user: UserId, model: &Model, keep: impl FnMut(&Subscription<T>) -> bool) {
        let Some(list) = self.of_user.get_mut(&user) else { return };
        list.retain(keep);
        if list.is_empty() {
            self.of_user.remove(&user);
        }
        if self.of_user.is_empty() {
            // With the last one the notes end too, also of who has left something in this turn.
            self.feeds.clear();
        }
        self.index(user, model);
    }

    /// A user is found by what is joined as long as some subscription wants the feed.
    fn index(&mut self, user: UserId, model: &Model) {
        let wants_feed = self.wants_feed(user);
        for subreddit in model.subreddits().of(user) {
            self.place(user, subreddit, wants_feed);
        }
    }

    fn wants_feed(&self, user: UserId) -> bool {
        self.of_user.get(&user).is_some_and(|list| list.iter().any(|one| one.wants.feed))
    }

    fn place(&mut self, user: UserId, subreddit: SubredditId, listens: bool) {
        if listens {
            self.feeds.entry(subreddit).or_default().insert(user);
        } else if let Some(users) = self.feeds.get_mut(&subreddit) {
            users.remove(&user);
            if users.is_empty() {
                self.feeds.remove(&subreddit);
            }
        }
    }

    /// Tells a user; who cannot be told is subscribed no longer.
    fn tell(
        &mut self,
        (sessions, model): (&Sessions, &Model),
        news: &News,
        wanted: impl Fn(Wants) -> bool,
        send: &mut impl FnMut(&T, &News) -> Result<(), Unreachable>,
    ) {
        let Some(list) = self.of_user.get(&news.to) else { return };
        let mut over = false;
        let mut keeps = Vec::with_capacity(list.len());
        for one in list {
            let kept =
                sessions.check(one.session).is_ok() && (!wanted(one.wants) || send(&one.place, news).is_ok());
            over |= !kept;
            keeps.push(kept);
        }
        if over {
            let mut keeps = keeps.into_iter();
            self.retain(news.to, model, |_| keeps.next().unwrap_or(true));
        }
    }
}

impl<A> Engine<A> {
    /// Answers what this turn's requests asked of `subscription_manager`. `find` says where a mailbox of the caller's node
    /// is. To be called after [`Engine::turn`] and before the turn is settled.
    pub fn subscribe<T: PartialEq>(
        &mut self,
        subscriptions: &mut Subscriptions<T>,
        find: impl Fn(&A, &str) -> Option<T>,
        mut reply: impl FnMut(A, &Answer),
    ) {
        for (from, request) in std::mem::take(&mut self.subscribing) {
            let answer = match request {
                Request::Subscribe { session, mailbox, wants } => {
                    self.sessions.check(session).and_then(|_| {
                        let place = find(&from, &mailbox).ok_or(Error::NotFound(Thing::Mailbox))?;
                        let new = Subscription { session, mailbox, place, wants };
                        Ok(Reply::Subscribed { anew: subscriptions.add(new, self.commit.model()) })
                    })
                }
                Request::Unsubscribe { session, mailbox } => self.sessions.check(session).map(|user| {
                    subscriptions.retain(user, self.commit.model(), |one| one.mailbox != mailbox);
                    Reply::Unsubscribed
                }),
            };
            *if answer.is_ok() { &mut self.done } else { &mut self.refused } += 1;
            reply(from, &answer.map(AnyReply::SubscriptionManager));
        }
        self.commit.take_notes(!subscriptions.of_user.is_empty());
    }

    /// Tells those who subscribed what the settled turns did. `send` does not wait: it is done at once, or not at all.
    pub fn push<T: PartialEq>(
        &mut self,
        subscriptions: &mut Subscriptions<T>,
        mut send: impl FnMut(&T, &News) -> Result<(), Unreachable>,
    ) {
        for note in std::mem::take(&mut self.settled) {
            let about = (&self.sessions, self.commit.model());
            match note {
                Note::Joined(user, subreddit) => {
                    let listens = subscriptions.wants_feed(user);
                    subscriptions.place(user, subreddit, listens);
                }
                Note::Left(user, subreddit) => subscriptions.place(user, subreddit, false),
                Note::Sent(id) => {
                    if let Some(news) = message(about.1, id) {
                        subscriptions.tell(about, &news, |wants| wants.messages, &mut send);
                    }
                }
                Note::Commented(id) => {
                    if let Some(news) = comment(about.1, id) {
                        subscriptions.tell(about, &news, |wants| wants.replies, &mut send);
                    }
                }
                Note::Posted(id) => {
                    let Some((subreddit, author, what)) = post(about.1, id) else { continue };
                    let readers = subscriptions.feeds.get(&subreddit).into_iter().flatten().copied();
                    for to in readers.filter(|&reader| reader != author).collect::<Vec<_>>() {
                        let news = News { to, what: what.clone() };
                        subscriptions.tell(about, &news, |wants| wants.feed, &mut send);
                    }
                }
            }
        }
    }

    /// Looks now and then for subscriptions whose session or mailbox is gone: they would stay until somebody had something
    /// to tell them.
    pub fn sweep<T: PartialEq>(
        &mut self,
        subscriptions: &mut Subscriptions<T>,
        is_there: impl Fn(&T) -> bool,
    ) {
        if subscriptions.of_user.is_empty() {
            return;
        }
        subscriptions.turns += 1;
        if subscriptions.turns.is_multiple_of(SWEEP) {
            for user in subscriptions.of_user.keys().copied().collect::<Vec<_>>() {
                let sessions = &self.sessions;
                subscriptions.retain(user, self.commit.model(), |one| {
                    sessions.check(one.session).is_ok() && is_there(&one.place)
                });
            }
        }
    }
}

/// News for the one whom a message is for.
fn message(model: &Model, id: MessageId) -> Option<News> {
    let message = model.messages().get(id).ok()?;
    let from = model.users().get(message.from).ok()?.name.clone();
    let (subject, excerpt) = (message.subject.clone(), excerpt(&message.body).into());
    Some(News { to: message.to, what: Happened::MessageArrived { id, from, subject, excerpt } })
}

/// News for the one whose post or comment was answered, unless by the same.
fn comment(model: &Model, id: CommentId) -> Option<News> {
    let comment = model.comments().get(id).ok()?;
    let to = match comment.parent {
        Some(parent) => model.comments().get(parent).ok()?.author,
        None => model.posts().get(comment.post).ok()?.author,
    };
    let from = model.users().get(comment.author).ok()?.name.clone();
    let (post, parent) = (comment.post, comment.parent);
    let what = Happened::Replied { id, post, parent, from, excerpt: excerpt(&comment.body).into() };
    (to != comment.author && !comment.deleted).then_some(News { to, what })
}

/// Where a post is, whose it is, and what is told of it.
fn post(model: &Model, id: PostId) -> Option<(SubredditId, UserId, Happened)> {
    let post = model.posts().present(id).ok()?;
    let subreddit_name = model.subreddits().get(post.subreddit).ok()?.name.clone();
    let from = model.users().get(post.author).ok()?.name.clone();
    let (subreddit, title) = (post.subreddit, post.title.clone());
    Some((subreddit, post.author, Happened::NewPost { id, subreddit, subreddit_name, from, title }))
}

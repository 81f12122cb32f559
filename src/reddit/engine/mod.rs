//! The engine: the actors that answer requests, over one model.
//!
//! An actor is a name, a mailbox and the code that answers what is in it: [`user_registry`](super::protocol::user_registry),
//! [`subreddit_manager`](super::protocol::subreddit_manager), [`post_manager`](super::protocol::post_manager),
//! [`comment_manager`](super::protocol::comment_manager), [`dm_manager`](super::protocol::dm_manager),
//! [`feed_generator`](super::protocol::feed_generator), and beside them
//! [`subscription_manager`](super::protocol::subscription_manager), which tells what they did. A request names its actor;
//! what an actor never does is change a table. It answers from what it reads, or it asks for a
//! [`Command`](super::model::Command), and the commit actor decides that command and applies the one record it comes to.
//!
//! Why the tables are not shut away inside the actors: a post needs membership, a vote changes karma. With tables
//! that only their actor can see, such a command is a conversation of several messages, and between two of them
//! another one can make the first answer untrue. Here every command is decided and applied in one step, against all
//! tables, in one order. That order is the log: replaying the records gives the same engine.
//!
//! Why the actors are not tasks: requests come in turns of many (see [`Mailbox`](crate::node::Mailbox)). A turn is
//! delivered to the mailboxes, each mailbox is emptied once, and the replies leave together; passing a request to an
//! actor costs a push instead of a wake-up. The mailboxes are emptied in the order in which requests build on each
//! other: users, subreddits, posts, comments,
//! messages, feeds. As with any actors, there is an order within a mailbox and none is promised
//! between two, nor for what is signed: who needs one waits for the reply.
//!
//! Signatures are verified by a thread beside it (`verifier`), before what is signed comes to a turn.
//!
//! A panic in an actor ends the process. Restarting it is the supervisor's part.

use std::io;
use std::time::Instant;

use self::actor::{Actor, Desk};
use self::cards::Cards;
use self::comment_manager::CommentManager;
use self::commit::Commit;
use self::dm_manager::DmManager;
use self::feed_generator::FeedGenerator;
use self::fronts::Fronts;
use self::post_manager::PostManager;
use self::sessions::Sessions;
use self::subreddit_manager::SubredditManager;
use self::subscriptions::Note;
use self::user_registry::UserRegistry;
use super::model::{Claim, Error, Model};
use super::protocol::{
    Answer, EngineRequest, Envelope, Examination, Reply, Request, Stats, subscription_manager,
};
use super::store::{self, Store};

mod actor;
mod cards;
mod clock;
mod comment_manager;
mod commit;
mod dm_manager;
mod feed_generator;
mod fronts;
mod post_manager;
mod service;
mod sessions;
mod subreddit_manager;
mod subscriptions;
mod user_registry;
mod verifier;
mod view;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use service::{Keeping, serve};
pub use subscriptions::{Subscriptions, Unreachable};

/// Of its time an engine spends one part in so many on looking at itself.
const LOOK_SHARE: u32 = 20;

/// All actors. `A` is the return address of a request: a connection's, or whatever the caller likes.
#[derive(Debug)]
pub struct Engine<A> {
    commit: Commit,
    sessions: Sessions,
    cards: Cards,
    fronts: Fronts,
    user_registry: Actor<UserRegistry, A>,
    subreddit_manager: Actor<SubredditManager, A>,
    post_manager: Actor<PostManager, A>,
    comment_manager: Actor<CommentManager, A>,
    dm_manager: Actor<DmManager, A>,
    feed_generator: Actor<FeedGenerator, A>,
    about_itself: Vec<A>,
    examining: Vec<A>,
    /// Looks at itself so far.
    looks: u64,
    /// When the next one may be.
    next_look: Option<Instant>,
    subscribing: Vec<(A, subscription_manager::Request)>,
    /// What is durable and those who subscribed were not told.
    settled: Vec<Note>,
    requests: u64,
    done: u64,
    refused: u64,
    misunderstood: u64,
    turns: u64,
}

impl<A> Engine<A> {
    /// An engine that knows nobody and remembers nothing beyond its process.
    #[must_use]
    pub fn new() -> Engine<A> {
        Engine::with(Model::default(), None)
    }

    /// An engine that goes on where `model` stands, and writes what happens into `store`.
    #[must_use]
    pub fn with(model: Model, store: Option<Store>) -> Engine<A> {
        Engine {
            commit: Commit::new(model, store),
            sessions: Sessions::new(),
            cards: Cards::new(),
            fronts: Fronts::default(),
            user_registry: Actor::new(),
            subreddit_manager: Actor::new(),
            post_manager: Actor::new(),
            comment_manager: Actor::new(),
            dm_manager: Actor::new(),
            feed_generator: Actor::new(),
            about_itself: Vec::new(),
            examining: Vec::new(),
            looks: 0,
            next_look: None,
            subscribing: Vec::new(),
            settled: Vec::new(),
            requests: 0,
            done: 0,
            refused: 0,
            misunderstood: 0,
            turns: 0,
        }
    }

    /// What must hold before a request may come to a turn, which verifies nothing; of most there is nothing.
    ///
    /// # Errors
    /// It may not come to a turn at all, but be refused.
    pub fn claim(&self, request: &Request) -> Option<Result<Claim, Error>> {
        match request {
            Request::PostManager(request) => {
                post_manager::claim(request, &self.sessions, self.commit.model())
            }
            Request::UserRegistry(_)
            | Request::SubredditManager(_)
            | Request::CommentManager(_)
            | Request::DmManager(_)
            | Request::FeedGenerator(_)
            | Request::SubscriptionManager(_)
            | Request::Engine(_) => None,
        }
    }

    /// Answers a request that may not come to a turn.
    pub fn refuse(&mut self, from: A, error: Error, reply: impl FnOnce(A, &Answer)) {
        self.requests += 1;
        self.refused += 1;
        reply(from, &Err(error));
    }

    /// Answers one turn of requests at the time `now_ms` (since 1970). Each is answered exactly once. The replies may be
    /// sent once [`Engine::settle`] has succeeded. What is for `subscription_manager` waits for [`Engine::subscribe`].
    pub fn turn(
        &mut self,
        requests: impl IntoIterator<Item = (A, Envelope)>,
        now_ms: u64,
        mut reply: impl FnMut(A, &Answer),
    ) {
        self.turns += 1;
        let before = self.requests;
        for (from, Envelope { op, request }) in requests {
            // Counts when it is answered.
            if let Request::Engine(EngineRequest::Examine) = request {
                self.examining.push(from);
                continue;
            }
            self.requests += 1;
            match request {
                Request::UserRegistry(request) => self.user_registry.deliver(from, op, request),
                Request::SubredditManager(request) => self.subreddit_manager.deliver(from, op, request),
                Request::PostManager(request) => self.post_manager.deliver(from, op, request),
                Request::CommentManager(request) => self.comment_manager.deliver(from, op, request),
                Request::DmManager(request) => self.dm_manager.deliver(from, op, request),
                Request::FeedGenerator(request) => self.feed_generator.deliver(from, op, request),
                Request::Engine(EngineRequest::Stats | EngineRequest::Examine) => {
                    self.about_itself.push(from)
                }
                Request::SubscriptionManager(request) => self.subscribing.push((from, request)),
            }
        }
        // Before anything of this turn is done, so that what is seen is what the store holds.
        self.examine(before, &mut reply);
        for from in std::mem::take(&mut self.about_itself) {
            reply(from, &Ok(Reply::Engine(self.stats())));
            self.done += 1;
        }
        let (done, refused) = (&mut self.done, &mut self.refused);
        let mut counted = |from, answer: &Answer| {
            *if answer.is_ok() { &mut *done } else { &mut *refused } += 1;
            reply(from, answer);
        };
        let desk = &mut Desk {
            commit: &mut self.commit,
            sessions: &mut self.sessions,
            cards: &mut self.cards,
            fronts: &mut self.fronts,
            now_ms,
        };
        self.user_registry.empty(desk, &mut counted);
        self.subreddit_manager.empty(desk, &mut counted);
        self.post_manager.empty(desk, &mut counted);
        self.comment_manager.empty(desk, &mut counted);
        self.dm_manager.empty(desk, &mut counted);
        self.feed_generator.empty(desk, &mut counted);
    }

    /// When somebody waits for a look at the engine that may not be yet: the moment from which on a turn answers.
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        self.next_look.filter(|_| !self.examining.is_empty())
    }

    /// Answers those who want a look at the engine, if one may be now; `before` requests were answered so far.
    fn examine(&mut self, before: u64, reply: &mut impl FnMut(A, &Answer)) {
        let begun = Instant::now();
        if self.examining.is_empty() || self.next_look.is_some_and(|next| begun < next) {
            return;
        }
        let model = self.commit.model();
        let fingerprint = store::fingerprint(model);
        let online = model.users().ids().filter(|&user| self.sessions.is_online(user)).count() as u64;
        for (from, came) in std::mem::take(&mut self.examining).into_iter().zip(before + 1..) {
            let examination = Examination {
                position: self.commit.store().map_or(0, Store::next),
                fingerprint,
                requests: came,
                done: self.done,
                refused: self.refused,
                opened: self.sessions.opened(),
                closed: self.sessions.closed(),
                sessions: self.sessions.count(),
                online,
            };
            reply(from, &Ok(Reply::Examined(examination)));
            self.requests += 1;
            self.done += 1;
        }
        self.looks += 1;
        self.next_look = Some(begun + begun.elapsed() * LOOK_SHARE);
    }

    /// So many messages so far were no requests, and did not come to a turn.
    pub fn misunderstood(&mut self, count: u64) {
        self.misunderstood = count;
    }

    /// Makes the turn durable.
    ///
    /// # Errors
    /// Nobody knows what the store holds of this turn: its replies must never be sent, and the engine must end.
    pub fn settle(&mut self) -> io::Result<()> {
        self.commit.settle()?;
        self.commit.notes_into(&mut self.settled);
        Ok(())
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let model = self.commit.model();
        let (groups, syncs) = self.commit.store().map_or((0, 0), Store::written);
        Stats {
            users: model.users().count() as u64,
            subreddits: model.subreddits().count() as u64,
            posts: model.posts().count() as u64,
            comments: model.comments().count() as u64,
            votes: model.posts().votes() + model.comments().votes(),
            messages: model.messages().count() as u64,
            sessions: self.sessions.count(),
            requests: self.requests,
            misunderstood: self.misunderstood,
            records: self.commit.records(),
            turns: self.turns,
            repeated: self.commit.repeated(),
            operations: model.operations().count(),
            position: self.commit.store().map_or(0, Store::next),
            groups,
            syncs,
        }
    }
}

impl<A> Default for Engine<A> {
    fn default() -> Engine<A> {
        Engine::new()
    }
}

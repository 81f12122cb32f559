//! Where requests arrive: the side of a call that answers.
//!
//! A turn is everything that was ready when the runtime last looked at the sockets: the requests of all peers, decoded, in
//! one batch. Whoever owns the mailbox answers them, in any order, now or in a later turn, and then flushes. No reply
//! leaves before that, so an owner that commits a turn before it flushes acknowledges nothing that is not kept; and the
//! replies of a turn leave in one write for each peer. There is no task, channel or write for a single request.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::answered::{Answered, Key};
use super::error::Fault;
use super::frame::{self, Kind};
use super::hello::Identity;
use super::linger::Linger;
use super::link::Link;
use super::local::Node;
use super::outbox;

/// Who waits for the reply to an idempotent request: a link, and the id the request has there.
pub(super) type Waiter = (Rc<Link>, u32);

/// One request and where its reply goes.
#[derive(Debug)]
pub struct Request<Q> {
    /// Pass it to [`Mailbox::reply`]. Dropped, it tells the caller that there will be no reply.
    pub from: Caller,
    /// What is asked.
    pub body: Q,
}

/// Takes requests of type `Q` and answers them with replies of type `R`. Dropped, it is gone, and its names with it; who
/// waits for a reply of it is told so at once.
///
/// It is what a process with its mailbox is in Erlang, but for the name of the type: the process is you.
pub struct Mailbox<Q, R> {
    queue: Rc<Queue<Q>>,
    index: u32,
    node: Node,
    linger: Cell<Linger>,
    /// Replies of this turn, for each link that gets any.
    drafts: Vec<Draft>,
    /// Those to idempotent requests, whoever waits for them by then.
    once: Vec<(Key, Answers, Vec<u8>)>,
    /// Buffers for the next drafts.
    spare: Vec<Vec<u8>>,
    reply: PhantomData<fn(R)>,
}

/// Buffers that are kept.
const SPARE: usize = 64;

/// Replies to one link, encoded once, where they are sent from.
struct Draft {
    link: Rc<Link>,
    frames: Vec<u8>,
    /// What they reply to.
    requests: Vec<u32>,
}

/// Requests that were not taken yet.
struct Queue<Q> {
    arrived: RefCell<Vec<Request<Q>>>,
    wake: Notify,
    /// The mailbox is gone.
    closed: Cell<bool>,
    misunderstood: Cell<u64>,
}

/// What a link knows of a mailbox.
pub(super) trait Sink {
    /// A request of `caller`, encoded.
    fn put(&self, caller: Caller, body: &[u8]);

    /// The mailbox is gone: gives up everything in it.
    fn close(&self);
}

impl<Q: DeserializeOwned> Sink for Queue<Q> {
    fn put(&self, caller: Caller, body: &[u8]) {
        if self.closed.get() {
            return caller.refuse(Fault::NoMailbox);
        }
        let Ok((body, [])) = postcard::take_from_bytes(body) else {
            self.misunderstood.set(self.misunderstood.get() + 1);
            return caller.refuse(Fault::BadRequest);
        };
        let mut arrived = self.arrived.borrow_mut();
        if arrived.is_empty() {
            self.wake.notify_one();
        }
        arrived.push(Request { from: caller, body });
    }

    fn close(&self) {
        self.closed.set(true);
        for request in self.arrived.take() {
            request.from.refuse(Fault::NoMailbox);
        }
    }
}

impl<Q: DeserializeOwned + 'static, R: Serialize> Mailbox<Q, R> {
    pub(super) fn new(node: Node) -> Mailbox<Q, R> {
        let queue = Rc::new(Queue {
            arrived: RefCell::default(),
            wake: Notify::new(),
            closed: Cell::new(false),
            misunderstood: Cell::new(0),
        });
        let index = node.shared.add_mailbox(Rc::<Queue<Q>>::clone(&queue));
        Mailbox {
            queue,
            index,
            node,
            linger: Cell::new(Linger::new()),
            drafts: Vec::new(),
            once: Vec::new(),
            spare: Vec::new(),
            reply: PhantomData,
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Requests that came and are none of type `Q`. Each was refused, with [`Fault::BadRequest`].
    #[must_use]
    pub fn misunderstood(&self) -> u64 {
        self.queue.misunderstood.get()
    }

    /// Waits until there are requests and moves all of them into `requests`, which must be empty. Safe to cancel.
    pub async fn turn(&self, requests: &mut Vec<Request<Q>>) {
        debug_assert!(requests.is_empty(), "the last turn was not finished");
        loop {
            std::mem::swap(requests, &mut self.queue.arrived.borrow_mut());
            if !requests.is_empty() {
                requests.iter_mut().for_each(|request| request.from.taken());
                return;
            }
            let arrived = || (!self.queue.arrived.borrow().is_empty()).then_some(());
            let mut linger = self.linger.get();
            let found = linger.before_parking(arrived).await;
            self.linger.set(linger);
            if found.is_none() {
                self.queue.wake.notified().await;
            }
        }
    }

    /// Encodes one reply. It leaves with the next [`flush`](Mailbox::flush); if its caller is gone, or wants none, it is
    /// dropped. Of one that is too large for the caller, the caller is told.
    pub fn reply(&mut self, mut to: Caller, reply: &R) {
        let Some(Open { link, request, manner, .. }) = to.open.take() else { return };
        let limit = link.limit();
        let fault = Fault::ReplyTooLarge { limit: limit as u32 };
        match manner {
            Manner::Cast => {}
            Manner::Call => {
                let draft = self.draft(&link);
                if frame::append_within(limit, &mut draft.frames, Kind::Reply, request, reply).is_ok() {
                    draft.requests.push(request);
                } else {
                    tracing::error!("cannot reply to {}: {fault}", link.peer.identity);
                    link.refuse(request, fault);
                }
            }
            Manner::Once(key) => {
                let mut frame = Vec::new();
                if frame::append_within(limit, &mut frame, Kind::Reply, request, reply).is_ok() {
                    self.once.push((key, Rc::clone(&link.answers), frame));
                } else {
                    tracing::error!("cannot reply to {}: {fault}", link.peer.identity);
                    refuse_all(&link.answers, key, fault);
                }
            }
        }
    }

    /// The replies to a link. Where two mailboxes take turns in replying to one link, it has several drafts.
    fn draft(&mut self, link: &Rc<Link>) -> &mut Draft {
        let mut at = link.draft.get();
        if self.drafts.get(at).is_none_or(|draft| !Rc::ptr_eq(&draft.link, link)) {
            let frames = self.spare.pop().unwrap_or_default();
            at = self.drafts.len();
            link.draft.set(at);
            self.drafts.push(Draft { link: Rc::clone(link), frames, requests: Vec::new() });
        }
        &mut self.drafts[at]
    }

    /// Lets the replies go, in one write for each peer that gets any. What a slow peer's socket does not take is written
    /// later, by the node.
    pub fn flush(&mut self) {
        for (key, answers, frame) in self.once.drain(..) {
            let body = &frame[frame::BODY..];
            let waiters = answers.borrow_mut().finish(key, body);
            for (link, request) in waiters {
                link.answer_body(request, body);
            }
        }
        for Draft { link, mut frames, requests } in self.drafts.drain(..) {
            link.answer(&mut frames, requests.len());
            link.send();
            if self.spare.len() < SPARE {
                frames.shrink_to(outbox::KEPT);
                self.spare.push(frames);
            }
        }
    }
}

impl<Q, R> Drop for Mailbox<Q, R> {
    fn drop(&mut self) {
        // Replies that were not flushed were not to leave.
        for (key, answers, _) in self.once.drain(..) {
            refuse_all(&answers, key, Fault::GivenUp);
        }
        for Draft { link, requests, .. } in self.drafts.drain(..) {
            requests.into_iter().for_each(|request| link.refuse(request, Fault::GivenUp));
        }
        self.node.shared.remove_mailbox(self.index);
    }
}

impl<Q, R> fmt::Debug for Mailbox<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The return address of one request, good for one reply, and harmless once its caller is gone. Dropped without a reply it
/// tells the caller so, at once.
#[derive(Debug)]
pub struct Caller {
    /// `None` once it was answered.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    link: Rc<Link>,
    request: u32,
    manner: Manner,
    /// Bytes of the request while it waits in the mailbox.
    waiting: usize,
}

/// Where replies to idempotent requests are kept.
pub(super) type Answers = Rc<RefCell<Answered<Waiter>>>;

/// How a request is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    Call,
    Cast,
    Once(Key),
}

impl Caller {
    pub(super) fn new(link: Rc<Link>, request: u32, manner: Manner, waiting: usize) -> Caller {
        Caller { open: Some(Open { link, request, manner, waiting }) }
    }

    /// The node that asks; `None` once this address was used.
    #[must_use]
    pub fn node(&self) -> Option<&Identity> {
        self.open.as_ref().map(|open| &open.link.peer.identity)
    }

    /// Whether the kernel says that the process that asks is of this process's user or of root. It says nothing of what comes
    /// over a network.
    #[must_use]
    pub fn is_own_user(&self) -> bool {
        let socket = self.open.as_ref().and_then(|open| open.link.socket());
        let uid = socket.and_then(|socket| getsockopt(&socket, PeerCredentials).ok()).map(|peer| peer.uid());
        uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw())
    }

    /// Version of the application's messages that was agreed on with the node that asks.
    #[must_use]
    pub fn messages(&self) -> Option<u16> {
        self.open.as_ref().map(|open| open.link.messages)
    }

    /// Of an idempotent request the number that is its own within one life of its node; asking again does not change it.
    /// With the node's name and incarnation it tells a durable receiver over its own restarts what it has carried out.
    #[must_use]
    pub fn once(&self) -> Option<u64> {
        match self.open.as_ref()?.manner {
            Manner::Once(key) => Some(key.number),
            Manner::Call | Manner::Cast => None,
        }
    }

    /// Whether no reply is wanted.
    #[must_use]
    pub fn is_cast(&self) -> bool {
        self.open.as_ref().is_some_and(|open| matches!(open.manner, Manner::Cast))
    }

    fn taken(&mut self) {
        if let Some(open) = &mut self.open {
            let casts = u32::from(matches!(open.manner, Manner::Cast));
            open.link.taken(std::mem::take(&mut open.waiting), casts);
        }
    }

    pub(super) fn refuse(mut self, fault: Fault) {
        self.give_up(fault);
    }

    fn give_up(&mut self, fault: Fault) {
        let Some(Open { link, request, manner, waiting }) = self.open.take() else { return };
        if waiting > 0 {
            link.taken(waiting, u32::from(matches!(manner, Manner::Cast)));
        }
        match manner {
            Manner::Cast => {}
            Manner::Call => link.refuse(request, fault),
            Manner::Once(key) => refuse_all(&link.answers, key, fault),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.give_up(Fault::GivenUp);
    }
}

fn refuse_all(answers: &Answers, key: Key, fault: Fault) {
    let waiters = answers.borrow_mut().give_up(key);
    for (link, request) in waiters {
        link.refuse(request, fault);
    }
}

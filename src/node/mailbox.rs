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
    /// Replies of this turn, encoded, one behind the other.
    staged: Vec<u8>,
    parts: Vec<Part>,
    /// Links with something to write, each once.
    touched: Vec<Rc<Link>>,
    reply: PhantomData<fn(R)>,
}

/// One staged reply.
struct Part {
    link: Rc<Link>,
    request: u32,
    /// Where it ends; it begins where the last one ends.
    end: usize,
    once: Option<Key>,
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
            staged: Vec::new(),
            parts: Vec::new(),
            touched: Vec::new(),
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
        let once = match manner {
            Manner::Cast => return,
            Manner::Call => None,
            Manner::Once(key) => Some(key),
        };
        let limit = link.limit();
        if frame::append_within(limit, &mut self.staged, Kind::Reply, request, reply).is_err() {
            let fault = Fault::ReplyTooLarge { limit: limit as u32 };
            tracing::error!("cannot reply to {}: {fault}", link.peer.identity);
            match once {
                None => link.refuse(request, fault),
                Some(key) => refuse_all(&link.answers, key, fault),
            }
            return;
        }
        self.parts.push(Part { link, request, end: self.staged.len(), once });
    }

    /// Lets the replies go, in one write for each peer that gets any. What a slow peer's socket does not take is written
    /// later, by the node.
    pub fn flush(&mut self) {
        let mut begin = 0;
        for Part { link, request: _, end, once } in self.parts.drain(..) {
            let frame = &self.staged[begin..end];
            begin = end;
            if let Some(key) = once {
                let body = &frame[frame::BODY..];
                let waiters = link.answers.borrow_mut().finish(key, body);
                for (link, request) in waiters {
                    link.answer_body(request, body);
                }
                continue;
            }
            link.answer(frame);
            if !link.touched.replace(true) {
                self.touched.push(link);
            }
        }
        self.staged.clear();
        self.staged.shrink_to(1 << 20);
        for link in self.touched.drain(..) {
            link.touched.set(false);
            link.send();
        }
    }
}

impl<Q, R> Drop for Mailbox<Q, R> {
    fn drop(&mut self) {
        // Replies that were not flushed were not to leave.
        for Part { link, request, once, .. } in self.parts.drain(..) {
            match once {
                Some(key) => refuse_all(&link.answers, key, Fault::GivenUp),
                None => link.refuse(request, Fault::GivenUp),
            }
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

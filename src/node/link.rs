//! The connection between two nodes: either side may ask, over the one socket.
//!
//! Everything about it is bounded. Calls under way are limited by what the receiver said at the hello, casts by a window
//! that the receiver refills as it takes them, what is asked of it and not taken and what it is answered and does not read
//! by bytes. So a slow peer makes its own callers wait and nobody else.

mod drive;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::calls::{Calls, Unanswered};
use super::error::{CastError, Fault, Lost};
use super::frame::{FrameError, Kind};
use super::hello::Identity;
use super::introduction::Introduction;
use super::mailbox::Answers;
use super::monitor::{Monitor, Watchers};
use super::outbox::Outbox;
use super::tcp::Manner;
use super::traffic::Traffic;
use super::transport::Transport;

pub(super) use drive::drive;

/// Bytes that wait for a peer's socket before its callers have to wait too.
const UNSENT: usize = 1 << 20;

/// Bytes that a peer may have asked for and not read before it is cut off.
const UNREAD: usize = 64 << 20;

/// Bytes of a peer's requests that may wait to be taken out of mailboxes before it is read no further.
const UNTAKEN: usize = 8 << 20;

/// Casts that may be under way to one peer.
const CASTS: u32 = 1024;

/// Buffers of replies that are kept for the next ones.
const SPARE: usize = 128;

/// What peers tell each other about names and about their end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Notice {
    /// The first words on a link: names of the sender, and the mailboxes they stand for.
    Names(Vec<(String, u32)>),
    /// Those were all names. The side that connected says so first; the other one answers when it has found no name of
    /// both, so that who is told of a connection is known on the other side too.
    Ready,
    /// The sender wants a name. The reply says who has it, if anybody has.
    Claim { name: String, mailbox: u32 },
    /// The sender gave a name up.
    Release { name: String },
    /// A mailbox of the sender is gone, and its names with it.
    Gone { mailbox: u32 },
    /// Of the receiver's casts, so many more were taken.
    Took(u32),
    /// The sender cannot stay connected: a name is held on both sides.
    Conflict { name: String, holder: Identity },
    /// The sender ends.
    Bye,
}

#[derive(Debug)]
pub(super) struct Link {
    /// Never used twice in a node.
    pub(super) serial: u64,
    pub(super) peer: Introduction,
    /// Version of the application's messages.
    pub(super) messages: u16,
    /// Which side connected.
    pub(super) dialed_by: Side,
    /// Whose idempotent requests come over it.
    pub(super) origin: u32,
    /// Replies to idempotent requests, of the whole node.
    pub(super) answers: Answers,
    /// Closed when the link ends, however long addresses and callers keep the link itself.
    wire: RefCell<Option<Rc<dyn Transport>>>,
    is_local: bool,
    outbox: RefCell<Outbox>,
    /// Bytes of frames that were taken in.
    received: Cell<u64>,
    calls: RefCell<Calls<Vec<u8>>>,
    spare: RefCell<Vec<Vec<u8>>>,
    /// There is room for another call or cast, or never will be.
    room: Rc<Notify>,
    /// The driver has something to write, an earlier deadline to watch, or an end to see.
    changed: Notify,
    next_deadline: Cell<Option<Instant>>,
    /// Calls of this node's application that the peer may serve at once: what bounds `calls`, the other way round.
    serves: u16,
    /// The peer's calls that have no reply yet.
    in_flight: Cell<u16>,
    /// Our casts that the peer has not taken yet.
    casts: Cell<u32>,
    /// The peer's casts that were not taken yet, and those that were and it was not told of.
    their_casts: Cell<u32>,
    took: Cell<u32>,
    /// Bytes of the peer's requests that wait in mailboxes.
    untaken: Cell<usize>,
    /// Where the mailbox that replied to it last has its draft.
    pub(super) draft: Cell<usize>,
    /// Mailboxes of the peer that have or had a name and are not gone.
    alive: RefCell<BTreeSet<u32>>,
    pub(super) watchers: RefCell<Watchers>,
    /// The peer's names are known: from here on it counts as connected.
    named: Cell<bool>,
    conflict: RefCell<Option<(String, Identity)>>,
    ended: Cell<Option<Lost>>,
    /// `named` or `ended` was set.
    news: Notify,
    /// Everything was written.
    empty: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Us,
    Them,
}

/// Where a link leads and what was agreed on it.
pub(super) struct Terms {
    pub(super) serial: u64,
    pub(super) peer: Introduction,
    pub(super) messages: u16,
    pub(super) dialed_by: Side,
    pub(super) origin: u32,
    pub(super) answers: Answers,
    /// Calls that this node serves at once for the peer.
    pub(super) serves: u16,
}

impl Link {
    pub(super) fn new(wire: Rc<dyn Transport>, terms: Terms) -> Link {
        let Terms { serial, peer, messages, dialed_by, origin, answers, serves } = terms;
        let calls = Calls::new(peer.in_flight);
        Link {
            serial,
            peer,
            messages,
            dialed_by,
            origin,
            answers,
            is_local: wire.is_local(),
            wire: RefCell::new(Some(wire)),
            outbox: RefCell::default(),
            received: Cell::new(0),
            room: calls.room(),
            calls: RefCell::new(calls),
            spare: RefCell::default(),
            changed: Notify::new(),
            next_deadline: Cell::new(None),
            serves,
            in_flight: Cell::new(0),
            casts: Cell::new(0),
            their_casts: Cell::new(0),
            took: Cell::new(0),
            untaken: Cell::new(0),
            draft: Cell::new(0),
            alive: RefCell::default(),
            watchers: RefCell::default(),
            named: Cell::new(false),
            conflict: RefCell::default(),
            ended: Cell::new(None),
            news: Notify::new(),
            empty: Notify::new(),
        }
    }

    pub(super) fn node(&self) -> &str {
        &self.peer.identity.node
    }

    /// The peer's process, where it is one of this machine.
    pub(super) fn pid(&self) -> Option<u32> {
        self.is_local.then_some(self.peer.identity.pid)
    }

    /// The socket, as long as it is open.
    pub(super) fn socket(&self) -> Option<OwnedFd> {
        self.wire.borrow().as_ref()?.socket().try_clone_to_owned().ok()
    }

    /// Whether the peer may stay, by the certificate that it showed, if it showed one.
    pub(super) fn is_accepted(&self, manner: &Manner) -> bool {
        let wire = self.wire.borrow();
        let tls = wire.as_ref().and_then(|wire| wire.as_tls());
        tls.is_none_or(|tls| manner.still_accepts(tls, self.dialed_by))
    }

    /// The largest frame that the peer takes.
    pub(super) fn limit(&self) -> usize {
        self.peer.frame as usize
    }

    /// What has gone over it so far, both ways.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic { sent: self.outbox.borrow().sent(), received: self.received.get() }
    }

    /// How it ended, if it did.
    pub(super) fn lost(&self) -> Option<Lost> {
        self.ended.get()
    }

    /// Ends it, unless it has ended.
    pub(super) fn end(&self, lost: Lost) {
        if self.ended.get().is_none() {
            self.ended.set(Some(lost));
            self.changed.notify_one();
            self.news.notify_waiters();
            self.room.notify_waiters();
        }
    }

    /// Waits until the peer's names are known. Safe to cancel.
    pub(super) async fn named(&self) -> Result<(), Lost> {
        loop {
            match self.ended.get() {
                Some(lost) => return Err(lost),
                None if self.named.get() => return Ok(()),
                None => self.news.notified().await,
            }
        }
    }

    pub(super) fn is_named(&self) -> bool {
        self.named.get() && self.ended.get().is_none()
    }

    /// Waits until it has ended. Safe to cancel.
    pub(super) async fn ended(&self) -> Lost {
        loop {
            match self.ended.get() {
                Some(lost) => return lost,
                None => self.news.notified().await,
            }
        }
    }

    /// Waits until everything is written, or never will be. Safe to cancel.
    pub(super) async fn drained(&self) {
        self.send();
        while self.ended.get().is_none() && self.outbox.borrow().unsent() > 0 {
            tokio::select! {
                () = self.empty.notified() => {}
                _ = self.ended() => {}
            }
        }
    }

    /// The name because of which it ended, and who holds that name.
    pub(super) fn conflict(&self) -> Option<(String, Identity)> {
        self.conflict.borrow().clone()
    }

    pub(super) fn is_alive(&self, mailbox: u32) -> bool {
        self.alive.borrow().contains(&mailbox)
    }

    pub(super) fn watch(&self, mailbox: Option<u32>) -> Monitor {
        self.watchers.borrow_mut().add(self.node(), mailbox)
    }

    /// Asks and waits for the reply, at most until `deadline`; for a place to ask from first, while the peer has as much
    /// under way as it takes.
    pub(super) async fn ask<T: Serialize>(
        &self,
        kind: Kind,
        body: &T,
        deadline: Instant,
    ) -> Result<Reply<'_>, AskError> {
        let id = self.place(deadline).await?;
        let appended = self.outbox.borrow_mut().append_within(self.limit(), kind, id, body);
        if let Err(error) = appended {
            self.calls.borrow_mut().release(id);
            return Err(error.into());
        }
        if self.next_deadline.get().is_none_or(|next| deadline < next) {
            self.next_deadline.set(Some(deadline));
        }
        self.changed.notify_one();
        Ok(Reply { link: self, body: Awaited { link: self, id: Some(id) }.await? })
    }

    async fn place(&self, deadline: Instant) -> Result<u32, AskError> {
        loop {
            if let Some(lost) = self.ended.get() {
                return Err(Unanswered::Lost(lost).into());
            }
            if self.outbox.borrow().unsent() <= UNSENT {
                let slot = self.calls.borrow_mut().begin(deadline);
                if let Some(id) = slot {
                    return Ok(id);
                }
            }
            if tokio::time::timeout_at(deadline.into(), self.room.notified()).await.is_err() {
                return Err(Unanswered::TimedOut.into());
            }
        }
    }

    /// Sends what wants no reply. Waits while the peer has not taken as many as may be under way. Safe to cancel: then
    /// nothing was sent.
    pub(super) async fn cast<T: Serialize>(&self, body: &T) -> Result<(), AskError> {
        loop {
            if let Some(lost) = self.ended.get() {
                return Err(Unanswered::Lost(lost).into());
            }
            if self.casts.get() < CASTS && self.outbox.borrow().unsent() <= UNSENT {
                break;
            }
            self.room.notified().await;
        }
        self.outbox.borrow_mut().append_within(self.limit(), Kind::Cast, 0, body)?;
        self.casts.set(self.casts.get() + 1);
        self.changed.notify_one();
        Ok(())
    }

    /// As [`cast`](Link::cast), but at once or not at all.
    pub(super) fn try_cast<T: Serialize>(&self, body: &T) -> Result<(), CastError> {
        if self.ended.get().is_some() {
            return Err(CastError::Gone);
        }
        if self.casts.get() >= CASTS || self.outbox.borrow().unsent() > UNSENT {
            return Err(CastError::Full);
        }
        let limit = self.limit();
        let appended = self.outbox.borrow_mut().append_within(limit, Kind::Cast, 0, body);
        appended.map_err(|_| CastError::TooLarge { limit })?;
        self.casts.set(self.casts.get() + 1);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn tell(&self, notice: &Notice) {
        if self.ended.get().is_some() {
            return;
        }
        let appended = self.outbox.borrow_mut().append_within(self.limit(), Kind::Notice, 0, notice);
        if let Err(error) = appended {
            self.end(error.into());
        }
        self.changed.notify_one();
    }

    /// Answers `count` calls of the peer with frames that are encoded already. They leave with the next
    /// [`send`](Link::send). What comes back in `frames` is empty, and kept for the next ones.
    pub(super) fn answer(&self, frames: &mut Vec<u8>, count: usize) {
        self.settle(count);
        if self.ended.get().is_none() {
            self.outbox.borrow_mut().add(frames);
        }
        frames.clear();
    }

    /// Answers call `id` of the peer with an encoded body.
    pub(super) fn answer_body(&self, id: u32, body: &[u8]) {
        let mut frame = Vec::new();
        super::frame::append_raw(&mut frame, Kind::Reply, id, body);
        self.answer(&mut frame, 1);
        self.changed.notify_one();
    }

    /// Tells the peer that its call `id` will have no reply.
    pub(super) fn refuse(&self, id: u32, fault: Fault) {
        self.settle(1);
        if self.ended.get().is_none() {
            let appended = self.outbox.borrow_mut().append(Kind::Fault, id, &fault);
            if let Err(error) = appended {
                self.end(error.into());
            }
            self.changed.notify_one();
        }
    }

    fn settle(&self, count: usize) {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.in_flight.set(self.in_flight.get().saturating_sub(count));
    }

    /// Writes what waits. What the socket does not take is written later by the driver.
    pub(super) fn send(&self) {
        if self.ended.get().is_some() {
            return;
        }
        let wire = self.wire.borrow();
        let Some(wire) = wire.as_deref() else { return };
        let sent = self.outbox.borrow_mut().send(|bytes| wire.try_write(bytes));
        match sent {
            Err(error) => self.end(error.into()),
            Ok(()) if self.outbox.borrow().unsent() > 0 => self.changed.notify_one(),
            Ok(()) => {}
        }
    }

    /// Requests of `bytes` were taken out of a mailbox, `casts` of them casts.
    pub(super) fn taken(&self, bytes: usize, casts: u32) {
        let before = self.untaken.get();
        self.untaken.set(before.saturating_sub(bytes));
        if before > UNTAKEN {
            self.changed.notify_one();
        }
        if casts > 0 {
            self.their_casts.set(self.their_casts.get().saturating_sub(casts));
            self.took.set(self.took.get() + casts);
            if self.took.get() >= CASTS / 4 {
                self.tell(&Notice::Took(self.took.take()));
            }
        }
    }
}

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AskError {
    Unanswered(Unanswered),
    TooLarge(usize),
}

impl From<Unanswered> for AskError {
    fn from(unanswered: Unanswered) -> AskError {
        AskError::Unanswered(unanswered)
    }
}

impl From<FrameError> for AskError {
    fn from(error: FrameError) -> AskError {
        match error {
            FrameError::TooLarge { limit } => AskError::TooLarge(limit),
            other => AskError::Unanswered(Unanswered::Lost(Lost::Protocol(other))),
        }
    }
}

/// The encoded reply. Dropped, its buffer takes up the next one.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    link: &'a Link,
    pub(super) body: Vec<u8>,
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        let mut spare = self.link.spare.borrow_mut();
        if spare.len() < SPARE && self.body.capacity() <= 4096 {
            self.body.clear();
            spare.push(std::mem::take(&mut self.body));
        }
    }
}

/// The reply of one call that was sent. Dropped early, it gives the call up.
struct Awaited<'a> {
    link: &'a Link,
    /// `None` once the reply was handed out.
    id: Option<u32>,
}

impl Future for Awaited<'_> {
    type Output = Result<Vec<u8>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id.expect("a future is polled until it is ready");
        let polled = self.link.calls.borrow_mut().poll(id, context);
        if polled.is_ready() {
            self.id = None;
        }
        polled
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.calls.borrow_mut().abandon(id);
        }
    }
}

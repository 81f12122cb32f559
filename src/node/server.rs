//! The side that answers: many connections, served in turns.
//!
//! A turn is everything that was ready when the runtime last looked at the sockets: the requests of all connections,
//! decoded, in one batch. Whoever owns the server answers them (in any order, now or in a later turn) and then
//! flushes: the replies of a turn leave in one write for each connection. There is no task, channel or write for a
//! single request; that is where the throughput comes from.
//!
//! Nothing here grows without bound. A connection with [`Limits::in_flight`] unanswered requests, or with more than
//! [`UNSENT`] reply bytes that its peer does not read, is read no further, and the kernel makes that peer wait.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::getuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::error::Lost;
use super::frame::{FrameError, Kind};
use super::hello::{self, Credentials, Identity, Refusal, Welcome};
use super::inbox::Inbox;
use super::linger::Linger;
use super::listen::Listener;
use super::outbox::Outbox;

/// Reply bytes a connection may leave unread before it is read no further.
const UNSENT: usize = 1 << 20;

/// How long a peer may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// How long accepting pauses after the kernel had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one server carries at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; one more is refused with the reason.
    pub connections: u32,
    /// Unanswered requests of one connection.
    pub in_flight: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 1024, in_flight: 512 }
    }
}

/// One request and where its reply goes.
#[derive(Debug)]
pub struct Call<Q> {
    /// Pass it to [`Server::reply`].
    pub from: ReplyTo,
    /// What is asked.
    pub request: Q,
}

/// The return address of one request: good for one reply, and harmless once its connection is gone.
#[derive(Clone, Copy, Debug)]
pub struct ReplyTo {
    slot: u32,
    serial: u64,
    request: u32,
}

/// Serves requests of type `Q` on every connection of one listener.
#[derive(Debug)]
pub struct Server<Q> {
    shared: Rc<Shared<Q>>,
    linger: Cell<Linger>,
    /// Connections with something to write, each once.
    touched: Vec<Rc<Peer>>,
}

/// What the accepting task, the connections' tasks and the owner share. No borrow is held across an await.
#[derive(Debug)]
struct Shared<Q> {
    identity: Identity,
    protocol: u16,
    limits: Limits,
    arrived: RefCell<Vec<Call<Q>>>,
    wake: Notify,
    peers: RefCell<Peers>,
}

/// Connections by slot. A slot is used again; the serial is not.
#[derive(Debug, Default)]
struct Peers {
    slots: Vec<Option<Rc<Peer>>>,
    free: Vec<u32>,
    serial: u64,
}

/// One connection that was let in.
#[derive(Debug)]
struct Peer {
    identity: Identity,
    slot: u32,
    serial: u64,
    writer: OwnedWriteHalf,
    outbox: RefCell<Outbox>,
    in_flight: Cell<u16>,
    /// It stands in the owner's list of connections to flush.
    touched: Cell<bool>,
    /// Its task does not read and wants to know when it may again.
    held: Cell<bool>,
    failed: Cell<Option<Lost>>,
    wake: Notify,
}

impl<Q: DeserializeOwned + 'static> Server<Q> {
    /// Starts accepting on `listener` as `identity`, letting in peers of `protocol` that belong to this user or
    /// root.
    ///
    /// # Panics
    /// Outside a [`LocalSet`](tokio::task::LocalSet): connections are local tasks.
    #[must_use]
    pub fn start(listener: Listener, identity: Identity, protocol: u16, limits: Limits) -> Server<Q> {
        let shared = Rc::new(Shared {
            identity,
            protocol,
            limits,
            arrived: RefCell::default(),
            wake: Notify::new(),
            peers: RefCell::default(),
        });
        tokio::task::spawn_local(accept(Rc::clone(&shared), listener));
        Server { shared, linger: Cell::new(Linger::new()), touched: Vec::new() }
    }

    /// Waits until there are requests and moves all of them into `calls`, which must be empty. Safe to cancel.
    pub async fn turn(&self, calls: &mut Vec<Call<Q>>) {
        debug_assert!(calls.is_empty(), "the last turn was not finished");
        loop {
            std::mem::swap(calls, &mut self.shared.arrived.borrow_mut());
            if !calls.is_empty() {
                return;
            }
            let arrived = || (!self.shared.arrived.borrow().is_empty()).then_some(());
            let mut linger = self.linger.get();
            let found = linger.before_parking(arrived).await;
            self.linger.set(linger);
            if found.is_none() {
                self.shared.wake.notified().await;
            }
        }
    }

    /// Encodes one reply. It leaves with the next [`flush`](Server::flush); if its connection is gone it is dropped.
    /// A reply too large for a frame ends the connection, so that its caller does not wait for nothing.
    pub fn reply<R: Serialize>(&mut self, to: ReplyTo, reply: &R) {
        let peers = self.shared.peers.borrow();
        let Some(peer) = peers.find(to) else { return };
        if let Err(error) = peer.outbox.borrow_mut().append(Kind::Reply, to.request, reply) {
            tracing::error!("cannot reply to {}: {error}", peer.identity);
            peer.fail(error.into());
        }
        peer.in_flight.set(peer.in_flight.get().saturating_sub(1));
        if !peer.touched.replace(true) {
            self.touched.push(Rc::clone(peer));
        }
    }

    /// Writes the replies, one write for each connection that has any. What a slow peer's socket does not take is
    /// written later by its own task.
    pub fn flush(&mut self) {
        for peer in self.touched.drain(..) {
            peer.touched.set(false);
            let sent = peer.outbox.borrow_mut().send(|bytes| peer.writer.try_write(bytes));
            if let Err(error) = sent {
                peer.fail(error.into());
            } else if peer.held.get() || peer.outbox.borrow().unsent() > 0 {
                peer.wake.notify_one();
            }
        }
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.peers.borrow().iter().count()
    }

    /// Waits until the kernel has taken every reply, at most `patience`. The last step of an orderly end.
    pub async fn drain(&mut self, patience: Duration) {
        self.flush();
        let open: Vec<_> = self.shared.peers.borrow().iter().cloned().collect();
        let all = async {
            for peer in open {
                while peer.outbox.borrow().unsent() > 0 && peer.writer.writable().await.is_ok() {
                    if peer.outbox.borrow_mut().send(|bytes| peer.writer.try_write(bytes)).is_err() {
                        break;
                    }
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("some clients did not read their last replies within {patience:?}");
        }
    }
}

impl Peers {
    fn iter(&self) -> impl Iterator<Item = &Rc<Peer>> {
        self.slots.iter().flatten()
    }

    fn find(&self, to: ReplyTo) -> Option<&Rc<Peer>> {
        self.slots.get(to.slot as usize)?.as_ref().filter(|peer| peer.serial == to.serial)
    }

    fn add(&mut self, identity: Identity, writer: OwnedWriteHalf) -> Rc<Peer> {
        self.serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let peer = Rc::new(Peer {
            identity,
            slot,
            serial: self.serial,
            writer,
            outbox: RefCell::default(),
            in_flight: Cell::new(0),
            touched: Cell::new(false),
            held: Cell::new(false),
            failed: Cell::new(None),
            wake: Notify::new(),
        });
        self.slots[slot as usize] = Some(Rc::clone(&peer));
        peer
    }

    fn remove(&mut self, peer: &Peer) {
        self.slots[peer.slot as usize] = None;
        self.free.push(peer.slot);
    }
}

impl Peer {
    fn fail(&self, lost: Lost) {
        self.failed.set(Some(lost));
        self.wake.notify_one();
    }

    /// Whether another request may be taken from it.
    fn has_room(&self, limits: Limits) -> bool {
        self.in_flight.get() < limits.in_flight && self.outbox.borrow().unsent() <= UNSENT
    }
}

async fn accept<Q: DeserializeOwned + 'static>(shared: Rc<Shared<Q>>, listener: Listener) {
    // Connections that have not said hello count too, or they would be without bound.
    let open = Rc::new(());
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if Rc::strong_count(&open) > shared.limits.connections as usize {
            refuse(&stream, Refusal::Full { limit: shared.limits.connections }).await;
            continue;
        }
        let shared = Rc::clone(&shared);
        let place = Rc::clone(&open);
        tokio::task::spawn_local(async move {
            serve(&shared, stream).await;
            drop(place);
        });
    }
}

/// Tells a peer why it is not let in. A fresh socket always has room for that, so there is nothing to wait for.
async fn refuse(stream: &UnixStream, refusal: Refusal) {
    let mut bytes = Vec::new();
    let encoded = super::frame::append(&mut bytes, Kind::Refusal, 0, &refusal);
    if encoded.is_ok() && stream.writable().await.is_ok() {
        // The peer may be gone already; then there is nobody to tell.
        let _ = stream.try_write(&bytes);
    }
}

async fn serve<Q: DeserializeOwned>(shared: &Shared<Q>, mut stream: UnixStream) {
    let mut inbox = Inbox::default();
    let greeted = tokio::time::timeout(HELLO_PATIENCE, greet(shared, &mut stream, &mut inbox)).await;
    let identity = match greeted {
        Ok(Ok(Some(identity))) => identity,
        Ok(Ok(None)) => return,
        Ok(Err(refusal)) => {
            tracing::warn!("a connection was refused: {refusal}");
            return refuse(&stream, refusal).await;
        }
        Err(_) => return tracing::warn!("a connection said no hello within {HELLO_PATIENCE:?}"),
    };
    let (reader, writer) = stream.into_split();
    let peer = shared.peers.borrow_mut().add(identity, writer);
    tracing::info!("{} connected", peer.identity);
    match attend(shared, &peer, reader, inbox).await {
        Lost::Closed => tracing::info!("{} left", peer.identity),
        lost => {
            tracing::warn!("{} was cut off: {lost}", peer.identity);
        }
    }
    shared.peers.borrow_mut().remove(&peer);
}

/// Reads the hello and judges it; `None` when the peer left before it said anything.
async fn greet<Q>(
    shared: &Shared<Q>,
    stream: &mut UnixStream,
    inbox: &mut Inbox,
) -> Result<Option<Identity>, Refusal> {
    let Ok(credentials) = stream.peer_cred() else { return Ok(None) };
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
    let credentials = Credentials { uid: credentials.uid(), pid };
    loop {
        if let Some(first) = inbox.next().transpose() {
            return hello::judge(first, credentials, getuid().as_raw(), shared.protocol).map(Some);
        }
        match stream.read_buf(inbox.space()).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

/// Reads one connection until it ends. Requests go to the owner's next turn.
async fn attend<Q: DeserializeOwned>(
    shared: &Shared<Q>,
    peer: &Peer,
    mut reader: OwnedReadHalf,
    mut inbox: Inbox,
) -> Lost {
    let welcome = Welcome { server: shared.identity.clone(), max_in_flight: shared.limits.in_flight };
    if let Err(error) = peer.outbox.borrow_mut().append(Kind::Welcome, 0, &welcome) {
        return error.into();
    }
    loop {
        if let Err(error) = take_requests(shared, peer, &mut inbox) {
            return error.into();
        }
        if let Some(lost) = peer.failed.get() {
            return lost;
        }
        let may_read = peer.has_room(shared.limits);
        peer.held.set(!may_read);
        let unsent = peer.outbox.borrow().unsent() > 0;
        let step = async {
            tokio::select! {
                biased;
                writable = peer.writer.writable(), if unsent => {
                    writable?;
                    peer.outbox.borrow_mut().send(|bytes| peer.writer.try_write(bytes))?;
                }
                // In a block, because a branch that is switched off is still evaluated, and there is no space then.
                read = async { reader.read_buf(inbox.space()).await }, if may_read => {
                    if read? == 0 {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                () = peer.wake.notified() => {}
            }
            Ok::<(), io::Error>(())
        };
        if let Err(error) = step.await {
            return error.into();
        }
    }
}

/// Takes requests out of what was read, as many as the connection may have in flight, and wakes the owner for them.
fn take_requests<Q: DeserializeOwned>(
    shared: &Shared<Q>,
    peer: &Peer,
    inbox: &mut Inbox,
) -> Result<(), FrameError> {
    while peer.has_room(shared.limits) {
        let Some(frame) = inbox.next()? else { break };
        match frame.kind {
            Kind::Call => {}
            kind => {
                return Err(FrameError::Body(kind));
            }
        }
        let from = ReplyTo { slot: peer.slot, serial: peer.serial, request: frame.request };
        let request = frame.decode()?;
        let mut arrived = shared.arrived.borrow_mut();
        if arrived.is_empty() {
            shared.wake.notify_one();
        }
        arrived.push(Call { from, request });
        peer.in_flight.set(peer.in_flight.get() + 1);
    }
    Ok(())
}

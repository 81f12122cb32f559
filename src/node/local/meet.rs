//! How links begin: connecting to others, and letting others in.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::{TcpStream, UnixStream};

use super::Shared;
use super::pace::Pace;
use super::places::Holder;
use crate::node::error::{ConnectError, Lost};
use crate::node::frame::{self, FrameError, Kind};
use crate::node::hello::{Credentials, Refusal};
use crate::node::inbox::Inbox;
use crate::node::introduction::{self, Accepted, Door, Introduction};
use crate::node::link::{Link, Side};
use crate::node::listen::Listener;
use crate::node::location::Location;
use crate::node::tls;
use crate::node::transport::{self, Transport};
use crate::os::trust;

/// How long a stranger may take to say hello.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// How long accepting pauses after the kernel had no descriptor or memory for a connection.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the end of an earlier life of a peer may take to be seen.
const LAST_LIFE: Duration = Duration::from_millis(200);

impl Shared {
    /// The link to a node; made if there is none.
    pub(super) async fn link_to(
        self: &Rc<Shared>,
        node: &str,
        patience: Duration,
    ) -> Result<Rc<Link>, ConnectError> {
        let elsewhere = self.options.elsewhere.get(node).cloned();
        let location = elsewhere.unwrap_or_else(|| Location::in_folder(&self.options.folder, node));
        let found = tokio::time::timeout(patience, self.find_or_dial(node, &location)).await;
        found.map_err(|_| ConnectError::NoAnswer { path: place(&location), patience })?
    }

    async fn find_or_dial(
        self: &Rc<Shared>,
        node: &str,
        location: &Location,
    ) -> Result<Rc<Link>, ConnectError> {
        loop {
            if self.is_stopped() {
                return Err(ConnectError::Failed { path: place(location), why: Lost::Stopped.to_string() });
            }
            if let Some(link) = self.link(node) {
                return connected(link, location).await;
            }
            if !self.dialing.borrow_mut().insert(node.to_owned()) {
                self.changed.notified().await;
                continue;
            }
            let dialing = Dialing { shared: self, node };
            let dialed = self.dial(node, location).await;
            drop(dialing);
            match dialed {
                Ok(link) => return connected(link, location).await,
                // The other side's own attempt stays; its link appears here, or is lost and this side tries again.
                Err(ConnectError::TurnedAway(Refusal::Connected)) => {
                    if self.link(node).is_none() {
                        let _ = tokio::time::timeout(LAST_LIFE, self.changed.notified()).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn dial(self: &Rc<Shared>, node: &str, location: &Location) -> Result<Rc<Link>, ConnectError> {
        let failed = |why: String| ConnectError::Failed { path: place(location), why };
        let broken = |error| ConnectError::Protocol { path: place(location), error };
        let (wire, me): (Rc<dyn Transport>, _) = match location {
            Location::Unix(path) => (Rc::new(connect(path, &self.options.uids).await?), self.me.clone()),
            Location::Tcp(place) => {
                let (wire, own) = self.manner.connect(place, node).await?;
                (wire, self.introduction_from(own))
            }
        };
        let mut hello = Vec::new();
        introduction::append_hello(&mut hello, &me).map_err(|error| failed(error.to_string()))?;
        // A peer that refused and closed at once cannot be written to, but its reason can still be read.
        let _ = transport::write_all(&*wire, &hello).await;
        let mut inbox = Inbox::default();
        inbox.take_at_most(introduction::SMALLEST_LIMIT);
        loop {
            if let Some(frame) = inbox.next().map_err(broken)? {
                match frame.kind {
                    Kind::Welcome => {
                        let Accepted { wire: _, messages, by } = frame.decode().map_err(broken)?;
                        if !introduction::is_sound(&by) {
                            return Err(broken(FrameError::Body(Kind::Welcome)));
                        }
                        if by.identity.node != node {
                            return Err(failed(format!("the node there is called {}", by.identity.node)));
                        }
                        inbox.take_at_most(self.options.frame);
                        return Ok(self.add_link(wire, inbox, by, messages, Side::Us));
                    }
                    Kind::Refusal => return Err(ConnectError::TurnedAway(frame.decode().map_err(broken)?)),
                    kind => return Err(broken(FrameError::Body(kind))),
                }
            }
            match transport::read(&*wire, inbox.space()).await {
                Ok(0) => return Err(failed("the peer closed it before its welcome".to_owned())),
                Ok(_) => {}
                Err(error) => {
                    return Err(match location {
                        Location::Unix(_) => failed(error.to_string()),
                        // Over TCP the other side may have disliked the certificate only now.
                        Location::Tcp(place) => self.manner.explain(place, &error),
                    });
                }
            }
        }
    }

    /// How this node introduces itself over a TCP connection whose own address is `own`.
    fn introduction_from(&self, own: SocketAddr) -> Introduction {
        let location = match self.port.get() {
            Some(port) => Location::Tcp(port.seen_from(own).to_string()).to_string(),
            None => "nowhere".to_owned(),
        };
        Introduction { location, ..self.me.clone() }
    }

    /// The same to somebody who has connected.
    pub(super) fn introduction_at(&self, stream: &TcpStream) -> io::Result<Introduction> {
        Ok(self.introduction_from(stream.local_addr()?))
    }

    /// Whether a peer that said a good hello can be let in beside those that are there.
    async fn may_enter(&self, peer: &Introduction) -> Result<(), Refusal> {
        let (me, them) = (&self.me.identity, &peer.identity);
        if them.node == me.node {
            return Err(Refusal::NodeTwice { pid: me.pid });
        }
        if let Some(known) = self.link(&them.node) {
            if known.peer.identity != *them {
                // Usually it has just died, and this side has not seen it yet.
                let ended = tokio::time::timeout(LAST_LIFE, known.ended()).await;
                ended.map_err(|_| Refusal::NodeTwice { pid: known.peer.identity.pid })?;
            } else if known.dialed_by == Side::Us {
                return Err(Refusal::Connected);
            } else {
                // It would not connect a second time if it still had the first connection.
                known.end(Lost::Replaced);
                self.forget(&known, Lost::Replaced);
            }
        }
        // Both connect to each other at once: the attempt of the lesser name stays.
        if self.dialing.borrow().contains(&them.node) && me.node < them.node {
            return Err(Refusal::Connected);
        }
        Ok(())
    }
}

/// Connects to a socket that a trusted user put there and a trusted user's process listens on. Nothing is sent to another one.
async fn connect(path: &Path, uids: &[u32]) -> Result<UnixStream, ConnectError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ConnectError::NoSocket(path.to_owned()),
        io::ErrorKind::ConnectionRefused => ConnectError::Refused(path.to_owned()),
        io::ErrorKind::WouldBlock => ConnectError::QueueFull(path.to_owned()),
        _ => ConnectError::Failed { path: path.to_owned(), why: error.to_string() },
    };
    let real = trust::socket(path, uids).map_err(|error| match error.kind() {
        // Without an errno it is a sentence of ours; the kernel may not let us look either.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            ConnectError::Untrusted { path: path.to_owned(), why: error.to_string() }
        }
        _ => failed(error),
    })?;
    let stream = UnixStream::connect(real).await.map_err(failed)?;
    let uid = stream.peer_cred().map_err(failed)?.uid();
    if trust::is_trusted(uid, uids) {
        Ok(stream)
    } else {
        Err(ConnectError::Stranger { path: path.to_owned(), uid })
    }
}

/// A location in the words of errors.
fn place(location: &Location) -> PathBuf {
    match location {
        Location::Unix(path) => path.clone(),
        Location::Tcp(_) => location.to_string().into(),
    }
}

async fn connected(link: Rc<Link>, location: &Location) -> Result<Rc<Link>, ConnectError> {
    match link.named().await {
        Ok(()) => Ok(link),
        Err(lost) => Err(match link.conflict() {
            Some((name, holder)) => ConnectError::NameTwice { name, holder },
            None => ConnectError::Failed { path: place(location), why: lost.to_string() },
        }),
    }
}

/// This node is connecting to another one.
struct Dialing<'a> {
    shared: &'a Shared,
    node: &'a str,
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.shared.dialing.borrow_mut().remove(self.node);
        self.shared.changed.notify_waiters();
    }
}

/// Lets others in until the node ends.
pub(super) async fn accept(shared: Rc<Shared>, listener: Rc<Listener>) {
    let mut pace = Pace::default();
    while !shared.is_stopped() {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.notified() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let credentials = stream.peer_cred().ok().map(|credentials| {
            let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
            Credentials { uid: credentials.uid(), pid }
        });
        // Who cannot be told who it is left already.
        let Some(credentials) = credentials else { continue };
        let uid = credentials.uid;
        // Whoever is not let in takes no place, and makes nobody wait.
        if !trust::is_trusted(uid, &shared.options.uids) {
            let refusal = Refusal::Uid { uid };
            refuse(&stream, &refusal);
            shared.complain(format_args!("a connection was refused: {refusal}"));
            continue;
        }
        let wire: Rc<dyn Transport> = Rc::new(stream);
        // Connections that have not said hello count too, or they would be without bound.
        let place = match shared.places.take(Holder::User(uid)) {
            Ok(place) => place,
            Err(limit) => {
                refuse(&*wire, &Refusal::Full { limit });
                continue;
            }
        };
        pace.next().await;
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            if let Some(link) = greet(&shared, wire, Stranger::Process(credentials), &shared.me).await {
                link.ended().await;
            }
            drop(place);
        });
    }
}

/// Who has connected, as far as that is known before a hello.
pub(super) enum Stranger {
    /// A process of this machine.
    Process(Credentials),
    /// One with a certificate for these nodes.
    Certified(Vec<String>),
    /// Nothing is known.
    Anybody,
}

/// Tells a peer why it is not let in. A fresh socket always has room for that, so there is nothing to wait for.
pub(super) fn refuse(wire: &dyn Transport, refusal: &Refusal) {
    let mut bytes = Vec::new();
    if frame::append(&mut bytes, Kind::Refusal, 0, refusal).is_ok() {
        // The peer may be gone already; then there is nobody to tell. What it has sent is taken in: a close with something
        // unread is a reset, and takes back what was told.
        let _ = wire.try_write(&bytes);
        let _ = wire.try_read(&mut Vec::with_capacity(introduction::SMALLEST_LIMIT));
    }
}

/// Hears a stranger's hello and lets it in, or says why not.
pub(super) async fn greet(
    shared: &Rc<Shared>,
    wire: Rc<dyn Transport>,
    stranger: Stranger,
    me: &Introduction,
) -> Option<Rc<Link>> {
    let mut inbox = Inbox::default();
    inbox.take_at_most(introduction::SMALLEST_LIMIT);
    let heard = tokio::time::timeout(HELLO_PATIENCE, hear(shared, &*wire, &mut inbox, &stranger)).await;
    let judged = match heard {
        Ok(Some(judged)) => judged,
        Ok(None) => return None,
        Err(_) => {
            shared.complain(format_args!("a connection said no hello within {HELLO_PATIENCE:?}"));
            return None;
        }
    };
    let entered = match judged {
        Ok((version, messages, peer)) => match shared.may_enter(&peer).await {
            Ok(()) => Ok((version, messages, peer)),
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    let (version, messages, peer) = match entered {
        Ok(entered) => entered,
        Err(refusal) => {
            shared.complain(format_args!("a connection was refused: {refusal}"));
            refuse(&*wire, &refusal);
            return None;
        }
    };
    if shared.is_stopped() {
        return None;
    }
    let mut welcome = Vec::new();
    let accepted = Accepted { wire: version, messages, by: me.clone() };
    frame::append(&mut welcome, Kind::Welcome, 0, &accepted).ok()?;
    // As for a refusal, there is room.
    wire.try_write(&welcome).ok().filter(|&written| written == welcome.len())?;
    inbox.take_at_most(shared.options.frame);
    tracing::info!("{} connected", peer.identity);
    Some(shared.add_link(wire, inbox, peer, messages, Side::Them))
}

/// `None`: the peer left before it said anything.
async fn hear(
    shared: &Shared,
    wire: &dyn Transport,
    inbox: &mut Inbox,
    stranger: &Stranger,
) -> Option<Result<(u16, u16, Introduction), Refusal>> {
    let credentials = match stranger {
        Stranger::Process(credentials) => Some(*credentials),
        Stranger::Certified(_) | Stranger::Anybody => None,
    };
    let door = Door {
        own_uid: geteuid().as_raw(),
        uids: &shared.options.uids,
        wire: &introduction::WIRE,
        messages: shared.me.messages,
    };
    loop {
        if let Some(first) = inbox.next().transpose() {
            let judged = introduction::judge(first, credentials, door);
            return Some(judged.and_then(|(wire, messages, peer)| match stranger {
                Stranger::Certified(names) if !names.contains(&peer.identity.node) => {
                    Err(Refusal::Certificate { of: tls::listed(names), claimed: peer.identity.node })
                }
                Stranger::Process(_) | Stranger::Certified(_) | Stranger::Anybody => {
                    Ok((wire, messages, peer))
                }
            }));
        }
        match transport::read(wire, inbox.space()).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

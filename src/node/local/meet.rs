//! How links begin: connecting to others, and letting others in.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::UnixStream;

use super::Shared;
use crate::node::error::{ConnectError, Lost};
use crate::node::frame::{self, FrameError, Kind};
use crate::node::hello::{Credentials, Refusal};
use crate::node::inbox::Inbox;
use crate::node::introduction::{self, Accepted, Door, Introduction};
use crate::node::link::{Link, Side};
use crate::node::listen::Listener;
use crate::node::location::Location;
use crate::node::transport::{self, Transport};

/// How long a stranger may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// How long accepting pauses after the kernel had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        let path = match &location {
            Location::Unix(path) => path,
            Location::Tcp(place) => {
                let why = "this node connects over Unix sockets only".to_owned();
                return Err(ConnectError::Failed { path: place.into(), why });
            }
        };
        let found = tokio::time::timeout(patience, self.find_or_dial(node, path.clone())).await;
        found.map_err(|_| ConnectError::NoAnswer { path: path.clone(), patience })?
    }

    async fn find_or_dial(self: &Rc<Shared>, node: &str, path: PathBuf) -> Result<Rc<Link>, ConnectError> {
        loop {
            if self.is_stopped() {
                return Err(ConnectError::Failed { path, why: Lost::Stopped.to_string() });
            }
            if let Some(link) = self.link(node) {
                return connected(link, &path).await;
            }
            if !self.dialing.borrow_mut().insert(node.to_owned()) {
                self.changed.notified().await;
                continue;
            }
            let dialing = Dialing { shared: self, node };
            let dialed = self.dial(node, &path).await;
            drop(dialing);
            match dialed {
                Ok(link) => return connected(link, &path).await,
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

    async fn dial(self: &Rc<Shared>, node: &str, path: &PathBuf) -> Result<Rc<Link>, ConnectError> {
        let failed = |why: String| ConnectError::Failed { path: path.clone(), why };
        let broken = |error| ConnectError::Protocol { path: path.clone(), error };
        let stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ConnectError::NoSocket(path.clone()),
            io::ErrorKind::ConnectionRefused => ConnectError::Refused(path.clone()),
            io::ErrorKind::WouldBlock => ConnectError::QueueFull(path.clone()),
            _ => failed(error.to_string()),
        })?;
        let wire: Rc<dyn Transport> = Rc::new(stream);
        let mut hello = Vec::new();
        introduction::append_hello(&mut hello, &self.me).map_err(|error| failed(error.to_string()))?;
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
                Err(error) => return Err(failed(error.to_string())),
            }
        }
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

async fn connected(link: Rc<Link>, path: &Path) -> Result<Rc<Link>, ConnectError> {
    match link.named().await {
        Ok(()) => Ok(link),
        Err(lost) => Err(match link.conflict() {
            Some((name, holder)) => ConnectError::NameTwice { name, holder },
            None => ConnectError::Failed { path: path.to_owned(), why: lost.to_string() },
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
    // Connections that have not said hello count too, or they would be without bound.
    let open = Rc::new(());
    loop {
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
        let wire: Rc<dyn Transport> = Rc::new(stream);
        if Rc::strong_count(&open) > shared.options.limits.connections as usize {
            refuse(&*wire, Refusal::Full { limit: shared.options.limits.connections });
            continue;
        }
        let (shared, place) = (Rc::clone(&shared), Rc::clone(&open));
        tokio::task::spawn_local(async move {
            if let Some(link) = greet(&shared, wire, Some(credentials)).await {
                link.ended().await;
            }
            drop(place);
        });
    }
}

/// Tells a peer why it is not let in. A fresh socket always has room for that, so there is nothing to wait for.
fn refuse(wire: &dyn Transport, refusal: Refusal) {
    let mut bytes = Vec::new();
    if frame::append(&mut bytes, Kind::Refusal, 0, &refusal).is_ok() {
        // The peer may be gone already; then there is nobody to tell.
        let _ = wire.try_write(&bytes);
    }
}

/// Hears a stranger's hello and lets it in, or says why not.
async fn greet(
    shared: &Rc<Shared>,
    wire: Rc<dyn Transport>,
    credentials: Option<Credentials>,
) -> Option<Rc<Link>> {
    let mut inbox = Inbox::default();
    inbox.take_at_most(introduction::SMALLEST_LIMIT);
    let heard = tokio::time::timeout(HELLO_PATIENCE, hear(shared, &*wire, &mut inbox, credentials)).await;
    let judged = match heard {
        Ok(Some(judged)) => judged,
        Ok(None) => return None,
        Err(_) => {
            tracing::warn!("a connection said no hello within {HELLO_PATIENCE:?}");
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
            tracing::warn!("a connection was refused: {refusal}");
            refuse(&*wire, refusal);
            return None;
        }
    };
    if shared.is_stopped() {
        return None;
    }
    let mut welcome = Vec::new();
    let accepted = Accepted { wire: version, messages, by: shared.me.clone() };
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
    credentials: Option<Credentials>,
) -> Option<Result<(u16, u16, Introduction), Refusal>> {
    let door = Door {
        own_uid: geteuid().as_raw(),
        uids: &shared.options.uids,
        wire: &introduction::WIRE,
        messages: shared.me.messages,
    };
    loop {
        if let Some(first) = inbox.next().transpose() {
            return Some(introduction::judge(first, credentials, door));
        }
        match transport::read(wire, inbox.space()).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

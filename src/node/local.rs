//! This process as a node: what it can do with others by their names.

mod keep;
mod meet;
mod pace;
mod places;
mod shared;
mod strangers;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinSet};

use super::backoff::Backoff;
use super::error::{CallError, CastError, ConnectError, Lost};
use super::frame::Kind;
use super::hello::{Identity, NameError};
use super::link::{AskError, Link, Notice};
use super::listen::{ListenError, Listener};
use super::location::Location;
use super::mailbox::{Mailbox, Request};
use super::monitor::{self, Monitor, Reason};
use super::names::{self, Holder, Place};
use super::network::{self, Network, NetworkError};
use super::options::{Listen, Options};
use super::tcp::Manner;
use super::traffic::Traffic;

pub use keep::Keeper;
pub(super) use shared::Shared;

/// A dead peer is told within a second.
const PING_PATIENCE: Duration = Duration::from_millis(900);

/// How long a peer may take to agree to a name.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// This process under a name by which other processes reach it.
///
/// It belongs to one thread and lives inside a [`LocalSet`](tokio::task::LocalSet); plain programs use
/// [`blocking::Node`](super::blocking::Node). Clones are the same node. It ends when the last clone, [`Mailbox`],
/// [`Service`] and [`Keeper`] of it are dropped: then its names vanish everywhere and its peers hear that it exited.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) shared: Rc<Shared>,
    _life: Rc<Life>,
}

/// Ends the node when the last handle is dropped; the tasks hold none.
#[derive(Debug)]
struct Life(Rc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It may not be called that.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is taken, by this process too, or the socket cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The folder of the sockets cannot be used.
    #[error("{0}")]
    Folder(io::Error),
    /// It cannot use the network as it was told to.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The largest frame is set to what no node takes.
    #[error("the largest frame may have 4096 to 1048576 bytes, not {0}")]
    Frame(usize),
    /// The thread of a [`blocking::Node`](super::blocking::Node) cannot be had.
    #[error("the node's thread cannot start: {0}")]
    Thread(io::Error),
}

/// Why a name was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// It may not be called that.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Somebody has it.
    #[error("the name {name} is taken by {holder}")]
    Taken {
        /// What was wanted.
        name: String,
        /// Who has it.
        holder: Identity,
    },
    /// A connected node did not say that it agrees.
    #[error("{node} did not agree to the name {name} within {waited:?}")]
    Unanswered {
        /// What was wanted.
        name: String,
        /// Who did not answer.
        node: Identity,
        /// How long was waited.
        waited: Duration,
    },
    /// One node has only so many.
    #[error("a node has at most {} names", names::MOST)]
    TooMany,
}

/// The answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ping {
    /// It is there, and this is who it is.
    Pong(Identity),
    /// It is not, or says nothing within a second.
    Pang(ConnectError),
}

/// A mailbox of some node, as [`Node::whereis`] finds it. Like a pid it names one life: it never means a successor.
#[derive(Clone, Debug)]
pub struct Address {
    link: Rc<Link>,
    mailbox: u32,
}

impl Address {
    /// The node that has the mailbox.
    #[must_use]
    pub fn node(&self) -> &Identity {
        &self.link.peer.identity
    }

    /// Where that node can be reached.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.link.peer.location
    }
}

/// Two are one if they mean the same mailbox, however its node is connected.
impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.mailbox == other.mailbox && self.node() == other.node()
    }
}

impl Eq for Address {}

/// Whom to ask: an [`Address`], or a name that is looked up for each request.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// One life of a mailbox.
    Address(&'a Address),
    /// Whoever has the name at that moment.
    Name(&'a str),
}

impl<'a> From<&'a Address> for To<'a> {
    fn from(address: &'a Address) -> To<'a> {
        To::Address(address)
    }
}

impl<'a> From<&'a str> for To<'a> {
    fn from(name: &'a str) -> To<'a> {
        To::Name(name)
    }
}

/// One registered name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The name.
    pub name: String,
    /// Who holds it.
    pub node: Identity,
    /// Where that node can be reached.
    pub location: String,
}

impl Node {
    /// Starts a node called `name`, reachable for all processes of this user.
    ///
    /// `net_kernel:start/2`. There is no daemon to ask for a port: the name of the socket is the name of the node. A name
    /// that is in use is an error that tells the process, also if it is this one (`already_started`).
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Outside a [`LocalSet`](tokio::task::LocalSet): links are local tasks.
    pub fn start(name: &str) -> Result<Node, StartError> {
        Node::start_with(name, Options::default())
    }

    /// Starts a node that is set up as `options` say.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Outside a [`LocalSet`](tokio::task::LocalSet).
    pub fn start_with(name: &str, options: Options) -> Result<Node, StartError> {
        let name = Identity::check_name(name)?;
        if !(super::introduction::SMALLEST_LIMIT..=super::frame::MAX_FRAME).contains(&options.frame) {
            return Err(StartError::Frame(options.frame));
        }
        let (options, network) = configured(options)?;
        let manner = Manner::new(&network, &name)?;
        let port = network.listen.as_deref().map(|place| manner.listen(place)).transpose()?;
        let listener = match &options.listen {
            Listen::Nowhere => None,
            Listen::Socket => Some(listen(&name, &options)?),
            Listen::At(path) => Some(match Listener::inherited(&name)? {
                Some(handed) => handed,
                None => Listener::bind(path)?,
            }),
        };
        let location = match (listener.as_ref().map(Listener::path), &port) {
            (Some(Some(path)), _) => Location::Unix(path.to_owned()).to_string(),
            (Some(None), _) => "a socket without a path".to_owned(),
            (None, Some(port)) => Location::Tcp(port.address().to_string()).to_string(),
            (None, None) => "nowhere".to_owned(),
        };
        let identity = Identity::of_this_process(&name);
        let shared = Rc::new(Shared::new(identity, location, options, manner));
        shared.watch_certificates();
        if let Some(listener) = listener {
            shared.listen(listener);
        }
        if let Some(port) = port {
            shared.listen_at(port);
        }
        Ok(Node { _life: Rc::new(Life(Rc::clone(&shared))), shared })
    }

    /// Who this node is (`node/0`).
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.me.identity
    }

    /// Where it listens.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.shared.me.location
    }

    /// Where it listens for other machines, if it does.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.shared.port.get().map(|port| port.address())
    }

    /// The nodes this one is connected to (`nodes/0`), by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<Identity> {
        let mut nodes: Vec<_> = self.shared.links().iter().map(|link| link.peer.identity.clone()).collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        nodes
    }

    /// What has gone over the connections of this node since it started, those that ended included. There is nothing like
    /// it in one call in Erlang; `inet:getstat/1` tells it of a socket.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.traffic()
    }

    /// Whether the node `name` is there (`net_adm:ping/1`). As there, it connects to it. Unlike there, the answer comes
    /// within a second also from a node that is stopped or whose socket nobody reads, and it says who answered or why
    /// nobody did.
    pub async fn ping(&self, name: &str) -> Ping {
        if name == self.identity().node {
            return Ping::Pong(self.identity().clone());
        }
        let deadline = Instant::now() + PING_PATIENCE;
        let link = match self.shared.link_to(name, PING_PATIENCE).await {
            Ok(link) => link,
            Err(error) => return Ping::Pang(error),
        };
        match link.ask(Kind::Ping, &(), deadline).await {
            Ok(_) => Ping::Pong(link.peer.identity.clone()),
            Err(_) => Ping::Pang(ConnectError::NoAnswer {
                path: link.peer.location.clone().into(),
                patience: PING_PATIENCE,
            }),
        }
    }

    /// Connects to the node `name`, unless it is connected. From then on each finds the other's names.
    ///
    /// `net_kernel:connect_node/1`. Connecting two nodes does not connect either to the other's peers: a star of clients
    /// round an engine stays a star (as with `-connect_all false`).
    ///
    /// # Errors
    /// [`ConnectError`], which also tells whether trying again is of use.
    pub async fn connect(&self, name: &str) -> Result<Identity, ConnectError> {
        if name == self.identity().node {
            return Ok(self.identity().clone());
        }
        let link = self.shared.link_to(name, self.shared.options.patience).await?;
        Ok(link.peer.identity.clone())
    }

    /// The socket of the connection to a node, by which the kernel tells who is at its other end.
    pub(crate) fn socket_to(&self, name: &str) -> Option<OwnedFd> {
        self.shared.link(name)?.socket()
    }

    /// Stays connected to the node `name`: connects, and connects again whenever the connection is lost, after delays that
    /// grow and are drawn at random, so that the many clients of one engine do not all come back in one instant. Ends
    /// when the result is dropped.
    #[must_use]
    pub fn keep_connected(&self, name: &str) -> Keeper {
        Keeper::start(self.clone(), name)
    }

    /// Ends the connection to the node `name`; `false` where there is none (`disconnect_node/1`). Calls that are under way
    /// on it fail. Either side may connect again.
    pub fn disconnect(&self, name: &str) -> bool {
        let link = self.shared.link(name);
        link.inspect(|link| link.end(Lost::Closed)).is_some()
    }

    /// Waits until the kernel has taken everything that was sent, replies too, at most `patience`. The last step of an
    /// orderly end; `false` says that some peers do not read.
    pub async fn drain(&self, patience: Duration) -> bool {
        let all = async {
            for link in self.shared.all_links() {
                link.drained().await;
            }
        };
        tokio::time::timeout(patience, all).await.is_ok()
    }

    /// A new mailbox, which nobody can find before it is registered (`spawn/1`, `self/0`).
    #[must_use]
    pub fn mailbox<Q: DeserializeOwned + 'static, R: Serialize>(&self) -> Mailbox<Q, R> {
        Mailbox::new(self.clone())
    }

    /// Gives `mailbox` a name under which this node and every node connected to it find it. It may have several.
    ///
    /// `global:register_name/2`. The connected nodes are asked and must all agree, so of two that ask at once at most one
    /// gets the name. Two nodes that hold the same name do not connect (`global` ends one of the two processes instead).
    ///
    /// # Errors
    /// [`RegisterError`]; a name that is taken names its holder.
    pub async fn register<Q: DeserializeOwned + 'static, R: Serialize>(
        &self,
        name: &str,
        mailbox: &Mailbox<Q, R>,
    ) -> Result<(), RegisterError> {
        let name = Identity::check_name(name)?;
        let shared = &self.shared;
        if shared.names.borrow().own().len() >= names::MOST {
            return Err(RegisterError::TooMany);
        }
        let taken = |holder| RegisterError::Taken { name: name.clone(), holder };
        let asked = shared.names.borrow_mut().ask(&name, mailbox.index());
        asked.map_err(|holder| taken(shared.holder(holder)))?;
        // Given up again if this is left half done.
        let mut claim = Claim { shared, name: &name, mailbox: mailbox.index(), agreed: false };
        let mut answers = JoinSet::new();
        for link in shared.all_links() {
            let notice = Notice::Claim { name: name.clone(), mailbox: mailbox.index() };
            answers.spawn_local(async move {
                let deadline = Instant::now() + CLAIM_PATIENCE;
                let answer = link.ask(Kind::Notice, &notice, deadline).await.map(|reply| {
                    // An answer that means nothing is no agreement.
                    postcard::from_bytes(&reply.body).unwrap_or_else(|_| Some(link.peer.identity.clone()))
                });
                (link, answer)
            });
        }
        while let Some(answer) = answers.join_next().await {
            let Ok((link, answer)) = answer else { continue };
            match answer {
                Ok(None) => {}
                Ok(Some(holder)) => return Err(taken(holder)),
                // Who is gone has nothing to say.
                Err(_) if link.lost().is_some() => {}
                Err(_) => {
                    let node = link.peer.identity.clone();
                    return Err(RegisterError::Unanswered {
                        name: name.clone(),
                        node,
                        waited: CLAIM_PATIENCE,
                    });
                }
            }
        }
        if !shared.names.borrow_mut().agreed(&name, mailbox.index()) {
            let place = shared.names.borrow().find(&name);
            let holder = place.map_or_else(|| self.identity().clone(), |place| shared.holder(place.holder));
            return Err(taken(holder));
        }
        claim.agreed = true;
        shared.changed.notify_waiters();
        Ok(())
    }

    /// Gives up a name of this node (`global:unregister_name/1`). Others' names are not touched.
    pub fn unregister(&self, name: &str) {
        let Some(Place { holder: Holder::Own { .. }, mailbox }) = self.shared.names.borrow().find(name)
        else {
            return;
        };
        self.shared.give_up(name, mailbox);
    }

    /// Registers `name` and answers every request to it with what `handler` makes of it, until the result is dropped (a
    /// `gen_server` whose whole callback module is `handle_call/3`).
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn serve<Q: DeserializeOwned + 'static, R: Serialize + 'static>(
        &self,
        name: &str,
        mut handler: impl FnMut(Q) -> R + 'static,
    ) -> Result<Service, RegisterError> {
        let mut mailbox = self.mailbox::<Q, R>();
        self.register(name, &mailbox).await?;
        let task = tokio::task::spawn_local(async move {
            let mut requests = Vec::new();
            loop {
                mailbox.turn(&mut requests).await;
                for Request { from, body } in requests.drain(..) {
                    mailbox.reply(from, &handler(body));
                }
                mailbox.flush();
            }
        });
        Ok(Service(task.abort_handle()))
    }

    /// Who has a name now, as far as this node and those connected to it know (`global:whereis_name/1`). Nothing is sent.
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<Address> {
        let (link, mailbox) = self.shared.find(name)?;
        Some(Address { link, mailbox })
    }

    /// Waits until somebody has a name, at most `patience`. Safe to cancel.
    pub async fn find(&self, name: &str, patience: Duration) -> Option<Address> {
        let appears = async {
            loop {
                match self.whereis(name) {
                    Some(address) => return address,
                    None => self.shared.changed.notified().await,
                }
            }
        };
        tokio::time::timeout(patience, appears).await.ok()
    }

    /// Every name that this node knows, in order (`global:registered_names/0`).
    #[must_use]
    pub fn registered(&self) -> Vec<Registered> {
        self.shared.registered()
    }

    /// Sends a request and waits for its reply, at most `timeout`.
    ///
    /// `gen_server:call/3`. Nothing is sent twice. All calls to a node fail at once when it is lost; a reply that comes after
    /// the timeout is dropped. While the receiver has as much under way as it takes, this waits for a place, within the
    /// same time.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<'a, Q: Serialize, R: DeserializeOwned>(
        &self,
        to: impl Into<To<'a>>,
        request: &Q,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let begun = Instant::now();
        let (link, mailbox) = self.shared.resolve(to.into())?;
        let reply = link.ask(Kind::Call, &(mailbox, request), begun + timeout).await;
        let reply = reply.map_err(|error| failed(error, begun))?;
        decode(&reply.body)
    }

    /// As [`call`](Node::call), but sends the request again when the connection is lost before the reply has come, after
    /// connecting anew, all within `timeout`.
    ///
    /// Only for requests that do no harm when they are carried out twice. The receiver carries a request out once however
    /// often it arrives, and answers it every time, as long as it remembers: not over its own restart, unless it keeps
    /// [`Caller::once`](super::Caller::once). There is nothing like it in Erlang.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_idempotent<Q: Serialize, R: DeserializeOwned>(
        &self,
        name: &str,
        request: &Q,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let begun = Instant::now();
        let number = self.shared.next_once();
        let mut backoff = Backoff::default();
        let mut random = ChaCha8Rng::from_os_rng();
        let mut node = None;
        let mut last = CallError::NoName(name.to_owned());
        loop {
            if let Some((link, mailbox)) = self.shared.find(name) {
                node = Some(link.node().to_owned());
                let reply = link.ask(Kind::Once, &(mailbox, number, request), begun + timeout).await;
                match reply.map_err(|error| failed(error, begun)) {
                    Ok(reply) => return decode(&reply.body),
                    Err(error @ CallError::Lost(_)) if !self.shared.is_stopped() => last = error,
                    Err(error) => return Err(error),
                }
            }
            let left = timeout.saturating_sub(begun.elapsed());
            let Some(node) = &node else { return Err(last) };
            let delay = backoff.next(&mut random);
            if left <= delay {
                return Err(last);
            }
            tokio::time::sleep(delay).await;
            if let Err(why) = self.shared.link_to(node, left - delay).await {
                last = CallError::Unreachable { node: node.clone(), why };
            }
        }
    }

    /// Sends a request that wants no reply (`gen_server:cast/2`). Whether it arrives is not told. Waits while the receiver
    /// has not taken as many as may be under way to it.
    ///
    /// # Errors
    /// [`CallError`], when it is known at once that it cannot arrive.
    pub async fn cast<'a, Q: Serialize>(&self, to: impl Into<To<'a>>, request: &Q) -> Result<(), CallError> {
        let begun = Instant::now();
        let (link, mailbox) = self.shared.resolve(to.into())?;
        link.cast(&(mailbox, request)).await.map_err(|error| failed(error, begun))
    }

    /// As [`cast`](Node::cast), but it does not wait: what cannot be sent at once is not sent. So a receiver that does not
    /// read makes nobody wait, whichever side has connected (`erlang:send/3` with `nosuspend`).
    ///
    /// # Errors
    /// [`CastError`].
    pub fn try_cast<Q: Serialize>(&self, to: &Address, request: &Q) -> Result<(), CastError> {
        let (link, mailbox) = self.shared.resolve(to.into()).map_err(|_| CastError::Gone)?;
        if !self.has(&link, mailbox) {
            return Err(CastError::Gone);
        }
        link.try_cast(&(mailbox, request))
    }

    /// Whether a mailbox and a connection to its node are there, as far as is known here. Nothing is sent.
    #[must_use]
    pub fn is_there(&self, address: &Address) -> bool {
        self.shared.resolve(address.into()).is_ok_and(|(link, mailbox)| self.has(&link, mailbox))
    }

    fn has(&self, link: &Rc<Link>, mailbox: u32) -> bool {
        if self.shared.is_loopback(link) {
            self.shared.mailboxes.borrow().contains_key(&mailbox)
        } else {
            link.is_alive(mailbox)
        }
    }

    /// Waits for the end of one mailbox (`erlang:monitor(process, Pid)`).
    #[must_use]
    pub fn monitor(&self, address: &Address) -> Monitor {
        let Address { link, mailbox } = address;
        let alive = self.has(link, *mailbox) || link.lost().is_some();
        if alive { link.watch(Some(*mailbox)) } else { monitor::already(link.node(), Reason::Exited) }
    }

    /// Waits for the end of a node (`monitor_node/2`), connecting to it first.
    pub async fn monitor_node(&self, name: &str) -> Monitor {
        match self.shared.link_to(name, self.shared.options.patience).await {
            Ok(link) => link.watch(None),
            Err(_) => monitor::already(name, Reason::Unreachable),
        }
    }
}

/// A name that was asked for and is not agreed on.
struct Claim<'a> {
    shared: &'a Shared,
    name: &'a str,
    mailbox: u32,
    agreed: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.agreed {
            self.shared.give_up(self.name, self.mailbox);
        }
    }
}

/// A name that is served. Dropped, its mailbox is gone, and its name with it.
#[derive(Debug)]
#[must_use = "the name is served only as long as this lives"]
pub struct Service(AbortHandle);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What was not said is taken from the environment.
fn configured(mut options: Options) -> Result<(Options, Network), NetworkError> {
    if let Some(network) = options.network.take() {
        return Ok((options, network));
    }
    for (name, location) in network::peers_from_env()? {
        options.elsewhere.entry(name).or_insert(location);
    }
    Ok((options, Network::from_env()?))
}

fn listen(name: &str, options: &Options) -> Result<Listener, StartError> {
    crate::os::rundir::create(&options.folder).map_err(StartError::Folder)?;
    let Location::Unix(path) = Location::in_folder(&options.folder, name) else { unreachable!() };
    if let Some(handed) = Listener::inherited(name)? {
        handed.appear_at(&path).map_err(StartError::Folder)?;
        return Ok(handed);
    }
    Ok(Listener::bind(&path)?)
}

fn failed(error: AskError, begun: Instant) -> CallError {
    match error {
        AskError::Unanswered(unanswered) => CallError::after(unanswered, begun.elapsed()),
        AskError::TooLarge(limit) => CallError::TooLarge { limit },
    }
}

fn decode<R: DeserializeOwned>(body: &[u8]) -> Result<R, CallError> {
    match postcard::take_from_bytes(body) {
        Ok((reply, [])) => Ok(reply),
        Ok(_) | Err(_) => Err(CallError::BadReply),
    }
}

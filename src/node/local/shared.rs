//! What a node's handles and tasks share. No borrow is held across an await.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Add;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::places::Places;
use super::{Registered, To};
use crate::node::error::{CallError, Lost};
use crate::node::hello::Identity;
use crate::node::inbox::Inbox;
use crate::node::introduction::Introduction;
use crate::node::link::{self, Link, Notice, Side, Terms};
use crate::node::listen::Listener;
use crate::node::mailbox::{Answers, Sink};
use crate::node::monitor;
use crate::node::names::{Holder, Names, Place};
use crate::node::options::Options;
use crate::node::tcp::{Manner, Port};
use crate::node::tls::LOOK_EVERY;
use crate::node::traffic::Traffic;
use crate::node::transport::Transport;

/// Names in one notice: short enough for the smallest frame.
const NAMES: usize = 32;

/// Refused connections that are told of within a second; the others are counted.
const COMPLAINTS: u32 = 10;

#[derive(Default)]
struct Complaints {
    /// When the present second began.
    begun: Option<Instant>,
    told: u32,
    untold: u32,
}

pub(in super::super) struct Shared {
    pub(in super::super) me: Introduction,
    pub(super) options: Options,
    pub(in super::super) mailboxes: RefCell<BTreeMap<u32, Rc<dyn Sink>>>,
    next_mailbox: Cell<u32>,
    pub(in super::super) names: RefCell<Names>,
    answers: Answers,
    next_once: Cell<u64>,
    links: RefCell<BTreeMap<u64, Rc<Link>>>,
    next_link: Cell<u64>,
    /// What went over links that ended.
    past_traffic: Cell<Traffic>,
    /// Nodes that this one is connecting to.
    pub(super) dialing: RefCell<BTreeSet<String>>,
    /// The way to this node's own names.
    loopback: OnceCell<Rc<Link>>,
    /// A link or a name came or went.
    pub(in super::super) changed: Notify,
    listener: RefCell<Option<Rc<Listener>>>,
    /// How this one speaks over TCP.
    pub(super) manner: Manner,
    /// Where it is reached over TCP.
    pub(super) port: OnceCell<Rc<Port>>,
    /// Each connection that is served holds one.
    pub(super) places: Places,
    complaints: RefCell<Complaints>,
    stopped: Cell<bool>,
    pub(super) stop: Notify,
}

impl Shared {
    pub(super) fn new(identity: Identity, location: String, options: Options, manner: Manner) -> Shared {
        let me = Introduction {
            identity,
            messages: (*options.messages.start(), *options.messages.end()),
            in_flight: options.limits.in_flight.max(1),
            frame: options.frame as u32,
            location,
        };
        let places = Places::new(options.limits.connections, options.uids.len());
        Shared {
            me,
            options,
            mailboxes: RefCell::default(),
            next_mailbox: Cell::new(0),
            names: RefCell::default(),
            answers: Answers::default(),
            next_once: Cell::new(0),
            links: RefCell::default(),
            next_link: Cell::new(0),
            past_traffic: Cell::default(),
            dialing: RefCell::default(),
            loopback: OnceCell::new(),
            changed: Notify::new(),
            listener: RefCell::default(),
            manner,
            port: OnceCell::new(),
            places,
            complaints: RefCell::default(),
            stopped: Cell::new(false),
            stop: Notify::new(),
        }
    }

    pub(super) fn listen(self: &Rc<Shared>, listener: Listener) {
        let listener = Rc::new(listener);
        *self.listener.borrow_mut() = Some(Rc::clone(&listener));
        tokio::task::spawn_local(super::meet::accept(Rc::clone(self), listener));
    }

    pub(super) fn listen_at(self: &Rc<Shared>, port: Port) {
        let port = Rc::clone(self.port.get_or_init(|| Rc::new(port)));
        tokio::task::spawn_local(super::strangers::accept(Rc::clone(self), port));
    }

    /// Ends sessions whose certificates are not accepted any more, as the files say that are looked at now and then.
    pub(super) fn watch_certificates(self: &Rc<Shared>) {
        if !matches!(self.manner, Manner::Certified(_)) {
            return;
        }
        let shared = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while !shared.is_stopped() {
                tokio::select! {
                    biased;
                    () = shared.stop.notified() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                for link in shared.all_links() {
                    if !link.is_accepted(&shared.manner) {
                        link.end(Lost::Certificate);
                    }
                }
            }
        });
    }

    /// The node ends: its socket file goes, and its peers are told.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        self.stop.notify_waiters();
        if let Some(listener) = self.listener.take() {
            listener.remove_file();
        }
        let links = self.links.borrow().values().cloned().collect::<Vec<_>>();
        for link in links.iter().chain(self.loopback.get()) {
            link.tell(&Notice::Bye);
            link.send();
            link.end(Lost::Stopped);
        }
    }

    /// Tells why somebody was not let in, at most [`COMPLAINTS`] times a second: who floods a node does not fill its log.
    pub(super) fn complain(&self, why: fmt::Arguments<'_>) {
        let mut complaints = self.complaints.borrow_mut();
        let untold = complaints.untold;
        if complaints.begun.is_none_or(|begun| begun.elapsed() >= Duration::from_secs(1)) {
            *complaints = Complaints { begun: Some(Instant::now()), ..Complaints::default() };
            if untold > 0 {
                tracing::warn!("{untold} more connections were refused");
            }
        }
        if complaints.told < COMPLAINTS {
            complaints.told += 1;
            tracing::warn!("{why}");
        } else {
            complaints.untold += 1;
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    pub(in super::super) fn add_mailbox(&self, sink: Rc<dyn Sink>) -> u32 {
        let index = self.next_mailbox.get();
        self.next_mailbox.set(index + 1);
        self.mailboxes.borrow_mut().insert(index, sink);
        index
    }

    pub(in super::super) fn remove_mailbox(&self, index: u32) {
        let sink = self.mailboxes.borrow_mut().remove(&index);
        if let Some(sink) = sink {
            sink.close();
        }
        self.names.borrow_mut().gone(index, None);
        for link in self.all_links() {
            link.tell(&Notice::Gone { mailbox: index });
        }
        if let Some(loopback) = self.loopback.get() {
            loopback.watchers.borrow_mut().gone(loopback.node(), index);
        }
        self.changed.notify_waiters();
    }

    /// Gives a name of this node up, if it has it.
    pub(super) fn give_up(&self, name: &str, mailbox: u32) {
        if self.names.borrow_mut().give_up(name, mailbox) {
            for link in self.all_links() {
                link.tell(&Notice::Release { name: name.to_owned() });
            }
            self.changed.notify_waiters();
        }
    }

    pub(super) fn next_once(&self) -> u64 {
        let number = self.next_once.get() + 1;
        self.next_once.set(number);
        number
    }

    /// Links to nodes that are connected.
    pub(super) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().filter(|link| link.is_named()).cloned().collect()
    }

    /// What has gone over all links so far.
    pub(super) fn traffic(&self) -> Traffic {
        let links = self.links.borrow();
        links.values().map(|link| link.traffic()).fold(self.past_traffic.get(), Add::add)
    }

    /// Those whose first words are still under way too.
    pub(super) fn all_links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().filter(|link| link.lost().is_none()).cloned().collect()
    }

    pub(super) fn link(&self, node: &str) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        links.values().find(|link| link.node() == node && link.lost().is_none()).cloned()
    }

    /// Adds the link to a peer that was met, and starts to work for it.
    pub(super) fn add_link(
        self: &Rc<Shared>,
        wire: Rc<dyn Transport>,
        inbox: Inbox,
        peer: Introduction,
        messages: u16,
        dialed_by: Side,
    ) -> Rc<Link> {
        let link = Rc::new(Link::new(wire, self.terms(peer, messages, dialed_by)));
        self.links.borrow_mut().insert(link.serial, Rc::clone(&link));
        for names in self.names.borrow().own().chunks(NAMES) {
            link.tell(&Notice::Names(names.to_vec()));
        }
        if dialed_by == Side::Us {
            link.tell(&Notice::Ready);
        }
        let (shared, worked) = (Rc::clone(self), Rc::clone(&link));
        tokio::task::spawn_local(async move {
            let lost = link::drive(&shared, &worked, inbox).await;
            shared.forget(&worked, lost);
            let reason = monitor::reason(lost, worked.pid()).await;
            worked.watchers.borrow_mut().down(worked.node(), reason);
        });
        link
    }

    fn terms(&self, peer: Introduction, messages: u16, dialed_by: Side) -> Terms {
        let serial = self.next_link.get();
        self.next_link.set(serial + 1);
        let origin = self.answers.borrow_mut().origin(&peer.identity);
        let answers = Rc::clone(&self.answers);
        Terms { serial, peer, messages, dialed_by, origin, answers, serves: self.me.in_flight }
    }

    /// A link ended: its node's names vanish.
    pub(super) fn forget(&self, link: &Link, lost: Lost) {
        self.names.borrow_mut().forget(link.serial);
        if self.links.borrow_mut().remove(&link.serial).is_some() {
            self.past_traffic.set(self.past_traffic.get() + link.traffic());
            let peer = &link.peer.identity;
            match lost {
                Lost::Closed | Lost::Ended | Lost::Stopped => tracing::info!("{peer} left: {lost}"),
                lost => tracing::warn!("{peer} was cut off: {lost}"),
            }
            self.changed.notify_waiters();
        }
    }

    /// The link to this node itself: names of one's own are called as any other.
    fn loopback(self: &Rc<Shared>) -> Option<Rc<Link>> {
        if self.is_stopped() {
            return None;
        }
        if let Some(link) = self.loopback.get() {
            return Some(Rc::clone(link));
        }
        let (near, far) = UnixStream::pair()
            .inspect_err(|error| tracing::error!("cannot reach this node's own names: {error}"))
            .ok()?;
        let messages = self.me.messages.1;
        let [near, far] = [(near, Side::Us), (far, Side::Them)].map(|(stream, side)| {
            let link = Rc::new(Link::new(Rc::new(stream), self.terms(self.me.clone(), messages, side)));
            let (shared, worked) = (Rc::clone(self), Rc::clone(&link));
            tokio::task::spawn_local(async move {
                let mut inbox = Inbox::default();
                inbox.take_at_most(shared.options.frame);
                let lost = link::drive(&shared, &worked, inbox).await;
                worked.watchers.borrow_mut().down(worked.node(), monitor::Reason::Exited);
                lost
            });
            link
        });
        // The far end lives as long as its task, which ends with the near one.
        drop(far);
        Some(Rc::clone(self.loopback.get_or_init(|| near)))
    }

    pub(super) fn is_loopback(&self, link: &Rc<Link>) -> bool {
        self.loopback.get().is_some_and(|loopback| Rc::ptr_eq(loopback, link))
    }

    pub(super) fn find(self: &Rc<Shared>, name: &str) -> Option<(Rc<Link>, u32)> {
        let Place { holder, mailbox } = self.names.borrow().find(name)?;
        let link = match holder {
            Holder::Own { asking: true } => None,
            Holder::Own { asking: false } => self.loopback(),
            Holder::Peer(serial) => self.links.borrow().get(&serial).filter(|link| link.is_named()).cloned(),
        };
        Some((link?, mailbox))
    }

    pub(super) fn resolve(self: &Rc<Shared>, to: To<'_>) -> Result<(Rc<Link>, u32), CallError> {
        match to {
            To::Name(name) => self.find(name).ok_or_else(|| CallError::NoName(name.to_owned())),
            To::Address(address) => {
                let link = &address.link;
                match link.lost() {
                    None => Ok((Rc::clone(link), address.mailbox)),
                    // The same life may be connected anew.
                    Some(lost) => match self.link(link.node()) {
                        Some(again) if again.peer.identity == link.peer.identity => {
                            Ok((again, address.mailbox))
                        }
                        Some(_) | None => Err(lost.into()),
                    },
                }
            }
        }
    }

    /// Who holds a name, for people.
    pub(in super::super) fn holder(&self, holder: Holder) -> Identity {
        match holder {
            Holder::Own { .. } => self.me.identity.clone(),
            Holder::Peer(serial) => {
                let links = self.links.borrow();
                // Names of a link are forgotten together with it.
                links.get(&serial).map_or_else(|| self.me.identity.clone(), |link| link.peer.identity.clone())
            }
        }
    }

    pub(super) fn registered(&self) -> Vec<Registered> {
        let names = self.names.borrow();
        let links = self.links.borrow();
        let registered = names.iter().filter_map(|(name, place)| {
            let of = match place.holder {
                Holder::Own { asking: true } => return None,
                Holder::Own { asking: false } => &self.me,
                Holder::Peer(serial) => &links.get(&serial).filter(|link| link.is_named())?.peer,
            };
            let (node, location) = (of.identity.clone(), of.location.clone());
            Some(Registered { name: name.to_owned(), node, location })
        });
        registered.collect()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("me", &self.me).finish_non_exhaustive()
    }
}

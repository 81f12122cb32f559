//! Letting others in over TCP, where anybody may connect.
//!
//! A connection goes through three stages, each with bounds of its own: it has sent nothing, it says who it is, it is a peer.
//! Before the first byte nothing is spent on it but its descriptor, and a first byte that no node sends ends it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Shared;
use super::meet::{ACCEPT_PAUSE, HELLO_PATIENCE, Stranger, greet, refuse};
use super::places::{Holder, Place};
use super::waiting::{self, Bounds, Entry, Room};
use crate::node::hello::Refusal;
use crate::node::link::Link;
use crate::node::tcp::Port;

/// How long the first byte may take where there is room.
const FIRST_BYTE_PATIENCE: Duration = Duration::from_secs(2);

/// Connections in one stage.
#[derive(Debug)]
struct Stage {
    bounds: Bounds,
    waiting: RefCell<Vec<Entry<Rc<Notify>>>>,
}

impl Stage {
    fn new(bounds: Bounds) -> Stage {
        Stage { bounds, waiting: RefCell::default() }
    }

    /// Takes a connection in, if there is room or room can be made. It has to go when `go` is notified.
    fn enter(&self, from: IpAddr, go: &Rc<Notify>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let (origin, now) = (from.into(), Instant::now());
        match waiting::room(&waiting, origin, now, self.bounds) {
            Room::Free => {}
            Room::InPlaceOf(index) => waiting.remove(index).what.notify_one(),
            Room::None => return false,
        }
        waiting.push(Entry { origin, since: now, what: Rc::clone(go) });
        true
    }

    fn leave(&self, go: &Rc<Notify>) {
        self.waiting.borrow_mut().retain(|entry| !Rc::ptr_eq(&entry.what, go));
    }
}

/// Connections that have not said who they are. They take no place from those that have.
#[derive(Debug)]
struct Strangers {
    silent: Stage,
    speaking: Stage,
}

/// Lets others in until the node ends.
pub(super) async fn accept(shared: Rc<Shared>, port: Rc<Port>) {
    let silent = Stage::new(waiting::SILENT);
    let strangers = Rc::new(Strangers { silent, speaking: Stage::new(waiting::SPEAKING) });
    while !shared.is_stopped() {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.notified() => return,
            accepted = port.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip()),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let go = Rc::new(Notify::new());
        if !strangers.silent.enter(from, &go) {
            shared.complain(format_args!("too many connections from {from}: one was refused"));
            continue;
        }
        let (shared, strangers) = (Rc::clone(&shared), Rc::clone(&strangers));
        tokio::task::spawn_local(async move {
            let met = tokio::select! {
                () = go.notified() => Err("others came after it, and it had its time".to_owned()),
                met = meet(&shared, &strangers, stream, from, &go) => met,
            };
            strangers.silent.leave(&go);
            strangers.speaking.leave(&go);
            match met {
                Ok(Some((link, _place))) => _ = link.ended().await,
                Ok(None) => {}
                Err(why) => shared.complain(format_args!("a connection from {from} was refused: {why}")),
            }
        });
    }
}

/// Hears who it is. A link comes with its place among those that this node serves.
async fn meet(
    shared: &Rc<Shared>,
    strangers: &Strangers,
    stream: TcpStream,
    from: IpAddr,
    go: &Rc<Notify>,
) -> Result<Option<(Rc<Link>, Place)>, String> {
    let me = shared.introduction_at(&stream).map_err(|error| error.to_string())?;
    let mut first = [0; 1];
    let began = tokio::time::timeout(FIRST_BYTE_PATIENCE, stream.peek(&mut first)).await;
    match began.map_err(|_| format!("it sent nothing within {FIRST_BYTE_PATIENCE:?}"))? {
        Ok(1) if shared.manner.begins_with(first[0]) => {}
        Ok(1) => return Err("it does not speak as nodes do".to_owned()),
        Ok(_) | Err(_) => return Ok(None),
    }
    strangers.silent.leave(go);
    if !strangers.speaking.enter(from, go) {
        return Err("too many say who they are at once".to_owned());
    }
    let admitted = tokio::time::timeout(HELLO_PATIENCE, shared.manner.admit(stream)).await;
    let (wire, names) =
        admitted.map_err(|_| format!("it did not say who it is within {HELLO_PATIENCE:?}"))??;
    strangers.speaking.leave(go);
    let holder = names.clone().map_or(Holder::Address(from), Holder::Certificate);
    let place = match shared.places.take(holder) {
        Ok(place) => place,
        Err(limit) => {
            let full = Refusal::Full { limit };
            refuse(&*wire, &full);
            return Err(full.to_string());
        }
    };
    let stranger = names.map_or(Stranger::Anybody, Stranger::Certified);
    Ok(greet(shared, wire, stranger, &me).await.map(|link| (link, place)))
}

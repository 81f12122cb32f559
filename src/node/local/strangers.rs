//! Letting others in over TCP, where anybody may knock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::Shared;
use super::meet::{ACCEPT_PAUSE, HELLO_PATIENCE, Stranger, greet, refuse};
use super::pace::Pace;
use crate::node::hello::Refusal;
use crate::node::link::Link;
use crate::node::tcp::Port;

/// Connections that may be on their way in at once.
const MOST: usize = 64;

/// Connections that have not said who they are. They take no place from those that have; and when there are too many, the
/// one that has been at it for longest is let go, which is hardly ever an honest one.
#[derive(Debug, Default)]
struct Strangers {
    next: Cell<u64>,
    inside: RefCell<VecDeque<(u64, AbortHandle)>>,
}

impl Strangers {
    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    fn add(&self, number: u64, task: AbortHandle) {
        let mut inside = self.inside.borrow_mut();
        inside.push_back((number, task));
        if inside.len() > MOST
            && let Some((_, longest)) = inside.pop_front()
        {
            longest.abort();
        }
    }

    /// It is no stranger any more.
    fn remove(&self, number: u64) {
        self.inside.borrow_mut().retain(|(known, _)| *known != number);
    }
}

/// Lets others in until the node ends.
pub(super) async fn accept(shared: Rc<Shared>, port: Rc<Port>) {
    let strangers = Rc::new(Strangers::default());
    let mut pace = Pace::default();
    loop {
        pace.next().await;
        if shared.is_stopped() {
            return;
        }
        let accepted = tokio::select! {
            biased;
            () = shared.stop.notified() => return,
            accepted = port.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let number = strangers.number();
        let (shared, known) = (Rc::clone(&shared), Rc::clone(&strangers));
        let task = tokio::task::spawn_local(async move {
            let met = meet(&shared, stream).await;
            known.remove(number);
            match met {
                Ok(Some((link, _place))) => _ = link.ended().await,
                Ok(None) => {}
                Err(why) => tracing::warn!("a connection from {from} was refused: {why}"),
            }
        });
        strangers.add(number, task.abort_handle());
    }
}

/// Hears who it is. A link comes with its place among those that this node serves.
async fn meet(shared: &Rc<Shared>, stream: TcpStream) -> Result<Option<(Rc<Link>, Rc<()>)>, String> {
    let me = shared.introduction_at(&stream).map_err(|error| error.to_string())?;
    let admitted = tokio::time::timeout(HELLO_PATIENCE, shared.manner.admit(stream)).await;
    let (wire, names) =
        admitted.map_err(|_| format!("it did not say who it is within {HELLO_PATIENCE:?}"))??;
    let Some(place) = shared.place() else {
        let full = Refusal::Full { limit: shared.options.limits.connections };
        refuse(&*wire, &full);
        return Err(full.to_string());
    };
    let stranger = names.map_or(Stranger::Anybody, Stranger::Certified);
    Ok(greet(shared, wire, stranger, &me).await.map(|link| (link, place)))
}

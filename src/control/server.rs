//! Who may connect, and how many at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::Uid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Call;
use super::answer::{Desk, REQUEST_WAIT};
use super::deadline::WriteDeadline;
use crate::os::limits;

/// One connection for so many descriptors that this process may have: the children need the most of these.
const SHARE: u64 = 32;
/// Files that a connection reads for as long as it lasts: two logs with their indexes, and what tells of changes.
const FILES: usize = 5;
/// How long a client may refuse to read what it asked for.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// The largest request head, and how much is buffered for one connection.
const MAX_BUFFER: usize = 64 * 1024;
/// Pause when no connection can be accepted (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers under way may take once the supervisor has stopped listening.
const FAREWELL: Duration = Duration::from_secs(1);

/// Connections at a time under this limit of descriptors. Further ones wait in the kernel's backlog.
fn connections(limit: u64) -> usize {
    (limit / SHARE).clamp(8, 64) as usize
}

/// Of these, how many may wait for a child or follow the events; the rest is kept for what is answered at once.
fn lasting(connections: usize) -> usize {
    connections * 3 / 4
}

/// How many descriptors the connections take at most under this limit.
pub fn descriptors(limit: u64) -> u64 {
    let connections = connections(limit);
    (connections + lasting(connections) * FILES) as u64
}

/// Answers requests on `listener` by asking the one who receives `calls`, until that one is gone.
///
/// One connection carries one request. Only our own user and root are let in. When all connections are taken, the one
/// that has been silent the longest, without a complete request, makes room for a new one; nothing that was asked is
/// ever broken off. To be run on a tokio runtime with time and I/O; dropping the future closes every connection.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let most = connections(limits::open_files().map_or(0, |limit| limit.hard));
    let mut guests = Guests::default();
    let desk = Desk::new(calls.clone(), lasting(most));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = calls.closed() => break,
        };
        match accepted {
            Ok((stream, _)) if admitted(&stream) => {
                guests.make_room(most).await;
                guests.welcome(stream, desk.clone());
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("failed to accept a control connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let _ = timeout(FAREWELL, guests.all_gone()).await;
}

/// Whether the peer's user, as the kernel recorded it at connect time (`SO_PEERCRED`), may talk to us at all.
fn admitted(stream: &UnixStream) -> bool {
    let own = Uid::effective().as_raw();
    match stream.peer_cred() {
        Ok(peer) if may_connect(peer.uid(), own) => true,
        Ok(peer) => {
            tracing::warn!("closed a control connection of user {}: not ours", peer.uid());
            false
        }
        Err(error) => {
            tracing::warn!("closed a control connection of an unknown user: {error}");
            false
        }
    }
}

fn may_connect(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// The open connections.
#[derive(Default)]
struct Guests {
    tasks: JoinSet<()>,
    /// In the order they came.
    open: Vec<Guest>,
}

struct Guest {
    /// Whether its request has come in whole.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Guests {
    /// Returns when there is room for one more, of so many.
    async fn make_room(&mut self, most: usize) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.open.retain(|guest| !guest.task.is_finished());
            if self.open.len() < most {
                return;
            }
            match self.open.iter().position(|guest| !guest.asked.load(Ordering::Relaxed)) {
                Some(silent) => self.open.remove(silent).task.abort(),
                None => drop(self.tasks.join_next().await),
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream, desk: Desk) {
        let asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(attend(stream, desk, Arc::clone(&asked)));
        self.open.push(Guest { asked, task });
    }

    async fn all_gone(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// One connection, from its request to the end of its response.
async fn attend(stream: UnixStream, desk: Desk, asked: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        let (desk, asked) = (desk.clone(), Arc::clone(&asked));
        async move { Ok::<_, Infallible>(desk.answer(request, &asked).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WAIT)
        .keep_alive(false)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(WriteDeadline::new(stream, READ_PATIENCE)), service);
    if let Err(error) = connection.await {
        tracing::debug!("a control connection broke: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_user_and_root_may_connect() {
        assert!(may_connect(1000, 1000) && may_connect(0, 1000) && may_connect(0, 0));
        assert!(!may_connect(1001, 1000) && !may_connect(1000, 0) && !may_connect(u32::MAX, 0));
    }
}

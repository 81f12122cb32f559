//! Who may connect, and how many at a time.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::Uid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Call;
use super::access::{Access, GroupAccess};
use super::answer::{Desk, REQUEST_WAIT};
use super::deadline::WriteDeadline;
use super::places::Places;
use crate::os;

/// One connection for so many descriptors that this process may have: the children need the most of these.
const SHARE: u64 = 20;
/// Files that a connection reads for as long as it lasts: two logs with their indexes, and what tells of changes.
const FILES: usize = 5;
/// How long a client may refuse to read what it asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest request head, and how much is buffered for one connection.
const MAX_BUFFER: usize = 64 * 1024;
/// Pause when no connection can be accepted (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers under way may take once the supervisor has stopped listening.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How many connections there may be at a time, and who may have how many of them. What is left over is for requests
/// that are answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    /// Connections in all. Further ones wait in the kernel's backlog.
    connections: usize,
    /// Of these, those of members of the group that `control` names.
    group_connections: usize,
    /// Requests of the owner and of root that last, of each kind.
    owner_places: usize,
    /// Requests of the group that last, of each kind.
    group_places: usize,
}

impl Shares {
    /// Under this limit of descriptors.
    fn under(limit: u64) -> Shares {
        let connections = (limit / SHARE).clamp(8, 128) as usize;
        Shares {
            connections,
            group_connections: connections * 3 / 8,
            owner_places: connections / 4,
            group_places: connections / 8,
        }
    }
}

/// How many descriptors the connections take at most under this limit.
pub fn descriptors(limit: u64) -> u64 {
    let shares = Shares::under(limit);
    (shares.connections + (shares.owner_places + shares.group_places) * FILES) as u64
}

/// Answers requests on `listener` by asking the receiver of `calls`, until that one is gone.
///
/// One connection carries one request. Our own user and root may ask everything, members of `group` what it allows; a
/// connection of anyone else is closed. When all connections are taken, the one that has been silent the longest,
/// without a complete request, makes room for a new one; a request that has come in whole is never broken off. To be
/// run on a tokio runtime with time and I/O; dropping the future closes every connection.
pub async fn serve(
    listener: UnixListener,
    calls: mpsc::Sender<Call>,
    group: watch::Receiver<Option<GroupAccess>>,
) {
    let shares = Shares::under(os::limits::open_files().map_or(0, |limit| limit.hard));
    let mut connections = Connections { shares, tasks: JoinSet::new(), open: Vec::new() };
    let owner = Desk::new(calls.clone(), Access::Own, Places::new(shares.owner_places));
    let places = Places::new(shares.group_places);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = calls.closed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("failed to accept a control connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(access) = admitted(&stream, *group.borrow()) else { continue };
        let desk = match access {
            Access::Own => owner.clone(),
            Access::Read | Access::Operate => Desk::new(calls.clone(), access, places.clone()),
        };
        if connections.make_room(access).await {
            connections.spawn(stream, desk, access);
        }
    }
    let _ = timeout(CLOSE_TIMEOUT, connections.all_closed()).await;
}

/// What the peer may ask, by its credentials as the kernel recorded them at connect time (`SO_PEERCRED`,
/// `SO_PEERGROUPS`).
fn admitted(stream: &UnixStream, group: Option<GroupAccess>) -> Option<Access> {
    let own = Uid::effective().as_raw();
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!("closed a control connection of an unknown user: {error}");
            return None;
        }
    };
    let is_member = |gid: u32| {
        peer.gid() == gid || os::socket::peer_groups(stream.as_fd()).is_ok_and(|groups| groups.contains(&gid))
    };
    let access = access_of(peer.uid(), own, group, is_member);
    if access.is_none() {
        tracing::warn!("closed a control connection of user {}: not ours", peer.uid());
    }
    access
}

fn access_of(
    peer: u32,
    own: u32,
    group: Option<GroupAccess>,
    is_member: impl Fn(u32) -> bool,
) -> Option<Access> {
    if peer == own || peer == 0 {
        return Some(Access::Own);
    }
    group.filter(|group| is_member(group.gid)).map(|group| group.allow)
}

/// The open connections.
struct Connections {
    shares: Shares,
    tasks: JoinSet<()>,
    /// In the order they came.
    open: Vec<Connection>,
}

struct Connection {
    access: Access,
    /// Whether its request has come in whole.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Connections {
    /// Returns when there is room for one more. False if the group's share is taken: waiting for one of its members
    /// would make the owner wait too.
    async fn make_room(&mut self, access: Access) -> bool {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.open.retain(|connection| !connection.task.is_finished());
            let of_group = |connection: &Connection| connection.access != Access::Own;
            let group_full = access != Access::Own
                && self.open.iter().filter(|connection| of_group(connection)).count()
                    >= self.shares.group_connections;
            if !group_full && self.open.len() < self.shares.connections {
                return true;
            }
            let may_close = |connection: &Connection| {
                !connection.asked.load(Ordering::Relaxed) && (!group_full || of_group(connection))
            };
            match self.open.iter().position(may_close) {
                Some(silent) => self.open.remove(silent).task.abort(),
                None if group_full => return false,
                None => drop(self.tasks.join_next().await),
            }
        }
    }

    fn spawn(&mut self, stream: UnixStream, desk: Desk, access: Access) {
        let asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(answer(stream, desk, Arc::clone(&asked)));
        self.open.push(Connection { access, asked, task });
    }

    async fn all_closed(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// One connection, from its request to the end of its response.
async fn answer(stream: UnixStream, desk: Desk, asked: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        let (desk, asked) = (desk.clone(), Arc::clone(&asked));
        async move { Ok::<_, Infallible>(desk.answer(request, &asked).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WAIT)
        .keep_alive(false)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(WriteDeadline::new(stream, READ_TIMEOUT)), service);
    if let Err(error) = connection.await {
        tracing::debug!("a control connection broke: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_group_nor_lasting_requests_take_everything() {
        for limit in [0, 256, 1024, 4096, 1 << 20] {
            let shares = Shares::under(limit);
            let lasting = 2 * shares.owner_places + shares.group_connections;
            assert!(
                lasting < shares.connections && 2 * shares.group_places < shares.group_connections,
                "{shares:?}"
            );
            assert!(shares.owner_places > 1 && shares.group_places > 0, "{shares:?}");
            assert!(limit == 0 || descriptors(limit) < limit / 4, "{limit}");
        }
    }

    #[test]
    fn access_follows_user_and_group() {
        let access = |peer, own, group| access_of(peer, own, group, |gid| gid == 7);
        let ops = |allow| Some(GroupAccess { gid: 7, allow });
        for group in [None, ops(Access::Read)] {
            assert_eq!(access(1000, 1000, group), Some(Access::Own));
            assert_eq!(access(0, 1000, group), Some(Access::Own));
        }
        for peer in [1001, u32::MAX] {
            assert_eq!(access(peer, 0, None), None);
            assert_eq!(access(peer, 0, ops(Access::Read)), Some(Access::Read));
            assert_eq!(access(peer, 0, ops(Access::Operate)), Some(Access::Operate));
            assert_eq!(access(peer, 0, Some(GroupAccess { gid: 8, allow: Access::Operate })), None);
        }
    }
}

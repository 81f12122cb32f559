//! The supervisor process' end of the socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::protocol::{FromKeeper, Key, Reach, ToKeeper};
use super::{LINK_FD, wire};
use crate::os::limits::is_shortage;
use crate::os::socket::{self, Received};
use crate::os::spawn::Parent;
use crate::os::{clock, process};

/// The keeper takes packets whenever it is scheduled; a queue that stays full this long means that it is not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before what failed for lack of memory or descriptors is tried again, and for how long that goes on.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);
const SHORTAGE: Duration = Duration::from_secs(5);

/// The connection to the keeper.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    keeper: Pid,
}

impl Link {
    /// Over one end of the keeper's pair.
    ///
    /// # Errors
    /// It is not a connected Unix socket.
    pub fn new(socket: OwnedFd) -> io::Result<Link> {
        socket::bound_sends(socket.as_fd(), PATIENCE)?;
        let keeper = socket::peer(socket.as_fd())?.pid;
        Ok(Link { socket, keeper })
    }

    /// Over the descriptor the keeper starts the supervisor process with. Once per process.
    ///
    /// # Errors
    /// This process was not started by a keeper.
    pub fn inherited() -> io::Result<Link> {
        Link::new(process::inherited(LINK_FD)?)
    }

    /// The keeper's process: the parent of this one and of every registered child.
    pub fn keeper(&self) -> Pid {
        self.keeper
    }

    /// The next packet, without waiting; `None`: nothing at the moment. After [`FromKeeper::Gone`] there is nothing more.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`; `EMFILE`: this process had no room for the descriptors of a packet for 5 s. The packet is still
    /// there.
    pub fn recv(&self) -> io::Result<Option<FromKeeper>> {
        let mut buffer = [0; wire::PACKET_MAX];
        let socket = self.socket.as_fd();
        loop {
            let next = with_patience(|| match socket::peek(socket, &mut buffer)? {
                // A child whose descriptors were cut off must not look as if it did not exist.
                Received::Packet(packet) if packet.short => Err(Errno::EMFILE),
                next => Ok(next),
            })?;
            match next {
                Received::Nothing => return Ok(None),
                Received::Closed => return Ok(Some(FromKeeper::Gone)),
                Received::Packet(packet) => {
                    with_patience(|| socket::discard(socket))?;
                    let bytes = buffer.get(..packet.len).unwrap_or_default();
                    if let Some(message) = wire::from_keeper(bytes, packet.fds) {
                        return Ok(Some(message));
                    }
                    // From a keeper of another version: what it adds is not needed here.
                }
            }
        }
    }

    /// The next packet; waits for it up to `limit`.
    ///
    /// # Errors
    /// `TimedOut`: nothing came. Else as [`Link::recv`].
    pub fn recv_within(&self, limit: Duration) -> io::Result<FromKeeper> {
        let end = Instant::now() + limit;
        loop {
            if let Some(message) = self.recv()? {
                return Ok(message);
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Says something to the keeper. Waits, bounded, while the queue is full.
    ///
    /// # Errors
    /// `InvalidInput`: a name is empty or longer than 63 bytes. `BrokenPipe`: the keeper is dead. `WouldBlock`: it did not
    /// read for 5 s.
    pub fn send(&self, message: &ToKeeper) -> io::Result<()> {
        let bytes = wire::to_keeper(message).ok_or(io::ErrorKind::InvalidInput)?;
        let along = match message {
            ToKeeper::Store(_, fd) | ToKeeper::Program(fd) => &[*fd][..],
            _ => &[],
        };
        let socket = self.socket.as_fd();
        Ok(with_patience(|| socket::send(socket, bytes.as_slice(), along))?)
    }

    /// How a child is born into the keeper's hands: registered under `key` as begun at `born_ns` (`CLOCK_MONOTONIC`), with at
    /// most two read ends of its output; its end takes with it whom `reach` says.
    pub fn parent<'a>(
        &'a self,
        key: Key,
        reach: Reach,
        born_ns: u64,
        outputs: Vec<BorrowedFd<'a>>,
    ) -> Parent<'a> {
        Parent::Keeper {
            socket: self.as_fd(),
            message: Link::registration(key, reach, born_ns),
            fds: outputs,
            failed: Link::failed(key),
            keeper: self.keeper,
        }
    }

    /// The packet by which a child registers.
    pub fn registration(key: Key, reach: Reach, born_ns: u64) -> Vec<u8> {
        wire::register(key, reach, born_ns).as_slice().to_vec()
    }

    /// The packet by which a registered child says that it will not come to exec, without step and errno.
    pub fn failed(key: Key) -> Vec<u8> {
        wire::failed(key).as_slice().to_vec()
    }
}

/// Repeats what fails because the machine is short of something. A full queue is no shortage: it has its own bound.
fn with_patience<T>(mut attempt: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    let end = Instant::now() + SHORTAGE;
    loop {
        match attempt() {
            Err(errno) if errno != Errno::EAGAIN && is_shortage(errno) && Instant::now() < end => {
                clock::pause(SHORTAGE_PAUSE.as_nanos() as u64);
            }
            answer => return answer,
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
